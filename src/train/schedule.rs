//! The learning rate of each update: a linear warm-up, then constant, or falling to 0 along a line or half a cosine, as in
//! transformers' `get_scheduler`.

/// What follows the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decline {
    Constant,
    Linear,
    Cosine,
}

#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Schedule {
    pub peak: f64,
    /// Updates until the peak. The first of them has a rate of 0.
    pub warmup_steps: u64,
    /// Updates in all.
    pub steps: u64,
    pub decline: Decline,
}

impl Schedule {
    /// The rate of an update, the first of which is 0.
    pub fn rate(&self, update: u64) -> f64 {
        if update < self.warmup_steps {
            return self.peak * update as f64 / self.warmup_steps as f64;
        }
        let (past, whole) = (update - self.warmup_steps, self.steps.saturating_sub(self.warmup_steps).max(1));
        let left = 1.0 - past as f64 / whole as f64;
        let factor = match self.decline {
            Decline::Constant => 1.0,
            Decline::Linear => left.max(0.0),
            Decline::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * (1.0 - left.max(0.0))).cos()),
        };
        self.peak * factor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_transformers() {
        let rates = |decline| {
            let schedule = Schedule { peak: 0.01, warmup_steps: 3, steps: 20, decline };
            [0, 1, 3, 4, 19, 20, 25].map(|step| schedule.rate(step))
        };
        // get_scheduler(name, optimizer, 3, 20) of transformers 5.19.
        let expected = [
            (Decline::Constant, [0.0, 0.01 / 3.0, 0.01, 0.01, 0.01, 0.01, 0.01]),
            (Decline::Linear, [0.0, 0.01 / 3.0, 0.01, 0.01 * 16.0 / 17.0, 0.01 / 17.0, 0.0, 0.0]),
            (
                Decline::Cosine,
                [0.0, 0.01 / 3.0, 0.01, 0.009_914_865_498_419_51, 8.513_450_158_048_911e-5, 0.0, 0.0],
            ),
        ];
        for (decline, expected) in expected {
            for (found, expected) in rates(decline).into_iter().zip(expected) {
                assert!((found - expected).abs() < 1e-12, "{decline:?}: {found} {expected}");
            }
        }
    }

    #[test]
    fn without_warm_up_the_first_update_has_the_peak() {
        let schedule = Schedule { peak: 2.0, warmup_steps: 0, steps: 0, decline: Decline::Linear };
        assert_eq!(schedule.rate(0), 2.0);
    }
}
