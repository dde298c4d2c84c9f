//! Chat templates against prompts recorded from transformers, and against hostile templates.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use xenoglot::chat::{ChatError, ChatTemplate, RenderOptions};

fn fixture(name: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/chat").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn render(source: &str, messages: &Value) -> Result<String, ChatError> {
    let tokens = ["bos_token", "eos_token"].map(|name| (name.to_owned(), "</s>".to_owned()));
    let template = ChatTemplate::new(source, BTreeMap::from(tokens))?;
    template.render(&RenderOptions {
        messages,
        tools: None,
        add_generation_prompt: true,
        continue_final_message: false,
        kwargs: &Map::new(),
    })
}

fn hello() -> Value {
    json!([{"role": "user", "content": "hello"}])
}

#[test]
fn prompts_equal_those_of_transformers() {
    let recorded: Value = serde_json::from_str(&fixture("expected.json")).unwrap();
    let tokens: BTreeMap<String, String> =
        serde_json::from_value(recorded["special_tokens"].clone()).unwrap();
    let mut wrong = Vec::new();
    let cases = recorded["cases"].as_array().unwrap();
    for case in cases {
        let name = case["template"].as_str().unwrap();
        let template = ChatTemplate::new(&fixture(name), tokens.clone()).unwrap();
        let options = &case["options"];
        let flag = |key: &str| options[key].as_bool().unwrap_or(false);
        let kwargs = options["kwargs"].as_object().cloned().unwrap_or_default();
        let rendered = template.render(&RenderOptions {
            messages: &recorded["conversations"][case["conversation"].as_str().unwrap()],
            tools: options.get("tools"),
            add_generation_prompt: flag("add_generation_prompt"),
            continue_final_message: flag("continue_final_message"),
            kwargs: &kwargs,
        });
        let label = format!("{name} {} {options}", case["conversation"]);
        match (case["prompt"].as_str(), rendered) {
            (Some(expected), Ok(prompt)) if prompt == expected => {}
            (None, Err(_)) => {}
            (expected, got) => wrong.push(format!("{label}\n  expected {expected:?}\n  got      {got:?}")),
        }
    }
    assert!(cases.len() > 300, "only {} cases", cases.len());
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn real_weights_prompts_equal_those_of_transformers() {
    let cases: Vec<Value> = serde_json::from_str(&fixture("smollm2.json")).unwrap();
    for model in ["SmolLM2-135M-Instruct", "SmolLM2-135M-Instruct.Q4_1.gguf"] {
        let checkpoint =
            xenoglot::weights::Checkpoint::open(&crate::real_weights::real_model(model)).unwrap();
        let template = ChatTemplate::new(&checkpoint.chat_template.unwrap(), BTreeMap::new()).unwrap();
        for case in &cases {
            let flag = |key: &str| case["options"][key].as_bool().unwrap_or(false);
            let rendered = template.render(&RenderOptions {
                messages: &case["messages"],
                tools: None,
                add_generation_prompt: flag("add_generation_prompt"),
                continue_final_message: flag("continue_final_message"),
                kwargs: &Map::new(),
            });
            assert_eq!(rendered.unwrap(), case["prompt"].as_str().unwrap(), "{model}");
        }
    }
}

#[test]
fn errors_name_the_line() {
    let check = |source: &str, line: &str, message: &str| {
        let error = render(source, &hello()).expect_err(source).to_string();
        assert!(error.contains(line) && error.contains(message), "{source:?}: {error}");
    };
    check("\n\n{% if %}", "line 3", "syntax error");
    check("a\n{{ messages | nosuchfilter }}", "line 2", "nosuchfilter");
    check("a\n\n{{ raise_exception('roles must alternate') }}", "line 3", "roles must alternate");
    check("{{ messages.x.y }}", "line 1", "undefined");
    check("{{ 1 + 'a' }}", "line 1", "");
    check("{% include 'other' %}", "line 1", "");
    check("{% for %}", "line 1", "");
}

#[test]
fn a_refusal_is_told_from_a_failure() {
    let error = render("{% macro m() %}{{ raise_exception('no') }}{% endmacro %}{{ m() }}", &hello());
    assert!(matches!(error, Err(ChatError::Raised { message, .. }) if message == "no"));
}

#[test]
fn looping_and_bloated_templates_end() {
    let loops =
        "{% for a in range(99999) %}{% for b in range(99999) %}{% set x = b %}{% endfor %}{% endfor %}";
    let started = Instant::now();
    // On a machine with much else to do the time ends before the steps do.
    let ended = render(loops, &hello());
    assert!(matches!(ended, Err(ChatError::OutOfFuel { .. } | ChatError::OverLimit { .. })), "{ended:?}");
    let bloat = "{% for a in range(99999) %}{{ 'x' * 100000 }}{% endfor %}";
    assert!(matches!(render(bloat, &hello()), Err(ChatError::OutputTooLong)));
    let recursion = "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}";
    assert!(render(recursion, &hello()).is_err());
    assert!(render(&"{% if 1 %}".repeat(10_000), &hello()).is_err());
    assert!(render(&format!("{{{{ {} }}}}", "(".repeat(10_000)), &hello()).is_err());
    assert!(matches!(
        ChatTemplate::new(&"x".repeat(2 << 20), BTreeMap::new()),
        Err(ChatError::TooBig { .. })
    ));
    assert!(started.elapsed() < Duration::from_secs(20), "took {:?}", started.elapsed());
}

/// Each would take more memory than there is, in far fewer steps than the step limit.
#[test]
fn doubling_templates_end() {
    let twice = |start: &str, step: &str| {
        format!(
            "{{% set ns = namespace(v={start}) %}}{{% for i in range(60) %}}{{% set ns.v = {step} %}}{{% endfor %}}"
        )
    };
    let started = Instant::now();
    for template in [
        twice("'aaaaaaaa'", "ns.v ~ ns.v"),
        twice("[1, 2]", "ns.v + ns.v"),
        twice("[1, 2]", "[ns.v, ns.v]"),
        twice("'aaaaaaaa'", "ns.v | replace('a', ns.v)"),
        twice("'aaaaaaaa'", "ns.v.replace('a', ns.v)"),
        twice("'aaaaaaaa'", "[ns.v, ns.v] | join(ns.v)"),
        twice("'aaaaaaaa'", "ns.v.join([ns.v, ns.v, ns.v])"),
        twice("'aaaaaaaa'", "ns.v * 8"),
        twice("'aaaaaaaa\n'", "ns.v | indent(1000000000)"),
        twice("'a'", "'%1000000000d' | format(1)"),
        "{% set v = 'aaaaaaaa' %}".to_owned() + &"{% set v = v ~ v %}".repeat(60),
        "{% macro m(v) %}{{ m(v ~ v) }}{% endmacro %}{{ m('aaaaaaaa' * 10000) }}".to_owned(),
        "{% with v = 'aaaaaaaa' %}".to_owned()
            + &"{% with v = v ~ v %}".repeat(40)
            + &"{% endwith %}".repeat(41),
        "{% for v in ['aaaaaaaa'] %}".to_owned()
            + &"{% for v in [v ~ v] %}".repeat(40)
            + &"{% endfor %}".repeat(41),
        "{% set v = 'aaaaaaaa' %}".to_owned() + &"{% set v %}{{ v }}{{ v }}{% endset %}".repeat(60),
        format!(
            "{{% set v %}}{{% for i in range(99999) %}}{}{{% endfor %}}{{% endset %}}",
            "x".repeat(100_000)
        ),
    ] {
        let got = render(&template, &hello());
        let shown: String = template.chars().take(150).collect();
        assert!(matches!(got, Err(ChatError::OverLimit { .. })), "{shown}: {:?}", got.map(|text| text.len()));
    }
    assert!(started.elapsed() < Duration::from_mins(1), "took {:?}", started.elapsed());
}

#[test]
fn long_conversations_stay_within_the_limits() {
    let role = |i: usize| ["user", "assistant"][i % 2];
    let message = |i: usize| json!({"role": role(i), "content": "word ".repeat(2_000)});
    let messages: Value = (0..200).map(message).collect();
    for name in [
        "chatml.jinja",
        "llama3_style.jinja",
        "mistral_style.jinja",
        "qwen2_style.jinja",
        "qwen3_style.jinja",
    ] {
        let template = fixture(name);
        let prompt = render(&template, &messages).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(prompt.len() > 200 * 9_000, "{name}");
    }
    let short: Value = (0..4096).map(|i| json!({"role": role(i), "content": "hello"})).collect();
    render(&fixture("qwen3_style.jinja"), &short).unwrap();
    let keeps = "{% set ns = namespace(text='', list=[]) %}{% for m in messages %}{% set ns.text = ns.text ~ m.content ~ '\n' %}\
                 {% set ns.list = ns.list + [m] %}{% endfor %}{{ ns.text }}{{ ns.list | length }}";
    let few: Value = (0..100).map(message).collect();
    render(keeps, &few).unwrap();
}

#[test]
fn messages_of_the_wrong_shape_are_refused() {
    assert!(matches!(render("x", &json!({})), Err(ChatError::Messages)));
    assert!(matches!(render("x", &json!(["hello"])), Err(ChatError::Messages)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_text_never_panics(source in ".{0,200}") {
        let _ = render(&source, &hello());
    }

    #[test]
    fn arbitrary_tags_never_panic(parts in prop::collection::vec(prop::sample::select(vec![
        "{{", "}}", "{%", "%}", "{%-", "-%}", "{#", "#}", " for m in messages ", " endfor ", " if ", " endif ",
        " m ", ".content", "[", "]", "(", ")", "1", "-", "::", "|", "tojson", "indent=", "'a'", "\"", "set x = ",
        "macro f(a) ", " endmacro ", "f(x)", " generation ", " endgeneration ", "namespace(a=1)", "ns.a = ", "*",
        "**", "//", "%", "~", "99999999999999999999", "range(", ".split(", "strftime_now(", "\n", "é", "\u{0}",
    ]), 0..24)) {
        let _ = render(&parts.concat(), &hello());
    }

    #[test]
    fn arbitrary_messages_never_panic(role in ".{0,12}", content in ".{0,80}", depth in 0usize..100) {
        let mut nested = json!(content);
        for _ in 0..depth {
            nested = json!([nested]);
        }
        let messages = json!([{"role": role, "content": nested}]);
        for name in ["llama3_style.jinja", "mistral_style.jinja", "qwen3_style.jinja"] {
            let _ = render(&fixture(name), &messages);
        }
    }
}
