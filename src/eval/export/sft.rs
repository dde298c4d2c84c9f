//! A training set from a run: completions that are correct and in the language, as chats.
//!
//! A bare box is in no language; it counts where the trace before it is in the right one.
//!
//! What s1-style sets of reasoning chains are made of, from one's own model. A completion counts once: those whose text
//! is the same but for case, width and spaces are one. Of the rest a problem in a language gives at most so many, chosen
//! by a seed. The order is that of the suite's problems and does not depend on how the run was interrupted.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Write;

use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization;

use super::{SuiteSource, failed};
use crate::eval::error::EvalError;
use crate::eval::generator::{Finish, Message};
use crate::eval::record::Outcome;
use crate::eval::stored::StoredRun;
use crate::eval::suite::{LanguageProblems, Problem, Suite, Task};
use crate::language::Language;
use crate::score::language::Summary;

#[derive(Debug, Clone)]
pub struct SftOptions {
    pub suite: SuiteSource,
    /// Completions of one problem in one language.
    pub per_problem_max: usize,
    pub seed: u64,
}

impl Default for SftOptions {
    fn default() -> Self {
        Self { suite: SuiteSource::default(), per_problem_max: 4, seed: 0 }
    }
}

/// The fields of a sample that decide.
#[derive(Deserialize)]
struct Candidate {
    problem: String,
    language: Language,
    sample: u32,
    outcome: Outcome,
    following: Option<bool>,
    finish: Finish,
    completion: String,
    language_undecidable: bool,
    trace_language: Option<Summary>,
}

impl Candidate {
    /// Correct, following, and ended by itself: a cut text teaches not to end.
    fn is_kept(&self) -> bool {
        self.outcome == Outcome::Correct && self.is_in_language() && self.finish == Finish::Stop
    }

    /// Following, and not for want of words.
    fn is_in_language(&self) -> bool {
        let has_words = |trace: &Summary| trace.score.is_some();
        let tells = !self.language_undecidable || self.trace_language.as_ref().is_some_and(has_words);
        self.following == Some(true) && tells
    }
}

/// Where a kept completion stands.
struct Kept {
    sample: u32,
    offset: u64,
    text: [u8; 16],
}

pub(super) fn write(run: &StoredRun, options: &SftOptions, out: &mut dyn Write) -> Result<usize, EvalError> {
    if run.file.scorer.task == Task::Loglikelihood.name() {
        let message = "sft has no use for a run that scored choices: nothing was generated".to_owned();
        return Err(EvalError::InvalidSetting { field: "format", message });
    }
    if options.per_problem_max == 0 {
        let message = "must be at least 1".to_owned();
        return Err(EvalError::InvalidSetting { field: "max_per_problem", message });
    }
    let suite = options.suite.suite_of(run)?;
    let mut samples = run.samples::<Candidate>()?;
    let mut kept = kept(&mut samples)?;
    let mut seen = HashSet::new();
    let mut count = 0;
    for (index, language) in rounds(&suite) {
        let problem = &language.problems[index];
        let Some(candidates) = kept.remove(&(language.language, problem.id.clone())) else { continue };
        for offset in chosen(candidates, (&problem.id, language.language), options, &mut seen) {
            let Some(candidate) = samples.read_at(offset)? else { continue };
            let messages = chat(language, problem, candidate.completion);
            let line = json!({
                "messages": messages,
                "problem": candidate.problem,
                "language": candidate.language,
                "sample": candidate.sample,
            });
            writeln!(out, "{line}").map_err(failed)?;
            count += 1;
        }
    }
    Ok(count)
}

/// Every problem of every language, the languages of a problem one after the other.
fn rounds(suite: &Suite) -> impl Iterator<Item = (usize, &LanguageProblems)> {
    let longest = suite.languages.iter().map(|language| language.problems.len()).max().unwrap_or_default();
    (0..longest).flat_map(move |index| {
        suite.languages.iter().filter(move |one| index < one.problems.len()).map(move |one| (index, one))
    })
}

fn kept(
    samples: &mut crate::eval::stored::Samples<Candidate>,
) -> Result<HashMap<(Language, String), Vec<Kept>>, EvalError> {
    let mut kept: HashMap<(Language, String), Vec<Kept>> = HashMap::new();
    loop {
        let offset = samples.offset();
        let Some(candidate) = samples.next().transpose()? else { return Ok(kept) };
        if candidate.is_kept() {
            let text = digest(normalised(&candidate.completion).as_bytes());
            let one = Kept { sample: candidate.sample, offset, text };
            kept.entry((candidate.language, candidate.problem)).or_default().push(one);
        }
    }
}

/// Offsets of the samples that a problem gives, by sample; their texts join `seen`.
fn chosen(
    mut candidates: Vec<Kept>,
    (problem, language): (&str, Language),
    options: &SftOptions,
    seen: &mut HashSet<[u8; 16]>,
) -> Vec<u64> {
    // Of equal texts the first sample stays, whatever order they finished in.
    candidates.sort_by_key(|one| one.sample);
    candidates.retain(|one| seen.insert(one.text));
    let rank =
        |one: &Kept| digest(format!("{}\0{problem}\0{language}\0{}", options.seed, one.sample).as_bytes());
    candidates.sort_by_cached_key(rank);
    candidates.truncate(options.per_problem_max);
    let by_sample: BTreeMap<u32, u64> = candidates.iter().map(|one| (one.sample, one.offset)).collect();
    by_sample.into_values().collect()
}

/// The prompt as it was asked, worked examples left out.
fn chat(language: &LanguageProblems, problem: &Problem, completion: String) -> Vec<Message> {
    let message = |role: &str, content: String| Message { role: role.to_owned(), content };
    let system = language.prompt.system.iter().map(|text| message("system", text.clone()));
    let user = message("user", language.prompt.of_problem(problem));
    system.chain([user, message("assistant", completion)]).collect()
}

/// Texts that a reader would call the same have the same form.
fn normalised(text: &str) -> String {
    let folded: String = text.nfkc().flat_map(char::to_lowercase).collect();
    folded.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn digest(bytes: &[u8]) -> [u8; 16] {
    let digest = Sha256::digest(bytes);
    std::array::from_fn(|at| digest[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_are_the_same() {
        let check = |a: &str, b: &str, same: bool| {
            assert_eq!(normalised(a) == normalised(b), same, "{a:?} {b:?}");
        };
        check("The answer\n is  42.", "the answer is 42. ", true);
        check("答えは４２です", "答えは42です", true);
        check("The answer is 42.", "The answer is 43.", false);
    }

    #[test]
    fn a_bare_box_needs_a_trace_in_the_language() {
        let check = |undecidable: bool, trace: Option<f64>, kept: bool| {
            let score = |score| Summary {
                score: Some(score),
                switches: 0,
                off_target: BTreeMap::new(),
                wrong_script_characters: 0,
            };
            let candidate = Candidate {
                problem: "p1".to_owned(),
                language: Language::De,
                sample: 0,
                outcome: Outcome::Correct,
                following: Some(true),
                finish: Finish::Stop,
                completion: "\\boxed{18}".to_owned(),
                language_undecidable: undecidable,
                trace_language: trace.map(score),
            };
            assert_eq!(candidate.is_kept(), kept);
        };
        check(false, None, true);
        check(true, None, false);
        check(true, Some(1.0), true);
    }

    #[test]
    fn a_problem_gives_at_most_so_many_different_ones() {
        let one = |sample, text: u8| Kept { sample, offset: u64::from(sample) * 10, text: [text; 16] };
        let choose = |samples: &[(u32, u8)], options: &SftOptions| {
            let candidates = samples.iter().map(|(sample, text)| one(*sample, *text)).collect();
            chosen(candidates, ("p1", Language::De), options, &mut HashSet::new())
        };
        let options = SftOptions { per_problem_max: 2, ..SftOptions::default() };
        let samples: Vec<(u32, u8)> = (0..9).map(|sample| (sample, sample as u8)).collect();
        let first = choose(&samples, &options);
        assert!(first.len() == 2 && first.is_sorted());
        let reversed: Vec<_> = samples.iter().rev().copied().collect();
        assert_eq!(choose(&reversed, &options), first, "the file's order does not matter");
        let seeds: HashSet<Vec<u64>> =
            (0..20).map(|seed| choose(&samples, &SftOptions { seed, ..options.clone() })).collect();
        assert!(seeds.len() > 5, "another seed chooses others: {seeds:?}");
        assert_eq!(choose(&[(3, 1), (1, 1), (2, 1)], &options), [10]);
    }
}
