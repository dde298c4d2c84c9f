//! Where the answer stands in a completion: after the trace, in the last balanced box.
//!
//! Purely positional: what the box says is for `math` to judge. One pass over the bytes with an explicit stack,
//! so the time is linear whatever the nesting. The trace is never searched: a box in it that the answer does
//! not repeat is no answer.

use std::ops::Range;

/// A completion cut at its last `</think>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// The reasoning, without its tags; `None` if the completion has no tag at all.
    pub trace: Option<Range<usize>>,
    /// What follows the trace; empty if the trace was never closed.
    pub answer: Range<usize>,
    /// A `<think>` was opened and never closed: the completion ends inside its trace.
    pub unclosed_trace: bool,
}

/// The answer found in a completion. Offsets are bytes of the whole completion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extraction {
    pub parts: Parts,
    /// The content of the last box, or of the adjacent boxes that form one answer with it.
    pub answers: Vec<Range<usize>>,
    /// Balanced, non-empty boxes in the answer part, boxes inside boxes not counted.
    pub boxes: usize,
    /// A box was opened and never closed.
    pub unclosed_box: bool,
}

impl Extraction {
    /// From the first byte to the last of the answer's content; `None` without a box.
    pub fn span(&self) -> Option<Range<usize>> {
        Some(self.answers.first()?.start..self.answers.last()?.end)
    }
}

pub fn extract(completion: &str) -> Extraction {
    let parts = split(completion);
    let base = parts.answer.start;
    let (boxes, unclosed_box) = boxes(&completion[parts.answer.clone()]);
    let answers = last_joined(&completion[parts.answer.clone()], &boxes);
    let answers = answers.iter().map(|found| found.content.start + base..found.content.end + base).collect();
    Extraction { parts, answers, boxes: boxes.len(), unclosed_box }
}

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// Cut a completion into trace and answer. A lone closing tag counts: many templates open the trace in the prompt.
pub fn split(completion: &str) -> Parts {
    let close = completion.rfind(CLOSE);
    let after = close.map_or(0, |at| at + CLOSE.len());
    if let Some(open) = completion[after..].find(OPEN) {
        // A trace that starts after the last closing tag and never ends. Whatever stood before it belongs to
        // an earlier turn of thought, so there is no answer to read.
        let start = if close.is_some() { 0 } else { after + open + OPEN.len() };
        let end = completion.len();
        return Parts { trace: Some(start..end), answer: end..end, unclosed_trace: true };
    }
    let trace = close.map(|close| {
        let start = completion[..close].find(OPEN).filter(|at| completion[..*at].trim().is_empty());
        start.map_or(0, |at| at + OPEN.len())..close
    });
    Parts { trace, answer: after..completion.len(), unclosed_trace: false }
}

/// One box: from its backslash to its closing brace, and what is inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boxed {
    pub whole: Range<usize>,
    pub content: Range<usize>,
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
    let bytes = text.as_bytes();
    let mut stack: Vec<Brace> = Vec::new();
    let mut found: Vec<Boxed> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at = command(text, at, &mut stack, &mut found),
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
    let unclosed = stack.iter().any(|brace| matches!(brace, Brace::Box { .. }));
    (found, unclosed)
}

const COMMANDS: [&str; 3] = ["boxed", "fbox", "framebox"];

/// Step over a run of backslashes and what it governs: a box command, an escaped brace, or nothing of interest.
fn command(text: &str, start: usize, stack: &mut Vec<Brace>, found: &mut Vec<Boxed>) -> usize {
    let bytes = text.as_bytes();
    let mut at = start;
    while bytes.get(at) == Some(&b'\\') {
        at += 1;
    }
    let rest = &text[at..];
    let name = COMMANDS.iter().find(|name| {
        let after = rest.as_bytes().get(name.len());
        rest.starts_with(*name) && !after.is_some_and(u8::is_ascii_alphabetic)
    });
    let Some(name) = name else {
        // An odd run escapes the brace; an even one is a line break before a real brace.
        let escaped = (at - start) % 2 == 1 && matches!(bytes.get(at), Some(b'{' | b'}'));
        return at + usize::from(escaped);
    };
    at += name.len();
    let open = at + blanks(&text[at..]);
    if bytes.get(open) == Some(&b'{') {
        stack.push(Brace::Box { whole: start, content: open + 1 });
        return open + 1;
    }
    let length = bare_number(&text[open..]);
    if length > 0 {
        found.push(Boxed { whole: start..open + length, content: open..open + length });
    }
    open + length
}

fn blanks(text: &str) -> usize {
    text.len() - text.trim_start_matches([' ', '\t', '\n', '\r']).len()
}

/// The length of the number after a `\boxed` without braces; prose that only mentions the command has none.
fn bare_number(text: &str) -> usize {
    let body = text.trim_start_matches(['+', '-', '\u{2212}']);
    if !body.starts_with(char::is_numeric) {
        return 0;
    }
    let end = body.find(|c: char| !(c.is_numeric() || matches!(c, '.' | ',' | '/'))).unwrap_or(body.len());
    let number = body[..end].trim_end_matches(['.', ',', '/']);
    text.len() - body.len() + number.len()
}

fn close(text: &str, whole: Range<usize>, content: Range<usize>, found: &mut Vec<Boxed>) {
    // Boxes inside this one give way to it, unless it holds nothing at all.
    while found.last().is_some_and(|inner| inner.whole.start > whole.start) {
        found.pop();
    }
    if !text[content.clone()].trim_matches(|c: char| c.is_whitespace() || c == '~').is_empty() {
        found.push(Boxed { whole, content });
    }
}

/// The last box, with those before it that only a comma or an "and" separates from it: they state one answer.
fn last_joined<'a>(text: &str, boxes: &'a [Boxed]) -> &'a [Boxed] {
    let mut first = boxes.len().saturating_sub(1);
    while first > 0 && joins(&text[boxes[first - 1].whole.end..boxes[first].whole.start]) {
        first -= 1;
    }
    &boxes[first..]
}

const JOINERS: [&str; 32] = [
    "and",
    "or",
    "y",
    "e",
    "o",
    "u",
    "et",
    "ou",
    "und",
    "oder",
    "и",
    "или",
    "та",
    "або",
    "和",
    "或",
    "と",
    "または",
    "และ",
    "หรือ",
    "na",
    "au",
    "এবং",
    "বা",
    "మరియు",
    "లేదా",
    "और",
    "या",
    "en",
    "ve",
    "dan",
    "và",
];

fn joins(between: &str) -> bool {
    // A long gap is prose; looking no further keeps the whole walk linear.
    if between.len() > 64 || between.contains("\n\n") {
        return false;
    }
    let words = between.replace("\\text", " ").replace("\\quad", " ").to_lowercase();
    let mut words = words
        .split(|c: char| c.is_whitespace() || "$,;，、､،؛\\{}()[]&~".contains(c))
        .filter(|word| !word.is_empty());
    words.all(|word| JOINERS.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(completion: &str, expected: &[&str]) {
        let found = extract(completion);
        let texts: Vec<_> = found.answers.iter().map(|span| &completion[span.clone()]).collect();
        assert_eq!(texts, expected, "{completion}");
    }

    #[test]
    fn the_last_balanced_box_is_the_answer() {
        check(r"so \boxed{41}, no wait: \boxed{42}.", &["42"]);
        check(r"\boxed{\frac{1}{2}}", &[r"\frac{1}{2}"]);
        check(r"\boxed{\boxed{42}}", &[r"\boxed{42}"]);
        check(r"\boxed 42.", &["42"]);
        check(r"$\boxed  -3$", &["-3"]);
        check(r"\fbox{7}", &["7"]);
        check(r"\\boxed{8}", &["8"]);
        check(r"\boxed{9} and then \boxed{}", &["9"]);
        check(r"\boxed{10} (I used the \boxed notation)", &["10"]);
        check(r"\boxed{11} \boxed{12", &["11"]);
        check(r"\boxed{1 \boxed{13}", &["13"]);
        check(r"\boxed{\left\{ 1 \right\}}", &[r"\left\{ 1 \right\}"]);
        check(r"} } \boxed{14}", &["14"]);
        check("no box", &[]);
        check("", &[]);
        check(r"\boxed", &[]);
        check(r"\boxed{๔๒}", &["๔๒"]);
    }

    #[test]
    fn neighbours_state_one_answer_and_prose_corrects() {
        check(r"$\boxed{3}$ and $\boxed{5}$", &["3", "5"]);
        check(r"\boxed{3}, \boxed{5}", &["3", "5"]);
        check(r"\boxed{3}、\boxed{5}", &["3", "5"]);
        check(r"\boxed{3} but rather \boxed{5}", &["5"]);
    }

    #[test]
    fn the_trace_is_never_searched() {
        check(r"<think>\boxed{1}</think>\boxed{2}", &["2"]);
        check(r"\boxed{1}</think>none", &[]);
        check(r"<think>\boxed{1}", &[]);
        check(r"<think>a</think>\boxed{2}<think>b", &[]);
        check(r"<think>a</think>b</think>\boxed{2}", &["2"]);
    }

    #[test]
    fn parts_and_flags() {
        let text = "<think>mm</think> yes";
        let parts = split(text);
        assert_eq!(&text[parts.trace.clone().unwrap()], "mm");
        assert_eq!(&text[parts.answer.clone()], " yes");
        assert!(!parts.unclosed_trace && split("<think>mm").unclosed_trace);
        assert_eq!(split("plain").trace, None);
        assert!(extract(r"\boxed{1} \boxed{2").unclosed_box);
        assert_eq!(extract(r"\boxed{1} or rather \boxed{2}").boxes, 2);
    }

    #[test]
    fn hostile_input_takes_linear_time() {
        let started = std::time::Instant::now();
        for unit in
            [r"\boxed{", "{", r"\boxed{1}", r"\boxed{1},", "\\", "<think>", "</think>", r"\boxed{\boxed{1}"]
        {
            let text = unit.repeat(1_000_000 / unit.len());
            let found = extract(&text);
            assert!(found.boxes <= text.len());
        }
        assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
    }

    proptest! {
        #[test]
        fn any_text_gives_spans_inside_it(text in r"(\\|boxed|\{|\}|fbox|1|é|<think>|</think>| |,|\$){0,60}") {
            let found = extract(&text);
            for span in &found.answers {
                prop_assert!(!text[span.clone()].trim().is_empty());
                prop_assert!(span.start >= found.parts.answer.start);
            }
        }

        #[test]
        fn a_box_put_last_is_found(text in any::<String>(), number in 0_u32..1000) {
            let text = format!("{} \\boxed{{{number}}}", text.replace(['\\', '{', '<'], " "));
            let found = extract(&text);
            prop_assert_eq!(&text[found.span().unwrap()], number.to_string());
        }
    }
}
