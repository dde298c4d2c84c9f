//! A quota that is whole again at midnight, UTC.

const DAY_MS: u64 = 86_400_000;

#[derive(Debug, Clone)]
pub struct DayQuota {
    pub per_day: u64,
    /// Since 1970.
    day: u64,
    used: u64,
}

impl DayQuota {
    pub fn new(per_day: u64, now_ms: u64) -> Self {
        Self { per_day, day: now_ms / DAY_MS, used: 0 }
    }

    pub fn has(&mut self, units: u64, now_ms: u64) -> bool {
        self.turn(now_ms);
        units <= self.per_day.saturating_sub(self.used)
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
        // A clock that is put back over midnight makes no day new.
        if day > self.day {
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
        let mut quota = DayQuota::new(100, noon);
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
}
