//! `xenoglot bench gemm`: the linears of a decode step at so many rows, on random weights of a model's shapes, and
//! which share of the processor's peak (`ops::Peak`) they reach.
//!
//! Each shape has a weight a layer, up to a limit, and they are taken in turn: a step reads every weight once, so a
//! weight that is still in the cache would flatter.

use std::sync::Arc;
use std::time::Instant;

use candle_core::quantized::GgmlDType;
use candle_core::{Device, Tensor};
use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::json;

use crate::model::{DecoderConfig, ExpertsConfig};
use crate::ops::{PackedLinear, Peak, Storage, WeightData, Workers, linear};
use crate::registry::{EngineOptions, inspect, resolve};
use crate::settings::Overrides;

use super::super::options::{GlobalOptions, settings};
use super::super::start;
use super::{IsaOption, median, print, round};

/// Memory of one shape's weights.
const COPIES_BYTES: usize = 256 << 20;
/// The peak's own share of this command is its products; what it reads does not matter here.
const READ_BYTES: usize = 64 << 20;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Takes the shapes of this model: a directory, a GGUF file or a name below the models directory
    /// [default: SmolLM2-135M-Instruct]
    #[arg(long)]
    model: Option<String>,
    /// Weights
    #[arg(long, default_value = "bf16", value_parser = PossibleValuesParser::new(Kind::NAMES))]
    dtype: String,
    /// Rows of the activations, the sequences of a batch
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=4096))]
    rows: u16,
    /// Passes over all weights
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    repeats: u16,
    /// Computing threads [default: one a core]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// One JSON object on stdout instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    isa: IsaOption,
}

/// How the weights are stored, and which peak they are held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    F32,
    Bf16,
    Q8_0,
    Q4_0,
}

impl Kind {
    const NAMES: [&str; 4] = ["f32", "bf16", "q8_0", "q4_0"];

    fn named(name: &str) -> Self {
        match name {
            "f32" => Self::F32,
            "q8_0" => Self::Q8_0,
            "q4_0" => Self::Q4_0,
            _ => Self::Bf16,
        }
    }

    /// The fastest way to multiply these weights: where there is no instruction for them, they are widened to f32.
    fn peak(self, peak: &Peak) -> f64 {
        match self {
            Self::F32 => peak.f32_gflops,
            Self::Bf16 => peak.bf16_gflops.unwrap_or(peak.f32_gflops),
            Self::Q8_0 | Self::Q4_0 => peak.int8_gops.unwrap_or(peak.f32_gflops),
        }
    }

    fn pack(self, shape: &Shape, workers: &Arc<Workers>) -> anyhow::Result<Arc<PackedLinear>> {
        let (n, k) = (shape.n, shape.k);
        let blocks = |dtype: GgmlDType| {
            let mut bytes = vec![0x25; n * k / dtype.block_size() * dtype.type_size()];
            // A block begins with its scale, a half: 2^-6, so that no sum overflows.
            for block in bytes.chunks_exact_mut(dtype.type_size()) {
                block[..2].copy_from_slice(&0x2400_u16.to_le_bytes());
            }
            (dtype, bytes)
        };
        let pack = |weight: WeightData<'_>, storage| PackedLinear::pack(weight, n, k, None, storage, workers);
        Ok(match self {
            Self::F32 => pack(WeightData::F32(&numbers(n * k)), Storage::F32)?,
            Self::Bf16 => pack(WeightData::F32(&numbers(n * k)), Storage::Bf16)?,
            Self::Q8_0 | Self::Q4_0 => {
                let (dtype, bytes) =
                    blocks(if self == Self::Q8_0 { GgmlDType::Q8_0 } else { GgmlDType::Q4_0 });
                pack(WeightData::Blocks { dtype, bytes: &bytes }, Storage::Blocks)?
            }
        })
    }
}

/// One linear of the decoder: `[rows, k]` to `[rows, n]`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shape {
    name: &'static str,
    n: usize,
    k: usize,
    /// How many of them a step goes through.
    count: usize,
}

/// What a decode step of one row multiplies with, the projections that share their input as one.
fn shapes(config: &DecoderConfig) -> Vec<Shape> {
    let attention = config.heads * config.head_dim;
    let qkv = attention + 2 * config.kv_heads * config.head_dim;
    let (hidden, layers) = (config.hidden_size, config.layers);
    let mut all = vec![
        Shape { name: "qkv", n: qkv, k: hidden, count: layers },
        Shape { name: "o", n: hidden, k: attention, count: layers },
    ];
    let sparse = (0..layers).filter(|layer| config.experts_of(*layer).is_some()).count();
    if sparse < layers {
        let (width, count) = (config.intermediate_size, layers - sparse);
        all.push(Shape { name: "gate_up", n: 2 * width, k: hidden, count });
        all.push(Shape { name: "down", n: hidden, k: width, count });
    }
    if let Some(ExpertsConfig { experts_per_token, intermediate_size, shared_intermediate_size, .. }) =
        &config.experts
    {
        let (width, count) = (*intermediate_size, sparse * experts_per_token);
        all.push(Shape { name: "expert_gate_up", n: 2 * width, k: hidden, count });
        all.push(Shape { name: "expert_down", n: hidden, k: width, count });
        if let Some(width) = *shared_intermediate_size {
            all.push(Shape { name: "shared_gate_up", n: 2 * width, k: hidden, count: sparse });
            all.push(Shape { name: "shared_down", n: hidden, k: width, count: sparse });
        }
    }
    all.push(Shape { name: "head", n: config.vocab_size, k: hidden, count: 1 });
    all
}

/// A shape and the seconds that one of it takes.
struct Timed {
    shape: Shape,
    seconds: f64,
}

impl Timed {
    fn gflops(&self, rows: usize) -> f64 {
        self.shape.operations(rows) / self.seconds / 1e9
    }
}

impl Shape {
    fn operations(&self, rows: usize) -> f64 {
        2.0 * rows as f64 * self.n as f64 * self.k as f64
    }
}

pub(super) fn run(global: &GlobalOptions, arguments: &Arguments) -> anyhow::Result<()> {
    let settings =
        settings(global, Overrides { threads: arguments.threads.map(Some), ..Overrides::default() })?;
    start::logging(&settings, true)?;
    let workers = arguments.isa.workers(&settings)?;
    let found = resolve(arguments.model.as_deref(), &settings.models_dir, &|_| ())?;
    let config = inspect(&found.path, &EngineOptions::from(&settings))?.config;
    let (kind, rows) = (Kind::named(&arguments.dtype), usize::from(arguments.rows));
    let peak = kind.peak(&Peak::measure(&workers, READ_BYTES)?);
    let timed = shapes(&config)
        .into_iter()
        .map(|shape| measure(shape, kind, rows, arguments.repeats, &workers))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let figures = Figures { arguments, model: found.name, rows, peak, timed, workers: &workers };
    print(arguments.json, &|| figures.json(), &|| figures.text())
}

fn measure(
    shape: Shape,
    kind: Kind,
    rows: usize,
    repeats: u16,
    workers: &Arc<Workers>,
) -> anyhow::Result<Timed> {
    let first = kind.pack(&shape, workers)?;
    let copies = (COPIES_BYTES / first.bytes().max(1)).clamp(1, shape.count);
    let mut weights = vec![first];
    while weights.len() < copies {
        weights.push(kind.pack(&shape, workers)?);
    }
    let x = Tensor::from_vec(numbers(rows * shape.k), (rows, shape.k), &Device::Cpu)?; // [rows, k]
    let pass = || -> anyhow::Result<f64> {
        let started = Instant::now();
        for weight in &weights {
            std::hint::black_box(linear(&x, weight)?);
        }
        Ok(started.elapsed().as_secs_f64() / weights.len() as f64)
    };
    pass()?; // A first pass warms up.
    let seconds = median((0..repeats).map(|_| pass()).collect::<anyhow::Result<_>>()?);
    eprintln!("{}: {:.0} microseconds, {} weights in turn", shape.name, seconds * 1e6, weights.len());
    Ok(Timed { shape, seconds })
}

struct Figures<'a> {
    arguments: &'a Arguments,
    model: String,
    rows: usize,
    /// Of the weights' type, in 10^9 operations a second.
    peak: f64,
    timed: Vec<Timed>,
    workers: &'a Workers,
}

impl Figures<'_> {
    /// Of all linears of a step.
    fn step_seconds(&self) -> f64 {
        self.timed.iter().map(|timed| timed.seconds * timed.shape.count as f64).sum()
    }

    fn step_gflops(&self) -> f64 {
        let operations =
            self.timed.iter().map(|timed| timed.shape.operations(self.rows) * timed.shape.count as f64);
        operations.sum::<f64>() / self.step_seconds() / 1e9
    }

    fn percent(&self, gflops: f64) -> f64 {
        gflops / self.peak * 100.0
    }

    fn json(&self) -> serde_json::Value {
        let shapes = self.timed.iter().map(|timed| {
            let Shape { name, n, k, count } = timed.shape;
            let gflops = timed.gflops(self.rows);
            json!({
                "name": name,
                "n": n,
                "k": k,
                "count": count,
                "microseconds": round(timed.seconds * 1e6),
                "gflops": round(gflops),
                "percent_of_peak": round(self.percent(gflops)),
            })
        });
        json!({
            "model": self.model,
            "dtype": self.arguments.dtype,
            "rows": self.rows,
            "peak_gflops": round(self.peak),
            "shapes": shapes.collect::<Vec<_>>(),
            "step_milliseconds": round(self.step_seconds() * 1e3),
            "gflops": round(self.step_gflops()),
            "percent_of_peak": round(self.percent(self.step_gflops())),
            "isa": self.workers.isa().to_string(),
            "threads": self.workers.threads(),
        })
    }

    fn text(&self) -> String {
        let line = |name: &str, size: String, gflops: f64| {
            format!("{name:8} {size:>13} {gflops:8.1} GFLOP/s {:5.1} % of the peak", self.percent(gflops))
        };
        let mut lines: Vec<String> = self
            .timed
            .iter()
            .map(|timed| {
                let size = format!("{} x {}", timed.shape.n, timed.shape.k);
                line(timed.shape.name, size, timed.gflops(self.rows))
            })
            .collect();
        lines.push(line("step", format!("{:.2} ms", self.step_seconds() * 1e3), self.step_gflops()));
        lines.push(format!(
            "{} rows, {} weights of {}, peak {:.0} GFLOP/s, {} threads on {}",
            self.rows,
            self.arguments.dtype,
            self.model,
            self.peak,
            self.workers.threads(),
            self.workers.isa(),
        ));
        lines.join("\n")
    }
}

/// Numbers in -1..1 without a pattern that arithmetic could profit from.
fn numbers(count: usize) -> Vec<f32> {
    let mut state = 0x9e37_79b9_u32;
    let next = || {
        // xorshift32
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEAK: Peak = Peak { f32_gflops: 1.0, bf16_gflops: Some(2.0), int8_gops: Some(4.0), read_gbs: 1.0 };

    #[test]
    fn weights_are_held_against_their_own_peak() {
        let check =
            |name, peak: &Peak, expected| assert_eq!(Kind::named(name).peak(peak), expected, "{name}");
        check("f32", &PEAK, 1.0);
        check("bf16", &PEAK, 2.0);
        check("q8_0", &PEAK, 4.0);
        check("q4_0", &PEAK, 4.0);
        check("bf16", &Peak { bf16_gflops: None, ..PEAK }, 1.0);
        check("q8_0", &Peak { int8_gops: None, ..PEAK }, 1.0);
    }

    #[test]
    fn every_kind_is_multiplied() {
        let workers = Workers::new(2);
        for name in Kind::NAMES {
            let shape = Shape { name: "o", n: 48, k: 64, count: 3 };
            let timed = measure(shape, Kind::named(name), 5, 2, &workers).unwrap();
            assert!(timed.gflops(5) > 0.0 && timed.shape.operations(5) == 2.0 * 5.0 * 48.0 * 64.0, "{name}");
        }
    }

    #[test]
    fn numbers_stay_in_their_range() {
        let numbers = numbers(10_000);
        assert!(numbers.iter().all(|x| (-1.0..1.0).contains(x)) && numbers.iter().any(|x| *x < -0.9));
    }
}
