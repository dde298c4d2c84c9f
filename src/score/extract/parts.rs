//! A completion cut at its last `</think>`.

use std::ops::Range;

/// The two parts of a completion. Offsets are bytes of the whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// The reasoning, without its tags; `None` if the completion has no tag at all.
    pub trace: Option<Range<usize>>,
    /// What follows the trace; empty if the trace was never closed.
    pub answer: Range<usize>,
    /// A `<think>` was opened and never closed: the completion ends inside its trace.
    pub unclosed_trace: bool,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, trace: Option<&str>, answer: &str, unclosed: bool) {
        let parts = split(text);
        assert_eq!(parts.trace.map(|span| &text[span]), trace, "{text}");
        assert_eq!(&text[parts.answer], answer, "{text}");
        assert_eq!(parts.unclosed_trace, unclosed, "{text}");
    }

    #[test]
    fn the_last_closing_tag_ends_the_trace() {
        check("plain", None, "plain", false);
        check("<think>mm</think> yes", Some("mm"), " yes", false);
        check("mm</think> yes", Some("mm"), " yes", false);
        check("<think>a</think>b</think>c", Some("a</think>b"), "c", false);
        check("<think>mm", Some("mm"), "", true);
        check("<think>a</think>b<think>c", Some("<think>a</think>b<think>c"), "", true);
        check("</think>", Some(""), "", false);
        check("", None, "", false);
    }
}
