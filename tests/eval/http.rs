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
use xenoglot::api::ApiOptions;
use xenoglot::eval::{
    Completion, ContinuationRequest, ContinuationScorer, Draw, Finish, GenerationEvent, GenerationRequest,
    Generator, GeneratorError, HttpGenerator, HttpOptions, LocalGenerator, Message, Metered, Outcome,
    RunConfig, Sampling, Silent, Usage, run,
};
use xenoglot::ops::Workers;
use xenoglot::registry::{EngineOptions, LoadSpec, Registry};
use xenoglot::settings::Settings;

use super::{config, records};
use crate::model::logits::fixture;

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
        busy_timeout: Duration::from_millis(100),
        ..HttpOptions::new(url)
    }
}

fn request(samples: &[u32]) -> GenerationRequest {
    GenerationRequest {
        id: "p1-en".to_owned(),
        messages: vec![Message { role: "user".to_owned(), content: "1 + 1?".to_owned() }],
        language: None,
        opening: None,
        n: (samples.len() as u32).max(3),
        samples: samples.to_vec(),
        kept: Vec::new(),
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
    assert_eq!(body["model"], "tiny");
}

#[tokio::test]
async fn sampling_is_sent_whole_and_off_is_said() {
    let check = |sampling: Sampling, expected: [Value; 3]| async move {
        let server = serve(Box::new(|_, _| event_stream(&[chunk(0, &json!({}), Some("stop"))]))).await;
        let generator = HttpGenerator::connect(options(&server.url)).await.unwrap();
        let request = GenerationRequest { sampling, ..request(&[0]) };
        generator.generate(&request, &|_| ()).await.unwrap();
        let body = &server.bodies.lock().unwrap()[0];
        assert_eq!(["top_k", "min_p", "repetition_penalty"].map(|name| body[name].clone()), expected);
    };
    check(Sampling::default(), [json!(-1), json!(0.0), json!(1.0)]).await;
    check(Sampling { top_k: 20, min_p: 0.1, ..Sampling::default() }, [json!(20), json!(0.1), json!(1.0)])
        .await;
}

#[tokio::test]
async fn what_is_off_is_not_sent_again_to_a_server_that_does_not_know_it() {
    let known = ["model", "messages", "n", "seed", "temperature", "top_p", "max_tokens", "stream"];
    let strict = move |named: bool| -> Reply {
        Box::new(move |_, body| {
            let mut names = body.as_object().unwrap().keys();
            let wrong = names.find(|name| !known.contains(&name.as_str()) && *name != "stream_options");
            let Some(wrong) = wrong else { return event_stream(&[chunk(0, &json!({}), Some("stop"))]) };
            let message = format!("Unrecognized request argument supplied: {wrong}");
            let param = named.then_some(wrong);
            let error = json!({"error": {"message": message, "param": param}});
            (StatusCode::BAD_REQUEST, Json(error)).into_response()
        })
    };
    for named in [true, false] {
        let server = serve(strict(named)).await;
        let generator = HttpGenerator::connect(options(&server.url)).await.unwrap();
        for calls in [4, 5] {
            generator.generate(&request(&[0]), &|_| ()).await.unwrap();
            assert_eq!(server.bodies.lock().unwrap().len(), calls, "three are found once");
        }
        // What is on is not given up: the run would record it and not have it.
        let sampling = Sampling { top_k: 20, ..Sampling::default() };
        let server = serve(strict(named)).await;
        let generator = HttpGenerator::connect(options(&server.url)).await.unwrap();
        let error = generator.generate(&GenerationRequest { sampling, ..request(&[0]) }, &|_| ()).await;
        assert!(
            matches!(error.unwrap_err(), GeneratorError::Refused { message } if message.contains("top_k"))
        );
    }
}

#[tokio::test]
async fn a_server_draws_over_http_what_its_engine_draws_in_process() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    std::fs::create_dir(&model).unwrap();
    for entry in std::fs::read_dir(fixture("qwen3")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, model.join(path.file_name().unwrap())).unwrap();
    }
    // Any of these, filled in, would make other draws.
    let defaults = json!({"eos_token_id": 2, "top_k": 1, "min_p": 0.5, "repetition_penalty": 1.9});
    std::fs::write(model.join("generation_config.json"), defaults.to_string()).unwrap();
    let settings = Settings { models_dir: folder.path().to_owned(), ..Settings::default() };
    let engine = EngineOptions::from(&settings);
    let registry = Registry::new(Workers::new(1), engine.clone(), settings.models_dir.clone());
    let served = registry.load(LoadSpec { name: "tiny".to_owned(), path: model, options: engine }).unwrap();
    assert_eq!(served.generation_defaults.top_k, Some(1));
    let local = LocalGenerator {
        model: served.name.clone(),
        dtype: served.dtype.to_owned(),
        handle: served.handle.clone(),
        adapter: None,
        tokenizer: served.tokenizer.clone(),
        template: served.template.clone(),
        augmented: served.augmented.clone(),
        weights_sha256: None,
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving =
        xenoglot::api::serve(listener, registry, ApiOptions::from(&settings), std::future::pending());
    tokio::spawn(async move { serving.await.unwrap() });
    let http = HttpGenerator::connect(options(&url)).await.unwrap();
    continuations_are_as_likely(&http, &local).await;
    let sampling = Sampling { temperature: 1.0, max_tokens: 20, ..Sampling::default() };
    let request = GenerationRequest { n: 4, sampling, ..request(&[0, 1, 2, 3]) };
    let (over_http, in_process) = (texts_of(&http, &request).await, texts_of(&local, &request).await);
    assert_eq!(over_http, in_process);
    assert!(in_process[1..].iter().any(|text| *text != in_process[0]), "samples differ");
    // The trace that the run begins is in the prompt of both, and in what they give.
    let opening = "<think>\nab".to_owned();
    let opened = GenerationRequest { opening: Some(opening.clone()), ..request };
    let (over_http, in_process) = (texts_of(&http, &opened).await, texts_of(&local, &opened).await);
    assert_eq!(over_http, in_process);
    assert!(in_process.iter().all(|(_, text, _)| text.starts_with(&opening) && *text != opening));
}

#[tokio::test]
async fn a_trace_that_the_run_begins_is_sent_and_stands_before_what_comes() {
    let reply: Reply = Box::new(|_, _| {
        event_stream(&[
            chunk(0, &json!({"reasoning_content": " so"}), None),
            chunk(0, &json!({"content": "2"}), Some("stop")),
            chunk(1, &json!({"content": " so</think>2"}), Some("stop")),
        ])
    });
    let server = serve(reply).await;
    let generator = HttpGenerator::connect(options(&server.url)).await.unwrap();
    let opening = Some("<think>\nIn English.".to_owned());
    let found = texts_of(&generator, &GenerationRequest { opening, ..request(&[0, 1]) }).await;
    let found: Vec<&str> = found.iter().map(|(_, text, _)| text.as_str()).collect();
    assert_eq!(found, ["<think>\nIn English. so\n</think>\n\n2", "<think>\nIn English. so</think>2"]);
    let body = server.bodies.lock().unwrap()[0].clone();
    let last = json!({"role": "assistant", "content": "<think>\nIn English."});
    assert_eq!(body["messages"].as_array().unwrap().last(), Some(&last));
    let asked = ["add_generation_prompt", "continue_final_message"].map(|name| body[name].clone());
    assert_eq!(asked, [json!(false), json!(true)]);
}

/// Over HTTP and in process, and the likeliest next token is greedy.
async fn continuations_are_as_likely(http: &HttpGenerator, local: &LocalGenerator) {
    let request = |context: &str, continuations: &[&str]| ContinuationRequest {
        id: "p1".to_owned(),
        context: context.to_owned(),
        continuations: continuations.iter().map(|text| (*text).to_owned()).collect(),
    };
    let asked = request("ab cd ", &["ab", "the longer one of them", "答え", "x"]);
    let (over_http, in_process) = (http.score(&asked).await.unwrap(), local.score(&asked).await.unwrap());
    assert_eq!(in_process.len(), 4);
    for (a, b) in over_http.iter().zip(&in_process) {
        // Decimal digits of an f32 on the wire.
        assert!((a.logprob - b.logprob).abs() < 1e-4 && a.logprob < 0.0, "{a:?} {b:?}");
        assert_eq!((a.tokens, a.is_greedy), (b.tokens, b.is_greedy));
    }
    assert!(in_process[1].tokens > in_process[3].tokens && in_process[1].logprob < in_process[3].logprob);
    // The probabilities of all next tokens add up to one: of single characters, to no more.
    let letters: Vec<String> = ('!'..='~').map(String::from).collect();
    let letters: Vec<&str> = letters.iter().map(String::as_str).collect();
    let all = local.score(&request("ab cd", &letters)).await.unwrap();
    let single = all.iter().filter(|one| one.tokens == 1);
    let sum: f64 = single.clone().map(|one| one.logprob.exp()).sum();
    assert!(sum <= 1.0 + 1e-4 && single.filter(|one| one.is_greedy).count() <= 1, "{sum}");
    assert!(matches!(http.score(&request(" ", &["a"])).await, Err(GeneratorError::Refused { .. })));
    assert!(matches!(local.score(&request("", &["a"])).await, Err(GeneratorError::Refused { .. })));
}

async fn texts_of(generator: &dyn Generator, request: &GenerationRequest) -> Vec<(u32, String, Finish)> {
    let found = Mutex::new(Vec::new());
    let keep = |event| {
        if let GenerationEvent::Finished { sample, completion, .. } = event {
            found.lock().unwrap().push((sample, completion.text, completion.finish));
        }
    };
    generator.generate(request, &keep).await.unwrap();
    let mut found = found.into_inner().unwrap();
    found.sort_by_key(|(sample, ..)| *sample);
    found
}

/// What one sample becomes that a server sends in these chunks, and how many requests it takes.
async fn one_sample(chunks: Vec<Value>, then: &'static str) -> ((String, Finish, Option<u64>), usize) {
    let reply: Reply = Box::new(move |call, _| match call {
        0 => event_stream(&chunks),
        _ => event_stream(&[chunk(0, &json!({"content": then}), Some("stop"))]),
    });
    let server = serve(reply).await;
    let (mut found, outcome) = generate(&server.url, &[0]).await;
    outcome.unwrap();
    let completion = found.remove(0).1;
    ((completion.text, completion.finish, completion.tokens), server.bodies.lock().unwrap().len())
}

#[tokio::test]
async fn only_choices_that_ended_by_themselves_or_were_cut_are_finished() {
    let check = |reason: &'static str, expected: (&'static str, Finish), calls: usize| async move {
        let chunks = vec![
            chunk(0, &json!({"content": "half"}), None),
            chunk(0, &json!({"content": " a text"}), Some(reason)),
        ];
        let ((text, finish, _), made) = one_sample(chunks, "again").await;
        assert_eq!(((text.as_str(), finish), made), (expected, calls), "{reason}");
    };
    check("stop", ("half a text", Finish::Stop), 1).await;
    check("tool_calls", ("half a text", Finish::Stop), 1).await;
    check("length", ("half a text", Finish::Length), 1).await;
    check("content_filter", ("half a text", Finish::ContentFilter), 1).await;
    check("abort", ("again", Finish::Stop), 2).await;
    check("error", ("again", Finish::Stop), 2).await;
    check("whatever", ("again", Finish::Stop), 2).await;
    // A server that always aborts is named, with its reason.
    let abort = json!({"message": {"content": "half"}, "finish_reason": "abort"});
    let body = json!({"choices": [abort]});
    let server = serve(Box::new(move |_, _| Json(body.clone()).into_response())).await;
    let (found, outcome) = generate(&server.url, &[0]).await;
    let error = outcome.unwrap_err().to_string();
    assert!(found.is_empty() && error.contains("finish_reason \"abort\" (3 attempts)"), "{error}");
}

#[tokio::test]
async fn a_trace_that_does_not_end_is_left_open_whatever_the_reason() {
    let check = |content: &'static str, reason: &'static str, expected: &'static str| async move {
        let chunks = vec![
            chunk(0, &json!({"reasoning_content": "hm \\boxed{42}"}), None),
            chunk(0, &json!({"content": content}), Some(reason)),
        ];
        assert_eq!(one_sample(chunks, "").await.0.0, expected, "{content} {reason}");
    };
    check("", "stop", "<think>\nhm \\boxed{42}").await;
    check("", "length", "<think>\nhm \\boxed{42}").await;
    check("42", "length", "<think>\nhm \\boxed{42}\n</think>\n\n42").await;
}

#[tokio::test]
async fn thinking_tokens_are_told_for_one_choice() {
    let check = |n: &'static [u32], delta: Value, usage: Value, expected: Option<u64>| async move {
        let reply: Reply = Box::new(move |_, _| {
            let mut events: Vec<Value> =
                n.iter().map(|at| chunk(u64::from(*at), &delta, Some("stop"))).collect();
            events.push(json!({"choices": [], "usage": usage}));
            event_stream(&events)
        });
        let server = serve(reply).await;
        let generator = HttpGenerator::connect(options(&server.url)).await.unwrap();
        let found = Mutex::new(Vec::new());
        let keep = |event| {
            if let GenerationEvent::Finished { completion, .. } = event {
                found.lock().unwrap().push(completion.thinking_tokens);
            }
        };
        generator.generate(&request(n), &keep).await.unwrap();
        assert_eq!(found.into_inner().unwrap(), vec![expected; n.len()], "{n:?}");
    };
    let thought = json!({"reasoning_content": "hm", "content": "42"});
    let told = json!({"completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 6}});
    check(&[0], thought.clone(), told.clone(), Some(6)).await;
    // All choices together.
    check(&[0, 1], thought.clone(), told, None).await;
    let untold = json!({"completion_tokens": 9});
    check(&[0], thought, untold.clone(), None).await;
    check(&[0], json!({"content": "<think>hm</think>42"}), untold.clone(), None).await;
    check(&[0], json!({"content": "42"}), untold, Some(0)).await;
}

#[tokio::test]
async fn tokens_are_those_of_the_usage() {
    let check = |samples: &'static [u32], usage: Option<u64>, counted: u64, of_one: Option<u64>| async move {
        let reply: Reply = Box::new(move |_, body| {
            let mut events = Vec::new();
            for choice in 0..body["n"].as_u64().unwrap() {
                events.push(chunk(choice, &json!({"role": "assistant", "content": ""}), None));
                events.push(chunk(choice, &json!({"content": "four tokens"}), None));
                events.push(chunk(choice, &json!({"content": "."}), Some("stop")));
            }
            let told = |tokens| json!({"choices": [], "usage": {"completion_tokens": tokens}});
            events.extend(usage.map(told));
            event_stream(&events)
        });
        let server = serve(reply).await;
        let generator = HttpGenerator::connect(options(&server.url)).await.unwrap();
        let found = Mutex::new((0, Vec::new()));
        let keep = |event| match event {
            GenerationEvent::Tokens(tokens) => found.lock().unwrap().0 += tokens,
            GenerationEvent::Finished { completion, .. } => found.lock().unwrap().1.push(completion.tokens),
            GenerationEvent::Usage(_) => {}
        };
        generator.generate(&request(samples), &keep).await.unwrap();
        let found = found.into_inner().unwrap();
        assert_eq!(found, (counted, vec![of_one; samples.len()]), "{samples:?} {usage:?}");
    };
    check(&[0], Some(5), 5, Some(5)).await;
    check(&[0, 1], Some(11), 11, None).await;
    check(&[0], None, 2, None).await;
    // Deltas that are no whole tokens are not taken back.
    check(&[0], Some(1), 2, Some(1)).await;
}

#[tokio::test]
async fn a_busy_server_is_waited_for_and_uses_up_no_attempt() {
    let reply: Reply = Box::new(|call, _| match call {
        0..20 => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "0")], "busy").into_response(),
        20 | 22 => (StatusCode::BAD_GATEWAY, "gone").into_response(),
        21 => (StatusCode::TOO_MANY_REQUESTS, "busy").into_response(),
        _ => event_stream(&[chunk(0, &json!({"content": "at last"}), Some("stop"))]),
    });
    let server = serve(reply).await;
    let patient = Duration::from_mins(1);
    let options = HttpOptions { backoff: Duration::ZERO, busy_timeout: patient, ..options(&server.url) };
    let generator = HttpGenerator::connect(options).await.unwrap();
    assert_eq!(texts_of(&generator, &request(&[0])).await[0].1, "at last");
    // But not for ever.
    let busy = (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "0")], "busy");
    let server = serve(Box::new(move |_, _| busy.into_response())).await;
    let error = generate(&server.url, &[0]).await.1.unwrap_err().to_string();
    assert!(error.contains("busy for 0 s"), "{error}");
    let bodies = server.bodies.lock().unwrap();
    // 1, 2, 4, .. ms: what the server asks for does not shorten the waits.
    assert!((5..10).contains(&bodies.len()), "{}", bodies.len());
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
}

#[tokio::test]
async fn an_answer_without_choices_ends_with_an_error() {
    let server = serve(Box::new(|_, _| Json(json!({"choices": []})).into_response())).await;
    let (found, outcome) = generate(&server.url, &[0]).await;
    assert!(found.is_empty() && outcome.unwrap_err().to_string().contains("without a finished choice"));
    assert_eq!(server.bodies.lock().unwrap().len(), 3, "it is asked again");
}

#[tokio::test]
async fn a_stream_that_ends_early_is_asked_again() {
    let server = serve(Box::new(|call, _| {
        let half = chunk(0, &json!({"content": "half a"}), None);
        let whole = chunk(0, &json!({"content": "whole"}), Some("stop"));
        let events = format!("data: {}\n\n", if call == 0 { half } else { whole });
        ([("content-type", "text/event-stream")], events).into_response()
    }))
    .await;
    let (found, outcome) = generate(&server.url, &[0]).await;
    outcome.unwrap();
    assert_eq!(texts(&found), [(0, "whole", Finish::Stop)]);
}

#[tokio::test]
async fn an_answer_that_is_no_json_is_shown() {
    let page = "<html>Please sign in</html>";
    let server = serve(Box::new(move |_, _| page.into_response())).await;
    let (_, outcome) = generate(&server.url, &[0]).await;
    let error = outcome.unwrap_err().to_string();
    assert!(error.contains("no JSON") && error.contains("Please sign in"), "{error}");
    assert!(!error.contains("cannot be reached"), "{error}");
}

#[tokio::test]
async fn requests_without_a_count_are_told() {
    let check = |usage: Value, uncounted: u64| async move {
        let message = json!({"choices": [{"index": 0, "message": {"content": "2"}}], "usage": usage});
        let server = serve(Box::new(move |_, _| Json(message.clone()).into_response())).await;
        let generator = Metered::new(HttpGenerator::connect(options(&server.url)).await.unwrap());
        generator.generate(&request(&[0]), &|_| {}).await.unwrap();
        assert_eq!(generator.total().uncounted_requests, uncounted);
    };
    check(json!({"prompt_tokens": 7, "completion_tokens": 1}), 0).await;
    check(json!({"completion_tokens": 1}), 1).await;
    check(Value::Null, 1).await;
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

#[tokio::test]
async fn a_run_that_is_stopped_goes_on_over_http() {
    let folder = tempfile::tempdir().unwrap();
    // A key that is withdrawn ends the run in the middle of its fourth request.
    let allowed = Arc::new(AtomicUsize::new(3));
    let left = allowed.clone();
    let server = serve(Box::new(move |_, body| {
        if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err() {
            return (StatusCode::UNAUTHORIZED, "who are you?").into_response();
        }
        let text = |choice| json!({"content": format!("{} {choice} \\boxed{{42}}", body["seed"])});
        let mut events: Vec<Value> = (0..body["n"].as_u64().unwrap())
            .map(|choice| chunk(choice, &text(choice), Some("stop")))
            .collect();
        if left.load(Ordering::SeqCst) == 0 {
            events.truncate(2);
            events.push(json!({"error": {"message": "out of memory"}}));
        }
        event_stream(&events)
    }))
    .await;
    let generator = HttpGenerator::connect(options(&server.url)).await.unwrap();
    let config = || RunConfig { concurrency: 1, ..config(folder.path(), 4) };
    let never = || tokio::sync::watch::channel(false).1;
    let error = run(config(), &generator, &Silent, never()).await.unwrap_err().to_string();
    assert!(error.contains("who are you?") && error.contains("10 of 24 samples"), "{error}");
    let samples = folder.path().join("run/samples.jsonl");
    let kept = std::fs::read_to_string(&samples).unwrap();
    assert_eq!(kept.lines().count(), 10);
    // A kill in the middle of a write.
    std::fs::write(&samples, format!("{kept}{{\"problem\": \"p2\"")).unwrap();
    let before = server.bodies.lock().unwrap().len();
    allowed.store(1000, Ordering::SeqCst);
    let report = run(config(), &generator, &Silent, never()).await.unwrap();
    assert_eq!((report.resumed, report.results.overall.samples), (10, 24));
    assert!(std::fs::read_to_string(&samples).unwrap().starts_with(&kept), "what is on file stays");
    let asked: Vec<u64> =
        server.bodies.lock().unwrap()[before..].iter().map(|body| body["n"].as_u64().unwrap()).collect();
    assert_eq!(asked, [4, 4, 4, 4], "the request that was cut short is asked again whole");
    let found = records(&folder.path().join("run"));
    let seeds =
        |bodies: &[Value]| -> Vec<u64> { bodies.iter().map(|body| body["seed"].as_u64().unwrap()).collect() };
    let (first, resumed) = {
        let bodies = server.bodies.lock().unwrap();
        (seeds(&bodies[..3]), seeds(&bodies[before..]))
    };
    assert_eq!(first[2], resumed[0]);
    // As if nothing had happened.
    let elsewhere = tempfile::tempdir().unwrap();
    let begun = server.bodies.lock().unwrap().len();
    let whole = RunConfig { concurrency: 1, ..self::config(elsewhere.path(), 4) };
    run(whole, &generator, &Silent, never()).await.unwrap();
    assert_eq!(records(&elsewhere.path().join("run")), found);
    let uninterrupted = seeds(&server.bodies.lock().unwrap()[begun..]);
    assert_eq!(uninterrupted, [&first[..2], &resumed].concat());
    let mut draws: Vec<(u64, Option<u32>)> = found.iter().map(|one| (one.seed, one.choice)).collect();
    draws.sort_unstable();
    draws.dedup();
    assert_eq!(draws.len(), 24, "no draw came twice");
    for one in &found {
        let choice = one.choice.unwrap();
        assert_eq!(one.completion, format!("{} {choice} \\boxed{{42}}", one.seed));
    }
}

/// A server that gives one choice whatever it is asked for draws no sample twice, however often the run is resumed.
#[tokio::test]
async fn what_a_request_cut_short_does_not_give_is_asked_for_by_itself() {
    let server = seeded(128, 1).await;
    let generator = HttpGenerator::connect(options(&server.url)).await.unwrap();
    let drawn = Mutex::new(Vec::new());
    let keep = |event| {
        if let GenerationEvent::Finished { sample, draw, .. } = event {
            drawn.lock().unwrap().push((sample, draw));
        }
    };
    let resumed = GenerationRequest { kept: vec![(0, 11)], ..request(&[1, 2]) };
    generator.generate(&resumed, &keep).await.unwrap();
    let uninterrupted = {
        let other = seeded(128, 1).await;
        seeds_of(&other, &[0, 1, 2]).await
    };
    let asked: Vec<u64> =
        server.bodies.lock().unwrap().iter().map(|body| body["seed"].as_u64().unwrap()).collect();
    assert_eq!(asked, uninterrupted);
    let drawn: Vec<(u32, u64)> =
        drawn.into_inner().unwrap().iter().map(|(sample, draw)| (*sample, draw.seed)).collect();
    assert_eq!(drawn, [(1, asked[1]), (2, asked[2])]);
}

#[tokio::test]
async fn an_endpoint_that_fails_for_an_hour_stops_the_run_and_the_run_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let well = Arc::new(AtomicUsize::new(2));
    let left = well.clone();
    let server = serve(Box::new(move |_, body| {
        if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err() {
            return (StatusCode::INTERNAL_SERVER_ERROR, r#"{"error": {"message": "on fire"}}"#)
                .into_response();
        }
        let text = |choice| json!({"content": format!("{choice} \\boxed{{42}}")});
        let choices =
            (0..body["n"].as_u64().unwrap()).map(|choice| chunk(choice, &text(choice), Some("stop")));
        event_stream(&choices.collect::<Vec<_>>())
    }))
    .await;
    let generator = HttpGenerator::connect(options(&server.url)).await.unwrap();
    let config = || RunConfig { concurrency: 1, ..config(folder.path(), 2) };
    let never = || tokio::sync::watch::channel(false).1;
    for done in [4, 4] {
        let error = run(config(), &generator, &Silent, never()).await.unwrap_err().to_string();
        for part in ["500", "on fire (3 attempts)", "the same command goes on from there"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert!(error.contains(&format!("{done} of 12 samples")), "{error}");
    }
    well.store(1000, Ordering::SeqCst);
    let report = run(config(), &generator, &Silent, never()).await.unwrap();
    assert_eq!((report.resumed, report.results.overall.samples), (4, 12));
    assert_eq!(report.results.overall.outcomes.error, 0.0, "no failure became a sample");
}

#[tokio::test]
async fn a_model_that_says_nothing_has_no_box() {
    let folder = tempfile::tempdir().unwrap();
    let server = serve(Box::new(|_, body| {
        let choices = (0..body["n"].as_u64().unwrap()).map(|choice| chunk(choice, &json!({}), Some("stop")));
        let mut events: Vec<Value> = choices.collect();
        events.push(json!({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 0}}));
        event_stream(&events)
    }))
    .await;
    let generator = Metered::new(HttpGenerator::connect(options(&server.url)).await.unwrap());
    let never = tokio::sync::watch::channel(false).1;
    let report = run(config(folder.path(), 2), &generator, &Silent, never).await.unwrap();
    let overall = &report.results.overall;
    assert_eq!((overall.samples, overall.outcomes.no_box, overall.outcomes.correct), (12, 1.0, 0.0));
    assert_eq!(overall.pass_at[&2].unwrap().mean, 0.0);
    assert_eq!(overall.majority_at[&2].unwrap().mean, 0.0);
    let samples = records(&folder.path().join("run"));
    assert!(samples.iter().all(|sample| sample.outcome == Outcome::NoBox && sample.completion.is_empty()));
    let expected = Usage { requests: 6, prompt_tokens: 42, ..Usage::default() };
    assert_eq!(generator.total(), expected);
}

#[tokio::test]
async fn a_server_that_echoes_nothing_is_named() {
    let server = serve(Box::new(|_, _| Json(json!({})).into_response())).await;
    let generator = HttpGenerator::connect(options(&server.url)).await.unwrap();
    let request = ContinuationRequest {
        id: "p1".to_owned(),
        context: "1 + 1 =".to_owned(),
        continuations: vec![" 2".to_owned()],
    };
    // The scripted server has no text completions.
    let error = generator.score(&request).await.unwrap_err();
    assert!(matches!(&error, GeneratorError::Unavailable { message } if message.contains("404")), "{error}");
}
