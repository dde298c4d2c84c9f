//! Zeroed memory that starts on a cache line and reports failure instead of aborting.
//!
//! Not a vector: the length is fixed. Zero pages come from the system untouched, so a large KV pool costs
//! memory only where it has been written.
//!
//! In this crate's own tests a buffer ends where, within a cache line, a page begins that nobody may touch: a kernel
//! that goes beyond its weights or its KV pool, by whatever instruction, ends the test.

use std::alloc::Layout;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use super::OpsError;
use memory::{alloc_zeroed, dealloc};

const CACHE_LINE: usize = 64;

/// Element types for which all-zero bytes are a value.
///
/// # Safety
/// The type has no padding, no drop glue and accepts every bit pattern.
pub unsafe trait Plain: Copy + Send + Sync + 'static {}
// SAFETY: an integer.
unsafe impl Plain for u8 {}
// SAFETY: an integer.
unsafe impl Plain for i8 {}
// SAFETY: an integer.
unsafe impl Plain for u16 {}
// SAFETY: every bit pattern is an f32.
unsafe impl Plain for f32 {}
// SAFETY: every bit pattern is an f64.
unsafe impl Plain for f64 {}

/// A zero-initialised slice of fixed length, aligned to 64 bytes.
pub(super) struct AlignedBuffer<T: Plain> {
    start: NonNull<T>,
    len: usize,
}

// SAFETY: the buffer owns its memory exclusively, like a Vec.
unsafe impl<T: Plain> Send for AlignedBuffer<T> {}
// SAFETY: shared access only reads.
unsafe impl<T: Plain> Sync for AlignedBuffer<T> {}

impl<T: Plain> AlignedBuffer<T> {
    pub fn zeroed(op: &'static str, len: usize) -> Result<Self, OpsError> {
        let bytes = len.saturating_mul(size_of::<T>());
        if len == 0 {
            return Ok(Self { start: NonNull::dangling(), len });
        }
        let layout = Self::layout(len).ok_or(OpsError::OutOfMemory { op, bytes })?;
        // SAFETY: the layout is not of size zero.
        let start = unsafe { alloc_zeroed(layout) }.cast::<T>();
        let start = NonNull::new(start).ok_or(OpsError::OutOfMemory { op, bytes })?;
        Ok(Self { start, len })
    }

    fn layout(len: usize) -> Option<Layout> {
        Layout::array::<T>(len).ok()?.align_to(CACHE_LINE).ok()
    }
}

impl<T: Plain> Deref for AlignedBuffer<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: `start` is valid for `len` initialised elements, or dangling with length 0.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T: Plain> DerefMut for AlignedBuffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl<T: Plain> Drop for AlignedBuffer<T> {
    fn drop(&mut self) {
        if let Some(layout) = Self::layout(self.len).filter(|_| self.len > 0) {
            // SAFETY: allocated in `zeroed` with this very layout.
            unsafe { dealloc(self.start.as_ptr().cast(), layout) }
        }
    }
}

#[cfg(not(all(test, unix)))]
use std::alloc as memory;

/// Memory before a page without access.
#[cfg(all(test, unix))]
mod memory {
    use std::alloc::Layout;
    use std::ptr::null_mut;

    const PAGE: usize = 1 << 16;

    /// Bytes of the mapping and, in it, of what lies before the memory.
    fn sizes(layout: Layout) -> Option<(usize, usize)> {
        let bytes = layout.pad_to_align().size();
        let accessible = bytes.checked_next_multiple_of(PAGE)?;
        Some((accessible.checked_add(PAGE)?, accessible - bytes))
    }

    pub unsafe fn alloc_zeroed(layout: Layout) -> *mut u8 {
        let Some((mapped, before)) = sizes(layout) else { return null_mut() };
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: new memory at an address of the system's choice, of which the last page is closed.
        unsafe {
            let start = libc::mmap(null_mut(), mapped, access, kind | libc::MAP_NORESERVE, -1, 0);
            if start == libc::MAP_FAILED {
                return null_mut();
            }
            let guard = start.cast::<u8>().add(mapped - PAGE);
            assert_eq!(libc::mprotect(guard.cast(), PAGE, libc::PROT_NONE), 0);
            start.cast::<u8>().add(before)
        }
    }

    pub unsafe fn dealloc(start: *mut u8, layout: Layout) {
        if let Some((mapped, before)) = sizes(layout) {
            // SAFETY: mapped in `alloc_zeroed`, for the same layout.
            unsafe { assert_eq!(libc::munmap(start.sub(before).cast(), mapped), 0) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_zero_aligned_and_bounded() {
        let buffer = AlignedBuffer::<f32>::zeroed("test", 1000).unwrap();
        assert!(buffer.iter().all(|&x| x == 0.0) && (buffer.as_ptr() as usize).is_multiple_of(CACHE_LINE));
        assert!(AlignedBuffer::<u8>::zeroed("test", 0).unwrap().is_empty());
        assert!(matches!(
            AlignedBuffer::<f32>::zeroed("test", usize::MAX / 8),
            Err(OpsError::OutOfMemory { .. })
        ));
    }
}
