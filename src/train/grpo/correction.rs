//! Importance sampling between the sampler and the trainer: what the same tokens' probabilities differ by, from one way of
//! computing to the other or from one version of the weights to the next, truncated or masked as in TRL's
//! `vllm_importance_sampling_mode`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What the ratio of old to sampled probability is of, and what happens beyond its bounds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CorrectionMode {
    TokenTruncate,
    /// Tokens out of bounds do not learn.
    TokenMask,
    SequenceTruncate,
    #[default]
    SequenceMask,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Correction {
    pub mode: CorrectionMode,
    pub min: Option<f64>,
    pub max: Option<f64>,
}

impl Default for Correction {
    fn default() -> Self {
        Self { mode: CorrectionMode::SequenceMask, min: None, max: Some(3.0) }
    }
}

impl Correction {
    /// A factor a token, or one for the whole completion. `old` is training's log-probability of each token under the weights
    /// that sampled it, `sampled` the sampler's; NaN corrects nothing.
    pub fn factors(&self, old: &[f32], sampled: &[f32]) -> Vec<f64> {
        let differences = old.iter().zip(sampled).map(|(&old, &sampled)| {
            let difference = f64::from(old) - f64::from(sampled);
            if difference.is_nan() { 0.0 } else { difference }
        });
        let by_sequence =
            matches!(self.mode, CorrectionMode::SequenceMask | CorrectionMode::SequenceTruncate);
        let mut ratios: Vec<f64> = if by_sequence {
            vec![differences.sum::<f64>().exp()]
        } else {
            differences.map(f64::exp).collect()
        };
        let (min, max) = (self.min.unwrap_or(0.0), self.max.unwrap_or(f64::INFINITY));
        for ratio in &mut ratios {
            let is_inside = (min..=max).contains(ratio);
            *ratio = match self.mode {
                _ if is_inside => *ratio,
                CorrectionMode::TokenTruncate | CorrectionMode::SequenceTruncate => {
                    ratio.clamp(min, max.max(min))
                }
                CorrectionMode::TokenMask | CorrectionMode::SequenceMask => 0.0,
            };
        }
        ratios
    }
}

/// How far the sampler's log-probabilities are from training's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Gap {
    pub sum: f64,
    pub tokens: u64,
    pub max: f64,
}

impl Gap {
    pub fn add(&mut self, old: &[f32], sampled: &[f32]) {
        for (&old, &sampled) in old.iter().zip(sampled) {
            let difference = (f64::from(old) - f64::from(sampled)).abs();
            if !difference.is_nan() {
                self.sum += difference;
                self.tokens += 1;
                self.max = self.max.max(difference);
            }
        }
    }

    pub fn mean(&self) -> f64 {
        self.sum / self.tokens.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factors(mode: CorrectionMode) -> Vec<f64> {
        let correction = Correction { mode, min: Some(0.5), max: Some(3.0) };
        // Ratios of e, e^2, 1 and e^-2; e^1 of all.
        let found = correction.factors(&[-1.0, -1.0, -1.0, -3.0], &[-2.0, -3.0, f32::NAN, -1.0]);
        found.into_iter().map(|x| (x * 1e9).round() / 1e9).collect()
    }

    #[test]
    fn ratios_are_bounded_or_masked() {
        let e = (std::f64::consts::E * 1e9).round() / 1e9;
        assert_eq!(factors(CorrectionMode::TokenTruncate), [e, 3.0, 1.0, 0.5]);
        assert_eq!(factors(CorrectionMode::TokenMask), [e, 0.0, 1.0, 0.0]);
        assert_eq!(factors(CorrectionMode::SequenceTruncate), [e]);
        assert_eq!(factors(CorrectionMode::SequenceMask), [e]);
        let far = Correction::default().factors(&[0.0, 0.0], &[-1.0, -1.0]);
        assert_eq!(far, [0.0], "e^2 is above 3");
    }

    #[test]
    fn the_gap_is_of_what_is_known() {
        let mut gap = Gap::default();
        gap.add(&[-1.0, -2.0, -3.0], &[-1.5, f32::NAN, -3.25]);
        assert_eq!((gap.tokens, gap.max, gap.mean()), (2, 0.5, 0.375));
    }
}
