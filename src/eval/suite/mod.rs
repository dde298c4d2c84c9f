//! Evaluation suites: a suite.toml with problems beside it or by reference. The format is in docs/suites.md.
//!
//! A suite is given by name (looked for in ./eval-suites, then in `$XENOGLOT_SUITES`, then among those built into
//! the binary) or by the path of its folder. Everything in it is checked before the first token is generated. Data by
//! reference are found in the data directory, `$XENOGLOT_DATA`, and never fetched.

mod choices;
mod data;
mod embedded;
mod error;
mod examples;
mod files;
mod gold;
mod manifest;
mod math_gold;
mod presets;
mod problems;
mod prompts;
mod read;
mod referenced;
mod rows;
mod shown;
mod summary;
mod task;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::language::Language;

pub use choices::letter;
pub use error::SuiteError;
use files::Files;
use manifest::{Manifest, ProblemsFrom};
pub use presets::{Preset, Protocol, Settled};
pub use prompts::{Prompt, Variant};
pub use summary::{DataState, SuiteContent, SuiteSummary};
pub use task::Task;

/// A suite, read and checked whole.
#[derive(Debug, Clone)]
pub struct Suite {
    pub name: String,
    pub version: String,
    pub description: String,
    pub licence: String,
    pub revision: String,
    pub task: Task,
    /// What judges a completion: the task's own scorer, unless the suite names others.
    pub scorers: Vec<ScorerSpec>,
    /// By language in the manifest's order, problems in the file's.
    pub languages: Vec<LanguageProblems>,
    /// All that the suite has, read or not.
    pub offered: Vec<Language>,
    /// How it is meant to be run.
    pub protocol: Protocol,
    /// The shared set of prompts; `None` where the suite has its own.
    pub prompts: Option<String>,
    /// Variants that its prompts offer, by name.
    pub variants: BTreeMap<String, Variant>,
    /// Those that were applied.
    pub applied: Vec<String>,
    /// Digest of each file of data by reference, by its name in the source.
    pub files: BTreeMap<String, String>,
    /// Digest of the manifest, the prompts and all files of problems and examples that were read.
    pub sha256: String,
    /// The same without files of data by reference, which are read by language.
    pub definition_sha256: String,
}

/// A scorer with its options, as the manifest says.
#[derive(Debug, Clone, PartialEq)]
pub struct ScorerSpec {
    pub name: String,
    pub options: Map<String, Value>,
}

#[derive(Debug, Clone)]
pub struct LanguageProblems {
    pub language: Language,
    pub prompt: Prompt,
    pub problems: Vec<Problem>,
    /// What a prompt may show before the problem, in this order; all languages should have the same. `examples_for` has those of
    /// one problem.
    pub examples: Vec<Example>,
    /// The field by which problems and examples are grouped: a kept one, or `id`.
    pub group: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub id: String,
    pub problem: String,
    /// The gold; of a problem with choices the letter of the right one as shown. Empty where the task needs none.
    pub answer: String,
    /// As they are shown.
    pub choices: Vec<String>,
    /// What else a scorer needs, by the names that the manifest's `keep` gives; `choice_order` for shuffled choices.
    pub fields: Map<String, Value>,
}

/// The field of a problem with shuffled choices: which of the source's choices each shown one is.
const CHOICE_ORDER: &str = "choice_order";

impl Problem {
    /// The index of the right choice among those shown.
    pub fn correct_choice(&self) -> Option<usize> {
        (0..self.choices.len()).find(|index| self.answer == letter(*index).to_string())
    }

    /// Whether a choice says what the right one says: some data have the same text twice.
    pub fn is_right(&self, index: usize) -> bool {
        let text = |index: usize| self.choices.get(index).map(|choice| choice.trim());
        self.correct_choice().is_some_and(|right| text(index) == text(right))
    }
}

/// A problem with its solution, for the model to see before it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    pub problem: String,
    pub choices: Vec<String>,
    /// Ends with the answer in a box, where the task asks for one.
    pub solution: String,
    /// Which problems it may be shown for, in a suite with groups.
    pub group: Option<String>,
}

/// How a suite is opened.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// Of data by reference only these are read; `None`: all of the suite's.
    pub languages: Option<Vec<Language>>,
    /// The data directory; `None`: `$XENOGLOT_DATA`.
    pub data: Option<PathBuf>,
    /// A shared set of prompts to use in place of the suite's, as NAME or NAME/SECTION.
    pub prompts: Option<String>,
    /// Variants of the prompts to apply.
    pub variants: Vec<String>,
    /// Whether worked examples by reference are read too: a run without any needs no file of them.
    pub examples: bool,
}

impl Suite {
    /// Open a suite by name or path.
    ///
    /// # Errors
    /// `NotFound` or `NoManifest` with the names known; otherwise what is wrong with which line of which file.
    pub fn open(name_or_path: &str) -> Result<Self, SuiteError> {
        Self::open_with(name_or_path, &OpenOptions::default())
    }

    /// Open a suite by name or path.
    ///
    /// # Errors
    /// As `open`; `DataMissing` for data by reference that is not there, with how to get it.
    pub fn open_with(name_or_path: &str, options: &OpenOptions) -> Result<Self, SuiteError> {
        Self::read(&find(name_or_path)?, options)
    }

    /// Names that `open` finds, sorted.
    pub fn known() -> Vec<String> {
        let mut names: Vec<String> = embedded::names().map(str::to_owned).collect();
        for folder in search_folders() {
            let Ok(entries) = std::fs::read_dir(folder) else { continue };
            let suites = entries.filter_map(Result::ok).filter(|entry| entry.path().join(MANIFEST).is_file());
            names.extend(suites.map(|entry| entry.file_name().to_string_lossy().into_owned()));
        }
        names.sort();
        names.dedup();
        names
    }

    pub fn language(&self, language: Language) -> Option<&LanguageProblems> {
        self.languages.iter().find(|entry| entry.language == language)
    }

    fn read(files: &Files, options: &OpenOptions) -> Result<Self, SuiteError> {
        let text = files.text(MANIFEST)?;
        let manifest = Manifest::parse(&text, &files.describe(MANIFEST))?;
        let prompts = match &options.prompts {
            Some(name) => prompts::named(name, manifest.task, &manifest.languages)?,
            None => manifest.prompts.clone(),
        };
        let mut digest = Sha256::new();
        digest.update(text.as_bytes());
        digest.update(prompts.shared.as_deref().unwrap_or_default().as_bytes());
        let mut digests = BTreeMap::new();
        // What does not hang on the languages that are read.
        let mut definition = digest.clone();
        let mut problems: HashMap<Language, Vec<Problem>> = match &manifest.problems {
            ProblemsFrom::Own { file, keep } => {
                let read = problems::read(files, &manifest, file, keep, &mut digest)?;
                definition = digest.clone();
                read
            }
            ProblemsFrom::Data { reference, fields } => {
                let chosen = manifest.chosen(options.languages.as_deref());
                let root = data::root(options.data.as_deref());
                let read = referenced::read(&manifest, reference, fields, root.as_deref(), &chosen)?;
                read.digests.values().for_each(|sha256| digest.update(sha256.as_bytes()));
                digests = read.digests;
                read.problems
            }
        };
        let mut examples = examples::read(files, &manifest, &problems, &mut digest)?;
        for example in manifest.languages.iter().filter_map(|language| examples.get(language)).flatten() {
            // Written so since the first runs, whose digests have to stay theirs.
            let Example { problem, choices, solution, .. } = example;
            definition.update(format!(
                "Example {{ problem: {problem:?}, choices: {choices:?}, solution: {solution:?} }}"
            ));
        }
        let root = data::root(options.data.as_deref());
        let (of_problems, read) = shown::read(&manifest, &problems, root.as_deref(), options.examples)?;
        examples.extend(of_problems);
        for (name, sha256) in read {
            digest.update(sha256.as_bytes());
            digests.insert(name, sha256);
        }
        let languages = manifest.languages.iter().filter_map(|language| {
            Some(LanguageProblems {
                language: *language,
                prompt: prompts.by_language[language].clone(),
                problems: problems.remove(language)?,
                examples: examples.remove(language).unwrap_or_default(),
                group: manifest.example_group().cloned(),
            })
        });
        let suite = Self {
            languages: languages.collect(),
            name: manifest.name,
            version: manifest.version,
            description: manifest.description,
            licence: manifest.licence,
            revision: manifest.revision,
            task: manifest.task,
            scorers: manifest.scorers,
            offered: manifest.languages,
            protocol: manifest.protocol,
            prompts: prompts.name,
            variants: prompts.variants,
            applied: Vec::new(),
            files: digests,
            sha256: format!("{:x}", digest.finalize()),
            definition_sha256: format!("{:x}", definition.finalize()),
        };
        options.variants.iter().try_fold(suite, |suite, name| suite.with_variant(name))
    }

    /// The suite with a variant of its prompts, which changes its digest too.
    fn with_variant(mut self, name: &str) -> Result<Self, SuiteError> {
        let Some(variant) = self.variants.get(name).cloned() else {
            let known: Vec<&str> = self.variants.keys().map(String::as_str).collect();
            let (suite, hint) = (self.name.clone(), error::hint(name, &known));
            return Err(SuiteError::UnknownVariant { suite, name: name.to_owned(), hint });
        };
        for entry in self.languages.iter_mut().filter(|entry| entry.language == variant.language) {
            if let Some(prompt) = &variant.prompt {
                entry.prompt = prompt.clone();
            }
            if variant.half_width_digits {
                let problems = entry.problems.iter_mut();
                let texts = problems
                    .flat_map(|problem| std::iter::once(&mut problem.problem).chain(&mut problem.choices));
                let examples = entry.examples.iter_mut().map(|example| &mut example.problem);
                texts.chain(examples).for_each(|text| *text = prompts::half_width(text));
            }
        }
        for sha256 in [&mut self.sha256, &mut self.definition_sha256] {
            *sha256 = format!("{:x}", Sha256::digest(format!("{sha256} {name}")));
        }
        self.applied.push(name.to_owned());
        Ok(self)
    }
}

fn find(name_or_path: &str) -> Result<Files, SuiteError> {
    let path = Path::new(name_or_path);
    let known = || Suite::known().join(", ");
    let no_manifest = || SuiteError::NoManifest { folder: path.to_owned(), known: known() };
    if name_or_path.contains(['/', '\\']) || path.join(MANIFEST).is_file() {
        if path.is_dir() && !path.join(MANIFEST).exists() {
            return Err(no_manifest());
        }
        return Ok(Files::Folder(path.to_owned()));
    }
    let folders = search_folders();
    let named = folders.iter().map(|folder| folder.join(name_or_path));
    if let Some(folder) = named.into_iter().find(|folder| folder.join(MANIFEST).is_file()) {
        return Ok(Files::Folder(folder));
    }
    match embedded::find(name_or_path) {
        Some(suite) => Ok(Files::Embedded(suite)),
        None if path.is_dir() => Err(no_manifest()),
        None => {
            let places =
                folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ");
            Err(SuiteError::NotFound { name: name_or_path.to_owned(), places, known: known() })
        }
    }
}

const MANIFEST: &str = "suite.toml";

fn search_folders() -> Vec<PathBuf> {
    let named = std::env::var_os("XENOGLOT_SUITES").map(PathBuf::from);
    std::iter::once(PathBuf::from("eval-suites")).chain(named).collect()
}
