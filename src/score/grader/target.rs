//! A language that a grader names, or that each item names for it.

use serde_json::Value;

use super::template::{Missing, Template};
use super::{GraderError, item_template, join};
use crate::language::{Language, UnknownLanguage};

#[derive(Debug)]
pub(super) enum Target {
    Fixed(Language),
    OfItem(Template),
}

impl Target {
    /// From a BCP 47 tag or a template.
    pub fn compile(text: &str, path: &str, field: &str) -> Result<Self, GraderError> {
        let template = item_template(text, path, field)?;
        match template.constant() {
            None => Ok(Self::OfItem(template)),
            Some(tag) => {
                let refused = |error: UnknownLanguage| GraderError::definition(&join(path, field), error);
                tag.parse().map(Self::Fixed).map_err(refused)
            }
        }
    }

    pub fn of(&self, item: &Value) -> Result<Language, Missing> {
        match self {
            Self::Fixed(language) => Ok(*language),
            Self::OfItem(template) => {
                let tag = template.render_item(item)?;
                tag.parse().map_err(|error: UnknownLanguage| Missing::new(template, &error))
            }
        }
    }
}
