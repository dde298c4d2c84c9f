//! LoRA: adapters added to weights as PEFT adds them, and adapters drawn out of tuned models.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use serde_json::{Value, json};
use xenoglot::merge::Elements;
use xenoglot::merge::lora::{Adapted, ExtractError, ExtractOptions, Extraction, Matrix, extract, truncated};
use xenoglot::weights::{Adapter, ModuleNames, TensorSource, open_weights};

type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;
type Source = Box<dyn TensorSource + Send + Sync>;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/merge/fixtures")
}

fn model(name: &str) -> Source {
    open_weights(&fixtures().join("models").join(name)).unwrap().1
}

/// Every tensor of a model, changed by an adapter if there is one.
fn read(model: &dyn TensorSource, adapter: Option<&Adapter>) -> Tensors {
    let tensor = |name: String| {
        let change = adapter.and_then(|adapter| adapter.for_weight(&name).unwrap());
        let adapted = Adapted::new(model.tensor(&name).unwrap(), change).unwrap();
        let mut values = vec![0.0; adapted.shape().iter().product()];
        adapted.read(0, &mut values).unwrap();
        (name, (adapted.shape().to_vec(), values))
    };
    model.names().into_iter().map(tensor).collect()
}

fn write(path: &Path, tensors: &Tensors) {
    let bytes: Vec<(&String, &Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, (shape, values))| (name, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect()))
        .collect();
    let views = bytes.iter().map(|(name, shape, bytes)| {
        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, (*shape).clone(), bytes);
        (*name, view.unwrap())
    });
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

fn write_model(tensors: &Tensors) -> (tempfile::TempDir, Source) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.json"), "{}").unwrap();
    write(&folder.path().join("model.safetensors"), tensors);
    let source = open_weights(folder.path()).unwrap().1;
    (folder, source)
}

fn golden(name: &str) -> Tensors {
    let bytes = fs::read(fixtures().join("golden").join(format!("{name}.safetensors"))).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let values =
        |data: &[u8]| data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    file.tensors()
        .into_iter()
        .map(|(name, view)| (name, (view.shape().to_vec(), values(view.data()))))
        .collect()
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let squares = a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
    squares.sum::<f64>().sqrt()
}

/// Within `tolerance` everywhere, and the same tensors.
fn assert_near(found: &Tensors, expected: &Tensors, tolerance: f32) {
    assert!(found.keys().eq(expected.keys()), "{:?} {:?}", found.keys(), expected.keys());
    for (name, (shape, values)) in expected {
        assert_eq!(&found[name].0, shape, "{name}");
        let worst = values.iter().zip(&found[name].1).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= tolerance, "{name}: {worst}");
    }
}

#[test]
fn adapted_weights_are_those_of_peft() {
    let base = model("base");
    let adapted = |name: &str| {
        let adapter = Adapter::open(&fixtures().join("lora").join(name)).unwrap();
        adapter.check_base(&*base).unwrap();
        assert_eq!(adapter.targets().len(), 6);
        read(&*base, Some(&adapter))
    };
    // Sums in another order: 1e-6 of values about 1.
    assert_near(&adapted("rslora"), &golden("lora-rslora"), 1e-6);
    let mut mixed = adapted("plain");
    let other = read(&*model("a"), None);
    for (name, (_, values)) in &mut mixed {
        for (value, other) in values.iter_mut().zip(&other[name].1) {
            *value = 0.6 * *value + 0.4 * other;
        }
    }
    assert_near(&mixed, &golden("lora"), 1e-6);
}

/// A linear layer `[300, 7]` of rank 5 and an adapter for it.
fn wide() -> (tempfile::TempDir, tempfile::TempDir, Source) {
    let numbers = |count: usize, step: usize| (0..count).map(|i| (i * step % 17) as f32 - 8.0).collect();
    let (folder, base) = write_model(&[("m.weight".to_owned(), (vec![300, 7], numbers(2100, 5)))].into());
    let adapter = tempfile::tempdir().unwrap();
    let factors = [
        ("base_model.model.m.lora_A.weight".to_owned(), (vec![5, 7], numbers(35, 3))),
        ("base_model.model.m.lora_B.weight".to_owned(), (vec![300, 5], numbers(1500, 7))),
    ];
    write(&adapter.path().join("adapter_model.safetensors"), &factors.into());
    write_config(adapter.path(), &json!({ "peft_type": "LORA", "r": 5, "lora_alpha": 10 }));
    (folder, adapter, base)
}

#[test]
fn a_part_is_read_as_the_whole() {
    let (_folder, adapter, base) = wide();
    let adapter = Adapter::open(adapter.path()).unwrap();
    let change = adapter.for_weight("m.weight").unwrap();
    let adapted = Adapted::new(base.tensor("m.weight").unwrap(), change).unwrap();
    let mut whole = vec![0.0; 2100];
    adapted.read(0, &mut whole).unwrap();
    for (from, length) in [(0, 256), (256, 256), (1792, 308), (7, 7), (2093, 7), (512, 1)] {
        let mut part = vec![0.0; length];
        adapted.read(from, &mut part).unwrap();
        assert_eq!(part, whole[from..from + length], "{from}");
    }
}

fn write_config(folder: &Path, config: &Value) {
    fs::write(folder.join("adapter_config.json"), config.to_string()).unwrap();
}

/// An adapter of these tensors, its names without `base_model.model.`, over a LoRA configuration with these keys.
fn write_adapter(keys: &Value, tensors: &[(&str, &[usize], &[f32])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut config = json!({ "peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q"] });
    for (key, value) in keys.as_object().unwrap() {
        config[key] = value.clone();
    }
    write_config(folder.path(), &config);
    let named = |(name, shape, values): &(&str, &[usize], &[f32])| {
        (format!("base_model.model.{name}"), (shape.to_vec(), values.to_vec()))
    };
    write(&folder.path().join("adapter_model.safetensors"), &tensors.iter().map(named).collect());
    folder
}

const A: (&str, &[usize], &[f32]) = ("q.lora_A.weight", &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
const B: (&str, &[usize], &[f32]) = ("q.lora_B.weight", &[2, 2], &[1.0, 0.0, 10.0, 1.0]);

#[test]
fn every_kind_of_change_is_made() {
    let check = |keys: Value,
                 tensors: &[(&str, &[usize], &[f32])],
                 weight: &str,
                 shape: &[usize],
                 expected: &[f32]| {
        let folder = write_adapter(&keys, tensors);
        let adapter = Adapter::open(folder.path()).unwrap();
        let elements = shape.iter().product();
        let (_folder, base) =
            write_model(&[(weight.to_owned(), (shape.to_vec(), vec![0.5; elements]))].into());
        adapter.check_base(&*base).unwrap();
        assert_eq!(adapter.targets(), [weight]);
        assert_eq!(read(&*base, Some(&adapter))[weight].1, expected, "{keys}");
    };
    // B A = [[1, 2, 3], [14, 25, 36]]
    let pair = [A, B];
    check(json!({}), &pair, "q.weight", &[2, 3], &[2.5, 4.5, 6.5, 28.5, 50.5, 72.5]);
    check(json!({ "fan_in_fan_out": true }), &pair, "q.weight", &[3, 2], &[2.5, 28.5, 4.5, 50.5, 6.5, 72.5]);
    check(
        json!({ "r": 9, "lora_alpha": 9, "rank_pattern": { "q": 2 }, "alpha_pattern": { "x|q": 1.0 } }),
        &pair,
        "q.weight",
        &[2, 3],
        &[1.0, 1.5, 2.0, 7.5, 13.0, 18.5],
    );
    let named = [("q.lora_A.default.weight", A.1, A.2), ("q.lora_B.default.weight", B.1, B.2)];
    check(json!({ "lora_alpha": 2 }), &named, "q.weight", &[2, 3], &[1.5, 2.5, 3.5, 14.5, 25.5, 36.5]);
    let embedding = [("q.lora_embedding_A", A.1, A.2), ("q.lora_embedding_B", B.1, B.2)];
    check(json!({}), &embedding, "q.weight", &[3, 2], &[2.5, 28.5, 4.5, 50.5, 6.5, 72.5]);
    // With the embeddings that the adapter was trained over.
    let own = ("q.base_layer.weight", &[3, 2][..], &[0.0, 0.0, 0.0, 0.0, 0.0, 1.0][..]);
    check(
        json!({ "modules_to_save": ["q"] }),
        &[embedding[0], embedding[1], own],
        "q.weight",
        &[3, 2],
        &[2.0, 28.0, 4.0, 50.0, 6.0, 73.0],
    );
    let saved = ("m.q.weight", &[2][..], &[7.0, 8.0][..]);
    check(json!({ "modules_to_save": ["m"] }), &[saved], "m.q.weight", &[2], &[7.0, 8.0]);
    let saved = ("lm_head.modules_to_save.default.weight", &[2][..], &[7.0, 8.0][..]);
    check(json!({}), &[saved], "lm_head.weight", &[2], &[7.0, 8.0]);
    let bias = ("q.lora_B.bias", &[2][..], &[1.0, -1.0][..]);
    check(json!({ "lora_bias": true }), &[bias], "q.bias", &[2], &[2.5, -1.5]);
    let bias = ("q.base_layer.bias", &[2][..], &[1.0, -1.0][..]);
    check(json!({ "bias": "all" }), &[bias], "q.bias", &[2], &[1.0, -1.0]);
}

#[test]
fn a_wrong_adapter_is_one_clear_error() {
    let check = |keys: Value, tensors: &[(&str, &[usize], &[f32])], expected: &str| {
        let folder = write_adapter(&keys, tensors);
        let message = Adapter::open(folder.path()).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    };
    let good = [A, B];
    check(json!({ "peft_type": "LOHA" }), &good, "type LOHA; only LORA");
    check(json!({ "peft_type": null }), &good, "`peft_type` is missing");
    check(json!({ "use_dora": true }), &good, "sets `use_dora`");
    check(json!({ "layer_replication": [[0, 4]] }), &good, "sets `layer_replication`");
    check(json!({ "init_lora_weights": "pissa_niter_4" }), &good, "began as pissa_niter_4");
    check(json!({ "r": 0 }), &good, "`r` is 0; a rank is a whole number from 1 on");
    check(json!({ "r": -1 }), &good, "`r` is -1;");
    check(json!({ "r": 1e30 }), &good, "`r` is 1e+30;");
    check(json!({ "rank_pattern": { "q": 0 } }), &good, "`rank_pattern.q` is 0;");
    check(json!({ "rank_pattern": { "q": null } }), &good, "`rank_pattern.q` is null");
    check(json!({ "rank_pattern": [2] }), &good, "`rank_pattern` is not an object");
    check(json!({ "rank_pattern": { "(": 2 } }), &good, "`rank_pattern` has `(`, no regular expression");
    check(json!({ "lora_alpha": "4" }), &good, "`lora_alpha` is not a number");
    check(json!({ "use_rslora": 1 }), &good, "`use_rslora` is not true or false");
    check(json!({ "bias": "some" }), &good, "`bias` is not none, all or lora_only");
    check(json!({ "modules_to_save": [1] }), &good, "`modules_to_save` is not a list of names");
    check(json!({ "r": 4 }), &good, "`base_model.model.q.lora_A.weight` has shape [2, 3], not [4, in]");
    check(json!({ "r": u64::MAX }), &good, "has shape [2, 3], not [18446744073709551615, in]");
    check(json!({}), &[A], "`base_model.model.q.lora_A.weight` lacks its other half, a lora_B");
    check(json!({}), &[B], "lacks its other half, a lora_A");
    check(json!({}), &[A, ("q.lora_B.weight", &[2, 1], &[1.0, 2.0])], "has shape [2, 1], not [out, 2]");
    check(json!({}), &[A, ("q.lora_B.weight", &[2, 2, 1], B.2)], "has shape [2, 2, 1], not [out, 2]");
    check(json!({}), &[("q.lora_A.weight", &[2, 0], &[]), B], "has shape [2, 0], not [2, in]");
    check(json!({}), &[A, B, ("q.lora_A.default.weight", A.1, A.2)], "are both for `q.weight`");
    check(
        json!({}),
        &[A, B, ("q.lora_magnitude_vector", &[1], &[1.0])],
        "q.lora_magnitude_vector` is none that",
    );
    check(json!({}), &[A, B, ("q.lora_B.bias", &[1], &[1.0])], "q.lora_B.bias` is none that");
    check(json!({}), &[A, B, ("q.weight", &[1], &[1.0])], "q.weight` is none that");
    let other = ("q.weight", &[3, 3][..], &[0.0; 9][..]);
    check(
        json!({ "modules_to_save": ["q"] }),
        &[A, B, other],
        "for `q.weight` make shapes [2, 3] and [3, 3]",
    );
    check(json!({}), &[], "holds no tensors");

    let folder = write_adapter(&json!({}), &good);
    let path = folder.path().join("adapter_model.safetensors");
    let header = br#"{"base_model.model.q.lora_A.weight":{"dtype":"F32","shape":[4294967296,4294967296,2],"data_offsets":[0,4]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    bytes.extend([0; 4]);
    fs::write(&path, bytes).unwrap();
    let message = Adapter::open(folder.path()).unwrap_err().to_string();
    assert!(message.contains("impossible shape"), "{message}");
    fs::remove_file(&path).unwrap();
    let message = Adapter::open(folder.path()).unwrap_err().to_string();
    assert!(message.contains("is no LoRA adapter"), "{message}");
}

#[test]
fn an_adapter_for_another_model_is_refused() {
    let check = |weight: &str, shape: &[usize], expected: &str| {
        let folder = write_adapter(&json!({}), &[A, B]);
        let elements = shape.iter().product();
        let (_folder, base) =
            write_model(&[(weight.to_owned(), (shape.to_vec(), vec![0.0; elements]))].into());
        let message = Adapter::open(folder.path()).unwrap().check_base(&*base).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    };
    check("k.weight", &[2, 3], "changes 1 weights that the base model lacks (q.weight)");
    check("q.weight", &[3, 2], "is for a `q.weight` of shape [2, 3], the base model's is [3, 2]");
}

/// As `svd.py` draws it.
fn draw(key: u64, count: usize) -> Vec<f64> {
    let draw = |at: u64| {
        let mut z = (key << 32).wrapping_add(at + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 40) as f64 / (1 << 23) as f64 - 1.0
    };
    (0..count as u64).map(draw).collect()
}

fn formula(case: &Value) -> (Vec<f32>, usize, usize) {
    let whole = |key: &str| case[key].as_u64().unwrap() as usize;
    let (rows, columns) = (whole("rows"), whole("columns"));
    let mut sums = vec![0.0; rows * columns];
    for t in 0..whole("terms") {
        let scale = 2.0_f64.powf(-(t as f64) / case["decay"].as_f64().unwrap());
        let (left, right) = (draw(2 * t as u64, rows), draw(2 * t as u64 + 1, columns));
        for (at, sum) in sums.iter_mut().enumerate() {
            *sum += scale * left[at / columns] * right[at % columns];
        }
    }
    let noise = draw(1 << 20, rows * columns);
    let scale = case["noise"].as_f64().unwrap();
    let values = sums.iter().zip(noise).map(|(sum, noise)| (sum + scale * noise) as f32).collect();
    (values, rows, columns)
}

/// The norm of what a decomposition leaves of a matrix.
fn left_over(values: &[f32], columns: usize, svd: &xenoglot::merge::lora::Svd) -> f64 {
    let rank = svd.values.len();
    let rows = values.len() / columns;
    let squares = values.iter().enumerate().map(|(at, value)| {
        let (row, column) = (at / columns, at % columns);
        let product = |k: usize| {
            svd.values[k] * f64::from(svd.left[k * rows + row]) * f64::from(svd.right[k * columns + column])
        };
        (f64::from(*value) - (0..rank).map(product).sum::<f64>()).powi(2)
    });
    squares.sum::<f64>().sqrt()
}

#[test]
fn singular_values_are_those_of_numpy() {
    let cases: Vec<Value> =
        serde_json::from_str(&fs::read_to_string(fixtures().join("svd.json")).unwrap()).unwrap();
    for case in &cases {
        let name = case["name"].as_str().unwrap();
        let is_noisy = case["noise"].as_f64().unwrap() > 0.0;
        let (values, rows, columns) = formula(case);
        let expected: Vec<f64> =
            case["values"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect();
        for (rank, rest) in case["rest"].as_object().unwrap() {
            let (rank, best) = (rank.parse().unwrap(), rest.as_f64().unwrap());
            let svd = truncated(&Matrix::new(values.clone(), rows, columns).unwrap(), rank).unwrap();
            for (at, value) in svd.values.iter().enumerate() {
                // In noise the iteration finds the energy and not each value. Values below a millionth of the largest are
                // the rounding of f32.
                let is_noise = is_noisy && at >= case["terms"].as_u64().unwrap() as usize;
                let tolerance = if is_noise { 2e-2 } else { 1e-4 };
                let error = (value - expected[at]).abs();
                assert!(
                    error <= tolerance * expected[at] + 1e-6 * expected[0],
                    "{name}, rank {rank}, {at}: {value}, {}",
                    expected[at]
                );
            }
            let found = left_over(&values, columns, &svd);
            // Never better than the best of that rank, but for rounding, and as good.
            let rounding = 1e-6 * expected[0];
            let slack = if is_noisy { 3e-3 } else { 1e-5 };
            assert!(
                found >= best - rounding && found <= best * (1.0 + slack) + rounding,
                "{name}, rank {rank}: {found} of {best}"
            );
        }
    }
}

fn extracted(tuned: &dyn TensorSource, options: &ExtractOptions) -> (tempfile::TempDir, Extraction, Adapter) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("adapter");
    let stop = AtomicBool::new(false);
    let done = extract(&*model("base"), tuned, &out, options, &stop, &mut |_, _, _| {}).unwrap();
    let adapter = Adapter::open(&out).unwrap();
    adapter.check_base(&*model("base")).unwrap();
    (folder, done, adapter)
}

#[test]
fn an_adapter_of_full_rank_gives_the_tuned_model_back() {
    for name in ["a", "c"] {
        for (distribute_scale, embed_lora) in [(true, false), (false, true)] {
            let options = ExtractOptions { distribute_scale, embed_lora, ..ExtractOptions::default() };
            let (_folder, done, adapter) = extracted(&*model(name), &options);
            assert_near(&read(&*model("base"), Some(&adapter)), &read(&*model(name), None), 1e-5);
            assert!(done.left_out.is_empty(), "{done:?}");
            assert_eq!(done.whole.iter().any(|module| module == "lm_head"), !embed_lora);
            // c leaves one matrix as it was.
            assert_eq!(done.unchanged > 0, name == "c");
        }
    }
}

#[test]
fn an_adapter_of_low_rank_is_the_best_of_that_rank() {
    let (base, tuned) = (read(&*model("base"), None), read(&*model("b"), None));
    let options = ExtractOptions { rank: 3, skip_undecomposable: true, ..ExtractOptions::default() };
    let (_folder, done, adapter) = extracted(&*model("b"), &options);
    let found = read(&*model("base"), Some(&adapter));
    assert_eq!(done.modules.len(), 21);
    for module in &done.modules {
        let name = format!("{}.weight", module.name);
        let (shape, values) = &tuned[&name];
        let delta: Vec<f32> = values.iter().zip(&base[&name].1).map(|(a, b)| a - b).collect();
        let all = truncated(&Matrix::new(delta, shape[0], shape[1]).unwrap(), 99).unwrap().values;
        let square = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>();
        let error = distance(&found[&name].1, values);
        assert!((error - square(&all[3..]).sqrt()).abs() < 1e-5, "{name}: {error}");
        assert!((error - module.error).abs() < 1e-5, "{name}: {error}, {}", module.error);
        assert!((module.energy - square(&all[..3]) / square(&all)).abs() < 1e-6);
        assert_eq!(module.rank, 3);
    }
    // Norms are no matrices.
    assert!(done.left_out.iter().all(|name| name.contains("norm")), "{:?}", done.left_out);
    assert!(matches!(&adapter.config().target_modules, ModuleNames::Names(names) if names.len() == 7));
    assert_eq!(adapter.config().modules_to_save, ["lm_head", "embed_tokens"]);
}

#[test]
fn ranks_follow_energy_and_size() {
    let options = |energy, sv_epsilon| ExtractOptions {
        energy,
        sv_epsilon,
        skip_undecomposable: true,
        ..ExtractOptions::default()
    };
    let (_folder, done, adapter) = extracted(&*model("c"), &options(Some(0.7), 0.0));
    for module in &done.modules {
        assert!(module.energy >= 0.7 && module.rank < 16, "{module:?}");
    }
    assert!(!adapter.config().rank_pattern.is_empty());
    let (_folder, finer, _) = extracted(&*model("c"), &options(Some(0.9), 0.0));
    assert!(finer.modules.iter().zip(&done.modules).all(|(a, b)| a.rank > b.rank));
    let (_folder, done, _) = extracted(&*model("c"), &options(None, 0.5));
    assert!(done.modules.iter().all(|module| module.rank < 8), "{:?}", done.modules);
}

#[test]
fn only_what_is_asked_for_is_extracted() {
    let check = |options: &ExtractOptions, modules: usize, targets: &[&str], saved: &[&str]| {
        let (_folder, done, adapter) = extracted(&*model("a"), options);
        assert_eq!(done.modules.len(), modules);
        let names = targets.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(adapter.config().target_modules, ModuleNames::Names(names));
        assert_eq!(adapter.config().modules_to_save, saved);
    };
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let start =
        ExtractOptions { exclude: list(&["embed_tokens", "lm_head", "norm"]), ..ExtractOptions::default() };
    check(
        &ExtractOptions { include: list(&["q_proj$", "up_proj"]), ..start.clone() },
        6,
        &["up_proj", "q_proj"],
        &[],
    );
    let one = "model.layers.1.self_attn.q_proj";
    check(&ExtractOptions { include: list(&["\\.1\\..*q_proj"]), ..start.clone() }, 1, &[one], &[]);
    let whole = ExtractOptions { include: list(&["q_proj"]), save_modules: list(&["norm"]), ..start };
    // PEFT would take every name that ends in norm.
    check(&whole, 3, &["q_proj"], &["model.norm"]);
}

#[test]
fn weights_of_other_shapes_are_refused_or_excluded() {
    let tokens = |rows: u8| {
        let value = f32::from(rows);
        let embeddings = (vec![usize::from(rows), 2], vec![value; usize::from(rows) * 2]);
        let query = (vec![2, 2], vec![value, 0.0, 0.0, 1.0]);
        write_model(&[("embed_tokens.weight".to_owned(), embeddings), ("q.weight".to_owned(), query)].into())
    };
    let (base, tuned) = (tokens(3), tokens(4));
    let message = extract_to(&*base.1, &*tuned.1, &ExtractOptions::default()).err().unwrap().to_string();
    assert!(message.contains("embed_tokens.weight: has other shapes in the two models"), "{message}");
    let options = ExtractOptions { exclude: vec!["embed_tokens".into()], ..ExtractOptions::default() };
    let (_folder, adapter) = extract_to(&*base.1, &*tuned.1, &options).unwrap();
    assert_eq!(adapter.targets(), ["q.weight"]);
}

/// A model of one layer with a bias.
fn biased(weight: f32, bias: f32, extra: &[(&str, f32)]) -> (tempfile::TempDir, Source) {
    let mut tensors: Tensors = [
        ("m.q.weight".to_owned(), (vec![2, 2], vec![weight, 0.0, 0.0, 1.0])),
        ("m.q.bias".to_owned(), (vec![2], vec![bias, 1.0])),
    ]
    .into();
    tensors.extend(extra.iter().map(|(name, value)| ((*name).to_owned(), (vec![1], vec![*value]))));
    write_model(&tensors)
}

fn extract_to(
    base: &dyn TensorSource,
    tuned: &dyn TensorSource,
    options: &ExtractOptions,
) -> Result<(tempfile::TempDir, Adapter), ExtractError> {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("adapter");
    let result = extract(base, tuned, &out, options, &AtomicBool::new(false), &mut |_, _, _| {});
    if result.is_err() {
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "an output is whole or absent");
    }
    result.map(|_| (folder, Adapter::open(&out).unwrap()))
}

#[test]
fn a_changed_bias_is_kept_whole() {
    let base = biased(1.0, 0.0, &[]);
    for (weight, bias) in [(2.0, 3.0), (1.0, 3.0)] {
        let tuned = biased(weight, bias, &[]);
        let (_folder, adapter) = extract_to(&*base.1, &*tuned.1, &ExtractOptions::default()).unwrap();
        assert_near(&read(&*base.1, Some(&adapter)), &read(&*tuned.1, None), 0.0);
    }
}

#[test]
fn what_cannot_be_extracted_is_said() {
    let check = |base: &(tempfile::TempDir, Source),
                 tuned: &(tempfile::TempDir, Source),
                 options: &ExtractOptions,
                 expected: &str| {
        let message = extract_to(&*base.1, &*tuned.1, options).err().unwrap().to_string();
        assert!(message.contains(expected), "{message}");
    };
    let (plain, other, start) = (biased(1.0, 0.0, &[]), biased(2.0, 0.0, &[]), ExtractOptions::default());
    check(&plain, &plain, &start, "nothing to extract");
    check(&plain, &biased(f32::NAN, 0.0, &[]), &start, "m.q.weight: has differences that are not finite");
    check(
        &plain,
        &biased(1.0, 0.0, &[("x.weight", 1.0)]),
        &start,
        "x.weight: is in the tuned model and not in the base",
    );
    check(
        &biased(1.0, 0.0, &[("x.weight", 1.0)]),
        &plain,
        &start,
        "x.weight: is in the base model and not in the tuned",
    );
    let scalars = (biased(1.0, 0.0, &[("m.scale", 1.0)]), biased(1.0, 0.0, &[("m.scale", 2.0)]));
    check(&scalars.0, &scalars.1, &start, "m.scale: differs, and no adapter can hold");
    check(&plain, &other, &ExtractOptions { rank: 0, ..start.clone() }, "rank is 0");
    check(&plain, &other, &ExtractOptions { energy: Some(1.5), ..start.clone() }, "energy is 1.5");
    check(&plain, &other, &ExtractOptions { energy: Some(f64::NAN), ..start.clone() }, "energy is NaN");
    check(&plain, &other, &ExtractOptions { sv_epsilon: -1.0, ..start.clone() }, "sv-epsilon is -1");
    check(&plain, &other, &ExtractOptions { include: vec!["(".into()], ..start.clone() }, "the pattern `(`");
    check(&plain, &other, &ExtractOptions { include: vec!["k".into()], ..start }, "nothing to extract");
}

/// GPT-2's layers are `[in, out]` whatever the adapter says, also square ones, and its checkpoints lack the prefix that adapters
/// have. Llama's are `[out, in]` even where the adapter says `fan_in_fan_out`. As PEFT does.
#[test]
fn the_model_says_which_way_round_a_matrix_is() {
    let check = |family: &str, stored: &str, adapted: &str, flag: bool, expected: [f32; 4]| {
        let pair: [(String, [usize; 2], [f32; 4]); 2] = [
            (format!("{adapted}.lora_A.weight"), [2, 2], [1.0, 2.0, 3.0, 4.0]),
            (format!("{adapted}.lora_B.weight"), [2, 2], [1.0, 0.0, 10.0, 1.0]),
        ];
        let pair = pair.each_ref().map(|(name, shape, values)| (name.as_str(), &shape[..], &values[..]));
        let adapter = write_adapter(&json!({ "fan_in_fan_out": flag, "lora_alpha": 2 }), &pair);
        let tensors = [(format!("{stored}.weight"), (vec![2, 2], vec![0.5; 4]))].into();
        let (base, _) = write_model(&tensors);
        fs::write(base.path().join("config.json"), json!({ "model_type": family }).to_string()).unwrap();
        let [base, adapter] = [&base, &adapter].map(|folder| folder.path().to_str().unwrap().to_owned());
        let text = json!({ "merge_method": "passthrough", "models": [{ "model": { "model": base, "lora": adapter } }] });
        let out = tempfile::tempdir().unwrap();
        super::merge(&text.to_string(), &out.path().join("out"), 1).unwrap();
        let merged = open_weights(&out.path().join("out")).unwrap().1;
        let merged = merged.tensor(&format!("{stored}.weight")).unwrap().to_f32().unwrap();
        assert_eq!(merged, expected, "{family} {stored} {flag}");
    };
    // B A = [[1, 2], [13, 24]]
    let (straight, turned) = ([1.5, 2.5, 13.5, 24.5], [1.5, 13.5, 2.5, 24.5]);
    for flag in [false, true] {
        check("gpt2", "transformer.h.0.attn.c_proj", "transformer.h.0.attn.c_proj", flag, turned);
        check("gpt2", "h.0.attn.c_proj", "transformer.h.0.attn.c_proj", flag, turned);
        check("gpt2", "transformer.h.0.attn.c_proj", "h.0.attn.c_proj", flag, turned);
        check("llama", "model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.q_proj", flag, straight);
    }
}
