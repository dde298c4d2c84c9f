//! Typed reading of a tree: what YAML 1.1 and mergekit take for a number, a truth value or a text, and errors
//! that name the path of keys and the line.
//!
//! Departs from mergekit where a value means two things or likely another: `010` (8 or 10), a number where a
//! text is meant, an unknown key.

use std::ops::RangeInclusive;

use super::error::{ConfigError, Place, hint, quoted};
use super::yaml::{Entry, Node, Value};

/// A node and its place.
#[derive(Debug, Clone)]
pub struct At<'a> {
    node: &'a Node,
    pub place: Place,
}

/// The fields of a mapping with known keys. One without a value (`key:`) is as good as absent.
#[derive(Debug)]
pub struct Fields<'a> {
    pub place: Place,
    fields: Vec<(&'a str, At<'a>)>,
}

impl<'a> At<'a> {
    pub fn top(node: &'a Node) -> Self {
        Self { node, place: Place::new("", node.line) }
    }

    pub fn is_list(&self) -> bool {
        matches!(self.node.value, Value::List(_))
    }

    pub fn is_map(&self) -> bool {
        matches!(self.node.value, Value::Map(_))
    }

    /// `~`, `null` or nothing at all.
    pub fn is_null(&self) -> bool {
        self.plain().is_some_and(|text| ["", "~", "null", "Null", "NULL"].contains(&text))
    }

    /// The elements of a list.
    pub fn items(&self) -> Result<Vec<At<'a>>, ConfigError> {
        let Value::List(items) = &self.node.value else { return Err(self.mistyped("a list")) };
        let at = |(index, node): (usize, &'a Node)| At {
            node,
            place: Place::new(self.place.under(index).key, node.line),
        };
        Ok(items.iter().enumerate().map(at).collect())
    }

    /// The entries of a mapping whose keys are free.
    pub fn entries(&self) -> Result<Vec<(&'a str, At<'a>)>, ConfigError> {
        let Value::Map(entries) = &self.node.value else { return Err(self.mistyped("a mapping")) };
        let at = |entry: &'a Entry| {
            let place = Place::new(self.place.under(&entry.key).key, entry.line);
            (entry.key.as_str(), At { node: &entry.node, place })
        };
        Ok(entries.iter().map(at).collect())
    }

    /// The entries of a mapping that has no others than the known keys.
    pub fn fields(&self, known: &[&str]) -> Result<Fields<'a>, ConfigError> {
        let fields = self.entries()?;
        match fields.iter().find(|(key, _)| !known.contains(key)) {
            None => Ok(Fields { place: self.place.clone(), fields }),
            Some((key, at)) => {
                let hint = hint(key, known.iter().copied());
                Err(ConfigError::UnknownKey { place: at.place.clone(), hint })
            }
        }
    }

    /// A text that is not empty. Without quotes it must not read as something else.
    pub fn text(&self) -> Result<&'a str, ConfigError> {
        let Value::Scalar { text, plain } = &self.node.value else { return Err(self.mistyped("a text")) };
        if self.is_null() || text.is_empty() {
            return Err(self.mistyped("a text"));
        }
        if *plain && (is_word(text) || numeric(text)) {
            return Err(
                self.wrong(format!("{} is no text", quoted(text)), "put it in quotes if it is meant as one")
            );
        }
        Ok(text)
    }

    /// A truth value: true, yes, on, t, y, 1 and their opposites, in any case, in quotes or not.
    pub fn flag(&self) -> Result<bool, ConfigError> {
        self.scalar().and_then(truth).ok_or_else(|| self.mistyped("true or false"))
    }

    /// A finite number, in quotes or not. A truth value without quotes counts as 1 or 0.
    pub fn number(&self) -> Result<f64, ConfigError> {
        let mistyped = || self.mistyped("a number");
        let text = self.scalar().ok_or_else(mistyped)?.trim();
        if self.plain().is_some() {
            if is_word(text) {
                return truth(text).map(f64::from).ok_or_else(mistyped);
            }
            self.refuse_octal(text)?;
        }
        let number = match text.trim_start_matches(['-', '+']) {
            ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN" => f64::NAN,
            _ => text.replace('_', "").parse().map_err(|_| mistyped())?,
        };
        if f64::is_finite(number) { Ok(number) } else { Err(self.mistyped("a finite number")) }
    }

    /// A whole number in a range. Words for truth values are none.
    pub fn whole(&self, range: RangeInclusive<u32>) -> Result<u32, ConfigError> {
        let wanted = || format!("a whole number from {} to {}", range.start(), range.end());
        let number = match self.scalar() {
            Some(text) if !is_word(text) => self.number()?,
            _ => return Err(self.mistyped(wanted())),
        };
        let is_in =
            number.fract() == 0.0 && (f64::from(*range.start())..=f64::from(*range.end())).contains(&number);
        if is_in { Ok(number as u32) } else { Err(self.mistyped(wanted())) }
    }

    pub fn wrong(&self, what: impl Into<String>, way_out: impl Into<String>) -> ConfigError {
        self.place.wrong(what, way_out)
    }

    /// "... is not `wanted`".
    pub fn mistyped(&self, wanted: impl AsRef<str>) -> ConfigError {
        let wanted = wanted.as_ref();
        let found = match &self.node.value {
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
            _ if self.is_null() => {
                return self.wrong("has no value", format!("write {wanted}, or remove the key"));
            }
            Value::Scalar { text, .. } => quoted(text),
        };
        self.wrong(format!("{found} is not {wanted}"), format!("write {wanted}"))
    }

    /// The text of a scalar, quoted or not.
    pub fn scalar(&self) -> Option<&'a str> {
        match &self.node.value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    fn plain(&self) -> Option<&'a str> {
        match &self.node.value {
            Value::Scalar { text, plain: true } => Some(text),
            _ => None,
        }
    }

    /// A leading 0 makes octal of a whole number in YAML 1.1 and nothing in 1.2.
    fn refuse_octal(&self, text: &str) -> Result<(), ConfigError> {
        let digits = text.trim_start_matches(['-', '+']);
        if digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(self.wrong(
                format!("{} may be octal or decimal", quoted(text)),
                "write it without the leading 0",
            ));
        }
        Ok(())
    }
}

impl<'a> Fields<'a> {
    pub fn get(&self, key: &str) -> Option<&At<'a>> {
        self.fields.iter().find(|(known, at)| *known == key && !at.is_null()).map(|(_, at)| at)
    }

    pub fn need(&self, key: &str, way_out: &str) -> Result<&At<'a>, ConfigError> {
        self.get(key).ok_or_else(|| {
            let written = self.fields.iter().find(|(known, _)| *known == key);
            let place = written.map_or_else(|| self.place.under(key), |(_, at)| at.place.clone());
            place.absent(way_out)
        })
    }
}

/// Whether YAML 1.1 reads the text as a truth value.
fn is_word(text: &str) -> bool {
    ["true", "false", "yes", "no", "on", "off"].iter().any(|word| text.eq_ignore_ascii_case(word))
}

fn truth(text: &str) -> Option<bool> {
    let is_one_of = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is_one_of(&["true", "yes", "on", "t", "y", "1", "1.0"]) {
        return Some(true);
    }
    is_one_of(&["false", "no", "off", "f", "n", "0", "0.0"]).then_some(false)
}

fn numeric(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first))
        && text.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests;
