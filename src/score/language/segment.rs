//! From stripped text to stretches that are judged one by one: sentences, cut again where the script changes.

use std::ops::Range;

use super::script::{Class, Counts, LATIN_WORDS_MIN, class, class_of};
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

/// The non-empty stretches of `text`, in order.
pub(super) fn units(text: &str, target: Language) -> Vec<Unit> {
    let mut units = Vec::new();
    for sentence in sentences(text) {
        for span in runs(&text[sentence.clone()], target) {
            let span = sentence.start + span.start..sentence.start + span.end;
            let counts = Counts::of(&text[span.clone()]);
            if counts != Counts::default() {
                units.push(Unit { span, counts });
            }
        }
    }
    units
}

/// Sentence enders that need nothing after them; a point, a query or an exclamation mark needs a space.
const ENDERS: &str = "\u{3002}\u{ff01}\u{ff1f}\u{ff61}\u{2026}\u{61f}\u{6d4}\u{964}\u{965}\u{1362}\u{589}\u{104a}\u{104b}\u{17d4}\u{203c}\u{2047}\u{e2f}\u{e5a}\u{e5b}";

pub(super) fn sentences(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let end = at + c.len_utf8();
        let space_follows = chars
            .peek()
            .is_none_or(|(_, next)| next.is_whitespace() || "\"')*_\u{201d}\u{bb}".contains(*next));
        let length = end - start;
        let ends = c == '\n'
            || ENDERS.contains(c)
            || (matches!(c, '.' | '!' | '?') && space_follows)
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

/// Weight from which on letters of a foreign script are a stretch of their own, rather than a name in passing.
const FOREIGN_MIN: f64 = 6.0;

/// A maximal stretch of one script class.
struct Run {
    class: Class,
    span: Range<usize>,
}

/// Cut a sentence where it changes to another script for long enough to be language rather than a symbol.
fn runs(sentence: &str, target: Language) -> Vec<Range<usize>> {
    let runs = script_runs(sentence);
    if runs.len() <= 1 {
        return std::iter::once(0..sentence.len()).collect();
    }
    let home = class_of(target);
    let mut found: Vec<(bool, Range<usize>)> = Vec::new();
    for run in runs {
        let counts = Counts::of(&sentence[run.span.clone()]);
        let foreign = run.class != home
            && match run.class {
                Class::Latin => counts.latin_words >= LATIN_WORDS_MIN,
                _ => counts.weight() >= FOREIGN_MIN,
            };
        match found.last_mut() {
            // A light run joins what stands before it; so do two stretches of the home script around one.
            Some((was_foreign, last)) if !foreign && (run.class != home || !*was_foreign) => {
                last.end = run.span.end;
            }
            _ => found.push((foreign, run.span)),
        }
    }
    found.into_iter().map(|(_, span)| span).collect()
}

fn script_runs(sentence: &str) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (at, c) in sentence.char_indices() {
        let Some(class) = class(c) else { continue };
        let end = at + c.len_utf8();
        match runs.last_mut() {
            Some(run) if run.class == class => run.span.end = end,
            _ => runs.push(Run { class, span: at..end }),
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
