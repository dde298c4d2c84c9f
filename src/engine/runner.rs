//! Turns a step of the scheduler into one ragged batch and runs the decoder over it. Owns the KV cache's
//! storage; decides nothing.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use candle_core::{CpuStorage, Storage, Tensor};

use crate::model::{Adapter, AdapterRows, Batch, Decoder, DecoderConfig, RowVectors};
use crate::ops::{KvLayout, KvPool, OpsError, PagedBatch, Workers};

use super::block_pool::BLOCK_SIZE;
use super::config::EngineConfig;
use super::handle::EngineError;
use super::paged_attention::PagedAttention;
use super::scheduler::{Scheduled, Step};
use super::worker::StepModel;

pub struct Runner {
    /// `None` while the weights are lent away.
    decoder: Option<Arc<Decoder>>,
    /// What the pool was made for.
    config: DecoderConfig,
    pool: Arc<KvPool>,
    workers: Arc<Workers>,
}

impl Runner {
    pub fn new(
        decoder: Arc<Decoder>,
        config: &EngineConfig,
        workers: &Arc<Workers>,
    ) -> Result<Self, OpsError> {
        let pool = KvPool::new(kv_layout(decoder.config(), config))?;
        let config = decoder.config().clone();
        Ok(Self { decoder: Some(decoder), config, pool, workers: Arc::clone(workers) })
    }
}

impl StepModel for Runner {
    fn forward(&mut self, step: &Step, adapters: &Adapters, beat: &dyn Fn()) -> candle_core::Result<Logits> {
        let Some(decoder) = self.decoder.as_deref() else {
            candle_core::bail!("the engine's weights are lent away");
        };
        for copy in &step.copies {
            self.pool.copy_block(copy.from, copy.to).map_err(candle_core::Error::wrap)?;
        }
        let (mut batch, rows) = ragged_batch(&step.scheduled);
        batch.adapters = adapter_rows(&step.scheduled, adapters);
        batch.vectors = put_vectors(&step.scheduled, &mut batch.ids)?;
        let block_tables = step.scheduled.iter().map(|scheduled| scheduled.block_table.clone()).collect();
        let paged =
            PagedBatch::new(Arc::clone(&batch.cu_seqlens), Arc::clone(&batch.positions), block_tables);
        let (pool, workers) = (&self.pool, &self.workers);
        let mut attention = PagedAttention { decoder, pool, batch: Arc::new(paged), workers, beat };
        let values = decoder.forward(&batch, &mut attention)?;
        Ok(Logits { values, rows })
    }

    fn weights(&self) -> Option<Arc<Decoder>> {
        self.decoder.clone()
    }

    fn swap_weights(&mut self, weights: Option<Arc<Decoder>>) -> Result<(), EngineError> {
        if weights.as_ref().is_some_and(|decoder| *decoder.config() != self.config) {
            return Err(EngineError::OtherModel);
        }
        self.decoder = weights;
        Ok(())
    }
}

/// The adapters of a step's requests by their tickets; requests without one are absent.
pub type Adapters = HashMap<u64, Arc<Adapter>>;

/// Logits of a step.
pub struct Logits {
    /// `[rows, vocab]`, f32, contiguous, on the CPU.
    pub values: Tensor,
    /// Which rows belong to each scheduled sequence: those of its last tokens.
    pub rows: Vec<Range<usize>>,
}

impl Logits {
    /// Lends the rows without copying them.
    pub fn with_rows<T>(&self, read: impl FnOnce(Rows<'_>) -> T) -> candle_core::Result<T> {
        let (_, vocab) = self.values.dims2()?;
        let (storage, layout) = self.values.storage_and_layout();
        match (&*storage, layout.contiguous_offsets()) {
            (Storage::Cpu(CpuStorage::F32(values)), Some((start, end))) => {
                Ok(read(Rows { values: &values[start..end], vocab }))
            }
            _ => candle_core::bail!("logits must be contiguous f32 on the CPU"),
        }
    }
}

#[derive(Clone, Copy)]
pub struct Rows<'a> {
    values: &'a [f32],
    vocab: usize,
}

impl<'a> Rows<'a> {
    /// `[rows, vocab]`
    pub fn all(&self) -> &'a [f32] {
        self.values
    }

    pub fn row(&self, at: usize) -> &'a [f32] {
        &self.values[at * self.vocab..(at + 1) * self.vocab]
    }
}

pub(super) fn kv_layout(decoder: &DecoderConfig, config: &EngineConfig) -> KvLayout {
    KvLayout {
        layers: decoder.layers,
        blocks: config.num_blocks,
        block_size: BLOCK_SIZE,
        kv_heads: decoder.kv_heads,
        head_dim: decoder.head_dim,
        dtype: config.kv_dtype,
    }
}

fn ragged_batch(scheduled: &[Scheduled]) -> (Batch, Vec<Range<usize>>) {
    let mut batch = Batch::default();
    let (mut positions, mut cu_seqlens, mut rows) = (Vec::new(), vec![0], Vec::new());
    for sequence in scheduled {
        batch.ids.extend(&sequence.ids);
        positions.extend((0..sequence.ids.len()).map(|offset| (sequence.start + offset) as u32));
        let end = batch.ids.len();
        cu_seqlens.push(end as u32);
        let first_row = batch.logit_rows.len();
        batch.logit_rows.extend((end - sequence.logit_rows()..end).map(|row| row as u32));
        rows.push(first_row..batch.logit_rows.len());
    }
    (batch.positions, batch.cu_seqlens) = (Arc::new(positions), Arc::new(cu_seqlens));
    (batch, rows)
}

/// The rows of sequences that go through an adapter; neighbours that share one are one range.
fn adapter_rows(scheduled: &[Scheduled], adapters: &Adapters) -> Vec<AdapterRows> {
    let mut ranges: Vec<AdapterRows> = Vec::new();
    let mut start = 0;
    for sequence in scheduled {
        let rows = start..start + sequence.ids.len();
        start = rows.end;
        let Some(adapter) = adapters.get(&sequence.key.ticket) else { continue };
        match ranges.last_mut() {
            Some(last) if last.rows.end == rows.start && Arc::ptr_eq(&last.adapter, adapter) => {
                last.rows.end = rows.end;
            }
            _ => ranges.push(AdapterRows { rows, adapter: Arc::clone(adapter), dropout: None }),
        }
    }
    ranges
}

/// The rows that hold vectors. Their ids become one that every vocabulary has.
fn put_vectors(scheduled: &[Scheduled], ids: &mut [u32]) -> candle_core::Result<RowVectors> {
    let mut vectors = RowVectors::default();
    let mut first_row = 0;
    for sequence in scheduled {
        if let Some(soft) = &sequence.soft {
            let positions = soft.among(&(sequence.start..sequence.start + sequence.ids.len()));
            let Some(values) = soft.vectors_at(&positions) else {
                candle_core::bail!("the vectors of a soft prefix are not there");
            };
            vectors.values.extend(values);
            for row in positions.map(|position| first_row + position - sequence.start) {
                ids[row] = 0;
                vectors.rows.push(row as u32);
            }
        }
        first_row += sequence.ids.len();
    }
    Ok(vectors)
}

#[cfg(test)]
mod tests {
    use super::super::sequence::SequenceKey;
    use super::super::soft_prefix::{SoftPrefix, SoftRows};
    use super::*;

    fn scheduled(ids: &[u32], start: usize, choices: &[u32], prompt_logprobs: bool) -> Scheduled {
        let key = SequenceKey { priority: 0, ticket: 0, choice: 0 };
        let (ids, choices) = (ids.to_vec(), choices.to_vec());
        Scheduled { key, ids, start, drafts: 0, block_table: vec![0], choices, prompt_logprobs, soft: None }
    }

    #[test]
    fn sequences_lie_end_to_end() {
        let (batch, rows) = ragged_batch(&[
            scheduled(&[5, 6, 7], 0, &[], false),
            scheduled(&[8, 9], 30, &[0, 1], false),
            scheduled(&[1, 2, 3], 4, &[], true),
        ]);
        assert_eq!(batch.ids, [5, 6, 7, 8, 9, 1, 2, 3]);
        assert_eq!(*batch.positions, [0, 1, 2, 30, 31, 4, 5, 6]);
        assert_eq!(*batch.cu_seqlens, [0, 3, 5, 8]);
        assert_eq!(batch.logit_rows, [4, 5, 6, 7]);
        assert_eq!(rows, [0..0, 0..1, 1..4]);
    }

    #[test]
    fn neighbours_with_one_adapter_are_one_range() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/models/qwen3");
        let (config, _) = crate::weights::open_weights(path.as_ref()).unwrap();
        let config = crate::model::families::translate(&config).unwrap();
        let settings = crate::model::LoraSettings {
            rank: 1,
            alpha: 1.0,
            dropout: 0.0,
            targets: vec![crate::model::Target::Up],
            rslora: false,
        };
        let new = || Arc::new(Adapter::new(&config, &settings, 0, &Workers::new(1)).unwrap());
        let (first, second) = (new(), new());
        let of_ticket = |ticket: u64, ids: &[u32]| {
            let key = SequenceKey { priority: 0, ticket, choice: 0 };
            Scheduled { key, ..scheduled(ids, 0, &[0], false) }
        };
        let adapters = Adapters::from([(1, Arc::clone(&first)), (2, first), (4, second)]);
        let step = [(1, 2), (2, 3), (3, 1), (4, 1), (1, 2), (4, 4)];
        let step: Vec<Scheduled> =
            step.iter().map(|&(ticket, count)| of_ticket(ticket, &vec![7; count])).collect();
        let ranges: Vec<_> = adapter_rows(&step, &adapters).into_iter().map(|of| of.rows).collect();
        assert_eq!(ranges, [0..5, 6..7, 7..9, 9..13]);
        assert!(adapter_rows(&step, &Adapters::new()).is_empty());
    }

    #[test]
    fn vectors_lie_in_the_rows_of_their_positions() {
        let soft = Arc::new(SoftRows::new(SoftPrefix::Text { encoder_ids: vec![3, 4] }, 0));
        let second = Scheduled { soft: Some(Arc::clone(&soft)), ..scheduled(&[9, 9, 8], 2, &[], false) };
        let sequences = [scheduled(&[5, 6], 0, &[], false), second];
        let mut ids = vec![5, 6, 9, 9, 8];
        assert!(put_vectors(&sequences, &mut ids.clone()).is_err());
        soft.set(Arc::from([0.1, 0.2, 0.3]));
        let vectors = put_vectors(&sequences, &mut ids).unwrap();
        assert_eq!((vectors.rows, vectors.values), (vec![2, 3], vec![0.2, 0.3]));
        assert_eq!(ids, [5, 6, 0, 0, 8]);
    }

    #[test]
    fn drafts_have_logits_too() {
        let drafted = Scheduled { drafts: 2, ..scheduled(&[5, 6, 7], 9, &[0], false) };
        let (batch, rows) = ragged_batch(&[drafted, scheduled(&[8], 3, &[0], false)]);
        assert_eq!((batch.logit_rows, rows), (vec![0, 1, 2, 3], vec![0..3, 3..4]));
    }
}
