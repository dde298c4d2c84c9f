//! suite.toml: read strictly, so that a mistyped key is an error and not a silent default.

use std::collections::BTreeMap;

use toml::{Table, Value};

use crate::language::Language;

use super::error::{SuiteError, hint};
use super::{PLACEHOLDER, Prompt, Task};

#[derive(Debug)]
pub(super) struct Manifest {
    pub name: String,
    pub version: String,
    pub description: String,
    pub licence: String,
    pub revision: String,
    pub task: Task,
    pub languages: Vec<Language>,
    /// An entry a language; languages may share a file.
    pub files: BTreeMap<Language, FileReference>,
    pub prompts: BTreeMap<Language, Prompt>,
}

/// A problem file and the digest it must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileReference {
    pub path: String,
    pub sha256: String,
}

const KEYS: [&str; 10] = [
    "name",
    "version",
    "description",
    "licence",
    "revision",
    "source",
    "languages",
    "task",
    "files",
    "prompts",
];

impl Manifest {
    /// Whether the language's problems stand in the same file as another's.
    pub fn share_a_file(&self, a: Language, b: Language) -> bool {
        matches!((self.files.get(&a), self.files.get(&b)), (Some(a), Some(b)) if a.path == b.path)
    }

    pub fn parse(text: &str, file: &str) -> Result<Self, SuiteError> {
        let table: Table = text.parse().map_err(|error: toml::de::Error| SuiteError::Toml {
            file: file.to_owned(),
            message: error.to_string().trim_end().to_owned(),
        })?;
        let reader = Reader { table: &table, file };
        reader.known_keys("", &table, &KEYS)?;
        let languages = reader.languages()?;
        let files =
            reader.by_language("files", &languages, |key, value| reader.file_reference(key, value))?;
        let prompts = reader.by_language("prompts", &languages, |key, value| reader.prompt(key, value))?;
        Ok(Self {
            name: reader.string("name")?,
            version: reader.string("version")?,
            description: reader.string("description")?,
            licence: reader.string("licence")?,
            revision: reader.string("revision")?,
            task: reader.task()?,
            files,
            languages,
            prompts,
        })
    }
}

struct Reader<'a> {
    table: &'a Table,
    file: &'a str,
}

impl Reader<'_> {
    fn wrong(&self, key: &str, message: &str) -> SuiteError {
        SuiteError::Manifest { file: self.file.to_owned(), key: key.to_owned(), message: message.to_owned() }
    }

    fn known_keys(&self, prefix: &str, table: &Table, known: &[&str]) -> Result<(), SuiteError> {
        match table.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(()),
            Some(key) => Err(SuiteError::UnknownKey {
                file: self.file.to_owned(),
                key: format!("{prefix}{key}"),
                hint: hint(key, known),
            }),
        }
    }

    fn string(&self, key: &str) -> Result<String, SuiteError> {
        match self.table.get(key) {
            Some(Value::String(text)) if !text.trim().is_empty() => Ok(text.clone()),
            Some(Value::String(_)) => Err(self.wrong(key, "is empty")),
            Some(other) => Err(self.wrong(key, &format!("must be a string, not {}", article(other)))),
            None => Err(self.wrong(key, "is missing")),
        }
    }

    fn table(&self, key: &str) -> Result<&Table, SuiteError> {
        match self.table.get(key) {
            Some(Value::Table(table)) => Ok(table),
            Some(other) => Err(self.wrong(key, &format!("must be a table, not {}", article(other)))),
            None => Err(self.wrong(key, "is missing")),
        }
    }

    fn languages(&self) -> Result<Vec<Language>, SuiteError> {
        let Some(Value::Array(codes)) = self.table.get("languages") else {
            return Err(self.wrong("languages", "must be a list of language codes"));
        };
        let mut languages = Vec::new();
        for code in codes {
            let code =
                code.as_str().ok_or_else(|| self.wrong("languages", "must be a list of language codes"))?;
            let language = code.parse().map_err(|error: crate::language::UnknownLanguage| {
                self.wrong("languages", &error.to_string())
            })?;
            if languages.contains(&language) {
                return Err(self.wrong("languages", &format!("{code:?} is listed twice")));
            }
            languages.push(language);
        }
        if languages.is_empty() { Err(self.wrong("languages", "is empty")) } else { Ok(languages) }
    }

    fn task(&self) -> Result<Task, SuiteError> {
        match self.string("task")?.as_str() {
            "math" => Ok(Task::Math),
            "text" => Ok(Task::Text),
            other => Err(self.wrong("task", &format!("{other:?} is no task; known: math, text"))),
        }
    }

    /// A table with an entry for every language of the suite.
    fn by_language<T>(
        &self,
        key: &str,
        languages: &[Language],
        parse: impl Fn(&str, &Value) -> Result<T, SuiteError>,
    ) -> Result<BTreeMap<Language, T>, SuiteError> {
        let mut found = BTreeMap::new();
        for (code, value) in self.table(key)? {
            let key = format!("{key}.{code}");
            let language: Language = code
                .parse()
                .map_err(|error: crate::language::UnknownLanguage| self.wrong(&key, &error.to_string()))?;
            if found.insert(language, parse(&key, value)?).is_some() {
                return Err(self.wrong(&key, &format!("is a second entry for {language}")));
            }
        }
        match languages.iter().find(|language| !found.contains_key(language)) {
            Some(language) => Err(self.wrong(&format!("{key}.{language}"), "is missing")),
            None => Ok(found),
        }
    }

    fn file_reference(&self, key: &str, value: &Value) -> Result<FileReference, SuiteError> {
        let Value::Table(table) = value else { return Err(self.wrong(key, "must be a table")) };
        self.known_keys(&format!("{key}."), table, &["path", "sha256"])?;
        let text = |name: &str| {
            let text = table.get(name).and_then(Value::as_str);
            text.ok_or_else(|| self.wrong(&format!("{key}.{name}"), "must be a string"))
        };
        let (path, sha256) = (text("path")?, text("sha256")?);
        // A manifest must not reach outside its folder.
        if path.is_empty() || path.contains(['/', '\\']) || path.starts_with('.') {
            return Err(self.wrong(&format!("{key}.path"), "must be a file name in the suite's own folder"));
        }
        if sha256.len() != 64 || !sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(self.wrong(&format!("{key}.sha256"), "must be 64 hexadecimal digits"));
        }
        Ok(FileReference { path: path.to_owned(), sha256: sha256.to_ascii_lowercase() })
    }

    fn prompt(&self, key: &str, value: &Value) -> Result<Prompt, SuiteError> {
        let Value::Table(table) = value else { return Err(self.wrong(key, "must be a table")) };
        self.known_keys(&format!("{key}."), table, &["system", "user"])?;
        let text = |name: &str| match table.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(self.wrong(&format!("{key}.{name}"), "must be a string")),
        };
        let user = text("user")?.ok_or_else(|| self.wrong(&format!("{key}.user"), "is missing"))?;
        if user.matches(PLACEHOLDER).count() != 1 {
            return Err(self.wrong(&format!("{key}.user"), &format!("must hold {PLACEHOLDER} exactly once")));
        }
        Ok(Prompt { system: text("system")?, user })
    }
}

fn article(value: &Value) -> String {
    let name = value.type_str();
    let vowel = name.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {name}", if vowel { "an" } else { "a" })
}
