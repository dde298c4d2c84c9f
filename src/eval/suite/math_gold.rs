//! Whether the gold of a math problem is one that answers can be compared with.

use crate::score::math::check_gold;

use super::manifest::Manifest;

/// Why a gold cannot be compared with, if it cannot.
pub(super) fn check_math_gold(manifest: &Manifest, gold: &str) -> Result<(), String> {
    if gold.trim().is_empty() {
        return Err("is empty".to_owned());
    }
    if let Some(mark) = unbalanced(gold) {
        return Err(format!("does not parse: {mark} in {gold:?} without its counterpart"));
    }
    if !manifest.number_golds {
        return Ok(());
    }
    match check_gold(gold) {
        Err(error) => Err(format!("does not parse as a number: {error}")),
        // The judgement knows words and variables too: as golds of sums they would be slips.
        Ok(()) if has_letters(gold) => Err(format!("does not parse as a number: {gold:?} has letters")),
        Ok(()) => Ok(()),
    }
}

/// LaTeX that was cut: a mark without its counterpart. Round and square brackets may differ, as intervals have them.
fn unbalanced(gold: &str) -> Option<&'static str> {
    let mut depth = 0_usize;
    let mut dollars = 0_usize;
    let mut chars = gold.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            '{' => depth += 1,
            '}' if depth == 0 => return Some("a closing brace"),
            '}' => depth -= 1,
            '$' => dollars += 1,
            _ => {}
        }
    }
    let count = |command: &str| {
        gold.match_indices(command).filter(|(at, _)| ends(&gold[at + command.len()..])).count()
    };
    // One dollar may be money.
    let formula = dollars % 2 == 1 && dollars > 1;
    [
        (depth > 0, "an opening brace"),
        (formula, "a dollar sign"),
        (count("\\left") != count("\\right"), "\\left or \\right"),
        (count("\\begin") != count("\\end"), "\\begin or \\end"),
    ]
    .into_iter()
    .find_map(|(is_cut, mark)| is_cut.then_some(mark))
}

/// Whether the name of a command ends here: `\left(` and not `\leftarrow`.
fn ends(rest: &str) -> bool {
    !rest.starts_with(|c: char| c.is_ascii_alphabetic())
}

/// Whether there is a letter outside the names of LaTeX commands.
fn has_letters(gold: &str) -> bool {
    let mut in_command = false;
    gold.chars().any(|c| {
        in_command = c == '\\' || (in_command && c.is_ascii_alphabetic());
        c.is_alphabetic() && !in_command
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golds_that_were_cut() {
        let check = |gold: &str, expected: Option<&str>| assert_eq!(unbalanced(gold), expected, "{gold}");
        check("\\frac{1}{2}", None);
        check("[0, 1)", None);
        check("\\{1, 2\\}", None);
        check("\\left( 3, \\frac{\\pi}{2} \\right)", None);
        check("$5", None);
        check("a \\leftarrow b", None);
        check("\\frac{1}{2", Some("an opening brace"));
        check("1}", Some("a closing brace"));
        check("$1$ and $2", Some("a dollar sign"));
        check("\\left( 3, 4", Some("\\left or \\right"));
        check("\\begin{pmatrix} 1 \\\\ 2", Some("\\begin or \\end"));
    }

    #[test]
    fn letters_are_those_outside_commands() {
        let check = |gold: &str, expected: bool| assert_eq!(has_letters(gold), expected, "{gold}");
        check("1,234.5", false);
        check("\\frac{1}{2}", false);
        check("\\frac12\\%", false);
        check("banana", true);
        check("\\text{banana}", true);
        check("2 x", true);
        check("\\", false);
    }
}
