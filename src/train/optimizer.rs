//! AdamW over all trained tensors: clipping by the norm of all gradients together, decay of matrices alone, masks.

use half::bf16;

use super::{Masks, Parameters, TrainError, Trained};
use crate::ops::{
    AdamWStep, AdamWTensor, Real, Rounding, Workers, adamw, adamw_bf16, clear, sum_of_squares,
    sum_of_squares_bf16,
};

/// Of transformers' Trainer, but for the decay: its default is 0.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct AdamWSettings {
    pub beta1: f64,
    pub beta2: f64,
    pub eps: f64,
    /// Of matrices, embeddings and factors of LoRA; norms and biases do not decay.
    pub weight_decay: f64,
    /// The gradients are scaled down so that their norm is at most this; `None`: never.
    pub max_grad_norm: Option<f64>,
}

impl Default for AdamWSettings {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, max_grad_norm: Some(1.0) }
    }
}

pub struct Optimizer<T = f32> {
    settings: AdamWSettings,
    /// Updates made.
    updates: u64,
    /// In the order of the trained tensors.
    moments: Vec<Moments<T>>,
    /// Of the tensors that learn in bf16.
    moments_bf16: Vec<Moments<u16>>,
    /// Of how those are rounded.
    seed: u64,
}

/// Of one tensor, in the order of its values.
#[derive(Clone)]
pub struct Moments<T = f32> {
    pub first: Vec<T>,
    pub second: Vec<T>,
}

/// What an update saw.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Update {
    /// Of all gradients, before they were scaled.
    pub grad_norm: f64,
    pub learning_rate: f64,
}

impl<T: Real> Optimizer<T> {
    pub fn new(settings: AdamWSettings) -> Self {
        Self::resumed(settings, 0, Vec::new())
    }

    /// As it was after so many updates.
    pub fn resumed(settings: AdamWSettings, updates: u64, moments: Vec<Moments<T>>) -> Self {
        Self { settings, updates, moments, moments_bf16: Vec::new(), seed: 0 }
    }

    /// With the moments of what learns in bf16.
    #[must_use]
    pub fn with_bf16(self, moments_bf16: Vec<Moments<u16>>) -> Self {
        Self { moments_bf16, ..self }
    }

    /// What learns in bf16 is rounded by draws of this seed.
    #[must_use]
    pub fn seeded(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// Of each tensor; empty before the first update.
    pub fn moments(&self) -> &[Moments<T>] {
        &self.moments
    }

    /// Of each tensor that learns in bf16.
    pub fn moments_bf16(&self) -> &[Moments<u16>] {
        &self.moments_bf16
    }

    /// Takes the gradients into the weights and clears them. The tensors are the same in every call, in one order. With masks
    /// each of them has one.
    ///
    /// # Errors
    /// `Diverged` where the norm of the gradients is not finite: no weight has been changed, no moment either.
    pub fn update(
        &mut self,
        trained: &mut [Trained<'_, T>],
        learning_rate: f64,
        masks: Option<&Masks>,
        workers: &Workers,
    ) -> Result<Update, TrainError> {
        let squares: f64 = trained.iter().map(|tensor| sum_of_squares(tensor.gradient, workers)).sum();
        let grad_norm = self.norm(squares, || worst(trained))?;
        self.updates += 1;
        self.take(trained, (learning_rate, self.clip(grad_norm)), masks, workers);
        Ok(Update { grad_norm, learning_rate })
    }

    /// The norm of gradients whose squares add up to that.
    fn norm(&self, squares: f64, batch: impl FnOnce() -> String) -> Result<f64, TrainError> {
        let value = squares.sqrt();
        if value.is_finite() {
            return Ok(value);
        }
        let (step, what) = (self.updates + 1, "the norm of the gradient");
        Err(TrainError::Diverged { step, what, value, batch: batch() })
    }

    /// The factor of torch.nn.utils.clip_grad_norm_.
    fn clip(&self, grad_norm: f64) -> f64 {
        self.settings.max_grad_norm.map_or(1.0, |max| (max / (grad_norm + 1e-6)).min(1.0))
    }

    fn of_step(&self, (learning_rate, clip): (f64, f64), decays: bool) -> AdamWStep {
        AdamWStep {
            learning_rate,
            beta1: self.settings.beta1,
            beta2: self.settings.beta2,
            eps: self.settings.eps,
            weight_decay: if decays { self.settings.weight_decay } else { 0.0 },
            gradient_scale: clip,
            step: self.updates,
        }
    }

    fn take(
        &mut self,
        trained: &mut [Trained<'_, T>],
        rates: (f64, f64),
        masks: Option<&Masks>,
        workers: &Workers,
    ) {
        if self.moments.is_empty() {
            let zeros = |len| Moments { first: vec![T::zero(); len], second: vec![T::zero(); len] };
            self.moments = trained.iter().map(|tensor| zeros(tensor.values.len())).collect();
        }
        let [decaying, plain] = [true, false].map(|decays| self.of_step(rates, decays));
        for (tensor, moments) in trained.iter_mut().zip(&mut self.moments) {
            let step = if tensor.is_matrix() { decaying } else { plain };
            let update = AdamWTensor {
                values: tensor.values,
                gradient: tensor.gradient,
                first_moment: &mut moments.first,
                second_moment: &mut moments.second,
                mask: masks.and_then(|masks| masks.of(&tensor.name)),
            };
            adamw(step, update, workers);
            clear(tensor.gradient, workers);
        }
    }
}

impl Optimizer {
    /// As [`Self::update`], of all that an objective trains. Masks are of what learns in f32.
    ///
    /// # Errors
    /// As [`Self::update`].
    pub fn step(
        &mut self,
        parameters: &mut Parameters<'_>,
        learning_rate: f64,
        masks: Option<&Masks>,
        workers: &Workers,
    ) -> Result<Update, TrainError> {
        let Parameters { single, bf16 } = parameters;
        let squares: f64 = single.iter().map(|tensor| sum_of_squares(tensor.gradient, workers)).sum();
        let of_bf16: f64 = bf16.iter().map(|tensor| sum_of_squares_bf16(tensor.gradient, workers)).sum();
        let grad_norm = self.norm(squares + of_bf16, || worst_of(single, bf16))?;
        self.updates += 1;
        let rates = (learning_rate, self.clip(grad_norm));
        self.take(single, rates, masks, workers);
        self.take_bf16(bf16, rates, workers);
        Ok(Update { grad_norm, learning_rate })
    }

    fn take_bf16(&mut self, trained: &mut [Trained<'_, u16>], rates: (f64, f64), workers: &Workers) {
        if self.moments_bf16.is_empty() {
            let zeros = |len| Moments { first: vec![0; len], second: vec![0; len] };
            self.moments_bf16 = trained.iter().map(|tensor| zeros(tensor.values.len())).collect();
        }
        let [decaying, plain] = [true, false].map(|decays| self.of_step(rates, decays));
        for (number, (tensor, moments)) in (0..).zip(trained.iter_mut().zip(&mut self.moments_bf16)) {
            let step = if tensor.is_matrix() { decaying } else { plain };
            let update = AdamWTensor {
                values: tensor.values,
                gradient: tensor.gradient,
                first_moment: &mut moments.first,
                second_moment: &mut moments.second,
                mask: None,
            };
            adamw_bf16(step, update, Rounding { seed: self.seed, tensor: number }, workers);
            clear(tensor.gradient, workers);
        }
    }
}

/// The first tensor whose gradient is no number, to look at.
fn worst<T: Real>(trained: &[Trained<'_, T>]) -> String {
    let broken = trained.iter().find(|tensor| tensor.gradient.iter().any(|x| !x.is_finite()));
    named(broken.map(|tensor| tensor.name.as_str()))
}

fn worst_of(single: &[Trained<'_>], halves: &[Trained<'_, u16>]) -> String {
    let is_broken = |bits: &u16| !bf16::from_bits(*bits).is_finite();
    let single = single.iter().find(|tensor| tensor.gradient.iter().any(|x| !x.is_finite()));
    let half = || halves.iter().find(|tensor| tensor.gradient.iter().any(is_broken));
    named(single.map(|tensor| &*tensor.name).or_else(|| half().map(|tensor| &*tensor.name)))
}

fn named(tensor: Option<&str>) -> String {
    match tensor {
        Some(name) => format!("first of all that of `{name}`"),
        None => "each gradient is finite, their sum of squares is not".to_owned(),
    }
}
