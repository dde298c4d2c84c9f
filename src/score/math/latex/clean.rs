//! LaTeX with everything gone that only changes how it looks, and with one spelling for what is left.
//!
//! The result is still text. Three kinds of things that LaTeX writes with the same characters are told apart by
//! private marks: a brace that is printed, a line break in a matrix, and words.

use unicode_normalization::UnicodeNormalization;

use super::super::budget::Obstacle;
use super::super::groups::without_spaces;
use super::super::normalise::fold;

pub(super) const ROW: char = '\u{1}';
pub(super) const SET_OPEN: char = '\u{2}';
pub(super) const SET_CLOSE: char = '\u{3}';
pub(super) const WORD_OPEN: char = '\u{4}';
pub(super) const WORD_CLOSE: char = '\u{5}';

const SILENT: &[&str] = &[
    "left",
    "right",
    "displaystyle",
    "textstyle",
    "scriptstyle",
    "limits",
    "nolimits",
    "big",
    "Big",
    "bigg",
    "Bigg",
    "bigl",
    "bigr",
    "Bigl",
    "Bigr",
    "biggl",
    "biggr",
    "Biggl",
    "Biggr",
    "bf",
    "rm",
    "it",
    "hline",
    "mathstrut",
    "strut",
    "nonumber",
    "centering",
    "mathopen",
    "mathclose",
    "hfill",
    "allowbreak",
    "bigm",
    "middle",
    "protect",
    "ensuremath",
];
const SPACES: &[&str] =
    &["quad", "qquad", "thinspace", "space", "enspace", "nobreakspace", "medspace", "thickspace"];
/// Their argument is words if it is more than a letter.
const WORDS: &[&str] = &[
    "text",
    "textbf",
    "textit",
    "textrm",
    "textsf",
    "texttt",
    "textnormal",
    "emph",
    "mbox",
    "hbox",
    "mathrm",
    "operatorname",
    "textup",
    "mathsf",
    "mathtt",
];
/// Their argument stands for itself.
const WRAPPERS: &[&str] = &[
    "mathbf",
    "mathit",
    "mathnormal",
    "boldsymbol",
    "boxed",
    "fbox",
    "framebox",
    "underline",
    "bm",
    "mathcal",
    "vec",
    "mathfrak",
    "mathscr",
    "mathop",
    "mathbin",
    "mathrel",
    "mathord",
    "smash",
    "displaylines",
    "pmb",
];
pub(super) const FUNCTIONS: &[&str] = &[
    "sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "arccot",
    "ln", "log", "lg", "exp", "gcd", "lcm", "max", "min", "det", "deg", "sgn", "arg", "Re", "Im",
];

fn is_between_numbers(before: &str, rest: &str) -> bool {
    let digit = |c: char| c.is_ascii_digit();
    before.strip_suffix(' ').is_some_and(|before| before.ends_with(digit))
        && rest.strip_prefix("x ").is_some_and(|behind| behind.starts_with(digit))
}

/// The cleaned text, or why there is none.
pub(super) fn clean(answer: &str) -> Result<String, Obstacle> {
    if answer.len() > super::BYTES_MAX {
        return Err(Obstacle::TooLarge);
    }
    let doubled = is_doubled(answer);
    let answer = answer.replace('ℝ', "\\mathbb{R}").replace('ℤ', "\\mathbb{Z}").replace('ℚ', "\\mathbb{Q}");
    let answer = answer.replace('ℕ', "\\mathbb{N}").replace('ℂ', "\\mathbb{C}");
    let folded: String = fold(&answer).nfc().collect();
    let folded = without_spaces(&folded);
    let mut out = String::with_capacity(folded.len());
    let mut rest = &*folded;
    while let Some(c) = rest.chars().next() {
        match c {
            '\\' => rest = backslashes(rest, doubled, &mut out)?,
            '{' => {
                let inner = [("{,}", ","), ("{.}", "."), ("{}", ""), ("{;}", ";")];
                let (from, to) = inner.iter().find(|(from, _)| rest.starts_with(from)).unwrap_or(&("{", "{"));
                out.push_str(to);
                rest = &rest[from.len()..];
            }
            // "6 x 7": a letter between blanks and digits is a times sign.
            'x' if is_between_numbers(&out, rest) => {
                out.push('*');
                rest = &rest[1..];
            }
            '$' | '`' => rest = &rest[1..],
            '~' => {
                out.push(' ');
                rest = &rest[1..];
            }
            c if c < ' ' => {
                out.push(' ');
                rest = &rest[c.len_utf8()..];
            }
            c => {
                out.push_str(symbol(c).unwrap_or_default());
                if symbol(c).is_none() {
                    out.push(c);
                }
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    for degrees in
        ["^{\\circ}", "^\\circ", "^ \\circ", "^{ \\circ }", "^{\\circ }", "^{\\degree }", "^\\degree "]
    {
        if out.contains(degrees) {
            out = out.replace(degrees, "\\degree ");
        }
    }
    Ok(out)
}

/// Whether every command has its backslash twice, as in JSON that was escaped once too often.
fn is_doubled(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (mut at, mut twice) = (0, false);
    while at < bytes.len() {
        let run = bytes[at..].iter().take_while(|byte| **byte == b'\\').count();
        let next = bytes.get(at + run);
        let governs = next.is_some_and(|next| next.is_ascii_alphabetic() || matches!(next, b'{' | b'}'));
        if run == 1 && governs {
            return false;
        }
        twice |= run == 2 && next.is_some_and(u8::is_ascii_alphabetic);
        at += run.max(1);
    }
    twice
}

fn symbol(c: char) -> Option<&'static str> {
    Some(match c {
        '√' => "\\radical ",
        '∛' => "\\cuberoot ",
        '×' | '·' | '⋅' | '∙' | '•' | '∗' | '✕' => "*",
        '÷' => "/",
        'π' => "\\pi ",
        '∞' => "\\infty ",
        '≤' | '⩽' | '≦' => "\\le ",
        '≥' | '⩾' | '≧' => "\\ge ",
        '≠' => "\\ne ",
        '≈' | '≃' | '≅' => "\\approx ",
        '∪' => "\\cup ",
        '∩' => "\\cap ",
        '∖' => "\\setminus ",
        '∈' => "\\in ",
        '∅' => "\\emptyset ",
        '±' => "\\pm ",
        '∓' => "\\mp ",
        '°' | '∘' => "\\degree ",
        '⟨' | '〈' => "\\langle ",
        '⟩' | '〉' => "\\rangle ",
        '⌊' => "\\lfloor ",
        '⌋' => "\\rfloor ",
        '⌈' => "\\lceil ",
        '⌉' => "\\rceil ",
        '、' | '،' => ", ",
        '；' | '؛' => "; ",
        '∣' => "|",
        _ => return None,
    })
}

/// A run of backslashes and what it governs; returns the rest.
fn backslashes<'a>(text: &'a str, doubled: bool, out: &mut String) -> Result<&'a str, Obstacle> {
    let after = text.trim_start_matches('\\');
    let mut run = text.len() - after.len();
    if doubled {
        run = run.div_ceil(2);
    }
    for _ in 0..run / 2 {
        out.push(ROW);
    }
    if run.is_multiple_of(2) { Ok(after) } else { command(after, out) }
}

fn command<'a>(text: &'a str, out: &mut String) -> Result<&'a str, Obstacle> {
    let length = text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (name, after) = text.split_at(length);
    match name {
        "" => return Ok(escaped(text, out)),
        "left" | "right" => {
            // \left. is a fence that is not there.
            let after = after.trim_start();
            return Ok(after.strip_prefix('.').unwrap_or(after));
        }
        "mathbb" | "Bbb" => {
            let inner = after.trim_start();
            let letter = inner.trim_start_matches(['{', ' ']).chars().next().filter(char::is_ascii_uppercase);
            let letter = letter.ok_or(Obstacle::Unread)?;
            out.push_str("\\numbers");
            out.push(letter);
            out.push(' ');
            let rest = inner.trim_start_matches(['{', ' ']);
            let rest = &rest[1..];
            return Ok(if inner.starts_with('{') {
                rest.trim_start().strip_prefix('}').unwrap_or(rest)
            } else {
                rest
            });
        }
        // Their first argument is the name of a colour.
        "color" | "textcolor" => {
            let inner = after.trim_start().strip_prefix('{').ok_or(Obstacle::Unread)?;
            let (_, rest) = inner.split_once('}').ok_or(Obstacle::Unread)?;
            return Ok(rest);
        }
        name if SILENT.contains(&name) => {}
        name if SPACES.contains(&name) => out.push(' '),
        name if WRAPPERS.contains(&name) => {}
        name if WORDS.contains(&name) => return words(after, out),
        name => {
            out.push('\\');
            out.push_str(spelling(name));
            // Letters after it must not join its name.
            if after.starts_with(|c: char| c.is_ascii_alphabetic()) {
                out.push(' ');
            }
        }
    }
    Ok(after)
}

/// One name for commands that mean the same.
fn spelling(name: &str) -> &str {
    match name {
        "dfrac" | "tfrac" | "cfrac" => "frac",
        "dbinom" | "tbinom" => "binom",
        "leq" | "leqslant" => "le",
        "geq" | "geqslant" => "ge",
        "neq" => "ne",
        "lt" => "less",
        "gt" => "greater",
        "simeq" | "cong" => "approx",
        "varnothing" => "emptyset",
        "backslash" | "smallsetminus" => "setminus",
        "lvert" | "rvert" | "vert" => "fence",
        "bar" => "overline",
        "times" | "cdot" | "ast" | "bullet" => "cdot",
        "div" => "div",
        "circ" => "circ",
        "degree" => "degree",
        "isin" => "in",
        "lbrace" => "lbrace",
        "rbrace" => "rbrace",
        "ldots" | "cdots" | "dots" | "vdots" | "ddots" | "dotsc" | "dotsb" => "dots",
        "epsilon" | "varepsilon" => "epsilon",
        "phi" | "varphi" => "phi",
        "theta" | "vartheta" => "theta",
        name => name,
    }
}

fn escaped<'a>(text: &'a str, out: &mut String) -> &'a str {
    let Some(c) = text.chars().next() else { return text };
    match c {
        '!' | '(' | ')' | '[' | ']' | '$' => {}
        ',' | ';' | ':' | '>' | '~' => out.push(' '),
        c if c.is_whitespace() => out.push(' '),
        '{' => out.push(SET_OPEN),
        '}' => out.push(SET_CLOSE),
        '|' => out.push('|'),
        c => out.push(c),
    }
    &text[c.len_utf8()..]
}

/// Words for "and" and "or" of one letter, between spaces.
const JOINERS: &[&str] = &["y", "e", "o", "u", "i"];

/// Units of one letter: words where they follow something.
const UNIT_LETTERS: &[&str] = &["m", "g", "s", "h", "L", "l", "t", "J", "N", "W", "V", "K"];

/// The argument of \text and its like: words, unless it is a formula in disguise.
fn words<'a>(text: &'a str, out: &mut String) -> Result<&'a str, Obstacle> {
    let start = text.trim_start();
    let Some(inner) = start.strip_prefix('{') else { return Ok(text) };
    let mut depth = 1;
    let end = inner.char_indices().find(|(_, c)| {
        depth += i32::from(*c == '{') - i32::from(*c == '}');
        depth == 0
    });
    let (end, _) = end.ok_or(Obstacle::Unread)?;
    let (content, rest) = (&inner[..end], &inner[end + 1..]);
    let name = content.trim();
    let letters = name.chars().filter(|c| c.is_alphabetic()).count();
    let unit = UNIT_LETTERS.contains(&name) && !out.trim_end().is_empty();
    let joiner = name != content && JOINERS.contains(&name);
    let formula = letters <= 1 && !unit && !joiner
        || name.contains(|c: char| c.is_ascii_digit() || "\\=$^_{}<>|".contains(c));
    if formula {
        out.push(' ');
        out.push_str(&clean(content)?);
        out.push(' ');
    } else if FUNCTIONS.contains(&name) {
        out.push('\\');
        out.push_str(name);
        out.push(' ');
    } else {
        out.push(WORD_OPEN);
        out.push_str(name);
        out.push(WORD_CLOSE);
    }
    Ok(rest)
}
