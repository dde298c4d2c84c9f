//! A layer: attention, then a gated block or experts, each after a norm and added to the hidden states; in some families through a
//! norm of its own before it is added.

use candle_core::{Result, Tensor};

use super::Decoder;
use super::attention::SelfAttention;
use super::experts::SparseMlp;
use super::mlp::GatedMlp;
use super::norm::RmsNorm;
use super::projection::Projection;
use crate::model::layout::layer_norms;
use crate::model::loader::Loader;
use crate::model::{Attention, Batch, DecoderConfig, ModelError};
use crate::ops;

#[derive(Clone)]
pub struct Layer {
    pub input_norm: RmsNorm,
    pub attention: SelfAttention,
    /// On what attention gives, before it is added to the hidden states; where a family has it.
    pub attention_result_norm: Option<RmsNorm>,
    pub mlp_norm: RmsNorm,
    pub mlp: Mlp,
    /// On what `mlp` gives.
    pub mlp_result_norm: Option<RmsNorm>,
}

#[derive(Clone)]
pub enum Mlp {
    Dense(GatedMlp),
    Sparse(SparseMlp),
}

impl Layer {
    pub fn load(
        config: &DecoderConfig,
        loader: &Loader,
        index: usize,
    ) -> std::result::Result<Self, ModelError> {
        let name = format!("model.layers.{index}");
        let mut norms =
            layer_norms(config).iter().map(|norm| RmsNorm::load(config, loader, &format!("{name}.{norm}")));
        let mut norm = || norms.next().expect("a layer has two norms, or four where they are on results too");
        Ok(Self {
            input_norm: norm()?,
            attention: SelfAttention::load(config, loader, &name)?,
            attention_result_norm: config.post_norms.then(&mut norm).transpose()?,
            mlp_norm: norm()?,
            mlp: match config.experts_of(index) {
                None => Mlp::Dense(GatedMlp::load(config, loader, &name)?),
                Some(experts) => Mlp::Sparse(SparseMlp::load(config, experts, loader, &name)?),
            },
            mlp_result_norm: config.post_norms.then(&mut norm).transpose()?,
        })
    }

    pub fn forward(
        &self,
        decoder: &Decoder,
        index: usize,
        hidden: &Tensor,
        batch: &Batch,
        attention: &mut dyn Attention,
    ) -> Result<Tensor> {
        // What a block gives, on its way to the hidden states `[tokens, hidden]`.
        let add = |hidden: &Tensor, result: &Tensor, norm: Option<&RmsNorm>| {
            let normed = norm.map(|norm| norm.forward(result, &decoder.workers)).transpose()?;
            ops::add(hidden, normed.as_ref().unwrap_or(result), &decoder.workers)
        };
        let back = |hidden: &Tensor, x: &Tensor, projection: &Projection, norm: Option<&RmsNorm>| match norm {
            None => projection.add_to(hidden, x, index, batch),
            Some(_) => add(hidden, &projection.forward(x, index, batch)?, norm),
        };
        let attended = self.attention.attend(decoder, index, hidden, &self.input_norm, batch, attention)?;
        let hidden = back(hidden, &attended, &self.attention.output, self.attention_result_norm.as_ref())?;
        match &self.mlp {
            Mlp::Dense(mlp) => {
                let gated = mlp.gated(decoder, index, &hidden, &self.mlp_norm, batch)?;
                back(&hidden, &gated, &mlp.down, self.mlp_result_norm.as_ref())
            }
            Mlp::Sparse(experts) => {
                let mixed = experts.forward(&self.mlp_norm.forward(&hidden, &decoder.workers)?)?;
                add(&hidden, &mixed, self.mlp_result_norm.as_ref())
            }
        }
    }

    pub fn bytes(&self) -> usize {
        let Self { input_norm, attention, attention_result_norm, mlp_norm, mlp, mlp_result_norm } = self;
        let norms = [input_norm, mlp_norm].into_iter().chain(attention_result_norm).chain(mlp_result_norm);
        let mlp = match mlp {
            Mlp::Dense(mlp) => mlp.bytes(),
            Mlp::Sparse(experts) => experts.bytes(),
        };
        attention.bytes() + mlp + norms.map(RmsNorm::bytes).sum::<usize>()
    }
}
