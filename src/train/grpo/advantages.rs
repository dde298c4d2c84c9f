//! What a completion is worth beside the others of its prompt (GRPO, arXiv:2402.03300, section 4.1).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What the difference of a reward from its group's mean is divided by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScaleRewards {
    /// The group's standard deviation.
    #[default]
    Group,
    /// That of all groups together.
    Batch,
    None,
}

/// Keeps a deviation of 0 from dividing; TRL's.
const DEVIATION_MIN: f64 = 1e-4;
/// Rewards that differ by less are equal.
const EQUAL: f64 = 1e-8;

/// Of completions that lie group after group.
#[derive(Debug, Clone, PartialEq)]
pub struct Advantages {
    pub values: Vec<f64>,
    /// The share of groups whose rewards are all equal, which teach nothing.
    pub groups_without_spread: f64,
}

/// `rewards` has groups of `group` one after the other; NaN for what could not be scored, whose advantage is 0.
pub fn advantages(rewards: &[f64], group: usize, scale: ScaleRewards) -> Advantages {
    let groups = rewards.chunks(group.max(1));
    let of_batch = deviation(rewards);
    let (mut values, mut equal) = (Vec::with_capacity(rewards.len()), 0usize);
    for rewards in groups.clone() {
        let (mean, of_group) = (mean(rewards), deviation(rewards));
        let of_scale = if scale == ScaleRewards::Batch { of_batch } else { of_group };
        equal += usize::from(of_scale <= EQUAL);
        let divisor = if scale == ScaleRewards::None { 1.0 } else { of_scale + DEVIATION_MIN };
        values.extend(rewards.iter().map(|reward| (reward - mean) / divisor));
    }
    values.iter_mut().filter(|value| value.is_nan()).for_each(|value| *value = 0.0);
    Advantages { values, groups_without_spread: equal as f64 / groups.len().max(1) as f64 }
}

/// Of the rewards that are numbers; 0 of none.
pub fn mean(rewards: &[f64]) -> f64 {
    let (sum, count) = sums(rewards, |reward| reward);
    if count == 0.0 { 0.0 } else { sum / count }
}

/// The sample's standard deviation (of n - 1) of the rewards that are numbers; 0 of fewer than two.
pub fn deviation(rewards: &[f64]) -> f64 {
    let mean = mean(rewards);
    let (sum, count) = sums(rewards, |reward| (reward - mean).powi(2));
    if count < 2.0 { 0.0 } else { (sum / (count - 1.0)).sqrt() }
}

fn sums(rewards: &[f64], term: impl Fn(f64) -> f64) -> (f64, f64) {
    let numbers = rewards.iter().filter(|reward| !reward.is_nan());
    numbers.fold((0.0, 0.0), |(sum, count), &reward| (sum + term(reward), count + 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advantages_are_differences_from_the_groups_mean() {
        let rewards = [1.0, 0.0, 0.0, 1.0, 0.5, 0.5, 0.5, 0.5];
        let found = advantages(&rewards, 4, ScaleRewards::None);
        assert_eq!(found.values, [0.5, -0.5, -0.5, 0.5, 0.0, 0.0, 0.0, 0.0]);
        assert!((found.groups_without_spread - 0.5).abs() < 1e-12);
        // A deviation of sqrt(1 / 3).
        let found = advantages(&rewards, 4, ScaleRewards::Group);
        assert!((found.values[0] - 0.5 / ((1f64 / 3.0).sqrt() + 1e-4)).abs() < 1e-12);
        assert_eq!(found.values[4..], [0.0; 4]);
        let found = advantages(&rewards, 4, ScaleRewards::Batch);
        // The squares of the differences from 0.5 add up to 1, of eight rewards.
        assert!((found.values[1] + 0.5 / ((1f64 / 7.0).sqrt() + 1e-4)).abs() < 1e-12);
        assert!(found.groups_without_spread.abs() < 1e-12);
    }

    #[test]
    fn what_has_no_score_changes_nothing() {
        let found = advantages(&[1.0, f64::NAN, 0.0], 3, ScaleRewards::None);
        assert_eq!(found.values, [0.5, 0.0, -0.5]);
        assert_eq!(advantages(&[f64::NAN; 2], 2, ScaleRewards::Group).values, [0.0; 2]);
        assert_eq!(advantages(&[3.0], 1, ScaleRewards::Group).values, [0.0]);
        assert!(advantages(&[], 4, ScaleRewards::Group).values.is_empty());
    }
}
