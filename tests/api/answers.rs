//! Answers: shapes, logprobs, usage, and that a stream says what the whole response says.

use serde_json::{Value, json};

use super::server::{CONTEXT, MODEL, Server, chat, completion, merge};

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";

#[tokio::test]
async fn lists_models_and_answers_about_one() {
    let server = Server::start().await;
    let list: Value = server.get("/v1/models").send().await.unwrap().json().await.unwrap();
    assert_eq!(list["object"], "list");
    assert_eq!(list["data"][0]["id"], MODEL);
    let one: Value = server.get("/v1/models/tiny/qwen3").send().await.unwrap().json().await.unwrap();
    assert_eq!((&one["id"], &one["max_model_len"]), (&json!(MODEL), &json!(CONTEXT)));
    let version: Value = server.get("/version").send().await.unwrap().json().await.unwrap();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    let health = server.get("/health").send().await.unwrap();
    assert_eq!(health.status(), 200);
    assert_eq!(health.json::<Value>().await.unwrap()["models"][0]["name"], MODEL);
}

#[tokio::test]
async fn every_answer_has_an_id_and_safe_headers() {
    let server = Server::start().await;
    let named = server.get("/v1/models").header("x-request-id", "mine-7").send().await.unwrap();
    assert_eq!(named.headers()["x-request-id"], "mine-7");
    let made = server.get("/nowhere").send().await.unwrap();
    assert_eq!(made.headers()["x-request-id"].len(), 36);
    assert_eq!(made.headers()["x-content-type-options"], "nosniff");
    assert!(made.headers().get("access-control-allow-origin").is_none());
}

#[tokio::test]
async fn a_chat_stream_adds_up_to_the_whole_answer() {
    let server = Server::start().await;
    let body = chat(
        &json!({"n": 3, "logprobs": true, "top_logprobs": 2, "return_token_ids": true, "temperature": 1.5}),
    );
    let whole = server.ok(CHAT, &body).await;
    let options = json!({"stream": true, "stream_options": {"include_usage": true}});
    let chunks = server.stream(CHAT, &merge(&body, &options)).await;

    let (last, chunks) = chunks.split_last().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"], whole["usage"]);
    assert_eq!(chunks[0]["prompt_token_ids"], whole["prompt_token_ids"]);
    for (index, choice) in whole["choices"].as_array().unwrap().iter().enumerate() {
        let parts: Vec<&Value> =
            chunks.iter().map(|chunk| &chunk["choices"][0]).filter(|part| part["index"] == index).collect();
        assert_eq!(parts[0]["delta"]["role"], "assistant", "the first delta carries the role");
        let join = |read: &dyn Fn(&Value) -> Value| -> Vec<Value> {
            parts.iter().flat_map(|part| read(part).as_array().cloned().unwrap_or_default()).collect()
        };
        let text: String = parts.iter().filter_map(|part| part["delta"]["content"].as_str()).collect();
        assert_eq!(text, choice["message"]["content"].as_str().unwrap());
        assert_eq!(json!(join(&|part| part["token_ids"].clone())), choice["token_ids"]);
        assert_eq!(json!(join(&|part| part["logprobs"]["content"].clone())), choice["logprobs"]["content"]);
        assert_eq!(parts.last().unwrap()["finish_reason"], choice["finish_reason"]);
        assert_eq!(
            choice["logprobs"]["content"].as_array().unwrap().len(),
            choice["token_ids"].as_array().unwrap().len()
        );
        assert_eq!(choice["logprobs"]["content"][0]["top_logprobs"].as_array().unwrap().len(), 2);
    }
    let tokens: usize =
        whole["choices"].as_array().unwrap().iter().map(|c| c["token_ids"].as_array().unwrap().len()).sum();
    assert_eq!(whole["usage"]["completion_tokens"], tokens);
}

#[tokio::test]
async fn a_completion_stream_adds_up_to_the_whole_answer() {
    let server = Server::start().await;
    let body = completion(
        &json!({"n": 2, "logprobs": 2, "echo": true, "return_token_ids": true, "prompt": ["Hi", "Yes"]}),
    );
    let whole = server.ok(COMPLETIONS, &body).await;
    let options =
        json!({"stream": true, "stream_options": {"include_usage": true, "continuous_usage_stats": true}});
    let chunks = server.stream(COMPLETIONS, &merge(&body, &options)).await;
    let (last, chunks) = chunks.split_last().unwrap();
    assert_eq!(last["usage"], whole["usage"]);
    assert!(chunks.iter().all(|chunk| chunk["usage"]["prompt_tokens"] == 5), "{}", chunks[0]);
    for (index, choice) in whole["choices"].as_array().unwrap().iter().enumerate() {
        let parts = || chunks.iter().map(|chunk| &chunk["choices"][0]).filter(|part| part["index"] == index);
        let text: String = parts().filter_map(|part| part["text"].as_str()).collect();
        assert_eq!(text, choice["text"].as_str().unwrap());
        for list in ["tokens", "token_logprobs", "text_offset", "top_logprobs"] {
            let joined: Vec<Value> = parts()
                .flat_map(|part| part["logprobs"][list].as_array().cloned().unwrap_or_default())
                .collect();
            assert_eq!(json!(joined), choice["logprobs"][list], "{list}");
        }
    }
}

#[tokio::test]
async fn choices_are_prompt_major_and_carry_their_ids() {
    let server = Server::start().await;
    let prompts = json!([[37, 38, 39], [40, 41]]);
    let more = json!({"prompt": prompts, "n": 2, "return_token_ids": true, "return_tokens_as_token_ids": true, "logprobs": 0});
    let answer = server.ok(COMPLETIONS, &completion(&more)).await;
    let choices = answer["choices"].as_array().unwrap();
    assert_eq!(choices.len(), 4);
    for (index, choice) in choices.iter().enumerate() {
        assert_eq!(choice["index"], index);
        assert_eq!(choice["prompt_token_ids"], prompts[index / 2]);
        let spelled: Vec<String> =
            choice["token_ids"].as_array().unwrap().iter().map(|id| format!("token_id:{id}")).collect();
        assert_eq!(choice["logprobs"]["tokens"], json!(spelled));
        assert_eq!(choice["logprobs"]["top_logprobs"][0].as_object().unwrap().len(), 1);
    }
    assert_eq!(answer["usage"]["prompt_tokens"], 5);
}

/// lm-eval slices `token_logprobs[context_length:-1]`: exactly prompt + 1 entries, the first null.
#[tokio::test]
async fn an_echoed_prompt_is_scored_as_lm_eval_expects() {
    let server = Server::start().await;
    let ids = [37, 38, 39, 40, 41, 42];
    let body = json!({"model": MODEL, "prompt": [ids], "echo": true, "logprobs": 1, "max_tokens": 1, "temperature": 0});
    let answer = server.ok(COMPLETIONS, &body).await;
    let logprobs = &answer["choices"][0]["logprobs"];
    let values = logprobs["token_logprobs"].as_array().unwrap();
    assert_eq!(values.len(), ids.len() + 1);
    assert!(values[0].is_null() && values[1..].iter().all(Value::is_number));
    assert_eq!(logprobs["top_logprobs"].as_array().unwrap().len(), ids.len() + 1);
    // The greedy token's own logprob and its entry among the likeliest are the same number.
    let token = logprobs["tokens"][ids.len()].as_str().unwrap();
    assert_eq!(logprobs["top_logprobs"][ids.len()][token], values[ids.len()]);

    let scored = server.ok(COMPLETIONS, &merge(&body, &json!({"max_tokens": 0}))).await;
    let alone = &scored["choices"][0]["logprobs"]["token_logprobs"];
    assert_eq!(alone, &json!(values[..ids.len()]));
    assert_eq!(scored["choices"][0]["text"], "ABCDEF");
    assert_eq!(scored["usage"]["completion_tokens"], 0);
}

/// Load generators send both names of the limit to both routes.
#[tokio::test]
async fn the_limit_on_tokens_has_two_names() {
    let server = Server::start().await;
    let check = async |path: &str, limits: Value| {
        let body = merge(&json!({"seed": 7, "ignore_eos": true}), &limits);
        let body = if path == CHAT { chat(&body) } else { completion(&body) };
        assert_eq!(server.ok(path, &body).await["usage"]["completion_tokens"], 3, "{path} {limits}");
    };
    for path in [CHAT, COMPLETIONS] {
        check(path, json!({"max_tokens": 3, "max_completion_tokens": 3})).await;
        check(path, json!({"max_tokens": null, "max_completion_tokens": 3})).await;
    }
}

#[tokio::test]
async fn prompt_logprobs_map_ids_to_logprobs() {
    let server = Server::start().await;
    let more = json!({"prompt": [37, 38, 39], "prompt_logprobs": 2, "max_tokens": 1});
    let answer = server.ok(COMPLETIONS, &completion(&more)).await;
    let prompt = answer["choices"][0]["prompt_logprobs"].as_array().unwrap();
    assert_eq!(prompt.len(), 3);
    assert!(prompt[0].is_null());
    assert!(prompt[1]["38"]["logprob"].is_number() && prompt[1]["38"]["rank"].is_number(), "{}", prompt[1]);
    let answer = server.ok(CHAT, &chat(&json!({"prompt_logprobs": 0}))).await;
    assert!(answer["prompt_logprobs"][1].is_object());
}

/// An echo's logprobs and prompt_logprobs come from one computation and show what each was asked for.
#[tokio::test]
async fn two_lists_of_a_prompts_logprobs_keep_their_own_lengths() {
    let server = Server::start().await;
    let check = async |logprobs: usize, prompt_logprobs: usize| {
        let more = json!({"prompt": [37, 38, 39], "echo": true, "logprobs": logprobs,
            "prompt_logprobs": prompt_logprobs, "return_tokens_as_token_ids": true});
        let answer = server.ok(COMPLETIONS, &completion(&more)).await;
        let choice = &answer["choices"][0];
        // Beside the likeliest each entry has the token itself, if it is not one of them.
        let fits = |entry: &Value, k: usize| [k, k + 1].contains(&entry.as_object().unwrap().len());
        let (top, prompt) = (&choice["logprobs"]["top_logprobs"], &choice["prompt_logprobs"]);
        for entry in &top.as_array().unwrap()[1..] {
            assert!(fits(entry, logprobs), "{logprobs} {prompt_logprobs}: {entry}");
        }
        for entry in &prompt.as_array().unwrap()[1..] {
            assert!(fits(entry, prompt_logprobs), "{logprobs} {prompt_logprobs}: {entry}");
        }
    };
    check(1, 5).await;
    check(5, 1).await;
    check(0, 3).await;
    check(3, 3).await;
}

#[tokio::test]
async fn seeds_repeat_and_their_absence_does_not() {
    let server = Server::start().await;
    let text = async |more: Value| {
        let body = merge(&completion(&json!({"max_tokens": 40, "ignore_eos": true})), &more);
        server.ok(COMPLETIONS, &body).await["choices"][0]["text"].clone()
    };
    for seed in [json!(0), json!(-1), json!(i64::MAX), json!(u64::MAX)] {
        assert_eq!(text(json!({"seed": seed})).await, text(json!({"seed": seed})).await, "{seed}");
    }
    assert_ne!(text(json!({"seed": 1})).await, text(json!({"seed": 2})).await);
    assert_ne!(text(json!({"seed": null})).await, text(json!({"seed": null})).await);
}

#[tokio::test]
async fn stops_are_told() {
    let server = Server::start().await;
    let body = completion(&json!({"ignore_eos": true, "return_token_ids": true, "max_tokens": 30}));
    let free = server.ok(COMPLETIONS, &body).await;
    assert_eq!(
        (&free["choices"][0]["finish_reason"], &free["choices"][0]["stop_reason"]),
        (&json!("length"), &Value::Null)
    );
    let text = free["choices"][0]["text"].as_str().unwrap();
    let stop: String = text.chars().skip(5).take(3).collect();
    let stopped = server.ok(COMPLETIONS, &merge(&body, &json!({"stop": stop}))).await;
    let choice = &stopped["choices"][0];
    assert_eq!((&choice["finish_reason"], &choice["stop_reason"]), (&json!("stop"), &json!(stop)));
    assert_eq!(choice["text"].as_str(), text.split(&stop).next());
    let id = &free["choices"][0]["token_ids"][4];
    let by_id = server.ok(COMPLETIONS, &merge(&body, &json!({"stop_token_ids": [id]}))).await;
    assert_eq!(
        (&by_id["choices"][0]["finish_reason"], &by_id["choices"][0]["stop_reason"]),
        (&json!("stop"), id)
    );
}

#[tokio::test]
async fn tokens_go_there_and_back() {
    let server = Server::start().await;
    let asked = json!({"model": MODEL, "prompt": "Hello world!", "return_token_strs": true});
    let there = server.ok("/tokenize", &asked).await;
    assert_eq!((&there["count"], &there["max_model_len"]), (&json!(12), &json!(CONTEXT)));
    assert_eq!(there["token_strs"][0], "H");
    let back = server.ok("/detokenize", &json!({"model": MODEL, "tokens": there["tokens"]})).await;
    assert_eq!(back["prompt"], "Hello world!");
    let messages = server.ok("/tokenize", &json!({"messages": [{"role": "user", "content": "Hello"}]})).await;
    let answered = server.ok(CHAT, &chat(&json!({"return_token_ids": true}))).await;
    assert_eq!(messages["tokens"], answered["prompt_token_ids"]);
    let tool = json!({"type": "function", "function": {"name": "f"}});
    let told = json!({"messages": [{"role": "user", "content": "Hello"}], "tools": [tool]});
    assert!(server.ok("/tokenize", &told).await["count"].as_u64() > messages["count"].as_u64());
}

#[tokio::test]
async fn an_answer_may_fill_the_context_and_a_prompt_may_be_cut_to_it() {
    let server = Server::start().await;
    let open =
        json!({"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], "ignore_eos": true});
    let answer = server.ok(CHAT, &open).await;
    assert_eq!(answer["usage"]["total_tokens"], CONTEXT);
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    let cut =
        json!({"prompt": "a".repeat(500), "truncate_prompt_tokens": -1, "max_tokens": 8, "ignore_eos": true});
    let answer = server.ok(COMPLETIONS, &completion(&cut)).await;
    assert_eq!(answer["usage"]["prompt_tokens"], CONTEXT - 8);
}

#[tokio::test]
async fn a_repeated_prompt_comes_from_the_cache_and_says_so() {
    let server = Server::start().await;
    let body = completion(&json!({"prompt": "abcdefgh".repeat(10), "temperature": 0}));
    let first = server.ok(COMPLETIONS, &body).await;
    let second = server.ok(COMPLETIONS, &body).await;
    assert_eq!(first["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
    assert_eq!(second["usage"]["prompt_tokens_details"]["cached_tokens"], 64);
    assert_eq!(first["choices"], second["choices"]);
    let salted = server.ok(COMPLETIONS, &merge(&body, &json!({"cache_salt": "mine"}))).await;
    assert_eq!(salted["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
}

#[tokio::test]
async fn a_list_longer_than_the_queue_is_served() {
    let server = Server::with(|settings, _| {
        settings.max_queue = 2;
        settings.max_num_seqs = 2;
    })
    .await;
    let prompts: Vec<Vec<u32>> = (0..40).map(|i| vec![37, 38, 39 + i]).collect();
    let answer =
        server.ok(COMPLETIONS, &completion(&json!({"prompt": prompts, "return_token_ids": true}))).await;
    let choices = answer["choices"].as_array().unwrap();
    assert_eq!(choices.len(), 40);
    for (choice, prompt) in choices.iter().zip(&prompts) {
        assert_eq!(choice["prompt_token_ids"], json!(prompt));
        assert!(choice["finish_reason"].is_string());
    }
}

#[tokio::test]
async fn the_tokenizer_is_described_as_it_counts() {
    let server = Server::start().await;
    let info: Value = server.get("/tokenizer_info").send().await.unwrap().json().await.unwrap();
    assert_eq!((&info["model"], &info["model_max_length"]), (&json!(MODEL), &json!(CONTEXT)));
    let eos = info["eos_token_ids"].as_array().unwrap();
    assert!(info["vocab_size"].as_u64() > eos[0].as_u64() && info["chat_template"].is_string(), "{info}");
    let wrong = server.get("/tokenizer_info?modle=x").send().await.unwrap();
    assert_eq!(wrong.json::<Value>().await.unwrap()["error"]["param"], "modle");
}
