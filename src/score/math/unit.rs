//! What may stand around a number without changing it: a variable, a currency, a unit.
//!
//! Any short run of words may be a unit ("18 eggs"), except the ones that change the value: magnitudes,
//! fractions, functions, hedges. The lists err on the long side, since a word listed in error costs a miss and
//! a word forgotten costs a false accept.

use std::borrow::Cow;

use super::number::Convention;
use super::unit_names::SAME;
use super::unit_words::{NUMERALS, STEMS, WEAK, WORDS};
use crate::language::Language;
use crate::score::phrases::measure;

const CURRENCIES: &str = "$€£¥₹฿₩₽₺₫₴₦₱₪৳₸¢";
/// Before the number, with or without a space.
const CURRENCY_CODES: &[&str] = &[
    "US$", "R$", "C$", "A$", "USD", "EUR", "GBP", "JPY", "CNY", "RMB", "INR", "THB", "KRW", "RUB", "BRL",
    "KES", "TZS", "BDT", "Rs.", "Rs", "Tk", "Ksh", "KSh", "TSh", "Tsh", "RM", "Rp", "TL", "CHF", "MXN",
];

pub(super) fn strip_currency(text: &str) -> &str {
    let stripped = CURRENCY_CODES
        .iter()
        .find_map(|code| text.strip_prefix(code))
        .or_else(|| text.strip_prefix(|c| CURRENCIES.contains(c)));
    match stripped.map(|rest| rest.trim_start_matches([' ', '.'])) {
        // The point of ".5" is no part of the currency, and a code inside a word is none.
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_digit() || "+-\\".contains(c)) => rest,
        _ => text,
    }
}

/// The currency before a number, or nothing.
pub(super) fn currency(text: &str) -> &str {
    let text = text.trim_start_matches(['-', '+', ' ']);
    let length = text.len() - strip_currency(text).len();
    text[..length].trim_end_matches([' ', '.'])
}

/// `x = 5` is 5.
pub(super) fn strip_variable(text: &str) -> &str {
    let Some((left, right)) = text.split_once('=') else { return text };
    let mut letters = left.trim().chars();
    let is_variable = letters.next().is_some_and(char::is_alphabetic) && letters.next().is_none();
    if is_variable && !right.contains('=') { right.trim() } else { text }
}

/// `(5)` is 5; `(1, 2)` stays what it is.
pub(super) fn strip_parentheses(text: &str) -> &str {
    match text.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')) {
        Some(inner) if !inner.contains(['(', ')', ',', ' ']) => inner,
        _ => text,
    }
}

/// Whether what follows a number leaves its value alone.
pub(super) fn is_unit(rest: &str, convention: Convention) -> bool {
    let attached = !rest.starts_with(' ');
    let rest = rest.trim();
    let rest = rest[measure(rest).unwrap_or_default()..].trim_start();
    if rest.is_empty() {
        return true;
    }
    let joined = without_apostrophes(rest);
    let rest = joined.as_ref();
    let rest = rest.strip_prefix(|c| CURRENCIES.contains(c) || c == '%').unwrap_or(rest).trim_start();
    let rest = rest
        .strip_prefix('\u{b0}')
        .map_or(rest, |after| after.trim_start_matches(['C', 'F', 'K']).trim_start());
    let rest = strip_square(rest).unwrap_or(rest);
    if rest.is_empty() {
        return true;
    }
    let words: Vec<&str> =
        rest.split([' ', '/', '-', '.', '(', ')']).filter(|word| !word.is_empty()).collect();
    let clean = rest.chars().all(|c| is_letter(c) || " /-.()".contains(c));
    // A dash or a slash with nothing after it is a piece of something else.
    clean
        && !words.is_empty()
        && words.len() <= 4
        && words.iter().enumerate().all(|(i, word)| {
            is_unit_here(&words, i, attached) || names_unit(word, attached && i == 0, convention)
        })
}

/// Without those between letters: "pagina's", "all'ora".
fn without_apostrophes(text: &str) -> Cow<'_, str> {
    if !text.contains('\'') {
        return Cow::Borrowed(text);
    }
    let is_inner = |at: usize| {
        text[..at].ends_with(char::is_alphabetic) && text[at + 1..].starts_with(char::is_alphabetic)
    };
    text.char_indices().filter(|(at, c)| *c != '\'' || !is_inner(*at)).map(|(_, c)| c).collect()
}

const TIMES: &[&str] = &["times", "mal", "fois", "veces", "раз"];
const PER: &[&str] = &["a", "par", "в", "на", "за"];
const SQUARED_METRES: &[&str] = &["مربع", "مربعا", "مربعًا", "مربعة"];

/// Words that change a number elsewhere and do not where they stand: "5 times" and no more, "5 more apples", "5 dollars a day",
/// square metres in Arabic and Persian, which name the metre first.
fn is_unit_here(words: &[&str], at: usize, attached: bool) -> bool {
    let is = |known: &[&str]| known.contains(&words[at].to_lowercase().as_str());
    match at {
        0 if attached => false,
        0 if words.len() == 1 => is(TIMES),
        0 => is(&["more", "fewer"]) && words[1] != "than",
        _ => is(SQUARED_METRES) || (at + 1 < words.len() && is(PER)) || words[..2] == ["km", "u"],
    }
}

fn is_letter(c: char) -> bool {
    // Marks are part of the words of Indic scripts and Thai.
    c.is_alphabetic() || unicode_normalization::char::is_combining_mark(c)
}

const METRIC: &[&str] = &[
    "m", "km", "cm", "mm", "dm", "g", "kg", "mg", "t", "l", "L", "ml", "mL", "dl", "s", "h", "hr", "hrs",
    "min", "ms", "ft", "in", "yd", "mi", "lb", "lbs", "oz", "mph", "kmh", "C", "F", "W", "kW", "V", "Hz",
    "м", "км", "см", "г", "кг", "л", "ч",
];

/// Whether bare letters after a formula are a unit rather than variables: a known sign of two letters at least, or
/// a word too long to be a product.
pub(super) fn is_spelled_out(letters: &str) -> bool {
    letters.len() >= 4 || (letters.len() >= 2 && METRIC.contains(&letters))
}

/// Whether two units are known ones and not the same: 5 cm is not 5 m, and 5 euros are not 5 dollars.
pub(super) fn clash(a: &str, b: &str) -> bool {
    matches!((known(a), known(b)), (Some(a), Some(b)) if a != b)
}

/// One name for a known unit, its powers and quotients included.
fn known(unit: &str) -> Option<String> {
    let (unit, worded) = [("square ", "2"), ("sq ", "2"), ("sq. ", "2"), ("cubic ", "3"), ("cu. ", "3")]
        .iter()
        .find_map(|(word, power)| Some((unit.trim_start().strip_prefix(word)?, *power)))
        .unwrap_or((unit, ""));
    let plain = unit.replace([' ', '.', '{', '}', '(', ')', '\\'], "");
    let plain = if worded.is_empty() { plain } else { format!("{plain}^{worded}") };
    let (name, power) = plain.split_once('^').unwrap_or((&plain, ""));
    let parts: Option<Vec<&str>> = name
        .split('/')
        .map(|part| {
            let lower = part.to_lowercase();
            let spelled = |names: &&&[&str]| names.contains(&part) || names.contains(&lower.as_str());
            SAME.iter().find(spelled).map(|names| names[0])
        })
        .collect();
    Some(format!("{}^{power}", parts?.join("/")))
}

/// `cm^2 ...` without its unit and exponent.
fn strip_square(rest: &str) -> Option<&str> {
    let at = rest.find('^')?;
    let after = &rest[at + 1..];
    let after = after
        .strip_prefix(['2', '3'])
        .or_else(|| after.strip_prefix("{2}"))
        .or_else(|| after.strip_prefix("{3}"))?;
    let unit = rest[..at].trim();
    let mut parts = unit.split(['/', ' ', '\u{b7}']);
    let is_known = |part: &str| METRIC.contains(&part) || SAME.iter().any(|names| names.contains(&part));
    parts.all(is_known).then(|| after.trim_start())
}

fn names_unit(word: &str, attached: bool, convention: Convention) -> bool {
    let word = &word[measure(word).unwrap_or_default()..];
    if word.is_empty() {
        return true;
    }
    let latin = word.chars().all(|c| {
        c.is_ascii_alphabetic() || ('\u{c0}'..'\u{250}').contains(&c) || ('\u{1e00}'..'\u{1f00}').contains(&c)
    });
    if METRIC.contains(&word) {
        // "5m" may be five times m; "5 m" and "5km" are lengths.
        return !(attached && word.chars().count() == 1);
    }
    let lower = word.to_lowercase();
    if latin || lower.chars().all(|c| ('\u{400}'..'\u{530}').contains(&c)) {
        // Unknown short words may be variables.
        let long_enough = lower.chars().count() >= if attached { 4 } else { 2 };
        return long_enough && !changes_value(&lower, convention);
    }
    let short = word.chars().count() <= 24;
    // A Greek letter is a variable, or a number of its own.
    if word.chars().all(|c| ('α'..='ω').contains(&c)) && attached {
        return false;
    }
    short && !changes_value(&lower, convention) && !NUMERALS.iter().any(|numeral| word.contains(numeral))
}

/// Miles: words that begin as those for thousands and millions do.
const MILES: &[&str] = &["milles", "milha", "milhas"];

fn changes_value(word: &str, convention: Convention) -> bool {
    let has_mil = matches!(convention, Convention::Of(Language::Id | Language::Pl | Language::Tr));
    if MILES.contains(&word) || (has_mil && word == "mil") {
        return false;
    }
    let local = matches!(convention, Convention::Of(language) if changes_value_in(language, word));
    local || word.contains("halb") || WORDS.contains(&word) || STEMS.iter().any(|stem| word.starts_with(stem))
}

/// Whether a word changes a number before it in one language, and is a unit or no word in others.
pub(in crate::score) fn changes_value_in(language: Language, word: &str) -> bool {
    match language {
        Language::Es | Language::Pt => ["miles", "mil"].contains(&word),
        Language::Fr => ["cent", "cents", "quart", "quarts"].contains(&word),
        Language::Ja => ["位", "組"].contains(&word),
        Language::Tr => ["bin", "yüz", "on"].contains(&word),
        Language::Vi => ["tỷ", "tỉ", "tá", "nửa", "mươi", "rưỡi"].contains(&word),
        Language::Sw => ["laki", "mia", "elfu", "nusu", "robo", "kumi", "thuluthi"].contains(&word),
        _ => false,
    }
}

/// Whether a word in lower case that follows a number in running text makes another value of it, whatever comes next.
pub(in crate::score) fn changes_value_beside(word: &str) -> bool {
    !METRIC.contains(&word)
        && !WEAK.contains(&word)
        && known(word).is_none()
        && (changes_value(word, Convention::Canonical) || is_numeral(word))
}

/// Whether a word of a script with blanks, Latin and Cyrillic aside, is one of the numerals or starts with a long one.
/// Arabic writes "and" as a part of the word.
fn is_numeral(word: &str) -> bool {
    let word = word.strip_prefix('و').unwrap_or(word);
    let spaced = word.starts_with(|c| matches!(c, '\u{600}'..='\u{6ff}' | '\u{900}'..='\u{c7f}'));
    let names =
        |numeral: &&&str| word == **numeral || (numeral.chars().count() > 2 && word.starts_with(**numeral));
    spaced && NUMERALS.iter().any(|numeral| names(&numeral))
}

#[cfg(test)]
mod tests {
    use super::*;
    use unicode_normalization::UnicodeNormalization;

    /// (what follows the number, language, whether it is a unit)
    const CASES: &[(&str, Language, bool)] = &[
        (" eggs", Language::En, true),
        ("%", Language::En, true),
        ("\u{b0}C", Language::En, true),
        (" dollars per day", Language::En, true),
        (" km/h", Language::En, true),
        ("kg", Language::En, true),
        (" m^2", Language::En, true),
        ("円", Language::Ja, true),
        (" บาท", Language::Th, true),
        (" টাকা", Language::Bn, true),
        (" thousand", Language::En, false),
        (" Millionen", Language::De, false),
        ("万", Language::Zh, false),
        ("時間半", Language::Ja, false),
        (" ล้าน", Language::Th, false),
        (" लाख", Language::Hi, false),
        (" हज़ार", Language::Hi, false),
        (" cents", Language::En, true),
        (" cents", Language::Fr, false),
        ("x", Language::En, false),
        ("ab", Language::En, false),
        (" or more", Language::En, false),
        ("!", Language::En, false),
        ("^2", Language::En, false),
        (" and a half", Language::En, false),
        (" \\pi", Language::En, false),
    ];

    #[test]
    fn units_keep_the_value_and_magnitudes_do_not() {
        for (rest, language, expected) in CASES {
            let rest: String = rest.nfc().collect();
            assert_eq!(is_unit(&rest, Convention::Of(*language)), *expected, "{rest:?}");
        }
    }

    #[test]
    fn the_lists_are_in_the_form_answers_are_compared_in() {
        for word in STEMS.iter().chain(WORDS).chain(NUMERALS) {
            assert_eq!(word.to_lowercase().nfc().collect::<String>(), **word, "{word}");
        }
    }
}
