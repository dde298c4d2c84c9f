//! The problems of a suite's own files: each line of them checked before anything is run.

use std::collections::HashMap;

use serde_json::{Map, Value};
use sha2::Sha256;

use crate::language::Language;
use crate::score::math::check_gold;

use super::choices::letter;
use super::error::SuiteError;
use super::files::Files;
use super::manifest::Manifest;
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

/// Why a gold cannot be compared with, if it cannot.
pub(super) fn check_math_gold(manifest: &Manifest, gold: &str) -> Result<(), String> {
    if gold.trim().is_empty() {
        return Err("is empty".to_owned());
    }
    if !manifest.number_golds {
        return Ok(());
    }
    match check_gold(gold) {
        Err(error) => Err(format!("does not parse as a number: {error}")),
        // The judgement knows words and variables too: as golds of sums they would be slips.
        Ok(()) if has_letters(gold) => Err(format!("does not parse as a number: {gold:?} has letters")),
        Ok(()) => Ok(()),
    }
}

/// Whether there is a letter outside the names of LaTeX commands.
fn has_letters(gold: &str) -> bool {
    let mut in_command = false;
    gold.chars().any(|c| {
        in_command = c == '\\' || (in_command && c.is_ascii_alphabetic());
        c.is_alphabetic() && !in_command
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_those_outside_commands() {
        let check = |gold: &str, expected: bool| assert_eq!(has_letters(gold), expected, "{gold}");
        check("1,234.5", false);
        check("\\frac{1}{2}", false);
        check("\\frac12\\%", false);
        check("banana", true);
        check("\\text{banana}", true);
        check("2 x", true);
        check("\\", false);
    }
}
