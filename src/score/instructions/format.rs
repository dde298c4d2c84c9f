//! What a text contains and how it is laid out: placeholders, lists, highlights, sections, titles, marks.

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};
use unicode_script::Script;

use crate::language::Language;

/// Pairs of square brackets on one line.
pub(super) fn placeholders(text: &str) -> usize {
    let in_line = |line: &str| {
        let mut rest = line;
        let mut found = 0;
        while let Some((_, after)) = rest.split_once('[') {
            let Some((_, after)) = after.split_once(']') else { break };
            (rest, found) = (after, found + 1);
        }
        found
    };
    text.split('\n').map(in_line).sum()
}

/// A marker that starts a postscript, anywhere, whatever the case. The usual ones may have a space within.
pub(super) fn has_postscript(text: &str, marker: &str) -> bool {
    let (text, marker) = (text.to_lowercase(), marker.to_lowercase());
    let spaced = |parts: &[&str]| {
        text.match_indices(parts[0]).any(|(at, _)| {
            let mut rest = Some(&text[at..]);
            for (number, part) in parts.iter().enumerate() {
                rest = rest.and_then(|rest| {
                    let after_space = rest.strip_prefix(char::is_whitespace).filter(|_| number > 0);
                    rest.strip_prefix(part).or_else(|| after_space.and_then(|rest| rest.strip_prefix(part)))
                });
            }
            rest.is_some()
        })
    };
    match marker.trim() {
        "p.p.s" => spaced(&["p.", "p.", "s"]),
        "p.s." => spaced(&["p.", "s."]),
        marker => text.contains(marker),
    }
}

/// Lines that start with `-`, or with one `*` and something after it.
pub(super) fn bullets(text: &str) -> usize {
    let is_bullet = |line: &&str| {
        let line = line.trim_start();
        let starred = line.strip_prefix('*').is_some_and(|rest| !rest.is_empty() && !rest.starts_with('*'));
        starred || line.starts_with('-')
    };
    text.lines().filter(is_bullet).count()
}

/// `*highlights*` and `**highlights**`, none of them blank.
pub(super) fn highlights(text: &str) -> usize {
    enclosed(text, "*") + enclosed(text, "**")
}

/// Non-blank stretches without a star or a new line between two marks, from left to right.
fn enclosed(text: &str, mark: &str) -> usize {
    let mut found = 0;
    let mut at = 0;
    while let Some(next) = text[at..].find(mark) {
        let start = at + next + mark.len();
        let end = text[start..].find(['*', '\n']).map_or(text.len(), |length| start + length);
        if text[end..].starts_with(mark) {
            found += usize::from(!text[start..end].trim().is_empty());
            at = end + mark.len();
        } else {
            at += next + 1;
        }
    }
    found
}

/// Section marks: the splitter, at most one white space, and a number in the digits of any script.
pub(super) fn sections(text: &str, splitter: &str) -> usize {
    let numbered = |(at, found): &(usize, &str)| {
        let rest = &text[at + found.len()..];
        let rest = rest.strip_prefix(char::is_whitespace).unwrap_or(rest);
        rest.chars().next().is_some_and(|c| c.general_category() == GeneralCategory::DecimalNumber)
    };
    text.match_indices(splitter).filter(numbered).count()
}

/// The whole text, with or without a code fence around it, is JSON.
pub(super) fn is_json(text: &str) -> bool {
    let mut text = text.trim();
    for fence in ["```json", "```Json", "```JSON", "```"] {
        text = text.strip_prefix(fence).unwrap_or(text);
    }
    let text = text.strip_suffix("```").unwrap_or(text).trim();
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// `<<a title>>` on one line.
pub(super) fn has_title(text: &str) -> bool {
    text.split('\n').any(|line| {
        let Some(start) = line.find("<<") else { return false };
        let Some(end) = line[start + 2..].rfind(">>") else { return false };
        let title = line[start + 2..start + 2 + end].trim_start_matches('<').trim_end_matches('>');
        !title.trim().is_empty()
    })
}

/// Two different responses with six stars between them.
pub(super) fn is_two_responses(text: &str) -> bool {
    let parts: Vec<&str> = text.split("******").map(str::trim).collect();
    let inner = parts.get(1..parts.len().saturating_sub(1)).unwrap_or_default();
    if inner.iter().any(|part| part.is_empty()) {
        return false;
    }
    let responses: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    matches!(responses.as_slice(), [first, second] if first != second)
}

/// The text's last words, whatever the case; quotation marks around the text do not count.
pub(super) fn ends_with(text: &str, phrase: &str) -> bool {
    text.trim().trim_matches('"').to_lowercase().ends_with(&phrase.trim().to_lowercase())
}

/// The whole text stands in double quotation marks: the straight ones, or those of a language that has others.
pub(super) fn is_quoted(text: &str, language: Language) -> bool {
    let text = text.trim();
    let pairs = std::iter::once(&('"', '"')).chain(quotation_marks(language));
    pairs.into_iter().any(|(open, close)| text.strip_prefix(*open).is_some_and(|rest| rest.ends_with(*close)))
}

fn quotation_marks(language: Language) -> &'static [(char, char)] {
    match language {
        Language::De => &[('„', '“'), ('»', '«'), ('«', '»')],
        Language::Pl => &[('„', '”'), ('«', '»')],
        Language::Ru | Language::Uk => &[('«', '»'), ('„', '“')],
        Language::Fr | Language::Es | Language::It | Language::Pt => &[('«', '»'), ('“', '”')],
        Language::Ja => &[('「', '」'), ('『', '』')],
        Language::Zh => &[('“', '”'), ('「', '」'), ('『', '』')],
        Language::Ar | Language::Fa => &[('«', '»'), ('“', '”'), ('”', '“')],
        Language::En => &[],
        _ => &[('“', '”')],
    }
}

/// A comma of ASCII or of full width, and that of the language's script.
pub(super) fn has_comma(text: &str, language: Language) -> bool {
    let own: &[char] = match language.scripts()[0] {
        Script::Han | Script::Hiragana | Script::Katakana => &['、', '､', '﹐', '﹑'],
        Script::Arabic => &['،'],
        _ => &[],
    };
    text.contains([',', '，']) || text.contains(own)
}
