//! Reading a text as one letter of those offered.

use crate::language::Language;
use crate::score::extract::{head, is_joiner, unspaced_joiner};
use crate::score::math::normalise::{digit_value, normalise};
use crate::score::phrases::{DENIALS, OPTION_WORDS};

/// What a text says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Letter {
    /// The choice with this index.
    One(usize),
    Several,
    /// A letter alone, but none of those offered.
    Outside,
    None,
}

/// Bytes that are looked at: a letter stands at the start.
const BYTES_MAX: usize = 400;

pub(super) fn read(text: &str, choices: &[char], language: Option<Language>) -> Letter {
    let text = head(text, BYTES_MAX);
    // Circled digits and letters have a rank of their own, which folding would lose.
    let circled = text.trim().chars().next().and_then(circled_rank);
    if let Some(rank) = circled {
        return if rank < choices.len() { Letter::One(rank) } else { Letter::Outside };
    }
    let Some(text) = normalise(text) else { return Letter::None };
    let text = without_option_word(text.trim_start_matches(is_opener));
    let body = text.trim_start_matches(is_opener);
    let Some((first, after)) = one(body, choices, language) else { return Letter::None };
    if !ends_letter(body, after) || is_denied(after) {
        return Letter::None;
    }
    match (first, second(after, choices, language)) {
        (_, Second::Outside) if first.is_some() => Letter::Several,
        (Some(first), Second::Offered(second)) if second != first => Letter::Several,
        (None, Second::Offered(_)) => Letter::Several,
        (Some(first), _) => Letter::One(first),
        (None, _) => Letter::Outside,
    }
}

/// Whether a line is a letter and its decoration, without the choice's text.
pub(super) fn is_bare(line: &str) -> bool {
    let letters = line.chars().filter(|c| c.is_alphanumeric()).count();
    letters <= 1 || {
        let text = normalise(line).unwrap_or_default();
        let rest = without_option_word(text.trim_start_matches(is_opener));
        rest.chars().filter(|c| c.is_alphanumeric()).count() <= 1
    }
}

fn is_opener(c: char) -> bool {
    c.is_whitespace() || "([{<*_`\"'“‘«「『【（〔:：#".contains(c)
}

fn without_option_word(text: &str) -> &str {
    let lower: String = text.chars().take(24).flat_map(char::to_lowercase).collect();
    let word = OPTION_WORDS.iter().filter(|word| lower.starts_with(**word)).max_by_key(|word| word.len());
    let Some(word) = word else { return text };
    // Lower case changes no length in characters here, whatever it does to bytes.
    let behind: usize = text.chars().take(word.chars().count()).map(char::len_utf8).sum();
    let rest = &text[behind..];
    let spaced = word.starts_with(|c: char| c < '\u{530}');
    if spaced && rest.starts_with(char::is_alphanumeric) {
        text
    } else {
        rest.trim_start_matches([' ', ':', '：'])
    }
}

/// The letter at the start of `text`, as an index or none of those offered, and what follows it.
fn one<'a>(text: &'a str, choices: &[char], language: Option<Language>) -> Option<(Option<usize>, &'a str)> {
    if let Some(rest) = text.strip_prefix("الف") {
        return offered_rank(0, choices).map(|index| (Some(index), rest));
    }
    let c = text.chars().next()?;
    let rest = &text[c.len_utf8()..];
    let upper = c.to_uppercase().next().unwrap_or(c);
    let known = choices.iter().position(|choice| *choice == c || *choice == upper || same_digit(*choice, c));
    if known.is_some() {
        return Some((known, rest));
    }
    if let Some(rank) = rank(c, language) {
        return Some((offered_rank(rank, choices), rest)).filter(|(index, _)| index.is_some());
    }
    // Another Latin letter, where Latin letters are offered.
    let latin = choices.iter().all(char::is_ascii_uppercase) && c.is_ascii_uppercase();
    latin.then_some((None, rest))
}

fn same_digit(choice: char, c: char) -> bool {
    choice.is_ascii_digit() && digit_value(c).is_some_and(|value| char::from(b'0' + value) == choice)
}

/// A rank stands for a letter only where the letters offered are A, B, C and so on.
fn offered_rank(rank: usize, choices: &[char]) -> Option<usize> {
    let alphabet = choices.iter().zip('A'..='Z').all(|(choice, letter)| *choice == letter);
    (alphabet && rank < choices.len()).then_some(rank)
}

/// The ranks in which other scripts count. Arabic counts by its old order.
const RANKS: &[&str] =
    &["أبجدهو", "ابجدهو", "กขคงจฉ", "কখগঘঙ", "कखगघङ", "가나다라마바", "アイウエオ", "甲乙丙丁戊"];

fn rank(c: char, language: Option<Language>) -> Option<usize> {
    let cyrillic = match language {
        // В and Е are the third and sixth letters, and look like the second and fifth of the Latin ones: which is meant, no
        // one can tell.
        Some(Language::Ru | Language::Uk) => match c.to_uppercase().next() {
            Some('А') => Some(0),
            Some('Б') => Some(1),
            Some('С') => Some(2),
            Some('Г') => Some(3),
            Some('Д') => Some(4),
            _ => None,
        },
        _ => None,
    };
    cyrillic.or_else(|| RANKS.iter().find_map(|row| row.chars().position(|letter| letter == c)))
}

fn circled_rank(c: char) -> Option<usize> {
    matches!(c, '①'..='⑳').then(|| c as usize - '①' as usize)
}

/// What may be said of a letter that is the answer.
const CONFIRMATIONS: [&str; 16] = [
    "is correct",
    "is the correct",
    "is right",
    "is the right",
    "is the answer",
    "ist richtig",
    "ist korrekt",
    "ist die richtige",
    "es correcta",
    "es la correcta",
    "es la respuesta",
    "est correcte",
    "est la bonne",
    "est la réponse",
    "является правильным",
    "è corretta",
];

/// Bytes behind a letter in which it may be denied.
const DENIAL_MAX: usize = 60;

/// "Aではありません", "A가 아닙니다".
fn is_denied(after: &str) -> bool {
    let near = head(after, DENIAL_MAX);
    let sentence = &near[..near.find(['.', '。', ',', '，', '、', '\n', ')', '）']).unwrap_or(near.len())];
    DENIALS.iter().any(|denial| sentence.contains(denial))
}

fn starts_folded(text: &str, lower: &str) -> bool {
    let mut text = text.chars().flat_map(char::to_lowercase);
    lower.chars().all(|c| text.next() == Some(c))
}

/// Whether the letter stands for itself: no word goes on, and a word behind it makes no article of it.
fn ends_letter(body: &str, after: &str) -> bool {
    let letter = body.chars().next().unwrap_or(' ');
    let Some(next) = after.chars().next() else { return true };
    let mark = unicode_properties::UnicodeGeneralCategory::general_category_group(next)
        == unicode_properties::GeneralCategoryGroup::Mark;
    if next == '\'' {
        // Turkish sets its "is" apart: "B'dir".
        let suffix = after[1..].split(|c: char| !c.is_alphabetic()).next().unwrap_or_default();
        return ["dir", "dır", "dur", "dür", "tir", "tır", "tur", "tür"].contains(&suffix);
    }
    if mark {
        return false;
    }
    if next.is_alphanumeric() {
        // "Bです", "B选项": Latin among letters of another script.
        return letter.is_ascii() && !next.is_ascii() && next > '\u{600}';
    }
    // "B^2", "A = 5".
    if after.trim_start().starts_with(['^', '=', '<', '>', '+']) {
        return false;
    }
    if !next.is_whitespace() {
        // "A-frame", "B/C" is for `second`.
        return next != '-' && next != '_';
    }
    let word = after.trim_start();
    let goes_on = word.starts_with(char::is_alphabetic);
    if !goes_on || CONFIRMATIONS.iter().any(|words| starts_folded(word, words)) {
        return true;
    }
    // "A dog", "a dog", "B is": only a joiner or a word of another script may follow.
    let next: String =
        word.chars().take_while(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    let other_script = letter.is_ascii() && word.starts_with(|c: char| c > '\u{530}');
    let because =
        ["because", "since", "as", "weil", "porque", "car", "parce", "because,"].contains(&next.as_str());
    letter.is_uppercase() && (is_joiner(&next) || because) || other_script
}

/// What is joined to a letter.
enum Second {
    None,
    Offered(usize),
    /// A letter that is none of those offered.
    Outside,
}

fn second(after: &str, choices: &[char], language: Option<Language>) -> Second {
    let closed = after.trim_start_matches(|c: char| ")]}>*_`\"'”’»」』】）〕.:".contains(c));
    let rest = closed.trim_start();
    let word: String = rest.chars().take_while(|c| c.is_alphabetic()).flat_map(char::to_lowercase).collect();
    let joined = if let Some(behind) = rest.strip_prefix([',', '/', '&', '+', '、', '،', '，', ';', '|']) {
        behind.trim_start()
    } else if is_joiner(&word) {
        // Lower case may change the length; the joiners' own letters do not.
        rest.get(word.len()..).unwrap_or_default().trim_start()
    } else if let Some(length) = unspaced_joiner(rest) {
        rest[length..].trim_start()
    } else if rest.starts_with(['(', '（', '[']) {
        rest
    } else {
        return Second::None;
    };
    let joined = joined.strip_prefix("and ").or_else(|| joined.strip_prefix("or ")).unwrap_or(joined);
    let decorated = joined.starts_with(is_opener);
    let body = without_option_word(joined.trim_start_matches(is_opener)).trim_start_matches(is_opener);
    let Some((index, behind)) = one(body, choices, language) else { return Second::None };
    // A single letter, not the first of a word.
    let alone = !behind.starts_with(|c: char| c.is_alphanumeric() && c < '\u{e00}');
    let article = !decorated
        && behind.trim_start().starts_with(|c: char| c.is_alphabetic() && c < '\u{530}')
        && behind.starts_with(' ');
    match index {
        _ if !alone || article => Second::None,
        Some(index) => Second::Offered(index),
        None => Second::Outside,
    }
}
