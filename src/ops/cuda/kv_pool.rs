//! The paged KV pool on the device: a buffer a layer, `[blocks, kv_heads, K | V, 32, head_dim]` in bf16, zero at first.
//!
//! As on the CPU (ops/kv_pool.rs) it is storage without reference counts. Nothing is zeroed when a block changes hands: attention
//! reads only positions that its owner has written.

use candle_core::cuda_backend::cudarc::driver::{CudaSlice, CudaView, CudaViewMut};
use half::bf16;

use super::gpu::{CudaError, Gpu, HEAD_DIMS};

const OP: &str = "cuda_kv_pool";
const BLOCK_SIZE: usize = 32;

/// The shape of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CudaKvLayout {
    pub layers: usize,
    pub blocks: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
}

impl CudaKvLayout {
    /// Memory of one block over all layers.
    pub fn bytes_per_block(&self) -> usize {
        self.layers * self.block_elements() * size_of::<bf16>()
    }

    /// Of one layer.
    fn block_elements(&self) -> usize {
        self.kv_heads * 2 * BLOCK_SIZE * self.head_dim
    }

    fn check(&self) -> Result<usize, CudaError> {
        if !HEAD_DIMS.contains(&self.head_dim) {
            let detail = format!("heads of {} are not compiled, {HEAD_DIMS:?} are", self.head_dim);
            return Err(CudaError::shape(OP, detail));
        }
        let elements = [self.blocks, self.kv_heads, 2 * BLOCK_SIZE, self.head_dim]
            .iter()
            .try_fold(1_usize, |product, &size| product.checked_mul(size));
        match elements.filter(|&elements| elements > 0 && self.layers > 0 && self.blocks <= 1 << 26) {
            Some(elements) => Ok(elements),
            None => Err(CudaError::shape(OP, format!("{self:?} is empty or too large"))),
        }
    }
}

#[derive(Debug)]
pub struct CudaKvPool {
    layout: CudaKvLayout,
    layers: Vec<CudaSlice<bf16>>,
}

impl CudaKvPool {
    /// # Errors
    /// If the layout is none, or memory does not suffice.
    pub fn new(gpu: &Gpu, layout: CudaKvLayout) -> Result<Self, CudaError> {
        let elements = layout.check()?;
        let layer =
            |_| gpu.stream().alloc_zeros(elements).map_err(CudaError::driver("allocating the KV pool"));
        let layers = (0..layout.layers).map(layer).collect::<Result<_, _>>()?;
        Ok(Self { layout, layers })
    }

    pub fn layout(&self) -> &CudaKvLayout {
        &self.layout
    }

    pub fn layer(&self, layer: usize) -> Result<CudaView<'_, bf16>, CudaError> {
        self.layers.get(layer).map(CudaSlice::as_view).ok_or_else(|| self.no_layer(layer))
    }

    pub fn layer_mut(&mut self, layer: usize) -> Result<CudaViewMut<'_, bf16>, CudaError> {
        let error = self.no_layer(layer);
        self.layers.get_mut(layer).map(CudaSlice::as_view_mut).ok_or(error)
    }

    fn no_layer(&self, layer: usize) -> CudaError {
        CudaError::shape(OP, format!("there is no layer {layer} of {}", self.layout.layers))
    }

    /// Copies a block in all layers, for a sequence that is about to write into a shared one.
    pub fn copy_block(&mut self, gpu: &Gpu, source: u32, destination: u32) -> Result<(), CudaError> {
        let (source, destination) = (source as usize, destination as usize);
        let (low, high) = (source.min(destination), source.max(destination));
        if high >= self.layout.blocks {
            let blocks = self.layout.blocks;
            let detail = format!("cannot copy block {source} to {destination} in a pool of {blocks} blocks");
            return Err(CudaError::shape(OP, detail));
        }
        if low == high {
            return Ok(());
        }
        let length = self.layout.block_elements();
        for layer in &mut self.layers {
            let (mut lower, mut upper) = layer.split_at_mut(high * length);
            let mut low = lower.slice_mut(low * length..(low + 1) * length);
            let mut high = upper.slice_mut(..length);
            if source < destination {
                gpu.stream().memcpy_dtod(&low, &mut high)
            } else {
                gpu.stream().memcpy_dtod(&high, &mut low)
            }
            .map_err(CudaError::driver("copying a block"))?;
        }
        Ok(())
    }
}
