//! The scorers that a suite may ask for, one of which decides what is correct.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::{Map, Value};

use super::likelihood::likelihood;
use super::{Place, ScorerOptions};
use crate::eval::conversation::{further_turns, turns};
use crate::eval::error::EvalError;
use crate::eval::scorers::code::{CodeError, CodeScore, CodeScorer, Tests, extract};
use crate::eval::scorers::judge::{Finding, Judge, Judged, Question, Turn};
use crate::eval::scorers::sandbox::{Limits, Sandbox};
use crate::eval::suite::{Problem, Suite, Task, letter};
use crate::language::Language;
use crate::score::conduct::is_wholly_in_language;
use crate::score::extract::split;
use crate::score::instructions::{Context, Followed, InstructionScore, Instructions};
use crate::score::language::{CompletionLanguage, LanguageScorer};
use crate::score::{
    AnswerKind, AnswerScorer, Reason, Sample, Score, ScoreOptions, Scorer, TextScorer, Verdict,
};

pub(super) enum Judging {
    /// Words, by normalised text.
    Text,
    /// Numbers, formulas and choices, by what the options say.
    Answer(Box<ScoreOptions>),
    /// Choices, by how likely the model finds them.
    Likelihood,
    Instructions,
    Code {
        sandbox: Box<Sandbox>,
        limits: Limits,
    },
    Judge {
        judge: Box<Judge>,
        /// The grade from which on an answer counts as correct.
        rating_min: f64,
    },
    Language,
}

/// A score, and what a record keeps beside it.
pub(super) struct Judgement {
    pub score: Score,
    pub metrics: BTreeMap<String, f64>,
    pub detail: Option<String>,
    /// A verdict a turn.
    pub judge: Vec<Judged>,
}

/// Scorers that every run has, so that naming them asks for nothing.
const ALWAYS: [&str; 2] = ["language_accuracy", "think_accuracy"];

const RATING_MIN: f64 = 7.0;

pub(super) fn no_scorer(error: &dyn std::fmt::Display) -> EvalError {
    EvalError::NoScorer { message: error.to_string() }
}

/// The suite's main scorer, checked against its problems.
pub(super) fn choose(suite: &Suite, options: &ScorerOptions) -> Result<(Task, Judging), EvalError> {
    let invalid = |message: String| EvalError::InvalidSetting { field: "scorer.task", message };
    let (task, own) = main_scorer(suite).map_err(invalid)?;
    let judging = match task {
        Task::Math => Judging::Answer(Box::new(answer(AnswerKind::Math, &own, options)?)),
        Task::Choice => Judging::Answer(Box::new(answer(AnswerKind::Choice, &own, options)?)),
        Task::Loglikelihood => Judging::Likelihood,
        Task::Text => Judging::Text,
        Task::Instructions => Judging::Instructions,
        Task::Language => Judging::Language,
        Task::Code => Judging::Code {
            sandbox: Box::new(Sandbox::open(&options.sandbox).map_err(|error| no_scorer(&error))?),
            limits: limits(&own)?,
        },
        Task::Judge => {
            let options = options.judge.clone().ok_or_else(|| {
                no_scorer(&"the suite's answers are judged by a model, and none is given; name one by its URL and model")
            })?;
            Judging::Judge {
                judge: Box::new(Judge::new(options).map_err(|error| no_scorer(&error))?),
                rating_min: rating_min(&own)?,
            }
        }
    };
    for entry in &suite.languages {
        for problem in &entry.problems {
            judging.check(problem).map_err(|message| EvalError::ProblemField {
                problem: problem.id.clone(),
                language: entry.language,
                message,
            })?;
        }
    }
    Ok((task, judging))
}

/// The scorer that decides, with its options: the task's own, or the first that the suite names instead.
fn main_scorer(suite: &Suite) -> Result<(Task, Map<String, Value>), String> {
    let mut found: Option<(Task, Map<String, Value>)> = None;
    for spec in &suite.scorers {
        let Some(task) = Task::named(&spec.name) else {
            if ALWAYS.contains(&spec.name.as_str()) {
                continue;
            }
            return Err(format!("{:?} is no scorer", spec.name));
        };
        match &found {
            None => found = Some((task, spec.options.clone())),
            // Every run has the language scores; named beside another scorer they decide nothing.
            Some(_) if task == Task::Language => {}
            Some((first, _)) => {
                return Err(format!(
                    "{} and {} cannot both decide what is correct",
                    first.name(),
                    task.name()
                ));
            }
        }
    }
    Ok(found.unwrap_or((suite.task, Map::new())))
}

fn wrong_option(message: String) -> EvalError {
    EvalError::InvalidSetting { field: "scorers", message }
}

/// An option of the suite's scorer that is a number in a range.
fn number(
    options: &Map<String, Value>,
    key: &str,
    default: f64,
    range: std::ops::RangeInclusive<f64>,
) -> Result<f64, EvalError> {
    let Some(value) = options.get(key) else { return Ok(default) };
    value.as_f64().filter(|number| range.contains(number)).ok_or_else(|| {
        wrong_option(format!("{key} must be a number from {} to {}", range.start(), range.end()))
    })
}

fn known_options(options: &Map<String, Value>, known: &[&str]) -> Result<(), EvalError> {
    match options.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => Err(wrong_option(format!("{key:?} is no option; known: {}", known.join(", ")))),
    }
}

/// The suite's options, which win over the run's profile.
fn answer(
    kind: AnswerKind,
    own: &Map<String, Value>,
    run: &ScorerOptions,
) -> Result<ScoreOptions, EvalError> {
    let mut options = ScoreOptions { task: kind, profile: run.profile, ..ScoreOptions::default() };
    for (name, value) in own {
        options.set(name, value).map_err(|error| wrong_option(error.to_string()))?;
    }
    Ok(options)
}

/// The letters of a problem's choices.
fn letters(problem: &Problem) -> String {
    (0..problem.choices.len()).map(letter).collect()
}

/// Whether the letter that was found stands before the same text as the right one.
fn names_the_same(problem: &Problem, score: &Score) -> bool {
    let found = score.normalised.as_deref();
    let index = (0..problem.choices.len()).find(|index| found == Some(letter(*index).to_string().as_str()));
    index.is_some_and(|index| problem.is_right(index))
}

fn limits(options: &Map<String, Value>) -> Result<Limits, EvalError> {
    known_options(options, &["cpu_seconds", "memory_mib"])?;
    let usual = Limits::default();
    let cpu_seconds = number(options, "cpu_seconds", usual.cpu_seconds as f64, 1.0..=600.0)?.ceil() as u64;
    let memory_mib =
        number(options, "memory_mib", (usual.memory_bytes >> 20) as f64, 64.0..=65_536.0)? as u64;
    Ok(Limits { cpu_seconds, wall_seconds: 6 * cpu_seconds, memory_bytes: memory_mib << 20, ..usual })
}

fn rating_min(options: &Map<String, Value>) -> Result<f64, EvalError> {
    known_options(options, &["rating_min"])?;
    number(options, "rating_min", RATING_MIN, 1.0..=10.0)
}

impl Judging {
    /// Whether a problem has what this scorer needs.
    fn check(&self, problem: &Problem) -> Result<(), String> {
        match self {
            Self::Instructions => instructions(problem).map(drop),
            Self::Code { .. } if Tests::are_packed(&problem.fields) => Ok(()),
            Self::Code { .. } => Tests::read(&problem.fields).map(drop).map_err(|error| error.to_string()),
            Self::Judge { .. } => references(problem).map(drop),
            Self::Answer(options) if options.task == AnswerKind::Choice => match problem.correct_choice() {
                Some(_) => Ok(()),
                None => Err(format!("its answer {:?} is none of its choices", problem.answer)),
            },
            Self::Likelihood => match problem.correct_choice() {
                Some(_) => Ok(()),
                None => Err(format!("its answer {:?} is none of its choices", problem.answer)),
            },
            Self::Answer(_) | Self::Text | Self::Language => Ok(()),
        }
    }

    pub fn judge(
        &self,
        place: Place<'_>,
        completion: &str,
        language: &CompletionLanguage,
        scorer: &LanguageScorer,
    ) -> Result<Judgement, EvalError> {
        let sample = Sample { gold: &place.problem.answer, language: place.language };
        match self {
            Self::Text => return Ok(Judgement::plain(TextScorer.score(sample, completion))),
            Self::Answer(options) => {
                let mut options = (**options).clone();
                if options.task == AnswerKind::Choice {
                    options.choices = letters(place.problem);
                }
                let mut score = AnswerScorer::new(options).score(sample, completion);
                if score.reason == Reason::ChoiceDiffers && names_the_same(place.problem, &score) {
                    (score.verdict, score.reason) = (Verdict::Correct, Reason::ChoiceEqual);
                    score.normalised = Some(place.problem.answer.clone());
                }
                return Ok(Judgement::plain(score));
            }
            Self::Likelihood => return Ok(likelihood(place, completion)),
            _ => {}
        }
        let parts = split(completion);
        let answer = Answer { text: &completion[parts.answer.clone()], start: parts.answer.start };
        let mut judgement = match self {
            Self::Text | Self::Answer(_) | Self::Likelihood | Self::Language => in_language(language),
            Self::Instructions => following(place, answer, scorer)?,
            Self::Code { sandbox, limits } => {
                program(place, answer, &CodeScorer { sandbox, limits: *limits })?
            }
            Self::Judge { judge, rating_min } => opinion(place, completion, judge, *rating_min)?,
        };
        if parts.unclosed_trace && judgement.score.verdict != Verdict::Correct {
            (judgement.score.verdict, judgement.score.reason) = (Verdict::Wrong, Reason::UnclosedTrace);
        }
        Ok(judgement)
    }
}

/// What follows the trace, and where in the completion.
#[derive(Clone, Copy)]
struct Answer<'a> {
    text: &'a str,
    start: usize,
}

impl Judgement {
    fn plain(score: Score) -> Self {
        Self { score, metrics: BTreeMap::new(), detail: None, judge: Vec::new() }
    }

    pub fn of(verdict: Verdict, reason: Reason, span: Option<Range<usize>>) -> Self {
        let answers = span.clone().into_iter().collect();
        Self::plain(Score {
            verdict,
            reason,
            span,
            answers,
            found: None,
            boxes: 0,
            unclosed_box: false,
            normalised: None,
        })
    }

    pub fn with(mut self, metrics: &[(&str, f64)]) -> Self {
        self.metrics.extend(metrics.iter().map(|(name, value)| ((*name).to_owned(), *value)));
        self
    }
}

fn in_language(language: &CompletionLanguage) -> Judgement {
    let (verdict, reason) = match &language.answer {
        // A run whose only question is the language gains nothing from answers without one.
        answer if answer.score.is_none() => (Verdict::Undecided, Reason::LanguageUndecidable),
        answer if is_wholly_in_language(answer) => (Verdict::Correct, Reason::LanguageFollowed),
        _ => (Verdict::Wrong, Reason::LanguageNotFollowed),
    };
    Judgement::of(verdict, reason, None)
}

fn instructions(problem: &Problem) -> Result<Instructions, String> {
    let field = |name| problem.fields.get(name).unwrap_or(&Value::Null);
    Instructions::parse(field("instruction_id_list"), field("kwargs")).map_err(|error| error.to_string())
}

fn scoring(message: impl std::fmt::Display) -> EvalError {
    EvalError::Scoring { message: message.to_string() }
}

fn following(place: Place<'_>, answer: Answer<'_>, scorer: &LanguageScorer) -> Result<Judgement, EvalError> {
    let instructions = instructions(place.problem).map_err(scoring)?;
    let share = |text: &str, language: Language| scorer.score_text(text, language).score;
    let InstructionScore { strict, loose } =
        instructions.judge(answer.text, Context { language: place.language, share: &share });
    let all = InstructionScore::all(&strict);
    let (verdict, reason) = match all {
        Followed::Yes => (Verdict::Correct, Reason::InstructionsFollowed),
        Followed::No => (Verdict::Wrong, Reason::InstructionsNotFollowed),
        Followed::Undecided => (Verdict::Undecided, Reason::InstructionsUndecided),
    };
    let whole = |verdicts: &[Followed]| f64::from(InstructionScore::all(verdicts) == Followed::Yes);
    let count = |verdicts: &[Followed]| InstructionScore::count(verdicts) as f64;
    Ok(Judgement::of(verdict, reason, None).with(&[
        ("instructions", strict.len() as f64),
        ("instructions_strict", count(&strict)),
        ("instructions_loose", count(&loose)),
        ("prompt_strict", whole(&strict)),
        ("prompt_loose", whole(&loose)),
    ]))
}

fn program(place: Place<'_>, answer: Answer<'_>, scorer: &CodeScorer<'_>) -> Result<Judgement, EvalError> {
    let tests = scorer.tests(&place.problem.fields).map_err(|error| match error {
        CodeError::Sandbox(error) => scoring(error),
        error => scoring(format!("problem {}: {error}", place.problem.id)),
    })?;
    let CodeScore { verdict, reason, passed, tests, detail } =
        scorer.judge(answer.text, &tests).map_err(scoring)?;
    let span = extract(answer.text).map(|code| code.span.start + answer.start..code.span.end + answer.start);
    let judgement = Judgement::of(verdict, reason, span);
    Ok(Judgement { detail, ..judgement }.with(&[("tests", tests as f64), ("tests_passed", passed as f64)]))
}

/// The lowest grade.
const RATING_LOWEST: f64 = 1.0;

/// A judge's opinion: of the answer against its gold, or a grade a turn.
fn opinion(
    place: Place<'_>,
    completion: &str,
    judge: &Judge,
    rating_min: f64,
) -> Result<Judgement, EvalError> {
    let answers = turns(completion).map(|turn| turn[split(turn).answer].trim()).collect::<Vec<_>>();
    if place.problem.answer.trim().is_empty() {
        grades(place, &answers, judge, rating_min)
    } else {
        correctness(place.problem, answers.last().copied().unwrap_or_default(), judge)
    }
}

fn correctness(problem: &Problem, answer: &str, judge: &Judge) -> Result<Judgement, EvalError> {
    if answer.is_empty() {
        return Ok(Judgement::of(Verdict::Wrong, Reason::JudgedWrong, None));
    }
    let rubric = problem.fields.get("rubric").and_then(Value::as_str);
    let (prompt, reference) = (problem.problem.as_str(), problem.answer.as_str());
    let judged = judge.judge(&Question::Correct { prompt, answer, reference, rubric }).map_err(scoring)?;
    let (verdict, reason) = match judged.finding {
        Some(Finding::Correct(true)) => (Verdict::Correct, Reason::JudgedCorrect),
        Some(_) => (Verdict::Wrong, Reason::JudgedWrong),
        None => (Verdict::Undecided, Reason::NoVerdict),
    };
    Ok(Judgement { judge: vec![judged], ..Judgement::of(verdict, reason, None) })
}

/// Each turn is graded after those before it, and the mean counts.
fn grades(
    place: Place<'_>,
    answers: &[&str],
    judge: &Judge,
    rating_min: f64,
) -> Result<Judgement, EvalError> {
    let prompts: Vec<String> =
        std::iter::once(place.problem.problem.clone()).chain(further_turns(place.problem)).collect();
    let references = references(place.problem).map_err(scoring)?;
    let turn = |at: usize| Turn {
        prompt: &prompts[at],
        answer: answers.get(at).copied().unwrap_or_default(),
        reference: references.get(at).map(String::as_str).filter(|reference| !reference.trim().is_empty()),
    };
    let (mut judged, mut ratings) = (Vec::new(), Vec::new());
    for last in 0..prompts.len() {
        let turns: Vec<Turn<'_>> = (0..=last).map(turn).collect();
        if turns[last].answer.is_empty() {
            // Left out of the mean it would flatter a model that says nothing.
            ratings.push(Some(RATING_LOWEST));
            continue;
        }
        let language = place.language.english_name();
        let verdict = judge.judge(&Question::Grade { turns, language }).map_err(scoring)?;
        ratings.push(match verdict.finding {
            Some(Finding::Rating(rating)) => Some(rating),
            _ => None,
        });
        judged.push(verdict);
    }
    Ok(Judgement { judge: judged, ..graded(&ratings, rating_min) })
}

fn graded(ratings: &[Option<f64>], rating_min: f64) -> Judgement {
    let known: Option<Vec<f64>> = ratings.iter().copied().collect();
    let Some(known) = known else { return Judgement::of(Verdict::Undecided, Reason::NoVerdict, None) };
    let mean = known.iter().sum::<f64>() / known.len().max(1) as f64;
    let (verdict, reason) = if mean >= rating_min {
        (Verdict::Correct, Reason::JudgedCorrect)
    } else {
        (Verdict::Wrong, Reason::JudgedWrong)
    };
    let mut judgement = Judgement::of(verdict, reason, None).with(&[("rating", mean)]);
    if known.len() > 1 {
        let each = known.iter().enumerate().map(|(at, rating)| (format!("rating_turn_{}", at + 1), *rating));
        judgement.metrics.extend(each);
    }
    judgement
}

/// Good answers, one a turn, for the judge alone.
fn references(problem: &Problem) -> Result<Vec<String>, String> {
    match problem.fields.get("reference") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![text.clone()]),
        Some(Value::Array(list)) => {
            let texts = list.iter().map(|text| match text {
                Value::Null => Some(String::new()),
                text => text.as_str().map(str::to_owned),
            });
            texts.collect::<Option<_>>().ok_or_else(|| "reference must be a list of strings".to_owned())
        }
        Some(_) => Err("reference must be a string or a list of strings".to_owned()),
    }
}
