//! The suites that the server knows.

use serde_json::{Value, json};

use super::evals::{SUITE, json_of, started};
use super::server::Server;

#[tokio::test]
async fn suites_are_listed_with_what_a_run_may_name() {
    let (_folder, server) = started().await;
    let list = json_of(server.get("/v1/eval_suites"), 200).await;
    let suites = list["data"].as_array().unwrap();
    let named = |name: &str| suites.iter().find(|suite| suite["name"] == name).unwrap().clone();
    let words = named(SUITE);
    assert_eq!((&words["data"], &words["task"]), (&json!("built_in"), &json!("math")));
    assert_eq!(words["sha256"].as_str().unwrap().len(), 64);
    assert!(words["defaults"]["temperature"].is_number() && words["defaults"]["n"].is_number(), "{words}");
    let languages = words["languages"].as_array().unwrap();
    let german = languages.iter().find(|entry| entry["language"] == "de").unwrap();
    assert_eq!((&german["name"], &german["is_present"]), (&json!("German"), &json!(true)));
    assert!(german["problems"].as_u64().unwrap() > 0);
    // Its data are nowhere, or not read.
    let mgsm = named("mgsm");
    assert!(mgsm["sha256"].is_null() && mgsm["languages"][0]["problems"].is_null(), "{mgsm}");
    let has = |list: &Value, name: &str| list.as_array().unwrap().iter().any(|one| *one == json!(name));
    assert!(has(&list["profiles"], "math-verify"));
    let presets: Vec<&str> =
        list["presets"].as_array().unwrap().iter().map(|preset| preset["name"].as_str().unwrap()).collect();
    assert_eq!(presets, ["budget-alignment", "maet", "mindmerger"]);
    assert_eq!(list["presets"][0]["protocol"]["n"], 32);
    assert_eq!(list["endpoints"], json!([]));
    // One by its name is the same here, since all of it was read.
    assert_eq!(json_of(server.get(&format!("/v1/eval_suites/{SUITE}")), 200).await, words);
}

#[tokio::test]
async fn what_is_no_suite_is_404() {
    let (_folder, server) = started().await;
    for name in ["none", "%2E%2E%2Fsrc", "eval-suites%2Fxeno-word-problems"] {
        json_of(server.get(&format!("/v1/eval_suites/{name}")), 404).await;
    }
    json_of(server.get("/v1/eval_suites?x=1"), 400).await;
    let without = Server::start().await;
    json_of(without.get("/v1/eval_suites"), 503).await;
}
