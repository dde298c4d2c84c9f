//! Families whose GGUF files have tensors, norms or keys of their own: a fixture written as llama.cpp's converter would gives the
//! fixture's logits.

use xenoglot::model::{ComputeDtype, Decoder, DecoderConfig, LoadOptions, families};
use xenoglot::ops::Workers;
use xenoglot::weights::{Checkpoint, open_weights};

use super::attention::DenseAttention;
use super::logits::{TOLERANCE, expected, fixture, largest_difference, load_on, prefill};
use crate::weights::gguf_writer::{GgufWriter, Meta, tiny_llama};

/// Hugging Face's names within a layer, and GGUF's.
const PHI3: &[(&str, &str)] = &[
    ("input_layernorm", "attn_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("self_attn.qkv_proj", "attn_qkv"),
    ("self_attn.o_proj", "attn_output"),
    ("mlp.gate_up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];
const GEMMA: &[(&str, &str)] = &[
    ("input_layernorm", "attn_norm"),
    ("post_attention_layernorm", "post_attention_norm"),
    ("pre_feedforward_layernorm", "ffn_norm"),
    ("post_feedforward_layernorm", "post_ffw_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("self_attn.o_proj", "attn_output"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];

/// The tensors and sizes of a fixture, under an architecture's names; its own keys are for the caller.
fn written(name: &str, architecture: &str, names: &[(&str, &str)]) -> GgufWriter {
    let (config, tensors) = open_weights(&fixture(name)).unwrap();
    let mut gguf = tiny_llama();
    gguf.tensors.clear();
    gguf.metadata.retain(|(key, _)| !key.starts_with("llama."));
    gguf.text("general.architecture", architecture);
    let keys = [
        ("block_count", "num_hidden_layers"),
        ("context_length", "max_position_embeddings"),
        ("embedding_length", "hidden_size"),
        ("feed_forward_length", "intermediate_size"),
        ("attention.head_count", "num_attention_heads"),
        ("attention.head_count_kv", "num_key_value_heads"),
    ];
    for (key, of) in keys {
        gguf.set(&format!("{architecture}.{key}"), Meta::U32(config[of].as_u64().unwrap() as u32));
    }
    let eps = config["rms_norm_eps"].as_f64().unwrap() as f32;
    gguf.set(&format!("{architecture}.attention.layer_norm_rms_epsilon"), Meta::F32(eps));
    let theta = config["rope_theta"].as_f64().unwrap() as f32;
    gguf.set(&format!("{architecture}.rope.freq_base"), Meta::F32(theta));
    for hugging_face in tensors.names() {
        let view = tensors.tensor(&hugging_face).unwrap();
        let stored = match hugging_face.as_str() {
            "model.embed_tokens.weight" => "token_embd.weight".to_owned(),
            "model.norm.weight" => "output_norm.weight".to_owned(),
            "lm_head.weight" => "output.weight".to_owned(),
            layer => {
                let (layer, part) = layer["model.layers.".len()..].split_once('.').unwrap();
                let part = part.strip_suffix(".weight").unwrap();
                let (_, part) = names.iter().find(|(own, _)| *own == part).unwrap();
                format!("blk.{layer}.{part}.weight")
            }
        };
        // llama.cpp's converter adds the 1 that Gemma's norms add themselves.
        let one =
            if architecture.starts_with("gemma") && stored.ends_with("norm.weight") { 1.0 } else { 0.0 };
        let values: Vec<f32> = view.to_f32().unwrap().iter().map(|x| x + one).collect();
        let dimensions: Vec<u64> = view.shape.iter().rev().map(|size| *size as u64).collect();
        gguf.f32_tensor(&stored, &dimensions, &values);
    }
    gguf
}

fn check(name: &str, gguf: &GgufWriter, unsaid: impl Fn(&mut DecoderConfig)) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.gguf");
    gguf.write(&path);
    let checkpoint = Checkpoint::open(&path).unwrap();
    let config = families::translate(&checkpoint.config).unwrap();
    let workers = Workers::new(2);
    let reference = load_on(&fixture(name), ComputeDtype::F32, unsaid, &workers);
    assert_eq!(&config, reference.config(), "{name}");
    let options = LoadOptions::new(ComputeDtype::Gguf, &workers);
    let decoder = Decoder::load(config, checkpoint.tensors.as_ref(), &options).unwrap();
    let batch = prefill(&expected(name).ids);
    let logits = |decoder: &Decoder| -> Vec<f32> {
        let logits = decoder.forward(&batch, &mut DenseAttention(decoder)).unwrap();
        logits.flatten_all().unwrap().to_vec1().unwrap()
    };
    let difference = largest_difference(&logits(&decoder), &logits(&reference));
    assert!(difference <= TOLERANCE, "{name}: logits differ by {difference}");
}

#[test]
fn phi3() {
    let mut gguf = written("phi3", "phi3", PHI3);
    gguf.set("phi3.attention.sliding_window", Meta::U32(9)).set("phi3.rope.dimension_count", Meta::U32(8));
    check("phi3", &gguf, |_| ());
}

/// The factors are tensors, and the attention scale is a key.
#[test]
fn phi3_longrope() {
    let mut gguf = written("phi3_longrope", "phi3", PHI3);
    let scale = expected("phi3_longrope").attention_scale;
    gguf.set("phi3.rope.dimension_count", Meta::U32(12))
        .set("phi3.attention.sliding_window", Meta::U32(0))
        .set("phi3.rope.scaling.original_context_length", Meta::U32(24))
        .set("phi3.rope.scaling.attn_factor", Meta::F32(scale))
        .f32_tensor("rope_factors_short.weight", &[6], &[1.0, 1.05, 1.1, 1.3, 1.7, 2.0])
        .f32_tensor("rope_factors_long.weight", &[6], &[1.2, 1.5, 2.5, 4.0, 5.5, 6.0]);
    check("phi3_longrope", &gguf, |config| {
        let xenoglot::model::RopeScaling::LongRope(long) = &mut config.rope.scaling else {
            panic!("no longrope")
        };
        // As the header's number is written.
        long.attention_factor = scale.to_string().parse().ok();
    });
}

/// What queries are scaled by is in no file.
#[test]
fn gemma2() {
    let mut gguf = written("gemma2", "gemma2", GEMMA);
    gguf.set("gemma2.attention.key_length", Meta::U32(16))
        .set("gemma2.attention.value_length", Meta::U32(16))
        .set("gemma2.attention.sliding_window", Meta::U32(9))
        .set("gemma2.attn_logit_softcapping", Meta::F32(5.0))
        .set("gemma2.final_logit_softcapping", Meta::F32(3.0));
    check("gemma2", &gguf, |config| config.query_scalar = 16.0);
}

#[test]
fn gemma3() {
    let mut gguf = written("gemma3", "gemma3", GEMMA);
    gguf.set("gemma3.attention.key_length", Meta::U32(8))
        .set("gemma3.attention.value_length", Meta::U32(8))
        .set("gemma3.attention.sliding_window", Meta::U32(9))
        .set("gemma3.attention.sliding_window_pattern", Meta::U32(3))
        .set("gemma3.rope.freq_base_swa", Meta::F32(100.0))
        .text("gemma3.rope.scaling.type", "linear")
        .set("gemma3.rope.scaling.factor", Meta::F32(4.0));
    check("gemma3", &gguf, |_| ());
}
