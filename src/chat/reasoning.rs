//! Tells reasoning from the answer: `<think>` .. `</think>`, in a stream whose pieces may split a tag anywhere.
//!
//! The stream decides as soon as it can and never takes a piece back, so: a block opens at the very start of the
//! answer (after white space) or has been opened by the prompt; the first `</think>` closes it; anything else
//! is content, a later or lone tag included. Line breaks next to the tags belong to neither side. The same
//! splitter serves unstreamed answers, so both give the same fields.
//!
//! [`split_at_last_close`] is the other reading, for finished texts in an evaluation: what stands after the last
//! `</think>` is the answer, whether or not a block was opened.

/// Opens a block.
pub const OPEN: &str = "<think>";
/// Closes it.
pub const CLOSE: &str = "</think>";

/// Whether a rendered prompt leaves a reasoning block open, as some templates do before generation.
pub fn opens_reasoning(prompt: &str) -> bool {
    prompt.trim_end().ends_with(OPEN)
}

/// Whether a message's text is the beginning of a trace: what a client wants gone on with inside the block.
pub fn is_open_trace(text: &str) -> bool {
    text.trim_start().starts_with(OPEN) && !text.contains(CLOSE)
}

/// A prompt that ends with the opening of the model's turn, gone on with by the beginning of a trace. A template that opens
/// the block itself has the tag already.
pub fn begin_trace(prompt: &str, trace: &str) -> String {
    if !opens_reasoning(prompt) {
        return format!("{prompt}{trace}");
    }
    let trace = trace.trim_start();
    format!("{}\n{}", prompt.trim_end(), trace.strip_prefix(OPEN).unwrap_or(trace).trim_start())
}

/// A finished text as (reasoning, content): cut at the last `</think>`, an opening tag removed.
/// `opened` says that the prompt opened the block; without any `</think>` that means all is reasoning.
pub fn split_at_last_close(text: &str, opened: bool) -> (Option<&str>, &str) {
    let strip_open = |trace: &'_ str| -> usize {
        let trimmed = trace.trim_start();
        if trimmed.starts_with(OPEN) { trace.len() - trimmed.len() + OPEN.len() } else { 0 }
    };
    match text.rfind(CLOSE) {
        Some(at) => (Some(text[strip_open(&text[..at])..at].trim()), text[at + CLOSE.len()..].trim_start()),
        None if opened || text.trim_start().starts_with(OPEN) => (Some(text[strip_open(text)..].trim()), ""),
        None => (None, text),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing but white space or the beginning of `<think>` so far.
    Start,
    /// Line breaks after `<think>` are dropped.
    ReasoningStart,
    Reasoning,
    /// Line breaks after `</think>` are dropped.
    ContentStart,
    Content,
}

/// The streaming splitter. Any division of a text into pieces gives the same sums.
#[derive(Debug, Clone)]
pub struct ReasoningSplitter {
    state: State,
    /// Text that may turn out to be a tag, or a line break next to one.
    held: String,
}

impl ReasoningSplitter {
    /// `opened`: the prompt ended within a reasoning block (see [`opens_reasoning`]).
    pub fn new(opened: bool) -> Self {
        Self { state: if opened { State::ReasoningStart } else { State::Start }, held: String::new() }
    }

    /// Whether the text so far ends within a reasoning block.
    pub fn in_reasoning(&self) -> bool {
        matches!(self.state, State::ReasoningStart | State::Reasoning)
    }

    /// What of the text so far can be told apart by now: (reasoning, content).
    pub fn push(&mut self, piece: &str) -> (String, String) {
        self.held.push_str(piece);
        let (mut reasoning, mut content) = (String::new(), String::new());
        while self.advance(&mut reasoning, &mut content) {}
        (reasoning, content)
    }

    /// Gives out what was held back. Call once, at the end.
    pub fn finish(&mut self) -> (String, String) {
        let rest = std::mem::take(&mut self.held);
        match self.state {
            State::Reasoning => (rest.trim_end_matches(['\n', '\r']).to_owned(), String::new()),
            State::ReasoningStart => (rest.trim_matches(['\n', '\r']).to_owned(), String::new()),
            State::ContentStart | State::Start | State::Content => (String::new(), rest),
        }
    }

    /// One step; false when more text is needed.
    fn advance(&mut self, reasoning: &mut String, content: &mut String) -> bool {
        match self.state {
            State::Start => self.open(),
            State::ReasoningStart => self.skip_line_breaks(State::Reasoning),
            State::Reasoning => self.close(reasoning),
            State::ContentStart => self.skip_line_breaks(State::Content),
            State::Content => {
                content.push_str(&self.held);
                self.held.clear();
                false
            }
        }
    }

    fn open(&mut self) -> bool {
        let text = self.held.trim_start();
        if let Some(rest) = text.strip_prefix(OPEN) {
            self.held = rest.to_owned();
            self.state = State::ReasoningStart;
            return true;
        }
        if OPEN.starts_with(text) {
            return false;
        }
        self.state = State::Content;
        true
    }

    fn skip_line_breaks(&mut self, next: State) -> bool {
        let kept = self.held.trim_start_matches(['\n', '\r']);
        if kept.is_empty() {
            self.held.clear();
            return false;
        }
        self.held = kept.to_owned();
        self.state = next;
        true
    }

    fn close(&mut self, reasoning: &mut String) -> bool {
        if let Some(at) = self.held.find(CLOSE) {
            reasoning.push_str(self.held[..at].trim_end_matches(['\n', '\r']));
            self.held.drain(..at + CLOSE.len());
            self.state = State::ContentStart;
            return true;
        }
        let keep = self.held.len() - held_back(&self.held);
        reasoning.push_str(&self.held[..keep]);
        self.held.drain(..keep);
        false
    }
}

/// How many bytes at the end may belong to line breaks and a `</think>` that is not complete yet.
fn held_back(text: &str) -> usize {
    let tag = (1..CLOSE.len()).rev().find(|&length| text.ends_with(&CLOSE[..length])).unwrap_or(0);
    let before = &text[..text.len() - tag];
    tag + before.len() - before.trim_end_matches(['\n', '\r']).len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(pieces: &[&str], opened: bool) -> (String, String) {
        let mut splitter = ReasoningSplitter::new(opened);
        let (mut reasoning, mut content) = (String::new(), String::new());
        let mut take = |(r, c): (String, String)| {
            reasoning.push_str(&r);
            content.push_str(&c);
        };
        for piece in pieces {
            take(splitter.push(piece));
        }
        take(splitter.finish());
        (reasoning, content)
    }

    #[track_caller]
    fn check(text: &str, opened: bool, reasoning: &str, content: &str) {
        assert_eq!(split(&[text], opened), (reasoning.to_owned(), content.to_owned()), "{text:?}");
    }

    #[test]
    fn a_trace_is_begun_inside_the_block() {
        let check =
            |prompt: &str, trace: &str, expected: &str| assert_eq!(begin_trace(prompt, trace), expected);
        check("<a>\n", "<think>\nSo", "<a>\n<think>\nSo");
        check("<a>\n<think>\n", "<think>\nSo", "<a>\n<think>\nSo");
        check("<a>\n<think>", "\n<think>So", "<a>\n<think>\nSo");
        let open = |text: &str| is_open_trace(text);
        assert!(open("<think>\nSo") && open(" <think>") && !open("So <think>") && !open("<think>a</think>"));
    }

    #[test]
    fn blocks_are_told_from_content() {
        check("<think>\nA\n</think>\n\nB", false, "A", "B");
        check("\n <think>A</think>B", false, "A", "B");
        check("A\n</think>\n\nB\n", true, "A", "B\n");
        check("A", true, "A", "");
        check("A\n\n", true, "A", "");
        check("plain", false, "", "plain");
        check("  plain ", false, "", "  plain ");
        check("<thin", false, "", "<thin");
        check("<think>A </thin", false, "A </thin", "");
        check("<think></think>B", false, "", "B");
        check("A</think>B", false, "", "A</think>B");
        check("<think>A</think>B</think>C", false, "A", "B</think>C");
        check("say <think>A</think>", false, "", "say <think>A</think>");
        check("", true, "", "");
        check("", false, "", "");
    }

    #[test]
    fn the_stream_waits_no_longer_than_it_must() {
        let mut splitter = ReasoningSplitter::new(false);
        assert_eq!(splitter.push("<thi"), (String::new(), String::new()));
        assert_eq!(splitter.push("nk>a\n</"), ("a".to_owned(), String::new()));
        assert!(splitter.in_reasoning());
        assert_eq!(splitter.push("b"), ("\n</b".to_owned(), String::new()));
        assert_eq!(splitter.push("</think>c"), (String::new(), "c".to_owned()));
        assert!(!splitter.in_reasoning());
    }

    #[test]
    fn a_finished_text_is_cut_at_the_last_close() {
        let check =
            |text, opened, expected| assert_eq!(split_at_last_close(text, opened), expected, "{text:?}");
        check("<think>a</think>b</think> c", false, (Some("a</think>b"), "c"));
        check("a</think>b", false, (Some("a"), "b"));
        check("plain", false, (None, "plain"));
        check("cut off", true, (Some("cut off"), ""));
        check(" <think>cut off", false, (Some("cut off"), ""));
    }

    #[test]
    fn prompts_that_open_a_block_are_seen() {
        assert!(opens_reasoning("<|im_start|>assistant\n<think>\n"));
        assert!(!opens_reasoning("<think>\n\n</think>\n\n"));
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same(
            parts in prop::collection::vec(prop::sample::select(vec![
                "<think>", "</think>", "<", "thin", "k>", "</", "\n", "\r\n", " ", "a", "é語", ">", "\n\n",
            ]), 0..24),
            cuts in prop::collection::vec(0usize..200, 0..12),
            opened: bool,
        ) {
            let text = parts.concat();
            let mut at: Vec<usize> = cuts.into_iter().filter(|cut| text.is_char_boundary(*cut)).collect();
            at.extend([0, text.len()]);
            at.sort_unstable();
            let pieces: Vec<&str> = at.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
            prop_assert_eq!(split(&pieces, opened), split(&[&text], opened));
        }
    }
}
