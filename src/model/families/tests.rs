//! The translators, one line a case: what a config becomes, and what each wrong key is answered with.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::translate;
use crate::model::rope::RopeScaling;
use crate::model::{DecoderConfig, ExpertsConfig};

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
    check("phi3", &json!({}), |c| c.fused_projections && c.layer_windows == [None; 3]);
    check("phi3", &json!({"sliding_window": 7}), |c| c.layer_windows == [Some(7); 3] && !c.qkv_bias);
    check("phi3", &json!({"partial_rotary_factor": 0.75}), |c| c.rope.rotary_dim(c.head_dim) == 6);
    let rope = json!({"rope_type": "default", "partial_rotary_factor": 0.5});
    check("phi3", &json!({"rope_parameters": rope}), |c| c.rope.rotary_dim(c.head_dim) == 4);
    check("qwen3", &json!({}), |c| c.qk_norm && c.head_dim == 128 && !c.qkv_bias);
    let types = json!(["sliding_attention", "full_attention", "sliding_attention"]);
    check("qwen3", &json!({"use_sliding_window": true, "sliding_window": 9, "layer_types": types}), |c| {
        c.layer_windows == [Some(9), None, Some(9)]
    });
}

#[test]
fn gemmas_are_data_too() {
    let both = |c: &DecoderConfig| {
        c.norms_add_one && c.post_norms && c.scaled_embeddings && c.tie_word_embeddings && c.head_dim == 256
    };
    check("gemma2", &json!({}), |c| {
        both(c)
            && c.layer_windows == [Some(4096), None, Some(4096)]
            && (c.attention_softcap, c.logit_softcap) == (Some(50.0), Some(30.0))
            && c.query_scalar == 256.0
            && c.sliding_rope.is_none()
            && !c.qk_norm
    });
    check("gemma2", &json!({"attn_logit_softcapping": null, "final_logit_softcapping": 7}), |c| {
        (c.attention_softcap, c.logit_softcap) == (None, Some(7.0))
    });
    let types = json!(["full_attention", "sliding_attention", "full_attention"]);
    check("gemma2", &json!({"layer_types": types, "sliding_window": 5, "head_dim": 12}), |c| {
        c.layer_windows == [None, Some(5), None] && c.head_dim == 12
    });
    check("gemma2", &json!({"query_pre_attn_scalar": 144, "tie_word_embeddings": false}), |c| {
        c.query_scalar == 144.0 && !c.tie_word_embeddings
    });
    check("gemma3_text", &json!({"sliding_window_pattern": 2}), |c| {
        both(c)
            && c.layer_windows == [Some(4096), None, Some(4096)]
            && (c.attention_softcap, c.logit_softcap) == (None, None)
            && c.rope.theta == 1e6
            && c.sliding_rope.as_ref().is_some_and(|rope| rope.theta == 1e4)
            && c.qk_norm
    });
    check("gemma3_text", &json!({"_sliding_window_pattern": 2}), |c| c.layer_windows == [Some(4096); 3]);
    check("gemma3_text", &json!({"num_hidden_layers": 7}), |c| {
        c.layer_windows.iter().filter(|w| w.is_none()).count() == 1
    });
    let scaled = |c: &DecoderConfig| {
        let sliding = c.sliding_rope.as_ref().unwrap();
        c.rope.theta == 5e5
            && c.rope.scaling == RopeScaling::Linear { factor: 8.0 }
            && (sliding.theta, &sliding.scaling) == (300.0, &RopeScaling::Default)
            // What the factor makes is stated.
            && c.max_position_embeddings == 128
    };
    let linear = json!({"rope_type": "linear", "factor": 8.0});
    check(
        "gemma3_text",
        &json!({"rope_theta": 5e5, "rope_local_base_freq": 300, "rope_scaling": linear}),
        scaled,
    );
    let by_type = json!({"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 5e5},
                         "sliding_attention": {"rope_type": "default", "rope_theta": 300}});
    check("gemma3_text", &json!({"rope_parameters": by_type}), scaled);
}

#[test]
fn wrong_keys_of_gemmas_are_named() {
    for family in ["gemma2", "gemma3_text"] {
        check_error(
            family,
            &json!({"hidden_activation": "silu"}),
            &["hidden_activation", "gelu_pytorch_tanh"],
        );
        check_error(family, &json!({"hidden_act": "gelu"}), &["hidden_act", "gelu_pytorch_tanh"]);
        check_error(family, &json!({"use_bidirectional_attention": true}), &["use_bidirectional_attention"]);
        check_error(family, &json!({"final_logit_softcapping": -1}), &["final_logit_softcapping", "above 0"]);
        check_error(family, &json!({"query_pre_attn_scalar": 0}), &["query_pre_attn_scalar", "is 0"]);
        check_error(family, &json!({"partial_rotary_factor": 0.5}), &["partial_rotary_factor", "0.5"]);
        let sliding = json!({"sliding_window": null, "layer_types": (vec!["sliding_attention"; 3])});
        check_error(family, &sliding, &["layer_types", "no sliding window"]);
    }
    check_error(
        "gemma3_text",
        &json!({"attn_logit_softcapping": 50}),
        &["attn_logit_softcapping", "passes over"],
    );
    check_error("gemma3_text", &json!({"rope_local_base_freq": 1}), &["rope_local_base_freq", "above 1"]);
    let flat = json!({"rope_parameters": {"rope_type": "default"}});
    check_error("gemma3_text", &flat, &["rope_parameters.rope_type", "full_attention"]);
    let partial = json!({"rope_parameters": {"full_attention": {"partial_rotary_factor": 0.5}}});
    check_error("gemma3_text", &partial, &["rope_parameters.full_attention.partial_rotary_factor", "0.5"]);
    let twice =
        json!({"rope_local_base_freq": 10, "rope_parameters": {"sliding_attention": {"rope_theta": 11}}});
    check_error("gemma3_text", &twice, &["rope_local_base_freq", "10", "11"]);
    let multimodal =
        json!({"architectures": ["Gemma3ForConditionalGeneration"], "text_config": {"hidden_size": 8}});
    check_error("gemma3", &multimodal, &["text_config", "gemma3_text"]);
    check_error("gemma2", &json!({"architectures": ["Gemma3ForCausalLM"]}), &["model_type", "gemma3_text"]);
}

/// A small valid config of a family with experts, with some keys replaced.
fn with_experts(model_type: &str, changes: &Value) -> Value {
    let mut keys = json!({
        "num_experts": 6,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
        "shared_expert_intermediate_size": 24,
    });
    if model_type == "mixtral" {
        keys = json!({"num_local_experts": 4});
    }
    for (key, value) in changes.as_object().unwrap() {
        keys[key] = value.clone();
    }
    with(model_type, &keys)
}

#[test]
fn experts_are_data_too() {
    let check = |model_type: &str,
                 changes: Value,
                 expected: &dyn Fn(&DecoderConfig, &ExpertsConfig) -> bool| {
        let found =
            translate(&with_experts(model_type, &changes)).unwrap_or_else(|e| panic!("{changes}: {e}"));
        assert!(expected(&found, found.experts.as_ref().unwrap()), "{model_type} with {changes}: {found:?}");
    };
    check("mixtral", json!({}), &|c, e| {
        (e.experts, e.experts_per_token, e.intermediate_size) == (4, 2, 48)
            && e.norm_topk_prob
            && e.layers == [true; 3]
            && e.shared_intermediate_size.is_none()
            && c.rope.theta == 1e6
            && c.layer_windows == [None; 3]
    });
    check("mixtral", json!({"sliding_window": 7}), &|c, _| c.layer_windows == [Some(7); 3]);
    check("mixtral", json!({"num_local_experts": null, "num_experts": 3}), &|_, e| e.experts == 3);
    check("mixtral", json!({"num_local_experts": null}), &|_, e| e.experts == 8);
    check("qwen2_moe", json!({}), &|c, e| {
        (e.experts, e.experts_per_token, e.intermediate_size) == (6, 2, 16)
            && !e.norm_topk_prob
            && e.layers == [true; 3]
            && e.shared_intermediate_size == Some(24)
            && c.qkv_bias
            && !c.qk_norm
    });
    check("qwen2_moe", json!({"qkv_bias": false}), &|c, _| !c.qkv_bias);
    check("qwen2_moe", json!({"decoder_sparse_step": 2}), &|_, e| e.layers == [false, true, false]);
    check("qwen2_moe", json!({"mlp_only_layers": [0]}), &|_, e| e.layers == [false, true, true]);
    let window = json!({"use_sliding_window": true, "sliding_window": 9, "max_window_layers": 2});
    check("qwen2_moe", window.clone(), &|c, _| c.layer_windows == [Some(9), None, None]);
    let none = json!({"use_sliding_window": true, "sliding_window": 9, "max_window_layers": 0});
    check("qwen2_moe", none, &|c, _| c.layer_windows == [None; 3]);
    check("qwen2_moe", json!({"max_window_layers": 0}), &|c, _| c.layer_windows == [None; 3]);
    check("qwen2_moe", json!({"max_window_layers": "unused"}), &|c, _| c.layer_windows == [None; 3]);
    check("qwen3_moe", window, &|c, _| c.layer_windows == [Some(9); 3]);
    check(
        "qwen3_moe",
        json!({"norm_topk_prob": true, "num_experts": null, "num_local_experts": 5}),
        &|c, e| {
            e.experts == 5
                && e.norm_topk_prob
                && c.qk_norm
                && c.head_dim == 8
                && e.shared_intermediate_size.is_none()
        },
    );
}

#[test]
fn wrong_keys_of_experts_are_named() {
    let error = |model_type: &str, changes: Value, parts: &[&str]| {
        let found = translate(&with_experts(model_type, &changes));
        let message = found.expect_err(&changes.to_string()).to_string();
        for part in parts {
            assert!(message.contains(part), "{changes}: {message:?} does not say {part:?}");
        }
    };
    for family in ["qwen2_moe", "qwen3_moe"] {
        for key in ["num_experts", "num_experts_per_tok", "moe_intermediate_size"] {
            error(family, json!({key: null}), &[key, "missing"]);
            error(family, json!({key: 0}), &[key, "is 0"]);
        }
        error(family, json!({"num_experts_per_tok": 7}), &["num_experts_per_tok", "7", "`num_experts` = 6"]);
        error(family, json!({"mlp_only_layers": [3]}), &["mlp_only_layers", "below `num_hidden_layers` = 3"]);
        error(family, json!({"mlp_only_layers": 1}), &["mlp_only_layers", "a list"]);
        error(family, json!({"decoder_sparse_step": 0}), &["decoder_sparse_step", "is 0"]);
    }
    error(
        "qwen2_moe",
        json!({"shared_expert_intermediate_size": null}),
        &["shared_expert_intermediate_size"],
    );
    error(
        "mixtral",
        json!({"num_local_experts": 1}),
        &["num_experts_per_tok", "2", "`num_local_experts` = 1"],
    );
    error("qwen3_moe", json!({"num_local_experts": 5}), &["num_experts", "6", "5"]);
    error("mixtral", json!({"num_experts": 5}), &["num_local_experts", "4", "5"]);
    for (family, key) in [("mixtral", "num_local_experts"), ("qwen3_moe", "num_experts")] {
        let many = json!({key: 4096, "num_hidden_layers": 33});
        error(family, many, &[key, "num_hidden_layers", "135168", "131072"]);
    }
    error("mixtral", json!({"num_local_experts": 1u64 << 40}), &["num_local_experts", "4096"]);
}

#[test]
fn models_that_cannot_be_trained_say_so() {
    let check = |config: Value, key: Option<&str>| {
        let found = translate(&config).unwrap().check_trainable();
        assert_eq!(found.is_ok(), key.is_none(), "{config}");
        if let (Err(error), Some(key)) = (found, key) {
            assert!(error.to_string().contains(&format!("`{key}`")), "{error}");
        }
    };
    for family in ["llama", "mistral", "phi3", "qwen2", "qwen3", "gemma3_text"] {
        check(with(family, &json!({})), None);
    }
    check(with("gemma2", &json!({})), Some("attn_logit_softcapping"));
    check(with("gemma2", &json!({"attn_logit_softcapping": null})), Some("final_logit_softcapping"));
    let uncapped = json!({"attn_logit_softcapping": null, "final_logit_softcapping": null});
    check(with("gemma2", &uncapped), None);
    check(with_experts("mixtral", &json!({})), Some("num_local_experts"));
    check(with_experts("qwen3_moe", &json!({})), Some("num_experts"));
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
    check_error(
        "gpt2",
        &json!({}),
        &["gpt2", "gemma2, gemma3_text, llama, mistral, mixtral, phi3, qwen2, qwen2_moe, qwen3, qwen3_moe"],
    );
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

const ORIGINAL: &str = "original_max_position_embeddings";

/// Keys of LongRoPE as Phi-3's configs have them, with some replaced.
fn longrope(changes: &Value) -> Value {
    let mut scaling =
        json!({"type": "longrope", "short_factor": [1, 1.5, 2, 3], "long_factor": [1, 2, 4, 8]});
    for (key, value) in changes.as_object().unwrap() {
        scaling[key] = value.clone();
    }
    json!({ORIGINAL: 32, "rope_scaling": scaling})
}

#[test]
fn longrope_has_a_factor_a_pair_and_the_context_that_is_stated() {
    for kind in ["longrope", "su"] {
        check("phi3", &longrope(&json!({"type": kind})), |c| {
            let RopeScaling::LongRope(long) = &c.rope.scaling else { return false };
            c.max_position_embeddings == 128
                && long.original_max_position_embeddings == 32
                && long.factor == 4.0
                && long.long_factor == [1.0, 2.0, 4.0, 8.0]
        });
    }
    check(
        "llama",
        &longrope(&json!({"factor": 2.0, "attention_factor": 1.5})),
        |c| matches!(&c.rope.scaling, RopeScaling::LongRope(long) if long.factor == 2.0 && long.attention_factor == Some(1.5)),
    );
    let error = |changes: Value, parts: &[&str]| check_error("phi3", &longrope(&changes), parts);
    error(json!({"long_factor": null}), &["rope_scaling.long_factor", "missing"]);
    error(json!({"long_factor": 2.0}), &["rope_scaling.long_factor", "2.0", "list"]);
    error(json!({"short_factor": [1, 0, 1, 1]}), &["rope_scaling.short_factor", "above 0"]);
    error(json!({"short_factor": [1, 1, 1]}), &["short_factor", "has 3", "4 pairs"]);
    error(json!({"long_mscale": 1.2}), &["long_mscale", "remove"]);
    error(json!({ORIGINAL: 1}), &[ORIGINAL, "is 1"]);
    let mut partial = longrope(&json!({}));
    partial["partial_rotary_factor"] = json!(0.5);
    check_error("phi3", &partial, &["short_factor", "has 4", "2 pairs"]);
    let linear = json!({"rope_scaling": {"type": "linear", "factor": 2.0}});
    check_error("phi3", &linear, &["rope_scaling", "linear", "longrope"]);
    check_error(
        "phi3",
        &json!({"partial_rotary_factor": 0.4}),
        &["partial_rotary_factor", "0.4", "3 of the 8"],
    );
    check_error("phi3", &json!({"partial_rotary_factor": 1.5}), &["partial_rotary_factor", "12 of the 8"]);
    let both = json!({"rope_type": "default", "partial_rotary_factor": 0.5});
    let twice = json!({"partial_rotary_factor": 0.75, "rope_parameters": both});
    check_error("phi3", &twice, &["partial_rotary_factor", "0.75", "0.5"]);
    check_error(
        "llama",
        &json!({"rope_parameters": both}),
        &["rope_parameters.partial_rotary_factor", "0.5"],
    );
    for key in ["attention_bias", "mlp_bias", "lm_head_bias"] {
        check_error("phi3", &json!({key: true}), &[key, "no biases"]);
    }
}

#[test]
fn wrong_rope_keys_are_named() {
    let error =
        |scaling: Value, parts: &[&str]| check_error("llama", &json!({"rope_scaling": scaling}), parts);
    error(json!({"rope_type": "dynamic", "factor": 2.0}), &["rope_scaling.rope_type", "dynamic", "yarn"]);
    error(json!({"rope_type": "longrope", "short_factor": [1.0]}), &[ORIGINAL, "missing"]);
    error(json!({"type": "linear"}), &["rope_scaling.factor", "missing"]);
    error(json!({"type": "linear", "factor": -1.0}), &["rope_scaling.factor", "-1.0", "above 0"]);
    error(json!({"type": "linear", "factor": 1e-40}), &["frequencies", "too close to 0"]);
    error(json!({"type": "yarn", "factor": 1e-40}), &["frequencies", "too close to 0"]);
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
        prop::sample::select(vec![
            "yarn",
            "longrope",
            "llama3",
            "linear",
            "default",
            "full_attention",
            "sliding_attention",
            "x",
        ])
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

/// RoPE parameters of a known type, some of whose keys are any number.
fn rope_parameters() -> impl Strategy<Value = Value> {
    let kind = prop::sample::select(vec!["default", "linear", "yarn", "llama3", "longrope"]);
    let keys = prop::sample::select(ROPE_KEYS[2..].to_vec());
    let number = prop_oneof![any::<f64>().prop_map(Value::from), (1u64..300).prop_map(Value::from)];
    (kind, any::<bool>(), prop::collection::hash_map(keys, number, 0..3)).prop_map(
        |(kind, is_whole, others)| {
            let mut parameters = match kind {
                "linear" => json!({"factor": 8.0}),
                "yarn" => json!({"factor": 8.0, ORIGINAL: 16}),
                "llama3" => json!({"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}),
                "longrope" => {
                    let factors = vec![1.5; 128];
                    json!({"short_factor": factors, "long_factor": factors, ORIGINAL: 16})
                }
                _ => json!({}),
            };
            parameters["rope_type"] = json!(kind);
            if !is_whole {
                for (key, value) in others {
                    parameters[key] = value;
                }
            }
            parameters
        },
    )
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
    "short_factor",
    "long_factor",
    "partial_rotary_factor",
    "attention_factor",
    "truncate",
    "full_attention",
    "sliding_attention",
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
    "partial_rotary_factor",
    "rope_local_base_freq",
    "final_logit_softcapping",
    "num_experts",
    "num_experts_per_tok",
    "num_local_experts",
    "decoder_sparse_step",
    "mlp_only_layers",
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
        if let Ok(config) = translate(&with_experts(family, &changes)) {
            let rope = config.rope.frequencies(config.head_dim, config.max_position_embeddings);
            prop_assert_eq!(rope.inverse_frequencies.len(), config.rope.rotary_dim(config.head_dim) / 2);
            prop_assert!(rope.inverse_frequencies.iter().all(|f| !f.is_nan()));
        }
    }

    /// The same of Gemma 3's, a RoPE for each type of layers.
    #[test]
    fn no_nested_rope_panics(
        full in rope_parameters(),
        sliding in prop_oneof![rope_parameters(), any_value()],
        other in any_value(),
    ) {
        let by_type = json!({"full_attention": full, "sliding_attention": sliding});
        for changes in [json!({"rope_parameters": by_type}), json!({"rope_parameters": other})] {
            let Ok(config) = translate(&with("gemma3_text", &changes)) else { continue };
            for rope in [&config.rope, config.sliding_rope.as_ref().expect("Gemma 3 has one")] {
                let found = rope.frequencies(config.head_dim, config.max_position_embeddings);
                prop_assert_eq!(found.inverse_frequencies.len(), rope.rotary_dim(config.head_dim) / 2);
                prop_assert!(found.inverse_frequencies.iter().all(|f| !f.is_nan()));
            }
        }
    }
}
