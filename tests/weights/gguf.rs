//! GGUF files: what they translate to, and what is refused.

use serde_json::json;
use tempfile::TempDir;
use xenoglot::weights::{Checkpoint, CheckpointDtype};

use super::files::check_refused;
use super::gguf_writer::{GgufWriter, Meta, TINY_VOCABULARY, tiny_llama};

fn open(gguf: &GgufWriter) -> Checkpoint {
    let directory = TempDir::new().expect("a temporary directory");
    let path = directory.path().join("model.gguf");
    gguf.write(&path);
    Checkpoint::open(&path).expect("it opens")
}

/// The tiny model with a change is refused with a message that names the file and `parts`.
fn check(change: impl FnOnce(&mut GgufWriter) -> &mut GgufWriter, parts: &[&str]) {
    let mut gguf = tiny_llama();
    change(&mut gguf);
    check_bytes(&gguf.bytes(), parts);
}

fn check_bytes(bytes: &[u8], parts: &[&str]) {
    let directory = TempDir::new().expect("a temporary directory");
    let path = directory.path().join("model.gguf");
    std::fs::write(&path, bytes).expect("written");
    check_refused(&path, &[&["model.gguf"], parts].concat());
}

/// The tiny model under the prefix of another architecture.
fn tiny(architecture: &str) -> GgufWriter {
    let mut gguf = tiny_llama();
    for (key, _) in &mut gguf.metadata {
        *key = key.replace("llama.", &format!("{architecture}."));
    }
    gguf.text("general.architecture", architecture);
    gguf
}

#[test]
fn a_llama_is_a_hugging_face_llama() {
    let checkpoint = open(&tiny_llama());
    assert_eq!(
        checkpoint.config,
        json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_act": "silu",
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "max_position_embeddings": 128,
            "rms_norm_eps": 1e-5,
            "rope_theta": 100_000.0,
            "rope_scaling": null,
            "vocab_size": TINY_VOCABULARY,
            "tie_word_embeddings": true,
            "attention_bias": false,
            "mlp_bias": false,
            "bos_token_id": 258,
            "eos_token_id": 259,
        })
    );
    assert_eq!(checkpoint.dtype, CheckpointDtype::Gguf);
    assert_eq!(checkpoint.eos_token_ids, [259]);
    assert_eq!(checkpoint.special.bos.as_deref(), Some("<|im_start|>"));
    assert_eq!(checkpoint.tensors.names().len(), 2 + 2 * 9);
    assert_eq!(
        checkpoint.tensors.shape("model.layers.1.self_attn.k_proj.weight").expect("it is there"),
        [16, 32]
    );
}

#[test]
fn rows_of_queries_and_keys_go_back() {
    let mut gguf = tiny_llama();
    // Row r of the file holds r everywhere.
    let rows = |rows: u32| (0..rows).flat_map(|row| [row as f32; 32]).collect::<Vec<_>>();
    gguf.f32_tensor("blk.0.attn_q.weight", &[32, 32], &rows(32))
        .f32_tensor("blk.0.attn_k.weight", &[32, 16], &rows(16))
        .f32_tensor("blk.0.attn_v.weight", &[32, 16], &rows(16));
    let first_column = |architecture: &str, tensor: &str| -> Vec<f32> {
        let mut gguf = gguf.clone();
        for (key, _) in &mut gguf.metadata {
            *key = key.replace("llama.", &format!("{architecture}."));
        }
        gguf.text("general.architecture", architecture);
        let checkpoint = open(&gguf);
        let view = checkpoint
            .tensors
            .tensor(&format!("model.layers.0.self_attn.{tensor}.weight"))
            .expect("a tensor");
        view.to_f32().expect("f32").chunks(32).map(|row| row[0]).collect()
    };
    let head = [0.0, 2.0, 4.0, 6.0, 1.0, 3.0, 5.0, 7.0];
    let heads = |count: usize| -> Vec<f32> {
        (0..count).flat_map(|at| head.map(|row| row + 8.0 * at as f32)).collect()
    };
    let unchanged = |count: usize| (0..count).map(|row| row as f32).collect::<Vec<_>>();
    assert_eq!(first_column("llama", "q_proj"), heads(4));
    assert_eq!(first_column("llama", "k_proj"), heads(2));
    assert_eq!(first_column("llama", "v_proj"), unchanged(16));
    assert_eq!(first_column("qwen2", "q_proj"), unchanged(32));
}

#[test]
fn families_have_their_own_keys() {
    let check = |gguf: &GgufWriter, expected: &[(&str, serde_json::Value)]| {
        let config = open(gguf).config;
        for (key, value) in expected {
            assert_eq!(&config[*key], value, "{key}");
        }
    };
    check(
        tiny_llama().set("llama.attention.sliding_window", Meta::U32(64)),
        &[("model_type", json!("mistral")), ("sliding_window", json!(64))],
    );
    check(&tiny("mistral"), &[("model_type", json!("mistral")), ("sliding_window", json!(null))]);
    check(&tiny("qwen2"), &[("model_type", json!("qwen2")), ("use_sliding_window", json!(false))]);
    check(
        &tiny("qwen3"),
        &[("architectures", json!(["Qwen3ForCausalLM"])), ("attention_bias", json!(false))],
    );
    check(
        tiny_llama().f32_tensor("output.weight", &[32, 260], &vec![0.0; 32 * 260]),
        &[("tie_word_embeddings", json!(false))],
    );
}

#[test]
fn rotary_scaling_is_translated() {
    let check = |change: &dyn Fn(&mut GgufWriter) -> &mut GgufWriter, expected: serde_json::Value| {
        let mut gguf = tiny_llama();
        change(&mut gguf);
        assert_eq!(open(&gguf).config["rope_scaling"], expected);
    };
    let linear = json!({ "rope_type": "linear", "factor": 2.0 });
    check(
        &|gguf| {
            gguf.text("llama.rope.scaling.type", "linear").set("llama.rope.scaling.factor", Meta::F32(2.0))
        },
        linear.clone(),
    );
    check(&|gguf| gguf.set("llama.rope.scale_linear", Meta::F32(2.0)), linear);
    check(&|gguf| gguf.text("llama.rope.scaling.type", "none"), json!(null));
    check(
        &|gguf| {
            gguf.text("llama.rope.scaling.type", "yarn")
                .set("llama.rope.scaling.factor", Meta::F32(4.0))
                .set("llama.rope.scaling.original_context_length", Meta::U32(32))
        },
        json!({ "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32 }),
    );
    // Base 100000 over 8 dimensions: waves of 6, 112, 1987 and 35333 positions.
    let wave = std::f32::consts::TAU * 100_000_f32.powf(0.75);
    assert!(wave > 8192.0);
    check(
        &|gguf| gguf.f32_tensor("rope_freqs.weight", &[4], &[1.0, 1.0, 1.0, 8.0]),
        json!({
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        }),
    );
}

/// transformers reads the original context at the top level, and a list alone is no LongRoPE.
#[test]
fn longrope_is_whole() {
    let mut gguf = tiny("phi3");
    gguf.tensors.retain(|tensor| !tensor.name.starts_with("blk."));
    gguf.set("phi3.rope.scaling.original_context_length", Meta::U32(32));
    let [short, long] = ["rope_factors_short.weight", "rope_factors_long.weight"];
    for (there, missing) in [(short, long), (long, short)] {
        let mut gguf = gguf.clone();
        gguf.f32_tensor(there, &[4], &[1.0; 4]);
        check_bytes(&gguf.bytes(), &[missing, "is missing"]);
    }
    gguf.f32_tensor(short, &[4], &[1.0; 4]).f32_tensor(long, &[4], &[2.0; 4]);
    let config = open(&gguf).config;
    assert_eq!(config["original_max_position_embeddings"], 32);
    assert_eq!(config["rope_scaling"]["original_max_position_embeddings"], 32);
    assert_eq!(config["rope_scaling"]["long_factor"], json!([2.0, 2.0, 2.0, 2.0]));
}

#[test]
fn wrong_metadata_is_named() {
    check(
        |g| g.text("general.architecture", "mamba"),
        &["architecture `mamba`", "llama, mistral, qwen2, qwen3, phi3, gemma2, gemma3"],
    );
    check(|g| g.remove("general.architecture"), &["`general.architecture` is missing"]);
    check(
        |g| g.remove("general.architecture").set("split.count", Meta::U32(3)),
        &["`split.count` is 3", "one part of a split GGUF", "llama-gguf-split --merge"],
    );
    check(|g| g.remove("llama.block_count"), &["`llama.block_count` is missing"]);
    check(|g| g.set("llama.block_count", Meta::I32(-2)), &["`llama.block_count`", "-2"]);
    check(|g| g.set("llama.block_count", Meta::F32(2.5)), &["`llama.block_count`", "must be a count", "2.5"]);
    check(|g| g.set("llama.attention.head_count", Meta::U32(0)), &["head_count` must not be 0"]);
    check(|g| g.set("llama.attention.head_count", Meta::U32(5)), &["5 heads do not divide"]);
    check(|g| g.set("llama.attention.head_count_kv", Meta::I32s(vec![1, 2])), &["an array of 2"]);
    check(|g| g.set("llama.rope.dimension_count", Meta::U32(4)), &["rope.dimension_count", "whole heads"]);
    check(|g| g.set("llama.expert_count", Meta::U32(8)), &["experts", "dense"]);
    check(|g| g.set("llama.rope.freq_base", Meta::F32(f32::NAN)), &["freq_base", "finite"]);
    check(|g| g.text("llama.rope.scaling.type", "longrope"), &["rope.scaling.factor` is missing"]);
    check(
        |g| g.text("llama.rope.scaling.type", "longrope").set("llama.rope.scaling.factor", Meta::F32(2.0)),
        &["`longrope`; linear and yarn"],
    );
    check(|g| g.set("general.alignment", Meta::U32(7)), &["general.alignment", "power of two"]);
    check(|g| g.f32_tensor("rope_freqs.weight", &[4], &[1.0, 2.0, 3.0, 4.0]), &["rope_freqs.weight"]);
}

#[test]
fn wrong_tensors_are_named() {
    check(
        |g| g.tensor("blk.0.ffn_up.weight", &[32, 64], 10, vec![0; 10]),
        &["`blk.0.ffn_up.weight`", "Q2_K", "Q4_K"],
    );
    check(|g| g.tensor("blk.0.ffn_up.weight", &[32, 64], 99, vec![0; 10]), &["number 99"]);
    check(|g| g.tensor("x", &[33], 8, vec![0; 34]), &["`x`", "rows of 33", "blocks of 32"]);
    check(|g| g.tensor("x", &[1, 1, 1, 1, 1], 0, vec![0; 4]), &["5 dimensions"]);
    check(|g| g.tensor("x", &[u64::MAX, 4], 0, vec![0; 4]), &["`x`", "impossible shape"]);
    check(|g| g.tensor("x", &[1 << 40], 0, vec![0; 4]), &["truncated", "`x`"]);
    check(|g| g.f32_tensor("blk.0.ffn_gate_exps.weight", &[1], &[0.0]), &["blk.0.ffn_gate_exps.weight"]);
    check(|g| g.f32_tensor("blk.0.attn_q.weight", &[32, 31], &[0.0; 31 * 32]), &["31 rows", "4 heads"]);
    check(
        |g| {
            g.tensors.retain(|tensor| tensor.name != "token_embd.weight");
            g
        },
        &["`token_embd.weight` is missing"],
    );
    // Products that are 0 in one order and overflow in another.
    check(|g| g.tensor("x", &[0, u64::MAX, 2], 0, vec![]), &["`x`", "impossible shape"]);
    check(
        |g| g.tensor("blk.0.attn_q.bias", &[32], 8, vec![0; 34]),
        &["blk.0.attn_q.bias", "vector of blocks"],
    );
    check(
        |g| {
            g.tensors.push(g.tensors[0].clone());
            g
        },
        &["declared twice"],
    );
}

#[test]
fn wrong_headers_are_named() {
    check_bytes(b"GGUF", &["truncated", "the version"]);
    check_bytes(b"GGML\x03\0\0\0", &["does not start with `GGUF`"]);
    check(
        |g| {
            g.version = 1;
            g
        },
        &["version 1"],
    );
    check(
        |g| {
            g.version = 4;
            g
        },
        &["version 4; versions 2 and 3"],
    );
    check(
        |g| {
            g.version = 3_u32.swap_bytes();
            g
        },
        &["big-endian"],
    );
    check_bytes(
        &[&b"GGUF\x03\0\0\0"[..], &[0xff; 16]].concat(),
        &["header claims 18446744073709551615 tensors"],
    );
    check(|g| g.set("x", Meta::Raw(13, vec![])), &["metadata `x` has the unknown type 13"]);
    check(|g| g.set("x", Meta::Raw(7, vec![2])), &["metadata `x` is the truth value 2"]);
    check(
        |g| {
            g.metadata.push(("general.architecture".into(), Meta::U32(1)));
            g
        },
        &["there twice"],
    );
    let array = |kind: u32, length: u64| [&kind.to_le_bytes()[..], &length.to_le_bytes()].concat();
    check(|g| g.set("x", Meta::Raw(9, array(0, u64::MAX))), &["metadata `x` claims", "more than the file"]);
    let nested = std::iter::repeat_n(array(9, 1), 9).collect::<Vec<_>>().concat();
    check(|g| g.set("x", Meta::Raw(9, nested.clone())), &["metadata `x` nests arrays deeper"]);
    let mut version_2 = tiny_llama();
    version_2.version = 2;
    assert_eq!(open(&version_2).config["hidden_size"], 32);
}

#[test]
fn plain_files_have_their_own_dtype() {
    let mut gguf = tiny_llama();
    for tensor in &mut gguf.tensors {
        if tensor.type_code == 8 {
            let elements: u64 = tensor.dimensions.iter().product();
            (tensor.type_code, tensor.bytes) = (1, vec![0; 2 * elements as usize]);
        }
    }
    assert_eq!(open(&gguf).dtype, CheckpointDtype::F16);
}
