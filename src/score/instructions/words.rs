//! Words: how many a text has, and where one occurs.
//!
//! A word is a run of letters, marks, digits and underscores, so "well-known" and "don't" are two each, as the
//! regular expression `\w+` has it. In Chinese and Japanese every han or kana character counts, as lengths of texts
//! are given there (字数, 文字数). Thai, Lao, Khmer and Burmese write no spaces either, but count in words: ICU's
//! dictionaries divide them.

use icu_segmenter::options::WordBreakInvariantOptions;
use icu_segmenter::{WordSegmenter, WordSegmenterBorrowed};
use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};
use unicode_script::{Script, UnicodeScript};

/// How a character takes part in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Of a word between spaces.
    Spaced,
    /// Counts alone.
    Character,
    /// Of a word that a dictionary finds.
    Dictionary,
    /// Of the word that it stands in, whatever that is.
    Joined,
    Outside,
}

pub(super) fn count(text: &str) -> usize {
    let mut words = 0;
    let mut run = Part::Outside;
    let mut start = 0;
    for (at, c) in text.char_indices() {
        let part = match part(c) {
            Part::Joined if run != Part::Outside => continue,
            Part::Joined => Part::Spaced,
            part => part,
        };
        if part == run && part != Part::Character {
            continue;
        }
        words += words_of(run, &text[start..at]);
        (run, start) = (part, at);
    }
    words + words_of(run, &text[start..])
}

fn words_of(part: Part, run: &str) -> usize {
    match part {
        Part::Outside | Part::Joined => 0,
        Part::Spaced | Part::Character => 1,
        Part::Dictionary => by_dictionary(run),
    }
}

fn by_dictionary(run: &str) -> usize {
    let segmenter: WordSegmenterBorrowed<'static> =
        WordSegmenter::new_dictionary(WordBreakInvariantOptions::default());
    let mut boundaries = segmenter.segment_str(run);
    let mut words = 0;
    while boundaries.next().is_some() {
        words += usize::from(boundaries.is_word_like());
    }
    words
}

fn part(c: char) -> Part {
    if c.is_ascii() {
        return if c.is_ascii_alphanumeric() || c == '_' { Part::Spaced } else { Part::Outside };
    }
    if matches!(c, '\u{200C}' | '\u{200D}') {
        return Part::Joined;
    }
    let group = c.general_category_group();
    match c.script() {
        Script::Thai | Script::Lao | Script::Khmer | Script::Myanmar
            if matches!(group, GeneralCategoryGroup::Letter | GeneralCategoryGroup::Mark) =>
        {
            Part::Dictionary
        }
        Script::Han | Script::Hiragana | Script::Katakana if group == GeneralCategoryGroup::Letter => {
            Part::Character
        }
        // The long vowel of kana belongs to both syllabaries and so to no script.
        _ if c == 'ー' => Part::Character,
        _ if group == GeneralCategoryGroup::Mark => Part::Joined,
        _ if c.is_alphanumeric() => Part::Spaced,
        _ => Part::Outside,
    }
}

/// Whether a stretch of text in this script is written without spaces between words.
pub(super) fn is_unspaced(c: char) -> bool {
    matches!(part(c), Part::Character | Part::Dictionary)
}

/// How often a keyword stands in a text, whatever the case, within words too.
pub(super) fn occurrences(text: &str, keyword: &str) -> usize {
    text.to_lowercase().matches(&keyword.to_lowercase()).count()
}

/// Whether a word stands in a text by itself. Next to a letter of a script without spaces there is no telling, so
/// there every occurrence counts.
pub(super) fn occurs_whole(text: &str, word: &str) -> bool {
    let (text, word) = (text.to_lowercase(), word.trim().to_lowercase());
    text.match_indices(&word).any(|(at, found)| {
        let inside = |outer: Option<char>, edge: Option<char>| {
            let (Some(outer), Some(edge)) = (outer, edge) else { return false };
            let joins = |c| matches!(part(c), Part::Spaced | Part::Joined);
            joins(outer) && joins(edge)
        };
        let before = inside(text[..at].chars().next_back(), word.chars().next());
        let after = inside(text[at + found.len()..].chars().next(), word.chars().next_back());
        !before && !after
    })
}
