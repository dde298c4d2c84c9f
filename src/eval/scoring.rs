//! From a completion to its record: the suite's scorer, the language scorer, and which outcome applies.

use crate::language::Language;
use crate::score::language::{FOLLOWING_MIN, LanguageScorer};
use crate::score::{MathScorer, Reason, Sample, Score, Scorer, TextScorer, Verdict};

use super::error::EvalError;
use super::generator::{Completion, Finish};
use super::record::{Outcome, SampleRecord, ScorerProfile};
use super::suite::{Problem, Suite, Task};

/// Everything a run judges with.
pub(super) struct Scoring {
    task: Task,
    scorer: Box<dyn Scorer>,
    language: LanguageScorer,
}

/// Which sample of which problem a completion is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub problem: &'a Problem,
    pub language: Language,
    pub sample: u32,
    pub seed: u64,
    /// `None`: nothing was drawn.
    pub choice: Option<u32>,
}

/// # Errors
/// `InvalidSetting` for a task that nothing here judges.
pub(super) fn check_task(task: Task) -> Result<(), EvalError> {
    match task {
        Task::Math | Task::Text => Ok(()),
        other => Err(EvalError::InvalidSetting {
            field: "scorer.task",
            message: format!("{} is not judged by this build of xenoglot; math and text are", other.name()),
        }),
    }
}

impl Scoring {
    pub fn new(suite: &Suite) -> Self {
        let scorer: Box<dyn Scorer> = match suite.task {
            Task::Math => Box::new(MathScorer),
            // `run` refuses the other tasks before it comes here.
            _ => Box::new(TextScorer),
        };
        Self { task: suite.task, scorer, language: LanguageScorer::with_all_languages() }
    }

    pub fn profile(&self) -> ScorerProfile {
        ScorerProfile {
            profile: "default".to_owned(),
            task: self.task.name().to_owned(),
            following_min: FOLLOWING_MIN,
        }
    }

    pub fn record(&self, place: Place<'_>, completion: Completion) -> SampleRecord {
        let sample = Sample { gold: &place.problem.answer, language: place.language };
        let score = self.scorer.score(sample, &completion.text);
        let language = self.language.score_completion(&completion.text, place.language);
        SampleRecord {
            outcome: outcome(&score, completion.finish),
            verdict: Some(score.verdict),
            reason: Some(score.reason),
            answer: score.normalised,
            span: score.span.map(|span| (span.start, span.end)),
            boxes: score.boxes,
            unclosed_box: score.unclosed_box,
            trace_language: language.trace.map(|trace| trace.summary()),
            answer_language: Some(language.answer.summary()),
            following: Some(language.following),
            language_undecidable: language.undecidable,
            completion: completion.text,
            finish: completion.finish,
            completion_tokens: completion.tokens,
            ..blank(place)
        }
    }

    /// The record of a sample that was refused.
    pub fn refused(place: Place<'_>, message: &str) -> SampleRecord {
        SampleRecord { error: Some(message.to_owned()), ..blank(place) }
    }
}

fn blank(place: Place<'_>) -> SampleRecord {
    SampleRecord {
        problem: place.problem.id.clone(),
        language: place.language,
        sample: place.sample,
        seed: place.seed,
        choice: place.choice,
        completion: String::new(),
        finish: Finish::Error,
        completion_tokens: None,
        error: None,
        outcome: Outcome::Error,
        gold: place.problem.answer.clone(),
        verdict: None,
        reason: None,
        answer: None,
        span: None,
        boxes: 0,
        unclosed_box: false,
        trace_language: None,
        answer_language: None,
        following: None,
        language_undecidable: false,
    }
}

fn outcome(score: &Score, finish: Finish) -> Outcome {
    match (score.verdict, score.reason) {
        (Verdict::Correct, _) => Outcome::Correct,
        _ if finish != Finish::Stop => Outcome::Truncated,
        (_, Reason::UnclosedTrace) => Outcome::Truncated,
        (_, Reason::NoBox) => Outcome::NoBox,
        (Verdict::Undecided, _) => Outcome::Undecided,
        (Verdict::Wrong, _) => Outcome::Wrong,
    }
}
