//! suite.toml: read strictly, so that a mistyped key is an error and not a silent default.
//!
//! Version 1 of the format is a suite with problem files of its own; version 2 adds data by reference, fields,
//! choices, shared prompts, scorers and sampling. docs/suites.md has a table of all keys.

mod data;
pub(super) mod defaults;
mod examples;
mod fields;
pub(super) mod keys;

use std::collections::BTreeMap;

use toml::Table;

use crate::language::Language;

pub(super) use data::{DataReference, Filter, Format, Layout};
pub(super) use examples::{ExamplesFrom, Shown};
pub(super) use fields::{ChoiceMap, ChoicesFrom, Correct, FieldMap, Text};

use super::error::SuiteError;
use super::presets::Protocol;
use super::prompts::{self, PromptSet};
use super::task::TASKS;
use super::{ScorerSpec, Task};
use keys::Keys;

#[derive(Debug)]
pub(super) struct Manifest {
    pub name: String,
    pub version: String,
    pub description: String,
    pub licence: String,
    pub revision: String,
    pub task: Task,
    pub scorers: Vec<ScorerSpec>,
    pub languages: Vec<Language>,
    pub problems: ProblemsFrom,
    pub choices: Option<ChoiceMap>,
    /// Whether a gold of `math` has to be a number.
    pub number_golds: bool,
    pub examples: Option<ExamplesFrom>,
    /// Of the files in the suite's own folder.
    pub sha256: BTreeMap<String, String>,
    pub prompts: PromptSet,
    pub protocol: Protocol,
}

/// Where the problems are.
#[derive(Debug)]
pub(super) enum ProblemsFrom {
    /// JSONL in the suite's folder; the name may hold `{language}`.
    Own {
        file: String,
        keep: Vec<String>,
    },
    Data {
        reference: Box<DataReference>,
        fields: Box<FieldMap>,
    },
}

/// The newest version of the format that this build reads.
pub(super) const FORMAT: u64 = 2;

/// What version 1 has.
const KEYS_1: [&str; 13] = [
    "format",
    "name",
    "version",
    "description",
    "licence",
    "revision",
    "source",
    "languages",
    "task",
    "file",
    "examples",
    "sha256",
    "prompts",
];

/// What version 2 adds.
const KEYS_2: [&str; 7] = ["data", "fields", "choices", "scorers", "sampling", "keep", "number_golds"];

impl Manifest {
    pub fn parse(text: &str, file: &str) -> Result<Self, SuiteError> {
        let table: Table = text.parse().map_err(|error: toml::de::Error| SuiteError::Toml {
            file: file.to_owned(),
            message: error.to_string().trim_end().to_owned(),
        })?;
        let keys = Keys::root(&table, file);
        check_format(&keys)?;
        let languages = keys.languages("languages")?;
        let task = task(&keys)?;
        let name = keys.text("name")?;
        let choices = keys.table("choices")?.map(|table| fields::choices(&table)).transpose()?;
        if task.has_choices() && choices.is_none() && keys.has("data") {
            return Err(keys.wrong("choices", &format!("is missing, and task {} needs them", task.name())));
        }
        let sampling = keys.table("sampling")?;
        Ok(Self {
            version: keys.text("version")?,
            description: keys.text("description")?,
            licence: keys.text("licence")?,
            revision: revision(&keys)?,
            scorers: defaults::scorers(&keys, task)?,
            problems: problems(&keys, &name, &languages, task, choices.as_ref())?,
            choices,
            number_golds: keys.flag("number_golds", true)?,
            examples: examples::examples(&keys, &name, &languages, task)?,
            sha256: keys.digests("sha256")?,
            prompts: prompts::of_suite(&keys, task, &languages)?,
            protocol: sampling.map_or_else(|| Ok(Protocol::default()), |table| defaults::protocol(&table))?,
            name,
            task,
            languages,
        })
    }
}

impl Manifest {
    /// The suite's languages that are among those asked for, in its own order; all if none is asked for.
    pub fn chosen(&self, asked: Option<&[Language]>) -> Vec<Language> {
        let own = self.languages.iter().copied();
        own.filter(|language| asked.is_none_or(|asked| asked.contains(language))).collect()
    }
}

fn check_format(keys: &Keys<'_>) -> Result<(), SuiteError> {
    let format = keys.count("format")?.unwrap_or(1);
    match format {
        1 => match KEYS_2.iter().find(|key| keys.has(key)) {
            Some(key) => Err(keys.wrong(key, "is a key of version 2 of the format: say `format = 2`")),
            None => keys.only(&KEYS_1),
        },
        FORMAT => keys.only(&[&KEYS_1[..], &KEYS_2[..]].concat()),
        other => Err(keys.wrong("format", &format!("is {other}; this xenoglot reads 1 to {FORMAT}"))),
    }
}

fn task(keys: &Keys<'_>) -> Result<Task, SuiteError> {
    let named = TASKS.map(|task| (task.name(), task));
    let known = if keys.count("format")?.unwrap_or(1) == 1 { &named[..2] } else { &named[..] };
    keys.one_of("task", "task", known)?.ok_or_else(|| keys.wrong("task", "is missing"))
}

/// Of the data where there are data, whose revision may be unknown.
fn revision(keys: &Keys<'_>) -> Result<String, SuiteError> {
    match keys.table("data")? {
        Some(data) if !keys.has("revision") => {
            Ok(data.optional_text("revision")?.unwrap_or_else(|| "main".to_owned()))
        }
        _ => keys.text("revision"),
    }
}

fn problems(
    keys: &Keys<'_>,
    suite: &str,
    languages: &[Language],
    task: Task,
    choices: Option<&ChoiceMap>,
) -> Result<ProblemsFrom, SuiteError> {
    let Some(data) = keys.table("data")? else {
        if keys.has("fields") {
            return Err(keys.wrong("fields", "maps the columns of data, and there is no [data]"));
        }
        return Ok(ProblemsFrom::Own { file: file_name(keys, "file")?, keep: keys.texts("keep")? });
    };
    if keys.has("file") {
        return Err(keys.wrong("file", "stands beside [data]; give one of them"));
    }
    let reference = Box::new(data::reference(&data, suite, languages)?);
    let fields = Box::new(fields::fields(&keys.needed_table("fields")?, task, choices)?);
    Ok(ProblemsFrom::Data { reference, fields })
}

/// A plain name: a manifest must not reach outside its folder.
fn file_name(keys: &Keys<'_>, key: &str) -> Result<String, SuiteError> {
    let name = keys.text(key)?;
    if name.contains(['/', '\\']) || name.starts_with('.') {
        return Err(keys.wrong(key, "must be a file name in the suite's own folder"));
    }
    Ok(name)
}
