//! What one key uses, over all of its requests; it outlives the key's entry, which may be read again.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::bucket::Bucket;
use super::day::DayQuota;
use crate::api::clock::Clock;
use crate::api::keys::KeyLimits;

/// Why a request has to wait, or will never be admitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    #[error("this key may send {limit} requests a minute: the next one in {} s", wait_ms.div_ceil(1000))]
    Requests { limit: u64, wait_ms: u64 },
    #[error("this key may have {limit} requests at once: wait for one to end")]
    Concurrent { limit: u64 },
    #[error(
        "this key may use {limit} tokens a minute, and this request may take {asked}: there are as many in {} s",
        wait_ms.div_ceil(1000)
    )]
    Tokens { limit: u64, asked: u64, wait_ms: u64 },
    #[error(
        "this key may use {limit} tokens a day, and too few of today's are left for this request, which may take {asked}: \
         there are new ones at midnight (UTC)"
    )]
    Day { limit: u64, asked: u64, wait_ms: u64 },
    #[error(
        "this request may take {asked} tokens, what it sends and all that it asks for, and this key may use {limit} \
         {period}: send less, or lower `max_tokens` or `n`"
    )]
    TooLarge { limit: u64, asked: u64, period: &'static str },
}

/// One limit as its headers show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    pub limit: u64,
    pub remaining: u64,
    /// Until all of it is there again.
    pub reset_ms: u64,
}

#[derive(Debug)]
pub struct KeyUsage {
    clock: Clock,
    state: Mutex<State>,
    /// Since the start, for metrics.
    pub requests: AtomicU64,
    pub tokens: AtomicU64,
    pub refused: AtomicU64,
}

#[derive(Debug)]
struct State {
    requests: ByMinute,
    tokens: ByMinute,
    day: DayQuota,
    running: u64,
    running_max: Option<u64>,
}

/// A limit by the minute. Its bucket stays when it is lifted, so that one that is set again is not a new one.
#[derive(Debug, Default)]
struct ByMinute {
    bucket: Option<Bucket>,
    is_lifted: bool,
}

impl ByMinute {
    fn set(&mut self, limit: Option<NonZeroU32>, now_ms: u64) {
        self.is_lifted = limit.is_none();
        let Some(limit) = limit.map(|limit| u64::from(limit.get())) else { return };
        match &mut self.bucket {
            Some(bucket) => bucket.resize(limit, now_ms),
            None => self.bucket = Some(Bucket::new(limit, now_ms)),
        }
    }

    /// What is taken from now.
    fn bucket(&mut self) -> Option<&mut Bucket> {
        if self.is_lifted { None } else { self.bucket.as_mut() }
    }
}

impl KeyUsage {
    pub fn new(limits: &KeyLimits, clock: Clock) -> Self {
        let state = State {
            requests: ByMinute::default(),
            tokens: ByMinute::default(),
            day: DayQuota::new(clock.now_ms()),
            running: 0,
            running_max: None,
        };
        let usage = Self {
            clock,
            state: Mutex::new(state),
            requests: AtomicU64::new(0),
            tokens: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        };
        usage.limit(limits);
        usage
    }

    /// Takes over new limits; what was used stays used.
    pub fn limit(&self, limits: &KeyLimits) {
        let now_ms = self.clock.now_ms();
        let mut state = self.state();
        state.requests.set(limits.requests_per_minute, now_ms);
        state.tokens.set(limits.tokens_per_minute, now_ms);
        state.day.per_day = limits.tokens_per_day.map(|limit| limit.get().into());
        state.running_max = limits.max_concurrent.map(|limit| limit.get().into());
    }

    /// Takes a request in, until its place is dropped.
    ///
    /// # Errors
    /// `Concurrent` or `Requests`.
    pub fn admit(self: &Arc<Self>) -> Result<Place, LimitError> {
        self.try_admit(self.clock.now_ms()).inspect_err(|_| self.count_refused())?;
        self.requests.fetch_add(1, Ordering::Relaxed);
        Ok(Place { usage: self.clone() })
    }

    fn try_admit(&self, now_ms: u64) -> Result<(), LimitError> {
        let mut state = self.state();
        if let Some(limit) = state.running_max.filter(|limit| state.running >= *limit) {
            return Err(LimitError::Concurrent { limit });
        }
        if let Some(bucket) = state.requests.bucket() {
            let wait_ms = bucket.wait_ms(1, now_ms);
            if wait_ms > 0 {
                return Err(LimitError::Requests { limit: bucket.per_minute(), wait_ms });
            }
            bucket.take(1);
        }
        state.running += 1;
        Ok(())
    }

    /// Takes the tokens that a request may have at most.
    ///
    /// # Errors
    /// `Tokens`, `Day` or `TooLarge`; nothing is taken then.
    pub fn reserve(self: &Arc<Self>, tokens: u64) -> Result<Reservation, LimitError> {
        let taken = self.try_reserve(tokens, self.clock.now_ms()).inspect_err(|_| self.count_refused())?;
        Ok(Reservation { usage: self.clone(), tokens, taken, used: 0 })
    }

    fn try_reserve(&self, asked: u64, now_ms: u64) -> Result<Taken, LimitError> {
        let mut state = self.state();
        let State { tokens, day, .. } = &mut *state;
        let mut bucket = tokens.bucket();
        let limits = [
            bucket.as_ref().map(|bucket| (bucket.per_minute(), "a minute")),
            day.per_day.map(|per_day| (per_day, "a day")),
        ];
        for (limit, period) in limits.into_iter().flatten() {
            if asked > limit {
                return Err(LimitError::TooLarge { limit, asked, period });
            }
        }
        if !day.has(asked, now_ms) {
            let (limit, wait_ms) = (day.per_day.unwrap_or(0), DayQuota::midnight_in_ms(now_ms));
            return Err(LimitError::Day { limit, asked, wait_ms });
        }
        if let Some(bucket) = &mut bucket {
            let wait_ms = bucket.wait_ms(asked, now_ms);
            if wait_ms > 0 {
                return Err(LimitError::Tokens { limit: bucket.per_minute(), asked, wait_ms });
            }
            bucket.take(asked);
        }
        Ok(Taken { from_bucket: bucket.is_some(), day: day.take(asked) })
    }

    /// Of requests and of tokens a minute, where they are limited.
    pub fn standing(&self) -> (Option<Standing>, Option<Standing>) {
        let now_ms = self.clock.now_ms();
        let mut state = self.state();
        let State { requests, tokens, .. } = &mut *state;
        let standing = |bucket: &mut Bucket| Standing {
            limit: bucket.per_minute(),
            remaining: bucket.remaining(now_ms),
            reset_ms: bucket.full_in_ms(now_ms),
        };
        (requests.bucket().map(standing), tokens.bucket().map(standing))
    }

    /// Used since midnight (UTC), and reserved by what runs.
    pub fn tokens_today(&self) -> u64 {
        self.state().day.used(self.clock.now_ms())
    }

    pub fn running(&self) -> u64 {
        self.state().running
    }

    pub fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code between two writes of it panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that runs.
#[derive(Debug)]
pub struct Place {
    usage: Arc<KeyUsage>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.usage.state();
        state.running = state.running.saturating_sub(1);
    }
}

/// Tokens that a request may use. What it says it used stays used, the rest comes back with its end.
#[derive(Debug)]
pub struct Reservation {
    usage: Arc<KeyUsage>,
    tokens: u64,
    taken: Taken,
    used: u64,
}

/// Where a reservation's tokens are from, for they go back there and nowhere else.
#[derive(Debug)]
struct Taken {
    /// There was a limit by the minute. A key has one bucket, as long as it lives.
    from_bucket: bool,
    day: u64,
}

impl Reservation {
    pub fn settle(mut self, used: u64) {
        self.used = used;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.usage.tokens.fetch_add(self.used, Ordering::Relaxed);
        let (unused, now_ms) = (self.tokens.saturating_sub(self.used), self.usage.clock.now_ms());
        let mut state = self.usage.state();
        if let Some(bucket) = state.tokens.bucket.as_mut().filter(|_| self.taken.from_bucket) {
            bucket.give_back(unused, now_ms);
        }
        state.day.give_back(unused, self.taken.day, now_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: u64 = 86_400_000;

    fn limits(requests: u32, tokens: u32, day: u32, concurrent: u32) -> KeyLimits {
        KeyLimits {
            requests_per_minute: NonZeroU32::new(requests),
            tokens_per_minute: NonZeroU32::new(tokens),
            tokens_per_day: NonZeroU32::new(day),
            max_concurrent: NonZeroU32::new(concurrent),
        }
    }

    /// With the hands of its clock, which begins at 0.
    fn usage(limits: &KeyLimits) -> (Arc<KeyUsage>, Arc<AtomicU64>) {
        let now = Arc::new(AtomicU64::new(0));
        let read = now.clone();
        let clock = Clock::from_fn(move || read.load(Ordering::Relaxed));
        (Arc::new(KeyUsage::new(limits, clock)), now)
    }

    #[test]
    fn requests_are_admitted_by_minute_and_by_number_at_once() {
        let (usage, now) = usage(&limits(3, 0, 0, 2));
        let first = usage.admit().unwrap();
        let _second = usage.admit().unwrap();
        assert_eq!(usage.admit().unwrap_err(), LimitError::Concurrent { limit: 2 });
        drop(first);
        let third = usage.admit().unwrap();
        drop(third);
        assert_eq!(usage.admit().unwrap_err(), LimitError::Requests { limit: 3, wait_ms: 20_000 });
        now.store(19_999, Ordering::Relaxed);
        assert_eq!(usage.admit().unwrap_err(), LimitError::Requests { limit: 3, wait_ms: 1 });
        now.store(20_000, Ordering::Relaxed);
        drop(usage.admit().unwrap());
        assert_eq!(usage.running(), 1);
        assert_eq!((usage.requests.load(Ordering::Relaxed), usage.refused.load(Ordering::Relaxed)), (4, 3));
    }

    #[test]
    fn tokens_are_reserved_and_what_was_not_used_comes_back() {
        let (usage, now) = usage(&limits(0, 600, 0, 0));
        let reservation = usage.reserve(500).unwrap();
        let short = LimitError::Tokens { limit: 600, asked: 200, wait_ms: 10_000 };
        assert_eq!(usage.reserve(200).unwrap_err(), short);
        reservation.settle(150);
        assert_eq!(usage.standing().1.unwrap(), Standing { limit: 600, remaining: 450, reset_ms: 15_000 });
        drop(usage.reserve(450).unwrap());
        assert_eq!(usage.standing().1.unwrap().remaining, 450, "never begun");
        now.store(15_000, Ordering::Relaxed);
        assert_eq!(usage.standing().1.unwrap().remaining, 600);
        assert_eq!(usage.tokens.load(Ordering::Relaxed), 150);
        let never = LimitError::TooLarge { limit: 600, asked: 601, period: "a minute" };
        assert_eq!(usage.reserve(601).unwrap_err(), never);
    }

    #[test]
    fn a_days_tokens_come_at_midnight() {
        let (usage, now) = usage(&limits(0, 0, 1000, 0));
        usage.reserve(900).unwrap().settle(800);
        now.store(DAY_MS - 5_000, Ordering::Relaxed);
        let spent = LimitError::Day { limit: 1000, asked: 201, wait_ms: 5_000 };
        assert_eq!(usage.reserve(201).unwrap_err(), spent);
        let over_midnight = usage.reserve(200).unwrap();
        now.store(DAY_MS, Ordering::Relaxed);
        over_midnight.settle(0);
        usage.reserve(1000).unwrap().settle(1000);
        assert!(usage.reserve(1).is_err());
    }

    #[test]
    fn new_limits_do_not_forgive_what_was_used() {
        let (usage, _) = usage(&limits(2, 100, 100, 1));
        let place = usage.admit().unwrap();
        usage.reserve(90).unwrap().settle(90);
        usage.limit(&limits(1, 50, 95, 1));
        assert_eq!(usage.admit().unwrap_err(), LimitError::Concurrent { limit: 1 });
        drop(place);
        drop(usage.admit().unwrap());
        assert!(usage.admit().is_err());
        assert_eq!(usage.standing().1.unwrap().remaining, 10);
        assert!(usage.reserve(6).is_err(), "the day's");
        usage.limit(&KeyLimits::default());
        usage.reserve(1 << 40).unwrap().settle(1 << 40);
        assert_eq!(usage.standing(), (None, None));
    }

    #[test]
    fn a_limit_that_is_lifted_and_set_again_is_not_a_new_one() {
        let (usage, now) = usage(&limits(60, 600, 0, 0));
        drop(usage.admit().unwrap());
        usage.reserve(500).unwrap().settle(500);
        usage.limit(&KeyLimits::default());
        assert_eq!(usage.standing(), (None, None));
        now.store(1_000, Ordering::Relaxed);
        usage.limit(&limits(60, 600, 0, 0));
        let (requests, tokens) = usage.standing();
        assert_eq!((requests.unwrap().remaining, tokens.unwrap().remaining), (60, 110));
    }

    #[test]
    fn what_was_taken_from_no_bucket_comes_back_to_none() {
        let (usage, _) = usage(&KeyLimits::default());
        let unlimited = usage.reserve(1000).unwrap();
        usage.limit(&limits(0, 600, 0, 0));
        let limited = usage.reserve(500).unwrap();
        drop(unlimited);
        assert_eq!(usage.standing().1.unwrap().remaining, 100);
        usage.limit(&KeyLimits::default());
        drop(limited);
        usage.limit(&limits(0, 600, 0, 0));
        assert_eq!(
            usage.standing().1.unwrap().remaining,
            600,
            "back where it is from, though lifted meanwhile"
        );
    }
}
