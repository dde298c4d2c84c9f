//! Every golden of mergekit: the same tensors, to 1e-5 of the larger of an element and the tensor's root mean square; one
//! unit in the last place more in bf16. And the same of config.json.

use std::path::Path;

use serde_json::Value;
use xenoglot::model::{ComputeDtype, Decoder, LoadOptions, families};
use xenoglot::ops::Workers;
use xenoglot::weights::{Checkpoint, TensorType, open_weights};

use super::{fixtures, merge};

/// What the file has that mergekit wrote: name, shape, type and numbers.
type Tensors = Vec<(String, Vec<usize>, TensorType, Vec<f32>)>;

fn tensors(folder: &Path) -> Tensors {
    let (_, source) = open_weights(folder).unwrap();
    source
        .names()
        .into_iter()
        .map(|name| {
            let view = source.tensor(&name).unwrap();
            (name, view.shape.clone(), view.dtype, view.to_f32().unwrap())
        })
        .collect()
}

/// The goldens whose names do not begin with one of these.
fn goldens(left_out: &[&str]) -> Vec<String> {
    let entries = std::fs::read_dir(fixtures().join("golden")).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .filter(|name| !left_out.iter().any(|prefix| name.starts_with(prefix)))
        .collect();
    names.sort();
    names
}

/// How far mergekit's own rounding may take a golden from the exact result.
#[derive(Clone, Copy, PartialEq)]
enum Rounding {
    /// f32 throughout.
    F32,
    /// f32, rounded once to bf16.
    LastToBf16,
    /// The inputs rounded to bf16 as well, which are not here: of each of three summands half a unit of eight bits, and half
    /// a unit of the result, in parts of the larger of an element and the root mean square.
    InputsToBf16,
    /// Angles of nearly parallel vectors, by an arc cosine in f32: exact numbers are up to 3.4e-5 away.
    ParallelAngles,
}

/// The largest difference, in units of what is allowed.
fn worst(ours: &[f32], golden: &[f32], rounding: Rounding) -> f64 {
    let square: f64 = golden.iter().map(|value| f64::from(*value).powi(2)).sum();
    let rms = (square / golden.len() as f64).sqrt();
    let excess = |(ours, golden): (&f32, &f32)| {
        let size = f64::from(golden.abs()).max(rms);
        let allowed = match rounding {
            Rounding::F32 => 1e-5 * size,
            Rounding::ParallelAngles => 5e-5 * size,
            // One unit in the last place of bf16, which has eight bits.
            Rounding::LastToBf16 => 1e-5 * size + f64::from(golden.abs()) / 128.0,
            Rounding::InputsToBf16 => 4.0 * size / 256.0,
        };
        f64::from((ours - golden).abs()) / allowed
    };
    ours.iter().zip(golden).map(excess).fold(0.0, f64::max)
}

#[test]
fn methods_give_what_mergekit_gives() {
    let mut failures = Vec::new();
    let configs = std::fs::read_to_string(fixtures().join("golden/configs.json")).unwrap();
    let configs: Value = serde_json::from_str(&configs).unwrap();
    for name in goldens(&[]) {
        let text = std::fs::read_to_string(fixtures().join(format!("golden/{name}.yaml"))).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        if let Err(error) = merge(&text, &out, 2) {
            failures.push(format!("{name}: {error}"));
            continue;
        }
        let config = std::fs::read_to_string(out.join("config.json")).unwrap();
        let config: Value = serde_json::from_str(&config).unwrap();
        for (key, expected) in configs[&name].as_object().unwrap() {
            // transformers 5 writes `dtype`, the fixtures have the older name.
            let found = config.get(key).or_else(|| config.get(format!("torch_{key}")));
            if found != Some(expected) {
                failures.push(format!("{name}: {key} is {found:?} instead of {expected}"));
            }
        }
        let golden = folder.path().join("golden");
        std::fs::create_dir(&golden).unwrap();
        std::fs::write(golden.join("config.json"), "{}").unwrap();
        let file = fixtures().join(format!("golden/{name}.safetensors"));
        std::fs::copy(file, golden.join("model.safetensors")).unwrap();
        let (ours, golden) = (tensors(&out), tensors(&golden));
        let names = |tensors: &Tensors| tensors.iter().map(|tensor| tensor.0.clone()).collect::<Vec<_>>();
        if names(&ours) != names(&golden) {
            failures.push(format!("{name}: {:?} instead of {:?}", names(&ours), names(&golden)));
            continue;
        }
        for (ours, golden) in ours.iter().zip(&golden) {
            assert_eq!(ours.1, golden.1, "{name}: {}", ours.0);
            let rounding = match name.as_str() {
                name if name.ends_with("bf16-inputs") => Rounding::InputsToBf16,
                "karcher-base" if golden.1.len() == 1 => Rounding::ParallelAngles,
                _ if golden.2 == TensorType::Bf16 => Rounding::LastToBf16,
                _ => Rounding::F32,
            };
            let worst = worst(&ours.3, &golden.3, rounding);
            if ours.2 != golden.2 || worst > 1.0 {
                failures.push(format!("{name}: {} {:?} {:?} off by {worst:.2}", ours.0, ours.2, golden.2));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn outputs_of_other_vocabularies_load() {
    for name in ["tokens-union-three", "tokens-path", "tokens-base-padded", "tokens-rules"] {
        let text = std::fs::read_to_string(fixtures().join(format!("golden/{name}.yaml"))).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let plan = merge(&text, &out, 2).unwrap();
        let checkpoint = Checkpoint::open(&out).unwrap();
        let config = families::translate(&checkpoint.config).unwrap();
        let options = LoadOptions::new(ComputeDtype::F32, &Workers::new(2));
        let decoder = Decoder::load(config, checkpoint.tensors.as_ref(), &options);
        let decoder = decoder.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(Some(decoder.config().vocab_size), plan.vocabulary.map(|plan| plan.size), "{name}");
    }
}
