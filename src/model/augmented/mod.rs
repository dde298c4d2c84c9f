//! MindMerger: a multilingual encoder whose states, mapped into a language model's embedding space, stand before its
//! prompt. Huang et al., <https://arxiv.org/abs/2405.17386>; the authors' code is CONE-MT/MindMerger.
//!
//! Here is what comes before the language model: encoder and mapping. The sequence that the language model reads is
//! `[BOS][mapped][end boundary][prompt]`; whoever runs it lays it out. A model on disk is a folder with xenoglot.json
//! (`folder`), which names the parts; `prompts` turns a user's text into what the two models read.

mod folder;
mod initial;
mod mapping;
mod mapping_weights;
mod parts;
mod prompts;
mod template;

use std::path::Path;

use candle_core::{Result, Tensor};

pub use folder::{AugmentedFolder, FILE_NAME};
pub use mapping::Mapping;
pub use mapping_weights::{LoadReport, MappingWeights};
pub use parts::AugmentedParts;
pub use prompts::{AugmentedPrompt, AugmentedPrompts, beginning};
pub use template::QueryTemplate;

use super::encoders::{TextEncoder, Texts};
use super::{LoadOptions, ModelError};

/// An encoder and the mapping trained for it.
pub struct Augmented {
    encoder: Box<dyn TextEncoder>,
    mapping: Mapping,
}

impl Augmented {
    /// Loads encoder and mapping of a folder with xenoglot.json.
    ///
    /// # Errors
    /// As [`AugmentedParts::open`] and [`AugmentedParts::load`].
    pub fn open(path: &Path, options: &LoadOptions) -> std::result::Result<Self, ModelError> {
        AugmentedParts::open(path)?.load(options)
    }

    /// # Errors
    /// `Contradiction` where the mapping is of another encoder's width.
    pub fn new(encoder: Box<dyn TextEncoder>, mapping: Mapping) -> std::result::Result<Self, ModelError> {
        if encoder.hidden_size() != mapping.d_encoder() {
            return Err(ModelError::contradiction(
                format!(
                    "the mapping takes states of {} features (`mlp.linear1.weight`), the encoder's have {}",
                    mapping.d_encoder(),
                    encoder.hidden_size()
                ),
                "take the mapping that was trained with this encoder",
            ));
        }
        Ok(Self { encoder, mapping })
    }

    /// What stands before the prompt, a vector a token of each text: f32 `[total_tokens, d_llm]`. The end boundary, the
    /// mapping's, follows each text.
    ///
    /// # Errors
    /// As [`TextEncoder::encode`].
    pub fn encode(&self, texts: &Texts) -> Result<Tensor> {
        self.mapping.forward(&self.encoder.encode(texts)?)
    }

    /// What the language model reads of each text, flat `[positions][d_llm]`: a vector a token and the end boundary.
    ///
    /// # Errors
    /// As [`TextEncoder::encode`].
    pub fn prefixes(&self, texts: &Texts) -> Result<Vec<Vec<f32>>> {
        let mapped = self.encode(texts)?.flatten_all()?.to_vec1::<f32>()?;
        let boundary = self.mapping.end_boundary().flatten_all()?.to_vec1::<f32>()?;
        let width = boundary.len();
        let of_text = |rows: std::ops::Range<usize>| {
            [&mapped[rows.start * width..rows.end * width], &boundary].concat()
        };
        Ok(texts.rows().map(of_text).collect())
    }

    pub fn encoder(&self) -> &dyn TextEncoder {
        &*self.encoder
    }

    pub fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// Bytes of all weights in memory.
    pub fn weight_bytes(&self) -> usize {
        self.encoder.weight_bytes() + self.mapping.bytes()
    }
}
