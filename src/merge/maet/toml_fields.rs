//! Typed reading of a TOML document: no key that nothing reads, no value of another type, and errors that name the path of
//! keys and the line, as those of mergekit's configurations do.

use std::ops::RangeInclusive;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::super::config::{ConfigError, ModelReference, Place, hint, quoted};

const BYTES_MAX: usize = 1 << 20;

/// A value and its place.
#[derive(Clone)]
pub struct At<'a> {
    value: &'a DeValue<'a>,
    pub place: Place,
    text: &'a str,
}

/// A table that has no other keys than the known ones.
pub struct Fields<'a> {
    table: &'a DeTable<'a>,
    pub place: Place,
    text: &'a str,
}

/// # Errors
/// `Syntax` for what is no TOML, `Limit` for what is larger than 1 MiB.
pub fn parse(text: &str) -> Result<Spanned<DeTable<'_>>, ConfigError> {
    if text.len() > BYTES_MAX {
        let what = format!("the recipe has {} bytes, at most {BYTES_MAX} are read", text.len());
        return Err(ConfigError::Limit { line: 1, what });
    }
    DeTable::parse(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let line_start = before(text, start).rfind('\n').map_or(0, |newline| newline + 1);
        let column = before(text, start)[line_start..].chars().count() + 1;
        let what = error.message().replace('\n', ", ");
        ConfigError::Syntax { line: line_of(text, start), column, what }
    })
}

/// # Errors
/// `UnknownKey`.
pub fn top<'a>(
    document: &'a Spanned<DeTable<'a>>,
    text: &'a str,
    known: &[&str],
) -> Result<Fields<'a>, ConfigError> {
    Fields { table: document.get_ref(), place: Place::new("", 1), text }.only(known)
}

impl<'a> Fields<'a> {
    fn only(self, known: &[&str]) -> Result<Self, ConfigError> {
        for key in self.table.keys() {
            let name: &str = key.get_ref();
            if !known.contains(&name) {
                let place = Place::new(self.place.under(name).key, line_of(self.text, key.span().start));
                return Err(ConfigError::UnknownKey { place, hint: hint(name, known.iter().copied()) });
            }
        }
        Ok(self)
    }

    pub fn get(&self, key: &str) -> Option<At<'a>> {
        let (name, value) = self.table.iter().find(|(name, _)| name.get_ref() == key)?;
        let place = Place::new(self.place.under(key).key, line_of(self.text, name.span().start));
        Some(At { value: value.get_ref(), place, text: self.text })
    }

    /// # Errors
    /// `Absent`, with the way out.
    pub fn need(&self, key: &str, way_out: &str) -> Result<At<'a>, ConfigError> {
        self.get(key).ok_or_else(|| self.place.under(key).absent(way_out))
    }

    /// # Errors
    /// A value that is no number of the range.
    pub fn number(&self, key: &str, usual: f64, range: RangeInclusive<f64>) -> Result<f64, ConfigError> {
        self.get(key).map_or(Ok(usual), |at| at.number(range))
    }

    /// # Errors
    /// A value that is neither true nor false.
    pub fn flag(&self, key: &str, usual: bool) -> Result<bool, ConfigError> {
        match self.get(key) {
            None => Ok(usual),
            Some(at) => match at.value {
                DeValue::Boolean(flag) => Ok(*flag),
                _ => Err(at.mistyped("true or false")),
            },
        }
    }

    /// One of some names.
    ///
    /// # Errors
    /// A value that is none of them.
    pub fn choice<T>(
        &self,
        key: &str,
        usual: T,
        names: &[&str],
        named: impl Fn(&str) -> Option<T>,
    ) -> Result<T, ConfigError> {
        let Some(at) = self.get(key) else { return Ok(usual) };
        let name = at.string()?;
        named(name).ok_or_else(|| {
            at.place
                .wrong(format!("{} is not among the known", quoted(name)), hint(name, names.iter().copied()))
        })
    }
}

impl<'a> At<'a> {
    pub fn value(&self) -> &'a DeValue<'a> {
        self.value
    }

    pub fn is_list(&self) -> bool {
        matches!(self.value, DeValue::Array(_))
    }

    /// # Errors
    /// A value that is no list.
    pub fn items(&self) -> Result<Vec<At<'a>>, ConfigError> {
        let DeValue::Array(items) = self.value else { return Err(self.mistyped("a list")) };
        let at = |(index, item): (usize, &'a Spanned<DeValue<'a>>)| At {
            value: item.get_ref(),
            place: Place::new(self.place.under(index).key, line_of(self.text, item.span().start)),
            text: self.text,
        };
        Ok(items.iter().enumerate().map(at).collect())
    }

    /// # Errors
    /// A value that is no table, or a key that is not known.
    pub fn fields(&self, known: &[&str]) -> Result<Fields<'a>, ConfigError> {
        let DeValue::Table(table) = self.value else { return Err(self.mistyped("a table")) };
        Fields { table, place: self.place.clone(), text: self.text }.only(known)
    }

    /// # Errors
    /// A value that is no text, or an empty one.
    pub fn string(&self) -> Result<&'a str, ConfigError> {
        match self.value {
            DeValue::String(text) if !text.is_empty() => Ok(text),
            _ => Err(self.mistyped("a text")),
        }
    }

    /// # Errors
    /// A text that names no model.
    pub fn model(&self) -> Result<ModelReference, ConfigError> {
        let text = self.string()?;
        text.parse().map_err(|error: super::super::config::ReferenceError| {
            self.place.wrong(error.to_string(), "write `path@revision+adapter` or part of it")
        })
    }

    fn number(&self, range: RangeInclusive<f64>) -> Result<f64, ConfigError> {
        let found = match self.value {
            DeValue::Integer(whole) => {
                i64::from_str_radix(whole.as_str(), whole.radix()).ok().map(|n| n as f64)
            }
            DeValue::Float(float) => float.as_str().parse().ok(),
            _ => None,
        };
        match found.filter(|number: &f64| number.is_finite()) {
            None => Err(self.mistyped("a finite number")),
            Some(number) if range.contains(&number) => Ok(number),
            Some(number) => {
                let way_out =
                    if range == (0.0..=1.0) { "a share is meant: 0.8 for 80 %" } else { "change it" };
                let what = format!("{number} is not between {} and {}", range.start(), range.end());
                Err(self.place.wrong(what, way_out))
            }
        }
    }

    fn mistyped(&self, wanted: &str) -> ConfigError {
        let found = match self.value {
            DeValue::String(text) => quoted(text),
            DeValue::Integer(whole) => quoted(whole.as_str()),
            DeValue::Float(float) => quoted(float.as_str()),
            DeValue::Boolean(flag) => quoted(&flag.to_string()),
            DeValue::Datetime(_) => "a date".to_owned(),
            DeValue::Array(_) => "a list".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
        };
        self.place.wrong(format!("{found} is not {wanted}"), format!("write {wanted}"))
    }
}

fn before(text: &str, at: usize) -> &str {
    text.get(..at).unwrap_or(text)
}

fn line_of(text: &str, at: usize) -> usize {
    before(text, at).bytes().filter(|byte| *byte == b'\n').count() + 1
}
