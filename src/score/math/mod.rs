//! Equality of answers: numbers, formulas, lists, sets, relations, matrices and words, without any float.
//!
//! Three verdicts. What provably equals the gold is correct, what provably differs is wrong, and all else is
//! undecided: a false accept is worse than a miss, so every rule here prefers "undecided" to a guess. Plain
//! numbers take a short way (`number`); everything else is parsed (`latex`), given its exact form (`exact`) and
//! compared kind by kind (`compare`), within a budget of steps.

mod budget;
mod compare;
mod exact;
mod factors;
mod groups;
mod latex;
pub(super) mod normalise;
mod number;
mod options;
mod plain;
mod structure;
mod unit;
mod unit_names;
mod unit_words;

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::Signed;

use super::extract::extract;
use super::{Reason, Sample, Score, Scorer, Verdict};
use crate::language::Language;
use number::{Convention, Number, Reading};

pub use number::NumberError;
pub use options::MathOptions;
pub(super) use unit::{changes_value_beside as changes_value, changes_value_in};

/// Digits a number may have; more is undecided, because its cost would grow with the square.
pub const DIGITS_MAX: usize = 10_000;

/// Judges the last box as a number.
#[derive(Debug, Clone, Copy, Default)]
pub struct MathScorer;

impl Scorer for MathScorer {
    fn score(&self, sample: Sample<'_>, completion: &str) -> Score {
        let found = extract(completion);
        let answers: Vec<&str> = found.answers.iter().map(|span| &completion[span.clone()]).collect();
        if answers.is_empty() {
            return Score::unanswered(completion, &found);
        }
        let judged = judge(sample.gold, &answers, sample.language, &MathOptions::default());
        Score::new(&found, judged.verdict, judged.reason, judged.normalised)
    }
}

/// A verdict on one answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    pub verdict: Verdict,
    pub reason: Reason,
    pub normalised: Option<String>,
}

/// Whether a gold answer reads as something that answers can be compared with; suites are refused when it does not.
///
/// # Errors
/// Why it does not.
pub fn check_gold(gold: &str) -> Result<(), NumberError> {
    match number::parse(gold, Convention::Canonical) {
        Err(error @ NumberError::NotANumber { .. }) => structure::check_gold(gold).map_err(|_| error),
        read => read.map(|_| ()),
    }
}

/// Compare the answers of adjacent boxes (one, as a rule) with the gold answer.
///
/// The gold is written in the canonical convention (point for decimals, comma for groups) whatever the language.
pub fn judge(gold: &str, answers: &[&str], language: Language, options: &MathOptions) -> Judgement {
    let (first, more) = match answers {
        [] => return Judgement { verdict: Verdict::Wrong, reason: Reason::NoBox, normalised: None },
        [first, more @ ..] => (first, more),
    };
    let answers = if more.iter().all(|answer| answer == first) { &answers[..1] } else { answers };
    match number::parse(first, Convention::Of(language)) {
        Ok(reading) => judge_number(gold, answers, &reading, language, options),
        Err(NumberError::TooLong) => {
            Judgement { verdict: Verdict::Undecided, reason: Reason::TooLong, normalised: None }
        }
        Err(_) => structure::judge(gold, answers, language, options),
    }
}

/// Two plain numbers are compared here; as soon as anything else comes in, the structure decides.
fn judge_number(
    gold: &str,
    answers: &[&str],
    reading: &Reading,
    language: Language,
    options: &MathOptions,
) -> Judgement {
    let same = |answer: &&str| {
        number::parse(answer, Convention::Of(language))
            .is_ok_and(|other| other.primary.value == reading.primary.value)
    };
    let named = answers[0].contains('=') && gold.contains('=');
    let gold_number = number::parse(gold, Convention::Canonical);
    // 12,34,567 is three numbers, save where lakhs are counted.
    let gold_number = match gold_number {
        Err(_) if language.groups_by_lakh() => number::parse(gold, Convention::Of(language)),
        gold_number => gold_number,
    };
    match gold_number {
        Ok(gold) if answers[1..].iter().all(same) && !named => {
            let (verdict, reason) = compare(&gold.primary, reading, options);
            Judgement { verdict, reason, normalised: Some(canonical(&reading.primary.value)) }
        }
        _ => structure::judge(gold, answers, language, options),
    }
}

fn compare(gold: &Number, reading: &Reading, options: &MathOptions) -> (Verdict, Reason) {
    if gold.value == reading.primary.value {
        match (&gold.unit, &reading.primary.unit) {
            (Some(gold), Some(own)) if unit::clash(gold, own) => (Verdict::Wrong, Reason::UnitDiffers),
            _ => (Verdict::Correct, Reason::NumberEqual),
        }
    } else if equal_rounded(gold, &reading.primary, options.precision) {
        (Verdict::Correct, Reason::RoundedEqual)
    } else if reading.alternate.as_ref().is_some_and(|other| other.value == gold.value) {
        (Verdict::Undecided, Reason::AmbiguousSeparator)
    } else {
        (Verdict::Wrong, Reason::NumberDiffers)
    }
}

/// 1/3 is 0.333333 and not 0.333. Only where one side is a decimal of at least so many places and the other has
/// more than so many, or no end: 18 is not 18.0000001, and 1/8 is not 0.1250001.
fn equal_rounded(a: &Number, b: &Number, precision: u32) -> bool {
    let precision = precision.min(options::PRECISION_MAX);
    let long = |number: &Number| number.places >= precision as usize;
    if !long(a) && !long(b) {
        return false;
    }
    let scale = BigRational::from_integer(BigInt::from(10).pow(precision));
    let inexact = |number: &Number| !(&number.value * &scale).is_integer();
    if !(long(a) && inexact(b) || long(b) && inexact(a)) {
        return false;
    }
    let rounded = |number: &Number| (&number.value * &scale).round();
    // Fewer than three digits are no evidence.
    let evidence = BigRational::from_integer(100.into());
    rounded(a) == rounded(b) && rounded(a).abs() >= evidence
}

/// Characters of a canonical form that are kept in records.
const FORM_MAX: usize = 200;

fn canonical(value: &BigRational) -> String {
    shortened(&value.to_string())
}

fn shortened(text: &str) -> String {
    let length = text.chars().count();
    if length <= FORM_MAX {
        return text.to_owned();
    }
    // The length and a digest keep long forms of different answers apart.
    let digest = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let head: String = text.chars().take(FORM_MAX).collect();
    format!("{head}... ({length} characters, {digest:016x})")
}

#[cfg(test)]
mod tests;
