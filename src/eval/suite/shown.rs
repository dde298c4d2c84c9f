//! Problems as worked examples: rows that the source sets apart for it, or the suite's other problems.
//!
//! Few-shot protocols show the first rows of a split of their own, of the problem's subject (MMLU's dev). Where a set has no
//! such split its other problems stand in, in an order that a seed and their ids decide: the same in all languages that have
//! the same ids, and nearly the same for all problems. A problem is never its own example, and neither is one with its text.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::language::Language;

use super::error::SuiteError;
use super::manifest::{ExamplesFrom, Manifest, ProblemsFrom, Shown};
use super::read::path::text;
use super::referenced::{self, filled};
use super::{Example, LanguageProblems, Problem, Task};

/// By language, with the digests of the files read for them.
pub(super) type ReadExamples = (HashMap<Language, Vec<Example>>, BTreeMap<String, String>);

/// The examples that the manifest takes from problems; none where it takes others. Those by reference are read only if they are
/// `wanted`: runs without examples need no file of them.
///
/// # Errors
/// `DataMissing` and what else can be wrong with data by reference; `Data` for a field that a solution lacks.
pub(super) fn read(
    manifest: &Manifest,
    problems: &HashMap<Language, Vec<Problem>>,
    root: Option<&Path>,
    wanted: bool,
) -> Result<ReadExamples, SuiteError> {
    match (&manifest.examples, &manifest.problems) {
        (Some(ExamplesFrom::Problems { seed, shown }), _) => {
            let of = |(language, problems): (&Language, &Vec<Problem>)| {
                let mut problems: Vec<&Problem> = problems.iter().collect();
                problems.sort_by_cached_key(|problem| rank(*seed, &problem.id));
                let examples = problems.into_iter().map(|problem| example(problem, manifest, shown));
                Ok::<_, SuiteError>((*language, examples.collect::<Result<Vec<_>, _>>()?))
            };
            Ok((problems.iter().map(of).collect::<Result<_, _>>()?, BTreeMap::new()))
        }
        (Some(ExamplesFrom::Data { reference, shown }), ProblemsFrom::Data { fields, .. }) if wanted => {
            let languages: Vec<Language> = manifest.chosen(None);
            let read_languages: Vec<Language> =
                languages.into_iter().filter(|language| problems.contains_key(language)).collect();
            let read = referenced::read(manifest, reference, fields, root, &read_languages)?;
            let of = |(language, problems): (Language, Vec<Problem>)| {
                let examples = problems.iter().map(|problem| example(problem, manifest, shown));
                Ok::<_, SuiteError>((language, examples.collect::<Result<Vec<_>, _>>()?))
            };
            Ok((read.problems.into_iter().map(of).collect::<Result<_, _>>()?, read.digests))
        }
        _ => Ok((HashMap::new(), BTreeMap::new())),
    }
}

fn rank(seed: u64, id: &str) -> [u8; 32] {
    Sha256::digest(format!("{seed}\0{id}")).into()
}

fn example(problem: &Problem, manifest: &Manifest, shown: &Shown) -> Result<Example, SuiteError> {
    let solution = match &shown.solution {
        Some(template) => {
            let fields = Value::Object(problem.fields.clone());
            filled(template, &fields).map_err(|(field, message)| SuiteError::Data {
                file: format!("example {:?} of suite {}", problem.id, manifest.name),
                field,
                message: format!("{message}; `solution` has kept fields alone"),
            })?
        }
        None if manifest.task == Task::Loglikelihood => {
            let right = problem.correct_choice().and_then(|index| problem.choices.get(index));
            right.map_or_else(String::new, |choice| choice.trim().to_owned())
        }
        None => format!("\\boxed{{{}}}", problem.answer),
    };
    let of_group = shown.group.as_ref().map(|field| {
        group(problem, field).ok_or_else(|| SuiteError::Data {
            file: format!("example {:?} of suite {}", problem.id, manifest.name),
            field: field.clone(),
            message: "is no kept field with a text or a number, and examples are grouped by it".to_owned(),
        })
    });
    Ok(Example {
        problem: problem.problem.clone(),
        choices: problem.choices.clone(),
        solution,
        group: of_group.transpose()?,
    })
}

/// What a problem's field says up to its first slash: ids such as `college_physics/test/0` begin with the subject.
fn group(problem: &Problem, field: &str) -> Option<String> {
    let whole = match field {
        "id" => problem.id.clone(),
        field => text(problem.fields.get(field)?).ok()?,
    };
    Some(whole.split('/').next().unwrap_or_default().to_owned())
}

impl LanguageProblems {
    /// The examples that a problem may be shown, the first first: of its group where the suite has groups, and none with its
    /// own text.
    pub fn examples_for<'a>(&'a self, problem: &'a Problem) -> impl Iterator<Item = &'a Example> {
        let own = self.group.as_deref().and_then(|field| group(problem, field));
        let is_shown = move |example: &&Example| example.group == own && example.problem != problem.problem;
        self.examples.iter().filter(is_shown)
    }
}

impl Manifest {
    /// The field by which problems and examples are grouped.
    pub(super) fn example_group(&self) -> Option<&String> {
        match self.examples.as_ref()? {
            ExamplesFrom::Data { shown, .. } | ExamplesFrom::Problems { shown, .. } => shown.group.as_ref(),
            ExamplesFrom::Own(_) | ExamplesFrom::Suite(_) => None,
        }
    }
}
