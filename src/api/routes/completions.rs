//! `POST /v1/completions`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use uuid::Uuid;

use crate::api::augmented_prompt::{self, Query};
use crate::api::body::StrictJson;
use crate::api::completion_writer::{CompletionWriter, PromptText, fold};
use crate::api::error::ApiError;
use crate::api::generation::{Generation, Length, PromptIds, Task};
use crate::api::guidance;
use crate::api::prompt_embeds;
use crate::api::prompt_text::{encode_prompt, truncate_front, truncation};
use crate::api::request_log::RequestLog;
use crate::api::sampling::{
    Asked, at_most, check_cache_salt, check_logprobs, output_options, sampling_params,
};
use crate::api::state::AppState;
use crate::api::token_text::TokenText;
use crate::api::{now_s, sse};
use crate::engine::LogprobsMode;
use crate::model::augmented::AugmentedPrompts;
use crate::protocol::completions::{CompletionRequest, CompletionResponse, PromptEmbeds};
use crate::protocol::{ErrorResponse, Prompt};
use crate::registry::ServedModel;

/// OpenAI's own default.
const MAX_TOKENS_DEFAULT: usize = 16;

/// Continue one prompt or several.
#[utoipa::path(
    post,
    path = "/v1/completions",
    tag = "completions",
    request_body = CompletionRequest,
    responses(
        (status = 200, description = "The completion; with `stream: true` its chunks as server-sent events",
         body = CompletionResponse),
        (status = 400, body = ErrorResponse),
        (status = 401, body = ErrorResponse),
        (status = 404, body = ErrorResponse),
        (status = 413, body = ErrorResponse),
        (status = 429, body = ErrorResponse)
    )
)]
pub async fn create_completion(
    State(state): State<AppState>,
    Extension(log): Extension<Arc<RequestLog>>,
    StrictJson(request): StrictJson<CompletionRequest>,
) -> Result<Response, ApiError> {
    let model = state.ready_model(&log, request.model.as_deref()).await?;
    let field = prompt_field(&request);
    let stream =
        (request.sampling.stream == Some(true)).then(|| request.sampling.stream_options.unwrap_or_default());
    let (task, writer) = prepare(&state, model, request).await?;
    let generation =
        Generation::start(task, state.metrics(), log).map_err(|error| error.with_prompt_param(field))?;
    if let Some(options) = stream {
        return Ok(sse::respond(generation, writer, options));
    }
    Ok(Json(collect(generation, writer).await?).into_response())
}

/// Where the request's prompts are.
fn prompt_field(request: &CompletionRequest) -> &'static str {
    if request.prompt_embeds.is_some() { "prompt_embeds" } else { "prompt" }
}

async fn prepare(
    state: &AppState,
    model: Arc<ServedModel>,
    mut request: CompletionRequest,
) -> Result<(Task, CompletionWriter), ApiError> {
    let field = prompt_field(&request);
    // Large, and not to be kept for as long as the answer takes.
    let (prompt, embeds) = (request.prompt.take().unwrap_or_default(), request.prompt_embeds.take());
    let (fields, limits) = (&request.sampling, &state.options().limits);
    let echo = request.echo == Some(true);
    check_logprobs("logprobs", request.logprobs, limits)?;
    check_logprobs("prompt_logprobs", fields.prompt_logprobs, limits)?;
    check_cache_salt(fields, limits)?;
    let count = match (&embeds, &prompt) {
        (Some(embeds), _) => embeds.as_slice().len(),
        (None, Prompt::Text(_) | Prompt::Ids(_)) => 1,
        (None, Prompt::Texts(texts)) => texts.len(),
        (None, Prompt::IdLists(lists)) => lists.len(),
    };
    if count == 0 {
        return Err(ApiError::invalid(field, format!("`{field}` must not be an empty list")));
    }
    at_most(field, count, limits.prompts_max, "prompts")?;
    let vector_room = embeds.as_ref().map(|embeds| state.vector_room(embeds.bytes_max())).transpose()?;

    // `max_tokens: 0` with `echo` scores the prompt; the engine always makes a token, which is then not shown.
    let score_only = echo && fields.max_tokens() == Some(0);
    let length = match fields.max_tokens() {
        Some(_) if score_only => Length::Exactly(1),
        Some(tokens) => Length::Exactly(tokens as usize),
        None => Length::UpTo(model.generation_defaults.max_tokens.unwrap_or(MAX_TOKENS_DEFAULT)),
    };
    let asked = Asked {
        logprobs: request.logprobs,
        prompt_logprobs: fields.prompt_logprobs.max(request.logprobs.filter(|_| echo)),
        prompts: count,
        // A prompt's logprobs are raw, and `echo` puts both into one list.
        logprobs_mode: if echo { LogprobsMode::Raw } else { state.logprobs_mode() },
    };
    let params = sampling_params(fields, asked, &model.generation_defaults, limits)?;
    let output = output_options(fields, limits)?;
    let (Length::Exactly(room) | Length::UpTo(room)) = length;
    if model.augmented.is_some() {
        augmented_prompt::refuse_truncation(fields.truncate_prompt_tokens)?;
    }
    let truncate = truncation(fields.truncate_prompt_tokens, model.max_model_len, room)?;

    let add_special_tokens = fields.add_special_tokens.unwrap_or(true);
    let (for_text, language, form) = (model.clone(), fields.language.clone(), fields.form()?);
    let read = state.blocking(move || {
        let guidance = guidance::of_completion(&for_text, form)?;
        let prompts = match (&for_text.augmented, embeds) {
            (_, Some(embeds)) => read_embeds(&for_text, &embeds),
            (Some(augmented), None) => read_queries(&for_text, augmented, prompt, echo, language.as_deref()),
            (None, None) => read_prompts(&for_text, prompt, echo, add_special_tokens, truncate),
        };
        Ok::<_, ApiError>((guidance, prompts?))
    });
    let (guidance, prompts) = read.await??;
    let writer = CompletionWriter {
        id: format!("cmpl-{}", Uuid::new_v4().simple()),
        created: now_s(),
        model: model.name.clone(),
        n: params.n,
        offsets: vec![0; prompts.len() * params.n as usize],
        tokens: TokenText {
            tokenizer: model.tokenizer.clone(),
            as_ids: fields.return_tokens_as_token_ids == Some(true),
        },
        logprobs: request.logprobs,
        prompt_logprobs: fields.prompt_logprobs,
        token_ids: fields.return_token_ids == Some(true),
        score_only,
        prompts,
        vector_room,
    };
    let task = Task {
        prompts: writer.prompts.iter().map(|prompt| prompt.prompt.clone()).collect(),
        model,
        params,
        length,
        guidance,
        output,
        cache_salt: fields.cache_salt.clone(),
        priority: fields.priority.unwrap_or(0),
    };
    Ok((task, writer))
}

fn read_prompts(
    model: &ServedModel,
    prompt: Prompt,
    echo: bool,
    add_special_tokens: bool,
    truncate: Option<usize>,
) -> Result<Vec<PromptText>, ApiError> {
    let text = |text: String| {
        let ids = encode_prompt(model, "prompt", &text, add_special_tokens, truncate)
            .map_err(|error| error.with_prompt_param("prompt"))?;
        // A truncated prompt is echoed as it was read, not as it was sent.
        if echo && truncate.is_some() {
            from_ids(model, ids, true)
        } else {
            Ok(PromptText { prompt: PromptIds::tokens_alone(ids), echo: echo.then_some(text) })
        }
    };
    let list = |mut ids: Vec<u32>| {
        truncate_front(&mut ids, truncate);
        from_ids(model, ids, echo)
    };
    match prompt {
        Prompt::Text(prompt) => Ok(vec![text(prompt)?]),
        Prompt::Texts(prompts) => prompts.into_iter().map(text).collect(),
        Prompt::Ids(ids) => Ok(vec![list(ids)?]),
        Prompt::IdLists(prompts) => prompts.into_iter().map(list).collect(),
    }
}

fn read_embeds(model: &ServedModel, embeds: &PromptEmbeds) -> Result<Vec<PromptText>, ApiError> {
    let one = |(at, sent): (usize, &String)| {
        let field = match embeds {
            PromptEmbeds::One(_) => "prompt_embeds".to_owned(),
            PromptEmbeds::Many(_) => format!("prompt_embeds.{at}"),
        };
        Ok(PromptText { prompt: prompt_embeds::read(model, &field, sent)?, echo: None })
    };
    embeds.as_slice().iter().enumerate().map(one).collect()
}

fn from_ids(model: &ServedModel, ids: Vec<u32>, echo: bool) -> Result<PromptText, ApiError> {
    let text = echo.then(|| model.tokenizer.decode(&ids, true)).transpose();
    let echo = text.map_err(|error| ApiError::invalid("prompt", error.to_string()))?;
    Ok(PromptText { prompt: PromptIds::tokens_alone(ids), echo })
}

/// Echoed is what the language model reads, for its tokens are those that have logprobs.
fn read_queries(
    model: &ServedModel,
    augmented: &AugmentedPrompts,
    prompt: Prompt,
    echo: bool,
    language: Option<&str>,
) -> Result<Vec<PromptText>, ApiError> {
    let texts = match prompt {
        Prompt::Text(text) => vec![text],
        Prompt::Texts(texts) => texts,
        Prompt::Ids(_) | Prompt::IdLists(_) => return Err(augmented_prompt::refuse_ids(model)),
    };
    let one = |text: String| {
        let query = Query { field: "prompt", text: &text, opening: "", language };
        let prompt = augmented_prompt::read(model, augmented, &query);
        let prompt = prompt.map_err(|error| error.with_prompt_param("prompt"))?;
        Ok(PromptText { prompt, echo: echo.then(|| augmented.text(&text)) })
    };
    texts.into_iter().map(one).collect()
}

async fn collect(
    mut generation: Generation,
    mut writer: CompletionWriter,
) -> Result<CompletionResponse, ApiError> {
    let mut choices = writer.blank_choices();
    while let Some(output) = generation.next().await {
        let (prompt, output) = output?;
        for part in writer.choices(prompt, output) {
            fold(&mut choices[part.index as usize], part);
        }
    }
    Ok(writer.response(choices, Some(writer.usage(generation.usage()))))
}
