//! `xenoglot bench quality`: what a type of weights loses against a reference, on parallel passages in eight languages
//! or a text of the user's.
//!
//! Both models read the same tokens, and their distributions over the next token are compared at every position:
//! perplexity of the text under each, the Kullback-Leibler divergence from the reference's distribution, and how often
//! the likeliest token is the same one, which is what greedy decoding would write there. Beyond a limit the command
//! fails: the gate that quantised weights pass before they are served.

mod divergence;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::{Value, json};

use crate::engine::TextLogits;
use crate::ops::Workers;
use crate::registry::{EngineOptions, LoadedDecoder, load_decoder, resolve};
use crate::settings::{Dtype, Quantize, Settings};
use crate::weights::printable;

use super::super::failure::Failure;
use super::super::options::{GlobalOptions, ModelOptions, settings};
use super::super::pull::PullBars;
use super::super::start;
use super::{IsaOption, print, round};
use divergence::Comparison;

/// Worked problems in prose, written for this project, so that no training set has them.
const PASSAGES: [(&str, &str); 8] = [
    ("en", include_str!("en.txt")),
    ("fr", include_str!("fr.txt")),
    ("zh", include_str!("zh.txt")),
    ("ja", include_str!("ja.txt")),
    ("th", include_str!("th.txt")),
    ("bn", include_str!("bn.txt")),
    ("sw", include_str!("sw.txt")),
    ("te", include_str!("te.txt")),
];

/// Rows of logits held at once, of each model.
const CHUNK: usize = 64;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A directory, a GGUF file or a name below the models directory [default: SmolLM2-135M-Instruct]
    #[arg(long)]
    model: Option<String>,
    /// The model to compare with [default: the same one]
    #[arg(long, value_name = "MODEL")]
    reference_model: Option<String>,
    /// Type of the reference's weights and KV cache
    #[arg(long, value_parser = PossibleValuesParser::new(Dtype::CHOICES), default_value = "bf16")]
    reference_dtype: String,
    /// A text of one's own instead of the passages
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// Tokens of a text that are read
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(2..))]
    tokens: u32,
    /// Fail if the mean divergence is above this, in nats
    #[arg(long, value_name = "NATS", allow_negative_numbers = true, value_parser = limit)]
    max_kl: Option<f64>,
    /// Fail if the likeliest tokens agree at less than this share of the positions
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true, value_parser = limit)]
    min_agreement: Option<f64>,
    /// One JSON object on stdout instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    isa: IsaOption,
    #[command(flatten)]
    model_options: ModelOptions,
}

pub(super) fn run(global: &GlobalOptions, arguments: &Arguments) -> anyhow::Result<()> {
    let settings = settings(global, arguments.model_options.overrides())?;
    start::logging(&settings, true)?;
    let texts = texts(arguments)?;
    let workers = arguments.isa.workers(&settings)?;
    let options = EngineOptions::from(&settings);
    // The parser has checked the spelling.
    let dtype = arguments.reference_dtype.parse().unwrap_or(Dtype::Bf16);
    let reference_options = EngineOptions { dtype, quantize: Quantize::None, ..options.clone() };
    let reference_model = arguments.reference_model.as_deref().or(arguments.model.as_deref());
    let mut tested = Reader::load(arguments.model.as_deref(), &settings, &options, arguments, &workers)?;
    let mut reference = Reader::load(reference_model, &settings, &reference_options, arguments, &workers)?;

    let mut parts = Vec::new();
    for (name, text) in &texts {
        parts.push((name.as_str(), compare(&mut tested, &mut reference, text, arguments.tokens as usize)?));
    }
    let mut total = Comparison::default();
    for (_, part) in &parts {
        total.add(part);
    }
    let report = Report { parts, total, tested, reference, isa: workers.isa().to_string() };
    print(arguments.json, &|| report.json(), &|| report.text())?;
    gate(&report.total, arguments)
}

/// What no figure can be beyond is no limit, and a NaN would let everything pass.
fn limit(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(limit) if limit.is_finite() && limit >= 0.0 => Ok(limit),
        _ => Err("must be a number of at least 0".to_owned()),
    }
}

/// The texts to read, by name.
fn texts(arguments: &Arguments) -> anyhow::Result<Vec<(String, String)>> {
    let Some(path) = &arguments.text else {
        return Ok(PASSAGES.map(|(name, text)| (name.to_owned(), text.to_owned())).to_vec());
    };
    let text = std::fs::read_to_string(path).with_context(|| format!("reading --text {}", path.display()))?;
    Ok(vec![(path.display().to_string(), text)])
}

fn gate(total: &Comparison, arguments: &Arguments) -> anyhow::Result<()> {
    let (kl, agreement) = (total.mean_kl(), total.agreement());
    let beyond = match (arguments.max_kl, arguments.min_agreement) {
        // A divergence that is no number fails too.
        (Some(most), _) if kl.is_nan() || kl > most => {
            format!("the mean divergence is {kl:.4} nats, --max-kl {most}")
        }
        (_, Some(least)) if agreement < least => {
            format!("the likeliest tokens agree at {:.1} %, --min-agreement {least}", agreement * 100.0)
        }
        _ => return Ok(()),
    };
    Err(Failure::new(beyond).hint("finer scales lose less: --quantize int8-g64 or int8-g32").into())
}

/// A model that reads texts.
struct Reader {
    path: PathBuf,
    logits: TextLogits,
    tokenizer: crate::weights::Tokenizer,
    dtype: &'static str,
    weight_bytes: usize,
}

impl Reader {
    fn load(
        model: Option<&str>,
        settings: &Settings,
        options: &EngineOptions,
        arguments: &Arguments,
        workers: &Arc<Workers>,
    ) -> anyhow::Result<Self> {
        let bars = PullBars::new();
        let path = resolve(model, &settings.models_dir, &|event| bars.show(event))?.path;
        bars.finish();
        let LoadedDecoder { checkpoint, decoder, dtype, kv_dtype } =
            load_decoder(&path, options, workers).with_context(|| format!("loading {}", path.display()))?;
        let weight_bytes = decoder.weight_bytes();
        let logits = TextLogits::new(decoder, kv_dtype, arguments.tokens as usize, workers)?;
        Ok(Self { path, logits, tokenizer: checkpoint.tokenizer, dtype, weight_bytes })
    }
}

fn compare(
    tested: &mut Reader,
    reference: &mut Reader,
    text: &str,
    tokens_max: usize,
) -> anyhow::Result<Comparison> {
    let mut ids = tested.tokenizer.encode(text, true).context("tokenizing the text")?;
    if reference.tokenizer.encode(text, true).context("tokenizing the text")? != ids
        || tested.logits.vocab_size() != reference.logits.vocab_size()
    {
        let (a, b) = (tested.path.display(), reference.path.display());
        let failure = Failure::usage(format!("{a} and {b} have different vocabularies"));
        return Err(failure.hint("compare a model with another type of itself").into());
    }
    ids.truncate(tokens_max);
    if ids.len() < 2 {
        return Err(Failure::usage("the text has no two tokens, and nothing to compare at").into());
    }
    tested.logits.restart();
    reference.logits.restart();
    let mut comparison = Comparison::default();
    for (at, chunk) in ids.chunks(CHUNK).enumerate() {
        // What follows each token of the chunk; nothing is known of the last one's successor.
        let next = &ids[at * CHUNK + 1..];
        let rows = tested.logits.append(chunk, <[f32]>::to_vec)?;
        let vocab = tested.logits.vocab_size();
        reference.logits.append(chunk, |expected| {
            for ((row, expected), &next) in rows.chunks(vocab).zip(expected.chunks(vocab)).zip(next) {
                comparison.position(row, expected, next);
            }
        })?;
    }
    Ok(comparison)
}

struct Report<'a> {
    parts: Vec<(&'a str, Comparison)>,
    total: Comparison,
    tested: Reader,
    reference: Reader,
    isa: String,
}

impl Report<'_> {
    fn json(&self) -> Value {
        let side = |reader: &Reader| {
            json!({
                "model": printable(&reader.path.display().to_string()),
                "dtype": reader.dtype,
                "weight_bytes": reader.weight_bytes,
            })
        };
        let parts: serde_json::Map<String, Value> =
            self.parts.iter().map(|(name, part)| ((*name).to_owned(), part_json(part))).collect();
        let mut report = part_json(&self.total);
        report["texts"] = Value::Object(parts);
        report["tested"] = side(&self.tested);
        report["reference"] = side(&self.reference);
        report["isa"] = json!(self.isa);
        report["version"] = json!(env!("CARGO_PKG_VERSION"));
        report
    }

    fn text(&self) -> String {
        let (tested, reference) = (self.tested.dtype, self.reference.dtype);
        let mut text = format!(
            "{tested} against {reference}, {}\n{:<10} {:>7} {:>14} {:>14} {:>10} {:>10} {:>10}\n",
            self.isa, "text", "tokens", "ppl", "ppl reference", "mean KL", "99 % KL", "agree"
        );
        for (name, part) in self.parts.iter().chain([&("all", self.total.clone())]) {
            // A string takes any text.
            let _ = writeln!(
                text,
                "{name:<10} {:>7} {:>14.3} {:>14.3} {:>10.5} {:>10.4} {:>8.2} %",
                part.positions(),
                part.perplexity(),
                part.reference_perplexity(),
                part.mean_kl(),
                part.kl_quantile(0.99),
                part.agreement() * 100.0,
            );
        }
        text.truncate(text.trim_end().len());
        text
    }
}

fn part_json(part: &Comparison) -> Value {
    json!({
        "tokens": part.positions(),
        "perplexity": part.perplexity(),
        "reference_perplexity": part.reference_perplexity(),
        "mean_kl": part.mean_kl(),
        "kl_99": part.kl_quantile(0.99),
        "agreement_percent": round(part.agreement() * 100.0),
    })
}
