//! NVIDIA GPUs: our kernels (`kernels/*.cu`, with their PTX), what launches them, and the KV pool on the device.
//!
//! With `--features cuda` alone, but for what is pure: the plan of attention, which is tested everywhere. The model does not run on these
//! yet; docs/cuda.md says what is checked, and that nothing of it has run on a GPU.
//!
//! A launch checks that the operands are long enough for what the kernel reads and writes; what stands in them (rows, block tables,
//! slots) is the caller's, who has checked it on the host. Everything is one stream's work, so nothing waits for anything.

#[cfg(any(test, feature = "cuda"))]
mod attention_plan;
#[cfg(any(test, feature = "cuda"))]
mod wire;

#[cfg(feature = "cuda")]
mod attention;
#[cfg(feature = "cuda")]
mod gpu;
#[cfg(feature = "cuda")]
mod kv_pool;
#[cfg(feature = "cuda")]
mod launch;
#[cfg(feature = "cuda")]
mod lora;
#[cfg(feature = "cuda")]
mod row_kernels;
#[cfg(feature = "cuda")]
mod sampling;

#[cfg(feature = "cuda")]
pub use attention::{Attention, AttentionBatch};
#[cfg(any(test, feature = "cuda"))]
pub use attention_plan::{AttentionPlan, PlanShape, PlannedBatch, scratch_bytes_max};
#[cfg(feature = "cuda")]
pub use gpu::{CudaError, Gpu};
#[cfg(feature = "cuda")]
pub use kv_pool::{CudaKvLayout, CudaKvPool};
#[cfg(feature = "cuda")]
pub use lora::LoraRows;
#[cfg(feature = "cuda")]
pub use row_kernels::{GatedUnit, Norm, RopeWrite};
#[cfg(feature = "cuda")]
pub use sampling::{EditLogits, SampleRows, SampledRows};
#[cfg(any(test, feature = "cuda"))]
pub use wire::{AttentionItem, Edit, LowRank, Penalties, RowGroup, SampleRequest, Sampled};
