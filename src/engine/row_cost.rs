//! What one row more costs a step of few rows, as a share of the step: measured as the engine goes, since it is next to
//! nothing where a step waits for the memory and a quarter where it waits for arithmetic (docs/benchmarks.md, "Kernels
//! alone").

/// Before anything was measured.
const GUESS: f32 = 0.1;
/// How much the latest step counts in the averages.
const WEIGHT: f32 = 0.1;
/// The least that is believed, so that a lucky measurement does not promise rows for nothing.
const LEAST: f32 = 0.01;
/// What cannot be: a row that costs more than a step of its own, or that saves half of one. Something else ran meanwhile.
const BELIEVABLE: std::ops::Range<f32> = -0.5..1.5;

#[derive(Debug)]
pub struct RowCost {
    /// Seconds of a step without drafts, by its number of sequences; 0 until one was seen.
    plain: Vec<f32>,
    share: f32,
    measures: bool,
}

impl RowCost {
    /// For steps of up to `sequences_max` sequences; a cost that is given is not measured.
    pub fn new(sequences_max: usize, given: Option<f32>) -> Self {
        Self { plain: vec![0.0; sequences_max + 1], share: given.unwrap_or(GUESS), measures: given.is_none() }
    }

    /// Of a step of one row a sequence.
    pub fn share(&self) -> f32 {
        self.share
    }

    /// A step of `sequences` that decode and `drafts` rows more took so long.
    pub fn learn(&mut self, sequences: usize, drafts: usize, seconds: f32) {
        let Some(plain) = self.plain.get_mut(sequences).filter(|_| self.measures) else { return };
        if drafts == 0 {
            // The first step is cold, and a short context may follow a long one.
            let anew = *plain == 0.0 || seconds < *plain / 2.0;
            *plain = if anew { seconds } else { *plain + WEIGHT * (seconds - *plain) };
        } else if *plain > 0.0 {
            let share = (seconds / *plain - 1.0) / drafts as f32;
            if BELIEVABLE.contains(&share) {
                self.share += WEIGHT * (share.max(LEAST) - self.share);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rows_take_is_learned() {
        for (per_row, expected) in [(0.0, 0.01), (0.003, 0.3), (0.009, 0.9), (0.5, GUESS)] {
            let mut cost = RowCost::new(4, None);
            cost.learn(2, 0, 5.0);
            cost.learn(3, 3, 9.0);
            assert!((cost.share() - GUESS).abs() < 0.02, "nothing to compare with");
            for step in 0..100 {
                cost.learn(2, 0, 0.01);
                cost.learn(2, 1 + step % 6, 0.01 + per_row * (1 + step % 6) as f32);
                cost.learn(5, 1, 9.0);
            }
            assert!((cost.share() - expected).abs() < 0.01, "{per_row}: {}", cost.share());
        }
        let mut given = RowCost::new(4, Some(0.2));
        given.learn(1, 0, 1.0);
        given.learn(1, 1, 2.0);
        assert!((given.share() - 0.2).abs() < 1e-6);
    }
}
