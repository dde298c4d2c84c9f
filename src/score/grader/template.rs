//! Texts with placeholders, as OpenAI's graders have them: `{{ item.answer }}`, `{{ sample.output_text }}`.
//!
//! A placeholder is a path and nothing more: no filters, no expressions, nothing that runs. `item.` leads into the item's JSON by
//! names and by numbers of lists (`item.answers.0` or `item.answers[0]`); `sample.` knows the fields of [`SampleField`]. What can be
//! wrong with a template is found when it is read, but for a path that an item does not have, which is found with the item.

use std::fmt::{Display, Write as _};

use serde_json::Value;

use super::completion::Completion;
use crate::settings::nearest;

const BYTES_MAX: usize = 16_384;
const PLACEHOLDERS_MAX: usize = 32;
const STEPS_MAX: usize = 16;
/// Names of an item's fields that an error lists.
const LISTED_MAX: usize = 8;

/// A text that becomes another for each item and sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    /// As it was written.
    text: String,
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Item(ItemPath),
    Sample(SampleField),
}

/// Where in an item a value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ItemPath {
    steps: Vec<String>,
}

/// What a template may say of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SampleField {
    OutputText,
    /// What the completion reasons, without its tags; empty without a trace.
    Trace,
    /// What follows the trace.
    Answer,
    CompletionTokens,
    /// `length` if the completion was cut off, else `stop`.
    FinishReason,
}

/// What is wrong with a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum TemplateError {
    #[error("a template has at most {BYTES_MAX} bytes")]
    TooLong,
    #[error("a template has at most {PLACEHOLDERS_MAX} placeholders")]
    TooMany,
    #[error("`{{{{` at byte {at} is never closed by `}}}}`")]
    Unclosed { at: usize },
    #[error(
        "{{{{ {text} }}}}: a placeholder begins with `item.` or `sample.`, such as {{{{ item.answer }}}}"
    )]
    Namespace { text: String },
    #[error("{{{{ {text} }}}}: a path is names with points between them, at most {STEPS_MAX}")]
    Path { text: String },
    #[error("{{{{ sample.{name} }}}}: a sample has no such field; {hint}")]
    SampleField { name: String, hint: String },
}

/// An item does not have what a template asks for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub(super) struct Missing {
    place: String,
    message: String,
}

impl Missing {
    pub fn new(template: &Template, message: &impl Display) -> Self {
        Self { place: template.text.clone(), message: message.to_string() }
    }
}

impl Template {
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.len() > BYTES_MAX {
            return Err(TemplateError::TooLong);
        }
        let mut pieces = Vec::new();
        let mut from = 0;
        while let Some(open) = text[from..].find("{{").map(|at| from + at) {
            let inside = open + "{{".len();
            let Some(close) = text[inside..].find("}}").map(|at| inside + at) else {
                return Err(TemplateError::Unclosed { at: open });
            };
            if open > from {
                pieces.push(Piece::Text(text[from..open].to_owned()));
            }
            pieces.push(placeholder(text[inside..close].trim())?);
            from = close + "}}".len();
        }
        if from < text.len() {
            pieces.push(Piece::Text(text[from..].to_owned()));
        }
        if pieces.iter().filter(|piece| !matches!(piece, Piece::Text(_))).count() > PLACEHOLDERS_MAX {
            return Err(TemplateError::TooMany);
        }
        Ok(Self { text: text.to_owned(), pieces })
    }

    /// The text itself, if nothing in it is to be filled in.
    pub fn constant(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The path of a template that is nothing but one value of the item.
    pub fn item_path(&self) -> Option<&ItemPath> {
        match self.pieces.as_slice() {
            [Piece::Item(path)] => Some(path),
            _ => None,
        }
    }

    /// Whether the item decides it alone: nothing in it is the sample's.
    pub fn is_of_item(&self) -> bool {
        !self.pieces.iter().any(|piece| matches!(piece, Piece::Sample(_)))
    }

    /// Whether the item has all that it asks for.
    pub fn check(&self, item: &Value) -> Result<(), Missing> {
        for piece in &self.pieces {
            if let Piece::Item(path) = piece {
                path.text(item)?;
            }
        }
        Ok(())
    }

    pub fn render(&self, item: &Value, completion: &Completion<'_>) -> Result<String, Missing> {
        self.fill(item, |field, text| field.write(completion, text))
    }

    /// What it is for any sample, if it is of the item alone; else without the sample's fields.
    pub fn render_item(&self, item: &Value) -> Result<String, Missing> {
        self.fill(item, |_, _| {})
    }

    fn fill(&self, item: &Value, write: impl Fn(SampleField, &mut String)) -> Result<String, Missing> {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(literal) => text.push_str(literal),
                Piece::Item(path) => text.push_str(&path.text(item)?),
                Piece::Sample(field) => write(*field, &mut text),
            }
        }
        Ok(text)
    }
}

fn placeholder(text: &str) -> Result<Piece, TemplateError> {
    let namespace = || TemplateError::Namespace { text: clip(text) };
    let (name, path) = text.split_once('.').ok_or_else(namespace)?;
    match name.trim_end() {
        "item" => {
            ItemPath::parse(path).ok_or_else(|| TemplateError::Path { text: clip(text) }).map(Piece::Item)
        }
        "sample" => SampleField::named(path.trim()).map(Piece::Sample),
        _ => Err(namespace()),
    }
}

impl ItemPath {
    /// `answers.0`, `answers[0]`.
    fn parse(text: &str) -> Option<Self> {
        let points = text.replace('[', ".").replace(']', "");
        let steps: Vec<String> = points.split('.').map(|step| step.trim().to_owned()).collect();
        let is_step = |step: &String| {
            !step.is_empty() && !step.contains(|c: char| c.is_whitespace() || "{}|()".contains(c))
        };
        (steps.len() <= STEPS_MAX && steps.iter().all(is_step)).then_some(Self { steps })
    }

    /// The value at the path.
    pub fn value<'a>(&self, item: &'a Value) -> Result<&'a Value, Missing> {
        let mut value = item;
        for (at, step) in self.steps.iter().enumerate() {
            let next = match value {
                Value::Array(list) => step.parse().ok().and_then(|index: usize| list.get(index)),
                Value::Object(fields) => fields.get(step),
                _ => None,
            };
            value = next.ok_or_else(|| self.missing(&absence(value, step, &self.steps[..at])))?;
        }
        Ok(value)
    }

    /// The value as a text: strings as they are, all else as JSON.
    fn text(&self, item: &Value) -> Result<String, Missing> {
        self.text_of(self.value(item)?)
    }

    fn text_of(&self, value: &Value) -> Result<String, Missing> {
        match value {
            Value::String(text) => Ok(text.clone()),
            Value::Null => Err(self.missing("it is null")),
            other => Ok(other.to_string()),
        }
    }

    /// The texts of a list, or the one text.
    pub fn texts(&self, item: &Value) -> Result<Vec<String>, Missing> {
        match self.value(item)? {
            Value::Array(list) if list.is_empty() => Err(self.missing("the list is empty")),
            Value::Array(list) => list.iter().map(|value| self.text_of(value)).collect(),
            value => Ok(vec![self.text_of(value)?]),
        }
    }

    fn missing(&self, message: &str) -> Missing {
        let place = format!("{{{{ item.{} }}}}", self.steps.join("."));
        Missing { place, message: message.to_owned() }
    }
}

/// Why a value has no such step.
fn absence(value: &Value, step: &str, before: &[String]) -> String {
    let place = if before.is_empty() { "the item".to_owned() } else { format!("`{}`", before.join(".")) };
    match value {
        Value::Object(fields) => {
            let near = nearest(step, fields.keys().map(String::as_str));
            let listed: Vec<&str> = fields.keys().map(String::as_str).take(LISTED_MAX).collect();
            let hint = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("it has: {}", listed.join(", ")),
            };
            format!("{place} has no `{step}`; {hint}")
        }
        Value::Array(list) => format!("{place} is a list of {}, without `{step}`", list.len()),
        _ => format!("{place} is neither an object nor a list"),
    }
}

impl SampleField {
    const NAMES: [(&str, Self); 5] = [
        ("output_text", Self::OutputText),
        ("trace", Self::Trace),
        ("answer", Self::Answer),
        ("completion_tokens", Self::CompletionTokens),
        ("finish_reason", Self::FinishReason),
    ];

    fn named(name: &str) -> Result<Self, TemplateError> {
        if let Some((_, field)) = Self::NAMES.iter().find(|(known, _)| *known == name) {
            return Ok(*field);
        }
        let names = Self::NAMES.map(|(known, _)| known);
        let hint = match nearest(name, names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known: {}", names.join(", ")),
        };
        Err(TemplateError::SampleField { name: clip(name), hint })
    }

    fn write(self, completion: &Completion<'_>, text: &mut String) {
        match self {
            Self::OutputText => text.push_str(completion.sample.output_text),
            Self::Trace => text.push_str(completion.trace().unwrap_or_default()),
            Self::Answer => text.push_str(completion.answer()),
            Self::CompletionTokens => {
                let _ = write!(text, "{}", completion.sample.completion_tokens);
            }
            Self::FinishReason => text.push_str(if completion.sample.truncated { "length" } else { "stop" }),
        }
    }
}

fn clip(text: &str) -> String {
    const CHARACTERS_MAX: usize = 100;
    text.chars().take(CHARACTERS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::score::grader::Sample;

    fn rendered(template: &str, item: &Value) -> String {
        let sample = Sample {
            output_text: "<think>思考</think>答え\\boxed{5}",
            completion_tokens: 12,
            truncated: true,
            trace_opened: false,
        };
        match Template::parse(template) {
            Ok(template) => {
                template.render(item, &Completion::new(&sample)).unwrap_or_else(|missing| missing.to_string())
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn placeholders_are_filled_in() {
        let item = json!({"answer": "18", "n": 2.50, "ok": true, "none": null, "list": ["a", {"b": "ข"}],
            "言語": {"コード": "ja"}, "empty": []});
        let check = |template: &str, expected: &str| {
            let found = rendered(template, &item);
            let equal = expected.strip_prefix('~').map_or(found == expected, |part| found.contains(part));
            assert!(equal, "{template}: {found}");
        };
        check("", "");
        check("no placeholder } }} {", "no placeholder } }} {");
        check("{{ item.answer }}", "18");
        check("{{item.answer}} is {{  sample.completion_tokens }}.", "18 is 12.");
        check("{{ item.n }} {{ item.ok }} {{ item.list }}", r#"2.5 true ["a",{"b":"ข"}]"#);
        check("{{ item.list.0 }}{{ item.list[1].b }}{{ item.list[1][b] }}", "aขข");
        check("{{ item.言語.コード }}", "ja");
        check("{{ sample.output_text }}", "<think>思考</think>答え\\boxed{5}");
        check(
            "{{ sample.trace }}|{{ sample.answer }}|{{ sample.finish_reason }}",
            "思考|答え\\boxed{5}|length",
        );
        check("{{ item.answr }}", "{{ item.answr }}: the item has no `answr`; did you mean `answer`?");
        check("{{ item.question }}", "~it has: answer, n, ok");
        check("{{ item.list.7 }}", "{{ item.list.7 }}: `list` is a list of 2, without `7`");
        check("{{ item.answer.x }}", "~`answer` is neither an object nor a list");
        check("{{ item.none }}", "~it is null");
        check("{{ item.answer", "`{{` at byte 0 is never closed by `}}`");
        check("語 {{ }}", "~a placeholder begins with `item.` or `sample.`");
        check("{{ answer }}", "~{{ answer }}: a placeholder begins");
        check("{{ system.time }}", "~begins with `item.`");
        check("{{ item. }}", "~a path is names with points");
        check("{{ item.a b }}", "~a path is names with points");
        check("{{ item.answer | upper }}", "~a path is names with points");
        check("{{ sample.output_txt }}", "~did you mean `output_text`?");
        check("{{ sample.output_json }}", "~a sample has no such field");
        check(&"{{ item.a }}".repeat(33), "~at most 32 placeholders");
        check(&format!("{{{{ item.{} }}}}", ["a"; 17].join(".")), "~at most 16");
        check(&"x".repeat(16_385), "~at most 16384 bytes");
    }

    #[test]
    fn lists_are_several_texts() {
        let item = json!({"answers": ["1", 2], "answer": 3, "empty": []});
        let texts = |template: &str| {
            let template = Template::parse(template).unwrap();
            template.item_path().unwrap().texts(&item).map_err(|missing| missing.to_string())
        };
        assert_eq!(texts("{{ item.answers }}").unwrap(), ["1", "2"]);
        assert_eq!(texts("{{ item.answer }}").unwrap(), ["3"]);
        assert!(texts("{{ item.empty }}").unwrap_err().contains("empty"));
        assert!(Template::parse("{{ item.answer }} ").unwrap().item_path().is_none());
        assert_eq!(Template::parse("de").unwrap().constant(), Some("de"));
        assert!(!Template::parse("{{ sample.answer }}").unwrap().is_of_item());
    }

    proptest! {
        #[test]
        fn any_template_is_read_or_refused(text in "[{}a-c.\\[\\]0-9 語itemsample]{0,60}", output: String) {
            let sample = Sample { output_text: &output, completion_tokens: 1, truncated: false, trace_opened: true };
            if let Ok(template) = Template::parse(&text) {
                let _ = template.render(&json!({"a": [1, {"b": "c"}]}), &Completion::new(&sample));
                let _ = template.check(&json!(null));
            }
        }
    }
}
