//! The vocabulary of a merge's output.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::super::config::{TokenizerConfig, TokenizerSource};
use super::super::error::MergeError;
use super::super::inputs::InputModel;
use super::document::Document;
use super::inputs::{Tokenizers, no_tokenizer};
use super::model_files::tokenizer_json;
use super::rows::{RowSource, Rows};
use crate::weights::WeightsError;

/// The tokens named in one warning.
const NAMED_MAX: usize = 5;

/// What vocabulary the output has, and where its rows come from.
#[derive(Debug, Clone)]
pub struct VocabularyPlan {
    /// Rows of the embeddings, padding included.
    pub size: usize,
    /// The tokenizer.json of the output.
    pub tokenizer: Value,
    /// The model whose tokenizer it is made from; the files beside it are that model's.
    pub donor: usize,
    pub warnings: Vec<String>,
    rows: Rows,
    /// By model, the new ids of its tokens.
    moved: Vec<HashMap<u32, u32>>,
}

impl VocabularyPlan {
    /// Without a base the first model that has a tokenizer stands in for it, but where a token's row comes from.
    ///
    /// # Errors
    /// `Config` for a rule or source that names what is not there, `Model` where no tokenizer can be had, `Weights` for
    /// a file that cannot be read.
    pub fn new(
        config: &TokenizerConfig,
        models: &[InputModel],
        base: Option<usize>,
    ) -> Result<Self, MergeError> {
        let inputs = Tokenizers::open(models, base)?;
        let mut warnings = inputs.warnings(models);
        let donor = inputs.donor(config, models)?;
        let mut document = open_document(&models[donor])?;
        let damaged = |problem| invalid(&models[donor], problem);
        if !matches!(config.source, TokenizerSource::Model(_)) {
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
                    models[donor].reference
                ));
            }
            document.append(&new).map_err(damaged)?;
        }
        let of_rules = inputs.of_rules(config, &document.vocabulary);
        document.append(&of_rules).map_err(damaged)?;
        let pad = config.pad_to_multiple_of.unwrap_or(1);
        let size = document.vocabulary.size().next_multiple_of(pad.max(1));
        let (rows, unknown) = inputs.lookup(config, models, base, donor).rows(&document.vocabulary, size)?;
        if !unknown.is_empty() {
            let (count, named) = (unknown.len(), names(&unknown));
            warnings.push(format!("no model has a row for {count} tokens, they are zeros: {named}"));
        }
        let moved = inputs.moved(&document.vocabulary);
        let place = &config.place;
        let warnings = warnings.into_iter().map(|warning| format!("{place}: {warning}")).collect();
        Ok(Self { size, tokenizer: document.value, donor, warnings, rows, moved })
    }

    /// Where a row of a model's new matrix comes from. `row` is below `size`.
    pub fn source(&self, model: usize, row: usize) -> RowSource {
        self.rows.source(model, row)
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

    fn update_ids(&self, model: usize, config: &mut Value) {
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

fn open_document(model: &InputModel) -> Result<Document, MergeError> {
    let json = tokenizer_json(&model.path)?.ok_or_else(|| no_tokenizer(model))?;
    Document::parse(&json).map_err(|problem| invalid(model, problem))
}

fn invalid(model: &InputModel, problem: String) -> MergeError {
    WeightsError::Tokenizer { path: model.path.clone(), problem }.into()
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
