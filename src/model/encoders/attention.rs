//! Bidirectional attention over ragged texts: every token of a text sees all of its text and nothing of another.
//!
//! One text after the other, with candle's matmul: what a text's product is computed with follows its own length alone.

use candle_core::{D, Result, Tensor};

use super::Texts;

/// What the heads of a layer attend with; q, k and v are `[total_tokens, heads, head_dim]`.
pub(super) struct Heads {
    pub q: Tensor,
    pub k: Tensor,
    pub v: Tensor,
}

impl Heads {
    /// Of a fused projection `[total_tokens, 3 * heads * head_dim]`: queries, keys, values.
    pub fn split(qkv: &Tensor, heads: usize) -> Result<Self> {
        let (tokens, width) = qkv.dims2()?;
        let qkv = qkv.reshape((tokens, 3 * heads, width / 3 / heads))?;
        let third = |index| qkv.narrow(1, index * heads, heads);
        Ok(Self { q: third(0)?, k: third(1)?, v: third(2)? })
    }
}

/// `softmax(q k^T * scale + bias) v` for each text, `[total_tokens, heads * head_dim]`. `bias` is that of the longest text,
/// `[heads, longest, longest]`, and follows key minus query position alone, so that a shorter text takes its corner.
pub(super) fn attend(heads: &Heads, texts: &Texts, scale: f64, bias: Option<&Tensor>) -> Result<Tensor> {
    let Heads { q, k, v } = heads;
    let (_, count, head_dim) = q.dims3()?;
    let mut attended = Vec::new();
    for rows in texts.rows().filter(|rows| !rows.is_empty()) {
        let tokens = rows.len();
        let of_text = |x: &Tensor| x.narrow(0, rows.start, tokens)?.transpose(0, 1)?.contiguous();
        let (q, k, v) = (of_text(q)?, of_text(k)?, of_text(v)?); // [heads, tokens, head_dim]
        let scores = (q.matmul(&k.t()?)? * scale)?; // [heads, tokens, tokens]
        let scores = match bias {
            Some(bias) => (scores + bias.narrow(1, 0, tokens)?.narrow(2, 0, tokens)?)?,
            None => scores,
        };
        let result = softmax(&scores)?.matmul(&v)?; // [heads, tokens, head_dim]
        attended.push(result.transpose(0, 1)?.reshape((tokens, count * head_dim))?);
    }
    if attended.is_empty() {
        return Tensor::zeros((0, count * head_dim), q.dtype(), q.device());
    }
    Tensor::cat(&attended, 0)
}

/// Over the last dimension. candle-nn's own has no gradient.
fn softmax(x: &Tensor) -> Result<Tensor> {
    let exponents = x.broadcast_sub(&x.max_keepdim(D::Minus1)?.detach())?.exp()?;
    exponents.broadcast_div(&exponents.sum_keepdim(D::Minus1)?)
}
