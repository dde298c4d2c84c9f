//! The HTTP generator against servers that behave in each of the ways servers do.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use xenoglot::eval::{
    Completion, Draw, Finish, GenerationEvent, GenerationRequest, Generator, GeneratorError, HttpGenerator,
    HttpOptions, Message, Sampling,
};

type Reply = Box<dyn Fn(usize, &Value) -> Response + Send + Sync>;

struct Server {
    url: String,
    bodies: Arc<Mutex<Vec<Value>>>,
}

struct Shared {
    calls: AtomicUsize,
    bodies: Arc<Mutex<Vec<Value>>>,
    reply: Reply,
}

async fn serve(reply: Reply) -> Server {
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let shared = Arc::new(Shared { calls: AtomicUsize::new(0), bodies: bodies.clone(), reply });
    let chat = |State(shared): State<Arc<Shared>>, headers: HeaderMap, Json(body): Json<Value>| async move {
        assert_eq!(headers["authorization"], "Bearer key");
        shared.bodies.lock().unwrap().push(body.clone());
        (shared.reply)(shared.calls.fetch_add(1, Ordering::SeqCst), &body)
    };
    let app = axum::Router::new()
        .route("/v1/models", get(|| async { Json(json!({"data": [{"id": "tiny"}]})) }))
        .route("/v1/chat/completions", post(chat))
        .with_state(shared);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    Server { url, bodies }
}

fn options(url: &str) -> HttpOptions {
    HttpOptions {
        api_key: Some("key".to_owned()),
        attempts: 3,
        backoff: Duration::from_millis(1),
        ..HttpOptions::new(url)
    }
}

fn request(samples: &[u32]) -> GenerationRequest {
    GenerationRequest {
        id: "p1-en".to_owned(),
        messages: vec![Message { role: "user".to_owned(), content: "1 + 1?".to_owned() }],
        n: (samples.len() as u32).max(3),
        samples: samples.to_vec(),
        seed: 11,
        sampling: Sampling::default(),
    }
}

/// The completions that come, by sample, and how the request ended.
async fn generate(url: &str, samples: &[u32]) -> (Vec<(u32, Completion)>, Result<(), GeneratorError>) {
    let (found, outcome) = drawn(url, samples).await;
    (found.into_iter().map(|(sample, _, completion)| (sample, completion)).collect(), outcome)
}

type Drawn = Vec<(u32, Draw, Completion)>;

async fn drawn(url: &str, samples: &[u32]) -> (Drawn, Result<(), GeneratorError>) {
    let generator = HttpGenerator::connect(options(url)).await.unwrap();
    assert_eq!(generator.model(), "tiny");
    let found = Mutex::new(Vec::new());
    let keep = |event| {
        if let GenerationEvent::Finished { sample, draw, completion } = event {
            found.lock().unwrap().push((sample, draw, completion));
        }
    };
    let outcome = generator.generate(&request(samples), &keep).await;
    let mut found = found.into_inner().unwrap();
    found.sort_by_key(|(sample, ..)| *sample);
    (found, outcome)
}

fn event_stream(events: &[Value]) -> Response {
    let mut lines: Vec<String> = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    lines.push("data: [DONE]\n\n".to_owned());
    ([("content-type", "text/event-stream")], lines.concat()).into_response()
}

fn chunk(index: u64, delta: &Value, finish: Option<&str>) -> Value {
    json!({"choices": [{"index": index, "delta": delta, "finish_reason": finish}]})
}

fn texts(found: &[(u32, Completion)]) -> Vec<(u32, &str, Finish)> {
    found.iter().map(|(sample, completion)| (*sample, completion.text.as_str(), completion.finish)).collect()
}

#[tokio::test]
async fn a_stream_of_interleaved_choices() {
    let reply: Reply = Box::new(|_, _| {
        event_stream(&[
            chunk(0, &json!({"role": "assistant", "content": ""}), None),
            chunk(1, &json!({"reasoning_content": "mm"}), None),
            chunk(0, &json!({"content": "tw"}), None),
            chunk(0, &json!({"content": "o"}), Some("stop")),
            chunk(1, &json!({"content": "2"}), Some("stop")),
            chunk(2, &json!({"reasoning": "hm"}), Some("length")),
            json!({"choices": [], "usage": {"completion_tokens": 9}}),
        ])
    });
    let server = serve(reply).await;
    let (found, outcome) = generate(&server.url, &[0, 1, 2]).await;
    outcome.unwrap();
    assert_eq!(
        texts(&found),
        [
            (0, "two", Finish::Stop),
            (1, "<think>\nmm\n</think>\n\n2", Finish::Stop),
            (2, "<think>\nhm", Finish::Length),
        ]
    );
    let body = server.bodies.lock().unwrap()[0].clone();
    assert_eq!((&body["n"], &body["seed"], &body["temperature"]), (&json!(3), &json!(11), &json!(0.6)));
    assert_eq!((body.get("top_k"), &body["model"]), (None, &json!("tiny")));
}

#[tokio::test]
async fn a_server_that_ignores_n_and_streaming_is_asked_again() {
    let reply: Reply = Box::new(|call, _| {
        Json(json!({
            "choices": [{"index": 0, "message": {"content": format!("answer {call}")}, "finish_reason": "stop"}],
            "usage": {"completion_tokens": 4},
        }))
        .into_response()
    });
    let server = serve(reply).await;
    let (found, outcome) = generate(&server.url, &[0, 1, 2]).await;
    outcome.unwrap();
    assert_eq!(
        texts(&found),
        [(0, "answer 0", Finish::Stop), (1, "answer 1", Finish::Stop), (2, "answer 2", Finish::Stop),]
    );
    assert_eq!(found[0].1.tokens, Some(4));
    let bodies = server.bodies.lock().unwrap();
    let counts: Vec<_> = bodies.iter().map(|body| body["n"].as_u64().unwrap()).collect();
    assert_eq!(counts, [3, 2, 1]);
    let mut seeds: Vec<_> = bodies.iter().map(|body| body["seed"].as_u64().unwrap()).collect();
    seeds.sort_unstable();
    seeds.dedup();
    assert_eq!(seeds.len(), 3, "the same seed would give the same answer again");
}

#[tokio::test]
async fn passing_failures_are_retried_and_finished_choices_kept() {
    let reply: Reply = Box::new(|call, _| match call {
        0 => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "0")], "busy").into_response(),
        1 => event_stream(&[
            chunk(1, &json!({"content": "kept"}), Some("stop")),
            chunk(0, &json!({"content": "lost"}), None),
            json!({"error": {"message": "out of memory"}}),
        ]),
        _ => event_stream(&[chunk(0, &json!({"content": "again"}), Some("stop"))]),
    });
    let server = serve(reply).await;
    let (found, outcome) = generate(&server.url, &[0, 2]).await;
    outcome.unwrap();
    assert_eq!(texts(&found), [(0, "again", Finish::Stop), (2, "kept", Finish::Stop)]);
    assert_eq!(server.bodies.lock().unwrap()[2]["n"], 1);
}

/// Draws as a server does whose choices depend on the seed and their index; at most `finished` choices an answer.
async fn seeded(n_max: u64, finished: u64) -> Server {
    serve(Box::new(move |_, body| {
        let n = body["n"].as_u64().unwrap();
        if n > n_max {
            let error = json!({"error": {"message": format!("`n` must be from 1 to {n_max}"), "param": "n"}});
            return (StatusCode::BAD_REQUEST, Json(error)).into_response();
        }
        let text = |choice| json!({"content": format!("{} {choice}", body["seed"])});
        let mut events: Vec<Value> =
            (0..n.min(finished)).map(|choice| chunk(choice, &text(choice), Some("stop"))).collect();
        if finished < n {
            events.push(json!({"error": {"message": "out of memory"}}));
        }
        event_stream(&events)
    }))
    .await
}

/// The seeds of all requests; every sample came once, none is another's double, and each names its draw.
async fn seeds_of(server: &Server, samples: &[u32]) -> Vec<u64> {
    let (found, outcome) = drawn(&server.url, samples).await;
    outcome.unwrap();
    assert_eq!(found.iter().map(|(sample, ..)| *sample).collect::<Vec<_>>(), samples);
    let mut texts: Vec<&str> = found.iter().map(|(.., completion)| completion.text.as_str()).collect();
    texts.sort_unstable();
    texts.dedup();
    assert_eq!(texts.len(), samples.len(), "a draw came twice");
    for (_, draw, completion) in &found {
        assert_eq!(completion.text, format!("{} {}", draw.seed, draw.choice));
    }
    server.bodies.lock().unwrap().drain(..).map(|body| body["seed"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn a_seed_is_of_all_samples_that_are_missing() {
    let server = seeded(128, 128).await;
    assert_eq!(seeds_of(&server, &[0, 1, 2]).await, [11], "a whole request has the problem's");
    let mut seeds = Vec::new();
    for missing in [&[0, 1][..], &[0, 2], &[0], &[1, 2], &[1]] {
        seeds.extend(seeds_of(&server, missing).await);
    }
    seeds.push(11);
    seeds.sort_unstable();
    seeds.dedup();
    assert_eq!(seeds.len(), 6, "the same head with another rest would draw again what is on file");
    // Broken off after each choice: every repetition is of what is still missing.
    let server = seeded(128, 1).await;
    let repeated = seeds_of(&server, &[0, 1, 2]).await;
    assert!(repeated.len() == 3 && repeated[0] == 11 && !repeated[1..].contains(&11), "{repeated:?}");
    assert_ne!(repeated[1], repeated[2]);
}

#[tokio::test]
async fn many_samples_are_asked_for_in_several_requests() {
    let check = |n_max: u64, requests: usize| async move {
        let server = seeded(n_max, n_max).await;
        let seeds = seeds_of(&server, &(0..300).collect::<Vec<_>>()).await;
        assert_eq!((seeds.len(), seeds[0]), (requests, 11), "{n_max}");
    };
    check(128, 3).await;
    // 128 is refused, then five of 64.
    check(100, 6).await;
    // 128, 64, 32, 16, 8, 4, 2 are refused.
    check(1, 307).await;
}

#[tokio::test]
async fn failures_that_stay_are_told_apart() {
    let check = |status: StatusCode, refused: bool, calls: usize| async move {
        let body = r#"{"error": {"message": "the prompt is too long"}}"#;
        let server = serve(Box::new(move |_, _| (status, body).into_response())).await;
        let (_, outcome) = generate(&server.url, &[0]).await;
        let error = outcome.unwrap_err();
        assert!(error.to_string().contains("the prompt is too long"), "{error}");
        assert_eq!(matches!(error, GeneratorError::Refused { .. }), refused, "{status}");
        assert_eq!(server.bodies.lock().unwrap().len(), calls, "{status}");
    };
    check(StatusCode::BAD_REQUEST, true, 1).await;
    check(StatusCode::UNAUTHORIZED, false, 1).await;
    check(StatusCode::NOT_FOUND, false, 1).await;
    check(StatusCode::INTERNAL_SERVER_ERROR, false, 3).await;
    check(StatusCode::TOO_MANY_REQUESTS, false, 3).await;
}

#[tokio::test]
async fn an_answer_without_choices_ends_with_an_error() {
    let server = serve(Box::new(|_, _| Json(json!({"choices": []})).into_response())).await;
    let (found, outcome) = generate(&server.url, &[0]).await;
    assert!(found.is_empty() && outcome.unwrap_err().to_string().contains("without a finished choice"));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let error = HttpGenerator::connect(options("http://127.0.0.1:1")).await.err().unwrap().to_string();
    assert!(
        error.contains("http://127.0.0.1:1/v1 cannot be reached") && error.contains("2 attempts"),
        "{error}"
    );
    // A named model needs no list of them, but a server all the same.
    let patient = HttpOptions { model: Some("tiny".to_owned()), ..HttpOptions::new("http://127.0.0.1:1") };
    let started = std::time::Instant::now();
    let error = HttpGenerator::connect(patient).await.err().unwrap().to_string();
    assert!(error.contains("cannot be reached"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    let error = HttpGenerator::connect(options("ftp://x")).await.err().unwrap().to_string();
    assert!(error.contains("no http:// or https:// URL"), "{error}");
}
