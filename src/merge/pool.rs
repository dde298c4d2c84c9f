//! Pieces of a tensor on several threads, with results in the order of the pieces: sums over fixed pieces, added in that
//! order, are the same bits on any number of threads.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::error::MergeError;

/// Who works, and the word to stop.
#[derive(Debug, Clone, Copy)]
pub struct Pool<'a> {
    pub threads: usize,
    /// Set by whoever wants the merge to end: the next piece is not begun.
    pub stop: &'a AtomicBool,
}

impl Pool<'_> {
    /// Between the steps of long work.
    ///
    /// # Errors
    /// `Interrupted` where the merge is to end.
    pub fn check(&self) -> Result<(), MergeError> {
        if self.stop.load(Ordering::Relaxed) { Err(MergeError::Interrupted) } else { Ok(()) }
    }

    /// Run `work` on each piece. Each thread has its own state from `begin`; the states come back in no particular order.
    ///
    /// # Errors
    /// The first error of a piece, or `Interrupted`.
    pub fn each<S: Send, T: Send>(
        &self,
        pieces: usize,
        begin: impl Fn() -> S + Sync,
        work: impl Fn(&mut S, usize) -> Result<T, MergeError> + Sync,
    ) -> Result<(Vec<T>, Vec<S>), MergeError> {
        let next = AtomicUsize::new(0);
        let failure: Mutex<Option<MergeError>> = Mutex::new(None);
        let run = || {
            let (mut state, mut done) = (begin(), Vec::new());
            loop {
                let piece = next.fetch_add(1, Ordering::Relaxed);
                if piece >= pieces {
                    break;
                }
                match self.check().and_then(|()| work(&mut state, piece)) {
                    Ok(value) => done.push((piece, value)),
                    Err(error) => {
                        next.store(pieces, Ordering::Relaxed);
                        failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                        break;
                    }
                }
            }
            (done, state)
        };
        // One piece is not worth a thread.
        let threads = self.threads.min(pieces).max(1);
        let mut parts = Vec::with_capacity(threads);
        if threads == 1 {
            parts.push(run());
        } else {
            std::thread::scope(|scope| {
                let running: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
                for thread in running {
                    match thread.join() {
                        Ok(part) => parts.push(part),
                        Err(panic) => std::panic::resume_unwind(panic),
                    }
                }
            });
        }
        if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        let (mut values, mut states) = (Vec::with_capacity(pieces), Vec::with_capacity(threads));
        for (done, state) in parts {
            values.extend(done);
            states.push(state);
        }
        values.sort_unstable_by_key(|(piece, _)| *piece);
        Ok((values.into_iter().map(|(_, value)| value).collect(), states))
    }
}
