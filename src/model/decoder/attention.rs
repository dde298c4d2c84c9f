//! Self-attention: projections, norms over heads where a family has them, RoPE, and the way back.

use candle_core::{Result, Tensor};

use super::Decoder;
use super::norm::RmsNorm;
use super::projection::{self, Projection};
use crate::model::adapter::{Target, any_adapts, sole};
use crate::model::loader::Loader;
use crate::model::{Attention, Batch, DecoderConfig, ModelError};
use crate::ops::{self, AdaptedLinear};

#[derive(Clone)]
pub struct SelfAttention {
    /// Query, key and value, or the one that makes all of them: their results side by side are the same.
    pub qkv: Vec<Projection>,
    pub output: Projection,
    /// Over each head, where a family has them.
    pub q_norm: Option<RmsNorm>,
    pub k_norm: Option<RmsNorm>,
}

impl SelfAttention {
    /// Of the layer whose name is given.
    pub fn load(
        config: &DecoderConfig,
        loader: &Loader,
        layer: &str,
    ) -> std::result::Result<Self, ModelError> {
        let head_norm = |part: &str| {
            let norm = || RmsNorm::load(config, loader, &format!("{layer}.self_attn.{part}"));
            config.qk_norm.then(norm).transpose()
        };
        let projection = |target: Target| Projection::load(config, loader, layer, target);
        Ok(Self {
            qkv: Target::qkv(config)
                .iter()
                .map(|target| projection(*target))
                .collect::<std::result::Result<_, _>>()?,
            output: projection(Target::Output)?, // [hidden, heads * head_dim]
            q_norm: head_norm("q_norm")?,
            k_norm: head_norm("k_norm")?,
        })
    }

    /// The heads' results, `[tokens, heads * head_dim]`, before they are projected back.
    pub fn attend(
        &self,
        decoder: &Decoder,
        layer: usize,
        hidden: &Tensor,
        norm: &RmsNorm,
        batch: &Batch,
        attention: &mut dyn Attention,
    ) -> Result<Tensor> {
        let adapts = any_adapts(&batch.adapters, layer, projection::targets(&self.qkv));
        let qkv = match sole(&batch.adapters, hidden.dim(0)?) {
            Some(adapter) if adapts => {
                let linears: Vec<AdaptedLinear> = self
                    .qkv
                    .iter()
                    .map(|Projection { target, weight }| adapter.adapted(layer, *target, weight))
                    .collect();
                ops::adapted_linears(&norm.forward(hidden, &decoder.workers)?, &linears, None)?
            }
            None if adapts => return self.attend_adapted(decoder, layer, hidden, norm, batch, attention),
            _ => ops::normed_linears(hidden, &norm.scale()?, norm.eps, &projection::weights(&self.qkv))?,
        };
        self.attend_to(decoder, layer, &qkv, batch, attention)
    }

    /// Of queries, keys and values beside each other, `[tokens, (heads + 2 kv_heads) head_dim]`.
    fn attend_to(
        &self,
        decoder: &Decoder,
        layer: usize,
        qkv: &Tensor,
        batch: &Batch,
        attention: &mut dyn Attention,
    ) -> Result<Tensor> {
        let DecoderConfig { heads, kv_heads, head_dim, .. } = decoder.config;
        let qkv = ops::reshape(qkv, (qkv.dim(0)?, heads + 2 * kv_heads, head_dim))?;
        let (q, k) = if self.q_norm.is_none() && self.k_norm.is_none() {
            let both = rotate(decoder, layer, &ops::narrow(&qkv, 1, 0, heads + kv_heads)?, None, batch)?;
            (ops::narrow(&both, 1, 0, heads)?, ops::narrow(&both, 1, heads, kv_heads)?)
        } else {
            let q = rotate(decoder, layer, &ops::narrow(&qkv, 1, 0, heads)?, self.q_norm.as_ref(), batch)?;
            (q, rotate(decoder, layer, &ops::narrow(&qkv, 1, heads, kv_heads)?, self.k_norm.as_ref(), batch)?)
        };
        let v = ops::narrow(&qkv, 1, heads + kv_heads, kv_heads)?;
        attention.attend(layer, &q, &k, &v, batch)
    }

    /// `attend` with each projection on its own and the norm before them, so that adapters find what they need.
    fn attend_adapted(
        &self,
        decoder: &Decoder,
        layer: usize,
        hidden: &Tensor,
        norm: &RmsNorm,
        batch: &Batch,
        attention: &mut dyn Attention,
    ) -> Result<Tensor> {
        let DecoderConfig { heads, kv_heads, head_dim, .. } = decoder.config;
        let normed = norm.forward(hidden, &decoder.workers)?;
        let project = |projection: &Projection| projection.forward(&normed, layer, batch);
        let [q, k, v] = self.qkv.as_slice() else {
            return self.attend_to(decoder, layer, &project(&self.qkv[0])?, batch, attention);
        };
        let of_heads = |projection: &Projection, heads: usize| {
            ops::reshape(&project(projection)?, (hidden.dim(0)?, heads, head_dim))
        };
        let q = rotate(decoder, layer, &of_heads(q, heads)?, self.q_norm.as_ref(), batch)?;
        let k = rotate(decoder, layer, &of_heads(k, kv_heads)?, self.k_norm.as_ref(), batch)?;
        attention.attend(layer, &q, &k, &of_heads(v, kv_heads)?, batch)
    }

    pub fn bytes(&self) -> usize {
        let head_norms: usize = self.q_norm.iter().chain(&self.k_norm).map(RmsNorm::bytes).sum();
        projection::bytes(&self.qkv) + self.output.weight.bytes() + head_norms
    }
}

/// Norm (if the family has one) and RoPE over each head. `[tokens, heads, head_dim]`
fn rotate(
    decoder: &Decoder,
    layer: usize,
    x: &Tensor,
    norm: Option<&RmsNorm>,
    batch: &Batch,
) -> Result<Tensor> {
    let normed = norm.map(|norm| norm.forward(x, &decoder.workers)).transpose()?;
    ops::rope(normed.as_ref().unwrap_or(x), decoder.rope_of(layer), &batch.positions, &decoder.workers)
}
