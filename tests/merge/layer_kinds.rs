//! Layers taken to other places keep their windows and their experts, whatever a configuration says of the place.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use serde_json::{Value, json};
use xenoglot::merge::{ExecuteOptions, FileOptions, MergeError, MergeJob, PlanOptions, Silent};
use xenoglot::model::{DecoderConfig, families};
use xenoglot::weights::open_weights;

use super::locate;

/// A copy of a fixture, some keys of its configuration replaced or (null) taken out.
fn model(folder: &Path, name: &str, fixture: &str, changes: &Value) -> PathBuf {
    let copy = folder.join(name);
    std::fs::create_dir(&copy).unwrap();
    let of = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models").join(fixture);
    for file in ["model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(of.join(file), copy.join(file)).unwrap();
    }
    let text = std::fs::read_to_string(of.join("config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    for (key, value) in changes.as_object().unwrap() {
        config.as_object_mut().unwrap().remove(key);
        if !value.is_null() {
            config[key] = value.clone();
        }
    }
    std::fs::write(copy.join("config.json"), config.to_string()).unwrap();
    copy
}

fn plan(slices: &[(&Path, usize, usize)]) -> Result<MergeJob, MergeError> {
    let slice = |(model, start, end): &(&Path, usize, usize)| {
        let model = model.display();
        format!("- sources:\n  - model: {model}\n    layer_range:\n    - {start}\n    - {end}\n")
    };
    let text =
        format!("merge_method: passthrough\nslices:\n{}", slices.iter().map(slice).collect::<String>());
    MergeJob::plan(&text, &locate, &PlanOptions::default())
}

fn merged(folder: &Path, slices: &[(&Path, usize, usize)]) -> DecoderConfig {
    let (out, stop) = (folder.join("out"), AtomicBool::new(false));
    let options = ExecuteOptions { threads: 1, resume: false, stop: &stop };
    plan(slices).unwrap().write(&out, options, FileOptions::default(), &Silent).unwrap();
    let (config, _) = open_weights(&out).unwrap();
    families::translate(&config).unwrap()
}

#[test]
fn windows_stay_with_their_layers() {
    let check = |fixture: &str, changes: Value, slices: &[(usize, usize)], expected: &[Option<usize>]| {
        let folder = tempfile::tempdir().unwrap();
        let model = model(folder.path(), "a", fixture, &changes);
        let slices: Vec<_> = slices.iter().map(|(start, end)| (model.as_path(), *start, *end)).collect();
        assert_eq!(merged(folder.path(), &slices).layer_windows, expected, "{fixture} with {changes}");
    };
    let unlisted = json!({"layer_types": null});
    let (full, nine, more) = (None, Some(9), Some(24));
    check("gemma2", unlisted.clone(), &[(0, 1), (0, 2), (1, 2)], &[nine, nine, full, full]);
    check("gemma2", json!({}), &[(1, 2), (0, 1)], &[full, nine]);
    // Two slide, then one does not.
    check("gemma3", json!({}), &[(1, 3), (2, 3)], &[nine, full, full]);
    check("gemma3", json!({}), &[(0, 2)], &[nine, nine]);
    // From the second layer on.
    check("qwen2", unlisted.clone(), &[(0, 2), (0, 1), (1, 2)], &[full, more, full, more]);
    check("qwen2", unlisted, &[(1, 3)], &[more, more]);
    check("mistral", json!({}), &[(0, 2), (0, 1)], &[nine; 3]);
    check("llama2", json!({}), &[(0, 2), (0, 1)], &[full; 3]);
}

#[test]
fn layers_without_experts_stay_without() {
    let folder = tempfile::tempdir().unwrap();
    // The second of three.
    let model = model(folder.path(), "a", "qwen2_moe", &json!({}));
    let config = merged(folder.path(), &[(&model, 1, 3), (&model, 0, 2)]);
    assert_eq!(config.experts.unwrap().layers, [false, true, true, false]);
}

#[test]
fn every_other_layer_with_experts_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path(), "a", "qwen3_moe", &json!({}));
    let config = merged(folder.path(), &[(&model, 1, 2), (&model, 1, 2), (&model, 0, 1)]);
    assert_eq!(config.experts.unwrap().layers, [true, true, false]);
}

#[test]
fn what_no_configuration_describes_is_refused_by_key() {
    let folder = tempfile::tempdir().unwrap();
    let check = |slices: &[(&Path, usize, usize)], parts: &[&str]| {
        let message = plan(slices).err().expect("refused").to_string();
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    };
    let qwen = model(folder.path(), "a", "qwen2", &json!({}));
    let narrow = model(folder.path(), "b", "qwen2", &json!({"sliding_window": 12}));
    check(&[(&qwen, 0, 2), (&narrow, 1, 2)], &["layer 2", "`sliding_window`"]);
    let off = model(folder.path(), "c", "qwen2", &json!({"use_sliding_window": false, "layer_types": null}));
    check(&[(&off, 0, 2), (&qwen, 1, 2)], &["layer_types", "use_sliding_window"]);
    // transformers reads no list of these.
    let mistral = model(folder.path(), "e", "mistral", &json!({}));
    let full = model(folder.path(), "f", "mistral", &json!({"sliding_window": Value::Null, "x": null}));
    check(&[(&mistral, 0, 2), (&full, 1, 2)], &["layer 2", "window", "`sliding_window`"]);
    let unread =
        model(folder.path(), "d", "gemma3", &json!({"final_logit_softcapping": -1.0, "layer_types": null}));
    check(&[(&unread, 0, 2)], &["gemma3_text", "`layer_types`"]);
}
