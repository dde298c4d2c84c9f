//! What the operations need to write one output from many threads.

use std::marker::PhantomData;

/// A slice that several threads write, each its own part.
pub(super) struct SharedMut<'a, T> {
    start: *mut T,
    len: usize,
    borrowed: PhantomData<&'a mut [T]>,
}

// SAFETY: hands out parts only through `slice` and `start`, whose callers vouch that no two overlap.
unsafe impl<T: Send> Sync for SharedMut<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for SharedMut<'_, T> {}

impl<'a, T> SharedMut<'a, T> {
    pub fn new(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), borrowed: PhantomData }
    }

    /// The part of `len` elements from `offset`.
    ///
    /// # Safety
    /// No other part that is alive overlaps it.
    #[expect(clippy::mut_from_ref, reason = "the parts are disjoint, which is what the caller vouches for")]
    pub unsafe fn slice(&self, offset: usize, len: usize) -> &mut [T] {
        assert!(offset <= self.len && len <= self.len - offset, "a part outside of the output");
        // SAFETY: inside the borrowed slice, and disjoint from the other parts by the caller's word.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(offset), len) }
    }

    /// The first element, for kernels that write a pattern no slice describes.
    pub fn start(&self) -> *mut T {
        self.start
    }
}

/// An output of `len` floats that `fill` writes whole.
///
/// # Safety
/// `fill` writes every element before it returns, and reads none before it has written it.
pub(super) unsafe fn output(len: usize, fill: impl FnOnce(&SharedMut<'_, f32>)) -> Vec<f32> {
    let mut output = Vec::with_capacity(len);
    fill(&SharedMut { start: output.as_mut_ptr(), len, borrowed: PhantomData });
    // SAFETY: reserved above, and written by the caller's word.
    unsafe { output.set_len(len) };
    output
}

/// The range of `index` when `total` things are dealt into `parts` as evenly as they go.
pub(super) fn share(total: usize, parts: usize, index: usize) -> std::ops::Range<usize> {
    total * index / parts..total * (index + 1) / parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_cover_everything_once() {
        for total in [0, 1, 7, 64] {
            for parts in [1, 2, 3, 64, 100] {
                let all: Vec<usize> = (0..parts).flat_map(|index| share(total, parts, index)).collect();
                assert_eq!(all, (0..total).collect::<Vec<_>>());
            }
        }
    }
}
