//! Telling apart languages that share a script, by the letters and the function words of a segment.
//!
//! Not lingua and whatlang: whatlang knows no Swahili and is confident of something else when it sees some, and lingua
//! reads 0.3 MB/s. `ngrams.bin` holds lingua's own probabilities, cut down to the sequences of letters that tell
//! languages apart; what that loses, the function words of `words.txt` more than make up for (`docs/language.md` has the
//! figures). Nothing is cached: to hash a segment and find it would take as long as to judge it.

use super::ngrams::{LANGUAGES_MAX, Table};
use super::script::Group;
use crate::language::Language;

pub(super) struct Identifier {
    groups: [Members; 3],
}

struct Members {
    table: Table,
    /// Bit i: language i of the table is a candidate.
    candidates: u16,
}

/// The target is taken if it is at most so much less likely than the likeliest, in sixteenths of a nat. Short
/// sentences of close relatives (Spanish and Portuguese) are often a near tie, and the question is whether the
/// target is refuted.
const TARGET_LENIENCE: u32 = 2 * 16;

impl Identifier {
    pub fn new(candidates: &[Language]) -> Self {
        Self { groups: Table::all().map(|table| Members::new(table, candidates)) }
    }

    /// The language of a segment of the group's script. The target is always a candidate if it has that script.
    pub fn identify(&self, segment: &str, group: Group, target: Language) -> Language {
        self.groups[group as usize].identify(segment, target)
    }

    /// How likely a segment of the group's script is in the target; 0 of a target that is written in another script.
    pub fn probability(&self, segment: &str, group: Group, target: Language) -> f64 {
        self.groups[group as usize].probability(segment, target)
    }
}

impl Members {
    fn new(table: Table, candidates: &[Language]) -> Self {
        // English is what models drift to.
        let wanted = |language: &Language| *language == Language::En || candidates.contains(language);
        let bits = table.languages().iter().enumerate().filter(|(_, language)| wanted(language));
        let candidates = bits.fold(0, |mask, (i, _)| mask | 1 << i);
        Self { table, candidates }
    }

    fn identify(&self, segment: &str, target: Language) -> Language {
        let languages = self.table.languages();
        let target = self.position(target);
        let allowed = self.allowed(target);
        let costs = self.table.costs(segment);
        let best = cheapest(&costs, languages.len(), allowed);
        match target {
            Some(target) if costs[target] <= costs[best] + TARGET_LENIENCE => languages[target],
            _ => languages[best],
        }
    }

    fn probability(&self, segment: &str, target: Language) -> f64 {
        let Some(target) = self.position(target) else { return 0.0 };
        let allowed = self.allowed(Some(target));
        let count = self.table.languages().len();
        let costs = self.table.costs(segment);
        let least = costs[cheapest(&costs, count, allowed)];
        // Costs are sixteenths of a nat.
        let likelihood = |i: usize| (-f64::from(costs[i] - least) / 16.0).exp();
        let total: f64 = (0..count).filter(|i| allowed >> i & 1 == 1).map(likelihood).sum();
        likelihood(target) / total
    }

    fn position(&self, target: Language) -> Option<usize> {
        self.table.languages().iter().position(|language| *language == target)
    }

    /// The languages that are told apart: the candidates and the target, or all if there is none.
    fn allowed(&self, target: Option<usize>) -> u16 {
        match self.candidates | target.map_or(0, |i| 1 << i) {
            0 => u16::MAX,
            allowed => allowed,
        }
    }
}

fn cheapest(costs: &[u32; LANGUAGES_MAX], languages: usize, allowed: u16) -> usize {
    (0..languages).filter(|i| allowed >> i & 1 == 1).min_by_key(|i| costs[*i]).unwrap_or_default()
}
