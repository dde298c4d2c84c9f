//! `minerva`: extraction and normalisation of Minerva (Lewkowycz et al. 2022, appendix D), as the evaluation harnesses
//! took them over.
//!
//! The answer stands between "Final Answer: The final answer is" and "I hope it is correct."; both sides are put through
//! the paper's list of replacements and compared as strings. Faults: the first such phrase wins, everything up to the
//! last "=" is dropped, units go in the middle of words ("sue", "ft"), 1/2 is not \frac{1}{2}, and no other phrasing is
//! read. The harnesses' second step, sympy, is not reproduced.

use super::StringMatch;

pub(in crate::score) fn find(gold: &str, completion: &str) -> StringMatch {
    let Some((start, end)) = announced(completion) else { return StringMatch::none() };
    let answer = normalise(&completion[start..end]);
    let correct = answer == normalise(gold);
    StringMatch { span: Some(start..end), normalised: Some(answer), correct }
}

const OPEN: &str = "Final Answer: The final answer is";
const CLOSE: &str = "I hope it is correct.";
/// Bytes of an answer that are normalised; the replacements are many.
const BYTES_MAX: usize = 4096;

/// `Final Answer: The final answer is(.*?). I hope it is correct.`, within one line; the end of the text closes as well.
fn announced(text: &str) -> Option<(usize, usize)> {
    let mut from = 0;
    while let Some(at) = text[from..].find(OPEN) {
        let start = from + at + OPEN.len();
        let rest = &text[start..];
        let line = &rest[..rest.find('\n').unwrap_or(rest.len())];
        let close = line.find(CLOSE).or_else(|| (line.len() == rest.len()).then_some(line.len()));
        // One character of any kind and a blank stand before the closing words; at the end of the text, one character.
        if let Some(close) = close {
            let closed = close < line.len();
            let body = &line[..close];
            let body = if closed { body.strip_suffix(' ').unwrap_or(body) } else { body };
            let cut = body.chars().next_back().map_or(0, char::len_utf8);
            let body = &body[..body.len() - cut];
            let trimmed = body.trim();
            let first = start + body.len() - body.trim_start().len();
            return (body.len() <= BYTES_MAX).then_some((first, first + trimmed.len()));
        }
        from = start;
    }
    None
}

/// The paper's replacements, in its order.
const SUBSTITUTIONS: [(&str, &str); 10] = [
    ("an ", ""),
    ("a ", ""),
    (".$", "$"),
    ("\\$", ""),
    ("\\ ", ""),
    (" ", ""),
    ("mbox", "text"),
    (",\\text{and}", ","),
    ("\\text{and}", ","),
    ("\\text{m}", "\\text{}"),
];

/// What the paper removes, in its order.
const REMOVED: [&str; 40] = [
    "square",
    "ways",
    "integers",
    "dollars",
    "mph",
    "inches",
    "ft",
    "hours",
    "km",
    "units",
    "\\ldots",
    "sue",
    "points",
    "feet",
    "minutes",
    "digits",
    "cents",
    "degrees",
    "cm",
    "gm",
    "pounds",
    "meters",
    "meals",
    "edges",
    "students",
    "childrentickets",
    "multiples",
    "\\text{s}",
    "\\text{.}",
    "\\text{\ns}",
    "\\text{}^2",
    "\\text{}^3",
    "\\text{\n}",
    "\\text{}",
    "\\mathrm{th}",
    "^\\circ",
    "^{\\circ}",
    "\\;",
    ",\\!",
    "{,}",
];

fn normalise(answer: &str) -> String {
    let mut text = answer.rsplit('=').next().unwrap_or_default().to_owned();
    for (from, to) in SUBSTITUTIONS {
        text = text.replace(from, to);
    }
    for removed in REMOVED.iter().chain(&["\"", "\\dots"]) {
        text = text.replace(removed, "");
    }
    text = first_formula(&text);
    for command in ["\\text{", "\\textbf{", "\\overline{"] {
        text = unwrapped(&text, command, false);
    }
    text = unwrapped(&text, "\\boxed{", true);
    text = braced(&text, "frac", 2);
    text = braced(&text, "sqrt", 1);
    text = text.replace('$', "");
    let digits = text.replace(',', "");
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) { digits } else { text }
}

/// `(.*?)(\$)(.*?)(\$)(.*)` -> `$\3$`: a formula stands for the whole.
fn first_formula(text: &str) -> String {
    let mut parts = text.splitn(3, '$');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(_), Some(content), Some(_)) => format!("${content}$"),
        _ => text.to_owned(),
    }
}

/// `\text{..}` -> its content, up to the first closing brace, or the last one.
fn unwrapped(text: &str, command: &str, greedy: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(command) {
        let inner = &rest[at + command.len()..];
        let close = if greedy { inner.rfind('}') } else { inner.find('}') };
        let Some(close) = close else { break };
        out.push_str(&rest[..at]);
        out.push_str(&inner[..close]);
        rest = &inner[close + 1..];
    }
    out.push_str(rest);
    out
}

/// `\fracab` -> `\frac{a}{b}`, `\sqrta` -> `\sqrt{a}`: `name`, a character that is no brace, and `count - 1` more.
fn braced(text: &str, name: &str, count: usize) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(name) {
        let (before, after) = rest.split_at(at + name.len());
        out.push_str(before);
        rest = after;
        let arguments: Vec<char> = rest.chars().take(count).collect();
        if arguments.len() == count && arguments[0] != '{' {
            for argument in &arguments {
                out.extend(['{', *argument, '}']);
                rest = &rest[argument.len_utf8()..];
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_papers_phrase_and_nothing_else() {
        let check = |gold: &str, completion: &str, expected: bool| {
            let found = find(gold, completion);
            assert_eq!(found.correct, expected, "{completion}: {:?}", found.normalised);
        };
        check("18", "Final Answer: The final answer is $18$. I hope it is correct.", true);
        check("18", "Final Answer: The final answer is $18 \\text{ dollars}$. I hope it is correct.", true);
        check("18", "Final Answer: The final answer is 18 dollars. I hope it is correct.", true);
        check("18", "Final Answer: The final answer is $x = 18$. I hope it is correct.", true);
        check("100000", "Final Answer: The final answer is 100,000. I hope it is correct.", true);
        check("\\frac{1}{2}", "Final Answer: The final answer is $\\frac12$. I hope it is correct.", true);
        check("\\sqrt{2}", "Final Answer: The final answer is $\\sqrt2$. I hope it is correct.", true);
        check("\\frac{1}{2}", "Final Answer: The final answer is 1/2. I hope it is correct.", false);
        check("18", "Final Answer: The final answer is 18.", true);
        check("18", "The answer is 18.", false);
        check("18", "\\boxed{18}", false);
        check("18", "", false);
        // The first phrase wins.
        check(
            "18",
            "Final Answer: The final answer is 17. I hope it is correct.\nFinal Answer: The final answer is 18. I hope it is correct.",
            false,
        );
    }

    #[test]
    fn normal_forms() {
        let check = |answer: &str, expected: &str| assert_eq!(normalise(answer), expected, "{answer}");
        check("$90^\\circ$", "90");
        check("1{,}234", "1234");
        check("\\text{Tuesday}", "Tuesday");
        check("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}");
        check("an apple", "apple");
        check("5 \\text{m}", "5");
        check("", "");
    }
}
