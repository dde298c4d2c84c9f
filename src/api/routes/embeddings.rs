//! `POST /v1/embeddings`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::{Extension, Json};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::api::admission::Allowance;
use crate::api::body::StrictJson;
use crate::api::error::ApiError;
use crate::api::prompt_text::TEXT_BYTES_MAX;
use crate::api::request_log::RequestLog;
use crate::api::sampling::at_most;
use crate::api::state::{AppState, check_may_use};
use crate::protocol::embeddings::{Embedding, EmbeddingRequest, EmbeddingResponse, EmbeddingUsage, Vector};
use crate::protocol::{ErrorResponse, Prompt};
use crate::registry::{ENCODER_REQUESTS_MAX, ServedEncoder, batches};

/// Vectors of texts.
#[utoipa::path(
    post,
    path = "/v1/embeddings",
    tag = "embeddings",
    request_body = EmbeddingRequest,
    responses(
        (status = 200, body = EmbeddingResponse),
        (status = 400, body = ErrorResponse),
        (status = 401, body = ErrorResponse),
        (status = 404, body = ErrorResponse),
        (status = 413, body = ErrorResponse)
    )
)]
pub async fn create_embeddings(
    State(state): State<AppState>,
    Extension(log): Extension<Arc<RequestLog>>,
    StrictJson(request): StrictJson<EmbeddingRequest>,
) -> Result<Json<EmbeddingResponse>, ApiError> {
    if let Some(name) = &request.model {
        check_may_use(&log, name)?;
    }
    let encoder = encoder(&state, &log, request.model.as_deref())?;
    let _ = log.model.set(encoder.name.clone());
    let EmbeddingRequest { input, encoding_format, dimensions, truncate_prompt_tokens, .. } = request;
    if dimensions.is_some_and(|asked| asked as usize != encoder.dimensions()) {
        let message = format!("the vectors of `{}` have {} dimensions", encoder.name, encoder.dimensions());
        return Err(ApiError::invalid("dimensions", message));
    }
    let limit = state.options().limits.prompts_max;
    let truncate = truncation(truncate_prompt_tokens, encoder.max_tokens())?;
    let model = encoder.name.clone();
    let of = encoder.clone();
    let texts = state.blocking(move || ids(&of, input, limit, truncate)).await??;
    let tokens: u64 = texts.iter().map(|text| text.len() as u64).sum();
    log.prompt_tokens.store(tokens, Ordering::Relaxed);
    let place = place(&encoder)?;
    let mut allowance = Allowance::none(&log);
    allowance.reserve(tokens, 0).map_err(|error| error.with_param("input"))?;
    // Of a client that hangs up, too: batches of its texts may have been computed.
    allowance.begin();
    let vectors = embed(&encoder, place, texts).await?;
    let written = |vector: Vec<f32>| match encoding_format.as_deref() {
        Some("base64") => {
            let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
            Vector::Base64(STANDARD.encode(bytes))
        }
        _ => Vector::Floats(vector),
    };
    let data = (0..).zip(vectors).map(|(index, vector)| Embedding {
        object: "embedding".to_owned(),
        index,
        embedding: written(vector),
    });
    Ok(Json(EmbeddingResponse {
        object: "list".to_owned(),
        data: data.collect(),
        model,
        usage: EmbeddingUsage { prompt_tokens: tokens, total_tokens: tokens },
    }))
}

/// A place among the requests that an encoder has at once.
fn place(encoder: &ServedEncoder) -> Result<Arc<OwnedSemaphorePermit>, ApiError> {
    let place = encoder.places.clone().try_acquire_owned().map_err(|_| {
        ApiError::too_many(format!("the encoder has {ENCODER_REQUESTS_MAX} requests: retry later"))
    })?;
    Ok(Arc::new(place))
}

/// Batch by batch, so that others are served in between and a client that hangs up ends it.
async fn embed(
    encoder: &Arc<ServedEncoder>,
    place: Arc<OwnedSemaphorePermit>,
    texts: Vec<Vec<u32>>,
) -> Result<Vec<Vec<f32>>, ApiError> {
    let mut vectors = Vec::with_capacity(texts.len());
    for batch in batches(texts) {
        let of = encoder.clone();
        let computed = in_turn(&encoder.turn, &place, move || of.embed(&batch)).await?;
        vectors.extend(computed.map_err(|error| ApiError::invalid("input", error.to_string()))?);
    }
    Ok(vectors)
}

/// Computes on a blocking thread. A client that hangs up drops this future and not the work: turn and place go with the work.
async fn in_turn<T: Send + 'static>(
    turns: &Arc<Semaphore>,
    place: &Arc<OwnedSemaphorePermit>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    let turn = turns.clone().acquire_owned().await.map_err(|_| ApiError::internal("shutting down"))?;
    let held = (turn, place.clone());
    let computed = tokio::task::spawn_blocking(move || {
        let _held = held;
        work()
    });
    computed.await.map_err(ApiError::panicked)
}

/// The encoder that a request names; without a name the only one that its key may use.
fn encoder(state: &AppState, log: &RequestLog, name: Option<&str>) -> Result<Arc<ServedEncoder>, ApiError> {
    let mut encoders = state.registry().encoders();
    encoders.retain(|encoder| check_may_use(log, &encoder.name).is_ok());
    let names = || encoders.iter().map(|encoder| encoder.name.clone()).collect::<Vec<_>>();
    let Some(name) = name else {
        return match (encoders.pop(), encoders.is_empty()) {
            (Some(only), true) => Ok(only),
            (None, _) => Err(ApiError::invalid("model", NONE)),
            (Some(_), false) => {
                Err(ApiError::invalid("model", "several encoders are served: name one in `model`"))
            }
        };
    };
    if let Some(encoder) = encoders.iter().find(|encoder| encoder.name == name) {
        return Ok(encoder.clone());
    }
    match state.registry().get(name) {
        Ok(_) if encoders.is_empty() => Err(ApiError::invalid("model", NONE)),
        Ok(_) => {
            let message =
                format!("the model `{name}` writes texts; encoders here are {}", names().join(", "));
            Err(ApiError::invalid("model", message))
        }
        Err(_) => Err(ApiError::model_not_found(name, &names())),
    }
}

const NONE: &str = "no encoder is served here: start the server with --embedding-models";

fn truncation(asked: Option<i64>, most: usize) -> Result<Option<usize>, ApiError> {
    match asked {
        None => Ok(None),
        Some(-1) => Ok(Some(most)),
        Some(tokens) => match usize::try_from(tokens) {
            Ok(tokens) if (1..=most).contains(&tokens) => Ok(Some(tokens)),
            _ => {
                let message = format!("`truncate_prompt_tokens` must be -1 or from 1 to {most}");
                Err(ApiError::invalid("truncate_prompt_tokens", message))
            }
        },
    }
}

fn ids(
    encoder: &ServedEncoder,
    input: Prompt,
    limit: usize,
    truncate: Option<usize>,
) -> Result<Vec<Vec<u32>>, ApiError> {
    let read = |text: &str| {
        at_most("input", text.len(), TEXT_BYTES_MAX, "bytes of text")?;
        encoder.ids(text, truncate).map_err(|error| ApiError::invalid("input", error.to_string()))
    };
    let mut texts = match input {
        Prompt::Text(text) => vec![read(&text)?],
        Prompt::Texts(texts) => {
            at_most("input", texts.len(), limit, "texts")?;
            texts.iter().map(|text| read(text)).collect::<Result<_, _>>()?
        }
        Prompt::Ids(ids) => vec![ids],
        Prompt::IdLists(lists) => lists,
    };
    if texts.is_empty() {
        return Err(ApiError::invalid("input", "`input` must not be an empty list"));
    }
    at_most("input", texts.len(), limit, "texts")?;
    let (most, vocabulary) = (encoder.max_tokens(), encoder.vocab_size());
    let several = texts.len() > 1;
    for (at, ids) in texts.iter_mut().enumerate() {
        let param = || if several { format!("input.{at}") } else { "input".to_owned() };
        ids.truncate(truncate.unwrap_or(usize::MAX));
        if ids.is_empty() {
            return Err(ApiError::invalid(param(), "a text must have at least one token"));
        }
        if let Some(id) = ids.iter().find(|id| **id as usize >= vocabulary) {
            let message = format!("token id {id} is not in the encoder's vocabulary of {vocabulary}");
            return Err(ApiError::invalid(param(), message));
        }
        if ids.len() > most {
            let message = format!(
                "the text has {} tokens and the encoder reads {most}: shorten it, or set `truncate_prompt_tokens` to -1",
                ids.len()
            );
            return Err(ApiError::context_exceeded(message).with_param(param()));
        }
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_batch_whose_client_hung_up_keeps_its_turn_and_its_place() {
        let (turns, places) = (Arc::new(Semaphore::new(1)), Arc::new(Semaphore::new(1)));
        let place = Arc::new(places.clone().try_acquire_owned().unwrap());
        let (started, has_started) = tokio::sync::oneshot::channel::<()>();
        let (finish, told_to_finish) = std::sync::mpsc::channel::<()>();
        let work = {
            let turns = turns.clone();
            tokio::spawn(async move {
                let work = move || {
                    let _ = started.send(());
                    let _ = told_to_finish.recv();
                };
                in_turn(&turns, &place, work).await
            })
        };
        has_started.await.unwrap();
        work.abort();
        assert!(work.await.unwrap_err().is_cancelled());
        assert_eq!((turns.available_permits(), places.available_permits()), (0, 0));
        finish.send(()).unwrap();
        for freed in [turns.acquire(), places.acquire()] {
            assert!(tokio::time::timeout(Duration::from_secs(10), freed).await.is_ok());
        }
    }
}
