//! A table of suite.toml, read strictly: every key known, every value of its type, and errors that name both.

use std::collections::BTreeMap;

use toml::{Table, Value};

use crate::language::{Language, UnknownLanguage};

use super::super::error::{SuiteError, hint};

/// One table, with where it stands.
pub(in super::super) struct Keys<'a> {
    pub file: &'a str,
    /// `""`, or `data.` with its dot.
    prefix: String,
    table: &'a Table,
}

impl<'a> Keys<'a> {
    pub fn root(table: &'a Table, file: &'a str) -> Self {
        Self { file, prefix: String::new(), table }
    }

    /// A table that stands somewhere below the root, such as `examples.data.` with its last dot.
    pub fn at(prefix: &str, table: &'a Table, file: &'a str) -> Self {
        Self { file, prefix: prefix.to_owned(), table }
    }

    pub fn wrong(&self, key: &str, message: &str) -> SuiteError {
        let key = format!("{}{key}", self.prefix);
        SuiteError::Manifest { file: self.file.to_owned(), key, message: message.to_owned() }
    }

    pub fn only(&self, known: &[&str]) -> Result<(), SuiteError> {
        match self.table.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(()),
            Some(key) => Err(SuiteError::UnknownKey {
                file: self.file.to_owned(),
                key: format!("{}{key}", self.prefix),
                hint: hint(key, known),
            }),
        }
    }

    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.table.get(key)
    }

    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    pub fn entries(&self) -> impl Iterator<Item = (&'a String, &'a Value)> {
        self.table.iter()
    }

    pub fn mistyped(&self, key: &str, wanted: &str, found: &Value) -> SuiteError {
        self.wrong(key, &format!("must be {wanted}, not {}", article(found)))
    }

    fn needed<T>(&self, key: &str, found: Option<T>) -> Result<T, SuiteError> {
        found.ok_or_else(|| self.wrong(key, "is missing"))
    }

    pub fn text(&self, key: &str) -> Result<String, SuiteError> {
        self.needed(key, self.optional_text(key)?)
    }

    pub fn optional_text(&self, key: &str) -> Result<Option<String>, SuiteError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) if text.trim().is_empty() => Err(self.wrong(key, "is empty")),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(self.mistyped(key, "a string", other)),
        }
    }

    pub fn flag(&self, key: &str, default: bool) -> Result<bool, SuiteError> {
        Ok(self.optional_flag(key)?.unwrap_or(default))
    }

    pub fn optional_flag(&self, key: &str) -> Result<Option<bool>, SuiteError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Boolean(flag)) => Ok(Some(*flag)),
            Some(other) => Err(self.mistyped(key, "true or false", other)),
        }
    }

    pub fn count(&self, key: &str) -> Result<Option<u64>, SuiteError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Integer(number)) => match u64::try_from(*number) {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(self.wrong(key, "must not be negative")),
            },
            Some(other) => Err(self.mistyped(key, "an integer", other)),
        }
    }

    pub fn number(&self, key: &str) -> Result<Option<f64>, SuiteError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Float(number)) => Ok(Some(*number)),
            Some(Value::Integer(number)) => Ok(Some(*number as f64)),
            Some(other) => Err(self.mistyped(key, "a number", other)),
        }
    }

    /// A string, or a list of strings; empty if absent.
    pub fn texts(&self, key: &str) -> Result<Vec<String>, SuiteError> {
        let wanted = "a string or a list of strings";
        match self.get(key) {
            None => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(vec![text.clone()]),
            Some(Value::Array(values)) => values
                .iter()
                .map(|value| {
                    value.as_str().map(str::to_owned).ok_or_else(|| self.mistyped(key, wanted, value))
                })
                .collect(),
            Some(other) => Err(self.mistyped(key, wanted, other)),
        }
    }

    pub fn table(&self, key: &str) -> Result<Option<Keys<'a>>, SuiteError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Table(table)) => {
                let prefix = format!("{}{key}.", self.prefix);
                Ok(Some(Keys { file: self.file, prefix, table }))
            }
            Some(other) => Err(self.mistyped(key, "a table", other)),
        }
    }

    /// A table that has to be there.
    pub fn needed_table(&self, key: &str) -> Result<Keys<'a>, SuiteError> {
        self.needed(key, self.table(key)?)
    }

    pub fn language(&self, key: &str, code: &str) -> Result<Language, SuiteError> {
        code.parse().map_err(|error: UnknownLanguage| self.wrong(key, &error.to_string()))
    }

    pub fn languages(&self, key: &str) -> Result<Vec<Language>, SuiteError> {
        let Some(Value::Array(codes)) = self.get(key) else {
            return Err(self.wrong(key, "must be a list of language codes"));
        };
        let mut languages = Vec::new();
        for code in codes {
            let code = code.as_str().ok_or_else(|| self.wrong(key, "must be a list of language codes"))?;
            let language = self.language(key, code)?;
            if languages.contains(&language) {
                return Err(self.wrong(key, &format!("{code:?} is listed twice")));
            }
            languages.push(language);
        }
        if languages.is_empty() { Err(self.wrong(key, "is empty")) } else { Ok(languages) }
    }

    /// Digests by file name; empty if the table is absent.
    pub fn digests(&self, key: &str) -> Result<BTreeMap<String, String>, SuiteError> {
        let mut digests = BTreeMap::new();
        for (name, value) in self.table(key)?.iter().flat_map(|table| table.entries().collect::<Vec<_>>()) {
            let key = format!("{key}.{name:?}");
            let digest = value.as_str().ok_or_else(|| self.wrong(&key, "must be a string"))?;
            if digest.len() != 64 || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(self.wrong(&key, "must be 64 hexadecimal digits"));
            }
            digests.insert(name.clone(), digest.to_ascii_lowercase());
        }
        Ok(digests)
    }

    /// The value's place among names that the format knows.
    pub fn one_of<T: Copy>(
        &self,
        key: &str,
        what: &str,
        known: &[(&str, T)],
    ) -> Result<Option<T>, SuiteError> {
        let Some(name) = self.optional_text(key)? else { return Ok(None) };
        if let Some((_, value)) = known.iter().find(|(known, _)| *known == name) {
            return Ok(Some(*value));
        }
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        Err(self.wrong(key, &format!("{name:?} is no {what}; known: {}", names.join(", "))))
    }
}

fn article(value: &Value) -> String {
    let name = value.type_str();
    let vowel = name.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {name}", if vowel { "an" } else { "a" })
}
