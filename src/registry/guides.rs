//! What guides a model's answers, made when first asked for and kept as long as the model.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::guide::{GuideError, Guides, TokenSet, tokens_of_other_scripts};
use crate::language::Language;

use super::ServedModel;

/// Shared by a model and its adapters.
#[derive(Default)]
pub struct ModelGuides {
    guides: OnceLock<Result<Guides, GuideError>>,
    /// Tokens with letters of other scripts, by language.
    foreign: Mutex<BTreeMap<Language, Arc<TokenSet>>>,
}

impl ServedModel {
    /// Compiles grammars over the model's vocabulary. The first call takes tenths of a second.
    ///
    /// # Errors
    /// `Vocabulary`.
    pub fn grammars(&self) -> Result<&Guides, GuideError> {
        let ends = || &self.handle.info().eos_token_ids;
        let guides = self.guides.guides.get_or_init(|| Guides::new(&self.tokenizer, ends()));
        guides.as_ref().map_err(Clone::clone)
    }

    /// Tokens with letters that the language is not written in.
    pub fn tokens_foreign_to(&self, language: Language) -> Arc<TokenSet> {
        // A panic while it was made has put nothing there.
        let mut known = self.guides.foreign.lock().unwrap_or_else(PoisonError::into_inner);
        let made = known.entry(language);
        made.or_insert_with(|| Arc::new(tokens_of_other_scripts(&self.tokenizer, language))).clone()
    }
}
