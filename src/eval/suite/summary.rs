//! What a suite is, told from its manifest alone: for lists, which must not fail because data are not there.

use std::collections::BTreeMap;
use std::path::Path;

use crate::language::Language;

use super::error::SuiteError;
use super::manifest::{Manifest, ProblemsFrom};
use super::{MANIFEST, OpenOptions, Protocol, Suite, Task, data, find};

#[derive(Debug, Clone, PartialEq)]
pub struct SuiteSummary {
    pub name: String,
    pub version: String,
    pub revision: String,
    pub description: String,
    pub licence: String,
    pub task: Task,
    /// What judges a completion, by name.
    pub scorers: Vec<String>,
    pub languages: Vec<Language>,
    /// Those whose problems are here.
    pub present: Vec<Language>,
    pub data: DataState,
    pub protocol: Protocol,
    /// The shared set of prompts; `None` where the suite has its own.
    pub prompts: Option<String>,
    /// Variants that its prompts offer.
    pub variants: Vec<String>,
}

/// What is known of a suite once its problems are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuiteContent {
    pub problems: BTreeMap<Language, usize>,
    pub sha256: String,
}

/// Where a suite's problems are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataState {
    /// In the suite.
    Own,
    /// In the data directory: so many languages of all.
    Present { languages: usize },
    /// Nowhere; the message says how to get them.
    Missing { message: String },
}

impl Suite {
    /// A suite's task and how it says it is to be run, told from its manifest alone.
    ///
    /// # Errors
    /// What is wrong with the manifest.
    pub fn task_and_protocol(name_or_path: &str) -> Result<(Task, Protocol), SuiteError> {
        let files = find(name_or_path)?;
        let manifest = Manifest::parse(&files.text(MANIFEST)?, &files.describe(MANIFEST))?;
        Ok((manifest.task, manifest.protocol))
    }

    /// `data`: where data that are not shipped may be, in place of `$XENOGLOT_DATA`.
    ///
    /// # Errors
    /// What is wrong with the manifest.
    pub fn summary(name_or_path: &str, data: Option<&Path>) -> Result<SuiteSummary, SuiteError> {
        let files = find(name_or_path)?;
        let manifest = Manifest::parse(&files.text(MANIFEST)?, &files.describe(MANIFEST))?;
        let mut present = manifest.languages.clone();
        let state = match &manifest.problems {
            ProblemsFrom::Own { .. } => DataState::Own,
            ProblemsFrom::Data { reference, .. } => {
                let root = data::root(data);
                let there = |language: &Language| {
                    data::locate(&manifest, reference, root.as_deref(), &[*language]).is_ok()
                };
                present.retain(there);
                match present.len() {
                    0 => match data::locate(&manifest, reference, root.as_deref(), &manifest.languages) {
                        Err(error) => DataState::Missing { message: error.to_string() },
                        Ok(_) => DataState::Present { languages: 0 },
                    },
                    languages => DataState::Present { languages },
                }
            }
        };
        Ok(SuiteSummary {
            name: manifest.name,
            version: manifest.version,
            revision: manifest.revision,
            description: manifest.description,
            licence: manifest.licence,
            task: manifest.task,
            scorers: manifest.scorers.into_iter().map(|scorer| scorer.name).collect(),
            languages: manifest.languages,
            present,
            data: state,
            protocol: manifest.protocol,
            prompts: manifest.prompts.name,
            variants: manifest.prompts.variants.into_keys().collect(),
        })
    }

    /// Read a suite's problems in some of its languages, and count them.
    ///
    /// # Errors
    /// As `open_with`.
    pub fn content(name_or_path: &str, languages: &[Language]) -> Result<SuiteContent, SuiteError> {
        let options = OpenOptions { languages: Some(languages.to_vec()), ..OpenOptions::default() };
        let suite = Self::open_with(name_or_path, &options)?;
        let problems = suite.languages.iter().map(|entry| (entry.language, entry.problems.len())).collect();
        Ok(SuiteContent { problems, sha256: suite.sha256 })
    }
}
