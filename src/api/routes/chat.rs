//! `POST /v1/chat/completions`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use uuid::Uuid;

use crate::api::augmented_prompt::{self, Query};
use crate::api::body::StrictJson;
use crate::api::chat_writer::{ChatWriter, fold};
use crate::api::choice_text::ChoiceText;
use crate::api::error::ApiError;
use crate::api::generation::{Generation, Length, PromptIds, Task};
use crate::api::guidance::{self, TraceWishes};
use crate::api::language_watch::LanguageWatch;
use crate::api::prompt_text::{
    ChatPrompt, check_message_counts, check_template_arguments, encode_prompt, render, render_in, truncation,
};
use crate::api::request_log::RequestLog;
use crate::api::sampling::{Asked, check_cache_salt, check_logprobs, output_options, sampling_params};
use crate::api::state::AppState;
use crate::api::token_text::TokenText;
use crate::api::tools::ToolPlan;
use crate::api::{now_s, sse};
use crate::chat::{OPEN, ReasoningSplitter, begin_trace, is_open_trace, opens_reasoning};
use crate::language::{Language, UnknownLanguage};
use crate::protocol::ErrorResponse;
use crate::protocol::chat::{ChatRequest, ChatResponse};
use crate::registry::ServedModel;

/// Answer a conversation.
#[utoipa::path(
    post,
    path = "/v1/chat/completions",
    tag = "completions",
    request_body = ChatRequest,
    responses(
        (status = 200, description = "The answer; with `stream: true` `ChatChunk`s as server-sent events",
         body = ChatResponse),
        (status = 400, body = ErrorResponse),
        (status = 401, body = ErrorResponse),
        (status = 404, body = ErrorResponse),
        (status = 413, body = ErrorResponse),
        (status = 429, body = ErrorResponse)
    )
)]
pub async fn create_chat_completion(
    State(state): State<AppState>,
    Extension(log): Extension<Arc<RequestLog>>,
    StrictJson(request): StrictJson<ChatRequest>,
) -> Result<Response, ApiError> {
    let model = state.ready_model(&log, request.model.as_deref()).await?;
    let stream =
        (request.sampling.stream == Some(true)).then(|| request.sampling.stream_options.unwrap_or_default());
    let (task, writer) = prepare(&state, model, request).await?;
    let generation =
        Generation::start(task, state.metrics(), log).map_err(|error| error.with_prompt_param("messages"))?;
    match stream {
        Some(options) => Ok(sse::respond(generation, writer, options)),
        None => Ok(Json(collect(generation, writer).await?).into_response()),
    }
}

/// Whether the client began a trace that the model goes on with.
fn continues_trace(request: &ChatRequest) -> bool {
    let last = request.messages.last().filter(|last| last.role == "assistant");
    request.continue_final_message == Some(true)
        && last.and_then(|last| last.content.as_ref()).is_some_and(|content| is_open_trace(&content.text()))
}

/// What to generate, and what writes it down.
///
/// # Errors
/// The first field that cannot be honoured.
pub async fn prepare(
    state: &AppState,
    model: Arc<ServedModel>,
    request: ChatRequest,
) -> Result<(Task, ChatWriter), ApiError> {
    let (fields, limits) = (&request.sampling, &state.options().limits);
    check_logprobs("top_logprobs", request.top_logprobs, limits)?;
    check_logprobs("prompt_logprobs", fields.prompt_logprobs, limits)?;
    check_cache_salt(fields, limits)?;
    check_template_arguments(request.chat_template_kwargs.as_ref(), limits)?;
    check_message_counts(&request.messages, limits)?;

    let length = match fields.max_tokens() {
        Some(tokens) => Length::Exactly(tokens as usize),
        None => Length::UpTo(model.generation_defaults.max_tokens.unwrap_or(usize::MAX)),
    };
    let wants_logprobs = request.logprobs == Some(true);
    let asked = Asked {
        logprobs: wants_logprobs.then(|| request.top_logprobs.unwrap_or(0)),
        prompt_logprobs: fields.prompt_logprobs,
        prompts: 1,
        logprobs_mode: state.logprobs_mode(),
    };
    let params = sampling_params(fields, asked, &model.generation_defaults, limits)?;
    let mut output = output_options(fields, limits)?;
    let room = if let Length::Exactly(tokens) = length { tokens } else { 1 };
    if model.augmented.is_some() {
        augmented_prompt::refuse_truncation(fields.truncate_prompt_tokens)?;
    }
    let truncate = truncation(fields.truncate_prompt_tokens, model.max_model_len, room)?;

    let tokens = TokenText {
        tokenizer: model.tokenizer.clone(),
        as_ids: fields.return_tokens_as_token_ids == Some(true),
    };
    let (token_ids, prompt_logprobs_asked) = (fields.return_token_ids == Some(true), fields.prompt_logprobs);
    let (cache_salt, priority) = (fields.cache_salt.clone(), fields.priority.unwrap_or(0));
    let separate = request.separate_reasoning.unwrap_or(model.default_reasoning);
    let language = reasoning_language(&model, &request)?;
    let tools = ToolPlan::new(&model, &request);
    output.skip_special_tokens &= !tools.as_ref().is_some_and(|tools| tools.keeps_special_tokens);
    let wishes = TraceWishes {
        language,
        budget: request.thinking_token_budget,
        steer: request.reasoning_steer.unwrap_or(0.0),
    };
    let (for_text, form, plan) = (model.clone(), fields.form()?, tools.clone());
    let read = state.blocking(move || {
        let continued = continues_trace(&request) || request.thinking_prefix == Some(true);
        let (text, prompt) = read_prompt(&for_text, request, plan.as_ref(), language, truncate)?;
        let in_trace = continued || opens_reasoning(&text);
        let guidance = guidance::of_chat(&for_text, form, plan.as_ref(), wishes, &text, in_trace)?;
        Ok::<_, ApiError>((prompt, in_trace, guidance))
    });
    let (prompt, in_trace, guidance) = read.await??;

    let splitter = separate.then(|| ReasoningSplitter::new(in_trace));
    let writer = ChatWriter {
        id: format!("chatcmpl-{}", Uuid::new_v4().simple()),
        created: now_s(),
        model: model.name.clone(),
        tokens,
        logprobs: wants_logprobs,
        prompt_token_ids: token_ids.then(|| prompt.ids.clone()),
        choices: (0..params.n).map(|_| ChoiceText::new(splitter.clone(), tools.as_ref())).collect(),
        prompt_logprobs: None,
        prompt_logprobs_asked,
        reasoning_tokens: 0,
        language: language.map(|target| LanguageWatch::new(state.clone(), target, params.n, in_trace)),
    };
    let prompts = vec![prompt];
    Ok((Task { model, prompts, params, length, guidance, output, cache_salt, priority }, writer))
}

/// The language that is asked for.
fn reasoning_language(model: &ServedModel, request: &ChatRequest) -> Result<Option<Language>, ApiError> {
    let Some(code) = &request.reasoning_language else { return Ok(None) };
    let language = code.parse().map_err(|error: UnknownLanguage| {
        ApiError::invalid("reasoning_language", format!("`reasoning_language`: {error}"))
    })?;
    if model.augmented.is_some() {
        let message = "a MindMerger model reads its own prompt, which has no place for a system text: leave out \
                       `reasoning_language`";
        return Err(ApiError::invalid("reasoning_language", message));
    }
    Ok(Some(language))
}

/// What the model goes on from, as text and as ids.
fn read_prompt(
    model: &ServedModel,
    request: ChatRequest,
    tools: Option<&ToolPlan>,
    language: Option<Language>,
    truncate: Option<usize>,
) -> Result<(String, PromptIds), ApiError> {
    if let Some(prompts) = &model.augmented {
        let (text, opening) =
            augmented_prompt::last_turn(&request.messages, request.continue_final_message == Some(true))?;
        let language = request.sampling.language.as_deref();
        let query = Query { field: "messages", text: &text, opening: &opening, language };
        let ids = augmented_prompt::read(model, prompts, &query);
        let ids = ids.map_err(|error| error.with_prompt_param("messages"))?;
        return Ok((prompts.text(&text) + &opening, ids));
    }
    let prompt = ChatPrompt {
        messages: &request.messages,
        add_generation_prompt: request.add_generation_prompt,
        continue_final_message: request.continue_final_message.unwrap_or(false),
        arguments: request.chat_template_kwargs.unwrap_or_default(),
        tools,
    };
    let mut text = match language {
        Some(language) => render_in(model, &prompt, language)?,
        None => render(model, &prompt)?,
    };
    if let Some(language) = language.filter(|_| request.thinking_prefix == Some(true)) {
        text = begin_trace(&text, &format!("{OPEN}\n{}", language.reasoning_texts().thinking_prefix));
    }
    // Templates write the special tokens themselves.
    let add_special_tokens = request.sampling.add_special_tokens.unwrap_or(false);
    let ids = encode_prompt(model, "messages", &text, add_special_tokens, truncate);
    let ids = ids.map_err(|error| error.with_prompt_param("messages"))?;
    Ok((text, PromptIds::tokens_alone(ids)))
}

async fn collect(mut generation: Generation, mut writer: ChatWriter) -> Result<ChatResponse, ApiError> {
    let mut choices = writer.blank_choices();
    while let Some(output) = generation.next().await {
        let (_, output) = output?;
        for part in writer.choices(output) {
            fold(&mut choices[part.index as usize], part);
        }
    }
    let usage = generation.usage();
    Ok(writer.response(choices, usage).await)
}
