//! A decoder whose own weights learn: all of them, or those that are named.

use std::collections::BTreeSet;
use std::sync::Arc;

use candle_core::{DType, Tensor};

use super::passes::LossOf;
use super::weights::{of_linear_bf16, of_linear_f64};
use super::{
    MicroBatch, Objective, Parameters, Passes, Policy, SamplerWeights, TrainError, Trained, Vectors,
};
use crate::model::{Decoder, Parameter};
use crate::ops::{OpsError, PackedLinear, cross_entropy};

pub struct FullDecoder {
    /// An engine may hold it too, while nothing changes.
    decoder: Arc<Decoder>,
    passes: Passes,
    /// The norms that learn.
    vectors: Vectors,
    /// The same, of a decoder in f64.
    vectors_f64: Vectors<f64>,
    /// Names of the tensors that learn; `None` for all.
    wanted: Option<BTreeSet<String>>,
}

impl FullDecoder {
    /// Makes weights learn: all, or the tensors of these names (`model.layers.0.mlp.up_proj.weight`). The others stay frozen and
    /// take no more memory than they do.
    ///
    /// # Errors
    /// `Model` for one that can be served alone; `Shared`; quantised weights, which cannot learn; memory.
    pub fn new(
        decoder: Decoder,
        wanted: Option<BTreeSet<String>>,
        passes: Passes,
    ) -> Result<Self, TrainError> {
        Self::learning(decoder, wanted, passes, PackedLinear::set_trainable)
    }

    /// Makes all weights learn, those in bf16 as they are: with gradients and moments in bf16 and no f32 masters.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn without_masters(decoder: Decoder, passes: Passes) -> Result<Self, TrainError> {
        Self::learning(decoder, None, passes, PackedLinear::set_trainable_without_master)
    }

    fn learning(
        mut decoder: Decoder,
        wanted: Option<BTreeSet<String>>,
        passes: Passes,
        set_trainable: impl Fn(&mut PackedLinear) -> Result<(), OpsError>,
    ) -> Result<Self, TrainError> {
        decoder.config().check_trainable()?;
        let (mut vectors, mut vectors_f64) = (Vectors::default(), Vectors::default());
        let is_wanted = |name: &str| wanted.as_ref().is_none_or(|wanted| wanted.contains(name));
        for (name, parameter) in decoder.parameters_mut() {
            let weight = format!("{name}.weight");
            match parameter {
                Parameter::Linear(linear) if is_wanted(&weight) || is_wanted(&format!("{name}.bias")) => {
                    let linear = Arc::get_mut(linear).ok_or(TrainError::Shared { tensor: weight })?;
                    set_trainable(linear)?;
                }
                Parameter::Vector(tensor) if is_wanted(&weight) => {
                    if tensor.dtype() == DType::F64 {
                        vectors_f64.take(weight, tensor)?;
                    } else {
                        vectors.take(weight, tensor)?;
                    }
                }
                Parameter::Linear(_) | Parameter::Vector(_) => {}
            }
        }
        Ok(Self { decoder: Arc::new(decoder), passes, vectors, vectors_f64, wanted })
    }

    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// As `trained`, of a decoder in f64.
    ///
    /// # Errors
    /// `Shared`.
    pub fn trained_f64(&mut self) -> Result<Vec<Trained<'_, f64>>, TrainError> {
        let is_wanted = |name: &str| self.wanted.as_ref().is_none_or(|wanted| wanted.contains(name));
        let mut all = Vec::new();
        for (name, parameter) in own(&mut self.decoder)?.parameters_mut() {
            if let Parameter::Linear(linear) = parameter {
                of_linear_f64(&name, linear, &is_wanted, &mut all)?;
            }
        }
        self.vectors_f64.trained(&is_wanted, &mut all);
        Ok(all)
    }
}

fn own(decoder: &mut Arc<Decoder>) -> Result<&mut Decoder, TrainError> {
    Arc::get_mut(decoder).ok_or_else(|| TrainError::Shared { tensor: "model.embed_tokens.weight".to_owned() })
}

impl Policy for FullDecoder {
    fn accumulate_of(&mut self, micro: &MicroBatch, top: LossOf<'_>) -> Result<f64, TrainError> {
        let Self { decoder, passes, vectors, vectors_f64, .. } = self;
        let batch = &micro.batch;
        let input = decoder.embed(&batch.ids)?;
        let collect = &mut |gradients: &_| {
            vectors.collect(gradients)?;
            vectors_f64.collect(gradients)
        };
        let (loss, gradient) = passes.backward_of(decoder, &input, batch, top, collect)?;
        decoder.embedding_gradient(&batch.ids, &gradient)?;
        Ok(loss)
    }

    fn hidden(&self, micro: &MicroBatch) -> Result<(Tensor, Arc<PackedLinear>), TrainError> {
        let input = self.decoder.embed(&micro.batch.ids)?;
        let hidden = self.passes.hidden(&self.decoder, &input, &micro.batch)?;
        Ok((hidden, Arc::clone(self.decoder.lm_head())))
    }

    fn has_dropout(&self) -> bool {
        false
    }

    fn sampler(&self) -> SamplerWeights {
        SamplerWeights { decoder: Arc::clone(&self.decoder), adapter: None }
    }

    fn snapshot(&self) -> Result<SamplerWeights, TrainError> {
        Ok(SamplerWeights { decoder: Arc::new(self.decoder.frozen_copy()?), adapter: None })
    }
}

impl Objective for FullDecoder {
    fn accumulate(&mut self, micro: &MicroBatch) -> Result<f64, TrainError> {
        let targets = &micro.targets;
        self.accumulate_of(micro, &mut |hidden, head| cross_entropy(hidden, head, targets))
    }

    fn losses(&self, micro: &MicroBatch) -> Result<Vec<f32>, TrainError> {
        let input = self.decoder.embed(&micro.batch.ids)?;
        Ok(self.passes.losses(&self.decoder, &input, &micro.batch, &micro.targets)?)
    }

    fn trained(&mut self) -> Result<Vec<Trained<'_>>, TrainError> {
        Ok(self.parameters()?.single)
    }

    fn parameters(&mut self) -> Result<Parameters<'_>, TrainError> {
        let is_wanted = |name: &str| self.wanted.as_ref().is_none_or(|wanted| wanted.contains(name));
        let mut all = Parameters::default();
        for (name, parameter) in own(&mut self.decoder)?.parameters_mut() {
            if let Parameter::Linear(linear) = parameter {
                of_linear_bf16(&name, linear, &is_wanted, &mut all)?;
            }
        }
        self.vectors.trained(&is_wanted, &mut all.single);
        Ok(all)
    }

    fn refresh(&mut self) -> Result<(), TrainError> {
        for (name, parameter) in own(&mut self.decoder)?.parameters_mut() {
            let Parameter::Linear(linear) = parameter else { continue };
            if linear.is_trainable() {
                Arc::get_mut(linear).ok_or(TrainError::Shared { tensor: name })?.refresh();
            }
        }
        self.vectors.refresh()?;
        Ok(self.vectors_f64.refresh()?)
    }
}
