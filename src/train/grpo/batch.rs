//! Groups of completions as micro-batches whose prompts go through the model once.
//!
//! A group is one sequence that branches: its stem is the prompt but for its last token, and each branch is that token and the
//! completion but for its last one, so that every row of a branch predicts one token of the completion. A pass costs the prompt
//! once and every completion, in place of the prompt with every completion.

use std::ops::Range;
use std::sync::Arc;

use super::super::MicroBatch;
use crate::model::Batch;
use crate::ops::Targets;

/// A prompt and what was sampled from it.
#[derive(Debug, Clone, Copy)]
pub struct Group<'a> {
    pub prompt: &'a [u32],
    pub completions: &'a [Vec<u32>],
}

/// Some completions of some groups.
pub struct GroupBatch {
    pub micro: MicroBatch,
    /// The rows of each completion, in the order of groups and completions.
    pub rows: Vec<Range<usize>>,
    /// Which completions they are, numbered over all groups.
    pub completions: Range<usize>,
}

impl GroupBatch {
    /// `(row, token)` of every token of the completions, in their order.
    pub fn tokens(&self) -> Vec<(u32, u32)> {
        let targets = &self.micro.targets.ids;
        let rows = self.rows.iter().cloned().flatten();
        rows.map(|row| (row as u32, targets[row])).collect()
    }
}

/// All completions, at most so many rows together; one that is longer is alone.
pub fn group_batches(groups: &[Group<'_>], rows_max: usize) -> Vec<GroupBatch> {
    let mut building = Building::default();
    let mut done = Vec::new();
    for group in groups {
        for (index, completion) in group.completions.iter().enumerate() {
            let begins = index == 0 || building.is_empty();
            let stem = if begins { group.prompt.len().saturating_sub(1) } else { 0 };
            if !building.is_empty() && building.ids.len() + stem + completion.len() > rows_max {
                done.push(std::mem::take(&mut building).finish(done_completions(&done)));
            }
            building.add(group.prompt, completion, index == 0);
        }
    }
    if !building.is_empty() {
        done.push(building.finish(done_completions(&done)));
    }
    done
}

fn done_completions(done: &[GroupBatch]) -> usize {
    done.last().map_or(0, |batch| batch.completions.end)
}

#[derive(Default)]
struct Building {
    ids: Vec<u32>,
    positions: Vec<u32>,
    cu_seqlens: Vec<u32>,
    branches: Vec<Vec<u32>>,
    targets: Vec<u32>,
    rows: Vec<Range<usize>>,
}

impl Building {
    fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// `begins`: the completion is the first of its group.
    fn add(&mut self, prompt: &[u32], completion: &[u32], begins: bool) {
        let Some((&last, stem)) = prompt.split_last() else { return };
        if begins || self.is_empty() {
            self.cu_seqlens.push(self.ids.len() as u32);
            self.branches.push(Vec::new());
            self.ids.extend(stem);
            self.positions.extend(0..stem.len() as u32);
            self.targets.extend(stem.iter().map(|_| 0));
        }
        let (start, first) = (self.ids.len(), self.cu_seqlens.last().copied().unwrap_or_default() as usize);
        if let (Some(branches), Some((_, before))) = (self.branches.last_mut(), completion.split_last()) {
            branches.push((start - first) as u32);
            self.ids.push(last);
            self.ids.extend(before);
            self.positions.extend((stem.len()..).take(completion.len()).map(|at| at as u32));
            self.targets.extend(completion);
        }
        self.rows.push(start..self.ids.len());
    }

    fn finish(mut self, before: usize) -> GroupBatch {
        self.cu_seqlens.push(self.ids.len() as u32);
        let mut weights = vec![0.0; self.ids.len()];
        self.rows.iter().for_each(|rows| weights[rows.clone()].fill(1.0));
        let completions = before..before + self.rows.len();
        let batch = Batch {
            ids: self.ids,
            positions: Arc::new(self.positions),
            cu_seqlens: Arc::new(self.cu_seqlens),
            branches: Arc::new(self.branches),
            ..Batch::default()
        };
        let targets = Targets { ids: self.targets, weights };
        GroupBatch {
            micro: MicroBatch { batch, targets, key: 0, prefixes: None },
            rows: self.rows,
            completions,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_is_there_once() {
        let completions = [vec![10, 11, 12], vec![20], vec![]];
        let other = [vec![30, 31]];
        let groups = [
            Group { prompt: &[1, 2, 3], completions: &completions },
            Group { prompt: &[7], completions: &other },
        ];
        let batches = group_batches(&groups, 100);
        let [batch] = &batches[..] else { panic!("{} batches", batches.len()) };
        let Batch { ids, positions, cu_seqlens, branches, .. } = &batch.micro.batch;
        assert_eq!(*ids, [1, 2, 3, 10, 11, 3, 7, 30]);
        assert_eq!(**positions, [0, 1, 2, 3, 4, 2, 0, 1]);
        assert_eq!(**cu_seqlens, [0, 6, 8]);
        assert_eq!(**branches, [vec![2, 5], vec![0]]);
        assert_eq!(batch.rows, [2..5, 5..6, 6..6, 6..8]);
        let tokens = [(2, 10), (3, 11), (4, 12), (5, 20), (6, 30), (7, 31)];
        assert_eq!(batch.tokens(), tokens);
        assert_eq!(batch.micro.targets.weights, [0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
        assert_eq!(batch.completions, 0..4);
    }

    #[test]
    fn a_group_is_cut_where_it_is_too_long() {
        let completions = [vec![1; 4], vec![2; 4], vec![3; 4], vec![4; 20]];
        let groups = [Group { prompt: &[9, 9, 9], completions: &completions }; 2];
        let batches = group_batches(&groups, 12);
        let sizes: Vec<_> =
            batches.iter().map(|batch| (batch.micro.batch.ids.len(), batch.rows.len())).collect();
        assert_eq!(sizes, [(10, 2), (6, 1), (22, 1), (10, 2), (6, 1), (22, 1)]);
        assert_eq!(batches[3].completions, 4..6);
        assert_eq!(*batches[1].micro.batch.branches, [vec![2]]);
    }
}
