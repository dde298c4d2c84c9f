//! Every golden of mergekit: the same tensors, to 1e-5 of the larger of an element and the tensor's root mean square; one
//! unit in the last place more in bf16.

use std::path::Path;

use xenoglot::weights::{TensorType, open_weights};

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

/// The largest difference, in units of what is allowed.
fn worst(ours: &[f32], golden: &[f32], bf16: bool) -> f64 {
    let square: f64 = golden.iter().map(|value| f64::from(*value).powi(2)).sum();
    let rms = (square / golden.len() as f64).sqrt();
    let excess = |(ours, golden): (&f32, &f32)| {
        let allowed = 1e-5 * f64::from(golden.abs()).max(rms);
        // One unit in the last place of bf16, which has eight bits.
        let unit = if bf16 { f64::from(golden.abs()) / 128.0 } else { 0.0 };
        f64::from((ours - golden).abs()) / (allowed + unit)
    };
    ours.iter().zip(golden).map(excess).fold(0.0, f64::max)
}

#[test]
fn methods_give_what_mergekit_gives() {
    let mut failures = Vec::new();
    for name in goldens(&[]) {
        let text = std::fs::read_to_string(fixtures().join(format!("golden/{name}.yaml"))).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        if let Err(error) = merge(&text, &out, 2) {
            failures.push(format!("{name}: {error}"));
            continue;
        }
        std::fs::write(out.join("config.json"), "{}").unwrap();
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
            // Computed in f32 here, where mergekit rounds every input and step to bf16.
            let coarse = match name.as_str() {
                name if name.ends_with("bf16-inputs") => 100.0,
                // Angles of nearly parallel vectors are noise in mergekit's f32.
                "karcher-base" if golden.1.len() == 1 => 5.0,
                _ => 1.0,
            };
            let worst = 1.0 / coarse * worst(&ours.3, &golden.3, golden.2 == TensorType::Bf16);
            if ours.2 != golden.2 || worst > 1.0 {
                failures.push(format!("{name}: {} {:?} {:?} off by {worst:.2}", ours.0, ours.2, golden.2));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
