//! Looking for an answer wherever it may stand, trace included: for profiles that reproduce such a search.

use std::ops::Range;

use super::formula::{self, floor};
use super::{ExtractOptions, Extraction, Found, Target, split, take_box, value};

/// The last box of the whole completion, or a "final answer .. is" after it.
pub(in crate::score) fn boxed(completion: &str, options: &ExtractOptions<'_>) -> Extraction {
    let mut found = Extraction::none(split(completion));
    if options.targets.contains(&Target::Latex) {
        take_box(completion, 0..completion.len(), options.allow_unclosed, &mut found);
    }
    let end = found.span().map_or(0, |span| span.end);
    let announced = occurrences(completion, "final answer").into_iter().rev().find_map(|at| {
        let is = at + completion[at..floor(completion, at + 100)].find(" is")? + 3;
        let start = completion.len() - completion[is..].trim_start_matches([':', ' ', '\n', '*']).len();
        value_at(completion, start, options.targets)
    });
    if let Some(answers) = announced.filter(|answers| answers.last().is_some_and(|last| last.end > end)) {
        found.take(Found::Phrase, answers);
    }
    found
}

/// The value at most 50 characters behind the last "answer:", else behind the last "answer".
pub(in crate::score) fn after_english_answer(text: &str, targets: &[Target]) -> Option<Vec<Range<usize>>> {
    let all = occurrences(text, "answer");
    let colon = |at: &usize| text[*at..].trim_start_matches('*').starts_with(':');
    let read = |at: usize| {
        let window = at..floor(text, at + 200);
        text[window].char_indices().take(50).find_map(|(offset, _)| value_at(text, at + offset, targets))
    };
    let with_colon = all.iter().rev().copied().filter(colon).take(OCCURRENCES_MAX).find_map(read);
    with_colon.or_else(|| all.iter().rev().copied().take(OCCURRENCES_MAX).find_map(read))
}

/// Occurrences that are read, from the last one back.
const OCCURRENCES_MAX: usize = 16;

/// The last formula or number of the text.
pub(in crate::score) fn last(text: &str, targets: &[Target]) -> Option<Vec<Range<usize>>> {
    let mut last = None;
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let starts = matches!(c, '$' | '\\' | '-' | '.' | '(') || value::is_digit(c);
        let found = starts.then(|| value_at(text, at, targets)).flatten();
        at += c.len_utf8();
        if let Some(found) = found {
            at = found.last().map_or(at, |last| last.end.max(at));
            // The closing delimiter of a formula opens no other.
            at += ["$$", "$", "\\)", "\\]"]
                .iter()
                .find(|mark| text[at..].starts_with(**mark))
                .map_or(0, |mark| mark.len());
            last = Some(found);
        }
    }
    last
}

fn value_at(text: &str, at: usize, targets: &[Target]) -> Option<Vec<Range<usize>>> {
    if targets.contains(&Target::Latex)
        && text[at..].starts_with(['$', '\\'])
        && let Some(found) = formula::joined_from(text, at)
    {
        return Some(found.into_iter().map(|found| found.content).collect());
    }
    let inside_word = text[..at].ends_with(char::is_alphanumeric);
    let plain = targets.contains(&Target::Expr) && !inside_word && value::starts_value(&text[at..]);
    plain.then(|| value::starting(text, at)).flatten().map(|found| vec![found])
}

/// Where `word`, in lower-case ASCII, ends each time it stands in the text, case aside.
fn occurrences(text: &str, word: &str) -> Vec<usize> {
    let (text, word) = (text.as_bytes(), word.as_bytes());
    text.windows(word.len())
        .enumerate()
        .filter(|(_, window)| window.eq_ignore_ascii_case(word))
        .map(|(at, _)| at + word.len())
        .collect()
}
