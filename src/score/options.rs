//! What a caller may choose about scoring, by name: the options of `xenoglot score` and of a suite's scorer.

use serde_json::Value;

use super::extract::{ExtractOptions, Target};
use super::math::MathOptions;
use super::profile::Profile;
use crate::settings::nearest;

/// What kind of answer a problem asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AnswerKind {
    /// A number, an expression, a set, a text.
    #[default]
    Math,
    /// One letter of `ScoreOptions::choices`.
    Choice,
}

impl AnswerKind {
    pub const NAMES: &[&str] = &["math", "choice"];

    fn named(name: &str) -> Option<Self> {
        match name {
            "math" => Some(Self::Math),
            "choice" => Some(Self::Choice),
            _ => None,
        }
    }
}

/// How a completion is scored. docs/scoring.md describes every option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScoreOptions {
    pub profile: Profile,
    pub task: AnswerKind,
    /// The letters a problem offers, in their order.
    pub choices: String,
    pub targets: Vec<Target>,
    /// Decimal places to which a decimal has to agree with a value that it cannot express.
    pub precision: u32,
    pub strict: bool,
    pub allow_unclosed: bool,
    pub think_fallback: bool,
    pub allow_set_relation_comparison: bool,
}

impl Default for ScoreOptions {
    fn default() -> Self {
        Self {
            profile: Profile::Default,
            task: AnswerKind::Math,
            choices: "ABCD".to_owned(),
            targets: vec![Target::Latex, Target::Expr],
            precision: 6,
            strict: true,
            allow_unclosed: false,
            think_fallback: false,
            allow_set_relation_comparison: false,
        }
    }
}

/// Decimal places that may be asked for.
const PRECISION_MAX: u64 = 100;
/// Letters a problem may offer: the alphabet.
const CHOICES_MAX: usize = 26;

/// An option that is none, or a value that it does not take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    #[error("{name}: there is no such option; {}", suggestion(.name))]
    Unknown { name: String },
    #[error("{name}: expected {expected}, found {found}")]
    Value { name: &'static str, expected: String, found: String },
}

fn suggestion(name: &str) -> String {
    match nearest(name, ScoreOptions::NAMES.iter().copied()) {
        Some(known) => format!("did you mean `{known}`?"),
        None => format!("known: {}", ScoreOptions::NAMES.join(", ")),
    }
}

impl ScoreOptions {
    pub const NAMES: &[&str] = &[
        "profile",
        "task",
        "choices",
        "targets",
        "precision",
        "strict",
        "allow_unclosed",
        "think_fallback",
        "allow_set_relation_comparison",
    ];

    /// Sets one option from JSON.
    ///
    /// # Errors
    /// Names the option, and what it takes or the name that comes nearest.
    pub fn set(&mut self, name: &str, value: &Value) -> Result<(), OptionError> {
        match name {
            "profile" => {
                self.profile = one_of("profile", value, Profile::NAMES, Profile::named)?;
            }
            "task" => self.task = one_of("task", value, AnswerKind::NAMES, AnswerKind::named)?,
            "choices" => self.choices = choices(value)?,
            "targets" => self.targets = targets(value)?,
            "precision" => self.precision = precision(value)?,
            "strict" => self.strict = flag("strict", value)?,
            "allow_unclosed" => self.allow_unclosed = flag("allow_unclosed", value)?,
            "think_fallback" => self.think_fallback = flag("think_fallback", value)?,
            "allow_set_relation_comparison" => {
                self.allow_set_relation_comparison = flag("allow_set_relation_comparison", value)?;
            }
            _ => return Err(OptionError::Unknown { name: name.to_owned() }),
        }
        Ok(())
    }

    /// How two answers are compared.
    pub fn math(&self) -> MathOptions {
        MathOptions {
            precision: self.precision,
            strict: self.strict,
            allow_set_relation_comparison: self.allow_set_relation_comparison,
            ..MathOptions::default()
        }
    }

    pub(super) fn extract(&self) -> ExtractOptions<'_> {
        ExtractOptions {
            targets: &self.targets,
            allow_unclosed: self.allow_unclosed,
            think_fallback: self.think_fallback,
        }
    }
}

fn refuse(name: &'static str, expected: impl Into<String>, value: &Value) -> OptionError {
    let text = value.to_string();
    let short: String = text.chars().take(60).collect();
    let found = if short.len() < text.len() { format!("{short}...") } else { short };
    OptionError::Value { name, expected: expected.into(), found }
}

fn flag(name: &'static str, value: &Value) -> Result<bool, OptionError> {
    value.as_bool().ok_or_else(|| refuse(name, "true or false", value))
}

fn one_of<T>(
    name: &'static str,
    value: &Value,
    known: &[&str],
    read: impl Fn(&str) -> Option<T>,
) -> Result<T, OptionError> {
    value.as_str().and_then(read).ok_or_else(|| refuse(name, format!("one of {}", known.join(", ")), value))
}

fn precision(value: &Value) -> Result<u32, OptionError> {
    value
        .as_u64()
        .filter(|places| *places <= PRECISION_MAX)
        .and_then(|places| u32::try_from(places).ok())
        .ok_or_else(|| {
            refuse("precision", format!("a number of decimal places, 0 to {PRECISION_MAX}"), value)
        })
}

fn choices(value: &Value) -> Result<String, OptionError> {
    let letters = value.as_str().filter(|letters| {
        let count = letters.chars().count();
        let different = |(at, c): (usize, char)| !letters[..at].contains(c);
        (2..=CHOICES_MAX).contains(&count)
            && letters.chars().all(char::is_alphanumeric)
            && letters.char_indices().all(different)
    });
    let expected = "2 to 26 different letters in their order, such as \"ABCD\"";
    letters.map(str::to_owned).ok_or_else(|| refuse("choices", expected, value))
}

fn targets(value: &Value) -> Result<Vec<Target>, OptionError> {
    let expected = "a list of \"latex\" and \"expr\", each once at most, in order of preference";
    let refused = || refuse("targets", expected, value);
    let names = value.as_array().ok_or_else(refused)?;
    let mut targets = Vec::new();
    for name in names {
        let target = match name.as_str() {
            Some("latex") => Target::Latex,
            Some("expr") => Target::Expr,
            _ => return Err(refused()),
        };
        if targets.contains(&target) {
            return Err(refused());
        }
        targets.push(target);
    }
    if targets.is_empty() { Err(refused()) } else { Ok(targets) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(name: &str, value: &Value, expected: &str) {
        let mut options = ScoreOptions::default();
        let outcome = options.set(name, value).map_or_else(|error| error.to_string(), |()| "set".to_owned());
        assert!(outcome.contains(expected), "{name} = {value}: {outcome}");
    }

    #[test]
    fn options_are_checked_by_name_and_value() {
        for name in ScoreOptions::NAMES {
            check(name, &json!(null), &format!("{name}: expected"));
        }
        check("profile", &json!("minerva"), "set");
        check("profile", &json!("minera"), "one of default, math-verify");
        check("task", &json!("choice"), "set");
        check("task", &json!("choices"), "one of math, choice");
        check("choices", &json!("ABCDE"), "set");
        check("choices", &json!("AA"), "2 to 26 different letters");
        check("choices", &json!("A"), "2 to 26 different letters");
        check("choices", &json!("A,B"), "2 to 26 different letters");
        check("targets", &json!(["expr"]), "set");
        check("targets", &json!(["expr", "expr"]), "each once");
        check("targets", &json!([]), "a list of");
        check("targets", &json!("expr"), "a list of");
        check("precision", &json!(8), "set");
        check("precision", &json!(-1), "0 to 100");
        check("precision", &json!(6.5), "0 to 100");
        check("strict", &json!("true"), "true or false, found \"true\"");
        check("precison", &json!(6), "did you mean `precision`?");
        check("colour", &json!(6), "known: profile, task");
        check("strict", &json!("x".repeat(500)), "...");
    }
}
