//! `/v1/responses`: what it answers, that its stream adds up to it, and that it can be gone on with.

use serde_json::{Value, json};

use super::server::{MODEL, Server, merge};
use crate::real_weights::real_model;

const RESPONSES: &str = "/v1/responses";

fn body(more: &Value) -> Value {
    merge(&json!({"model": MODEL, "input": "Hello", "max_output_tokens": 20, "seed": 7}), more)
}

/// The output without ids, which are new each time.
fn told(response: &Value) -> Value {
    let mut output = response["output"].clone();
    for item in output.as_array_mut().unwrap() {
        item["id"] = json!("");
        item["call_id"] = json!("");
    }
    output
}

async fn stream(server: &Server, body: &Value) -> Vec<Value> {
    let response = server.post(RESPONSES, &merge(body, &json!({"stream": true}))).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let text = response.text().await.unwrap();
    let events: Vec<Value> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    let names: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    for (at, (event, name)) in events.iter().zip(&names).enumerate() {
        assert_eq!((&event["type"], &event["sequence_number"]), (&json!(name), &json!(at)));
    }
    events
}

#[tokio::test]
async fn a_stream_adds_up_to_the_whole_response() {
    let server = Server::start().await;
    let whole = server.ok(RESPONSES, &body(&json!({"max_output_tokens": 5}))).await;
    assert_eq!((&whole["object"], &whole["status"]), (&json!("response"), &json!("incomplete")), "{whole}");
    assert_eq!(whole["incomplete_details"]["reason"], "max_output_tokens");
    assert_eq!(whole["usage"]["output_tokens"], 5);
    let events = stream(&server, &body(&json!({"max_output_tokens": 5}))).await;
    let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds[..2], ["response.created", "response.in_progress"]);
    let last = events.last().unwrap();
    assert_eq!(last["type"], "response.incomplete");
    assert_eq!(told(&last["response"]), told(&whole));
    let joined: String = events
        .iter()
        .filter(|event| event["type"] == "response.output_text.delta")
        .filter_map(|event| event["delta"].as_str())
        .collect();
    let message = whole["output"].as_array().unwrap().iter().find(|item| item["type"] == "message").unwrap();
    assert_eq!(joined, message["content"][0]["text"].as_str().unwrap());
    let opened = kinds.iter().filter(|kind| **kind == "response.output_item.added").count();
    let closed = kinds.iter().filter(|kind| **kind == "response.output_item.done").count();
    assert_eq!((opened, closed), (whole["output"].as_array().unwrap().len(), opened));
}

#[tokio::test]
async fn forms_calls_and_languages_hold_here_too() {
    let server = Server::of_path(&real_model("SmolLM2-135M-Instruct.Q4_1.gguf")).await;
    let schema = json!({"type": "object", "properties": {"a": {"enum": ["x"]}}, "required": ["a"],
        "additionalProperties": false, "x-guidance": {"whitespace_flexible": false}});
    let format = json!({"thinking_token_budget": 3, "max_output_tokens": 60, "text": {"format": {"type": "json_schema", "name": "n", "schema": schema}}});
    let formed = server.ok(RESPONSES, &body(&format)).await;
    assert_eq!(formed["status"], "completed");
    assert_eq!(formed["output"][0]["content"][0]["text"], "{\"a\":\"x\"}");

    let tool = json!({"type": "function", "name": "look", "parameters": schema});
    let call = json!({"tools": [tool], "tool_choice": "required", "max_output_tokens": 120, "parallel_tool_calls": false});
    let called = server.ok(RESPONSES, &body(&call)).await;
    let item = &called["output"][0];
    assert_eq!((&item["type"], &item["name"]), (&json!("function_call"), &json!("look")), "{called}");
    assert_eq!(item["arguments"], "{\"a\":\"x\"}");
    let events = stream(&server, &body(&call)).await;
    let arguments: String = events
        .iter()
        .filter(|event| event["type"] == "response.function_call_arguments.delta")
        .filter_map(|event| event["delta"].as_str())
        .collect();
    assert_eq!(arguments, "{\"a\":\"x\"}");

    let asked = server.ok(RESPONSES, &body(&json!({"reasoning_language": "sw"}))).await;
    assert_eq!(asked["language"]["target"], "sw");
}

#[tokio::test]
async fn a_stored_response_is_read_gone_on_with_and_forgotten() {
    let server = Server::start().await;
    let first = server.ok(RESPONSES, &body(&json!({"metadata": {"k": "v"}}))).await;
    let id = first["id"].as_str().unwrap();
    let path = format!("{RESPONSES}/{id}");
    let read: Value = server.get(&path).send().await.unwrap().json().await.unwrap();
    assert_eq!(read, first);
    let more = json!({"input": "And?", "previous_response_id": id, "max_output_tokens": 5});
    let next = server.ok(RESPONSES, &body(&more)).await;
    assert!(next["usage"]["input_tokens"].as_u64() > first["usage"]["input_tokens"].as_u64());
    // The same conversation, item by item.
    let mut items = vec![json!({"role": "user", "content": "Hello"})];
    items.extend(first["output"].as_array().unwrap().clone());
    items.push(json!({"role": "user", "content": "And?"}));
    let whole = server.ok(RESPONSES, &body(&json!({"input": items, "max_output_tokens": 5}))).await;
    assert_eq!(told(&whole), told(&next));
    assert_eq!(whole["usage"]["input_tokens"], next["usage"]["input_tokens"]);

    let unkept = server.ok(RESPONSES, &body(&json!({"store": false}))).await;
    let gone = server.get(&format!("{RESPONSES}/{}", unkept["id"].as_str().unwrap())).send().await.unwrap();
    assert_eq!(gone.status(), 404);
    let deleted = server.client.delete(format!("{}{path}", server.url)).send().await.unwrap();
    assert_eq!(deleted.json::<Value>().await.unwrap()["deleted"], true);
    assert_eq!(server.get(&path).send().await.unwrap().status(), 404);
    let refused = server.post(RESPONSES, &body(&json!({"previous_response_id": id}))).send().await.unwrap();
    assert_eq!(refused.status(), 404);
    assert_eq!(refused.json::<Value>().await.unwrap()["error"]["param"], "previous_response_id");
}

#[tokio::test]
async fn a_slip_is_named_as_the_client_wrote_it() {
    let server = Server::start().await;
    let check = async |fields: Value, param: &str| {
        let response = server.post(RESPONSES, &body(&fields)).send().await.unwrap();
        assert_eq!(response.status(), 400, "{fields}");
        let error = response.json::<Value>().await.unwrap()["error"].clone();
        assert_eq!(error["param"], param, "{fields}: {error}");
    };
    check(json!({"text": {"format": {"type": "xml"}}}), "text.format.type").await;
    check(json!({"tools": [{"type": "function", "name": "a b"}]}), "tools.0.name").await;
    check(json!({"input": "x ".repeat(500)}), "input").await;
    check(json!({"input": [{"role": "usr", "content": "a"}]}), "input").await;
    check(json!({"temperature": -1}), "temperature").await;
}
