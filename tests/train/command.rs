//! `xenoglot train` as a person meets it: from a description to a model that serves, killed in between.

use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use xenoglot::model::augmented::{AugmentedFolder, MappingWeights};
use xenoglot::weights::Checkpoint;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/models/llama2");

/// A folder with data of little variety and a description of a training on them.
fn prepare(folder: &Path, change: &dyn Fn(&mut Value)) {
    let lines = |from: usize, count: usize| -> String {
        let line = |at: usize| {
            let (prompt, completion) = (["one", "two", "six"][at % 3], ["a b", "c d", "e f"][at % 3]);
            json!({"prompt": prompt, "completion": completion.repeat(1 + at % 2)}).to_string() + "\n"
        };
        (from..from + count).map(line).collect()
    };
    std::fs::write(folder.join("train.jsonl"), lines(0, 24)).unwrap();
    std::fs::write(folder.join("dev.jsonl"), lines(3, 6)).unwrap();
    let mut description = json!({
        "model": MODEL,
        "training_file": "train.jsonl",
        "validation_file": "dev.jsonl",
        "method": {"type": "supervised", "supervised": {"hyperparameters": {
            "n_epochs": 8, "batch_size": 4, "learning_rate": 0.003, "packing": false, "save_steps": 5, "max_length": 64,
        }}},
    });
    change(&mut description);
    std::fs::write(folder.join("training.toml"), toml::to_string(&description).unwrap()).unwrap();
}

fn command(folder: &Path, out: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xenoglot"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("XENOGLOT_") {
            command.env_remove(name);
        }
    }
    command.args(["train", "training.toml", out, "--jobs", "1"]).current_dir(folder).stdin(Stdio::null());
    command
}

fn run(folder: &Path, out: &str) -> Output {
    command(folder, out).output().expect("the binary runs")
}

#[track_caller]
fn succeeds(folder: &Path, out: &str) -> String {
    let output = run(folder, out);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{stderr}");
    stderr
}

fn metrics(folder: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join("metrics.jsonl")).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn tensors(folder: &Path) -> Vec<u8> {
    std::fs::read(folder.join("model/model.safetensors")).unwrap()
}

#[test]
fn weights_in_bf16_learn_without_masters() {
    let folder = tempfile::tempdir().unwrap();
    let describe = |dtype: &str| {
        prepare(folder.path(), &|description| {
            let settings = &mut description["method"]["supervised"]["hyperparameters"];
            settings["dtype"] = json!(dtype);
            settings["master_weights"] = json!(false);
        });
    };
    describe("bf16");
    succeeds(folder.path(), "out");
    let losses: Vec<f64> =
        metrics(&folder.path().join("out")).iter().filter_map(|line| line["loss"].as_f64()).collect();
    assert!(losses.last() < losses.first() && !tensors(&folder.path().join("out")).is_empty(), "{losses:?}");
    describe("f32");
    let failed = run(folder.path(), "wrong");
    let said = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(said.contains("`master_weights` is false, which needs `dtype` bf16"), "{said}");
}

/// Each has a loss of its own, under its name: one file a language.
#[test]
fn validation_files_are_measured_apart() {
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path(), &|description| {
        description["validation_file"] = json!(["dev.jsonl", "sw.jsonl"]);
        description["method"]["supervised"]["hyperparameters"]["n_epochs"] = json!(1);
    });
    let line = json!({"prompt": "six", "completion": "one two six"}).to_string() + "\n";
    std::fs::write(folder.path().join("sw.jsonl"), line.repeat(3)).unwrap();
    let said = succeeds(folder.path(), "out");
    assert!(said.contains(", dev ") && said.contains(", sw "), "{said}");
    for line in metrics(&folder.path().join("out")).iter().filter(|line| line["eval_loss"].is_f64()) {
        assert!(line["eval_dev_loss"].is_f64() && line["eval_sw_loss"].is_f64(), "{line}");
        assert!(line["eval_dev_loss"] != line["eval_sw_loss"], "{line}");
    }
    // What TensorBoard reads.
    let boards = std::fs::read_dir(folder.path().join("out/tensorboard")).unwrap();
    let board = boards.map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).next().unwrap();
    for tag in ["train/grad_norm", "eval/sw_loss"] {
        assert!(board.windows(tag.len()).any(|found| found == tag.as_bytes()), "{tag}");
    }
}

#[test]
fn a_description_becomes_a_model() {
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path(), &|_| {});
    let said = succeeds(folder.path(), "out");
    assert!(
        said.contains("24 examples") && said.contains("48 steps") && said.contains("out/model"),
        "{said}"
    );
    let lines = metrics(&folder.path().join("out"));
    let losses: Vec<f64> = lines.iter().filter_map(|line| line["loss"].as_f64()).collect();
    assert_eq!(losses.len(), 48);
    assert!(losses[47] < 0.5 * losses[0], "{losses:?}");
    let evaluations = lines.iter().filter(|line| line["eval_loss"].is_f64()).count();
    assert_eq!(evaluations, 9, "before the first epoch and after each");
    let trained = Checkpoint::open(&folder.path().join("out/model")).unwrap();
    let base = Checkpoint::open(Path::new(MODEL)).unwrap();
    assert_eq!(trained.tensors.names(), base.tensors.names());
    let name = "model.layers.0.mlp.up_proj.weight";
    assert_ne!(trained.tensors.tensor(name).unwrap().bytes, base.tensors.tensor(name).unwrap().bytes);
}

/// Killed at several moments, and called again each time.
#[test]
fn a_killed_training_ends_with_the_same_weights() {
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path(), &|_| {});
    succeeds(folder.path(), "whole");
    for steps in [3, 11, 26, 40] {
        let mut child = command(folder.path(), "killed").stderr(Stdio::null()).spawn().unwrap();
        let started = Instant::now();
        while metrics(&folder.path().join("killed")).len() < steps && child.try_wait().unwrap().is_none() {
            assert!(started.elapsed() < Duration::from_mins(2), "no step {steps}");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    succeeds(folder.path(), "killed");
    assert!(tensors(&folder.path().join("killed")) == tensors(&folder.path().join("whole")));
    let numbers = |out: &str| -> Vec<(u64, String, String)> {
        let lines = metrics(&folder.path().join(out));
        let of = |line: &Value| {
            (line["step"].as_u64().unwrap(), line["loss"].to_string(), line["eval_loss"].to_string())
        };
        lines.iter().map(of).collect()
    };
    assert_eq!(numbers("killed"), numbers("whole"));
    // Once more: there is nothing left to do.
    succeeds(folder.path(), "killed");
}

#[test]
fn plain_text_is_trained_on_within_a_mask() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("text.txt"), "one two six\nsix two one\n".repeat(20)).unwrap();
    let tensors = Checkpoint::open(Path::new(MODEL)).unwrap().tensors;
    let name = "model.layers.1.mlp.down_proj.weight";
    let before = tensors.tensor(name).unwrap().to_f32().unwrap();
    // Every third element of one weight.
    let bits: Vec<u8> = (0..before.len().div_ceil(8))
        .map(|byte| {
            (0..8)
                .map(|bit| u8::from((byte * 8 + bit) % 3 == 0 && byte * 8 + bit < before.len()) << bit)
                .sum()
        })
        .collect();
    let metadata = json!({"format": "xenoglot-mask-1", "neurons": "element", "density": "0.3333"});
    let header = json!({"__metadata__": metadata, name: {"dtype": "U8", "shape": [bits.len()], "data_offsets": [0, bits.len()]}}).to_string();
    let mask = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &bits].concat();
    std::fs::write(folder.path().join("mask.safetensors"), mask).unwrap();
    let description = json!({
        "model": MODEL, "training_file": ["text.txt"],
        "method": {"type": "cpt", "cpt": {"mask_file": "mask.safetensors", "hyperparameters": {"max_length": 32}}},
    });
    std::fs::write(folder.path().join("training.toml"), toml::to_string(&description).unwrap()).unwrap();
    succeeds(folder.path(), "out");
    let trained = Checkpoint::open(&folder.path().join("out/model")).unwrap().tensors;
    for other in tensors.names() {
        let (old, new) = (
            tensors.tensor(&other).unwrap().to_f32().unwrap(),
            trained.tensor(&other).unwrap().to_f32().unwrap(),
        );
        for (at, (old, new)) in old.iter().zip(&new).enumerate() {
            assert_eq!(old != new, other == name && at % 3 == 0, "{other} {at}: {old} {new}");
        }
    }
}

#[test]
fn mistakes_are_told_in_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let check = |change: &dyn Fn(&mut Value), parts: &[&str]| {
        prepare(folder.path(), change);
        let output = run(folder.path(), "out");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(parts.iter().all(|part| said.contains(part)) && !said.contains("panicked"), "{said}");
    };
    let hyper = |description: &mut Value, key: &str, value: Value| {
        description["method"]["supervised"]["hyperparameters"][key] = value;
    };
    check(
        &|it| it["training_file"] = json!("missing.jsonl"),
        &["`training_file`", "missing.jsonl", "no such file"],
    );
    check(&|it| it["model"] = json!("nowhere/at/all"), &["`model`"]);
    check(&|it| hyper(it, "n_epoch", json!(1)), &["n_epoch", "did you mean `n_epochs`?"]);
    check(&|it| hyper(it, "max_length", json!(1 << 20)), &["`max_length` is 1048576"]);
    check(&|it| hyper(it, "micro_batch_size", json!(3)), &["`batch_size` is 4", "`micro_batch_size` 3"]);
    check(&|it| it["method"]["type"] = json!("dpo"), &["method.type", "dpo"]);
    std::fs::write(
        folder.path().join("broken.jsonl"),
        "{\"prompt\": \"one\", \"completion\": \"a\"}\n{\"prompt\": 1}\n",
    )
    .unwrap();
    check(&|it| it["training_file"] = json!("broken.jsonl"), &["broken.jsonl:2"]);
}

#[test]
fn a_mistake_in_the_file_itself_has_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let text = "model = \"m\"\ntraining_file = [\n\"a\" \"b\"]\n";
    std::fs::write(folder.path().join("training.toml"), text).unwrap();
    let output = run(folder.path(), "out");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("training.toml:3:"), "{said}");
}

/// Two at once would write over each other's checkpoints.
#[test]
fn a_folder_takes_one_training_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path(), &|_| {});
    std::fs::create_dir(folder.path().join("out")).unwrap();
    let lock = std::fs::File::create(folder.path().join("out/lock")).unwrap();
    lock.lock().unwrap();
    let output = run(folder.path(), "out");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("in use by another training"), "{said}");
    drop(lock);
    succeeds(folder.path(), "out");
}

/// An adapter in PEFT's format, on the base as it was.
#[test]
fn an_adapter_is_trained_beside_its_base() {
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path(), &|it| {
        it["method"]["supervised"]["lora"] =
            json!({"r": 4, "dropout": 0.1, "target_modules": ["q_proj", "v_proj", "down_proj"]});
        it["method"]["supervised"]["hyperparameters"]["learning_rate"] = json!(0.02);
    });
    succeeds(folder.path(), "out");
    let losses: Vec<f64> =
        metrics(&folder.path().join("out")).iter().filter_map(|line| line["loss"].as_f64()).collect();
    assert!(losses[47] < 0.8 * losses[0], "{losses:?}");
    let adapter = xenoglot::weights::Adapter::open(&folder.path().join("out/model")).unwrap();
    let config = adapter.config();
    assert_eq!((config.rank, config.alpha, config.dropout), (4, 8.0, 0.1));
    assert_eq!(config.base_model.as_deref(), Some(MODEL));
}

/// A folder with an encoder of 40 tokens.
fn encoder(folder: &Path) {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/encoders");
    std::fs::create_dir(folder.join("encoder")).unwrap();
    let copies = [
        ("xlm_roberta/config.json", "config.json"),
        ("xlm_roberta/model.safetensors", "model.safetensors"),
        ("tokenizers/xlm_roberta.tokenizer.json", "tokenizer.json"),
    ];
    for (from, to) in copies {
        std::fs::copy(fixtures.join(from), folder.join("encoder").join(to)).unwrap();
    }
}

/// Both stages of MindMerger; the second begins with the first one's mapping.
#[test]
fn a_mapping_is_trained_in_two_stages() {
    let folder = tempfile::tempdir().unwrap();
    encoder(folder.path());
    let (mut source, mut target, mut queries) = (String::new(), String::new(), String::new());
    for at in 0..24 {
        let (word, answer) = (["a b", "b c", "c a"][at % 3], ["one", "two", "six"][at % 3]);
        let _ = writeln!(source, "{word}");
        let _ = writeln!(target, "{answer}");
        let _ = writeln!(queries, "{}", json!({"lang": "sw", "query": word, "response": answer}));
    }
    std::fs::write(folder.path().join("train.sw"), source).unwrap();
    std::fs::write(folder.path().join("train.en"), target).unwrap();
    std::fs::write(folder.path().join("queries.jsonl"), queries).unwrap();
    let describe = |kind: &str, file: &str, more: Value| {
        let mut method = json!({
            "encoder": "encoder", "dev_items": 4,
            "hyperparameters": {"batch_size": 4, "micro_batch_size": 2, "learning_rate": 0.01, "n_epochs": 6, "eval_steps": 10},
        });
        method.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let description =
            json!({"model": MODEL, "training_file": file, "method": {"type": kind, kind: method}});
        std::fs::write(folder.path().join("training.toml"), toml::to_string(&description).unwrap()).unwrap();
    };
    let losses = |out: &str, key: &str| -> Vec<f64> {
        metrics(&folder.path().join(out)).iter().filter_map(|line| line[key].as_f64()).collect()
    };
    describe("mapping", "train.sw", json!({}));
    succeeds(folder.path(), "mapping");
    let (first, dev) = (losses("mapping", "loss"), losses("mapping", "eval_sw_loss"));
    assert_eq!(first.len(), 30);
    assert!(first[29] < 0.8 * first[0] && dev[3] < dev[0], "{first:?} {dev:?}");

    let template = "Q: {query} A:";
    describe(
        "augmentation",
        "queries.jsonl",
        json!({"initial_mapping": "mapping", "prompt_template": template}),
    );
    succeeds(folder.path(), "augmentation");
    let dev = losses("augmentation", "eval_loss");
    assert!(dev.last().unwrap() < &dev[0], "{dev:?}");
    let model = AugmentedFolder::open(&folder.path().join("augmentation/model")).unwrap();
    assert!(model.augmentation && model.prompt_template.render("x") == "Q: x A:");
    let (before, after) = (folder.path().join("mapping/model/mapping.safetensors"), model.mapping);
    let end = |path: &Path| {
        MappingWeights::load(path).unwrap().end_boundary.flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    assert_ne!(end(&before), end(&after));
    assert!(!AugmentedFolder::open(&folder.path().join("mapping/model")).unwrap().augmentation);

    describe("mapping", "train.sw", json!({"encoder": "nowhere"}));
    let said = String::from_utf8_lossy(&run(folder.path(), "other").stderr).into_owned();
    assert!(said.contains("`encoder`") && said.contains("nowhere"), "{said}");
}

/// A policy learns from what it samples; killed and called again, it ends with the adapter of one that was not.
#[test]
fn a_policy_is_trained_from_a_description() {
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path(), &|description| {
        let object = description.as_object_mut().unwrap();
        object.insert("validation_file".to_owned(), json!("held_out.jsonl"));
        object.insert("training_file".to_owned(), json!("prompts.jsonl"));
        let grader = json!({
            "type": "multi", "name": "both", "calculate_output": "share + 0.1 * short", "graders": {
                "share": {"type": "string_check", "name": "share", "operation": "like",
                    "input": "{{ sample.output_text }}", "reference": "{{ item.wanted }}"},
                "short": {"type": "length", "name": "short", "max": 12, "cache": 4},
            },
        });
        object.insert(
            "method".to_owned(),
            json!({"type": "reinforcement", "reinforcement": {
                "grader": grader, "lora": {"r": 4}, "num_generations": 8, "num_generations_eval": 3,
                "max_prompt_length": 16, "max_completion_length": 12, "loss_type": "grpo",
                "hyperparameters": {
                    "max_steps": 6, "batch_size": 2, "learning_rate": 0.01, "save_steps": 2, "eval_steps": 4,
                },
            }}),
        );
    });
    let lines: String = ["one", "two", "six", "a b"]
        .iter()
        .map(|prompt| json!({"prompt": prompt, "wanted": "e"}).to_string() + "\n")
        .collect();
    std::fs::write(folder.path().join("prompts.jsonl"), lines).unwrap();
    let held_out = json!({"prompt": "one six", "wanted": "e"}).to_string() + "\n";
    std::fs::write(folder.path().join("held_out.jsonl"), held_out).unwrap();
    let said = succeeds(folder.path(), "whole");
    assert!(said.contains("near 0 by construction"), "{said}");
    for part in [
        "4 prompts are read",
        "1 prompt of `validation_file` is read",
        "step 6: validation reward",
        "micro-batch",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let whole = folder.path().join("whole");
    let (told, evaluated): (Vec<Value>, Vec<Value>) =
        metrics(&whole).into_iter().partition(|line| line["reward"].is_number());
    assert_eq!((told.len(), evaluated.len()), (6, 2));
    assert_eq!((&evaluated[0]["step"], &evaluated[1]["step"]), (&json!(4), &json!(6)));
    for name in ["eval_reward", "eval_rewards/share/mean", "eval_completions/mean_length"] {
        assert!(evaluated.iter().all(|line| line[name].is_number()), "{name}: {}", evaluated[0]);
    }
    for name in
        ["reward", "reward_std", "rewards/share/mean", "completions/mean_length", "entropy", "num_tokens"]
    {
        assert!(told.iter().all(|line| line[name].is_number()), "{name}: {}", told[0]);
    }
    let gap = told.iter().map(|line| line["sampling/sampling_logp_difference/max"].as_f64().unwrap());
    assert!(gap.fold(0.0, f64::max) < 1e-4);
    let completions = std::fs::read_to_string(whole.join("completions.jsonl")).unwrap();
    let first: Value = serde_json::from_str(completions.lines().next().unwrap()).unwrap();
    assert!(completions.lines().count() == 6 * 2 * 8 && first["rewards"]["short"].is_number(), "{first}");

    let mut child = command(folder.path(), "killed").stderr(Stdio::null()).spawn().unwrap();
    let killed = folder.path().join("killed");
    let start = Instant::now();
    while metrics(&killed).len() < 3 && start.elapsed() < Duration::from_mins(1) {
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    succeeds(folder.path(), "killed");
    let adapter = |folder: &Path| std::fs::read(folder.join("model/adapter_model.safetensors")).unwrap();
    assert_eq!(adapter(&killed), adapter(&whole));
    let completions_of = |folder: &Path| std::fs::read_to_string(folder.join("completions.jsonl")).unwrap();
    assert_eq!(completions_of(&killed), completions_of(&whole));

    let mut description = std::fs::read_to_string(folder.path().join("training.toml")).unwrap();
    description = description.replace("item.wanted", "item.missing");
    std::fs::write(folder.path().join("training.toml"), description).unwrap();
    let failed = run(folder.path(), "wrong");
    let said = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(failed.status.code() == Some(2) && said.contains("prompts.jsonl:1"), "{said}");
}
