//! Evaluations over HTTP on a tiny model: made, followed, polled, paused, read sample by sample, and kept over a restart.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use xenoglot::api::{ApiKeys, DataOptions, EvalOptions};
use xenoglot::eval::{ScorerOptions, weights_sha256};
use xenoglot::store::Store;

use super::server::{MODEL, Server, merge, models_dir};

pub const SMALL: &str = "small";
pub const SUITE: &str = "xeno-word-problems";

/// A server with a store, and a model whose context the suite's problems fit into.
pub async fn server(folder: &Path, workers: usize) -> Server {
    let store = Store::open(&format!("sqlite:{}", folder.join("store.db").display())).await.unwrap();
    let data = DataOptions { folder: folder.to_owned(), file_bytes_max: 1 << 20 };
    let server = Server::with(|settings, options| {
        settings.max_n = 16;
        options.limits.n_max = 16;
        options.auth.inference = ApiKeys::default();
        options.auth.admin = ApiKeys::new(["sk-admin"]);
        options.evals = Some(EvalOptions {
            store,
            workers,
            endpoints: Vec::new(),
            scorers: ScorerOptions::default(),
            data,
        });
    })
    .await;
    let load = json!({"name": SMALL, "path": "llama3"});
    let loaded = server.post("/v1/admin/models", &load).bearer_auth("sk-admin").send().await.unwrap();
    assert_eq!(loaded.status(), 201);
    server
}

pub async fn started() -> (TempDir, Server) {
    let folder = tempfile::tempdir().unwrap();
    let server = server(folder.path(), 2).await;
    (folder, server)
}

/// The JSON of an answer that must have this status.
pub async fn json_of(request: reqwest::RequestBuilder, status: u16) -> Value {
    let response = request.send().await.unwrap();
    let got = response.status();
    let text = response.text().await.unwrap();
    assert_eq!(got, status, "{text}");
    serde_json::from_str(&text).unwrap()
}

pub async fn new_eval(server: &Server) -> String {
    let body = json!({"data_source_config": {"type": "xenoglot_suite", "suite": SUITE}, "testing_criteria": [],
        "name": "Words", "metadata": {"team": "a"}});
    let eval = json_of(server.post("/v1/evals", &body), 201).await;
    assert_eq!(
        (&eval["object"], &eval["name"], &eval["metadata"]["team"]),
        (&json!("eval"), &json!("Words"), &json!("a"))
    );
    eval["id"].as_str().unwrap().to_owned()
}

pub fn source(more: &Value) -> Value {
    let plain = json!({"type": "xenoglot_suite", "model": SMALL, "languages": ["en", "de"], "limit": 3, "n": 4,
        "sampling_params": {"temperature": 1.0, "max_completion_tokens": 8, "seed": 5}});
    json!({"data_source": merge(&plain, more)})
}

pub async fn new_run(server: &Server, eval: &str, more: &Value) -> String {
    let run = json_of(server.post(&format!("/v1/evals/{eval}/runs"), &source(more)), 201).await;
    assert_eq!(
        (&run["object"], &run["eval_id"], &run["model"]),
        (&json!("eval.run"), &json!(eval), &json!(SMALL))
    );
    format!("/v1/evals/{eval}/runs/{}", run["id"].as_str().unwrap())
}

pub async fn until(server: &Server, run: &str, status: &str) -> Value {
    let start = Instant::now();
    loop {
        let state = json_of(server.get(run), 200).await;
        if state["status"] == status {
            return state;
        }
        assert!(start.elapsed() < Duration::from_mins(1), "not {status}: {state}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Ids, kinds and data of an event stream that must end with `[DONE]`.
fn events(text: &str) -> Vec<(Option<u64>, String, Value)> {
    let mut found = Vec::new();
    let mut blocks: Vec<&str> = text.split("\n\n").filter(|block| block.contains("data: ")).collect();
    assert_eq!(blocks.pop().map(str::trim), Some("data: [DONE]"), "{text}");
    for block in blocks {
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
        let data = serde_json::from_str(field("data: ").unwrap()).unwrap();
        let id = field("id: ").map(|id| id.parse().unwrap());
        found.push((id, field("event: ").unwrap_or_default().to_owned(), data));
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_made_followed_and_read() {
    let (_folder, server) = started().await;
    let eval = new_eval(&server).await;
    let run = new_run(&server, &eval, &json!({})).await;
    let stream = server.get(&format!("{run}/events")).send().await.unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let followed = events(&stream.text().await.unwrap());
    let numbered: Vec<u64> = followed.iter().filter_map(|(id, ..)| *id).collect();
    assert_eq!(numbered, (1..=26).collect::<Vec<u64>>(), "the start, 24 samples, the end");
    let of = |kind: &str| {
        followed
            .iter()
            .filter(|(_, found, _)| found == kind)
            .map(|(.., data)| data.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!((of("output_item").len(), of("status").len()), (24, 2));
    let progress = of("progress").pop().unwrap();
    assert_eq!((&progress["status"], &progress["samples_done"]), (&json!("completed"), &json!(24)));
    assert_eq!(of("scores").pop().unwrap()["scores"]["overall"]["samples"], 24);

    // Taken up again from the tenth; and by one who has seen all.
    let rest = server.get(&format!("{run}/events")).header("Last-Event-ID", "10").send().await.unwrap();
    let rest: Vec<u64> = events(&rest.text().await.unwrap()).iter().filter_map(|(id, ..)| *id).collect();
    assert_eq!(rest, (11..=26).collect::<Vec<u64>>());
    let all_seen = server.get(&format!("{run}/events")).header("Last-Event-ID", "26").send().await.unwrap();
    assert_eq!(all_seen.status(), 204);

    let done = until(&server, &run, "completed").await;
    let counts = &done["result_counts"];
    let sum = ["passed", "failed", "errored"].map(|name| counts[name].as_u64().unwrap()).iter().sum::<u64>();
    assert_eq!((sum, &counts["errored"], &counts["total"]), (24, &json!(0), &json!(24)));
    let scores = &done["xenoglot"]["scores"];
    assert_eq!(
        (&scores["overall"]["samples"], scores["languages"].as_array().unwrap().len()),
        (&json!(24), 2)
    );
    assert!(scores["overall"]["pass_at"]["4"]["method"].is_string(), "{scores}");
    assert_eq!(done["xenoglot"]["provenance"]["suite"]["name"], SUITE);
    let weights = weights_sha256(&models_dir().join("llama3")).unwrap();
    assert_eq!(done["xenoglot"]["provenance"]["generator"]["weights_sha256"], weights);
    let usage = &done["per_model_usage"][0];
    assert_eq!(usage["invocation_count"], 24);
    let [prompt, completion, total] =
        ["prompt_tokens", "completion_tokens", "total_tokens"].map(|name| usage[name].as_u64().unwrap());
    assert!(prompt >= 6 && prompt + completion == total, "{usage}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_that_finds_nothing_new_is_304() {
    let (_folder, server) = started().await;
    let eval = new_eval(&server).await;
    let run = new_run(&server, &eval, &json!({})).await;
    until(&server, &run, "completed").await;
    let first = server.get(&run).send().await.unwrap();
    let tag = first.headers()["etag"].to_str().unwrap().to_owned();
    assert_eq!(first.headers()["cache-control"], "private, no-cache");
    for sent in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".to_owned()] {
        let again = server.get(&run).header("If-None-Match", &sent).send().await.unwrap();
        assert_eq!(
            (again.status().as_u16(), again.headers()["etag"].to_str().unwrap()),
            (304, tag.as_str()),
            "{sent}"
        );
        assert!(again.bytes().await.unwrap().is_empty());
    }
    let other = server.get(&run).header("If-None-Match", "\"0-0\"").send().await.unwrap();
    assert_eq!(other.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_samples_of_a_run_are_paged() {
    let (_folder, server) = started().await;
    let eval = new_eval(&server).await;
    let run = new_run(&server, &eval, &json!({})).await;
    until(&server, &run, "completed").await;
    let (mut ids, mut after) = (Vec::new(), String::new());
    loop {
        let page = json_of(server.get(&format!("{run}/output_items?limit=10{after}")), 200).await;
        for item in page["data"].as_array().unwrap() {
            assert!(item["sample"]["output"].as_array().unwrap().is_empty(), "lists carry no texts");
            ids.push(item["id"].as_str().unwrap().to_owned());
        }
        if page["has_more"] == false {
            break;
        }
        after = format!("&after={}", page["last_id"].as_str().unwrap());
    }
    let expected: Vec<String> =
        (0..6).flat_map(|at| (0..4).map(move |sample| format!("outputitem_{at}_{sample}"))).collect();
    assert_eq!(ids, expected);
    let failed = json_of(
        server.get(&format!("{run}/output_items?status=fail&order=desc&limit=1&include=output")),
        200,
    )
    .await;
    assert_eq!(failed["data"][0]["status"], "fail");
    let item = json_of(
        server.get(&format!("{run}/output_items/{}", failed["data"][0]["id"].as_str().unwrap())),
        200,
    )
    .await;
    assert_eq!(item["sample"]["output"], failed["data"][0]["sample"]["output"]);
    let asked = item["sample"]["input"].as_array().unwrap().last().unwrap()["content"].as_str().unwrap();
    assert!(asked.contains("\\boxed"), "{asked}");
    assert!(item["xenoglot"]["outcome"].is_string() && item["datasource_item"]["gold"].is_string(), "{item}");
}

/// Whoever asks twice gets the same twice: the engine's samples depend on the run's seed alone.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_run_has_the_same_samples() {
    let (_folder, server) = started().await;
    let eval = new_eval(&server).await;
    let mut texts = Vec::new();
    for seed in [5, 5, 6] {
        let sampling =
            json!({"sampling_params": {"temperature": 1.0, "max_completion_tokens": 8, "seed": seed}});
        let run = new_run(&server, &eval, &sampling).await;
        until(&server, &run, "completed").await;
        let page = json_of(server.get(&format!("{run}/output_items?limit=100&include=output")), 200).await;
        let items = page["data"].as_array().unwrap();
        texts.push(items.iter().map(|item| item["sample"]["output"].clone()).collect::<Vec<_>>());
    }
    assert_eq!(texts[0], texts[1]);
    assert_ne!(texts[0], texts[2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_paused_resumed_canceled_and_deleted() {
    // Nobody works: every state is as it was asked for.
    let folder = tempfile::tempdir().unwrap();
    let server = server(folder.path(), 0).await;
    let eval = new_eval(&server).await;
    let run = new_run(&server, &eval, &json!({})).await;
    let ask = async |path: &str, status: u16| json_of(server.post(path, &json!({})), status).await;
    assert_eq!(ask(&format!("{run}/pause"), 200).await["status"], "paused");
    assert_eq!(ask(&format!("{run}/resume"), 200).await["status"], "queued");
    assert_eq!(ask(&run, 200).await["status"], "canceled", "as OpenAI's clients do");
    assert_eq!(ask(&format!("{run}/cancel"), 200).await["status"], "canceled");
    assert_eq!(ask(&format!("{run}/resume"), 409).await["error"]["code"], "conflict");
    let second = new_run(&server, &eval, &json!({})).await;
    let listed = json_of(server.get(&format!("/v1/evals/{eval}/runs?status=queued")), 200).await;
    assert_eq!((listed["data"].as_array().unwrap().len(), &listed["has_more"]), (1, &json!(false)));
    let delete = |path: String| server.client.delete(format!("{}{path}", server.url));
    assert_eq!(json_of(delete(second.clone()), 200).await["object"], "eval.run.deleted");
    json_of(server.get(&second), 404).await;
    let renamed = json_of(server.post(&format!("/v1/evals/{eval}"), &json!({"name": "Other"})), 200).await;
    assert_eq!((&renamed["name"], &renamed["metadata"]["team"]), (&json!("Other"), &json!("a")));
    let evals = json_of(server.get("/v1/evals?limit=5&order=desc"), 200).await;
    assert_eq!(evals["data"][0], renamed);
    assert_eq!(json_of(delete(format!("/v1/evals/{eval}")), 200).await["deleted"], true);
    json_of(server.get(&run), 404).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_outlive_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = server(folder.path(), 0).await;
    let eval = new_eval(&first).await;
    let run = new_run(&first, &eval, &json!({})).await;
    // A reader of its events does not hold up the end.
    let reader = first.get(&format!("{run}/events")).send().await.unwrap();
    first.signal_stop();
    let text = reader.text().await.unwrap();
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    first.ended().await;
    let second = server(folder.path(), 2).await;
    until(&second, &run, "completed").await;
}

/// A preset fills in what the request leaves open, and a trace begins where the run begins it.
#[tokio::test(flavor = "multi_thread")]
async fn a_preset_is_taken_and_what_is_said_wins() {
    let (_folder, server) = started().await;
    let eval = new_eval(&server).await;
    let asked = json!({"type": "xenoglot_suite", "model": SMALL, "languages": ["en"], "limit": 1, "n": 10,
        "preset": "budget-alignment", "thinking_prefix": true, "profile": "math-verify",
        "sampling_params": {"temperature": 1.0, "max_completion_tokens": 4}});
    let run =
        json_of(server.post(&format!("/v1/evals/{eval}/runs"), &json!({"data_source": asked})), 201).await;
    let source = &run["data_source"];
    assert_eq!(
        (&source["prompts"], &source["n"], &source["profile"], &source["thinking_prefix"]),
        (&json!("budget-alignment"), &json!(10), &json!("math-verify"), &json!(true))
    );
    let sampling = &source["sampling_params"];
    let top_p = sampling["top_p"].as_f64().unwrap();
    assert!(sampling["temperature"] == json!(1.0) && (top_p - 0.95).abs() < 1e-6, "{sampling}");
    let path = format!("/v1/evals/{eval}/runs/{}", run["id"].as_str().unwrap());
    let done = until(&server, &path, "completed").await;
    let provenance = &done["xenoglot"]["provenance"];
    assert_eq!(provenance["scorer"]["profile"], "math-verify");
    assert_eq!(provenance["suite"]["prompts"], "budget-alignment");
    let item = json_of(server.get(&format!("{path}/output_items/outputitem_0_0")), 200).await;
    let begun = "<think>\nAs I was asked to, I will do my thinking in English.";
    let sent = item["sample"]["input"].as_array().unwrap().last().unwrap();
    assert_eq!((&sent["role"], &sent["content"]), (&json!("assistant"), &json!(begun)));
    let said = item["sample"]["output"][0]["content"].as_str().unwrap();
    assert!(said.starts_with(begun) && said.len() > begun.len(), "{said}");
}

#[tokio::test]
async fn wrong_requests_are_told_their_field() {
    let (_folder, server) = started().await;
    let eval = new_eval(&server).await;
    let check = async |request: reqwest::RequestBuilder, status: u16, param: Option<&str>| {
        let error = json_of(request, status).await;
        assert_eq!(error["error"]["param"].as_str(), param, "{error}");
    };
    let new = |config: Value| server.post("/v1/evals", &json!({"data_source_config": config}));
    check(
        new(json!({"type": "xenoglot_suite", "suite": "xeno-word-problem"})),
        400,
        Some("data_source_config.suite"),
    )
    .await;
    // No folder of the server's disk, though it holds a suite.
    let path = format!("eval-suites/{SUITE}");
    check(new(json!({"type": "xenoglot_suite", "suite": path})), 400, Some("data_source_config.suite")).await;
    check(new(json!({"type": "custom", "suite": SUITE})), 400, Some("data_source_config.type")).await;
    check(server.post("/v1/evals", &json!({"name": "x"})), 400, Some("data_source_config")).await;
    let runs = format!("/v1/evals/{eval}/runs");
    let bad = async |more: Value, status: u16, param: &str| {
        check(server.post(&runs, &source(&more)), status, Some(param)).await;
    };
    bad(json!({"model": "smal"}), 404, "data_source.model").await;
    bad(json!({"model": "http://169.254.169.254/"}), 404, "data_source.model").await;
    bad(json!({"model": null}), 400, "data_source.model").await;
    bad(json!({"suite": "mgsm"}), 400, "data_source.suite").await;
    bad(json!({"languages": ["en", "xx"]}), 400, "data_source.languages.1").await;
    bad(json!({"languages": ["ar"]}), 400, "data_source.languages").await;
    bad(json!({"languages": []}), 400, "data_source.languages").await;
    bad(json!({"n": 0}), 400, "data_source.n").await;
    bad(json!({"n": 17}), 400, "data_source.n").await;
    bad(json!({"n": -1}), 400, "data_source.n").await;
    bad(json!({"limit": 0}), 400, "data_source.limit").await;
    bad(json!({"shots": 1000}), 400, "data_source.shots").await;
    bad(json!({"sampling_params": {"temperature": -1}}), 400, "data_source.sampling_params.temperature")
        .await;
    bad(
        json!({"sampling_params": {"max_completion_tokens": 0}}),
        400,
        "data_source.sampling_params.max_completion_tokens",
    )
    .await;
    bad(json!({"sampling_params": {"temprature": 1}}), 400, "data_source.sampling_params.temprature").await;
    bad(json!({"preset": "maet2"}), 400, "data_source.preset").await;
    bad(json!({"prompts": "../../etc/passwd"}), 400, "data_source.prompts").await;
    bad(json!({"variants": ["none"]}), 400, "data_source.variants").await;
    bad(json!({"profile": "none"}), 400, "data_source.profile").await;
    bad(json!({"thinking_prefix": true}), 400, "data_source.thinking_prefix").await;
    bad(json!({"preset": "budget-alignment", "n": 9}), 400, "data_source.n").await;
    bad(json!({"url": "http://x"}), 400, "data_source.url").await;
    check(server.post("/v1/evals/eval_x/runs", &source(&json!({}))), 404, None).await;
    check(server.get("/v1/evals/eval_x"), 404, None).await;
    check(server.get(&format!("{runs}/evalrun_x")), 404, None).await;
    check(server.get("/v1/evals?limit=0"), 400, Some("limit")).await;
    check(server.get("/v1/evals?limit=101"), 400, Some("limit")).await;
    check(server.get("/v1/evals?order=up"), 400, Some("order")).await;
    check(server.get("/v1/evals?afterr=x"), 400, Some("afterr")).await;
    check(server.get("/v1/evals?after=eval_x"), 404, None).await;
    check(server.get(&format!("{runs}?status=done")), 400, Some("status")).await;
    let run = new_run(&server, &eval, &json!({})).await;
    check(server.get(&format!("{run}/output_items?after=7")), 400, Some("after")).await;
    check(server.get(&format!("{run}/output_items?status=passed")), 400, Some("status")).await;
    check(server.get(&format!("{run}/output_items/outputitem_99_0")), 404, None).await;
    check(server.get(&format!("{run}/events")).header("Last-Event-ID", "x"), 400, Some("Last-Event-ID"))
        .await;
    // A run is found through its own eval alone.
    let other = new_eval(&server).await;
    check(server.get(&run.replace(&eval, &other)), 404, None).await;
}

#[tokio::test]
async fn without_a_store_the_rest_is_served() {
    let server = Server::start().await;
    let error = json_of(server.get("/v1/evals"), 503).await;
    assert_eq!(error["error"]["code"], "store_unavailable");
    assert_eq!(json_of(server.get("/v1/models"), 200).await["data"][0]["id"], MODEL);
}
