//! How a model's memory is divided: weights, RoPE's table, KV blocks, working space, and what is left. Pure
//! arithmetic; the reading of what is free is in `available_memory`.

use std::fmt;

use crate::model::DecoderConfig;

use super::block_pool::BLOCK_SIZE;
use super::config::{EngineConfig, MAX_PROMPT_LOGIT_ROWS};
use super::runner::kv_layout;

/// The KV cache takes at most this part of what the weights leave, unless one sequence needs more.
const KV_SHARE: f64 = 0.3;

/// What must fit, in bytes unless named otherwise.
#[derive(Debug, Clone, Copy)]
pub struct MemoryRequest {
    pub weight_bytes: u64,
    /// RoPE's table for `max_model_len` positions.
    pub rope_bytes: u64,
    pub kv_bytes_per_block: u64,
    /// Activations and logits of the largest step.
    pub scratch_bytes: u64,
    /// Free before the weights are loaded, as the system counts: what is promised but untouched is free to it.
    pub available_bytes: u64,
    /// The part of it that models loaded before may still touch; see [`MemoryPlan::untouched_bytes`].
    pub promised_bytes: u64,
    /// Tokens of the longest sequence.
    pub max_model_len: usize,
    /// Sequences that run at once.
    pub max_num_seqs: usize,
    /// `None`: as many as sequences can use, within a share of the free memory.
    pub num_blocks: Option<usize>,
}

impl MemoryRequest {
    /// From a model and its engine's settings, whose `num_blocks` is not looked at.
    pub fn new(
        decoder: &DecoderConfig,
        weight_bytes: u64,
        config: &EngineConfig,
        available_bytes: u64,
    ) -> Self {
        let kv_bytes_per_block = kv_layout(decoder, config).bytes_per_block() as u64;
        // The widest moment of a layer holds the hidden states about four times, q, k, v, gate and up; experts gather rows of
        // their own and give as many.
        let gathered = if decoder.experts.is_some() { 2 * decoder.hidden_size } else { 0 };
        let row = 4 * decoder.hidden_size
            + gathered
            + 2 * (decoder.heads + 2 * decoder.kv_heads) * decoder.head_dim
            + 3 * decoder.widest_block();
        let logits = (config.max_num_seqs + MAX_PROMPT_LOGIT_ROWS) * decoder.vocab_size;
        Self {
            weight_bytes,
            rope_bytes: decoder.rope_table_bytes(config.max_model_len) as u64,
            kv_bytes_per_block,
            scratch_bytes: 4 * (config.max_batch_tokens * row + logits) as u64,
            available_bytes,
            promised_bytes: 0,
            max_model_len: config.max_model_len,
            max_num_seqs: config.max_num_seqs,
            num_blocks: None,
        }
    }
}

/// A division that fits. `Display` prints it as a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryPlan {
    pub weight_bytes: u64,
    pub rope_bytes: u64,
    pub num_blocks: usize,
    pub kv_bytes: u64,
    pub scratch_bytes: u64,
    /// Without what other models were promised.
    pub available_bytes: u64,
    pub left_bytes: u64,
    /// Blocks of one sequence of `max_model_len` tokens.
    pub blocks_per_sequence: usize,
}

impl MemoryPlan {
    /// What a running model may still take and the system still counts as free: KV blocks that were never written
    /// (the cache is zeroed lazily) and the working space, which comes and goes.
    pub fn untouched_bytes(&self, kv_blocks_touched: usize) -> u64 {
        let untouched_blocks = self.num_blocks.saturating_sub(kv_blocks_touched) as u64;
        let block_bytes = self.kv_bytes / self.num_blocks.max(1) as u64;
        self.scratch_bytes.saturating_add(block_bytes.saturating_mul(untouched_blocks))
    }
}

impl MemoryPlan {
    /// All that the model takes.
    pub fn total_bytes(&self) -> u64 {
        [self.rope_bytes, self.kv_bytes, self.scratch_bytes]
            .into_iter()
            .fold(self.weight_bytes, u64::saturating_add)
    }
}

impl MemoryError {
    /// What would have to be free beside what is, for a model that is too large for that alone.
    pub fn missing_bytes(&self) -> Option<u64> {
        let Self::TooLarge {
            weight_bytes, rope_bytes, scratch_bytes, sequence_bytes, available_bytes, ..
        } = self
        else {
            return None;
        };
        let needed = [rope_bytes, scratch_bytes, sequence_bytes]
            .into_iter()
            .fold(*weight_bytes, |sum, part| sum.saturating_add(*part));
        Some(needed.saturating_sub(*available_bytes))
    }
}

/// Why a model cannot run here; the message has the numbers and the ways out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    #[error(
        "not enough memory: the weights take {}, the RoPE table {}, the working space {}, and one sequence of \
         {max_model_len} tokens {} of KV cache, but {} are available{}: lower --max-model-len, choose --kv-dtype bf16 \
         or weights of fewer bits (--quantize int8 for those of 16), or free memory",
        Bytes(*weight_bytes), Bytes(*rope_bytes), Bytes(*scratch_bytes), Bytes(*sequence_bytes),
        Bytes(*available_bytes), promised_text(*promised_bytes)
    )]
    TooLarge {
        weight_bytes: u64,
        rope_bytes: u64,
        scratch_bytes: u64,
        sequence_bytes: u64,
        /// Without what was promised.
        available_bytes: u64,
        promised_bytes: u64,
        max_model_len: usize,
    },
    #[error(
        "{num_blocks} KV blocks of {BLOCK_SIZE} tokens are too few: one sequence of {max_model_len} tokens needs \
         {needed}; raise --kv-cache-memory or lower --max-model-len"
    )]
    TooFewBlocks { num_blocks: usize, needed: usize, max_model_len: usize },
    #[error(
        "{num_blocks} KV blocks take {}, but after the weights ({}), the RoPE table ({}) and the working space ({}) \
         only {} are left{}: lower --kv-cache-memory or choose --kv-dtype bf16",
        Bytes(*kv_bytes), Bytes(*weight_bytes), Bytes(*rope_bytes), Bytes(*scratch_bytes), Bytes(*free_bytes),
        promised_text(*promised_bytes)
    )]
    TooManyBlocks {
        num_blocks: usize,
        kv_bytes: u64,
        weight_bytes: u64,
        rope_bytes: u64,
        scratch_bytes: u64,
        free_bytes: u64,
        promised_bytes: u64,
    },
}

fn promised_text(promised_bytes: u64) -> String {
    match promised_bytes {
        0 => String::new(),
        promised => {
            format!(" ({} more are promised to the models loaded already; unload one)", Bytes(promised))
        }
    }
}

/// Chooses the number of KV blocks.
///
/// # Errors
/// See [`MemoryError`].
pub fn memory_plan(request: &MemoryRequest) -> Result<MemoryPlan, MemoryError> {
    let MemoryRequest { weight_bytes, rope_bytes, scratch_bytes, promised_bytes, max_model_len, .. } =
        *request;
    let available_bytes = request.available_bytes.saturating_sub(promised_bytes);
    let block_bytes = request.kv_bytes_per_block.max(1);
    let blocks_per_sequence = max_model_len.div_ceil(BLOCK_SIZE).max(1);
    let free_bytes =
        [weight_bytes, rope_bytes, scratch_bytes].into_iter().fold(available_bytes, u64::saturating_sub);
    let fitting = usize::try_from(free_bytes / block_bytes).unwrap_or(usize::MAX);
    if fitting < blocks_per_sequence {
        let sequence_bytes = block_bytes.saturating_mul(blocks_per_sequence as u64);
        return Err(MemoryError::TooLarge {
            weight_bytes,
            rope_bytes,
            scratch_bytes,
            sequence_bytes,
            available_bytes,
            promised_bytes,
            max_model_len,
        });
    }
    let num_blocks = match request.num_blocks {
        Some(num_blocks) if num_blocks < blocks_per_sequence => {
            return Err(MemoryError::TooFewBlocks { num_blocks, needed: blocks_per_sequence, max_model_len });
        }
        Some(num_blocks) if num_blocks > fitting => {
            let kv_bytes = block_bytes.saturating_mul(num_blocks as u64);
            return Err(MemoryError::TooManyBlocks {
                num_blocks,
                kv_bytes,
                weight_bytes,
                rope_bytes,
                scratch_bytes,
                free_bytes,
                promised_bytes,
            });
        }
        Some(num_blocks) => num_blocks,
        None => {
            let useful = blocks_per_sequence.saturating_mul(request.max_num_seqs.max(1));
            let share = (fitting as f64 * KV_SHARE) as usize;
            useful.min(share).max(blocks_per_sequence).min(u32::MAX as usize)
        }
    };
    let kv_bytes = block_bytes * num_blocks as u64;
    let left_bytes = free_bytes - kv_bytes;
    Ok(MemoryPlan {
        weight_bytes,
        rope_bytes,
        num_blocks,
        kv_bytes,
        scratch_bytes,
        available_bytes,
        left_bytes,
        blocks_per_sequence,
    })
}

impl fmt::Display for MemoryPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tokens = self.num_blocks * BLOCK_SIZE;
        let sequences = self.num_blocks as f64 / self.blocks_per_sequence as f64;
        let cache = format!(
            "{} blocks of {BLOCK_SIZE}: {tokens} tokens, {sequences:.1} sequences of full length",
            self.num_blocks
        );
        let rows = [
            ("weights", self.weight_bytes, ""),
            ("RoPE table", self.rope_bytes, ""),
            ("KV cache", self.kv_bytes, cache.as_str()),
            ("working space", self.scratch_bytes, ""),
            ("left", self.left_bytes, ""),
            ("available", self.available_bytes, ""),
        ];
        for (at, (name, bytes, note)) in rows.iter().enumerate() {
            let line = format!("{name:<14}{:>11}  {note}", Bytes(*bytes).to_string());
            write!(f, "{}{}", if at > 0 { "\n" } else { "" }, line.trim_end())?;
        }
        Ok(())
    }
}

/// Bytes as people read them, in powers of 1024.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MIB: f64 = 1_048_576.0;
        let mib = self.0 as f64 / MIB;
        if mib < 1024.0 { write!(f, "{mib:.1} MiB") } else { write!(f, "{:.2} GiB", mib / 1024.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// Blocks of 1 MiB; a sequence takes 10.
    fn request(available_mib: u64) -> MemoryRequest {
        MemoryRequest {
            weight_bytes: 96 * MIB,
            rope_bytes: 4 * MIB,
            kv_bytes_per_block: MIB,
            scratch_bytes: 20 * MIB,
            available_bytes: available_mib * MIB,
            promised_bytes: 0,
            max_model_len: 320,
            max_num_seqs: 8,
            num_blocks: None,
        }
    }

    fn check(request: &MemoryRequest, num_blocks: usize, left_mib: u64) {
        let plan = memory_plan(request).unwrap();
        assert_eq!((plan.num_blocks, plan.left_bytes), (num_blocks, left_mib * MIB), "{request:?}");
        let parts =
            plan.weight_bytes + plan.rope_bytes + plan.kv_bytes + plan.scratch_bytes + plan.left_bytes;
        assert_eq!(parts, plan.available_bytes);
    }

    #[test]
    fn the_cache_is_as_large_as_useful_within_its_share() {
        check(&request(1120), 80, 920); // useful: 8 sequences
        check(&request(220), 30, 70); // 30 % of 100
        check(&request(135), 10, 5); // one sequence, beyond the share
        check(&MemoryRequest { num_blocks: Some(60), ..request(220) }, 60, 40);
    }

    /// A second model of the same kind: what the first was promised and has not touched is not free.
    #[test]
    fn promises_to_other_models_are_kept() {
        let first = memory_plan(&request(220)).unwrap();
        for (touched, mib) in [(0, 50), (10, 40), (30, 20), (99, 20)] {
            assert_eq!(first.untouched_bytes(touched), mib * MIB, "{touched} of 30 blocks touched");
        }
        let beside = |available_mib: u64, touched: usize| {
            let promised_bytes = first.untouched_bytes(touched);
            memory_plan(&MemoryRequest { promised_bytes, ..request(available_mib) })
        };
        assert_eq!(beside(180, 0).unwrap().available_bytes, 130 * MIB);
        assert!(beside(160, 20).is_ok(), "what is touched is gone from `available` and counts once");
        let refused = beside(179, 0).unwrap_err().to_string();
        assert!(refused.contains("129.0 MiB are available (50.0 MiB more are promised"), "{refused}");
    }

    #[test]
    fn refusals_have_numbers_and_ways_out() {
        let refused = |request: MemoryRequest| memory_plan(&request).unwrap_err().to_string();
        let message = refused(request(129));
        for part in
            ["96.0 MiB", "4.0 MiB", "20.0 MiB", "10.0 MiB", "129.0 MiB", "--max-model-len", "--kv-dtype"]
        {
            assert!(message.contains(part), "{message}");
        }
        assert!(refused(request(50)).contains("50.0 MiB"));
        let few = refused(MemoryRequest { num_blocks: Some(9), ..request(220) });
        assert!(few.contains("needs 10") && few.contains("raise --kv-cache-memory"), "{few}");
        let many = refused(MemoryRequest { num_blocks: Some(101), ..request(220) });
        assert!(many.contains("100.0 MiB are left") && many.contains("lower --kv-cache-memory"), "{many}");
    }

    #[test]
    fn the_table() {
        let table = memory_plan(&request(1120)).unwrap().to_string();
        let expected = "weights          96.0 MiB\n\
                        RoPE table        4.0 MiB\n\
                        KV cache         80.0 MiB  80 blocks of 32: 2560 tokens, 8.0 sequences of full length\n\
                        working space    20.0 MiB\n\
                        left            920.0 MiB\n\
                        available        1.09 GiB";
        assert_eq!(table, expected);
    }
}
