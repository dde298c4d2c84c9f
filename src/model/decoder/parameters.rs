//! The weights of a decoder under their Hugging Face names, for whoever changes them: a training.

use std::sync::Arc;

use candle_core::Tensor;

use super::{Decoder, Layer, RmsNorm, SelfAttention, SwiGlu};
use crate::ops::PackedLinear;

/// A weight that may be changed.
pub enum Parameter<'a> {
    /// With its bias, if it has one. Whoever changes it must be the only one that holds it.
    Linear(&'a mut Arc<PackedLinear>),
    /// A norm's weight, f32 `[n]`.
    Vector(&'a mut Tensor),
}

impl Decoder {
    /// All weights with the names they have without `.weight` and `.bias`, in the order of the forward pass. A tied head is the
    /// embedding, and is not there again.
    pub fn parameters_mut(&mut self) -> Vec<(String, Parameter<'_>)> {
        let mut all = vec![("model.embed_tokens".to_owned(), Parameter::Linear(&mut self.embed_tokens))];
        for (index, layer) in self.layers.iter_mut().enumerate() {
            let of_layer = layer.parameters_mut().into_iter();
            all.extend(of_layer.map(|(name, parameter)| (format!("model.layers.{index}.{name}"), parameter)));
        }
        all.push(("model.norm".to_owned(), self.norm.parameter_mut()));
        if let Some(lm_head) = &mut self.lm_head {
            all.push(("lm_head".to_owned(), Parameter::Linear(lm_head)));
        }
        all
    }

    /// As it is now: what learns in memory of its own that does not, the rest shared.
    ///
    /// # Errors
    /// Memory.
    pub fn frozen_copy(&self) -> candle_core::Result<Self> {
        let mut copy = self.clone();
        for (_, parameter) in copy.parameters_mut() {
            match parameter {
                Parameter::Linear(linear) if linear.is_trainable() => {
                    *linear = linear.frozen_copy().map_err(candle_core::Error::wrap)?;
                }
                Parameter::Linear(_) => {}
                Parameter::Vector(vector) => *vector = vector.copy()?.detach(),
            }
        }
        Ok(copy)
    }
}

impl Layer {
    fn parameters_mut(&mut self) -> Vec<(&'static str, Parameter<'_>)> {
        let SelfAttention { q_proj, k_proj, v_proj, o_proj, q_norm, k_norm } = &mut self.attention;
        let SwiGlu { gate, up, down } = &mut self.mlp;
        let mut all = vec![
            ("input_layernorm", self.input_norm.parameter_mut()),
            ("self_attn.q_proj", Parameter::Linear(q_proj)),
            ("self_attn.k_proj", Parameter::Linear(k_proj)),
            ("self_attn.v_proj", Parameter::Linear(v_proj)),
        ];
        all.extend(q_norm.as_mut().map(|norm| ("self_attn.q_norm", norm.parameter_mut())));
        all.extend(k_norm.as_mut().map(|norm| ("self_attn.k_norm", norm.parameter_mut())));
        all.extend([
            ("self_attn.o_proj", Parameter::Linear(o_proj)),
            ("post_attention_layernorm", self.post_attention_norm.parameter_mut()),
            ("mlp.gate_proj", Parameter::Linear(gate)),
            ("mlp.up_proj", Parameter::Linear(up)),
            ("mlp.down_proj", Parameter::Linear(down)),
        ]);
        all
    }
}

impl RmsNorm {
    fn parameter_mut(&mut self) -> Parameter<'_> {
        Parameter::Vector(&mut self.weight)
    }
}
