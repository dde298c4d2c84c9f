//! Where a suite's worked examples are: files of its own, another suite, rows that the source sets apart for it, or its other
//! problems.

use toml::{Table, Value};

use super::super::Task;
use super::super::error::SuiteError;
use super::data::{self, DataReference};
use super::file_name;
use super::keys::Keys;
use crate::language::Language;

#[derive(Debug)]
pub(in super::super) enum ExamplesFrom {
    /// JSONL in the suite's folder; the name may hold `{language}`.
    Own(String),
    /// Those of another suite.
    Suite(String),
    /// Rows by reference, with the columns of the suite's problems.
    Data { reference: Box<DataReference>, shown: Shown },
    /// Other problems of the suite, in an order that the seed decides.
    Problems { seed: u64, shown: Shown },
}

/// How a problem becomes an example, and of which others.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct Shown {
    /// A kept field, or `id`, that an example and a problem it is shown for have in common.
    pub group: Option<String>,
    /// A text with `{field}` for kept fields; `None`: the gold in its box, or the choice itself where choices are scored.
    pub solution: Option<String>,
}

pub(super) fn examples(
    keys: &Keys<'_>,
    suite: &str,
    languages: &[Language],
    task: Task,
) -> Result<Option<ExamplesFrom>, SuiteError> {
    let table = match keys.get("examples") {
        None => return Ok(None),
        Some(Value::Table(_)) => keys.needed_table("examples")?,
        Some(_) => return Ok(Some(ExamplesFrom::Own(file_name(keys, "examples")?))),
    };
    if table.has("suite") {
        table.only(&["suite"])?;
        return Ok(Some(ExamplesFrom::Suite(table.text("suite")?)));
    }
    let shown = Shown { group: table.optional_text("group")?, solution: table.optional_text("solution")? };
    let has_gold = matches!(task, Task::Math | Task::Text | Task::Choice | Task::Loglikelihood);
    if shown.solution.is_none() && !has_gold {
        let message = format!("is missing: task {} has no gold to show", task.name());
        return Err(table.wrong("solution", &message));
    }
    let of_problems = ("problems", ());
    if table.one_of("from", "source of examples", &[of_problems])?.is_some() {
        table.only(&["from", "seed", "group", "solution"])?;
        return Ok(Some(ExamplesFrom::Problems { seed: table.count("seed")?.unwrap_or_default(), shown }));
    }
    table.only(&["data", "group", "solution"])?;
    let own = table.needed_table("data")?;
    let Some(Value::Table(problems)) = keys.get("data") else {
        return Err(table.wrong("data", "are rows beside those of [data], and there is no [data]"));
    };
    let merged = with_usual(&own, problems);
    let merged = Keys::at("examples.data.", &merged, table.file);
    let reference = Box::new(data::reference(&merged, suite, languages)?);
    Ok(Some(ExamplesFrom::Data { reference, shown }))
}

/// What examples do not have in common with the problems.
const OWN: [&str; 5] = ["split", "file", "files", "sha256", "problems"];

/// The rest is as for the problems, unless it is said.
fn with_usual(own: &Keys<'_>, problems: &Table) -> Table {
    let usual = problems.iter().filter(|(key, _)| !OWN.contains(&key.as_str()));
    usual.chain(own.entries()).map(|(key, value)| (key.clone(), value.clone())).collect()
}
