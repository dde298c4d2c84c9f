//! SGLang's shapes: `/generate`, weights from a folder, pauses.

use serde_json::{Value, json};

use super::rollout::backend;
use super::server::{Server, merge};

const GENERATE: &str = "/generate";

fn asked(more: &Value) -> Value {
    let params = json!({"max_new_tokens": 6, "temperature": 0.8, "top_k": 100_000_000, "top_p": 1.0, "sampling_seed": 3, "ignore_eos": true});
    let ids =
        json!({"input_ids": [37, 38, 39, 40], "return_logprob": true, "image_data": null, "stream": false});
    let mut body = merge(&ids, more);
    body["sampling_params"] = merge(&params, more.get("sampling_params").unwrap_or(&json!({})));
    body
}

#[tokio::test]
async fn one_prompt_is_answered_with_its_logprobs() {
    let server = backend().await;
    let one = server.ok(GENERATE, &asked(&json!({"top_logprobs_num": 2}))).await;
    let meta = &one["meta_info"];
    assert_eq!(meta["finish_reason"], json!({"type": "length", "length": 6}));
    assert_eq!((&meta["prompt_tokens"], &meta["completion_tokens"]), (&json!(4), &json!(6)));
    assert_eq!((&meta["weight_version"], &meta["input_token_logprobs"]), (&json!("0"), &json!([])));
    let listed: Vec<Value> =
        meta["output_token_logprobs"].as_array().unwrap().iter().map(|entry| entry[1].clone()).collect();
    assert_eq!(json!(listed), one["output_ids"]);
    assert_eq!(meta["output_top_logprobs"][0].as_array().unwrap().len(), 2);
    // Scaled by the temperature, before truncation.
    let cut = server.ok(GENERATE, &asked(&json!({"sampling_params": {"top_k": 1}}))).await;
    assert!(cut["meta_info"]["output_token_logprobs"][0][0].as_f64().unwrap() < 0.0);
    let plain = server.ok(GENERATE, &asked(&json!({"return_logprob": false}))).await;
    assert_eq!(plain["output_ids"], one["output_ids"]);
    assert!(plain["meta_info"].get("output_token_logprobs").is_none());
}

#[tokio::test]
async fn the_prompts_logprobs_begin_where_they_are_asked_from() {
    let server = backend().await;
    for start in [0, 2] {
        let body = asked(&json!({"logprob_start_len": start}));
        let input = server.ok(GENERATE, &body).await["meta_info"]["input_token_logprobs"].clone();
        let input = input.as_array().unwrap();
        assert_eq!(input.len(), 4 - start);
        assert_eq!(input[0], json!([null, 37 + start, null]));
        assert!(input[1][0].as_f64().unwrap() < 0.0 && input[1][1] == 38 + start);
    }
}

#[tokio::test]
async fn several_prompts_or_choices_are_a_list() {
    let server = backend().await;
    let many = asked(&json!({"input_ids": [[37, 38], [39]], "sampling_params": {"n": 2}}));
    let many = server.ok(GENERATE, &many).await;
    let lengths: Vec<_> =
        many.as_array().unwrap().iter().map(|one| one["meta_info"]["prompt_tokens"].clone()).collect();
    assert_eq!(json!(lengths), json!([2, 2, 1, 1]));
    let text =
        server.ok(GENERATE, &json!({"text": ["Hello"], "sampling_params": {"max_new_tokens": 2}})).await;
    assert!(text[0]["text"].is_string());
}

#[tokio::test]
async fn what_cannot_be_honoured_is_refused_by_name() {
    let server = Server::start().await;
    let check = async |more: Value, param: &str| {
        let answer = server.post(GENERATE, &asked(&more)).send().await.unwrap();
        assert_eq!(answer.status(), 400, "{more}");
        assert_eq!(answer.json::<Value>().await.unwrap()["error"]["param"], param, "{more}");
    };
    check(json!({"stream": true}), "stream").await;
    check(json!({"image_data": "x"}), "image_data").await;
    check(json!({"text": "a"}), "input_ids").await;
    check(json!({"input_ids": "a"}), "input_ids").await;
    check(json!({"input_ids": null}), "input_ids").await;
    check(json!({"sampling_params": {"regex": "a"}}), "sampling_params.regex").await;
    check(json!({"sampling_params": {"n": 0}}), "sampling_params.n").await;
    check(json!({"sampling_params": {"max_tokens": 3}}), "sampling_params.max_tokens").await;
    check(json!({"return_logprobs": true}), "return_logprobs").await;
}

/// AReaL's round: pause, which ends what runs; new weights; go on, with what was cut off sent again.
#[tokio::test]
async fn a_pause_ends_what_runs_and_later_requests_wait() {
    let server = backend().await;
    let endless = asked(&json!({"sampling_params": {"max_new_tokens": 120, "n": 64}}));
    let pause = async {
        while server.metric("num_requests_running").await == 0.0 {}
        server.ok("/pause_generation", &json!({})).await
    };
    let (cut, _) = futures::join!(server.ok(GENERATE, &endless), pause);
    let reasons: Vec<_> =
        cut.as_array().unwrap().iter().map(|one| &one["meta_info"]["finish_reason"]["type"]).collect();
    assert!(reasons.iter().any(|reason| **reason == "abort"), "{reasons:?}");
    for one in cut.as_array().unwrap() {
        let told = one["meta_info"]["output_token_logprobs"].as_array().unwrap().len();
        assert_eq!(told, one["output_ids"].as_array().unwrap().len());
    }
    let resume = async {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        server.ok("/continue_generation", &json!({})).await
    };
    let body = asked(&json!({}));
    let (waited, _) = futures::join!(server.ok(GENERATE, &body), resume);
    assert_eq!(waited["meta_info"]["finish_reason"]["type"], "length");
}

#[tokio::test]
async fn weights_come_from_a_folder() {
    let server = backend().await;
    let before = server.ok(GENERATE, &asked(&json!({}))).await;
    let update = json!({"model_path": "qwen3", "abort_all_requests": true, "flush_cache": true, "load_format": "auto"});
    let done = server.ok("/update_weights_from_disk", &update).await;
    assert_eq!((&done["success"], &done["weight_version"]), (&json!(true), &json!(1)));
    let after = server.ok(GENERATE, &asked(&json!({}))).await;
    assert_eq!(after["output_ids"], before["output_ids"]);
    assert_eq!(after["meta_info"]["weight_version"], "1");
    // Two at once, and one within a pause: each takes its turn, and none ends what another began.
    let (first, second) = futures::join!(
        server.ok("/update_weights_from_disk", &update),
        server.ok("/update_weights_from_disk", &update)
    );
    let mut versions = [&first, &second].map(|done| done["weight_version"].as_u64().unwrap());
    versions.sort_unstable();
    assert_eq!(versions, [2, 3]);
    server.ok(GENERATE, &asked(&json!({}))).await;
    server.ok("/pause_generation", &json!({})).await;
    server.ok("/update_weights_from_disk", &update).await;
    let paused = async || server.get("/is_paused").send().await.unwrap().json::<Value>().await.unwrap();
    assert_eq!(paused().await["is_paused"], true);
    server.ok("/continue_generation", &json!({})).await;
    assert_eq!(paused().await["is_paused"], false);
    let wrong = json!({"model_path": "llama2"});
    assert_eq!(server.post("/update_weights_from_disk", &wrong).send().await.unwrap().status(), 400);
}
