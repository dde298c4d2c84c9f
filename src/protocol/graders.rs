//! Graders of reinforcement fine-tuning: OpenAI's `string_check` and `multi`, and ours for answers, languages and formats.
//!
//! A grader gives a number for an item of the data and a sample drawn for it. `score::grader` says what each gives and checks what
//! is between the fields; here is their shape. serde loses the path of an error behind a `type`, so graders are read by
//! [`Grader::read`], which keeps it. OpenAI's graders that ask a model or run a program are not taken.

use std::collections::BTreeMap;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::nearest::nearest;
use super::parse::{BadRequest, read_part};

/// What a sample is worth. Texts marked as templates may hold `{{ item.FIELD }}`, `{{ sample.output_text }}` and the like.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Grader {
    StringCheck(StringCheckGrader),
    Multi(MultiGrader),
    MathAnswer(MathAnswerGrader),
    LanguageConsistency(LanguageConsistencyGrader),
    ThinkFormat(ThinkFormatGrader),
    Length(LengthGrader),
}

/// Compares two texts: 1 or 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StringCheckGrader {
    pub name: String,
    /// A template: the text that is looked at.
    pub input: String,
    /// A template: the text it is compared with.
    pub reference: String,
    pub operation: StringCheckOperation,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StringCheckOperation {
    /// The input is the reference.
    Eq,
    /// The input is not the reference.
    Ne,
    /// The input contains the reference.
    Like,
    /// The same, whatever the case of letters.
    Ilike,
}

/// Several graders and the formula of the whole.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct MultiGrader {
    pub name: String,
    /// By the names that the formula and the metrics have for them; none of them `multi`.
    #[schema(no_recursion)]
    pub graders: BTreeMap<String, Grader>,
    /// Numbers, names of graders, `+ - * / ^`, parentheses and `min max abs floor ceil exp sqrt log`, such as
    /// `1.0*acc + 0.2*lang`.
    pub calculate_output: String,
}

/// Whether the completion's answer is the right one: 1 or 0. The options are those of `xenoglot score`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MathAnswerGrader {
    pub name: String,
    /// A template: the right answer. If it is one placeholder for a list, any of the list is right.
    pub reference: String,
    /// A template or a BCP 47 tag: decides how `1.234` is read; without it, as in English.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// `default`, or another harness' way to find and compare answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// `math` by default, or `choice`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// The letters of `task` `choice`; `ABCD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choices: Option<String>,
    /// Where answers are looked for; `["latex", "expr"]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targets: Option<Vec<String>>,
    /// Decimal places that have to agree; 6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<u32>,
    /// Take no other notation for the same; true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
    /// Take a last box that was never closed; false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_unclosed: Option<bool>,
    /// Look into the trace if the answer has nothing; false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub think_fallback: Option<bool>,
    /// Compare `x = 5` with `5`; false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_set_relation_comparison: Option<bool>,
}

/// In how far the completion is in the language it should be in: 0 to 1.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LanguageConsistencyGrader {
    pub name: String,
    /// A template or a BCP 47 tag.
    pub target: String,
    #[serde(default)]
    pub mode: LanguageMode,
    #[serde(default)]
    pub part: CompletionPart,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LanguageMode {
    /// The share of the text that is in the target.
    #[default]
    Continuous,
    /// The same, each sentence counted by how likely it is in the target.
    Probability,
    /// 1 if all of it is in the target, else 0.
    Strict,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CompletionPart {
    /// Up to the last `</think>`.
    Trace,
    /// After it.
    Answer,
    #[default]
    Both,
}

/// Whether the completion has the form of a reasoned answer: 1 or 0.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ThinkFormatGrader {
    pub name: String,
    /// All that must hold; `["closed_trace", "box"]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require: Option<Vec<FormatRequirement>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FormatRequirement {
    /// It begins with `<think>`, or the prompt ended with it.
    OpenedTrace,
    /// A `</think>` stands in it, and no trace is opened after the last one.
    ClosedTrace,
    /// One `<think>` at most, and one `</think>`.
    OneTrace,
    /// Something stands in the trace.
    TraceText,
    /// A box with something in it stands in the answer.
    Box,
    /// Exactly one does.
    OneBox,
}

/// DAPO's soft overlong punishment: 0, to -1 for what is too long.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LengthGrader {
    pub name: String,
    /// The longest length in tokens: what is longer gets -1.
    pub max: u32,
    /// Tokens before `max` over which the punishment grows from 0 to -1; 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<u32>,
    /// Tokens below which it grows too, to -1 for none; 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<u32>,
}

const TYPES: [&str; 6] =
    ["string_check", "multi", "math_answer", "language_consistency", "think_format", "length"];

impl Grader {
    /// Reads a grader that stands at `path` of a body; the path may be empty.
    ///
    /// # Errors
    /// The first field at fault, by its whole path.
    pub fn read(value: &Value, path: &str) -> Result<Self, BadRequest> {
        let mut fields = object(value, path)?;
        let kind = fields.shift_remove("type").ok_or_else(|| BadRequest::missing(join(path, "type")))?;
        match kind.as_str() {
            Some("string_check") => part(fields, path).map(Self::StringCheck),
            Some("multi") => multi(fields, path).map(Self::Multi),
            Some("math_answer") => part(fields, path).map(Self::MathAnswer),
            Some("language_consistency") => part(fields, path).map(Self::LanguageConsistency),
            Some("think_format") => part(fields, path).map(Self::ThinkFormat),
            Some("length") => part(fields, path).map(Self::Length),
            _ => Err(unknown_type(&kind, path)),
        }
    }

    /// Its type, as the body has it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::StringCheck(_) => "string_check",
            Self::Multi(_) => "multi",
            Self::MathAnswer(_) => "math_answer",
            Self::LanguageConsistency(_) => "language_consistency",
            Self::ThinkFormat(_) => "think_format",
            Self::Length(_) => "length",
        }
    }

    pub fn name(&self) -> &str {
        match self {
            Self::StringCheck(grader) => &grader.name,
            Self::Multi(grader) => &grader.name,
            Self::MathAnswer(grader) => &grader.name,
            Self::LanguageConsistency(grader) => &grader.name,
            Self::ThinkFormat(grader) => &grader.name,
            Self::Length(grader) => &grader.name,
        }
    }
}

impl<'de> Deserialize<'de> for Grader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::read(&value, "").map_err(|error| match &error.param {
            Some(param) if !error.message.contains(param.as_str()) => {
                D::Error::custom(format_args!("{param}: {error}"))
            }
            _ => D::Error::custom(error),
        })
    }
}

/// What of a `multi` is left when its graders are taken out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MultiHead {
    name: String,
    calculate_output: String,
}

fn multi(mut fields: Map<String, Value>, path: &str) -> Result<MultiGrader, BadRequest> {
    let below = join(path, "graders");
    let given = fields.shift_remove("graders").ok_or_else(|| BadRequest::missing(below.clone()))?;
    let MultiHead { name, calculate_output } = part(fields, path)?;
    let mut graders = BTreeMap::new();
    for (key, value) in object(&given, &below)? {
        let path = join(&below, &key);
        if value["type"] == "multi" {
            let message = format!("`{path}`: no `multi` within a `multi`: put its graders beside the others");
            return Err(BadRequest::invalid(path, message));
        }
        graders.insert(key, Grader::read(&value, &path)?);
    }
    Ok(MultiGrader { name, graders, calculate_output })
}

fn object(value: &Value, path: &str) -> Result<Map<String, Value>, BadRequest> {
    let refused = || {
        let place = if path.is_empty() { "a grader" } else { path };
        BadRequest {
            message: format!("{place}: expected an object"),
            param: param(path),
            code: Some("invalid_type"),
        }
    };
    value.as_object().cloned().ok_or_else(refused)
}

/// Reads fields without their `type`; what is wrong with them is told by its path in the body.
fn part<T: DeserializeOwned>(fields: Map<String, Value>, path: &str) -> Result<T, BadRequest> {
    read_part(&Value::Object(fields)).map_err(|error| {
        let Some(inner) = &error.param else { return BadRequest { param: param(path), ..error } };
        let whole = join(path, inner);
        if error.code == Some("missing_required_parameter") {
            return BadRequest::missing(whole);
        }
        let message = match error.message.strip_prefix(&format!("{inner}: ")) {
            Some(rest) => format!("{whole}: {rest}"),
            None => error.message,
        };
        BadRequest { message, param: Some(whole), code: error.code }
    })
}

fn unknown_type(kind: &Value, path: &str) -> BadRequest {
    let at = join(path, "type");
    let near = kind.as_str().and_then(|kind| nearest(kind, TYPES));
    let message = match (kind.as_str(), near) {
        (Some("python"), _) => {
            format!("{at}: programs of a request are not run: a formula in `multi` may do")
        }
        (_, Some(near)) => format!("{at}: unknown grader, did you mean `{near}`?"),
        _ => format!("{at}: a grader's type is one of {}", TYPES.join(", ")),
    };
    BadRequest::invalid(at, message)
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn param(path: &str) -> Option<String> {
    (!path.is_empty()).then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn graders_go_there_and_back() {
        let reward = json!({"type": "multi", "name": "reward",
            "graders": {
                "acc": {"type": "math_answer", "name": "accuracy", "reference": "{{ item.answer }}", "strict": false},
                "fmt": {"type": "think_format", "name": "format", "require": ["closed_trace", "one_box"]},
                "lang": {"type": "language_consistency", "name": "language", "target": "sw", "mode": "probability",
                    "part": "both"},
                "len": {"type": "length", "name": "length", "max": 100, "cache": 20},
                "str": {"type": "string_check", "name": "text", "input": "{{ sample.output_text }}",
                    "reference": "x", "operation": "ilike"},
            },
            "calculate_output": "1.0*acc + 0.2*lang + 0.2*fmt + len + 0*str"});
        let grader = Grader::read(&reward, "").unwrap();
        assert_eq!(serde_json::to_value(&grader).unwrap(), reward);
        assert_eq!(serde_json::from_value::<Grader>(reward).unwrap(), grader);
        assert_eq!((grader.kind(), grader.name()), ("multi", "reward"));
    }

    /// `expected` is the path at fault and a part of the message.
    #[track_caller]
    fn check(grader: &Value, param: &str, part: &str) {
        let error = Grader::read(grader, "method.reinforcement.grader").unwrap_err();
        let path = param.replace('@', "method.reinforcement.grader");
        assert_eq!(error.param.as_deref(), Some(path.as_str()), "{error}");
        assert!(error.message.contains(part), "{error}");
    }

    #[test]
    fn mistakes_are_named_by_their_path() {
        let multi = |grader: Value| json!({"type": "multi", "name": "m", "graders": {"a": grader}, "calculate_output": "a"});
        check(&json!(5), "@", "expected an object");
        check(&json!({"name": "x"}), "@.type", "`method.reinforcement.grader.type` is required");
        check(&json!({"type": "python", "name": "x"}), "@.type", "not run");
        check(&json!({"type": "maths_answer", "name": "x"}), "@.type", "did you mean `math_answer`?");
        check(&json!({"type": 7}), "@.type", "one of string_check, multi");
        check(&json!({"type": "math_answer", "name": "x"}), "@.reference", "required");
        check(&multi(json!({"type": "length", "name": "x", "max": -1})), "@.graders.a.max", "integer from 0");
        check(
            &multi(json!({"type": "length", "name": "x", "max": 5, "cahce": 1})),
            "@.graders.a.cahce",
            "did you mean `cache`?",
        );
        check(
            &multi(
                json!({"type": "string_check", "name": "x", "input": "", "reference": "", "operation": "is"}),
            ),
            "@.graders.a.operation",
            "unknown variant `is`",
        );
        check(&multi(multi(json!({}))), "@.graders.a", "no `multi` within a `multi`");
        check(
            &multi(json!({"type": "think_format", "name": "x", "require": ["box", "bo"]})),
            "@.graders.a.require.1",
            "unknown variant `bo`",
        );
        check(&json!({"type": "multi", "name": "m", "calculate_output": "a"}), "@.graders", "required");
        check(&json!({"type": "multi", "name": "m", "graders": []}), "@.calculate_output", "required");
        check(
            &json!({"type": "multi", "name": "m", "graders": [], "calculate_output": ""}),
            "@.graders",
            "an object",
        );
    }

    #[test]
    fn serde_tells_the_inner_path() {
        let grader = json!({"type": "multi", "name": "m", "calculate_output": "a",
            "graders": {"a": {"type": "length", "name": "x", "max": 5, "cahce": 1}}});
        let error = serde_json::from_value::<Grader>(grader).unwrap_err().to_string();
        assert!(error.contains("graders.a.cahce") && error.contains("`cache`"), "{error}");
    }
}
