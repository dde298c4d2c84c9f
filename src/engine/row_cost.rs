//! What one row more costs a step of few rows, as a share of the step: measured as the engine goes, since it is next to
//! nothing where a step waits for the memory and a quarter where it waits for arithmetic (docs/benchmarks.md, "Kernels
//! alone").

/// Before anything was measured.
const GUESS: f32 = 0.1;
/// How much the latest step counts in the averages.
const WEIGHT: f32 = 0.1;
/// No row costs more than a step of its own; the floor keeps a lucky measurement from promising rows for nothing.
const COST: std::ops::RangeInclusive<f32> = 0.01..=1.0;

#[derive(Debug)]
pub struct RowCost {
    /// Seconds of a step without drafts, by its number of sequences.
    plain: Vec<f32>,
    share: f32,
}

impl RowCost {
    /// For steps of up to `sequences_max` sequences.
    pub fn new(sequences_max: usize) -> Self {
        Self { plain: vec![0.0; sequences_max + 1], share: GUESS }
    }

    /// Of a step of one row a sequence.
    pub fn share(&self) -> f32 {
        self.share
    }

    /// A step of `sequences` that decode and `drafts` rows more took so long.
    pub fn learn(&mut self, sequences: usize, drafts: usize, seconds: f32) {
        let Some(plain) = self.plain.get_mut(sequences) else { return };
        if drafts == 0 {
            *plain += if *plain == 0.0 { seconds } else { WEIGHT * (seconds - *plain) };
        } else if *plain > 0.0 {
            let share = (seconds / *plain - 1.0) / drafts as f32;
            self.share += WEIGHT * (share.clamp(*COST.start(), *COST.end()) - self.share);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rows_take_is_learned() {
        for (per_row, expected) in [(0.0, 0.01), (0.003, 0.3), (0.5, 1.0)] {
            let mut cost = RowCost::new(4);
            cost.learn(2, 3, 9.0);
            assert!((cost.share() - GUESS).abs() < 1e-6, "nothing to compare with");
            for step in 0..100 {
                cost.learn(2, 0, 0.01);
                cost.learn(2, 1 + step % 6, 0.01 + per_row * (1 + step % 6) as f32);
                cost.learn(5, 1, 9.0);
            }
            assert!((cost.share() - expected).abs() < 0.01, "{per_row}: {}", cost.share());
        }
    }
}
