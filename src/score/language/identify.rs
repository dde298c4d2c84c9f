//! Telling apart languages that share a script, by the letters and the function words of a segment.
//!
//! Not lingua and whatlang: whatlang knows no Swahili and is confident of something else when it sees some, and lingua
//! reads 0.3 MB/s. `ngrams.bin` holds lingua's own probabilities, cut down to the sequences of letters that tell
//! languages apart; what that loses, the function words of `words.txt` more than make up for (`docs/language.md` has the
//! figures). Nothing is cached: to hash a segment and find it would take as long as to judge it.

use super::ngrams::{CostedWord, LANGUAGES_MAX, Table};
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

/// What a change of language within a sentence costs, in sixteenths of a nat.
const CHANGE_COST: u32 = 10 * 16;
/// Words below which a stretch is no change of language.
const STRETCH_WORDS_MIN: usize = 3;

impl Identifier {
    pub fn new(candidates: &[Language]) -> Self {
        Self { groups: Table::all().map(|table| Members::new(table, candidates)) }
    }

    /// The language of a segment of the group's script. The target is always a candidate if it has that script.
    pub fn identify(&self, segment: &str, group: Group, target: Language) -> Language {
        self.groups[group as usize].identify(segment, target)
    }

    /// Where a segment of the group's script changes its language: the start of each stretch after the first.
    pub fn changes(&self, segment: &str, group: Group, target: Language) -> Vec<usize> {
        self.groups[group as usize].changes(segment, target)
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

    /// The cheapest way through the words, in which a change of language costs too (Viterbi 1967). Stretches of a few words
    /// are names and terms, and no change.
    fn changes(&self, segment: &str, target: Language) -> Vec<usize> {
        let words = self.table.words(segment);
        if words.len() < 2 * STRETCH_WORDS_MIN {
            return Vec::new();
        }
        let (allowed, languages) = (self.allowed(self.position(target)), self.table.languages().len());
        // For each word: where the cheapest way to the words before it ends, and who comes from there.
        let mut came: Vec<(usize, u16)> = Vec::with_capacity(words.len());
        let mut sums = words[0].costs;
        for word in &words[1..] {
            let best = cheapest(&sums, languages, allowed);
            let changed = sums[best] + CHANGE_COST;
            let mut changes = 0;
            for (i, (sum, cost)) in sums.iter_mut().zip(&word.costs).enumerate().take(languages) {
                if *sum > changed {
                    (*sum, changes) = (changed, changes | 1 << i);
                }
                *sum += cost;
            }
            came.push((best, changes));
        }
        let mut language = cheapest(&sums, languages, allowed);
        let mut found = vec![(words.len(), language)];
        for (at, (best, changes)) in came.iter().enumerate().rev() {
            if changes >> language & 1 == 1 {
                language = *best;
                found.push((at + 1, language));
            }
        }
        starts(&words, found).into_iter().map(|word| words[word].start).collect()
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

/// From the ends of stretches with their languages, the last first, to the words that begin a stretch of another language
/// than the one before; those that are too short join what stands before them, or after them at the beginning.
fn starts(words: &[CostedWord], ends: Vec<(usize, usize)>) -> Vec<usize> {
    let mut stretches: Vec<(usize, usize)> = Vec::new();
    let mut start = 0;
    for (end, language) in ends.into_iter().rev() {
        let is_long =
            words[start..end].iter().map(|word| word.halves).sum::<usize>() >= 2 * STRETCH_WORDS_MIN;
        match stretches.last() {
            Some((_, before)) if is_long && *before != language => stretches.push((start, language)),
            None if is_long => stretches.push((0, language)),
            _ => {}
        }
        start = end;
    }
    stretches.into_iter().skip(1).map(|(start, _)| start).collect()
}
