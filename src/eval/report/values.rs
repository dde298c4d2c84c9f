//! What a report says of each problem, as a table: a row a problem, a column a quantity; and the intervals of its columns.
//!
//! `GroupResults::new` takes the columns out in the order in which `Cell::values` puts them in.

use std::collections::BTreeMap;

use crate::score::statistics::{Interval, Vote, intervals, majority, majority_at, pass_all_k, pass_at_k};

use super::Scored;
use crate::eval::record::Outcome;

/// The intervals of all quantities, in order.
pub(super) struct Table {
    intervals: std::vec::IntoIter<Option<Interval>>,
    n: u32,
}

impl Table {
    /// `scored` is sorted by problem, then language; a problem's value is the mean of its languages'.
    pub fn of(scored: &[&Scored], n: u32, seed: u64) -> Self {
        let mut columns: Vec<Vec<Option<f64>>> = vec![Vec::new(); quantities(n)];
        for problem in scored.chunk_by(|a, b| a.problem == b.problem) {
            let cells = problem.chunk_by(|a, b| a.language == b.language);
            let values: Vec<Vec<Option<f64>>> = cells.map(|cell| Cell(cell).values(n, seed)).collect();
            for (place, column) in columns.iter_mut().enumerate() {
                column.push(mean(values.iter().filter_map(|cell| cell[place])));
            }
        }
        Self { intervals: intervals(&columns, seed).into_iter(), n }
    }

    /// The next n quantities: one for each k.
    pub fn by_k(&mut self) -> BTreeMap<u32, Option<Interval>> {
        (1..=self.n).map(|k| (k, self.one())).collect()
    }

    pub fn one(&mut self) -> Option<Interval> {
        self.intervals.next().flatten()
    }
}

/// Five for each k, and four more.
fn quantities(n: u32) -> usize {
    5 * n as usize + 4
}

/// The samples of one problem in one language.
struct Cell<'a, 'b>(&'a [&'b Scored]);

impl Cell<'_, '_> {
    fn values(&self, n: u32, seed: u64) -> Vec<Option<f64>> {
        let samples = self.0;
        let correct = self.count(|sample| sample.outcome == Outcome::Correct);
        let consistent = self.count(|s| s.outcome == Outcome::Correct && s.following == Some(true));
        let present = self.count(|sample| sample.outcome != Outcome::Error);
        let votes = self.votes();
        let mut values = Vec::with_capacity(quantities(n));
        let ks = || 1..=n as usize;
        values.extend(ks().map(|k| pass_at_k(samples.len(), correct, k)));
        values.extend(ks().map(|k| pass_at_k(present, correct, k)));
        // Completions whose language was not asked (log-likelihoods) are neither consistent nor not.
        let unasked = present > 0 && samples.iter().all(|sample| sample.following.is_none());
        values.extend(ks().map(|k| pass_at_k(samples.len(), consistent, k).filter(|_| !unasked)));
        values.extend(ks().map(|k| pass_all_k(samples.len(), correct, k)));
        let majorities = majority_at(&votes, samples.len(), seed);
        values.extend(ks().map(|k| majorities.get(k - 1).copied()));
        // A problem nobody answered is one the majority did not get.
        values.push(Some(majority(&votes).unwrap_or(0.0)));
        values.push(mean(samples.iter().filter_map(|sample| sample.following).map(f64::from)));
        values.push(mean(samples.iter().filter_map(|sample| sample.trace)));
        values.push(mean(samples.iter().filter_map(|sample| sample.answer_language)));
        values
    }

    fn count(&self, holds: fn(&Scored) -> bool) -> usize {
        self.0.iter().filter(|sample| holds(sample)).count()
    }

    fn votes(&self) -> Vec<Vote<'_>> {
        self.0
            .iter()
            .filter_map(|s| {
                Some(Vote { answer: s.answer.as_deref()?, correct: s.outcome == Outcome::Correct })
            })
            .collect()
    }
}

pub(super) fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_u64), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}
