//! Errors: one clear JSON error each, and the server goes on serving.

use serde_json::{Value, json};
use xenoglot::api::ApiKeys;

use super::server::{MODEL, Server, chat, completion};

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";

/// Checks status, `param` and `code` of an error body.
async fn check(response: reqwest::RequestBuilder, status: u16, param: Option<&str>, code: &str) -> Value {
    let response = response.send().await.unwrap();
    let got = response.status();
    let text = response.text().await.unwrap();
    let body: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {text}"));
    let error = &body["error"];
    assert_eq!(
        (got.as_u16(), error["param"].as_str(), error["code"].as_str()),
        (status, param, Some(code)),
        "{text}"
    );
    assert!(
        error["message"].as_str().is_some_and(|message| !message.is_empty()) && error["type"].is_string()
    );
    body
}

#[tokio::test]
async fn bad_fields_are_400_by_name() {
    let server = Server::start().await;
    let bad_completion = async |more: Value, param: &str, code: &str| {
        check(server.post(COMPLETIONS, &completion(&more)), 400, Some(param), code).await
    };
    let bad_chat = async |more: Value, param: &str, code: &str| {
        check(server.post(CHAT, &chat(&more)), 400, Some(param), code).await
    };
    bad_completion(json!({"temprature": 1}), "temprature", "unknown_parameter").await;
    bad_completion(json!({"max_tokens": -1}), "max_tokens", "invalid_type").await;
    bad_completion(json!({"max_tokens": 1.5}), "max_tokens", "invalid_type").await;
    bad_completion(json!({"max_tokens": 0}), "max_tokens", "invalid_value").await;
    bad_completion(json!({"n": 1_000_000_000}), "n", "invalid_value").await;
    bad_completion(json!({"n": 0}), "n", "invalid_value").await;
    bad_completion(json!({"temperature": -1}), "temperature", "invalid_value").await;
    bad_completion(json!({"temperature": 1e39}), "temperature", "invalid_value").await;
    bad_completion(json!({"top_p": 0}), "top_p", "invalid_value").await;
    bad_completion(json!({"logprobs": 1000}), "logprobs", "invalid_value").await;
    bad_completion(json!({"stop": [""]}), "stop", "invalid_value").await;
    bad_completion(json!({"stop_token_ids": [5000]}), "stop_token_ids", "invalid_value").await;
    bad_completion(json!({"logit_bias": {"x": 1}}), "logit_bias", "invalid_value").await;
    bad_completion(json!({"prompt": [[1, -2]]}), "prompt.0.1", "invalid_type").await;
    bad_completion(json!({"prompt": []}), "prompt", "invalid_value").await;
    bad_completion(json!({"prompt": [[]]}), "prompt", "invalid_value").await;
    bad_completion(json!({"prompt": [5000]}), "prompt", "invalid_value").await;
    bad_completion(json!({"suffix": "end"}), "suffix", "unsupported_parameter").await;
    bad_completion(json!({"cache_salt": ""}), "cache_salt", "invalid_value").await;
    bad_chat(json!({"messages": [{"role": "user", "content": 5}]}), "messages.0.content", "invalid_type")
        .await;
    bad_chat(json!({"messages": []}), "messages", "invalid_value").await;
    bad_chat(json!({"tools": [{"type": "function"}]}), "tools.0.function", "missing_required_parameter")
        .await;
    bad_chat(
        json!({"chat_template_kwargs": {"messages": 1}}),
        "chat_template_kwargs.messages",
        "invalid_value",
    )
    .await;
    bad_chat(
        json!({"add_generation_prompt": true, "continue_final_message": true}),
        "continue_final_message",
        "invalid_value",
    )
    .await;
    check(
        server.post("/detokenize", &json!({"tokens": [1, 99_999]})),
        400,
        Some("tokens.1"),
        "invalid_value",
    )
    .await;
    let told = json!({"prompt": "a", "tools": []});
    check(server.post("/tokenize", &told), 400, Some("tools"), "invalid_value").await;
    check(server.post("/tokenize", &json!({})), 400, Some("prompt"), "missing_required_parameter").await;
    bad_completion(json!({"repetition_penalty": 1e-40}), "repetition_penalty", "invalid_value").await;
    let ranged = bad_completion(json!({"n": 1_000_000_000_000_u64}), "n", "invalid_type").await;
    assert!(ranged["error"]["message"].as_str().unwrap().contains("from 0 to 4294967295"), "{ranged}");
    let ranged = bad_completion(json!({"top_k": 1_000_000_000_000_u64}), "top_k", "invalid_value").await;
    assert!(ranged["error"]["message"].as_str().unwrap().contains("from 1 to 4294967295"), "{ranged}");
    server.ok(COMPLETIONS, &completion(&json!({}))).await;
}

#[tokio::test]
async fn texts_beyond_any_context_are_refused_before_they_cost_a_core() {
    let server = Server::start().await;
    let long = "a ".repeat(3 << 20);
    let prompt = json!({"prompt": long});
    check(server.post("/tokenize", &prompt), 400, Some("prompt"), "invalid_value").await;
    let messages = json!({"messages": [{"role": "user", "content": long}]});
    check(server.post("/tokenize", &messages), 400, Some("messages"), "invalid_value").await;
    let truncated = completion(&json!({"prompt": long, "truncate_prompt_tokens": 5}));
    check(server.post(COMPLETIONS, &truncated), 400, Some("prompt"), "invalid_value").await;
}

#[tokio::test]
async fn refused_requests_are_not_counted_as_aborted() {
    let server = Server::start().await;
    let refused = completion(&json!({"max_tokens": 500}));
    check(server.post(COMPLETIONS, &refused), 400, Some("prompt"), "context_length_exceeded").await;
    let metrics = server.get("/metrics").send().await.unwrap().text().await.unwrap();
    assert!(!metrics.contains("finished_reason=\"abort\""), "{metrics}");
}

#[tokio::test]
async fn what_does_not_fit_the_context_says_so() {
    let server = Server::start().await;
    let code = "context_length_exceeded";
    check(server.post(COMPLETIONS, &completion(&json!({"max_tokens": 500}))), 400, Some("prompt"), code)
        .await;
    let long = "a".repeat(200);
    check(server.post(COMPLETIONS, &completion(&json!({"prompt": long}))), 400, Some("prompt"), code).await;
    let huge = "a".repeat(100_000);
    check(server.post(COMPLETIONS, &completion(&json!({"prompt": huge}))), 400, Some("prompt"), code).await;
    let messages = json!({"messages": [{"role": "user", "content": long}]});
    check(server.post(CHAT, &chat(&messages)), 400, Some("messages"), code).await;
    let second = json!({"prompt": ["short", long]});
    check(server.post(COMPLETIONS, &completion(&second)), 400, Some("prompt"), code).await;
    server.idle().await;
}

#[tokio::test]
async fn a_list_is_refused_whole_before_it_runs() {
    let server = Server::with(|settings, _| settings.max_queue = 1).await;
    let prompts = ["short", "short", "short", "short", &"a".repeat(200)];
    for stream in [false, true] {
        let body = completion(&json!({"prompt": prompts, "stream": stream}));
        check(server.post(COMPLETIONS, &body), 400, Some("prompt"), "context_length_exceeded").await;
    }
    assert_eq!(server.metric("prompt_tokens_total").await, 0.0, "no prompt of the list was computed");
}

#[tokio::test]
async fn unknown_names_are_404_and_wrong_methods_405() {
    let server = Server::start().await;
    let unknown = check(
        server.post(CHAT, &chat(&json!({"model": "tiny/qwen4"}))),
        404,
        Some("model"),
        "model_not_found",
    )
    .await;
    assert!(unknown["error"]["message"].as_str().unwrap().contains(MODEL), "{unknown}");
    check(server.get("/v1/models/nobody/knows"), 404, Some("model"), "model_not_found").await;
    check(server.get("/v2/models"), 404, None, "unknown_url").await;
    check(server.get(CHAT), 405, None, "method_not_allowed").await;
    let metrics = server.get("/metrics").send().await.unwrap().text().await.unwrap();
    assert!(!metrics.contains("qwen4"), "an unknown name must not become a label");
}

#[tokio::test]
async fn bodies_that_are_no_json_are_refused() {
    let server = Server::start().await;
    let raw = |body: Vec<u8>, media_type: &str| {
        server.client.post(format!("{}{CHAT}", server.url)).header("content-type", media_type).body(body)
    };
    check(raw(b"{\"messages\": \"\xff\xfe\"}".to_vec(), "application/json"), 400, None, "invalid_json").await;
    check(raw(b"{".to_vec(), "application/json"), 400, None, "invalid_json").await;
    check(raw(b"".to_vec(), "application/json"), 400, None, "invalid_json").await;
    check(raw("[".repeat(500_000).into_bytes(), "application/json"), 400, None, "invalid_json").await;
    check(raw(b"{}".to_vec(), "text/plain"), 415, None, "unsupported_media_type").await;
    check(raw(vec![b' '; 100 << 20], "application/json"), 413, None, "request_too_large").await;
    server.ok(CHAT, &chat(&json!({}))).await;
}

#[tokio::test]
async fn keys_are_asked_for_by_scope() {
    let server = Server::with(|_, options| {
        options.auth.inference = ApiKeys::new(["sk-use"]);
        options.auth.admin = ApiKeys::new(["sk-admin"]);
    })
    .await;
    let bare = || server.post(CHAT, &chat(&json!({})));
    check(bare(), 401, None, "invalid_api_key").await;
    check(bare().bearer_auth("sk-wrong"), 401, None, "invalid_api_key").await;
    check(server.get("/v1/nothing"), 401, None, "invalid_api_key").await;
    check(server.get("/metrics"), 401, None, "invalid_api_key").await;
    assert_eq!(bare().bearer_auth("sk-use").send().await.unwrap().status(), 200);
    for path in ["/health", "/version", "/openapi.json", "/docs/"] {
        assert_eq!(server.get(path).send().await.unwrap().status(), 200, "{path}");
    }
    let reset = || server.post("/reset_prefix_cache", &json!({}));
    check(reset(), 401, None, "invalid_api_key").await;
    check(reset().bearer_auth("sk-use"), 403, None, "forbidden").await;
    assert_eq!(reset().bearer_auth("sk-admin").send().await.unwrap().status(), 200);
    let challenge = bare().send().await.unwrap();
    assert_eq!(challenge.headers()["www-authenticate"], "Bearer");
}

#[tokio::test]
async fn a_scraper_has_a_key_of_its_own() {
    let server = Server::with(|settings, options| {
        settings.api_keys = vec!["sk-use".to_owned()];
        settings.metrics_api_key = Some("sk-scrape".to_owned());
        *options = (&*settings).into();
    })
    .await;
    let scrape = |key: &str| server.get("/metrics").bearer_auth(key);
    for key in ["sk-use", "sk-scrape"] {
        assert_eq!(scrape(key).send().await.unwrap().status(), 200, "{key}");
    }
    check(scrape("sk-wrong"), 401, None, "invalid_api_key").await;
    check(server.get("/v1/models").bearer_auth("sk-scrape"), 403, None, "forbidden").await;
}

#[tokio::test]
async fn without_keys_a_foreign_host_name_is_refused() {
    let server = Server::start().await;
    check(server.get("/v1/models").header("host", "evil.example"), 403, None, "forbidden").await;
    check(server.post("/reset_prefix_cache", &json!({})), 403, None, "forbidden").await;
}
