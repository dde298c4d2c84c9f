//! The numbers of `byte_rows.rs` in one piece each, sixteen bits, for processors without dot products of bytes: there a
//! product of sixteen bits costs no more than one of eight, and one is enough.
//!
//! `[rows][in_features, padded with zeros to the length of a panel]`

use std::ops::Range;

use super::PanelElement;
use super::byte_rows::Rounding;
use crate::ops::Workers;
use crate::ops::parallel::{SharedMut, share};
use crate::ops::simd::{Kernel, LANES, Simd, load_some};

/// Rows that are worth handing to a thread.
const PART_ROWS: usize = 16;

pub struct WordRows {
    words: Vec<i16>,
    stride: usize,
    /// Of each row of x.
    pub scales: Vec<f32>,
}

impl WordRows {
    /// Quantises x, whole rows of `in_features`.
    pub fn new(x: &[f32], in_features: usize, workers: &Workers) -> Self {
        let (count, stride) = (x.len() / in_features, i8::padded(in_features));
        let (mut scales, mut words) = (vec![0.0; count], vec![0; count * stride]);
        let (shared_scales, shared_words) = (SharedMut::new(&mut scales), SharedMut::new(&mut words));
        let parts = (count / PART_ROWS).clamp(1, workers.threads());
        workers.run(parts, &|part| {
            let Range { start, end } = share(count, parts, part);
            let x = &x[start * in_features..end * in_features];
            // SAFETY: each part writes the scales and words of its own rows.
            unsafe {
                let scales = shared_scales.slice(start, end - start);
                let words = shared_words.slice(start * stride, (end - start) * stride);
                workers.isa().dispatch(Quantize { x, in_features, stride, scales, words });
            }
        });
        Self { words, stride, scales }
    }

    /// A row, as long as a panel.
    pub fn row(&self, row: usize) -> &[i16] {
        &self.words[row * self.stride..][..self.stride]
    }
}

struct Quantize<'a> {
    /// Whole rows.
    x: &'a [f32],
    in_features: usize,
    stride: usize,
    scales: &'a mut [f32],
    words: &'a mut [i16],
}

impl Kernel for Quantize<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let k = self.in_features;
        let rows = self.x.chunks_exact(k).zip(self.words.chunks_exact_mut(self.stride));
        for ((x, words), scale) in rows.zip(self.scales) {
            // SAFETY: a row of words is padded to whole vectors.
            unsafe {
                let rounding = Rounding::of::<S>(x);
                for i in (0..k).step_by(LANES) {
                    let x = load_some::<S>(x.as_ptr().add(i), k - i);
                    S::store_words(words.as_mut_ptr().add(i), rounding.number::<S>(x));
                }
                *scale = rounding.scale;
            }
        }
    }
}
