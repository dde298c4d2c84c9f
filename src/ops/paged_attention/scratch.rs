//! Memory that a thread keeps for the state of the item at hand, so that no item allocates.

use std::cell::RefCell;

/// A cache line, for the alignment.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

thread_local! {
    static LINES: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

/// Calls `work` with buffers of at least so many bytes, each on a cache line of its own. They hold what was left in
/// them, which is some bytes: never undefined. `work` must not ask for scratch again.
pub fn with_scratch<const N: usize>(bytes: [usize; N], work: impl FnOnce([*mut u8; N])) {
    let lines = bytes.map(|bytes| bytes.div_ceil(size_of::<Line>()));
    LINES.with_borrow_mut(|memory| {
        let total = lines.iter().sum();
        if memory.len() < total {
            memory.resize(total, Line([0; 64]));
        }
        let mut next = 0;
        let start = memory.as_mut_ptr();
        work(lines.map(|lines| {
            let from = next;
            next += lines;
            start.wrapping_add(from).cast()
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_lie_apart_and_aligned() {
        for sizes in [[1, 64, 65], [1000, 0, 3]] {
            with_scratch(sizes, |buffers| {
                let at = buffers.map(|buffer| buffer as usize);
                assert!(at.iter().all(|at| at.is_multiple_of(64)));
                assert!(at[0] + sizes[0] <= at[1] && at[1] + sizes[1] <= at[2]);
                // SAFETY: the last byte of the last buffer.
                unsafe { buffers[2].add(sizes[2] - 1).write(1) };
            });
        }
    }
}
