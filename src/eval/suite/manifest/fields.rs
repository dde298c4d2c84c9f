//! The part of suite.toml that maps a source's columns to what a problem is made of.

use super::super::Task;
use super::super::error::SuiteError;
use super::super::gold::Rule;
use super::keys::Keys;

/// Which column or JSON path is what.
#[derive(Debug, Clone)]
pub(in super::super) struct FieldMap {
    /// `None`: the row's number.
    pub id: Option<String>,
    /// A path, or a template with `{path}` in it.
    pub problem: Text,
    pub answer: Option<String>,
    pub language: Option<String>,
    /// What to do to an answer before it is a gold.
    pub rules: Vec<Rule>,
    /// What the answers 0, 1, 2 of the source stand for; empty where they stand for themselves.
    pub names: Vec<String>,
    /// Names in `Problem::fields`, each with its path.
    pub keep: Vec<(String, String)>,
    /// Those of `keep` whose text is JSON itself.
    pub json: Vec<String>,
}

#[derive(Debug, Clone)]
pub(in super::super) enum Text {
    Path(String),
    Template(String),
}

/// The choices of a problem, and which is right.
#[derive(Debug, Clone)]
pub(in super::super) struct ChoiceMap {
    pub from: ChoicesFrom,
    pub correct: Correct,
    /// `None`: the source's order.
    pub shuffle: Option<u64>,
}

#[derive(Debug, Clone)]
pub(in super::super) enum ChoicesFrom {
    /// The same for every problem.
    Values(Vec<String>),
    /// A column each.
    Columns(Vec<String>),
    /// One path to a list.
    List { path: String, labels: Option<String> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Correct {
    /// A, B, C; or the source's own label where there are labels.
    Letter,
    /// Counted from 0.
    Index,
    /// Counted from 1.
    Number,
    /// The choice itself.
    Text,
    /// Always the first one in the source.
    First,
}

const CORRECT: [(&str, Correct); 5] = [
    ("letter", Correct::Letter),
    ("index", Correct::Index),
    ("number", Correct::Number),
    ("text", Correct::Text),
    ("first", Correct::First),
];

const KEYS: [&str; 9] = ["id", "problem", "template", "answer", "language", "gold", "names", "keep", "json"];

pub(super) fn fields(
    keys: &Keys<'_>,
    task: Task,
    choices: Option<&ChoiceMap>,
) -> Result<FieldMap, SuiteError> {
    keys.only(&KEYS)?;
    let problem = match (path(keys, "problem")?, keys.optional_text("template")?) {
        (Some(path), None) => Text::Path(path),
        (None, Some(template)) => Text::Template(template),
        (Some(_), Some(_)) => return Err(keys.wrong("template", "stands beside problem; give one of them")),
        (None, None) => return Err(keys.wrong("problem", "is missing")),
    };
    let answer = path(keys, "answer")?;
    let given = choices.is_some_and(|choices| choices.correct == Correct::First);
    if task.has_gold() && answer.is_none() && !given {
        return Err(keys.wrong("answer", &format!("is missing, and task {} needs one", task.name())));
    }
    let names = keys.texts("gold")?;
    let rules = names.iter().map(|name| {
        Rule::named(name).ok_or_else(|| {
            keys.wrong("gold", &format!("{name:?} is no rule; known: {}", Rule::names().join(", ")))
        })
    });
    let rules = rules.collect::<Result<_, _>>()?;
    let keep = keep(keys)?;
    let json = keys.texts("json")?;
    if let Some(name) = json.iter().find(|name| !keep.iter().any(|(kept, _)| kept == *name)) {
        return Err(keys.wrong("json", &format!("{name:?} is not kept: it must stand in keep")));
    }
    Ok(FieldMap {
        id: path(keys, "id")?,
        problem,
        answer,
        language: path(keys, "language")?,
        rules,
        names: keys.texts("names")?,
        keep,
        json,
    })
}

/// A list of columns that keep their names, or a table of names with their paths.
fn keep(keys: &Keys<'_>) -> Result<Vec<(String, String)>, SuiteError> {
    if !keys.get("keep").is_some_and(toml::Value::is_table) {
        return Ok(keys.texts("keep")?.into_iter().map(|name| (name.clone(), name)).collect());
    }
    let table = keys.needed_table("keep")?;
    table.entries().map(|(name, _)| Ok((name.clone(), path(&table, name)?.unwrap_or_default()))).collect()
}

/// A column's name or JSON path, or its number where there is no header.
fn path(keys: &Keys<'_>, key: &str) -> Result<Option<String>, SuiteError> {
    match keys.get(key) {
        Some(toml::Value::Integer(_)) => Ok(keys.count(key)?.map(|index| index.to_string())),
        _ => keys.optional_text(key),
    }
}

pub(super) fn choices(keys: &Keys<'_>) -> Result<ChoiceMap, SuiteError> {
    keys.only(&["values", "columns", "list", "labels", "correct", "shuffle", "seed"])?;
    let (values, columns) = (keys.texts("values")?, keys.texts("columns")?);
    let from = match (values.is_empty(), columns.is_empty(), keys.optional_text("list")?) {
        (false, true, None) => ChoicesFrom::Values(values),
        (true, false, None) => ChoicesFrom::Columns(columns),
        (true, true, Some(path)) => ChoicesFrom::List { path, labels: keys.optional_text("labels")? },
        _ => return Err(keys.wrong("list", "is missing: give one of values, columns and list")),
    };
    let seed = keys.count("seed")?.unwrap_or_default();
    Ok(ChoiceMap {
        from,
        correct: keys.one_of("correct", "way to name a choice", &CORRECT)?.unwrap_or(Correct::Letter),
        shuffle: keys.flag("shuffle", false)?.then_some(seed),
    })
}
