//! Where the assistant's turns stand in a rendered conversation, whatever the template.
//!
//! A turn begins where a prompt for it would end and ends where the conversation up to it ends: both are found by rendering a
//! part of the conversation and comparing it with the whole. Templates that write a turn otherwise once more follows (Qwen3
//! takes reasoning out of earlier turns, Mistral moves the system text to the last question) are met in this order:
//!
//! 1. `{% generation %}` blocks, if the template has one a turn.
//! 2. The part is a beginning of the whole.
//! 3. Begin: what the prompt for the turn shares with the whole, if all before the turn is the same in both. End: the longest end
//!    of the turn as the last one that the whole goes on with, if it holds what the message says.
//! 4. The content is replaced in the whole: what changes is the turn, with what closes it as the last one.
//!
//! A turn found in none of these ways is an error, not a guess.

use std::ops::Range;

use serde_json::Value;

use super::record::Conversation;
use crate::chat::{ChatError, ChatTemplate, RenderOptions, take_generation_marks};

/// What stands in for a content; its ends are no ends of a trimmed text.
const STAND_IN: &str = "\u{fdd2}\u{fdd3}";
const WAY_OUT: &str =
    "set `assistant_only_loss: false` to train on all tokens, or give the line as `prompt` and `completion`";

/// A model's template, with and without marks.
#[derive(Debug, Clone)]
pub struct Templates {
    pub plain: ChatTemplate,
    marked: Option<ChatTemplate>,
}

/// A whole conversation as text, with the ranges that are trained, ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    pub text: String,
    pub spans: Vec<Range<usize>>,
}

impl Templates {
    /// # Errors
    /// A template that does not compile with marks.
    pub fn new(plain: ChatTemplate) -> Result<Self, ChatError> {
        Ok(Self { marked: plain.marked()?, plain })
    }

    /// # Errors
    /// What the template says of the conversation.
    pub fn render(&self, conversation: &Conversation) -> Result<String, String> {
        Parts { template: &self.plain, conversation }.whole().map_err(|error| error.to_string())
    }

    /// The conversation and all of its assistant's turns that count, from a message on.
    ///
    /// # Errors
    /// What the template says of the conversation, or the turn that is not found, with the reason and the way out.
    pub fn assistant_turns(&self, conversation: &Conversation, from: usize) -> Result<Rendered, String> {
        let text = self.render(conversation)?;
        let turns: Vec<usize> =
            (0..conversation.messages.len()).filter(|at| conversation.is_assistant(*at)).collect();
        let counts = |turn: &usize| *turn >= from && !conversation.unweighted.contains(turn);
        if let Some(spans) = self.marked_spans(conversation, &text).filter(|spans| spans.len() == turns.len())
        {
            let spans =
                turns.iter().zip(spans).filter(|(turn, _)| counts(turn)).map(|(_, span)| span).collect();
            return Ok(Rendered { text, spans });
        }
        let parts = Parts { template: &self.plain, conversation };
        let mut spans: Vec<Range<usize>> = Vec::new();
        for turn in turns.into_iter().filter(counts) {
            let span =
                parts.turn(&text, turn).filter(|span| spans.last().is_none_or(|last| last.end <= span.start));
            spans.push(span.ok_or_else(|| {
                format!(
                    "the turn `messages[{turn}]` is not found in the rendered conversation: the chat template writes it in \
                     another way than as the last turn; {WAY_OUT}"
                )
            })?);
        }
        Ok(Rendered { text, spans })
    }

    /// The conversation and all that comes after its prompt.
    ///
    /// # Errors
    /// As [`Self::assistant_turns`].
    pub fn completion(&self, conversation: &Conversation, prompt: usize) -> Result<Rendered, String> {
        let text = self.render(conversation)?;
        let parts = Parts { template: &self.plain, conversation };
        let opens = conversation.is_assistant(prompt);
        let begin = if opens {
            parts.turn(&text, prompt).map(|span| span.start)
        } else {
            parts.shared(&text, prompt, false)
        };
        let begin = begin.ok_or_else(|| {
            format!(
                "the prompt is not the beginning of the rendered conversation: the chat template writes it in another way \
                 without the completion; {}",
                "set `completion_only_loss: false` to train on all tokens"
            )
        })?;
        let spans = std::iter::once(begin..text.len()).filter(|span| !span.is_empty()).collect();
        Ok(Rendered { text, spans })
    }

    /// The ranges between the template's own marks; `None` without marks, or if they change what is written.
    fn marked_spans(&self, conversation: &Conversation, text: &str) -> Option<Vec<Range<usize>>> {
        let rendered = Parts { template: self.marked.as_ref()?, conversation }.whole().ok()?;
        take_generation_marks(&rendered).filter(|(unmarked, _)| unmarked == text).map(|(_, spans)| spans)
    }
}

struct Parts<'a> {
    template: &'a ChatTemplate,
    conversation: &'a Conversation,
}

impl Parts<'_> {
    fn whole(&self) -> Result<String, ChatError> {
        self.render(self.conversation.messages.clone(), false)
    }

    fn render(&self, messages: Vec<Value>, add_generation_prompt: bool) -> Result<String, ChatError> {
        self.template.render(&RenderOptions {
            messages: &Value::Array(messages),
            tools: self.conversation.tools.as_ref(),
            add_generation_prompt,
            continue_final_message: false,
            kwargs: &self.conversation.kwargs,
        })
    }

    /// The first messages; `None` if the template does not take them alone.
    fn first(&self, count: usize, add_generation_prompt: bool) -> Option<String> {
        self.render(self.conversation.messages[..count].to_vec(), add_generation_prompt).ok()
    }

    fn turn(&self, whole: &str, turn: usize) -> Option<Range<usize>> {
        let by_parts = || {
            let begin = self.shared(whole, turn, true)?;
            Some(begin..self.end(whole, turn, begin)?)
        };
        by_parts().or_else(|| self.by_stand_in(whole, turn)).filter(|span| !span.is_empty())
    }

    /// Where the first messages end in the whole, with what opens the assistant's turn.
    fn shared(&self, whole: &str, count: usize, opens: bool) -> Option<usize> {
        let before = if count == 0 { Some(String::new()) } else { self.first(count, false) };
        let before = before.filter(|before| whole.starts_with(before.as_str()));
        if !opens {
            return before.map(|before| before.len());
        }
        let opened = self.first(count, true)?;
        let same = common_prefix(whole, &opened);
        // Some templates open a trace in the prompt that they leave out of what was said.
        let is_enough = same == opened.len() || before.is_some_and(|before| same >= before.len() && same > 0);
        is_enough.then_some(same)
    }

    fn end(&self, whole: &str, turn: usize, begin: usize) -> Option<usize> {
        let last = self.first(turn + 1, false)?;
        if whole.starts_with(&last) {
            return Some(last.len());
        }
        let written = last.get(begin..).filter(|_| last.as_bytes()[..begin] == whole.as_bytes()[..begin])?;
        let length = overlap(written.as_bytes(), &whole.as_bytes()[begin..]);
        let said = whole[begin..].get(..length)?;
        said.contains(self.visible(turn)?).then_some(begin + length)
    }

    /// What of a message's text is written after it is no more the last one.
    fn visible(&self, turn: usize) -> Option<&str> {
        let message = &self.conversation.messages[turn];
        let content = message["content"].as_str().unwrap_or_default();
        let content = content.rsplit("</think>").next().unwrap_or(content).trim();
        let call = || message.pointer("/tool_calls/0/function/name").and_then(Value::as_str);
        if content.is_empty() { call() } else { Some(content) }
    }

    fn by_stand_in(&self, whole: &str, turn: usize) -> Option<Range<usize>> {
        let message = &self.conversation.messages[turn];
        let content = message["content"].as_str().filter(|content| !content.trim().is_empty())?.trim();
        let has_more = ["tool_calls", "reasoning_content", "reasoning", "thinking"];
        if content.contains("</think>") || has_more.iter().any(|key| !message[*key].is_null()) {
            return None;
        }
        let replaced = |count: usize| {
            let mut messages = self.conversation.messages[..count].to_vec();
            messages[turn]["content"] = STAND_IN.into();
            self.render(messages, false).ok()
        };
        let other = replaced(self.conversation.messages.len())?;
        let (before, after) = other.split_once(STAND_IN)?;
        let inner = whole.strip_prefix(before)?.strip_suffix(after)?;
        if inner.trim() != content {
            return None;
        }
        let end = before.len() + inner.len();
        let as_last = replaced(turn + 1)?;
        let closing = as_last.split_once(STAND_IN)?.1;
        Some(before.len()..end + common_prefix(&whole[end..], closing))
    }
}

/// Bytes that two texts begin with, whole characters.
fn common_prefix(a: &str, b: &str) -> usize {
    let same = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    a.floor_char_boundary(same)
}

/// The length of the longest end of `a` that `b` begins with (Knuth, Morris and Pratt).
fn overlap(a: &[u8], b: &[u8]) -> usize {
    let b = &b[..b.len().min(a.len())];
    let mut borders = vec![0_usize; b.len()];
    for at in 1..b.len() {
        borders[at] = longer(b, &borders, borders[at - 1], b[at]);
    }
    let mut matched = 0;
    for byte in a {
        if matched == b.len() {
            matched = borders.last().copied().unwrap_or(0);
        }
        matched = longer(b, &borders, matched, *byte);
    }
    matched
}

/// The longest border that `byte` goes on with, after one of length `matched`.
fn longer(b: &[u8], borders: &[usize], mut matched: usize, byte: u8) -> usize {
    while matched > 0 && b[matched] != byte {
        matched = borders[matched - 1];
    }
    if b.get(matched) == Some(&byte) { matched + 1 } else { 0 }
}

#[cfg(test)]
mod tests;
