//! The JSONL files of a suite, problems and worked examples alike: the digest checked, a JSON object a line, only
//! known fields, a language for every line. What the fields say is for `problems` and `examples` to judge.

use std::collections::HashMap;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::language::Language;

use super::error::{SuiteError, hint};
use super::files::Files;
use super::manifest::Manifest;

/// One sort of file.
pub(super) struct Kind<'a> {
    /// The file's name; with `{language}` in it there is one a language.
    pub file: &'a str,
    pub fields: &'a [&'a str],
    /// How messages call one line, and several.
    pub one: &'static str,
    pub many: &'static str,
}

/// One line, whose fields are known but not yet read.
pub(super) struct Row<'a> {
    pub line: usize,
    pub language: Language,
    pub file: &'a str,
    object: Map<String, Value>,
}

/// Read what every language has of a kind, at least one line each; the files' digests go into `digest` as well.
pub(super) fn read<T>(
    files: &Files,
    manifest: &Manifest,
    kind: &Kind<'_>,
    digest: &mut Sha256,
    mut parse: impl FnMut(&Row<'_>) -> Result<T, SuiteError>,
) -> Result<HashMap<Language, Vec<T>>, SuiteError> {
    let mut by_language: HashMap<Language, Vec<T>> = HashMap::new();
    for (name, language) in kind.files(manifest) {
        let text = verified(files, manifest, &name, digest)?;
        let file = files.describe(&name);
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let row = Row::new(&file, index + 1, line, kind, manifest, language)?;
            by_language.entry(row.language).or_default().push(parse(&row)?);
        }
    }
    match manifest.languages.iter().find(|language| !by_language.contains_key(language)) {
        None => Ok(by_language),
        Some(language) => Err(SuiteError::Manifest {
            file: files.describe(&kind.file.replace(LANGUAGE, language.code())),
            key: language.to_string(),
            message: format!("has no {}", kind.many),
        }),
    }
}

const LANGUAGE: &str = "{language}";

impl Kind<'_> {
    /// The names of the files, each with the language of all its lines if it has but one.
    fn files(&self, manifest: &Manifest) -> Vec<(String, Option<Language>)> {
        if !self.file.contains(LANGUAGE) {
            return vec![(self.file.to_owned(), None)];
        }
        let name = |language: &Language| self.file.replace(LANGUAGE, language.code());
        manifest.languages.iter().map(|language| (name(language), Some(*language))).collect()
    }
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

impl<'a> Row<'a> {
    fn new(
        file: &'a str,
        line: usize,
        text: &str,
        kind: &Kind<'_>,
        manifest: &Manifest,
        of_file: Option<Language>,
    ) -> Result<Self, SuiteError> {
        let wrong = |field: &str, message: &str| wrong(file, line, field, message);
        let object: Map<String, Value> =
            serde_json::from_str(text).map_err(|error| wrong("not a JSON object", &error.to_string()))?;
        if let Some(key) = object.keys().find(|key| !kind.fields.contains(&key.as_str())) {
            let message = format!("is no field of {}{}", kind.one, hint(key, kind.fields));
            return Err(wrong(key, &message));
        }
        let language = language(&object, manifest, of_file).map_err(|message| wrong("language", &message))?;
        Ok(Self { line, language, file, object })
    }

    pub fn wrong(&self, field: &str, message: &str) -> SuiteError {
        wrong(self.file, self.line, field, message)
    }

    pub fn value(&self, field: &str) -> Option<&Value> {
        self.object.get(field)
    }

    /// A field that has to be there and to say something.
    pub fn string(&self, field: &str) -> Result<String, SuiteError> {
        match self.object.get(field) {
            Some(Value::String(text)) if !text.trim().is_empty() => Ok(text.clone()),
            Some(Value::String(_)) => Err(self.wrong(field, "is empty")),
            Some(_) => Err(self.wrong(field, "must be a string")),
            None => Err(self.wrong(field, "is missing")),
        }
    }
}

fn wrong(file: &str, line: usize, field: &str, message: &str) -> SuiteError {
    let (file, field, message) = (file.to_owned(), field.to_owned(), message.to_owned());
    SuiteError::Line { file, line, field, message }
}

/// The file's language, or in a file of several the line's own.
fn language(
    object: &Map<String, Value>,
    manifest: &Manifest,
    of_file: Option<Language>,
) -> Result<Language, String> {
    let named = match object.get("language") {
        None => None,
        Some(Value::String(code)) => Some(code.parse::<Language>().map_err(|error| error.to_string())?),
        Some(_) => return Err("must be a string".to_owned()),
    };
    match (of_file, named) {
        (Some(file), Some(line)) if file != line => Err(format!("is {line} in a file of {file}")),
        (Some(language), _) => Ok(language),
        (None, Some(language)) if manifest.languages.contains(&language) => Ok(language),
        (None, Some(language)) => Err(format!("{language} is not among the languages of suite.toml")),
        (None, None) => Err("is missing".to_owned()),
    }
}
