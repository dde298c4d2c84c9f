//! Tests of `record`.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn parse(line: &Value) -> Result<Record, String> {
    Record::parse(&line.to_string())
}

fn conversation_of(line: &Value) -> Conversation {
    match parse(line) {
        Ok(Record::Conversation(conversation)) => conversation,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn every_shape_is_known() {
    let both = Record::Completion { prompt: "p".into(), completion: "c".into() };
    assert_eq!(parse(&json!({"text": "t", "id": 1})), Ok(Record::Text("t".into())));
    assert_eq!(parse(&json!({"prompt": "p", "completion": "c", "text": null})), Ok(both));
    let user = json!({"role": "user", "content": "u"});
    let answer = json!({"role": "assistant", "content": "a"});
    let chat = conversation_of(&json!({"messages": [user, answer], "tools": "[1]"}));
    assert_eq!((chat.messages.len(), chat.prompt, chat.tools), (2, None, Some(json!([1]))));
    let parts = conversation_of(&json!({"prompt": [user], "completion": [answer, user, answer]}));
    assert_eq!((parts.messages.len(), parts.prompt), (4, Some(1)));
}

#[test]
fn messages_are_what_templates_take() {
    let check = |given: Value, expected: Value| {
        let chat = conversation_of(&json!({"messages": [given]}));
        assert_eq!(chat.messages[0], expected);
    };
    check(json!({"role": "developer", "content": "x"}), json!({"role": "system", "content": "x"}));
    check(
        json!({"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}),
        json!({"role": "user", "content": "a\nb"}),
    );
    let call = |arguments: Value| json!({"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": arguments}}]});
    check(call(json!("{\"x\": 1}")), call(json!({"x": 1})));
    check(call(json!("{x")), call(json!("{x")));
    check(
        json!({"role": "assistant", "content": "a", "weight": 1}),
        json!({"role": "assistant", "content": "a"}),
    );
    let weighted =
        json!([{"role": "assistant", "content": "a", "weight": 0}, {"role": "assistant", "content": "b"}]);
    assert_eq!(conversation_of(&json!({ "messages": weighted })).unweighted, [0]);
}

#[test]
fn what_is_wrong_has_its_path() {
    let check = |line: Value, part: &str| {
        let error = parse(&line).unwrap_err();
        assert!(error.contains(part), "{error} does not say {part}");
    };
    let one = |message: Value| json!({"messages": [{"role": "user", "content": "x"}, message]});
    check(json!([]), "is a list, not a JSON object");
    check(json!({"mesages": []}), "its keys are [\"mesages\"]");
    check(json!({"messages": [], "text": "x"}), "more than one of");
    check(json!({"messages": []}), "`messages` is empty");
    check(json!({"messages": "x"}), "`messages` is a string, not a list");
    check(json!({"prompt": "x"}), "`completion` is missing");
    check(json!({"completion": "x"}), "`prompt` is missing");
    check(
        json!({"prompt": [{"role": "user", "content": "x"}], "completion": "y"}),
        "`completion` is a string, not a list",
    );
    check(json!({"text": 1}), "`text` is a number, not a string");
    check(one(json!(1)), "`messages[1]` is a number");
    check(one(json!({"content": "x"})), "`messages[1].role` is missing");
    check(one(json!({"role": 1, "content": "x"})), "`messages[1].role` is a number");
    check(one(json!({"role": "assistant"})), "`messages[1].content` is missing");
    check(one(json!({"role": "assistant", "content": 1})), "`messages[1].content` is a number");
    check(
        one(json!({"role": "user", "content": [{"type": "image_url"}]})),
        "`messages[1].content[0]` is a part of type \"image_url\"",
    );
    check(
        one(json!({"role": "assistant", "content": "x", "weight": 0.5})),
        "`messages[1].weight` is 0.5, not 0 or 1",
    );
    check(
        one(json!({"role": "user", "content": "x", "weight": 0})),
        "`messages[1].weight` is of an assistant message alone",
    );
    check(one(json!({"role": "assistant", "tool_calls": [1]})), "`messages[1].tool_calls[0]` is a number");
    check(
        json!({"messages": [{"role": "user", "content": "x"}], "tools": "x"}),
        "`tools` is a string that is no JSON list",
    );
    let error = Record::parse("{\"text\": }").unwrap_err();
    assert!(error.contains("is not JSON (column 10)"), "{error}");
    let many = vec![json!({"role": "user", "content": "x"}); MESSAGES_MAX + 1];
    check(json!({ "messages": many }), "1025 messages, at most 1024");
}

/// JSON in the neighbourhood of what is read.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z{}\"]{0,6}".prop_map(Value::from),
        prop_oneof![Just("assistant"), Just("user"), Just("text")].prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 4, |inner| {
        let key = prop_oneof![
            Just("messages"),
            Just("prompt"),
            Just("completion"),
            Just("text"),
            Just("role"),
            Just("content"),
            Just("weight"),
            Just("tools"),
            Just("tool_calls"),
            Just("function"),
            Just("arguments"),
            Just("type"),
            Just("chat_template_kwargs"),
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..5).prop_map(|fields| {
                Value::Object(fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn no_line_is_a_panic(line in ".{0,60}", value in any_json(), cut in 0..200_usize) {
        let _ = Record::parse(&line);
        let text = value.to_string();
        let _ = Record::parse(&text);
        let _ = Record::parse(text.get(..cut).unwrap_or(&text));
        let _ = parse(&json!({"messages": [value]}));
    }
}
