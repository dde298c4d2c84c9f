//! Decoders with some of their weights replaced: equal to one loaded with the new ones, and untouched by what fails.

use xenoglot::model::{ComputeDtype, Decoder, LoadOptions};
use xenoglot::ops::{Int8Scales, Workers};
use xenoglot::weights::{StagedTensors, TensorSource, TensorType, open_weights};

use super::attention::DenseAttention;
use super::logits::{fixture, load, prefill};

const DTYPES: [ComputeDtype; 4] = [
    ComputeDtype::F32,
    ComputeDtype::Bf16,
    ComputeDtype::Int8(Int8Scales::PerChannel),
    ComputeDtype::Int8(Int8Scales::PerGroup32),
];

/// The tensors of a fixture that `wanted` names, in f32 and a little other than they are.
pub fn changed(model: &str, wanted: impl Fn(&str) -> bool) -> StagedTensors {
    let (_, tensors) = open_weights(&fixture(model)).unwrap();
    let mut staged = StagedTensors::default();
    for name in tensors.names().into_iter().filter(|name| wanted(name)) {
        let view = tensors.tensor(&name).unwrap();
        let values = view.to_f32().unwrap();
        let bytes = values.iter().enumerate().flat_map(|(at, value)| {
            let factor = 1.0 + 0.05 * ((at % 7) as f32 - 3.0);
            (value * factor).to_le_bytes()
        });
        staged.insert(name, TensorType::F32, view.shape, bytes.collect());
    }
    staged
}

/// The fixture with `changed` over it, loaded whole.
pub fn reloaded(model: &str, dtype: ComputeDtype, wanted: impl Fn(&str) -> bool) -> Decoder {
    let (config, tensors) = open_weights(&fixture(model)).unwrap();
    let mut all = StagedTensors::default();
    for name in tensors.names() {
        let view = tensors.tensor(&name).unwrap();
        let bytes = view.to_f32().unwrap().iter().flat_map(|value| value.to_le_bytes()).collect();
        all.insert(name, TensorType::F32, view.shape, bytes);
    }
    all.extend(changed(model, wanted));
    let config = xenoglot::model::families::translate(&config).unwrap();
    Decoder::load(config, &all, &LoadOptions::new(dtype, &Workers::new(2))).unwrap()
}

pub fn logits(decoder: &Decoder) -> Vec<f32> {
    let ids: Vec<u32> = (0..20).map(|at| at * 7 % 90).collect();
    let logits = decoder.forward(&prefill(&ids), &mut DenseAttention(decoder)).unwrap();
    logits.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn replaced_weights_are_those_of_a_new_load() {
    let check = |model: &str, wanted: &dyn Fn(&str) -> bool| {
        for dtype in DTYPES {
            let old = load(&fixture(model), dtype);
            let before = logits(&old);
            let new = old.with_tensors(&changed(model, wanted)).unwrap();
            assert_eq!(logits(&new), logits(&reloaded(model, dtype, wanted)), "{model} {dtype:?}");
            assert!(logits(&new) != before, "{model} {dtype:?}");
            assert_eq!(logits(&old), before, "{model} {dtype:?}");
        }
    };
    check("qwen3", &|_| true);
    check("qwen2", &|_| true);
    check("llama2", &|name| name.contains("layers.1.") || name == "lm_head.weight");
    check("llama_bf16", &|name| name.contains("down_proj") || name.contains("norm"));
    // Fused weights come under their own names.
    check("phi3", &|_| true);
    check("phi3_longrope", &|name| name.ends_with("qkv_proj.weight") || name.contains("gate_up_proj"));
    check("gemma2", &|_| true);
    check("gemma3", &|name| name.contains("norm") || name.contains("embed"));
    check("mixtral", &|name| name.contains("experts.2.") || name.ends_with("gate.weight"));
    check("qwen2_moe", &|_| true);
    check("qwen3_moe", &|name| name.contains("mlp"));
    // A tied head; weights without their biases.
    check("qwen2", &|name| name == "model.embed_tokens.weight");
    check("qwen2", &|name| name.ends_with("q_proj.weight"));
}

/// To the bit where weights are not rounded a second time.
#[test]
fn a_bias_alone_is_replaced() {
    let wanted = |name: &str| name.ends_with("k_proj.bias") || name.ends_with("q_proj.bias");
    for dtype in [ComputeDtype::F32, ComputeDtype::Bf16] {
        let new = load(&fixture("qwen2"), dtype).with_tensors(&changed("qwen2", wanted)).unwrap();
        assert_eq!(logits(&new), logits(&reloaded("qwen2", dtype, wanted)), "{dtype:?}");
    }
}

/// The experts of `changed` in the tensors that transformers 5 has in memory.
fn fused(model: &str, block: &str, names: [&str; 3]) -> StagedTensors {
    let split = changed(model, |name| name.contains(&format!(".{block}.")));
    let mut fused = StagedTensors::default();
    for name in split.names().iter().filter(|name| !name.contains(".experts.")) {
        let view = split.tensor(name).unwrap();
        let name = name.replace(&format!("{block}.gate.weight"), "mlp.gate.weight");
        fused.insert(name, view.dtype, view.shape.clone(), view.bytes.to_vec());
    }
    for layer in 0..8 {
        let of = |expert: usize, part: &str| {
            let name = format!("model.layers.{layer}.{block}.experts.{expert}.{part}.weight");
            split.contains(&name).then(|| split.tensor(&name).unwrap())
        };
        for (name, parts) in [("gate_up_proj", &names[..2]), ("down_proj", &names[2..])] {
            let views: Vec<_> =
                (0..8).flat_map(|expert| parts.iter().filter_map(move |part| of(expert, part))).collect();
            let Some(first) = views.first() else { continue };
            let shape = vec![views.len() / parts.len(), parts.len() * first.shape[0], first.shape[1]];
            let bytes = views.iter().flat_map(|view| view.bytes.to_vec()).collect();
            fused.insert(format!("model.layers.{layer}.mlp.experts.{name}"), first.dtype, shape, bytes);
        }
    }
    fused
}

#[test]
fn experts_come_in_one_tensor_too() {
    let qwen = ["gate_proj", "up_proj", "down_proj"];
    for (model, block, names) in [
        ("mixtral", "block_sparse_moe", ["w1", "w3", "w2"]),
        ("qwen2_moe", "mlp", qwen),
        ("qwen3_moe", "mlp", qwen),
    ] {
        for dtype in DTYPES {
            let old = load(&fixture(model), dtype);
            let expected =
                old.with_tensors(&changed(model, |name| name.contains(&format!(".{block}.")))).unwrap();
            let found = old.with_tensors(&fused(model, block, names)).unwrap();
            assert_eq!(logits(&found), logits(&expected), "{model} {dtype:?}");
            assert!(logits(&found) != logits(&old), "{model} {dtype:?}");
        }
    }
    let decoder = load(&fixture("mixtral"), ComputeDtype::F32);
    let (gate_up, part) =
        ("model.layers.0.mlp.experts.gate_up_proj", "model.layers.0.block_sparse_moe.experts.1.w3.weight");
    let check = |tensors: &[(&str, &[usize])], expected: &str| {
        let error = decoder.check_update(tensors.iter().copied()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    assert!(decoder.check_update([(gate_up, [4, 48, 32].as_slice())]).is_ok());
    check(&[(gate_up, &[4, 32, 48])], "the model's is [4, 48, 32]");
    check(
        &[(gate_up, &[4, 48, 32]), (part, &[24, 32])],
        "`model.layers.0.block_sparse_moe.experts.1.w3.weight` comes twice",
    );
    check(&[("model.layers.2.mlp.experts.gate_up_proj", &[4, 48, 32])], "the model has no");
}

#[test]
fn a_tied_head_goes_by_either_name() {
    let old = load(&fixture("qwen2"), ComputeDtype::F32);
    let by_embedding = changed("qwen2", |name| name == "model.embed_tokens.weight");
    let view = by_embedding.tensor("model.embed_tokens.weight").unwrap();
    let mut by_head = StagedTensors::default();
    by_head.insert("lm_head.weight".to_owned(), view.dtype, view.shape.clone(), view.bytes.to_vec());
    let expected = logits(&old.with_tensors(&by_embedding).unwrap());
    assert_eq!(logits(&old.with_tensors(&by_head).unwrap()), expected);
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let decoder = load(&fixture("qwen3"), ComputeDtype::F32);
    let check = |tensors: &[(&str, &[usize])], expected: &str| {
        let error = decoder.check_update(tensors.iter().copied()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let norm: &[usize] = &[decoder.config().hidden_size];
    assert!(decoder.check_update([("model.norm.weight", norm)]).is_ok());
    check(&[("model.norm.weight", &[3])], "`model.norm.weight` is [3]");
    check(&[("norm.weight", norm)], "the model has no `norm.weight`");
    check(&[("model.norm.weight", norm), ("model.norm.weight", norm)], "comes twice");
    check(&[("a", norm); 20], "and 12 more");
    let mut staged = StagedTensors::default();
    staged.insert("model.norm.weight".to_owned(), TensorType::F32, vec![1], vec![0; 4]);
    assert!(decoder.with_tensors(&staged).is_err());
}
