//! Equality of numbers: integers, decimals and fractions, as exact rationals, never as floats.
//!
//! Three verdicts. What reads as a number and equals the gold is correct; what reads as another number is
//! wrong; what does not read as one number, or reads as two, is undecided. A false accept is worse than a miss,
//! so every rule here prefers "undecided" to a guess. Formulas, sets, intervals and relations are not judged.

pub(super) mod normalise;
mod number;
mod options;
mod plain;
mod unit;

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::Signed;

use super::extract::extract;
use super::{Reason, Sample, Score, Scorer, Verdict};
use crate::language::Language;
use number::{Convention, Number, Reading};

pub use number::NumberError;
pub use options::MathOptions;

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
            return Score::unanswered(&found);
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

/// Whether a gold answer reads as a number; suites are refused when it does not.
///
/// # Errors
/// Why it does not.
pub fn check_gold(gold: &str) -> Result<(), NumberError> {
    number::parse(gold, Convention::Canonical).map(|_| ())
}

/// Compare the answers of adjacent boxes (one, as a rule) with the gold answer.
///
/// The gold is written in the canonical convention (point for decimals, comma for groups) whatever the language.
pub fn judge(gold: &str, answers: &[&str], language: Language, options: &MathOptions) -> Judgement {
    let _ = options;
    let (first, more) = match answers {
        [] => return Judgement { verdict: Verdict::Wrong, reason: Reason::NoBox, normalised: None },
        [first, more @ ..] => (first, more),
    };
    let reading = match number::parse(first, Convention::Of(language)) {
        Ok(reading) => reading,
        Err(error) => return judge_text(gold, answers, &error),
    };
    let normalised = Some(canonical(&reading.primary.value));
    let same = |answer: &&str| {
        *answer == *first
            || number::parse(answer, Convention::Of(language))
                .is_ok_and(|other| other.primary.value == reading.primary.value)
    };
    if !more.iter().all(same) {
        return Judgement { verdict: Verdict::Undecided, reason: Reason::SeveralAnswers, normalised: None };
    }
    let Ok(gold) = number::parse(gold, Convention::Canonical) else {
        return Judgement { verdict: Verdict::Undecided, reason: Reason::NotANumber, normalised };
    };
    let (verdict, reason) = compare(&gold.primary, &reading);
    Judgement { verdict, reason, normalised }
}

/// What is no number may still be the gold, word for word.
fn judge_text(gold: &str, answers: &[&str], error: &NumberError) -> Judgement {
    let undecided = |reason, normalised| Judgement { verdict: Verdict::Undecided, reason, normalised };
    if matches!(error, NumberError::TooLong) {
        return undecided(Reason::TooLong, None);
    }
    if answers.len() > 1 {
        return undecided(Reason::SeveralAnswers, None);
    }
    let text = normalise::normalise(answers[0]);
    if text.is_some() && text == normalise::normalise(gold) {
        return Judgement { verdict: Verdict::Correct, reason: Reason::TextEqual, normalised: text };
    }
    undecided(Reason::NotANumber, text.map(|text| shortened(&text)))
}

fn compare(gold: &Number, reading: &Reading) -> (Verdict, Reason) {
    if gold.value == reading.primary.value {
        (Verdict::Correct, Reason::NumberEqual)
    } else if equal_rounded(gold, &reading.primary) {
        (Verdict::Correct, Reason::RoundedEqual)
    } else if reading.alternate.as_ref().is_some_and(|other| other.value == gold.value) {
        (Verdict::Undecided, Reason::AmbiguousSeparator)
    } else {
        (Verdict::Wrong, Reason::NumberDiffers)
    }
}

/// Places to which a decimal has to agree with a value that it cannot express.
const PLACES: usize = 6;

/// 1/3 is 0.333333 and not 0.333. Only where one side is a decimal of at least six places and the other a
/// fraction or such a decimal too: 18 is not 18.0000001.
fn equal_rounded(a: &Number, b: &Number) -> bool {
    let long = |number: &Number| number.places >= PLACES;
    let inexact = |number: &Number| long(number) || number.is_fraction;
    if !(long(a) && inexact(b) || long(b) && inexact(a)) {
        return false;
    }
    let scale = BigRational::from_integer(BigInt::from(10).pow(PLACES as u32));
    let rounded = |number: &Number| (&number.value * &scale).round();
    rounded(a) == rounded(b) && a.value.is_negative() == b.value.is_negative()
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
