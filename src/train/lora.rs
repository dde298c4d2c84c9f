//! A decoder that stays as it is, and an adapter beside it that learns.

use std::sync::Arc;

use candle_core::Tensor;

use super::passes::LossOf;
use super::weights::{of_linear, of_linear_f64};
use super::{MicroBatch, Objective, Passes, Policy, SamplerWeights, TrainError, Trained};
use crate::model::{Adapter, AdapterRows, Batch, Decoder};
use crate::ops::{Dropout, PackedLinear, cross_entropy};

pub struct LoraDecoder {
    /// Of any type, and in nobody's way: the same one may serve.
    decoder: Arc<Decoder>,
    adapter: Arc<Adapter>,
    /// Of what goes into A.
    dropout: f32,
    passes: Passes,
}

impl LoraDecoder {
    /// # Errors
    /// `Model` for one that can be served alone; `Shared` for an adapter that somebody else holds; memory.
    pub fn new(decoder: Arc<Decoder>, mut adapter: Adapter, passes: Passes) -> Result<Self, TrainError> {
        decoder.config().check_trainable()?;
        for (name, factor) in adapter.factors_mut() {
            Arc::get_mut(factor).ok_or(TrainError::Shared { tensor: name })?.set_trainable()?;
        }
        let dropout = adapter.config().dropout as f32;
        Ok(Self { decoder, adapter: Arc::new(adapter), dropout, passes })
    }

    /// With another dropout than the adapter's files say.
    #[must_use]
    pub fn with_dropout(self, dropout: f32) -> Self {
        Self { dropout, ..self }
    }

    pub fn decoder(&self) -> &Arc<Decoder> {
        &self.decoder
    }

    pub fn adapter(&self) -> &Arc<Adapter> {
        &self.adapter
    }

    /// As `trained`, of an adapter in f64.
    ///
    /// # Errors
    /// `Shared`.
    pub fn trained_f64(&mut self) -> Result<Vec<Trained<'_, f64>>, TrainError> {
        let shared = || TrainError::Shared { tensor: "lora_A".to_owned() };
        let adapter = Arc::get_mut(&mut self.adapter).ok_or_else(shared)?;
        let mut all = Vec::new();
        for (name, factor) in adapter.factors_mut() {
            of_linear_f64(name.strip_suffix(".weight").unwrap_or(&name), factor, &|_| true, &mut all)?;
        }
        Ok(all)
    }

    /// All rows go through the adapter.
    fn batch(&self, micro: &MicroBatch, dropout: Option<Dropout>) -> Batch {
        let rows = 0..micro.batch.ids.len();
        let adapters = vec![AdapterRows { rows, adapter: Arc::clone(&self.adapter), dropout }];
        Batch { adapters, ..micro.batch.clone() }
    }
}

impl Policy for LoraDecoder {
    fn accumulate_of(&mut self, micro: &MicroBatch, top: LossOf<'_>) -> Result<f64, TrainError> {
        let dropout = Dropout { probability: self.dropout, key: micro.key, stream: 0 };
        let batch = self.batch(micro, (self.dropout > 0.0).then_some(dropout));
        let input = self.decoder.embed(&micro.batch.ids)?;
        let nothing = &mut |_: &_| Ok(());
        Ok(self.passes.backward_of(&self.decoder, &input, &batch, top, nothing)?.0)
    }

    fn hidden(&self, micro: &MicroBatch) -> Result<(Tensor, Arc<PackedLinear>), TrainError> {
        let input = self.decoder.embed(&micro.batch.ids)?;
        let hidden = self.passes.hidden(&self.decoder, &input, &self.batch(micro, None))?;
        Ok((hidden, Arc::clone(self.decoder.lm_head())))
    }

    fn has_dropout(&self) -> bool {
        self.dropout > 0.0
    }

    fn sampler(&self) -> SamplerWeights {
        SamplerWeights { decoder: Arc::clone(&self.decoder), adapter: Some(Arc::clone(&self.adapter)) }
    }

    fn snapshot(&self) -> Result<SamplerWeights, TrainError> {
        let adapter = Some(Arc::new(self.adapter.frozen_copy()?));
        Ok(SamplerWeights { decoder: Arc::clone(&self.decoder), adapter })
    }
}

impl Objective for LoraDecoder {
    fn accumulate(&mut self, micro: &MicroBatch) -> Result<f64, TrainError> {
        let targets = &micro.targets;
        self.accumulate_of(micro, &mut |hidden, head| cross_entropy(hidden, head, targets))
    }

    fn losses(&self, micro: &MicroBatch) -> Result<Vec<f32>, TrainError> {
        let input = self.decoder.embed(&micro.batch.ids)?;
        Ok(self.passes.losses(&self.decoder, &input, &self.batch(micro, None), &micro.targets)?)
    }

    fn trained(&mut self) -> Result<Vec<Trained<'_>>, TrainError> {
        let shared = || TrainError::Shared { tensor: "lora_A".to_owned() };
        let adapter = Arc::get_mut(&mut self.adapter).ok_or_else(shared)?;
        let mut all = Vec::new();
        for (name, factor) in adapter.factors_mut() {
            let name = name.strip_suffix(".weight").unwrap_or(&name);
            of_linear(name, factor, &|_| true, &mut all)?;
        }
        Ok(all)
    }

    fn refresh(&mut self) -> Result<(), TrainError> {
        // Factors are f32: what is changed is what multiplies.
        Ok(())
    }
}
