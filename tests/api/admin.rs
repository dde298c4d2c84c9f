//! Models come and go while the server runs.

use std::time::Duration;

use serde_json::{Value, json};
use xenoglot::api::ApiKeys;

use super::server::{MODEL, Server, completion, events, long};

const ADMIN: &str = "/v1/admin/models";

async fn server() -> Server {
    Server::with(|_, options| options.auth.admin = ApiKeys::new(["sk-admin"])).await
}

#[tokio::test]
async fn a_model_is_loaded_used_and_unloaded() {
    let server = server().await;
    let load = json!({"name": "org/second", "path": "llama2", "max_model_len": 64});
    let loaded = server.post(ADMIN, &load).bearer_auth("sk-admin").send().await.unwrap();
    assert_eq!(loaded.status(), 201);
    let card: Value = loaded.json().await.unwrap();
    assert_eq!((&card["id"], &card["max_model_len"]), (&json!("org/second"), &json!(64)));
    let again = server.post(ADMIN, &load).bearer_auth("sk-admin").send().await.unwrap();
    assert_eq!(again.status(), 409);

    let second = completion(&json!({"model": "org/second"}));
    server.ok("/v1/completions", &second).await;
    let unnamed = server.post("/v1/completions", &json!({"prompt": "a"})).send().await.unwrap();
    assert_eq!(unnamed.status(), 400, "two models: the request must name one");

    let url = format!("{}{ADMIN}/org/second", server.url);
    let unloaded = server.client.delete(&url).bearer_auth("sk-admin").send().await.unwrap();
    assert_eq!(
        unloaded.json::<Value>().await.unwrap(),
        json!({"id": "org/second", "object": "model", "deleted": true})
    );
    assert_eq!(server.post("/v1/completions", &second).send().await.unwrap().status(), 404);
    assert_eq!(server.client.delete(&url).bearer_auth("sk-admin").send().await.unwrap().status(), 404);
    let metrics = server.get("/metrics").send().await.unwrap().text().await.unwrap();
    assert!(!metrics.contains("org/second"), "its series go with it");
    server.ok("/v1/completions", &completion(&json!({}))).await;
}

/// No 5xx: clients send those again.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_model_is_unloaded_is_told_so() {
    let check = async |stream: bool, max_queue: usize| {
        let server = Server::with(|settings, options| {
            settings.max_num_seqs = 1;
            settings.max_queue = max_queue;
            options.auth.admin = ApiKeys::new(["sk-admin"]);
            options.drain_timeout = Duration::from_millis(50);
        })
        .await;
        let request = server.post("/v1/completions", &long(&json!({"stream": stream}))).send();
        let unload = async {
            while server.metric("num_requests_running").await == 0.0 {}
            let url = format!("{}{ADMIN}/{MODEL}", server.url);
            server.client.delete(url).bearer_auth("sk-admin").send().await.unwrap()
        };
        let (answer, unloaded) = futures::join!(request, unload);
        assert_eq!(unloaded.status(), 200);
        let answer = answer.unwrap();
        assert_eq!(answer.status(), if stream { 200 } else { 404 });
        let text = answer.text().await.unwrap();
        let error: Value =
            if stream { events(&text).pop().unwrap() } else { serde_json::from_str(&text).unwrap() };
        assert_eq!(error["error"]["code"], "model_not_found", "{error}");
    };
    for stream in [false, true] {
        check(stream, 1024).await;
        check(stream, 1).await;
    }
}

/// The context that the server was started with was chosen for its first model.
#[tokio::test]
async fn a_model_that_names_no_context_has_its_own() {
    let server = Server::with(|settings, options| {
        settings.max_model_len = Some(64);
        options.auth.admin = ApiKeys::new(["sk-admin"]);
    });
    let server = server.await;
    for (name, asked, expected) in [("a", Value::Null, 128), ("b", json!(32), 32)] {
        let load = json!({"name": name, "path": "llama2", "max_model_len": asked});
        let loaded = server.post(ADMIN, &load).bearer_auth("sk-admin").send().await.unwrap();
        assert_eq!(loaded.json::<Value>().await.unwrap()["max_model_len"], expected);
    }
}

#[tokio::test]
async fn what_cannot_be_loaded_is_refused() {
    let server = server().await;
    let check = async |body: Value, param: &str| {
        let response = server.post(ADMIN, &body).bearer_auth("sk-admin").send().await.unwrap();
        let status = response.status();
        let error: Value = response.json().await.unwrap();
        assert_eq!(
            (status.as_u16(), error["error"]["param"].as_str()),
            (400, Some(param)),
            "{body}: {error}"
        );
    };
    check(json!({"name": "a", "path": "../../../src"}), "path").await;
    check(json!({"name": "a", "path": "/etc"}), "path").await;
    check(json!({"name": "a", "path": "SOURCE.json"}), "path").await;
    check(json!({"name": "a b", "path": "llama2"}), "name").await;
    check(json!({"name": "a", "path": "llama2", "dtype": "int3"}), "dtype").await;
    check(json!({"name": "a", "path": "llama2", "quantize": "int3"}), "quantize").await;
    check(json!({"name": "a", "path": "llama2", "max_model_len": 0}), "max_model_len").await;
    check(json!({"name": "a", "path": "llama2", "max_model_len": 129}), "max_model_len").await;
    check(json!({"name": "a", "path": "llama2", "gpu": true}), "gpu").await;
    check(json!({"name": "a"}), "path").await;
}
