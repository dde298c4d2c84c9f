//! From a row of logits to a token id and its logprobs. Pure: the result depends on the row, the parameters and
//! (seed, choice, position), never on the batch.
//!
//! Temperature below 1e-5 is greedy: the largest processed logit, ties to the lower id. Truncation is top-k,
//! then top-p over what top-k kept, then min-p; only entries that can survive are sorted. Processed logprobs of a greedy choice are read after bias and penalties, at temperature 1, untruncated
//! (as vLLM does): the point mass it is drawn from would say 0 for every token.

mod philox;
mod processors;
mod softmax;
mod widest;

use super::guidance::Constraint;
use super::request::{Fault, LogprobsMode, SamplingParams, TokenLogprob, TokenLogprobs};
use crate::guide::GuideError;
use softmax::{Entry, SUM_BLOCK, Softmax};

const GREEDY_BELOW: f32 = 1e-5;

/// One token to choose.
#[derive(Debug, Clone, Copy)]
pub struct SampleJob<'a> {
    /// `[vocab]`
    pub logits: &'a [f32],
    pub params: &'a SamplingParams,
    pub prompt: &'a [u32],
    pub output: &'a [u32],
    pub choice: u32,
    /// The model's end-of-sequence tokens; empty when they are ignored.
    pub eos_token_ids: &'a [u32],
    /// What the request's grammar and its like leave.
    pub constraint: Option<&'a Constraint>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Sampled {
    pub token: u32,
    pub logprobs: Option<TokenLogprobs>,
}

/// Why a row gives no token. The request fails with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SampleError {
    #[error(
        "the model produced logits that are not finite numbers: its weights may be damaged, or overflow in this \
         type; try --dtype f32"
    )]
    NotANumber,
    #[error(
        "logit_bias and the penalties took a logit beyond what a 32-bit number holds: bring them nearer to 0 \
         (repetition_penalty nearer to 1)"
    )]
    OverflowByParameters,
    #[error("logit_bias, min_tokens and the grammar, if there is one, left no token to choose from")]
    NothingLeft,
    #[error(transparent)]
    Guide(#[from] GuideError),
}

impl SampleError {
    pub fn fault(&self) -> Fault {
        match self {
            Self::NotANumber => Fault::Engine,
            Self::OverflowByParameters | Self::NothingLeft | Self::Guide(_) => Fault::Request,
        }
    }
}

/// # Errors
/// See [`SampleError`].
pub fn sample(job: &SampleJob<'_>) -> Result<Sampled, SampleError> {
    let params = job.params;
    let processed = processors::process(job);
    let greedy = params.temperature < GREEDY_BELOW;
    let softmax = Softmax::new(&processed, if greedy { 1.0 } else { params.temperature })
        .map_err(|error| blame(error, job.logits))?;
    let kept = if greedy { None } else { truncate(&softmax, params) };
    let token = if greedy {
        softmax::argmax(&processed)?
    } else {
        let uniform = philox::uniform(params.seed, job.choice, job.output.len() as u64);
        match &kept {
            Some(kept) => draw_kept(&softmax, kept, uniform),
            None => draw(&softmax, uniform),
        }
    };
    let logprobs = match (params.logprobs, params.logprobs_mode) {
        (None, _) => None,
        (Some(k), LogprobsMode::Raw) => Some(row_logprobs(job.logits, token, k)?),
        (Some(k), LogprobsMode::Scaled) => {
            let kept_mass = kept.as_ref().map(|kept| kept_mass(&softmax, kept));
            Some(TokenLogprobs { kept_mass, ..logprobs_of(&softmax, token, k) })
        }
        (Some(k), LogprobsMode::Processed) => Some(match &kept {
            Some(kept) => kept_logprobs(&softmax, kept, token, k),
            None => logprobs_of(&softmax, token, k),
        }),
    };
    Ok(Sampled { token, logprobs })
}

/// Processed logits that are not finite are the model's fault only if its own were not.
fn blame(error: SampleError, logits: &[f32]) -> SampleError {
    let model_is_fine = !matches!(Softmax::new(logits, 1.0), Err(SampleError::NotANumber));
    if error == SampleError::NotANumber && model_is_fine { SampleError::OverflowByParameters } else { error }
}

/// Raw logprobs of one token of a row, as prompt logprobs need them.
///
/// # Errors
/// See [`SampleError`].
pub fn row_logprobs(logits: &[f32], token: u32, k: u32) -> Result<TokenLogprobs, SampleError> {
    Ok(logprobs_of(&Softmax::new(logits, 1.0)?, token, k))
}

/// The entries that top-k, top-p and min-p leave, best first; `None` if all are off.
fn truncate(softmax: &Softmax<'_>, params: &SamplingParams) -> Option<Vec<Entry>> {
    let values = softmax.values();
    let weight = |entry: &Entry| f64::from(softmax.weight(entry.value));
    let mut kept = if params.top_k > 0 {
        let mut best = softmax::top_entries(values, params.top_k as usize);
        if params.top_p < 1.0 {
            let total = best.iter().map(weight).sum::<f64>();
            let nucleus = nucleus(softmax, &best, f64::from(params.top_p) * total);
            best.truncate(nucleus.unwrap_or(best.len()));
        }
        best
    } else if params.top_p < 1.0 {
        // All entries below `least` together weigh less than what top-p may drop, so none is in the nucleus.
        let total = softmax.total();
        let least = f64::from(1.0 - params.top_p) * total / values.len() as f64;
        let mut best = softmax.entries_from(least);
        let nucleus = nucleus(softmax, &best, f64::from(params.top_p) * total);
        best.truncate(nucleus.unwrap_or(best.len()));
        best
    } else if params.min_p > 0.0 {
        softmax.entries_from(f64::from(params.min_p))
    } else {
        return None;
    };
    if params.min_p > 0.0 {
        kept.truncate(kept.partition_point(|entry| softmax.weight(entry.value) >= params.min_p));
    }
    Some(kept)
}

/// How many of the best entries reach `mass` together, the one that crosses it included.
fn nucleus(softmax: &Softmax<'_>, best: &[Entry], mass: f64) -> Option<usize> {
    let mut sum = 0.0;
    best.iter()
        .position(|entry| {
            sum += f64::from(softmax.weight(entry.value));
            sum >= mass
        })
        .map(|at| at + 1)
}

fn draw_kept(softmax: &Softmax<'_>, kept: &[Entry], uniform: f64) -> u32 {
    let weights = || kept.iter().map(|entry| f64::from(softmax.weight(entry.value)));
    kept[walk(weights(), uniform * weights().sum::<f64>())].id
}

/// A draw from the whole row: skip blocks by their sums, then walk one.
fn draw(softmax: &Softmax<'_>, uniform: f64) -> u32 {
    let sums = softmax.block_sums();
    let mut target = uniform * sums.iter().sum::<f64>();
    let block = walk(sums.iter().copied(), target);
    for sum in &sums[..block] {
        target -= sum;
    }
    let start = block * SUM_BLOCK;
    let values = &softmax.values()[start..(start + SUM_BLOCK).min(softmax.values().len())];
    let weights = values.iter().map(|&value| f64::from(softmax.weight(value)));
    (start + walk(weights, target)) as u32
}

/// The index in whose share of the running sum `target` lies; the last with any share if rounding runs past it.
fn walk(weights: impl Iterator<Item = f64>, mut target: f64) -> usize {
    let mut last = 0;
    for (at, weight) in weights.enumerate() {
        if weight > 0.0 {
            if target < weight {
                return at;
            }
            last = at;
        }
        target -= weight;
    }
    last
}

fn logprobs_of(softmax: &Softmax<'_>, token: u32, k: u32) -> TokenLogprobs {
    let values = softmax.values();
    let log_total = softmax.total().ln();
    let logprob = |value| softmax.logprob(value, log_total);
    let rank = softmax::rank(values, token);
    TokenLogprobs {
        chosen: TokenLogprob { token, logprob: logprob(values[token as usize]), rank },
        top: ranked(&softmax::top_entries(values, k as usize), logprob),
        kept_mass: None,
    }
}

/// As `logprobs_of`, over the entries that truncation kept; only these are reported.
fn kept_logprobs(softmax: &Softmax<'_>, kept: &[Entry], token: u32, k: u32) -> TokenLogprobs {
    let log_total = kept.iter().map(|entry| f64::from(softmax.weight(entry.value))).sum::<f64>().ln();
    let logprob = |value| softmax.logprob(value, log_total);
    let at = kept.iter().position(|entry| entry.id == token).unwrap_or_default();
    TokenLogprobs {
        chosen: TokenLogprob { token, logprob: logprob(kept[at].value), rank: at as u32 + 1 },
        top: ranked(&kept[..kept.len().min(k as usize)], logprob),
        kept_mass: Some(kept_mass(softmax, kept)),
    }
}

/// The share of the row that truncation left.
fn kept_mass(softmax: &Softmax<'_>, kept: &[Entry]) -> f32 {
    let left = kept.iter().map(|entry| f64::from(softmax.weight(entry.value))).sum::<f64>();
    (left / softmax.total()) as f32
}

fn ranked(best: &[Entry], logprob: impl Fn(f32) -> f32) -> Vec<TokenLogprob> {
    (1..)
        .zip(best)
        .map(|(rank, entry)| TokenLogprob { token: entry.id, logprob: logprob(entry.value), rank })
        .collect()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
