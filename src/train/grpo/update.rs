//! One update of the policy: the loss of a part of a generation, its gradients, and what is told of them.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::TrainError;
use super::batch::{GroupBatch, group_batches};
use super::correction::Gap;
use super::generation::Generation;
use super::loss::{Completion, PolicyCounts, Scope, policy_loss};
use super::trainer::GrpoTrainer;
use crate::model::Decoder;
use crate::ops::{
    PackedLinear, Targets, TokenScore, cross_entropy, scale, token_logprobs, token_logprobs_with_gradients,
};

/// Log-probabilities of a generation's completions, computed before its first update.
#[derive(Debug, Clone, Default)]
pub struct Before {
    /// Of the policy that sampled; `None` where the update itself computes them.
    pub old: Option<Vec<Vec<f32>>>,
    pub reference: Option<Vec<Vec<f32>>>,
}

/// What an update found.
#[derive(Debug, Clone, Default)]
pub struct Found {
    pub loss: f64,
    pub counts: PolicyCounts,
    pub gap: Gap,
    /// Least, sum, greatest and number of the corrections.
    pub corrections: Corrections,
    /// Tokens that went through the model.
    pub rows: u64,
}

#[derive(Debug, Clone, Copy, Default)]
pub struct Corrections {
    pub min: f64,
    pub sum: f64,
    pub max: f64,
    pub count: u64,
}

impl Corrections {
    fn add(&mut self, ratios: &[f64]) {
        for &ratio in ratios {
            self.min = if self.count == 0 { ratio } else { self.min.min(ratio) };
            self.max = if self.count == 0 { ratio } else { self.max.max(ratio) };
            self.sum += ratio;
            self.count += 1;
        }
    }
}

impl GrpoTrainer<'_> {
    /// What is known before the first update of a generation; `None` if it was stopped.
    pub(super) fn before(&self, generation: &Generation) -> Result<Option<Before>, TrainError> {
        let mut before = Before::default();
        if self.grpo.updates() > 1 || self.policy.has_dropout() {
            before.old = self.logprobs(generation, None)?;
            if before.old.is_none() {
                return Ok(None);
            }
        }
        if let Some(decoder) = self.reference.as_ref().filter(|_| self.grpo.policy.beta != 0.0) {
            before.reference = self.logprobs(generation, Some(decoder))?;
            if before.reference.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(before))
    }

    /// Each token's log-probability, of the policy or of another decoder; `None` if it was stopped.
    fn logprobs(
        &self,
        generation: &Generation,
        other: Option<&Decoder>,
    ) -> Result<Option<Vec<Vec<f32>>>, TrainError> {
        let mut found = Vec::with_capacity(generation.rollouts.len());
        for batch in group_batches(&generation.groups(), self.grpo.rows_max) {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let (hidden, head) = match other {
                None => self.policy.hidden(&batch.micro)?,
                Some(decoder) => {
                    let input = decoder.embed(&batch.micro.batch.ids)?;
                    (self.passes.hidden(decoder, &input, &batch.micro.batch)?, decoder.lm_head().clone())
                }
            };
            let scores = token_logprobs(&self.scaled(&hidden)?, &head, &batch.tokens())?;
            let mut scores = scores.iter().map(|score| score.logprob);
            found.extend(batch.rows.iter().map(|rows| scores.by_ref().take(rows.len()).collect::<Vec<_>>()));
        }
        Ok(Some(found))
    }

    /// Hidden states whose logits are those of the sampler's temperature.
    fn scaled(&self, hidden: &candle_core::Tensor) -> candle_core::Result<candle_core::Tensor> {
        if self.grpo.temperature == 1.0 {
            Ok(hidden.clone())
        } else {
            scale(hidden, 1.0 / self.grpo.temperature)
        }
    }

    /// Adds the gradients of some groups of a generation; `None` if it was stopped.
    pub(super) fn gradients(
        &mut self,
        generation: &Generation,
        before: &Before,
        groups: Range<usize>,
        (key, may_stop): (u64, bool),
    ) -> Result<Option<Found>, TrainError> {
        let first = groups.start * self.grpo.group;
        let completions = first..groups.end * self.grpo.group;
        let scope = self.scope(generation, &completions);
        let all = generation.groups();
        let mut found = Found::default();
        for (index, batch) in group_batches(&all[groups], self.grpo.rows_max).into_iter().enumerate() {
            if may_stop && self.stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            self.accumulate(
                generation,
                before,
                &scope,
                batch,
                (first, key.wrapping_add(index as u64)),
                &mut found,
            )?;
        }
        Ok(Some(found))
    }

    pub(super) fn scope(&self, generation: &Generation, completions: &Range<usize>) -> Scope {
        let counted = |range: Range<usize>| -> usize {
            range.map(|at| generation.counted(at, self.grpo.mask_truncated)).sum()
        };
        let all = counted(0..generation.rollouts.len());
        Scope {
            completions: completions.len(),
            tokens: counted(completions.clone()),
            generated: all as f64 / self.updates_of(generation) as f64,
            completion_max: self.grpo.completion_max,
        }
    }

    pub(super) fn accumulate(
        &mut self,
        generation: &Generation,
        before: &Before,
        scope: &Scope,
        batch: GroupBatch,
        (first, key): (usize, u64),
        found: &mut Found,
    ) -> Result<(), TrainError> {
        let tokens = batch.tokens();
        let GroupBatch { micro, rows, completions } = batch;
        let micro = micro.keyed(key);
        let ids = first + completions.start..first + completions.end;
        let (grpo, temperature) = (Arc::clone(&self.grpo), self.grpo.temperature);
        found.rows += micro.batch.ids.len() as u64;
        let part = Part { generation, before, ids, grpo: &grpo };
        if !part.teaches() {
            // Its gradient is 0, and what is told of it needs none.
            let (hidden, head) = self.policy.hidden(&micro)?;
            let scores = token_logprobs(&self.scaled(&hidden)?, &head, &tokens)?;
            found.loss += part.loss(&scores, scope, found).0;
            return Ok(());
        }
        let mut loss = 0.0;
        self.policy.accumulate_of(&micro, &mut |hidden, head| {
            let hidden = if temperature == 1.0 { hidden.clone() } else { scale(hidden, 1.0 / temperature)? };
            if !head.is_trainable() {
                let (scores, gradients) = token_logprobs_with_gradients(&hidden, head, &tokens)?;
                let (of_part, weights) = part.loss(&scores, scope, found);
                loss = of_part;
                let weights: Vec<f32> = weights.iter().flatten().map(|&weight| weight as f32).collect();
                return gradients.loss(&hidden, of_part, &weights);
            }
            let scores = token_logprobs(&hidden, head, &tokens)?;
            let (of_part, weights) = part.loss(&scores, scope, found);
            loss = of_part;
            weighted(&hidden, head, (&micro.targets.ids, &rows), &weights)
        })?;
        found.loss += loss;
        Ok(())
    }
}

/// What makes the gradients of a head that learns too: each token's cross-entropy, which falls where its log-probability rises.
fn weighted(
    hidden: &candle_core::Tensor,
    head: &Arc<PackedLinear>,
    (ids, rows): (&[u32], &[Range<usize>]),
    gradients: &[Vec<f64>],
) -> candle_core::Result<candle_core::Tensor> {
    let mut targets = Targets { ids: ids.to_vec(), weights: vec![0.0; ids.len()] };
    for (rows, gradients) in rows.iter().zip(gradients) {
        for (row, &gradient) in rows.clone().zip(gradients) {
            targets.weights[row] = -gradient as f32;
        }
    }
    cross_entropy(hidden, head, &targets)
}

/// Some completions of a generation.
struct Part<'a> {
    generation: &'a Generation,
    before: &'a Before,
    ids: Range<usize>,
    grpo: &'a super::GrpoSettings,
}

impl Part<'_> {
    /// Whether any of its gradients is not 0: every loss multiplies by the advantage, but for the term that keeps to the reference.
    fn teaches(&self) -> bool {
        self.grpo.policy.beta != 0.0 || self.ids.clone().any(|id| self.generation.advantages[id] != 0.0)
    }

    /// The loss and its gradients by completion, from the scores of all tokens.
    fn loss(&self, scores: &[TokenScore], scope: &Scope, found: &mut Found) -> (f64, Vec<Vec<f64>>) {
        let Self { generation, before, ids, grpo } = self;
        let logprobs: Vec<f32> = scores.iter().map(|score| score.logprob).collect();
        let entropies: Vec<f32> = scores.iter().map(|score| score.entropy).collect();
        let (mut from, mut spans) = (0, Vec::with_capacity(ids.len()));
        for id in ids.clone() {
            let tokens = generation.rollouts[id].tokens.len();
            spans.push(from..from + tokens);
            from += tokens;
        }
        let old = |id: usize, span: &Range<usize>| -> Vec<f32> {
            before.old.as_ref().map_or_else(|| logprobs[span.clone()].to_vec(), |old| old[id].clone())
        };
        let olds: Vec<Vec<f32>> = ids.clone().zip(&spans).map(|(id, span)| old(id, span)).collect();
        let corrections: Vec<Option<Vec<f64>>> = ids
            .clone()
            .zip(&olds)
            .map(|(id, old)| {
                let sampled = &generation.rollouts[id].logprobs;
                found.gap.add(old, sampled);
                let ratios = grpo.correction.map(|correction| correction.factors(old, sampled))?;
                found.corrections.add(&ratios);
                Some(ratios)
            })
            .collect();
        let of_parts: Vec<Completion<'_>> = ids
            .clone()
            .zip(&spans)
            .enumerate()
            .map(|(at, (id, span))| Completion {
                advantage: generation.advantages[id],
                logprobs: &logprobs[span.clone()],
                entropies: &entropies[span.clone()],
                old: before.old.as_ref().map(|_| olds[at].as_slice()),
                reference: before.reference.as_ref().map(|reference| reference[id].as_slice()),
                sampled: Some(&generation.rollouts[id].logprobs),
                corrections: corrections[at].as_deref(),
                is_masked: grpo.mask_truncated && generation.rollouts[id].is_truncated,
            })
            .collect();
        let policy = policy_loss(&grpo.policy, &of_parts, scope);
        found.counts.add(&policy.counts);
        (policy.loss, policy.gradients)
    }
}
