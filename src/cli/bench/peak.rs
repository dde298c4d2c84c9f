//! `xenoglot bench peak`: what the processor could do at most, measured on the spot (`ops::Peak`).

use clap::Args;
use serde_json::json;

use crate::ops::{Peak, Workers};
use crate::settings::Overrides;

use super::super::options::{GlobalOptions, settings};
use super::super::start;
use super::{IsaOption, print, round};

/// Memory that is read: more than the largest last-level caches.
const READ_BYTES: usize = 1 << 30;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// One JSON object on stdout instead of text
    #[arg(long)]
    json: bool,
    /// Computing threads [default: one a core]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    #[command(flatten)]
    isa: IsaOption,
}

pub(super) fn run(global: &GlobalOptions, arguments: &Arguments) -> anyhow::Result<()> {
    let settings =
        settings(global, Overrides { threads: arguments.threads.map(Some), ..Overrides::default() })?;
    start::logging(&settings, true)?;
    let workers = arguments.isa.workers(&settings)?;
    let peak = Peak::measure(&workers, READ_BYTES)?;
    print(arguments.json, &|| json(&peak, &workers), &|| text(&peak, &workers))
}

fn json(peak: &Peak, workers: &Workers) -> serde_json::Value {
    json!({
        "f32_gflops": round(peak.f32_gflops),
        "bf16_gflops": peak.bf16_gflops.map(round),
        "int8_gops": peak.int8_gops.map(round),
        "read_gbs": round(peak.read_gbs),
        "isa": workers.isa().to_string(),
        "threads": workers.threads(),
    })
}

fn text(peak: &Peak, workers: &Workers) -> String {
    let rate =
        |rate: Option<f64>| rate.map_or_else(|| "no instruction".to_owned(), |rate| format!("{rate:.0}"));
    format!(
        "f32 {:.0} GFLOP/s, bf16 {} GFLOP/s, int8 {} GOP/s, read {:.1} GB/s ({} threads on {})",
        peak.f32_gflops,
        rate(peak.bf16_gflops),
        rate(peak.int8_gops),
        peak.read_gbs,
        workers.threads(),
        workers.isa(),
    )
}
