//! What is told of a step, under TRL's names, rewards first.

use super::advantages::{deviation, mean};
use super::correction::Gap;
use super::generation::Generation;
use super::loss::{LossType, PolicySettings};
use super::reward::Reward;
use super::rollout::Rollout;
use super::trainer::GrpoTrainer;
use super::update::{Corrections, Found};

/// A metric's name and value.
pub type Metric = (String, f64);

impl GrpoTrainer<'_> {
    /// Of a generation, told with each of its updates.
    pub(super) fn generation_metrics(&self, generation: &Generation) -> Vec<Metric> {
        let mut metrics = generation_metrics(generation, self.reward);
        if self.grpo.resample_max > 0 {
            metrics.push(("groups_resampled".to_owned(), generation.dropped as f64));
        }
        metrics
    }
}

/// Of what was sampled: rewards, their parts, lengths.
pub(super) fn generation_metrics(generation: &Generation, reward: &dyn Reward) -> Vec<Metric> {
    let totals: Vec<f64> = generation.rewarded.iter().map(|rewarded| rewarded.total).collect();
    let mut metrics = vec![
        ("reward".to_owned(), mean(&totals)),
        ("reward_std".to_owned(), deviation(&totals)),
        ("frac_reward_zero_std".to_owned(), generation.groups_without_spread),
    ];
    for (index, name) in reward.names().iter().enumerate() {
        let parts = generation.rewarded.iter();
        let parts: Vec<f64> =
            parts.map(|rewarded| rewarded.parts.get(index).copied().unwrap_or(f64::NAN)).collect();
        metrics.push((format!("rewards/{name}/mean"), mean(&parts)));
        metrics.push((format!("rewards/{name}/std"), deviation(&parts)));
    }
    let of = |wanted: &dyn Fn(&Rollout) -> bool| -> Vec<f64> {
        let rollouts = generation.rollouts.iter().filter(|rollout| wanted(rollout));
        rollouts.map(|rollout| rollout.tokens.len() as f64).collect()
    };
    let (all, ended) = (of(&|_| true), of(&|rollout| !rollout.is_truncated));
    for (kind, lengths) in [("length", &all), ("terminated_length", &ended)] {
        metrics.push((format!("completions/mean_{kind}"), mean(lengths)));
        metrics.push((format!("completions/min_{kind}"), least(lengths)));
        metrics.push((format!("completions/max_{kind}"), lengths.iter().copied().fold(0.0, f64::max)));
    }
    let truncated = (all.len() - ended.len()) as f64 / all.len().max(1) as f64;
    metrics.push(("completions/clipped_ratio".to_owned(), truncated));
    metrics.push(("sampling/kept_mass_mean".to_owned(), kept_mass(generation)));
    metrics
}

/// The mean probability that truncation kept, over tokens.
fn kept_mass(generation: &Generation) -> f64 {
    let kept = generation.rollouts.iter().flat_map(|rollout| &rollout.kept);
    let kept: Vec<f64> = kept.map(|&kept| f64::from(kept)).collect();
    mean(&kept)
}

fn least(values: &[f64]) -> f64 {
    values.iter().copied().reduce(f64::min).unwrap_or(0.0)
}

impl Found {
    /// Of an update; what clips are counted of, and whether there is a divergence, the settings decide.
    pub(super) fn metrics(&self, policy: &PolicySettings) -> Vec<Metric> {
        let Self { counts, gap: Gap { max, .. }, corrections, .. } = self;
        let share = |sum: f64, count: f64| if count == 0.0 { 0.0 } else { sum / count };
        let mut metrics = vec![
            ("entropy", share(counts.entropy, counts.tokens)),
            ("sampling/sampling_logp_difference/mean", self.gap.mean()),
            ("sampling/sampling_logp_difference/max", *max),
        ];
        let (low, high) =
            (share(counts.clipped_low, counts.ratios), share(counts.clipped_high, counts.ratios));
        match policy.loss {
            LossType::Cispo => metrics.push(("cispo_clip_ratio", high)),
            LossType::Sapo | LossType::Vespo => {}
            _ => metrics.extend([
                ("clip_ratio/low_mean", low),
                ("clip_ratio/low_min", counts.clipped_low_min.unwrap_or(0.0)),
                ("clip_ratio/high_mean", high),
                ("clip_ratio/high_max", counts.clipped_high_max.unwrap_or(0.0)),
                ("clip_ratio/region_mean", low + high),
            ]),
        }
        if policy.beta != 0.0 {
            metrics.push(("kl", share(counts.kl, counts.tokens)));
        }
        let Corrections { min, sum, max, count } = *corrections;
        if count > 0 {
            metrics.push(("sampling/importance_sampling_ratio/min", min));
            metrics.push(("sampling/importance_sampling_ratio/mean", sum / count as f64));
            metrics.push(("sampling/importance_sampling_ratio/max", max));
        }
        metrics.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}
