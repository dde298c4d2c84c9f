//! Tensor operations with CPU kernels, as candle custom ops, so that model code is one and the same for
//! serving, training and every device.
//!
//! Invariants that the engine's batch invariance stands on: an output element is one reduction over K (or over
//! absolute KV tiles of 32) in one order, whatever the number of rows, the chunking and the threads. Hidden
//! states are f32 on the CPU; weights and KV may be bf16 or GGUF blocks and are widened in registers.
//! candle's own matmul is not used in a decoder's forward.
