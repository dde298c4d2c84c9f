//! The inference engine: continuous batching over a paged KV cache, one OS thread a model.
//!
//! The thread's loop reads as a sentence: schedule, forward, sample, update. Tokens go in, tokens come out:
//! the engine knows neither chat messages nor JSON. `scheduler`, `block_pool` and `prefix_cache` hold no
//! tensor and import no candle.

mod active;
pub mod available_memory;
mod block_pool;
pub mod config;
mod drafter;
mod guidance;
pub mod handle;
mod kv_blocks;
pub mod memory_plan;
mod ngram;
pub mod output;
mod paged_attention;
mod prefix_cache;
pub mod request;
mod row_cost;
mod runner;
pub mod sampler;
mod scheduler;
mod sequence;
mod soft_encoder;
mod soft_prefix;
mod step_sampling;
mod stop_strings;
mod text_logits;
mod validate;
mod worker;

pub use available_memory::{available_memory, process_memory};
pub use block_pool::BLOCK_SIZE;
pub use config::{EngineConfig, StartError, start, start_augmented};
pub use guidance::{Guidance, Steer, Trace, TraceBudget, TraceMarks};
pub use handle::{EngineError, EngineHandle, EngineInfo, EngineStats, EventStream, PauseMode, StandsAside};
pub use memory_plan::{MemoryError, MemoryPlan, MemoryRequest, memory_plan};
pub use output::{Output, OutputOptions, OutputStream, StopCause};
pub use request::{
    Event, Fault, FinishReason, LogprobsMode, Request, RequestAdapter, SamplingParams, TokenLogprob,
    TokenLogprobs,
};
pub use soft_encoder::soft_prefix_bytes;
pub use soft_prefix::{GivenVectors, SoftPrefix};
pub use text_logits::TextLogits;
