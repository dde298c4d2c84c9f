//! Routes over an engine that plays a script: what real engines do rarely (fail, hang, think) on demand.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use axum::response::Response;
use futures::StreamExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::auth::Peer;
use super::keys::ApiKeys;
use super::router::router;
use super::state::{ApiOptions, AppState};
use crate::chat::ChatTemplate;
use crate::engine::handle::{Command, Shared};
use crate::engine::{EngineHandle, EngineInfo, EngineStats, Event, Fault, FinishReason, MemoryPlan};
use crate::model::families;
use crate::ops::Workers;
use crate::registry::{EngineOptions, GenerationDefaults, Registry, ServedModel};
use crate::settings::Settings;
use crate::weights::{SpecialTokens, Tokenizer};

const MODEL: &str = "scripted";
const ADMIN_KEY: &str = "sk-admin";

/// Plays the same events for every request. Asked to drain it takes all the time it is given.
fn engine(script: Vec<Event>, vocab_size: usize) -> EngineHandle {
    let (commands, received) = mpsc::channel();
    let info = EngineInfo {
        max_model_len: 1000,
        vocab_size,
        hidden_size: 8,
        block_size: 32,
        num_blocks: 100,
        encoder_tokens_max: None,
        max_waiting: 10,
        max_n: 8,
        max_logprobs: 5,
        eos_token_ids: vec![2],
    };
    let shared = Arc::new(Shared {
        info,
        stats: EngineStats::default(),
        started: Instant::now(),
        draining: AtomicBool::new(false),
        stopped: OnceLock::new(),
        next_ticket: AtomicU64::new(0),
    });
    let counted = shared.clone();
    std::thread::spawn(move || {
        let mut drains = Some(Vec::new());
        for command in received {
            match command {
                Command::Generate(arrival) => {
                    counted.stats.requests_waiting.fetch_sub(1, Ordering::AcqRel);
                    let tokens = script.iter().filter(|event| matches!(event, Event::Token { .. })).count();
                    arrival.computed.fetch_add(tokens as u64, Ordering::Relaxed);
                    // A closed channel is a client that has gone.
                    let _ = arrival.events.send(script.clone());
                }
                // Dropped, a sender says that the engine has stopped.
                Command::Drain { done } => {
                    if let Some(drains) = &mut drains {
                        drains.push(done);
                    }
                }
                Command::FailAll { .. } => drains = None,
                Command::FinishChoice { .. }
                | Command::ResetPrefixCache { .. }
                | Command::Weights { .. }
                | Command::SwapWeights { .. }
                | Command::Pause { .. }
                | Command::Resume { .. }
                | Command::BeginUpdate { .. }
                | Command::EndUpdate => {}
            }
        }
    });
    EngineHandle { commands, shared }
}

fn tokenizer() -> Tokenizer {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models/qwen3");
    Tokenizer::load(&path).unwrap()
}

fn checkpoint_config() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models/qwen3/config.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

pub(super) fn model(script: Vec<Event>, template: &str) -> ServedModel {
    let tokenizer = tokenizer();
    ServedModel {
        name: MODEL.to_owned(),
        created: 0,
        source: "scripted".into(),
        handle: engine(script, tokenizer.vocab_size()),
        config: Arc::new(families::translate(&checkpoint_config()).unwrap()),
        adapter: None,
        tokenizer,
        guides: Arc::default(),
        template: Some(ChatTemplate::new(template, std::collections::BTreeMap::new()).unwrap()),
        template_problem: None,
        augmented: None,
        special_tokens: SpecialTokens::default(),
        generation_defaults: GenerationDefaults::default(),
        max_model_len: 1000,
        default_reasoning: true,
        dtype: "f32",
        weights_digest: Arc::default(),
        weight_bytes: 0,
        last_used: Arc::default(),
        plan: MemoryPlan::default(),
    }
}

fn state(model: ServedModel, mut options: ApiOptions) -> AppState {
    options.auth.admin = ApiKeys::new([ADMIN_KEY]);
    let registry = Registry::new(Workers::new(1), EngineOptions::from(&Settings::default()), "none".into());
    registry.add(model).unwrap();
    AppState::new(registry, options).unwrap()
}

fn scheduled() -> Event {
    Event::Scheduled { queued: Duration::ZERO, cached_tokens: 0, prompt_logprobs: Vec::new() }
}

/// The tokens of a text, then the end.
fn says(text: &str) -> Vec<Event> {
    let ids = tokenizer().encode(text, false).unwrap();
    let token = |token| Event::Token { choice: 0, token, logprobs: None, weight_version: 0 };
    let end = Event::Finished { choice: 0, reason: FinishReason::Length };
    [scheduled()].into_iter().chain(ids.into_iter().map(token)).chain([end]).collect()
}

async fn send(state: &AppState, method: &str, path: &str, body: &Value) -> Response {
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::AUTHORIZATION, format!("Bearer {ADMIN_KEY}"))
        .body(body)
        .unwrap();
    request.extensions_mut().insert(Peer("127.0.0.1:9".parse().unwrap()));
    router(state.clone()).oneshot(request).await.unwrap()
}

async fn text(response: Response) -> String {
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

async fn json_of(response: Response) -> Value {
    serde_json::from_str(&text(response).await).unwrap()
}

async fn chat(state: &AppState, more: Value) -> Response {
    let mut body = json!({"messages": [{"role": "user", "content": "Q"}], "max_tokens": 50});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    send(state, "POST", "/v1/chat/completions", &body).await
}

#[tokio::test]
async fn a_failure_in_the_middle_of_a_stream_is_an_event() {
    let script = vec![
        scheduled(),
        Event::Token { choice: 0, token: 40, logprobs: None, weight_version: 0 },
        Event::Failed { message: "step lost".into(), fault: Fault::Inside },
    ];
    let state = state(model(script, "x"), ApiOptions::default());
    let streamed = chat(&state, json!({"stream": true})).await;
    assert_eq!(streamed.status(), StatusCode::OK);
    let streamed = text(streamed).await;
    let events: Vec<&str> = streamed.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    let [.., error, done] = events.as_slice() else { panic!("{streamed}") };
    let error: Value = serde_json::from_str(error).unwrap();
    assert_eq!(error["error"]["type"], "server_error");
    assert!(error["error"]["message"].as_str().unwrap().contains("under its id"), "{error}");
    assert!(!streamed.contains("step lost"), "{streamed}");
    assert_eq!(*done, "[DONE]");

    let whole = chat(&state, json!({})).await;
    assert_eq!(whole.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(!text(whole).await.contains("step lost"));
}

#[tokio::test]
async fn what_the_request_itself_makes_impossible_is_a_400() {
    let why = "the grammar is too costly";
    let script = vec![scheduled(), Event::Failed { message: why.into(), fault: Fault::Request }];
    let state = state(model(script, "x"), ApiOptions::default());
    let whole = chat(&state, json!({})).await;
    assert_eq!(whole.status(), StatusCode::BAD_REQUEST);
    let error = json_of(whole).await["error"].clone();
    assert_eq!((&error["code"], &error["message"]), (&json!("cannot_go_on"), &json!(why)));
    let streamed = text(chat(&state, json!({"stream": true})).await).await;
    assert!(streamed.contains("\"type\":\"invalid_request_error\"") && streamed.contains(why), "{streamed}");
}

#[tokio::test]
async fn prompts_of_vectors_have_bounded_room_together() {
    let state = state(model(Vec::new(), "x"), ApiOptions::default());
    let first = state.vector_room(400 << 20).unwrap();
    assert!(state.vector_room(100 << 20).is_ok());
    let refused = state.vector_room(200 << 20).unwrap_err();
    assert_eq!(
        (refused.status, refused.body.code.as_deref()),
        (StatusCode::TOO_MANY_REQUESTS, Some("queue_full"))
    );
    drop(first);
    // One that is larger than all the room takes it all, and comes alone.
    let whole = state.vector_room(usize::MAX).unwrap();
    assert!(state.vector_room(0).is_err());
    drop(whole);
    assert!(state.vector_room(0).is_ok());
}

#[tokio::test]
async fn a_cause_that_helps_is_told() {
    let cause = "the model produced logits that are not finite numbers: its weights may be damaged";
    let script = vec![scheduled(), Event::Failed { message: cause.into(), fault: Fault::Engine }];
    let state = state(model(script, "x"), ApiOptions::default());
    assert_eq!(json_of(chat(&state, json!({})).await).await["error"]["message"], cause);
}

/// Under the key of [`send`].
fn charged(state: &AppState) -> u64 {
    state.keys().find(ADMIN_KEY).unwrap().usage.tokens.load(Ordering::Relaxed)
}

#[tokio::test]
async fn tokens_that_nobody_read_are_charged() {
    let script = says("one two three four five six seven");
    let computed = script.iter().filter(|event| matches!(event, Event::Token { .. })).count() as u64;
    let state = state(model(script, "x"), ApiOptions::default());
    let whole = json_of(chat(&state, json!({})).await).await;
    let of_prompt = whole["usage"]["prompt_tokens"].as_u64().unwrap();
    assert_eq!(charged(&state), of_prompt + computed);
    let mut pieces = chat(&state, json!({"stream": true})).await.into_body().into_data_stream();
    pieces.next().await.unwrap().unwrap();
    drop(pieces);
    assert_eq!(charged(&state), 2 * (of_prompt + computed));
}

#[tokio::test]
async fn prompts_that_never_came_to_the_engine_are_not_charged() {
    let state = state(model(Vec::new(), "x"), ApiOptions::default());
    let begin = async |prompts: usize| {
        let body = json!({"prompt": vec!["one two three"; prompts], "stream": true, "max_tokens": 5});
        drop(send(&state, "POST", "/v1/completions", &body).await);
    };
    begin(1).await;
    let of_one = charged(&state);
    assert!(of_one > 0);
    // Two are a request's share of a queue of ten.
    begin(6).await;
    assert_eq!(charged(&state), 3 * of_one);
}

/// Log lines as they are written.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn every_log_line_of_a_request_has_its_id() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
    let _installed = tracing::subscriber::set_default(subscriber);
    let script = vec![scheduled(), Event::Failed { message: "step lost".into(), fault: Fault::Inside }];
    let state = state(model(script, "x"), ApiOptions::default());
    let streamed = chat(&state, json!({"stream": true})).await;
    let id = streamed.headers()["x-request-id"].to_str().unwrap().to_owned();
    text(streamed).await;
    let written = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let written: Vec<Value> = written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let detail = written.iter().find(|line| line["fields"]["message"] == "the engine failed on a request");
    let detail = detail.unwrap_or_else(|| panic!("{written:?}"));
    assert_eq!((&detail["fields"]["id"], &detail["level"]), (&json!(id), &json!("ERROR")), "{detail}");
    let of = |level: &str| {
        written.iter().find(|line| line["level"] == level).unwrap_or_else(|| panic!("{written:?}"))
    };
    assert_eq!(of("WARN")["span"]["id"], id.as_str(), "in the middle of the stream");
    let closing = &of("INFO")["fields"];
    assert_eq!((&closing["id"], &closing["key"]), (&json!(id), &json!("admin_keys")), "{closing}");
    assert!(!written.iter().any(|line| line.to_string().contains(ADMIN_KEY)));
}

#[tokio::test]
async fn a_refusal_of_a_known_key_has_its_name_in_the_log() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
    let _installed = tracing::subscriber::set_default(subscriber);
    let mut options = ApiOptions::default();
    options.auth.metrics = ApiKeys::new(["sk-scrape"]);
    let state = state(model(Vec::new(), "x"), options);
    let request = Request::builder().uri("/v1/models").header(header::AUTHORIZATION, "Bearer sk-scrape");
    let answer = router(state).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    text(answer).await;
    let written = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let mut written = written.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    assert!(written.any(|line| line["fields"]["key"] == "metrics_api_key"));
}

#[tokio::test]
async fn reasoning_is_told_apart_streamed_and_whole() {
    let check = async |template: &str, said: &str, more: Value, reasoning: Option<&str>, content: &str| {
        let state = state(model(says(said), template), ApiOptions::default());
        let whole = json_of(chat(&state, more.clone()).await).await;
        let message = &whole["choices"][0]["message"];
        assert_eq!(message["reasoning_content"].as_str(), reasoning, "{said}");
        assert_eq!(message["content"], content, "{said}");
        let counted = &whole["usage"]["completion_tokens_details"]["reasoning_tokens"];
        assert_eq!(counted.is_null(), more["separate_reasoning"] == json!(false), "{whole}");
        // Each letter is a token; a mark is known for one with its last.
        let expected =
            reasoning.map_or(0, |text| text.len() + "</think>".len() * usize::from(said.contains("</")));
        let counted = counted.as_u64().unwrap_or(0) as usize;
        assert!((expected..=expected + 1).contains(&counted), "{said}: {counted}");
        let mut more = more;
        more["stream"] = json!(true);
        more["stream_options"] = json!({"include_usage": true});
        let streamed = text(chat(&state, more).await).await;
        assert!(streamed.contains(&whole["usage"].to_string()), "{streamed}");
        let join = |field: &str| -> String {
            let chunks = streamed.lines().filter_map(|line| line.strip_prefix("data: {"));
            let chunks = chunks.map(|chunk| serde_json::from_str::<Value>(&format!("{{{chunk}")).unwrap());
            chunks
                .filter_map(|chunk| chunk["choices"][0]["delta"][field].as_str().map(str::to_owned))
                .collect()
        };
        assert_eq!(join("reasoning_content"), reasoning.unwrap_or_default(), "{streamed}");
        assert_eq!(join("content"), content, "{streamed}");
    };
    check("x", "<think>hm</think>Yes", json!({}), Some("hm"), "Yes").await;
    check("x<think>", "hm</think>Yes", json!({}), Some("hm"), "Yes").await;
    check("x", "<think>hm", json!({}), Some("hm"), "").await;
    check("x", "Yes", json!({}), None, "Yes").await;
    check("x", "<think>hm</think>Yes", json!({"separate_reasoning": false}), None, "<think>hm</think>Yes")
        .await;
}

#[tokio::test]
async fn the_watchdog_names_an_engine_that_hangs_and_lets_an_idle_one_sleep() {
    let model = model(Vec::new(), "x");
    let handle = model.handle.clone();
    let state = state(model, ApiOptions { watchdog: Duration::ZERO, ..ApiOptions::default() });
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(send(&state, "GET", "/health", &Value::Null).await.status(), StatusCode::OK);
    handle.shared.stats.requests_running.store(1, Ordering::Relaxed);
    let hung = send(&state, "GET", "/health", &Value::Null).await;
    assert_eq!(hung.status(), StatusCode::SERVICE_UNAVAILABLE);
    let body = json_of(hung).await;
    assert_eq!((&body["status"], &body["models"][0]["name"]), (&json!("unhealthy"), &json!(MODEL)));
    handle.shared.stats.requests_running.store(0, Ordering::Relaxed);
    handle.shared.stopped.set("out of memory".to_owned()).unwrap();
    let stopped = json_of(send(&state, "GET", "/ping", &Value::Null).await).await;
    assert!(stopped["models"][0]["reason"].as_str().unwrap().contains("out of memory"), "{stopped}");
}

#[tokio::test]
async fn an_engine_that_takes_nothing_more_says_why() {
    let model = model(Vec::new(), "x");
    let handle = model.handle.clone();
    let state = state(model, ApiOptions::default());
    handle.shared.draining.store(true, Ordering::Relaxed);
    let draining = chat(&state, json!({})).await;
    assert_eq!(draining.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(draining.headers().contains_key(header::RETRY_AFTER));
    handle.shared.stopped.set("out of memory".to_owned()).unwrap();
    let stopped = chat(&state, json!({})).await;
    assert_eq!(stopped.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(json_of(stopped).await["error"]["code"], "engine_stopped");
}

/// The stream's reader is slow: the engine has long finished when the model goes, and the reader has not.
#[tokio::test]
async fn the_metrics_of_an_unloaded_model_stay_away() {
    let options = ApiOptions { drain_timeout: Duration::ZERO, ..ApiOptions::default() };
    let state = state(model(says("Yes"), "x"), options);
    let metrics = async || text(send(&state, "GET", "/metrics", &Value::Null).await).await;
    let unread = chat(&state, json!({"stream": true})).await;
    assert!(metrics().await.contains(MODEL));
    let path = format!("/v1/admin/models/{MODEL}");
    assert_eq!(send(&state, "DELETE", &path, &Value::Null).await.status(), StatusCode::OK);
    assert!(text(unread).await.contains("[DONE]"));
    assert!(!metrics().await.contains(MODEL), "{}", metrics().await);
}

#[tokio::test]
async fn a_model_loaded_while_its_namesake_drains_keeps_its_metrics() {
    let options = ApiOptions { drain_timeout: Duration::from_millis(300), ..ApiOptions::default() };
    let state = state(model(says("Yes"), "x"), options);
    let (unloading, path) = (state.clone(), format!("/v1/admin/models/{MODEL}"));
    let unloading = tokio::spawn(async move { send(&unloading, "DELETE", &path, &Value::Null).await });
    while state.registry().get(MODEL).is_ok() {
        tokio::task::yield_now().await;
    }
    state.registry().add(model(says("Yes"), "x")).unwrap();
    assert_eq!(chat(&state, json!({})).await.status(), StatusCode::OK);
    assert_eq!(unloading.await.unwrap().status(), StatusCode::OK);
    let metrics = text(send(&state, "GET", "/metrics", &Value::Null).await).await;
    let counted = format!("{{finished_reason=\"length\",model_name=\"{MODEL}\"}} 1\n");
    assert!(metrics.contains(&counted), "{metrics}");
}

#[tokio::test]
async fn a_template_that_refuses_is_the_requests_fault() {
    let state = state(model(Vec::new(), "{{ raise_exception('no system, please') }}"), ApiOptions::default());
    let refused = chat(&state, json!({})).await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    let error = json_of(refused).await["error"].clone();
    assert_eq!(error["param"], "messages");
    assert!(error["message"].as_str().unwrap().contains("no system, please"), "{error}");
}
