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
    /// May hold `{language}`.
    pub file: String,
    /// Where the worked examples are, if there are any; may hold `{language}`.
    pub examples: Option<String>,
    pub sha256: BTreeMap<String, String>,
    pub prompts: BTreeMap<Language, Prompt>,
}

const KEYS: [&str; 12] = [
    "name",
    "version",
    "description",
    "licence",
    "revision",
    "source",
    "languages",
    "task",
    "file",
    "examples",
    "sha256",
    "prompts",
];

impl Manifest {
    pub fn parse(text: &str, file: &str) -> Result<Self, SuiteError> {
        let table: Table = text.parse().map_err(|error: toml::de::Error| SuiteError::Toml {
            file: file.to_owned(),
            message: error.to_string().trim_end().to_owned(),
        })?;
        let reader = Reader { table: &table, file };
        reader.known_keys("", &table, &KEYS)?;
        let languages = reader.languages()?;
        let mut prompts = BTreeMap::new();
        for (code, value) in reader.table("prompts")? {
            let key = format!("prompts.{code}");
            let language =
                code.parse::<Language>().map_err(|error| reader.wrong(&key, &error.to_string()))?;
            prompts.insert(language, reader.prompt(&key, value)?);
        }
        for language in &languages {
            if !prompts.contains_key(language) {
                return Err(reader.wrong(&format!("prompts.{language}"), "is missing"));
            }
        }
        Ok(Self {
            name: reader.string("name")?,
            version: reader.string("version")?,
            description: reader.string("description")?,
            licence: reader.string("licence")?,
            revision: reader.string("revision")?,
            task: reader.task()?,
            file: reader.file_name("file")?,
            examples: if table.contains_key("examples") { Some(reader.file_name("examples")?) } else { None },
            sha256: reader.digests()?,
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

    /// A plain name: a manifest must not reach outside its folder.
    fn file_name(&self, key: &str) -> Result<String, SuiteError> {
        let name = self.string(key)?;
        if name.contains(['/', '\\']) || name.starts_with('.') {
            return Err(self.wrong(key, "must be a file name in the suite's own folder"));
        }
        Ok(name)
    }

    fn digests(&self) -> Result<BTreeMap<String, String>, SuiteError> {
        let mut digests = BTreeMap::new();
        for (name, value) in self.table("sha256")? {
            let key = format!("sha256.{name:?}");
            let digest = value.as_str().ok_or_else(|| self.wrong(&key, "must be a string"))?;
            if digest.len() != 64 || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(self.wrong(&key, "must be 64 hexadecimal digits"));
            }
            digests.insert(name.clone(), digest.to_ascii_lowercase());
        }
        Ok(digests)
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
