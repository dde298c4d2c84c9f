//! Memory that a thread's parts of operations lend from, kept between them: fresh memory would have to be cleared by the
//! system for each part.

use std::cell::RefCell;

use super::OpsError;
use super::aligned::AlignedBuffer;
use super::simd::LANES;

thread_local! {
    static KEPT: RefCell<Option<AlignedBuffer<f32>>> = const { RefCell::new(None) };
}

/// Calls `work` with floats of these numbers, each piece on a cache line, whose values are arbitrary. Not to be nested: an
/// inner call has memory of its own.
///
/// # Errors
/// `OutOfMemory`.
pub(super) fn with_scratch<const N: usize, R>(
    op: &'static str,
    lengths: [usize; N],
    work: impl FnOnce([&mut [f32]; N]) -> R,
) -> Result<R, OpsError> {
    let total: usize = lengths.iter().map(|len| len.next_multiple_of(LANES)).sum();
    let kept = KEPT.take().filter(|kept| kept.len() >= total);
    let mut buffer = match kept {
        Some(kept) => kept,
        None => AlignedBuffer::zeroed(op, total)?,
    };
    let mut rest: &mut [f32] = &mut buffer;
    let pieces = lengths.map(|len| {
        let (piece, left) = std::mem::take(&mut rest).split_at_mut(len.next_multiple_of(LANES));
        rest = left;
        &mut piece[..len]
    });
    let result = work(pieces);
    KEPT.set(Some(buffer));
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_apart_and_kept() {
        let first = with_scratch("test", [3, 40], |[a, b]| {
            a.fill(1.0);
            b.fill(2.0);
            assert_eq!((a.len(), b.len(), a[2], b[0]), (3, 40, 1.0, 2.0));
            assert_eq!((a.as_ptr() as usize % 64, b.as_ptr() as usize % 64), (0, 0));
            a.as_ptr() as usize
        });
        let again = with_scratch("test", [16], |[a]| a.as_ptr() as usize);
        assert_eq!(first.unwrap(), again.unwrap());
        let nested = with_scratch("test", [8], |[a]| {
            a.fill(5.0);
            with_scratch("test", [8], |[b]| b.fill(6.0)).unwrap();
            a[7]
        });
        assert_eq!(nested.unwrap(), 5.0);
    }
}
