//! Limits that a provider sets by the minute: requests and tokens, kept before they are asked for.
//!
//! In any 60 seconds no more requests begin, and no more tokens are taken, than allowed. How many tokens a request takes
//! is known when it is answered; until then it counts with the mean of those before it.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RateLimits {
    pub requests_per_minute: Option<u32>,
    /// Prompt and completion tokens together.
    pub tokens_per_minute: Option<u64>,
}

#[derive(Debug, Default)]
pub(super) struct RateLimiter {
    limits: RateLimits,
    window: Mutex<Window>,
}

const MINUTE: Duration = Duration::from_mins(1);

impl RateLimiter {
    pub fn new(limits: RateLimits) -> Self {
        Self { limits, window: Mutex::default() }
    }

    /// Wait until a request may be made.
    pub async fn admit(&self) -> Admission<'_> {
        loop {
            let admitted = self.window().admit(self.limits, Instant::now());
            match admitted {
                Ok(number) => return Admission { limiter: self, number },
                Err(wait) => tokio::time::sleep(wait).await,
            }
        }
    }

    fn window(&self) -> std::sync::MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that may be made.
pub(super) struct Admission<'a> {
    limiter: &'a RateLimiter,
    number: u64,
}

impl Admission<'_> {
    /// How many tokens it took.
    pub fn settle(&self, tokens: u64) {
        self.limiter.window().settle(self.number, tokens);
    }
}

/// The requests of the last minute, oldest first.
#[derive(Debug, Default)]
struct Window {
    requests: VecDeque<Admitted>,
    next: u64,
    settled: u64,
    settled_tokens: u64,
}

#[derive(Debug)]
struct Admitted {
    number: u64,
    at: Instant,
    tokens: u64,
}

impl Window {
    /// The request's number, or how long to wait before asking again.
    fn admit(&mut self, limits: RateLimits, now: Instant) -> Result<u64, Duration> {
        while self.requests.front().is_some_and(|first| now.duration_since(first.at) >= MINUTE) {
            self.requests.pop_front();
        }
        let expected = self.settled_tokens.checked_div(self.settled).unwrap_or_default();
        let taken: u64 = self.requests.iter().map(|request| request.tokens).sum();
        let many = limits.requests_per_minute.is_some_and(|most| self.requests.len() >= most.max(1) as usize);
        let much = limits.tokens_per_minute.is_some_and(|most| taken + expected > most);
        if let Some(first) = self.requests.front().filter(|_| many || much) {
            // A request larger than a whole minute's tokens goes alone.
            return Err(MINUTE.saturating_sub(now.duration_since(first.at)));
        }
        let number = self.next;
        self.next += 1;
        if limits != RateLimits::default() {
            self.requests.push_back(Admitted { number, at: now, tokens: expected });
        }
        Ok(number)
    }

    fn settle(&mut self, number: u64, tokens: u64) {
        self.settled += 1;
        self.settled_tokens += tokens;
        if let Some(request) = self.requests.iter_mut().find(|request| request.number == number) {
            request.tokens = tokens;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When each of so many requests begins, in seconds, if each takes so many tokens and nobody else asks.
    fn starts(limits: RateLimits, requests: usize, tokens: u64) -> Vec<u64> {
        let begin = Instant::now();
        let mut now = begin;
        let mut window = Window::default();
        let mut starts = Vec::new();
        while starts.len() < requests {
            match window.admit(limits, now) {
                Ok(number) => {
                    starts.push(now.duration_since(begin).as_secs());
                    now += Duration::from_secs(1);
                    window.settle(number, tokens);
                }
                Err(wait) => now += wait,
            }
        }
        starts
    }

    #[test]
    fn no_minute_has_more_than_allowed() {
        let check = |requests: Option<u32>, tokens: Option<u64>, expected: &[u64]| {
            let limits = RateLimits { requests_per_minute: requests, tokens_per_minute: tokens };
            assert_eq!(starts(limits, expected.len(), 100), expected, "{limits:?}");
        };
        check(None, None, &[0, 1, 2, 3]);
        check(Some(3), None, &[0, 1, 2, 60, 61, 62, 120]);
        check(None, Some(250), &[0, 1, 60, 61, 120]);
        check(Some(3), Some(250), &[0, 1, 60, 61]);
        // More than a minute's tokens at once: one a minute, and not never.
        check(None, Some(50), &[0, 60, 120]);
        check(Some(0), None, &[0, 60]);
    }

    #[test]
    fn what_is_under_way_counts_as_much_as_the_mean() {
        let limits = RateLimits { tokens_per_minute: Some(1_000), ..RateLimits::default() };
        let now = Instant::now();
        let mut window = Window::default();
        let first = window.admit(limits, now).unwrap();
        window.settle(first, 400);
        assert!(window.admit(limits, now).is_ok(), "400 and 400 expected");
        assert_eq!(window.admit(limits, now + Duration::from_secs(5)), Err(Duration::from_secs(55)));
    }
}
