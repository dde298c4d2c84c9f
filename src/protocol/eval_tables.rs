//! What shows many samples or runs at once: `../runs/{run}/sample_table`, `/v1/runs`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::eval_runs::ResultCounts;

/// All samples of a run as columns: the i-th entry, or letter, of each is of the i-th sample.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SampleTable {
    /// Always `eval.run.sample_table`.
    pub object: String,
    pub eval_id: String,
    pub run_id: String,
    pub suite: String,
    /// Number of a thing that happened to the run: what came after it may be in the table already.
    pub sequence: u64,
    /// Languages and scripts, to which the columns of languages point.
    pub languages: Vec<String>,
    /// What the letters in `outcome` stand for.
    pub outcomes: BTreeMap<String, String>,
    /// The problems of the run in its order, a language at a time within each problem: their ids.
    pub problem_ids: Vec<String>,
    /// And the language that each is asked in.
    pub problem_languages: Vec<u32>,
    /// Which problem: a place in `problem_ids`. The output item's id is `outputitem_PROBLEM_SAMPLE`, of both numbers.
    pub problem: Vec<u32>,
    /// Number of the sample, from 0.
    pub sample: Vec<u32>,
    /// A letter a sample.
    pub outcome: String,
    /// A letter a sample: `y` where trace and answer follow the language, `n` where not, `-` without a completion.
    pub following: String,
    /// The language's share of the trace, in thousandths; null without a trace, or one in no language.
    pub trace_score: Vec<Option<f64>>,
    pub answer_score: Vec<Option<f64>>,
    /// What most of the trace is written in: a place in `languages`.
    pub trace_language: Vec<Option<u32>>,
    pub answer_language: Vec<Option<u32>>,
    /// Changes of language from one sentence of the trace to the next.
    pub trace_switches: Vec<u64>,
    /// Letters of scripts that the language is not written in, in trace and answer.
    pub wrong_script_characters: Vec<u64>,
    /// Null where a server does not tell it.
    pub completion_tokens: Vec<Option<u64>>,
    /// Those of the trace, 0 without one. Null where a server does not tell them, and in runs of older builds.
    pub thinking_tokens: Vec<Option<u64>>,
}

/// A run in the list of those of all evals.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunSummary {
    pub id: String,
    /// Always `eval.run.summary`.
    pub object: String,
    pub eval_id: String,
    pub eval_name: String,
    pub name: String,
    pub model: String,
    pub suite: String,
    /// Samples a problem.
    pub n: u32,
    pub profile: Option<String>,
    /// The run whose completions it judges again.
    pub completions_of: Option<String>,
    /// `queued`, `in_progress`, `paused`, `completed`, `failed` or `canceled`.
    pub status: String,
    /// Why it failed.
    pub error: Option<String>,
    /// Seconds since 1970.
    pub created_at: u64,
    pub started_at: Option<u64>,
    pub finished_at: Option<u64>,
    pub samples_done: u64,
    pub samples_total: u64,
    pub result_counts: ResultCounts,
    pub completion_tokens: u64,
    /// The samples of one request share its prompt.
    pub prompt_tokens: u64,
    /// Number of the last thing that happened.
    pub sequence: u64,
    /// Of a completed run; the run itself has those of one that goes on.
    pub scores: Option<RunScores>,
}

/// The results of a completed run in short.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunScores {
    pub suite_version: String,
    /// Runs with the same digest measured the same problems in the same words.
    pub suite_sha256: String,
    pub languages: Vec<GroupScores>,
    /// Over all, where a problem counts once with the mean of its languages.
    pub overall: GroupScores,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GroupScores {
    /// Null for all together.
    pub language: Option<String>,
    pub problems: u64,
    pub samples: u64,
    /// `pass@K`, `consistent_pass@K`, `pass_all@K` and `maj@K` for the powers of two and of ten up to n, and n; `following`,
    /// `trace_score`, `answer_score`; and what the suite's scorer measures. What has no value is left out.
    pub metrics: BTreeMap<String, ScoreInterval>,
    pub outcomes: OutcomeShares,
    pub completion_tokens_mean: Option<f64>,
    /// Of the traces, where every sample tells it.
    pub thinking_tokens_mean: Option<f64>,
    /// Share of completions that hold nothing; they are among those without an answer.
    pub empty: f64,
}

/// A mean with its 95 % interval over problems, which a single problem has none of.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ScoreInterval {
    pub value: f64,
    pub low: Option<f64>,
    pub high: Option<f64>,
}

/// Shares of all samples; they add up to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OutcomeShares {
    pub correct: f64,
    pub wrong: f64,
    pub truncated: f64,
    pub no_box: f64,
    pub undecided: f64,
    pub error: f64,
}
