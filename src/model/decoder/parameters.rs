//! The weights of a decoder under their Hugging Face names, for whoever changes them: a training.

use std::sync::Arc;

use candle_core::Tensor;

use super::Decoder;
use super::attention::SelfAttention;
use super::layer::{Layer, Mlp};
use super::mlp::GatedMlp;
use super::norm::RmsNorm;
use super::projection::Projection;
use crate::model::layout::layer_norms;
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
        let norms = layer_norms(&self.config);
        for (index, layer) in self.layers.iter_mut().enumerate() {
            let of_layer = layer.parameters_mut(norms).into_iter();
            all.extend(of_layer.map(|(name, parameter)| (format!("model.layers.{index}.{name}"), parameter)));
        }
        all.push(("model.norm".to_owned(), Parameter::Vector(&mut self.norm.weight)));
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
    /// `norms` are the names of its norms over hidden states.
    fn parameters_mut(&mut self, norms: &[&str]) -> Vec<(String, Parameter<'_>)> {
        let mut norms = norms.iter();
        let mut next = |norm| of_norm(norms.next().copied().unwrap_or_default(), norm);
        let SelfAttention { qkv, output, q_norm, k_norm } = &mut self.attention;
        let mut all = vec![next(&mut self.input_norm)];
        all.extend(qkv.iter_mut().map(of_projection));
        all.extend(q_norm.as_mut().map(|weight| of_norm("self_attn.q_norm", weight)));
        all.extend(k_norm.as_mut().map(|weight| of_norm("self_attn.k_norm", weight)));
        all.push(of_projection(output));
        all.extend(self.attention_result_norm.as_mut().map(&mut next));
        all.push(next(&mut self.mlp_norm));
        match &mut self.mlp {
            Mlp::Dense(GatedMlp { gate_up, down }) => {
                all.extend(gate_up.iter_mut().map(of_projection));
                all.push(of_projection(down));
            }
            Mlp::Sparse(experts) => all.extend(experts.parameters_mut()),
        }
        all.extend(self.mlp_result_norm.as_mut().map(next));
        all
    }
}

fn of_norm<'a>(name: &str, norm: &'a mut RmsNorm) -> (String, Parameter<'a>) {
    (name.to_owned(), Parameter::Vector(&mut norm.weight))
}

fn of_projection(projection: &mut Projection) -> (String, Parameter<'_>) {
    (projection.target.part(), Parameter::Linear(&mut projection.weight))
}
