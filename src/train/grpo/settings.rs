//! What decides how a policy is sampled, rewarded and trained.

use serde::{Deserialize, Serialize};

use super::super::TrainError;
use super::advantages::ScaleRewards;
use super::correction::Correction;
use super::loss::PolicySettings;

/// Of everything that is counted: products of two stay numbers.
const COUNT_MAX: usize = 1 << 20;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GrpoSettings {
    pub policy: PolicySettings,
    /// Completions a prompt.
    pub group: usize,
    /// Prompts of an update.
    pub prompts: usize,
    /// Updates that what is sampled together is divided into.
    pub steps_per_generation: usize,
    /// Times that what is sampled together is gone through.
    pub iterations: usize,
    pub scale_rewards: ScaleRewards,
    /// `None`: the sampler is taken to be the trainer.
    pub correction: Option<Correction>,
    /// Completions that were cut off teach nothing.
    pub mask_truncated: bool,
    /// Rounds of sampling in place of groups whose rewards are all equal; 0 keeps such groups (dynamic sampling,
    /// arXiv:2503.14476, section 3.2).
    pub resample_max: usize,
    /// Of sampling; logits are divided by it in training too.
    pub temperature: f64,
    /// Tokens of a completion.
    pub completion_max: usize,
    /// Rows that go through the model together.
    pub rows_max: usize,
    pub gap: GapBound,
    /// The next generation is sampled, with the weights of before, while an update is made.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub asynchronous: bool,
}

/// How far the sampler's log-probabilities may be from training's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GapBound {
    pub max: f64,
    pub mean: f64,
    /// Steps in a row beyond it that are only warned of.
    pub warnings: u32,
}

impl GapBound {
    /// The two compute the same, in f32, in another order of sums: of 12,000 tokens of a model of 135M weights the largest difference was
    /// 8.6e-5 and the mean 5e-6. The largest grows with the number of tokens, other weights would move the mean.
    pub const F32: Self = Self { max: 1e-3, mean: 1e-4, warnings: 0 };
    pub const BF16: Self = Self { max: 0.1, mean: 0.02, warnings: 3 };
}

impl GrpoSettings {
    /// Prompts that are sampled together.
    pub fn together(&self) -> usize {
        self.prompts.saturating_mul(self.steps_per_generation)
    }

    /// Updates made of what is sampled together.
    pub fn updates(&self) -> u64 {
        (self.steps_per_generation * self.iterations) as u64
    }

    /// # Errors
    /// `Option`, with the setting's name.
    pub fn check(&self) -> Result<(), TrainError> {
        let fail = |key, problem: String| Err(TrainError::option(key, problem));
        let PolicySettings { epsilon_low, epsilon_high, delta, beta, top_entropy, .. } = self.policy;
        let counts = [
            ("num_generations", self.group, 2),
            ("batch_size", self.prompts, 1),
            ("steps_per_generation", self.steps_per_generation, 1),
            ("num_iterations", self.iterations, 1),
            ("max_completion_length", self.completion_max, 1),
        ];
        if let Some((key, value, least)) = counts.into_iter().find(|(_, value, least)| value < least) {
            return fail(key, format!("is {value}, at least {least} is needed"));
        }
        if let Some((key, value, _)) = counts.into_iter().find(|&(_, value, _)| value > COUNT_MAX) {
            return fail(key, format!("is {value}, at most {COUNT_MAX} is possible"));
        }
        if self.rows_max == 0 {
            return fail("micro_batch_size", "is 0, at least 1 is needed".to_owned());
        }
        let is_amount = |value: f64| value.is_finite() && value >= 0.0;
        for (key, bound) in [("logp_difference_max", self.gap.max), ("logp_difference_mean", self.gap.mean)] {
            if bound.is_nan() || bound <= 0.0 {
                return fail(key, format!("is {bound}, it must be above 0"));
            }
        }
        if let Some(Correction { min, max, .. }) = self.correction {
            let (min, max) = (min.unwrap_or(0.0), max.unwrap_or(f64::INFINITY));
            if !is_amount(min) || max.is_nan() || max <= min {
                let problem =
                    format!("is {max}, it must be above `importance_sampling_min` {min}, which is from 0 on");
                return fail("importance_sampling_max", problem);
            }
        }
        if !is_amount(epsilon_low) || epsilon_low >= 1.0 {
            return fail("epsilon", format!("is {epsilon_low}, it must lie between 0 and 1"));
        }
        if !is_amount(epsilon_high) {
            return fail("epsilon_high", format!("is {epsilon_high}, it must be a number from 0 on"));
        }
        if delta.is_some_and(|delta| delta.is_nan() || delta <= 1.0 + epsilon_low) {
            return fail("delta", format!("must be above 1 + `epsilon`, {}", 1.0 + epsilon_low));
        }
        if !is_amount(beta) {
            return fail("beta", format!("is {beta}, it must be a number from 0 on"));
        }
        if !(top_entropy > 0.0 && top_entropy <= 1.0) {
            return fail(
                "top_entropy_quantile",
                format!("is {top_entropy}, it must lie above 0 and up to 1"),
            );
        }
        if self.policy.off_policy_max.is_some_and(|max| !is_amount(max)) {
            return fail("off_policy_mask_threshold", "must be a number from 0 on".to_owned());
        }
        if !(self.temperature.is_finite() && self.temperature >= 0.01) {
            return fail("temperature", format!("is {}, rollouts need at least 0.01", self.temperature));
        }
        Ok(())
    }
}
