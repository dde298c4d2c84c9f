//! `/v1/embeddings` over a real encoder: vectors as transformers' states make them, however they are asked for.

use serde_json::{Value, json};

use super::server::Server;
use crate::real_weights::real_model;

const EMBEDDINGS: &str = "/v1/embeddings";
const NAME: &str = "e5";

async fn server() -> Server {
    Server::with_encoder(NAME, &real_model("multilingual-e5-small")).await
}

fn vector(data: &Value) -> Vec<f64> {
    data["embedding"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[tokio::test]
async fn translations_are_near_and_vectors_do_not_depend_on_the_batch() {
    let server = server().await;
    let texts = [
        "query: The cat sleeps on the sofa.",
        "query: 猫はソファーで寝ています。",
        "query: Paka analala kwenye sofa.",
        "query: The parliament passed the budget yesterday.",
    ];
    let all = server.ok(EMBEDDINGS, &json!({"model": NAME, "input": texts})).await;
    let vectors: Vec<Vec<f64>> = all["data"].as_array().unwrap().iter().map(vector).collect();
    assert_eq!((vectors.len(), vectors[0].len(), &all["object"]), (4, 384, &json!("list")));
    for vector in &vectors {
        assert!((cosine(vector, vector) - 1.0).abs() < 1e-5);
    }
    let near = cosine(&vectors[0], &vectors[1]).min(cosine(&vectors[0], &vectors[2]));
    let far = cosine(&vectors[0], &vectors[3]);
    assert!(near > far + 0.03, "{near} {far}");
    let mut tokens = 0;
    for (at, text) in texts.iter().enumerate() {
        let alone = server.ok(EMBEDDINGS, &json!({"input": text})).await;
        assert_eq!(alone["data"][0]["embedding"], all["data"][at]["embedding"]);
        tokens += alone["usage"]["prompt_tokens"].as_u64().unwrap();
    }
    assert_eq!(all["usage"], json!({"prompt_tokens": tokens, "total_tokens": tokens}));
    let encoded = server.ok(EMBEDDINGS, &json!({"input": texts[0], "encoding_format": "base64"})).await;
    // 384 floats of four bytes, three bytes to four letters.
    assert_eq!(encoded["data"][0]["embedding"].as_str().unwrap().len(), 384 * 4 / 3 * 4);
}

#[tokio::test]
async fn an_input_that_cannot_be_embedded_is_named() {
    let server = server().await;
    let check = async |fields: Value, status: u16, param: &str| {
        let response = server.post(EMBEDDINGS, &fields).send().await.unwrap();
        assert_eq!(response.status(), status, "{fields}");
        let error = response.json::<Value>().await.unwrap()["error"].clone();
        assert_eq!(error["param"], param, "{fields}: {error}");
    };
    let long = "word ".repeat(600);
    check(json!({"input": ["short", long]}), 400, "input.1").await;
    check(json!({"input": []}), 400, "input").await;
    check(json!({"input": [[1, 4_000_000_000_u32]]}), 400, "input").await;
    check(json!({"input": "a", "dimensions": 8}), 400, "dimensions").await;
    check(json!({"input": "a", "encoding_format": "int8"}), 400, "encoding_format").await;
    check(json!({"input": "a", "model": "tiny/qwen3"}), 400, "model").await;
    check(json!({"input": "a", "model": "nobody"}), 404, "model").await;
    let cut = server.ok(EMBEDDINGS, &json!({"input": long, "truncate_prompt_tokens": -1})).await;
    assert_eq!(cut["usage"]["prompt_tokens"], 512);
    let listed: Value = server.get("/v1/models").send().await.unwrap().json().await.unwrap();
    assert_eq!(listed["data"][1]["id"], NAME);
    let plain = Server::start().await;
    let none = plain.post(EMBEDDINGS, &json!({"input": "a"})).send().await.unwrap();
    assert!(none.text().await.unwrap().contains("--embedding-models"));
}
