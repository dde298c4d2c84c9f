//! The problem files: a JSON object a line, every line checked before anything is run.

use std::collections::HashMap;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::language::Language;
use crate::score::math::check_gold;

use super::error::{SuiteError, hint};
use super::files::Files;
use super::manifest::Manifest;
use super::{LanguageProblems, Problem, Task};

/// Read every language's problems; the files' digests go into `digest` as well.
pub(super) fn read(
    files: &Files,
    manifest: &Manifest,
    digest: &mut Sha256,
) -> Result<Vec<LanguageProblems>, SuiteError> {
    let mut by_language: HashMap<Language, Vec<Problem>> = HashMap::new();
    if manifest.by_language() {
        for language in &manifest.languages {
            let name = manifest.file_of(*language);
            let text = verified(files, manifest, &name, digest)?;
            for (_, problem) in lines(&text, &files.describe(&name), manifest, Some(*language))? {
                by_language.entry(*language).or_default().push(problem);
            }
        }
    } else {
        let text = verified(files, manifest, &manifest.file, digest)?;
        for (language, problem) in lines(&text, &files.describe(&manifest.file), manifest, None)? {
            by_language.entry(language).or_default().push(problem);
        }
    }
    manifest
        .languages
        .iter()
        .map(|language| {
            let problems = by_language.remove(language).unwrap_or_default();
            if problems.is_empty() {
                let file = files.describe(&manifest.file_of(*language));
                return Err(SuiteError::Manifest {
                    file,
                    key: language.to_string(),
                    message: "has no problems".to_owned(),
                });
            }
            let prompt = manifest.prompts[language].clone();
            Ok(LanguageProblems { language: *language, prompt, problems })
        })
        .collect()
}

/// A file's text, if its digest is the one the manifest promises.
fn verified(
    files: &Files,
    manifest: &Manifest,
    name: &str,
    digest: &mut Sha256,
) -> Result<String, SuiteError> {
    let text = files.text(name)?;
    let found = format!("{:x}", Sha256::digest(text.as_bytes()));
    let Some(expected) = manifest.sha256.get(name) else {
        return Err(SuiteError::Manifest {
            file: files.describe(super::MANIFEST),
            key: format!("sha256.{name:?}"),
            message: format!("is missing; the file has {found}"),
        });
    };
    if *expected != found {
        return Err(SuiteError::Digest { file: files.describe(name), found, expected: expected.clone() });
    }
    digest.update(found.as_bytes());
    Ok(text)
}

fn lines(
    text: &str,
    file: &str,
    manifest: &Manifest,
    language: Option<Language>,
) -> Result<Vec<(Language, Problem)>, SuiteError> {
    let mut seen: HashMap<(Language, String), usize> = HashMap::new();
    let mut found = Vec::new();
    for (index, text) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let line = Line { file, number: index + 1 };
        let (language, problem) = line.parse(text, manifest, language)?;
        if let Some(first) = seen.insert((language, problem.id.clone()), line.number) {
            return Err(line.wrong("id", &format!("{:?} is also the id of line {first}", problem.id)));
        }
        found.push((language, problem));
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

    fn parse(
        self,
        text: &str,
        manifest: &Manifest,
        language: Option<Language>,
    ) -> Result<(Language, Problem), SuiteError> {
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
        let language = self.language(&object, manifest, language)?;
        let problem = Problem { id: string("id")?, problem: string("problem")?, answer: string("answer")? };
        if manifest.task == Task::Math {
            check_gold(&problem.answer)
                .map_err(|error| self.wrong("answer", &format!("does not parse as a number: {error}")))?;
        }
        Ok((language, problem))
    }

    /// The file's language, or in a file of several the line's own.
    fn language(
        self,
        object: &Map<String, Value>,
        manifest: &Manifest,
        of_file: Option<Language>,
    ) -> Result<Language, SuiteError> {
        let named = match object.get("language") {
            None => None,
            Some(Value::String(code)) => {
                Some(code.parse::<Language>().map_err(|error| self.wrong("language", &error.to_string()))?)
            }
            Some(_) => return Err(self.wrong("language", "must be a string")),
        };
        match (of_file, named) {
            (Some(file), Some(line)) if file != line => {
                Err(self.wrong("language", &format!("is {line} in a file of {file}")))
            }
            (Some(language), _) => Ok(language),
            (None, Some(language)) if manifest.languages.contains(&language) => Ok(language),
            (None, Some(language)) => {
                Err(self.wrong("language", &format!("{language} is not among the languages of suite.toml")))
            }
            (None, None) => Err(self.wrong("language", "is missing")),
        }
    }
}
