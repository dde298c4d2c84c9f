//! A linear layer's weight, packed once at load, and `y = x W^T + b` on it.
//!
//! The weight lies in panels of sixteen output columns, so that a kernel reads it front to back and one vector
//! holds sixteen outputs. f32 panels are `[columns / 16][in][16]`, bf16 panels `[columns / 16][in / 2][16][2]`, the
//! pairs that VDPBF16PS and AMX multiply; GGUF blocks keep their bytes, those of sixteen columns interleaved
//! (`blocks.rs`), and are widened into a small scratch inside the kernel.
//! Every output element is ONE chain of sums over `in`, ascending from 0, and the bias after it, whatever the number
//! of rows, the tile and the thread: a row's bits do not depend on its batch.
//!
//! bf16 weights are multiplied by x rounded to bf16 where the processor has such products (`bf16_dot.rs`), and by
//! x in f32 elsewhere (`gemm.rs`). Not here: activations in int8.

#[cfg(target_arch = "x86_64")]
mod activations;
#[cfg(target_arch = "x86_64")]
mod bf16_dot;
mod blocks;
mod embedding;
mod finish;
mod forward;
mod gemm;
mod pack;

use std::sync::Arc;

use candle_core::quantized::GgmlDType;

use super::aligned::AlignedBuffer;
use super::simd::{Element, LANES};
use super::{OpsError, Workers};
use blocks::BlockFormat;
pub use embedding::embedding;
pub use forward::{gated_linear, linear, linear_add, linears};

/// Panels that a kernel takes at once, at most.
const PANELS_MAX: usize = 4;

/// The elements of a weight as a checkpoint stores them: row-major `[out_features, in_features]`.
#[derive(Debug, Clone, Copy)]
pub enum WeightData<'a> {
    F32(&'a [f32]),
    F16(&'a [half::f16]),
    Bf16(&'a [half::bf16]),
    /// A GGUF tensor's bytes.
    Blocks {
        dtype: GgmlDType,
        bytes: &'a [u8],
    },
}

/// How a packed weight is kept in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    F32,
    /// Rounded to nearest even.
    Bf16,
    /// The checkpoint's own GGUF blocks, bit for bit (also F32, F16 and BF16 tensors of a GGUF file).
    Blocks,
}

/// A packed weight with its bias.
pub struct PackedLinear {
    panels: Panels,
    out_features: usize,
    in_features: usize,
    bias: Option<Vec<f32>>,
    workers: Arc<Workers>,
}

/// The weight, sixteen columns a panel; the last panel is filled up with zero columns.
enum Panels {
    F32(AlignedBuffer<f32>),
    Bf16(AlignedBuffer<u16>),
    Blocks { format: BlockFormat, bytes: AlignedBuffer<u8> },
}

/// How the elements of a floating-point panel lie.
trait PanelElement: Element {
    /// A panel's rows are padded with zeros to a multiple of this.
    const IN_MULTIPLE: usize;

    /// Where element `k` of a column lies in its panel.
    fn at(k: usize, column: usize) -> usize;

    fn panel_elements(in_features: usize) -> usize {
        in_features.next_multiple_of(Self::IN_MULTIPLE) * LANES
    }
}

impl PanelElement for f32 {
    const IN_MULTIPLE: usize = 2;

    fn at(k: usize, column: usize) -> usize {
        k * LANES + column
    }
}

/// bf16 bits. Whole AMX tiles of sixteen pairs.
impl PanelElement for u16 {
    const IN_MULTIPLE: usize = 32;

    fn at(k: usize, column: usize) -> usize {
        (k / 2 * LANES + column) * 2 + k % 2
    }
}

impl std::fmt::Debug for PackedLinear {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match &self.panels {
            Panels::F32(_) => "f32".to_owned(),
            Panels::Bf16(_) => "bf16".to_owned(),
            Panels::Blocks { format, .. } => format!("{format:?}"),
        };
        write!(f, "PackedLinear({} -> {}, {kind})", self.in_features, self.out_features)
    }
}

impl PackedLinear {
    /// Packs a row-major `[out_features, in_features]` weight.
    pub fn pack(
        weight: WeightData<'_>,
        out_features: usize,
        in_features: usize,
        bias: Option<Vec<f32>>,
        storage: Storage,
        workers: &Arc<Workers>,
    ) -> Result<Arc<Self>, OpsError> {
        if let Some(bias) = bias.as_ref().filter(|bias| bias.len() != out_features) {
            return Err(OpsError::BiasLength { out_features, found: bias.len() });
        }
        let panels = pack::pack(weight, out_features, in_features, storage, workers)?;
        Ok(Arc::new(Self { panels, out_features, in_features, bias, workers: Arc::clone(workers) }))
    }

    pub fn out_features(&self) -> usize {
        self.out_features
    }

    pub fn in_features(&self) -> usize {
        self.in_features
    }

    /// Memory of the packed weight and the bias.
    pub fn bytes(&self) -> usize {
        let weight = match &self.panels {
            Panels::F32(panels) => size_of_val(&**panels),
            Panels::Bf16(panels) => size_of_val(&**panels),
            Panels::Blocks { bytes, .. } => bytes.len(),
        };
        weight + self.bias.as_ref().map_or(0, |bias| size_of_val(bias.as_slice()))
    }
}

#[cfg(test)]
mod tests;
