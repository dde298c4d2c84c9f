//! The part of suite.toml that says where problems come from and which of a row's columns are what.

use std::collections::BTreeMap;

use crate::language::Language;

use super::super::error::SuiteError;
use super::keys::Keys;

/// Data that the project does not ship: named, with where it is had, and found in the data directory.
#[derive(Debug, Clone)]
pub(in super::super) struct DataReference {
    /// A dataset of the hub, `owner/name`.
    pub dataset: String,
    pub config: Option<String>,
    pub split: Option<String>,
    /// The commit; `None` where it is not known.
    pub revision: Option<String>,
    /// Where a file is had, with `{file}` for its name (`{stem}`: without its ending), if not at the hub's usual place.
    pub url: Option<String>,
    /// Whether the source asks for an account and an agreement.
    pub gated: bool,
    /// Below the data directory; the suite's name unless given.
    pub folder: String,
    pub layout: Layout,
    pub files: BTreeMap<Language, Vec<String>>,
    pub sha256: BTreeMap<String, String>,
    pub filters: Vec<Filter>,
    /// Problems a language, to notice a file cut short.
    pub problems: Option<u64>,
}

/// How a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Layout {
    pub format: Format,
    /// Whether the first row of CSV and TSV names the columns; else they are called 0, 1, 2.
    pub header: bool,
    /// Whether quotes enclose fields of CSV and TSV.
    pub quoted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Format {
    Jsonl,
    Csv,
    Tsv,
    Parquet,
    Arrow,
}

/// Which rows count.
#[derive(Debug, Clone)]
pub(in super::super) struct Filter {
    pub path: String,
    pub equals: Vec<String>,
    pub starts_with: Vec<String>,
}

const FORMATS: [(&str, Format); 5] = [
    ("jsonl", Format::Jsonl),
    ("csv", Format::Csv),
    ("tsv", Format::Tsv),
    ("parquet", Format::Parquet),
    ("arrow", Format::Arrow),
];

const KEYS: [&str; 15] = [
    "dataset", "config", "split", "revision", "url", "gated", "folder", "file", "files", "format", "header",
    "quoted", "sha256", "where", "problems",
];

pub(super) fn reference(
    keys: &Keys<'_>,
    suite: &str,
    languages: &[Language],
) -> Result<DataReference, SuiteError> {
    keys.only(&KEYS)?;
    let files = files(keys, languages)?;
    let first = files.values().flatten().next().map_or("", String::as_str);
    let folder = keys.optional_text("folder")?.unwrap_or_else(|| suite.to_owned());
    if !is_below(&folder) {
        return Err(keys.wrong("folder", "must be a folder below the data directory"));
    }
    let url = keys.optional_text("url")?;
    if url.as_ref().is_some_and(|url| !url.starts_with("https://")) {
        return Err(keys.wrong("url", "must begin with https://"));
    }
    Ok(DataReference {
        dataset: keys.text("dataset")?,
        config: keys.optional_text("config")?,
        split: keys.optional_text("split")?,
        revision: keys.optional_text("revision")?,
        url,
        gated: keys.flag("gated", false)?,
        folder,
        layout: layout(keys, first)?,
        sha256: keys.digests("sha256")?,
        filters: filters(keys)?,
        problems: keys.count("problems")?,
        files,
    })
}

fn layout(keys: &Keys<'_>, file: &str) -> Result<Layout, SuiteError> {
    let extension = file.rsplit('.').next().unwrap_or_default();
    let by_name = FORMATS.iter().find(|(name, _)| *name == extension).map(|(_, format)| *format);
    let Some(format) = keys.one_of("format", "format of data", &FORMATS)?.or(by_name) else {
        let message = format!("is missing, and the name {file:?} does not tell it");
        return Err(keys.wrong("format", &message));
    };
    Ok(Layout {
        format,
        header: keys.flag("header", true)?,
        // TSV as it is written has no quoting: a quotation mark in it is one.
        quoted: keys.flag("quoted", format == Format::Csv)?,
    })
}

/// `file` for all languages, with `{language}` in it or not, or a table `files` by language.
fn files(keys: &Keys<'_>, languages: &[Language]) -> Result<BTreeMap<Language, Vec<String>>, SuiteError> {
    let mut files = BTreeMap::new();
    match (keys.has("file"), keys.table("files")?) {
        (true, Some(_)) => return Err(keys.wrong("files", "stands beside file; give one of them")),
        (false, None) => return Err(keys.wrong("file", "is missing")),
        (true, None) => {
            let patterns = keys.texts("file")?;
            for language in languages {
                let name = |pattern: &String| pattern.replace("{language}", language.code());
                files.insert(*language, patterns.iter().map(name).collect());
            }
        }
        (false, Some(table)) => {
            for (code, _) in table.entries() {
                let language = table.language(code, code)?;
                if !languages.contains(&language) {
                    return Err(table.wrong(code, "is not among the languages of the suite"));
                }
                files.insert(language, table.texts(code)?);
            }
            if let Some(language) = languages.iter().find(|language| !files.contains_key(language)) {
                return Err(table.wrong(language.code(), "is missing"));
            }
        }
    }
    for names in files.values() {
        if names.is_empty() || names.iter().any(|name| !is_below(name)) {
            return Err(keys.wrong("file", "must be names of files below the data directory"));
        }
    }
    Ok(files)
}

/// A manifest must not reach outside the data directory.
fn is_below(name: &str) -> bool {
    let part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains(['\\', ':', '\0']);
    name.split('/').all(part)
}

/// `where.COLUMN = "x"`, `["x", "y"]`, or `{ starts_with = [..] }`.
fn filters(keys: &Keys<'_>) -> Result<Vec<Filter>, SuiteError> {
    let Some(table) = keys.table("where")? else { return Ok(Vec::new()) };
    let one = |path: &String| {
        let mut filter = Filter { path: path.clone(), equals: Vec::new(), starts_with: Vec::new() };
        if table.get(path).is_some_and(toml::Value::is_table) {
            let condition = table.needed_table(path)?;
            condition.only(&["starts_with"])?;
            filter.starts_with = condition.texts("starts_with")?;
        } else {
            filter.equals = table.texts(path)?;
        }
        if filter.equals.is_empty() && filter.starts_with.is_empty() {
            return Err(table.wrong(path, "names no value"));
        }
        Ok(filter)
    };
    table.entries().map(|(path, _)| one(path)).collect()
}
