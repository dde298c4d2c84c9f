//! The words between "answer" and "is": "to the problem", "in dollars", ", then,". Some of them take the announcement back.

use super::fold::is_spaced;
use super::{Noun, link_word, skipped};
use crate::score::extract::beside::bounds;
use crate::score::extract::formula::head;
use crate::score::phrases::{BOUNDS, NEGATIONS, STEPWISE, WRONGS};

/// Bytes between the noun and its link: "to the problem", "in dollars".
const GAP_MAX: usize = 72;

/// A few words may stand before the link, if none of them denies and no sentence ends there.
pub(super) fn after_gap(text: &str, end: usize, known: &Noun) -> Option<usize> {
    let window = head(&text[end..], GAP_MAX);
    let mut boundary = true;
    let mut bracketed = false;
    let mut behind_aside = 0;
    for (offset, c) in window.char_indices() {
        let at = end + offset;
        if offset < behind_aside {
            continue;
        }
        if c == ','
            && let Some(length) = aside(&window[offset..])
        {
            behind_aside = offset + length;
            boundary = true;
            continue;
        }
        match c {
            '(' | '（' => bracketed = true,
            ')' | '）' => bracketed = false,
            '.' | ',' | ';' | '!' | '?' | '\n' | '。' | '，' | '、' | '！' | '？' | '।' | '؟' | '،' | '۔'
                if !bracketed =>
            {
                return None;
            }
            _ => {}
        }
        let gap = &window[..offset];
        if bracketed {
        } else if matches!(c, ':' | '：' | '=') {
            return is_plain(gap).then(|| skipped(text, at + c.len_utf8()));
        } else if (boundary || !is_spaced(c))
            && let Some(length) = link_word(&text[at..], known)
        {
            return is_plain(gap).then(|| skipped(text, at + length));
        }
        boundary = !c.is_alphanumeric();
    }
    None
}

/// Bytes of ", then,".
const ASIDE_MAX: usize = 28;

/// The length of an aside between commas at the start of a text.
fn aside(text: &str) -> Option<usize> {
    let inner = head(text.strip_prefix(',')?, ASIDE_MAX);
    let length = inner.find(',')?;
    let words = inner[..length].chars().all(|c| c.is_alphabetic() || c == ' ');
    (words && length > 2).then_some(length + 2)
}

/// Words before a link that neither deny nor bound what follows, nor promise the steps that lead to it.
fn is_plain(gap: &str) -> bool {
    !denies(gap) && !bounds(gap) && !names_steps(gap) && !contains_word(gap, WRONGS)
}

/// "step by step".
pub(super) fn names_steps(words: &str) -> bool {
    let lower = words.to_lowercase();
    STEPWISE.iter().any(|words| lower.contains(words))
}

/// Whether one of the words says "not", or makes a bound of what follows.
pub(in crate::score) fn denies(words: &str) -> bool {
    contains_word(words, NEGATIONS) || contains_word(words, BOUNDS)
}

pub(super) fn contains_word(text: &str, known: &[&str]) -> bool {
    let lower = text.to_lowercase();
    let mut words = lower.split(|c: char| c.is_whitespace() || "*_`\"“”()（）,，、:：".contains(c));
    let spaced = words.any(|word| known.contains(&word));
    spaced || known.iter().any(|word| word.starts_with(|c: char| c > '\u{e00}') && lower.contains(word))
}
