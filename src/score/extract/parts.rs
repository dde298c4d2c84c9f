//! A completion cut at its last `</think>`, or at the closing tag of another family of models.

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

/// Tags that open and close a trace, beside which case does not matter: those of DeepSeek-R1 and Qwen, of prompts,
/// Magistral, Kimi, OpenThinker and of the harmony format, whose last channel is the answer.
const TAGS: [(&str, &str); 8] = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<reasoning>", "</reasoning>"),
    ("<thought>", "</thought>"),
    ("[think]", "[/think]"),
    ("◁think▷", "◁/think▷"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),
];

/// Harmony's channels where a decoder dropped its special tokens.
const BARE_CHANNELS: (&str, &str) = ("analysis", "assistantfinal");

/// Cut a completion into trace and answer. A lone closing tag counts: many templates open the trace in the prompt.
pub fn split(completion: &str) -> Parts {
    if let Some(parts) = split_bare_channels(completion) {
        return parts;
    }
    let mut scan = Scan::default();
    for (at, byte) in completion.bytes().enumerate() {
        if matches!(byte, b'<' | b'[' | 0xe2) {
            scan.tag(completion, at);
        }
    }
    let Some((close, after)) = scan.close else {
        let Some(open) = scan.open else {
            return Parts { trace: None, answer: 0..completion.len(), unclosed_trace: false };
        };
        return Parts::unclosed(open.end, completion.len());
    };
    // A trace that starts after the last closing tag and never ends. Whatever stood before it belongs to an earlier
    // turn of thought, so there is no answer to read.
    if scan.open.is_some() {
        return Parts::unclosed(0, completion.len());
    }
    let start = scan.first.filter(|first| first.start < close && completion[..first.start].trim().is_empty());
    let start = start.map_or(0, |first| first.end);
    Parts { trace: Some(start..close), answer: after..completion.len(), unclosed_trace: false }
}

impl Parts {
    fn unclosed(start: usize, end: usize) -> Self {
        Self { trace: Some(start..end), answer: end..end, unclosed_trace: true }
    }
}

/// The tags of a completion, as far as they decide where it is cut.
#[derive(Default)]
struct Scan {
    first: Option<Range<usize>>,
    /// The first opening tag after the last closing one.
    open: Option<Range<usize>>,
    /// Start and end of the last closing tag.
    close: Option<(usize, usize)>,
}

impl Scan {
    fn tag(&mut self, text: &str, at: usize) {
        for (index, (open, close)) in TAGS.iter().enumerate() {
            if starts_folded(text, at, close) {
                self.close = Some((at, at + close.len()));
                self.open = None;
                return;
            }
            if starts_folded(text, at, open) {
                let found = at..at + open.len();
                self.first.get_or_insert(found.clone());
                // Prose may name the other tags; only at the start do they open a trace that nothing closes.
                let from = self.close.map_or(0, |(_, end)| end);
                if index == 0 || text[from..at].trim().is_empty() {
                    self.open.get_or_insert(found);
                }
                return;
            }
        }
    }
}

fn starts_folded(text: &str, at: usize, tag: &str) -> bool {
    let found = text.as_bytes().get(at..at + tag.len());
    found.is_some_and(|found| found.eq_ignore_ascii_case(tag.as_bytes()))
}

fn split_bare_channels(completion: &str) -> Option<Parts> {
    let (open, close) = BARE_CHANNELS;
    let trace = completion.strip_prefix(open)?;
    let end = completion.len();
    match completion.rfind(close) {
        Some(at) => {
            Some(Parts { trace: Some(open.len()..at), answer: at + close.len()..end, unclosed_trace: false })
        }
        // "analysis of .." is prose; the channel's name stands before its text without a blank.
        None => trace.starts_with(char::is_uppercase).then(|| Parts::unclosed(open.len(), end)),
    }
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

    #[test]
    fn other_tags_cut_as_well() {
        check("<thinking>mm</thinking> yes", Some("mm"), " yes", false);
        check("<THINK>mm</THINK> yes", Some("mm"), " yes", false);
        check("<reasoning>mm</reasoning><answer>yes</answer>", Some("mm"), "<answer>yes</answer>", false);
        check("<thought>mm</thought>", Some("mm"), "", false);
        check("[THINK]mm[/THINK]yes", Some("mm"), "yes", false);
        check("◁think▷mm◁/think▷yes", Some("mm"), "yes", false);
        check("<|begin_of_thought|>mm<|end_of_thought|>yes", Some("mm"), "yes", false);
        check("[THINK]mm", Some("mm"), "", true);
        check("A tag like <reasoning> is no trace", None, "A tag like <reasoning> is no trace", false);
        let harmony =
            "<|channel|>analysis<|message|>mm<|end|><|start|>assistant<|channel|>final<|message|>yes";
        check(harmony, Some("mm<|end|><|start|>assistant"), "yes", false);
        check("<|channel|>analysis<|message|>mm", Some("mm"), "", true);
        check("analysisWe add.assistantfinalyes", Some("We add."), "yes", false);
        check("analysisWe add", Some("We add"), "", true);
        check("analysis of eggs", None, "analysis of eggs", false);
    }
}
