//! x in the forms that the kernels of a weight multiply.

use std::borrow::Cow;
use std::sync::Arc;

use super::byte_rows::ByteRows;
use super::word_rows::WordRows;
use super::{Norm, PackedLinear, Panels};
#[cfg(target_arch = "x86_64")]
use super::{
    activations::TileRows,
    bf16_rows::{bf16_rows, normed_bf16_rows},
    group_rows::GroupRows,
};
#[cfg(target_arch = "x86_64")]
use crate::ops::Isa;
use crate::ops::Workers;
use crate::ops::rms_norm::norm_all;

/// Rows of groups of bytes from which on tiles are faster than vectors, though their sums leave the tiles after every
/// group.
#[cfg(target_arch = "x86_64")]
pub const GROUP_TILE_ROWS_MIN: usize = 9;

/// x as the kernels of the weights read it, each form made once however many weights share it.
pub struct Operand<'a> {
    pub floats: Cow<'a, [f32]>,
    pub bytes: Option<ByteRows>,
    pub words: Option<WordRows>,
    #[cfg(target_arch = "x86_64")]
    pub bf16: Option<TileRows>,
    #[cfg(target_arch = "x86_64")]
    pub groups: Option<GroupRows>,
}

impl<'a> Operand<'a> {
    pub fn new(
        x: &'a [f32],
        rows: usize,
        weights: &[Arc<PackedLinear>],
        norm: Option<Norm<'_>>,
        workers: &Workers,
    ) -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(norm) = norm
            && rows > 0
            && weights.iter().all(|weight| weight.multiplies_bf16())
        {
            // SAFETY: such weights exist only where the instruction set has the products.
            let bf16 = Some(unsafe { normed_bf16_rows(x, norm, workers) });
            return Self { floats: Cow::Borrowed(&[]), bytes: None, words: None, bf16, groups: None };
        }
        let floats =
            norm.map_or(Cow::Borrowed(x), |norm| Cow::Owned(norm_all(x, norm.weight, norm.eps, workers)));
        let x = &*floats;
        let any = |is: &dyn Fn(&PackedLinear) -> bool| {
            weights.iter().find(|weight| is(weight)).filter(|_| rows > 0).map(|weight| weight.in_features)
        };
        let int8 = any(&|weight| matches!(weight.panels, Panels::Int8(_)));
        let (bytes, words) = if workers.isa().has_byte_dot() {
            (int8.map(|in_features| ByteRows::new(x, in_features, workers)), None)
        } else {
            (None, int8.map(|in_features| WordRows::new(x, in_features, workers)))
        };
        #[cfg(target_arch = "x86_64")]
        let bf16 = any(&PackedLinear::multiplies_bf16)
            // SAFETY: such a weight exists only where the instruction set has the products.
            .map(|in_features| unsafe { bf16_rows(x, in_features, workers) });
        #[cfg(target_arch = "x86_64")]
        let groups = any(&PackedLinear::multiplies_groups).map(|in_features| {
            let for_vectors = !by_tiles(rows, GROUP_TILE_ROWS_MIN, workers.isa());
            GroupRows::new(x, in_features, for_vectors, workers)
        });
        Self {
            floats,
            bytes,
            words,
            #[cfg(target_arch = "x86_64")]
            bf16,
            #[cfg(target_arch = "x86_64")]
            groups,
        }
    }
}

/// Whether so many rows of bytes are multiplied by tiles.
#[cfg(target_arch = "x86_64")]
pub fn by_tiles(rows: usize, rows_min: usize, isa: Isa) -> bool {
    isa.has_tiles() && rows >= rows_min
}
