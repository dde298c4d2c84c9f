//! Batches over HTTP: every line answered once, in order, whatever is wrong with its neighbours and whoever is killed meanwhile.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::client::{Client, Process, started};
use super::server::{MODEL, completion, merge};

const BATCHES: &str = "/v1/batches";

fn line(id: &str, body: &Value) -> String {
    json!({"custom_id": id, "method": "POST", "url": "/v1/completions", "body": body}).to_string() + "\n"
}

impl Client {
    async fn batch(&self, text: &str) -> String {
        let file = self.file_for("batch", "requests.jsonl", text).await;
        let asked = json!({"input_file_id": file, "endpoint": "/v1/completions", "completion_window": "24h"});
        self.post(BATCHES, &asked, 200).await["id"].as_str().unwrap().to_owned()
    }

    async fn batch_until(&self, id: &str, done: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let batch = self.get(&format!("{BATCHES}/{id}")).await;
            if done(&batch) {
                return batch;
            }
            assert!(batch["status"] != "failed" && start.elapsed() < Duration::from_mins(2), "{batch}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn batch_ended(&self, id: &str) -> Value {
        self.batch_until(id, |batch| batch["status"] == "completed").await
    }

    async fn lines_of(&self, file: &Value) -> Vec<Value> {
        let Some(id) = file.as_str() else { return Vec::new() };
        let request = self.http.get(self.path(&format!("/v1/files/{id}/content")));
        let (status, text) = self.send(request).await;
        assert_eq!(status, 200, "{text}");
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn ids(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["custom_id"].as_str().unwrap_or("-")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_lines_fail_and_the_others_are_answered_as_if_asked_alone() {
    let (_folder, _server, client) = started().await;
    let ask = |prompt: &str| completion(&json!({"prompt": prompt, "max_tokens": 8}));
    let text = [
        line("a", &ask("one")),
        line("b", &merge(&ask("two"), &json!({"temprature": 1}))),
        "{\"custom_id\": \"c\"}\n".to_owned(),
        line("a", &ask("three")),
        "\n".to_owned(),
        line("d", &merge(&ask("four"), &json!({"model": "nobody"}))),
        line("e", &merge(&ask("five"), &json!({"n": 3}))),
    ];
    let id = client.batch(&text.concat()).await;
    let batch = client.batch_ended(&id).await;
    assert_eq!(batch["request_counts"], json!({"total": 6, "completed": 2, "failed": 4}), "{batch}");
    let output = client.lines_of(&batch["output_file_id"]).await;
    assert_eq!(ids(&output), ["a", "e"]);
    for (line, body) in output.iter().zip([ask("one"), merge(&ask("five"), &json!({"n": 3}))]) {
        assert_eq!(line["response"]["status_code"], 200);
        let alone = client.post("/v1/completions", &body, 200).await;
        assert_eq!(line["response"]["body"]["choices"], alone["choices"]);
    }
    let errors = client.lines_of(&batch["error_file_id"]).await;
    assert_eq!(ids(&errors), ["b", "c", "a", "d"]);
    assert_eq!(errors[0]["response"]["body"]["error"]["param"], "temprature");
    assert_eq!(errors[1]["error"]["line"], 3, "{}", errors[1]);
    assert_eq!(errors[2]["error"]["param"], "custom_id");
    assert_eq!(errors[3]["response"]["status_code"], 404);
    let listed = client.get(BATCHES).await;
    assert_eq!(listed["data"][0]["id"], json!(id));
    // A chat by its own endpoint.
    let chat = json!({"custom_id": "x", "method": "POST", "url": "/v1/chat/completions",
        "body": {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}});
    let file = client.file_for("batch", "chat.jsonl", &chat.to_string()).await;
    let asked = json!({"input_file_id": file, "endpoint": "/v1/chat/completions"});
    let id = client.post(BATCHES, &asked, 200).await["id"].as_str().unwrap().to_owned();
    let batch = client.batch_ended(&id).await;
    let output = client.lines_of(&batch["output_file_id"]).await;
    assert!(output[0]["response"]["body"]["choices"][0]["message"]["content"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canceled_batch_keeps_what_was_answered() {
    let (_folder, _server, client) = started().await;
    let body = |at: usize| {
        completion(&json!({"prompt": "go", "seed": at, "max_tokens": 100, "ignore_eos": true, "n": 4}))
    };
    let text: String = (0..3000).map(|at| line(&format!("l{at}"), &body(at))).collect();
    let id = client.batch(text[..(60 << 10).min(text.len())].rsplit_once('\n').unwrap().0).await;
    client.batch_until(&id, |batch| batch["request_counts"]["completed"].as_u64() > Some(3)).await;
    let canceled = client.post(&format!("{BATCHES}/{id}/cancel"), &json!({}), 200).await;
    assert!(canceled["status"] == "cancelling" || canceled["status"] == "cancelled", "{canceled}");
    let batch = client.batch_until(&id, |batch| batch["status"] == "cancelled").await;
    let output = client.lines_of(&batch["output_file_id"]).await;
    assert!(output.len() > 3);
    let expected: Vec<String> = (0..output.len()).map(|at| format!("l{at}")).collect();
    let mut found = ids(&output);
    found.sort_by_key(|id| id[1..].parse::<usize>().unwrap());
    assert!(found.windows(2).all(|pair| pair[0] != pair[1]) && expected.len() == found.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_cannot_be_is_refused_by_its_field() {
    let (_folder, _server, client) = started().await;
    let file = client.file_for("batch", "r.jsonl", &line("a", &completion(&json!({})))).await;
    let other = client.file_for("fine-tune", "t.jsonl", "{}\n").await;
    let check = async |body: Value, status: u16, param: &str| {
        let error = client.post(BATCHES, &body, status).await;
        assert_eq!(error["error"]["param"], param, "{error}");
    };
    check(json!({"input_file_id": file, "endpoint": "/v1/merges"}), 400, "endpoint").await;
    check(json!({"input_file_id": other, "endpoint": "/v1/completions"}), 400, "input_file_id").await;
    check(json!({"input_file_id": "file-none", "endpoint": "/v1/completions"}), 404, "input_file_id").await;
    check(json!({"endpoint": "/v1/completions"}), 400, "input_file_id").await;
    let empty = client.file_for("batch", "e.jsonl", "\n\n").await;
    let asked = json!({"input_file_id": empty, "endpoint": "/v1/completions"});
    let id = client.post(BATCHES, &asked, 200).await["id"].as_str().unwrap().to_owned();
    let start = Instant::now();
    let failed = loop {
        let batch = client.get(&format!("{BATCHES}/{id}")).await;
        if batch["status"] == "failed" {
            break batch;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{batch}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(failed["errors"]["data"][0]["message"].as_str().unwrap().contains("no line"), "{failed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_goes_on_and_loses_and_doubles_no_line() {
    const LINES: usize = 3000;
    let folder = TempDir::new().unwrap();
    let body = |at: usize| json!({"prompt": "one two", "seed": at, "n": 3, "max_tokens": 60, "ignore_eos": true, "temperature": 1.5});
    let text: String = (0..LINES).map(|at| line(&format!("l{at}"), &body(at))).collect();
    let mut first = Process::start(folder.path());
    let id = first.1.batch(&text).await;
    for _ in 0..2 {
        let before =
            first.1.get(&format!("{BATCHES}/{id}")).await["request_counts"]["completed"].as_u64().unwrap();
        let more = |batch: &Value| batch["request_counts"]["completed"].as_u64() > Some(before + 30);
        let seen = first.1.batch_until(&id, more).await;
        assert!(seen["status"] == "in_progress", "it was killed too late: {seen}");
        first.kill();
        first = Process::start(folder.path());
    }
    let batch = first.1.batch_ended(&id).await;
    assert_eq!(batch["request_counts"], json!({"total": LINES, "completed": LINES, "failed": 0}));
    let output = first.1.lines_of(&batch["output_file_id"]).await;
    let expected: Vec<String> = (0..LINES).map(|at| format!("l{at}")).collect();
    assert_eq!(ids(&output), expected);
    // Seeds decide: whoever answered a line, and when, it is the answer it would have had alone.
    let texts: BTreeMap<&str, &Value> = output
        .iter()
        .map(|line| (line["custom_id"].as_str().unwrap(), &line["response"]["body"]["choices"][0]["text"]))
        .collect();
    for at in [0, 31, 99, LINES - 1] {
        let alone = first.1.post("/v1/completions", &body(at), 200).await;
        assert_eq!(texts[format!("l{at}").as_str()], &alone["choices"][0]["text"]);
    }
}
