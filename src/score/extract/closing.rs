//! How a completion without box and phrase may still end in an answer: with a line that is nothing but a value, or with
//! a formula.

use std::ops::Range;

use super::boxes::names_box;
use super::formula::{self, floor};
use super::phrase::denies;
use super::{Target, joined, value};

pub(super) fn find(text: &str, targets: &[Target]) -> Option<Vec<Range<usize>>> {
    let end = text.trim_end_matches(is_final).len();
    let formulas = || targets.contains(&Target::Latex).then(|| formulas(text, end)).flatten();
    let line = || targets.contains(&Target::Expr).then(|| line(text, end)).flatten();
    formulas().or_else(|| line().map(|found| vec![found]))
}

/// Bytes of a whole answer that is looked at as words.
const WORDS_MAX: usize = 160;

/// The answer part itself, where it is one short line: "Tuesday", "18 dollars".
pub(super) fn whole(text: &str) -> Option<Range<usize>> {
    let trimmed = text.trim();
    let start = text.len() - text.trim_start().len();
    // Next to a box that holds nothing, or a misspelt one, it is not known what the text is.
    let plain = !trimmed.contains('\n') && !names_box(trimmed);
    let fits = !trimmed.is_empty() && trimmed.len() <= WORDS_MAX && plain;
    fits.then_some(start..start + trimmed.len())
}

/// Space, stops and markup at the end of a text.
fn is_final(c: char) -> bool {
    c.is_whitespace() || ".。।۔*_`".contains(c)
}

/// The formula that ends the text, with those joined to it.
fn formulas(text: &str, end: usize) -> Option<Vec<Range<usize>>> {
    // A stop may stand inside the delimiters' own line only; money such as "$5" ends in no dollar.
    let mut first = formula::ending(text, end)?;
    let mut found = vec![first.content.clone()];
    while found.len() < 16 {
        let from = floor(text, first.whole.start.saturating_sub(24));
        let window = &text[from..first.whole.start];
        let before = window
            .match_indices(['$', ')', ']'])
            .map(|(at, mark)| from + at + mark.len())
            .filter(|at| joined::joins(&text[*at..first.whole.start]))
            .find_map(|at| formula::ending(text, at));
        let Some(before) = before else { break };
        found.insert(0, before.content.clone());
        first = before;
    }
    let from = floor(text, first.whole.start.saturating_sub(64));
    let sentence = text[from..first.whole.start].rsplit(['.', '\n', '。']).next().unwrap_or_default();
    (!denies(sentence)).then_some(found)
}

/// The last line, if a value is all of it.
fn line(text: &str, end: usize) -> Option<Range<usize>> {
    let from = text[..end].rfind('\n').map_or(0, |at| at + 1);
    let rest = text[from..end].trim_start_matches(|c: char| c.is_whitespace() || "*_`=>#".contains(c));
    let start = end - rest.len();
    let found = value::starting(&text[..end], start)?;
    (found.start == start && found.end == end).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let found = find(text, &[Target::Latex, Target::Expr]).unwrap_or_default();
        let found: Vec<_> = found.into_iter().map(|span| &text[span]).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn closing_values() {
        check("18", &["18"]);
        check("  18.\n", &["18"]);
        check("**18**", &["18"]);
        check("$18$", &["18"]);
        check("9 times 2 is\n\n18", &["18"]);
        check("x = 18", &["x = 18"]);
        check("= 18", &["18"]);
        check("1/3", &["1/3"]);
        check("Thus she makes $18$.", &["18"]);
        check(r"So \(x = 3\).", &["x = 3"]);
        check("So $x = 3$ and $y = 5$.", &["x = 3", "y = 5"]);
        check("(2, 3)", &["(2, 3)"]);
        check("๑๘", &["๑๘"]);
    }

    #[test]
    fn prose_closes_with_nothing() {
        check("She makes 18 dollars", &[]);
        check("She makes $18", &[]);
        check("It is not $18$", &[]);
        check("1. First\n2. Second", &[]);
        check("Step 3", &[]);
        check("", &[]);
        check("$", &[]);
    }
}
