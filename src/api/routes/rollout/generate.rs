//! `POST /generate`, in SGLang's shape, for trainers that speak it.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};

use crate::api::body::StrictJson;
use crate::api::completion_writer::stop_reason;
use crate::api::error::ApiError;
use crate::api::generation::{Generation, Length, PromptIds, Task, finish_reason};
use crate::api::prompt_text::encode_prompt;
use crate::api::request_log::RequestLog;
use crate::api::sampling::{Asked, at_most, check_logprobs, output_options, sampling_params};
use crate::api::state::AppState;
use crate::api::token_text::finite;
use crate::engine::output::Output;
use crate::engine::{FinishReason, LogprobsMode, TokenLogprob, TokenLogprobs};
use crate::protocol::completions::StopReason;
use crate::protocol::generate::{
    GenerateAnswer, GenerateFinish, GenerateRequest, Generated, GeneratedLogprob,
};
use crate::protocol::{ErrorResponse, Prompt};
use crate::registry::ServedModel;

/// Continue one prompt or several.
#[utoipa::path(
    post,
    path = "/generate",
    tag = "rollouts",
    request_body = GenerateRequest,
    responses(
        (status = 200, description = "The choice, or the list of them", body = GenerateAnswer),
        (status = 400, body = ErrorResponse),
        (status = 401, body = ErrorResponse),
        (status = 404, body = ErrorResponse),
        (status = 429, body = ErrorResponse)
    )
)]
pub async fn generate(
    State(state): State<AppState>,
    Extension(log): Extension<Arc<RequestLog>>,
    StrictJson(request): StrictJson<GenerateRequest>,
) -> Result<Response, ApiError> {
    let name = request.lora_path.as_deref().filter(|name| !name.is_empty());
    let model = state.ready_model(&log, name).await?;
    let (prompt, many) = request.prompts();
    let field = if request.text.is_some() { "text" } else { "input_ids" };
    let task = task(&state, model, &request, prompt, field).await?;
    let mut answers = Answers::new(&request, &task, &log.id);
    let mut generation =
        Generation::start(task, state.metrics(), log).map_err(|error| error.with_prompt_param(field))?;
    while let Some(output) = generation.next().await {
        let (prompt, output) = output?;
        answers.take(prompt, output);
    }
    let mut choices = answers.choices;
    if many || choices.len() > 1 {
        return Ok(Json(GenerateAnswer::Many(choices)).into_response());
    }
    Ok(Json(GenerateAnswer::One(choices.pop().unwrap_or_default())).into_response())
}

async fn task(
    state: &AppState,
    model: Arc<ServedModel>,
    request: &GenerateRequest,
    prompt: Prompt,
    field: &'static str,
) -> Result<Task, ApiError> {
    let limits = &state.options().limits;
    let count = match &prompt {
        Prompt::Text(_) | Prompt::Ids(_) => 1,
        Prompt::Texts(texts) => texts.len(),
        Prompt::IdLists(lists) => lists.len(),
    };
    if count == 0 {
        return Err(ApiError::invalid(field, format!("`{field}` must not be an empty list")));
    }
    at_most(field, count, limits.prompts_max, "prompts")?;
    if model.augmented.is_some() {
        return Err(ApiError::invalid(field, "a MindMerger model answers chats and completions alone"));
    }
    check_logprobs("top_logprobs_num", request.top_logprobs_num, limits)?;
    let fields = request.sampling_params.clone().unwrap_or_default().fields();
    let top = request.top_logprobs_num.unwrap_or(0);
    let wants = request.return_logprob == Some(true);
    let asked = Asked {
        logprobs: wants.then_some(top),
        prompt_logprobs: (wants && request.logprob_start_len.is_some_and(|start| start >= 0)).then_some(top),
        prompts: count,
        logprobs_mode: LogprobsMode::Scaled,
    };
    let nested = |mut error: ApiError| {
        error.body.param = error.body.param.map(|param| format!("sampling_params.{}", sglang_name(&param)));
        error
    };
    let params = sampling_params(&fields, asked, &model.generation_defaults, limits).map_err(nested)?;
    let output = output_options(&fields, limits).map_err(nested)?;
    let for_text = model.clone();
    let prompts = state.blocking(move || read_prompts(&for_text, field, prompt)).await??;
    let length = Length::Exactly(fields.max_tokens.unwrap_or(0) as usize);
    let priority = request.priority.unwrap_or(0);
    Ok(Task { model, prompts, params, length, guidance: None, output, cache_salt: None, priority })
}

fn sglang_name(param: &str) -> &str {
    match param {
        "max_tokens" => "max_new_tokens",
        "min_tokens" => "min_new_tokens",
        other => other,
    }
}

fn read_prompts(
    model: &ServedModel,
    field: &'static str,
    prompt: Prompt,
) -> Result<Vec<PromptIds>, ApiError> {
    let text = |text: String| encode_prompt(model, field, &text, true, None).map(PromptIds::tokens_alone);
    match prompt {
        Prompt::Text(one) => Ok(vec![text(one)?]),
        Prompt::Texts(texts) => texts.into_iter().map(text).collect(),
        Prompt::Ids(ids) => Ok(vec![PromptIds::tokens_alone(ids)]),
        Prompt::IdLists(lists) => Ok(lists.into_iter().map(PromptIds::tokens_alone).collect()),
    }
}

/// The choices of a request as they grow, prompt-major.
struct Answers {
    choices: Vec<Generated>,
    prompts: Vec<Vec<u32>>,
    n: usize,
    /// Where the prompt's logprobs begin.
    input_start: Option<usize>,
    top: bool,
}

impl Answers {
    fn new(request: &GenerateRequest, task: &Task, id: &str) -> Self {
        let n = task.params.n as usize;
        let prompts: Vec<Vec<u32>> = task.prompts.iter().map(|prompt| prompt.ids.clone()).collect();
        let (wants, top) = (task.params.logprobs.is_some(), request.top_logprobs_num.is_some_and(|k| k > 0));
        let several = prompts.len() * n > 1;
        let blank = |at: usize| {
            let mut choice = Generated::default();
            let meta = &mut choice.meta_info;
            meta.id = if several { format!("{id}-{at}") } else { id.to_owned() };
            meta.prompt_tokens = prompts[at / n].len();
            meta.weight_version = task.model.weight_version().to_string();
            meta.output_token_logprobs = wants.then(Vec::new);
            meta.output_top_logprobs = (wants && top).then(Vec::new);
            meta.input_token_logprobs = wants.then(Vec::new);
            meta.input_top_logprobs = (wants && top).then(Vec::new);
            choice
        };
        let choices = (0..prompts.len() * n).map(blank).collect();
        let start = request.logprob_start_len.filter(|_| task.params.prompt_logprobs.is_some());
        let input_start = start.and_then(|start| usize::try_from(start).ok());
        Self { choices, prompts, n, input_start, top: wants && top }
    }

    fn take(&mut self, prompt: usize, output: Output) {
        match output {
            Output::Scheduled { cached_tokens, prompt_logprobs, .. } => {
                let first = prompt * self.n;
                let ids = &self.prompts[prompt];
                for choice in &mut self.choices[first..first + self.n] {
                    choice.meta_info.cached_tokens = cached_tokens;
                    if let Some(start) = self.input_start {
                        input_logprobs(choice, ids, start, &prompt_logprobs, self.top);
                    }
                }
            }
            Output::Delta { choice, text, tokens } => {
                let Generated { text: so_far, output_ids, meta_info } =
                    &mut self.choices[prompt * self.n + choice as usize];
                so_far.push_str(&text);
                for (id, logprobs) in tokens {
                    output_ids.push(id);
                    let chosen = logprobs.as_ref().map(|of| finite(of.chosen.logprob));
                    meta_info.output_token_logprobs.iter_mut().for_each(|list| list.push((chosen, id, None)));
                    let top = logprobs.as_ref().map(likeliest);
                    meta_info.output_top_logprobs.iter_mut().for_each(|list| list.push(top.clone()));
                }
            }
            Output::Finished { choice, reason, stop, completion_tokens, weight_version } => {
                let meta = &mut self.choices[prompt * self.n + choice as usize].meta_info;
                meta.completion_tokens = completion_tokens;
                if let Some(version) = weight_version {
                    meta.weight_version = version.to_string();
                }
                let matched = match reason {
                    FinishReason::EndOfSequence(id) => Some(StopReason::TokenId(id)),
                    _ => stop.map(stop_reason),
                };
                meta.finish_reason = GenerateFinish {
                    kind: finish_reason(reason).to_owned(),
                    matched,
                    length: (reason == FinishReason::Length).then_some(completion_tokens),
                    message: (reason == FinishReason::Cancelled).then(|| "Aborted".to_owned()),
                };
            }
            Output::Failed { .. } => {}
        }
    }
}

/// From `start` on; nothing predicts the first, and SGLang shows none for it wherever it is.
fn input_logprobs(
    choice: &mut Generated,
    ids: &[u32],
    start: usize,
    logprobs: &[Option<TokenLogprobs>],
    top: bool,
) {
    let of = |at: usize| logprobs.get(at).and_then(Option::as_ref).filter(|_| at > start);
    let positions = start.min(ids.len())..ids.len();
    let entry = |at: usize| (of(at).map(|of| finite(of.chosen.logprob)), ids[at], None);
    choice.meta_info.input_token_logprobs = Some(positions.clone().map(entry).collect());
    if top {
        choice.meta_info.input_top_logprobs = Some(positions.map(|at| of(at).map(likeliest)).collect());
    }
}

fn likeliest(logprobs: &TokenLogprobs) -> Vec<GeneratedLogprob> {
    let entry = |token: &TokenLogprob| (Some(finite(token.logprob)), token.token, None);
    logprobs.top.iter().map(entry).collect()
}
