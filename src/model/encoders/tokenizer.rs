//! How a text becomes an encoder's ids: what its tokenizer adds to every text (`text </s>`, `<s> text </s>`), or, for the
//! translation models, the tag of the text's language first and `</s>` last.

use std::collections::{BTreeMap, BTreeSet};

use super::tags::{TagSet, given_tag};
use crate::language::Language;
use crate::model::ModelError;
use crate::weights::Tokenizer;

/// A tokenizer, and what an encoder wants around a text.
#[derive(Debug, Clone)]
pub struct EncoderTokenizer {
    tokenizer: Tokenizer,
    frame: Frame,
}

#[derive(Debug, Clone)]
enum Frame {
    /// The tokenizer's own post-processor.
    Own,
    Tagged {
        set: TagSet,
        /// BCP 47 to tag, before the set's own.
        given: BTreeMap<String, String>,
        /// `</s>`
        end: u32,
    },
}

impl EncoderTokenizer {
    /// Texts have language tags where the vocabulary has those of NLLB or M2M100. `language_tags` maps BCP 47 to the tag
    /// and goes before the defaults.
    ///
    /// # Errors
    /// A tag that is not in the vocabulary, tags for an encoder without any, a tagged vocabulary without `</s>`.
    pub fn new(tokenizer: Tokenizer, language_tags: &BTreeMap<String, String>) -> Result<Self, ModelError> {
        let Some(set) = tag_set(&tokenizer) else {
            return match language_tags.keys().next() {
                None => Ok(Self { tokenizer, frame: Frame::Own }),
                Some(language) => Err(ModelError::Unsupported {
                    key: format!("language_tags.{language}"),
                    found: format!("{:?}", language_tags[language]),
                    hint: "this encoder reads all languages alike; remove `language_tags`".to_owned(),
                }),
            };
        };
        for (language, tag) in language_tags {
            if tokenizer.token_to_id(tag).is_none() {
                let expected = "a token of the encoder's vocabulary".to_owned();
                let key = format!("language_tags.{language}");
                return Err(ModelError::InvalidKey { key, found: format!("{tag:?}"), expected });
            }
        }
        let end = tokenizer.token_to_id("</s>").ok_or_else(|| {
            ModelError::contradiction(
                "the encoder's vocabulary has language tags, but no `</s>`",
                "take tokenizer.json from the original model",
            )
        })?;
        Ok(Self { tokenizer, frame: Frame::Tagged { set, given: language_tags.clone(), end } })
    }

    /// The highest id of a text's own tokens plus one.
    pub fn vocab_size(&self) -> usize {
        self.tokenizer.base_vocab_size()
    }

    /// Whether `encode` wants to know the text's language.
    pub fn needs_language(&self) -> bool {
        matches!(self.frame, Frame::Tagged { .. })
    }

    /// The ids of a text, of at most `tokens_max`: its end is cut, never the special tokens around it. `language` is a BCP 47
    /// tag, which encoders without language tags do not look at.
    ///
    /// # Errors
    /// No language, or one without a tag, where the encoder needs it; a text that the tokenizer refuses.
    pub fn encode(
        &self,
        text: &str,
        language: Option<&str>,
        tokens_max: usize,
    ) -> Result<Vec<u32>, ModelError> {
        let content = self.tokenizer.encode(text, false)?;
        match &self.frame {
            Frame::Own => {
                let whole = self.tokenizer.encode(text, true)?;
                Ok(truncate_framed(whole, &content, tokens_max))
            }
            Frame::Tagged { set, given, end } => {
                let tag = self.tag(*set, given, language)?;
                let kept = content.len().min(tokens_max.saturating_sub(2));
                Ok([&[tag], &content[..kept], &[*end]].concat())
            }
        }
    }

    fn tag(
        &self,
        set: TagSet,
        given: &BTreeMap<String, String>,
        language: Option<&str>,
    ) -> Result<u32, ModelError> {
        let no_tag = |language: &str, hint: &str| ModelError::NoLanguageTag {
            language: language.to_owned(),
            hint: hint.to_owned(),
        };
        let Some(language) = language else {
            return Err(no_tag("unknown", "say which language the text is in"));
        };
        let tag = given_tag(given, language).map(str::to_owned).or_else(|| set.tag(language));
        tag.and_then(|tag| self.tokenizer.token_to_id(&tag)).ok_or_else(|| {
            let known = self.known(set, given).join(", ");
            let hint = format!("give it one under `language_tags` in xenoglot.json; it knows {known}");
            no_tag(&format!("{language:?}"), &hint)
        })
    }

    /// The languages that have a tag in this vocabulary: those of xenoglot.json and those of `language`.
    fn known(&self, set: TagSet, given: &BTreeMap<String, String>) -> Vec<String> {
        let has_tag = |language: &&Language| {
            let tag = set.tag(language.code());
            tag.is_some_and(|tag| self.tokenizer.token_to_id(&tag).is_some())
        };
        let own = Language::ALL.iter().filter(has_tag).map(|language| language.code().to_owned());
        given.keys().cloned().chain(own).collect::<BTreeSet<String>>().into_iter().collect()
    }
}

fn tag_set(tokenizer: &Tokenizer) -> Option<TagSet> {
    let has = |token: &str| tokenizer.token_to_id(token).is_some();
    match (has("eng_Latn"), has("__en__")) {
        (true, _) => Some(TagSet::Nllb),
        (_, true) => Some(TagSet::M2m100),
        _ => None,
    }
}

/// Cuts the end of the content out of `whole`, the content with special tokens before and behind it.
fn truncate_framed(mut whole: Vec<u32>, content: &[u32], tokens_max: usize) -> Vec<u32> {
    let excess = whole.len().saturating_sub(tokens_max).min(content.len());
    if excess > 0
        && let Some(before) = whole.windows(content.len()).position(|window| window == content)
    {
        let end = before + content.len();
        whole.drain(end - excess..end);
    }
    whole
}
