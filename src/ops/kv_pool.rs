//! The memory of the paged KV cache: blocks of 32 positions, for every layer and KV head.
//!
//! Raw storage without reference counts: which block belongs to whom is the engine's knowledge. One tile, the
//! share of a (layer, block, KV head), is K and then V:
//!
//! - f32: K transposed, `[head_dim][32]`, so that one vector holds a dimension of sixteen positions, and V,
//!   `[32][padded head_dim]`, its rows padded to sixteen.
//! - bf16: the same with neighbours along the reduction side by side, as VDPBF16PS and the tiles of AMX take
//!   them: K `[padded head_dim / 2][32][2]`, its dimensions padded to 32, and V `[32 / 2][padded head_dim][2]`.
//!
//! bf16 rounds to nearest even when a token is written; attention reads every token from here, fresh ones too, so
//! that cached and uncached tokens are the same numbers. Padding is zero: memory is zero at first (and costs
//! nothing until it is written), and a tile is zeroed again when its first slot is written, for a product with a
//! former owner's NaN is NaN even where the probability is 0.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::OpsError;
use super::aligned::{AlignedBuffer, Plain};
use super::simd::LANES;

/// Positions of a block, and of an attention tile.
pub(super) const BLOCK_SIZE: usize = 32;

/// The type of cached keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvDtype {
    F32,
    Bf16,
}

impl KvDtype {
    fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }
}

/// The shape of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvLayout {
    pub layers: usize,
    pub blocks: usize,
    /// Positions of a block; the kernels know 32 only.
    pub block_size: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub dtype: KvDtype,
}

impl KvLayout {
    /// Memory of one block over all layers.
    pub fn bytes_per_block(&self) -> usize {
        self.layers * self.kv_heads * self.tile_elements() * self.dtype.bytes()
    }

    /// head_dim, padded to whole vectors.
    #[inline]
    pub(super) fn padded_head_dim(&self) -> usize {
        self.head_dim.next_multiple_of(LANES)
    }

    /// Dimensions of a tile's K: padded to whole tiles of sixteen pairs where it lies in pairs.
    #[inline]
    pub(super) fn key_dims(&self) -> usize {
        match self.dtype {
            KvDtype::F32 => self.head_dim,
            KvDtype::Bf16 => self.head_dim.next_multiple_of(2 * LANES),
        }
    }

    /// Where V starts in a tile.
    #[inline]
    pub(super) fn values(&self) -> usize {
        BLOCK_SIZE * self.key_dims()
    }

    /// Elements of one block of one layer and KV head, K and V.
    #[inline]
    pub(super) fn tile_elements(&self) -> usize {
        self.values() + BLOCK_SIZE * self.padded_head_dim()
    }

    /// Where the tile of a KV head in a block of a layer starts.
    #[inline]
    pub(super) fn tile(&self, layer: usize, block: usize, kv_head: usize) -> usize {
        ((layer * self.blocks + block) * self.kv_heads + kv_head) * self.tile_elements()
    }

    fn check(&self) -> Result<usize, OpsError> {
        if self.block_size != BLOCK_SIZE {
            return Err(OpsError::KvLayout(format!(
                "block_size is {}, but the kernels need {BLOCK_SIZE}",
                self.block_size
            )));
        }
        let sizes = [self.layers, self.blocks, self.kv_heads, self.head_dim];
        let elements = sizes.iter().try_fold(2 * BLOCK_SIZE, |product, &size| product.checked_mul(size));
        if sizes.contains(&0) || elements.and_then(|elements| elements.checked_mul(64)).is_none() {
            return Err(OpsError::KvLayout(format!("{self:?} is empty or too large")));
        }
        Ok(self.layers * self.blocks * self.kv_heads * self.tile_elements())
    }
}

/// The pool. One engine thread at a time works on it.
pub struct KvPool {
    layout: KvLayout,
    elements: Mutex<KvElements>,
}

pub(super) enum KvElements {
    F32(AlignedBuffer<f32>),
    Bf16(AlignedBuffer<u16>),
}

impl std::fmt::Debug for KvPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KvPool({:?})", self.layout)
    }
}

impl KvPool {
    /// A pool of zeroed blocks.
    pub fn new(layout: KvLayout) -> Result<Arc<Self>, OpsError> {
        let count = layout.check()?;
        let elements = match layout.dtype {
            KvDtype::F32 => KvElements::F32(AlignedBuffer::zeroed("kv_pool", count)?),
            KvDtype::Bf16 => KvElements::Bf16(AlignedBuffer::zeroed("kv_pool", count)?),
        };
        Ok(Arc::new(Self { layout, elements: Mutex::new(elements) }))
    }

    pub fn layout(&self) -> &KvLayout {
        &self.layout
    }

    /// Copies a block in all layers, for a sequence that is about to write into a shared one.
    pub fn copy_block(&self, source: u32, destination: u32) -> Result<(), OpsError> {
        let (source, destination) = (source as usize, destination as usize);
        if source.max(destination) >= self.layout.blocks {
            let blocks = self.layout.blocks;
            return Err(OpsError::KvLayout(format!(
                "cannot copy block {source} to {destination} in a pool of {blocks} blocks"
            )));
        }
        match &mut *self.lock() {
            KvElements::F32(elements) => self.copy(elements, source, destination),
            KvElements::Bf16(elements) => self.copy(elements, source, destination),
        }
        Ok(())
    }

    fn copy<T: Plain>(&self, elements: &mut [T], source: usize, destination: usize) {
        let length = self.layout.kv_heads * self.layout.tile_elements();
        for layer in 0..self.layout.layers {
            let from = self.layout.tile(layer, source, 0);
            elements.copy_within(from..from + length, self.layout.tile(layer, destination, 0));
        }
    }

    /// The elements, for as long as an operation works on them. A panic in between leaves numbers, no broken
    /// structure, so a poisoned lock is taken all the same.
    pub(super) fn lock(&self) -> MutexGuard<'_, KvElements> {
        self.elements.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: KvLayout =
        KvLayout { layers: 3, blocks: 4, block_size: 32, kv_heads: 2, head_dim: 20, dtype: KvDtype::F32 };

    #[test]
    fn sizes_count_the_padding() {
        assert_eq!(LAYOUT.bytes_per_block(), 3 * 2 * 32 * (20 + 32) * 4);
        assert_eq!(KvLayout { dtype: KvDtype::Bf16, ..LAYOUT }.bytes_per_block(), 3 * 2 * 32 * (32 + 32) * 2);
    }

    #[test]
    fn a_block_is_copied_in_all_layers_and_nowhere_else() {
        let pool = KvPool::new(LAYOUT).unwrap();
        let length = 2 * LAYOUT.tile_elements();
        if let KvElements::F32(elements) = &mut *pool.lock() {
            for (index, element) in elements.iter_mut().enumerate() {
                *element = index as f32;
            }
        }
        pool.copy_block(1, 3).unwrap();
        let KvElements::F32(elements) = &*pool.lock() else { panic!("an f32 pool") };
        for (index, &element) in elements.iter().enumerate() {
            let expected = if index / length % 4 == 3 { index - 2 * length } else { index };
            assert_eq!(element, expected as f32);
        }
    }

    #[test]
    fn wrong_layouts_and_blocks_are_errors() {
        let check = |layout: KvLayout| assert!(KvPool::new(layout).is_err(), "{layout:?}");
        check(KvLayout { block_size: 16, ..LAYOUT });
        check(KvLayout { head_dim: 0, ..LAYOUT });
        check(KvLayout { blocks: usize::MAX / 3, ..LAYOUT });
        check(KvLayout { blocks: 1 << 44, ..LAYOUT });
        assert!(KvPool::new(LAYOUT).unwrap().copy_block(0, 4).is_err());
    }
}
