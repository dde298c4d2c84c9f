//! The translators, one line a case: what a config becomes, and what each wrong key is answered with.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::translate;
use crate::model::DecoderConfig;
use crate::model::rope::RopeScaling;

/// A small valid config of a family.
fn config(model_type: &str) -> Value {
    json!({
        "model_type": model_type,
        "vocab_size": 96,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "rms_norm_eps": 1e-6,
    })
}

/// A config of a family with some keys replaced.
fn with(model_type: &str, changes: &Value) -> Value {
    let mut config = config(model_type);
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

fn check(model_type: &str, changes: &Value, expected: impl Fn(&DecoderConfig) -> bool) {
    let found = translate(&with(model_type, changes)).unwrap_or_else(|e| panic!("{changes}: {e}"));
    assert!(expected(&found), "{model_type} with {changes}: {found:?}");
}

fn check_error(model_type: &str, changes: &Value, parts: &[&str]) {
    let message = translate(&with(model_type, changes)).expect_err(&changes.to_string()).to_string();
    for part in parts {
        assert!(message.contains(part), "{changes}: {message:?} does not say {part:?}");
    }
}

#[test]
fn families_differ_by_data() {
    check("llama", &json!({}), |c| c.head_dim == 8 && c.kv_heads == 2 && !c.qkv_bias && !c.qk_norm);
    check("llama", &json!({"num_key_value_heads": null}), |c| c.kv_heads == 4);
    check("llama", &json!({"attention_bias": true}), |c| c.qkv_bias && c.output_bias && !c.mlp_bias);
    check("llama", &json!({"mlp_bias": true}), |c| c.mlp_bias && !c.qkv_bias);
    check("llama", &json!({"tie_word_embeddings": true}), |c| c.tie_word_embeddings);
    check("mistral", &json!({}), |c| c.layer_windows == [Some(4096); 3]);
    check("mistral", &json!({"sliding_window": null}), |c| c.layer_windows == [None; 3]);
    check("mistral", &json!({"sliding_window": 7, "head_dim": 10}), |c| {
        c.head_dim == 10 && c.sliding_window(2) == Some(7)
    });
    check("qwen2", &json!({}), |c| c.qkv_bias && !c.output_bias && c.layer_windows == [None; 3]);
    check("qwen2", &json!({"sliding_window": 9}), |c| c.layer_windows == [None; 3]);
    check("qwen2", &json!({"use_sliding_window": true, "sliding_window": 9, "max_window_layers": 1}), |c| {
        c.layer_windows == [None, Some(9), Some(9)]
    });
    check("qwen2", &json!({"use_sliding_window": true, "sliding_window": 9, "max_window_layers": 0}), |c| {
        c.layer_windows == [Some(9); 3]
    });
    check("qwen3", &json!({}), |c| c.qk_norm && c.head_dim == 128 && !c.qkv_bias);
    let types = json!(["sliding_attention", "full_attention", "sliding_attention"]);
    check("qwen3", &json!({"use_sliding_window": true, "sliding_window": 9, "layer_types": types}), |c| {
        c.layer_windows == [Some(9), None, Some(9)]
    });
}

#[test]
fn a_missing_model_type_is_told_from_the_architecture() {
    check("", &json!({"model_type": null, "architectures": ["Qwen3ForCausalLM"]}), |c| c.qk_norm);
    check_error(
        "",
        &json!({"model_type": null, "architectures": ["PhiForCausalLM"]}),
        &["PhiForCausalLM", "llama"],
    );
    check_error("", &json!({"model_type": null}), &["`model_type` is missing", "qwen3"]);
    check_error(
        "llama",
        &json!({"architectures": ["Qwen2ForCausalLM"]}),
        &["model_type", "qwen2", "architectures"],
    );
    check_error("gpt2", &json!({}), &["gpt2", "llama, mistral, qwen2, qwen3"]);
    check_error(
        "llama",
        &json!({"architectures": ["LlamaForSequenceClassification"]}),
        &["architectures", "causal"],
    );
}

#[test]
fn rope_keys_of_both_forms() {
    let scaling = |changes: Value| translate(&with("llama", &changes)).unwrap().rope;
    assert_eq!(scaling(json!({})).theta, 10_000.0);
    assert_eq!(scaling(json!({"rope_theta": 5e5})).theta, 5e5);
    assert_eq!(scaling(json!({"rope_parameters": {"rope_type": "default", "rope_theta": 7e4}})).theta, 7e4);
    let linear = RopeScaling::Linear { factor: 2.0 };
    assert_eq!(scaling(json!({"rope_scaling": {"type": "linear", "factor": 2}})).scaling, linear);
    let new = json!({"rope_theta": 5e5, "rope_parameters": {"rope_type": "linear", "factor": 2.0}});
    assert_eq!((scaling(new.clone()).scaling, scaling(new).theta), (linear, 5e5));
    let yarn = json!({"rope_scaling": {"type": "yarn", "original_max_position_embeddings": 16}});
    assert!(matches!(scaling(yarn).scaling, RopeScaling::Yarn(yarn) if yarn.factor == 8.0 && yarn.truncate));
    let outer =
        json!({"original_max_position_embeddings": 32, "rope_scaling": {"type": "yarn", "factor": 4.0}});
    assert!(
        matches!(scaling(outer).scaling, RopeScaling::Yarn(y) if y.original_max_position_embeddings == 32)
    );
}

/// `max_position_embeddings` is 128.
#[test]
fn scaling_stretches_the_context() {
    let check = |changes: Value, expected: usize| {
        check("llama", &changes, |c| c.max_position_embeddings == expected);
    };
    let scaling = |scaling: Value, expected: usize| check(json!({"rope_scaling": scaling}), expected);
    check(json!({}), 128);
    scaling(json!({"type": "default"}), 128);
    scaling(json!({"type": "linear", "factor": 4.0}), 512);
    scaling(json!({"type": "linear", "factor": 2.5}), 320);
    scaling(json!({"type": "linear", "factor": 0.5}), 128);
    // 128 is what the factor has made already.
    scaling(json!({"type": "linear", "factor": 4.0, "original_max_position_embeddings": 32}), 128);
    check(
        json!({"original_max_position_embeddings": 32, "rope_scaling": {"type": "linear", "factor": 4.0}}),
        128,
    );
    scaling(json!({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}), 512);
    scaling(json!({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}), 128);
    scaling(json!({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 96}), 384);
    scaling(json!({"type": "yarn", "factor": 4.0}), 512);
    scaling(json!({"type": "yarn", "original_max_position_embeddings": 48}), 128);
    scaling(
        json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 64}),
        128,
    );
    let error =
        |scaling: Value, parts: &[&str]| check_error("llama", &json!({"rope_scaling": scaling}), parts);
    error(json!({"type": "linear", "factor": 1e9}), &["rope_scaling.factor", "1000000000", "16777216"]);
}

#[test]
fn wrong_rope_keys_are_named() {
    let error =
        |scaling: Value, parts: &[&str]| check_error("llama", &json!({"rope_scaling": scaling}), parts);
    error(json!({"rope_type": "dynamic", "factor": 2.0}), &["rope_scaling.rope_type", "dynamic", "yarn"]);
    error(json!({"rope_type": "longrope", "short_factor": [1.0]}), &["longrope", "supported"]);
    error(json!({"type": "linear"}), &["rope_scaling.factor", "missing"]);
    error(json!({"type": "linear", "factor": -1.0}), &["rope_scaling.factor", "-1.0", "above 0"]);
    error(json!({"type": "linear", "factor": "2"}), &["rope_scaling.factor", "\"2\""]);
    error(json!({"type": "linear", "rope_type": "yarn", "factor": 2.0}), &["rope_scaling.type", "keep"]);
    error(json!({"type": "linear", "factor": 2.0, "beta_fast": 3}), &["beta_fast", "remove"]);
    error(json!({"type": "default", "factor": 2.0}), &["rope_scaling.factor", "default"]);
    error(
        json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0}),
        &["high_freq_factor", "missing"],
    );
    error(
        json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 4.0, "high_freq_factor": 1.0}),
        &["high_freq_factor", "not above"],
    );
    error(json!({"type": "yarn", "factor": 4.0, "beta_fast": 1, "beta_slow": 2}), &["beta_fast", "below"]);
    error(json!("yarn"), &["`rope_scaling`", "object"]);
    check_error("llama", &json!({"rope_theta": 1.0}), &["rope_theta", "above 1"]);
    check_error("llama", &json!({"rope_theta": 0}), &["rope_theta", "above 0"]);
    let both = json!({"rope_scaling": {"type": "default"}, "rope_parameters": {"rope_type": "default"}});
    check_error("llama", &both, &["rope_parameters", "rope_scaling"]);
    let twice = json!({"rope_theta": 1e4, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}});
    check_error("llama", &twice, &["rope_theta", "10000", "1000000"]);
    let nested = json!({"rope_parameters": {"full_attention": {"rope_type": "default"}}});
    check_error("llama", &nested, &["rope_parameters.full_attention"]);
}

#[test]
fn wrong_keys_are_named_with_a_way_out() {
    for key in ["vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "rms_norm_eps"] {
        check_error("llama", &json!({key: null}), &[key, "missing", "config.json"]);
        check_error("llama", &json!({key: -4}), &[key, "-4"]);
        check_error("llama", &json!({key: 0}), &[key, "is 0"]);
        check_error("llama", &json!({key: "many"}), &[key, "many"]);
    }
    check_error("llama", &json!({"hidden_size": 32.5}), &["hidden_size", "32.5", "whole number"]);
    check_error("llama", &json!({"num_hidden_layers": 1u64 << 40}), &["num_hidden_layers", "1024"]);
    check_error("llama", &json!({"vocab_size": u64::MAX}), &["vocab_size", "whole number"]);
    check_error("llama", &json!({"hidden_size": 34}), &["hidden_size", "34", "not divisible", "head_dim"]);
    check_error(
        "llama",
        &json!({"num_key_value_heads": 3}),
        &["num_key_value_heads", "3", "num_attention_heads"],
    );
    check_error("llama", &json!({"head_dim": 7}), &["head_dim", "odd"]);
    check_error("llama", &json!({"hidden_act": "gelu"}), &["hidden_act", "gelu", "silu"]);
    check_error("llama", &json!({"attention_bias": "yes"}), &["attention_bias", "true or false"]);
    check_error("llama", &json!({"quantization_config": {"quant_method": "awq"}}), &["awq", "GGUF"]);
    check_error("llama", &json!({"partial_rotary_factor": 0.5}), &["partial_rotary_factor", "0.5"]);
    check_error("llama", &json!({"rope_interleaved": true}), &["rope_interleaved"]);
    check_error("qwen2", &json!({"use_sliding_window": true}), &["sliding_window", "missing"]);
    check_error("qwen2", &json!({"layer_types": ["full_attention"]}), &["layer_types", "1 entries", "3"]);
    check_error(
        "qwen2",
        &json!({"layer_types": (vec!["sliding_attention"; 3])}),
        &["layer_types", "use_sliding_window"],
    );
    check_error("qwen2", &json!({"layer_types": (vec!["linear_attention"; 3])}), &["linear_attention"]);
    check_error("mistral", &json!({"sliding_window": 0}), &["sliding_window", "is 0"]);
    assert!(translate(&json!([1])).unwrap_err().to_string().contains("object"));
}

/// Values a broken or hostile config may hold.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0u64..200).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0.0..10.0).prop_map(Value::from),
        prop::sample::select(vec!["yarn", "llama3", "linear", "default", "full_attention", "x"])
            .prop_map(Value::from),
    ];
    let keys = prop::sample::select(ROPE_KEYS.to_vec()).prop_map(str::to_owned);
    leaf.prop_recursive(2, 8, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(keys.clone(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

const ROPE_KEYS: &[&str] = &[
    "rope_type",
    "type",
    "factor",
    "rope_theta",
    "original_max_position_embeddings",
    "low_freq_factor",
    "high_freq_factor",
    "beta_fast",
    "beta_slow",
    "mscale",
    "mscale_all_dim",
    "attention_factor",
    "truncate",
];

const KEYS: &[&str] = &[
    "model_type",
    "architectures",
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
    "rms_norm_eps",
    "rope_theta",
    "rope_scaling",
    "rope_parameters",
    "sliding_window",
    "use_sliding_window",
    "max_window_layers",
    "layer_types",
    "tie_word_embeddings",
];

proptest! {
    /// Any config is an error with a message, or one whose RoPE can be computed.
    #[test]
    fn no_config_panics(
        family in prop::sample::select(super::SUPPORTED.to_vec()),
        key in prop::sample::select(KEYS.to_vec()),
        value in any_value(),
        scaling in any_value(),
    ) {
        let changes = json!({"rope_scaling": scaling, key: value});
        if let Ok(config) = translate(&with(family, &changes)) {
            let rope = config.rope.frequencies(config.head_dim);
            prop_assert_eq!(rope.inverse_frequencies.len(), config.head_dim / 2);
            prop_assert!(rope.inverse_frequencies.iter().all(|f| !f.is_nan()));
        }
    }
}
