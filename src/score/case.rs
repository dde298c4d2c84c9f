//! One line of `xenoglot score`: a case in, its verdict out, both JSON. docs/scoring.md describes the fields.

use serde::Serialize;
use serde_json::{Map, Value};

use super::choice::ChoiceScorer;
use super::extract::Found;
use super::{AnswerKind, AnswerScorer, OptionError, Reason, Score, ScoreOptions, Verdict};
use crate::language::{Language, UnknownLanguage};
use crate::settings::nearest;

/// A case that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    pub id: Option<Value>,
    /// Any of them is right.
    pub golds: Vec<String>,
    pub prediction: String,
    pub language: Option<Language>,
    /// A language's code that is none of ours: separators are read both ways.
    pub unknown_language: Option<String>,
    pub options: ScoreOptions,
}

/// What is wrong with a line; the caller knows its number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CaseError {
    #[error("no JSON object: {0}")]
    Json(String),
    #[error("{field}: missing{}", hint(.near.as_deref()))]
    Missing { field: &'static str, near: Option<String> },
    #[error("{field}: expected {expected}, found {found}")]
    Type { field: &'static str, expected: &'static str, found: &'static str },
    #[error("gold: {0}")]
    Gold(String),
    #[error("language: {0}")]
    Language(#[from] UnknownLanguage),
    #[error("options.{0}")]
    Option(#[from] OptionError),
}

fn hint(near: Option<&str>) -> String {
    near.map_or(String::new(), |near| format!("; is `{near}` meant?"))
}

/// The verdict on a case, in the order in which it is written.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Value>,
    pub verdict: Verdict,
    pub extracted: Option<String>,
    pub reason: Reason,
    pub span: Option<(usize, usize)>,
    /// The case's language, where it is none of ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown_language: Option<String>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Detail>,
}

/// How the answer was found and read, on request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Detail {
    pub found: Option<Found>,
    pub boxes: usize,
    pub unclosed_box: bool,
    pub normalised: Option<String>,
}

const FIELDS: [&str; 5] = ["id", "gold", "prediction", "language", "options"];

impl Case {
    /// Reads a line; `defaults` hold for the options that it does not name.
    ///
    /// # Errors
    /// Names the field, what it takes and what it holds.
    pub fn parse(line: &str, defaults: &ScoreOptions) -> Result<Self, CaseError> {
        let value: Value = serde_json::from_str(line).map_err(|error| CaseError::Json(error.to_string()))?;
        let Value::Object(mut fields) = value else {
            return Err(CaseError::Json(format!("the line is {}", kind(&value))));
        };
        let prediction = match fields.remove("prediction") {
            Some(Value::String(text)) => text,
            Some(other) => return Err(wrong("prediction", "a string", &other)),
            None => return Err(missing("prediction", &fields)),
        };
        let golds = match fields.remove("gold") {
            Some(gold) => golds(gold)?,
            None => return Err(missing("gold", &fields)),
        };
        let mut unknown_language = None;
        let language = match fields.remove("language") {
            None | Some(Value::Null) => None,
            Some(Value::String(code)) => match code.parse::<Language>() {
                Ok(language) => Some(language),
                Err(_) if is_code(&code) => {
                    unknown_language = Some(code);
                    None
                }
                Err(error) => return Err(error.into()),
            },
            Some(other) => return Err(wrong("language", "a language code", &other)),
        };
        let options = match fields.remove("options") {
            None | Some(Value::Null) => defaults.clone(),
            Some(Value::Object(given)) => options(&given, defaults)?,
            Some(other) => return Err(wrong("options", "an object", &other)),
        };
        let id = fields.remove("id");
        let case = Self { id, golds, prediction, language, unknown_language, options };
        case.check_letters()?;
        Ok(case)
    }

    fn check_letters(&self) -> Result<(), CaseError> {
        if self.options.task != AnswerKind::Choice {
            return Ok(());
        }
        let scorer = ChoiceScorer::new(&self.options);
        match self.golds.iter().find(|gold| scorer.gold(gold, self.language).is_none()) {
            None => Ok(()),
            Some(gold) => {
                let gold: String = gold.chars().take(60).collect();
                let choices = &self.options.choices;
                Err(CaseError::Gold(format!("{gold:?} is not one letter of the choices {choices:?}")))
            }
        }
    }

    pub fn score(&self) -> Score {
        let golds: Vec<&str> = self.golds.iter().map(String::as_str).collect();
        let scorer = AnswerScorer::new(self.options.clone());
        if self.unknown_language.is_none() {
            return scorer.score_any(&golds, self.language, &self.prediction);
        }
        // A point or a comma may be either mark: what only one of the two conventions decides stays open.
        let point = scorer.score_any(&golds, Some(Language::En), &self.prediction);
        let comma = scorer.score_any(&golds, Some(Language::De), &self.prediction);
        if point.verdict == comma.verdict {
            return point;
        }
        Score { verdict: Verdict::Undecided, reason: Reason::AmbiguousSeparator, ..point }
    }

    /// Judges the case; `detailed` adds how the answer was found.
    pub fn outcome(self, detailed: bool) -> Outcome {
        let score = self.score();
        Outcome {
            verdict: score.verdict,
            extracted: score.extracted(&self.prediction),
            reason: score.reason,
            span: score.span.map(|span| (span.start, span.end)),
            detail: detailed.then_some(Detail {
                found: score.found,
                boxes: score.boxes,
                unclosed_box: score.unclosed_box,
                normalised: score.normalised,
            }),
            unknown_language: self.unknown_language,
            id: self.id,
        }
    }
}

/// Whether a text has the form of a language's code: "sv", "pt-BR", "zh-Hant".
fn is_code(text: &str) -> bool {
    let mut parts = text.split(['-', '_']);
    let primary = parts.next().unwrap_or_default();
    let letters = |part: &str| part.bytes().all(|byte| byte.is_ascii_alphabetic());
    (2..=3).contains(&primary.len())
        && letters(primary)
        && parts.all(|part| {
            (2..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
        })
}

fn options(given: &Map<String, Value>, defaults: &ScoreOptions) -> Result<ScoreOptions, OptionError> {
    let mut options = defaults.clone();
    for (name, value) in given {
        options.set(name, value)?;
    }
    Ok(options)
}

fn golds(gold: Value) -> Result<Vec<String>, CaseError> {
    match gold {
        Value::Array(golds) => {
            if golds.is_empty() {
                return Err(CaseError::Gold("the list is empty".to_owned()));
            }
            golds.into_iter().map(one_gold).collect()
        }
        gold => Ok(vec![one_gold(gold)?]),
    }
}

fn one_gold(gold: Value) -> Result<String, CaseError> {
    match gold {
        Value::String(text) if text.trim().is_empty() => Err(CaseError::Gold("it is empty".to_owned())),
        Value::String(text) => Ok(text),
        // JSON numbers beyond 2^53 arrive rounded: they would be compared with another number than was written.
        Value::Number(number)
            if !(number.is_u64() || number.is_i64())
                && number.as_f64().is_none_or(|value| value.abs() >= EXACT_MAX) =>
        {
            Err(CaseError::Gold("a number that long is exact only as a string".to_owned()))
        }
        Value::Number(number) => Ok(number.to_string()),
        other => Err(wrong("gold", "a string, a number or a list of them", &other)),
    }
}

/// 2^53: above it not every integer is a double.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

fn missing(field: &'static str, fields: &Map<String, Value>) -> CaseError {
    let others = fields.keys().map(String::as_str).filter(|name| !FIELDS.contains(name));
    let near = others.filter(|name| nearest(name, [field]).is_some()).map(str::to_owned).next();
    CaseError::Missing { field, near }
}

fn wrong(field: &'static str, expected: &'static str, found: &Value) -> CaseError {
    CaseError::Type { field, expected, found: kind(found) }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: &str) {
        let written = match Case::parse(line, &ScoreOptions::default()) {
            Ok(case) => serde_json::to_string(&case.outcome(false)).unwrap(),
            Err(error) => error.to_string(),
        };
        assert_eq!(written, expected, "{line}");
    }

    #[test]
    fn cases_and_their_verdicts() {
        check(
            r#"{"id":7,"gold":"18","prediction":"so \\boxed{18}"}"#,
            r#"{"id":7,"verdict":"correct","extracted":"18","reason":"number_equal","span":[10,12]}"#,
        );
        check(
            r#"{"gold":18,"prediction":"คำตอบคือ ๑๘","language":"th"}"#,
            r#"{"verdict":"correct","extracted":"๑๘","reason":"number_equal","span":[25,31]}"#,
        );
        check(
            r#"{"id":null,"gold":["1","2"],"prediction":"none"}"#,
            r#"{"id":null,"verdict":"wrong","extracted":null,"reason":"no_box","span":null}"#,
        );
        check(
            r#"{"id":{"a":[1]},"gold":"B","prediction":"(B)","options":{"task":"choice"},"more":1}"#,
            r#"{"id":{"a":[1]},"verdict":"correct","extracted":"(B)","reason":"choice_equal","span":[0,3]}"#,
        );
        check(
            r#"{"gold":"3, 5","prediction":"\\boxed{3}, \\boxed{5}"}"#,
            r#"{"verdict":"correct","extracted":"3, 5","reason":"formula_equal","span":[7,19]}"#,
        );
    }

    #[test]
    fn bad_lines_name_their_field() {
        check("[]", "no JSON object: the line is a list");
        check("{", "no JSON object: EOF while parsing an object at line 1 column 1");
        check(r#"{"gold":"1"}"#, "prediction: missing");
        check(r#"{"gold":"1","predicton":"1"}"#, "prediction: missing; is `predicton` meant?");
        check(r#"{"prediction":"1"}"#, "gold: missing");
        check(r#"{"prediction":1,"gold":"1"}"#, "prediction: expected a string, found a number");
        check(
            r#"{"prediction":"1","gold":true}"#,
            "gold: expected a string, a number or a list of them, found true or false",
        );
        check(r#"{"prediction":"1","gold":[]}"#, "gold: the list is empty");
        check(r#"{"prediction":"1","gold":" "}"#, "gold: it is empty");
        check(
            r#"{"prediction":"1","gold":123456789012345678901234567890}"#,
            "gold: a number that long is exact only as a string",
        );
        check(r#"{"prediction":"1","gold":"1","options":1}"#, "options: expected an object, found a number");
        check(
            r#"{"prediction":"1","gold":"1","options":{"precison":1}}"#,
            "options.precison: there is no such option; did you mean `precision`?",
        );
        check(
            r#"{"prediction":"1","gold":"1","options":{"strict":1}}"#,
            "options.strict: expected true or false, found 1",
        );
        check(
            r#"{"prediction":"1","gold":"18","options":{"task":"choice"}}"#,
            r#"gold: "18" is not one letter of the choices "ABCD""#,
        );
        let language =
            Case::parse(r#"{"prediction":"1","gold":"1","language":"klingon"}"#, &ScoreOptions::default());
        let message = language.unwrap_err().to_string();
        assert!(
            message.starts_with("language: unknown language \"klingon\"; known: ar, bn, de"),
            "{message}"
        );
    }

    #[test]
    fn a_language_of_others_has_no_convention() {
        check(
            r#"{"gold":"18","prediction":"\\boxed{18}","language":"sv"}"#,
            r#"{"verdict":"correct","extracted":"18","reason":"number_equal","span":[7,9],"unknown_language":"sv"}"#,
        );
        for prediction in ["1,234", "1.234"] {
            let line = format!(r#"{{"gold":"1234","prediction":"{prediction}","language":"el"}}"#);
            let case = Case::parse(&line, &ScoreOptions::default()).unwrap();
            assert_eq!(case.score().verdict, Verdict::Undecided, "{prediction}");
        }
    }
}
