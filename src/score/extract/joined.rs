//! Which neighbouring boxes state one answer: those that only a comma or an "and" separates.

use super::boxes::Boxed;
use super::formula::floor;
use super::value::is_blank;
use crate::language::Language;
use crate::score::phrases::phrases;

/// The last box, with those before it that belong to the same answer.
pub(super) fn last_joined<'a>(text: &str, boxes: &'a [Boxed]) -> &'a [Boxed] {
    let mut first = boxes.len().saturating_sub(1);
    while first > 0 && joins(&text[boxes[first - 1].whole.end..boxes[first].whole.start]) {
        first -= 1;
    }
    &boxes[first..]
}

/// Whether two boxes answer for two things, "x = \boxed{12}, y = \boxed{13}" or "(a) .. (b) ..": neither is the answer.
pub(super) fn answer_apart(text: &str, previous: &Boxed, next: &Boxed) -> bool {
    let between = &text[previous.whole.end..next.whole.start];
    let before = &text[floor(text, previous.whole.start.saturating_sub(LABEL_MAX))..previous.whole.start];
    let (Some(first), Some(second)) = (label(before), label(between)) else { return false };
    let alone = joins(&between[..between.len() - second.rest_bytes]);
    alone && first.mark == second.mark && first.name != second.name && !is_noun(second.name)
}

/// Bytes before a box in which its label stands.
const LABEL_MAX: usize = 40;

struct Label<'a> {
    name: &'a str,
    mark: char,
    /// From the label's start to the box.
    rest_bytes: usize,
}

/// "x =", "Bob:", "(b)" at the end of a text.
fn label(text: &str) -> Option<Label<'_>> {
    if text.len() > 64 {
        return None;
    }
    let trimmed = text.trim_end_matches(|c: char| is_blank(c) || "$*\\([".contains(c));
    let mark = trimmed.chars().next_back().filter(|c| matches!(c, '=' | ':' | '：' | ')'))?;
    let body = trimmed[..trimmed.len() - mark.len_utf8()].trim_end_matches(|c: char| is_blank(c) || c == '*');
    let start = body
        .rfind(|c: char| !(c.is_alphanumeric() || c == '_'))
        .map_or(0, |at| at + body[at..].chars().next().map_or(1, char::len_utf8));
    let name = &body[start..];
    let fits = !name.is_empty() && (mark != ')' || name.chars().count() <= 2);
    fits.then_some(Label { name, mark, rest_bytes: text.len() - start })
}

/// "Answer: \boxed{5}" is no label of one answer among several.
fn is_noun(name: &str) -> bool {
    let lower = name.to_lowercase();
    Language::ALL.iter().any(|language| phrases(*language).nouns.contains(&lower.as_str()))
}

/// The length of an "and" or "or" in Han, kana, Hangul or Thai at the start of a text, which no blank sets apart.
pub(in crate::score) fn unspaced_joiner(text: &str) -> Option<usize> {
    let unspaced = |word: &&&str| word.starts_with(|c| c >= '\u{e00}') && text.starts_with(**word);
    JOINERS.iter().filter(unspaced).map(|word| word.len()).max()
}

/// "and" and "or" of every language we know. Either makes one answer of several values: which of them it is, an "or"
/// leaves open, and so does the verdict.
const JOINERS: &[&str] = &[
    "and",
    "or",
    "y",
    "e",
    "o",
    "u",
    "et",
    "ou",
    "und",
    "oder",
    "sowie",
    "и",
    "или",
    "і",
    "й",
    "та",
    "або",
    "чи",
    "和",
    "或",
    "与",
    "與",
    "及",
    "以及",
    "或者",
    "と",
    "および",
    "及び",
    "または",
    "か",
    "又は",
    "あるいは",
    "และ",
    "หรือ",
    "กับ",
    "na",
    "au",
    "এবং",
    "ও",
    "বা",
    "অথবা",
    "మరియు",
    "లేదా",
    "और",
    "तथा",
    "एवं",
    "या",
    "अथवा",
    "en",
    "of",
    "ve",
    "veya",
    "ya",
    "da",
    "ile",
    "dan",
    "atau",
    "serta",
    "và",
    "hoặc",
    "hay",
    "i",
    "oraz",
    "lub",
    "albo",
    "و",
    "أو",
    "او",
    "یا",
    "와",
    "과",
    "및",
    "그리고",
    "또는",
    "혹은",
];

/// Whether a word joins two values.
pub(in crate::score) fn is_joiner(word: &str) -> bool {
    JOINERS.contains(&word)
}

/// Whether what stands between two values only joins them.
pub(super) fn joins(between: &str) -> bool {
    // A long gap is prose; looking no further keeps the whole walk linear.
    if between.len() > 64 || between.contains("\n\n") {
        return false;
    }
    let words = between
        .replace("\\text", " ")
        .replace("\\quad", " ")
        .replace("\\qquad", " ")
        .replace("\\mathrm", " ")
        .to_lowercase();
    let mut words = words
        .split(|c: char| c.is_whitespace() || "$,;，、､،؛\\{}()[]&~*".contains(c))
        .filter(|word| !word.is_empty());
    words.all(is_joiner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_and_words_join_and_prose_does_not() {
        let check = |between: &str, expected: bool| assert_eq!(joins(between), expected, "{between:?}");
        for between in [
            "",
            " ",
            ", ",
            "$, $",
            " and ",
            "$ and $",
            r" \text{ and } ",
            ", and ",
            "、",
            "，",
            " 和 ",
            "と",
            " и ",
            " و ",
            "، ",
            " และ ",
            " এবং ",
            " మరియు ",
            " और ",
            " 와 ",
            " và ",
            " dan ",
            " ve ",
            " na ",
            " i ",
            r" \quad ",
            "** and **",
            " or ",
            " oder ",
            "\n",
            r"\) and \(",
        ] {
            check(between, true);
        }
        for between in [". ", " but rather ", " = ", "\n\n", ", no: ", " then ", " → ", "; wait, ", " so "]
        {
            check(between, false);
        }
    }
}
