//! From a completion to its record: the task's scorer, the language scorer, and which outcome applies.

mod judging;
mod likelihood;
mod options;

use std::collections::BTreeMap;

use crate::language::Language;
use crate::score::conduct;
use crate::score::extract::split;
use crate::score::language::{CompletionLanguage, FOLLOWING_MIN, LanguageScorer};
use crate::score::{Reason, Score, Verdict};

use super::error::EvalError;
use super::generator::{Completion, Finish};
use super::record::{Outcome, SampleRecord, ScorerProfile};
use super::suite::{Problem, Suite, Task};
use judging::{Judgement, Judging};
pub use options::ScorerOptions;

/// Everything a run judges with.
pub(super) struct Scoring {
    task: Task,
    judging: Judging,
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

impl Scoring {
    /// Choose the suite's scorer and check that it can judge every problem.
    ///
    /// # Errors
    /// A task that nothing here judges, a scorer's option or a problem's field that is wrong, no sandbox for programs,
    /// or no judge.
    pub fn open(suite: &Suite, options: &ScorerOptions) -> Result<Self, EvalError> {
        let (task, judging) = judging::choose(suite, options)?;
        Ok(Self { task, judging, language: LanguageScorer::with_all_languages() })
    }

    /// Reach what judging needs beyond this process, before anything is generated for it.
    ///
    /// # Errors
    /// The judge's server does not answer. Blocks.
    pub fn reach(&self) -> Result<(), EvalError> {
        match &self.judging {
            Judging::Judge { judge, .. } => judge.reach().map_err(|error| judging::no_scorer(&error)),
            _ => Ok(()),
        }
    }

    pub fn profile(&self) -> ScorerProfile {
        let mut profile = ScorerProfile {
            profile: "default".to_owned(),
            task: self.task.name().to_owned(),
            following_min: FOLLOWING_MIN,
            python: None,
            limits: None,
            judge: None,
            rating_min: None,
        };
        match &self.judging {
            Judging::Code { sandbox, limits } => {
                profile.python = Some(sandbox.python_version().to_owned());
                profile.limits = Some(*limits);
            }
            Judging::Judge { judge, rating_min } => {
                profile.judge = Some(judge.model().to_owned());
                profile.rating_min = Some(*rating_min);
            }
            Judging::Answer(options) => options.profile.name().clone_into(&mut profile.profile),
            Judging::Text | Judging::Likelihood | Judging::Instructions | Judging::Language => {}
        }
        profile
    }

    /// Judge a completion. Blocks: programs are run and judges asked.
    ///
    /// # Errors
    /// The sandbox or the judge's server failed; never for what the completion holds.
    pub fn record(&self, place: Place<'_>, completion: Completion) -> Result<SampleRecord, EvalError> {
        let language = self.language.score_completion(&completion.text, place.language);
        let judged = self.judging.judge(place, &completion.text, &language, &self.language)?;
        let Judgement { score, mut metrics, detail, judge } = judged;
        // Log-probabilities are in no language.
        let language = Some(language).filter(|_| !matches!(self.judging, Judging::Likelihood));
        metrics.extend(language.iter().flat_map(|language| conduct(&completion.text, language)));
        Ok(SampleRecord {
            outcome: outcome(&score, completion.finish),
            verdict: Some(score.verdict),
            reason: Some(score.reason),
            answer: score.normalised,
            span: score.span.map(|span| (span.start, span.end)),
            boxes: score.boxes,
            unclosed_box: score.unclosed_box,
            trace_language: language.as_ref().and_then(|found| Some(found.trace.as_ref()?.summary())),
            answer_language: language.as_ref().map(|found| found.answer.summary()),
            following: language.as_ref().map(|found| found.following),
            language_undecidable: language.is_some_and(|found| found.undecidable),
            metrics,
            detail,
            judge,
            empty: completion.text.trim().is_empty(),
            completion: completion.text,
            finish: completion.finish,
            completion_tokens: completion.tokens,
            thinking_tokens: completion.thinking_tokens,
            ..blank(place)
        })
    }

    /// The record of a sample that was refused.
    pub fn refused(place: Place<'_>, message: &str) -> SampleRecord {
        SampleRecord { error: Some(message.to_owned()), ..blank(place) }
    }
}

fn conduct(completion: &str, language: &CompletionLanguage) -> [(String, f64); 2] {
    let says = !completion[split(completion).answer].trim().is_empty();
    [
        ("language_accuracy", says && conduct::is_wholly_in_language(&language.answer)),
        ("think_accuracy", conduct::has_trace(completion)),
    ]
    .map(|(name, holds)| (name.to_owned(), f64::from(holds)))
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
        thinking_tokens: None,
        empty: false,
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
        metrics: BTreeMap::new(),
        detail: None,
        judge: Vec::new(),
    }
}

fn outcome(score: &Score, finish: Finish) -> Outcome {
    match (score.verdict, score.reason) {
        (Verdict::Correct, _) => Outcome::Correct,
        _ if finish != Finish::Stop => Outcome::Truncated,
        (_, Reason::UnclosedTrace) => Outcome::Truncated,
        (_, Reason::NoBox | Reason::Empty | Reason::UnclosedBox | Reason::NoCode) => Outcome::NoBox,
        (Verdict::Undecided, _) => Outcome::Undecided,
        (Verdict::Wrong, _) => Outcome::Wrong,
    }
}
