//! Attention over whole sequences, with a gradient: training's, and that of encoders. Causal with an optional sliding
//! window, or bidirectional; grouped queries; a ragged batch, whose sequences do not see each other.
//!
//! A sequence may branch: its branches go on from one stem, each as if the others were not there, and what goes through the
//! layers of the stem goes through once (the tree masks of speculative decoding, arXiv:2305.09781).
//!
//! FlashAttention's algorithm (arXiv:2205.14135): scores exist for a tile of rows and keys at a time, and the backward pass
//! computes them again from the log-sum-exp of each row. Tiles lie at absolute positions of the sequence, so a sequence's
//! bits depend neither on the batch nor on the threads.

mod backward;
mod forward;
mod tile;

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, WithDType};

use super::rows::{contiguous, contiguous_f32, elements, elements_f64};
use super::tape::{self, Keeps, apply3};
use super::{AttentionSettings, Workers, shape_error};
use tile::Sequences;

const OP: &str = "dense_attention";

/// q f32 `[tokens, heads, head_dim]`, k and v f32 `[tokens, kv_heads, head_dim]`; f32 `[tokens, heads * head_dim]`.
/// `cu_seqlens` are the offsets of the sequences, first 0, last `tokens`. Bidirectional where not `causal`.
///
/// # Errors
/// Shapes that do not fit, or a soft cap, which has no gradient here.
pub fn dense_attention(
    qkv: [&Tensor; 3],
    cu_seqlens: &Arc<Vec<u32>>,
    causal: bool,
    settings: AttentionSettings,
    workers: &Arc<Workers>,
) -> Result<Tensor> {
    branched_attention(qkv, cu_seqlens, &Arc::default(), causal, settings, workers)
}

/// The same where sequences branch: `branches` has of each sequence the rows where its branches begin, ascending, none where it does
/// not branch; without any sequence, none of them does. Only causal.
///
/// # Errors
/// As [`dense_attention`]; branches that are not ascending, lie outside of their sequence, or see what follows them.
pub fn branched_attention(
    qkv: [&Tensor; 3],
    cu_seqlens: &Arc<Vec<u32>>,
    branches: &Arc<Vec<Vec<u32>>>,
    causal: bool,
    settings: AttentionSettings,
    workers: &Arc<Workers>,
) -> Result<Tensor> {
    if settings.logit_softcap.is_some() {
        return Err(shape_error(OP, "scores with a soft cap are not supported"));
    }
    let op = DenseAttention {
        cu_seqlens: Arc::clone(cu_seqlens),
        branches: Arc::clone(branches),
        causal,
        settings,
        log_sums: Mutex::new(LogSums::F32(Vec::new())),
        workers: Arc::clone(workers),
    };
    let [q, k, v] = qkv;
    apply3([&tape::contiguous(q)?, &tape::contiguous(k)?, &tape::contiguous(v)?], op, Keeps::ALL)
}

enum LogSums {
    F32(Vec<f32>),
    F64(Vec<f64>),
}

struct DenseAttention {
    cu_seqlens: Arc<Vec<u32>>,
    branches: Arc<Vec<Vec<u32>>>,
    causal: bool,
    settings: AttentionSettings,
    /// The log-sum-exp of each row and head, `[tokens, heads]`: what the backward pass needs beside the operands.
    log_sums: Mutex<LogSums>,
    workers: Arc<Workers>,
}

impl CustomOp3 for DenseAttention {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        k: &CpuStorage,
        k_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let sequences = self.sequences(q_layout.dims(), k_layout.dims(), v_layout.dims())?;
        let shape = Shape::from((sequences.tokens(), sequences.heads * sequences.head_dim));
        let mut kept = self.log_sums.lock().unwrap_or_else(PoisonError::into_inner);
        if let CpuStorage::F64(_) = q {
            let q = contiguous(OP, "q", q, q_layout)?;
            let k = contiguous(OP, "k", k, k_layout)?;
            let v = contiguous(OP, "v", v, v_layout)?;
            let (out, log_sums) = forward::forward(&sequences, q, k, v);
            *kept = LogSums::F64(log_sums);
            return Ok((CpuStorage::F64(out), shape));
        }
        let q = contiguous_f32(OP, "q", q, q_layout)?;
        let k = contiguous_f32(OP, "k", k, k_layout)?;
        let v = contiguous_f32(OP, "v", v, v_layout)?;
        let (out, log_sums) = forward::forward(&sequences, q, k, v);
        *kept = LogSums::F32(log_sums);
        Ok((CpuStorage::F32(out), shape))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        out: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let sequences = self.sequences(q.dims(), k.dims(), v.dims())?;
        let log_sums = self.log_sums.lock().unwrap_or_else(PoisonError::into_inner);
        match &*log_sums {
            LogSums::F32(log_sums) => {
                let operands = backward::Operands {
                    q: &elements(q)?,
                    k: &elements(k)?,
                    v: &elements(v)?,
                    out: &elements(out)?,
                    log_sums,
                    gradient: &elements(gradient)?,
                };
                tensors(backward::backward(&sequences, &operands), [q, k, v])
            }
            LogSums::F64(log_sums) => {
                let operands = backward::Operands {
                    q: &elements_f64(q)?,
                    k: &elements_f64(k)?,
                    v: &elements_f64(v)?,
                    out: &elements_f64(out)?,
                    log_sums,
                    gradient: &elements_f64(gradient)?,
                };
                tensors(backward::backward(&sequences, &operands), [q, k, v])
            }
        }
    }
}

type Three = (Option<Tensor>, Option<Tensor>, Option<Tensor>);

fn tensors<T: WithDType>([dq, dk, dv]: [Vec<T>; 3], [q, k, v]: [&Tensor; 3]) -> Result<Three> {
    let tensor = |x, like: &Tensor| Tensor::from_vec(x, like.shape(), like.device()).map(Some);
    Ok((tensor(dq, q)?, tensor(dk, k)?, tensor(dv, v)?))
}

impl DenseAttention {
    fn sequences(&self, q: &[usize], k: &[usize], v: &[usize]) -> Result<Sequences<'_>> {
        let wrong = || {
            let (count, last) = (self.cu_seqlens.len(), self.cu_seqlens.last());
            let detail = format!("q {q:?}, k {k:?}, v {v:?} and {count} offsets up to {last:?} do not fit");
            shape_error(OP, detail)
        };
        let (&[tokens, heads, head_dim], &[kv_tokens, kv_heads, kv_dim]) = (q, k) else {
            return Err(wrong());
        };
        let offsets = &**self.cu_seqlens;
        let fit = k == v
            && (tokens, head_dim) == (kv_tokens, kv_dim)
            && head_dim > 0
            && kv_heads > 0
            && heads.is_multiple_of(kv_heads)
            && offsets.first() == Some(&0)
            && offsets.last() == Some(&(tokens as u32))
            && offsets.is_sorted();
        if !fit {
            return Err(wrong());
        }
        self.check_branches()?;
        Ok(Sequences {
            offsets,
            branches: &self.branches,
            heads,
            kv_heads,
            head_dim,
            causal: self.causal,
            window: self.settings.sliding_window,
            scale: self.settings.scale,
            workers: &self.workers,
        })
    }
}

impl DenseAttention {
    fn check_branches(&self) -> Result<()> {
        if self.branches.is_empty() {
            return Ok(());
        }
        let lengths = self.cu_seqlens.windows(2).map(|pair| pair[1] - pair[0]);
        let fit = |(length, branches): (u32, &Vec<u32>)| {
            branches.is_sorted() && branches.last().is_none_or(|&last| last <= length)
        };
        let one_each = self.branches.len() + 1 == self.cu_seqlens.len();
        if self.causal && one_each && lengths.zip(&*self.branches).all(fit) {
            return Ok(());
        }
        Err(shape_error(OP, "the branches must be ascending, within their sequences, and causal"))
    }
}

#[cfg(test)]
mod tests;
