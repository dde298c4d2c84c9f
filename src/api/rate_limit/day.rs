//! A quota that is whole again at midnight, UTC.

const DAY_MS: u64 = 86_400_000;

#[derive(Debug, Clone)]
pub struct DayQuota {
    /// `None`: without a bound, but counted, so that a bound that is set counts the whole day.
    pub per_day: Option<u64>,
    /// Since 1970.
    day: u64,
    used: u64,
}

impl DayQuota {
    pub fn new(now_ms: u64) -> Self {
        Self { per_day: None, day: now_ms / DAY_MS, used: 0 }
    }

    pub fn has(&mut self, units: u64, now_ms: u64) -> bool {
        self.turn(now_ms);
        self.per_day.is_none_or(|per_day| units <= per_day.saturating_sub(self.used))
    }

    pub fn used(&mut self, now_ms: u64) -> u64 {
        self.turn(now_ms);
        self.used
    }

    /// Answers the day that it was taken from.
    pub fn take(&mut self, units: u64) -> u64 {
        self.used = self.used.saturating_add(units);
        self.day
    }

    /// Nothing comes back to a day that is over.
    pub fn give_back(&mut self, units: u64, day: u64, now_ms: u64) {
        self.turn(now_ms);
        if day == self.day {
            self.used = self.used.saturating_sub(units);
        }
    }

    pub fn midnight_in_ms(now_ms: u64) -> u64 {
        DAY_MS - now_ms % DAY_MS
    }

    fn turn(&mut self, now_ms: u64) {
        let day = now_ms / DAY_MS;
        // A clock that is put back over midnight makes no day new. One that had run ahead for longer is not waited for.
        if day > self.day || day + 1 < self.day {
            (self.day, self.used) = (day, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_its_own() {
        let noon = DAY_MS * 100 + DAY_MS / 2;
        let mut quota = DayQuota { per_day: Some(100), ..DayQuota::new(noon) };
        assert!(quota.has(100, noon) && !quota.has(101, noon));
        let day = quota.take(80);
        assert!(quota.has(20, noon) && !quota.has(21, noon));
        assert_eq!(DayQuota::midnight_in_ms(noon), DAY_MS / 2);
        quota.give_back(30, day, noon);
        assert!(quota.has(50, noon) && !quota.has(51, noon));
        let tomorrow = noon + DAY_MS / 2;
        assert!(quota.has(100, tomorrow));
        quota.take(100);
        quota.give_back(50, day, tomorrow);
        assert!(!quota.has(1, tomorrow), "yesterday's");
        assert!(!quota.has(1, noon), "put back");
    }

    #[test]
    fn a_clock_that_had_run_ahead_locks_nothing() {
        let today = DAY_MS * 100;
        let mut quota = DayQuota { per_day: Some(10), ..DayQuota::new(DAY_MS * 20_000) };
        quota.take(10);
        assert!(quota.has(10, today));
        quota.take(10);
        assert!(!quota.has(1, today));
    }

    #[test]
    fn a_bound_that_is_set_counts_what_was_used_today() {
        let mut quota = DayQuota::new(0);
        assert!(quota.has(1 << 40, 0));
        quota.take(7);
        quota.per_day = Some(10);
        assert!(quota.has(3, 0) && !quota.has(4, 0));
    }
}
