//! From stripped text to stretches that are judged one by one: sentences, cut again where the script changes.

use std::ops::Range;

use super::script::{Class, Counts, LATIN_WORDS_MIN, class_of, ends_word, letter};
use crate::language::Language;

/// A stretch of text with its letters counted.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Unit {
    pub span: Range<usize>,
    pub counts: Counts,
}

/// Sentences longer than this are cut at a space, so that one verdict never covers a page.
const SENTENCE_BYTES_MAX: usize = 600;
/// And at any character where there are no spaces.
const RUN_BYTES_MAX: usize = 900;

/// The stretches of `text` that hold letters, in order.
pub(super) fn units(text: &str, target: Language) -> Vec<Unit> {
    let home = class_of(target);
    let mut units = Vec::new();
    for sentence in sentences(text) {
        let first = units.len();
        joined(script_runs(text, sentence.clone()), home, &mut units);
        // Quotation marks, full stops and the like belong to the outer stretches.
        if let Some(unit) = units.get_mut(first) {
            unit.span.start = sentence.end - text[sentence.clone()].trim_start().len();
        }
        if let Some(unit) = units[first..].last_mut() {
            unit.span.end = sentence.start + text[sentence.clone()].trim_end().len();
        }
    }
    units
}

/// Sentence enders that need nothing after them; a point, a query or an exclamation mark needs a space.
fn always_ends(c: char) -> bool {
    match c {
        '\n' => true,
        '\0'..='\u{588}' => false,
        '\u{589}' | '\u{61f}' | '\u{6d4}' | '\u{964}' | '\u{965}' | '\u{e2f}' | '\u{e5a}' | '\u{e5b}'
        | '\u{104a}' => true,
        '\u{104b}' | '\u{1362}' | '\u{17d4}' | '\u{2026}' | '\u{203c}' | '\u{2047}' | '\u{3002}'
        | '\u{ff01}' => true,
        '\u{ff1f}' | '\u{ff61}' => true,
        _ => false,
    }
}

pub(super) fn sentences(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    for (at, c) in text.char_indices() {
        let end = at + c.len_utf8();
        let length = end - start;
        let ends = always_ends(c)
            || (matches!(c, '.' | '!' | '?') && ends_before(&text[end..]))
            || (length > SENTENCE_BYTES_MAX && c.is_whitespace())
            || length > RUN_BYTES_MAX;
        if ends {
            found.push(start..end);
            start = end;
        }
    }
    if start < text.len() {
        found.push(start..text.len());
    }
    found
}

/// Whether what follows lets a point end a sentence.
fn ends_before(rest: &str) -> bool {
    let next = rest.chars().next();
    next.is_none_or(|next| next.is_whitespace() || "\"')*_\u{201d}\u{bb}".contains(next))
}

/// Weight from which on letters of a foreign script are a stretch of their own, rather than a name in passing.
const FOREIGN_MIN: f64 = 6.0;

/// A maximal stretch of one script class.
struct Run {
    class: Class,
    unit: Unit,
}

/// A sentence is cut where it changes to another script for long enough to be language rather than a symbol.
fn joined(runs: Vec<Run>, home: Class, units: &mut Vec<Unit>) {
    // Whether the last unit is a foreign stretch; `None` before the sentence's first.
    let mut after_foreign: Option<bool> = None;
    for Run { class, unit } in runs {
        let foreign = class != home
            && match class {
                Class::Latin => unit.counts.latin_words >= LATIN_WORDS_MIN,
                _ => unit.counts.weight() >= FOREIGN_MIN,
            };
        match (after_foreign, units.last_mut()) {
            // A light run joins what stands before it; so do two stretches of the home script around one.
            (Some(after_foreign), Some(last)) if !foreign && (class != home || !after_foreign) => {
                last.span.end = unit.span.end;
                last.counts.merge(&unit.counts);
            }
            _ => {
                after_foreign = Some(foreign);
                units.push(unit);
            }
        }
    }
}

fn script_runs(text: &str, sentence: Range<usize>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut word = 0;
    for (offset, c) in text[sentence.clone()].char_indices() {
        let Some(letter) = letter(c) else {
            if ends_word(c) {
                word = 0;
            }
            continue;
        };
        let class = letter.class();
        let at = sentence.start + offset;
        if runs.last().is_none_or(|run| run.class != class) {
            runs.push(Run { class, unit: Unit { span: at..at, counts: Counts::default() } });
        }
        if let Some(Run { unit, .. }) = runs.last_mut() {
            unit.span.end = at + c.len_utf8();
            unit.counts.add(c, letter, &mut word);
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, target: Language, expected: &[&str]) {
        let found = units(text, target);
        let texts: Vec<_> = found.iter().map(|unit| text[unit.span.clone()].trim()).collect();
        assert_eq!(texts, expected);
    }

    #[test]
    fn sentences_end_in_every_script() {
        check("One two. Three 3.14 four!\nFive", Language::En, &["One two.", "Three 3.14 four!", "Five"]);
        check("一。二！三", Language::Zh, &["一。", "二！", "三"]);
        check("এক। দুই", Language::Bn, &["এক।", "দুই"]);
        check("1 + 1 = 2", Language::En, &[]);
    }

    #[test]
    fn long_foreign_runs_are_cut_off_and_names_are_not() {
        check("ฉันคิดว่า this is the answer ครับผม", Language::Th, &["ฉันคิดว่า", "this is the answer", "ครับผม"]);
        check("ฉันใช้ Google Maps ครับ", Language::Th, &["ฉันใช้ Google Maps ครับ"]);
        check("The word 東京都庁 is a name", Language::En, &["The word", "東京都庁", "is a name"]);
    }

    #[test]
    fn endless_sentences_are_cut() {
        assert!(sentences(&"word ".repeat(1000)).iter().all(|span| span.len() <= SENTENCE_BYTES_MAX + 5));
        assert!(sentences(&"ก".repeat(1000)).iter().all(|span| span.len() <= RUN_BYTES_MAX + 4));
    }
}
