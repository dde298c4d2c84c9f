//! How much memory a model may take: weights, KV blocks, what is left; or a refusal with the numbers.
//!
//! `plan` is pure; only `memory_available` looks at the machine.

use std::fmt;

use crate::settings::ByteSize;

use super::RegistryError;

/// Tokens in a KV block.
pub const BLOCK_TOKENS: usize = 32;
/// Without a setting, the KV cache takes at most one part in this many of what the weights leave..
const USUAL_PART: u64 = 4;
/// ..unless one context of full length needs more; then up to this many tenths.
const MOST_TENTHS: u64 = 8;

/// What a plan is made from, in bytes and tokens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Needs {
    pub weight_bytes: u64,
    pub block_bytes: u64,
    pub max_model_len: usize,
    pub max_num_seqs: usize,
    pub kv_cache_memory: Option<ByteSize>,
    /// Free memory before anything is loaded; `None` where the system does not say.
    pub available: Option<u64>,
}

/// The memory a model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryPlan {
    pub weight_bytes: u64,
    pub block_bytes: u64,
    pub num_blocks: usize,
    /// Free memory before anything is loaded.
    pub available: Option<u64>,
}

impl MemoryPlan {
    pub fn kv_bytes(&self) -> u64 {
        self.block_bytes * self.num_blocks as u64
    }
}

impl fmt::Display for MemoryPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (weights, kv) = (ByteSize(self.weight_bytes), ByteSize(self.kv_bytes()));
        let tokens = self.num_blocks * BLOCK_TOKENS;
        write!(f, "weights {weights}, KV cache {kv} ({} blocks, {tokens} tokens)", self.num_blocks)?;
        match self.available {
            Some(bytes) => {
                write!(f, ", left {}", ByteSize(bytes.saturating_sub(self.weight_bytes + self.kv_bytes())))
            }
            None => Ok(()),
        }
    }
}

/// # Errors
/// `DoesNotFit`: the weights, or not even one context of full length, or the KV memory that was asked for.
pub(super) fn plan(needs: Needs) -> Result<MemoryPlan, RegistryError> {
    let refuse = |problem: String| Err(RegistryError::DoesNotFit { problem });
    let left = match needs.available {
        Some(available) => available.saturating_sub(needs.weight_bytes),
        None => u64::MAX,
    };
    let (weights, free) = (ByteSize(needs.weight_bytes), ByteSize(needs.available.unwrap_or(u64::MAX)));
    if left == 0 {
        return refuse(format!(
            "the weights take {weights} and {free} is free: choose a smaller model or --dtype bf16"
        ));
    }
    let one_context = needs.max_model_len.div_ceil(BLOCK_TOKENS) as u64;
    let full = one_context.saturating_mul(needs.max_num_seqs as u64);
    let blocks = match needs.kv_cache_memory {
        Some(asked) if asked.0 > left => {
            return refuse(format!(
                "--kv-cache-memory {asked} and weights of {weights} exceed the {free} that is free"
            ));
        }
        Some(asked) => asked.0 / needs.block_bytes,
        None => {
            let usual = left / USUAL_PART / needs.block_bytes;
            let most = left / 10 * MOST_TENTHS / needs.block_bytes;
            full.min(usual.max(one_context.min(most)))
        }
    };
    if blocks < one_context {
        let needed = ByteSize(one_context * needs.block_bytes);
        return refuse(format!(
            "a context of {} tokens needs {needed} of KV cache; there is room for {} ({free} free, weights {weights}): \
             use --max-model-len {}, or a higher --kv-cache-memory",
            needs.max_model_len,
            ByteSize(blocks * needs.block_bytes),
            (blocks as usize * BLOCK_TOKENS).max(BLOCK_TOKENS),
        ));
    }
    // Block ids are 32-bit.
    let num_blocks = blocks.min(u64::from(u32::MAX)) as usize;
    let Needs { weight_bytes, block_bytes, available, .. } = needs;
    Ok(MemoryPlan { weight_bytes, block_bytes, num_blocks, available })
}

/// Free memory of this machine or, if it is tighter, of this container.
pub fn memory_available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let machine = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let machine = machine.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024;
    let read = |name: &str| {
        std::fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok()?.trim().parse::<u64>().ok()
    };
    let container =
        read("memory.max").zip(read("memory.current")).map(|(most, used)| most.saturating_sub(used));
    Some(container.map_or(machine, |container| machine.min(container)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDS: Needs = Needs {
        weight_bytes: 1 << 30,
        block_bytes: 1 << 20,
        max_model_len: 1024,
        max_num_seqs: 4,
        kv_cache_memory: None,
        available: Some(5 << 30),
    };

    #[track_caller]
    fn check(needs: Needs, expected: Result<usize, &str>) {
        match (plan(needs), expected) {
            (Ok(plan), Ok(blocks)) => assert_eq!(plan.num_blocks, blocks),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (got, _) => panic!("{got:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn the_cache_holds_what_is_needed_within_its_share() {
        check(NEEDS, Ok(128));
        check(Needs { max_num_seqs: 1000, ..NEEDS }, Ok(1024));
        check(Needs { max_model_len: 64 << 10, max_num_seqs: 1, ..NEEDS }, Ok(2048));
        check(Needs { kv_cache_memory: Some(ByteSize(50 << 20)), ..NEEDS }, Ok(50));
        check(Needs { available: None, ..NEEDS }, Ok(128));
    }

    #[test]
    fn what_cannot_fit_is_refused_with_the_numbers() {
        check(
            Needs { available: Some(1 << 29), ..NEEDS },
            Err("the weights take 1.00 GiB and 512.0 MiB is free"),
        );
        check(
            Needs { kv_cache_memory: Some(ByteSize(5 << 30)), ..NEEDS },
            Err("exceed the 5.00 GiB that is free"),
        );
        check(Needs { kv_cache_memory: Some(ByteSize(9 << 20)), ..NEEDS }, Err("use --max-model-len 288"));
        check(Needs { max_model_len: 1 << 20, ..NEEDS }, Err("needs 32.00 GiB of KV cache"));
    }

    #[test]
    fn this_machine_has_memory() {
        assert!(memory_available().is_some_and(|bytes| bytes > 1 << 20));
    }
}
