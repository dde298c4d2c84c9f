//! `xenoglot bench merge`: synthetic checkpoints merged, beside what the disk needs for the same bytes.
//!
//! The disk's limit is measured on the spot with the merge's own policy: all input bytes read, all output bytes written
//! and handed to the disk (fsync), each once, in that order.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use serde_json::json;

use crate::merge::{ExecuteOptions, FileOptions, MergeJob, PlanOptions, Silent};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Parameters of each checkpoint, in millions
    #[arg(long, default_value_t = 500)]
    parameters: usize,
    /// Checkpoints, a base among them
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(2..=16))]
    models: u8,
    /// linear, slerp, ties, dare_ties, or any other method that needs no more than weights and densities
    #[arg(long, default_value = "linear")]
    method: String,
    /// Where checkpoints and output go; checkpoints stay there for the next call
    #[arg(long, value_name = "DIR", default_value = "target/bench-merge")]
    directory: PathBuf,
    /// Threads [default: one a core]
    #[arg(long)]
    jobs: Option<usize>,
    /// Only make the checkpoints and print the configuration, for a peer to merge
    #[arg(long)]
    prepare: bool,
    /// One tensor of a billion elements in place of a model's layers
    #[arg(long)]
    one_tensor: bool,
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let folder = &arguments.directory;
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    let models: Vec<PathBuf> =
        (0..arguments.models).map(|model| checkpoint(arguments, folder, model)).collect::<Result<_, _>>()?;
    let config = config(&arguments.method, &models);
    if arguments.prepare {
        print!("{config}");
        return Ok(());
    }
    let out = folder.join("out");
    let _ = fs::remove_dir_all(&out);
    let disk = disk_limit(folder, &models)?;
    let locate = |path: &str, _: Option<&str>| Ok(PathBuf::from(path));
    let (began, cpu) = (Instant::now(), cpu_seconds());
    let (peak, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let job = std::thread::scope(|scope| {
        scope.spawn(|| watch_memory(&peak, &stop));
        let merged = MergeJob::plan(&config, &locate, &PlanOptions::default()).and_then(|job| {
            let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            let threads = arguments.jobs.unwrap_or(cores);
            let never = AtomicBool::new(false);
            let options = ExecuteOptions { threads, resume: false, stop: &never };
            job.write(&out, options, FileOptions::default(), &Silent).map(|()| job)
        });
        stop.store(true, Ordering::Relaxed);
        merged
    })?;
    let (seconds, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    fs::remove_dir_all(&out)?;
    let figures = json!({
        "method": arguments.method,
        "models": arguments.models,
        "parameters": job.plan.tensors.iter().map(crate::merge::PlannedTensor::elements).sum::<usize>(),
        "seconds": seconds,
        "cpu_seconds": cpu,
        "peak_anonymous_bytes": peak.load(Ordering::Relaxed),
        "output_bytes": job.plan.bytes(),
        "disk_limit_seconds": disk,
        "of_disk_limit": seconds / disk,
    });
    let mut stdout = std::io::stdout().lock();
    if arguments.json {
        writeln!(stdout, "{figures}")?;
    } else {
        writeln!(
            stdout,
            "{} of {} checkpoints: {seconds:.2} s ({:.2} of the disk's {disk:.2} s), {cpu:.2} s of processor, {:.1} MiB of memory",
            arguments.method,
            arguments.models,
            seconds / disk,
            peak.load(Ordering::Relaxed) as f64 / f64::from(1 << 20)
        )?;
    }
    Ok(())
}

/// A configuration with the first checkpoint as the base where the method has one.
fn config(method: &str, models: &[PathBuf]) -> String {
    let path =
        |model: &PathBuf| fs::canonicalize(model).unwrap_or_else(|_| model.clone()).display().to_string();
    let base = path(&models[0]);
    let listed = if method == "linear" || method == "slerp" { models } else { &models[1..] };
    let entry = |model: &PathBuf| {
        format!("- model: {}\n  parameters:\n    weight: 0.5\n    density: 0.5\n", path(model))
    };
    let entry = |model: &PathBuf| match method {
        "linear" => format!("- model: {}\n  parameters:\n    weight: 0.5\n", path(model)),
        "slerp" => format!("- model: {}\n", path(model)),
        _ => entry(model),
    };
    let entries: String = listed.iter().map(entry).collect();
    let head = match method {
        "linear" => String::new(),
        "slerp" => format!("base_model: {base}\nparameters:\n  t: 0.5\n"),
        _ => format!("base_model: {base}\n"),
    };
    format!("merge_method: {method}\n{head}models:\n{entries}dtype: bfloat16\n")
}

/// The tensors of a decoder of about so many parameters, or of one tensor.
fn tensors(arguments: &Arguments) -> Vec<(String, [usize; 2])> {
    if arguments.one_tensor {
        return vec![("model.embed_tokens.weight".to_owned(), [250_000, 4_000])];
    }
    let (hidden, vocabulary) = if arguments.parameters < 1000 { (1024, 32_000) } else { (2048, 32_000) };
    let inner = hidden * 8 / 3 / 64 * 64;
    let layer = 4 * hidden * hidden + 3 * hidden * inner;
    let layers = ((arguments.parameters * 1_000_000).saturating_sub(2 * vocabulary * hidden) / layer).max(1);
    let mut tensors = vec![
        ("model.embed_tokens.weight".to_owned(), [vocabulary, hidden]),
        ("lm_head.weight".to_owned(), [vocabulary, hidden]),
        ("model.norm.weight".to_owned(), [hidden, 1]),
    ];
    for at in 0..layers {
        let mut add = |name: &str, shape| tensors.push((format!("model.layers.{at}.{name}.weight"), shape));
        for name in ["q_proj", "k_proj", "v_proj", "o_proj"] {
            add(&format!("self_attn.{name}"), [hidden, hidden]);
        }
        add("mlp.gate_proj", [inner, hidden]);
        add("mlp.up_proj", [inner, hidden]);
        add("mlp.down_proj", [hidden, inner]);
        add("input_layernorm", [hidden, 1]);
        add("post_attention_layernorm", [hidden, 1]);
    }
    tensors
}

/// A checkpoint of bf16 numbers around zero; all but the first are the first with small changes.
fn checkpoint(arguments: &Arguments, folder: &Path, model: u8) -> anyhow::Result<PathBuf> {
    let size = if arguments.one_tensor { "one".to_owned() } else { arguments.parameters.to_string() };
    let path = folder.join(format!("checkpoint-{size}-{model}"));
    if path.join("config.json").exists() {
        return Ok(path);
    }
    fs::create_dir_all(&path)?;
    let tensors = tensors(arguments);
    let mut header = serde_json::Map::new();
    let mut end = 0;
    for (name, shape) in &tensors {
        // A vector has one dimension.
        let shape: Vec<usize> = if shape[1] == 1 { vec![shape[0]] } else { shape.to_vec() };
        let start = end;
        end += shape.iter().product::<usize>() * 2;
        header.insert(name.clone(), json!({"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}));
    }
    let mut text = serde_json::Value::Object(header).to_string();
    text.push_str(&" ".repeat(text.len().next_multiple_of(8) - text.len()));
    let mut file = std::io::BufWriter::with_capacity(1 << 20, File::create(path.join("model.safetensors"))?);
    file.write_all(&(text.len() as u64).to_le_bytes())?;
    file.write_all(text.as_bytes())?;
    let mut block = Vec::with_capacity(1 << 16);
    for index in 0..(end / 2) as u64 {
        block.extend_from_slice(&element(index, model).to_le_bytes());
        if block.len() == 1 << 16 {
            file.write_all(&block)?;
            block.clear();
        }
    }
    file.write_all(&block)?;
    file.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
    let (hidden, layers) = (tensors[0].1[1], tensors.len() / 9);
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden,
        "intermediate_size": hidden * 8 / 3 / 64 * 64, "num_hidden_layers": layers, "num_attention_heads": 16,
        "num_key_value_heads": 16, "vocab_size": tensors[0].1[0], "torch_dtype": "bfloat16",
        "rms_norm_eps": 1e-5, "max_position_embeddings": 2048, "hidden_act": "silu", "tie_word_embeddings": false,
    });
    fs::write(path.join("config.json"), config.to_string())?;
    Ok(path)
}

/// About 0.02 in size; a fine-tuned one differs by about a hundredth of that in half of its elements.
fn element(index: u64, model: u8) -> u16 {
    let draw = |salt: u64| {
        let mut z = (index ^ salt << 56).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        ((z ^ (z >> 27)) >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    let mut value = draw(0) * 0.07;
    if model > 0 && draw(64 + u64::from(model)) > 0.0 {
        value += draw(u64::from(model)) * 0.001;
    }
    half::bf16::from_f32(value).to_bits()
}

/// Seconds to read all inputs and to write and sync as much as one of them.
fn disk_limit(folder: &Path, models: &[PathBuf]) -> anyhow::Result<f64> {
    let mut block = vec![0_u8; 8 << 20];
    let began = Instant::now();
    let mut bytes = 0;
    for model in models {
        let mut file = File::open(model.join("model.safetensors"))?;
        bytes = file.metadata()?.len();
        while file.read(&mut block)? > 0 {}
    }
    let path = folder.join("disk-limit");
    let mut file = File::create(&path)?;
    let mut left = bytes as usize;
    while left > 0 {
        let size = left.min(block.len());
        file.write_all(&block[..size])?;
        left -= size;
    }
    file.sync_all()?;
    let seconds = began.elapsed().as_secs_f64();
    fs::remove_file(path)?;
    Ok(seconds)
}

/// Of this process so far, all threads.
fn cpu_seconds() -> f64 {
    let text = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // utime and stime, in ticks of 10 ms, are the 12th and 13th after the name in parentheses.
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
    (ticks(11) + ticks(12)) / 100.0
}

/// The most anonymous memory seen, in bytes, looked at every few milliseconds.
fn watch_memory(peak: &AtomicU64, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib: Option<u64> = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok());
        peak.fetch_max(kib.unwrap_or_default() * 1024, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(5));
    }
}
