//! Tests of `spans`.

use std::collections::BTreeMap;

use serde_json::json;

use super::super::record::Record;
use super::*;

fn fixture(name: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/chat").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn templates(source: &str) -> Templates {
    let tokens = BTreeMap::from([
        ("bos_token".to_owned(), "<s>".to_owned()),
        ("eos_token".to_owned(), "</s>".to_owned()),
    ]);
    Templates::new(ChatTemplate::new(source, tokens).unwrap()).unwrap()
}

fn conversation(line: &Value) -> Conversation {
    match Record::parse(&line.to_string()) {
        Ok(Record::Conversation(conversation)) => conversation,
        other => panic!("{other:?}"),
    }
}

/// Two turns, with a system text; the first has a trace where asked.
fn two_turns(trace: &str) -> Value {
    json!({"messages": [
        {"role": "system", "content": "S"}, {"role": "user", "content": "q 1"},
        {"role": "assistant", "content": format!("{trace}answer 1 ")}, {"role": "user", "content": "q 2"},
        {"role": "assistant", "content": "answer 2"},
    ]})
}

fn texts(rendered: &Rendered) -> Vec<&str> {
    rendered.spans.iter().map(|span| &rendered.text[span.clone()]).collect()
}

fn check(source: &str, line: &Value, expected: &[&str]) {
    let rendered = templates(source).assistant_turns(&conversation(line), 0).unwrap();
    assert_eq!(texts(&rendered), expected, "{}", rendered.text);
}

#[test]
fn turns_of_stable_templates() {
    let chatml = fixture("chatml.jinja");
    check(&chatml, &two_turns(""), &["answer 1 <|im_end|>\n", "answer 2<|im_end|>\n"]);
    check(&fixture("llama3_style.jinja"), &two_turns(""), &["answer 1<|eot|>", "answer 2<|eot|>"]);
    check(&fixture("qwen2_style.jinja"), &two_turns(""), &["answer 1 <|im_end|>\n", "answer 2<|im_end|>\n"]);
    let mut weighted = two_turns("");
    weighted["messages"][2]["weight"] = json!(0);
    check(&chatml, &weighted, &["answer 2<|im_end|>\n"]);
    check(&chatml, &json!({"messages": [{"role": "user", "content": "x"}]}), &[]);
}

#[test]
fn traces_of_earlier_turns_are_taken_out() {
    let qwen3 = fixture("qwen3_style.jinja");
    let last = "<think>\n\n</think>\n\nanswer 2<|im_end|>\n";
    check(&qwen3, &two_turns(""), &["answer 1 <|im_end|>\n", last]);
    check(&qwen3, &two_turns("<think>\nwhy\n</think>\n\n"), &["answer 1 <|im_end|>\n", last]);
    let mut given = two_turns("");
    given["messages"][4]["reasoning_content"] = json!("because");
    check(&qwen3, &given, &["answer 1 <|im_end|>\n", "<think>\nbecause\n</think>\n\nanswer 2<|im_end|>\n"]);
    // A prompt that opens the trace: only what the model adds is trained.
    let opening = "{% for m in messages %}<{{ m.role }}>{{ m.content.split('</think>')[-1] if not loop.last else m.content }}\
        {% if m.role == 'assistant' %}</s>{% endif %}{% endfor %}{% if add_generation_prompt %}<assistant><think>\n{% endif %}";
    let line = json!({"messages": [
        {"role": "user", "content": "a"}, {"role": "assistant", "content": "<think>\nb</think>c"},
        {"role": "user", "content": "d"}, {"role": "assistant", "content": "<think>\ne</think>f"},
    ]});
    check(opening, &line, &["c</s>", "e</think>f</s>"]);
}

#[test]
fn a_system_text_that_wanders_is_met_by_a_stand_in() {
    check(&fixture("mistral_style.jinja"), &two_turns(""), &["answer 1</s>", "answer 2</s>"]);
}

#[test]
fn tool_calls_are_turns() {
    let line = json!({"messages": [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "look", "arguments": "{\"x\": 1}"}}]},
        {"role": "tool", "content": "found"},
        {"role": "assistant", "content": "done"},
    ]});
    let call = "{\"name\": \"look\", \"parameters\": {\"x\": 1}}<|eot|>";
    check(&fixture("llama3_style.jinja"), &line, &[call, "done<|eot|>"]);
}

#[test]
fn generation_blocks_say_it_themselves() {
    let source = "{%- for m in messages %}\n  {%- if m.role == 'assistant' %}\nA: {% generation %}{{ m.content }}<e>\n\
                  {% endgeneration %}\n  {% else %}\nU: {{ m.content }}\n  {% endif %}\n{%- endfor %}\
                  {% if add_generation_prompt %}A: {% endif %}";
    check(source, &two_turns(""), &["answer 1 <e>\n", "answer 2<e>\n"]);
    let mut weighted = two_turns("");
    weighted["messages"][4]["weight"] = json!(0);
    check(source, &weighted, &["answer 1 <e>\n"]);
    // A text with the marks' characters is told from the marks.
    let mut marked = two_turns("");
    marked["messages"][1]["content"] = json!("\u{fdd0}q");
    check(source, &marked, &["answer 1 <e>\n", "answer 2<e>\n"]);
}

#[test]
fn a_turn_that_is_not_found_is_told() {
    let counts = "{% for m in messages %}{{ messages | length }}{{ m.content | upper }}{% endfor %}";
    let error = templates(counts).assistant_turns(&conversation(&two_turns("")), 0).unwrap_err();
    assert!(
        error.contains("`messages[2]` is not found") && error.contains("`assistant_only_loss: false`"),
        "{error}"
    );
    let refuses = "{{ raise_exception('no system') }}";
    let error = templates(refuses).assistant_turns(&conversation(&two_turns("")), 0).unwrap_err();
    assert!(error.contains("no system"), "{error}");
}

#[test]
fn completions_begin_where_their_prompt_ends() {
    let check = |source: &str, line: Value, expected: &[&str]| {
        let conversation = conversation(&line);
        let rendered = templates(source).completion(&conversation, conversation.prompt.unwrap()).unwrap();
        assert_eq!(texts(&rendered), expected, "{}", rendered.text);
    };
    let user = json!({"role": "user", "content": "q"});
    let answer = json!({"role": "assistant", "content": "a"});
    let chatml = fixture("chatml.jinja");
    check(&chatml, json!({"prompt": [user], "completion": [answer]}), &["a<|im_end|>\n"]);
    check(
        &chatml,
        json!({"prompt": [user], "completion": [answer, user, answer]}),
        &["a<|im_end|>\n<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n"],
    );
    check(
        &chatml,
        json!({"prompt": [user, answer], "completion": [user]}),
        &["<|im_start|>user\nq<|im_end|>\n"],
    );
}

#[test]
fn overlaps_are_the_longest() {
    let check = |a: &str, b: &str, expected: usize| {
        assert_eq!(overlap(a.as_bytes(), b.as_bytes()), expected, "{a} {b}");
    };
    check("xabc", "abcd", 3);
    check("abc", "abc", 3);
    check("abab", "ababab", 4);
    check("xaab", "aabaab", 3);
    check("aaab", "aab", 3);
    check("abc", "xyz", 0);
    check("", "a", 0);
    check("a", "", 0);
}
