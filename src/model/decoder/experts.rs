//! A mixture of experts in the place of the gated block, under a checkpoint's names.

use candle_core::{Result, Tensor};

use super::Parameter;
use crate::model::loader::Loader;
use crate::model::{DecoderConfig, ExpertNames, ExpertsConfig, ModelError};
use crate::ops::{Expert, Mixture, SharedExpert};

#[derive(Clone)]
pub struct SparseMlp {
    mixture: Mixture,
    names: ExpertNames,
}

impl SparseMlp {
    /// Of the layer whose name is given.
    pub fn load(
        config: &DecoderConfig,
        experts: &ExpertsConfig,
        loader: &Loader,
        layer: &str,
    ) -> std::result::Result<Self, ModelError> {
        let names = experts.names;
        let expert = |[gate, up, down]: [String; 3]| -> std::result::Result<Expert, ModelError> {
            let linear = |part: String| loader.linear(&format!("{layer}.{part}"), false);
            Ok(Expert { gate: linear(gate)?, up: linear(up)?, down: linear(down)? })
        };
        let kept = |part: String| loader.kept_linear(&format!("{layer}.{part}"));
        let shared = || {
            let (expert, gate) = (expert(names.shared())?, kept(names.shared_gate())?);
            Ok::<_, ModelError>(SharedExpert { expert, gate })
        };
        let mixture = Mixture {
            router: kept(names.router())?,
            experts: (0..experts.experts)
                .map(|index| expert(names.expert(index)))
                .collect::<std::result::Result<_, _>>()?,
            shared: experts.shared_intermediate_size.map(|_| shared()).transpose()?,
            experts_per_token: experts.experts_per_token,
            normalised: experts.norm_topk_prob,
            activation: config.activation,
        };
        Ok(Self { mixture, names })
    }

    /// Of normed hidden states `[tokens, hidden]`, which the result is too.
    pub fn forward(&self, normed: &Tensor) -> Result<Tensor> {
        self.mixture.forward(normed)
    }

    /// All weights with their names within the layer.
    pub fn parameters_mut(&mut self) -> Vec<(String, Parameter<'_>)> {
        let Self { mixture: Mixture { router, experts, shared, .. }, names } = self;
        let mut all = vec![(names.router(), Parameter::Linear(router))];
        for (index, expert) in experts.iter_mut().enumerate() {
            all.extend(of_expert(expert, names.expert(index)));
        }
        if let Some(SharedExpert { expert, gate }) = shared {
            all.extend(of_expert(expert, names.shared()));
            all.push((names.shared_gate(), Parameter::Linear(gate)));
        }
        all
    }

    pub fn bytes(&self) -> usize {
        self.mixture.bytes()
    }
}

fn of_expert(expert: &mut Expert, names: [String; 3]) -> impl Iterator<Item = (String, Parameter<'_>)> {
    let Expert { gate, up, down } = expert;
    names.into_iter().zip([gate, up, down].map(Parameter::Linear))
}
