//! One way to launch a kernel: its grid within the device's limits, its arguments in the kernel's order.

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

/// Launches `$kernel` on the GPU's stream. The caller has checked that buffers are as long as the kernel's header says.
macro_rules! launch {
    ($gpu:expr, $kernel:expr, $launch:expr, [$($argument:expr),* $(,)?]) => {{
        let launch: $crate::ops::cuda::launch::Launch = $launch;
        if let Some(config) = launch.config()? {
            use candle_core::cuda_backend::cudarc::driver::PushKernelArg as _;
            let mut builder = $gpu.stream().launch_builder($kernel);
            $(builder.arg($argument);)*
            // SAFETY: the arguments are the kernel's, in its order and of its types, and the lengths of buffers were checked.
            unsafe { builder.launch(config) }.map_err($crate::ops::cuda::gpu::CudaError::driver(launch.op))?;
        }
    }};
}
pub(super) use launch;

/// That a buffer is as long as a kernel needs it.
pub(super) fn long_enough(
    op: &'static str,
    what: &'static str,
    found: usize,
    needed: usize,
) -> Result<(), CudaError> {
    if found < needed { Err(CudaError::TooShort { op, what, found, needed }) } else { Ok(()) }
}
