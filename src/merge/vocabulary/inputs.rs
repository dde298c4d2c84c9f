//! The tokenizers of a merge's models, and the tokens that they bring.

use std::collections::{HashMap, HashSet};

use super::super::config::{TokenizerConfig, TokenizerSource};
use super::super::error::MergeError;
use super::super::inputs::InputModel;
use super::rows::Lookup;
use super::tokens::{TokenSettings, Vocabulary};

/// What is known of each model's vocabulary.
pub(super) struct Tokenizers {
    /// `None` for a model that is taken to have the base's.
    vocabularies: Vec<Option<Vocabulary>>,
    /// The model whose vocabulary those without have.
    base: usize,
    /// The rows of each model's matrices.
    rows: Vec<usize>,
    /// How many of them can be tokens.
    pub limits: Vec<usize>,
}

impl Tokenizers {
    /// # Errors
    /// `Model` where neither the base nor, without one, any model has a tokenizer.
    pub(super) fn open(models: &[InputModel], base: Option<usize>) -> Result<Self, MergeError> {
        let vocabularies: Vec<Option<Vocabulary>> =
            models.iter().map(|model| Vocabulary::open(&model.path)).collect::<Result<_, _>>()?;
        let first = vocabularies.iter().position(Option::is_some);
        let Some(base) = base.or(first) else {
            let model = models.first().map(|model| model.reference.to_string()).unwrap_or_default();
            let problem = "has no tokenizer.json, and the other models have none either; remove `tokenizer`";
            return Err(MergeError::Model { model, problem: problem.to_owned() });
        };
        if vocabularies[base].is_none() {
            return Err(no_tokenizer(&models[base]));
        }
        let (rows, limits) = models.iter().map(amounts).collect();
        Ok(Self { vocabularies, base, rows, limits })
    }

    /// The model whose tokenizer the output's is made from.
    ///
    /// # Errors
    /// One that is not merged or has no tokenizer.
    pub(super) fn donor(&self, config: &TokenizerConfig, models: &[InputModel]) -> Result<usize, MergeError> {
        let TokenizerSource::Model(reference) = &config.source else { return Ok(self.base) };
        let wrong = |what: String, way_out: &str| config.source_place().wrong(what, way_out);
        let Some(model) = models.iter().position(|model| model.reference == *reference) else {
            let what = format!("{reference} is not among the models that are merged");
            return Err(wrong(what, "name one that is, or write `union` or `base`").into());
        };
        if self.vocabularies[model].is_none() {
            let what = format!("{reference} has no tokenizer.json");
            return Err(wrong(what, "name a model that has one, or write `base`").into());
        }
        Ok(model)
    }

    /// The tokens that a union adds to those of the base, and how many of them are ordinary ones. These come first, each
    /// sort in the order of the models and of their ids.
    pub(super) fn union(&self, base: &Vocabulary) -> (Vec<(String, TokenSettings)>, usize) {
        let added = self.added();
        let mut known: HashSet<&str> = base.tokens.iter().map(|token| token.text.as_str()).collect();
        let mut plain = Vec::new();
        for text in self.in_order().filter_map(|(text, _)| (!added.contains_key(text)).then_some(text)) {
            if !text.is_empty() && known.insert(text) {
                plain.push((text.to_owned(), TokenSettings::default()));
            }
        }
        let count = plain.len();
        // Also those that are ordinary ones of the base.
        let mut seen: HashSet<&str> =
            base.tokens.iter().filter_map(|token| token.added.map(|_| token.text.as_str())).collect();
        for text in self.in_order().filter_map(|(text, settings)| settings.map(|_| text)) {
            if !text.is_empty() && seen.insert(text) {
                plain.push((text.to_owned(), added[text]));
            }
        }
        (plain, count)
    }

    /// The tokens of rules that a vocabulary lacks, with the settings of the first model that has them as added ones.
    pub(super) fn of_rules(
        &self,
        config: &TokenizerConfig,
        vocabulary: &Vocabulary,
    ) -> Vec<(String, TokenSettings)> {
        let (known, added) = (vocabulary.ids(), self.added());
        let missing = config.tokens.iter().filter(|(token, _)| !known.contains_key(token.as_str()));
        missing
            .map(|(token, _)| (token.clone(), added.get(token.as_str()).copied().unwrap_or_default()))
            .collect()
    }

    pub(super) fn lookup<'a>(
        &'a self,
        config: &'a TokenizerConfig,
        models: &'a [InputModel],
        base: Option<usize>,
        donor: Option<usize>,
    ) -> Lookup<'a> {
        Lookup {
            config,
            models,
            base,
            ids: (0..models.len())
                .map(|model| self.vocabulary(model).map(Vocabulary::ids).unwrap_or_default())
                .collect(),
            rows: self.rows.clone(),
            limits: self.limits.clone(),
            donor,
        }
    }

    /// By model, the ids that its tokens have in the output.
    pub(super) fn moved(&self, vocabulary: &Vocabulary) -> Vec<HashMap<u32, u32>> {
        let ids = vocabulary.ids();
        let of_model = |model| {
            let tokens = self.vocabulary(model).into_iter().flat_map(|own| &own.tokens);
            tokens.filter_map(|token| Some((token.id, *ids.get(token.text.as_str())?))).collect()
        };
        (0..self.vocabularies.len()).map(of_model).collect()
    }

    /// What is taken for granted.
    pub(super) fn warnings(&self, models: &[InputModel]) -> Vec<String> {
        let mut warnings = Vec::new();
        for (model, vocabulary) in models.iter().zip(&self.vocabularies) {
            let reference = &model.reference;
            match vocabulary.as_ref().map(|vocabulary| &vocabulary.renumbered) {
                None => {
                    let base = &models[self.base].reference;
                    warnings.push(format!("{reference} has no tokenizer.json, it is taken to have that of {base}"));
                }
                Some(Some((count, token))) => warnings.push(format!(
                    "the tokenizer.json of {reference} gives {count} added tokens ids that they do not get when it is \
                     loaded ({token:?} is the first); those that they do get are taken"
                )),
                Some(None) => {}
            }
        }
        warnings
    }

    fn vocabulary(&self, model: usize) -> Option<&Vocabulary> {
        self.vocabularies[model].as_ref().or(self.vocabularies[self.base].as_ref())
    }

    /// The tokens that have rows, the base's first, then model by model.
    fn in_order(&self) -> impl Iterator<Item = (&str, Option<TokenSettings>)> {
        let others = (0..self.vocabularies.len()).filter(|model| *model != self.base);
        std::iter::once(self.base).chain(others).flat_map(move |model| {
            let tokens = self.vocabularies[model].iter().flat_map(|vocabulary| &vocabulary.tokens);
            let has_row = move |id: u32| (id as usize) < self.limits[model];
            tokens.filter(move |token| has_row(token.id)).map(|token| (token.text.as_str(), token.added))
        })
    }

    /// The settings of all added tokens, of the first that has them.
    fn added(&self) -> HashMap<&str, TokenSettings> {
        let mut added = HashMap::new();
        for (text, settings) in self.in_order() {
            if let Some(settings) = settings {
                added.entry(text).or_insert(settings);
            }
        }
        added
    }
}

fn no_tokenizer(model: &InputModel) -> MergeError {
    let problem = "has no tokenizer.json, which a merge of vocabularies starts from; put it into its folder, or name \
                   another `base_model`";
    MergeError::Model { model: model.reference.to_string(), problem: problem.to_owned() }
}

/// Whether a tensor has a row for each token.
pub fn is_vocabulary_tensor(name: &str) -> bool {
    const ENDS: [&str; 8] = [
        "embed_tokens.weight",
        "lm_head.weight",
        "lm_head.bias",
        "wte.weight",
        "embed_in.weight",
        "embed_out.weight",
        "word_embeddings.weight",
        "tok_embeddings.weight",
    ];
    let is_at_start = |rest: &str| rest.is_empty() || rest.ends_with('.');
    ENDS.iter().any(|end| name.strip_suffix(end).is_some_and(is_at_start))
}

/// The rows of a model's matrices, and how many of them can be tokens.
pub(super) fn amounts(model: &InputModel) -> (usize, usize) {
    let names = model.tensors.names();
    let of_tokens = names.iter().filter(|name| is_vocabulary_tensor(name));
    let rows = of_tokens.filter_map(|name| model.tensors.shape(name).ok()?.first().copied()).min();
    let rows = rows.unwrap_or(usize::MAX);
    let said =
        model.config["vocab_size"].as_u64().or_else(|| model.config["text_config"]["vocab_size"].as_u64());
    let said = said.and_then(|size| usize::try_from(size).ok());
    (rows, said.unwrap_or(rows).min(rows))
}
