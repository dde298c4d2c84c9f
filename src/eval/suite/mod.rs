//! Evaluation suites: a suite.toml, its problems and its worked examples as JSONL. The format is in docs/formats.md.
//!
//! A suite is given by name (looked for in ./eval-suites, then in `$XENOGLOT_SUITES`, then among those built into
//! the binary) or by the path of its folder. Everything in it is checked before the first token is generated.

mod embedded;
mod error;
mod examples;
mod files;
mod manifest;
mod problems;
mod rows;

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::language::Language;

pub use error::SuiteError;
use files::Files;
use manifest::Manifest;

/// A suite, read and checked whole.
#[derive(Debug, Clone)]
pub struct Suite {
    pub name: String,
    pub version: String,
    pub description: String,
    pub licence: String,
    pub revision: String,
    pub task: Task,
    /// By language in the manifest's order, problems in the file's.
    pub languages: Vec<LanguageProblems>,
    /// Digest of the manifest and of all files of problems and examples.
    pub sha256: String,
}

#[derive(Debug, Clone)]
pub struct LanguageProblems {
    pub language: Language,
    pub prompt: Prompt,
    pub problems: Vec<Problem>,
    /// What a prompt may show before the problem, in this order; all languages should have the same.
    pub examples: Vec<Example>,
}

/// How a problem is put to the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    pub system: Option<String>,
    /// Holds `{problem}` once.
    pub user: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub id: String,
    pub problem: String,
    pub answer: String,
}

/// A problem with its solution, for the model to see before it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    pub problem: String,
    /// Ends with the answer in a box.
    pub solution: String,
}

/// How answers are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Numbers, by value.
    Math,
    /// Words, by normalised text.
    Text,
}

impl Task {
    pub fn name(self) -> &'static str {
        match self {
            Self::Math => "math",
            Self::Text => "text",
        }
    }
}

impl Prompt {
    pub fn user_text(&self, problem: &str) -> String {
        self.user.replacen(PLACEHOLDER, problem, 1)
    }
}

const PLACEHOLDER: &str = "{problem}";

impl Suite {
    /// Open a suite by name or path.
    ///
    /// # Errors
    /// `NotFound` or `NoManifest` with the names known; otherwise what is wrong with which line of which file.
    pub fn open(name_or_path: &str) -> Result<Self, SuiteError> {
        let path = Path::new(name_or_path);
        if name_or_path.contains(['/', '\\']) || path.join(MANIFEST).is_file() {
            if path.is_dir() && !path.join(MANIFEST).exists() {
                return Err(Self::no_manifest(path));
            }
            return Self::read(&Files::Folder(path.to_owned()));
        }
        let folders: Vec<PathBuf> = search_folders();
        if let Some(folder) =
            folders.iter().map(|folder| folder.join(name_or_path)).find(|f| f.join(MANIFEST).is_file())
        {
            return Self::read(&Files::Folder(folder));
        }
        match embedded::find(name_or_path) {
            Some(suite) => Self::read(&Files::Embedded(suite)),
            None if path.is_dir() => Err(Self::no_manifest(path)),
            None => Err(SuiteError::NotFound {
                name: name_or_path.to_owned(),
                places: folders
                    .iter()
                    .map(|folder| folder.display().to_string())
                    .collect::<Vec<_>>()
                    .join(", "),
                known: Self::known().join(", "),
            }),
        }
    }

    fn no_manifest(folder: &Path) -> SuiteError {
        SuiteError::NoManifest { folder: folder.to_owned(), known: Self::known().join(", ") }
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

    fn read(files: &Files) -> Result<Self, SuiteError> {
        let text = files.text(MANIFEST)?;
        let manifest = Manifest::parse(&text, &files.describe(MANIFEST))?;
        let mut digest = Sha256::new();
        digest.update(text.as_bytes());
        let mut problems = problems::read(files, &manifest, &mut digest)?;
        let mut examples = examples::read(files, &manifest, &problems, &mut digest)?;
        let languages = manifest.languages.iter().map(|language| LanguageProblems {
            language: *language,
            prompt: manifest.prompts[language].clone(),
            problems: problems.remove(language).unwrap_or_default(),
            examples: examples.remove(language).unwrap_or_default(),
        });
        let languages = languages.collect();
        Ok(Self {
            name: manifest.name,
            version: manifest.version,
            description: manifest.description,
            licence: manifest.licence,
            revision: manifest.revision,
            task: manifest.task,
            languages,
            sha256: format!("{:x}", digest.finalize()),
        })
    }
}

const MANIFEST: &str = "suite.toml";

fn search_folders() -> Vec<PathBuf> {
    let named = std::env::var_os("XENOGLOT_SUITES").map(PathBuf::from);
    std::iter::once(PathBuf::from("eval-suites")).chain(named).collect()
}
