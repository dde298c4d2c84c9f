//! `/tokenize`, `/detokenize` and `/tokenizer_info`.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};

use super::evals::query::Pairs;
use crate::api::augmented_prompt::{Query, last_turn, read};
use crate::api::body::StrictJson;
use crate::api::error::ApiError;
use crate::api::prompt_text::{ChatPrompt, check_message_counts, check_template_arguments, encode, render};
use crate::api::request_log::RequestLog;
use crate::api::sampling::at_most;
use crate::api::state::AppState;
use crate::api::tools::ToolPlan;
use crate::model::augmented::AugmentedPrompts;
use crate::protocol::tokenize::{
    DetokenizeRequest, DetokenizeResponse, TokenizeRequest, TokenizeResponse, TokenizerInfo,
};
use crate::protocol::{ChatMessage, ErrorResponse};
use crate::registry::ServedModel;
use crate::weights::SpecialTokens;

/// Text or messages to token ids.
#[utoipa::path(
    post,
    path = "/tokenize",
    tag = "tokens",
    request_body = TokenizeRequest,
    responses((status = 200, body = TokenizeResponse), (status = 400, body = ErrorResponse))
)]
pub async fn tokenize(
    State(state): State<AppState>,
    Extension(log): Extension<Arc<RequestLog>>,
    StrictJson(request): StrictJson<TokenizeRequest>,
) -> Result<Json<TokenizeResponse>, ApiError> {
    let model = state.ready_model(&log, request.model.as_deref()).await?;
    let limits = &state.options().limits;
    check_message_counts(request.messages.as_deref().unwrap_or_default(), limits)?;
    check_template_arguments(request.chat_template_kwargs.as_ref(), limits)?;
    let answer = state.blocking(move || {
        if let (Some(prompts), Some(messages)) = (&model.augmented, &request.messages) {
            return tokenize_turn(&model, prompts, messages, &request);
        }
        let is_chat = request.messages.is_some();
        let tools = ToolPlan::telling(&model, request.tools.as_deref().unwrap_or_default());
        let text = match request.messages {
            Some(messages) => render(
                &model,
                &ChatPrompt {
                    messages: &messages,
                    add_generation_prompt: request.add_generation_prompt,
                    continue_final_message: request.continue_final_message.unwrap_or(false),
                    arguments: request.chat_template_kwargs.unwrap_or_default(),
                    tools: tools.as_ref(),
                },
            )?,
            None => request.prompt.unwrap_or_default(),
        };
        let field = if is_chat { "messages" } else { "prompt" };
        let tokens = encode(&model, field, &text, request.add_special_tokens.unwrap_or(!is_chat))?;
        Ok(response(&model, tokens.len(), tokens, request.return_token_strs))
    });
    Ok(Json(answer.await??))
}

/// The tokens that the language model of a MindMerger model reads; the count has the encoder's vectors too, as usage has.
fn tokenize_turn(
    model: &ServedModel,
    prompts: &AugmentedPrompts,
    messages: &[ChatMessage],
    request: &TokenizeRequest,
) -> Result<TokenizeResponse, ApiError> {
    let (text, opening) = last_turn(messages, request.continue_final_message == Some(true))?;
    let query =
        Query { field: "messages", text: &text, opening: &opening, language: request.language.as_deref() };
    let prompt = read(model, prompts, &query)?;
    Ok(response(model, prompt.tokens(), prompt.ids, request.return_token_strs))
}

fn response(
    model: &ServedModel,
    count: usize,
    tokens: Vec<u32>,
    return_token_strs: Option<bool>,
) -> TokenizeResponse {
    let spelling = |id: &u32| model.tokenizer.id_to_token(*id).unwrap_or_default();
    let token_strs = (return_token_strs == Some(true)).then(|| tokens.iter().map(spelling).collect());
    TokenizeResponse { count, max_model_len: model.max_model_len, tokens, token_strs }
}

/// What the server's tokenizer and template are. `?model=` names one where several are served.
#[utoipa::path(
    get,
    path = "/tokenizer_info",
    tag = "tokens",
    params(("model" = Option<String>, Query, description = "The id from the list of models")),
    responses((status = 200, body = TokenizerInfo), (status = 404, body = ErrorResponse))
)]
pub async fn tokenizer_info(
    State(state): State<AppState>,
    Extension(log): Extension<Arc<RequestLog>>,
    query: Pairs,
) -> Result<Json<TokenizerInfo>, ApiError> {
    let query = query.only(&["model"])?;
    let model = state.ready_model(&log, query.get("model")).await?;
    let SpecialTokens { bos, eos, pad, unk } = model.special_tokens.clone();
    Ok(Json(TokenizerInfo {
        model: model.name.clone(),
        vocab_size: model.tokenizer.vocab_size(),
        model_max_length: model.max_model_len,
        bos_token: bos,
        eos_token: eos,
        pad_token: pad,
        unk_token: unk,
        eos_token_ids: model.handle.info().eos_token_ids.clone(),
        chat_template: model.template.as_ref().map(|template| template.source().to_owned()),
    }))
}

/// Token ids to text, special tokens included.
#[utoipa::path(
    post,
    path = "/detokenize",
    tag = "tokens",
    request_body = DetokenizeRequest,
    responses((status = 200, body = DetokenizeResponse), (status = 400, body = ErrorResponse))
)]
pub async fn detokenize(
    State(state): State<AppState>,
    Extension(log): Extension<Arc<RequestLog>>,
    StrictJson(request): StrictJson<DetokenizeRequest>,
) -> Result<Json<DetokenizeResponse>, ApiError> {
    let model = state.ready_model(&log, request.model.as_deref()).await?;
    at_most("tokens", request.tokens.len(), state.options().limits.detokenize_max, "ids")?;
    let vocab_size = model.handle.info().vocab_size;
    if let Some(at) = request.tokens.iter().position(|id| *id as usize >= vocab_size) {
        let message = format!("token id {} is outside the vocabulary of {vocab_size}", request.tokens[at]);
        return Err(ApiError::invalid(format!("tokens.{at}"), message));
    }
    let text = state.blocking(move || model.tokenizer.decode(&request.tokens, false)).await?;
    let prompt = text.map_err(|error| ApiError::internal(error.to_string()))?;
    Ok(Json(DetokenizeResponse { prompt }))
}
