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
    // In the order of the code: Armenian, Arabic, Urdu, Devanagari, Thai, Burmese, Ethiopic, Khmer, the ellipsis and
    // double marks, Chinese and Japanese.
    matches!(
        c,
        '\n' | '\u{589}'
            | '\u{61f}'
            | '\u{6d4}'
            | '\u{964}'..='\u{965}'
            | '\u{e2f}'
            | '\u{e5a}'..='\u{e5b}'
            | '\u{104a}'..='\u{104b}'
            | '\u{1362}'
            | '\u{17d4}'
            | '\u{2026}'
            | '\u{203c}'
            | '\u{2047}'
            | '\u{3002}'
            | '\u{ff01}'
            | '\u{ff1f}'
            | '\u{ff61}'
    )
}

pub(super) fn sentences(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    let mut ended = false;
    for (at, c) in text.char_indices() {
        let end = at + c.len_utf8();
        let length = end - start;
        ended |= always_ends(c)
            || (matches!(c, '.' | '!' | '?') && ends_before(&text[end..]))
            || (length > SENTENCE_BYTES_MAX && c.is_whitespace())
            || length > RUN_BYTES_MAX;
        // Closing marks belong to the sentence that they close.
        if ended && (c == '\n' || !text[end..].starts_with(is_closing)) {
            found.push(start..end);
            start = end;
            ended = false;
        }
    }
    if start < text.len() {
        found.push(start..text.len());
    }
    found
}

/// Whether what follows lets a point end a sentence.
fn ends_before(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with(|next: char| next.is_whitespace() || is_closing(next))
}

fn is_closing(c: char) -> bool {
    "\"')*_\u{201d}\u{bb}\u{300d}\u{300f}\u{ff09}".contains(c)
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
    use proptest::prelude::*;

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
    fn marks_belong_to_the_outer_stretches() {
        let text = "「東京」 is the capital. (Or (so) it is.) 「はい。」";
        let found = units(text, Language::Ja);
        let texts: Vec<_> = found.iter().map(|unit| &text[unit.span.clone()]).collect();
        assert_eq!(texts, ["「東京", "is the capital.", "(Or (so) it is.)", "「はい。」"]);
        assert!(units("  \n 12. ", Language::En).is_empty());
    }

    #[test]
    fn a_point_ends_nothing_inside_a_word_or_number() {
        let check = |text: &str, expected: usize| assert_eq!(sentences(text).len(), expected, "{text}");
        check("a.b 3.14 x", 1);
        check("one. two", 2);
        check("(one.) two", 2);
        check("\"One.\" two", 2);
        check("what?! two", 2);
        check("یک دو؟ سه۔ چهار", 3);
        check("one… two\nthree", 3);
    }

    proptest! {
        #[test]
        fn stretches_are_in_order_and_between_characters(
            text in r"(a|bc|é|ก|漢|か|한|ا|я|\.|。|\n| |!|'|’|1|=|words are here ){0,80}",
            target in proptest::sample::select(Language::ALL),
        ) {
            let found = units(&text, target);
            let mut end = 0;
            for unit in &found {
                prop_assert!(unit.span.start >= end && unit.span.end > unit.span.start);
                let stretch = text.get(unit.span.clone());
                prop_assert_eq!(stretch.map(Counts::of), Some(unit.counts.clone()));
                end = unit.span.end;
            }
            // No letter is lost.
            let total: f64 = found.iter().map(|unit| unit.counts.weight()).sum();
            prop_assert_eq!(total, Counts::of(&text).weight());
        }
    }

    #[test]
    fn endless_sentences_are_cut() {
        assert!(sentences(&"word ".repeat(1000)).iter().all(|span| span.len() <= SENTENCE_BYTES_MAX + 5));
        assert!(sentences(&"ก".repeat(1000)).iter().all(|span| span.len() <= RUN_BYTES_MAX + 4));
    }
}
