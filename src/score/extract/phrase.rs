//! Where a completion announces its answer: "The answer is", "答えは", "#### ", "**Final Answer:**".
//!
//! A phrase is a word for "answer" (`score::phrases`), perhaps a few words ("to the problem"), and a colon or a word for
//! "is". Case, markup and the form of accents do not matter. A phrase that only supposes ("if the answer is 5") or
//! denies ("the answer is not 5") announces nothing.

mod fold;
mod gap;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use super::formula::floor;
use super::value::{is_currency, is_digit, starts_value};
use crate::language::Language;
use crate::score::phrases::{LEADS, OPTION_WORDS, SUPPOSED, SUPPOSITIONS, phrases, results};
use fold::{folded, is_filling, is_spaced, matched};
pub(super) use gap::denies;
use gap::{after_gap, contains_word, names_steps};

/// Where the text after each phrase starts, in order.
pub(super) fn anchors(text: &str) -> Vec<usize> {
    found(&NOUNS, text)
}

/// The same for "The result is", "Lösung:".
pub(super) fn result_anchors(text: &str) -> Vec<usize> {
    found(&RESULTS, text)
}

fn found(nouns: &[Noun], text: &str) -> Vec<usize> {
    let mut found = Vec::new();
    let mut previous = None;
    for (at, c) in text.char_indices() {
        let inside_word = previous.is_some_and(char::is_alphanumeric);
        let start = match c {
            '#' => hashes(text, at, previous),
            '<' => tag(text, at),
            c => noun_at(nouns, text, at, c, inside_word),
        };
        found.extend(start);
        previous = Some(c);
    }
    found
}

/// A word for "answer", folded, with its language's links, folded as well.
struct Noun {
    letters: Vec<char>,
    links: &'static [&'static str],
    language: Language,
    bare: bool,
    /// It is all of the phrase: "Ans.", "故选".
    direct: bool,
    /// The link stands right behind it.
    strict: bool,
}

static NOUNS: LazyLock<Vec<Noun>> =
    LazyLock::new(|| sorted(false, |language| (phrases(language).nouns, phrases(language).bare)));

static RESULTS: LazyLock<Vec<Noun>> = LazyLock::new(|| sorted(true, |language| (results(language), false)));

fn sorted(strict: bool, nouns_of: impl Fn(Language) -> (&'static [&'static str], bool)) -> Vec<Noun> {
    let mut nouns: Vec<Noun> = Vec::new();
    for language in Language::ALL {
        let (known, bare) = nouns_of(*language);
        nouns.extend(known.iter().map(|noun| Noun {
            letters: noun.chars().flat_map(folded).collect(),
            links: phrases(*language).links,
            language: *language,
            bare,
            direct: noun.ends_with(['.', '选', '選']),
            strict,
        }));
    }
    // By first letter, the longest first: "jawabannya" before "jawaban".
    nouns.sort_by(|a, b| a.letters[0].cmp(&b.letters[0]).then(b.letters.len().cmp(&a.letters.len())));
    nouns
}

fn noun_at(nouns: &[Noun], text: &str, at: usize, c: char, inside_word: bool) -> Option<usize> {
    // 不正解 is a wrong answer.
    if !c.is_alphabetic() || (inside_word && is_spaced(c)) || text[..at].ends_with(['不', '非']) {
        return None;
    }
    let first = folded(c).next()?;
    let from = nouns.partition_point(|noun| noun.letters[0] < first);
    let same = nouns[from..].iter().take_while(|noun| noun.letters[0] == first);
    let rest = &text[at..];
    same.filter_map(|noun| Some((noun, matched(rest, noun.letters.iter().copied())?)))
        .filter(|(_, length)| !is_spaced(c) || !rest[*length..].starts_with(char::is_alphabetic))
        .filter(|(noun, _)| !noun.strict || is_introduced(text, at))
        .find_map(|(noun, length)| link(text, at, at + length, noun))
        .filter(|_| !is_supposed(text, at))
}

/// GSM8K's "#### 18", at the start of a line.
fn hashes(text: &str, at: usize, previous: Option<char>) -> Option<usize> {
    let rest = text[at..].strip_prefix("####")?;
    let at_start = previous.is_none_or(|c| c != '#');
    let value = rest.trim_start_matches([' ', '*']);
    let is_value = value.starts_with(|c| is_digit(c) || is_currency(c) || "-−+(\\".contains(c));
    (at_start && is_value).then_some(text.len() - value.len())
}

/// `<answer>42</answer>`, which some prompts ask for.
fn tag(text: &str, at: usize) -> Option<usize> {
    const TAG: &str = "<answer>";
    let found = text.as_bytes().get(at..at + TAG.len())?.eq_ignore_ascii_case(TAG.as_bytes());
    found.then(|| skipped(text, at + TAG.len()))
}

/// Where the answer starts, if what follows a noun announces one.
fn link(text: &str, noun: usize, end: usize, known: &Noun) -> Option<usize> {
    let closed = |c: char| c != '\n' && (is_filling(c) || "\"'”’»」』)）".contains(c));
    let near = text[end..].trim_start_matches(closed);
    let at = text.len() - near.len();
    if let Some(start) = colon(text, at) {
        return Some(start);
    }
    if near.starts_with('\n') && is_heading(text, noun) {
        return Some(skipped(text, at));
    }
    if let Some(length) = link_word(near, known) {
        return Some(skipped(text, at + length));
    }
    if known.strict {
        return None;
    }
    if let Some(start) = bracketed(text, noun, end) {
        return Some(start);
    }
    let spaced = near.len() < text[end..].len();
    let signed = near.trim_start_matches(['-', '−', '+', '$', '\\', '(', '[']);
    let number = signed.starts_with(is_digit);
    let letter = || (known.bare || known.language == Language::Vi) && names_letter(near);
    if (spaced || known.direct) && ((known.bare && number) || letter()) {
        return Some(at);
    }
    if known.direct && number {
        return Some(at);
    }
    if spaced && (number || starts_value(near) || near.starts_with('$')) && is_inverted(text, noun, known) {
        return Some(at);
    }
    let gapless = matches!(known.language, Language::Zh | Language::Ja | Language::Ko);
    if gapless { None } else { after_gap(text, end, known) }
}

/// "【答え】18", "[Answer] 18".
fn bracketed(text: &str, noun: usize, end: usize) -> Option<usize> {
    let before = text[..noun].trim_end_matches(is_filling);
    let behind = text[end..].trim_start_matches(is_filling);
    let pair = [('【', '】'), ('[', ']'), ('〔', '〕')].iter().find(|(open, _)| before.ends_with(*open))?;
    let rest = behind.strip_prefix(pair.1)?;
    Some(skipped(text, text.len() - rest.len()))
}

/// "B", "(B)", "ข้อ B": the letter of a choice, alone.
fn names_letter(near: &str) -> bool {
    let option = OPTION_WORDS.iter().filter_map(|word| matched(near, word.chars().flat_map(folded))).max();
    let rest =
        near[option.unwrap_or(0)..].trim_start_matches(|c: char| is_filling(c) || c == '(' || c == '（');
    let mut letters = rest.chars();
    letters.next().is_some_and(char::is_uppercase)
        && !letters.next().is_some_and(|c| c.is_alphanumeric() && c < '\u{e00}')
}

/// Words that may stand between the link and the noun: "ist die richtige Antwort".
const INVERTED_WORDS_MAX: usize = 3;

/// German and Dutch set the link before the noun: "Also ist die Antwort 18". What starts with the link asks or supposes.
fn is_inverted(text: &str, noun: usize, known: &Noun) -> bool {
    if !matches!(known.language, Language::De | Language::Nl) {
        return false;
    }
    let from = floor(text, noun.saturating_sub(64));
    let sentence = text[from..noun].rsplit(['.', '\n', '!', '?', ':', ';', ',']).next().unwrap_or_default();
    let lower = sentence.to_lowercase();
    let words: Vec<&str> = lower.split_whitespace().map(|word| word.trim_matches(['*', '_'])).collect();
    let link = words.iter().rposition(|word| known.links.contains(word)).filter(|at| *at > 0);
    link.is_some_and(|at| {
        let between = words.len() - at - 1;
        (1..=INVERTED_WORDS_MAX).contains(&between) && !words[at + 1..].iter().any(|word| denies(word))
    })
}

/// A colon, or what stands for one.
fn colon(text: &str, at: usize) -> Option<usize> {
    let rest = &text[at..];
    let length = [":", "：", "=", "＝", "→", "—", "– ", "- ", "ః", "ঃ", "﹕", "꞉"]
        .iter()
        .find(|mark| rest.starts_with(**mark))?
        .len();
    Some(skipped(text, at + length))
}

/// The link word at the start of `text`, the longest.
fn link_word(text: &str, known: &Noun) -> Option<usize> {
    let first = text.as_bytes().first()?.to_ascii_lowercase();
    // An accented letter folds to an ASCII one, so only ASCII settles it.
    let may_start = |link: &&&str| {
        let start = link.as_bytes()[0];
        !first.is_ascii() || !start.is_ascii() || first == start
    };
    known
        .links
        .iter()
        .filter(may_start)
        .filter_map(|link| {
            let length = matched(text, link.chars().flat_map(folded))?;
            let spaced = link.starts_with(is_spaced);
            let ends = !spaced || !text[length..].starts_with(|c: char| c.is_alphanumeric() || c == '\'');
            ends.then_some(length)
        })
        .max()
}

/// Past blanks, markup, further colons and opening quotes.
fn skipped(text: &str, at: usize) -> usize {
    let rest =
        text[at..].trim_start_matches(|c: char| is_filling(c) || ":：,،、，=＝→\"“„«「『'‘".contains(c));
    text.len() - rest.len()
}

/// Whether only markup stands before the noun on its line ("## Final Answer").
fn is_heading(text: &str, noun: usize) -> bool {
    let from = floor(text, noun.saturating_sub(48));
    let line = text[from..noun].rsplit('\n').next().unwrap_or_default();
    line.trim_matches(|c: char| is_filling(c) || c == '#').split_whitespace().count() <= 1
}

/// Whether nothing but "So the final" stands before the noun in its sentence.
fn is_introduced(text: &str, noun: usize) -> bool {
    let from = floor(text, noun.saturating_sub(64));
    let whole = from == 0 || text[from..noun].contains(['.', '\n', '。', '！', '!', '?', '।', '۔']);
    let before =
        text[from..noun].rsplit(['.', '\n', '。', '！', '!', '?', '।', '۔']).next().unwrap_or_default();
    let words = before.split(|c: char| is_filling(c) || c.is_whitespace() || "#,，、،:：".contains(c));
    whole && words.filter(|word| !word.is_empty()).all(is_lead)
}

/// Whether a word is one of the introduction, or several where no blanks part them.
fn is_lead(word: &str) -> bool {
    let lower = word.to_lowercase();
    if LEADS.contains(&lower.as_str()) {
        return true;
    }
    let mut rest = lower.as_str();
    while !rest.is_empty() {
        let unspaced = |lead: &&&str| lead.starts_with(|c: char| c > '\u{e00}') && rest.starts_with(**lead);
        let Some(length) = LEADS.iter().filter(unspaced).map(|lead| lead.len()).max() else { return false };
        rest = &rest[length..];
    }
    true
}

/// Whether the sentence before the noun supposes it.
fn is_supposed(text: &str, noun: usize) -> bool {
    let from = floor(text, noun.saturating_sub(48));
    let before =
        text[from..noun].rsplit(['.', '\n', '。', '！', '!', '?', ',', '，', ':']).next().unwrap_or_default();
    let sentence = text[from..noun].rsplit(['.', '\n', '。', '！', '!', '?', ':']).next().unwrap_or_default();
    let opening = sentence.split([',', '，']).next().unwrap_or_default();
    contains_word(before, SUPPOSITIONS) || contains_word(opening, SUPPOSED) || names_steps(before)
}
