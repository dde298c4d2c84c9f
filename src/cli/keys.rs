//! `xenoglot keys`: make keys for a keys file, and list what a file holds. A key is shown once; the file has its hash.

use std::fs::OpenOptions;
use std::io::Write;
use std::num::NonZeroU32;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::api::{
    Expiry, Key, KeyHash, KeyLimits, KeyScopes, fresh_key, is_open_to_others, key_table, read_keys,
};
use crate::settings::Overrides;

use super::failure::Failure;
use super::options::{GlobalOptions, settings};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a key: prints it, once, and the table for the keys file; with --file, appends the table
    New(NewKey),
    /// List the keys of a file
    List {
        /// The keys file [default: the setting keys_file]
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// As JSON, a line a key
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
struct NewKey {
    /// What logs and metrics call it: letters, digits, `_` and `-`
    name: String,
    /// What it opens; repeat for several. admin opens everything
    #[arg(long = "scope", required = true, value_parser = PossibleValuesParser::new(KeyScopes::NAMES))]
    scopes: Vec<String>,
    /// Requests a minute
    #[arg(long, value_name = "N")]
    requests_per_minute: Option<NonZeroU32>,
    /// Tokens a minute, prompt and completion together
    #[arg(long, value_name = "N")]
    tokens_per_minute: Option<NonZeroU32>,
    /// Tokens a day (UTC)
    #[arg(long, value_name = "N")]
    tokens_per_day: Option<NonZeroU32>,
    /// Requests at once
    #[arg(long, value_name = "N")]
    max_concurrent: Option<NonZeroU32>,
    /// Served name that it may use; repeat for several [default: all]
    #[arg(long = "model", value_name = "NAME")]
    models: Vec<String>,
    /// Its prompts share the prefix cache with those of other keys that share it
    #[arg(long)]
    shared_cache: bool,
    /// Its requests may have a `priority` below 0, before those of others
    #[arg(long)]
    priority: bool,
    /// When it ends, as in 2030-01-31T00:00:00Z
    #[arg(long, value_name = "MOMENT")]
    expires: Option<Expiry>,
    /// Append the table to this file, which is made if it is not there
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

pub(super) fn run(global: &GlobalOptions, arguments: &Arguments) -> anyhow::Result<()> {
    match &arguments.action {
        Action::New(new) => make(new),
        Action::List { file: Some(file), json } => list(file, *json),
        Action::List { file: None, json } => match settings(global, Overrides::default())?.keys_file {
            Some(file) => list(&file, *json),
            None => Err(Failure::usage("which keys file?").hint("name it with --file").into()),
        },
    }
}

fn make(new: &NewKey) -> anyhow::Result<()> {
    let secret = fresh_key().context("reading random bytes")?;
    let key = Key {
        name: new.name.clone(),
        hash: KeyHash::of(&secret),
        scopes: KeyScopes::from_names(&new.scopes).map_err(Failure::usage)?,
        limits: KeyLimits {
            requests_per_minute: new.requests_per_minute,
            tokens_per_minute: new.tokens_per_minute,
            tokens_per_day: new.tokens_per_day,
            max_concurrent: new.max_concurrent,
        },
        models: (!new.models.is_empty()).then(|| new.models.clone()),
        shared_cache: new.shared_cache,
        priority: new.priority,
        expires: new.expires,
    };
    let table = key_table(&key).map_err(Failure::usage)?;
    let mut out = std::io::stdout().lock();
    if let Some(file) = &new.file {
        append(file, &key.name, &table)?;
        writeln!(out, "{secret}")?;
        eprintln!("[{}] was added to {}; the key stands nowhere else than here", key.name, file.display());
    } else {
        writeln!(out, "# {secret}\n{table}")?;
        eprintln!("the first line is the key, which stands nowhere else; the rest is for the keys file");
    }
    Ok(())
}

/// In one write, so that a server that reads it meanwhile finds all of it or none.
fn append(file: &Path, name: &str, table: &str) -> anyhow::Result<()> {
    let before = if file.exists() {
        let keys = read_keys(file).map_err(Failure::usage)?;
        if keys.iter().any(|known| known.name == name) {
            let taken = Failure::usage(format!("{} has a key [{name}] already", file.display()));
            return Err(taken.hint("choose another name, or delete the old table").into());
        }
        std::fs::read_to_string(file)?
    } else {
        String::new()
    };
    let gap = match before.as_str() {
        "" => "",
        text if text.ends_with('\n') => "\n",
        _ => "\n\n",
    };
    let opened = OpenOptions::new().append(true).create(true).mode(0o600).open(file);
    let written = opened.and_then(|mut opened| opened.write_all(format!("{gap}{table}").as_bytes()));
    written.with_context(|| format!("writing {}", file.display()))
}

fn list(file: &Path, as_json: bool) -> anyhow::Result<()> {
    let keys = read_keys(file).map_err(Failure::usage)?;
    if is_open_to_others(file) {
        eprintln!("warning: {} may be read or written by others than its owner: chmod 600", file.display());
    }
    let mut out = std::io::stdout().lock();
    for key in keys {
        let line = if as_json { as_line_of_json(&key) } else { as_text(&key) };
        writeln!(out, "{line}")?;
    }
    Ok(())
}

fn limits(key: &Key) -> [(&'static str, Option<NonZeroU32>); 4] {
    [
        ("requests_per_minute", key.limits.requests_per_minute),
        ("tokens_per_minute", key.limits.tokens_per_minute),
        ("tokens_per_day", key.limits.tokens_per_day),
        ("max_concurrent", key.limits.max_concurrent),
    ]
}

fn as_text(key: &Key) -> String {
    let mut line = format!("{}  {}", key.name, key.scopes.names().join(","));
    let mut add = |name: &str, value: String| {
        line.push_str("  ");
        line.push_str(name);
        line.push('=');
        line.push_str(&value);
    };
    for (name, limit) in limits(key) {
        if let Some(limit) = limit {
            add(name, limit.to_string());
        }
    }
    if let Some(models) = &key.models {
        add("models", models.join(","));
    }
    for (name, is_set) in [("shared_cache", key.shared_cache), ("priority", key.priority)] {
        if is_set {
            add(name, "true".to_owned());
        }
    }
    if let Some(expires) = key.expires {
        add("expires", expires.to_string());
    }
    line
}

fn as_line_of_json(key: &Key) -> String {
    let mut line = json!({"name": key.name, "scopes": key.scopes.names(), "models": key.models});
    line["shared_cache"] = json!(key.shared_cache);
    line["priority"] = json!(key.priority);
    line["expires"] = json!(key.expires.map(|expires| expires.to_string()));
    for (name, limit) in limits(key) {
        line[name] = json!(limit);
    }
    line.to_string()
}
