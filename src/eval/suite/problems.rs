//! The problems of a suite's own files: each line of them checked before anything is run.

use std::collections::HashMap;

use serde_json::{Map, Value};
use sha2::Sha256;

use crate::language::Language;

use super::choices::letter;
use super::error::SuiteError;
use super::files::Files;
use super::manifest::Manifest;
use super::math_gold::check_math_gold;
use super::rows::{self, Kind, Row};
use super::{Problem, Task};

pub(super) fn read(
    files: &Files,
    manifest: &Manifest,
    file: &str,
    keep: &[String],
    digest: &mut Sha256,
) -> Result<HashMap<Language, Vec<Problem>>, SuiteError> {
    let mut fields = vec!["id", "language", "problem", "answer"];
    if manifest.task.has_choices() {
        fields.push("choices");
    }
    fields.extend(keep.iter().map(String::as_str));
    let kind = Kind { file, fields: &fields, one: "a problem", many: "problems" };
    let mut seen: HashMap<(Language, String), usize> = HashMap::new();
    rows::read(files, manifest, &kind, digest, |row| {
        let problem = parse(row, manifest, keep)?;
        match seen.insert((row.language, problem.id.clone()), row.line) {
            None => Ok(problem),
            Some(first) => Err(row.wrong("id", &format!("{:?} is also the id of line {first}", problem.id))),
        }
    })
}

fn parse(row: &Row<'_>, manifest: &Manifest, keep: &[String]) -> Result<Problem, SuiteError> {
    let task = manifest.task;
    let wanted = task.has_gold() || row.value("answer").is_some();
    let answer = if wanted { row.string("answer")? } else { String::new() };
    if task == Task::Math {
        check_math_gold(manifest, &answer).map_err(|message| row.wrong("answer", &message))?;
    }
    let choices = if task.has_choices() { choices(row)? } else { Vec::new() };
    if task.has_choices() && !(0..choices.len()).any(|index| answer == letter(index).to_string()) {
        let message = format!("{answer:?} is the letter of none of the {} choices", choices.len());
        return Err(row.wrong("answer", &message));
    }
    let kept = keep.iter().filter_map(|name| Some((name.clone(), row.value(name)?.clone())));
    let fields: Map<String, Value> = kept.collect();
    Ok(Problem { id: row.string("id")?, problem: row.string("problem")?, answer, choices, fields })
}

fn choices(row: &Row<'_>) -> Result<Vec<String>, SuiteError> {
    let wrong = || row.wrong("choices", "must be a list of 2 to 26 texts");
    let values = row.value("choices").and_then(Value::as_array).ok_or_else(wrong)?;
    let texts: Option<Vec<String>> = values.iter().map(|value| value.as_str().map(str::to_owned)).collect();
    texts.filter(|texts| (2..=26).contains(&texts.len())).ok_or_else(wrong)
}
