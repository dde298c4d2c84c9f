//! MindMerger models over HTTP: the encoder reads what the user wrote, the language model reads it through a template.

use serde_json::{Value, json};
use xenoglot::api::ApiKeys;

use super::server::Server;
use crate::augmented::{llama2, write};

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";
const NAME: &str = "mm";

/// A server of the usual tiny model and of a MindMerger model, loaded as an admin does.
async fn server(style: &str) -> (Server, tempfile::TempDir) {
    let models = tempfile::tempdir().unwrap();
    write(style, &llama2(), true, &models.path().join(NAME));
    let models_dir = models.path().to_owned();
    let server = Server::with(|settings, options| {
        settings.models_dir = models_dir;
        options.auth.admin = ApiKeys::new(["sk-admin"]);
    })
    .await;
    let load = json!({"name": NAME, "path": NAME});
    let loaded = server.post("/v1/admin/models", &load).bearer_auth("sk-admin").send().await.unwrap();
    assert_eq!(loaded.status(), 201, "{}", loaded.text().await.unwrap());
    (server, models)
}

fn with(base: Value, more: &Value) -> Value {
    let mut base = base;
    for (key, value) in more.as_object().unwrap() {
        base[key] = value.clone();
    }
    base
}

fn chat(text: &str, more: &Value) -> Value {
    let base = json!({
        "model": NAME, "messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 10,
        "ignore_eos": true, "return_token_ids": true,
    });
    with(base, more)
}

fn completion(prompt: &Value, more: &Value) -> Value {
    let base = json!({
        "model": NAME, "prompt": prompt, "temperature": 0, "max_tokens": 10, "ignore_eos": true,
        "return_token_ids": true,
    });
    with(base, more)
}

fn tokens(answer: &Value) -> &Value {
    let tokens = &answer["choices"][0]["token_ids"];
    assert_eq!(tokens.as_array().unwrap().len(), 10, "{answer}");
    tokens
}

/// The parameter and the message of a 400.
async fn refused(server: &Server, path: &str, body: &Value) -> (String, String) {
    let response = server.post(path, body).send().await.unwrap();
    assert_eq!(response.status(), 400, "{path} {body}");
    let error = response.json::<Value>().await.unwrap()["error"].clone();
    (error["param"].as_str().unwrap_or_default().to_owned(), error["message"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn the_last_user_message_is_answered() {
    let (server, _models) = server("t5").await;
    let listed = server.get("/v1/models").send().await.unwrap().json::<Value>().await.unwrap();
    assert!(listed["data"].as_array().unwrap().iter().any(|model| model["id"] == NAME), "{listed}");

    let alone = server.ok(CHAT, &chat("the apples", &json!({}))).await;
    let messages = json!([
        {"role": "system", "content": "abc"}, {"role": "user", "content": "three"},
        {"role": "assistant", "content": "b"}, {"role": "user", "content": [{"type": "text", "text": "the apples"}]},
    ]);
    let after_others = server.ok(CHAT, &chat("", &json!({"messages": messages}))).await;
    assert_eq!(tokens(&alone), tokens(&after_others));
    let other = server.ok(CHAT, &chat("three apples", &json!({}))).await;
    assert_ne!(tokens(&alone), tokens(&other));

    let completed = server.ok(COMPLETIONS, &completion(&json!("the apples"), &json!({}))).await;
    assert_eq!(tokens(&alone), tokens(&completed));
    let several = completion(&json!(["three apples", "the apples"]), &json!({"n": 2}));
    let several = server.ok(COMPLETIONS, &several).await;
    for (at, expected) in [&other, &other, &alone, &alone].into_iter().enumerate() {
        assert_eq!(several["choices"][at]["token_ids"], *tokens(expected));
    }
    let streamed =
        server.stream(COMPLETIONS, &completion(&json!("the apples"), &json!({"stream": true}))).await;
    let text: String = streamed.iter().filter_map(|chunk| chunk["choices"][0]["text"].as_str()).collect();
    assert_eq!(completed["choices"][0]["text"], text);
}

/// "the apples" are 4 of the encoder's tokens, `</s>` among them.
#[tokio::test]
async fn usage_counts_vectors_and_token_ids_are_tokens() {
    let (server, _models) = server("t5").await;
    let body = completion(&json!("the apples"), &json!({"echo": true, "logprobs": 1, "prompt_logprobs": 1}));
    let answer = server.ok(COMPLETIONS, &body).await;
    let choice = &answer["choices"][0];
    let ids = choice["prompt_token_ids"].as_array().unwrap();
    assert_eq!(answer["usage"]["prompt_tokens"], ids.len() + 4 + 1);
    assert!(choice["text"].as_str().unwrap().starts_with("Q: the apples {x}\nA:"), "{choice}");
    assert_eq!(ids[0], 1, "the BOS");
    let logprobs = choice["prompt_logprobs"].as_array().unwrap();
    assert_eq!(logprobs.len(), ids.len());
    for (at, (id, logprob)) in ids.iter().zip(logprobs).enumerate() {
        assert_eq!(logprob.is_null(), at == 0);
        assert!(at == 0 || logprob[id.to_string()].is_object(), "{logprob}");
    }
    assert_eq!(choice["logprobs"]["tokens"].as_array().unwrap().len(), ids.len() + 10);

    let asked = json!({"model": NAME, "messages": [{"role": "user", "content": "the apples"}]});
    let tokenized = server.ok("/tokenize", &asked).await;
    assert_eq!(tokenized["tokens"], choice["prompt_token_ids"]);
    assert_eq!(tokenized["count"], answer["usage"]["prompt_tokens"]);

    let open = chat("the apples", &json!({"max_tokens": null, "n": 1}));
    let full = server.ok(CHAT, &open).await;
    assert_eq!(full["usage"]["total_tokens"], 128, "the context is used up, and no more");
}

#[tokio::test]
async fn a_repeated_question_comes_from_the_cache() {
    let (server, _models) = server("xlm_roberta").await;
    let question = ["the apple"; 4].join(" ");
    let body = chat(&question, &json!({"max_tokens": 4}));
    let (first, second) = (server.ok(CHAT, &body).await, server.ok(CHAT, &body).await);
    assert_eq!(first["choices"], second["choices"]);
    let cached = |answer: &Value| answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
    assert_eq!((cached(&first), cached(&second)), (0, 32), "{second}");
    let other = chat(&["the three"; 4].join(" "), &json!({"max_tokens": 4}));
    assert_eq!(cached(&server.ok(CHAT, &other).await), 0);
}

#[tokio::test]
async fn an_answer_may_be_begun() {
    let (server, _models) = server("t5").await;
    let messages =
        json!([{"role": "user", "content": "the apples"}, {"role": "assistant", "content": "abc"}]);
    let more = json!({"messages": messages, "continue_final_message": true});
    let begun = server.ok(CHAT, &chat("", &more)).await;
    let plain = server.ok(CHAT, &chat("the apples", &json!({}))).await;
    let (begun, plain) = (&begun["prompt_token_ids"], &plain["prompt_token_ids"]);
    let (begun, plain) = (begun.as_array().unwrap(), plain.as_array().unwrap());
    assert!(begun.len() > plain.len() && begun.starts_with(plain));
}

#[tokio::test]
async fn the_encoder_is_told_the_language() {
    let (server, _models) = server("nllb").await;
    let told = async |text: &str, language: Value| {
        // Logprobs, for a tiny model may say the same for other reasons.
        let more = json!({"language": language, "logprobs": true});
        server.ok(CHAT, &chat(text, &more)).await["choices"][0]["logprobs"].clone()
    };
    assert_eq!(told("りんご", json!("ja-JP")).await, told("りんご", json!(null)).await);
    assert_ne!(told("りんご", json!("sw")).await, told("りんご", json!(null)).await);
    assert_eq!(told("the apples", json!("en")).await, told("the apples", json!(null)).await);

    let (param, message) = refused(&server, CHAT, &chat("the apples", &json!({"language": "de"}))).await;
    assert_eq!(param, "language");
    assert!(message.contains("\"de\"") && message.contains("it knows en, ja, sw"), "{message}");
    let digits = completion(&json!("1 + 1"), &json!({}));
    let (param, message) = refused(&server, COMPLETIONS, &digits).await;
    assert!(param == "language" && message.contains("say which language"), "{message}");
    let long = chat("the apples", &json!({"language": "x".repeat(100)}));
    assert_eq!(refused(&server, CHAT, &long).await.0, "language");
}

#[tokio::test]
async fn what_it_cannot_read_is_refused() {
    let (server, _models) = server("xlm_roberta").await;
    let check = async |path: &str, body: Value, param: &str, part: &str| {
        let (named, message) = refused(&server, path, &body).await;
        assert_eq!(named, param, "{message}");
        assert!(message.contains(part), "{message}");
    };
    check(COMPLETIONS, completion(&json!([1, 5, 6]), &json!({})), "prompt", "send the prompt as text").await;
    check(COMPLETIONS, completion(&json!([[1, 5]]), &json!({})), "prompt", "send the prompt as text").await;
    let no_user = json!({"messages": [{"role": "system", "content": "abc"}]});
    check(CHAT, chat("", &no_user), "messages", "role `user`").await;
    let cut = json!({"truncate_prompt_tokens": 5});
    check(CHAT, chat("the", &cut), "truncate_prompt_tokens", "reads a prompt whole").await;
    check(COMPLETIONS, completion(&json!("the"), &cut), "truncate_prompt_tokens", "shorten the text").await;
    let long = ["the"; 147].join(" ");
    check(CHAT, chat(&long, &json!({})), "messages", "149 tokens for the encoder, which reads at most 148")
        .await;
    check(COMPLETIONS, completion(&json!(long), &json!({})), "prompt", "at most 148").await;
    check(CHAT, chat(&"the ".repeat(60), &json!({})), "messages", "the model's context holds 128").await;

    // The other model does not look at a language.
    let plain = json!({"model": super::server::MODEL, "prompt": "a", "language": "ja"});
    server.ok(COMPLETIONS, &plain).await;
}
