//! Examples laid end to end: what a step's forward and loss take.

use super::store::ExampleView;

/// A ragged batch without padding: attention stays within a sequence, positions begin at 0 in each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ragged {
    /// `[total_tokens]`
    pub ids: Vec<u32>,
    /// Within the sequence. `[total_tokens]`
    pub positions: Vec<u32>,
    /// First 0, last `total_tokens`. `[sequences + 1]`
    pub cu_seqlens: Vec<u32>,
    /// The rows whose outputs predict a trained token, ascending. `[trained_tokens]`
    pub rows: Vec<u32>,
    /// What each of `rows` predicts: the id in the row after it. `[trained_tokens]`
    pub targets: Vec<u32>,
}

impl Ragged {
    pub fn of<'a>(examples: impl IntoIterator<Item = ExampleView<'a>>) -> Self {
        let mut batch = Self { cu_seqlens: vec![0], ..Self::default() };
        for example in examples {
            let start = batch.ids.len() as u32;
            for position in (1..example.ids.len()).filter(|position| example.is_trained(*position)) {
                batch.rows.push(start + position as u32 - 1);
                batch.targets.push(example.ids[position]);
            }
            batch.positions.extend(0..example.ids.len() as u32);
            batch.ids.extend(example.ids);
            batch.cu_seqlens.push(batch.ids.len() as u32);
        }
        batch
    }
}
