//! The problems: each line of their files checked before anything is run.

use std::collections::HashMap;

use sha2::Sha256;

use crate::language::Language;
use crate::score::math::check_gold;

use super::error::SuiteError;
use super::files::Files;
use super::manifest::Manifest;
use super::rows::{self, Kind, Row};
use super::{Problem, Task};

const FIELDS: [&str; 4] = ["id", "language", "problem", "answer"];

pub(super) fn read(
    files: &Files,
    manifest: &Manifest,
    digest: &mut Sha256,
) -> Result<HashMap<Language, Vec<Problem>>, SuiteError> {
    let kind = Kind { file: &manifest.file, fields: &FIELDS, one: "a problem", many: "problems" };
    let mut seen: HashMap<(Language, String), usize> = HashMap::new();
    rows::read(files, manifest, &kind, digest, |row| {
        let problem = parse(row, manifest.task)?;
        match seen.insert((row.language, problem.id.clone()), row.line) {
            None => Ok(problem),
            Some(first) => Err(row.wrong("id", &format!("{:?} is also the id of line {first}", problem.id))),
        }
    })
}

fn parse(row: &Row<'_>, task: Task) -> Result<Problem, SuiteError> {
    let problem =
        Problem { id: row.string("id")?, problem: row.string("problem")?, answer: row.string("answer")? };
    if task == Task::Math {
        check_gold(&problem.answer)
            .map_err(|error| row.wrong("answer", &format!("does not parse as a number: {error}")))?;
    }
    Ok(problem)
}
