//! Sentences: between how many and how many a text has.
//!
//! An end is a mark of any script with what closes after it. A full stop ends nothing after an initial, an
//! abbreviation or the number of a list's item, nor before a small letter. Where only a line ends, or an
//! abbreviation stands before a capital, both readings are possible; so are the spaces of Thai and Lao, which mark
//! no ends at all: there a new line is an end and a space may be one. Text without a letter or digit is no sentence.

use unicode_script::{Script, UnicodeScript};

/// The least and the greatest number of sentences.
pub(super) fn count(text: &str) -> (usize, usize) {
    let mut sentences = Sentences::default();
    let mut rest = text.char_indices().peekable();
    while let Some((at, c)) = rest.next() {
        if sentences.take(c) {
            let mut end = at + c.len_utf8();
            while let Some((next, c)) = rest.next_if(|(_, c)| is_ender(*c) || is_closer(*c)) {
                end = next + c.len_utf8();
            }
            let boundary = boundary(&text[..at], &text[at..end], &text[end..]);
            sentences.end(boundary);
        } else if c.is_whitespace() {
            sentences.end(gap(&text[..at], c, &text[at + c.len_utf8()..]));
        }
    }
    sentences.end(Boundary::Sure);
    (sentences.low, sentences.high)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Boundary {
    None,
    Possible,
    Sure,
}

/// Sentences closed so far, in the coarsest and the finest division.
#[derive(Default)]
struct Sentences {
    low: usize,
    high: usize,
    /// Whether the open sentence has a letter or digit.
    open_low: bool,
    open_high: bool,
}

impl Sentences {
    /// Take a character in; whether it may end a sentence.
    fn take(&mut self, c: char) -> bool {
        if c.is_alphanumeric() {
            self.open_low = true;
            self.open_high = true;
        }
        is_ender(c)
    }

    fn end(&mut self, boundary: Boundary) {
        if boundary == Boundary::None {
            return;
        }
        self.high += usize::from(std::mem::take(&mut self.open_high));
        if boundary == Boundary::Sure {
            self.low += usize::from(std::mem::take(&mut self.open_low));
        }
    }
}

/// Marks that end a sentence without a space after them.
fn is_full_ender(c: char) -> bool {
    matches!(
        c,
        '。' | '！'
            | '？'
            | '｡'
            | '．'
            | '।'
            | '॥'
            | '؟'
            | '۔'
            | '။'
            | '។'
            | '៕'
            | '།'
            | '։'
            | '።'
            | '፧'
            | '؞'
    )
}

fn is_ender(c: char) -> bool {
    matches!(c, '.' | '!' | '?' | '…' | '‼' | '⁇' | '⁈' | '⁉') || is_full_ender(c)
}

fn is_closer(c: char) -> bool {
    matches!(c, '"' | '\'' | ')' | ']' | '}' | '”' | '’' | '»' | '」' | '』' | '）' | '】' | '》' | '*' | '_')
}

/// What stands at the marks `ending`.
fn boundary(before: &str, ending: &str, after: &str) -> Boundary {
    if ending.chars().any(is_full_ender) {
        return Boundary::Sure;
    }
    let next = after.chars().next();
    if next.is_some_and(|c| !c.is_whitespace()) {
        // 3.14, example.org, and a mark before han or kana, which need no space.
        return if next.is_some_and(super::words::is_unspaced) { Boundary::Possible } else { Boundary::None };
    }
    let following = after.trim_start().chars().next();
    let marks: Vec<char> = ending.chars().filter(|c| is_ender(*c)).collect();
    if marks != ['.'] {
        let goes_on = following.is_some_and(char::is_lowercase);
        return if goes_on { Boundary::Possible } else { Boundary::Sure };
    }
    if following.is_some_and(char::is_lowercase) {
        return Boundary::None;
    }
    match Token::before(before) {
        Token::Item => Boundary::None,
        Token::Abbreviation if following.is_some() => Boundary::Possible,
        Token::Abbreviation | Token::Word => Boundary::Sure,
    }
}

/// What a single full stop stands after.
enum Token {
    Word,
    Abbreviation,
    /// The number or letter of a list's item, alone on its line so far.
    Item,
}

/// Of the languages that write them with a full stop, the frequent ones.
const ABBREVIATIONS: [&str; 56] = [
    "mr", "mrs", "ms", "dr", "prof", "st", "sr", "jr", "rev", "gen", "sen", "rep", "gov", "capt", "lt",
    "col", "mt", "inc", "ltd", "co", "corp", "vs", "etc", "no", "vol", "fig", "al", "cf", "approx", "dept",
    "est", "ca", "bzw", "usw", "ca", "nr", "abb", "bsp", "hr", "fr", "sra", "srta", "ud", "uds", "pág",
    "núm", "mme", "mlle", "sig", "dott", "ecc", "т", "др", "им", "стр", "гл",
];

impl Token {
    fn before(text: &str) -> Self {
        let line = text.rsplit('\n').next().unwrap_or_default();
        let token = line.rsplit(char::is_whitespace).next().unwrap_or_default();
        let token = token.trim_start_matches(|c: char| !c.is_alphanumeric());
        let short = token.chars().count() <= 3;
        let is_number = !token.is_empty() && token.chars().all(char::is_numeric);
        let alone = line.trim_start_matches(['*', '-', '#', ' ', '\t']) == token;
        if alone && short && (is_number || token.chars().count() == 1) {
            return Self::Item;
        }
        let initial = token.chars().count() == 1 && token.chars().all(char::is_alphabetic);
        let dotted = token.contains('.') && token.split('.').all(|part| part.chars().count() <= 2);
        let known = ABBREVIATIONS.contains(&token.to_lowercase().as_str());
        if initial || dotted || known { Self::Abbreviation } else { Self::Word }
    }
}

/// What a white space is where no mark stands before it.
fn gap(before: &str, space: char, after: &str) -> Boundary {
    let (last, next) = (before.chars().next_back(), after.chars().next());
    let unmarked = |c: Option<char>| c.is_some_and(|c| matches!(c.script(), Script::Thai | Script::Lao));
    match (space, unmarked(last)) {
        ('\n', true) => Boundary::Sure,
        ('\n', false) => Boundary::Possible,
        (_, true) if unmarked(next) => Boundary::Possible,
        _ => Boundary::None,
    }
}
