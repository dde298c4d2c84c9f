//! The characters and words that values are made of.

use super::super::formula::head;
use crate::score::math::normalise::digit_value;

pub(in crate::score) fn is_digit(c: char) -> bool {
    c.is_ascii_digit() || (!c.is_ascii() && digit_value(c).is_some())
}

pub(in crate::score::extract) fn is_currency(c: char) -> bool {
    use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};
    c == '$' || (!c.is_ascii() && c.general_category() == GeneralCategory::CurrencySymbol)
}

/// Characters of which each is a space within a line.
pub(in crate::score::extract) fn is_blank(c: char) -> bool {
    c != '\n' && c != '\r' && (c.is_whitespace() || c == '\u{200b}' || c == '\u{feff}')
}

/// Letters, with the marks that combine with them.
pub(super) fn is_letter(c: char) -> bool {
    use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};
    if c.is_ascii() {
        return c.is_ascii_alphabetic() || c == '\'';
    }
    c.is_alphabetic() || matches!(c.general_category_group(), GeneralCategoryGroup::Mark) || c == '’'
}

pub(super) const OPERATORS: [&str; 22] = [
    "times", "cdot", "div", "pm", "mp", "le", "leq", "ge", "geq", "lt", "gt", "ne", "neq", "cup", "cap",
    "in", "to", "approx", "left", "right", "quad", "qquad",
];
pub(super) const FUNCTIONS: [&str; 11] =
    ["sqrt", "sin", "cos", "tan", "cot", "log", "ln", "exp", "pi", "infinity", "cbrt"];
/// Units of one letter, which no one means as a factor after a number.
pub(in crate::score::extract) const UNIT_LETTERS: &str = "mghslLkgWVJNKCF";

pub(super) fn is_operator(c: char) -> bool {
    matches!(
        c,
        '+' | '-'
            | '−'
            | '×'
            | '·'
            | '⋅'
            | '÷'
            | '/'
            | '⁄'
            | '∕'
            | '^'
            | '='
            | '<'
            | '>'
            | '≤'
            | '≥'
            | '≠'
            | '±'
            | '∓'
            | '√'
            | '∛'
            | '∪'
            | '∩'
            | '≈'
            | '∈'
            | '＝'
            | '＋'
            | '－'
    )
}

/// Whether a value may start here.
pub(in crate::score::extract) fn starts_value(text: &str) -> bool {
    let mut chars = text.chars();
    let Some(first) = chars.next() else { return false };
    let second = chars.next();
    match first {
        c if is_digit(c) => true,
        '.' | '\u{66b}' => second.is_some_and(is_digit),
        '-' | '−' | '+' | '±' | '－' | '(' | '[' | '{' | '√' => {
            let next = text[first.len_utf8()..].trim_start_matches(is_blank);
            next.starts_with(|c| is_digit(c) || is_currency(c) || "\\√π∞(.-−".contains(c))
                || is_variable(next)
        }
        '\\' => second.is_some_and(|c| c.is_ascii_alphabetic() || c == '$'),
        'π' | '∞' | '½' | '⅓' | '⅔' | '¼' | '¾' => true,
        c if is_currency(c) => second.is_some_and(|c| is_digit(c) || c == ' ' || c == '-'),
        _ => is_variable(text),
    }
}

/// Whether a single letter with an operator, a comma or a bracket behind it starts here.
pub(super) fn is_variable(text: &str) -> bool {
    let rest = text.strip_prefix(|c: char| c.is_ascii_alphabetic());
    rest.is_some_and(|rest| {
        let next = rest.trim_start_matches(is_blank);
        next.starts_with(is_operator) || rest.starts_with([',', ')', ']', '_'])
    })
}

/// The length of digits and of the separators between them.
pub(super) fn number_length(text: &str) -> usize {
    let mut end = 0;
    let mut chars = text.char_indices().peekable();
    let mut group = 0;
    while let Some((at, c)) = chars.next() {
        if is_digit(c) {
            end = at + c.len_utf8();
            group += 1;
            continue;
        }
        let goes_on = chars.peek().is_some_and(|(_, next)| is_digit(*next));
        let separates = match c {
            '.' | ',' | '\u{66b}' | '\u{66c}' | '，' | '．' => true,
            // Groups of three only: "1 234", and "3 apples" is none.
            ' ' | '\u{a0}' | '\u{202f}' | '\u{2009}' | '\u{2008}' | '\'' | '’' => {
                group <= 3 && following_digits(&text[at + c.len_utf8()..]) == 3
            }
            _ => false,
        };
        if !(goes_on && separates) {
            break;
        }
        group = 0;
    }
    end
}

pub(super) fn following_digits(text: &str) -> usize {
    text.chars().take(4).take_while(|c| is_digit(*c)).count()
}

/// Bytes that a braced group may have: without this limit groups that never close would be searched again and again.
const GROUP_MAX: usize = 512;

/// The length of the braced groups that follow a command at once, and of single digits in their place (`\frac12`).
pub(super) fn braced(text: &str) -> usize {
    let mut end = 0;
    loop {
        let rest = head(&text[end..], GROUP_MAX);
        let Some(open) = rest.chars().next().filter(|c| matches!(c, '{' | '[')) else {
            return end + rest.bytes().take(2).take_while(u8::is_ascii_digit).count();
        };
        let close = if open == '{' { '}' } else { ']' };
        let mut depth = 0_usize;
        let length = rest.char_indices().find_map(|(at, c)| {
            depth += usize::from(c == open);
            depth -= usize::from(c == close);
            (depth == 0).then_some(at + 1)
        });
        match length {
            Some(length) => end += length,
            None => return end,
        }
    }
}
