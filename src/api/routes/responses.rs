//! `/v1/responses`: a chat in OpenAI's newer shape. It is turned into a chat request, and the chat's choice into items.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response as HttpResponse};
use axum::{Extension, Json};
use futures::{StreamExt, stream};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::chat;
use crate::api::body::StrictJson;
use crate::api::chat_writer::ChatWriter;
use crate::api::error::ApiError;
use crate::api::generation::Generation;
use crate::api::request_log::RequestLog;
use crate::api::response_writer::ResponseWriter;
use crate::api::state::AppState;
use crate::api::stored_responses::StoredResponse;
use crate::api::{now_s, sse};
use crate::protocol::parse::RequestBody;
use crate::protocol::responses::{
    DeletedResponse, Input, InputItem, OutputItem, ReasoningOptions, Response, ResponseEvent,
    ResponseRequest, ResponseToolChoice, TextFormat, TextOptions, text_of,
};
use crate::protocol::tools::{CalledFunction, Tool, ToolCall, ToolChoice, ToolChoiceWord};
use crate::protocol::{BadRequest, ChatMessage, ChatRequest, ErrorResponse, SamplingFields};

/// Answer an input with items.
#[utoipa::path(
    post,
    path = "/v1/responses",
    tag = "responses",
    request_body = ResponseRequest,
    responses(
        (status = 200, description = "The response; with `stream: true` `ResponseEvent`s as server-sent events", body = Response),
        (status = 400, body = ErrorResponse),
        (status = 401, body = ErrorResponse),
        (status = 404, body = ErrorResponse),
        (status = 413, body = ErrorResponse),
        (status = 429, body = ErrorResponse)
    )
)]
pub async fn create_response(
    State(state): State<AppState>,
    Extension(log): Extension<Arc<RequestLog>>,
    StrictJson(request): StrictJson<ResponseRequest>,
) -> Result<HttpResponse, ApiError> {
    let model = state.ready_model(&log, request.model.as_deref()).await?;
    let before = match &request.previous_response_id {
        Some(id) => state
            .responses()
            .get(id, log.key_identity().as_deref())
            .ok_or_else(|| not_stored(id, "previous_response_id"))?
            .conversation
            .clone(),
        None => Vec::new(),
    };
    let conversation = [before, messages(&request.input)?].concat();
    let chat_request = chat_request(&request, &conversation);
    chat_request.check().map_err(in_own_words)?;
    let (task, writer) = chat::prepare(&state, model.clone(), chat_request).await.map_err(renamed)?;
    let owner = log.key_identity();
    let generation = Generation::start(task, state.metrics(), log)
        .map_err(|error| renamed(error.with_prompt_param("input")))?;
    let streams = request.stream == Some(true);
    let response = in_progress(&request, &model.name);
    let running = Running {
        state,
        generation,
        writer,
        shape: ResponseWriter::new(response),
        owner,
        conversation,
        finish: String::new(),
    };
    if streams { Ok(streamed(running)) } else { Ok(Json(running.whole().await?).into_response()) }
}

/// A stored response, for the key that it was asked for with.
#[utoipa::path(
    get,
    path = "/v1/responses/{response_id}",
    tag = "responses",
    params(("response_id" = String, Path)),
    responses((status = 200, body = Response), (status = 401, body = ErrorResponse), (status = 404, body = ErrorResponse))
)]
pub async fn get_response(
    State(state): State<AppState>,
    Extension(log): Extension<Arc<RequestLog>>,
    Path(id): Path<String>,
) -> Result<Json<Response>, ApiError> {
    let stored = state
        .responses()
        .get(&id, log.key_identity().as_deref())
        .ok_or_else(|| not_stored(&id, "response_id"))?;
    Ok(Json(stored.response.clone()))
}

/// Forget a stored response.
#[utoipa::path(
    delete,
    path = "/v1/responses/{response_id}",
    tag = "responses",
    params(("response_id" = String, Path)),
    responses(
        (status = 200, body = DeletedResponse),
        (status = 401, body = ErrorResponse),
        (status = 404, body = ErrorResponse)
    )
)]
pub async fn delete_response(
    State(state): State<AppState>,
    Extension(log): Extension<Arc<RequestLog>>,
    Path(id): Path<String>,
) -> Result<Json<DeletedResponse>, ApiError> {
    if !state.responses().remove(&id, log.key_identity().as_deref()) {
        return Err(not_stored(&id, "response_id"));
    }
    Ok(Json(DeletedResponse { id, object: "response".to_owned(), deleted: true }))
}

struct Running {
    state: AppState,
    generation: Generation,
    writer: ChatWriter,
    shape: ResponseWriter,
    owner: Option<String>,
    /// Up to the input.
    conversation: Vec<ChatMessage>,
    finish: String,
}

impl Running {
    async fn whole(mut self) -> Result<Response, ApiError> {
        while let Some(output) = self.generation.next().await {
            self.take(output?);
        }
        self.end().await;
        Ok(self.shape.response().clone())
    }

    fn take(&mut self, (_, output): (usize, crate::engine::Output)) -> Vec<ResponseEvent> {
        let mut events = Vec::new();
        for part in self.writer.choices(output) {
            if let Some(reason) = part.finish_reason {
                self.finish = reason;
            }
            events.extend(self.shape.push(part.delta));
        }
        events
    }

    async fn end(&mut self) -> Vec<ResponseEvent> {
        let language = self.writer.languages().await.pop();
        let usage = self.generation.usage();
        let events = self.shape.finish(&self.finish, &usage, self.writer.reasoning_tokens, language);
        let response = self.shape.response();
        if response.store {
            let mut conversation = std::mem::take(&mut self.conversation);
            conversation.extend(answered(&response.output));
            self.state.responses().put(StoredResponse {
                response: response.clone(),
                owner: self.owner.take(),
                conversation,
            });
        }
        events
    }
}

fn streamed(mut running: Running) -> HttpResponse {
    let first = running.shape.start();
    let rest = stream::unfold(Some(running), |running| async move {
        let mut running = running?;
        match running.generation.next().await {
            Some(Ok(output)) => Some((running.take(output), Some(running))),
            Some(Err(error)) => Some((running.shape.fail(&error.body.message), None)),
            None => Some((running.end().await, None)),
        }
    });
    // As in `sse::respond`: unwinding ends the stream.
    let rest = AssertUnwindSafe(rest).catch_unwind().map(|events| {
        events.unwrap_or_else(|_| {
            let more = Map::from_iter([("message".to_owned(), json!("the server failed on this request"))]);
            vec![ResponseEvent { kind: "error".to_owned(), sequence_number: 0, more }]
        })
    });
    let events = stream::once(async move { first }).chain(rest);
    let events = events
        .flat_map(|events| stream::iter(events.into_iter().map(|event| Ok::<_, Infallible>(sent(&event)))));
    sse::keep_alive(events)
}

fn sent(event: &ResponseEvent) -> Event {
    match serde_json::to_string(event) {
        Ok(json) => Event::default().event(&event.kind).data(json),
        Err(error) => sse::error_event(ApiError::internal(format!("an event could not be written: {error}"))),
    }
}

fn in_progress(request: &ResponseRequest, model: &str) -> Response {
    let text = request.text.clone().unwrap_or_default();
    let plain = TextFormat { kind: "text".to_owned(), ..TextFormat::default() };
    Response {
        id: format!("resp_{}", Uuid::new_v4().simple()),
        object: "response".to_owned(),
        created_at: now_s(),
        status: "in_progress".to_owned(),
        error: None,
        incomplete_details: None,
        instructions: request.instructions.clone(),
        max_output_tokens: request.max_output_tokens,
        model: model.to_owned(),
        output: Vec::new(),
        parallel_tool_calls: request.parallel_tool_calls.unwrap_or(true),
        previous_response_id: request.previous_response_id.clone(),
        reasoning: request.reasoning.clone().unwrap_or_default(),
        store: request.store.unwrap_or(true),
        temperature: request.temperature,
        text: TextOptions { format: Some(text.format.unwrap_or(plain)), ..text },
        tool_choice: request.tool_choice.clone().unwrap_or(ResponseToolChoice::Word(ToolChoiceWord::Auto)),
        tools: request.tools.clone().unwrap_or_default(),
        top_p: request.top_p,
        truncation: "disabled".to_owned(),
        usage: None,
        metadata: request.metadata.clone().unwrap_or_default(),
        language: None,
    }
}

fn chat_request(request: &ResponseRequest, conversation: &[ChatMessage]) -> ChatRequest {
    let instructions = request.instructions.iter().map(|text| ChatMessage::new("system", text.clone()));
    ChatRequest {
        model: request.model.clone(),
        messages: instructions.chain(conversation.iter().cloned()).collect(),
        chat_template_kwargs: request.reasoning.as_ref().and_then(template_arguments),
        separate_reasoning: Some(true),
        tools: request.tools.as_ref().map(|tools| tools.iter().map(Tool::from).collect()),
        tool_choice: request.tool_choice.as_ref().map(ToolChoice::from),
        parallel_tool_calls: request.parallel_tool_calls,
        reasoning_language: request.reasoning_language.clone(),
        thinking_prefix: request.thinking_prefix,
        reasoning_steer: request.reasoning_steer,
        thinking_token_budget: request.thinking_token_budget,
        sampling: SamplingFields {
            temperature: request.temperature,
            top_p: request.top_p,
            top_k: request.top_k,
            min_p: request.min_p,
            repetition_penalty: request.repetition_penalty,
            seed: request.seed,
            max_completion_tokens: request.max_output_tokens,
            response_format: request.text.as_ref().and_then(|text| text.format.as_ref()).map(Into::into),
            ..SamplingFields::default()
        },
        ..ChatRequest::default()
    }
}

fn template_arguments(reasoning: &ReasoningOptions) -> Option<Map<String, Value>> {
    let effort = reasoning.effort.as_deref()?;
    let (name, value) = if effort == "none" {
        ("enable_thinking", json!(false))
    } else {
        ("reasoning_effort", json!(effort))
    };
    Some(Map::from_iter([(name.to_owned(), value)]))
}

/// An input as a chat's messages: calls and reasoning go into the assistant's message that they belong to.
fn messages(input: &Input) -> Result<Vec<ChatMessage>, BadRequest> {
    let items = match input {
        Input::Text(text) => return Ok(vec![ChatMessage::new("user", text.clone())]),
        Input::Items(items) => items,
    };
    let mut messages: Vec<ChatMessage> = Vec::new();
    // Whether the last message is one that items are still put into.
    let mut grows = false;
    for (at, item) in items.iter().enumerate() {
        let path = format!("input.{at}");
        let text = |value: &Option<Value>, name: &str| match value {
            Some(value) => text_of(value, &format!("{path}.{name}")),
            None => Ok(String::new()),
        };
        match item.kind() {
            "function_call_output" => {
                let call_id = item.call_id.clone();
                messages.push(ChatMessage {
                    tool_call_id: call_id,
                    ..ChatMessage::new("tool", text(&item.output, "output")?)
                });
                grows = false;
            }
            "message" if item.role.as_deref() != Some("assistant") => {
                let role = item.role.clone().unwrap_or_default();
                messages.push(ChatMessage::new(role, text(&item.content, "content")?));
                grows = false;
            }
            kind => {
                let said = text(&item.content, "content")?;
                let is_message = kind == "message";
                let full =
                    messages.last().is_some_and(|last| last.content.is_some() || last.tool_calls.is_some());
                if !grows || (is_message && full) {
                    messages.push(ChatMessage { content: None, ..ChatMessage::new("assistant", "") });
                    grows = true;
                }
                if let Some(message) = messages.last_mut() {
                    put_into(message, item, said);
                }
            }
        }
    }
    Ok(messages)
}

fn put_into(message: &mut ChatMessage, item: &InputItem, said: String) {
    match item.kind() {
        "reasoning" => message.reasoning_content.get_or_insert_default().push_str(&said),
        "function_call" => {
            let part = |part: &Option<String>| part.clone().unwrap_or_default();
            let function = CalledFunction { name: part(&item.name), arguments: part(&item.arguments) };
            let call = ToolCall { id: part(&item.call_id), kind: "function".to_owned(), function };
            message.tool_calls.get_or_insert_default().push(call);
        }
        _ => message.content = ChatMessage::new("assistant", said).content,
    }
}

/// The output as the messages that the conversation goes on after.
fn answered(output: &[OutputItem]) -> Vec<ChatMessage> {
    let item = |item: &OutputItem| serde_json::from_value(json!(item)).unwrap_or_default();
    messages(&Input::Items(output.iter().map(item).collect())).unwrap_or_default()
}

fn not_stored(id: &str, param: &str) -> ApiError {
    let shown: String = id.chars().take(100).collect();
    ApiError::not_found("response", &shown).with_param(param)
}

/// Fields of the chat that it was turned into, by the names that the client knows.
fn renamed(mut error: ApiError) -> ApiError {
    error.body.message = own_words(&error.body.message);
    error.body.param = error.body.param.map(|param| own_name(&param));
    error
}

fn in_own_words(mut error: BadRequest) -> BadRequest {
    error.message = own_words(&error.message);
    error.param = error.param.map(|param| own_name(&param));
    error
}

fn own_words(message: &str) -> String {
    message.replace("`response_format`", "`text.format`").replace("`max_tokens`", "`max_output_tokens`")
}

fn own_name(param: &str) -> String {
    const NAMES: [(&str, &str); 5] = [
        ("response_format.json_schema", "text.format"),
        ("chat_template_kwargs.reasoning_effort", "reasoning.effort"),
        ("response_format", "text.format"),
        ("max_completion_tokens", "max_output_tokens"),
        ("max_tokens", "max_output_tokens"),
    ];
    if let Some(tool) = param.strip_prefix("tools.") {
        return format!("tools.{}", tool.replace(".function", ""));
    }
    // Messages are not items: instructions and what was before stand among them.
    if param == "messages" || param.starts_with("messages.") {
        return "input".to_owned();
    }
    let renamed = NAMES.iter().find_map(|(chat, own)| Some(format!("{own}{}", param.strip_prefix(chat)?)));
    renamed.unwrap_or_else(|| param.replace(".function.", "."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(items: Value) -> Vec<Value> {
        let input: Input = serde_json::from_value(items).unwrap();
        messages(&input).unwrap().iter().map(ChatMessage::template_value).collect()
    }

    #[test]
    fn items_become_the_messages_of_a_chat() {
        let read = read(json!([
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "input_text", "text": "6 times 7?"}]},
            {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}], "summary": []},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I ask.", "annotations": []}]},
            {"type": "function_call", "call_id": "c", "name": "mul", "arguments": "{\"x\": 6}"},
            {"type": "function_call_output", "call_id": "c", "output": "42"},
            {"role": "assistant", "content": "42"},
            {"role": "assistant", "content": "Yes."}
        ]));
        assert_eq!(read.len(), 6);
        assert_eq!(read[0], json!({"role": "system", "content": "Be brief."}));
        assert_eq!(read[2]["reasoning_content"], "hm");
        assert_eq!(read[2]["content"], "I ask.");
        assert_eq!(read[2]["tool_calls"][0]["function"], json!({"name": "mul", "arguments": {"x": 6}}));
        assert_eq!(read[3], json!({"role": "tool", "content": "42", "tool_call_id": "c"}));
        assert_eq!((&read[4]["content"], &read[5]["content"]), (&json!("42"), &json!("Yes.")));
    }

    #[test]
    fn fields_are_named_as_the_client_knows_them() {
        for (chat, own) in [
            ("messages.2.content", "input"),
            ("chat_template_kwargs.reasoning_effort", "reasoning.effort"),
            ("response_format.json_schema.schema", "text.format.schema"),
            ("response_format", "text.format"),
            ("max_completion_tokens", "max_output_tokens"),
            ("tools.0.function.name", "tools.0.name"),
            ("temperature", "temperature"),
        ] {
            assert_eq!(own_name(chat), own);
        }
    }
}
