//! The one threshold for the neurons of all tensors, exact without sorting: scores are counted by the upper half of their
//! bits, then by the lower half within the one count that matters.
//!
//! A tensor's cap is a threshold of its own. What is below it is no candidate, and candidates alone are counted.

use super::super::super::error::MergeError;
use super::super::super::pool::Pool;
use super::super::super::stages::select::{BUCKETS, Digits, find as find_rank, histogram};
use super::MaskOptions;
use super::scores::Scores;

/// The least score that is kept, as a key, and how many of those equal to it are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    pub key: u32,
    /// The first of them.
    pub equals: u64,
    /// Whether these are all that there are.
    pub has_all: bool,
}

/// What is kept of all tensors.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Of each tensor: what its cap lets through.
    caps: Vec<Limit>,
    /// Of all of them; `equals` goes down as tensors are written.
    pub limit: Limit,
}

impl Kept {
    /// What is kept of a tensor, and whether that counts against what is left of the common equals.
    pub fn of(&self, tensor: usize) -> (Limit, bool) {
        let (cap, common) = (self.caps[tensor], self.limit);
        match cap.key.cmp(&common.key) {
            std::cmp::Ordering::Greater => (cap, false),
            std::cmp::Ordering::Less => (common, true),
            std::cmp::Ordering::Equal => {
                let equals = cap.equals.min(common.equals);
                (Limit { key: cap.key, equals, has_all: cap.has_all && common.has_all }, true)
            }
        }
    }
}

/// Gives a tensor's scores to a function.
pub type Open<'a> =
    dyn Fn(usize, &mut dyn FnMut(&Scores<'_>) -> Result<(), MergeError>) -> Result<(), MergeError> + 'a;

/// # Errors
/// A tensor that cannot be read, or is not finite.
pub fn find(
    pool: &Pool<'_>,
    tensors: usize,
    open: &Open<'_>,
    options: MaskOptions,
) -> Result<Kept, MergeError> {
    let (mut high, mut neurons, mut caps) = (vec![0_u64; BUCKETS], 0, Vec::with_capacity(tensors));
    for tensor in 0..tensors {
        open(tensor, &mut |scores| {
            let mut own = counts(pool, scores, None)?;
            neurons += own.iter().sum::<u64>();
            caps.push(cap(pool, scores, &mut own, options)?);
            high.iter_mut().zip(own).for_each(|(sum, count)| *sum += count);
            Ok(())
        })?;
    }
    let candidates: u64 = high.iter().sum();
    let asked = share(options.density, neurons).min(candidates);
    let (within, bucket, _) = find_rank(&high, candidates - asked);
    let mut low = vec![0_u64; BUCKETS];
    for (tensor, cap) in caps.iter().enumerate().take(tensors) {
        open(tensor, &mut |scores| {
            if cap.key >> 16 > bucket {
                return Ok(());
            }
            let mut own = counts(pool, scores, Some(bucket))?;
            if cap.key >> 16 == bucket {
                let place = (cap.key & 0xFFFF) as usize;
                own[..place].fill(0);
                own[place] = cap.equals;
            }
            low.iter_mut().zip(own).for_each(|(sum, count)| *sum += count);
            Ok(())
        })?;
    }
    let (before, place, _) = find_rank(&low, within);
    let equals = low[place as usize] - before;
    let limit = Limit { key: bucket << 16 | place, equals, has_all: before == 0 };
    Ok(Kept { caps, limit })
}

/// What a tensor's cap lets through; takes the rest out of its counts.
fn cap(
    pool: &Pool<'_>,
    scores: &Scores<'_>,
    high: &mut [u64],
    options: MaskOptions,
) -> Result<Limit, MergeError> {
    let neurons: u64 = high.iter().sum();
    let most = share(options.cap * options.density, neurons);
    if options.cap == 0.0 || most == neurons {
        // Below any score's key.
        return Ok(Limit { key: 0, equals: 0, has_all: true });
    }
    let (within, bucket, _) = find_rank(high, neurons - most);
    let low = counts(pool, scores, Some(bucket))?;
    let (before, place, _) = find_rank(&low, within);
    let equals = low[place as usize] - before;
    high[..bucket as usize].fill(0);
    high[bucket as usize] = equals + low[place as usize + 1..].iter().sum::<u64>();
    Ok(Limit { key: bucket << 16 | place, equals, has_all: before == 0 })
}

/// Neurons by the upper half of their key, or of one upper half by the lower one.
fn counts(pool: &Pool<'_>, scores: &Scores<'_>, bucket: Option<u32>) -> Result<Vec<u64>, MergeError> {
    let buckets = [bucket.into_iter().collect()];
    let digits = if bucket.is_some() { Digits::Low(&buckets) } else { Digits::High(&[true]) };
    let counts = histogram(pool, scores, digits)?.into_iter().flatten().next();
    Ok(counts.unwrap_or_else(|| vec![0; BUCKETS]))
}

/// A share of some neurons, to the nearest, but one at least.
fn share(share: f64, neurons: u64) -> u64 {
    ((share * neurons as f64).round() as u64).clamp(1.min(neurons), neurons)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_one_at_least() {
        let check = |density: f64, neurons: u64, expected: u64| assert_eq!(share(density, neurons), expected);
        check(0.05, 100, 5);
        check(0.29, 100, 29);
        check(0.05, 10, 1);
        check(0.01, 10, 1);
        check(0.01, 0, 0);
        check(2.0, 10, 10);
    }
}
