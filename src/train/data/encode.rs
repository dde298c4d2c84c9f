//! Pieces of files to examples, on several threads, in the files' order.

use std::collections::VecDeque;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, Ordering};

use super::DataError;

/// Who works, and the word to stop.
#[derive(Debug, Clone, Copy)]
pub struct Effort<'a> {
    pub threads: NonZero<usize>,
    pub stop: &'a AtomicBool,
}

/// Pieces that one thread takes at a time, and bytes that a round may hold.
const ROUND_PIECES: usize = 64;
const ROUND_BYTES: usize = 8 << 20;

/// An iterator over what `encode` makes of each piece; reads on only when what it has is used up.
pub(super) struct Encoded<'a, P, T> {
    pieces: Box<dyn Iterator<Item = Result<P, DataError>> + 'a>,
    size: fn(&P) -> usize,
    encode: &'a (dyn Fn(&P) -> Result<T, DataError> + Sync),
    effort: Effort<'a>,
    ready: VecDeque<Result<T, DataError>>,
}

impl<'a, P: Sync, T: Send> Encoded<'a, P, T> {
    pub fn new(
        pieces: Box<dyn Iterator<Item = Result<P, DataError>> + 'a>,
        size: fn(&P) -> usize,
        encode: &'a (dyn Fn(&P) -> Result<T, DataError> + Sync),
        effort: Effort<'a>,
    ) -> Self {
        Self { pieces, size, encode, effort, ready: VecDeque::new() }
    }

    /// Of the first error, all before it comes out first.
    fn round(&mut self) {
        let (mut pieces, mut bytes, mut failure) = (Vec::new(), 0, None);
        let threads = self.effort.threads.get();
        while pieces.len() < threads * ROUND_PIECES && bytes < ROUND_BYTES {
            match self.pieces.next() {
                None => break,
                Some(Err(error)) => {
                    failure = Some(Err(error));
                    break;
                }
                Some(Ok(piece)) => {
                    bytes += (self.size)(&piece);
                    pieces.push(piece);
                }
            }
        }
        let (encode, stop) = (self.encode, self.effort.stop);
        let one = |piece: &P| {
            if stop.load(Ordering::Relaxed) { Err(DataError::Interrupted) } else { encode(piece) }
        };
        let share = pieces.len().div_ceil(threads).max(1);
        let done: Vec<Vec<Result<T, DataError>>> = std::thread::scope(|scope| {
            let work: Vec<_> = pieces
                .chunks(share)
                .map(|part| scope.spawn(move || part.iter().map(one).collect::<Vec<_>>()))
                .collect();
            // A panic of a tokenizer is one of this thread.
            work.into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        self.ready.extend(done.into_iter().flatten());
        self.ready.extend(failure);
    }
}

impl<P: Sync, T: Send> Iterator for Encoded<'_, P, T> {
    type Item = Result<T, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ready.is_empty() {
            self.round();
        }
        self.ready.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_kept_and_the_first_error_comes_in_its_place() {
        let stop = AtomicBool::new(false);
        let check = |threads: usize, count: usize, bad: Option<usize>| {
            let effort = Effort { threads: NonZero::new(threads).unwrap(), stop: &stop };
            let pieces = Box::new((0..count).map(Ok::<usize, DataError>));
            let encode = |piece: &usize| {
                if Some(*piece) == bad { Err(DataError::Nothing("bad".into())) } else { Ok(*piece * 2) }
            };
            let found: Result<Vec<usize>, DataError> = Encoded::new(pieces, |_| 1, &encode, effort).collect();
            match bad {
                None => assert_eq!(found.unwrap(), (0..count).map(|piece| piece * 2).collect::<Vec<_>>()),
                Some(_) => assert!(found.unwrap_err().to_string().contains("bad")),
            }
        };
        check(1, 0, None);
        check(1, 200, None);
        check(3, 1000, None);
        check(4, 5, None);
        check(3, 1000, Some(700));
    }

    #[test]
    fn a_stop_is_an_error() {
        let stop = AtomicBool::new(true);
        let effort = Effort { threads: NonZero::new(2).unwrap(), stop: &stop };
        let mut encoded =
            Encoded::new(Box::new((0..3).map(Ok)), |_: &usize| 1, &|piece: &usize| Ok(*piece), effort);
        assert!(matches!(encoded.next(), Some(Err(DataError::Interrupted))));
    }
}
