//! The policy's loss over the tokens of completions, and its gradient with respect to their log-probabilities: a function of
//! numbers alone.
//!
//! With `r` the ratio of new to old probabilities and `A` the completion's advantage, a token's loss is
//! `-min(r A, clip(r, 1 - epsilon, 1 + epsilon_high) A) + beta kl` (GRPO, arXiv:2402.03300). What the tokens' losses are
//! divided by is the difference between grpo, bnpo, dr_grpo (arXiv:2503.20783) and dapo (arXiv:2503.14476); gspo
//! (arXiv:2507.18071) has one ratio a sequence, cispo (arXiv:2506.13585) weighs log-probabilities with a clipped ratio, sapo
//! (arXiv:2511.20347) clips softly, luspo (arXiv:2602.05261) does not divide by lengths, vespo (arXiv:2602.10693) weighs
//! log-probabilities with a gamma function of the sequence's ratio. Options have TRL's names and meanings.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What the losses of tokens are added up to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LossType {
    /// The mean over completions of the mean over their tokens.
    Grpo,
    /// The mean over the update's tokens.
    Bnpo,
    /// The sum over tokens, divided by completions times the longest completion allowed.
    DrGrpo,
    /// The mean over the tokens of all that was generated together.
    #[default]
    Dapo,
    /// As dapo, of log-probabilities weighed with the ratio, which is clipped at `epsilon_high`.
    Cispo,
    /// As grpo, of a sigmoid of the ratio in place of a clip.
    Sapo,
    /// The mean over completions of the sum over their tokens.
    Luspo,
    /// As dapo, of log-probabilities weighed with a smooth function of the completion's ratio.
    Vespo,
}

/// What a ratio is of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RatioLevel {
    #[default]
    Token,
    /// The geometric mean of the tokens' ratios (GSPO).
    Sequence,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PolicySettings {
    pub loss: LossType,
    pub level: RatioLevel,
    pub epsilon_low: f64,
    pub epsilon_high: f64,
    /// A bound of the ratio where the advantage is negative, too (arXiv:2505.07291).
    pub delta: Option<f64>,
    /// The weight of the divergence from the model that training began with.
    pub beta: f64,
    /// Weighs the divergence with the ratio.
    pub corrected_kl: bool,
    /// The share of tokens, those of highest entropy, that learn (arXiv:2506.01939).
    pub top_entropy: f64,
    /// A completion below its group's mean, whose tokens have become less likely since they were sampled by more than this in the
    /// mean of their logarithms, teaches nothing (arXiv:2512.02556, section 3.1).
    #[serde(default)]
    pub off_policy_max: Option<f64>,
    /// Of sapo: for advantages above 0, and for others.
    pub sapo_temperatures: [f64; 2],
    /// Of vespo: k and lambda of advantages from 0 on, and of others.
    pub vespo: [[f64; 2]; 2],
}

impl Default for PolicySettings {
    fn default() -> Self {
        Self {
            loss: LossType::Dapo,
            level: RatioLevel::Token,
            epsilon_low: 0.2,
            epsilon_high: 0.2,
            delta: None,
            beta: 0.0,
            corrected_kl: true,
            top_entropy: 1.0,
            off_policy_max: None,
            sapo_temperatures: [1.0, 1.05],
            vespo: [[2.0, 3.0], [3.0, 2.0]],
        }
    }
}

/// A completion's numbers, one of each a token.
#[derive(Debug, Clone, Copy, Default)]
pub struct Completion<'a> {
    pub advantage: f64,
    /// Of the policy that learns.
    pub logprobs: &'a [f32],
    pub entropies: &'a [f32],
    /// Of the policy that sampled, computed as training computes them; `None`: it is the policy that learns.
    pub old: Option<&'a [f32]>,
    /// The sampler's own; NaN tells nothing. `None`: they are `old`.
    pub sampled: Option<&'a [f32]>,
    /// Of the model that training began with, where `beta` is not 0.
    pub reference: Option<&'a [f32]>,
    /// What corrects for how the sampler's probabilities differ from `old`: a factor a token, or one for all.
    pub corrections: Option<&'a [f64]>,
    /// It teaches nothing, and no token of it counts.
    pub is_masked: bool,
}

/// What the losses are divided by: counts of an update, of which the completions may be a part.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scope {
    /// Completions of the update, masked ones among them.
    pub completions: usize,
    /// Their tokens that count.
    pub tokens: usize,
    /// Tokens that count of all that was generated together, divided by the updates that are made of it.
    pub generated: f64,
    pub completion_max: usize,
}

/// The part of the loss that some completions of an update have.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PolicyLoss {
    pub loss: f64,
    /// With respect to each log-probability, a list a completion.
    pub gradients: Vec<Vec<f64>>,
    pub counts: PolicyCounts,
}

/// Sums over tokens that count, or over completions where a ratio is of a sequence; what TRL's metrics are means of.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PolicyCounts {
    pub tokens: f64,
    /// What clip ratios are shares of.
    pub ratios: f64,
    pub entropy: f64,
    pub kl: f64,
    pub clipped_low: f64,
    pub clipped_high: f64,
    /// The least share of a completion's, and the greatest.
    pub clipped_low_min: Option<f64>,
    pub clipped_high_max: Option<f64>,
}

impl PolicyCounts {
    pub fn add(&mut self, other: &Self) {
        self.tokens += other.tokens;
        self.ratios += other.ratios;
        self.entropy += other.entropy;
        self.kl += other.kl;
        self.clipped_low += other.clipped_low;
        self.clipped_high += other.clipped_high;
        self.bound(other.clipped_low_min, other.clipped_high_max);
    }

    fn bound(&mut self, low: Option<f64>, high: Option<f64>) {
        self.clipped_low_min = self.clipped_low_min.into_iter().chain(low).reduce(f64::min);
        self.clipped_high_max = self.clipped_high_max.into_iter().chain(high).reduce(f64::max);
    }
}

/// The loss of some completions of an update.
pub fn policy_loss(settings: &PolicySettings, completions: &[Completion<'_>], scope: &Scope) -> PolicyLoss {
    let threshold = entropy_threshold(settings.top_entropy, completions);
    let mut found = PolicyLoss::default();
    for completion in completions {
        let mut gradients = vec![0.0; completion.logprobs.len()];
        if !completion.is_masked && !gradients.is_empty() {
            let weight = weight(settings.loss, completion.logprobs.len(), scope);
            let is_off_policy = is_off_policy(settings.off_policy_max, completion);
            let terms = Terms { settings, completion, weight, threshold, is_off_policy };
            found.loss += terms.add(&mut gradients, &mut found.counts);
        }
        found.gradients.push(gradients);
    }
    found
}

/// What a token's loss counts.
fn weight(loss: LossType, tokens: usize, scope: &Scope) -> f64 {
    let completions = scope.completions.max(1) as f64;
    match loss {
        LossType::Grpo | LossType::Sapo => 1.0 / (completions * tokens as f64),
        LossType::Bnpo => 1.0 / scope.tokens.max(1) as f64,
        LossType::DrGrpo => 1.0 / (completions * scope.completion_max.max(1) as f64),
        LossType::Dapo | LossType::Cispo | LossType::Vespo => 1.0 / scope.generated.max(f64::MIN_POSITIVE),
        LossType::Luspo => 1.0 / completions,
    }
}

/// The entropy from which on tokens learn: the quantile, with linear interpolation, of all tokens that count.
fn entropy_threshold(share: f64, completions: &[Completion<'_>]) -> Option<f64> {
    if share >= 1.0 {
        return None;
    }
    let counted = completions.iter().filter(|completion| !completion.is_masked);
    let mut entropies: Vec<f32> = counted.flat_map(|completion| completion.entropies).copied().collect();
    entropies.sort_by(f32::total_cmp);
    let last = entropies.len().checked_sub(1)?;
    let at = (1.0 - share).max(0.0) * last as f64;
    let [below, above] = [at.floor(), at.ceil()].map(|at| f64::from(entropies[at as usize]));
    Some(below + (above - below) * at.fract())
}

/// Whether a completion that is to become less likely has become so by more than that already.
fn is_off_policy(max: Option<f64>, completion: &Completion<'_>) -> bool {
    let Some(max) = max.filter(|_| completion.advantage < 0.0) else { return false };
    let Some(sampled) = completion.sampled.or(completion.old) else { return false };
    let differences = sampled.iter().zip(completion.logprobs);
    let differences = differences.map(|(&sampled, &logprob)| f64::from(sampled) - f64::from(logprob));
    let sum: f64 = differences.filter(|difference| !difference.is_nan()).sum();
    sum / sampled.len().max(1) as f64 > max
}

/// One completion that counts.
struct Terms<'a> {
    settings: &'a PolicySettings,
    completion: &'a Completion<'a>,
    weight: f64,
    threshold: Option<f64>,
    is_off_policy: bool,
}

/// A value and its derivative with respect to the log of the ratio that it is of.
#[derive(Clone, Copy)]
struct Slope {
    value: f64,
    slope: f64,
}

impl Terms<'_> {
    /// The completion's share of the loss.
    fn add(&self, gradients: &mut [f64], counts: &mut PolicyCounts) -> f64 {
        let Self { completion, settings, weight, .. } = self;
        let tokens = completion.logprobs.len();
        let log_ratios: Vec<f64> = (0..tokens).map(|at| self.logprob(at) - self.old(at)).collect();
        let of_sequence = log_ratios.iter().sum::<f64>() / tokens as f64;
        let by_sequence = settings.level == RatioLevel::Sequence;
        let gamma = if settings.loss == LossType::Vespo { self.gamma(&log_ratios) } else { 0.0 };
        let (mut loss, mut through_sequence, before) = (0.0, 0.0, *counts);
        for (at, gradient) in gradients.iter_mut().enumerate() {
            let log_ratio = if by_sequence { of_sequence } else { log_ratios[at] };
            let (policy, direct) = self.policy(log_ratio, at, gamma);
            let factor = self.factor(at);
            // What the ratio has of the slope goes to all tokens of a sequence.
            let mut of_ratio = policy.slope * factor;
            let mut value = policy.value * factor;
            *gradient += direct * factor * weight;
            if settings.beta != 0.0 {
                let (kl, slope) = self.divergence(at);
                let ratio = if settings.corrected_kl { log_ratio.exp() } else { 1.0 };
                value += settings.beta * kl * ratio;
                *gradient += settings.beta * slope * ratio * weight;
                of_ratio += if settings.corrected_kl { settings.beta * kl * ratio } else { 0.0 };
                counts.kl += kl * ratio;
            }
            loss += value * weight;
            if by_sequence {
                through_sequence += of_ratio * weight;
            } else {
                *gradient += of_ratio * weight;
            }
            counts.entropy += completion.entropies.get(at).map_or(0.0, |&entropy| f64::from(entropy));
            if !by_sequence {
                self.count_clips(log_ratio, counts);
            }
        }
        if by_sequence {
            for gradient in gradients {
                *gradient += through_sequence / tokens as f64;
            }
            self.count_clips(of_sequence, counts);
        }
        counts.tokens += tokens as f64;
        let ratios = (counts.ratios - before.ratios).max(1.0);
        let low = (counts.clipped_low - before.clipped_low) / ratios;
        let high = (counts.clipped_high - before.clipped_high) / ratios;
        counts.bound(Some(low), Some(high));
        loss
    }

    fn logprob(&self, at: usize) -> f64 {
        f64::from(self.completion.logprobs[at])
    }

    fn old(&self, at: usize) -> f64 {
        self.completion.old.map_or_else(|| self.logprob(at), |old| f64::from(old[at]))
    }

    /// What a token's policy loss is multiplied by.
    fn factor(&self, at: usize) -> f64 {
        if self.is_off_policy {
            return 0.0;
        }
        let learns = |threshold: f64| f64::from(self.completion.entropies[at]) >= threshold;
        if !self.threshold.is_none_or(learns) {
            return 0.0;
        }
        match self.completion.corrections {
            // It has them in its own weight.
            _ if self.settings.loss == LossType::Vespo => 1.0,
            None => 1.0,
            Some([all]) => *all,
            Some(each) => each[at],
        }
    }

    /// A token's policy loss with its slope through the ratio, and its slope through the log-probability itself.
    fn policy(&self, log_ratio: f64, at: usize, gamma: f64) -> (Slope, f64) {
        let PolicySettings { loss, epsilon_low, epsilon_high, delta, sapo_temperatures, .. } = *self.settings;
        let (advantage, ratio) = (self.completion.advantage, log_ratio.exp());
        match loss {
            LossType::Cispo => {
                let clipped = ratio.min(epsilon_high);
                let value = -clipped * advantage * self.logprob(at);
                (Slope { value, slope: 0.0 }, -clipped * advantage)
            }
            LossType::Vespo => {
                (Slope { value: -gamma * advantage * self.logprob(at), slope: 0.0 }, -gamma * advantage)
            }
            LossType::Sapo => {
                let temperature = sapo_temperatures[usize::from(advantage <= 0.0)];
                let gate = 1.0 / (1.0 + (-temperature * (ratio - 1.0)).exp());
                let value = -advantage * gate * 4.0 / temperature;
                (Slope { value, slope: -advantage * 4.0 * gate * (1.0 - gate) * ratio }, 0.0)
            }
            _ => {
                let bounded = |low: f64, high: f64| {
                    let slope = if (low..=high).contains(&ratio) { ratio } else { 0.0 };
                    Slope { value: ratio.clamp(low, high) * advantage, slope: slope * advantage }
                };
                let plain = bounded(f64::NEG_INFINITY, delta.unwrap_or(f64::INFINITY));
                let clipped = bounded(1.0 - epsilon_low, 1.0 + epsilon_high);
                let slope = if plain.value < clipped.value {
                    plain.slope
                } else if clipped.value < plain.value {
                    clipped.slope
                } else {
                    f64::midpoint(plain.slope, clipped.slope)
                };
                (Slope { value: -plain.value.min(clipped.value), slope: -slope }, 0.0)
            }
        }
    }

    /// `e^lambda w^k e^(-lambda w)` of the completion's ratio w to the sampler, which is no part of the gradient.
    fn gamma(&self, log_ratios: &[f64]) -> f64 {
        let least = 1e-8f64.ln();
        let corrections = self.completion.corrections.unwrap_or_default();
        let corrected: f64 = corrections.iter().map(|ratio| ratio.ln().clamp(least, 20.0)).sum();
        let ratios: f64 = log_ratios.iter().map(|ratio| ratio.clamp(-20.0, 20.0)).sum();
        let log_weight = (ratios + corrected).clamp(least, 20.0);
        let [k, lambda] = self.settings.vespo[usize::from(self.completion.advantage < 0.0)];
        let lambda = lambda.max(1e-4);
        (lambda + k * log_weight - lambda * log_weight.exp()).exp()
    }

    /// The estimate `exp(d) - d - 1` of the divergence, d the reference's log-probability less the policy's, and its slope in the
    /// policy's (Schulman's k3, <http://joschu.net/blog/kl-approx.html>).
    fn divergence(&self, at: usize) -> (f64, f64) {
        let Some(reference) = self.completion.reference else { return (0.0, 0.0) };
        let difference = f64::from(reference[at]) - self.logprob(at);
        (difference.exp() - difference - 1.0, 1.0 - difference.exp())
    }

    fn count_clips(&self, log_ratio: f64, counts: &mut PolicyCounts) {
        let PolicySettings { loss, epsilon_low, epsilon_high, delta, .. } = *self.settings;
        let ratio = log_ratio.exp().min(delta.unwrap_or(f64::INFINITY));
        let (low, high) = match loss {
            LossType::Cispo => (f64::NEG_INFINITY, epsilon_high),
            LossType::Sapo | LossType::Vespo => (f64::NEG_INFINITY, f64::INFINITY),
            _ => (1.0 - epsilon_low, 1.0 + epsilon_high),
        };
        counts.ratios += 1.0;
        counts.clipped_low += f64::from(u8::from(ratio < low && self.completion.advantage < 0.0));
        counts.clipped_high += f64::from(u8::from(ratio > high && self.completion.advantage > 0.0));
    }
}

#[cfg(test)]
#[path = "loss_tests.rs"]
mod tests;
