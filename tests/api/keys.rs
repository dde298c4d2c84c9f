//! Keys of a file: rotated while the server runs, held to their limits, told apart in logs and metrics.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use reqwest::RequestBuilder;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tempfile::TempDir;
use xenoglot::api::{ApiKeys, Clock, DataOptions, EvalOptions, KeyHash};
use xenoglot::eval::ScorerOptions;
use xenoglot::store::{NewEval, Store};

use super::server::{MODEL, MODEL_FOLDER, Server, completion, long, merge};
use crate::real_weights::real_model;

const COMPLETIONS: &str = "/v1/completions";
const SUITE: &str = "xeno-word-problems";

/// A table of a key that opens everything.
fn admin(name: &str) -> String {
    table(name, "").replace("inference", "admin")
}

/// A server with a keys file, and a clock that stands still unless it is told to go on.
struct Keyed {
    server: Server,
    folder: TempDir,
    now_ms: Arc<AtomicU64>,
}

/// A table: the key is its name with `xg-` before it.
fn table(name: &str, more: &str) -> String {
    format!("[{name}]\nhash = \"{}\"\nscopes = [\"inference\"]\n{more}\n", KeyHash::of(&format!("xg-{name}")))
}

fn file_in(folder: &TempDir) -> PathBuf {
    folder.path().join("keys.toml")
}

impl Keyed {
    async fn start(tables: &[String]) -> Self {
        Self::with(tables, None).await
    }

    /// With a store, in which nobody works; the id is an eval's that was made without a key.
    async fn evaluating(tables: &[String]) -> (Self, String) {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("store.db").display());
        let store = Store::open(&url).await.unwrap();
        let (spec, metadata) = (json!({"suite": SUITE}), json!({}));
        let nobodys = NewEval { name: "old".to_owned(), spec, metadata, owner: None };
        let nobodys = store.create_eval(nobodys).await.unwrap().id;
        let keyed = Self::with(tables, Some((store, folder))).await;
        (keyed, nobodys)
    }

    async fn with(tables: &[String], evals: Option<(Store, TempDir)>) -> Self {
        let (store, folder) = match evals {
            Some((store, folder)) => (Some(store), folder),
            None => (None, tempfile::tempdir().unwrap()),
        };
        std::fs::write(file_in(&folder), tables.concat()).unwrap();
        let data = DataOptions { folder: folder.path().to_owned(), file_bytes_max: 1 << 20 };
        // Noon of a day.
        let now_ms = Arc::new(AtomicU64::new(20_000 * 86_400_000 + 43_200_000));
        let (file, hands) = (file_in(&folder), now_ms.clone());
        let server = Server::with(|_, options| {
            options.auth.keys_file = Some(file);
            options.clock = Clock::from_fn(move || hands.load(Ordering::Relaxed));
            let scorers = ScorerOptions::default();
            options.evals =
                store.map(|store| EvalOptions { store, workers: 0, endpoints: Vec::new(), scorers, data });
        });
        Self { server: server.await, folder, now_ms }
    }

    fn request(&self, method: &str, path: &str, key: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.server.url);
        self.server.client.request(method.parse().unwrap(), url).bearer_auth(key)
    }

    /// The path of an eval that is made with this key.
    async fn new_eval(&self, key: &str) -> String {
        let body =
            json!({"data_source_config": {"type": "xenoglot_suite", "suite": SUITE}, "testing_criteria": []});
        let made = self.request("POST", "/v1/evals", key).json(&body).send().await.unwrap();
        assert_eq!(made.status(), 201);
        format!("/v1/evals/{}", made.json::<Value>().await.unwrap()["id"].as_str().unwrap())
    }

    fn begin(&self, eval: &str, key: &str, source: &Value) -> RequestBuilder {
        let source = merge(&json!({"type": "xenoglot_suite", "languages": ["en"], "limit": 1}), source);
        self.request("POST", &format!("{eval}/runs"), key).json(&json!({"data_source": source}))
    }

    /// The path of a run that is made with this key.
    async fn new_run(&self, eval: &str, key: &str) -> String {
        let made = self.begin(eval, key, &json!({"model": MODEL})).send().await.unwrap();
        let (status, text) = (made.status(), made.text().await.unwrap());
        assert_eq!(status, 201, "{text}");
        let run: Value = serde_json::from_str(&text).unwrap();
        format!("{eval}/runs/{}", run["id"].as_str().unwrap())
    }

    fn later(&self, seconds: u64) {
        self.now_ms.fetch_add(seconds * 1000, Ordering::Relaxed);
    }

    fn models(&self, key: &str) -> RequestBuilder {
        self.server.get("/v1/models").bearer_auth(key)
    }

    fn complete(&self, key: &str, more: &Value) -> RequestBuilder {
        self.server.post(COMPLETIONS, &completion(more)).bearer_auth(key)
    }

    async fn metric(&self, name: &str, key: &str) -> f64 {
        let text =
            self.server.get("/metrics").bearer_auth("xg-scrape").send().await.unwrap().text().await.unwrap();
        let start = format!("xenoglot_{name}{{api_key=\"{key}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&start));
        line.unwrap_or_else(|| panic!("{start} is not in\n{text}")).parse().unwrap()
    }

    /// Waits until nothing runs under a key.
    async fn idle(&self, key: &str) {
        for _ in 0..600 {
            if self.metric("api_key_requests_running", key).await == 0.0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("requests of {key} still run");
    }
}

fn header(headers: &HeaderMap, name: &str) -> String {
    let value = headers.get(name).unwrap_or_else(|| panic!("no {name} in {headers:?}"));
    value.to_str().unwrap().to_owned()
}

/// Headers and body of an answer that must have this status and error type.
async fn refused(request: RequestBuilder, status: u16, kind: &str) -> (HeaderMap, Value) {
    let response = request.send().await.unwrap();
    let (got, headers) = (response.status().as_u16(), response.headers().clone());
    let body: Value = response.json().await.unwrap();
    assert_eq!((got, &body["error"]["type"]), (status, &json!(kind)), "{body}");
    (headers, body)
}

#[tokio::test]
async fn keys_are_rotated_without_a_restart_and_a_broken_file_changes_nothing() {
    let keyed = Keyed::start(&[table("old", "")]).await;
    let status = async |key: &str| keyed.models(key).send().await.unwrap().status().as_u16();
    assert_eq!((status("xg-old").await, status("xg-new").await, status("none").await), (200, 401, 401));
    let becomes = async |key: &str, expected: u16| {
        for _ in 0..200 {
            if status(key).await == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{key} does not become {expected}");
    };
    std::fs::write(file_in(&keyed.folder), table("new", "")).unwrap();
    becomes("xg-new", 200).await;
    assert_eq!(status("xg-old").await, 401);
    for broken in ["[new\n", "[new]\nhash = 'sha256:00'\n"] {
        std::fs::write(file_in(&keyed.folder), broken).unwrap();
        // Two looks.
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(status("xg-new").await, 200, "{broken}");
    }
    std::fs::write(file_in(&keyed.folder), "").unwrap();
    becomes("xg-new", 401).await;
    assert_eq!(status("none").await, 401, "an empty file opens nothing");
}

#[tokio::test]
async fn an_expired_key_is_401_from_its_second_on() {
    let end = "2024-10-04T12:01:00Z";
    let keyed = Keyed::start(&[table("a", &format!("expires = {end}"))]).await;
    keyed.later(59);
    assert_eq!(keyed.models("xg-a").send().await.unwrap().status(), 200);
    keyed.later(1);
    let (_, body) = refused(keyed.models("xg-a"), 401, "authentication_error").await;
    assert!(body["error"]["message"].as_str().unwrap().contains(end), "{body}");
}

#[tokio::test]
async fn requests_over_a_keys_limit_are_429_and_say_when_to_come_back() {
    let scrape = table("scrape", "").replace("inference", "metrics");
    let keyed = Keyed::start(&[table("a", "requests_per_minute = 2"), table("b", ""), scrape]).await;
    let first = keyed.models("xg-a").send().await.unwrap();
    let shown = ["limit", "remaining", "reset"]
        .map(|what| header(first.headers(), &format!("x-ratelimit-{what}-requests")));
    assert_eq!(shown, ["2", "1", "30s"]);
    assert!(first.headers().get("x-ratelimit-limit-tokens").is_none());
    assert_eq!(keyed.models("xg-a").send().await.unwrap().status(), 200);
    let (limited, _) = refused(keyed.models("xg-a"), 429, "rate_limit_exceeded").await;
    assert_eq!(header(&limited, "retry-after"), "30");
    assert_eq!(header(&limited, "x-ratelimit-remaining-requests"), "0");
    assert_eq!(header(&limited, "x-ratelimit-reset-requests"), "1m0s");
    assert_eq!(keyed.models("xg-b").send().await.unwrap().status(), 200, "others are not held up");
    keyed.later(29);
    let (limited, _) = refused(keyed.models("xg-a"), 429, "rate_limit_exceeded").await;
    assert_eq!(header(&limited, "retry-after"), "1", "whole seconds, at least one");
    keyed.later(1);
    assert_eq!(keyed.models("xg-a").send().await.unwrap().status(), 200);
    assert_eq!(keyed.metric("api_key_requests_total", "a").await, 3.0);
    assert_eq!(keyed.metric("api_key_refused_total", "a").await, 2.0);
    assert_eq!(keyed.server.get("/health").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn tokens_are_reserved_when_a_request_comes_and_settled_when_it_ends() {
    let keyed = Keyed::start(&[table("a", "tokens_per_minute = 120")]).await;
    let whole = json!({"max_tokens": 60, "ignore_eos": true});
    let answer = keyed.complete("xg-a", &whole).send().await.unwrap();
    let remaining: u64 = header(answer.headers(), "x-ratelimit-remaining-tokens").parse().unwrap();
    let usage = answer.json::<Value>().await.unwrap()["usage"].clone();
    let used = usage["total_tokens"].as_u64().unwrap();
    assert_eq!((remaining, used > 60), (120 - used, true), "{usage}");
    let (limited, _) = refused(keyed.complete("xg-a", &whole), 429, "rate_limit_exceeded").await;
    let seconds = (2 * used - 120).div_ceil(2);
    assert_eq!(header(&limited, "retry-after"), seconds.to_string());
    keyed.later(seconds);
    let streamed = json!({"max_tokens": 60, "ignore_eos": true, "stream": true});
    let streamed = keyed.complete("xg-a", &streamed).send().await.unwrap();
    assert_eq!(streamed.status(), 200);
    let reserved: u64 = header(streamed.headers(), "x-ratelimit-remaining-tokens").parse().unwrap();
    assert!(reserved <= 2, "{reserved}: taken before the first token");
    streamed.text().await.unwrap();
    let (_, body) = refused(keyed.complete("xg-a", &json!({"n": 7})), 400, "invalid_request_error").await;
    assert_eq!(body["error"]["param"], "max_tokens", "never admitted, so no 429: {body}");
}

#[tokio::test]
async fn refusals_of_a_known_key_are_counted_under_its_name() {
    let scrape = table("scrape", "").replace("inference", "metrics");
    let old = table("old", "expires = 2020-01-01T00:00:00Z");
    let keyed = Keyed::start(&[table("a", "models = [\"another\"]"), old, admin("root"), scrape]).await;
    refused(keyed.models("xg-old"), 401, "authentication_error").await;
    refused(keyed.request("GET", "/v1/files", "xg-a"), 403, "permission_error").await;
    refused(keyed.complete("xg-a", &json!({})), 403, "permission_error").await;
    refused(keyed.models("xg-nobody"), 401, "authentication_error").await;
    let counted = async |key: &str| keyed.metric("api_key_refused_total", key).await;
    assert_eq!((counted("old").await, counted("a").await, counted("root").await), (1.0, 2.0, 0.0));
}

#[tokio::test]
async fn an_inference_key_sees_no_others_series() {
    let keyed = Keyed::start(&[table("a", ""), table("b", ""), admin("root")]).await;
    let seen = async |key: &str| {
        let text = keyed.request("GET", "/metrics", key).send().await.unwrap().text().await.unwrap();
        ["a", "b", "root"].map(|name| text.contains(&format!("api_key=\"{name}\"")))
    };
    assert_eq!(seen("xg-a").await, [true, false, false]);
    assert_eq!(seen("xg-root").await, [true; 3]);
}

#[tokio::test]
async fn probes_name_models_to_callers_with_a_key() {
    let held = |models: &str| format!("models = [\"{models}\"]");
    let old = table("old", "expires = 2020-01-01T00:00:00Z");
    let keyed =
        Keyed::start(&[table("a", ""), table("b", &held(MODEL)), table("c", &held("another")), old]).await;
    for path in ["/health", "/ping"] {
        let named = async |key: &str| {
            let answer = keyed.request("GET", path, key).send().await.unwrap();
            assert_eq!(answer.status(), 200);
            answer.text().await.unwrap().contains(MODEL)
        };
        assert!(named("xg-a").await && named("xg-b").await);
        assert!(!named("xg-c").await && !named("xg-old").await && !named("none").await);
        let stranger: Value = keyed.server.get(path).send().await.unwrap().json().await.unwrap();
        assert_eq!((&stranger["status"], &stranger["models"]), (&json!("ok"), &json!([])));
    }
    let keyless = Server::start().await;
    assert!(keyless.get("/health").send().await.unwrap().text().await.unwrap().contains(MODEL));
}

#[tokio::test]
async fn a_request_over_a_keys_tokens_names_the_field_at_fault() {
    let keyed = Keyed::start(&[table("a", "tokens_per_minute = 20"), table("b", "")]).await;
    let long = vec![5; 50];
    let message = json!([{"role": "user", "content": "a ".repeat(25)}]);
    for (path, body, param) in [
        (COMPLETIONS, json!({"prompt": "Hello", "max_tokens": 60}), "max_tokens"),
        (COMPLETIONS, json!({"prompt": long, "max_tokens": 1}), "prompt"),
        ("/v1/chat/completions", json!({"messages": message, "max_tokens": 1}), "messages"),
        ("/generate", json!({"input_ids": long, "sampling_params": {"max_new_tokens": 1}}), "input_ids"),
        (
            "/generate",
            json!({"text": "Hello", "sampling_params": {"max_new_tokens": 60}}),
            "sampling_params.max_new_tokens",
        ),
        (
            "/generate",
            json!({"text": "Hello", "sampling_params": {"max_new_tokens": 1, "temperature": -1}}),
            "sampling_params.temperature",
        ),
    ] {
        let sent = keyed.server.post(path, &body).bearer_auth("xg-a");
        let (_, error) = refused(sent, 400, "invalid_request_error").await;
        assert_eq!(error["error"]["param"], param, "{path} {body}");
    }
}

#[tokio::test]
async fn a_key_does_not_go_before_others_unless_it_may() {
    let keyed = Keyed::start(&[table("a", ""), table("b", "priority = true"), admin("root")]).await;
    let message = json!([{"role": "user", "content": "a"}]);
    for (path, body) in [
        (COMPLETIONS, json!({"prompt": "a", "max_tokens": 1})),
        ("/v1/chat/completions", json!({"messages": message, "max_tokens": 1})),
        ("/generate", json!({"text": "a", "sampling_params": {"max_new_tokens": 1}})),
    ] {
        let send = |key: &str, priority: i32| {
            let body = merge(&body, &json!({"priority": priority}));
            keyed.server.post(path, &body).bearer_auth(key)
        };
        let (_, error) = refused(send("xg-a", -1), 400, "invalid_request_error").await;
        assert_eq!(error["error"]["param"], "priority", "{path}");
        for (key, priority) in [("xg-a", 0), ("xg-a", 3), ("xg-b", -1), ("xg-root", -1)] {
            assert_eq!(send(key, priority).send().await.unwrap().status(), 200, "{path} {key} {priority}");
        }
    }
    let keyless = Server::start().await;
    keyless.ok(COMPLETIONS, &completion(&json!({"priority": -1}))).await;
}

#[tokio::test]
async fn the_prefix_cache_is_a_keys_own_unless_it_is_shared() {
    let shared = "shared_cache = true";
    let keyed = Keyed::start(&[table("a", ""), table("b", ""), table("c", shared), table("d", shared)]).await;
    let cached = async |key: &str, more: &Value| {
        let body = merge(&json!({"prompt": vec![5; 100], "max_tokens": 1}), more);
        let answer: Value = keyed.complete(key, &body).send().await.unwrap().json().await.unwrap();
        answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap_or(0) > 0
    };
    assert!(!cached("xg-a", &json!({})).await);
    assert!(cached("xg-a", &json!({})).await);
    for key in ["xg-b", "xg-c"] {
        assert!(!cached(key, &json!({})).await, "{key}");
    }
    assert!(cached("xg-d", &json!({})).await, "as c's");
    for (key, salt) in [("xg-b", "key:a"), ("xg-d", "key:a"), ("xg-a", "x"), ("xg-d", "x")] {
        assert!(!cached(key, &json!({"cache_salt": salt})).await, "{key} {salt}");
    }
    assert!(cached("xg-a", &json!({"cache_salt": "x"})).await);
}

#[tokio::test]
async fn a_request_that_is_refused_gives_its_tokens_back() {
    let keyed = Keyed::start(&[table("a", "tokens_per_minute = 1000")]).await;
    let (refusal, _) =
        refused(keyed.complete("xg-a", &json!({"max_tokens": 500})), 400, "invalid_request_error").await;
    assert_eq!(header(&refusal, "x-ratelimit-remaining-tokens"), "1000");
}

#[tokio::test]
async fn a_days_quota_that_is_used_up_is_told_apart() {
    let keyed = Keyed::start(&[table("a", "tokens_per_day = 50")]).await;
    let body = json!({"max_tokens": 30, "ignore_eos": true});
    assert_eq!(keyed.complete("xg-a", &body).send().await.unwrap().status(), 200);
    let (spent, error) = refused(keyed.complete("xg-a", &body), 429, "insufficient_quota").await;
    assert_eq!(error["error"]["code"], "insufficient_quota");
    assert_eq!(header(&spent, "retry-after"), "43200");
    assert_eq!(header(&spent, "x-should-retry"), "false");
    keyed.later(43_200);
    assert_eq!(keyed.complete("xg-a", &body).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_client_that_hangs_up_pays_for_what_it_had_and_frees_its_place() {
    let scrape = table("scrape", "").replace("inference", "metrics");
    let limits = "tokens_per_minute = 200_000\nmax_concurrent = 1";
    let keyed = Keyed::start(&[table("a", limits), scrape]).await;
    let answer = keyed.server.post(COMPLETIONS, &long(&json!({}))).bearer_auth("xg-a").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let mut pieces = answer.bytes_stream();
    pieces.next().await.unwrap().unwrap();
    let (busy, _) = refused(keyed.models("xg-a"), 429, "rate_limit_exceeded").await;
    assert_eq!(header(&busy, "retry-after"), "1");
    drop(pieces);
    keyed.idle("a").await;
    let models = keyed.models("xg-a").send().await.unwrap();
    let remaining: f64 = header(models.headers(), "x-ratelimit-remaining-tokens").parse().unwrap();
    let used = keyed.metric("api_key_tokens_total", "a").await;
    assert_eq!(remaining, 200_000.0 - used);
    assert!(used > 0.0 && used < super::server::LONG_TOKENS, "{used}");
}

#[tokio::test]
async fn a_key_may_be_held_to_some_models() {
    let keyed =
        Keyed::start(&[table("a", "models = [\"another\"]"), table("b", &format!("models = [\"{MODEL}\"]"))])
            .await;
    for (path, body) in [
        (COMPLETIONS, json!({"model": MODEL, "prompt": "a"})),
        (COMPLETIONS, json!({"prompt": "a"})),
        ("/v1/chat/completions", json!({"model": MODEL, "messages": [{"role": "user", "content": "a"}]})),
        ("/tokenize", json!({"model": MODEL, "prompt": "a"})),
        ("/detokenize", json!({"tokens": [1]})),
        ("/generate", json!({"text": "a", "sampling_params": {"max_new_tokens": 5}})),
    ] {
        let (_, error) =
            refused(keyed.server.post(path, &body).bearer_auth("xg-a"), 403, "permission_error").await;
        assert_eq!(error["error"]["param"], "model", "{path}");
        let names_it = body["model"] == MODEL;
        assert_eq!(error.to_string().contains(MODEL), names_it, "nobody is told what is served: {error}");
        let allowed = keyed.server.post(path, &body).bearer_auth("xg-b").send().await.unwrap();
        assert_eq!(allowed.status(), 200, "{path}");
    }
    let listed = async |key: &str| {
        keyed.models(key).send().await.unwrap().json::<Value>().await.unwrap()["data"].clone()
    };
    assert_eq!(listed("xg-a").await, json!([]));
    assert_eq!(listed("xg-b").await[0]["id"], MODEL);
    let looked_at = keyed.server.get(&format!("/v1/models/{MODEL}")).bearer_auth("xg-a");
    refused(looked_at, 403, "permission_error").await;
    // One that it may use and that is not served: told without the names of others.
    let (_, absent) =
        refused(keyed.complete("xg-a", &json!({"model": "another"})), 404, "not_found_error").await;
    assert!(!absent.to_string().contains(MODEL), "{absent}");
    let series = async |key: &str| {
        let text = keyed.request("GET", "/metrics", key).send().await.unwrap().text().await.unwrap();
        (text.contains(&format!("model_name=\"{MODEL}\"")), text.contains("resident_memory_bytes"))
    };
    assert_eq!((series("xg-a").await, series("xg-b").await), ((false, true), (true, true)));
    // The same answer, so that nobody learns what is served.
    let (_, unknown) =
        refused(keyed.complete("xg-a", &json!({"model": "nobody"})), 403, "permission_error").await;
    assert!(unknown["error"]["message"].as_str().unwrap().contains("another"), "{unknown}");
}

/// Its id is in no list, but it stands in logs and in clients' files.
#[tokio::test]
async fn a_stored_response_is_its_keys_alone() {
    let keyed = Keyed::start(&[table("a", ""), table("b", "")]).await;
    let respond = |key: &str, more: &Value| {
        let body = merge(&json!({"model": MODEL, "input": "Hello", "max_output_tokens": 5}), more);
        keyed.server.post("/v1/responses", &body).bearer_auth(key)
    };
    let stored: Value = respond("xg-a", &json!({})).send().await.unwrap().json().await.unwrap();
    let path = format!("/v1/responses/{}", stored["id"].as_str().unwrap());
    let after = json!({"previous_response_id": stored["id"]});
    let delete =
        |key: &str| keyed.server.client.delete(format!("{}{path}", keyed.server.url)).bearer_auth(key);
    refused(keyed.server.get(&path).bearer_auth("xg-b"), 404, "not_found_error").await;
    refused(respond("xg-b", &after), 404, "not_found_error").await;
    refused(delete("xg-b"), 404, "not_found_error").await;
    assert_eq!(keyed.server.get(&path).bearer_auth("xg-a").send().await.unwrap().status(), 200);
    assert_eq!(respond("xg-a", &after).send().await.unwrap().status(), 200);
    assert_eq!(delete("xg-a").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn keys_of_the_settings_do_not_read_each_others_responses() {
    let server = Server::with(|_, options| options.auth.inference = ApiKeys::new(["sk-one", "sk-two"])).await;
    let body = json!({"model": MODEL, "input": "Hello", "max_output_tokens": 5});
    let stored = server.post("/v1/responses", &body).bearer_auth("sk-one").send().await.unwrap();
    let path = format!("/v1/responses/{}", stored.json::<Value>().await.unwrap()["id"].as_str().unwrap());
    refused(server.get(&path).bearer_auth("sk-two"), 404, "not_found_error").await;
    assert_eq!(server.get(&path).bearer_auth("sk-one").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn tokens_of_embedded_texts_are_the_keys() {
    let folder = tempfile::tempdir().unwrap();
    let tables = [table("a", "tokens_per_minute = 30"), table("b", "models = [\"another\"]")];
    std::fs::write(file_in(&folder), tables.concat()).unwrap();
    let mut encoder = None;
    let server = Server::of(
        MODEL_FOLDER,
        |_, options| {
            options.auth.keys_file = Some(file_in(&folder));
            options.clock = Clock::from_fn(|| 0);
        },
        |registry| {
            let loaded = registry.load_encoder("e5".to_owned(), &real_model("multilingual-e5-small"));
            encoder = Some(loaded.unwrap());
        },
    )
    .await;
    let embed = |key: &str, input: &str| {
        server.post("/v1/embeddings", &json!({"model": "e5", "input": input})).bearer_auth(key)
    };
    let answer = embed("xg-a", "query: hello").send().await.unwrap();
    let remaining: u64 = header(answer.headers(), "x-ratelimit-remaining-tokens").parse().unwrap();
    let used = answer.json::<Value>().await.unwrap()["usage"]["total_tokens"].as_u64().unwrap();
    assert_eq!(remaining, 30 - used);
    let places = encoder.unwrap().places.clone().try_acquire_many_owned(256).unwrap();
    let (full, _) = refused(embed("xg-a", "query: hello"), 429, "rate_limit_error").await;
    assert_eq!(
        header(&full, "x-ratelimit-remaining-tokens"),
        remaining.to_string(),
        "not begun, not charged"
    );
    drop(places);
    refused(embed("xg-a", &"one two three ".repeat(8)), 429, "rate_limit_exceeded").await;
    let (_, never) = refused(embed("xg-a", &"word ".repeat(100)), 400, "invalid_request_error").await;
    assert_eq!(never["error"]["param"], "input");
    refused(embed("xg-b", "query: hello"), 403, "permission_error").await;
    let unknown = json!({"model": "nobody", "input": "a"});
    refused(server.post("/v1/embeddings", &unknown).bearer_auth("xg-b"), 403, "permission_error").await;
}

#[tokio::test]
async fn admins_see_every_key_and_what_it_has_used() {
    let ends = "models = [\"tiny\"]\ntokens_per_day = 50\nexpires = 2024-10-04T18:00:00Z";
    let keyed = Keyed::start(&[table("a", ends), table("b", "priority = true"), admin("root")]).await;
    let server = &keyed.server;
    assert_eq!(
        keyed.complete("xg-b", &json!({"prompt": "a b", "max_tokens": 3})).send().await.unwrap().status(),
        200
    );
    refused(server.get("/v1/admin/keys").bearer_auth("xg-b"), 403, "permission_error").await;
    // When nothing runs any more: a request's place is given back behind its answer.
    let list = async || -> Value {
        for _ in 0..600 {
            let listed = server.get("/v1/admin/keys").bearer_auth("xg-root").send().await.unwrap();
            assert_eq!(listed.status(), 200);
            let told: Value = listed.json().await.unwrap();
            if told["data"][1]["usage"]["running"] == 0 {
                return told;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("requests still run");
    };
    let told = list().await;
    let [a, b, root] = &told["data"].as_array().unwrap()[..] else { panic!("{told}") };
    let expected = json!({
        "name": "a", "hash": KeyHash::of("xg-a").to_string(), "source": "file", "scopes": ["inference"], "models": ["tiny"],
        "expires": "2024-10-04T18:00:00Z", "is_expired": false, "shared_cache": false, "priority": false,
        "limits": {"tokens_per_day": 50},
        "usage": {"requests": 0, "tokens": 0, "tokens_today": 0, "refused": 0, "running": 0},
    });
    assert_eq!(*a, expected);
    assert_eq!((&b["name"], &b["priority"], &b["limits"]), (&json!("b"), &json!(true), &json!({})));
    let again: Value = keyed
        .complete("xg-b", &json!({"prompt": "a b", "max_tokens": 3}))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let used = again["usage"]["total_tokens"].as_u64().unwrap();
    // It has asked for the list.
    assert_eq!((&root["scopes"], &root["usage"]["requests"]), (&json!(["admin"]), &json!(1)));
    // The same again: each took as much.
    let told = list().await;
    let usage = &told["data"][1]["usage"];
    assert_eq!((&usage["requests"], &usage["refused"], &usage["running"]), (&json!(2), &json!(1), &json!(0)));
    assert_eq!((&usage["tokens"], &usage["tokens_today"]), (&json!(2 * used), &json!(2 * used)));
    keyed.later(86_400);
    let told = list().await;
    assert_eq!(told["data"][0]["is_expired"], json!(true));
    assert_eq!(
        (&told["data"][1]["usage"]["tokens"], &told["data"][1]["usage"]["tokens_today"]),
        (&json!(2 * used), &json!(0))
    );
}

/// Workers draw a run's samples, under nobody's key.
#[tokio::test]
async fn a_key_with_limits_begins_no_evaluations() {
    let keyed =
        Keyed::start(&[table("a", "tokens_per_day = 1000"), table("b", "requests_per_minute = 60")]).await;
    let body = json!({"data_source": {"type": "xenoglot_suite"}});
    for path in ["/v1/evals/eval_1/runs", "/v1/evals/eval_1/runs/run_1/resume"] {
        for key in ["xg-a", "xg-b"] {
            refused(keyed.server.post(path, &body).bearer_auth(key), 403, "permission_error").await;
        }
    }
}

#[tokio::test]
async fn evaluations_are_changed_by_their_own_key_and_by_admins() {
    let (keyed, nobodys) = Keyed::evaluating(&[table("a", ""), table("b", ""), admin("root")]).await;
    let eval = keyed.new_eval("xg-a").await;
    let run = keyed.new_run(&eval, "xg-a").await;
    let nobodys = format!("/v1/evals/{nobodys}");
    let rename = json!({"name": "mine"});
    for path in [&eval, &run, &format!("{run}/output_items"), &format!("{eval}/runs"), &nobodys] {
        assert_eq!(keyed.request("GET", path, "xg-b").send().await.unwrap().status(), 200, "{path}");
    }
    for (method, path) in [
        ("POST", run.clone()),
        ("POST", format!("{run}/cancel")),
        ("POST", format!("{run}/pause")),
        ("POST", format!("{run}/resume")),
        ("DELETE", run.clone()),
        ("DELETE", eval.clone()),
        ("DELETE", nobodys.clone()),
    ] {
        refused(keyed.request(method, &path, "xg-b"), 403, "permission_error").await;
    }
    let rescore = keyed.request("POST", &format!("{run}/rescore"), "xg-b").json(&json!({}));
    refused(rescore, 403, "permission_error").await;
    for path in [&eval, &nobodys] {
        refused(keyed.request("POST", path, "xg-b").json(&rename), 403, "permission_error").await;
    }
    let done = async |request: RequestBuilder| assert_eq!(request.send().await.unwrap().status(), 200);
    done(keyed.request("POST", &eval, "xg-a").json(&rename)).await;
    done(keyed.request("POST", &nobodys, "xg-root").json(&rename)).await;
    for (key, action) in [("xg-a", "pause"), ("xg-a", "resume"), ("xg-root", "pause"), ("xg-root", "cancel")]
    {
        done(keyed.request("POST", &format!("{run}/{action}"), key)).await;
    }
    // Another key's run goes with nobody's eval but an admin's.
    keyed.new_run(&eval, "xg-b").await;
    refused(keyed.request("DELETE", &eval, "xg-a"), 403, "permission_error").await;
    done(keyed.request("DELETE", &run, "xg-a")).await;
    done(keyed.request("DELETE", &eval, "xg-root")).await;
}

#[tokio::test]
async fn runs_of_models_that_a_key_may_not_use_are_not_there_for_it() {
    let held = format!("models = [\"{MODEL}\"]");
    let tables = [table("a", &held), table("b", "models = [\"another\"]")];
    let (keyed, _) = Keyed::evaluating(&tables).await;
    let eval = keyed.new_eval("xg-a").await;
    let run = keyed.new_run(&eval, "xg-a").await;
    let listed = async |key: &str| {
        let list = keyed.request("GET", &format!("{eval}/runs"), key).send().await.unwrap();
        list.json::<Value>().await.unwrap()["data"].as_array().unwrap().len()
    };
    assert_eq!((listed("xg-a").await, listed("xg-b").await), (1, 0));
    for more in [
        "",
        "/events",
        "/output_items",
        "/output_items/outputitem_0_0",
        "/sample_table",
        "/compare",
        "/export?format=csv",
    ] {
        refused(keyed.request("GET", &format!("{run}{more}"), "xg-b"), 404, "not_found_error").await;
    }
    let rescore = keyed.request("POST", &format!("{run}/rescore"), "xg-b").json(&json!({}));
    refused(rescore, 404, "not_found_error").await;
    for (key, count) in [("xg-a", 1), ("xg-b", 0)] {
        let list = keyed.request("GET", "/v1/runs", key).send().await.unwrap();
        let list = list.json::<Value>().await.unwrap();
        assert_eq!(list["data"].as_array().unwrap().len(), count, "{key}: {list}");
    }
    for action in ["", "/cancel", "/pause", "/resume"] {
        refused(keyed.request("POST", &format!("{run}{action}"), "xg-b"), 404, "not_found_error").await;
    }
    refused(keyed.request("DELETE", &run, "xg-b"), 404, "not_found_error").await;
    // Nor is it told which models there are.
    for source in
        [json!({"model": MODEL}), json!({"model": "nobody"}), json!({"model": "another"}), json!({})]
    {
        let answer = keyed.begin(&eval, "xg-b", &source).send().await.unwrap();
        let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
        assert!((400..500).contains(&status), "{source}: {text}");
        assert!(!text.contains("tiny") || source["model"] == MODEL, "{source}: {text}");
    }
    assert_eq!(
        keyed.begin(&eval, "xg-a", &json!({})).send().await.unwrap().status(),
        201,
        "the only one it may use"
    );
}

#[tokio::test]
async fn a_key_has_so_many_runs_at_once() {
    let (keyed, _) = Keyed::evaluating(&[table("a", ""), table("b", ""), admin("root")]).await;
    let eval = keyed.new_eval("xg-a").await;
    let mut runs = Vec::new();
    for _ in 0..8 {
        runs.push(keyed.new_run(&eval, "xg-a").await);
    }
    let ninth = keyed.begin(&eval, "xg-a", &json!({"model": MODEL}));
    let (_, error) = refused(ninth, 429, "rate_limit_error").await;
    assert!(error["error"]["message"].as_str().unwrap().contains("`a`"), "{error}");
    keyed.new_run(&eval, "xg-b").await;
    for _ in 0..9 {
        keyed.new_run(&eval, "xg-root").await;
    }
    // Asked for at once, they are counted one after the other.
    let asked = (0..20).map(|_| keyed.begin(&eval, "xg-b", &json!({"model": MODEL})).send());
    let answers = futures::future::join_all(asked).await;
    let made = answers.iter().filter(|answer| answer.as_ref().unwrap().status() == 201).count();
    assert_eq!(made, 7, "of eight, one was there");
    let pause = |run: &str| keyed.request("POST", &format!("{run}/pause"), "xg-a");
    assert_eq!(pause(&runs[0]).send().await.unwrap().status(), 200);
    keyed.new_run(&eval, "xg-a").await;
    let resume = keyed.request("POST", &format!("{}/resume", runs[0]), "xg-a");
    refused(resume, 429, "rate_limit_error").await;
}
