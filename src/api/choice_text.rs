//! One choice's text told apart as it comes: reasoning, what is said, and calls of tools.

use super::tools::{ToolPlan, call_id};
use crate::chat::{ReasoningSplitter, ToolEvent, ToolFormat, ToolParser};
use crate::protocol::ChatDelta;
use crate::protocol::tools::{CalledFunctionDelta, ToolCallDelta};

pub struct ChoiceText {
    /// `None` leaves thinking marks in the content.
    splitter: Option<ReasoningSplitter>,
    /// `None` where the model was told of no tools.
    calls: Option<(ToolFormat, ToolParser)>,
}

impl ChoiceText {
    pub fn new(splitter: Option<ReasoningSplitter>, tools: Option<&ToolPlan>) -> Self {
        Self { splitter, calls: tools.map(|plan| (plan.format, plan.parser())) }
    }

    /// What `text` adds to the message.
    pub fn push(&mut self, text: String) -> ChatDelta {
        let (reasoning, content) = match &mut self.splitter {
            Some(splitter) => splitter.push(&text),
            None => (String::new(), text),
        };
        self.delta(reasoning, content, false)
    }

    /// What was held back. Call once, at the end.
    pub fn finish(&mut self) -> ChatDelta {
        let rest = self.splitter.as_mut().map(ReasoningSplitter::finish).unwrap_or_default();
        self.delta(rest.0, rest.1, true)
    }

    /// Whether thinking is told apart from what is said.
    pub fn tells_reasoning(&self) -> bool {
        self.splitter.is_some()
    }

    pub fn in_reasoning(&self) -> bool {
        self.splitter.as_ref().is_some_and(ReasoningSplitter::in_reasoning)
    }

    /// Whether a call was told.
    pub fn has_calls(&self) -> bool {
        self.calls.as_ref().is_some_and(|(_, parser)| parser.calls() > 0)
    }

    fn delta(&mut self, reasoning: String, content: String, ends: bool) -> ChatDelta {
        let some = |text: String| (!text.is_empty()).then_some(text);
        let Some((format, parser)) = &mut self.calls else {
            return ChatDelta {
                content: some(content),
                reasoning_content: some(reasoning),
                ..ChatDelta::default()
            };
        };
        let mut events = parser.push(&content);
        if ends {
            events.extend(parser.finish());
        }
        let (mut said, mut calls) = (String::new(), Vec::new());
        for event in events {
            match event {
                ToolEvent::Text(text) => said.push_str(&text),
                ToolEvent::Call { index, name } => calls.push(ToolCallDelta {
                    index: index as u32,
                    id: Some(call_id(*format)),
                    kind: Some("function".to_owned()),
                    function: CalledFunctionDelta { name: Some(name), arguments: String::new() },
                }),
                ToolEvent::Arguments { index, piece } => calls.push(ToolCallDelta {
                    index: index as u32,
                    function: CalledFunctionDelta { name: None, arguments: piece },
                    ..ToolCallDelta::default()
                }),
            }
        }
        ChatDelta {
            role: None,
            content: some(said),
            reasoning_content: some(reasoning),
            tool_calls: (!calls.is_empty()).then_some(calls),
        }
    }
}
