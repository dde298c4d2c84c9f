//! The memory of the loss over vocabularies, of a process that does nothing else.

use std::process::{Command, Stdio};

use candle_core::{Device, Tensor, Var};
use xenoglot::ops::{PackedLinear, Storage, Targets, WeightData, Workers, cross_entropy};

const VOCABULARY: &str = "CROSS_ENTROPY_VOCABULARY";
const ROWS: usize = 1024;
const WIDTH: usize = 16;

/// A figure of /proc/self/status in KiB.
fn status(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

/// What a forward and backward pass took beyond what was there before it, in KiB, told on stderr. Only as a child of the test below.
#[test]
fn passes_in_a_process_of_their_own() {
    let Some(vocabulary) = std::env::var(VOCABULARY).ok().and_then(|text| text.parse::<usize>().ok()) else {
        return;
    };
    let workers = Workers::new(2);
    let values: Vec<f32> = (0..vocabulary * WIDTH).map(|at| (at % 13) as f32 * 0.01 - 0.06).collect();
    let head = PackedLinear::pack(WeightData::F32(&values), vocabulary, WIDTH, None, Storage::F32, &workers)
        .unwrap();
    let x: Vec<f32> = (0..ROWS * WIDTH).map(|at| (at % 7) as f32 * 0.1).collect();
    let x = Var::from_tensor(&Tensor::from_vec(x, (ROWS, WIDTH), &Device::Cpu).unwrap()).unwrap();
    let targets = Targets { ids: (0..ROWS as u32).collect(), weights: vec![1.0 / ROWS as f32; ROWS] };
    // Forgets the peak until here.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = status("VmRSS");
    let loss = cross_entropy(&x, &head, &targets).unwrap();
    assert!(loss.backward().unwrap().get(&x).is_some());
    eprintln!("peak {}", status("VmHWM") - before);
}

/// All logits would be 128 MiB of the smallest vocabulary and 2 GiB of the largest.
#[test]
fn the_loss_takes_as_much_memory_over_any_vocabulary() {
    let peak = |vocabulary: usize| -> u64 {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "train::memory::passes_in_a_process_of_their_own", "--nocapture"])
            .env(VOCABULARY, vocabulary.to_string())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&child.stderr);
        assert!(child.status.success(), "{stderr}");
        let line =
            stderr.lines().find_map(|line| line.strip_prefix("peak ")).unwrap_or_else(|| panic!("{stderr}"));
        line.parse::<u64>().unwrap() >> 10
    };
    let peaks = [1 << 15, 1 << 17, 1 << 19].map(peak);
    eprintln!("vocabularies of 32,768, 131,072 and 524,288: {peaks:?} MiB");
    assert!(peaks.iter().all(|&peak| (40..160).contains(&peak)), "{peaks:?} MiB");
}
