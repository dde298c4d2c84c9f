//! AdamW over all trained tensors: clipping by the norm of all gradients together, decay of matrices alone, masks.

use super::{Masks, TrainError, Trained};
use crate::ops::{AdamWStep, AdamWTensor, Real, Workers, adamw, clear, sum_of_squares};

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
        Self { settings, updates: 0, moments: Vec::new() }
    }

    /// As it was after so many updates.
    pub fn resumed(settings: AdamWSettings, updates: u64, moments: Vec<Moments<T>>) -> Self {
        Self { settings, updates, moments }
    }

    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// Of each tensor; empty before the first update.
    pub fn moments(&self) -> &[Moments<T>] {
        &self.moments
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
        let grad_norm = squares.sqrt();
        if !grad_norm.is_finite() {
            return Err(TrainError::Diverged {
                step: self.updates + 1,
                what: "the norm of the gradient",
                value: grad_norm,
                batch: worst(trained),
            });
        }
        if self.moments.is_empty() {
            let zeros = |len| Moments { first: vec![T::zero(); len], second: vec![T::zero(); len] };
            self.moments = trained.iter().map(|tensor| zeros(tensor.values.len())).collect();
        }
        self.updates += 1;
        // The factor of torch.nn.utils.clip_grad_norm_.
        let clip = self.settings.max_grad_norm.map_or(1.0, |max| (max / (grad_norm + 1e-6)).min(1.0));
        for (tensor, moments) in trained.iter_mut().zip(&mut self.moments) {
            let step = AdamWStep {
                learning_rate,
                beta1: self.settings.beta1,
                beta2: self.settings.beta2,
                eps: self.settings.eps,
                weight_decay: if tensor.is_matrix() { self.settings.weight_decay } else { 0.0 },
                gradient_scale: clip,
                step: self.updates,
            };
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
        Ok(Update { grad_norm, learning_rate })
    }
}

/// The first tensor whose gradient is no number, to look at.
fn worst<T: Real>(trained: &[Trained<'_, T>]) -> String {
    let broken = trained.iter().find(|tensor| tensor.gradient.iter().any(|x| !x.is_finite()));
    match broken {
        Some(tensor) => format!("first of all that of `{}`", tensor.name),
        None => "each gradient is finite, their sum of squares is not".to_owned(),
    }
}
