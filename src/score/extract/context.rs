//! Whether the text around a box leaves it the answer: `-\boxed{5}`, `\sqrt{\boxed{5}}`, `\boxed{5} million` and "not
//! \boxed{5}" do not. Which value they state is not worked out; they are left undecided.

use super::announced::is_taken_back;
use super::formula::{floor, head};
use super::value::{is_blank, is_digit};
use crate::score::phrases::{MAGNITUDES, NEGATIONS};

/// Bytes that are looked at on each side.
const WINDOW: usize = 96;

/// Whether what stands before `start` and behind `end` changes what a box, or several joined, says.
pub(super) fn is_changed(text: &str, start: usize, end: usize) -> bool {
    let before = &text[floor(text, start.saturating_sub(WINDOW))..start];
    let after = head(&text[end..], WINDOW);
    changes_from_left(before) || changes_from_right(after) || is_taken_back(text, end)
}

fn changes_from_left(before: &str) -> bool {
    let near = trim_end_spaces(before);
    let adjacent = near.len() == before.len();
    let Some(c) = near.chars().next_back() else { return false };
    let further = near[..near.len() - c.len_utf8()].trim_end_matches(is_blank);
    match c {
        '$' => is_denied(near.trim_end_matches('$')),
        '(' | '[' if near.ends_with("\\(") || near.ends_with("\\[") => is_denied(&near[..near.len() - 2]),
        '{' => is_argument(&near[..near.len() - 1]),
        '-' | '−' | '–' => !adjacent_dash_is_prose(further, adjacent),
        // A quotation's mark, and arrows.
        '>' if near.rfind('<').is_some_and(|at| is_tag(&near[at..])) => false,
        '>' | '<' => !further.is_empty() && !further.ends_with(['-', '=', '\n', '>']),
        '*' => !(adjacent || further.is_empty() || further.ends_with(['\n', '*'])),
        '+' | '/' | '^' | '_' | '×' | '÷' | '·' | '≤' | '≥' | '≠' | '±' | '√' => true,
        c if is_digit(c) => adjacent,
        c if c.is_ascii_alphabetic() => {
            let word = near.len() - near.trim_end_matches(|c: char| c.is_ascii_alphabetic()).len();
            let command = near[..near.len() - word].ends_with('\\');
            if command {
                return OPERATORS.contains(&&near[near.len() - word..]);
            }
            (word == 1 && adjacent) || is_denied(near)
        }
        _ => is_denied(near),
    }
}

/// Commands that take what follows them into a formula.
const OPERATORS: [&str; 26] = [
    "ne", "neq", "times", "cdot", "div", "pm", "mp", "lt", "gt", "le", "leq", "ge", "geq", "leqslant",
    "geqslant", "not", "sin", "cos", "tan", "log", "ln", "exp", "sqrt", "over", "pi", "sum",
];

/// `<answer>`, and no comparison.
fn is_tag(text: &str) -> bool {
    let name = &text[1..text.len() - 1];
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "/_-|".contains(c))
}

fn trim_end_spaces(text: &str) -> &str {
    let mut text = text.trim_end_matches(is_blank);
    while let Some(rest) = ["\\,", "\\;", "\\:", "\\!", "\\ ", "\\quad", "\\displaystyle"]
        .iter()
        .find_map(|space| text.strip_suffix(space))
    {
        text = rest.trim_end_matches(is_blank);
    }
    text
}

/// "Answer - \boxed{5}" and the bullet of a list, and not a minus.
fn adjacent_dash_is_prose(further: &str, adjacent: bool) -> bool {
    if adjacent {
        return false;
    }
    let word = further.chars().rev().take_while(|c| c.is_alphabetic()).take(2).count();
    further.is_empty() || further.ends_with(['\n', '*', '.', ':']) || word == 2
}

/// Whether an open brace belongs to a root, a fraction or an exponent.
fn is_argument(before: &str) -> bool {
    let mut rest = before.trim_end();
    // `\frac{1}{\boxed{5}}`: step over the first argument.
    if rest.ends_with('}') {
        let Some(open) = rest.rfind('{') else { return false };
        rest = &rest[..open];
    }
    if rest.ends_with(['^', '_', ']']) {
        return true;
    }
    let name = rest.len() - rest.trim_end_matches(|c: char| c.is_ascii_alphabetic()).len();
    let command = rest[..rest.len() - name].ends_with('\\');
    let arithmetic = [
        "sqrt", "frac", "dfrac", "tfrac", "cfrac", "binom", "dbinom", "overline", "log", "not", "cancel",
        "sout", "xcancel",
    ];
    command && arithmetic.contains(&&rest[rest.len() - name..])
}

/// Whether one of the last words before the box says "not".
fn is_denied(before: &str) -> bool {
    let sentence = before
        .rsplit(['.', '\n', ',', ';', ':', '!', '?', '。', '，', '、', '：'])
        .next()
        .unwrap_or_default();
    let lower = sentence.to_lowercase();
    let last: Vec<&str> = lower.split_whitespace().rev().take(2).collect();
    let spaced = last.iter().any(|word| NEGATIONS.contains(&word.trim_matches(['*', '_', '"'])));
    let tail = &lower[floor(&lower, lower.len().saturating_sub(12))..];
    let unspaced = |word: &&&str| word.starts_with(|c: char| c > '\u{e00}') && tail.contains(**word);
    spaced || NEGATIONS.iter().any(|word| unspaced(&word))
}

fn changes_from_right(after: &str) -> bool {
    let near = after.trim_start_matches(is_blank);
    let adjacent = near.len() == after.len();
    let Some(c) = near.chars().next() else { return false };
    let rest = &near[c.len_utf8()..];
    let further = rest.trim_start_matches(is_blank);
    match c {
        // A degree sign is a unit.
        '^' => !(rest.starts_with("\\circ") || rest.starts_with("{\\circ") || rest.starts_with('°')),
        '_' => adjacent && rest.starts_with(|c: char| c.is_alphanumeric() || c == '{'),
        '!' => adjacent && rest.starts_with(|c: char| !c.is_whitespace() && !"*\"”)".contains(c)),
        '<' => !(rest.starts_with('/') || rest.starts_with('|')),
        '+' | '×' | '÷' | '·' | '±' => true,
        '>' => false,
        '-' | '−' | '–' => starts_operand(further) && (c != '–' || adjacent),
        '*' => !rest.starts_with('*') && !adjacent && starts_operand(further),
        '/' => starts_operand(further),
        '.' | ',' if adjacent => {
            let digits = rest.chars().take_while(|c| is_digit(*c)).count();
            digits > 0 && (c == '.' || digits == 3)
        }
        c if is_digit(c) => adjacent,
        '\\' => {
            let name = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
            if rest[..name].starts_with("text") || &rest[..name] == "mathrm" {
                return starts_with_magnitude(rest[name..].trim_start_matches(['{', ' ', '~']));
            }
            ["times", "cdot", "div", "pm", "mp", "frac", "sqrt", "over", "pi"].contains(&&rest[..name])
                && name != 0
        }
        '$' | ')' | ']' => starts_with_magnitude(near.trim_start_matches(['$', ')', ']', '\\', ' ', '*'])),
        _ => starts_with_magnitude(near),
    }
}

fn starts_operand(text: &str) -> bool {
    text.starts_with(|c: char| is_digit(c) || c == '\\' || c == '(' || c == '$')
        || text.chars().next().is_some_and(|c| c.is_ascii_alphabetic())
            && !text.chars().nth(1).is_some_and(char::is_alphabetic)
}

fn starts_with_magnitude(text: &str) -> bool {
    let length = text.find(|c: char| !c.is_alphabetic()).unwrap_or(text.len());
    let word = text[..length].to_lowercase();
    let unspaced = |name: &&str| name.starts_with(|c: char| c > '\u{e00}') && text.starts_with(*name);
    !word.is_empty() && (MAGNITUDES.contains(&word.as_str()) || MAGNITUDES.iter().any(unspaced))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The box is written as a hash.
    #[track_caller]
    fn check(text: &str, expected: bool) {
        let text = text.replace('#', r"\boxed{5}");
        let start = text.find(r"\boxed").unwrap();
        assert_eq!(is_changed(&text, start, start + 9), expected, "{text}");
    }

    #[test]
    fn parts_of_a_formula() {
        for text in [
            "$-#$",
            "$x = -#$",
            "$2#$",
            "$#^2$",
            "$#!$",
            r"$\sqrt{#}$",
            r"$\frac{#}{2}$",
            r"$\frac{1}{#}$",
            "$1/#$",
            r"$x \neq #$",
            "$x > #$",
            r"$# \times 10^{3}$",
            "$3 + #$",
            "$# + 3$",
            "$#/3$",
            "# million",
            r"$#$ million",
            r"#\text{ million}",
            "#万",
            "#0",
            "#.5",
            "#,000",
            "$x - #$",
            r"$2^{#}$",
            "$x_{#}$",
            r"\cancel{#}",
            r"$2 \cdot #$",
            "$x ≠ #$",
            "$# - x$",
        ] {
            check(text, true);
        }
    }

    #[test]
    fn denials() {
        for text in [
            "The answer is not #.",
            "It cannot be #.",
            "The value # is wrong.",
            "Die Antwort ist nicht #.",
            "答案不是#。",
            "答えは#ではない。",
            "La respuesta no es #.",
            "It is not $#$.",
            "답은 #가 아닙니다.",
            "So #. Wait, that is wrong: it is 6.",
        ] {
            check(text, true);
        }
    }

    #[test]
    fn answers_of_their_own() {
        for text in [
            "#",
            "$#$",
            "$$#$$",
            r"\[#\]",
            "The answer is #.",
            "**#**",
            "*#*",
            "- #",
            "* #",
            "> #",
            "Answer - #",
            "Answer: #!",
            "=> #",
            "x = #",
            r"$x = #$",
            r"$\Rightarrow #$",
            r"$\approx #$",
            r"#^\circ",
            r"#\%",
            "# dollars",
            "# - which is prime",
            "#, 000",
            "# apples, 3 pears",
            "No, it is #.",
            "not 4 but #",
            r"\text{#}",
            r"$\mathbf{#}$",
            r"\color{red}{#}",
            r"$x = 3, \quad #$",
            "答案是#。",
            "答えは#です。",
            "at least #",
            r"#\text{ dollars}",
            "$#$.",
            "step 2 #",
            "(#)",
            "#\n\nHope this helps!",
            "| # |",
            "#.",
            "1. #",
            "It is #, as 2 is not odd.",
        ] {
            check(text, false);
        }
    }
}
