//! Majority votes: over all samples, and expected over k of them.
//!
//! maj@k is the chance that a vote among k samples, drawn without replacement from the n there are, gives the right
//! answer; answers that tie for the most votes share it. Up to [`EXACT_SAMPLES_MAX`] samples it is the exact mean over
//! all subsets, counted by generating functions; above, the mean over seeded orders of the samples, whose first k
//! are a subset of size k.

use std::collections::HashMap;

use super::random::SplitMix;

/// One sample's answer in canonical form, and whether it was judged correct.
#[derive(Debug, Clone, Copy)]
pub struct Vote<'a> {
    pub answer: &'a str,
    pub correct: bool,
}

/// Up to so many samples maj@k is exact; its cost grows with their cube.
pub const EXACT_SAMPLES_MAX: usize = 64;
/// Orders drawn above that: 1000, and fewer from 200 samples on so that the work stays bounded. The standard error of
/// one problem's maj@k is at most 0.5 / sqrt(1000) = 0.016.
fn orders(n: usize) -> usize {
    (200_000 / n.max(1)).clamp(100, 1_000)
}

/// The chance that a majority vote over all samples is right: 1 or 0, or the share of right answers among those
/// that tie for the most votes. Samples without an answer do not vote; `None` if nobody does.
pub fn majority(votes: &[Vote<'_>]) -> Option<f64> {
    let answers = answers(votes);
    let most = answers.iter().map(|answer| answer.count).max()?;
    let (mut right, mut all) = (0_u32, 0_u32);
    for answer in answers.iter().filter(|answer| answer.count == most) {
        right += u32::from(answer.correct);
        all += 1;
    }
    Some(f64::from(right) / f64::from(all))
}

/// maj@k for k = 1..=n, where `n` counts the samples that do not vote as well; a subset in which nobody votes is not
/// right. `seed` matters above [`EXACT_SAMPLES_MAX`] samples alone.
pub fn majority_at(votes: &[Vote<'_>], n: usize, seed: u64) -> Vec<f64> {
    let answers = answers(votes);
    let silent = n.saturating_sub(votes.len());
    if n <= EXACT_SAMPLES_MAX { exact(&answers, silent) } else { over_orders(&answers, silent, seed) }
}

/// An answer that samples gave.
struct Answer {
    count: usize,
    correct: bool,
}

/// The different answers, in the order in which they first appear.
fn answers(votes: &[Vote<'_>]) -> Vec<Answer> {
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut answers: Vec<Answer> = Vec::new();
    for vote in votes {
        let place = *places.entry(vote.answer).or_insert(answers.len());
        if place == answers.len() {
            answers.push(Answer { count: 0, correct: false });
        }
        answers[place].count += 1;
        answers[place].correct |= vote.correct;
    }
    answers
}

/// For each right answer and each number of votes that it may win with: the subsets in which nobody has more, each
/// weighted by 1 / (1 + those that tie).
fn exact(answers: &[Answer], silent: usize) -> Vec<f64> {
    let n = silent + answers.iter().map(|answer| answer.count).sum::<usize>();
    let mut right = vec![0.0; n + 1];
    for (place, winner) in answers.iter().enumerate().filter(|(_, answer)| answer.correct) {
        let others =
            || answers.iter().enumerate().filter(|(other, _)| *other != place).map(|(_, one)| one.count);
        let ways = binomials(winner.count);
        for votes in 1..=winner.count {
            let rest = rest(others(), silent, votes);
            for (ties, sizes) in rest.iter().enumerate() {
                for (size, subsets) in sizes.iter().enumerate() {
                    right[size + votes] += ways[votes] * subsets / (1.0 + ties as f64);
                }
            }
        }
    }
    let all = binomials(n);
    (1..=n).map(|k| right[k] / all[k]).collect()
}

/// `[ties][size]`: subsets of the other samples in which no answer has more than `votes`, and `ties` have as many.
fn rest(others: impl Iterator<Item = usize>, silent: usize, votes: usize) -> Vec<Vec<f64>> {
    // Answers that cannot reach `votes` are free, as silent samples are.
    let (rivals, free): (Vec<usize>, Vec<usize>) = others.partition(|count| *count >= votes);
    let mut table = vec![binomials(silent + free.iter().sum::<usize>())];
    for count in rivals {
        let ways = binomials(count);
        let sizes = table[0].len() + votes;
        let mut next = vec![vec![0.0; sizes]; table.len() + 1];
        for (ties, row) in table.iter().enumerate() {
            for (size, subsets) in row.iter().enumerate().filter(|(_, subsets)| **subsets > 0.0) {
                for (taken, ways) in ways.iter().enumerate().take(votes + 1) {
                    next[ties + usize::from(taken == votes)][size + taken] += subsets * ways;
                }
            }
        }
        table = next;
    }
    table
}

/// C(n, 0), C(n, 1), .. C(n, n).
fn binomials(n: usize) -> Vec<f64> {
    let mut row = vec![1.0; n + 1];
    for k in 1..=n {
        row[k] = row[k - 1] * (n + 1 - k) as f64 / k as f64;
    }
    row
}

/// The mean over seeded orders; in each, the votes are counted one sample after the other.
fn over_orders(answers: &[Answer], silent: usize, seed: u64) -> Vec<f64> {
    let mut ballots: Vec<Option<usize>> = vec![None; silent];
    for (place, answer) in answers.iter().enumerate() {
        ballots.extend(std::iter::repeat_n(Some(place), answer.count));
    }
    let mut random = SplitMix::new(seed);
    let mut right = vec![0.0; ballots.len()];
    let orders = orders(ballots.len());
    for _ in 0..orders {
        random.shuffle(&mut ballots);
        let mut counts = vec![0_usize; answers.len()];
        let (mut most, mut leaders, mut right_leaders) = (0, 0_u32, 0_u32);
        for (ballot, right) in ballots.iter().zip(&mut right) {
            if let Some(place) = *ballot {
                counts[place] += 1;
                if counts[place] > most {
                    (most, leaders, right_leaders) = (counts[place], 0, 0);
                }
                if counts[place] == most {
                    leaders += 1;
                    right_leaders += u32::from(answers[place].correct);
                }
            }
            *right += f64::from(right_leaders) / f64::from(leaders.max(1));
        }
    }
    right.iter().map(|sum| sum / orders as f64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn votes<'a>(answers: &'a [&'a str]) -> Vec<Vote<'a>> {
        let voting = answers.iter().filter(|answer| !answer.is_empty());
        voting.map(|answer| Vote { answer, correct: answer.starts_with("42") }).collect()
    }

    #[test]
    fn votes_over_all_samples() {
        let check = |answers: &[&str], expected: Option<f64>| assert_eq!(majority(&votes(answers)), expected);
        check(&["42", "42", "7"], Some(1.0));
        check(&["42", "7", "7"], Some(0.0));
        check(&["42", "7"], Some(0.5));
        check(&[], None);
    }

    /// The mean over all subsets of size k, one by one.
    fn by_subsets(answers: &[&str], k: usize) -> f64 {
        let subsets = (0..1_u32 << answers.len()).filter(|set| set.count_ones() as usize == k);
        let shares: Vec<f64> = subsets
            .map(|set| {
                let chosen = answers.iter().enumerate().filter(|(i, _)| set >> i & 1 == 1);
                let chosen: Vec<&str> = chosen.map(|(_, answer)| *answer).collect();
                majority(&votes(&chosen)).unwrap_or(0.0)
            })
            .collect();
        shares.iter().sum::<f64>() / shares.len() as f64
    }

    /// "" is a sample without an answer; "42" and "42.0" are both right.
    const CASES: [&[&str]; 8] = [
        &["42"],
        &["", "", ""],
        &["42", "7", "", "42", "7", "8", "9", "42"],
        &["42", "42.0", "7", "7", "8", "42"],
        &["7", "7", "7", "42", "42", "42", "8", "8", "8"],
        &["1", "2", "3", "4", "5", "42", "6"],
        &["42", "42", "42", "42", "7", "7", "", "", "", "8"],
        &["7", "8", "9"],
    ];

    #[test]
    fn the_expectation_is_the_mean_over_subsets() {
        for answers in CASES {
            let found = majority_at(&votes(answers), answers.len(), 0);
            assert_eq!(found.len(), answers.len());
            for (k, found) in (1..).zip(found) {
                let expected = by_subsets(answers, k);
                assert!((found - expected).abs() < 1e-12, "maj@{k} of {answers:?}: {found}, not {expected}");
            }
        }
    }

    #[test]
    fn orders_come_near_the_expectation() {
        for answers in CASES {
            let votes = votes(answers);
            let groups = super::answers(&votes);
            let silent = answers.len() - votes.len();
            let (exact, drawn) = (exact(&groups, silent), over_orders(&groups, silent, 3));
            for (k, (exact, drawn)) in (1..).zip(exact.iter().zip(&drawn)) {
                // Four standard errors of 0.016.
                assert!((exact - drawn).abs() < 0.064, "maj@{k} of {answers:?}: {drawn}, not {exact}");
            }
        }
    }

    #[test]
    fn many_samples_end_in_the_vote_over_all() {
        let answers: Vec<&str> =
            (0..200).map(|i| if i % 3 == 0 { "42" } else { ["7", "8", "9"][i % 2] }).collect();
        let votes = votes(&answers);
        let found = majority_at(&votes, 210, 1);
        assert_eq!((found.len(), found[209]), (210, majority(&votes).unwrap()));
        assert!((found[0] - 67.0 / 210.0).abs() < 0.06, "maj@1 is the share of right samples: {}", found[0]);
        // The largest that is counted exactly stays a probability.
        let found = majority_at(&votes[..60], 64, 0);
        assert!(found.iter().all(|share| (0.0..=1.0 + 1e-12).contains(share)), "{found:?}");
    }
}
