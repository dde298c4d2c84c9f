//! A token bucket in whole numbers: it holds a minute's worth, and fills by as much every minute.

const MINUTE_MS: u64 = 60_000;

#[derive(Debug, Clone)]
pub struct Bucket {
    per_minute: u64,
    /// In parts of a unit, 60,000 to each: what flows in within a millisecond is then a whole number.
    level: u64,
    updated_ms: u64,
}

impl Bucket {
    /// A full one.
    pub fn new(per_minute: u64, now_ms: u64) -> Self {
        Self { per_minute, level: per_minute.saturating_mul(MINUTE_MS), updated_ms: now_ms }
    }

    pub fn per_minute(&self) -> u64 {
        self.per_minute
    }

    /// What is in it stays, as far as it holds it.
    pub fn resize(&mut self, per_minute: u64, now_ms: u64) {
        self.refill(now_ms);
        self.per_minute = per_minute;
        self.level = self.level.min(self.capacity());
    }

    /// Milliseconds until `units` are there; more than it holds never are.
    pub fn wait_ms(&mut self, units: u64, now_ms: u64) -> u64 {
        self.refill(now_ms);
        units.saturating_mul(MINUTE_MS).saturating_sub(self.level).div_ceil(self.per_minute.max(1))
    }

    /// To be called when `wait_ms` is 0.
    pub fn take(&mut self, units: u64) {
        self.level = self.level.saturating_sub(units.saturating_mul(MINUTE_MS));
    }

    pub fn give_back(&mut self, units: u64, now_ms: u64) {
        self.refill(now_ms);
        self.level = self.level.saturating_add(units.saturating_mul(MINUTE_MS)).min(self.capacity());
    }

    pub fn remaining(&mut self, now_ms: u64) -> u64 {
        self.refill(now_ms);
        self.level / MINUTE_MS
    }

    /// Milliseconds until it is full.
    pub fn full_in_ms(&mut self, now_ms: u64) -> u64 {
        self.wait_ms(self.per_minute, now_ms)
    }

    fn capacity(&self) -> u64 {
        self.per_minute.saturating_mul(MINUTE_MS)
    }

    /// A clock that was put back fills nothing, and takes nothing away.
    fn refill(&mut self, now_ms: u64) {
        let elapsed_ms = now_ms.saturating_sub(self.updated_ms);
        self.level =
            self.level.saturating_add(elapsed_ms.saturating_mul(self.per_minute)).min(self.capacity());
        self.updated_ms = now_ms;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_holds_a_minutes_worth_and_fills_steadily() {
        let mut bucket = Bucket::new(60, 0);
        assert_eq!((bucket.wait_ms(60, 0), bucket.wait_ms(61, 0)), (0, 1000));
        bucket.take(60);
        assert_eq!((bucket.remaining(0), bucket.wait_ms(1, 0), bucket.full_in_ms(0)), (0, 1000, 60_000));
        assert_eq!((bucket.remaining(999), bucket.wait_ms(1, 999)), (0, 1));
        assert_eq!((bucket.remaining(1000), bucket.wait_ms(1, 1000)), (1, 0));
        assert_eq!(bucket.remaining(u64::MAX), 60);
    }

    #[test]
    fn what_comes_back_does_not_overflow_it() {
        let mut bucket = Bucket::new(10, 0);
        bucket.take(4);
        bucket.give_back(3, 0);
        assert_eq!(bucket.remaining(0), 9);
        bucket.give_back(100, 0);
        assert_eq!(bucket.remaining(0), 10);
    }

    #[test]
    fn a_clock_that_is_put_back_changes_nothing() {
        let mut bucket = Bucket::new(60, 10_000);
        bucket.take(60);
        assert_eq!(bucket.remaining(5_000), 0);
        assert_eq!(bucket.remaining(6_000), 1);
    }

    #[test]
    fn a_new_size_keeps_what_is_in_it() {
        let mut bucket = Bucket::new(100, 0);
        bucket.take(70);
        bucket.resize(1000, 0);
        assert_eq!(bucket.remaining(0), 30);
        bucket.resize(20, 0);
        assert_eq!((bucket.remaining(0), bucket.per_minute()), (20, 20));
    }

    proptest! {
        /// Over any time no more goes through than a bucket and what flowed in.
        #[test]
        fn nobody_gets_more_than_a_bucket_and_its_flow(
            per_minute in 1_u64..10_000,
            steps in prop::collection::vec((0_u64..5_000, 1_u64..200), 1..100),
        ) {
            let (mut bucket, mut now, mut taken) = (Bucket::new(per_minute, 0), 0, 0);
            for (pause, units) in steps {
                now += pause;
                if bucket.wait_ms(units, now) == 0 {
                    bucket.take(units);
                    taken += units;
                }
            }
            prop_assert!(taken * MINUTE_MS <= per_minute * (MINUTE_MS + now));
        }

        /// Who waits as long as it is told is served, and a millisecond earlier is not.
        #[test]
        fn the_wait_is_exact(per_minute in 1_u64..10_000, taken in 1_u64..10_000, asked in 1_u64..10_000) {
            let mut bucket = Bucket::new(per_minute, 0);
            bucket.take(taken.min(per_minute));
            let asked = asked.min(per_minute);
            let wait = bucket.wait_ms(asked, 0);
            prop_assert_eq!(bucket.clone().wait_ms(asked, wait), 0);
            if wait > 0 {
                prop_assert!(bucket.wait_ms(asked, wait - 1) > 0);
            }
        }
    }
}
