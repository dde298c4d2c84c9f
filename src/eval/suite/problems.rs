//! The problem files: a JSON object a line, every line checked before anything is run.

use std::collections::HashMap;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::language::Language;
use crate::score::math::check_gold;

use super::error::{SuiteError, hint};
use super::files::Files;
use super::manifest::{FileReference, Manifest};
use super::{LanguageProblems, Problem, Task, hex};

/// Read every language's problems; the files' digests go into `digest` as well.
pub(super) fn read(
    files: &Files,
    manifest: &Manifest,
    digest: &mut Sha256,
) -> Result<Vec<LanguageProblems>, SuiteError> {
    let mut found = Vec::new();
    for language in manifest.languages.iter().copied() {
        let reference = &manifest.files[&language];
        let text = verified(files, reference, digest)?;
        let file = files.describe(&reference.path);
        let problems = problems(&text, &file, manifest, language)?;
        if problems.is_empty() {
            let message = "the file has no problem in this language".to_owned();
            return Err(SuiteError::Manifest { file, key: language.to_string(), message });
        }
        found.push(LanguageProblems { language, prompt: manifest.prompts[&language].clone(), problems });
    }
    Ok(found)
}

/// A file's text, if its digest is the one the manifest promises.
fn verified(files: &Files, reference: &FileReference, digest: &mut Sha256) -> Result<String, SuiteError> {
    let text = files.text(&reference.path)?;
    let found = hex(&Sha256::digest(text.as_bytes()));
    if reference.sha256 != found {
        let (file, expected) = (files.describe(&reference.path), reference.sha256.clone());
        return Err(SuiteError::Digest { file, found, expected });
    }
    digest.update(found.as_bytes());
    Ok(text)
}

fn problems(
    text: &str,
    file: &str,
    manifest: &Manifest,
    language: Language,
) -> Result<Vec<Problem>, SuiteError> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut found = Vec::new();
    for (index, text) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let line = Line { file, number: index + 1 };
        let Some(problem) = line.parse(text, manifest, language)? else { continue };
        if let Some(first) = seen.insert(problem.id.clone(), line.number) {
            return Err(line.wrong("id", &format!("{:?} is also the id of line {first}", problem.id)));
        }
        found.push(problem);
    }
    Ok(found)
}

#[derive(Clone, Copy)]
struct Line<'a> {
    file: &'a str,
    number: usize,
}

const FIELDS: [&str; 4] = ["id", "language", "problem", "answer"];

impl Line<'_> {
    fn wrong(self, field: &str, message: &str) -> SuiteError {
        let (file, line) = (self.file.to_owned(), self.number);
        SuiteError::Problem { file, line, field: field.to_owned(), message: message.to_owned() }
    }

    /// `None`: the line is of another language that shares the file.
    fn parse(
        self,
        text: &str,
        manifest: &Manifest,
        language: Language,
    ) -> Result<Option<Problem>, SuiteError> {
        let object: Map<String, Value> = serde_json::from_str(text)
            .map_err(|error| self.wrong("not a JSON object", &error.to_string()))?;
        if let Some(key) = object.keys().find(|key| !FIELDS.contains(&key.as_str())) {
            return Err(self.wrong(key, &format!("is no field of a problem{}", hint(key, &FIELDS))));
        }
        let string = |field: &str| match object.get(field) {
            Some(Value::String(text)) if !text.trim().is_empty() => Ok(text.clone()),
            Some(Value::String(_)) => Err(self.wrong(field, "is empty")),
            Some(_) => Err(self.wrong(field, "must be a string")),
            None => Err(self.wrong(field, "is missing")),
        };
        if !self.is_of(&object, manifest, language)? {
            return Ok(None);
        }
        let problem = Problem { id: string("id")?, problem: string("problem")?, answer: string("answer")? };
        if manifest.task == Task::Math {
            check_gold(&problem.answer)
                .map_err(|error| self.wrong("answer", &format!("does not parse as a number: {error}")))?;
        }
        Ok(Some(problem))
    }

    /// A line without a language is of the file's; one with another must share the file with it.
    fn is_of(
        self,
        object: &Map<String, Value>,
        manifest: &Manifest,
        language: Language,
    ) -> Result<bool, SuiteError> {
        let shared = manifest
            .languages
            .iter()
            .any(|other| *other != language && manifest.share_a_file(*other, language));
        let named = match object.get("language") {
            None if shared => {
                return Err(self.wrong("language", "is missing, and several languages share the file"));
            }
            None => return Ok(true),
            Some(Value::String(code)) => {
                code.parse::<Language>().map_err(|error| self.wrong("language", &error.to_string()))?
            }
            Some(_) => return Err(self.wrong("language", "must be a string")),
        };
        if named != language && !manifest.share_a_file(named, language) {
            return Err(self.wrong("language", &format!("is {named}, but the file is that of {language}")));
        }
        Ok(named == language)
    }
}
