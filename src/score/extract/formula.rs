//! Formulas in running text: `$..$`, `$$..$$`, `\(..\)`, `\[..\]`, told apart from sums of money.

use std::ops::Range;

use super::joined;

/// A formula: its delimiters included, and what is inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Formula {
    pub whole: Range<usize>,
    pub content: Range<usize>,
}

/// Bytes that a formula may have; a delimiter whose partner is farther away delimits nothing.
const BYTES_MAX: usize = 4096;

const DELIMITERS: [(&str, &str); 4] = [("$$", "$$"), ("\\[", "\\]"), ("\\(", "\\)"), ("$", "$")];

/// The formula that starts at `at`.
pub(super) fn starting(text: &str, at: usize) -> Option<Formula> {
    let (open, close) = DELIMITERS.iter().find(|(open, _)| text[at..].starts_with(open))?;
    let start = at + open.len();
    let rest = head(&text[start..], BYTES_MAX);
    let length = unescaped(rest, close)?;
    let content = start..start + length;
    let formula = Formula { whole: at..content.end + close.len(), content };
    is_formula(&text[formula.content.clone()], open).then_some(formula)
}

/// The formula that starts at `at` with those that a comma or an "and" joins to it.
pub(super) fn joined_from(text: &str, at: usize) -> Option<Vec<Formula>> {
    let mut found = vec![starting(text, at)?];
    while found.len() < JOINED_MAX {
        let end = found.last().map_or(at, |last| last.whole.end);
        let rest = head(&text[end..], 40);
        let opens = rest.match_indices(['$', '\\']).map(|(offset, _)| offset);
        let next = opens
            .take(4)
            .filter(|offset| joined::joins(&rest[..*offset]))
            .find_map(|offset| starting(text, end + offset));
        match next {
            Some(next) => found.push(next),
            None => break,
        }
    }
    Some(found)
}

/// Formulas that may be joined; more is a list that no gold has.
const JOINED_MAX: usize = 32;

/// The formula that ends at `end`, which has its closing delimiter just before.
pub(super) fn ending(text: &str, end: usize) -> Option<Formula> {
    let from = floor(text, end.saturating_sub(BYTES_MAX));
    let window = &text[from..end];
    let (open, close) = DELIMITERS.iter().find(|(_, close)| window.ends_with(close))?;
    let inside = &window[..window.len() - close.len()];
    let at = inside.rfind(open)?;
    let found = starting(text, from + at)?;
    (found.whole.end == end).then_some(found)
}

/// Where `close` stands first without a backslash that belongs to something else before it.
fn unescaped(text: &str, close: &str) -> Option<usize> {
    if !close.starts_with('$') {
        return text.find(close);
    }
    text.match_indices(close)
        .map(|(at, _)| at)
        .find(|at| !text[..*at].ends_with('\\') || text[..*at].ends_with("\\\\"))
}

/// A dollar sign before a number may be money: then what stands before the next one reads as prose.
fn is_formula(content: &str, open: &str) -> bool {
    if content.trim().is_empty() || content.contains("\n\n") {
        return false;
    }
    if open != "$" {
        return true;
    }
    // "$5 and $": the blank shows that the second dollar opens.
    let opens = !content.starts_with(char::is_whitespace) && content.ends_with(char::is_whitespace);
    if opens || content.contains('\n') {
        return false;
    }
    let mut words = 0;
    let mut rest = content;
    while let Some(at) = rest.find(|c: char| c.is_alphabetic() || c == '\\') {
        rest = &rest[at..];
        if let Some(command) = rest.strip_prefix('\\') {
            let name = command.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(command.len());
            let after = &command[name..];
            let is_text = matches!(&command[..name], "text" | "mathrm" | "textbf" | "mbox" | "operatorname");
            let skip = if is_text { after.find('}').map_or(0, |end| end + 1) } else { 0 };
            rest = after[skip..].strip_prefix('$').unwrap_or(&after[skip..]);
            continue;
        }
        let length = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
        words += usize::from(rest[..length].chars().nth(1).is_some());
        rest = &rest[length..];
    }
    // One word is a function's name or a unit.
    words < 2
}

/// At most `bytes` from the start of a text, whole characters.
pub(in crate::score) fn head(text: &str, bytes: usize) -> &str {
    &text[..floor(text, bytes)]
}

/// The character boundary at or before `at`.
pub(super) fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_and_money() {
        let check = |text: &str, expected: &[&str]| {
            let found = joined_from(text, 0).unwrap_or_default();
            let found: Vec<_> = found.into_iter().map(|found| &text[found.content]).collect();
            assert_eq!(found, expected, "{text}");
        };
        check("$18$", &["18"]);
        check("$ 18 $.", &[" 18 "]);
        check("$$18$$", &["18"]);
        check(r"\(x = 5\)", &["x = 5"]);
        check(r"\[\frac{1}{2}\]", &[r"\frac{1}{2}"]);
        check("$3$ and $5$", &["3", "5"]);
        check("$3$, $5$, and $7$", &["3", "5", "7"]);
        check(r"\(3\) or \(5\)", &["3", "5"]);
        check("$3$ because $5$ is odd", &["3"]);
        check("$18 and Bob has $20", &[]);
        check("$18 a day", &[]);
        check("$18", &[]);
        check("$$", &[]);
        check(r"$\$18$", &[r"\$18"]);
        check(r"$18 \text{ dollars and more}$", &[r"18 \text{ dollars and more}"]);
        check("18", &[]);
    }

    #[test]
    fn from_their_end() {
        let check = |text: &str, expected: Option<&str>| {
            let found = ending(text, text.len()).map(|found| &text[found.content]);
            assert_eq!(found, expected, "{text}");
        };
        check("so $18$", Some("18"));
        check("so $$18$$", Some("18"));
        check(r"so \(18\)", Some("18"));
        check("so $18", None);
        check("$5 and $", None);
        check("18", None);
        check("", None);
    }
}
