//! How a model reads text: its tokenizer, its template, the token that ends a text.

use sha2::{Digest, Sha256};

use super::DataError;
use super::spans::Templates;
use crate::chat::ChatTemplate;
use crate::weights::{Checkpoint, Tokenizer};

#[derive(Debug, Clone)]
pub struct ModelText {
    pub tokenizer: Tokenizer,
    /// `None` for a model that takes no messages.
    pub templates: Option<Templates>,
    /// What ends a text; not always what ends a turn, which the template writes.
    pub eos: Option<u32>,
}

impl ModelText {
    /// # Errors
    /// A template that does not compile.
    pub fn of(checkpoint: &Checkpoint) -> Result<Self, DataError> {
        let special = &checkpoint.special;
        let template = checkpoint.chat_template.as_ref();
        let template = template.map(|source| ChatTemplate::new(source, special.by_name())).transpose()?;
        let tokenizer = checkpoint.tokenizer.clone();
        let eos = special.eos.as_ref().and_then(|eos| tokenizer.token_to_id(eos));
        let eos = eos.or_else(|| checkpoint.eos_token_ids.first().copied());
        Ok(Self { templates: template.map(Templates::new).transpose()?, tokenizer, eos })
    }

    /// Of all that decides which tokens a text becomes.
    pub(super) fn digest(&self) -> Result<String, DataError> {
        let mut hash = Sha256::new();
        hash.update(self.tokenizer.to_json()?);
        if let Some(Templates { plain, .. }) = &self.templates {
            hash.update(format!("\0{}\0{:?}", plain.source(), plain.special_tokens()));
        }
        hash.update(format!("\0{:?}", self.eos));
        Ok(format!("{:x}", hash.finalize()))
    }
}
