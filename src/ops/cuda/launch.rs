//! One way to launch a kernel: its grid within the device's limits, its arguments in the kernel's order. `tests/cuda.rs` reads every
//! `launch!` and compares it with the parameters of the kernel's PTX.

use candle_core::cuda_backend::cudarc::driver::LaunchConfig;

use super::gpu::CudaError;

/// Blocks along y at most.
const GRID_Y_MAX: usize = 65_535;

/// A grid and the block's threads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Launch {
    pub op: &'static str,
    pub grid: [usize; 2],
    pub threads: usize,
    pub shared_bytes: usize,
}

impl Launch {
    /// `None` if there is nothing to do, which a launch may not be asked for.
    pub fn config(self) -> Result<Option<LaunchConfig>, CudaError> {
        let [x, y] = self.grid;
        let Ok(blocks) = i32::try_from(x) else {
            return Err(CudaError::shape(self.op, format!("{x} blocks are too many")));
        };
        if y > GRID_Y_MAX {
            return Err(CudaError::shape(self.op, format!("{y} are too many, {GRID_Y_MAX} is the limit")));
        }
        Ok((x > 0 && y > 0).then_some(LaunchConfig {
            grid_dim: (blocks as u32, y as u32, 1),
            block_dim: (self.threads as u32, 1, 1),
            shared_mem_bytes: self.shared_bytes as u32,
        }))
    }
}

/// Launches a kernel of `Kernels` on the GPU's stream: buffers (or a 0 of 64 bits for none), then numbers, each by its type's name below.
/// The caller has checked that buffers are as long as the kernel's header says.
macro_rules! launch {
    ($gpu:expr, $kernel:ident $([$at:expr])?, $launch:expr, [$($buffer:expr),* $(,)?], [$($number:expr),* $(,)?]) => {{
        let launch: $crate::ops::cuda::launch::Launch = $launch;
        if let Some(config) = launch.config()? {
            use candle_core::cuda_backend::cudarc::driver::PushKernelArg as _;
            let mut builder = $gpu.stream().launch_builder(&$gpu.kernels().$kernel $([$at])?);
            $(builder.arg($buffer);)*
            $(
                let number = $number;
                builder.arg(&number);
            )*
            // SAFETY: a test compares the arguments' number and types with the kernel's; the lengths of buffers were checked.
            unsafe { builder.launch(config) }.map_err($crate::ops::cuda::gpu::CudaError::driver(launch.op))?;
        }
    }};
}
pub(super) use launch;

/// A kernel's `int`.
pub(super) fn int(size: usize) -> i32 {
    size as i32
}

/// A kernel's `uint32_t`.
pub(super) fn word(size: usize) -> u32 {
    size as u32
}

/// A kernel's `float`.
pub(super) fn float(value: f32) -> f32 {
    value
}

/// That a buffer is as long as a kernel needs it.
pub(super) fn long_enough(
    op: &'static str,
    what: &'static str,
    found: usize,
    needed: usize,
) -> Result<(), CudaError> {
    if found < needed { Err(CudaError::TooShort { op, what, found, needed }) } else { Ok(()) }
}
