//! The device: one stream that everything runs on, our kernels loaded once, and memory that is kept rather than given back.

use std::sync::Arc;

use candle_core::cuda_backend::CudaDevice;
use candle_core::cuda_backend::cudarc::driver::sys::{
    CUdevice_attribute, CUfunction_attribute, CUmemPool_attribute,
};
use candle_core::cuda_backend::cudarc::driver::{
    CudaContext, CudaFunction, CudaModule, CudaStream, DriverError, result,
};

use super::attention_plan::{shared_bytes, wide_warps};

/// What our PTX is compiled for.
const CAPABILITY_MIN: (i32, i32) = (8, 0);
/// Head sizes that attention was compiled for.
pub(super) const HEAD_DIMS: [usize; 4] = [64, 96, 128, 256];

/// Their place in `HEAD_DIMS`.
pub(super) fn head_dim_at(head_dim: usize) -> Result<usize, CudaError> {
    let at = HEAD_DIMS.iter().position(|&known| known == head_dim);
    at.ok_or_else(|| {
        CudaError::shape("cuda_paged_attention", format!("heads of {head_dim} are not compiled"))
    })
}

/// Why something cannot be done on a GPU.
#[derive(Debug, thiserror::Error)]
pub enum CudaError {
    #[error(
        "no NVIDIA GPU can be used ({code}): there is no driver (libcuda.so.1, 580 or later), no GPU, or CUDA_VISIBLE_DEVICES hides \
         it; the CPU needs none of them"
    )]
    NoGpu { code: String },
    #[error("there is no GPU {ordinal}: {count} can be seen")]
    NoSuchGpu { ordinal: usize, count: i32 },
    #[error("{name} has compute capability {major}.{minor}, the kernels need 8.0 (Ampere) or later")]
    TooOld { name: String, major: i32, minor: i32 },
    #[error(
        "a block of this GPU has {found} bytes of shared memory, attention over heads of {head_dim} takes {needed}"
    )]
    TooLittleShared { head_dim: usize, needed: usize, found: usize },
    #[error("{doing} failed on the GPU: {code}")]
    Driver { doing: &'static str, code: String },
    #[error("candle's CUDA backend does not start: {0}")]
    Backend(candle_core::Error),
    #[error("{op}: {what} has {found} elements, the kernel works on {needed}")]
    TooShort { op: &'static str, what: &'static str, found: usize, needed: usize },
    #[error("{op}: {detail}")]
    Shape { op: &'static str, detail: String },
}

impl CudaError {
    /// For `map_err`. The code's name is written, not the driver's text, for which a driver would have to be there.
    pub(super) fn driver(doing: &'static str) -> impl Fn(DriverError) -> Self {
        move |error| Self::Driver { doing, code: format!("{:?}", error.0) }
    }

    pub(super) fn shape(op: &'static str, detail: impl Into<String>) -> Self {
        Self::Shape { op, detail: detail.into() }
    }
}

/// A GPU that is ready. Used by one thread at a time.
pub struct Gpu {
    device: CudaDevice,
    stream: Arc<CudaStream>,
    kernels: Kernels,
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Gpu({})", self.stream.context().ordinal())
    }
}

impl Gpu {
    /// Opens the GPU of this number and loads the kernels, which its driver compiles at first.
    ///
    /// # Errors
    /// Without a driver or a GPU, or if it is too old.
    pub fn open(ordinal: usize) -> Result<Self, CudaError> {
        let no_gpu = |error: DriverError| CudaError::NoGpu { code: format!("{:?}", error.0) };
        let count = CudaContext::device_count().map_err(no_gpu)?;
        if ordinal >= usize::try_from(count).unwrap_or(0) {
            return Err(CudaError::NoSuchGpu { ordinal, count });
        }
        let device = CudaDevice::new_with_stream(ordinal).map_err(CudaError::Backend)?;
        let stream = device.cuda_stream();
        let context = stream.context();
        let capability =
            context.compute_capability().map_err(CudaError::driver("asking for its capability"))?;
        if capability < CAPABILITY_MIN {
            let name = context.name().unwrap_or_default();
            return Err(CudaError::TooOld { name, major: capability.0, minor: capability.1 });
        }
        // SAFETY: all work is on the one stream, in order: no event has to say when a buffer is free.
        unsafe { device.disable_event_tracking() };
        keep_memory(context)?;
        let kernels = Kernels::load(context)?;
        Ok(Self { device, stream, kernels })
    }

    /// candle's device on the same stream.
    pub fn device(&self) -> &CudaDevice {
        &self.device
    }

    pub fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }

    /// Free bytes, and bytes in all.
    pub fn memory(&self) -> Result<(usize, usize), CudaError> {
        self.stream.context().mem_get_info().map_err(CudaError::driver("asking for its memory"))
    }

    /// Warps of attention's wide blocks with heads of this size, for `PlanShape`.
    pub fn wide_warps(&self, head_dim: usize) -> Result<usize, CudaError> {
        Ok(self.kernels.wide_warps[head_dim_at(head_dim)?])
    }

    pub(super) fn kernels(&self) -> &Kernels {
        &self.kernels
    }
}

/// The pool that allocations come from gives nothing back to the system between two steps.
fn keep_memory(context: &CudaContext) -> Result<(), CudaError> {
    if !context.has_async_alloc() {
        return Ok(());
    }
    let mut threshold = u64::MAX;
    // SAFETY: the device is the context's; this attribute is a u64.
    unsafe {
        result::device::get_default_mem_pool(context.cu_device()).and_then(|pool| {
            let attribute = CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
            result::mem_pool::set_attribute(pool, attribute, (&raw mut threshold).cast())
        })
    }
    .map_err(CudaError::driver("keeping its memory"))
}

/// What a block may have of it, if it asks.
fn shared_bytes_max(context: &CudaContext) -> Result<usize, CudaError> {
    let attribute = CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
    let bytes = context.attribute(attribute).map_err(CudaError::driver("asking for its shared memory"))?;
    Ok(usize::try_from(bytes).unwrap_or(0))
}

/// Our kernels, by the names they have in `kernels/*.cu`.
pub(super) struct Kernels {
    pub add_rms_norm: CudaFunction,
    pub edit_logits: CudaFunction,
    pub gather_rows: CudaFunction,
    pub gelu_tanh_mul: CudaFunction,
    pub lora_down: CudaFunction,
    pub lora_up: CudaFunction,
    pub merge_splits: CudaFunction,
    /// By the places of `HEAD_DIMS`.
    pub paged_attention: [CudaFunction; HEAD_DIMS.len()],
    pub rope_kv_write: CudaFunction,
    pub sample: CudaFunction,
    pub scatter_vectors: CudaFunction,
    pub silu_mul: CudaFunction,
    /// How many warps' shared memory attention was given, by the places of `HEAD_DIMS`.
    wide_warps: [usize; HEAD_DIMS.len()],
}

impl Kernels {
    fn load(context: &Arc<CudaContext>) -> Result<Self, CudaError> {
        let module = |ptx: &'static str| -> Result<Arc<CudaModule>, CudaError> {
            context.load_module(ptx.into()).map_err(CudaError::driver("loading a kernel's PTX"))
        };
        let function = |module: &Arc<CudaModule>, name: &str| {
            module.load_function(name).map_err(CudaError::driver("finding a kernel"))
        };
        let attention = module(include_str!("kernels/paged_attention.ptx"))?;
        let shared_bytes_max = shared_bytes_max(context)?;
        let attend = |head_dim: usize| -> Result<(CudaFunction, usize), CudaError> {
            let found = function(&attention, &format!("paged_attention_{head_dim}"))?;
            let warps = wide_warps(head_dim, shared_bytes_max).ok_or_else(|| {
                let needed = shared_bytes(head_dim, 1);
                CudaError::TooLittleShared { head_dim, needed, found: shared_bytes_max }
            })?;
            let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            found
                .set_attribute(attribute, shared_bytes(head_dim, warps) as i32)
                .map_err(CudaError::driver("giving attention shared memory"))?;
            Ok((found, warps))
        };
        let [a, b, c, d] = HEAD_DIMS;
        let [a, b, c, d] = [attend(a)?, attend(b)?, attend(c)?, attend(d)?];
        let glu = module(include_str!("kernels/glu.ptx"))?;
        let lora = module(include_str!("kernels/lora_rows.ptx"))?;
        let rows = module(include_str!("kernels/rows.ptx"))?;
        Ok(Self {
            add_rms_norm: function(&module(include_str!("kernels/add_rms_norm.ptx"))?, "add_rms_norm")?,
            edit_logits: function(&module(include_str!("kernels/edit_logits.ptx"))?, "edit_logits")?,
            gather_rows: function(&rows, "gather_rows")?,
            gelu_tanh_mul: function(&glu, "gelu_tanh_mul")?,
            lora_down: function(&lora, "lora_down")?,
            lora_up: function(&lora, "lora_up")?,
            merge_splits: function(&module(include_str!("kernels/merge_splits.ptx"))?, "merge_splits")?,
            wide_warps: [a.1, b.1, c.1, d.1],
            paged_attention: [a.0, b.0, c.0, d.0],
            rope_kv_write: function(&module(include_str!("kernels/rope_kv_write.ptx"))?, "rope_kv_write")?,
            sample: function(&module(include_str!("kernels/sample.ptx"))?, "sample")?,
            scatter_vectors: function(&rows, "scatter_vectors")?,
            silu_mul: function(&glu, "silu_mul")?,
        })
    }
}
