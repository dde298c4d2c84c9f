//! Chat completions put together from what a server sends: text, trace and finish of each choice, and the token counts.

use serde_json::Value;

use crate::eval::generator::{Completion, Finish, Usage};
use crate::score::extract::split;

/// The choices of one answer, streamed or whole.
pub(super) struct Answer {
    choices: Vec<Choice>,
    /// The usage counts all choices together: only with one of them is it that one's.
    single: bool,
    /// Whether nothing more can come.
    ended: bool,
    /// Tokens told to the caller.
    counted: u64,
    /// Tokens of all choices, as the server counts them.
    usage: Option<u64>,
    /// Those of all traces, as the server counts them.
    thinking: Option<u64>,
    /// Tokens of the prompt, as the server counts them.
    prompt_tokens: Option<u64>,
    /// The reason of a choice that ended without being finished.
    broken_by: Option<String>,
}

#[derive(Default)]
struct Choice {
    reasoning: String,
    content: String,
    finish: Option<Finish>,
    reported: bool,
}

impl Answer {
    pub fn new(n: usize) -> Self {
        Self {
            choices: std::iter::repeat_with(Choice::default).take(n).collect(),
            single: n == 1,
            ended: false,
            counted: 0,
            usage: None,
            thinking: None,
            prompt_tokens: None,
            broken_by: None,
        }
    }

    /// Take one event's payload; how many tokens it brought (a delta counts as one until the usage is told).
    pub fn take(&mut self, payload: &str) -> Result<u64, String> {
        if payload == "[DONE]" || payload.is_empty() {
            return Ok(0);
        }
        let chunk: Value =
            serde_json::from_str(payload).map_err(|error| format!("a chunk is not JSON: {error}"))?;
        if let Some(error) = chunk.get("error").filter(|error| !error.is_null()) {
            let message = error.get("message").and_then(Value::as_str).unwrap_or("unknown");
            return Err(format!("the server broke off: {message}"));
        }
        let mut tokens = 0;
        for part in chunk["choices"].as_array().into_iter().flatten() {
            let index = part["index"].as_u64().unwrap_or_default() as usize;
            tokens += u64::from(self.append(index, &part["delta"]));
            if let Some(reason) = part["finish_reason"].as_str() {
                self.close(index, reason);
            }
        }
        self.counted += tokens;
        Ok(tokens + self.settle(&chunk))
    }

    /// Take an answer that was not streamed; how many tokens it brought.
    pub fn take_body(&mut self, body: &Value) -> u64 {
        let parts = body["choices"].as_array().map_or(&[][..], Vec::as_slice);
        self.single = parts.len() == 1;
        for (position, part) in parts.iter().enumerate() {
            let index = part["index"].as_u64().map_or(position, |index| index as usize);
            self.append(index, &part["message"]);
            // The body is whole, so a server that gives no reason has finished.
            self.close(index, part["finish_reason"].as_str().unwrap_or("stop"));
        }
        self.settle(body)
    }

    /// Choices that finished since the last call. A single one waits for its usage, which follows its end.
    pub fn finished(&mut self) -> Vec<(usize, Completion)> {
        if self.single && !self.ended {
            return Vec::new();
        }
        let tokens = self.usage.filter(|_| self.single);
        let thinking = self.thinking.filter(|_| self.single);
        let mut found = Vec::new();
        for (index, choice) in self.choices.iter_mut().enumerate().filter(|(_, choice)| !choice.reported) {
            let Some(finish) = choice.finish else { continue };
            choice.reported = true;
            // What has no trace took no tokens for one, whatever the server tells.
            let thinking_tokens = if tokens.is_some() && !choice.has_trace() { Some(0) } else { thinking };
            found.push((index, Completion { text: choice.text(), finish, tokens, thinking_tokens }));
        }
        found
    }

    /// Choices that finished and were not reported, when nothing more can come, be it for an error.
    pub fn rest(&mut self) -> Vec<(usize, Completion)> {
        self.ended = true;
        self.finished()
    }

    /// What the request took; without the server's count, what was seen of it.
    pub fn usage(&self) -> Usage {
        let completion_tokens = self.usage.unwrap_or(self.counted);
        let is_told = self.usage.is_some() && self.prompt_tokens.is_some();
        Usage {
            requests: 1,
            prompt_tokens: self.prompt_tokens.unwrap_or_default(),
            completion_tokens,
            cached_samples: 0,
            uncounted_requests: u64::from(!is_told),
        }
    }

    /// Why a choice ended that is not finished, if the server told.
    pub fn broken_by(&self) -> Option<&str> {
        self.broken_by.as_deref()
    }

    /// Whether there was any text.
    fn append(&mut self, index: usize, message: &Value) -> bool {
        let Some(choice) = self.choices.get_mut(index) else { return false };
        let content = message["content"].as_str().unwrap_or_default();
        // vLLM renamed the field; either name may come.
        let reasoning = message["reasoning_content"].as_str().or_else(|| message["reasoning"].as_str());
        let reasoning = reasoning.unwrap_or_default();
        choice.content.push_str(content);
        choice.reasoning.push_str(reasoning);
        !content.is_empty() || !reasoning.is_empty()
    }

    fn close(&mut self, index: usize, reason: &str) {
        let Some(choice) = self.choices.get_mut(index) else { return };
        choice.finish = match reason {
            "stop" | "tool_calls" => Some(Finish::Stop),
            "length" => Some(Finish::Length),
            "content_filter" => Some(Finish::ContentFilter),
            // `abort`, `error`, or what nobody knows: half a text must not be judged.
            _ => None,
        };
        if choice.finish.is_none() {
            self.broken_by = Some(reason.to_owned());
        }
    }

    /// Read the usage, if it is there: the tokens that were not counted yet.
    fn settle(&mut self, message: &Value) -> u64 {
        if let Some(tokens) = message["usage"]["prompt_tokens"].as_u64() {
            self.prompt_tokens = Some(tokens);
        }
        if let Some(tokens) = message["usage"]["completion_tokens_details"]["reasoning_tokens"].as_u64() {
            self.thinking = Some(tokens);
        }
        let Some(total) = message["usage"]["completion_tokens"].as_u64() else { return 0 };
        self.usage = Some(total);
        let more = total.saturating_sub(self.counted);
        self.counted += more;
        more
    }
}

impl Choice {
    /// A trace set apart by the server, or within the text.
    fn has_trace(&self) -> bool {
        !self.reasoning.is_empty() || split(&self.content).trace.is_some()
    }

    fn text(&self) -> String {
        let Self { reasoning, content, .. } = self;
        if reasoning.is_empty() {
            content.clone()
        } else if content.is_empty() {
            // It ended inside the trace, which must not look closed, whatever the reason of the end.
            format!("<think>\n{reasoning}")
        } else {
            format!("<think>\n{reasoning}\n</think>\n\n{content}")
        }
    }
}
