//! What can be wrong with a merge configuration, and where: the line and the path of keys.

use std::fmt;

use crate::protocol::nearest::nearest;

/// An error of a configuration. It reads `line L: key.path: what is wrong; the way out`, with whatever the
/// text says quoted, escaped and clipped. The caller puts the file's name in front.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// The text is not YAML, or YAML of a kind that means nothing here.
    #[error("line {line}, column {column}: {what}")]
    Syntax { line: usize, column: usize, what: String },
    /// The text is larger, deeper or wider than any configuration has to be.
    #[error("line {line}: {what}; a merge configuration is far smaller, see that this is one")]
    Limit { line: usize, what: String },
    /// A key stands twice in one mapping.
    #[error("{place}: is given twice, first on line {first}; keep one of them")]
    Duplicate { place: Place, first: usize },
    /// A key that nothing reads.
    #[error("{place}: is not a known key; {hint}")]
    UnknownKey { place: Place, hint: String },
    /// A key that has to be there and is not.
    #[error("{place}: is missing; {way_out}")]
    Absent { place: Place, way_out: String },
    /// A value of the wrong type, out of its range or not among those known.
    #[error("{place}: {what}; {way_out}")]
    Value { place: Place, what: String, way_out: String },
    /// Values that are right alone and wrong together.
    #[error("{place}: {what}; {way_out}")]
    Conflict { place: Place, what: String, way_out: String },
    /// A parameter that no scope sets, for all or for one tensor.
    #[error(
        "{place}: missing required parameter {parameter}{}{}; set it there, or in `parameters` at the top",
        labelled(" for model", model.as_deref()),
        labelled(", tensor", tensor.as_deref())
    )]
    Missing { place: Place, parameter: String, model: Option<String>, tensor: Option<String> },
}

impl ConfigError {
    /// The path of keys at fault; `None` for a text that cannot be read, and at the top.
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Syntax { .. } | Self::Limit { .. } => None,
            Self::Duplicate { place, .. }
            | Self::UnknownKey { place, .. }
            | Self::Absent { place, .. }
            | Self::Value { place, .. }
            | Self::Conflict { place, .. }
            | Self::Missing { place, .. } => Some(place.key.as_str()).filter(|key| !key.is_empty()),
        }
    }

    /// The line at fault, from 1.
    pub fn line(&self) -> usize {
        match self {
            Self::Syntax { line, .. } | Self::Limit { line, .. } => *line,
            Self::Duplicate { place, .. }
            | Self::UnknownKey { place, .. }
            | Self::Absent { place, .. }
            | Self::Value { place, .. }
            | Self::Conflict { place, .. }
            | Self::Missing { place, .. } => place.line,
        }
    }
}

/// Where something stands in the text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Place {
    /// The keys from the top, with dots, list elements by number from 0: `models.1.parameters.density`. Empty
    /// at the top.
    pub key: String,
    /// From 1.
    pub line: usize,
}

impl Place {
    pub fn new(key: impl Into<String>, line: usize) -> Self {
        Self { key: key.into(), line }
    }

    /// A key below this one, on the same line.
    #[must_use]
    pub fn under(&self, key: impl fmt::Display) -> Self {
        Self::new(joined(&self.key, key), self.line)
    }

    pub(in crate::merge) fn wrong(&self, what: impl Into<String>, way_out: impl Into<String>) -> ConfigError {
        ConfigError::Value { place: self.clone(), what: what.into(), way_out: way_out.into() }
    }

    pub(super) fn conflict(&self, what: impl Into<String>, way_out: impl Into<String>) -> ConfigError {
        ConfigError::Conflict { place: self.clone(), what: what.into(), way_out: way_out.into() }
    }

    pub(in crate::merge) fn absent(&self, way_out: impl Into<String>) -> ConfigError {
        ConfigError::Absent { place: self.clone(), way_out: way_out.into() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "line {}", self.line)?;
        match self.key.as_str() {
            "" => Ok(()),
            key => write!(formatter, ": {}", clipped(key)),
        }
    }
}

/// A path of keys and one key more.
pub(super) fn joined(path: &str, key: impl fmt::Display) -> String {
    if path.is_empty() { key.to_string() } else { format!("{path}.{key}") }
}

/// A text of the configuration as messages show it.
pub(in crate::merge) fn quoted(text: &str) -> String {
    format!("`{}`", clipped(text))
}

/// "did you mean" the nearest of the known names, or all of them.
pub(in crate::merge) fn hint<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known are {}", known.join(", ")),
    }
}

fn clipped(text: &str) -> String {
    const CHARACTERS_MAX: usize = 120;
    let mut clipped: String = text.chars().take(CHARACTERS_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(CHARACTERS_MAX).is_some() {
        clipped.push_str("...");
    }
    clipped
}

fn labelled(label: &str, name: Option<&str>) -> String {
    name.map_or_else(String::new, |name| format!("{label} {}", clipped(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_the_place_and_the_way_out() {
        let check = |error: ConfigError, expected: &str| assert_eq!(error.to_string(), expected);
        let place = Place::new("models", 4).under(1).under("parameters").under("weight");
        check(
            place.wrong("`heavy` is not a number", "write one"),
            "line 4: models.1.parameters.weight: `heavy` is not a number; write one",
        );
        check(Place::new("", 2).wrong("is a list", "write a mapping"), "line 2: is a list; write a mapping");
        check(
            ConfigError::Duplicate { place: Place::new("a\nb", 3), first: 1 },
            "line 3: a\\nb: is given twice, first on line 1; keep one of them",
        );
        let (parameter, model) = ("weight".to_owned(), Some("a+b".to_owned()));
        check(
            ConfigError::Missing { place, parameter, model, tensor: Some("x.weight".to_owned()) },
            "line 4: models.1.parameters.weight: missing required parameter weight for model a+b, tensor x.weight; \
             set it there, or in `parameters` at the top",
        );
    }

    #[test]
    fn quotes_clip_and_escape() {
        assert_eq!(quoted("a\tü"), "`a\\tü`");
        assert_eq!(quoted(&"x".repeat(1000)).len(), 125);
    }

    #[test]
    fn hints_name_the_nearest_or_all() {
        assert_eq!(hint("densty", ["weight", "density"]), "did you mean `density`?");
        assert_eq!(hint("temperature", ["weight", "density"]), "known are weight, density");
    }
}
