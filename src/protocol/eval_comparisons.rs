//! `../runs/{run}/compare`: two runs side by side.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::eval_tables::ScoreInterval;

/// Run B (`with`) against run A, problem by problem. Differences are B minus A.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunComparison {
    /// Always `eval.run.comparison`.
    pub object: String,
    pub a: ComparedRun,
    pub b: ComparedRun,
    /// `pass@K`, `consistent_pass@K` or `following`.
    pub metric: String,
    pub languages: Vec<ComparedLanguage>,
    /// Over all languages, where a problem counts once with their mean; null for a single language.
    pub overall: Option<ComparedLanguage>,
    pub dominated: DominatedLanguages,
    /// Problems (in a language) that are left out: in one run alone, or with fewer than K samples.
    pub unpaired: u64,
    /// Problems that A is right on (a value of at least 0.5) and B is not, the largest difference first; as many as were asked for.
    pub only_a: Vec<ComparedProblem>,
    /// The reverse.
    pub only_b: Vec<ComparedProblem>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ComparedRun {
    pub eval_id: String,
    pub run_id: String,
    pub name: String,
    pub model: String,
    pub suite: String,
    /// Samples a problem.
    pub n: u32,
    pub status: String,
    /// Samples that the comparison is over; of a run that goes on, so far.
    pub samples: u64,
}

/// One language, or all together (`language` null).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ComparedLanguage {
    pub language: Option<String>,
    /// Pairs.
    pub problems: u64,
    /// Mean of A.
    pub a: f64,
    /// Mean of B.
    pub b: f64,
    /// B minus A, with its 95 % interval over problems.
    pub difference: ScoreInterval,
    /// Of the paired difference; null for a single problem.
    pub standard_error: Option<f64>,
    /// What it would be if the problems of A and B were different ones.
    pub unpaired_standard_error: Option<f64>,
    /// Two-sided, by flipping the signs of the problems' differences.
    pub p: f64,
    /// p corrected by Holm over the languages; null in `overall`, which is a question of its own.
    pub p_holm: Option<f64>,
    /// Null where no completion could be judged.
    pub a_point: Option<ComparedPoint>,
    pub b_point: Option<ComparedPoint>,
    /// Which run the other one dominates, `a` or `b`: as good or better in accuracy and following, and better in one.
    pub dominated: Option<String>,
    pub agreement: ComparedAgreement,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ComparedPoint {
    /// pass@K.
    pub accuracy: f64,
    pub following: f64,
}

/// Problems by which run is right on them; in `overall` a problem counts in each of its languages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ComparedAgreement {
    pub both: u64,
    pub only_a: u64,
    pub only_b: u64,
    pub neither: u64,
}

/// In how many languages each run is dominated by the other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DominatedLanguages {
    pub a: u64,
    pub b: u64,
    /// Of so many in which both have points.
    pub languages: u64,
}

/// A problem's value in both runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ComparedProblem {
    pub problem: String,
    pub language: String,
    pub a: f64,
    pub b: f64,
    /// Its place in each run: sample S is the output item `outputitem_POSITION_S`.
    pub a_position: u64,
    pub b_position: u64,
}
