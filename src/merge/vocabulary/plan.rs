//! The vocabulary of a merge's output.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::super::config::{ConfigError, TokenizerConfig, TokenizerSource};
use super::super::error::MergeError;
use super::super::inputs::InputModel;
use super::document::Document;
use super::inputs::Tokenizers;
use super::model_files::tokenizer_json;
use super::rows::Rows;
use crate::weights::WeightsError;

/// The tokens named in one warning.
const NAMED_MAX: usize = 5;

/// What a vocabulary follows from, beside the configuration.
#[derive(Clone, Copy)]
pub struct VocabularyInputs<'a> {
    pub models: &'a [InputModel],
    pub base: Option<usize>,
    /// The models of which each matrix is merged, by number, sorted.
    pub groups: &'a [Vec<usize>],
    /// Folder or GGUF file of the `source`, where it is not named as a model is.
    pub tokenizer: Option<&'a Path>,
}

/// What vocabulary the output has, and where its rows come from.
#[derive(Debug, Clone)]
pub struct VocabularyPlan {
    /// Rows of the embeddings, padding included.
    pub size: usize,
    /// The tokenizer.json of the output.
    pub tokenizer: Value,
    /// The folder or GGUF file whose tokenizer it is made from; the files beside it are from there too.
    pub path: PathBuf,
    /// The model that this is, if it is one.
    pub donor: Option<usize>,
    pub warnings: Vec<String>,
    /// By the models of a matrix.
    rows: Vec<(Vec<usize>, Rows)>,
    /// By model, the new ids of its tokens.
    moved: Vec<HashMap<u32, u32>>,
}

impl VocabularyPlan {
    /// Without a base the first model that has a tokenizer stands in for it, but where a token's row comes from.
    ///
    /// # Errors
    /// `Config` for a rule or source that names what is not there, `Model` where no tokenizer can be had, `Weights` for
    /// a file that cannot be read.
    pub fn new(config: &TokenizerConfig, given: VocabularyInputs<'_>) -> Result<Self, MergeError> {
        let VocabularyInputs { models, base, groups, tokenizer } = given;
        let inputs = Tokenizers::open(models, base)?;
        let mut warnings = inputs.warnings(models);
        let donor = match tokenizer {
            Some(path) => models.iter().position(|model| is_same(&model.path, path)),
            None => Some(inputs.donor(config, models)?),
        };
        let path = donor.map(|donor| models[donor].path.as_path()).or(tokenizer).unwrap_or(Path::new(""));
        let damaged = |problem| invalid(path, problem);
        let json = tokenizer_json(path)?.ok_or_else(|| no_tokenizer(config))?;
        let mut document = Document::parse(&json).map_err(damaged)?;
        if let Some(donor) = donor.filter(|_| !matches!(config.source, TokenizerSource::Model(_))) {
            let stripped = document.strip(inputs.limits[donor]).map_err(damaged)?;
            if stripped > 0 {
                let model = &models[donor].reference;
                warnings.push(format!("{stripped} tokens of {model} are left out: it has no rows for them"));
            }
        }
        if config.source == TokenizerSource::Union {
            let (new, plain) = inputs.union(&document.vocabulary);
            if plain > 0 {
                warnings.push(format!(
                    "{plain} ordinary tokens are added to those of {}: as there are no merges for them, they are found \
                     in a text as they are written, also inside words",
                    donor.map(|donor| models[donor].reference.to_string()).unwrap_or_default()
                ));
            }
            document.append(&new).map_err(damaged)?;
        }
        let of_rules = inputs.of_rules(config, &document.vocabulary);
        document.append(&of_rules).map_err(damaged)?;
        let pad = config.pad_to_multiple_of.unwrap_or(1);
        let size = document.vocabulary.size().next_multiple_of(pad.max(1));
        let lookup = inputs.lookup(config, models, base, donor);
        let mut rows = Vec::with_capacity(groups.len());
        for group in groups {
            let (found, unknown) = lookup.rows(&document.vocabulary, size, group)?;
            if !unknown.is_empty() {
                let (count, named) = (unknown.len(), names(&unknown));
                let who = if group.len() == models.len() {
                    "no model has a row".to_owned()
                } else {
                    let of = |model: &usize| models[*model].reference.to_string();
                    let some: Vec<String> = group.iter().map(of).collect();
                    format!("no model of a slice of {} has a row", some.join(", "))
                };
                warnings.push(format!("{who} for {count} tokens, they are zeros: {named}"));
            }
            rows.push((group.clone(), found));
        }
        let moved = inputs.moved(&document.vocabulary);
        let place = &config.place;
        let warnings = warnings.into_iter().map(|warning| format!("{place}: {warning}")).collect();
        let path = path.to_owned();
        Ok(Self { size, tokenizer: document.value, path, donor, warnings, rows, moved })
    }

    /// Where the rows of matrices come from that are merged of these models, sorted. `None` for models that were not said
    /// to be a group.
    pub fn rows(&self, group: &[usize]) -> Option<&Rows> {
        self.rows.iter().find(|(models, _)| models == group).map(|(_, rows)| rows)
    }

    /// Set `vocab_size` in a model's configuration, and its ids of special tokens to those of the same tokens here.
    pub fn update_config(&self, model: usize, config: &mut Value) {
        self.update_ids(model, config);
        let text = config.get_mut("text_config").filter(|text| text.get("vocab_size").is_some());
        let has_text = text.is_some();
        if let Some(text) = text {
            text["vocab_size"] = json!(self.size);
            self.update_ids(model, text);
        }
        if config.is_object() && (!has_text || config.get("vocab_size").is_some()) {
            config["vocab_size"] = json!(self.size);
        }
    }

    /// The ids of special tokens alone.
    pub(super) fn update_ids(&self, model: usize, config: &mut Value) {
        let moved = |id: &mut Value| {
            let old = id.as_u64().and_then(|id| u32::try_from(id).ok());
            if let Some(new) = old.and_then(|old| self.moved[model].get(&old)) {
                *id = json!(new);
            }
        };
        for key in ["bos_token_id", "eos_token_id", "pad_token_id"] {
            match config.get_mut(key) {
                Some(Value::Array(ids)) => ids.iter_mut().for_each(moved),
                Some(id) => moved(id),
                None => {}
            }
        }
    }
}

/// However they are written.
fn is_same(one: &Path, other: &Path) -> bool {
    one == other || matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

fn no_tokenizer(config: &TokenizerConfig) -> ConfigError {
    let what = match &config.source {
        TokenizerSource::Model(reference) => format!("{reference} has no tokenizer.json"),
        TokenizerSource::Union | TokenizerSource::Base => "the base has no tokenizer.json".to_owned(),
    };
    config.source_place().wrong(what, "name a model that has one, or write `base`")
}

fn invalid(path: &Path, problem: String) -> MergeError {
    WeightsError::Tokenizer { path: path.to_owned(), problem }.into()
}

/// The first few, quoted.
fn names(tokens: &[String]) -> String {
    let mut named: Vec<String> = tokens.iter().take(NAMED_MAX).map(|token| format!("{token:?}")).collect();
    if tokens.len() > NAMED_MAX {
        named.push("...".to_owned());
    }
    named.join(", ")
}

#[cfg(test)]
mod tests;
