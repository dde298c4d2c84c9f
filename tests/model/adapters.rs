//! LoRA beside a decoder: PEFT's losses and files, rows of several adapters in one batch, and what is refused.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor, Var};
use serde_json::{Value, json};
use xenoglot::model::{
    Adapter, AdapterOptions, AdapterRows, Batch, ComputeDtype, Decoder, DecoderConfig, DenseAttention,
    LoadOptions, LoraSettings, Target, families,
};
use xenoglot::ops::{self, Dropout, Int8Scales, PackedLinear, Targets, Workers, cross_entropy};
use xenoglot::weights::{
    self, AdapterConfig, AdapterWriter, Change, ModuleNames, WrittenDtype, open_weights,
};

use super::attention::DenseAttention as Apart;
use super::gradients::{first_batch, fixtures};
use super::logits::{TOLERANCE, fixture, largest_difference};

pub fn options() -> AdapterOptions {
    AdapterOptions { workers: Workers::new(2), rank_max: 64, bytes_max: 1 << 30 }
}

/// Numbers in -1..1, the same for the same seed.
fn numbers(seed: u32, count: usize) -> Vec<f32> {
    let number = |at: u32| {
        let mixed = at.wrapping_mul(2_654_435_761).wrapping_add(seed.wrapping_mul(40_503)) ^ (at >> 3);
        (mixed.wrapping_mul(2_246_822_519) >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count as u32).map(number).collect()
}

/// Writes an adapter for a model, with both factors far from zero.
pub fn write_adapter(model: &Path, out: &Path, targets: &[Target], seed: u32) {
    const RANK: usize = 4;
    let (_, tensors) = open_weights(model).unwrap();
    let layers = tensors.names().iter().filter(|name| name.ends_with(".o_proj.weight")).count();
    let mut writer = AdapterWriter::create(out, WrittenDtype::F32).unwrap();
    for layer in 0..layers {
        for target in targets {
            let module = target.module(layer);
            let shape = tensors.shape(&format!("{module}.weight")).unwrap();
            let place = seed * 1000 + (layer * 7 + *target as usize) as u32 * 2;
            let mut factor = |name: &str, shape: [usize; 2], seed: u32| {
                let values: Vec<f32> = numbers(seed, shape[0] * shape[1]).iter().map(|x| x * 0.3).collect();
                writer.tensor(&format!("{module}.{name}.weight"), &shape, &values).unwrap();
            };
            factor("lora_A", [RANK, shape[1]], place);
            factor("lora_B", [shape[0], RANK], place + 1);
        }
    }
    let names = targets.iter().map(|target| target.name().to_owned()).collect();
    let config = AdapterConfig {
        rank: RANK,
        alpha: 6.0,
        target_modules: ModuleNames::Names(names),
        ..AdapterConfig::default()
    };
    writer.finish(&config).unwrap();
}

/// A model whose weights have an adapter added to them, in f64.
pub fn merge_by_hand(model: &Path, adapter: &Path, out: &Path) {
    std::fs::create_dir_all(out).unwrap();
    for entry in std::fs::read_dir(model).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), out.join(entry.file_name())).unwrap();
    }
    let adapter = weights::Adapter::open(adapter).unwrap();
    let path = out.join("model.safetensors");
    let mut tensors: HashMap<String, Tensor> = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
    for name in adapter.targets() {
        let Some(Change::LowRank { a, b, scale, .. }) = adapter.for_weight(&name).unwrap() else {
            panic!("{name} is not adapted")
        };
        let matrix = |view: &weights::TensorView<'_>| {
            let shape = (view.shape[0], view.shape[1]);
            let values = Tensor::from_vec(view.to_f32().unwrap(), shape, &Device::Cpu).unwrap();
            values.to_dtype(DType::F64).unwrap()
        };
        let delta = (matrix(&b).matmul(&matrix(&a)).unwrap() * scale).unwrap();
        let merged = (tensors[&name].to_dtype(DType::F64).unwrap() + delta).unwrap();
        tensors.insert(name, merged.to_dtype(DType::F32).unwrap());
    }
    candle_core::safetensors::save(&tensors, path).unwrap();
}

fn config_of(model: &Path) -> DecoderConfig {
    families::translate(&open_weights(model).unwrap().0).unwrap()
}

fn load(model: &Path, dtype: ComputeDtype) -> Decoder {
    let (config, tensors) = open_weights(model).unwrap();
    let config = families::translate(&config).unwrap();
    Decoder::load(config, tensors.as_ref(), &LoadOptions::new(dtype, &Workers::new(2))).unwrap()
}

/// The adapter for a model, by way of a folder.
fn adapter(model: &Path, targets: &[Target], seed: u32) -> Arc<Adapter> {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("adapter");
    write_adapter(model, &out, targets, seed);
    Arc::new(Adapter::open(&out, &config_of(model), &options()).unwrap())
}

fn elements(weight: &Arc<PackedLinear>) -> Vec<f32> {
    let rows: Vec<u32> = (0..weight.out_features() as u32).collect();
    ops::embedding(&rows, weight).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

/// All factors in order, as bits.
fn factors(adapter: &Adapter) -> Vec<Vec<u32>> {
    adapter.pairs().flat_map(|(_, pair)| [&pair.a, &pair.b]).map(|factor| bits(&elements(factor))).collect()
}

/// The loss of a batch and its gradient with respect to the embeddings that go in.
fn run(decoder: &Decoder, batch: &Batch, targets: &Targets) -> (f32, Vec<f32>) {
    let mut attention = DenseAttention::new(decoder, &Workers::new(2));
    let input = Var::from_tensor(&decoder.embed(&batch.ids).unwrap()).unwrap();
    let layers = 0..decoder.config().layers;
    let hidden = decoder.layers(input.as_tensor(), layers, batch, &mut attention).unwrap();
    let loss = cross_entropy(&decoder.normed(&hidden).unwrap(), decoder.lm_head(), targets).unwrap();
    let gradient = loss.backward().unwrap().remove(input.as_tensor()).unwrap();
    (loss.to_scalar().unwrap(), gradient.flatten_all().unwrap().to_vec1().unwrap())
}

fn whole(batch: Batch, adapter: &Arc<Adapter>) -> Batch {
    let rows = 0..batch.ids.len();
    Batch { adapters: vec![AdapterRows { rows, adapter: Arc::clone(adapter), dropout: None }], ..batch }
}

fn recorded() -> Value {
    serde_json::from_slice(&std::fs::read(fixtures().join("lora/lora.json")).unwrap()).unwrap()
}

/// PyTorch's f32 is within 3e-7 of its f64.
#[test]
fn losses_are_pefts() {
    let recorded = recorded();
    let model = fixtures().join("models/llama");
    let decoder = load(&model, ComputeDtype::F32);
    for name in ["plain", "rslora"] {
        let folder = fixtures().join("lora").join(name);
        let adapter = Arc::new(Adapter::open(&folder, decoder.config(), &options()).unwrap());
        let (batch, targets) = first_batch(&recorded);
        let (loss, _) = run(&decoder, &whole(batch, &adapter), &targets);
        let expected = recorded[name]["f64"]["loss"][0].as_f64().unwrap();
        assert!((f64::from(loss) - expected).abs() <= 1e-6, "{name}: {loss} {expected}");
    }
}

/// Of a model with the sum in its weights: f32 in another order, 2e-5 of the largest.
#[test]
fn gradients_pass_through_base_and_adapter() {
    let model = fixtures().join("models/llama");
    let folder = tempfile::tempdir().unwrap();
    for name in ["plain", "rslora"] {
        let files = fixtures().join("lora").join(name);
        let merged = folder.path().join(name);
        merge_by_hand(&model, &files, &merged);
        let (decoder, merged) = (load(&model, ComputeDtype::F32), load(&merged, ComputeDtype::F32));
        let adapter = Arc::new(Adapter::open(&files, decoder.config(), &options()).unwrap());
        let (batch, targets) = first_batch(&recorded());
        let (loss, gradient) = run(&decoder, &whole(batch.clone(), &adapter), &targets);
        let (expected_loss, expected) = run(&merged, &batch, &targets);
        assert!((loss - expected_loss).abs() <= 1e-6, "{name}: {loss} {expected_loss}");
        let largest = expected.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
        for (found, expected) in gradient.iter().zip(&expected) {
            assert!((found - expected).abs() <= 2e-5 * largest, "{name}: {found} {expected}");
        }
    }
}

/// Sequences laid end to end, each with its adapter; logits of every row.
fn ragged(sequences: &[(Vec<u32>, Option<&Arc<Adapter>>)]) -> Batch {
    let (mut batch, mut positions, mut cu_seqlens) = (Batch::default(), Vec::new(), vec![0]);
    for (ids, adapter) in sequences {
        let rows = batch.ids.len()..batch.ids.len() + ids.len();
        positions.extend(0..ids.len() as u32);
        batch.ids.extend(ids);
        batch.logit_rows.extend(rows.clone().map(|row| row as u32));
        cu_seqlens.push(rows.end as u32);
        let adapter =
            adapter.map(|adapter| AdapterRows { rows, adapter: Arc::clone(adapter), dropout: None });
        batch.adapters.extend(adapter);
    }
    (batch.positions, batch.cu_seqlens) = (Arc::new(positions), Arc::new(cu_seqlens));
    batch
}

fn logits(decoder: &Decoder, batch: &Batch) -> Vec<Vec<u32>> {
    let mut attention = DenseAttention::new(decoder, &Workers::new(2));
    let rows = decoder.forward(batch, &mut attention).unwrap().to_vec2::<f32>().unwrap();
    rows.iter().map(|row| bits(row)).collect()
}

/// With rows of none, which alone go through the fused operations, and of adapters of other targets.
#[test]
fn a_row_depends_on_its_own_adapter_alone() {
    let some = [Target::Query, Target::Value, Target::Down];
    for model in ["qwen3", "gemma3"] {
        a_row_depends_on_its_own_adapter(model, &Target::SEPARATE, &some, Target::Up);
    }
    let some = [Target::QueryKeyValue, Target::Down];
    for model in ["phi3", "phi3_longrope"] {
        a_row_depends_on_its_own_adapter(model, &Target::FUSED, &some, Target::GateUp);
    }
}

fn a_row_depends_on_its_own_adapter(model: &str, all: &[Target], some: &[Target], mlp: Target) {
    let model = fixture(model);
    let all = adapter(&model, all, 1);
    let some = adapter(&model, some, 2);
    let mlp = adapter(&model, &[mlp], 3);
    for dtype in [ComputeDtype::F32, ComputeDtype::Bf16, ComputeDtype::Int8(Int8Scales::PerGroup32)] {
        let decoder = load(&model, dtype);
        let ids =
            |seed: u32, count: u32| -> Vec<u32> { (0..count).map(|at| (at * 7 + seed * 13) % 90).collect() };
        let sequences = [
            (ids(1, 9), Some(&all)),
            (ids(2, 5), None),
            (ids(3, 1), Some(&some)),
            (ids(4, 12), Some(&all)),
            (ids(1, 9), Some(&mlp)),
            (ids(1, 9), None),
            (ids(6, 3), Some(&all)),
        ];
        let together = logits(&decoder, &ragged(&sequences));
        let mut start = 0;
        for sequence in &sequences {
            let alone = logits(&decoder, &ragged(std::slice::from_ref(sequence)));
            assert!(alone == together[start..start + alone.len()], "{dtype:?}, from row {start}");
            start += alone.len();
        }
        assert_ne!(together[0], together[start - 12], "the adapter changes something");
    }
}

/// With all rows and with some: the logits of the model that has the sum in its weights.
#[test]
fn adapters_are_what_is_added_to_the_weights() {
    let folder = tempfile::tempdir().unwrap();
    let (fused, separate) = (Target::FUSED.as_slice(), Target::SEPARATE.as_slice());
    for (name, targets) in [
        ("phi3", fused),
        ("phi3_longrope", fused),
        ("gemma2", separate),
        ("gemma3", separate),
        ("mixtral", &separate[..4]),
    ] {
        let (model, files, merged) = (fixture(name), folder.path().join("adapter"), folder.path().join(name));
        let _ = std::fs::remove_dir_all(&files);
        write_adapter(&model, &files, targets, 5);
        merge_by_hand(&model, &files, &merged);
        let (decoder, merged) = (load(&model, ComputeDtype::F32), load(&merged, ComputeDtype::F32));
        let adapter = Arc::new(Adapter::open(&files, decoder.config(), &options()).unwrap());
        let ids: Vec<u32> = (0..40).map(|at| at * 7 % 90).collect();
        let other = (vec![3, 4, 5], None);
        let floats = |decoder: &Decoder, sequences: &[(Vec<u32>, Option<&Arc<Adapter>>)]| {
            // The first sequence sees nothing of what follows it.
            let mut attention = Apart(decoder);
            let rows = decoder.forward(&ragged(sequences), &mut attention).unwrap().to_vec2::<f32>().unwrap();
            rows[..ids.len()].concat()
        };
        let expected = floats(&merged, &[(ids.clone(), None)]);
        for sequences in [vec![(ids.clone(), Some(&adapter))], vec![(ids.clone(), Some(&adapter)), other]] {
            let found = floats(&decoder, &sequences);
            let difference = largest_difference(&found, &expected);
            assert!(difference <= TOLERANCE, "{name}: {difference}");
        }
    }
}

#[test]
fn projections_that_the_model_does_not_have_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let files = folder.path().join("adapter");
    write_adapter(&fixture("qwen3"), &files, &[Target::Query], 1);
    let error = Adapter::open(&files, &config_of(&fixture("phi3")), &options()).unwrap_err().to_string();
    assert!(
        error.contains("q_proj") && error.contains("qkv_proj, o_proj, gate_up_proj, down_proj"),
        "{error}"
    );
    // Experts are none of the linears that can be adapted.
    let attention = [Target::Query, Target::Output];
    let _ = std::fs::remove_dir_all(&files);
    write_adapter(&fixture("qwen2_moe"), &files, &attention, 1);
    let adapter = Adapter::open(&files, &config_of(&fixture("qwen2_moe")), &options()).unwrap();
    assert_eq!(adapter.pairs().count(), 6);
    let _ = std::fs::remove_dir_all(&files);
    write_adapter(&fixture("qwen2"), &files, &[Target::Gate], 1);
    let error = Adapter::open(&files, &config_of(&fixture("qwen2_moe")), &options()).unwrap_err().to_string();
    assert!(error.contains("model.layers.0.mlp.gate_proj"), "{error}");
    assert!(error.contains("(q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj)"), "{error}");
    let error = Adapter::open(&files, &config_of(&fixture("mixtral")), &options()).unwrap_err().to_string();
    assert!(error.contains("(q_proj, k_proj, v_proj, o_proj) can be adapted, experts cannot"), "{error}");
    let settings =
        LoraSettings { rank: 4, alpha: 8.0, dropout: 0.0, targets: vec![Target::Up], rslora: false };
    let error = settings.check(&config_of(&fixture("phi3"))).unwrap_err().to_string();
    assert!(error.contains("`target_modules`") && error.contains("gate_up_proj"), "{error}");
}

#[test]
fn rows_that_overlap_or_lie_outside_are_an_error() {
    let model = fixture("qwen3");
    let (decoder, adapter) = (load(&model, ComputeDtype::F32), adapter(&model, &[Target::Output], 1));
    for ranges in [vec![(0, 3), (2, 4)], vec![(0, 5)], vec![(2, 4), (0, 1)]] {
        let of =
            |(start, end)| AdapterRows { rows: start..end, adapter: Arc::clone(&adapter), dropout: None };
        let batch = ragged(&[(vec![1, 2, 3, 4], None)]);
        let batch = Batch { adapters: ranges.into_iter().map(of).collect(), ..batch };
        let mut attention = DenseAttention::new(&decoder, &Workers::new(1));
        assert!(decoder.forward(&batch, &mut attention).is_err());
    }
}

/// Its masks are the same when layers are run again, and others for another key.
#[test]
fn dropout_is_a_function_of_its_key() {
    let model = fixtures().join("models/llama");
    let decoder = load(&model, ComputeDtype::F32);
    let adapter = adapter(&model, &Target::SEPARATE, 4);
    let (batch, _) = first_batch(&recorded());
    let hidden = |dropout: Option<Dropout>, split: bool| {
        let mut batch = whole(batch.clone(), &adapter);
        batch.adapters[0].dropout = dropout;
        let mut attention = DenseAttention::new(&decoder, &Workers::new(2));
        let start = decoder.embed(&batch.ids).unwrap();
        let middle =
            if split { decoder.layers(&start, 0..1, &batch, &mut attention).unwrap() } else { start };
        let rest = usize::from(split)..2;
        let out = decoder.layers(&middle, rest, &batch, &mut attention).unwrap();
        bits(&out.flatten_all().unwrap().to_vec1::<f32>().unwrap())
    };
    let with = |key: u64| Some(Dropout { probability: 0.3, key, stream: 0 });
    assert_eq!(hidden(with(5), false), hidden(with(5), true));
    assert_ne!(hidden(with(5), false), hidden(with(6), false));
    assert_ne!(hidden(with(5), false), hidden(None, false));
    let none = Some(Dropout { probability: 0.0, key: 5, stream: 0 });
    assert_eq!(hidden(none, false), hidden(None, false));
}

#[test]
fn a_new_adapter_is_pefts_beginning() {
    let model = fixture("qwen3");
    let decoder = load(&model, ComputeDtype::F32);
    let config = decoder.config();
    let settings = LoraSettings {
        rank: 8,
        alpha: 16.0,
        dropout: 0.05,
        targets: vec![Target::Down, Target::Query],
        rslora: true,
    };
    let new = |seed, threads| Adapter::new(config, &settings, seed, &Workers::new(threads)).unwrap();
    let adapter = new(3, 2);
    assert_eq!(factors(&adapter), factors(&new(3, 1)));
    assert_ne!(factors(&adapter), factors(&new(4, 1)));
    for (module, pair) in adapter.pairs() {
        assert!((pair.scale - 16.0 / 8f64.sqrt()).abs() < 1e-12);
        let (a, bound) = (elements(&pair.a), (pair.a.in_features() as f32).sqrt().recip());
        assert!(a.iter().all(|x| x.abs() <= bound), "{module}");
        // Uniform: the mean of the squares is a third of the bound's.
        let squares = a.iter().map(|x| (x / bound).powi(2)).sum::<f32>() / a.len() as f32;
        assert!((squares - 1.0 / 3.0).abs() < 0.06, "{module}: {squares}");
        assert!(elements(&pair.b).iter().all(|x| *x == 0.0));
    }
    let names: Vec<String> = adapter.pairs().map(|(module, _)| module).collect();
    let expected = ["0.self_attn.q_proj", "0.mlp.down_proj", "1.self_attn.q_proj", "1.mlp.down_proj"];
    assert_eq!(names, expected.map(|end| format!("model.layers.{end}")));
    let plain = ragged(&[(vec![5, 6, 7], None)]);
    let adapted = ragged(&[(vec![5, 6, 7], Some(&Arc::new(adapter)))]);
    assert_eq!(logits(&decoder, &plain), logits(&decoder, &adapted), "B is zero");

    let refused = |settings: LoraSettings, key: &str| {
        let error = Adapter::new(config, &settings, 0, &Workers::new(1)).unwrap_err().to_string();
        assert!(error.contains(&format!("`{key}`")), "{error}");
    };
    refused(LoraSettings { rank: 0, ..settings.clone() }, "r");
    refused(LoraSettings { rank: 33, ..settings.clone() }, "r");
    refused(LoraSettings { alpha: 0.0, ..settings.clone() }, "lora_alpha");
    refused(LoraSettings { dropout: 1.0, ..settings.clone() }, "lora_dropout");
    refused(LoraSettings { targets: Vec::new(), ..settings.clone() }, "target_modules");
}

#[test]
fn files_go_out_as_they_came_in() {
    let config = config_of(&fixtures().join("models/llama"));
    let out = tempfile::tempdir().unwrap();
    for name in ["plain", "rslora"] {
        let folder = fixtures().join("lora").join(name);
        let mut adapter = Adapter::open(&folder, &config, &options()).unwrap();
        let written = out.path().join(name);
        adapter.save(&written, "models/llama", WrittenDtype::F32).unwrap();
        let again = Adapter::open(&written, &config, &options()).unwrap();
        assert_eq!(factors(&adapter), factors(&again));
        assert_eq!((again.rank(), again.config()), (4, adapter.config()));

        let read = |folder: &Path| -> HashMap<String, Tensor> {
            candle_core::safetensors::load(folder.join("adapter_model.safetensors"), &Device::Cpu).unwrap()
        };
        let (ours, pefts) = (read(&written), read(&folder));
        assert_eq!(ours.len(), pefts.len());
        for (name, tensor) in &pefts {
            let values = |x: &Tensor| bits(&x.flatten_all().unwrap().to_vec1::<f32>().unwrap());
            assert_eq!((ours[name].dims(), values(&ours[name])), (tensor.dims(), values(tensor)), "{name}");
        }
        let mut names: Vec<String> = adapter.factors_mut().map(|(name, _)| name).collect();
        names.sort();
        let mut expected: Vec<&String> = pefts.keys().collect();
        expected.sort();
        assert!(names.iter().eq(expected));

        let json = |folder: &Path| -> Value {
            serde_json::from_slice(&std::fs::read(folder.join("adapter_config.json")).unwrap()).unwrap()
        };
        let (ours, pefts) = (json(&written), json(&folder));
        // What PEFT has beside these is null or a default of its own.
        for (key, value) in ours.as_object().unwrap() {
            assert_eq!(value, &pefts[key], "{key}");
        }
        assert!(adapter.save(&written, "x", WrittenDtype::F32).is_err(), "the folder is not empty");
    }
    let adapter = Adapter::open(&fixtures().join("lora/plain"), &config, &options()).unwrap();
    let written = out.path().join("bf16");
    adapter.save(&written, "x", WrittenDtype::Bf16).unwrap();
    let rounded = Adapter::open(&written, &config, &options()).unwrap();
    let expected = |bits: &u32| half::bf16::from_f32(f32::from_bits(*bits)).to_f32().to_bits();
    let expected: Vec<Vec<u32>> =
        factors(&adapter).iter().map(|all| all.iter().map(expected).collect()).collect();
    assert_eq!(factors(&rounded), expected);
}

/// PEFT's adapter with other keys in its configuration.
fn opened(keys: &Value, config: &DecoderConfig, options: &AdapterOptions) -> Result<Adapter, String> {
    let folder = tempfile::tempdir().unwrap();
    let from = fixtures().join("lora/plain");
    let bytes = std::fs::read(from.join("adapter_config.json")).unwrap();
    let mut written: Value = serde_json::from_slice(&bytes).unwrap();
    for (key, value) in keys.as_object().unwrap() {
        written[key] = value.clone();
    }
    std::fs::write(folder.path().join("adapter_config.json"), written.to_string()).unwrap();
    let tensors = "adapter_model.safetensors";
    std::fs::copy(from.join(tensors), folder.path().join(tensors)).unwrap();
    Adapter::open(folder.path(), config, options).map_err(|error| error.to_string())
}

#[test]
fn what_a_served_model_cannot_be_is_refused_by_its_key() {
    let config = config_of(&fixtures().join("models/llama"));
    let accepted = |keys: Value| {
        if let Err(error) = opened(&keys, &config, &options()) {
            panic!("{keys}: {error}");
        }
    };
    accepted(json!({}));
    accepted(json!({"target_modules": r".*\.(q_proj|v_proj|up_proj|down_proj)"}));
    accepted(json!({"target_modules": null, "layers_to_transform": [0, 1]}));
    accepted(
        json!({"target_modules": ["q_proj", "k_proj", "v_proj", "up_proj", "down_proj"], "exclude_modules": ["k_proj"]}),
    );
    accepted(json!({"lora_dropout": 0.1, "peft_version": "9.9.9"}));
    let refused = |keys: Value, parts: &[&str]| {
        let error = opened(&keys, &config, &options()).expect_err("refused");
        for part in parts {
            assert!(error.contains(part), "{keys}: {error} does not say {part}");
        }
    };
    refused(json!({"r": 8}), &["not [8, in]"]);
    refused(json!({"rank_pattern": {"q_proj": 2}}), &["q_proj", "not [2, in]"]);
    refused(json!({"bias": "all"}), &["`bias`", "lora merge"]);
    refused(json!({"lora_bias": true}), &["`lora_bias`"]);
    refused(json!({"use_dora": true}), &["`use_dora`"]);
    refused(json!({"fan_in_fan_out": true}), &["`fan_in_fan_out`"]);
    refused(json!({"modules_to_save": ["lm_head"]}), &["`modules_to_save` (lm_head)"]);
    refused(json!({"lora_dropout": 1.5}), &["`lora_dropout`"]);
    refused(json!({"layers_to_transform": "0"}), &["`layers_to_transform`"]);
    refused(json!({"layers_to_transform": [0]}), &["model.layers.1.", "leave out"]);
    refused(json!({"target_modules": ["q_proj"]}), &["down_proj", "leave out"]);
    refused(json!({"target_modules": "all-linear"}), &["k_proj", "has no tensors"]);
    refused(json!({"target_modules": "(q_proj"}), &["`target_modules`", "no regular expression"]);
    refused(json!({"peft_type": "IA3"}), &["IA3"]);

    let other = |config: DecoderConfig, part: &str| {
        let error = opened(&json!({}), &config, &options()).expect_err("refused");
        assert!(error.contains(part), "{error} does not say {part}");
    };
    other(DecoderConfig { layers: 1, ..config.clone() }, "model.layers.1.");
    other(DecoderConfig { layers: 3, ..config.clone() }, "model.layers.2.");
    other(DecoderConfig { hidden_size: 16, ..config.clone() }, "for another model");
    let bounded = |options: AdapterOptions, part: &str| {
        let error = opened(&json!({}), &config, &options).expect_err("refused");
        assert!(error.contains(part), "{error} does not say {part}");
    };
    bounded(AdapterOptions { rank_max: 3, ..options() }, "at most 3 is served");
    bounded(AdapterOptions { bytes_max: 1000, ..options() }, "MiB in f32");
    let missing = Adapter::open(Path::new("absent"), &config, &options()).unwrap_err().to_string();
    assert!(missing.contains("is no LoRA adapter"), "{missing}");
}

#[test]
fn patterns_give_modules_scales_of_their_own() {
    let config = config_of(&fixtures().join("models/llama"));
    let keys = json!({"alpha_pattern": {"layers.0.self_attn.q_proj": 2}});
    let adapter = opened(&keys, &config, &options()).unwrap();
    let scale = |layer, target| adapter.pair(layer, target).unwrap().scale;
    assert_eq!([scale(0, Target::Query), scale(1, Target::Query), scale(0, Target::Up)], [0.5, 2.0, 2.0]);
    assert!(adapter.pair(0, Target::Key).is_none() && adapter.pair(2, Target::Query).is_none());
    assert!(adapter.bytes() > 0 && adapter.layers() == 2);
}
