//! Shapes a chat's choice as a response: items that open and close as the model goes from thinking to saying to calling, and the
//! events of each step. The whole response is what its stream leaves.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::protocol::ChatDelta;
use crate::protocol::Usage;
use crate::protocol::language::LanguageReport;
use crate::protocol::responses::{
    IncompleteDetails, InputTokensDetails, OutputItem, OutputText, OutputTokensDetails, Response,
    ResponseError, ResponseEvent, ResponseUsage,
};
use crate::protocol::tools::ToolCallDelta;

pub struct ResponseWriter {
    response: Response,
    sequence: u64,
    /// The last item is not closed yet.
    open: bool,
}

impl ResponseWriter {
    /// `response` in progress, without output.
    pub fn new(response: Response) -> Self {
        Self { response, sequence: 0, open: false }
    }

    pub fn response(&self) -> &Response {
        &self.response
    }

    pub fn start(&mut self) -> Vec<ResponseEvent> {
        ["response.created", "response.in_progress"].map(|kind| self.whole(kind)).into()
    }

    /// What the choice gained.
    pub fn push(&mut self, delta: ChatDelta) -> Vec<ResponseEvent> {
        let mut events = Vec::new();
        if let Some(text) = delta.reasoning_content {
            self.think(&text, &mut events);
        }
        if let Some(text) = delta.content.filter(|text| !text.is_empty()) {
            self.say(&text, &mut events);
        }
        for call in delta.tool_calls.into_iter().flatten() {
            self.call(call, &mut events);
        }
        events
    }

    /// `finish` is a chat's finish reason.
    pub fn finish(
        &mut self,
        finish: &str,
        usage: &Usage,
        reasoning_tokens: u64,
        language: Option<LanguageReport>,
    ) -> Vec<ResponseEvent> {
        let mut events = Vec::new();
        let cut = finish == "length";
        self.close(if cut { "incomplete" } else { "completed" }, &mut events);
        let response = &mut self.response;
        if cut {
            response.incomplete_details = Some(IncompleteDetails { reason: "max_output_tokens".to_owned() });
        }
        if cut { "incomplete" } else { "completed" }.clone_into(&mut response.status);
        response.usage = Some(usage_of(usage, reasoning_tokens));
        response.language = language;
        events.push(self.whole(if cut { "response.incomplete" } else { "response.completed" }));
        events
    }

    pub fn fail(&mut self, message: &str) -> Vec<ResponseEvent> {
        let mut events = Vec::new();
        self.close("incomplete", &mut events);
        "failed".clone_into(&mut self.response.status);
        self.response.error =
            Some(ResponseError { code: "server_error".to_owned(), message: message.to_owned() });
        events.push(self.whole("response.failed"));
        events
    }

    fn think(&mut self, text: &str, events: &mut Vec<ResponseEvent>) {
        if !(self.open && matches!(self.response.output.last(), Some(OutputItem::Reasoning { .. }))) {
            self.close("completed", events);
            let item = OutputItem::Reasoning {
                id: id("rs"),
                summary: Vec::new(),
                content: vec![part("reasoning_text")],
                status: "in_progress".to_owned(),
            };
            self.open(item, events);
            events.push(self.of_part("response.content_part.added", "part", json!(part("reasoning_text"))));
        }
        events.push(self.of_part("response.reasoning_text.delta", "delta", json!(text)));
        if let Some(OutputItem::Reasoning { content, .. }) = self.response.output.last_mut() {
            append(content, text);
        }
    }

    fn say(&mut self, text: &str, events: &mut Vec<ResponseEvent>) {
        if !(self.open && matches!(self.response.output.last(), Some(OutputItem::Message { .. }))) {
            self.close("completed", events);
            let item = OutputItem::Message {
                id: id("msg"),
                role: "assistant".to_owned(),
                status: "in_progress".to_owned(),
                content: vec![part("output_text")],
            };
            self.open(item, events);
            events.push(self.of_part("response.content_part.added", "part", json!(part("output_text"))));
        }
        events.push(self.of_text("response.output_text.delta", [("delta", json!(text))]));
        if let Some(OutputItem::Message { content, .. }) = self.response.output.last_mut() {
            append(content, text);
        }
    }

    fn call(&mut self, delta: ToolCallDelta, events: &mut Vec<ResponseEvent>) {
        if let (Some(call_id), Some(name)) = (delta.id, delta.function.name) {
            self.close("completed", events);
            let (arguments, status) = (String::new(), "in_progress".to_owned());
            self.open(OutputItem::FunctionCall { id: id("fc"), call_id, name, arguments, status }, events);
        }
        let piece = delta.function.arguments;
        if piece.is_empty() {
            return;
        }
        events.push(self.of_item("response.function_call_arguments.delta", [("delta", json!(piece))]));
        if let Some(OutputItem::FunctionCall { arguments, .. }) = self.response.output.last_mut() {
            arguments.push_str(&piece);
        }
    }

    fn open(&mut self, item: OutputItem, events: &mut Vec<ResponseEvent>) {
        let told = match &item {
            // Parts are added one by one.
            OutputItem::Message { id, role, status, .. } => OutputItem::Message {
                id: id.clone(),
                role: role.clone(),
                status: status.clone(),
                content: Vec::new(),
            },
            OutputItem::Reasoning { id, status, .. } => OutputItem::Reasoning {
                id: id.clone(),
                summary: Vec::new(),
                content: Vec::new(),
                status: status.clone(),
            },
            call @ OutputItem::FunctionCall { .. } => call.clone(),
        };
        self.response.output.push(item);
        self.open = true;
        let index = self.response.output.len() - 1;
        let more = [("output_index", json!(index)), ("item", json!(told))];
        events.push(self.event("response.output_item.added", more));
    }

    fn close(&mut self, ended: &str, events: &mut Vec<ResponseEvent>) {
        if !std::mem::take(&mut self.open) {
            return;
        }
        match self.response.output.last_mut() {
            Some(
                OutputItem::Message { status, .. }
                | OutputItem::Reasoning { status, .. }
                | OutputItem::FunctionCall { status, .. },
            ) => ended.clone_into(status),
            None => return,
        }
        match self.response.output.last().cloned() {
            Some(OutputItem::Message { content, .. }) => {
                events.push(self.of_text("response.output_text.done", [("text", json!(content[0].text))]));
                events.push(self.of_part("response.content_part.done", "part", json!(content[0])));
            }
            Some(OutputItem::Reasoning { content, .. }) => {
                events.push(self.of_part("response.reasoning_text.done", "text", json!(content[0].text)));
                events.push(self.of_part("response.content_part.done", "part", json!(content[0])));
            }
            Some(OutputItem::FunctionCall { arguments, name, .. }) => {
                let more = [("arguments", json!(arguments)), ("name", json!(name))];
                events.push(self.of_item("response.function_call_arguments.done", more));
            }
            None => {}
        }
        let index = self.response.output.len() - 1;
        let more = [("output_index", json!(index)), ("item", json!(self.response.output[index]))];
        events.push(self.event("response.output_item.done", more));
    }

    /// An event with the response as it stands.
    fn whole(&mut self, kind: &str) -> ResponseEvent {
        let response = json!(self.response);
        self.event(kind, [("response", response)])
    }

    /// An event of a message's text. Clients' types want logprobs there, of which there are none.
    fn of_text(&mut self, kind: &str, [(name, value)]: [(&'static str, Value); 1]) -> ResponseEvent {
        self.of_item(kind, [("content_index", json!(0)), (name, value), ("logprobs", json!([]))])
    }

    /// An event of the last item's only part.
    fn of_part(&mut self, kind: &str, name: &'static str, value: Value) -> ResponseEvent {
        self.of_item(kind, [("content_index", json!(0)), (name, value)])
    }

    /// An event of the last item.
    fn of_item<const N: usize>(&mut self, kind: &str, more: [(&str, Value); N]) -> ResponseEvent {
        let index = self.response.output.len().saturating_sub(1);
        let id = match self.response.output.last() {
            Some(
                OutputItem::Message { id, .. }
                | OutputItem::Reasoning { id, .. }
                | OutputItem::FunctionCall { id, .. },
            ) => id.clone(),
            None => String::new(),
        };
        let place = [("item_id", json!(id)), ("output_index", json!(index))];
        self.event(kind, place.into_iter().chain(more))
    }

    fn event<'a>(&mut self, kind: &str, more: impl IntoIterator<Item = (&'a str, Value)>) -> ResponseEvent {
        let sequence_number = self.sequence;
        self.sequence += 1;
        let more: Map<String, Value> =
            more.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        ResponseEvent { kind: kind.to_owned(), sequence_number, more }
    }
}

fn part(kind: &str) -> OutputText {
    let annotations = (kind == "output_text").then(Vec::new);
    OutputText { kind: kind.to_owned(), text: String::new(), annotations }
}

fn append(content: &mut [OutputText], text: &str) {
    if let Some(part) = content.first_mut() {
        part.text.push_str(text);
    }
}

fn id(prefix: &str) -> String {
    format!("{prefix}_{}", Uuid::new_v4().simple())
}

fn usage_of(usage: &Usage, reasoning_tokens: u64) -> ResponseUsage {
    let cached_tokens = usage.prompt_tokens_details.as_ref().map_or(0, |details| details.cached_tokens);
    ResponseUsage {
        input_tokens: usage.prompt_tokens,
        input_tokens_details: InputTokensDetails { cached_tokens },
        output_tokens: usage.completion_tokens,
        output_tokens_details: OutputTokensDetails { reasoning_tokens },
        total_tokens: usage.total_tokens,
    }
}
