//! Answers with a form: whatever a model of random weights would like to say, it says what the grammar allows.

use serde_json::{Value, json};

use super::server::{Server, chat, completion, merge};
use crate::real_weights::real_model;

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";

/// A schema with little room: the tiny model's context is short.
fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {"a": {"enum": ["x", "y"]}, "n": {"type": "integer", "minimum": 0, "maximum": 99}},
        "required": ["a", "n"],
        "additionalProperties": false,
        "x-guidance": {"whitespace_flexible": false}
    })
}

fn follows(text: &str) -> bool {
    let Ok(value) = serde_json::from_str::<Value>(text) else { return false };
    let object = value.as_object().unwrap();
    object.len() == 2
        && (object["a"] == "x" || object["a"] == "y")
        && object["n"].as_u64().is_some_and(|n| n < 100)
}

#[tokio::test]
async fn every_choice_follows_its_schema_streamed_and_whole() {
    let server = Server::of_model("llama3").await;
    let format =
        json!({"type": "json_schema", "json_schema": {"name": "n", "strict": true, "schema": schema()}});
    let body =
        chat(&json!({"n": 6, "temperature": 2.0, "max_tokens": 90, "response_format": format, "seed": 7,
        "thinking_token_budget": 3}));
    let whole = server.ok(CHAT, &body).await;
    let choices = whole["choices"].as_array().unwrap();
    let texts: Vec<&str> =
        choices.iter().map(|choice| choice["message"]["content"].as_str().unwrap()).collect();
    assert!(texts.iter().all(|text| follows(text)), "{texts:?}");
    assert!(texts.iter().any(|text| *text != texts[0]), "a form leaves room: {texts:?}");
    assert!(choices.iter().all(|choice| choice["finish_reason"] == "stop"), "{whole}");
    let chunks = server.stream(CHAT, &merge(&body, &json!({"stream": true}))).await;
    for (at, text) in texts.iter().enumerate() {
        let parts = chunks.iter().map(|chunk| &chunk["choices"][0]).filter(|part| part["index"] == at);
        let streamed: String = parts.filter_map(|part| part["delta"]["content"].as_str()).collect();
        assert_eq!(streamed, *text);
    }
    // The same seed alone and among others.
    for at in 0..2 {
        let alone = merge(&body, &json!({"n": at + 1}));
        let alone = server.ok(CHAT, &alone).await;
        assert_eq!(alone["choices"][at]["message"]["content"], texts[at]);
    }
    server.idle().await;
}

#[tokio::test]
async fn completions_take_every_kind_of_form() {
    let server = Server::of_model("llama3").await;
    let check = async |form: Value, fits: &dyn Fn(&str) -> bool| {
        let body = merge(&completion(&json!({"max_tokens": 60, "temperature": 1.5, "n": 3})), &form);
        let answer = server.ok(COMPLETIONS, &body).await;
        for choice in answer["choices"].as_array().unwrap() {
            let text = choice["text"].as_str().unwrap();
            assert!(fits(text) && choice["finish_reason"] == "stop", "{form}: {text}");
        }
    };
    let code =
        |text: &str| text.len() == 6 && text[..2].chars().all(|c| c.is_ascii_digit()) && &text[2..3] == "-";
    check(json!({"guided_regex": "[0-9]{2}-[a-c]{3}"}), &code).await;
    check(json!({"structured_outputs": {"regex": "[0-9]{2}-[a-c]{3}"}}), &code).await;
    check(json!({"guided_choice": ["red", "green"]}), &|text| ["red", "green"].contains(&text)).await;
    check(json!({"guided_json": schema()}), &follows).await;
    let lark = "start: \"<\" WORD \">\"\nWORD: /[ab]{1,4}/";
    check(json!({"guided_grammar": lark}), &|text| text.starts_with('<') && text.ends_with('>')).await;
    let min_tokens = json!({"guided_choice": ["a"], "min_tokens": 20});
    check(min_tokens, &|text| text == "a").await;
}

#[tokio::test]
async fn a_form_that_cannot_be_is_a_400_that_says_where() {
    let server = Server::of_model("llama3").await;
    let check = async |fields: Value, param: &str, words: &str| {
        let response = server.post(CHAT, &chat(&fields)).send().await.unwrap();
        assert_eq!(response.status(), 400, "{fields}");
        let error = response.json::<Value>().await.unwrap()["error"].clone();
        assert_eq!(error["param"], param, "{fields}: {error}");
        assert!(error["message"].as_str().unwrap().contains(words), "{fields}: {error}");
    };
    let format = |schema: Value| json!({"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}});
    let wrong = json!({"type": "object", "properties": {"a": {"type": "nmber"}}});
    check(format(wrong), "response_format", "/properties/a").await;
    let looped = json!({"$ref": "https://example.org/x.json"});
    check(format(looped), "response_format", "$ref").await;
    check(json!({"guided_regex": "(a"}), "guided_regex", "guided_regex").await;
    check(json!({"guided_grammar": "begin: \"a\""}), "guided_grammar", "start").await;
    check(json!({"guided_regex": "a", "ignore_eos": true}), "ignore_eos", "ends").await;
    let tool = json!({"type": "function", "function": {"name": "f", "parameters": {"type": "nmber"}}});
    let fine = json!({"type": "function", "function": {"name": "g"}});
    let (param, part) = ("tools.1.function.parameters", "nmber");
    check(json!({"tools": [fine, tool], "tool_choice": "required"}), param, part).await;
    let mut strict = tool.clone();
    strict["function"]["strict"] = json!(true);
    check(json!({"tools": [fine, strict]}), param, part).await;
    check(json!({"tools": [fine, strict], "response_format": {"type": "json_object"}}), param, part).await;
    let wrong = json!({"type": "json_schema", "json_schema": {"schema": {"type": "nmber"}}});
    check(json!({"tools": [fine], "response_format": wrong}), "response_format", part).await;
    server.ok(CHAT, &chat(&json!({"tools": [tool], "max_tokens": 2}))).await;
    check(json!({"reasoning_language": "tlh"}), "reasoning_language", "known: ar, bn").await;
    server.idle().await;
}

#[tokio::test]
async fn a_call_that_must_come_comes() {
    let server = Server::of_path(&real_model("SmolLM2-135M-Instruct.Q4_1.gguf")).await;
    let parameters = json!({"type": "object", "properties": {"x": {"enum": [1, 2]}}, "required": ["x"],
        "additionalProperties": false, "x-guidance": {"whitespace_flexible": false}});
    let tool = |name: &str| json!({"type": "function", "function": {"name": name, "parameters": parameters}});
    let body = chat(&json!({"tools": [tool("add"), tool("sub")], "temperature": 1.5, "max_tokens": 90,
        "parallel_tool_calls": false}));
    for (choice, names) in [
        (json!("required"), vec!["add", "sub"]),
        (json!({"type": "function", "function": {"name": "sub"}}), vec!["sub"]),
    ] {
        let body = merge(&body, &json!({"tool_choice": choice, "seed": 3}));
        let whole = server.ok(CHAT, &body).await;
        let message = &whole["choices"][0]["message"];
        assert_eq!(
            (&whole["choices"][0]["finish_reason"], &message["content"]),
            (&json!("tool_calls"), &Value::Null)
        );
        let calls = message["tool_calls"].as_array().unwrap();
        let call = &calls[0];
        assert!(calls.len() == 1 && names.contains(&call["function"]["name"].as_str().unwrap()), "{message}");
        let arguments: Value = serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
        assert!(arguments == json!({"x": 1}) || arguments == json!({"x": 2}), "{message}");

        let chunks = server.stream(CHAT, &merge(&body, &json!({"stream": true}))).await;
        let deltas: Vec<&Value> = chunks
            .iter()
            .flat_map(|chunk| chunk["choices"][0]["delta"]["tool_calls"].as_array().into_iter().flatten())
            .collect();
        assert_eq!(deltas[0]["function"]["name"], call["function"]["name"]);
        assert!(deltas[0]["id"].is_string() && deltas[1..].iter().all(|delta| delta["id"].is_null()));
        assert!(deltas.iter().all(|delta| delta["index"] == 0));
        let streamed: String =
            deltas.iter().filter_map(|delta| delta["function"]["arguments"].as_str()).collect();
        assert_eq!(streamed, call["function"]["arguments"].as_str().unwrap());
        assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "tool_calls");
    }
}

#[tokio::test]
async fn with_a_form_and_tools_an_answer_is_either() {
    let server = Server::of_path(&real_model("SmolLM2-135M-Instruct.Q4_1.gguf")).await;
    let schema = |name: &str, values: Value| {
        json!({"type": "object", "properties": {name: {"enum": values}}, "required": [name],
            "additionalProperties": false, "x-guidance": {"whitespace_flexible": false}})
    };
    let function = json!({"name": "add", "parameters": schema("x", json!([1, 2])), "strict": true});
    let format = json!({"type": "json_schema", "json_schema": {"schema": schema("y", json!(["a", "b"]))}});
    let mark = server.ok("/tokenize", &json!({"prompt": "<tool_call>", "add_special_tokens": false})).await;
    let tools = json!([{"type": "function", "function": function}]);
    let ids = json!({"tools": tools, "return_token_ids": true, "max_tokens": 1});
    let prompt = server.ok(CHAT, &chat(&ids)).await["prompt_token_ids"].clone();
    let told = json!({"messages": chat(&json!({}))["messages"], "tools": tools});
    assert_eq!(server.ok("/tokenize", &told).await["tokens"], prompt);
    let answer = async |bias: f32| {
        let body = json!({"tools": tools, "response_format": format,
            "logit_bias": {mark["tokens"][0].to_string(): bias}, "max_tokens": 120, "seed": 3, "temperature": 1.5,
            "parallel_tool_calls": false});
        server.ok(CHAT, &chat(&body)).await["choices"][0].clone()
    };
    let read = |text: &Value| serde_json::from_str::<Value>(text.as_str().unwrap()).unwrap();
    let formed = answer(-100.0).await;
    let said = read(&formed["message"]["content"]);
    assert!(said == json!({"y": "a"}) || said == json!({"y": "b"}), "{formed}");
    assert_eq!(formed["finish_reason"], "stop");
    let called = answer(100.0).await;
    let arguments = read(&called["message"]["tool_calls"][0]["function"]["arguments"]);
    assert!(arguments == json!({"x": 1}) || arguments == json!({"x": 2}), "{called}");
    assert_eq!(
        (&called["finish_reason"], &called["message"]["content"]),
        (&json!("tool_calls"), &Value::Null)
    );
}

#[tokio::test]
async fn the_language_of_an_answer_is_told_before_its_usage() {
    let server = Server::of_model("llama3").await;
    let body = chat(&json!({"reasoning_language": "ja-JP", "max_tokens": 30}));
    let whole = server.ok(CHAT, &body).await;
    assert_eq!(whole["language"]["target"], "ja");
    assert!(
        whole["language"]["following"].is_boolean() && whole["language"]["answer"].is_object(),
        "{whole}"
    );
    let options = json!({"stream": true, "stream_options": {"include_usage": true}});
    let chunks = server.stream(CHAT, &merge(&body, &options)).await;
    let [.., language, usage] = chunks.as_slice() else { panic!("{chunks:?}") };
    assert!(language["language"].is_object() && usage["usage"].is_object(), "{language} {usage}");
    let several = server.ok(CHAT, &merge(&body, &json!({"n": 2}))).await;
    assert!(
        several["language"].is_null() && several["choices"][1]["language"]["target"] == "ja",
        "{several}"
    );
    let silent = server.ok(CHAT, &chat(&json!({"max_tokens": 5}))).await;
    assert!(silent["language"].is_null());
}
