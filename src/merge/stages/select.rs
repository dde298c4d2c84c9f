//! Exact order statistics of numbers that are streamed: which values have given ranks, found by counting bits instead of
//! sorting. Two passes of 65,536 counters each give the value of a rank; where several elements have it, a third pass
//! counts those of each piece, so that ranks among equals go by index.

use super::super::error::MergeError;
use super::super::pool::Pool;

/// A number's bits in an order that integers have: -0 and 0 are told apart, NaN is beyond infinity.
pub fn order_key(value: f32) -> u32 {
    let bits = value.to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 0x8000_0000 }
}

/// The number with that key.
pub fn of_key(key: u32) -> f32 {
    f32::from_bits(if key >> 31 == 1 { key & 0x7FFF_FFFF } else { !key })
}

pub const BUCKETS: usize = 1 << 16;

/// Of one thread's counters of one sequence and slot.
pub const COUNTER_BYTES: usize = BUCKETS * 8;

/// A stream of numbers, cut into pieces that can be read again.
pub trait Stream: Sync {
    type Scratch: Send;

    fn pieces(&self) -> usize;

    fn scratch(&self) -> Self::Scratch;

    /// How many sequences of numbers come along side by side.
    fn width(&self) -> usize;

    /// Call `take` with each sequence's numbers of a piece.
    ///
    /// # Errors
    /// A piece that cannot be read.
    fn visit(
        &self,
        scratch: &mut Self::Scratch,
        piece: usize,
        take: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), MergeError>;
}

/// Where a rank lies: the value's key, and how many elements are below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rank {
    pub key: u32,
    pub below: u64,
}

/// The elements at ranks (from 0, ascending) of each sequence. Ranks at or beyond a sequence's end give its last.
///
/// # Errors
/// A piece that cannot be read.
pub fn ranks<S: Stream>(
    pool: &Pool<'_>,
    stream: &S,
    asked: &[Vec<u64>],
) -> Result<Vec<Vec<Rank>>, MergeError> {
    let wanted: Vec<bool> = asked.iter().map(|ranks| !ranks.is_empty()).collect();
    let high = histogram(pool, stream, Digits::High(&wanted))?;
    // Of each sequence, the buckets in which ranks lie.
    let mut places: Vec<Vec<(u64, u32, u64)>> = Vec::new();
    for (sequence, ranks) in asked.iter().enumerate() {
        places.push(ranks.iter().map(|rank| find(&high[sequence][0], *rank)).collect());
    }
    let buckets: Vec<Vec<u32>> = places
        .iter()
        .map(|places| {
            let mut buckets: Vec<u32> = places.iter().map(|(_, bucket, _)| *bucket).collect();
            buckets.sort_unstable();
            buckets.dedup();
            buckets
        })
        .collect();
    let low = histogram(pool, stream, Digits::Low(&buckets))?;
    let rank_of = |sequence: usize, (within, bucket, below): (u64, u32, u64)| {
        let at = buckets[sequence].iter().position(|known| *known == bucket).unwrap_or_default();
        let (_, low_bits, below_in_bucket) = find(&low[sequence][at], within);
        Rank { key: bucket << 16 | low_bits, below: below + below_in_bucket }
    };
    let found = places.iter().enumerate();
    Ok(found
        .map(|(sequence, places)| places.iter().map(|place| rank_of(sequence, *place)).collect())
        .collect())
}

/// The bucket of a rank: (rank within the bucket, bucket, elements below the bucket).
pub fn find(counts: &[u64], rank: u64) -> (u64, u32, u64) {
    let total: u64 = counts.iter().sum();
    let rank = rank.min(total.saturating_sub(1));
    let mut below = 0;
    for (bucket, count) in counts.iter().enumerate() {
        if rank < below + count {
            return (rank - below, bucket as u32, below);
        }
        below += count;
    }
    (0, 0, 0)
}

/// Which half of the keys is counted.
#[derive(Debug, Clone, Copy)]
pub enum Digits<'a> {
    /// The upper halves, of those sequences that are wanted.
    High(&'a [bool]),
    /// The lower halves of those keys that have one of these upper halves, for each sequence and upper half.
    Low(&'a [Vec<u32>]),
}

impl Digits<'_> {
    fn slots(self) -> usize {
        match self {
            Self::High(_) => 1,
            Self::Low(buckets) => buckets.iter().map(Vec::len).max().unwrap_or_default(),
        }
    }

    fn count(self, sequence: usize, values: &[f32], counts: &mut [Vec<u64>]) {
        let high = |key: u32| usize::from((key >> 16) as u16);
        let low = |key: u32| usize::from(key as u16);
        match self {
            Self::High(wanted) if !wanted[sequence] => {}
            Self::High(_) => {
                let counts = &mut counts[0][..BUCKETS];
                for value in values {
                    counts[high(order_key(*value))] += 1;
                }
            }
            Self::Low(buckets) => match buckets[sequence][..] {
                [] => {}
                [only] => {
                    let counts = &mut counts[0][..BUCKETS];
                    for key in values.iter().map(|value| order_key(*value)).filter(|key| key >> 16 == only) {
                        counts[low(key)] += 1;
                    }
                }
                ref several => {
                    for key in values.iter().map(|value| order_key(*value)) {
                        if let Some(slot) = several.iter().position(|bucket| *bucket == key >> 16) {
                            counts[slot][low(key)] += 1;
                        }
                    }
                }
            },
        }
    }
}

/// Counters by sequence and slot.
pub type Counts = Vec<Vec<Vec<u64>>>;

/// How many elements of each sequence have which digits.
///
/// # Errors
/// A piece that cannot be read.
pub fn histogram<S: Stream>(pool: &Pool<'_>, stream: &S, digits: Digits<'_>) -> Result<Counts, MergeError> {
    let empty = || -> Counts { vec![vec![vec![0; BUCKETS]; digits.slots()]; stream.width()] };
    let begin = || (stream.scratch(), empty());
    let (_, parts) = pool.each(stream.pieces(), begin, |(scratch, counts), piece| {
        stream.visit(scratch, piece, &mut |sequence, values| {
            digits.count(sequence, values, &mut counts[sequence]);
        })
    })?;
    let mut parts = parts.into_iter().map(|(_, counts)| counts);
    let mut total = parts.next().unwrap_or_else(empty);
    for part in parts {
        for (total, part) in total.iter_mut().flatten().zip(part.iter().flatten()) {
            total.iter_mut().zip(part.iter()).for_each(|(total, part)| *total += part);
        }
    }
    Ok(total)
}

/// How many elements of each sequence have each of its keys, before each piece and, last, in all.
///
/// # Errors
/// A piece that cannot be read.
pub fn equals_before<S: Stream>(
    pool: &Pool<'_>,
    stream: &S,
    keys: &[Vec<u32>],
) -> Result<Vec<Vec<Vec<u64>>>, MergeError> {
    let (counts, _) = pool.each(
        stream.pieces(),
        || stream.scratch(),
        |scratch, piece| {
            let mut counts: Vec<Vec<u64>> = keys.iter().map(|keys| vec![0; keys.len()]).collect();
            stream.visit(scratch, piece, &mut |sequence, values| {
                for (count, wanted) in counts[sequence].iter_mut().zip(&keys[sequence]) {
                    // Numbers of 32 bits are added side by side; a piece has fewer elements.
                    let equal = |value: &f32| u32::from(order_key(*value) == *wanted);
                    *count += u64::from(values.iter().map(equal).sum::<u32>());
                }
            })?;
            Ok(counts)
        },
    )?;
    let mut before: Vec<Vec<Vec<u64>>> = keys.iter().map(|keys| vec![vec![0]; keys.len()]).collect();
    for piece in counts {
        for (before, count) in before.iter_mut().flatten().zip(piece.iter().flatten()) {
            before.push(before.last().copied().unwrap_or_default() + count);
        }
    }
    Ok(before)
}
