//! `math_answer`: the completion's answer against the item's, by the rules and options of `xenoglot score`.

use serde_json::Value;

use super::completion::Completion;
use super::grade::{GradeReason, Outcome};
use super::target::Target;
use super::template::{Missing, Template};
use super::{GraderError, item_template, join};
use crate::protocol::graders::MathAnswerGrader;
use crate::score::{AnswerScorer, ScoreOptions, Verdict};

#[derive(Debug)]
pub(super) struct MathAnswer {
    reference: Template,
    language: Option<Target>,
    scorer: AnswerScorer,
}

impl MathAnswer {
    pub fn compile(grader: &MathAnswerGrader, path: &str) -> Result<Self, GraderError> {
        let reference = item_template(&grader.reference, path, "reference")?;
        if reference.constant().is_some_and(|text| text.trim().is_empty()) {
            let message = "the right answer is empty: name the item's field, such as {{ item.answer }}";
            return Err(GraderError::definition(&join(path, "reference"), message));
        }
        let language = grader.language.as_deref();
        let language = language.map(|text| Target::compile(text, path, "language")).transpose()?;
        Ok(Self { reference, language, scorer: AnswerScorer::new(options(grader, path)?) })
    }

    pub fn check(&self, item: &Value) -> Result<(), Missing> {
        self.golds(item)?;
        self.language.as_ref().map_or(Ok(()), |language| language.of(item).map(|_| ()))
    }

    pub fn grade(&self, item: &Value, completion: &Completion<'_>) -> Result<Outcome, Missing> {
        let golds = self.golds(item)?;
        let golds: Vec<&str> = golds.iter().map(String::as_str).collect();
        let language = self.language.as_ref().map(|language| language.of(item)).transpose()?;
        let score = self.scorer.score_any(&golds, language, &completion.text);
        let undecided = score.verdict == Verdict::Undecided;
        Ok(Outcome { undecided, ..Outcome::binary(score.is_correct(), GradeReason::Answer(score.reason)) })
    }

    fn golds(&self, item: &Value) -> Result<Vec<String>, Missing> {
        let golds = match self.reference.item_path() {
            Some(path) => path.texts(item)?,
            None => vec![self.reference.render_item(item)?],
        };
        if golds.iter().any(|gold| gold.trim().is_empty()) {
            return Err(Missing::new(&self.reference, &"the right answer is empty"));
        }
        Ok(golds)
    }
}

/// The options that the grader names, by their names: those of `ScoreOptions` are its fields.
fn options(grader: &MathAnswerGrader, path: &str) -> Result<ScoreOptions, GraderError> {
    let fields = serde_json::to_value(grader).map_err(|error| GraderError::definition(path, error))?;
    let mut options = ScoreOptions::default();
    for name in ScoreOptions::NAMES {
        if let Some(value) = fields.get(name) {
            options.set(name, value).map_err(|error| {
                let message = error.to_string();
                let message = message.strip_prefix(&format!("{name}: ")).unwrap_or(&message);
                GraderError::definition(&join(path, name), message)
            })?;
        }
    }
    Ok(options)
}
