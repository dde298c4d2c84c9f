//! Blank out what is in no language: mathematics, code, links, boxes, tags, symbols and acronyms.
//!
//! The result has the length of the input, stripped bytes being spaces, so that offsets stay those of the text.
//! Every search for a closing mark either is bounded or, having failed once, is not made again: linear time.

use super::script::{Letter, letter};
use crate::score::extract;

pub(super) fn strip(text: &str) -> String {
    let mut mask = Mask { text, kept: text.as_bytes().to_vec() };
    if text.contains('\\') {
        for boxed in extract::boxes(text).0 {
            mask.hide(boxed.whole.start, boxed.whole.end);
        }
    }
    structures(&mut mask);
    tokens(&mut mask);
    String::from_utf8(mask.kept).expect("whole characters are hidden, by spaces")
}

struct Mask<'a> {
    text: &'a str,
    /// The text with spaces over what is hidden.
    kept: Vec<u8>,
}

impl Mask<'_> {
    /// Both ends are ends of characters. Line breaks stay: they end segments whatever they stand in.
    fn hide(&mut self, start: usize, end: usize) {
        for byte in &mut self.kept[start..end] {
            *byte = if *byte == b'\n' { b'\n' } else { b' ' };
        }
    }
}

/// An opening and its closing mark, and how far the latter may be.
struct Pair {
    open: &'static str,
    close: &'static str,
    bytes_max: usize,
    across_lines: bool,
}

const PAIRS: [Pair; 7] = [
    Pair { open: "```", close: "```", bytes_max: usize::MAX, across_lines: true },
    Pair { open: "`", close: "`", bytes_max: 300, across_lines: false },
    Pair { open: "$$", close: "$$", bytes_max: usize::MAX, across_lines: true },
    Pair { open: "\\[", close: "\\]", bytes_max: usize::MAX, across_lines: true },
    Pair { open: "\\(", close: "\\)", bytes_max: usize::MAX, across_lines: true },
    Pair { open: "\\begin{", close: "\\end{", bytes_max: usize::MAX, across_lines: true },
    Pair { open: "<", close: ">", bytes_max: 100, across_lines: false },
];

fn structures(mask: &mut Mask<'_>) {
    let text = mask.text;
    let mut exhausted = [false; PAIRS.len()];
    let mut at = 0;
    while at < text.len() {
        let end = match text.as_bytes()[at] {
            b'`' | b'$' | b'\\' | b'<' => {
                paired(text, at, &mut exhausted).or_else(|| dollar(text, at)).or_else(|| command(text, at))
            }
            b'h' | b'w' => link(text, at),
            _ => None,
        };
        if let Some(end) = end {
            mask.hide(at, end);
            at = end;
        } else {
            at += 1;
        }
    }
}

fn paired(text: &str, at: usize, exhausted: &mut [bool]) -> Option<usize> {
    let bytes = text.as_bytes();
    for (pair, exhausted) in PAIRS.iter().zip(exhausted) {
        if *exhausted || !bytes[at..].starts_with(pair.open.as_bytes()) || !opens(bytes, at, pair.open) {
            continue;
        }
        let from = at + pair.open.len();
        let until = text.len().min(from.saturating_add(pair.bytes_max));
        let Some(length) = find(&bytes[from..until], pair.close.as_bytes()) else {
            *exhausted = pair.bytes_max == usize::MAX;
            continue;
        };
        let inside = &bytes[from..from + length];
        if !pair.across_lines && inside.contains(&b'\n') {
            continue;
        }
        return Some(from + length + pair.close.len());
    }
    None
}

/// A tag starts with a letter or a slash; "a < b" does not open one.
fn opens(bytes: &[u8], at: usize, open: &str) -> bool {
    open != "<" || bytes.get(at + 1).is_some_and(|next| next.is_ascii_alphabetic() || *next == b'/')
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

const INLINE_MATH_MAX: usize = 500;

/// `$...$` by Pandoc's rule: no space inside the marks and no digit after, so that prices stay prose.
fn dollar(text: &str, at: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    if bytes[at] != b'$' || bytes.get(at + 1).is_none_or(u8::is_ascii_whitespace) {
        return None;
    }
    let until = text.len().min(at + INLINE_MATH_MAX);
    let inside = &bytes[at + 1..until];
    let paragraph = find(inside, b"\n\n").unwrap_or(inside.len());
    // A few candidates only: hostile runs of dollars must not be searched over and over.
    let closing = inside[..paragraph].iter().enumerate().filter(|(_, byte)| **byte == b'$').take(3);
    for (offset, _) in closing {
        let close = at + 1 + offset;
        let tight = !bytes[close - 1].is_ascii_whitespace() && close > at + 1;
        let price = bytes.get(close + 1).is_some_and(u8::is_ascii_digit);
        if tight && !price {
            return Some(close + 1);
        }
    }
    None
}

/// A LaTeX command outside math: only its name goes, since its argument may be prose.
fn command(text: &str, at: usize) -> Option<usize> {
    let name = text.as_bytes()[at..].strip_prefix(b"\\")?;
    let length = name.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    (length > 0).then_some(at + 1 + length)
}

fn link(text: &str, at: usize) -> Option<usize> {
    let bytes = &text.as_bytes()[at..];
    if ![&b"http://"[..], b"https://", b"www."].iter().any(|scheme| bytes.starts_with(scheme)) {
        return None;
    }
    let length = bytes.iter().take_while(|byte| byte.is_ascii_graphic() && !b"<>\"".contains(byte)).count();
    Some(at + length)
}

/// A word as typed, with what is glued to it.
struct Token {
    start: usize,
    end: usize,
    shouted: bool,
    symbol: bool,
}

/// Hide tokens that are symbols rather than words: `x1`, `f(x)`, `a+b`, `kWh`, `GCD`.
fn tokens(mask: &mut Mask<'_>) {
    let mut before = false;
    let mut waiting: Option<Token> = None;
    // A shouted sentence is language; a lone shouted word is an acronym, which the next word tells.
    let mut settle = |mask: &mut Mask<'_>, token: Token, next_is_shouted: bool| {
        if token.symbol || (token.shouted && !before && !next_is_shouted) {
            mask.hide(token.start, token.end);
        }
        before = token.shouted;
    };
    let mut from = 0;
    while let Some(token) = next_token(mask, &mut from) {
        if let Some(last) = waiting.replace(token) {
            settle(mask, last, waiting.as_ref().is_some_and(|next| next.shouted));
        }
    }
    if let Some(last) = waiting {
        settle(mask, last, false);
    }
}

fn is_glue(c: char) -> bool {
    matches!(c, '!' | '#' | '%' | '&'..='?' | '@' | '[' | ']' | '^' | '_' | '{' | '|' | '}' | '\u{2019}')
}

/// The next token with a Latin letter in it, from the byte `from` on, which moves behind it.
fn next_token(mask: &Mask<'_>, from: &mut usize) -> Option<Token> {
    let mut start = None;
    let mut latin = false;
    let base = *from;
    for (offset, c) in mask.text[base..].char_indices() {
        let at = base + offset;
        // A hidden character is a space now; glue and letters never are.
        let hidden = mask.kept[at] == b' ';
        let is_letter = !hidden && letter(c) == Some(Letter::Latin);
        if is_letter || (!hidden && is_glue(c)) {
            start = start.or(Some(at));
            latin |= is_letter;
        } else if let Some(first) = start.take()
            && std::mem::take(&mut latin)
        {
            *from = at;
            return Some(token(mask.text, first, at));
        }
    }
    *from = mask.text.len();
    start.filter(|_| latin).map(|first| token(mask.text, first, mask.text.len()))
}

const ACRONYM_MAX: usize = 5;

fn token(text: &str, start: usize, end: usize) -> Token {
    let word = text[start..end].trim_matches(|c: char| !c.is_alphanumeric());
    let (mut letters, mut others, mut operators, mut mixed_case) = (0, 0, false, false);
    let (mut lower_before, mut all_upper, mut plain) = (false, true, true);
    for c in word.chars() {
        let (upper, lower) = if c.is_ascii() {
            (c.is_ascii_uppercase(), c.is_ascii_lowercase())
        } else {
            (c.is_uppercase(), c.is_lowercase())
        };
        mixed_case |= lower_before && upper;
        lower_before = lower;
        all_upper &= upper;
        if letter(c) == Some(Letter::Latin) {
            letters += 1;
            plain &= c.is_ascii_alphabetic() && !"aeiouyAEIOUY".contains(c);
        } else {
            others += 1;
            operators |= matches!(
                c,
                '0'..='9'
                    | '_'
                    | '='
                    | '+'
                    | '*'
                    | '/'
                    | '^'
                    | '<'
                    | '>'
                    | '|'
                    | '@'
                    | '#'
                    | '&'
                    | '('
                    | ')'
                    | '['
                    | ']'
                    | '{'
                    | '}'
                    | '%'
            );
        }
    }
    // A single letter that is no word in any language here is a variable.
    let variable = letters == 1 && others == 0 && plain;
    let shouted = (2..=ACRONYM_MAX).contains(&letters) && all_upper;
    Token { start, end, shouted, symbol: operators || mixed_case || variable }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let stripped = strip(text);
        assert_eq!(stripped.len(), text.len());
        assert_eq!(stripped.split_whitespace().collect::<Vec<_>>().join(" "), expected, "{text}");
    }

    #[test]
    fn what_is_in_no_language_goes() {
        check("so $x = 1$ holds", "so holds");
        check("so $$x\n= 1$$ holds", "so holds");
        check("pay $5 and then $10 more", "pay $5 and then $10 more");
        check(r"we get \[ a \text{ if } b \] here", "we get here");
        check(r"thus \boxed{the {whole} thing} ends", "thus ends");
        check("run `let x` or\n```\nfn main\n```\nnow", "run or now");
        check("see https://example.com/a?b=c now", "see now");
        check("<think>ja</think> <b>nein</b>", "ja nein");
        check("a < b and c > d", "a < and >");
        check("the GCD of f(x) and x1", "the of and");
        check("THIS IS SHOUTED", "THIS IS SHOUTED");
        check(r"the \frac of it", "the of it");
    }

    #[test]
    fn hostile_text_takes_linear_time() {
        let started = std::time::Instant::now();
        for unit in [
            "$a ", "`", "```", "\\[", "\\begin{", "<a", "$$", "A ", "a_", "$", "\\boxed{", "http://", "h",
            "$x$",
        ] {
            let text = unit.repeat(400_000 / unit.len());
            assert_eq!(strip(&text).len(), text.len());
        }
        assert!(started.elapsed().as_secs() < 8, "{:?}", started.elapsed());
    }

    proptest! {
        #[test]
        fn any_text_keeps_its_length(text in r"(\\|\$|`|<|>|a|é|ก|1| |\n|\(|\)|\[|\]|http://|\{|\}|boxed){0,60}") {
            prop_assert_eq!(strip(&text).len(), text.len());
        }
    }
}
