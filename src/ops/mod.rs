//! Tensor operations with CPU kernels, as candle custom ops, so that model code is one and the same for
//! serving, training and every device.
//!
//! Invariants that the engine's batch invariance stands on: an output element is one reduction over K (or over
//! absolute KV tiles of 32) in one order, whatever the number of rows, the chunking and the threads. Hidden
//! states are f32 on the CPU; weights and KV may be bf16 or GGUF blocks and are widened in registers.
//! candle's own matmul is not used in a decoder's forward.
//!
//! Gradients flow back through every operation but paged attention, mixtures of experts and the soft cap (which report `BackwardNotSupported`
//! rather than dropping one), to activations and to norms: on a tape of our own (`tape.rs`), or by candle's graph. A packed weight is frozen unless it is made trainable: then backward passes
//! add its gradient to a sum that lies beside it (`packed_linear/trainable.rs`). A backward pass
//! recomputes what is cheap and keeps what is not; its sums run over fixed parts in index order, so its bits do not depend
//! on the number of threads. What is quantised or rounded on the way forward counts as if it were not (straight through).
//!
//! Every kernel is written once over `simd::Simd` (portable, AVX2, AVX-512) and split over `Workers`.

#![expect(
    clippy::inline_always,
    reason = "a kernel is fast only when inlined into a function with its CPU features"
)]

mod adamw;
mod adamw_bf16;
mod aligned;
mod cross_entropy;
#[cfg(any(test, feature = "cuda"))]
pub mod cuda;
mod dense_attention;
mod dropout;
mod error;
mod gelu;
mod glu;
mod kv_pool;
mod layer_norm;
mod mixture;
mod packed_linear;
mod paged_attention;
mod parallel;
mod peak;
mod philox;
mod product;
mod real;
mod rms_norm;
mod rope;
mod rows;
mod scratch;
mod simd;
mod softcap;
mod tape;
#[cfg(test)]
mod testing;
mod token_logprobs;
mod workers;

pub use adamw::{AdamWStep, AdamWTensor, adamw, clear, sum_of_squares, sum_of_squares_bf16};
pub use adamw_bf16::{Rounding, adamw_bf16};
pub use cross_entropy::{Targets, cross_entropy, token_losses};
pub use dense_attention::{branched_attention, dense_attention};
pub use dropout::{Dropout, dropout};
pub use error::OpsError;
use error::shape_error;
pub use gelu::{Gelu, gelu};
pub use glu::{Activation, glu, glu_of_halves};
pub use kv_pool::{KvDtype, KvLayout, KvPool};
pub use layer_norm::layer_norm;
pub use mixture::{Expert, Mixture, SharedExpert};
pub use packed_linear::{
    AdaptedLinear, Int8Scales, Learned, LowRank, PackedLinear, PanelOrder, Storage, WeightData,
    adapted_linears, embedding, embedding_gradient, gated_linear, linear, linear_add, linears,
    normed_fused_gated_linear, normed_gated_linear, normed_linears,
};
pub use paged_attention::{AttentionSettings, PagedBatch, paged_attention};
pub use peak::Peak;
pub use philox::philox4x32_10;
pub use real::Real;
pub use rms_norm::rms_norm;
pub use rope::{RopeTable, rope};
pub use simd::Isa;
pub use softcap::softcap;
pub use tape::{Gradients, Tape, add, narrow, record, reshape, scale, shift, untracked};
pub use token_logprobs::{LogprobGradients, TokenScore, token_logprobs, token_logprobs_with_gradients};
pub use workers::Workers;
