//! Boxes: `\boxed{..}`, `\fbox{..}` and `\boxed 42`, balanced, in one pass over the bytes with an explicit stack, so
//! the time is linear whatever the nesting.

use std::ops::Range;

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

/// One box: from its backslash to its closing brace, and what is inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boxed {
    pub whole: Range<usize>,
    pub content: Range<usize>,
}

/// The boxes of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boxes {
    /// The outermost balanced non-empty ones, in order.
    pub closed: Vec<Boxed>,
    /// Where the content of the last one that was opened and never closed starts.
    pub unclosed: Option<usize>,
}

enum Brace {
    Plain,
    /// A box whose command starts at `whole` and whose content starts at `content`.
    Box {
        whole: usize,
        content: usize,
    },
}

/// The outermost balanced non-empty boxes of `text` in order, and whether one was left open.
pub fn boxes(text: &str) -> (Vec<Boxed>, bool) {
    let found = find(text);
    (found.closed, found.unclosed.is_some())
}

pub fn find(text: &str) -> Boxes {
    let bytes = text.as_bytes();
    let mut stack: Vec<Brace> = Vec::new();
    let mut found: Vec<Boxed> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' | BACKSPACE => at = command(text, at, &mut stack, &mut found),
            b'{' => {
                stack.push(Brace::Plain);
                at += 1;
            }
            b'}' => {
                if let Some(Brace::Box { whole, content }) = stack.pop() {
                    close(text, whole..at + 1, content..at, &mut found);
                }
                at += 1;
            }
            _ => at += 1,
        }
    }
    let unclosed = stack.iter().rev().find_map(|brace| match brace {
        Brace::Box { content, .. } => Some(*content),
        Brace::Plain => None,
    });
    Boxes { closed: found, unclosed }
}

/// Whether a text names a box command, whatever became of the box.
pub(super) fn names_box(text: &str) -> bool {
    ["\\box", "\\fbox", "boxed{", "oxed{"].iter().any(|name| text.contains(name))
}

/// A JSON string in which `\boxed` was written with one backslash holds U+0008 and "oxed".
const BACKSPACE: u8 = 8;

const COMMANDS: [&str; 3] = ["boxed", "fbox", "framebox"];

/// Step over a run of backslashes and what it governs: a box command, an escaped brace, or nothing of interest.
fn command(text: &str, start: usize, stack: &mut Vec<Brace>, found: &mut Vec<Boxed>) -> usize {
    let bytes = text.as_bytes();
    let mut at = start;
    while bytes.get(at) == Some(&b'\\') {
        at += 1;
    }
    let Some(length) = box_name(text, at) else {
        if bytes[start] == BACKSPACE {
            return start + 1;
        }
        // An odd run escapes the brace; an even one is a line break before a real brace.
        let escaped = (at - start) % 2 == 1 && matches!(bytes.get(at), Some(b'{' | b'}'));
        return at + usize::from(escaped);
    };
    at += length;
    let open = at + blanks(&text[at..]);
    if bytes.get(open) == Some(&b'{') {
        stack.push(Brace::Box { whole: start, content: open + 1 });
        return open + 1;
    }
    let length = bare_content(&text[open..]);
    if length > 0 {
        found.push(Boxed { whole: start..open + length, content: open..open + length });
    }
    open + length
}

/// The length of the box command's name at `at`, which is behind its backslashes or on the backspace.
fn box_name(text: &str, at: usize) -> Option<usize> {
    let rest = &text.as_bytes()[at..];
    let length = if rest.first() == Some(&BACKSPACE) {
        rest.starts_with(b"\x08oxed").then_some(5)?
    } else {
        COMMANDS.iter().find(|name| rest.starts_with(name.as_bytes()))?.len()
    };
    (!rest.get(length).is_some_and(u8::is_ascii_alphabetic)).then_some(length)
}

fn blanks(text: &str) -> usize {
    text.len() - text.trim_start_matches([' ', '\t', '\n', '\r']).len()
}

/// The length of the content of a `\boxed` without braces: a number, a fraction or text command, a capital alone.
/// Prose that only mentions the command has none.
fn bare_content(text: &str) -> usize {
    let number = bare_number(text);
    if number > 0 {
        return number;
    }
    if text.starts_with("\\frac") || text.starts_with("\\dfrac") || text.starts_with("\\text") {
        return braced_command(text);
    }
    let mut letters = text.chars();
    let alone = letters.next().is_some_and(|c| c.is_ascii_uppercase())
        && !letters.next().is_some_and(char::is_alphanumeric);
    usize::from(alone)
}

fn bare_number(text: &str) -> usize {
    let body = text.trim_start_matches(['+', '-', '\u{2212}']);
    if !body.starts_with(char::is_numeric) {
        return 0;
    }
    let end = body.find(|c: char| !(c.is_numeric() || matches!(c, '.' | ',' | '/'))).unwrap_or(body.len());
    let number = body[..end].trim_end_matches(['.', ',', '/']);
    text.len() - body.len() + number.len()
}

/// The length of a command with the braced arguments that follow it at once, none of which holds a brace.
fn braced_command(text: &str) -> usize {
    let name = 1 + text[1..].find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len() - 1);
    let mut end = name;
    while let Some(inner) = text[end..].strip_prefix('{') {
        let Some(length) = inner.find(['{', '}']).filter(|at| inner[*at..].starts_with('}')) else {
            return 0;
        };
        end += length + 2;
    }
    if end == name { 0 } else { end }
}

fn close(text: &str, whole: Range<usize>, content: Range<usize>, found: &mut Vec<Boxed>) {
    // Boxes inside this one give way to it, unless it holds nothing at all.
    if is_empty(&text[content.clone()]) {
        return;
    }
    while found.last().is_some_and(|inner| inner.whole.start > whole.start) {
        found.pop();
    }
    found.push(Boxed { whole, content });
}

/// Whether a box holds nothing that could be an answer: spaces, TeX spaces, dollars, dots.
fn is_empty(content: &str) -> bool {
    // Nothing that long is empty, and looking no further keeps nested boxes linear.
    if content.len() > EMPTY_MAX {
        return false;
    }
    let mut rest = content;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        rest = match c {
            '\\' => match skip_space_command(after) {
                Some(skipped) => skipped,
                None => return false,
            },
            '{' | '}' | '$' | '~' | '.' | '_' | '?' | '\u{3000}' => after,
            c if c.is_whitespace() => after,
            c if c.general_category_group() == GeneralCategoryGroup::Other => after,
            _ => return false,
        };
    }
    true
}

/// Bytes that an empty box may have.
const EMPTY_MAX: usize = 64;

const SPACES: [&str; 9] = ["quad", "qquad", "text", "mathrm", "ldots", "dots", "cdots", "boxed", "fbox"];

fn skip_space_command(after: &str) -> Option<&str> {
    if let Some(rest) = after.strip_prefix([',', ';', ':', '!', ' ', '>', '[', ']', '(', ')']) {
        return Some(rest);
    }
    let length = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
    SPACES.contains(&&after[..length]).then(|| &after[length..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let (found, _) = boxes(text);
        let found: Vec<_> = found.into_iter().map(|found| &text[found.content]).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn balanced_boxes() {
        check(r"\boxed{42}", &["42"]);
        check(r"\boxed{\frac{1}{2}}", &[r"\frac{1}{2}"]);
        check(r"\boxed{\boxed{42}}", &[r"\boxed{42}"]);
        check(r"\boxed{a} \boxed{b}", &["a", "b"]);
        check(r"\fbox{7}", &["7"]);
        check(r"\framebox{7}", &["7"]);
        check(r"\\boxed{8}", &["8"]);
        check(r"\\\\boxed{8}", &["8"]);
        check("\u{8}oxed{8}", &["8"]);
        check("\u{8}oxen{8}", &[]);
        check(r"\boxed{\left\{ 1 \right\}}", &[r"\left\{ 1 \right\}"]);
        check(r"} } \boxed{14}", &["14"]);
        check(r"\boxed{1 \boxed{13}", &["13"]);
        check(r"\boxed {15}", &["15"]);
        check("\\boxed\n{15}", &["15"]);
        check(r"\boxedx{15}", &[]);
        check(r"\boxed{12", &[]);
        check(r"\boxed{๔๒}", &["๔๒"]);
    }

    #[test]
    fn boxes_without_braces() {
        check(r"\boxed 42.", &["42"]);
        check(r"$\boxed  -3$", &["-3"]);
        check(r"\boxed 1,234", &["1,234"]);
        check(r"\boxed\frac{1}{2}", &[r"\frac{1}{2}"]);
        check(r"\boxed\text{B}", &[r"\text{B}"]);
        check(r"\boxed B", &["B"]);
        check(r"\boxed Because", &[]);
        check(r"the \boxed notation", &[]);
        check(r"\boxed", &[]);
    }

    #[test]
    fn empty_boxes_are_none() {
        for empty in ["", " ", "~", r"\,", r"\quad", "$$", r"\text{}", r"\boxed{}", "...", r"\ldots", "?"] {
            check(&format!(r"\boxed{{9}} and then \boxed{{{empty}}}"), &["9"]);
        }
        check(r"\boxed{\emptyset}", &[r"\emptyset"]);
        check(r"\boxed{\pi}", &[r"\pi"]);
        check(r"\boxed{\%}", &[r"\%"]);
    }

    #[test]
    fn a_box_left_open_is_known() {
        let unclosed = |text: &str| find(text).unclosed.map(|at| text[at..].to_owned());
        assert_eq!(unclosed(r"\boxed{1} \boxed{2").as_deref(), Some("2"));
        assert_eq!(unclosed(r"\boxed{\frac{1}{2}").as_deref(), Some(r"\frac{1}{2}"));
        assert_eq!(unclosed(r"\boxed{1}"), None);
        assert_eq!(unclosed("{"), None);
    }
}
