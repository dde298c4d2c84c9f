//! The form of a verdict, and how it is read from what the judge said.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Rating,
    Correct,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// From 1 to 10.
    Rating(f64),
    Correct(bool),
}

impl Form {
    /// The schema, as OpenAI's `response_format` has it.
    pub fn response_format(self) -> Value {
        let (field, values) = match self {
            Self::Rating => ("rating", json!({"type": "integer", "minimum": 1, "maximum": 10})),
            Self::Correct => ("verdict", json!({"type": "string", "enum": ["correct", "incorrect"]})),
        };
        let schema = json!({
            "type": "object",
            "properties": {"explanation": {"type": "string"}, field: values},
            "required": ["explanation", field],
            "additionalProperties": false,
        });
        json!({"type": "json_schema", "json_schema": {"name": "verdict", "strict": true, "schema": schema}})
    }

    fn finding(self, object: &Value) -> Option<Finding> {
        match self {
            Self::Rating => {
                let rating = object.get("rating")?.as_f64()?;
                (1.0..=10.0).contains(&rating).then_some(Finding::Rating(rating))
            }
            Self::Correct => match object.get("verdict")?.as_str()? {
                "correct" => Some(Finding::Correct(true)),
                "incorrect" => Some(Finding::Correct(false)),
                _ => None,
            },
        }
    }
}

/// Braces tried from the end; an answer that holds more of them holds no verdict.
const BRACES_MAX: usize = 1000;

/// The verdict and its explanation: the last JSON object after the judge's own trace that holds a valid one. The last
/// object that tries to (has the field, with something else in it) ends the search, since it was meant to be it.
pub(super) fn read(said: &str, form: Form) -> Option<(Finding, String)> {
    let said = said.rsplit_once("</think>").map_or(said, |(_, answer)| answer);
    let field = match form {
        Form::Rating => "rating",
        Form::Correct => "verdict",
    };
    for (at, _) in said.rmatch_indices('{').take(BRACES_MAX) {
        let parsed = serde_json::Deserializer::from_str(&said[at..]).into_iter::<Value>().next();
        let Some(Ok(object)) = parsed else { continue };
        if object.get(field).is_some() {
            let explanation = object["explanation"].as_str().unwrap_or_default().to_owned();
            return form.finding(&object).map(|finding| (finding, explanation));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_object_with_a_verdict_is_read() {
        let rating = |said: &str, expected: Option<f64>| {
            let found = read(said, Form::Rating).map(|(finding, _)| finding);
            assert_eq!(found, expected.map(Finding::Rating), "{said}");
        };
        rating(r#"{"explanation": "good", "rating": 8}"#, Some(8.0));
        rating("Well.\n```json\n{\"rating\": 3, \"explanation\": \"{no}\"}\n```", Some(3.0));
        rating(r#"{"rating": 3} no, rather {"rating": 4}"#, Some(4.0));
        rating(r#"{"rating": 3} {"other": 4}"#, Some(3.0));
        rating(r#"{"rating": 3} {"rating": 11}"#, None);
        rating(r#"{"rating": 0}"#, None);
        rating(r#"{"rating": "8"}"#, None);
        rating(r#"{"rating": 8"#, None);
        rating("Rating: [[8]]", None);
        rating(r#"<think>{"rating": 2}</think>{"rating": 9}"#, Some(9.0));
        rating(r#"<think>{"rating": 2}</think>nine"#, None);
        rating("", None);
        rating(&"{".repeat(100_000), None);
        let correct = |said: &str, expected: Option<bool>| {
            let found = read(said, Form::Correct).map(|(finding, _)| finding);
            assert_eq!(found, expected.map(Finding::Correct), "{said}");
        };
        correct(r#"{"explanation": "same", "verdict": "correct"}"#, Some(true));
        correct(r#"{"verdict": "incorrect"}"#, Some(false));
        correct(r#"{"verdict": "Correct!"}"#, None);
        correct(r#"{"verdict": true}"#, None);
        correct(r#"{"rating": 8}"#, None);
    }

    #[test]
    fn explanations_come_along() {
        let (_, explanation) =
            read(r#"{"explanation": "same number", "verdict": "correct"}"#, Form::Correct).unwrap();
        assert_eq!(explanation, "same number");
    }
}
