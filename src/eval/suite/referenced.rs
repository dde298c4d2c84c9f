//! Problems of data by reference: each row through the manifest's fields, checked before anything is run.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::language::Language;

use super::error::SuiteError;
use super::manifest::{ChoicesFrom, DataReference, FieldMap, Filter, Manifest, Text};
use super::math_gold::check_math_gold;
use super::read::path::{find, text};
use super::read::{self, DataRow, Place};
use super::{Problem, Task, choices, data};

/// More is no suite of problems.
const PROBLEMS_MAX: usize = 1_000_000;

/// What was read of the data.
pub(super) struct Referenced {
    pub problems: HashMap<Language, Vec<Problem>>,
    /// Digest of every file, by its name in the source.
    pub digests: BTreeMap<String, String>,
}

pub(super) fn read(
    manifest: &Manifest,
    reference: &DataReference,
    fields: &FieldMap,
    root: Option<&Path>,
    languages: &[Language],
) -> Result<Referenced, SuiteError> {
    let paths = data::locate(manifest, reference, root, languages)?;
    let mut read = Referenced { problems: HashMap::new(), digests: BTreeMap::new() };
    for language in languages {
        let mut reader =
            Reader { manifest, reference, fields, language: *language, rows: 0, seen: HashMap::new() };
        let mut found = Vec::new();
        for (name, path) in reference.files[language].iter().zip(&paths[language]) {
            if !read.digests.contains_key(name) {
                read.digests.insert(name.clone(), data::verified(path, name, reference)?);
            }
            reader.file(path, &mut found)?;
        }
        reader.check_count(&paths[language], found.len())?;
        read.problems.insert(*language, found);
    }
    Ok(read)
}

/// Reads one language's files.
struct Reader<'a> {
    manifest: &'a Manifest,
    reference: &'a DataReference,
    fields: &'a FieldMap,
    language: Language,
    /// Rows of this language so far: the ids where the source has none.
    rows: usize,
    /// Where each id was first.
    seen: HashMap<String, (PathBuf, Place)>,
}

impl Reader<'_> {
    fn file(&mut self, path: &Path, found: &mut Vec<Problem>) -> Result<(), SuiteError> {
        let file = path.display().to_string();
        let asked = asked(self.fields, self.manifest, self.reference);
        for row in read::rows(path, self.reference.layout, &asked)? {
            let row = row?;
            if !self.is_own(&row, &file)? {
                continue;
            }
            self.rows += 1;
            if !self.passes(&row, &file)? {
                continue;
            }
            let wrong = |(field, message): (String, String)| row.at.wrong(&file, &field, &message);
            let problem = self.problem(&row).map_err(wrong)?;
            if let Some((before, at)) = self.seen.get(&problem.id) {
                let place = match at {
                    Place::Line(line) => format!("line {line}"),
                    Place::Row(row) => format!("row {row}"),
                };
                let of = if before == path { String::new() } else { format!(" of {}", before.display()) };
                let message = format!("{:?} is also the id of {place}{of}", problem.id);
                return Err(row.at.wrong(&file, "id", &message));
            }
            self.seen.insert(problem.id.clone(), (path.to_owned(), row.at));
            if found.len() == PROBLEMS_MAX {
                return Err(row.at.wrong(&file, "row", &format!("is one of more than {PROBLEMS_MAX}")));
            }
            found.push(problem);
        }
        Ok(())
    }

    /// Whether the row is of the language, in a file of several.
    fn is_own(&self, row: &DataRow, file: &str) -> Result<bool, SuiteError> {
        let Some(path) = &self.fields.language else { return Ok(true) };
        let Some(value) = find(&row.value, path) else {
            return Err(row.at.wrong(file, path, "is missing"));
        };
        let code = text(&value).map_err(|message| row.at.wrong(file, path, &message))?;
        // Languages that we do not know are others.
        Ok(code.parse() == Ok(self.language) || code.eq_ignore_ascii_case(self.language.english_name()))
    }

    fn passes(&self, row: &DataRow, file: &str) -> Result<bool, SuiteError> {
        for Filter { path, equals, starts_with } in &self.reference.filters {
            let Some(value) = find(&row.value, path) else {
                return Err(row.at.wrong(file, path, "is missing, and the suite chooses rows by it"));
            };
            let value = text(&value).map_err(|message| row.at.wrong(file, path, &message))?;
            if !equals.contains(&value) && !starts_with.iter().any(|start| value.starts_with(start)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Errors are a field and what is wrong with it.
    fn problem(&self, row: &DataRow) -> Result<Problem, (String, String)> {
        let fields = self.fields;
        let id = match &fields.id {
            Some(path) => needed(&row.value, path)?,
            None => self.rows.to_string(),
        };
        let problem = match &fields.problem {
            Text::Path(path) => needed(&row.value, path)?,
            Text::Template(template) => filled(template, &row.value)?,
        };
        let answer = fields.answer.as_ref().map(|path| needed(&row.value, path).map(|answer| (path, answer)));
        let answer = answer.transpose()?;
        let mut kept = kept(fields, &row.value)?;
        let (answer, choices) = match &self.manifest.choices {
            None => (self.gold(answer)?, Vec::new()),
            Some(map) => {
                let answer = answer.as_ref().map(|(_, answer)| answer.as_str());
                let found = choices::of_row(map, &row.value, &id, answer)?;
                if let Some(order) = found.order {
                    kept.insert(super::CHOICE_ORDER.to_owned(), order.into());
                }
                (choices::letter(found.correct).to_string(), found.shown)
            }
        };
        Ok(Problem { id, problem, answer, choices, fields: kept })
    }

    fn gold(&self, answer: Option<(&String, String)>) -> Result<String, (String, String)> {
        let Some((path, mut answer)) = answer else { return Ok(String::new()) };
        for rule in &self.fields.rules {
            answer = rule.apply(&answer).map_err(|message| (path.clone(), message))?;
        }
        if !self.fields.names.is_empty() {
            let named = answer.parse::<usize>().ok().and_then(|index| self.fields.names.get(index));
            answer = named.cloned().ok_or_else(|| {
                (
                    path.clone(),
                    format!("{answer:?} is the number of none of the {} names", self.fields.names.len()),
                )
            })?;
        }
        if self.manifest.task == Task::Math {
            check_math_gold(self.manifest, &answer).map_err(|message| (path.clone(), message))?;
        }
        Ok(answer)
    }

    fn check_count(&self, paths: &[PathBuf], found: usize) -> Result<(), SuiteError> {
        let wrong = |message: String| {
            let files: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
            SuiteError::Data { file: files.join(", "), field: self.language.to_string(), message }
        };
        match self.reference.problems {
            Some(wanted) if wanted != found as u64 => {
                Err(wrong(format!("has {found} problems, and suite.toml says {wanted}: is the file whole?")))
            }
            _ if found == 0 => Err(wrong(format!("has no problems among {} rows", self.rows))),
            _ => Ok(()),
        }
    }
}

fn needed(row: &Value, path: &str) -> Result<String, (String, String)> {
    let wrong = |message: &str| (path.to_owned(), message.to_owned());
    let value = find(row, path).ok_or_else(|| wrong("is missing"))?;
    let text = text(&value).map_err(|message| wrong(&message))?;
    if text.trim().is_empty() { Err(wrong("is empty")) } else { Ok(text) }
}

fn kept(fields: &FieldMap, row: &Value) -> Result<Map<String, Value>, (String, String)> {
    let mut kept = Map::new();
    for (name, path) in &fields.keep {
        // What some problems lack is left out.
        let Some(value) = find(row, path).map(Cow::into_owned) else { continue };
        let value = match value {
            Value::String(text) if fields.json.contains(name) => serde_json::from_str(&text)
                .map_err(|error| (path.clone(), format!("is not JSON: {error}")))?,
            value => value,
        };
        kept.insert(name.clone(), value);
    }
    Ok(kept)
}

/// A template with `{path}` replaced by what stands there.
///
/// # Errors
/// The path that is missing, and what is wrong with it.
pub(super) fn filled(template: &str, row: &Value) -> Result<String, (String, String)> {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        match after.split_once('}') {
            Some((path, after)) if !path.is_empty() => {
                text.push_str(&needed(row, path)?);
                rest = after;
            }
            _ => {
                text.push('{');
                rest = after;
            }
        }
    }
    Ok(text + rest)
}

fn placeholders(template: &str) -> Vec<&str> {
    template.split('{').skip(1).filter_map(|part| part.split_once('}')).map(|(path, _)| path).collect()
}

/// All paths that are asked of a row.
fn asked<'a>(fields: &'a FieldMap, manifest: &'a Manifest, reference: &'a DataReference) -> Vec<&'a str> {
    let mut asked: Vec<&str> = match &fields.problem {
        Text::Path(path) => vec![path],
        Text::Template(template) => placeholders(template),
    };
    asked.extend([&fields.id, &fields.answer, &fields.language].into_iter().flatten().map(String::as_str));
    asked.extend(fields.keep.iter().map(|(_, path)| path.as_str()));
    asked.extend(reference.filters.iter().map(|filter| filter.path.as_str()));
    match manifest.choices.as_ref().map(|map| &map.from) {
        Some(ChoicesFrom::Columns(columns)) => asked.extend(columns.iter().map(String::as_str)),
        Some(ChoicesFrom::List { path, labels }) => {
            asked.extend([path].into_iter().chain(labels).map(String::as_str));
        }
        Some(ChoicesFrom::Values(_)) | None => {}
    }
    asked
}
