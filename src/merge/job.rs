//! A merge from its configuration's text to the finished folder: the one entry for command line and server.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::config::MergeConfig;
use super::error::MergeError;
use super::execute::{ExecuteOptions, MergeProgress, execute};
use super::files;
use super::inputs::{InputModel, Locate, locate_tokenizer, open_all};
use super::plan::{Plan, PlanOptions};

/// A merge that is planned.
pub struct MergeJob {
    pub config: MergeConfig,
    pub models: Vec<InputModel>,
    pub plan: Plan,
}

/// What stands beside the tensors.
#[derive(Debug, Clone, Copy, Default)]
pub struct FileOptions {
    /// Read all inputs once more for the digests of their contents.
    pub hash_inputs: bool,
    /// Leave the model card out.
    pub no_card: bool,
}

impl MergeJob {
    /// Read a configuration, open its models, plan. No element is read.
    ///
    /// # Errors
    /// What is wrong with the configuration, a model, or their tensors together.
    pub fn plan(text: &str, locate: &Locate<'_>, options: &PlanOptions) -> Result<Self, MergeError> {
        Self::of(MergeConfig::parse(text)?, locate, options)
    }

    /// As [`Self::plan`], of a configuration that is read already.
    ///
    /// # Errors
    /// As [`Self::plan`].
    pub fn of(config: MergeConfig, locate: &Locate<'_>, options: &PlanOptions) -> Result<Self, MergeError> {
        let models = open_all(&config, locate, options.crimes)?;
        let tokenizer = locate_tokenizer(&config, &models, locate)?;
        let plan = Plan::new(&config, &models, tokenizer.as_deref(), options)?;
        // What it cannot describe is told before anything is written.
        files::config_of(&models, &plan)?;
        Ok(Self { config, models, plan })
    }

    /// Names what is merged from what: a merge that was stopped is only gone on with by the same. Behind a dash is what is of
    /// the inputs' files.
    pub fn identity(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(env!("CARGO_PKG_VERSION").as_bytes());
        hash.update(self.config.text.as_bytes());
        hash.update(self.plan.seed.to_le_bytes());
        for shard in &self.plan.shards {
            hash.update(shard.bytes.to_le_bytes());
        }
        let what = format!("{:x}", hash.finalize());
        let mut hash = Sha256::new();
        for model in &self.models {
            hash.update(model.reference.to_string().as_bytes());
            hash.update(model.header_sha256().as_bytes());
            hash.update(model.files_stamp().as_bytes());
        }
        if let Some(vocabulary) = self.plan.vocabulary.as_ref().filter(|plan| plan.donor.is_none()) {
            hash.update(vocabulary.tokenizer.to_string().as_bytes());
        }
        format!("{what}-{:x}", hash.finalize())
    }

    /// Merge into a new folder.
    ///
    /// # Errors
    /// See [`execute`].
    pub fn write(
        &self,
        out: &Path,
        options: ExecuteOptions<'_>,
        files: FileOptions,
        progress: &dyn MergeProgress,
    ) -> Result<(), MergeError> {
        let write_files = |folder: &Path| files::write(self, folder, files);
        execute(&self.plan, &self.models, out, &self.identity(), options, progress, &write_files)
    }
}
