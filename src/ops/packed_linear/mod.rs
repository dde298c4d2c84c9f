//! A linear layer's weight, packed once at load, and `y = x W^T + b` on it.
//!
//! The weight lies in panels of sixteen output columns, so that a kernel reads it front to back and one vector
//! holds sixteen outputs. f32 panels are `[columns / 16][in][16]`, bf16 panels `[columns / 16][in / 2][16][2]` and
//! int8 panels `[columns / 16][in / 4][16][4]`, the pairs and fours that the processor's dot products and AMX multiply;
//! GGUF blocks keep their bytes, those of sixteen columns interleaved (`blocks.rs`).
//! Every output element is ONE chain of sums over `in`, ascending from 0, and the bias after it, whatever the number
//! of rows, the tile and the thread: a row's bits do not depend on its batch.
//!
//! What x is multiplied as depends on the weight, and on the processor:
//! - f32 weights: as it is, in f32 (`gemm.rs`).
//! - bf16 weights: rounded to bf16 where the processor has such products (`dot.rs`), else as f32 weights.
//! - int8 weights with a scale a column: quantised to sixteen bits a row (`byte_rows.rs`, `word_rows.rs`). The sums are
//!   exact integers and the result has the same bits on every instruction set (`dot.rs`, `int8.rs`).
//! - blocks, and int8 weights with a scale a group: quantised to bytes a group of 32 (`group_rows.rs`, `grouped.rs`), the
//!   same bits again; the portable set, and a few formats anywhere, widen the blocks and take x as it is (`gemm.rs`).

mod activations;
mod backward;
#[cfg(target_arch = "x86_64")]
mod bf16_rows;
mod blocks;
#[cfg(target_arch = "x86_64")]
mod byte_lanes;
mod byte_rows;
mod call;
#[cfg(target_arch = "x86_64")]
mod dot;
pub(super) mod doubles;
mod embedding;
mod finish;
mod forward;
mod gemm;
#[cfg(target_arch = "x86_64")]
mod group_rows;
#[cfg(target_arch = "x86_64")]
mod grouped;
mod int8;
mod low_rank;
mod operand;
mod pack;
#[cfg(target_arch = "x86_64")]
mod quants;
mod trainable;
mod word_rows;

use std::sync::Arc;

use candle_core::quantized::GgmlDType;

use super::aligned::{AlignedBuffer, Plain};
use super::rms_norm::norm_rows;
use super::simd::LANES;
use super::{Isa, OpsError, Workers};
pub(super) use backward::{Term, input_gradient};
use blocks::BlockFormat;
use doubles::Doubles;
pub use embedding::{embedding, embedding_gradient};
pub use forward::{
    gated_linear, linear, linear_add, linears, normed_fused_gated_linear, normed_gated_linear, normed_linears,
};
pub(super) use forward::{gated_product, product};
use int8::Int8Panels;
pub use low_rank::{AdaptedLinear, LowRank, adapted_linears};
use trainable::Learning;
pub use trainable::{Learned, PanelOrder};

/// Magnitudes below count as 0 where they are quantised to one byte, so that 127 / largest is finite.
const SMALLEST: f32 = 1e-36;

/// Panels that a kernel takes at once, at most.
const PANELS_MAX: usize = 8;

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
    /// For checks of training, in plain loops: what it multiplies is f64 too.
    F64,
    /// Signed bytes with scales, symmetric.
    Int8(Int8Scales),
    /// The checkpoint's own GGUF blocks, bit for bit (also F32, F16 and BF16 tensors of a GGUF file).
    Blocks,
}

/// What elements of an int8 weight share a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Int8Scales {
    /// A row of the weight, an output: f32 scales.
    PerChannel,
    /// 32 neighbours of a row: half scales, as GGUF's Q8_0.
    PerGroup32,
    /// 64 neighbours of a row: half scales.
    PerGroup64,
}

/// An RMS norm that x goes through before it is multiplied; see `rms_norm`.
#[derive(Clone, Copy)]
struct Norm<'a> {
    /// One number an input feature.
    weight: &'a [f32],
    eps: f32,
}

impl Norm<'_> {
    /// The norm of whole rows, into `out`, which takes as many floats.
    unsafe fn rows(&self, isa: Isa, x: &[f32], out: *mut f32) {
        // SAFETY: the caller's word.
        unsafe { norm_rows(isa, x, self.weight, self.eps, out) }
    }
}

/// A packed weight with its bias.
pub struct PackedLinear {
    panels: Panels,
    out_features: usize,
    in_features: usize,
    bias: Option<Vec<f32>>,
    workers: Arc<Workers>,
    /// `None` for a frozen weight.
    learning: Option<Learning>,
}

/// The weight, sixteen columns a panel; the last panel is filled up with zero columns.
enum Panels {
    F32(AlignedBuffer<f32>),
    Bf16(AlignedBuffer<u16>),
    F64(Doubles),
    Int8(Int8Panels),
    Blocks { format: BlockFormat, bytes: AlignedBuffer<u8> },
}

/// How the elements of a panel lie.
trait PanelElement: Plain {
    /// A panel's rows are padded with zeros to a multiple of this.
    const IN_MULTIPLE: usize;

    /// Where element `k` of a column lies in its panel.
    fn at(k: usize, column: usize) -> usize;

    fn padded(in_features: usize) -> usize {
        in_features.next_multiple_of(Self::IN_MULTIPLE)
    }

    fn panel_elements(in_features: usize) -> usize {
        Self::padded(in_features) * LANES
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

/// Whole AMX tiles of sixteen fours.
impl PanelElement for i8 {
    const IN_MULTIPLE: usize = 64;

    fn at(k: usize, column: usize) -> usize {
        (k / 4 * LANES + column) * 4 + k % 4
    }
}

impl std::fmt::Debug for PackedLinear {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match &self.panels {
            Panels::F32(_) => "f32".to_owned(),
            Panels::Bf16(_) => "bf16".to_owned(),
            Panels::F64(_) => "f64".to_owned(),
            Panels::Int8(_) => "int8".to_owned(),
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
        let mut panels = pack::pack(weight, out_features, in_features, storage, workers)?;
        if let (Panels::F32(rounded), Storage::F64) = (&panels, storage) {
            let order = PanelOrder { out_features, in_features };
            let rows: Vec<f64> = order.to_rows(rounded).into_iter().map(f64::from).collect();
            panels = Panels::F64(Doubles::new(&rows, order, bias.as_deref()));
        }
        Ok(Arc::new(Self {
            panels,
            out_features,
            in_features,
            bias,
            workers: Arc::clone(workers),
            learning: None,
        }))
    }

    pub fn out_features(&self) -> usize {
        self.out_features
    }

    pub fn workers(&self) -> &Arc<Workers> {
        &self.workers
    }

    pub fn in_features(&self) -> usize {
        self.in_features
    }

    /// How the weight is kept: what [`Self::pack`] would have to be told for another one like it.
    pub fn storage(&self) -> Storage {
        match &self.panels {
            Panels::F32(_) => Storage::F32,
            Panels::Bf16(_) => Storage::Bf16,
            Panels::F64(_) => Storage::F64,
            Panels::Int8(_) => Storage::Int8(Int8Scales::PerChannel),
            Panels::Blocks { format: BlockFormat::Q8_0, .. } => Storage::Int8(Int8Scales::PerGroup32),
            Panels::Blocks { format: BlockFormat::Int8x64, .. } => Storage::Int8(Int8Scales::PerGroup64),
            Panels::Blocks { .. } => Storage::Blocks,
        }
    }

    /// Memory of the packed weight and the bias, and of what learns.
    pub fn bytes(&self) -> usize {
        let weight = match &self.panels {
            Panels::F32(panels) => size_of_val(&**panels),
            Panels::Bf16(panels) => size_of_val(&**panels),
            Panels::F64(doubles) => doubles.bytes(),
            Panels::Int8(panels) => panels.memory_bytes(),
            Panels::Blocks { bytes, .. } => bytes.len(),
        };
        weight + self.bias.as_ref().map_or(0, |bias| size_of_val(bias.as_slice())) + self.learning_bytes()
    }
}

#[cfg(test)]
mod integer_tests;
#[cfg(test)]
mod tests;
