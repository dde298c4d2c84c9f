//! Prompts sent as vectors: the embeddings of tokens are answered as the tokens are, and what is no such file is refused.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use half::bf16;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::{Value, json};

use super::server::{Server, models_dir};

const PATH: &str = "/v1/completions";

/// The rows of the tiny model's embedding.
fn embeddings(ids: &[u32]) -> (Vec<f32>, usize) {
    let bytes = std::fs::read(models_dir().join("qwen3/model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let table = file.tensor("model.embed_tokens.weight").unwrap();
    let (&[_, hidden], Dtype::F32) = (table.shape(), table.dtype()) else { panic!("another table") };
    let row = |id: &u32| {
        let row = &table.data().as_chunks::<4>().0[*id as usize * hidden..][..hidden];
        row.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect::<Vec<_>>()
    };
    (ids.iter().flat_map(row).collect(), hidden)
}

fn sent(dtype: Dtype, shape: [usize; 2], data: &[u8]) -> String {
    let view = TensorView::new(dtype, shape.to_vec(), data).unwrap();
    STANDARD.encode(safetensors::serialize([("prompt_embeds", view)], None).unwrap())
}

fn as_bf16(ids: &[u32]) -> String {
    let (values, hidden) = embeddings(ids);
    let data: Vec<u8> = values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect();
    sent(Dtype::BF16, [ids.len(), hidden], &data)
}

fn as_f32(ids: &[u32], change: impl Fn(&mut Vec<f32>)) -> String {
    let (mut values, hidden) = embeddings(ids);
    change(&mut values);
    let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    sent(Dtype::F32, [ids.len(), hidden], &data)
}

fn asked(more: &Value) -> Value {
    let mut body =
        json!({"max_tokens": 12, "temperature": 0.8, "seed": 5, "n": 2, "logprobs": 2, "ignore_eos": true});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn embeddings_of_tokens_are_answered_as_the_tokens_are() {
    let server = Server::start().await;
    // More than a KV block, so that the second asking comes out of the cache.
    let first: Vec<u32> = (0..40).map(|at| 3 + at * 7 % 80).collect();
    let second: Vec<u32> = (0..40).map(|at| 5 + at * 11 % 80).collect();
    let expected = server.ok(PATH, &asked(&json!({"prompt": [first, second]}))).await;
    let lists = json!({"prompt_embeds": [as_f32(&first, |_| ()), as_f32(&second, |_| ())], "prompt": ""});
    for round in 0..2 {
        let answer = server.ok(PATH, &asked(&lists)).await;
        assert_eq!(answer["choices"], expected["choices"], "round {round}");
        assert_eq!(answer["usage"]["prompt_tokens"], 80);
        let cached = answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
        assert_eq!(cached > 0, round == 1, "vectors have a cache of their own: {cached}");
    }
    let rounded = as_f32(&first, |values| {
        for value in values.iter_mut() {
            *value = bf16::from_f32(*value).to_f32();
        }
    });
    let rounded = server.ok(PATH, &asked(&json!({"prompt_embeds": rounded}))).await;
    let halves = server.ok(PATH, &asked(&json!({"prompt_embeds": as_bf16(&first)}))).await;
    assert_eq!(halves["choices"], rounded["choices"]);
    let chunks =
        server.stream(PATH, &asked(&json!({"prompt_embeds": as_f32(&first, |_| ()), "stream": true}))).await;
    let text: String = chunks
        .iter()
        .filter(|chunk| chunk["choices"][0]["index"] == 0)
        .filter_map(|chunk| chunk["choices"][0]["text"].as_str())
        .collect();
    assert_eq!(text, expected["choices"][0]["text"]);
    server.idle().await;
}

#[tokio::test]
async fn what_is_no_prompt_of_vectors_is_refused_by_name() {
    let server = Server::start().await;
    let refused = async |embeds: Value, part: &str| {
        let response = server.post(PATH, &asked(&json!({"prompt_embeds": embeds}))).send().await.unwrap();
        assert_eq!(response.status(), 400, "{part}");
        let error = response.json::<Value>().await.unwrap()["error"].clone();
        assert_eq!(error["param"], "prompt_embeds", "{error}");
        assert!(error["message"].as_str().unwrap().contains(part), "{error}");
    };
    let fine = as_f32(&[3, 4], |_| ());
    refused(json!("~"), "no base64").await;
    refused(json!([fine, "AAAA"]), "`prompt_embeds.1`: this is no safetensors file").await;
    refused(json!([]), "empty list").await;
    refused(json!(sent(Dtype::F32, [2, 3], &[0; 24])), "its vectors have 3 numbers, and the model's have")
        .await;
    refused(json!(as_f32(&[3, 4], |values| values[33] = f32::NAN)), "the number at [1, 1] is NaN").await;
    let long: Vec<u32> = vec![3; 130];
    let response = server.post(PATH, &asked(&json!({"prompt_embeds": as_bf16(&long)}))).send().await.unwrap();
    let error = response.json::<Value>().await.unwrap()["error"].clone();
    assert_eq!(
        (&error["code"], &error["param"]),
        (&json!("context_length_exceeded"), &json!("prompt_embeds"))
    );
}
