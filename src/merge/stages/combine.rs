//! How vectors become one, element by element, with what the whole tensor says of it.

use std::ops::Range;

use super::super::error::MergeError;
use super::super::pool::Pool;
use super::derived::Derived;
use super::fusion::Outliers;
use super::gram::{Gram, of_tensor};
use super::operands::{Buffers, Operands};
use super::ranks::Window;
use super::recipe::{Along, Combine, Recipe, Vectors};
use super::select::Stream;
use super::sparsify::Keeper;
use super::sphere::coefficients;

/// A way to combine with everything known that a pass over the tensor had to find out.
pub enum Combiner<'a> {
    /// One coefficient a vector.
    Weighted(Vec<f32>),
    /// Found row by row.
    Rows(&'a Combine),
    Consensus {
        weights: Vec<f32>,
        normalize: bool,
        lambda: f32,
    },
    Sce {
        weights: Vec<f32>,
        window: Option<Window>,
    },
    Nearswap {
        t: f32,
    },
    Fusion(Outliers),
    /// A factor of what a model alone changed.
    Overlap {
        epsilon: f32,
        own: Vec<f32>,
    },
}

impl<'a> Combiner<'a> {
    /// # Errors
    /// A tensor that cannot be read, or `Undefined`.
    pub fn find(
        pool: &Pool<'_>,
        recipe: &'a Recipe,
        operands: &Operands<'_>,
        keeper: &Keeper,
    ) -> Result<Self, MergeError> {
        let undefined = |why: &'static str| MergeError::Undefined { tensor: operands.name.to_owned(), why };
        let narrow = |wide: &[f64]| wide.iter().map(|value| *value as f32).collect::<Vec<f32>>();
        Ok(match &recipe.combine {
            Combine::Copy { scale } => Self::Weighted(vec![scale.unwrap_or(1.0) as f32]),
            Combine::Weighted { weights, normalize, guard, lambda } => {
                let sum = divisor(weights, *normalize, *guard).ok_or_else(|| {
                    undefined("the weights sum to 0: change one, or set normalize to false")
                })?;
                Self::Weighted(weights.iter().map(|weight| (weight * lambda / sum) as f32).collect())
            }
            Combine::Consensus { weights, normalize, lambda } => {
                Self::Consensus { weights: narrow(weights), normalize: *normalize, lambda: *lambda as f32 }
            }
            combine @ (Combine::Nuslerp { along: Along::LastAxis, .. }
            | Combine::ModelStock { along: Along::LastAxis }) => Self::Rows(combine),
            combine @ (Combine::Slerp { .. }
            | Combine::Nuslerp { .. }
            | Combine::Multislerp { .. }
            | Combine::Karcher { .. }
            | Combine::ModelStock { .. }) => {
                let gram = of_tensor(pool, operands)?;
                Self::Weighted(narrow(&coefficients(combine, &gram).map_err(undefined)?))
            }
            Combine::Sce { select } => sce(pool, operands, *select)?,
            Combine::Nearswap { t } => Self::Nearswap { t: *t as f32 },
            Combine::Fusion => Self::Fusion(Outliers::find(pool, operands)?),
            Combine::Overlap { epsilon, growth } => {
                let own = match growth {
                    None => vec![1.0; operands.models.len()],
                    Some((r, alpha)) => own_factors(pool, operands, keeper, *epsilon, *r, *alpha)?,
                };
                Self::Overlap { epsilon: *epsilon as f32, own }
            }
        })
    }

    /// Write `out` for a piece.
    pub fn combine(&self, operands: &Operands<'_>, buffers: &mut Buffers, range: &Range<usize>) {
        let size = range.len();
        let Buffers { base, vectors, out, .. } = buffers;
        let out = &mut out[..size];
        match self {
            Self::Weighted(weights) => weighted(weights, vectors, out),
            Self::Rows(combine) => rows(combine, operands.row(), vectors, out),
            Self::Consensus { weights, normalize, lambda } => {
                consensus(weights, *normalize, *lambda, vectors, out);
            }
            Self::Sce { weights, window } => {
                let piece = operands.piece_at(range.start);
                sce_piece(weights, window.as_ref().map(|window| (window, piece)), vectors, out);
            }
            Self::Nearswap { t } => {
                for (out, difference) in out.iter_mut().zip(&vectors[0]) {
                    let share = (t / difference.abs().max(1e-6)).clamp(0.0, 1.0);
                    *out = share * difference;
                }
            }
            Self::Fusion(outliers) => outliers.cut(operands.row(), range.start, &vectors[0], out),
            Self::Overlap { epsilon, own } => overlap(*epsilon, own, vectors, out),
        }
        if operands.vectors == Vectors::Differences {
            for (out, base) in out.iter_mut().zip(&base[..size]) {
                *out += base;
            }
        }
    }
}

/// What weights are divided by; `None` where they sum to zero and nothing guards that.
fn divisor(weights: &[f64], normalize: bool, guard: bool) -> Option<f64> {
    let sum: f64 = weights.iter().sum();
    match (normalize, guard) {
        (false, _) => Some(1.0),
        (true, true) => Some(if sum.abs() < 1e-8 { 1.0 } else { sum }),
        (true, false) => (!cancels(weights)).then_some(sum),
    }
}

/// Whether weights sum to zero, up to what rounding leaves of them.
pub fn cancels(weights: &[f64]) -> bool {
    let size: f64 = weights.iter().map(|weight| weight.abs()).sum();
    weights.iter().sum::<f64>().abs() <= 1e-12 * size
}

fn weighted(weights: &[f32], vectors: &[Vec<f32>], out: &mut [f32]) {
    let mut pairs = weights.iter().zip(vectors);
    if let Some((weight, vector)) = pairs.next() {
        out.iter_mut().zip(vector).for_each(|(out, value)| *out = weight * value);
    }
    for (weight, vector) in pairs {
        out.iter_mut().zip(vector).for_each(|(out, value)| *out += weight * value);
    }
}

fn rows(combine: &Combine, length: usize, vectors: &[Vec<f32>], out: &mut [f32]) {
    let mut gram = Gram::new(vectors.len());
    for (row, out) in out.chunks_mut(length).enumerate() {
        let from = row * length;
        let rows: Vec<&[f32]> = vectors.iter().map(|vector| &vector[from..from + out.len()]).collect();
        gram.of(&rows);
        // These methods have a result for any products.
        let weights = coefficients(combine, &gram).unwrap_or_else(|_| vec![0.0; vectors.len()]);
        for (at, out) in out.iter_mut().enumerate() {
            *out = weights.iter().zip(&rows).map(|(weight, row)| *weight as f32 * row[at]).sum();
        }
    }
}

/// Elements that are combined at a time, side by side.
const BLOCK: usize = 256;

/// Of each element of a block, the sums over the vectors whose values have the sign of the vote.
struct Agreeing {
    /// The sign of the votes' sum, 1 or -1; that of zero is 1.
    votes: [f32; BLOCK],
    /// Sums of weight times value.
    values: [f32; BLOCK],
    weights: [f32; BLOCK],
}

impl Agreeing {
    fn new() -> Self {
        Self { votes: [0.0; BLOCK], values: [0.0; BLOCK], weights: [0.0; BLOCK] }
    }

    /// Of the elements from `from` on: each vector votes with `ballot` times its value.
    fn sum_up(&mut self, weights: &[f32], ballots: &[f32], vectors: &[Vec<f32>], from: usize, size: usize) {
        let Self { votes, values, weights: sums } = self;
        for sums in [&mut *votes, &mut *values, &mut *sums] {
            sums.fill(0.0);
        }
        for (ballot, vector) in ballots.iter().zip(vectors) {
            for (vote, value) in votes.iter_mut().zip(&vector[from..from + size]) {
                *vote += ballot * value;
            }
        }
        for vote in &mut *votes {
            *vote = if *vote >= 0.0 { 1.0 } else { -1.0 };
        }
        for ((weight, ballot), vector) in weights.iter().zip(ballots).zip(vectors) {
            add_agreeing(*weight, *ballot, &vector[from..from + size], votes, values, sums);
        }
    }
}

/// A function of its own, whose slices are known to lie apart: its loop runs on vectors.
#[inline(never)]
fn add_agreeing(
    weight: f32,
    ballot: f32,
    vector: &[f32],
    votes: &[f32; BLOCK],
    values: &mut [f32; BLOCK],
    weights: &mut [f32; BLOCK],
) {
    for (at, value) in vector.iter().enumerate().take(BLOCK) {
        // A zero agrees with nobody.
        let share = if ballot * value * votes[at] > 0.0 { weight } else { 0.0 };
        values[at] += share * value;
        weights[at] += share;
    }
}

fn consensus(weights: &[f32], normalize: bool, lambda: f32, vectors: &[Vec<f32>], out: &mut [f32]) {
    let mut agreeing = Agreeing::new();
    for (block, out) in out.chunks_mut(BLOCK).enumerate() {
        agreeing.sum_up(weights, weights, vectors, block * BLOCK, out.len());
        for ((out, mixed), sum) in out.iter_mut().zip(&agreeing.values).zip(&agreeing.weights) {
            let divisor = if normalize && *sum != 0.0 { *sum } else { 1.0 };
            *out = mixed / divisor * lambda;
        }
    }
}

fn overlap(epsilon: f32, own: &[f32], vectors: &[Vec<f32>], out: &mut [f32]) {
    for (at, out) in out.iter_mut().enumerate() {
        let (mut count, mut sum, mut alone) = (0_u32, 0.0, 0.0);
        for (vector, own) in vectors.iter().zip(own) {
            let value = vector[at];
            if value.abs() > epsilon {
                count += 1;
                sum += value;
                alone = own * value;
            }
        }
        *out = match count {
            0 => 0.0,
            1 => alone,
            several => sum / several as f32,
        };
    }
}

/// 1 + r min(shared / own, alpha) of each model: how much of what it changed others changed too.
fn own_factors(
    pool: &Pool<'_>,
    operands: &Operands<'_>,
    keeper: &Keeper,
    epsilon: f64,
    r: f64,
    alpha: f64,
) -> Result<Vec<f32>, MergeError> {
    let size = operands.models.len();
    let (pieces, _) = pool.each(
        operands.pieces(),
        || operands.buffers(),
        |buffers, piece| {
            let range = operands.load(buffers, piece)?;
            keeper.apply(operands, buffers, &range);
            let mut counts = vec![[0_u64; 2]; size];
            for at in 0..range.len() {
                let changed = |vector: &Vec<f32>| vector[at].abs() > epsilon as f32;
                let count = buffers.vectors.iter().filter(|vector| changed(vector)).count();
                for (counts, _) in
                    counts.iter_mut().zip(&buffers.vectors).filter(|(_, vector)| changed(vector))
                {
                    counts[usize::from(count > 1)] += 1;
                }
            }
            Ok(counts)
        },
    )?;
    let mut total = vec![[0_u64; 2]; size];
    for piece in pieces {
        for (total, counts) in total.iter_mut().zip(piece) {
            (0..2).for_each(|kind| total[kind] += counts[kind]);
        }
    }
    let factor = |[own, shared]: [u64; 2]| {
        let ratio = shared as f64 / (own as f64).max(epsilon);
        (1.0 + r * ratio.clamp(0.0, alpha)) as f32
    };
    Ok(total.into_iter().map(factor).collect())
}

/// Population variances over the vectors.
fn variances(vectors: &[Vec<f32>], out: &mut [f32]) {
    let share = 1.0 / vectors.len() as f32;
    for (at, out) in out.iter_mut().enumerate() {
        let mean = vectors.iter().map(|vector| vector[at]).sum::<f32>() * share;
        *out = vectors.iter().map(|vector| (vector[at] - mean) * (vector[at] - mean)).sum::<f32>() * share;
    }
}

fn sce<'a>(pool: &Pool<'_>, operands: &Operands<'_>, select: f64) -> Result<Combiner<'a>, MergeError> {
    let size = operands.models.len();
    let window = if select >= 1.0 { None } else { Some(most_varied(pool, operands, select)?) };
    let (pieces, _) = pool.each(
        operands.pieces(),
        || operands.buffers(),
        |buffers, piece| {
            let range = operands.load(buffers, piece)?;
            let Buffers { vectors, out, .. } = buffers;
            let out = &mut out[..range.len()];
            if let Some(window) = &window {
                variances(vectors, out);
                let mut cursor = window.cursor(piece);
                for value in out.iter_mut() {
                    *value = f32::from(u8::from(cursor.keeps(*value)));
                }
            } else {
                out.fill(1.0);
            }
            let square = |vector: &Vec<f32>| -> f64 {
                let kept = vector.iter().zip(&*out).map(|(value, keep)| value * keep);
                kept.map(|value| f64::from(value) * f64::from(value)).sum()
            };
            Ok(vectors.iter().map(square).collect::<Vec<f64>>())
        },
    )?;
    let mut weights = vec![0.0; size];
    for piece in pieces {
        weights.iter_mut().zip(piece).for_each(|(weight, square)| *weight += square);
    }
    let count = operands.len().max(1) as f64;
    for weight in &mut weights {
        *weight /= count;
    }
    let sum: f64 = weights.iter().sum();
    // As mergekit: small differences count alike.
    let weight = |weight: &f64| if sum.abs() < 1e-6 { 1.0 / size as f64 } else { weight / sum };
    Ok(Combiner::Sce { weights: weights.iter().map(|value| weight(value) as f32).collect(), window })
}

/// The elements that vary most: a share of those that vary at all.
fn most_varied(pool: &Pool<'_>, operands: &Operands<'_>, select: f64) -> Result<Window, MergeError> {
    let of_piece = |buffers: &mut Buffers, range: Range<usize>, take: &mut dyn FnMut(usize, &[f32])| {
        let Buffers { vectors, out, .. } = buffers;
        variances(vectors, &mut out[..range.len()]);
        take(0, &out[..range.len()]);
    };
    let stream = Derived { operands, width: 1, numbers: of_piece };
    let (varied, _) = pool.each(
        operands.pieces(),
        || operands.buffers(),
        |buffers, piece| {
            let mut count = 0_u64;
            stream.visit(buffers, piece, &mut |_, values| {
                count += values.iter().filter(|value| **value != 0.0).count() as u64;
            })?;
            Ok(count)
        },
    )?;
    let (varied, all) = (varied.iter().sum::<u64>(), operands.len() as u64);
    let kept = ((varied as f64 * select) as u64).min(varied);
    let found = Window::find(pool, &stream, std::slice::from_ref(&(all - kept..all)), all)?;
    Ok(found.into_iter().next().filter(|_| kept > 0).unwrap_or_else(Window::nothing))
}

fn sce_piece(weights: &[f32], window: Option<(&Window, usize)>, vectors: &[Vec<f32>], out: &mut [f32]) {
    if let Some((window, piece)) = window {
        variances(vectors, out);
        let mut cursor = window.cursor(piece);
        for value in out.iter_mut() {
            *value = f32::from(u8::from(cursor.keeps(*value)));
        }
    } else {
        out.fill(1.0);
    }
    // Differences vote as they are; only what they agree on is weighted.
    let ballots = vec![1.0; weights.len()];
    let mut agreeing = Agreeing::new();
    for (block, out) in out.chunks_mut(BLOCK).enumerate() {
        agreeing.sum_up(weights, &ballots, vectors, block * BLOCK, out.len());
        for ((out, mixed), sum) in out.iter_mut().zip(&agreeing.values).zip(&agreeing.weights) {
            *out *= mixed / f32::max(*sum, 1e-6);
        }
    }
}
