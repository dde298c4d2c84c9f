//! Whether the words beside a value make another value of it: "minus 5", "more than 5", "3 quarters", "3 bis 4".
//!
//! Which value they state is not worked out, save for a sign. `score::beside_words` lists the words.

use super::formula::head;
use super::joined::is_joiner;
use super::value::{is_blank, is_digit, starts_value};
use crate::score::beside_words::{BEFORE, BEHIND, BETWEEN, NUMBERED, SIGNS};
use crate::score::math::changes_value;
use crate::score::phrases::{CONDITIONS, HALVES, counted, measure};

/// Bytes that are looked at on each side.
const WINDOW: usize = 64;

/// Whether the words that end `before` change the value behind them.
pub(super) fn changes_what_follows(before: &str) -> bool {
    ends_with_any(before, SIGNS) || numbers_or_bounds(before)
}

/// The same without signs, which `sign_before` reads.
pub(super) fn numbers_or_bounds(before: &str) -> bool {
    bounds(before) || ends_with_any(before, NUMBERED)
}

/// "at least", "mehr als", "root of".
pub(super) fn bounds(before: &str) -> bool {
    ends_with_any(before, BEFORE)
}

fn ends_with_any(before: &str, known: &[&str]) -> bool {
    let lower = tail(before).to_lowercase();
    let lower = lower.trim_end_matches(is_decoration);
    known.iter().any(|words| ends_with(lower, words).is_some())
}

/// The bytes of a word for minus that ends `before`, with the blanks behind it.
pub(super) fn sign_before(before: &str) -> Option<usize> {
    let window = tail(before);
    let trimmed = window.trim_end_matches(is_blank);
    let lower = trimmed.to_lowercase();
    // Lower case that takes other bytes would shift the place.
    if lower.len() != trimmed.len() {
        return None;
    }
    let length = SIGNS.iter().filter_map(|sign| ends_with(&lower, sign)).max()?;
    Some(length + window.len() - trimmed.len())
}

/// Whether the words that start `after` change the value before them.
pub(super) fn changes_what_precedes(after: &str) -> bool {
    let window = head(after, WINDOW);
    // "5~6"; within formulas the mark is a space, which no digit follows for long.
    let range = window.trim_start_matches(is_blank).strip_prefix(['~', '〜', '～', '∼']);
    if range.is_some_and(starts_number) {
        return true;
    }
    let near = window.trim_start_matches(is_decoration);
    // "5% of 20": the sign is not the end.
    let near = near.strip_prefix(['%', '٪', '％']).unwrap_or(near).trim_start_matches(is_decoration);
    let attached = window.starts_with(char::is_alphabetic);
    let near = &near[measure(near).unwrap_or_default()..];
    let lower = near.to_lowercase();
    let lower = lower.as_str();
    if lower.is_empty() {
        return false;
    }
    if adds_half(lower) {
        return true;
    }
    if BEHIND.iter().any(|words| starts_with(lower, words).is_some_and(|_| attached || !is_suffix(words))) {
        return true;
    }
    // "5 dollars or more", "5円以上"
    if let Some(unit) = counted(lower) {
        let behind_unit = lower[unit..].trim_start_matches(is_decoration);
        // Arabic and Persian name the metre before its square.
        let bounds = |words: &&&str| !is_suffix(words) && words.chars().count() > 1 && **words != "مربع";
        if BEHIND.iter().filter(bounds).any(|words| starts_with(behind_unit, words).is_some())
            || BEHIND_UNITS.iter().any(|words| behind_unit.starts_with(words))
        {
            return true;
        }
    }
    let mut behind =
        BETWEEN.iter().filter_map(|words| starts_with(lower, words).map(|length| (words, length)));
    if behind.any(|(words, length)| starts_number(&lower[length..]) && !is_span(words, &lower[length..])) {
        return true;
    }
    let word: &str = &lower[..lower.find(|c: char| !is_word(c)).unwrap_or(lower.len())];
    let rest = &lower[word.len()..];
    (is_joiner(word) && starts_number(rest))
        || attached && matches!(word, "k" | "bn" | "e" if near.starts_with(['k', 'K', 'b', 'B', 'e', 'E']))
        || (!word.is_empty() && changes_value(word))
        || is_case(word, rest)
        || after.starts_with(['_', '₀', '₁', '₂', '₃', '₄', '₅', '₆', '₇', '₈', '₉'])
            && after[1..].starts_with(|c: char| c.is_ascii_digit() || !c.is_ascii())
}

/// Bounds and roundings that stand behind a unit alone.
const BEHIND_UNITS: &[&str] = &[
    "弱",
    "強",
    "余",
    "남짓",
    "여",
    "at least",
    "at most",
    "al menos",
    "au moins",
    "على الأقل",
    "เศษ",
    "liradan fazla",
];

/// "and a half", behind one unit at most: "2 hours and a half", "2時間半".
fn adds_half(near: &str) -> bool {
    let sentence = &near[..near.find(['.', ',', '\n', '。', '，', ';']).unwrap_or(near.len())];
    let unit =
        |at: usize| sentence[..at].split_whitespace().count() <= 1 && sentence[..at].chars().count() <= 12;
    HALVES.iter().any(|half| sentence.find(half).is_some_and(unit))
}

/// "240 in 20 days": how long it took, where "1 in 4" is a share.
fn is_span(words: &str, after: &str) -> bool {
    let number = after.trim_start_matches(is_decoration);
    let unit = number.trim_start_matches(is_digit).trim_start_matches(is_blank);
    words == "in" && unit.starts_with(char::is_alphabetic)
}

/// "5 if n is even", "5 for n = 1", "5 when x > 0". A condition that names no variable and no number, as in "5 if all are sold",
/// belongs to the problem.
pub(super) fn is_case(word: &str, rest: &str) -> bool {
    let variable = rest.trim_start_matches(|c: char| is_blank(c) || "$\\(".contains(c));
    if CONDITIONS.contains(&word) {
        let sentence = &rest[..rest.find(['.', '\n', '。']).unwrap_or(rest.len())];
        let name = &variable[..variable.find(|c: char| !is_word(c)).unwrap_or(variable.len())];
        return name.chars().count() == 1 || sentence.contains(is_digit);
    }
    let mut letters = variable.chars();
    let is_variable = letters.next().is_some_and(|c| c.is_ascii_alphabetic());
    let behind = letters.as_str().trim_start_matches(is_blank);
    ["for", "when", "where", "für", "pour", "para", "per", "для", "при", "quand", "cuando", "quando"]
        .contains(&word)
        && is_variable
        && behind.starts_with(['=', '<', '>', '≤', '≥', '≠'])
        || ["plus", "minus", "times", "over", "mod"].contains(&word)
            && is_variable
            && !letters.as_str().starts_with(char::is_alphabetic)
            // "4 times a year".
            && !(variable.starts_with('a') && behind.starts_with(char::is_alphabetic))
}

/// Endings that count only where nothing stands between them and the number.
fn is_suffix(words: &str) -> bool {
    matches!(
        words,
        "st" | "nd"
            | "rd"
            | "th"
            | "배"
            | "쌍"
            | "할"
            | "십"
            | "백"
            | "천"
            | "만"
            | "억"
            | "多"
            | "余"
            | "餘"
            | "对"
            | "對"
            | "成"
            | "打"
            | "超"
    )
}

/// Blanks and markup between a value and its words.
fn is_decoration(c: char) -> bool {
    is_blank(c) || "*_`$\\()[]{}~,;".contains(c) && !matches!(c, ',' | ';')
}

fn starts_number(text: &str) -> bool {
    let rest = text.trim_start_matches(is_decoration);
    rest.starts_with(is_digit) || (rest.starts_with(['-', '−', '+', '.']) && starts_value(rest))
}

fn is_word(c: char) -> bool {
    c.is_alphabetic() || c == '\'' || unicode_normalization::char::is_combining_mark(c)
}

/// Scripts whose words no blank sets apart, or that take endings: Thai, Han, kana, Hangul.
fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{e00}'..='\u{e7f}' | '\u{2e80}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}')
}

fn ends_with(text: &str, words: &str) -> Option<usize> {
    let before = text.strip_suffix(words)?;
    let free = words.starts_with(is_unspaced) || !before.ends_with(is_word);
    free.then_some(words.len())
}

fn starts_with(text: &str, words: &str) -> Option<usize> {
    let (words, open) = words.strip_suffix('*').map_or((words, false), |words| (words, true));
    let behind = text.strip_prefix(words)?;
    let free = open || words.ends_with(is_unspaced) || !behind.starts_with(is_word);
    free.then_some(words.len())
}

fn tail(text: &str) -> &str {
    &text[super::formula::floor(text, text.len().saturating_sub(WINDOW))..]
}
