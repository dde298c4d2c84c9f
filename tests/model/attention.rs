//! Attention for the decoder's tests: a plain dense one to tell a wrong decoder from a wrong kernel, and the
//! paged one without an engine.

use std::sync::Arc;

use candle_core::{Device, Result, Tensor};
use xenoglot::model::{Attention, Batch, Decoder};
use xenoglot::ops::{KvDtype, KvLayout, KvPool, PagedBatch, Workers, paged_attention};

/// Sequences with KV blocks of their own, run through a decoder batch by batch.
pub struct PagedSequences<'a> {
    decoder: &'a Decoder,
    pool: Arc<KvPool>,
    workers: Arc<Workers>,
    /// A table a sequence.
    block_tables: Vec<Vec<u32>>,
    /// Tokens in the pool, a sequence.
    lengths: Vec<usize>,
}

const BLOCK_SIZE: usize = 32;

impl<'a> PagedSequences<'a> {
    /// Room for `sequences` of up to `tokens` each. Their blocks are interleaved and descending, so that a
    /// kernel that ignores the table is found out.
    pub fn new(decoder: &'a Decoder, sequences: usize, tokens: usize) -> Self {
        let config = decoder.config();
        let blocks_each = tokens.div_ceil(BLOCK_SIZE);
        let blocks = sequences * blocks_each;
        let layout = KvLayout {
            layers: config.layers,
            blocks,
            block_size: BLOCK_SIZE,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            dtype: KvDtype::F32,
        };
        let table = |s: usize| (0..blocks_each).map(|i| (blocks - 1 - i * sequences - s) as u32).collect();
        Self {
            decoder,
            pool: KvPool::new(layout).unwrap(),
            workers: Workers::new(2),
            block_tables: (0..sequences).map(table).collect(),
            lengths: vec![0; sequences],
        }
    }

    /// Appends tokens to some sequences in one batch, `(sequence, ids)` each; the logits of all these rows.
    pub fn step(&mut self, parts: &[(usize, &[u32])]) -> Vec<Vec<f32>> {
        let rows = parts.iter().map(|(_, ids)| ids.len() as u32).sum();
        self.step_with_logits(parts, (0..rows).collect())
    }

    pub fn step_with_logits(&mut self, parts: &[(usize, &[u32])], logit_rows: Vec<u32>) -> Vec<Vec<f32>> {
        let (mut ids, mut positions, mut cu_seqlens) = (Vec::new(), Vec::new(), vec![0]);
        for (sequence, tokens) in parts {
            let start = self.lengths[*sequence];
            positions.extend((start..start + tokens.len()).map(|position| position as u32));
            ids.extend_from_slice(tokens);
            cu_seqlens.push(ids.len() as u32);
            self.lengths[*sequence] += tokens.len();
        }
        let (positions, cu_seqlens) = (Arc::new(positions), Arc::new(cu_seqlens));
        let block_tables = parts.iter().map(|(sequence, _)| self.block_tables[*sequence].clone()).collect();
        let paged = PagedBatch::new(Arc::clone(&cu_seqlens), Arc::clone(&positions), block_tables);
        let batch = Batch { ids, positions, cu_seqlens, logit_rows, ..Batch::default() };
        let decoder = self.decoder;
        let mut attention = Paged { sequences: self, paged: Arc::new(paged) };
        decoder.forward(&batch, &mut attention).unwrap().to_vec2().unwrap()
    }
}

struct Paged<'a, 'b> {
    sequences: &'a PagedSequences<'b>,
    paged: Arc<PagedBatch>,
}

impl Attention for Paged<'_, '_> {
    fn attend(&mut self, layer: usize, q: &Tensor, k: &Tensor, v: &Tensor, _: &Batch) -> Result<Tensor> {
        let PagedSequences { decoder, pool, workers, .. } = self.sequences;
        paged_attention(q, k, v, pool, layer, &self.paged, decoder.attention_settings(layer), workers)
    }
}

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
                let dot = |key: &[f32]| -> f64 {
                    q[row][head].iter().zip(key).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum()
                };
                let seen = first..=row;
                let capped = |score: f64| match settings.logit_softcap {
                    Some(cap) => f64::from(cap) * (score / f64::from(cap)).tanh(),
                    None => score,
                };
                let scores: Vec<f64> =
                    seen.clone().map(|at| capped(dot(&k[at][head / group]) * settings.scale)).collect();
                let largest = scores.iter().copied().fold(f64::MIN, f64::max);
                let weights: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
                let mut sums = vec![0.0; head_dim];
                for (at, weight) in seen.zip(&weights) {
                    for (sum, value) in sums.iter_mut().zip(&v[at][head / group]) {
                        *sum += weight * f64::from(*value);
                    }
                }
                let total: f64 = weights.iter().sum();
                output.extend(sums.iter().map(|sum| (sum / total) as f32));
            }
        }
        Tensor::from_vec(output, (tokens, heads * head_dim), &Device::Cpu)
    }
}
