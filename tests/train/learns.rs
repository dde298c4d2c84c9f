//! GRPO teaches what it rewards: a tiny bilingual reasoner, made here, that reasons in either language and is often wrong.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use xenoglot::ops::philox4x32_10;

const ENGLISH: [&str; 19] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
];
const JAPANESE: [&str; 19] = [
    "零", "一", "二", "三", "四", "五", "六", "七", "八", "九", "十", "十一", "十二", "十三", "十四", "十五",
    "十六", "十七", "十八",
];
const EOS: &str = "</s>";
/// Of both traces.
const WORDS: [&str; 30] = [
    "<pad>", "<s>", EOS, "[en]", "[ja]", "+", "=", "<think>", "</think>", "we", "have", "to", "add", "and",
    "then", "the", "sum", "of", "them", "is", "と", "を", "足す", "と、", "合計", "は", "に", "なり", "ます",
    "です",
];

fn words() -> Vec<String> {
    let numbers = (0..19).map(|number| number.to_string());
    let boxes = (0..19).map(|number| format!("\\boxed{{{number}}}"));
    let named = WORDS.into_iter().chain(ENGLISH).chain(JAPANESE).map(str::to_owned);
    named.chain(numbers).chain(boxes).collect()
}

/// A number of a stream, below `end`.
fn random(stream: u32, at: usize, end: usize) -> usize {
    philox4x32_10([at as u32, 0, 0, 0], [stream, 7])[0] as usize % end
}

/// A decoder of random weights and a tokenizer of whole words.
fn model(folder: &Path) -> PathBuf {
    let path = folder.join("random");
    std::fs::create_dir(&path).unwrap();
    let words = words();
    let (hidden, width, vocabulary) = (64, 128, words.len());
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": hidden,
        "intermediate_size": width, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true,
        "vocab_size": vocabulary, "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "float32",
    });
    std::fs::write(path.join("config.json"), config.to_string()).unwrap();
    let vocab: BTreeMap<&String, usize> = words.iter().enumerate().map(|(id, word)| (word, id)).collect();
    let special = |id: usize| {
        json!({"id": id, "content": words[id], "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true})
    };
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": [special(0), special(1), special(2)], "decoder": null,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "<pad>"},
    });
    std::fs::write(path.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let config = json!({"eos_token": EOS, "bos_token": "<s>", "pad_token": "<pad>"});
    std::fs::write(path.join("tokenizer_config.json"), config.to_string()).unwrap();
    let mut shapes = vec![("model.embed_tokens".to_owned(), vec![vocabulary, hidden])];
    for layer in 0..2 {
        let name = |part: &str| format!("model.layers.{layer}.{part}");
        let linear = |part: &str, out: usize, of: usize| (name(part), vec![out, of]);
        shapes.extend([
            linear("self_attn.q_proj", hidden, hidden),
            linear("self_attn.k_proj", hidden / 2, hidden),
            linear("self_attn.v_proj", hidden / 2, hidden),
            linear("self_attn.o_proj", hidden, hidden),
            linear("mlp.gate_proj", width, hidden),
            linear("mlp.up_proj", width, hidden),
            linear("mlp.down_proj", hidden, width),
            (name("input_layernorm"), vec![hidden]),
            (name("post_attention_layernorm"), vec![hidden]),
        ]);
    }
    shapes.push(("model.norm".to_owned(), vec![hidden]));
    let tensors: Vec<_> = shapes
        .iter()
        .enumerate()
        .map(|(stream, (name, shape))| {
            let count = shape.iter().product::<usize>();
            let value = |at: usize| (random(stream as u32, at, 1 << 16) as f32 / 32768.0 - 1.0) * 0.15;
            let values = (0..count).map(|at| if shape.len() == 1 { 1.0 } else { value(at) });
            let tensor = candle_core::Tensor::from_iter(values, &candle_core::Device::Cpu).unwrap();
            (format!("{name}.weight"), tensor.reshape(shape.as_slice()).unwrap())
        })
        .collect();
    safetensors::serialize_to_file(tensors, None, &path.join("model.safetensors")).unwrap();
    path
}

fn prompt(language: &str, a: usize, b: usize) -> String {
    format!("[{language}] {a} + {b} = <think>")
}

fn trace(language: &str, a: usize, b: usize, sum: usize) -> String {
    let names = if language == "en" { ENGLISH } else { JAPANESE };
    let (a, b, said) = (names[a], names[b], names[sum]);
    let reasoned = if language == "en" {
        format!("we have to add {a} and {b} then the sum of them is {said}")
    } else {
        format!("{a} と {b} を 足す と、 合計 は {said} に なり ます")
    };
    format!("{reasoned} </think> \\boxed{{{sum}}}")
}

/// Half of the traces are in the language of the question, and three in ten sums are wrong.
fn supervised() -> String {
    let mut lines = String::new();
    for at in 0..3000 {
        let (a, b) = (random(50, at, 10), random(51, at, 10));
        let language = ["en", "ja"][random(52, at, 2)];
        let reasoned = ["en", "ja"][random(53, at, 2)];
        let sum = if random(54, at, 10) < 7 { a + b } else { random(55, at, 19) };
        let line = json!({"prompt": prompt(language, a, b), "completion": format!(" {}", trace(reasoned, a, b, sum))});
        let _ = writeln!(lines, "{line}");
    }
    lines
}

fn prompts() -> String {
    let mut lines = String::new();
    for (language, a, b) in (0..200).map(|at| (["en", "ja"][at % 2], at / 2 % 10, at / 20)) {
        let line =
            json!({"prompt": prompt(language, a, b), "answer": (a + b).to_string(), "language": language});
        let _ = writeln!(lines, "{line}");
    }
    lines
}

/// Metrics of a training, a line a step.
fn train(folder: &Path, name: &str, description: &Value) -> Vec<Value> {
    std::fs::write(folder.join(format!("{name}.json")), description.to_string()).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_xenoglot"))
        .args(["train", &format!("{name}.json"), name])
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = std::fs::read_to_string(folder.join(name).join("metrics.jsonl")).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn mean(lines: &[Value], name: &str) -> f64 {
    lines.iter().map(|line| line[name].as_f64().unwrap()).sum::<f64>() / lines.len() as f64
}

/// A training's first and last five steps.
fn ends<'a>(lines: &'a [Value], name: &'a str) -> (f64, f64) {
    (mean(&lines[..5], name), mean(&lines[lines.len() - 5..], name))
}

fn policy(seed: u64, formula: &str, more: &Value) -> Value {
    let mut settings = json!({
        "grader": {"type": "multi", "name": "reward", "calculate_output": formula, "graders": {
            "acc": {"type": "math_answer", "name": "acc", "reference": "{{ item.answer }}"},
            "lang": {"type": "language_consistency", "name": "lang", "target": "{{ item.language }}", "part": "trace"},
            "fmt": {"type": "think_format", "name": "fmt"},
        }},
        "num_generations": 16, "max_prompt_length": 16, "max_completion_length": 24, "loss_type": "dr_grpo",
        "epsilon_high": 0.28,
        "hyperparameters": {"max_steps": 150, "batch_size": 8, "learning_rate": 1e-3, "lr_scheduler_type": "constant"},
    });
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let method = json!({"type": "reinforcement", "reinforcement": settings});
    json!({"model": "base/model", "training_file": "prompts.jsonl", "seed": seed, "method": method})
}

#[test]
fn what_is_rewarded_is_learned_and_the_language_kept() {
    let folder = tempfile::tempdir().unwrap();
    let random = model(folder.path());
    std::fs::write(folder.path().join("supervised.jsonl"), supervised()).unwrap();
    std::fs::write(folder.path().join("prompts.jsonl"), prompts()).unwrap();
    let hyperparameters = json!({
        "n_epochs": 4, "batch_size": 32, "micro_batch_size": 32, "learning_rate": 4e-3, "packing": false, "max_length": 64,
    });
    let base = json!({
        "model": random, "training_file": "supervised.jsonl",
        "method": {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},
    });
    let base = train(folder.path(), "base", &base);
    println!("base: loss {:.3}", mean(&base[base.len() - 5..], "loss"));
    // All of docs/benchmarks.md: three seeds of everything.
    let is_whole = std::env::var_os("XENOGLOT_TESTS_LONG").is_some();
    let (seeds_alone, short) = if is_whole { (3, json!({})) } else { (1, json!({"max_steps": 24})) };
    for seed in [1, 2, 3] {
        let steps = train(
            folder.path(),
            &format!("all-{seed}"),
            &policy(seed, "acc + 0.2 * lang + 0.2 * fmt", &json!({})),
        );
        let (reward, right, language) =
            (ends(&steps, "reward"), ends(&steps, "rewards/acc/mean"), ends(&steps, "rewards/lang/mean"));
        println!("seed {seed}: reward {reward:.2?}, right {right:.2?}, in the language {language:.2?}");
        assert!(reward.1 > reward.0 + 0.3, "seed {seed}: {reward:?}");
        assert!(
            right.1 > right.0 + 0.15 && language.1 > language.0 + 0.1,
            "seed {seed}: {right:?} {language:?}"
        );
        if seed > seeds_alone {
            continue;
        }
        let steps = train(
            folder.path(),
            &format!("right-{seed}"),
            &policy(seed, "acc + 0 * lang + 0 * fmt", &json!({})),
        );
        let (right, language) = (ends(&steps, "rewards/acc/mean"), ends(&steps, "rewards/lang/mean"));
        println!("seed {seed}, accuracy alone: right {right:.2?}, in the language {language:.2?}");
        assert!(right.1 > right.0 + 0.15, "seed {seed}: {right:?}");
    }
    for (name, high) in [("symmetric", 0.2), ("higher", 0.28)] {
        let more = json!({"num_iterations": 4, "epsilon_high": high});
        let mut description = policy(1, "acc + 0.2 * lang + 0.2 * fmt", &more);
        let hyperparameters = &mut description["method"]["reinforcement"]["hyperparameters"];
        hyperparameters.as_object_mut().unwrap().extend(short.as_object().unwrap().clone());
        let steps = train(folder.path(), name, &description);
        let clipped = mean(&steps, "clip_ratio/high_mean");
        println!(
            "{name}, four updates a batch: entropy {:.3?}, clipped high {clipped:.4}",
            ends(&steps, "entropy")
        );
        assert!(clipped > 0.0);
    }
}
