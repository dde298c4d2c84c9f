//! The judgement of answers that are more than a number: formulas, lists, sets, relations, matrices, words.

use super::budget::{Budget, Obstacle};
use super::compare::{Judge, Match, Value, compare, count_something, differ, form, stated_value, value};
use super::latex::{self, Token};
use super::number::Convention;
use super::options::MathOptions;
use super::{Judgement, normalise, shortened};
use crate::language::{DecimalMark, Language};
use crate::score::{Reason, Verdict};

/// Why a gold answer is none that an answer can be compared with.
pub(super) fn check_gold(gold: &str) -> Result<(), Obstacle> {
    let options = MathOptions::default();
    let mut budget = Budget::new(options.budget_steps);
    match read(gold, Convention::Canonical, &mut budget)? {
        // Numbers in words would never equal a number in digits.
        Value::Text(text) => {
            if count_something(&text) {
                Err(Obstacle::Unread)
            } else {
                Ok(())
            }
        }
        _ => Ok(()),
    }
}

fn read(answer: &str, convention: Convention, budget: &mut Budget) -> Result<Value, Obstacle> {
    value(&latex::parse(answer, convention, budget)?, budget)
}

/// Compare an answer, or the answers of adjacent boxes, with the gold answer.
pub(super) fn judge(gold: &str, answers: &[&str], language: Language, options: &MathOptions) -> Judgement {
    let mut budget = Budget::new(options.budget_steps);
    let joined = answers.join(", ");
    let convention = Convention::Of(language);
    let answer = read(&joined, convention, &mut budget);
    let normalised = match &answer {
        Ok(answer) => {
            let mut judge = Judge { options, budget: &mut budget };
            Some(shortened(&form(&stated_value(answer, &mut judge))))
        }
        Err(_) => normalise::normalise(&joined).map(|text| shortened(&text)),
    };
    let gold_value = read(gold, Convention::Canonical, &mut budget);
    let (verdict, reason) = match (&gold_value, &answer) {
        (Ok(gold_value), Ok(answer)) => {
            let mut judge = Judge { options, budget: &mut budget };
            let found = decide(gold_value, answer, &joined, language, &mut judge);
            verdict(found, gold_value, answer)
        }
        (Err(obstacle), _) | (_, Err(obstacle)) => (Verdict::Undecided, undecided(*obstacle)),
    };
    let (verdict, reason) = if verdict == Verdict::Correct && is_pair_or_group(&joined) {
        (Verdict::Undecided, Reason::AmbiguousSeparator)
    } else {
        (verdict, reason)
    };
    let out_of_reach = matches!(reason, Reason::BudgetSpent | Reason::TooLong);
    let (verdict, reason) = if out_of_reach && differ_modulo_a_prime(gold, &joined, convention, options) {
        (Verdict::Wrong, Reason::FormulaDiffers)
    } else {
        (verdict, reason)
    };
    let identical =
        verdict == Verdict::Undecided && answers.len() == 1 && same_text(gold, &joined, convention);
    let (verdict, reason) = if identical { (Verdict::Correct, Reason::TextEqual) } else { (verdict, reason) };
    Judgement { verdict, reason, normalised }
}

/// "(1,234)", which may be a pair: for a number it is no answer, and for a pair the gold has its blank.
fn is_pair_or_group(answer: &str) -> bool {
    let inner = answer.trim().strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    let Some((left, right)) = inner.and_then(|inner| inner.split_once(',')) else { return false };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    (1..=3).contains(&left.len()) && right.len() == 3 && digits(left) && digits(right)
}

/// What is too long to work out may still be shown to differ.
fn differ_modulo_a_prime(gold: &str, answer: &str, convention: Convention, options: &MathOptions) -> bool {
    let mut budget = Budget::new(options.budget_steps / 10);
    let gold = latex::parse(gold, Convention::Canonical, &mut budget);
    let answer = latex::parse(answer, convention, &mut budget);
    matches!((gold, answer), (Ok(gold), Ok(answer)) if differ(&gold, &answer, &mut budget))
}

/// The comparison, with an eye on commas that another convention would read otherwise.
fn decide(gold: &Value, answer: &Value, text: &str, language: Language, judge: &mut Judge) -> Match {
    let found = compare(gold, answer, judge);
    if !text.contains(',') {
        return found;
    }
    let decimal_comma = language.decimal_mark() == DecimalMark::Comma;
    if found == Match::Different && is_list(answer) && !decimal_comma {
        return if another_reading(gold, text, judge) { Match::Unknown(Obstacle::Ambiguous) } else { found };
    }
    if !decimal_comma {
        return found;
    }
    // The language's comma is decimal, the writer's may not have been.
    let Ok(other) = read(text, Convention::Canonical, judge.budget) else { return found };
    if other == *answer {
        return found;
    }
    let bracketed = text.contains(['(', '[']) || text.contains("\\{");
    let otherwise = compare(gold, &other, judge);
    match (found.is_equal(), otherwise.is_equal()) {
        (true, false) if bracketed && is_list(&other) && !is_list(answer) => {
            Match::Unknown(Obstacle::Ambiguous)
        }
        (false, true) if bracketed && is_list(gold) => otherwise,
        (false, true) => Match::Unknown(Obstacle::Ambiguous),
        _ => found,
    }
}

fn is_list(value: &Value) -> bool {
    matches!(value, Value::Sequence(..) | Value::Set(_) | Value::Matrix(_))
}

/// Whether commas read as decimal marks, or as group marks with a space after them, would give the gold.
fn another_reading(gold: &Value, text: &str, judge: &mut Judge) -> bool {
    let readings = [
        (text.to_owned(), Convention::Of(Language::De)),
        (text.replace(", ", ","), Convention::Canonical),
        // Lakhs and crores.
        (text.to_owned(), Convention::Of(Language::Hi)),
    ];
    readings.iter().any(|(text, convention)| {
        let other = read(text, *convention, judge.budget);
        other.is_ok_and(|other| !is_list(&other) && compare(gold, &other, judge).is_equal())
    })
}

fn verdict(found: Match, gold: &Value, answer: &Value) -> (Verdict, Reason) {
    let rational = |value: &Value| value.scalar().is_some_and(|scalar| scalar.value.rational().is_some());
    let numbers = rational(gold) && rational(answer);
    let texts = matches!((gold, answer), (Value::Text(_), Value::Text(_)));
    match found {
        Match::Equal { rounded: true } => (Verdict::Correct, Reason::RoundedEqual),
        Match::Equal { .. } if numbers => (Verdict::Correct, Reason::NumberEqual),
        Match::Equal { .. } if texts => (Verdict::Correct, Reason::TextEqual),
        Match::Equal { .. } => (Verdict::Correct, Reason::FormulaEqual),
        Match::Different if numbers => (Verdict::Wrong, Reason::NumberDiffers),
        Match::Different if texts => (Verdict::Wrong, Reason::TextDiffers),
        Match::Different if matches!(kinds(gold, answer), Reason::SeveralAnswers | Reason::NotANumber) => {
            (Verdict::Wrong, kinds(gold, answer))
        }
        Match::Different => (Verdict::Wrong, Reason::FormulaDiffers),
        Match::Kinds => (Verdict::Undecided, kinds(gold, answer)),
        Match::Unknown(Obstacle::Unread | Obstacle::Undefined) => (Verdict::Undecided, Reason::NotProven),
        Match::Unknown(obstacle) => (Verdict::Undecided, undecided(obstacle)),
    }
}

fn kinds(gold: &Value, answer: &Value) -> Reason {
    match (gold, answer) {
        (Value::Scalar(_), Value::Sequence(..)) => Reason::SeveralAnswers,
        (Value::Scalar(_), Value::Text(_)) => Reason::NotANumber,
        _ => Reason::KindDiffers,
    }
}

fn undecided(obstacle: Obstacle) -> Reason {
    match obstacle {
        Obstacle::Budget => Reason::BudgetSpent,
        Obstacle::TooLarge => Reason::TooLong,
        Obstacle::Ambiguous => Reason::AmbiguousFormula,
        Obstacle::Unread | Obstacle::Undefined => Reason::NotANumber,
    }
}

/// What no rule reads may still be the gold, sign for sign.
fn same_text(gold: &str, answer: &str, convention: Convention) -> bool {
    // "Au" is a word, though some languages join values with it.
    let word = |text: &str| {
        normalise::normalise(text)
            .filter(|text| text.chars().count() > 1 && text.chars().all(char::is_alphabetic))
    };
    if let (Some(gold), Some(answer)) = (word(gold), word(answer)) {
        return gold.to_lowercase() == answer.to_lowercase();
    }
    let both = (latex::tokens(gold, Convention::Canonical), latex::tokens(answer, convention));
    if let (Ok(gold), Ok(answer)) = both {
        return !gold.is_empty() && spacing(gold) == spacing(answer);
    }
    // Digits could be meant in two ways.
    let words =
        |text: &str| text.chars().any(char::is_alphabetic) && !text.contains(|c: char| c.is_ascii_digit());
    let gold = normalise::normalise(gold).filter(|gold| words(gold));
    gold.is_some() && gold == normalise::normalise(answer)
}

/// Tokens without the spaces that cannot change their meaning: those beside numbers can.
fn spacing(mut tokens: Vec<Token>) -> Vec<Token> {
    let number = |token: &Token| matches!(token.kind, latex::Kind::Number { .. });
    for at in 0..tokens.len() {
        let beside = at > 0 && (number(&tokens[at - 1]) || number(&tokens[at]));
        tokens[at].spaced &= beside;
        // Words have no case; a single letter does.
        match &mut tokens[at].kind {
            latex::Kind::Words(text) => *text = text.to_lowercase(),
            latex::Kind::Letters(text) if text.chars().count() > 1 => *text = text.to_lowercase(),
            _ => {}
        }
    }
    tokens
}
