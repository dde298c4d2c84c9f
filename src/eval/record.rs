//! The two things a run writes: run.json, and a line of samples.jsonl a completion. Fields are explained once, in
//! docs/formats.md, and a test checks that none is missing there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::language::Language;
use crate::score::language::Summary;
use crate::score::{Reason, Verdict};

use super::generator::{Completion, Finish, GeneratorIdentity, Sampling};
use super::report::Results;
use super::scorers::judge::Judged;
use super::scorers::sandbox::Limits;
use super::suite::Suite;

/// What became of a sample: exactly one applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Correct,
    Wrong,
    /// Cut (or ended inside its trace) before a correct answer.
    Truncated,
    NoBox,
    Undecided,
    /// The request was refused; there is no completion.
    Error,
}

impl Outcome {
    pub const ALL: [Self; 6] =
        [Self::Correct, Self::Wrong, Self::Truncated, Self::NoBox, Self::Undecided, Self::Error];

    /// Its name in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Correct => "correct",
            Self::Wrong => "wrong",
            Self::Truncated => "truncated",
            Self::NoBox => "no_box",
            Self::Undecided => "undecided",
            Self::Error => "error",
        }
    }

    /// Its letter in tables.
    pub fn letter(self) -> char {
        match self {
            Self::Correct => 'c',
            Self::Wrong => 'w',
            Self::Truncated => 't',
            Self::NoBox => 'n',
            Self::Undecided => 'u',
            Self::Error => 'e',
        }
    }
}

/// One line of samples.jsonl, keyed by (problem, language, sample).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SampleRecord {
    pub problem: String,
    pub language: Language,
    pub sample: u32,
    pub seed: u64,
    pub choice: Option<u32>,
    pub completion: String,
    pub finish: Finish,
    pub completion_tokens: Option<u64>,
    #[serde(default)]
    pub thinking_tokens: Option<u64>,
    /// Nothing but white space: tables are made without the text.
    #[serde(default)]
    pub empty: bool,
    pub error: Option<String>,
    pub outcome: Outcome,
    pub gold: String,
    pub verdict: Option<Verdict>,
    pub reason: Option<Reason>,
    pub answer: Option<String>,
    pub span: Option<(usize, usize)>,
    pub boxes: usize,
    pub unclosed_box: bool,
    pub trace_language: Option<Summary>,
    pub answer_language: Option<Summary>,
    pub following: Option<bool>,
    pub language_undecidable: bool,
    #[serde(default)]
    pub metrics: BTreeMap<String, f64>,
    #[serde(default)]
    pub detail: Option<String>,
    #[serde(default)]
    pub judge: Vec<Judged>,
}

impl From<SampleRecord> for Completion {
    fn from(record: SampleRecord) -> Self {
        Self {
            text: record.completion,
            finish: record.finish,
            tokens: record.completion_tokens,
            thinking_tokens: record.thinking_tokens,
        }
    }
}

/// run.json: what was run, on what, with what, and what came out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunFile {
    pub format: u32,
    pub version: String,
    #[serde(default)]
    pub commit: Option<String>,
    pub suite: SuiteReference,
    pub generator: GeneratorIdentity,
    pub languages: Vec<Language>,
    pub limit: Option<usize>,
    pub shots: usize,
    pub n: u32,
    pub seed: u64,
    pub sampling: Sampling,
    #[serde(default)]
    pub thinking_prefix: bool,
    pub scorer: ScorerProfile,
    pub started: u64,
    pub finished: Option<u64>,
    pub complete: bool,
    pub results: Option<Results>,
}

/// The version of both formats.
pub const FORMAT: u32 = 1;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SuiteReference {
    pub name: String,
    pub version: String,
    pub revision: String,
    pub sha256: String,
    /// The same without data by reference; empty in runs of older builds.
    #[serde(default)]
    pub definition_sha256: String,
    /// The shared set of prompts, and the variants of it that were applied.
    #[serde(default)]
    pub prompts: Option<String>,
    #[serde(default)]
    pub variants: Vec<String>,
    /// Digest of each file of data by reference, by its name in the source.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
}

impl From<&Suite> for SuiteReference {
    fn from(suite: &Suite) -> Self {
        Self {
            name: suite.name.clone(),
            version: suite.version.clone(),
            revision: suite.revision.clone(),
            sha256: suite.sha256.clone(),
            definition_sha256: suite.definition_sha256.clone(),
            prompts: suite.prompts.clone(),
            variants: suite.applied.clone(),
            files: suite.files.clone(),
        }
    }
}

impl SuiteReference {
    /// Whether both ask the same, file by file, in the languages that both have.
    pub fn is_same_in_common(&self, other: &Self) -> bool {
        let defined = !self.definition_sha256.is_empty() && self.definition_sha256 == other.definition_sha256;
        let agrees =
            |(name, sha256): (&String, &String)| other.files.get(name).is_none_or(|theirs| theirs == sha256);
        self.sha256 == other.sha256 || (defined && self.files.iter().all(agrees))
    }
}

/// How samples were judged; a change of any of it is a change of the numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScorerProfile {
    pub profile: String,
    pub task: String,
    pub following_min: f64,
    #[serde(default)]
    pub python: Option<String>,
    #[serde(default)]
    pub limits: Option<Limits>,
    #[serde(default)]
    pub judge: Option<String>,
    #[serde(default)]
    pub rating_min: Option<f64>,
}

impl RunFile {
    /// The first field in which two runs are not the same measurement, with both values. Where the model is
    /// served, when, and by which build does not matter, nor weights of which one run knows no digest.
    pub fn difference(&self, other: &Self) -> Option<(String, String, String)> {
        let (ours, theirs) = (self.configuration(), other.configuration());
        let weights = |run: &Self| run.generator.weights_sha256.is_some();
        let knows_weights = weights(self) && weights(other);
        ours.into_iter()
            .zip(theirs)
            .filter(|(a, _)| knows_weights || a.0 != "generator.weights_sha256")
            .find(|(a, b)| a.1 != b.1)
            .map(|((name, a), (_, b))| (name.to_owned(), a.to_string(), b.to_string()))
    }

    fn configuration(&self) -> Vec<(&'static str, serde_json::Value)> {
        use serde_json::json;
        vec![
            ("format", json!(self.format)),
            ("suite.name", json!(self.suite.name)),
            ("suite.version", json!(self.suite.version)),
            // Before the digest, which hangs on the files of these languages.
            ("languages", json!(self.languages)),
            ("suite.sha256", json!(self.suite.sha256)),
            ("generator.kind", json!(self.generator.kind)),
            ("generator.model", json!(self.generator.model)),
            ("generator.dtype", json!(self.generator.dtype)),
            ("generator.template_sha256", json!(self.generator.template_sha256)),
            ("generator.weights_sha256", json!(self.generator.weights_sha256)),
            ("limit", json!(self.limit)),
            ("shots", json!(self.shots)),
            ("n", json!(self.n)),
            ("seed", json!(self.seed)),
            ("sampling.temperature", json!(self.sampling.temperature)),
            ("sampling.top_p", json!(self.sampling.top_p)),
            ("sampling.top_k", json!(self.sampling.top_k)),
            ("sampling.min_p", json!(self.sampling.min_p)),
            ("sampling.max_tokens", json!(self.sampling.max_tokens)),
            ("thinking_prefix", json!(self.thinking_prefix)),
            ("scorer.profile", json!(self.scorer.profile)),
            ("scorer.task", json!(self.scorer.task)),
            ("scorer.following_min", json!(self.scorer.following_min)),
            ("scorer.python", json!(self.scorer.python)),
            ("scorer.limits", json!(self.scorer.limits)),
            ("scorer.judge", json!(self.scorer.judge)),
            ("scorer.rating_min", json!(self.scorer.rating_min)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_compared_file_by_file() {
        let suite = |sha256: &str, definition: &str, files: &[(&str, &str)]| SuiteReference {
            name: "mgsm".to_owned(),
            version: "1".to_owned(),
            revision: String::new(),
            sha256: sha256.to_owned(),
            definition_sha256: definition.to_owned(),
            prompts: None,
            variants: Vec::new(),
            files: files.iter().map(|(name, sha256)| ((*name).to_owned(), (*sha256).to_owned())).collect(),
        };
        let spanish = suite("1", "d", &[("es", "a")]);
        let check = |other: SuiteReference, same: bool| {
            assert_eq!(spanish.is_same_in_common(&other), same, "{other:?}");
            assert_eq!(other.is_same_in_common(&spanish), same, "{other:?}");
        };
        check(suite("2", "d", &[("es", "a"), ("ja", "b")]), true);
        check(suite("2", "d", &[("es", "c"), ("ja", "b")]), false);
        check(suite("2", "e", &[("es", "a"), ("ja", "b")]), false);
        check(suite("1", "", &[]), true);
        assert!(!suite("1", "", &[]).is_same_in_common(&suite("2", "", &[])), "older builds tell too little");
    }
}
