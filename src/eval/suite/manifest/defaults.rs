//! How a suite is meant to be run, where neither a flag nor a preset says otherwise; and the scorers it asks for.

use serde_json::{Map, Value};

use super::super::error::{SuiteError, hint};
use super::super::presets::Protocol;
use super::super::task::SCORERS;
use super::super::{ScorerSpec, Task};
use super::keys::Keys;

const KEYS: [&str; 9] =
    ["n", "k", "shots", "temperature", "top_p", "top_k", "min_p", "max_tokens", "thinking_prefix"];

pub(in super::super) fn protocol(keys: &Keys<'_>) -> Result<Protocol, SuiteError> {
    keys.only(&KEYS)?;
    let small = |key: &str| match keys.count(key)? {
        Some(count) => u32::try_from(count).map(Some).map_err(|_| keys.wrong(key, "is too large")),
        None => Ok(None),
    };
    let real = |key: &str| Ok::<_, SuiteError>(keys.number(key)?.map(|number| number as f32));
    let mut k = Vec::new();
    if let Some(values) = keys.get("k") {
        let wrong = || keys.wrong("k", "must be a list of whole numbers from 1");
        for value in values.as_array().ok_or_else(wrong)? {
            let value = value.as_integer().and_then(|k| u32::try_from(k).ok()).filter(|k| *k > 0);
            k.push(value.ok_or_else(wrong)?);
        }
    }
    let protocol = Protocol {
        n: small("n")?,
        k,
        shots: small("shots")?,
        temperature: real("temperature")?,
        top_p: real("top_p")?,
        top_k: small("top_k")?,
        min_p: real("min_p")?,
        max_tokens: small("max_tokens")?,
        thinking_prefix: keys.optional_flag("thinking_prefix")?,
    };
    match (protocol.n, protocol.k.iter().max()) {
        (Some(n), Some(k)) if n < *k => {
            Err(keys.wrong("n", &format!("is {n}, below k {k}: pass@{k} needs {k} samples or more")))
        }
        _ => Ok(protocol),
    }
}

/// `scorers = ["math", "language"]`, or tables with a `name` and options; the task's own if absent.
pub(super) fn scorers(keys: &Keys<'_>, task: Task) -> Result<Vec<ScorerSpec>, SuiteError> {
    let Some(value) = keys.get("scorers") else {
        return Ok(vec![ScorerSpec { name: task.name().to_owned(), options: Map::new() }]);
    };
    let entries = value.as_array().ok_or_else(|| keys.mistyped("scorers", "a list", value))?;
    entries.iter().map(|entry| scorer(keys, entry)).collect()
}

fn scorer(keys: &Keys<'_>, entry: &toml::Value) -> Result<ScorerSpec, SuiteError> {
    let (name, options) = match entry {
        toml::Value::String(name) => (name.clone(), Map::new()),
        toml::Value::Table(table) => {
            let Some(toml::Value::String(name)) = table.get("name") else {
                return Err(keys.wrong("scorers", "an entry has no name"));
            };
            let options = table.iter().filter(|(key, _)| *key != "name");
            (name.clone(), options.map(|(key, value)| (key.clone(), json(value))).collect())
        }
        other => return Err(keys.mistyped("scorers", "a list of names or tables", other)),
    };
    if !SCORERS.contains(&name.as_str()) {
        return Err(keys.wrong("scorers", &format!("{name:?} is no scorer{}", hint(&name, &SCORERS))));
    }
    Ok(ScorerSpec { name, options })
}

fn json(value: &toml::Value) -> Value {
    match value {
        toml::Value::String(text) => text.as_str().into(),
        toml::Value::Integer(number) => (*number).into(),
        toml::Value::Float(number) => (*number).into(),
        toml::Value::Boolean(flag) => (*flag).into(),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(values) => values.iter().map(json).collect(),
        toml::Value::Table(table) => table.iter().map(|(key, value)| (key.clone(), json(value))).collect(),
    }
}
