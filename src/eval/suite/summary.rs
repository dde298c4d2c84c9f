//! What a suite is, told from its manifest alone: for lists, which must not fail because data are not there.

use std::path::Path;

use crate::language::Language;

use super::error::SuiteError;
use super::manifest::{Manifest, ProblemsFrom};
use super::{MANIFEST, Protocol, Suite, Task, data, find};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuiteSummary {
    pub name: String,
    pub version: String,
    pub description: String,
    pub licence: String,
    pub task: Task,
    pub languages: Vec<Language>,
    pub data: DataState,
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
    /// How a suite says it is to be run, told from its manifest alone.
    ///
    /// # Errors
    /// What is wrong with the manifest.
    pub fn protocol_of(name_or_path: &str) -> Result<Protocol, SuiteError> {
        let files = find(name_or_path)?;
        Ok(Manifest::parse(&files.text(MANIFEST)?, &files.describe(MANIFEST))?.protocol)
    }

    /// `data`: where data that are not shipped may be, in place of `$XENOGLOT_DATA`.
    ///
    /// # Errors
    /// What is wrong with the manifest.
    pub fn summary(name_or_path: &str, data: Option<&Path>) -> Result<SuiteSummary, SuiteError> {
        let files = find(name_or_path)?;
        let manifest = Manifest::parse(&files.text(MANIFEST)?, &files.describe(MANIFEST))?;
        let state = match &manifest.problems {
            ProblemsFrom::Own { .. } => DataState::Own,
            ProblemsFrom::Data { reference, .. } => {
                let root = data::root(data);
                let there = |language: &Language| {
                    data::locate(&manifest, reference, root.as_deref(), &[*language]).is_ok()
                };
                match manifest.languages.iter().filter(|language| there(language)).count() {
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
            description: manifest.description,
            licence: manifest.licence,
            task: manifest.task,
            languages: manifest.languages,
            data: state,
        })
    }
}
