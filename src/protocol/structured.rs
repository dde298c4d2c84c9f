//! What a request asks of an answer's form: OpenAI's `response_format`, vLLM's `structured_outputs` and its older `guided_*`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::parse::BadRequest;

/// Choices that a request may list.
const CHOICES_MAX: usize = 10_000;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResponseFormat {
    /// `text`, `json_object` or `json_schema`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Of `json_schema`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json_schema: Option<JsonSchemaFormat>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JsonSchemaFormat {
    /// For the client's own use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// By default any object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub schema: Option<Value>,
    /// Taken for compatibility: a schema is always followed exactly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
}

/// One of these, no more.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StructuredOutputs {
    /// A JSON schema, or the text of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub json: Option<Value>,
    /// The whole answer matches; Rust's syntax.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
    /// The answer is one of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choice: Option<Vec<String>>,
    /// In llguidance's variant of Lark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grammar: Option<String>,
    /// Any JSON object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json_object: Option<bool>,
}

/// The form that a request asks for, and the field that says so.
#[derive(Debug, Clone, PartialEq)]
pub struct AskedForm {
    pub field: &'static str,
    pub form: Form,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Form {
    JsonSchema(Value),
    Regex(String),
    Choice(Vec<String>),
    Grammar(String),
}

impl Form {
    fn any_object() -> Self {
        Self::JsonSchema(Value::Object(Map::from_iter([("type".to_owned(), Value::from("object"))])))
    }
}

/// The fields that ask for a form, as requests have them.
pub struct FormFields<'a> {
    pub response_format: Option<&'a ResponseFormat>,
    pub structured_outputs: Option<&'a StructuredOutputs>,
    pub guided_json: Option<&'a Value>,
    pub guided_regex: Option<&'a String>,
    pub guided_choice: Option<&'a Vec<String>>,
    pub guided_grammar: Option<&'a String>,
}

impl FormFields<'_> {
    /// The one form that is asked for.
    ///
    /// # Errors
    /// Two forms, by the second's field; an unknown kind, a schema that is no JSON, an empty list.
    pub fn form(&self) -> Result<Option<AskedForm>, BadRequest> {
        let mut asked = Vec::new();
        let mut ask = |field, form| asked.push(AskedForm { field, form });
        if let Some(form) = self.response_format.map(ResponseFormat::form).transpose()?.flatten() {
            ask("response_format", form);
        }
        if let Some(given) = self.structured_outputs {
            if let Some(json) = &given.json {
                ask("structured_outputs.json", schema("structured_outputs.json", json)?);
            }
            if let Some(regex) = &given.regex {
                ask("structured_outputs.regex", Form::Regex(regex.clone()));
            }
            if let Some(choice) = &given.choice {
                ask("structured_outputs.choice", choices("structured_outputs.choice", choice)?);
            }
            if let Some(grammar) = &given.grammar {
                ask("structured_outputs.grammar", Form::Grammar(grammar.clone()));
            }
            if given.json_object == Some(true) {
                ask("structured_outputs.json_object", Form::any_object());
            }
        }
        if let Some(json) = self.guided_json {
            ask("guided_json", schema("guided_json", json)?);
        }
        if let Some(regex) = self.guided_regex {
            ask("guided_regex", Form::Regex(regex.clone()));
        }
        if let Some(choice) = self.guided_choice {
            ask("guided_choice", choices("guided_choice", choice)?);
        }
        if let Some(grammar) = self.guided_grammar {
            ask("guided_grammar", Form::Grammar(grammar.clone()));
        }
        match asked.as_slice() {
            [] => Ok(None),
            [_] => Ok(asked.pop()),
            [first, second, ..] => {
                let message = format!("`{}` asks for a form already: an answer has one", first.field);
                Err(BadRequest::invalid(second.field, message))
            }
        }
    }
}

impl ResponseFormat {
    fn form(&self) -> Result<Option<Form>, BadRequest> {
        match (self.kind.as_str(), &self.json_schema) {
            ("text", None) => Ok(None),
            ("json_object", None) => Ok(Some(Form::any_object())),
            ("json_schema", Some(format)) => match &format.schema {
                Some(given) => schema("response_format.json_schema.schema", given).map(Some),
                None => Ok(Some(Form::any_object())),
            },
            ("json_schema", None) => Err(BadRequest::missing("response_format.json_schema")),
            ("text" | "json_object", Some(_)) => {
                let message = "`json_schema` needs the type `json_schema`";
                Err(BadRequest::invalid("response_format.json_schema", message))
            }
            _ => {
                let message = "the type must be `text`, `json_object` or `json_schema`";
                Err(BadRequest::invalid("response_format.type", message))
            }
        }
    }
}

fn schema(field: &str, given: &Value) -> Result<Form, BadRequest> {
    match given {
        Value::Object(_) | Value::Bool(_) => Ok(Form::JsonSchema(given.clone())),
        Value::String(text) => match serde_json::from_str(text) {
            Ok(parsed @ (Value::Object(_) | Value::Bool(_))) => Ok(Form::JsonSchema(parsed)),
            Ok(_) => Err(BadRequest::invalid(field, "a JSON schema is an object, or true or false")),
            Err(error) => Err(BadRequest::invalid(field, format!("the text is not valid JSON: {error}"))),
        },
        _ => Err(BadRequest::invalid(field, "a JSON schema is an object, or the text of one")),
    }
}

fn choices(field: &str, given: &[String]) -> Result<Form, BadRequest> {
    if given.is_empty() || given.len() > CHOICES_MAX {
        let message = format!("must list from 1 to {CHOICES_MAX} texts");
        return Err(BadRequest::invalid(field, message));
    }
    match given.iter().position(String::is_empty) {
        Some(at) => Err(BadRequest::invalid(format!("{field}.{at}"), "a choice must not be empty")),
        None => Ok(Form::Choice(given.to_vec())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::chat::ChatRequest;
    use super::super::parse::parse_request;
    use super::*;

    /// The field that asks and the form, or the field at fault.
    fn outcome(fields: Value) -> Result<Option<AskedForm>, String> {
        let mut body = json!({"messages": [{"role": "user", "content": "a"}]});
        if let (Value::Object(body), Value::Object(fields)) = (&mut body, fields) {
            body.extend(fields);
        }
        let request: ChatRequest = parse_request(body.to_string().as_bytes(), 32)
            .map_err(|error| error.param.unwrap_or_default())?;
        request.sampling.form().map_err(|error| error.param.unwrap_or_default())
    }

    #[test]
    fn one_form_is_found_under_any_of_its_names() {
        let check = |fields: Value, field: &str, form: Form| {
            let asked = outcome(fields.clone()).unwrap().expect("a form");
            assert_eq!((asked.field, &asked.form), (field, &form), "{fields}");
        };
        assert_eq!(outcome(json!({"response_format": {"type": "text"}})), Ok(None));
        assert_eq!(outcome(json!({"structured_outputs": {"json_object": false}})), Ok(None));
        let schema = || Form::JsonSchema(json!({"type": "integer"}));
        let strict = json!({"type": "json_schema", "json_schema":
            {"name": "n", "strict": true, "schema": {"type": "integer"}}});
        check(json!({"response_format": strict}), "response_format", schema());
        check(json!({"response_format": {"type": "json_object"}}), "response_format", Form::any_object());
        check(json!({"guided_json": "{\"type\": \"integer\"}"}), "guided_json", schema());
        check(
            json!({"structured_outputs": {"json": {"type": "integer"}}}),
            "structured_outputs.json",
            schema(),
        );
        check(
            json!({"structured_outputs": {"choice": ["a", "b"]}}),
            "structured_outputs.choice",
            Form::Choice(vec!["a".to_owned(), "b".to_owned()]),
        );
        check(json!({"guided_regex": "a+"}), "guided_regex", Form::Regex("a+".to_owned()));
    }

    #[test]
    fn contradictions_and_slips_are_named() {
        let check = |fields: Value, param: &str| {
            assert_eq!(outcome(fields.clone()), Err(param.to_owned()), "{fields}");
        };
        check(json!({"response_format": {"type": "json_object"}, "guided_regex": "a"}), "guided_regex");
        check(json!({"structured_outputs": {"regex": "a", "choice": ["b"]}}), "structured_outputs.choice");
        check(json!({"response_format": {"type": "xml"}}), "response_format.type");
        check(json!({"response_format": {"type": "json_schema"}}), "response_format.json_schema");
        check(json!({"response_format": {"type": "json_object", "schema": {}}}), "response_format.schema");
        check(json!({"guided_json": "{"}), "guided_json");
        check(json!({"guided_choice": ["a", ""]}), "guided_choice.1");
        check(json!({"structured_outputs": {"choices": ["a"]}}), "structured_outputs.choices");
        check(json!({"guided_regex": "a", "ignore_eos": true}), "ignore_eos");
    }
}
