//! A training that goes elsewhere and comes back: `xenoglot train export` and `import`.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use xenoglot::model::{Adapter, AdapterOptions, LoraSettings, Target};
use xenoglot::ops::Workers;
use xenoglot::registry;
use xenoglot::weights::WrittenDtype;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/models/qwen3");
const OTHER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/models/llama3");

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xenoglot"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("XENOGLOT_") {
            command.env_remove(name);
        }
    }
    let command = command.arg("train").args(arguments).current_dir(folder).stdin(Stdio::null());
    command.output().expect("the binary runs")
}

#[track_caller]
fn fails(folder: &Path, arguments: &[&str], parts: &[&str]) {
    let output = run(folder, arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && parts.iter().all(|part| stderr.contains(part)), "{stderr}");
}

#[track_caller]
fn succeeds(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{stderr}");
    stderr
}

fn describe(folder: &Path, change: &dyn Fn(&mut Value)) {
    let lines = [
        json!({"prompt": "Hello one", "answer": "18"}),
        json!({"prompt": "Hello two ".repeat(60), "answer": "2"}),
        json!({"prompt": "six", "answer": "6", "extra": {"a": [1]}}),
    ];
    let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
    std::fs::write(folder.join("prompts.jsonl"), lines.join("\n")).unwrap();
    let mut description = json!({
        "model": MODEL,
        "training_file": "prompts.jsonl",
        "seed": 5,
        "method": {"type": "reinforcement", "reinforcement": {
            "grader": {"type": "math_answer", "name": "acc", "reference": "{{ item.answer }}"},
            "lora": {"r": 4, "target_modules": ["q_proj"]},
            "num_generations": 6, "steps_per_generation": 2, "max_prompt_length": 20, "max_completion_length": 16,
            "loss_type": "dr_grpo", "epsilon_high": 0.28, "resample_rounds": 2,
            "hyperparameters": {"batch_size": 4, "max_steps": 7, "learning_rate": 1e-4, "dtype": "bf16", "warmup_ratio": 0.1},
        }},
    });
    change(&mut description);
    std::fs::write(folder.join("training.json"), description.to_string()).unwrap();
}

#[test]
fn a_training_is_written_for_trl() {
    let folder = tempfile::tempdir().unwrap();
    describe(folder.path(), &|_| {});
    let said = succeeds(folder.path(), &["export", "training.json", "out"]);
    assert!(
        said.contains("1 prompts are longer") && said.contains("`resample_rounds` is left out"),
        "{said}"
    );
    let read = |name: &str| std::fs::read_to_string(folder.path().join("out").join(name)).unwrap();
    let lines: Vec<Value> =
        read("prompts.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[1]["prompt"], &lines[1]["trace_opened"]), (&json!("six"), &json!(false)));
    let item: Value = serde_json::from_str(lines[1]["item"].as_str().unwrap()).unwrap();
    assert_eq!(item, json!({"prompt": "six", "answer": "6", "extra": {"a": [1]}}));
    let training: Value = serde_json::from_str(&read("training.json")).unwrap();
    assert_eq!(training["completions_per_update"], 24);
    assert_eq!(training["updates_per_generation"], 2);
    assert_eq!((&training["lora"]["r"], &training["lora"]["lora_alpha"]), (&json!(4), &json!(8.0)));
    let grpo = &training["grpo"];
    for (name, value) in [
        ("num_generations", json!(6)),
        ("max_completion_length", json!(16)),
        ("loss_type", json!("dr_grpo")),
        ("epsilon", json!(0.2)),
        ("epsilon_high", json!(0.28)),
        ("scale_rewards", json!("group")),
        ("importance_sampling_level", json!("token")),
        ("max_steps", json!(7)),
        ("warmup_steps", json!(0.1)),
        ("bf16", json!(true)),
        ("seed", json!(5)),
    ] {
        assert_eq!(grpo[name], value, "{name}");
    }
    let grader: Value = serde_json::from_str(&read("grader.json")).unwrap();
    assert_eq!(grader["reference"], "{{ item.answer }}");
    assert!(read("xenoglot-rollouts/src/vllm/utils/network_utils.py").contains("def "));
    fails(folder.path(), &["export", "training.json", "out"], &["out", "not empty"]);
}

/// Elsewhere it is trained with its own linears, and with soft caps too.
#[test]
fn a_model_is_exported_by_its_own_names() {
    for (model, modules) in [
        ("phi3", json!(["qkv_proj", "o_proj", "gate_up_proj", "down_proj"])),
        ("gemma2", json!(["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"])),
    ] {
        let folder = tempfile::tempdir().unwrap();
        describe(folder.path(), &|all| {
            all["model"] = json!(MODEL.replace("qwen3", model));
            all["method"]["reinforcement"]["lora"] = json!({"r": 4});
        });
        succeeds(folder.path(), &["export", "training.json", "out"]);
        let text = std::fs::read_to_string(folder.path().join("out/training.json")).unwrap();
        let training: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(training["lora"]["target_modules"], modules, "{model}");
    }
}

#[test]
fn what_cannot_be_exported_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |change: &dyn Fn(&mut Value), parts: &[&str]| {
        describe(folder.path(), change);
        fails(folder.path(), &["export", "training.json", "out"], parts);
        let left: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("out")), "{left:?}");
    };
    refused(&|all| all["method"] = json!({"type": "supervised"}), &["`method.type` is no `reinforcement`"]);
    refused(
        &|all| all["method"]["reinforcement"]["grader"]["reference"] = json!("{{ item.gold }}"),
        &["prompts.jsonl:1", "gold"],
    );
    refused(&|all| all["training_file"] = json!("none.jsonl"), &["none.jsonl"]);
    refused(
        &|all| all["model"] = json!(MODEL.replace("qwen3", "mixtral")),
        &["`model`", "`num_local_experts` = 4"],
    );
}

#[test]
fn an_adapter_comes_back_checked() {
    let folder = tempfile::tempdir().unwrap();
    let workers = Workers::new(1);
    let (_, config) = registry::open(Path::new(MODEL)).unwrap();
    let lora = LoraSettings {
        rank: 2,
        alpha: 4.0,
        dropout: 0.0,
        targets: vec![Target::Query, Target::Down],
        rslora: false,
    };
    let adapter = Adapter::new(&config, &lora, 1, &workers).unwrap();
    adapter.save(&folder.path().join("peft"), "somewhere", WrittenDtype::F32).unwrap();
    let said = succeeds(folder.path(), &["import", "peft", "adapter", "--model", MODEL]);
    assert!(said.contains("rank 2"), "{said}");
    let options = AdapterOptions { workers, rank_max: 8, bytes_max: u64::MAX };
    let back = Adapter::open(&folder.path().join("adapter"), &config, &options).unwrap();
    assert_eq!(back.config().base_model.as_deref(), Some(MODEL));
    let rows = |adapter: &Adapter| -> Vec<f32> {
        adapter.pairs().flat_map(|(_, pair)| pair.a.to_rows().unwrap()).collect()
    };
    assert_eq!(rows(&back), rows(&adapter));
    fails(folder.path(), &["import", "peft", "other", "--model", OTHER], &["peft", "q_proj"]);
    fails(folder.path(), &["import", MODEL, "other", "--model", MODEL], &["whole model", "xenoglot serve"]);
    assert!(!folder.path().join("other").exists());
}
