//! The logits of every family agree with transformers' (scripts/fixtures/make_model_fixtures.py).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use safetensors::SafeTensors;
use serde_json::json;
use xenoglot::model::{
    Batch, ComputeDtype, Decoder, DecoderConfig, ExpertsConfig, LoadOptions, LongRopeScaling, RopeScaling,
    families,
};
use xenoglot::ops::{Activation, Workers};
use xenoglot::weights::Checkpoint;

use super::attention::DenseAttention;

/// Largest difference of a logit from transformers', both in f32. Logits reach 7; f32 sums in another order
/// differ by about 1e-5.
pub const TOLERANCE: f32 = 1e-4;

pub const FAMILIES: &[&str] = &[
    "llama2",
    "llama3",
    "llama_linear",
    "llama_yarn",
    "llama_sharded",
    "llama_bf16",
    "mistral",
    "qwen2",
    "qwen3",
    "qwen3_yarn",
    "phi3",
    "phi3_longrope",
    "gemma2",
    "gemma3",
    "mixtral",
    "qwen2_moe",
    "qwen3_moe",
];

pub struct Expected {
    pub ids: Vec<u32>,
    /// `[tokens][vocab]`, flat.
    pub logits: Vec<f32>,
    pub inverse_frequencies: Vec<f32>,
    pub attention_scale: f32,
}

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models").join(name)
}

pub fn expected(name: &str) -> Expected {
    expected_of(name, "")
}

/// One of the recorded tensors, f32 and flat.
fn tensors(fixture_name: &str, name: &str) -> Vec<f32> {
    let bytes = std::fs::read(fixture(fixture_name).join("expected.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = tensors.tensor(name).unwrap();
    tensor.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// Those of shorter contexts where `prefix` says so.
fn expected_of(name: &str, prefix: &str) -> Expected {
    let bytes = std::fs::read(fixture(name).join("expected.safetensors")).unwrap();
    let all = SafeTensors::deserialize(&bytes).unwrap();
    let floats = |part: &str| tensors(name, &format!("{prefix}{part}"));
    let ids = all.tensor("ids").unwrap();
    Expected {
        ids: ids.data().as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b) as u32).collect(),
        logits: floats("logits"),
        inverse_frequencies: floats("inverse_frequencies"),
        attention_scale: tensors(name, "attention_scale")[0],
    }
}

pub fn load(folder: &Path, dtype: ComputeDtype) -> Decoder {
    load_with(folder, dtype, |_| ())
}

/// Loads a checkpoint with a changed config.
fn load_with(folder: &Path, dtype: ComputeDtype, change: impl Fn(&mut DecoderConfig)) -> Decoder {
    load_on(folder, dtype, change, &Workers::new(2))
}

/// Loads a checkpoint with a changed config, to run on the given threads and their instruction set.
pub fn load_on(
    folder: &Path,
    dtype: ComputeDtype,
    change: impl Fn(&mut DecoderConfig),
    workers: &Arc<Workers>,
) -> Decoder {
    let checkpoint = Checkpoint::open(folder).unwrap();
    let mut config = families::translate(&checkpoint.config).unwrap();
    change(&mut config);
    Decoder::load(config, checkpoint.tensors.as_ref(), &LoadOptions::new(dtype, workers)).unwrap()
}

/// All of one sequence at once, logits of every row.
pub fn prefill(ids: &[u32]) -> Batch {
    let rows: Vec<u32> = (0..ids.len() as u32).collect();
    Batch {
        ids: ids.to_vec(),
        positions: Arc::new(rows.clone()),
        cu_seqlens: Arc::new(vec![0, ids.len() as u32]),
        logit_rows: rows,
        ..Batch::default()
    }
}

pub fn largest_difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn a_dense_prefill_agrees_with_transformers() {
    for name in FAMILIES {
        let (decoder, expected) = (load(&fixture(name), ComputeDtype::F32), expected(name));
        let logits = decoder.forward(&prefill(&expected.ids), &mut DenseAttention(&decoder)).unwrap();
        assert_eq!(logits.dims2().unwrap(), (expected.ids.len(), decoder.config().vocab_size));
        let difference =
            largest_difference(&logits.flatten_all().unwrap().to_vec1().unwrap(), &expected.logits);
        assert!(difference <= TOLERANCE, "{name}: logits differ by {difference}");
        println!("{name}: {difference:e}");
    }
}

#[test]
fn rope_agrees_with_transformers() {
    for name in FAMILIES {
        let checkpoint = Checkpoint::open(&fixture(name)).unwrap();
        let config = families::translate(&checkpoint.config).unwrap();
        let found = config.rope.frequencies(config.head_dim, config.max_position_embeddings);
        let expected = expected(name);
        assert_eq!(found.inverse_frequencies.len(), expected.inverse_frequencies.len(), "{name}");
        assert_eq!(found.attention_scale, expected.attention_scale, "{name}");
        for (found, expected) in found.inverse_frequencies.iter().zip(&expected.inverse_frequencies) {
            assert!((found - expected).abs() <= 1e-6 * expected, "{name}: {found} is not {expected}");
        }
    }
}

/// Of the layers that slide, where they have a base of their own.
#[test]
fn rope_of_sliding_layers_agrees_with_transformers() {
    let checkpoint = Checkpoint::open(&fixture("gemma3")).unwrap();
    let config = families::translate(&checkpoint.config).unwrap();
    let rope = config.sliding_rope.unwrap();
    let found = rope.frequencies(config.head_dim, config.max_position_embeddings).inverse_frequencies;
    let expected = tensors("gemma3", "sliding_inverse_frequencies");
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert!((found - expected).abs() <= 1e-6 * expected, "{found} is not {expected}");
    }
}

/// LongRoPE's other factors: those of a table no longer than the original context.
#[test]
fn short_contexts_have_factors_of_their_own() {
    let (name, original) = ("phi3_longrope", 24);
    let expected = expected_of(name, "short_");
    let checkpoint = Checkpoint::open(&fixture(name)).unwrap();
    let config = families::translate(&checkpoint.config).unwrap();
    let found = config.rope.frequencies(config.head_dim, original);
    for (found, expected) in found.inverse_frequencies.iter().zip(&expected.inverse_frequencies) {
        assert!((found - expected).abs() <= 1e-6 * expected, "{found} is not {expected}");
    }
    // A table of that length, or a longer one for which a shorter context is said.
    for (max_positions, context) in [(Some(original), None), (None, Some(original))] {
        let options =
            LoadOptions { max_positions, context, ..LoadOptions::new(ComputeDtype::F32, &Workers::new(2)) };
        let decoder = Decoder::load(config.clone(), checkpoint.tensors.as_ref(), &options).unwrap();
        let batch = prefill(&expected.ids[..original]);
        let logits = decoder.forward(&batch, &mut DenseAttention(&decoder)).unwrap();
        let difference =
            largest_difference(&logits.flatten_all().unwrap().to_vec1().unwrap(), &expected.logits);
        assert!(difference <= TOLERANCE, "{max_positions:?}: logits differ by {difference}");
    }
}

/// As transformers 5.19 writes the configurations of these fixtures.
#[test]
fn configurations_of_transformers_5_are_the_same_models() {
    let check = |name: &str, gone: &[&str], keys: serde_json::Value| {
        let checkpoint = Checkpoint::open(&fixture(name)).unwrap();
        let mut config = checkpoint.config.clone();
        for key in gone {
            config.as_object_mut().unwrap().remove(*key).unwrap();
        }
        for (key, value) in keys.as_object().unwrap() {
            config[key] = value.clone();
        }
        let config = families::translate(&config).unwrap();
        assert_eq!(config, families::translate(&checkpoint.config).unwrap(), "{name}");
        let options = LoadOptions::new(ComputeDtype::F32, &Workers::new(2));
        let decoder = Decoder::load(config, checkpoint.tensors.as_ref(), &options).unwrap();
        let expected = expected(name);
        let logits = decoder.forward(&prefill(&expected.ids), &mut DenseAttention(&decoder)).unwrap();
        let difference =
            largest_difference(&logits.flatten_all().unwrap().to_vec1().unwrap(), &expected.logits);
        assert!(difference <= TOLERANCE, "{name}: logits differ by {difference}");
    };
    check(
        "phi3_longrope",
        &["rope_theta", "rope_scaling"],
        json!({"rope_parameters": {
            "long_factor": [1.2, 1.5, 2.5, 4.0, 5.5, 6.0],
            "original_max_position_embeddings": 24,
            "partial_rotary_factor": 0.75,
            "rope_theta": 300.0,
            "rope_type": "longrope",
            "short_factor": [1.0, 1.05, 1.1, 1.3, 1.7, 2.0],
            "type": "longrope",
        }}),
    );
    check(
        "gemma3",
        &["rope_theta", "rope_local_base_freq", "rope_scaling", "sliding_window_pattern"],
        json!({
            "_sliding_window_pattern": 3,
            "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
            "rope_parameters": {
                "full_attention": {"factor": 4.0, "rope_theta": 10000.0, "rope_type": "linear"},
                "sliding_attention": {"rope_theta": 100.0, "rope_type": "default"},
            },
        }),
    );
}

/// The fixtures can tell a wrong setting: each of these, off by a little, moves the logits well beyond the
/// tolerance.
#[test]
fn a_wrong_setting_shows() {
    fn check(name: &str, change: impl Fn(&mut DecoderConfig)) {
        let (decoder, expected) = (load_with(&fixture(name), ComputeDtype::F32, change), expected(name));
        let logits = decoder.forward(&prefill(&expected.ids), &mut DenseAttention(&decoder)).unwrap();
        let difference =
            largest_difference(&logits.flatten_all().unwrap().to_vec1().unwrap(), &expected.logits);
        assert!(difference > 10.0 * TOLERANCE, "{name}: logits differ by {difference} only");
    }
    check("llama2", |c| c.rope.theta = 10_100.0);
    check("llama2", |c| c.rms_norm_eps = 1e-3);
    check("mistral", |c| c.layer_windows = vec![Some(10); 2]);
    check("qwen2", |c| c.layer_windows = vec![None, Some(23), Some(24)]);
    check("qwen2", |c| c.layer_windows = vec![Some(24); 3]);
    check("llama_linear", |c| c.rope.scaling = RopeScaling::Linear { factor: 4.1 });
    check("llama3", |c| c.rope.scaling = RopeScaling::Default);
    check("phi3", |c| c.layer_windows = vec![Some(10); 2]);
    check("phi3", |c| c.rope.partial_rotary_factor = 0.75);
    let long = |change: fn(&mut LongRopeScaling)| {
        check("phi3_longrope", |c| {
            let RopeScaling::LongRope(long) = &mut c.rope.scaling else { panic!("it has no longrope") };
            change(long);
        });
    };
    long(|long| long.attention_factor = Some(1.0));
    long(|long| long.long_factor.clone_from(&long.short_factor));
    check("gemma2", |c| c.layer_windows = vec![None, Some(9)]);
    check("gemma2", |c| c.attention_softcap = None);
    check("gemma2", |c| c.logit_softcap = Some(3.1));
    check("gemma2", |c| c.query_scalar = 20.0);
    check("gemma3", |c| c.sliding_rope = None);
    check("gemma3", |c| c.rope.scaling = RopeScaling::Default);
    for name in ["mixtral", "qwen2_moe", "qwen3_moe"] {
        let experts = |change: fn(&mut ExpertsConfig)| check(name, |c| change(c.experts.as_mut().unwrap()));
        experts(|experts| experts.norm_topk_prob = !experts.norm_topk_prob);
        experts(|experts| experts.experts_per_token -= 1);
    }
    for name in ["gemma2", "gemma3"] {
        check(name, |c| c.norms_add_one = false);
        check(name, |c| c.scaled_embeddings = false);
        check(name, |c| c.activation = Activation::Silu);
    }
    for name in ["llama_yarn", "qwen3_yarn"] {
        check(name, |c| {
            let RopeScaling::Yarn(yarn) = &mut c.rope.scaling else { panic!("{name} has no yarn") };
            yarn.attention_factor = Some(1.0);
        });
        check(name, |c| {
            let RopeScaling::Yarn(yarn) = &mut c.rope.scaling else { panic!("{name} has no yarn") };
            yarn.truncate = !yarn.truncate;
        });
    }
}
