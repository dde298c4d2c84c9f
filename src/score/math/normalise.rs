//! One spelling for one answer: digits of every script become ASCII, typography and LaTeX wrappers go.
//!
//! The result is text, not a value. Superscripts become `^n` before compatibility folding would make `52` of
//! `5²`, and vulgar fractions are set apart before it would make `11/4` of `1¼`.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::decompose_compatible;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

use super::groups::without_spaces;

/// Bytes of an answer that are looked at; four for each permitted digit.
const BYTES_MAX: usize = 4 * super::DIGITS_MAX;

/// The answer in normal form; `None` if it is too long to be one.
pub fn normalise(answer: &str) -> Option<String> {
    (answer.len() <= BYTES_MAX).then(|| {
        let folded = fold(answer);
        let plain = strip_commands(&without_spaces(&folded));
        let spaced: Vec<&str> = plain.split_whitespace().collect();
        trim(&spaced.join(" ")).nfc().collect()
    })
}

/// Character by character: digits, minus signs, spaces, invisible marks, compatibility forms.
pub(super) fn fold(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut in_superscript, mut in_subscript) = (false, false);
    for c in text.chars() {
        if c.is_ascii() {
            (in_superscript, in_subscript) = (false, false);
            out.push(c);
            continue;
        }
        if let Some(digit) = superscript(c) {
            in_subscript = false;
            if !in_superscript {
                out.push('^');
            }
            in_superscript = true;
            out.push(digit);
            continue;
        }
        in_superscript = false;
        if let Some(raised) = raised(c) {
            out.push_str(raised);
            continue;
        }
        if let Some(digit) = subscript(c) {
            // Braces, because what follows may be a digit too.
            match out.strip_suffix('}').map(str::len).filter(|_| in_subscript) {
                Some(length) => out.truncate(length),
                None => out.push_str("_{"),
            }
            out.push(digit);
            out.push('}');
            in_subscript = true;
            continue;
        }
        in_subscript = false;
        match (fold_symbol(c), digit_value(c)) {
            (Some(folded), _) => out.push_str(folded),
            (None, Some(value)) => out.push(char::from(b'0' + value)),
            (None, None) => fold_compatible(c, &mut out),
        }
    }
    out
}

/// The one spelling of minus signs, fraction bars, apostrophes, and of marks that nobody sees.
fn fold_symbol(c: char) -> Option<&'static str> {
    match c {
        '\u{2212}' | '\u{2010}'..='\u{2015}' | '\u{fe63}' | '\u{2796}' => Some("-"),
        '\u{2044}' | '\u{2215}' => Some("/"),
        '\u{2018}' | '\u{2019}' => Some("'"),
        // The Arabic percent sign.
        '\u{66a}' => Some("%"),
        '\u{ad}'
        | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{2069}'
        | '\u{feff}' => Some(""),
        _ => None,
    }
}

fn superscript(c: char) -> Option<char> {
    let digit = match c {
        '\u{207b}' => return Some('-'),
        '\u{b9}' => 1,
        '\u{b2}' => 2,
        '\u{b3}' => 3,
        '\u{2070}' | '\u{2074}'..='\u{2079}' => c as u32 - 0x2070,
        _ => return None,
    };
    char::from_digit(digit, 10)
}

/// Raised letters and signs, which compatibility folding would set on the line: 2ⁿ is not 2n.
fn raised(c: char) -> Option<&'static str> {
    match c {
        '\u{207f}' => Some("^n"),
        '\u{2071}' => Some("^i"),
        '\u{207a}' | '\u{207c}'..='\u{207e}' | '\u{208a}'..='\u{208e}' | '\u{2b0}'..='\u{2b8}' => {
            Some("\u{fffd}")
        }
        '\u{1d2c}'..='\u{1d6a}' | '\u{2090}'..='\u{209c}' => Some("\u{fffd}"),
        _ => None,
    }
}

fn subscript(c: char) -> Option<char> {
    matches!(c, '\u{2080}'..='\u{2089}').then(|| char::from(b'0' + (c as u32 - 0x2080) as u8))
}

/// The value of a decimal digit of any script. Unicode encodes them in runs of ten from zero up, and the one
/// place where runs touch (mathematical digits) is a multiple of ten long.
pub fn digit_value(c: char) -> Option<u8> {
    let is_digit = |c: char| c.general_category() == GeneralCategory::DecimalNumber;
    if c.is_ascii_digit() {
        return Some(c as u8 - b'0');
    }
    if c.is_ascii() || !is_digit(c) {
        return None;
    }
    let mut first = c as u32;
    while char::from_u32(first - 1).is_some_and(is_digit) {
        first -= 1;
    }
    Some(((c as u32 - first) % 10) as u8)
}

fn fold_compatible(c: char, out: &mut String) {
    let mut folded = String::new();
    // What a compatibility form stands for may be a symbol that has another spelling itself.
    decompose_compatible(c, |part| match fold_symbol(part) {
        Some(symbol) => folded.push_str(symbol),
        None => folded.push(part),
    });
    if !folded.contains(|part: char| part.is_ascii_digit()) {
        out.push_str(&folded);
    } else if folded.contains('/') {
        // A vulgar fraction: its numerator must not join the digits before it.
        out.push(' ');
        out.push_str(&folded);
    } else {
        // Circled digits, unit squares: no plain number.
        out.push('\u{fffd}');
    }
}

/// Commands whose argument is the text itself.
const WRAPPERS: [&str; 22] = [
    "text",
    "textbf",
    "textit",
    "textrm",
    "textsf",
    "texttt",
    "textnormal",
    "emph",
    "mathrm",
    "mathbf",
    "mathit",
    "mathsf",
    "mathtt",
    "mathnormal",
    "mbox",
    "hbox",
    "boxed",
    "fbox",
    "framebox",
    "underline",
    "operatorname",
    "boldsymbol",
];
/// Commands that only change how things look.
const SILENT: [&str; 12] =
    ["left", "right", "displaystyle", "textstyle", "limits", "big", "Big", "bigl", "bigr", "bf", "rm", "it"];
const SPACES: [&str; 6] = ["quad", "qquad", "thinspace", "space", "enspace", "nobreakspace"];

/// Unwrap or drop LaTeX commands that carry no value; unknown ones stay as they are.
fn strip_commands(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // Whether each open brace is written out; a wrapper's is not.
    let mut braces: Vec<bool> = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\\' => rest = strip_command(rest, &mut out, &mut braces),
            '{' => {
                // {,} and {.} are separators that TeX shall not space out.
                if let Some(inner @ ("," | ".")) = rest.get(..1).filter(|_| rest[1..].starts_with('}')) {
                    out.push_str(inner);
                    rest = &rest[2..];
                } else {
                    braces.push(true);
                    out.push(c);
                }
            }
            '}' => {
                if braces.pop().unwrap_or(true) {
                    out.push(c);
                }
            }
            '~' => out.push(' '),
            _ => out.push(c),
        }
    }
    out.replace("^{\u{2218}}", "\u{b0}").replace("^\u{2218}", "\u{b0}").replace('\u{2218}', "\u{b0}")
}

/// What follows a backslash; returns the rest of the text.
fn strip_command<'a>(rest: &'a str, out: &mut String, braces: &mut Vec<bool>) -> &'a str {
    // Doubled backslashes are an escape that was not undone.
    let rest = rest.trim_start_matches('\\');
    let length = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    let (name, after) = rest.split_at(length);
    if WRAPPERS.contains(&name) {
        let inner = after.trim_start();
        return if let Some(inner) = inner.strip_prefix('{') {
            braces.push(false);
            inner
        } else {
            after
        };
    }
    match name {
        "" => return strip_symbol(rest, out),
        "dfrac" | "tfrac" | "cfrac" => out.push_str("\\frac"),
        "circ" | "degree" => out.push('\u{2218}'),
        name if SILENT.contains(&name) => {}
        name if SPACES.contains(&name) => out.push(' '),
        name => {
            out.push('\\');
            out.push_str(name);
        }
    }
    after
}

fn strip_symbol<'a>(rest: &'a str, out: &mut String) -> &'a str {
    let Some(symbol) = rest.chars().next() else { return rest };
    match symbol {
        // A negative space, and the delimiters of mathematics.
        '!' | '(' | ')' | '[' | ']' => {}
        ',' | ';' | ':' | '>' | '~' => out.push(' '),
        symbol if symbol.is_whitespace() => out.push(' '),
        '{' | '}' => {
            out.push('\\');
            out.push(symbol);
        }
        symbol => out.push(symbol),
    }
    &rest[symbol.len_utf8()..]
}

const QUOTES: &str = "\"`\u{201c}\u{201d}\u{ab}\u{bb}\u{300c}\u{300d}\u{300e}\u{300f}\u{300a}\u{300b}";
const STOPS: &str = ".\u{3002}\u{ff61}\u{964}\u{965}\u{6d4}\u{589}\u{17d4}";

/// Peel paired dollars, bold marks, quotes, outer braces and sentence-final stops until nothing is left to peel.
fn trim(text: &str) -> &str {
    let mut text = text.trim();
    // Bounded: hostile nesting must not make this quadratic, and no answer is wrapped eight times.
    for _ in 0..8 {
        // Three dots say that digits are missing.
        let mut next =
            if text.ends_with("..") { text } else { text.trim_end_matches(|c| STOPS.contains(c)).trim() };
        next = next.trim_matches(|c| QUOTES.contains(c)).trim();
        // A lone apostrophe is a derivative.
        if let Some(inner) = next.strip_prefix('\'').and_then(|inner| inner.strip_suffix('\'')) {
            next = inner.trim();
        }
        for (open, close) in [("$$", "$$"), ("$", "$"), ("**", "**"), ("{", "}")] {
            if let Some(inner) = next.strip_prefix(open).and_then(|inner| inner.strip_suffix(close))
                && !inner.contains(['{', '}', '$'])
                // \} is no outer brace.
                && !inner.ends_with('\\')
            {
                next = inner.trim();
            }
        }
        if next.len() == text.len() {
            break;
        }
        text = next;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(answer: &str, expected: &str) {
        assert_eq!(normalise(answer).as_deref(), Some(expected), "{answer}");
        assert_eq!(normalise(expected).as_deref(), Some(expected), "{answer}: a normal form is its own");
    }

    #[test]
    fn digits_of_every_script() {
        for zero in ['٠', '۰', '०', '০', '౦', '๐', '０', '𝟎', '𝟘', '᠐', '၀'] {
            for value in 0..10_u8 {
                let c = char::from_u32(zero as u32 + u32::from(value)).unwrap();
                assert_eq!(digit_value(c), Some(value), "{c}");
            }
        }
        check("๔๒", "42");
        check("−४२", "-42");
        check("x", "x");
    }

    #[test]
    fn typography_does_not_change_values() {
        check("5²", "5^2");
        check("10⁻²", "10^-2");
        check("101₂", "101_{2}");
        check("log₁₀8", "log_{10}8");
        check("2ⁿ", "2^n");
        check("\u{fe58}5", "-5");
        check("5㎧", "5m/s");
        check("1¼", "1 1/4");
        check("１，２３４．５", "1,234.5");
        check("1\u{202f}234\u{a0}567", "1 234 567");
        check("\u{200f}42\u{200e}", "42");
        check("「42」。", "42");
        check("⑤", "\u{fffd}");
    }

    #[test]
    fn wrappers_go() {
        check(r"$42$", "42");
        check(r"\(42\)", "42");
        check(r"\text{42 dollars}", "42 dollars");
        check(r"\\dfrac{1}{2}", r"\frac{1}{2}");
        check(r"1{,}234", "1,234");
        check(r"1\,234", "1 234");
        check(r"1\!234", "1234");
        check(r"90^\circ", "90°");
        check(r"90^{\circ}", "90°");
        check(r"28\%", "28%");
        check(r"\boxed{42}", "42");
        check(r"**42**", "42");
        check(r"\mathbf{x} = 3.", "x = 3");
        check(r"42\~", "42");
        check(r"{\}", r"{\}");
        check("", "");
    }

    #[test]
    fn long_answers_are_refused() {
        assert_eq!(normalise(&"1".repeat(BYTES_MAX + 1)), None);
    }

    #[test]
    fn every_character_is_stable() {
        for c in '\0'..=char::MAX {
            let once = normalise(&c.to_string()).unwrap();
            assert_eq!(normalise(&once).as_ref(), Some(&once), "{c:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in any::<String>()) {
            let _ = normalise(&text);
        }

        // Commands can be cut so that dropping one makes another (`\te\!xt`): without them a normal form is its own.
        #[test]
        fn text_without_commands_is_stable(text in r#"(?s)([-.,~^{}$*"' 12²½⁻−，。：「」∘ﬁ⑤é]|\*\*|\$\$|[^\\＼﹨]){0,7}"#) {
            let once = normalise(&text).unwrap();
            prop_assert_eq!(normalise(&once), Some(once));
        }
    }
}
