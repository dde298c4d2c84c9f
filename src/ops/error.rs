//! What can go wrong in an operation: every message names the operation and the shapes or the weight.

use candle_core::quantized::GgmlDType;

/// An error of an operation or of packing a weight.
#[derive(Debug, thiserror::Error)]
pub enum OpsError {
    #[error("{op}: {detail}")]
    Shape { op: &'static str, detail: String },
    #[error(
        "packed_linear: a weight of {out_features} x {in_features} needs {expected} elements, got {found}"
    )]
    WeightLength { out_features: usize, in_features: usize, expected: usize, found: usize },
    #[error(
        "packed_linear: a {dtype:?} weight of {out_features} x {in_features} needs {expected} bytes, got {found}"
    )]
    BlockBytes { dtype: GgmlDType, out_features: usize, in_features: usize, expected: usize, found: usize },
    #[error(
        "packed_linear: {dtype:?} stores rows in blocks of {block_size}, but a row has {in_features} elements; \
         requantise the file, or convert it to a type with a smaller block"
    )]
    RowNotBlocks { dtype: GgmlDType, block_size: usize, in_features: usize },
    #[error(
        "packed_linear: {dtype:?} is not supported; use F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K \
         or Q6_K"
    )]
    UnsupportedDtype { dtype: GgmlDType },
    #[error(
        "packed_linear: storage `blocks` needs a GGUF block weight; use storage f32 or bf16 for this weight"
    )]
    BlocksFromFloats,
    #[error("packed_linear: a bias of {found} elements does not fit {out_features} outputs")]
    BiasLength { out_features: usize, found: usize },
    #[error("{op}: cannot reserve {bytes} bytes; choose a smaller size or a smaller dtype")]
    OutOfMemory { op: &'static str, bytes: usize },
    #[error(
        "{weight} is quantised and cannot learn: load the model in f32 or bf16, or train an adapter on it"
    )]
    Frozen { weight: String },
    #[error("kv_pool: {0}")]
    KvLayout(String),
}

impl OpsError {
    /// A shape error of `op`.
    pub(super) fn shape(op: &'static str, detail: impl Into<String>) -> Self {
        Self::Shape { op, detail: detail.into() }
    }
}

/// Candle's error for an operation called with wrong shapes.
pub(super) fn shape_error(op: &'static str, detail: impl Into<String>) -> candle_core::Error {
    candle_core::Error::wrap(OpsError::shape(op, detail))
}
