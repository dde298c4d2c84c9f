//! LoRA adapters come and go while the server runs, under names of their own.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;
use xenoglot::api::ApiKeys;
use xenoglot::model::Target;

use super::server::{MODEL, Server, completion, events, long, models_dir};
use crate::model::adapters::{merge_by_hand, write_adapter};

const LOAD: &str = "/v1/load_lora_adapter";
const UNLOAD: &str = "/v1/unload_lora_adapter";
const COMPLETIONS: &str = "/v1/completions";

/// A models directory with two adapters, and a server over it.
struct Adapted {
    folder: TempDir,
    server: Server,
}

impl Adapted {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let model = models_dir().join("qwen3");
        write_adapter(&model, &folder.path().join("one"), &Target::SEPARATE, 1);
        write_adapter(&model, &folder.path().join("org/two"), &[Target::Query, Target::Down], 2);
        let root = folder.path().to_owned();
        let server = Server::with(|settings, options| {
            settings.models_dir = root;
            settings.max_loras = 2;
            options.auth.admin = ApiKeys::new(["sk-admin"]);
        });
        Self { server: server.await, folder }
    }

    fn root(&self) -> &Path {
        self.folder.path()
    }

    /// Status and text.
    async fn post(&self, path: &str, body: &Value) -> (u16, String) {
        let sent = self.server.post(path, body).bearer_auth("sk-admin").send().await.unwrap();
        (sent.status().as_u16(), sent.text().await.unwrap())
    }

    async fn load(&self, name: &str, path: &str) {
        let asked = json!({"lora_name": name, "lora_path": path, "base_model_name": MODEL});
        let (status, text) = self.post(LOAD, &asked).await;
        assert_eq!((status, text), (200, format!("Success: LoRA adapter '{name}' added successfully.")));
    }

    async fn refused(&self, path: &str, body: &Value, status: u16, param: &str) -> String {
        let (found, text) = self.post(path, body).await;
        let error: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((found, error["error"]["param"].as_str()), (status, Some(param)), "{body}: {text}");
        error["error"]["message"].as_str().unwrap().to_owned()
    }

    /// A greedy answer with its logprobs.
    async fn answer(&self, model: &str) -> Value {
        let greedy = json!({"model": model, "temperature": 0, "max_tokens": 24, "ignore_eos": true, "return_token_ids": true});
        self.server.ok(COMPLETIONS, &completion(&greedy)).await["choices"][0].clone()
    }

    async fn models(&self) -> Vec<Value> {
        let list: Value = self.server.get("/v1/models").send().await.unwrap().json().await.unwrap();
        list["data"].as_array().unwrap().clone()
    }
}

#[tokio::test]
async fn an_adapter_is_loaded_used_and_unloaded() {
    let adapted = Adapted::start().await;
    let base = adapted.answer(MODEL).await;
    adapted.load("one", "one").await;
    adapted.load("org/second", "org/two").await;
    let models = adapted.models().await;
    let card = |at: usize, key: &str| models[at][key].clone();
    assert_eq!([card(0, "id"), card(1, "id"), card(2, "id")], [MODEL, "one", "org/second"]);
    assert_eq!(
        [card(0, "parent"), card(1, "parent"), card(2, "parent")],
        [Value::Null, json!(MODEL), json!(MODEL)]
    );
    assert!(card(1, "root").as_str().unwrap().ends_with("/one") && card(0, "root").is_string());
    let one = adapted.server.get("/v1/models/org/second").send().await.unwrap();
    assert_eq!(one.json::<Value>().await.unwrap(), models[2]);

    let (first, second) = (adapted.answer("one").await, adapted.answer("org/second").await);
    assert!(first["token_ids"] != base["token_ids"] && second["token_ids"] != first["token_ids"]);
    assert_eq!(adapted.answer(MODEL).await["token_ids"], base["token_ids"]);

    let (status, text) = adapted.post(UNLOAD, &json!({"lora_name": "one"})).await;
    assert_eq!((status, text.as_str()), (200, "Success: LoRA adapter 'one' removed successfully."));
    let gone = adapted.server.post(COMPLETIONS, &completion(&json!({"model": "one"}))).send().await.unwrap();
    assert_eq!(gone.status(), 404);
    let metrics = adapted.server.get("/metrics").send().await.unwrap().text().await.unwrap();
    assert!(!metrics.contains("\"one\"") && metrics.contains("\"org/second\""), "{metrics}");
    assert_eq!(adapted.models().await.len(), 2);
    // Without a name there is still one model to be meant.
    adapted.server.ok(COMPLETIONS, &json!({"prompt": "a", "max_tokens": 1})).await;
}

/// The sums are in another order, so that logprobs differ in their last digits; the greedy tokens are the same.
#[tokio::test]
async fn an_adapter_answers_as_the_merged_model() {
    let adapted = Adapted::start().await;
    let model = models_dir().join("qwen3");
    for (name, path) in [("one", "one"), ("two", "org/two")] {
        adapted.load(name, path).await;
        let merged = format!("{name}-merged");
        merge_by_hand(&model, &adapted.root().join(path), &adapted.root().join(&merged));
        let (status, text) = adapted.post("/v1/admin/models", &json!({"name": merged, "path": merged})).await;
        assert_eq!(status, 201, "{text}");
        assert_eq!(adapted.answer(name).await["token_ids"], adapted.answer(&merged).await["token_ids"]);
    }
}

#[tokio::test]
async fn an_adapter_takes_the_place_of_another() {
    let adapted = Adapted::start().await;
    adapted.load("mine", "one").await;
    let first = adapted.answer("mine").await;
    let again = json!({"lora_name": "mine", "lora_path": "org/two"});
    let message = adapted.refused(LOAD, &again, 400, "lora_name").await;
    assert!(message.contains("has already been loaded") && message.contains("load_inplace"), "{message}");
    let mut in_place = again;
    in_place["load_inplace"] = json!(true);
    assert_eq!(adapted.post(LOAD, &in_place).await.0, 200);
    let second = adapted.answer("mine").await;
    assert_ne!(first["token_ids"], second["token_ids"], "nothing of the first is in the cache");
    in_place["lora_name"] = json!("other");
    assert_eq!(adapted.post(LOAD, &in_place).await.0, 200);
    assert_eq!(adapted.answer("other").await["token_ids"], second["token_ids"]);
    let third = json!({"lora_name": "third", "lora_path": "one"});
    assert!(adapted.refused(LOAD, &third, 400, "lora_name").await.contains("max_loras"));
}

#[tokio::test(flavor = "multi_thread")]
async fn adapters_come_and_go_beneath_requests() {
    let adapted = Adapted::start().await;
    adapted.load("one", "one").await;
    let expected = adapted.answer("one").await;
    let prompts = json!({"model": "one", "prompt": "Hello", "n": 64, "stream": true});
    let running = adapted.server.post(COMPLETIONS, &long(&prompts)).send();
    let changes = async {
        while adapted.server.metric("num_requests_running").await == 0.0 {}
        for _ in 0..3 {
            adapted.load("two", "org/two").await;
            let other = adapted.answer("two").await;
            assert_ne!(other["token_ids"], expected["token_ids"]);
            assert_eq!(adapted.post(UNLOAD, &json!({"lora_name": "two"})).await.0, 200);
            assert_eq!(adapted.answer("one").await["token_ids"], expected["token_ids"]);
        }
        assert_eq!(adapted.post(UNLOAD, &json!({"lora_name": "one"})).await.0, 200);
    };
    let (answer, ()) = futures::join!(running, changes);
    let chunks = events(&answer.unwrap().text().await.unwrap());
    let finished = chunks.iter().filter(|chunk| chunk["choices"][0]["finish_reason"] == "length").count();
    assert_eq!(finished, 64, "its requests go on to their end");
    adapted.server.idle().await;
}

/// By its name, as a training's result has one; and below the folder of a model that is elsewhere than the models directory.
#[tokio::test]
async fn an_adapter_is_found_by_its_name_and_below_a_models_folder() {
    let elsewhere = tempfile::tempdir().unwrap();
    let model = elsewhere.path().join("qwen3");
    std::fs::create_dir(&model).unwrap();
    for entry in std::fs::read_dir(models_dir().join("qwen3")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), model.join(entry.file_name())).unwrap();
    }
    write_adapter(&model, &model.join("adapters/mine"), &Target::SEPARATE, 1);
    write_adapter(&model, &elsewhere.path().join("beside"), &Target::SEPARATE, 1);
    let adapted = Adapted::start().await;
    let inside = model.join("adapters/mine").to_str().unwrap().to_owned();
    let body = json!({"lora_name": "mine", "lora_path": inside, "base_model_name": MODEL});
    adapted.refused(LOAD, &body, 404, "lora_path").await;
    let known = xenoglot::registry::CatalogueEntry {
        path: model,
        options: xenoglot::registry::EngineOptions::from(&xenoglot::settings::Settings::default()),
        aliases: Vec::new(),
        idle: None,
        on_demand: true,
    };
    let root = adapted.root().to_owned();
    let server = Server::of(
        "qwen3",
        |settings, options| {
            settings.models_dir = root;
            options.auth.admin = ApiKeys::new(["sk-admin"]);
        },
        |registry| registry.set_catalogue([("other".to_owned(), known)].into()),
    );
    let adapted = Adapted { server: server.await, folder: adapted.folder };
    adapted.load("mine", &inside).await;
    let beside = elsewhere.path().join("beside").to_str().unwrap().to_owned();
    let body = json!({"lora_name": "beside", "lora_path": beside, "base_model_name": MODEL});
    adapted.refused(LOAD, &body, 404, "lora_path").await;
    adapted.load("again", "mine").await;
    assert_eq!(adapted.answer("again").await, adapted.answer("mine").await);
    // A model's name leads nowhere.
    let body = json!({"lora_name": "a", "lora_path": "other", "base_model_name": MODEL});
    adapted.refused(LOAD, &body, 404, "lora_path").await;
}

#[tokio::test]
async fn adapters_go_with_their_base_or_alone_as_models_do() {
    let adapted = Adapted::start().await;
    adapted.load("one", "one").await;
    adapted.load("two", "org/two").await;
    let delete = async |name: &str| {
        let url = format!("{}/v1/admin/models/{name}", adapted.server.url);
        adapted.server.client.delete(url).bearer_auth("sk-admin").send().await.unwrap().status().as_u16()
    };
    assert_eq!(delete("two").await, 200);
    adapted.answer("one").await;
    assert_eq!(delete(MODEL).await, 200);
    assert!(adapted.models().await.is_empty());
    let body = json!({"lora_name": "one", "lora_path": "one"});
    adapted.refused(LOAD, &body, 404, "base_model_name").await;
}

#[tokio::test]
async fn what_cannot_be_loaded_is_refused() {
    let adapted = Adapted::start().await;
    let load = |more: &Value| super::server::merge(&json!({"lora_name": "a", "lora_path": "one"}), more);
    let check = async |more: Value, status: u16, param: &str| {
        adapted.refused(LOAD, &load(&more), status, param).await;
    };
    check(json!({"lora_name": ""}), 400, "lora_name").await;
    check(json!({"lora_path": ""}), 400, "lora_path").await;
    check(json!({"lora_name": "a b"}), 400, "lora_name").await;
    check(json!({"lora_name": MODEL}), 400, "lora_name").await;
    check(json!({"lora_path": "absent"}), 404, "lora_path").await;
    check(json!({"lora_path": "/etc"}), 404, "lora_path").await;
    check(json!({"lora_path": "../.."}), 404, "lora_path").await;
    check(json!({"lora_path": "org"}), 400, "lora_path").await;
    check(json!({"base_model_name": "absent"}), 404, "base_model_name").await;
    check(json!({"load_inplace": "yes"}), 400, "load_inplace").await;
    check(json!({"lora_pth": "one"}), 400, "lora_pth").await;
    adapted.refused(LOAD, &json!({"lora_name": "a"}), 400, "lora_path").await;
    adapted.refused(UNLOAD, &json!({"lora_name": "a"}), 404, "lora_name").await;
    adapted.refused(UNLOAD, &json!({"lora_name": MODEL}), 404, "lora_name").await;
    adapted.refused(UNLOAD, &json!({"lora_name": ""}), 400, "lora_name").await;
    let body = json!({"lora_name": "a", "lora_path": "one"});
    assert_eq!(adapted.server.post(LOAD, &body).send().await.unwrap().status(), 401, "an admin's route");
}
