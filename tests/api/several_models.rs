//! Several models in one server: known by name and alias, loaded when they are asked for, unloaded when nobody does.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use xenoglot::registry::{Catalogue, CatalogueEntry, EngineOptions};
use xenoglot::settings::Settings;

use super::server::{MODEL, Server, completion, merge, models_dir};

const COMPLETIONS: &str = "/v1/completions";

fn entry(folder: &str, idle: Option<u64>) -> CatalogueEntry {
    CatalogueEntry {
        path: models_dir().join(folder),
        options: EngineOptions::from(&Settings::default()),
        aliases: vec![format!("{folder}-alias")],
        idle: idle.map(Duration::from_secs),
        on_demand: true,
    }
}

async fn server() -> Server {
    let known = Catalogue::from([
        ("second".to_owned(), entry("llama2", Some(1))),
        ("third".to_owned(), entry("mistral", None)),
    ]);
    Server::with_catalogue(known).await
}

async fn names(server: &Server, loaded: bool) -> Vec<String> {
    if loaded {
        let health: Value = server.get("/health").send().await.unwrap().json().await.unwrap();
        let models = health["models"].as_array().unwrap().clone();
        return models.iter().map(|model| model["name"].as_str().unwrap().to_owned()).collect();
    }
    let list: Value = server.get("/v1/models").send().await.unwrap().json().await.unwrap();
    let models = list["data"].as_array().unwrap().clone();
    models.iter().map(|model| model["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_comes_when_it_is_asked_for_and_goes_when_it_is_not() {
    let server = server().await;
    assert_eq!(names(&server, true).await, [MODEL]);
    assert_eq!(names(&server, false).await, [MODEL, "second", "third", "llama2-alias", "mistral-alias"]);
    let ask = |name: &str| completion(&json!({"model": name, "temperature": 0}));
    // Many at once load it once.
    let second = ask("second");
    let asked: Vec<_> = (0..8).map(|_| server.ok(COMPLETIONS, &second)).collect();
    let answers = futures::future::join_all(asked).await;
    assert!(answers.iter().all(|answer| answer["choices"] == answers[0]["choices"]));
    assert_eq!(answers[0]["model"], "second");
    assert_eq!(names(&server, true).await, [MODEL, "second"]);
    let by_alias = server.ok(COMPLETIONS, &ask("llama2-alias")).await;
    assert_eq!((&by_alias["model"], &by_alias["choices"]), (&json!("second"), &answers[0]["choices"]));
    server.ok(COMPLETIONS, &ask("mistral-alias")).await;
    let start = Instant::now();
    while names(&server, true).await.len() > 2 {
        assert!(start.elapsed() < Duration::from_secs(30), "an idle model stays");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(names(&server, true).await, [MODEL, "third"]);
    let again = server.ok(COMPLETIONS, &ask("second")).await;
    assert_eq!(again["choices"], answers[0]["choices"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_nobody_knows_and_models_that_cannot_be_read_are_told() {
    let known = Catalogue::from([("broken".to_owned(), entry("nowhere", None))]);
    let server = Server::with_catalogue(known).await;
    let refused = server.post(COMPLETIONS, &completion(&json!({"model": "nobody"}))).send().await.unwrap();
    assert_eq!(refused.status(), 404);
    let broken = server.post(COMPLETIONS, &completion(&json!({"model": "broken"}))).send().await.unwrap();
    assert_eq!(broken.status(), 503);
    let error = broken.json::<Value>().await.unwrap()["error"].clone();
    // The path is the log's.
    assert!(error["param"] == "model" && !error.to_string().contains("nowhere"), "{error}");
    server.ok(COMPLETIONS, &merge(&completion(&json!({})), &json!({"model": MODEL}))).await;
}
