//! Masks: every kind of neuron, caps that act and do not, scores that are equal.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use safetensors::SafeTensors;
use xenoglot::merge::config::ModelReference;
use xenoglot::merge::maet::{MaskJob, MaskOptions, Neurons, mask};
use xenoglot::merge::{ExecuteOptions, MergeError, Silent};
use xenoglot::weights::NeuronMask;

use super::models::{Noise, Tensors, locate, made_up, read, write};

fn make(
    base: &str,
    tuned: &[&str],
    options: MaskOptions,
    out: &Path,
    threads: usize,
) -> Result<u64, MergeError> {
    let reference = |path: &&str| path.parse::<ModelReference>().unwrap();
    let tuned: Vec<ModelReference> = tuned.iter().map(reference).collect();
    let job = MaskJob::plan(&reference(&base), &tuned, &locate, false)?;
    let stop = AtomicBool::new(false);
    let execute = ExecuteOptions { threads, resume: false, stop: &stop };
    mask(&job, options, out, execute, &Silent).map(|summary| summary.kept())
}

/// The neuron of each element.
fn neurons(shape: &[usize], kind: Neurons) -> Vec<usize> {
    let all: usize = shape.iter().product();
    let row = if shape.is_empty() { 1 } else { all / shape[0] };
    let of = |element: usize| match kind {
        Neurons::Row if shape.len() > 1 => element / row,
        Neurons::Column if shape.len() > 1 => element % shape[shape.len() - 1],
        _ => element,
    };
    (0..all).map(of).collect()
}

fn share(share: f64, of: usize) -> usize {
    ((share * of as f64).round() as usize).clamp(1, of)
}

/// Which elements are kept, by sorting.
fn naive(base: &Tensors, tuned: &Tensors, options: MaskOptions) -> Vec<Vec<bool>> {
    let (mut candidates, mut all, mut maps) = (Vec::new(), 0, Vec::new());
    for (at, (base, tuned)) in base.iter().zip(tuned).enumerate() {
        let map = neurons(&base.1, options.neurons);
        let mut squares = vec![0.0_f64; map.iter().max().unwrap() + 1];
        for ((neuron, base), tuned) in map.iter().zip(&base.2).zip(&tuned.2) {
            squares[*neuron] += f64::from(tuned - base).powi(2);
        }
        let mut own: Vec<(f32, usize, usize)> =
            squares.iter().enumerate().map(|(neuron, square)| (square.sqrt() as f32, at, neuron)).collect();
        all += own.len();
        if options.cap > 0.0 {
            own.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.2.cmp(&b.2)));
            own.truncate(share(options.cap * options.density, squares.len()));
        }
        candidates.extend(own);
        maps.push(map);
    }
    candidates.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    candidates.truncate(share(options.density, all));
    let kept: std::collections::HashSet<(usize, usize)> =
        candidates.iter().map(|(_, at, neuron)| (*at, *neuron)).collect();
    let of_tensor = |(at, map): (usize, &Vec<usize>)| {
        map.iter().map(|neuron| kept.contains(&(at, *neuron))).collect::<Vec<bool>>()
    };
    maps.iter().enumerate().map(of_tensor).collect()
}

fn unpacked(bytes: &[u8], elements: usize) -> Vec<bool> {
    let unused = (elements..bytes.len() * 8).any(|at| bytes[at / 8] >> (at % 8) & 1 == 1);
    assert!(!unused, "bits beyond the end are 0");
    (0..elements).map(|at| bytes[at / 8] >> (at % 8) & 1 == 1).collect()
}

fn check(base: &str, tuned: &[&str], options: MaskOptions) {
    let folder = tempfile::tempdir().unwrap();
    let (one, three) = (folder.path().join("1/mask"), folder.path().join("3/mask"));
    let kept = make(base, tuned, options, &one, 1).unwrap();
    make(base, tuned, options, &three, 3).unwrap();
    let bytes = std::fs::read(&one).unwrap();
    assert_eq!(bytes, std::fs::read(&three).unwrap(), "threads: {options:?}");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let path = |model: &str| locate(model, None).unwrap();
    let base = read(&path(base));
    let expected: Vec<_> = tuned.iter().map(|tuned| naive(&base, &read(&path(tuned)), options)).collect();
    assert_eq!(file.names().len(), base.len());
    let mut set = 0;
    for (at, (name, shape, _)) in base.iter().enumerate() {
        let elements: usize = shape.iter().product();
        let view = file.tensor(name).unwrap();
        assert_eq!((view.dtype(), view.shape()), (safetensors::Dtype::U8, &[elements.div_ceil(8)][..]));
        let joined: Vec<bool> =
            (0..elements).map(|element| expected.iter().any(|one| one[at][element])).collect();
        set += joined.iter().filter(|kept| **kept).count() as u64;
        assert!(unpacked(view.data(), elements) == joined, "{name} {options:?}");
    }
    assert_eq!(kept, set);
    check_reader(&one, &file, options);
}

/// What a training reads of a mask.
fn check_reader(path: &Path, file: &SafeTensors<'_>, options: MaskOptions) {
    let mask = NeuronMask::open(path).unwrap();
    assert_eq!((mask.neurons(), mask.density()), (options.neurons, options.density));
    for name in mask.names() {
        let bytes = file.tensor(&name).unwrap().data();
        let bits = mask.bits(&name, bytes.len() * 8).unwrap().unwrap();
        assert_eq!(bits.bytes(), bytes, "{name}");
    }
}

const KINDS: [Neurons; 3] = [Neurons::Element, Neurons::Row, Neurons::Column];

#[test]
fn the_fixtures_masks_are_those_of_sorting() {
    for neurons in KINDS {
        for (density, cap) in [(0.05, 2.0), (0.05, 0.0), (0.3, 1.0), (1.0, 2.0), (1e-9, 2.0)] {
            let options = MaskOptions { neurons, density, cap };
            check("models/base", &["models/a"], options);
            check("models/base", &["models/b", "models/c"], options);
        }
    }
}

#[test]
fn scores_that_are_equal_go_by_name_and_index() {
    let folder = tempfile::tempdir().unwrap();
    let mut noise = Noise(7);
    let base = write(&folder.path().join("base"), &made_up(&mut |_, _| 0.0));
    // Five sizes in all, most of them 0; one tensor changes most, so that its cap acts.
    let coarse = made_up(&mut |name, _| {
        let size = if name == "big.weight" { 3.0 } else { 1.0 };
        (noise.next() * 1.9).trunc() * size + f32::from(u8::from(name == "one"))
    });
    let coarse = write(&folder.path().join("coarse"), &coarse);
    let fine = write(&folder.path().join("fine"), &made_up(&mut |_, _| noise.next()));
    for neurons in KINDS {
        for (density, cap) in [(0.05, 2.0), (0.05, 0.0), (0.4, 1.2), (0.001, 3.0)] {
            let options = MaskOptions { neurons, density, cap };
            check(&base, &[&coarse, &fine], options);
        }
    }
}

#[test]
fn metadata_says_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("mask.safetensors");
    let options = MaskOptions { neurons: Neurons::Row, ..MaskOptions::default() };
    make("models/base", &["models/a"], options, &out, 2).unwrap();
    let bytes = std::fs::read(&out).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let found: HashMap<String, String> = header.metadata().clone().unwrap();
    for (key, value) in [("format", "xenoglot-mask-1"), ("neurons", "row"), ("density", "0.05"), ("cap", "2")]
    {
        assert_eq!(found[key], value);
    }
    for key in ["base_header_sha256", "base_sha256"] {
        assert_eq!(found[key].len(), 64, "{key}");
    }
    let again = make("models/base", &["models/a"], options, &out, 2).unwrap_err();
    assert!(again.to_string().contains("exists; name another file"), "{again}");
}

#[test]
fn what_makes_no_mask() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("mask");
    let base = write(&folder.path().join("base"), &made_up(&mut |_, _| 0.0));
    let infinite =
        made_up(&mut |name, at| if name == "big.weight" && at == 35_000 { f32::INFINITY } else { 0.5 });
    let infinite = write(&folder.path().join("infinite"), &infinite);
    let check = |base: &str, tuned: &[&str], density: f64, expected: &str| {
        for neurons in KINDS {
            let options = MaskOptions { neurons, density, ..MaskOptions::default() };
            let error = make(base, tuned, options, &out, 2).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(!out.exists());
        }
    };
    check(
        &base,
        &[&infinite],
        0.1,
        "tensor big.weight: the difference from the base has numbers that are not finite",
    );
    check(&base, &[&base], 0.1, "is the base itself, or named twice");
    let less = write(&folder.path().join("less"), &made_up(&mut |_, _| 1.0)[1..].to_vec());
    check(&base, &[&less], 0.1, "less lacks a.layers.1.q_proj.weight");
    check("models/base", &["models/none"], 0.1, "model models/none: ");
    check("models/base", &["models/a", "models/a"], 0.1, "named twice");
    check("models/base", &["models/a"], 0.0, "density 0 is not above 0");
}
