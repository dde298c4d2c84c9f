//! Merges over HTTP: made, followed, served without a restart, canceled, taken up after a stop, refused.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use xenoglot::api::{ApiKeys, DataOptions, EvalOptions};
use xenoglot::eval::ScorerOptions;
use xenoglot::store::Store;

use super::server::{Server, completion, events, models_dir};

const KEY: &str = "sk-admin";

/// A models directory with a model and a changed copy of it.
fn models(folder: &Path) {
    for (name, change) in [("one", 0_u8), ("two", 1)] {
        let to = folder.join("models").join(name);
        std::fs::create_dir_all(&to).unwrap();
        for entry in std::fs::read_dir(models_dir().join("llama3")).unwrap() {
            let path = entry.unwrap().path();
            let mut bytes = std::fs::read(&path).unwrap();
            if path.extension().is_some_and(|extension| extension == "safetensors") {
                // The lowest bits of numbers all over the file, beyond its header.
                let start = bytes.len() / 2;
                bytes[start..].iter_mut().step_by(64).for_each(|byte| *byte ^= change);
            }
            std::fs::write(to.join(path.file_name().unwrap()), bytes).unwrap();
        }
    }
}

async fn server(folder: &Path) -> Server {
    let store = Store::open(&format!("sqlite:{}", folder.join("store.db").display())).await.unwrap();
    let data = DataOptions { folder: folder.to_owned(), file_bytes_max: 1 << 20 };
    let models = folder.join("models");
    Server::with(|settings, options| {
        settings.models_dir = models;
        options.auth.inference = ApiKeys::default();
        options.auth.admin = ApiKeys::new([KEY]);
        options.evals = Some(EvalOptions {
            store,
            workers: 0,
            endpoints: Vec::new(),
            scorers: ScorerOptions::default(),
            data,
        });
    })
    .await
}

async fn started() -> (TempDir, Server) {
    let folder = TempDir::new().unwrap();
    models(folder.path());
    let server = server(folder.path()).await;
    (folder, server)
}

const CONFIG: &str =
    "merge_method: slerp\nbase_model: one\nmodels:\n- model: one\n- model: two\nparameters: {t: 0.5}\n";

async fn json_of(request: reqwest::RequestBuilder, status: u16) -> Value {
    let response = request.bearer_auth(KEY).send().await.unwrap();
    let got = response.status();
    let text = response.text().await.unwrap();
    assert_eq!(got, status, "{text}");
    serde_json::from_str(&text).unwrap()
}

async fn until(server: &Server, id: &str, status: &str) -> Value {
    let start = Instant::now();
    loop {
        let merge = json_of(server.get(&format!("/v1/merges/{id}")), 200).await;
        if merge["status"] == status {
            return merge;
        }
        assert!(start.elapsed() < Duration::from_mins(1), "not {status}: {merge}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_is_followed_and_served() {
    let (folder, server) = started().await;
    let asked = json!({"config": CONFIG, "output": "org/merged", "seed": 3});
    let made = json_of(server.post("/v1/merges", &asked), 201).await;
    assert_eq!(
        (&made["object"], &made["output"], &made["seed"]),
        (&json!("merge"), &json!("org/merged"), &json!(3))
    );
    let id = made["id"].as_str().unwrap();
    let stream = server.get(&format!("/v1/merges/{id}/events")).bearer_auth(KEY).send().await.unwrap();
    let told = events(&stream.text().await.unwrap());
    let last = told.last().unwrap();
    assert_eq!((&last["status"], &last["model"]), (&json!("completed"), &json!("org/merged")), "{last}");
    let progress = &last["progress"];
    assert_eq!(progress["tensors_done"], progress["tensors_total"]);
    assert!(
        progress["bytes_done"].as_u64().unwrap() > 0 && progress["bytes_done"] == progress["bytes_total"]
    );
    server.ok("/v1/completions", &completion(&json!({"model": "org/merged"}))).await;
    assert!(folder.path().join("models/org/merged/README.md").exists());
    let listed = json_of(server.get("/v1/merges?limit=5"), 200).await;
    assert_eq!((&listed["data"][0], &listed["has_more"]), (last, &json!(false)));
    // An object is as good as a text.
    let config = json!({"merge_method": "linear", "models": [
        {"model": "one", "parameters": {"weight": 1}}, {"model": "two", "parameters": {"weight": 1}}]});
    let asked = json!({"config": config, "output": "plain", "serve": false});
    let made = json_of(server.post("/v1/merges", &asked), 201).await;
    let done = until(&server, made["id"].as_str().unwrap(), "completed").await;
    assert_eq!(done["model"], json!(null));
    let models = json_of(server.get("/v1/models"), 200).await;
    assert!(!models.to_string().contains("plain"), "{models}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_is_planned_layer_by_layer() {
    let (folder, server) = started().await;
    let plan =
        async |config: &str| json_of(server.post("/v1/merges/plan", &json!({"config": config})), 200).await;
    let slerp = plan(&CONFIG.replace("{t: 0.5}", "{t: [{filter: mlp, value: [0, 1]}, {value: 0.25}]}")).await;
    assert_eq!(
        (&slerp["object"], &slerp["method"], &slerp["models"], &slerp["output"]),
        (&json!("merge.plan"), &json!("slerp"), &json!(["one", "two"]), &json!(null))
    );
    let layers = slerp["layers"].as_array().unwrap();
    let places: Vec<&str> = layers.iter().map(|layer| layer["place"].as_str().unwrap()).collect();
    assert_eq!((places[0], places[1], places[places.len() - 1]), ("embeddings", "layer", "head"));
    let sum = |field: &str| layers.iter().map(|layer| layer[field].as_u64().unwrap()).sum::<u64>();
    assert_eq!(
        (json!(sum("bytes")), json!(sum("parameters"))),
        (slerp["bytes"].clone(), slerp["parameters"].clone())
    );
    let files = slerp["files"].as_array().unwrap();
    assert_eq!((files.len(), &files[0]["bytes"]), (1, &slerp["bytes"]));
    // The first layer's feed-forward is the first model's, the last one's the second's; the rest is a quarter of the way.
    let in_layers: Vec<&Value> = layers.iter().filter(|layer| layer["place"] == "layer").collect();
    let of = |layer: &Value, name: &str| {
        let parts = layer["parts"].as_array().unwrap();
        let has = |part: &&Value| {
            part["tensors"].as_array().unwrap().iter().any(|one| one.as_str().unwrap().contains(name))
        };
        parts.iter().find(has).unwrap().clone()
    };
    let (first, last) = (in_layers[0], in_layers[in_layers.len() - 1]);
    assert_eq!((&first["stack"], &first["layer"]), (&json!("model.layers"), &json!(0)));
    assert_eq!(of(first, "mlp.up_proj")["numbers"]["t"], json!(0.0));
    assert_eq!(of(last, "mlp.up_proj")["numbers"]["t"], json!(1.0));
    let attention = of(last, "self_attn.q_proj");
    assert_eq!((&attention["operation"], &attention["numbers"]["t"]), (&json!("slerp"), &json!(0.25)));
    let sources = attention["sources"].as_array().unwrap();
    assert_eq!(sources.iter().map(|source| &source["model"]).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(sources[0]["layer"], last["layer"]);

    let ties = plan(concat!(
        "merge_method: ties\nbase_model: one\nmodels:\n- model: one\n- model: two\n",
        "  parameters: {weight: 0.75, density: 0.5}\nparameters: {normalize: true}\n"
    ))
    .await;
    let part = of(&ties["layers"][1], "mlp.up_proj");
    assert_eq!((&part["operation"], &part["of_differences"]), (&json!("consensus"), &json!(true)));
    assert_eq!(part["sources"][0]["weight"], json!(0.75));
    assert_eq!(part["sources"][0]["keep"]["density"], json!(0.5));
    assert_eq!(part["base"]["model"], json!(0));
    // Nothing was written.
    let entries = std::fs::read_dir(folder.path().join("models")).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["one", "two"]);
    assert_eq!(json_of(server.get("/v1/merges"), 200).await["data"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_planned_is_told_its_key_and_line() {
    let (_folder, server) = started().await;
    let bad = async |body: Value, param: &str, words: &str| {
        let error = json_of(server.post("/v1/merges/plan", &body), 400).await;
        let message = error["error"]["message"].as_str().unwrap();
        assert_eq!(error["error"]["param"], param, "{message}");
        assert!(message.contains(words), "{message}");
    };
    let with = |config: &str| json!({"config": config});
    bad(with("merge_method: slrp\n"), "config.merge_method", "line 1").await;
    bad(with(&CONFIG.replace("t: 0.5", "t: 2")), "config.parameters.t", "line 6").await;
    bad(with(&CONFIG.replace("model: two", "modle: two")), "config.models.1.modle", "line 5").await;
    bad(with("a: [\n"), "config", "line").await;
    bad(with(&CONFIG.replace("model: two", "model: ../secret")), "config.models.1.model", "../secret").await;
    bad(json!({"config": 3}), "config", "text").await;
    bad(json!({"config": CONFIG, "output": "../x"}), "output", "below").await;
    bad(json!({"config": CONFIG, "output": "one"}), "output", "exists").await;
    bad(json!({"config": CONFIG, "ouput": "x"}), "ouput", "output").await;
    let unkeyed = server.post("/v1/merges/plan", &with(CONFIG)).send().await.unwrap();
    assert!(unkeyed.status() == 401 || unkeyed.status() == 403, "{}", unkeyed.status());
}

#[tokio::test(flavor = "multi_thread")]
async fn merges_outlive_the_server() {
    let (folder, mut first) = started().await;
    let asked = json!({"config": CONFIG, "output": "late"});
    let made = json_of(first.post("/v1/merges", &asked), 201).await;
    first.signal_stop();
    first.ended().await;
    let second = server(folder.path()).await;
    let done = until(&second, made["id"].as_str().unwrap(), "completed").await;
    assert_eq!(done["error"], json!(null));
    assert!(folder.path().join("models/late/config.json").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_merged_is_told_its_field() {
    let (folder, server) = started().await;
    std::fs::create_dir(folder.path().join("secret")).unwrap();
    let bad = async |body: Value, param: &str, words: &str| {
        let error = json_of(server.post("/v1/merges", &body), 400).await;
        let message = error["error"]["message"].as_str().unwrap();
        assert_eq!(error["error"]["param"], param, "{message}");
        assert!(message.contains(words), "{message}");
    };
    let with = |config: &str| json!({"config": config, "output": "x"});
    bad(with("merge_method: slrp\n"), "config", "slerp").await;
    bad(with(&CONFIG.replace("model: two", "model: ../secret")), "config", "../secret").await;
    bad(with(&CONFIG.replace("model: two", "model: /etc")), "config", "below the models directory").await;
    bad(with(&CONFIG.replace("t: 0.5", "t: 2")), "config", "parameters.t").await;
    bad(json!({"config": 3, "output": "x"}), "config", "text").await;
    bad(json!({"config": CONFIG, "output": "../x"}), "output", "below").await;
    bad(json!({"config": CONFIG, "output": "/x"}), "output", "below").await;
    bad(json!({"config": CONFIG, "output": "one"}), "output", "exists").await;
    bad(json!({"config": CONFIG, "output": "x", "sed": 1}), "sed", "seed").await;
    json_of(server.get("/v1/merges/merge_x"), 404).await;
    let made = json_of(server.post("/v1/merges", &with(CONFIG)), 201).await;
    let id = made["id"].as_str().unwrap();
    until(&server, id, "completed").await;
    json_of(server.post(&format!("/v1/merges/{id}/cancel"), &json!({})), 409).await;
    // Merging is the administrator's.
    let unkeyed = server.post("/v1/merges", &with(CONFIG)).send().await.unwrap();
    assert!(unkeyed.status() == 401 || unkeyed.status() == 403, "{}", unkeyed.status());
}
