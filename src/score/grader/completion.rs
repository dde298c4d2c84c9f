//! What is graded: a sample as the model gave it, and the same cut at its trace.

use std::borrow::Cow;

use crate::score::extract::{Parts, split};

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// A sample drawn for an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample<'a> {
    /// The completion, trace and tags included.
    pub output_text: &'a str,
    pub completion_tokens: usize,
    /// Whether it was cut off at the longest length.
    pub truncated: bool,
    /// Whether the prompt ended with `<think>`: without a `</think>`, all of the output is trace.
    pub trace_opened: bool,
}

/// A sample with its parts. Where the prompt opened a trace that the output never closed, `text` begins with the prompt's tag:
/// scorers would take the beginning of a thought for an answer.
#[derive(Debug)]
pub(super) struct Completion<'a> {
    pub sample: &'a Sample<'a>,
    pub text: Cow<'a, str>,
    pub parts: Parts,
}

impl<'a> Completion<'a> {
    pub fn new(sample: &'a Sample<'a>) -> Self {
        let output = sample.output_text;
        let is_all_trace =
            sample.trace_opened && !output.contains(CLOSE) && !output.trim_start().starts_with(OPEN);
        let text = if is_all_trace { Cow::Owned(format!("{OPEN}{output}")) } else { Cow::Borrowed(output) };
        let parts = split(&text);
        Self { sample, text, parts }
    }

    /// What it reasons, without its tags.
    pub fn trace(&self) -> Option<&str> {
        self.parts.trace.clone().map(|span| &self.text[span])
    }

    /// What follows the trace; empty if the trace was never closed.
    pub fn answer(&self) -> &str {
        &self.text[self.parts.answer.clone()]
    }

    /// Whether it begins with a trace, by its own tag or the prompt's.
    pub fn begins_with_trace(&self) -> bool {
        self.sample.trace_opened || self.text.trim_start().starts_with(OPEN)
    }

    /// How often a trace is opened in it, the prompt's tag not counted, and how often one is closed.
    pub fn tags(&self) -> (usize, usize) {
        let count = |tag| self.sample.output_text.matches(tag).count();
        (count(OPEN), count(CLOSE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(output_text: &str, trace_opened: bool, trace: Option<&str>, answer: &str) {
        let sample = Sample { output_text, completion_tokens: 0, truncated: false, trace_opened };
        let completion = Completion::new(&sample);
        assert_eq!((completion.trace(), completion.answer()), (trace, answer), "{output_text}");
    }

    #[test]
    fn the_prompts_tag_counts() {
        check("思う</think>答え", true, Some("思う"), "答え");
        check("思う</think>答え", false, Some("思う"), "答え");
        check("思う", true, Some("思う"), "");
        check("答え", false, None, "答え");
        check("<think>思う", true, Some("思う"), "");
        check("<think>思う</think>答え", true, Some("思う"), "答え");
        check("a</think>b<think>c", true, Some("a</think>b<think>c"), "");
    }
}
