//! A text with a place for the user's. `{query}` is the only placeholder; other braces are what they are, so that prompts
//! may hold JSON or code.

use crate::model::ModelError;

const PLACEHOLDER: &str = "{query}";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryTemplate {
    text: String,
}

impl QueryTemplate {
    /// # Errors
    /// `InvalidKey` for a text without `{query}`: what the user wrote would be left out.
    pub fn parse(key: &str, text: &str) -> Result<Self, ModelError> {
        if text.contains(PLACEHOLDER) {
            return Ok(Self { text: text.to_owned() });
        }
        let expected = "a text with {query} in it, where the user's text goes".to_owned();
        Err(ModelError::InvalidKey { key: key.to_owned(), found: format!("{text:?}"), expected })
    }

    /// The template that is the user's text alone.
    pub fn query_alone() -> Self {
        Self { text: PLACEHOLDER.to_owned() }
    }

    /// A placeholder in the user's text is text.
    pub fn render(&self, query: &str) -> String {
        self.text.replace(PLACEHOLDER, query)
    }

    /// The template's own text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_alone_is_filled_in() {
        let check = |template, expected: &str| {
            let parsed = QueryTemplate::parse("prompt_template", template).unwrap();
            assert_eq!(parsed.render("1 + {query}"), expected);
        };
        check("{query}", "1 + {query}");
        check("Q: {query}\nA: {answer} {{}}", "Q: 1 + {query}\nA: {answer} {{}}");
        check("{query} {query}", "1 + {query} 1 + {query}");
        check("{{query}}", "{1 + {query}}");
        let message = QueryTemplate::parse("prompt_template", "{Query}").unwrap_err().to_string();
        assert!(
            message.contains("`prompt_template` is \"{Query}\"") && message.contains("{query}"),
            "{message}"
        );
    }
}
