//! Two runs of one suite side by side: paired differences by language, what is chance, and who leads whom.
//!
//! Problems are paired by (problem, language), those that one run lacks are left out and counted. The p-values of the
//! languages are one family and corrected by Holm; the overall line, where a problem counts once with the mean of its
//! languages, is a question of its own. Following and dominance are taken over the same problems.

pub mod table;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::language::Language;
use crate::score::statistics::{PairedDifference, Point, holm, paired_difference};

use super::error::EvalError;
use super::problem_tally::{Metric, ProblemTallies, ProblemTally, problem_tallies};
use super::record::RunFile;
use super::stored::StoredRun;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompareOptions {
    pub metric: Metric,
    pub k: u32,
    /// Of the bootstrap and of the permutations.
    pub seed: u64,
    /// Compare though the suites' digests differ.
    pub force: bool,
}

impl Default for CompareOptions {
    fn default() -> Self {
        Self { metric: Metric::Pass, k: 1, seed: 0, force: false }
    }
}

/// B against A.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    pub a: Side,
    pub b: Side,
    pub metric: Metric,
    pub k: u32,
    pub languages: Vec<LanguageComparison>,
    /// `None` where a single language leaves nothing to sum up.
    pub overall: Option<LanguageComparison>,
    pub dominated: Dominated,
    /// Of (problem, language), those that only one run has or that have fewer than k samples in one.
    pub unpaired: usize,
    /// Problems on which the runs differ most, as (problem, language): A right and B wrong, then the reverse.
    pub a_right_b_wrong: Vec<ProblemPair>,
    pub b_right_a_wrong: Vec<ProblemPair>,
}

/// Which run it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Side {
    pub directory: PathBuf,
    pub model: String,
    pub n: u32,
    pub complete: bool,
}

/// One language, or all together (`language` null).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LanguageComparison {
    pub language: Option<Language>,
    #[serde(flatten)]
    pub paired: PairedDifference,
    /// p after Holm's correction over the languages; null in the overall line.
    pub p_holm: Option<f64>,
    /// Accuracy (pass@k) and following of A and of B; null where no completion could be judged.
    pub a_point: Option<Point>,
    pub b_point: Option<Point>,
    /// Which run the other one dominates: as good or better in accuracy and following, and better in one.
    pub dominated: Option<Which>,
    pub agreement: Agreement,
}

/// Problems by which run is right on them; in the overall line a problem counts in each of its languages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Agreement {
    pub both: usize,
    pub only_a: usize,
    pub only_b: usize,
    pub neither: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    A,
    B,
}

/// In how many languages each run is dominated by the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Dominated {
    pub a: usize,
    pub b: usize,
    /// Of so many in which both have points.
    pub languages: usize,
}

/// A problem's value in both runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProblemPair {
    pub problem: String,
    pub language: Language,
    pub a: f64,
    pub b: f64,
}

/// From this value of the metric on a run is right on a problem.
pub const RIGHT_MIN: f64 = 0.5;

/// A run and what became of its problems, wherever it is kept.
#[derive(Debug, Clone, Copy)]
pub struct Measured<'a> {
    /// What messages call it.
    pub directory: &'a Path,
    pub file: &'a RunFile,
    pub tallies: &'a ProblemTallies,
}

fn right(value: f64) -> bool {
    value >= RIGHT_MIN
}

impl Agreement {
    fn of(values: impl Iterator<Item = (f64, f64)>) -> Self {
        let mut agreement = Self::default();
        for (a, b) in values {
            let count = match (right(a), right(b)) {
                (true, true) => &mut agreement.both,
                (true, false) => &mut agreement.only_a,
                (false, true) => &mut agreement.only_b,
                (false, false) => &mut agreement.neither,
            };
            *count += 1;
        }
        agreement
    }
}

/// Compare two runs on disk.
///
/// # Errors
/// `DifferentSuites` unless forced; `NothingShared`; `InvalidSetting` for a k that neither has samples for; whatever
/// reading them brings.
pub fn compare(a: &StoredRun, b: &StoredRun, options: &CompareOptions) -> Result<Comparison, EvalError> {
    check(&a.file, &b.file, options)?;
    let (first, second) = (problem_tallies(a)?, problem_tallies(b)?);
    let a = Measured { directory: &a.directory, file: &a.file, tallies: &first };
    let b = Measured { directory: &b.directory, file: &b.file, tallies: &second };
    compare_measured(a, b, options)
}

/// Compare two runs whose samples are counted.
///
/// # Errors
/// As `compare`, but for the reading.
pub fn compare_measured(
    a: Measured<'_>,
    b: Measured<'_>,
    options: &CompareOptions,
) -> Result<Comparison, EvalError> {
    check(a.file, b.file, options)?;
    let pairs = Pairs::new(a.tallies, b.tallies, options);
    if pairs.values.is_empty() {
        return Err(EvalError::NothingShared { a: a.directory.to_owned(), b: b.directory.to_owned() });
    }
    let mut languages: Vec<LanguageComparison> = a
        .file
        .languages
        .iter()
        .filter_map(|language| pairs.compared(Some(*language), options.seed))
        .collect();
    let raw: Vec<f64> = languages.iter().map(|entry| entry.paired.permutation.p).collect();
    for (entry, p) in languages.iter_mut().zip(holm(&raw)) {
        entry.p_holm = Some(p);
    }
    let overall = if languages.len() > 1 { pairs.compared(None, options.seed) } else { None };
    Ok(Comparison {
        a: side(a),
        b: side(b),
        metric: options.metric,
        k: options.k,
        dominated: dominated(&languages),
        languages,
        overall,
        unpaired: pairs.unpaired,
        a_right_b_wrong: pairs.problems(|pair| right(pair.a) && !right(pair.b)),
        b_right_a_wrong: pairs.problems(|pair| right(pair.b) && !right(pair.a)),
    })
}

fn check(a: &RunFile, b: &RunFile, options: &CompareOptions) -> Result<(), EvalError> {
    if options.k == 0 || options.k > a.n.min(b.n) {
        let message = format!("must be from 1 to the smaller n, {}", a.n.min(b.n));
        return Err(EvalError::InvalidSetting { field: "k", message });
    }
    if a.suite.sha256 != b.suite.sha256 && !options.force {
        let name = |run: &RunFile| format!("{} {}", run.suite.name, run.suite.version);
        let (a, b) = (name(a), name(b));
        return Err(EvalError::DifferentSuites { a, b });
    }
    Ok(())
}

fn side(run: Measured<'_>) -> Side {
    let file = run.file;
    let model = file.generator.model.clone();
    Side { directory: run.directory.to_owned(), model, n: file.n, complete: file.complete }
}

fn dominated(languages: &[LanguageComparison]) -> Dominated {
    let count = |which: Which| languages.iter().filter(|entry| entry.dominated == Some(which)).count();
    let with_points = |entry: &&LanguageComparison| entry.a_point.is_some() && entry.b_point.is_some();
    let languages = languages.iter().filter(with_points).count();
    Dominated { a: count(Which::A), b: count(Which::B), languages }
}

/// What both runs have.
struct Pairs<'a> {
    /// By problem, so that its translations stand together.
    values: BTreeMap<(&'a str, Language), Pair>,
    unpaired: usize,
}

#[derive(Clone, Copy)]
struct Pair {
    value: (f64, f64),
    accuracy: Option<(f64, f64)>,
    following: Option<(f64, f64)>,
}

impl<'a> Pairs<'a> {
    fn new(first: &'a ProblemTallies, second: &'a ProblemTallies, options: &CompareOptions) -> Self {
        let mut values = BTreeMap::new();
        for (key, tally) in first {
            let Some(other) = second.get(key) else { continue };
            let both = |metric: Metric| {
                let value = |tally: ProblemTally| tally.value(metric, options.k);
                value(*tally).zip(value(*other))
            };
            let Some(value) = both(options.metric) else { continue };
            let pair = Pair { value, accuracy: both(Metric::Pass), following: both(Metric::Following) };
            values.insert((key.1.as_str(), key.0), pair);
        }
        let shared = first.keys().filter(|key| second.contains_key(*key)).count();
        let unpaired = first.len() + second.len() - shared - values.len();
        Self { values, unpaired }
    }

    /// One language, or the mean over each problem's languages.
    fn compared(&self, language: Option<Language>, seed: u64) -> Option<LanguageComparison> {
        let of_language = |key: &(&str, Language)| language.is_none_or(|language| key.1 == language);
        let chosen: Vec<(&str, Pair)> = self
            .values
            .iter()
            .filter(|(key, _)| of_language(key))
            .map(|(key, pair)| (key.0, *pair))
            .collect();
        let over_problems = |of: &dyn Fn(&Pair) -> Option<(f64, f64)>| -> Vec<(f64, f64)> {
            let problems = chosen.chunk_by(|a, b| a.0 == b.0);
            problems.filter_map(|problem| mean(problem.iter().filter_map(|(_, pair)| of(pair)))).collect()
        };
        let paired = paired_difference(&over_problems(&|pair| Some(pair.value)), seed)?;
        let accuracy = mean(over_problems(&|pair| pair.accuracy).into_iter());
        let following = mean(over_problems(&|pair| pair.following).into_iter());
        let points = accuracy.zip(following).map(|(accuracy, following)| {
            let point = |accuracy, following| Point { accuracy, following };
            (point(accuracy.0, following.0), point(accuracy.1, following.1))
        });
        let dominated = points.and_then(|(a, b)| match (a.dominates(b), b.dominates(a)) {
            (true, _) => Some(Which::B),
            (_, true) => Some(Which::A),
            _ => None,
        });
        let (a_point, b_point) = points.unzip();
        let agreement = Agreement::of(chosen.iter().map(|(_, pair)| pair.value));
        Some(LanguageComparison { language, paired, p_holm: None, a_point, b_point, dominated, agreement })
    }

    /// The pairs for which this holds, the largest difference first.
    fn problems(&self, holds: impl Fn(&ProblemPair) -> bool) -> Vec<ProblemPair> {
        let pairs = self.values.iter().map(|((problem, language), pair)| ProblemPair {
            problem: (*problem).to_owned(),
            language: *language,
            a: pair.value.0,
            b: pair.value.1,
        });
        let mut found: Vec<ProblemPair> = pairs.filter(holds).collect();
        // Stable: equal differences stay by problem.
        found.sort_by(|one, other| (other.a - other.b).abs().total_cmp(&(one.a - one.b).abs()));
        found
    }
}

fn mean(values: impl Iterator<Item = (f64, f64)>) -> Option<(f64, f64)> {
    let (a, b, count) =
        values.fold((0.0, 0.0, 0_u64), |(a, b, count), value| (a + value.0, b + value.1, count + 1));
    (count > 0).then(|| (a / count as f64, b / count as f64))
}
