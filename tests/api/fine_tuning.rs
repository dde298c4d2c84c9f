//! Files and trainings over HTTP: uploaded, trained on, followed, paused, cancelled, served; and a server that is killed.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::client::{Client, Process, started, started_with};
use super::server::{MODEL, completion, events, merge, models_dir};

const JOBS: &str = "/v1/fine_tuning/jobs";

impl Client {
    async fn file(&self, name: &str, content: &str) -> String {
        self.file_for("fine-tune", name, content).await
    }

    async fn create(&self, body: &Value) -> String {
        let made = self.post(JOBS, body, 200).await;
        assert_eq!(made["object"], "fine_tuning.job", "{made}");
        made["id"].as_str().unwrap().to_owned()
    }

    async fn until(&self, id: &str, done: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let job = self.get(&format!("{JOBS}/{id}")).await;
            if done(&job) {
                return job;
            }
            let is_over = ["failed", "cancelled", "succeeded"].iter().any(|end| job["status"] == *end);
            assert!(!is_over && start.elapsed() < Duration::from_mins(2), "{job}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn succeeded(&self, id: &str) -> Value {
        self.until(id, |job| job["status"] == "succeeded").await
    }

    async fn events(&self, id: &str) -> Vec<Value> {
        let page = self.get(&format!("{JOBS}/{id}/events?limit=100&order=asc")).await;
        page["data"].as_array().unwrap().clone()
    }
}

/// Conversations of little variety.
fn lines(from: usize, count: usize) -> String {
    let line = |at: usize| {
        let (prompt, completion) = (["one", "two", "six"][at % 3], ["a b", "c d", "e f"][at % 3]);
        json!({"prompt": prompt, "completion": completion.repeat(1 + at % 2)}).to_string() + "\n"
    };
    (from..from + count).map(line).collect()
}

/// A training of six updates an epoch.
fn training(file: &str, epochs: u32, more: &Value) -> Value {
    let hyperparameters = json!({
        "n_epochs": epochs, "batch_size": 4, "learning_rate": 0.0005, "packing": false, "save_steps": 5, "max_length": 64,
        "max_loss_jump": 1e9,
    });
    let method = json!({"type": "supervised", "supervised": {"hyperparameters": hyperparameters}});
    merge(&json!({"model": "llama2", "training_file": file, "method": method}), more)
}

fn weights(folder: &Path, id: &str) -> Vec<u8> {
    std::fs::read(folder.join("trainings").join(id).join("model/model.safetensors")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_kept_listed_and_deleted() {
    let (folder, server, client) = started().await;
    let made = client.upload(&[("file", Some("a.jsonl"), "{}\n"), ("purpose", None, "fine-tune")], 200).await;
    let expected = json!({"object": "file", "bytes": 3, "filename": "a.jsonl", "purpose": "fine-tune", "status": "processed"});
    assert_eq!(merge(&made, &expected), made);
    let id = made["id"].as_str().unwrap();
    assert_eq!(client.get(&format!("/v1/files/{id}")).await, made);
    let content = client.send(client.http.get(client.path(&format!("/v1/files/{id}/content")))).await;
    assert_eq!(content, (200, "{}\n".to_owned()));
    client.upload(&[("purpose", None, "evals"), ("file", Some("b.txt"), "x")], 200).await;
    assert!(client.get("/v1/files?limit=10000").await["data"].is_array());
    let newest = client.get("/v1/files?limit=1").await;
    assert_eq!((&newest["data"][0]["filename"], &newest["has_more"]), (&json!("b.txt"), &json!(true)));
    let after = newest["last_id"].as_str().unwrap();
    assert_eq!(client.get(&format!("/v1/files?after={after}")).await["data"], json!([made]));
    assert_eq!(client.get("/v1/files?purpose=fine-tune").await["data"], json!([made]));
    let deleted = client.json(client.http.delete(client.path(&format!("/v1/files/{id}"))), 200).await;
    assert_eq!(deleted, json!({"id": id, "object": "file", "deleted": true}));
    for path in [format!("/v1/files/{id}"), format!("/v1/files/{id}/content")] {
        client.json(client.http.get(client.path(&path)), 404).await;
    }
    assert!(!folder.path().join("files").join(id).exists());

    let refused = async |parts: &[(&str, Option<&str>, &str)], status: u16, param: &str| {
        let error = client.upload(parts, status).await;
        assert_eq!(error["error"]["param"], param, "{error}");
    };
    let purpose = ("purpose", None, "fine-tune");
    let big = "x".repeat((64 << 10) + 1);
    refused(&[("purpose", None, "dreams"), ("file", Some("a"), "x")], 400, "purpose").await;
    refused(&[("file", Some("a"), "x")], 400, "purpose").await;
    refused(&[purpose], 400, "file").await;
    refused(&[purpose, ("file", Some("../a"), "x")], 400, "file").await;
    refused(&[purpose, ("fil", Some("a"), "x")], 400, "fil").await;
    refused(&[purpose, ("file", Some("big"), big.as_str())], 413, "file").await;
    let left = std::fs::read_dir(folder.path().join("files")).unwrap().count();
    assert_eq!(left, 1, "what was refused leaves nothing");
    let unkeyed = server.get("/v1/files").send().await.unwrap().status();
    assert!(unkeyed == 401 || unkeyed == 403, "{unkeyed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_training_is_followed_and_its_model_served() {
    let (folder, server, client) = started().await;
    let train = client.file("train.jsonl", &lines(0, 24)).await;
    let dev = client.file("dev.jsonl", &lines(3, 6)).await;
    let asked =
        training(&train, 8, &json!({"validation_file": dev, "suffix": "mine", "metadata": {"a": "b"}}));
    let id = client.create(&asked).await;
    // What it learns from is its own by now.
    client.json(client.http.delete(client.path(&format!("/v1/files/{train}"))), 200).await;
    let stream = client.http.get(client.path(&format!("{JOBS}/{id}/events?stream=true")));
    let (status, text) = client.send(stream).await;
    assert_eq!(status, 200, "{text}");
    let told = events(&text);
    let job = client.succeeded(&id).await;
    assert_eq!(
        (&job["metadata"], &job["training_file"], &job["error"]),
        (&json!({"a": "b"}), &json!(train), &Value::Null)
    );
    assert_eq!(job["hyperparameters"]["n_epochs"], 8.0);
    assert_eq!(job["progress"]["steps_done"], 48);
    assert!(job["trained_tokens"].as_u64().unwrap() > 100 && job["finished_at"].is_u64(), "{job}");

    let listed = client.events(&id).await;
    assert_eq!(told, listed, "the stream and the list tell the same");
    let curves = client.get(&format!("{JOBS}/{id}/metrics")).await;
    let updates = &curves["updates"];
    assert_eq!(updates["step"], json!((1..=48).collect::<Vec<u64>>()));
    assert_eq!(updates["lines_per_value"], 1);
    for name in ["loss", "learning_rate", "grad_norm", "num_tokens"] {
        let values = updates["series"][name].as_array().unwrap();
        assert!(values.len() == 48 && values.iter().all(Value::is_number), "{name}");
    }
    let evaluations = &curves["evaluations"];
    let steps = evaluations["step"].as_array().unwrap().len();
    assert!(steps > 0 && evaluations["series"]["eval_loss"].as_array().unwrap().len() == steps);
    let thin = client.get(&format!("{JOBS}/{id}/metrics?points=10&after_step=8")).await;
    assert_eq!(thin["updates"]["step"], json!([12, 16, 20, 24, 28, 32, 36, 40, 44, 48]));
    assert_eq!(thin["updates"]["lines_per_value"], 4);
    for (query, param) in
        [("points=1", "points"), ("points=10001", "points"), ("after_step=-1", "after_step")]
    {
        let request = client.http.get(client.path(&format!("{JOBS}/{id}/metrics?{query}")));
        assert_eq!(client.json(request, 400).await["error"]["param"], param);
    }
    client.json(client.http.get(client.path(&format!("{JOBS}/ftjob-x/metrics"))), 404).await;
    assert_eq!(client.get(&format!("{JOBS}/{id}/completions")).await["data"], json!([]));
    let metrics: Vec<&Value> =
        told.iter().filter(|event| event["type"] == "metrics").map(|e| &e["data"]).collect();
    let losses: Vec<&Value> = metrics.iter().filter(|data| data["loss"].is_f64()).copied().collect();
    assert!(losses.len() >= 2 && losses.len() < 48, "{losses:?}");
    let last = losses.last().unwrap();
    assert_eq!(last["step"], 48);
    assert!(
        ["epoch", "grad_norm", "learning_rate", "num_tokens"].iter().all(|name| last[name].is_number()),
        "{last}"
    );
    let evaluations = metrics.iter().filter(|data| data["eval_loss"].is_f64()).count();
    assert_eq!(evaluations, 9, "before the first epoch and after each");

    // Pages, the newest first.
    let newest = client.get(&format!("{JOBS}/{id}/events?limit=2")).await;
    assert_eq!((&newest["data"][0], &newest["has_more"]), (listed.last().unwrap(), &json!(true)));
    let after = newest["data"][1]["id"].as_str().unwrap();
    let next = client.get(&format!("{JOBS}/{id}/events?limit=1&after={after}")).await;
    assert_eq!(next["data"][0], listed[listed.len() - 3]);
    let rest = client.http.get(client.path(&format!("{JOBS}/{id}/events?stream=true")));
    let (_, text) = client.send(rest.header("last-event-id", after)).await;
    assert_eq!(events(&text), listed[listed.len() - 1..]);
    let checkpoints = client.get(&format!("{JOBS}/{id}/checkpoints?limit=1")).await;
    let checkpoint = &checkpoints["data"][0];
    assert_eq!((&checkpoint["step_number"], &checkpoint["fine_tuning_job_id"]), (&json!(48), &json!(id)));
    assert!(
        checkpoint["metrics"]["full_valid_loss"].is_f64() && checkpoints["has_more"] == true,
        "{checkpoints}"
    );

    let results = job["result_files"][0].as_str().unwrap();
    assert_eq!(client.get(&format!("/v1/files/{results}")).await["purpose"], "fine-tune-results");
    let (_, table) = client.send(client.http.get(client.path(&format!("/v1/files/{results}/content")))).await;
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!(rows.len(), 50, "a header, the model before, and 48 steps: {table}");
    assert!(rows[0].starts_with("step,train_loss,valid_loss,") && rows[1].starts_with("0,,"), "{table}");

    let name = job["fine_tuned_model"].as_str().unwrap();
    assert!(name.starts_with("ft:llama2:mine:"), "{name}");
    server.ok("/v1/completions", &completion(&json!({"model": name, "prompt": "one"}))).await;
    assert!(folder.path().join("trainings").join(&id).join("model/config.json").exists());
    assert_eq!(client.get(JOBS).await["data"], json!([job]));
    let path = format!("{JOBS}/{id}/cancel");
    client.post(&path, &json!({}), 409).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_training_ends_with_the_weights_of_one_that_was_not() {
    let (folder, _server, client) = started().await;
    let file = client.file("train.jsonl", &lines(0, 24)).await;
    let whole = client.create(&training(&file, 120, &json!({}))).await;
    let other = client.create(&training(&file, 120, &json!({}))).await;
    client.succeeded(&whole).await;
    client.until(&other, |job| job["progress"]["steps_done"].as_u64().unwrap() > 0).await;
    let paused = client.post(&format!("{JOBS}/{other}/pause"), &json!({}), 200).await;
    assert_eq!(paused["status"], "paused");
    let start = Instant::now();
    while !client
        .events(&other)
        .await
        .iter()
        .any(|event| event["message"].to_string().contains("stands still"))
    {
        assert!(start.elapsed() < Duration::from_mins(1), "it does not stop");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!folder.path().join("trainings").join(&other).join("model").exists());
    // Twice is once.
    client.post(&format!("{JOBS}/{other}/pause"), &json!({}), 200).await;
    let resumed = client.post(&format!("{JOBS}/{other}/resume"), &json!({}), 200).await;
    assert_eq!(resumed["status"], "queued");
    client.succeeded(&other).await;
    assert!(weights(folder.path(), &other) == weights(folder.path(), &whole));
    client.post(&format!("{JOBS}/{other}/resume"), &json!({}), 409).await;
    let jobs = client.get(&format!("{JOBS}?limit=1")).await;
    assert_eq!((&jobs["data"][0]["id"], &jobs["has_more"]), (&json!(other), &json!(true)));
    let after = jobs["last_id"].as_str().unwrap();
    assert_eq!(client.get(&format!("{JOBS}?after={after}")).await["data"][0]["id"], json!(whole));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_training_leaves_nothing() {
    let (folder, _server, client) = started().await;
    let file = client.file("train.jsonl", &lines(0, 24)).await;
    let running = client.create(&training(&file, 100_000, &json!({}))).await;
    let waiting = client.create(&training(&file, 1, &json!({}))).await;
    client.until(&running, |job| job["status"] == "running" && job["estimated_finish"].is_u64()).await;
    assert_eq!(client.get(&format!("{JOBS}/{waiting}")).await["status"], "queued");
    for id in [&waiting, &running] {
        let cancelled = client.post(&format!("{JOBS}/{id}/cancel"), &json!({}), 200).await;
        assert_eq!(cancelled["status"], "cancelled");
    }
    let start = Instant::now();
    while std::fs::read_dir(folder.path().join("trainings")).unwrap().count() > 0 {
        assert!(start.elapsed() < Duration::from_mins(1), "its folder is still there");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    client.post(&format!("{JOBS}/{running}/resume"), &json!({}), 409).await;
    let (_, text) =
        client.send(client.http.get(client.path(&format!("{JOBS}/{running}/events?stream=true")))).await;
    assert!(events(&text).iter().any(|event| event["message"].to_string().contains("cancelled")), "{text}");
    // The next one has its turn.
    let next = client.create(&training(&file, 1, &json!({}))).await;
    client.succeeded(&next).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_trained_is_told_its_field() {
    let (_folder, server, client) = started().await;
    let file = client.file("train.jsonl", &lines(0, 6)).await;
    let other = client.upload(&[("purpose", None, "evals"), ("file", Some("b"), "x")], 200).await;
    let bad = async |change: Value, param: &str, words: &str| {
        let error = client.post(JOBS, &training(&file, 1, &change), 400).await;
        let message = error["error"]["message"].as_str().unwrap();
        assert_eq!(error["error"]["param"], param, "{message}");
        assert!(message.contains(words), "{message}");
    };
    bad(json!({"model": "nowhere"}), "model", "nowhere").await;
    bad(json!({"model": "../models/llama2"}), "model", "below the models directory").await;
    bad(json!({"model": "/etc"}), "model", "below the models directory").await;
    bad(json!({"training_file": "file-x"}), "training_file", "POST /v1/files").await;
    bad(json!({"validation_file": "file-x"}), "validation_file", "file-x").await;
    bad(json!({"training_file": other["id"]}), "training_file", "fine-tune").await;
    bad(json!({"modle": "x"}), "modle", "did you mean").await;
    bad(json!({"suffix": "a/b"}), "suffix", "letters").await;
    bad(json!({"method": {"type": "dpo"}}), "method.type", "dpo").await;
    let length = json!({"type": "supervised", "supervised": {"hyperparameters": {"max_length": 1 << 20}}});
    bad(json!({"method": length}), "max_length", "1048576").await;
    // What does not need the data is said before they are read.
    let with = |settings: Value, more: Value| json!({"method": {"type": "supervised", "supervised": merge(&json!({"hyperparameters": settings}), &more)}});
    bad(with(json!({"n_epochs": 1e9}), json!({})), "hyperparameters.n_epochs", "at most").await;
    bad(with(json!({"learning_rate": -1}), json!({})), "learning_rate", "above 0").await;
    bad(with(json!({}), json!({"lora": {"r": 0}})), "r", "from 1 to").await;
    bad(with(json!({}), json!({"lora": {"target_modules": ["x"]}})), "target_modules", "none of").await;
    let mapping = |more: &Value| json!({"method": {"type": "mapping", "mapping": merge(&json!({"encoder": "x"}), more)}});
    bad(mapping(&json!({})), "method.mapping.encoder", "below the models directory").await;
    for path in ["ftjob-x", "ftjob-x/events", "ftjob-x/checkpoints"] {
        client.json(client.http.get(client.path(&format!("{JOBS}/{path}"))), 404).await;
    }
    for action in ["cancel", "pause", "resume"] {
        client.post(&format!("{JOBS}/ftjob-x/{action}"), &json!({}), 404).await;
    }
    client.json(client.http.get(client.path("/v1/files/file-x")), 404).await;
    client.json(client.http.delete(client.path("/v1/files/file-x")), 404).await;
    let unkeyed = server.post(JOBS, &training(&file, 1, &json!({}))).send().await.unwrap().status();
    assert!(unkeyed == 401 || unkeyed == 403, "{unkeyed}");

    // What the data alone can tell.
    let broken =
        client.file("broken.jsonl", "{\"prompt\": \"one\", \"completion\": \"a\"}\n{\"prompt\": 1}\n").await;
    let id = client.create(&training(&broken, 1, &json!({}))).await;
    let failed = client.until(&id, |job| job["status"] == "failed").await;
    let error = &failed["error"];
    assert_eq!((&error["param"], &error["code"]), (&json!("training_file"), &json!("invalid_training_file")));
    assert!(error["message"].as_str().unwrap().starts_with("broken.jsonl:2"), "{error}");
    let last = client.events(&id).await.pop().unwrap();
    assert_eq!((&last["level"], &last["message"]), (&json!("error"), &error["message"]));
    let id = client.create(&training(&file, 1, &json!({"validation_file": broken}))).await;
    let failed = client.until(&id, |job| job["status"] == "failed").await;
    assert_eq!(failed["error"]["param"], "validation_file", "{failed}");
}

/// A process that was told to stop may still be at its last micro-batch: the next one waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_training_waits_for_its_folder() {
    let (folder, _server, client) = started().await;
    let file = client.file("train.jsonl", &lines(0, 24)).await;
    let first = client.create(&training(&file, 100_000, &json!({}))).await;
    let hyperparameters = json!({"n_epochs": 0.01, "batch_size": 4, "max_length": 64});
    let method = json!({"type": "supervised", "supervised": {"hyperparameters": hyperparameters}});
    let second = client.create(&training(&file, 1, &json!({"method": method}))).await;
    let path = folder.path().join("trainings").join(&second);
    std::fs::create_dir_all(&path).unwrap();
    let lock = std::fs::File::create(path.join("lock")).unwrap();
    lock.lock().unwrap();
    client.post(&format!("{JOBS}/{first}/cancel"), &json!({}), 200).await;
    client.until(&second, |job| job["started_at"].is_u64() && job["status"] == "queued").await;
    drop(lock);
    let job = client.succeeded(&second).await;
    assert_eq!(job["progress"]["steps_done"], 1, "the least that an epoch's hundredth can be");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adapter_is_served_beside_its_base() {
    let (_folder, server, client) = started().await;
    let file = client.file("train.jsonl", &lines(0, 24)).await;
    let method = json!({"type": "supervised", "supervised": {"lora": {"r": 2}, "hyperparameters": {"n_epochs": 1, "max_length": 64}}});
    let on = |model: &str| training(&file, 1, &json!({"model": model, "method": method}));
    let id = client.create(&on(MODEL)).await;
    let job = client.succeeded(&id).await;
    let name = job["fine_tuned_model"].as_str().unwrap();
    let card = client.get(&format!("/v1/models/{name}")).await;
    assert_eq!(card["parent"], MODEL);
    server.ok("/v1/completions", &completion(&json!({"model": name}))).await;
    // Its base is on the disk and is not served.
    let id = client.create(&on("llama2")).await;
    assert_eq!(client.succeeded(&id).await["fine_tuned_model"], Value::Null);
    let last = client.events(&id).await.pop().unwrap();
    assert!(last["level"] == "warn" && last["message"].as_str().unwrap().contains("is not served"), "{last}");
}

/// OpenAI's body of a reinforcement fine-tuning, its adapter served beside its base.
#[tokio::test(flavor = "multi_thread")]
async fn a_policy_learns_from_what_it_samples() {
    let (_folder, server, client) = started().await;
    let lines: String = ["one", "two", "six"]
        .iter()
        .map(|prompt| json!({"prompt": prompt, "wanted": "a"}).to_string() + "\n")
        .collect();
    let file = client.file("prompts.jsonl", &lines).await;
    let grader = json!({
        "type": "string_check", "name": "wanted", "operation": "like",
        "input": "{{ sample.output_text }}", "reference": "{{ item.wanted }}",
    });
    let policy = |more: &Value| {
        let settings = json!({
            "grader": grader, "lora": {"r": 2}, "num_generations": 4, "max_prompt_length": 16,
            "max_completion_length": 8, "hyperparameters": {"max_steps": 2, "batch_size": 2},
        });
        let method = json!({"type": "reinforcement", "reinforcement": merge(&settings, more)});
        json!({"model": MODEL, "training_file": file, "validation_file": file, "method": method})
    };
    let id = client.create(&policy(&json!({"num_generations_eval": 1}))).await;
    let job = client.succeeded(&id).await;
    let name = job["fine_tuned_model"].as_str().unwrap();
    assert_eq!(client.get(&format!("/v1/models/{name}")).await["parent"], MODEL);
    server.ok("/v1/completions", &completion(&json!({"model": name}))).await;
    let told = client.events(&id).await;
    let metrics: Vec<&Value> = told.iter().filter(|event| event["type"] == "metrics").collect();
    for name in ["reward", "eval_reward", "eval_rewards/wanted/mean", "eval_completions/max_length"] {
        assert!(metrics.iter().any(|event| event["data"][name].is_number()), "{name}: {metrics:?}");
    }
    let evaluated = metrics.last().unwrap();
    assert!(evaluated["message"].as_str().unwrap().contains("validation reward"), "{evaluated}");

    // What it answered: four completions a prompt, two prompts of three for the first update and one for the second.
    let completions = async |query: &str| client.get(&format!("{JOBS}/{id}/completions{query}")).await;
    let newest = completions("").await;
    assert_eq!(
        (&newest["step"], &newest["previous_step"], &newest["next_step"], &newest["has_more"]),
        (&json!(2), &json!(1), &Value::Null, &json!(false)),
        "{newest}"
    );
    let all = newest["data"].as_array().unwrap().clone();
    assert_eq!((all.len(), all[0]["step"].as_u64()), (4, Some(2)));
    for one in &all {
        assert!(one["prompt"].is_string() && one["completion"].is_string(), "{one}");
        assert!(one["advantage"].is_number() && one["rewards"].is_object(), "{one}");
        assert!((1..=3).contains(&one["example"].as_u64().unwrap()), "{one}");
    }
    let first = completions("?step=1&limit=3").await;
    assert_eq!((&first["next_step"], &first["has_more"]), (&json!(2), &json!(true)));
    let after = first["last_id"].as_str().unwrap();
    let rest = completions(&format!("?after={after}&limit=5")).await;
    assert_eq!((rest["data"].as_array().unwrap().len(), &rest["has_more"]), (5, &json!(false)));
    assert_eq!(completions("?step=9").await["data"], json!([]));
    for (query, param) in [("step=x", "step"), ("after=x", "after"), ("limit=0", "limit"), ("stp=1", "stp")] {
        let request = client.http.get(client.path(&format!("{JOBS}/{id}/completions?{query}")));
        assert_eq!(client.json(request, 400).await["error"]["param"], param);
    }
    let request = client.http.get(client.path(&format!("{JOBS}/{id}/completions?step=2&after={after}")));
    client.json(request, 400).await;
    let curves = client.get(&format!("{JOBS}/{id}/metrics")).await;
    assert_eq!(curves["updates"]["step"], json!([1, 2]));
    assert_eq!(curves["updates"]["series"]["reward"].as_array().unwrap().len(), 2);
    client.json(client.http.get(client.path(&format!("{JOBS}/ftjob-x/completions"))), 404).await;

    for (more, param, part) in [
        (json!({"grader": null}), "method.reinforcement.grader", "required"),
        (json!({"preset": "grpo"}), "method.reinforcement.preset", "budget-alignment"),
        (json!({"loss_type": "ppo"}), "method.reinforcement.loss_type", "dr_grpo"),
        (json!({"num_generations": 1}), "num_generations", "at least 2"),
        (json!({"max_completion_length": 1 << 20}), "max_completion_length", "context"),
        (
            json!({"hyperparameters": {"max_length": 5}}),
            "method.reinforcement.hyperparameters.max_length",
            "max_prompt_length",
        ),
    ] {
        let error = client.post(JOBS, &policy(&more), 400).await;
        assert_eq!(error["error"]["param"], param, "{error}");
        assert!(error["error"]["message"].as_str().unwrap().contains(part), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mapping_learns_from_pairs_of_files() {
    let models = TempDir::new().unwrap();
    let fixtures = models_dir().parent().unwrap().join("encoders");
    std::fs::create_dir(models.path().join("encoder")).unwrap();
    for (from, to) in [
        ("xlm_roberta/config.json", "config.json"),
        ("xlm_roberta/model.safetensors", "model.safetensors"),
        ("tokenizers/xlm_roberta.tokenizer.json", "tokenizer.json"),
    ] {
        std::fs::copy(fixtures.join(from), models.path().join("encoder").join(to)).unwrap();
    }
    std::fs::create_dir(models.path().join("llama2")).unwrap();
    for entry in std::fs::read_dir(models_dir().join("llama2")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, models.path().join("llama2").join(path.file_name().unwrap())).unwrap();
    }
    let (_folder, server, client) = started_with(models.path()).await;
    let text = |words: [&str; 3]| (0..24).map(|at| words[at % 3].to_owned() + "\n").collect::<String>();
    let swahili = client.file("train.sw", &text(["a b", "b c", "c a"])).await;
    let english = client.file("train.en", &text(["one", "two", "six"])).await;
    let hyperparameters = json!({"batch_size": 4, "micro_batch_size": 2, "n_epochs": 2});
    let stage = |kind: &str, files: Value, more: &Value| {
        let method =
            merge(&json!({"encoder": "encoder", "dev_items": 4, "hyperparameters": hyperparameters}), more);
        json!({"model": "llama2", "training_file": files, "method": {"type": kind, kind: method}})
    };
    let error = client.post(JOBS, &stage("mapping", json!(swahili), &json!({})), 400).await;
    assert_eq!(error["error"]["param"], "training_file", "{error}");
    assert!(error["error"]["message"].as_str().unwrap().contains("train.en"), "{error}");
    let first = client.create(&stage("mapping", json!([swahili, english]), &json!({}))).await;
    let job = client.succeeded(&first).await;
    server
        .ok("/v1/completions", &completion(&json!({"model": job["fine_tuned_model"], "prompt": "a b"})))
        .await;
    let query = json!({"lang": "sw", "query": "a b", "response": "one"}).to_string() + "\n";
    let queries = client.file("queries.jsonl", &query.repeat(24)).await;
    let more = json!({"initial_mapping": first, "prompt_template": "Q: {query} A:"});
    let second = client.create(&stage("augmentation", json!(queries), &more)).await;
    let job = client.succeeded(&second).await;
    server
        .ok("/v1/completions", &completion(&json!({"model": job["fine_tuned_model"], "prompt": "a b"})))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_goes_on_by_itself_to_the_same_weights() {
    let folder = TempDir::new().unwrap();
    let mut first = Process::start(folder.path());
    let client = &first.1;
    let file = client.file("train.jsonl", &lines(0, 24)).await;
    let dev = client.file("dev.jsonl", &lines(3, 6)).await;
    let asked = training(&file, 120, &json!({"validation_file": dev}));
    let whole = client.create(&asked).await;
    let killed = client.create(&asked).await;
    client.succeeded(&whole).await;
    client.until(&killed, |job| job["progress"]["steps_done"].as_u64().unwrap() > 20).await;
    let method = json!({"type": "supervised", "supervised": {"lora": {"r": 2}, "hyperparameters": {"n_epochs": 1, "max_length": 64}}});
    let adapter = client.create(&training(&file, 1, &json!({"model": "qwen3", "method": method}))).await;
    first.kill();
    assert!(!folder.path().join("trainings").join(&killed).join("model").exists(), "it was killed too late");
    let second = Process::start(folder.path());
    let job = second.1.succeeded(&killed).await;
    let stream = second.1.http.get(second.1.path(&format!("{JOBS}/{killed}/events?stream=true")));
    let (_, told) = second.1.send(stream).await;
    assert!(told.contains("goes on after step"), "{told}");
    assert!(weights(folder.path(), &killed) == weights(folder.path(), &whole));
    let answer = completion(&json!({"model": job["fine_tuned_model"], "prompt": "one"}));
    second.1.post("/v1/completions", &answer, 200).await;

    // Adapters come back with the server.
    let job = second.1.succeeded(&adapter).await;
    drop(second);
    let third = Process::start(folder.path());
    let card = format!("/v1/models/{}", job["fine_tuned_model"].as_str().unwrap());
    let deadline = Instant::now() + Duration::from_secs(20);
    while third.1.send(third.1.http.get(third.1.path(&card))).await.0 != 200 {
        assert!(Instant::now() < deadline, "the adapter is not served again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
