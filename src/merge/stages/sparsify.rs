//! Which elements of a vector are kept, and what makes up for the others.

use std::ops::Range;

use super::super::error::MergeError;
use super::super::pool::Pool;
use super::chance::{Chance, Kept, is_long_row, span_length};
use super::derived::Derived;
use super::masks::uniform;
use super::operands::{Buffers, Operands};
use super::ranks::Window;
use super::recipe::{Keep, Recipe, Rescale};

/// Knows for every vector what is kept of it.
pub struct Keeper {
    masks: Vec<Mask>,
    /// A factor a vector.
    scales: Vec<f32>,
}

enum Mask {
    All,
    None,
    Window(Window),
    Random {
        density: f32,
        key: u64,
    },
    /// By row, in memory.
    Ranked(Chance),
    /// Of a row too long for that.
    Kept(Kept),
}

impl Keeper {
    /// # Errors
    /// A tensor that cannot be read.
    pub fn find(pool: &Pool<'_>, recipe: &Recipe, operands: &Operands<'_>) -> Result<Self, MergeError> {
        let count = operands.len() as u64;
        let spans: Vec<Range<u64>> = recipe.keep.iter().map(|keep| span(keep, count)).collect();
        let mut windows = if spans.iter().all(Range::is_empty) {
            Vec::new()
        } else {
            Window::find(
                pool,
                &Derived { operands, width: operands.models.len(), numbers: magnitudes },
                &spans,
                count,
            )?
        }
        .into_iter()
        .map(Some)
        .collect::<Vec<_>>();
        let mask = |(at, keep): (usize, &Keep)| match *keep {
            Keep::All => Mask::All,
            Keep::None => Mask::None,
            Keep::Largest { density } | Keep::Middle { density, .. } if density >= 1.0 => Mask::All,
            Keep::Largest { .. } | Keep::Middle { .. } => {
                let window = windows.get_mut(at).and_then(Option::take);
                window.filter(|_| !spans[at].is_empty()).map_or(Mask::None, Mask::Window)
            }
            Keep::Random { density, .. } | Keep::Ranked { density, .. } if density >= 1.0 => Mask::All,
            Keep::Random { density, .. } | Keep::Ranked { density, .. } if density <= 0.0 => Mask::None,
            Keep::Random { density, key } => Mask::Random { density: density as f32, key },
            Keep::Ranked { density, epsilon, key } => Mask::Ranked(Chance { density, epsilon, key }),
        };
        let mut masks: Vec<Mask> = recipe.keep.iter().enumerate().map(mask).collect();
        if is_long_row(operands.shape) {
            for (at, mask) in masks.iter_mut().enumerate() {
                if let Mask::Ranked(chance) = mask {
                    *mask =
                        Mask::Kept(Kept::find(pool, &operands.only(at), *chance, span_length(pool.threads))?);
                }
            }
        }
        let mut keeper = Self { masks, scales: vec![1.0; recipe.keep.len()] };
        keeper.scales = keeper.rescaled(pool, recipe, operands)?;
        Ok(keeper)
    }

    fn keeps_all(&self) -> bool {
        self.masks.iter().all(|mask| matches!(mask, Mask::All))
    }

    fn rescaled(
        &self,
        pool: &Pool<'_>,
        recipe: &Recipe,
        operands: &Operands<'_>,
    ) -> Result<Vec<f32>, MergeError> {
        let one = || vec![1.0; self.masks.len()];
        match recipe.rescale {
            _ if self.keeps_all() => Ok(one()),
            Rescale::No => Ok(one()),
            Rescale::InverseDensity => {
                let masks = self.masks.iter().zip(&recipe.keep);
                Ok(masks.map(|(mask, keep)| inverse_density(mask, keep)).collect())
            }
            Rescale::L1 => {
                let sums = self.absolute_sums(pool, operands)?;
                let scale = |(mask, [before, after]): (&Mask, [f64; 2])| {
                    let is_cut = !matches!(mask, Mask::All | Mask::None);
                    if is_cut && before >= 1e-7 && after >= 1e-7 { (before / after) as f32 } else { 1.0 }
                };
                Ok(self.masks.iter().zip(sums).map(scale).collect())
            }
        }
    }

    /// Of each vector the sum of absolute values, all and kept.
    fn absolute_sums(&self, pool: &Pool<'_>, operands: &Operands<'_>) -> Result<Vec<[f64; 2]>, MergeError> {
        let (pieces, _) = pool.each(
            operands.pieces(),
            || operands.buffers(),
            |buffers, piece| {
                let range = operands.load(buffers, piece)?;
                let sums = |buffers: &Buffers| -> Vec<f64> {
                    buffers.vectors.iter().map(|vector| absolute_sum(&vector[..range.len()])).collect()
                };
                let before = sums(buffers);
                self.apply(operands, buffers, &range);
                Ok(before.into_iter().zip(sums(buffers)).collect::<Vec<_>>())
            },
        )?;
        let mut total = vec![[0.0; 2]; self.masks.len()];
        for piece in pieces {
            for (total, (before, after)) in total.iter_mut().zip(piece) {
                total[0] += before;
                total[1] += after;
            }
        }
        Ok(total)
    }

    /// Drop what is not kept of a piece, and scale the rest.
    pub fn apply(&self, operands: &Operands<'_>, buffers: &mut Buffers, range: &Range<usize>) {
        let piece = operands.piece_at(range.start);
        let Buffers { vectors, order, .. } = buffers;
        for ((mask, scale), vector) in self.masks.iter().zip(&self.scales).zip(vectors) {
            let vector = &mut vector[..range.len()];
            match mask {
                Mask::All => {}
                Mask::None => vector.fill(0.0),
                Mask::Window(window) => window.cut(piece, vector, f32::abs),
                Mask::Random { density, key } => {
                    for (at, value) in vector.iter_mut().enumerate() {
                        *value = if uniform(*key, range.start + at) < *density { *value } else { 0.0 };
                    }
                }
                Mask::Ranked(chance) => {
                    let row = operands.row();
                    for (at, values) in vector.chunks_mut(row).enumerate() {
                        chance.cut(range.start + at * row, values, order);
                    }
                }
                Mask::Kept(kept) => kept.cut(range.start, vector),
            }
            // In this order, as a scale is only known after a pass without one.
            if *scale != 1.0 {
                for value in &mut *vector {
                    *value *= scale;
                }
            }
        }
    }
}

/// Ranks of magnitudes that a window keeps; empty where nothing is kept or no window is needed.
fn span(keep: &Keep, count: u64) -> Range<u64> {
    let part = |share: f64| ((share * count as f64) as u64).min(count);
    match *keep {
        Keep::Largest { density } if density > 0.0 && density < 1.0 => {
            count.saturating_sub(part(density).max(1))..count
        }
        Keep::Middle { density, gamma } if density < 1.0 => {
            let kept = part(density);
            let start = (count - kept).saturating_sub(part(gamma));
            start..start + kept
        }
        _ => 0..0,
    }
}

fn inverse_density(mask: &Mask, keep: &Keep) -> f32 {
    match (mask, keep) {
        (Mask::All | Mask::None, _) | (_, Keep::All | Keep::None) => 1.0,
        (
            _,
            Keep::Largest { density }
            | Keep::Middle { density, .. }
            | Keep::Random { density, .. }
            | Keep::Ranked { density, .. },
        ) => (1.0 / density) as f32,
    }
}

/// In f64, in eight sums that run side by side.
fn absolute_sum(values: &[f32]) -> f64 {
    let (eights, rest) = values.as_chunks::<8>();
    let mut sums = [0.0_f64; 8];
    for eight in eights {
        for (sum, value) in sums.iter_mut().zip(eight) {
            *sum += f64::from(value.abs());
        }
    }
    sums.iter().sum::<f64>() + rest.iter().map(|value| f64::from(value.abs())).sum::<f64>()
}

/// Magnitudes of all vectors.
fn magnitudes(buffers: &mut Buffers, range: Range<usize>, take: &mut dyn FnMut(usize, &[f32])) {
    for (at, vector) in buffers.vectors.iter_mut().enumerate() {
        let vector = &mut vector[..range.len()];
        for value in &mut *vector {
            *value = value.abs();
        }
        take(at, vector);
    }
}
