//! From what a user wrote to what the two models of a MindMerger model read: ids for the encoder, and ids for the language
//! model, between whose first and second the encoder's vectors stand.
//!
//! The templates take the place of a chat template. Nothing is cut: the original truncates a long source, which leaves a
//! question half read; here the engine refuses it.

use super::{AugmentedFolder, QueryTemplate};
use crate::language::Language;
use crate::model::ModelError;
use crate::model::encoders::EncoderTokenizer;
use crate::score::language::LanguageScorer;
use crate::weights::{Checkpoint, Tokenizer};

/// Both tokenizers and both templates. Cheap to share between threads.
pub struct AugmentedPrompts {
    llm: Tokenizer,
    encoder: EncoderTokenizer,
    /// The token that every sequence begins with.
    bos: u32,
    augmentation: bool,
    prompt_template: QueryTemplate,
    encoder_template: QueryTemplate,
    detector: LanguageScorer,
}

/// What the two models read of one query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AugmentedPrompt {
    /// Of the language model: BOS, then the prompt. The vectors stand behind the BOS.
    pub ids: Vec<u32>,
    /// Of the encoder.
    pub encoder_ids: Vec<u32>,
}

impl AugmentedPrompts {
    /// # Errors
    /// `Contradiction` for a language model without a token to begin with.
    pub fn new(
        folder: &AugmentedFolder,
        encoder: EncoderTokenizer,
        llm: &Checkpoint,
    ) -> Result<Self, ModelError> {
        Ok(Self {
            bos: beginning(llm)?,
            llm: llm.tokenizer.clone(),
            encoder,
            augmentation: folder.augmentation,
            prompt_template: folder.prompt_template.clone(),
            encoder_template: folder.encoder_template.clone(),
            detector: LanguageScorer::with_all_languages(),
        })
    }

    /// `language` is a BCP 47 tag, which only encoders with language tags look at; without one it is told from the query.
    /// `opening` is what the answer begins with.
    ///
    /// # Errors
    /// A language without a tag, a query that does not show its language, a text that a tokenizer refuses.
    pub fn read(
        &self,
        query: &str,
        language: Option<&str>,
        opening: &str,
    ) -> Result<AugmentedPrompt, ModelError> {
        let detected = match language {
            None if self.encoder.needs_language() => self.detector.detect(query).map(Language::code),
            _ => None,
        };
        let text = self.encoder_template.render(query);
        let encoder_ids = self.encoder.encode(&text, language.or(detected), usize::MAX)?;
        let mut ids = vec![self.bos];
        // Apart, as they are trained: an answer's tokens follow the prompt's, or the vectors.
        for text in [self.text(query).as_str(), opening] {
            if !text.is_empty() {
                ids.extend(self.llm.encode(text, false)?);
            }
        }
        Ok(AugmentedPrompt { ids, encoder_ids })
    }

    /// What the language model reads behind the vectors; nothing without augmentation.
    pub fn text(&self, query: &str) -> String {
        if self.augmentation { self.prompt_template.render(query) } else { String::new() }
    }

    /// The template of what the language model reads.
    pub fn prompt_template(&self) -> &QueryTemplate {
        &self.prompt_template
    }

    /// Ids that the encoder's tokenizer makes are below this.
    pub fn encoder_vocab_size(&self) -> usize {
        self.encoder.vocab_size()
    }
}

/// The token that a MindMerger sequence begins with: the tokenizer's BOS, else the config's.
///
/// # Errors
/// `Contradiction` for a language model that names none.
pub fn beginning(llm: &Checkpoint) -> Result<u32, ModelError> {
    let of_tokenizer = llm.special.bos.as_deref().and_then(|token| llm.tokenizer.token_to_id(token));
    let in_vocabulary = |id: &u32| (*id as usize) < llm.tokenizer.vocab_size();
    let of_config =
        || llm.config["bos_token_id"].as_u64().and_then(|id| u32::try_from(id).ok()).filter(in_vocabulary);
    of_tokenizer.or_else(of_config).ok_or_else(|| {
        ModelError::contradiction(
            "a MindMerger sequence begins with the language model's BOS, and it has none",
            "name one as `bos_token` in its tokenizer_config.json, the one that the mapping was trained with",
        )
    })
}
