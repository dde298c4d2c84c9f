//! `xenoglot bench score`: completions of 1,200 characters that end in a box with a number, from text to verdict:
//! extraction and equivalence only, no JSON and no language.

use std::time::Instant;

use anyhow::Context;
use clap::Args;
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use serde_json::json;

use crate::language::Language;
use crate::score::{AnswerScorer, Sample, Scorer};
use crate::settings::Overrides;

use super::super::options::{GlobalOptions, settings};
use super::super::start;
use super::{median, print, round};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// One JSON object on stdout instead of text
    #[arg(long)]
    json: bool,
    /// Threads of the run on all cores [default: one a core]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Answers in a repetition
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    answers: u32,
    /// Repetitions, of which the median counts
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    repeats: u32,
}

pub(super) fn run(global: &GlobalOptions, arguments: &Arguments) -> anyhow::Result<()> {
    let settings =
        settings(global, Overrides { threads: arguments.threads.map(Some), ..Overrides::default() })?;
    start::logging(&settings, true)?;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = settings.threads.unwrap_or(cores);
    let cases = cases();
    let one = answers_per_second(&cases, 1, arguments)?;
    let all = answers_per_second(&cases, threads, arguments)?;
    print(
        arguments.json,
        &|| {
            json!({
                "characters": CHARACTERS,
                "answers": arguments.answers,
                "answers_per_second_one_thread": round(one),
                "answers_per_second": round(all),
                "threads": threads,
            })
        },
        &|| {
            format!("{all:.0} answers/s on {threads} threads, {one:.0} on one ({CHARACTERS} characters each)")
        },
    )
}

struct Case {
    gold: String,
    completion: String,
    correct: bool,
}

/// Characters of a completion.
const CHARACTERS: usize = 1200;
/// Different completions, so that no branch is learnt by heart.
const DIFFERENT: u64 = 1000;

const FILLING: &str = "First we add what she sells on Monday, $12 \\cdot 4 = 48$, to the rest {of the week}: \
    48 + \\frac{96}{2} = 96. Then, since every basket holds 12 eggs, we divide and find $x = 8$. ";

/// Half of them are right; integers, decimals, groups and fractions.
fn cases() -> Vec<Case> {
    (0..DIFFERENT)
        .map(|index| {
            let value = index * 7919 % 9973 + 1000;
            let correct = index % 2 == 0;
            let shown = if correct { value } else { value + 1 };
            let (gold, answer) = match index % 4 {
                0 | 1 => (value.to_string(), shown.to_string()),
                2 => (value.to_string(), format!("{},{:03}", shown / 1000, shown % 1000)),
                _ => (format!("{value}.5"), format!("\\frac{{{}}}{{2}}", 2 * shown + 1)),
            };
            let ending = format!("So the answer is $\\boxed{{{answer}}}$.");
            let filling = FILLING.chars().cycle().skip(index as usize).take(CHARACTERS - ending.len());
            Case { gold, completion: filling.chain(ending.chars()).collect(), correct }
        })
        .collect()
}

fn answers_per_second(cases: &[Case], threads: usize, arguments: &Arguments) -> anyhow::Result<f64> {
    let pool =
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().context("starting the threads")?;
    let scorer = AnswerScorer::default();
    let rounds = u64::from(arguments.answers).div_ceil(DIFFERENT);
    let order: Vec<usize> =
        (0..rounds).flat_map(|_| 0..cases.len()).take(arguments.answers as usize).collect();
    let judge = |index: &usize| {
        let case = &cases[*index];
        let sample = Sample { gold: &case.gold, language: Language::En };
        scorer.score(sample, &case.completion).is_correct() == case.correct
    };
    let mut rates = Vec::new();
    for _ in 0..arguments.repeats {
        let started = Instant::now();
        let right = pool.install(|| order.par_iter().filter(|index| judge(index)).count());
        rates.push(order.len() as f64 / started.elapsed().as_secs_f64());
        anyhow::ensure!(right == order.len(), "{} verdicts are not what they should be", order.len() - right);
    }
    Ok(median(rates))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cases_are_what_they_claim() {
        let scorer = AnswerScorer::default();
        for case in cases() {
            assert_eq!(case.completion.chars().count(), CHARACTERS);
            let sample = Sample { gold: &case.gold, language: Language::En };
            assert_eq!(scorer.score(sample, &case.completion).is_correct(), case.correct, "{}", case.gold);
        }
    }
}
