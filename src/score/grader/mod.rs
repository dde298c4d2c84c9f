//! Rewards of reinforcement fine-tuning: what a sample is worth, by graders that a request describes (`protocol::graders`).
//!
//! A description is compiled once, with everything checked that can be known before an item is seen; then any number of threads grade
//! with it. Grading is pure, has no state, takes bounded time, and always gives a finite number: what cannot be graded has the reward 0
//! and says why. Whoever draws samples asks `check_item` first, which finds what an item lacks before anything is drawn for it.
//! docs/graders.md has each grader's formula.

mod completion;
mod error;
mod expression;
mod grade;
mod language_consistency;
mod length;
mod math_answer;
mod preset;
mod string_check;
mod target;
mod template;
mod think_format;

use std::cell::LazyCell;
use std::sync::Arc;

use serde_json::Value;

use crate::protocol::graders as wire;
use crate::score::language::LanguageScorer;
use completion::Completion;
use language_consistency::LanguageConsistency;
use length::Length;
use math_answer::MathAnswer;
use string_check::StringCheck;
use template::{Missing, Template};
use think_format::ThinkFormat;

pub use completion::Sample;
pub use error::GraderError;
pub use expression::{Expression, ExpressionError, Undefined};
pub use grade::{GradeReason, Graded, Part};
pub use preset::budget_alignment;

/// Graders of a `multi`.
const GRADERS_MAX: usize = 16;
const NAME_CHARACTERS_MAX: usize = 64;

/// A grader that is ready to grade.
pub struct Grader {
    parts: Vec<NamedPart>,
    /// Of a `multi`; a single grader's score is the reward.
    formula: Option<Expression>,
}

struct NamedPart {
    name: String,
    /// Where it stands in the grader's body.
    path: String,
    kind: Kind,
}

enum Kind {
    StringCheck(StringCheck),
    MathAnswer(MathAnswer),
    LanguageConsistency(LanguageConsistency),
    ThinkFormat(ThinkFormat),
    Length(Length),
}

impl Grader {
    /// # Errors
    /// What is wrong with the description, by its path in it.
    pub fn compile(grader: &wire::Grader) -> Result<Self, GraderError> {
        check_name(grader.name(), "")?;
        let scorer = LazyCell::new(|| Arc::new(LanguageScorer::with_all_languages()));
        let scorer = || Arc::clone(&scorer);
        let wire::Grader::Multi(multi) = grader else {
            let kind = Kind::compile(grader, "", &scorer)?;
            let part = NamedPart { name: grader.name().to_owned(), path: String::new(), kind };
            return Ok(Self { parts: vec![part], formula: None });
        };
        check_number(multi.graders.len())?;
        let mut parts = Vec::new();
        for (key, grader) in &multi.graders {
            let path = join("graders", key);
            check_key(key, &path)?;
            check_name(grader.name(), &path)?;
            let kind = Kind::compile(grader, &path, &scorer)?;
            parts.push(NamedPart { name: key.clone(), path, kind });
        }
        let formula = formula(multi)?;
        Ok(Self { parts, formula: Some(formula) })
    }

    /// The names of its parts, of which metrics speak: the keys of a `multi`, else the grader's own name.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.parts.iter().map(|part| part.name.as_str())
    }

    /// Whether the item has everything that the graders ask of it.
    ///
    /// # Errors
    /// The first thing that it lacks.
    pub fn check_item(&self, item: &Value) -> Result<(), GraderError> {
        self.parts.iter().try_for_each(|part| {
            part.kind.check(item).map_err(|missing| GraderError::item(&part.path, missing))
        })
    }

    /// What the sample is worth. The item is the line of data that its prompt was made of.
    pub fn grade(&self, item: &Value, sample: &Sample<'_>) -> Graded {
        let completion = Completion::new(sample);
        let mut failure = None;
        let parts: Vec<Part> = self
            .parts
            .iter()
            .map(|part| {
                let grade::Outcome { score, reason, undecided } =
                    part.kind.grade(item, &completion).unwrap_or_else(|missing| {
                        failure.get_or_insert_with(|| GraderError::item(&part.path, missing).to_string());
                        grade::Outcome::undecided(GradeReason::Failed)
                    });
                Part { name: part.name.clone(), score, reason, undecided }
            })
            .collect();
        let reward = match failure {
            Some(failure) => Err(failure),
            None => self.reward(&parts),
        };
        match reward {
            Ok(reward) => Graded { reward, parts, failure: None },
            Err(failure) => Graded { reward: 0.0, parts, failure: Some(failure) },
        }
    }

    fn reward(&self, parts: &[Part]) -> Result<f64, String> {
        let scores: Vec<f64> = parts.iter().map(|part| part.score).collect();
        let Some(formula) = &self.formula else { return Ok(scores.iter().sum()) };
        let value =
            formula.evaluate(&scores).map_err(|undefined| format!("calculate_output: {undefined}"))?;
        // Rewards are summed and divided in f32.
        if (value as f32).is_finite() {
            Ok(value)
        } else {
            Err(format!("calculate_output: {value:e} is too large for a reward"))
        }
    }
}

impl Kind {
    fn compile(
        grader: &wire::Grader,
        path: &str,
        scorer: &dyn Fn() -> Arc<LanguageScorer>,
    ) -> Result<Self, GraderError> {
        match grader {
            wire::Grader::StringCheck(grader) => StringCheck::compile(grader, path).map(Self::StringCheck),
            wire::Grader::MathAnswer(grader) => MathAnswer::compile(grader, path).map(Self::MathAnswer),
            wire::Grader::LanguageConsistency(grader) => {
                LanguageConsistency::compile(grader, path, scorer()).map(Self::LanguageConsistency)
            }
            wire::Grader::ThinkFormat(grader) => ThinkFormat::compile(grader, path).map(Self::ThinkFormat),
            wire::Grader::Length(grader) => Length::compile(grader, path).map(Self::Length),
            wire::Grader::Multi(_) => Err(GraderError::definition(
                path,
                "no `multi` within a `multi`: put its graders beside the others",
            )),
        }
    }

    fn check(&self, item: &Value) -> Result<(), Missing> {
        match self {
            Self::StringCheck(part) => part.check(item),
            Self::MathAnswer(part) => part.check(item),
            Self::LanguageConsistency(part) => part.check(item),
            Self::ThinkFormat(_) | Self::Length(_) => Ok(()),
        }
    }

    fn grade(&self, item: &Value, completion: &Completion<'_>) -> Result<grade::Outcome, Missing> {
        match self {
            Self::StringCheck(part) => part.grade(item, completion),
            Self::MathAnswer(part) => part.grade(item, completion),
            Self::LanguageConsistency(part) => part.grade(item, completion),
            Self::ThinkFormat(part) => Ok(part.grade(completion)),
            Self::Length(part) => Ok(part.grade(completion)),
        }
    }
}

/// The formula over the graders' keys; one that it leaves out would be computed for nothing, most often by a slip.
fn formula(multi: &wire::MultiGrader) -> Result<Expression, GraderError> {
    let keys: Vec<&str> = multi.graders.keys().map(String::as_str).collect();
    let formula = Expression::parse(&multi.calculate_output, &keys)
        .map_err(|error| GraderError::definition("calculate_output", error))?;
    match keys.iter().enumerate().find(|(at, _)| !formula.uses(*at)) {
        None => Ok(formula),
        Some((_, key)) => {
            let message = format!("`calculate_output` leaves it out: `+ 0*{key}` has it reported alone");
            Err(GraderError::definition(&join("graders", key), message))
        }
    }
}

fn check_number(graders: usize) -> Result<(), GraderError> {
    if (1..=GRADERS_MAX).contains(&graders) {
        return Ok(());
    }
    let message = format!("a `multi` has 1 to {GRADERS_MAX} graders, not {graders}");
    Err(GraderError::definition("graders", message))
}

fn check_key(key: &str, path: &str) -> Result<(), GraderError> {
    if expression::is_name(key) && key.len() <= NAME_CHARACTERS_MAX {
        return Ok(());
    }
    let message = format!(
        "a formula cannot name it: letters of ASCII, digits and `_`, at most {NAME_CHARACTERS_MAX}, no digit first and no \
         function's name"
    );
    Err(GraderError::definition(path, message))
}

fn check_name(name: &str, path: &str) -> Result<(), GraderError> {
    if (1..=NAME_CHARACTERS_MAX).contains(&name.chars().count()) {
        return Ok(());
    }
    let message = format!("a name has 1 to {NAME_CHARACTERS_MAX} characters");
    Err(GraderError::definition(&join(path, "name"), message))
}

fn template(text: &str, path: &str, field: &str) -> Result<Template, GraderError> {
    Template::parse(text).map_err(|error| GraderError::definition(&join(path, field), error))
}

/// A template that may not depend on the sample.
fn item_template(text: &str, path: &str, field: &str) -> Result<Template, GraderError> {
    let template = template(text, path, field)?;
    if template.is_of_item() {
        return Ok(template);
    }
    let message = "it must not depend on the sample: use `item.` or a constant";
    Err(GraderError::definition(&join(path, field), message))
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

#[cfg(test)]
mod tests;
