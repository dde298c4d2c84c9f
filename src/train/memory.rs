//! Memory that a pass frees is wanted again by the next one: while something trains, the allocator keeps it.
//!
//! The allocator is the binary's, not the library's: it says at its start how it is told. docs/benchmarks.md has the difference.

use std::sync::{Mutex, OnceLock, PoisonError};

/// Told true when the first training of the process begins, and false when the last one has ended.
static TELL: OnceLock<fn(bool)> = OnceLock::new();
static TRAININGS: Mutex<usize> = Mutex::new(0);

/// How the allocator is told to keep what is freed, or no longer to. The first call counts.
pub fn set_allocator(tell: fn(keep: bool)) {
    let _ = TELL.set(tell);
}

/// While it lives, freed memory stays with the process.
pub(super) struct KeptMemory(());

impl KeptMemory {
    pub fn new() -> Self {
        let mut trainings = TRAININGS.lock().unwrap_or_else(PoisonError::into_inner);
        *trainings += 1;
        if let (1, Some(tell)) = (*trainings, TELL.get()) {
            tell(true);
        }
        Self(())
    }
}

impl Drop for KeptMemory {
    fn drop(&mut self) {
        let mut trainings = TRAININGS.lock().unwrap_or_else(PoisonError::into_inner);
        *trainings -= 1;
        if let (0, Some(tell)) = (*trainings, TELL.get()) {
            tell(false);
        }
    }
}
