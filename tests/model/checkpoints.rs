//! Checkpoints that do not fit their config: every problem named, with the key it contradicts.

use serde_json::json;
use xenoglot::model::{ComputeDtype, Decoder, DecoderConfig, LoadOptions, families, weight_bytes_estimate};
use xenoglot::ops::{Int8Scales, Workers};
use xenoglot::weights::{Checkpoint, TensorSource};

use super::logits::{FAMILIES, fixture};
use crate::weights::gguf_writer::{GgufWriter, Meta, tiny_llama};

/// Loads a fixture with some config keys replaced; the error's text.
fn check(name: &str, changes: &serde_json::Value, parts: &[&str]) {
    let mut checkpoint = Checkpoint::open(&fixture(name)).unwrap();
    for (key, value) in changes.as_object().unwrap() {
        checkpoint.config[key] = value.clone();
    }
    let config = families::translate(&checkpoint.config).unwrap();
    check_load(&checkpoint, config, &[&[name, "config.json: the config does not fit"], parts].concat());
}

fn check_load(checkpoint: &Checkpoint, config: DecoderConfig, parts: &[&str]) {
    let options = LoadOptions::new(ComputeDtype::F32, &Workers::new(1));
    let error = Decoder::load(config, checkpoint.tensors.as_ref(), &options).err().expect("refused");
    let message = error.at(checkpoint).to_string();
    for part in parts {
        assert!(message.contains(part), "{message}\ndoes not say {part:?}");
    }
}

/// The tiny GGUF model with a change.
fn gguf(change: impl FnOnce(&mut GgufWriter)) -> Checkpoint {
    let (directory, mut gguf) = (tempfile::tempdir().unwrap(), tiny_llama());
    change(&mut gguf);
    let path = directory.path().join("model.gguf");
    gguf.write(&path);
    Checkpoint::open(&path).unwrap()
}

#[test]
fn a_gguf_file_is_told_in_its_own_names() {
    let checkpoint = gguf(|gguf| gguf.tensors.retain(|tensor| tensor.name != "blk.1.ffn_up.weight"));
    let config = families::translate(&checkpoint.config).unwrap();
    let missing = "`model.layers.1.mlp.up_proj.weight` (`blk.1.ffn_up.weight` in the file) is missing";
    check_load(&checkpoint, config, &["model.gguf: metadata, as a Hugging Face config", missing]);
    let checkpoint = gguf(|gguf| {
        gguf.f32_tensor("blk.1.attn_q_norm.weight", &[8], &[1.0; 8]);
    });
    let config = families::translate(&checkpoint.config).unwrap();
    check_load(&checkpoint, config, &["(`blk.1.attn_q_norm.weight` in the file) is in the checkpoint"]);
    let checkpoint = gguf(|gguf| {
        gguf.set("llama.context_length", Meta::U32(1 << 30));
    });
    let error = families::translate(&checkpoint.config).unwrap_err().at(&checkpoint).to_string();
    assert!(error.contains("model.gguf: metadata") && error.contains("1073741824"), "{error}");
    assert!(!error.contains("config.json"), "{error}");
}

#[test]
fn contradictions_name_tensor_shapes_and_key() {
    let embed =
        "`model.embed_tokens.weight` is [96, 32], the config (vocab_size, hidden_size) asks for [97, 32]";
    check("llama2", &json!({"vocab_size": 97}), &[embed, "lm_head.weight"]);
    check(
        "llama2",
        &json!({"num_key_value_heads": 4}),
        &["layers.0.self_attn.k_proj", "[16, 32]", "[32, 32]"],
    );
    check("llama2", &json!({"intermediate_size": 40}), &["mlp.gate_proj", "[48, 32]", "intermediate_size"]);
    check(
        "llama2",
        &json!({"num_hidden_layers": 3}),
        &["`model.layers.2.self_attn.q_proj.weight` is missing"],
    );
    check("llama2", &json!({"num_hidden_layers": 1}), &["model.layers.1.", "num_hidden_layers"]);
    check("llama2", &json!({"attention_bias": true}), &["`model.layers.0.self_attn.q_proj.bias` is missing"]);
    check("llama2", &json!({"num_hidden_layers": 900}), &["more", "of the same checkpoint"]);
    check("llama_linear", &json!({"attention_bias": false}), &["q_proj.bias", "no use", "attention_bias"]);
    check("llama_linear", &json!({"mlp_bias": false}), &["up_proj.bias", "no use", "mlp_bias"]);
    check(
        "llama3",
        &json!({"tie_word_embeddings": false}),
        &["`lm_head.weight` is missing", "tie_word_embeddings"],
    );
    check("qwen3", &json!({"head_dim": 8}), &["q_norm", "[16]", "[8]", "head_dim"]);
    check("qwen3", &json!({"model_type": "llama", "architectures": null}), &["q_norm", "model_type"]);
    check("phi3", &json!({"intermediate_size": 40}), &["mlp.gate_up_proj", "[96, 32]", "[80, 32]"]);
    check("phi3", &json!({"num_key_value_heads": 4}), &["self_attn.qkv_proj", "[64, 32]", "[96, 32]"]);
    check("phi3", &json!({"model_type": "mistral", "architectures": null}), &["q_proj.weight` is missing"]);
    let router = ["`model.layers.0.block_sparse_moe.gate.weight`", "[4, 32]", "[3, 32]", "num_local_experts"];
    check("mixtral", &json!({"num_local_experts": 3}), &router);
    check("mixtral", &json!({"intermediate_size": 8}), &["block_sparse_moe.experts.0.w1", "[8, 32]"]);
    check("qwen2_moe", &json!({"moe_intermediate_size": 8}), &["mlp.experts.0.", "moe_intermediate_size"]);
    check(
        "qwen2_moe",
        &json!({"shared_expert_intermediate_size": 8}),
        &["mlp.shared_expert.gate_proj", "[8, 32]"],
    );
    check("qwen2_moe", &json!({"mlp_only_layers": []}), &["`model.layers.1.mlp.gate.weight` is missing"]);
    check("qwen2", &json!({"model_type": "mistral", "architectures": null}), &["q_proj.bias", "model_type"]);
}

#[test]
fn a_context_beyond_memory_is_refused_unless_it_is_shortened() {
    let mut checkpoint = Checkpoint::open(&fixture("llama2")).unwrap();
    checkpoint.config["max_position_embeddings"] = json!(1 << 24);
    checkpoint.config["head_dim"] = json!(8);
    let mut options = LoadOptions::new(ComputeDtype::F32, &Workers::new(1));
    for (max_positions, loads) in [(Some(64), true), (Some(1 << 26), false)] {
        options.max_positions = max_positions;
        let config = families::translate(&checkpoint.config).unwrap();
        let loaded = Decoder::load(config, checkpoint.tensors.as_ref(), &options);
        assert_eq!(loaded.is_ok(), loads);
        if let Err(error) = loaded {
            assert!(error.to_string().contains("--max-model-len"), "{error}");
        }
    }
}

/// Panels are padded to whole tiles of sixteen columns, which shows in models as small as these.
#[test]
fn the_estimate_is_what_the_weights_take() {
    let check = |checkpoint: &Checkpoint, dtype, excess_max: f64| {
        let config = families::translate(&checkpoint.config).unwrap();
        let source = checkpoint.tensors.as_ref();
        let estimate = weight_bytes_estimate(&config, source, dtype).unwrap() as usize;
        let options = LoadOptions::new(dtype, &Workers::new(1));
        let found = Decoder::load(config, source, &options).unwrap().weight_bytes();
        let most = (estimate as f64 * excess_max) as usize;
        let path = checkpoint.path.display();
        assert!((estimate..=most).contains(&found), "{path}: {found} bytes, estimated {estimate}");
    };
    for name in FAMILIES {
        let int8 =
            [Int8Scales::PerChannel, Int8Scales::PerGroup64, Int8Scales::PerGroup32].map(ComputeDtype::Int8);
        for dtype in [ComputeDtype::F32, ComputeDtype::Bf16].into_iter().chain(int8) {
            let checkpoint = Checkpoint::open(&fixture(name)).unwrap();
            let config = families::translate(&checkpoint.config).unwrap();
            let estimate = weight_bytes_estimate(&config, checkpoint.tensors.as_ref(), dtype).unwrap();
            let padded = padded_bytes(checkpoint.tensors.as_ref(), dtype);
            // A unit more than the quotient is rounded by.
            check(&checkpoint, dtype, (padded + 1) as f64 / estimate as f64);
        }
    }
    // Only the vocabulary of 260 is not whole tiles.
    let tiles = 272.0 / 260.0;
    let mixed = gguf(|gguf| {
        for name in ["blk.0.ffn_up.weight", "blk.1.ffn_up.weight"] {
            gguf.tensor(name, &[32, 64], Q4_0, vec![0; 64 * 18]);
        }
        gguf.tensor("output.weight", &[32, 260], F16, vec![0; 2 * 32 * 260]);
    });
    let small = gguf(|gguf| {
        for tensor in gguf.tensors.iter_mut().filter(|tensor| tensor.type_code == Q8_0) {
            let elements: u64 = tensor.dimensions.iter().product();
            (tensor.type_code, tensor.bytes) = (Q4_0, vec![0; elements as usize / 32 * 18]);
        }
    });
    for checkpoint in [gguf(|_| ()), mixed, small] {
        for dtype in [ComputeDtype::Gguf, ComputeDtype::F32, ComputeDtype::Bf16] {
            check(&checkpoint, dtype, tiles);
        }
    }
}

/// All of a checkpoint's tensors in whole panels of sixteen outputs, whose inputs are whole tiles or groups. Fixtures are stored in
/// f32, which routers keep.
fn padded_bytes(source: &dyn TensorSource, dtype: ComputeDtype) -> usize {
    let is_kept = |name: &str| {
        name.ends_with("mlp.gate.weight")
            || name.ends_with("sparse_moe.gate.weight")
            || name.contains("expert_gate")
    };
    let bytes = |name: &String| {
        let shape = source.shape(name).unwrap();
        let &[out, input] = shape.as_slice() else { return 4 * shape[0] };
        let out = out.next_multiple_of(16);
        match dtype {
            ComputeDtype::Bf16 => 2 * out * input.next_multiple_of(32),
            ComputeDtype::Int8(_) if is_kept(name) => 4 * out * input.next_multiple_of(2),
            ComputeDtype::Int8(Int8Scales::PerChannel) => out * (input.next_multiple_of(64) + 4),
            ComputeDtype::Int8(Int8Scales::PerGroup32) => out * input.div_ceil(32) * 34,
            ComputeDtype::Int8(Int8Scales::PerGroup64) => out * input.div_ceil(64) * 66,
            _ => 4 * out * input.next_multiple_of(2),
        }
    };
    source.names().iter().map(bytes).sum()
}

/// GGUF's type codes.
const F16: u32 = 1;
const Q4_0: u32 = 2;
const Q8_0: u32 = 8;
