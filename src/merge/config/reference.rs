//! How a configuration names a model: `path`, `path@revision`, `path+adapter`, or the same in a mapping.
//!
//! References are equal when they are so in writing, as in mergekit: `./a` and `a` are two models.

use std::fmt;
use std::str::FromStr;

use super::document::{At, Fields};
use super::error::{ConfigError, quoted};

pub(super) const REFERENCE_KEYS: &[&str] = &["model", "lora", "override_architecture"];
pub(super) const PATH_KEYS: &[&str] = &["path", "revision"];

/// A model: a folder or a name on the hub, with what is to be done to it before merging.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModelReference {
    pub path: String,
    pub revision: Option<String>,
    pub lora: Option<Lora>,
    /// Read as this architecture, whatever the model's own config says. Only the mapping form has it.
    pub override_architecture: Option<String>,
}

/// A LoRA adapter that is added to the model's weights.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lora {
    pub path: String,
    pub revision: Option<String>,
}

impl Lora {
    fn new((path, revision): (String, Option<String>)) -> Self {
        Self { path, revision }
    }
}

/// Why a text names no model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    #[error("{} has two adapters; a model takes one, merge the other in first", quoted(.0))]
    TwoAdapters(String),
    #[error("{} has two revisions; if one @ is the path's, write `{{model: {{path: .., revision: ..}}}}`", quoted(.0))]
    TwoRevisions(String),
    #[error("{} lacks a path or a revision; write `path@revision+adapter@revision` or part of it", quoted(.0))]
    Empty(String),
}

impl FromStr for ModelReference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let (model, lora) = match text.split_once('+') {
            Some((_, lora)) if lora.contains('+') => {
                return Err(ReferenceError::TwoAdapters(text.to_owned()));
            }
            Some((model, lora)) => (model, Some(lora)),
            None => (text, None),
        };
        let (path, revision) = path_and_revision(model)?;
        let lora = lora.map(path_and_revision).transpose()?;
        Ok(Self { path, revision, lora: lora.map(Lora::new), override_architecture: None })
    }
}

/// The form that `from_str` reads, but for paths with `+` or `@` and for the architecture, which it has no
/// place for.
impl fmt::Display for ModelReference {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(&self.path)?;
        write_revision(formatter, self.revision.as_deref())?;
        match &self.lora {
            Some(lora) => {
                write!(formatter, "+{}", lora.path)?;
                write_revision(formatter, lora.revision.as_deref())
            }
            None => Ok(()),
        }
    }
}

impl ModelReference {
    /// Reads the text or the mapping form.
    pub(super) fn read(at: &At) -> Result<Self, ConfigError> {
        if !at.is_map() {
            let text = at.text()?;
            return text.parse().map_err(|error| unreadable(at, &error));
        }
        let fields = at.fields(REFERENCE_KEYS)?;
        let model =
            fields.need("model", "write `{model: path}`, or the path alone instead of the mapping")?;
        let (path, revision) = read_path(model)?;
        let lora = fields.get("lora").map(read_path).transpose()?;
        let override_architecture = optional_text(&fields, "override_architecture")?;
        Ok(Self { path, revision, lora: lora.map(Lora::new), override_architecture })
    }
}

/// `path@revision`, or `{path, revision}`.
fn read_path(at: &At) -> Result<(String, Option<String>), ConfigError> {
    if !at.is_map() {
        return path_and_revision(at.text()?).map_err(|error| unreadable(at, &error));
    }
    let fields = at.fields(PATH_KEYS)?;
    let path = fields.need("path", "write the model's folder or its name on the hub")?.text()?;
    Ok((path.to_owned(), optional_text(&fields, "revision")?))
}

pub(super) fn optional_text(fields: &Fields, key: &str) -> Result<Option<String>, ConfigError> {
    fields.get(key).map(|at| at.text().map(str::to_owned)).transpose()
}

fn path_and_revision(text: &str) -> Result<(String, Option<String>), ReferenceError> {
    let (path, revision) = match text.split_once('@') {
        Some((_, revision)) if revision.contains('@') => {
            return Err(ReferenceError::TwoRevisions(text.to_owned()));
        }
        Some((path, revision)) => (path, Some(revision)),
        None => (text, None),
    };
    if path.is_empty() || revision == Some("") {
        return Err(ReferenceError::Empty(text.to_owned()));
    }
    Ok((path.to_owned(), revision.map(str::to_owned)))
}

fn unreadable(at: &At, error: &ReferenceError) -> ConfigError {
    let message = error.to_string();
    let (what, way_out) = message.split_once("; ").unwrap_or((&message, "write `path@revision+adapter`"));
    at.wrong(what, way_out)
}

fn write_revision(formatter: &mut fmt::Formatter, revision: Option<&str>) -> fmt::Result {
    revision.map_or(Ok(()), |revision| write!(formatter, "@{revision}"))
}

#[cfg(test)]
mod tests {
    use super::super::yaml::parse;
    use super::*;

    #[test]
    fn texts_name_models() {
        let check = |text: &str, path: &str, revision: Option<&str>, lora: Option<(&str, Option<&str>)>| {
            let reference: ModelReference = text.parse().expect(text);
            assert_eq!((reference.path.as_str(), reference.revision.as_deref()), (path, revision), "{text}");
            let found = reference.lora.as_ref().map(|lora| (lora.path.as_str(), lora.revision.as_deref()));
            assert_eq!(found, lora, "{text}");
            assert_eq!(reference.to_string(), text);
        };
        check("org/m", "org/m", None, None);
        check("org/m@main", "org/m", Some("main"), None);
        check("./m+./l", "./m", None, Some(("./l", None)));
        check("m@r+l@s", "m", Some("r"), Some(("l", Some("s"))));
    }

    #[test]
    fn texts_that_name_none() {
        let check = |text: &str, expected: &str| {
            let error = text.parse::<ModelReference>().expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        };
        check("a+b+c", "two adapters");
        check("a@b@c", "two revisions");
        check("a+b@c@d", "two revisions");
        for text in ["", "+l", "m+", "m@", "@r", "m+@s"] {
            check(text, "lacks a path");
        }
    }

    #[test]
    fn mappings_name_models() {
        let check = |text: &str, expected: &str| {
            let node = parse(text).expect(text);
            let found = ModelReference::read(&At::top(&node)).map(|reference| format!("{reference:?}"));
            let found = found.unwrap_or_else(|error| error.to_string());
            assert!(found.contains(expected), "{text}: {found}");
        };
        check("{model: a+b}", r#"path: "a+b", revision: None, lora: None"#);
        check(
            "{model: a@r, lora: l@s}",
            r#"revision: Some("r"), lora: Some(Lora { path: "l", revision: Some("s") })"#,
        );
        check(
            "{model: {path: /x@y+z, revision: v1}, lora: ~}",
            r#"path: "/x@y+z", revision: Some("v1"), lora: None"#,
        );
        check("{model: a, override_architecture: LlamaForCausalLM}", r#"Some("LlamaForCausalLM")"#);
        check("{path: a}", "line 1: path: is not a known key");
        check("{lora: a}", "line 1: model: is missing");
        check("{model: {path: 7}}", "line 1: model.path: `7` is no text");
        check("[a]", "line 1: a list is not a text");
    }
}
