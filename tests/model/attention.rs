//! Attention for the decoder's tests: a plain dense one to tell a wrong decoder from a wrong kernel.

use candle_core::{Device, Result, Tensor};
use xenoglot::model::{Attention, Batch, Decoder};

/// One sequence, prefilled at once: scores, softmax and sum written out, in f64.
pub struct DenseAttention<'a>(pub &'a Decoder);

impl Attention for DenseAttention<'_> {
    fn attend(&mut self, layer: usize, q: &Tensor, k: &Tensor, v: &Tensor, _: &Batch) -> Result<Tensor> {
        let (tokens, heads, head_dim) = q.dims3()?;
        let settings = self.0.attention_settings(layer);
        let (q, k, v) = (q.to_vec3::<f32>()?, k.to_vec3::<f32>()?, v.to_vec3::<f32>()?);
        let group = heads / k[0].len();
        let mut output = Vec::with_capacity(tokens * heads * head_dim);
        for row in 0..tokens {
            let first = settings.sliding_window.map_or(0, |window| (row + 1).saturating_sub(window));
            for head in 0..heads {
                let score = |key: usize| {
                    let products =
                        q[row][head].iter().zip(&k[key][head / group]).map(|(q, k)| f64::from(q * k));
                    products.sum::<f64>() * f64::from(settings.scale)
                };
                let scores: Vec<f64> = (first..=row).map(score).collect();
                let largest = scores.iter().copied().fold(f64::MIN, f64::max);
                let weights: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
                let sum: f64 = weights.iter().sum();
                for d in 0..head_dim {
                    let values =
                        (first..=row).zip(&weights).map(|(key, w)| w * f64::from(v[key][head / group][d]));
                    output.push((values.sum::<f64>() / sum) as f32);
                }
            }
        }
        Tensor::from_vec(output, (tokens, heads * head_dim), &Device::Cpu)
    }
}
