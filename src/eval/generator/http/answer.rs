//! Chat completions put together from their chunks: text, trace and finish of each choice.

use serde_json::Value;

use crate::eval::generator::{Completion, Finish};

/// The choices of one streamed answer.
pub(super) struct Answer {
    choices: Vec<Choice>,
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
        Self { choices: std::iter::repeat_with(Choice::default).take(n).collect() }
    }

    /// Take one event's payload; how many tokens it brought (a delta counts as one).
    pub fn take(&mut self, payload: &str) -> Result<u64, String> {
        if payload == "[DONE]" || payload.is_empty() {
            return Ok(0);
        }
        let chunk: Value =
            serde_json::from_str(payload).map_err(|error| format!("a chunk is not JSON: {error}"))?;
        if let Some(error) = chunk.get("error") {
            let message = error.get("message").and_then(Value::as_str).unwrap_or("unknown");
            return Err(format!("the server broke off: {message}"));
        }
        let mut tokens = 0;
        for part in chunk["choices"].as_array().into_iter().flatten() {
            let index = part["index"].as_u64().unwrap_or_default() as usize;
            let Some(choice) = self.choices.get_mut(index) else { continue };
            let before = choice.content.len() + choice.reasoning.len();
            append(&part["delta"], choice);
            tokens += u64::from(choice.content.len() + choice.reasoning.len() > before);
            if let Some(reason) = part["finish_reason"].as_str() {
                choice.finish = Some(finish(reason));
            }
        }
        Ok(tokens)
    }

    /// Choices that finished since the last call.
    pub fn finished(&mut self) -> Vec<(usize, Completion)> {
        let mut found = Vec::new();
        for (index, choice) in self.choices.iter_mut().enumerate().filter(|(_, choice)| !choice.reported) {
            let Some(finish) = choice.finish else { continue };
            choice.reported = true;
            found.push((index, completion(&choice.reasoning, &choice.content, finish, None)));
        }
        found
    }
}

fn append(message: &Value, choice: &mut Choice) {
    choice.content.push_str(message["content"].as_str().unwrap_or_default());
    // vLLM renamed the field; either name may come.
    let reasoning = message["reasoning_content"].as_str().or_else(|| message["reasoning"].as_str());
    choice.reasoning.push_str(reasoning.unwrap_or_default());
}

/// The choices of an answer that was not streamed.
pub(super) fn choices_of_body(body: &Value) -> Vec<(usize, Completion)> {
    let parts: Vec<&Value> = body["choices"].as_array().into_iter().flatten().collect();
    // The usage counts all choices together: only with one of them is it that one's.
    let tokens = body["usage"]["completion_tokens"].as_u64().filter(|_| parts.len() == 1);
    let one = |(position, part): (usize, &&Value)| {
        let mut choice = Choice::default();
        append(&part["message"], &mut choice);
        let index = part["index"].as_u64().map_or(position, |index| index as usize);
        let finish = finish(part["finish_reason"].as_str().unwrap_or("stop"));
        (index, completion(&choice.reasoning, &choice.content, finish, tokens))
    };
    parts.iter().enumerate().map(one).collect()
}

fn completion(reasoning: &str, content: &str, finish: Finish, tokens: Option<u64>) -> Completion {
    let text = if reasoning.is_empty() {
        content.to_owned()
    } else if content.is_empty() && finish == Finish::Length {
        // Cut inside the trace: it must not look closed.
        format!("<think>\n{reasoning}")
    } else {
        format!("<think>\n{reasoning}\n</think>\n\n{content}")
    };
    Completion { text, finish, tokens }
}

fn finish(reason: &str) -> Finish {
    if reason == "length" { Finish::Length } else { Finish::Stop }
}
