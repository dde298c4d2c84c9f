//! The encoder of a MindMerger model on the engine's thread: computes the vectors of soft prefixes when a step is about to
//! read them, the texts of all its sequences in one batch, and keeps them for requests that ask the same again.
//!
//! A text whose keys and values are in the prefix cache is never encoded. A text's vectors do not depend on the batch
//! (`model::encoders`).

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use moka::sync::Cache;

use crate::model::augmented::Augmented;
use crate::model::encoders::Texts;

use super::scheduler::Step;
use super::soft_prefix::{SoftKey, SoftRows, Vectors};

/// Vectors kept after their last sequence: 64 MiB are 29,000 positions of 576 features, 4,000 of 4,096.
pub const CACHE_BYTES: u64 = 64 << 20;
/// Tokens of texts that are encoded at once: one text, or several up to so many. The thread shows that it lives in
/// between.
pub const BATCH_TOKENS: usize = 2048;

/// Working space of encoder and mapping, and the vectors that are kept. The widest moment of an encoder's layer holds
/// queries, keys and values beside the states, or a feed-forward of four times their width twice.
pub fn soft_prefix_bytes(d_encoder: usize, d_llm: usize) -> u64 {
    CACHE_BYTES + 4 * (BATCH_TOKENS * (12 * d_encoder + 2 * d_llm)) as u64
}

pub struct SoftEncoder {
    augmented: Augmented,
    cache: Cache<SoftKey, Vectors>,
}

/// Why the request of a ticket cannot be served.
pub type Failure = (u64, String);

impl SoftEncoder {
    pub fn new(augmented: Augmented, cache_bytes: u64) -> Self {
        let bytes = |_: &SoftKey, vectors: &Vectors| {
            u32::try_from(vectors.len() * size_of::<f32>()).unwrap_or(u32::MAX)
        };
        Self { augmented, cache: Cache::builder().max_capacity(cache_bytes).weigher(bytes).build() }
    }

    /// The longest text, in the encoder's tokens.
    pub fn tokens_max(&self) -> usize {
        self.augmented.encoder().max_tokens()
    }

    /// Sees to it that the vectors which the step reads are there. The requests whose texts cannot be encoded.
    pub fn fill(&self, step: &Step, beat: &dyn Fn()) -> Vec<Failure> {
        let mut missing: Vec<&SoftRows> = Vec::new();
        let mut failed: HashMap<SoftKey, String> = HashMap::new();
        for soft in step.scheduled.iter().filter_map(|scheduled| scheduled.soft.as_deref()) {
            if soft.is_computed() || missing.iter().any(|other| other.key == soft.key) {
                continue;
            }
            match self.cache.get(&soft.key) {
                Some(vectors) => soft.set(vectors),
                None => missing.push(soft),
            }
        }
        for batch in batches(&missing) {
            beat();
            self.encode(batch, &mut failed);
        }
        let mut failures = Vec::new();
        for scheduled in &step.scheduled {
            let Some(soft) = scheduled.soft.as_deref().filter(|soft| !soft.is_computed()) else { continue };
            let twin = missing.iter().find(|other| other.key == soft.key && other.is_computed());
            match (twin, failed.get(&soft.key)) {
                (Some(twin), _) => soft.set_from(twin),
                (None, why) => {
                    let why = why.map_or("its text was not encoded", String::as_str);
                    failures.push((scheduled.key.ticket, why.to_owned()));
                }
            }
        }
        failures
    }

    /// A batch that fails is tried again text by text, so that each text answers for itself.
    fn encode(&self, batch: &[&SoftRows], failed: &mut HashMap<SoftKey, String>) {
        match (self.vectors(batch), batch) {
            (Ok(vectors), _) => {
                for (soft, vectors) in batch.iter().zip(vectors) {
                    self.cache.insert(soft.key, Arc::clone(&vectors));
                    soft.set(vectors);
                }
            }
            (Err(why), [only]) => {
                tracing::warn!(why, tokens = only.encoder_ids.len(), "a text could not be encoded");
                failed.insert(only.key, format!("the encoder failed on this text: {why}"));
            }
            (Err(_), several) => several.iter().for_each(|soft| self.encode(&[soft], failed)),
        }
    }

    fn vectors(&self, batch: &[&SoftRows]) -> Result<Vec<Vectors>, String> {
        let texts = Texts::new(&batch.iter().map(|soft| &soft.encoder_ids).collect::<Vec<_>>());
        let encoded = catch_unwind(AssertUnwindSafe(|| self.augmented.prefixes(&texts)));
        match encoded {
            Ok(Ok(prefixes)) => Ok(prefixes.into_iter().map(Arc::from).collect()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("it panicked".to_owned()),
        }
    }
}

/// Texts in their order, as many together as [`BATCH_TOKENS`] allow.
fn batches<'a, 'b>(missing: &'a [&'b SoftRows]) -> impl Iterator<Item = &'a [&'b SoftRows]> {
    let mut rest = missing;
    std::iter::from_fn(move || {
        let mut tokens = 0;
        let fits = |soft: &&&SoftRows| {
            tokens += soft.encoder_ids.len();
            tokens <= BATCH_TOKENS
        };
        let count = rest.iter().take_while(fits).count().max(1).min(rest.len());
        let (batch, after) = rest.split_at(count);
        rest = after;
        (!batch.is_empty()).then_some(batch)
    })
}

#[cfg(test)]
mod tests {
    use super::super::soft_prefix::SoftPrefix;
    use super::*;

    #[test]
    fn texts_are_batched_up_to_a_number_of_tokens() {
        let check = |lengths: &[usize], expected: &[usize]| {
            let rows = |length: &usize| SoftRows::new(SoftPrefix::Text { encoder_ids: vec![1; *length] }, 0);
            let rows: Vec<SoftRows> = lengths.iter().map(rows).collect();
            let rows: Vec<&SoftRows> = rows.iter().collect();
            assert_eq!(batches(&rows).map(<[_]>::len).collect::<Vec<_>>(), expected, "{lengths:?}");
        };
        check(&[], &[]);
        check(&[5000], &[1]);
        check(&[1000, 1000, 48, 1], &[3, 1]);
        check(&[1, 5000, 1], &[1, 1, 1]);
    }
}
