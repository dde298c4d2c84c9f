//! Text encoders in service: a text in, one vector out.
//!
//! An encoder has no engine: its texts are computed on the caller's thread, one batch at a time, and a text's vector does not depend
//! on the batch (`model::encoders`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tokio::sync::Semaphore;

use crate::model::encoders::{self, EncoderTokenizer, TextEncoder, Texts};
use crate::model::{LoadOptions, ModelError};
use crate::weights::{Tokenizer, dominant_dtype, open_weights};

use super::load::encoder_compute_dtype;
use super::{Registry, RegistryError};

/// Tokens that are computed at once: one text, or several up to so many.
const BATCH_TOKENS: usize = 2048;

/// Requests of one encoder at once.
pub const ENCODER_REQUESTS_MAX: usize = 256;

/// How the states of a text's tokens become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// The first token's.
    First,
    /// The last token's.
    Last,
}

/// An encoder under a name.
pub struct ServedEncoder {
    pub name: String,
    /// When it was loaded, in seconds since 1970.
    pub created: u64,
    pub source: PathBuf,
    pub pooling: Pooling,
    encoder: Box<dyn TextEncoder>,
    tokenizer: EncoderTokenizer,
    /// Held while a batch is computed: requests take turns, so that two do not hold two batches' working space.
    pub turn: Arc<Semaphore>,
    /// Of its requests, those that wait for their turn included.
    pub places: Arc<Semaphore>,
}

impl ServedEncoder {
    /// Numbers of a vector.
    pub fn dimensions(&self) -> usize {
        self.encoder.hidden_size()
    }

    /// The longest text, in tokens, its special tokens included.
    pub fn max_tokens(&self) -> usize {
        self.encoder.max_tokens()
    }

    /// One more than the highest id.
    pub fn vocab_size(&self) -> usize {
        self.tokenizer.vocab_size()
    }

    /// The ids of a text with its special tokens, however many.
    ///
    /// # Errors
    /// A text that the tokenizer refuses.
    pub fn ids(&self, text: &str, tokens_max: Option<usize>) -> Result<Vec<u32>, RegistryError> {
        Ok(self.tokenizer.encode(text, None, tokens_max.unwrap_or(usize::MAX))?)
    }

    /// One vector a text, of length 1; of so many texts as [`batches`] puts together.
    ///
    /// # Errors
    /// A text that is longer than [`Self::max_tokens`], an id that no embedding has.
    pub fn embed(&self, batch: &[Vec<u32>]) -> Result<Vec<Vec<f32>>, RegistryError> {
        let texts = Texts::new(batch);
        let states = self.encoder.encode(&texts).map_err(ModelError::from)?;
        let width = self.dimensions();
        let states: Vec<f32> =
            states.flatten_all().and_then(|states| states.to_vec1()).map_err(ModelError::from)?;
        Ok(texts
            .rows()
            .map(|rows| pooled(&states[rows.start * width..rows.end * width], width, self.pooling))
            .collect())
    }
}

/// Texts in their order, as many together as are computed at once.
pub fn batches(texts: Vec<Vec<u32>>) -> Vec<Vec<Vec<u32>>> {
    let mut batches: Vec<Vec<Vec<u32>>> = Vec::new();
    let mut tokens = 0;
    for text in texts {
        tokens += text.len();
        if let Some(batch) = batches.last_mut().filter(|_| tokens <= BATCH_TOKENS) {
            batch.push(text);
        } else {
            tokens = text.len();
            batches.push(vec![text]);
        }
    }
    batches
}

/// `states` is `[tokens, width]`, of at least one token.
fn pooled(states: &[f32], width: usize, pooling: Pooling) -> Vec<f32> {
    let rows = states.len() / width.max(1);
    let mut vector: Vec<f64> = match pooling {
        Pooling::First => states[..width].iter().copied().map(f64::from).collect(),
        Pooling::Last => states[(rows - 1) * width..].iter().copied().map(f64::from).collect(),
        Pooling::Mean => {
            let mut sum = vec![0.0; width];
            for row in states.chunks_exact(width) {
                for (sum, state) in sum.iter_mut().zip(row) {
                    *sum += f64::from(*state);
                }
            }
            sum.into_iter().map(|sum| sum / rows as f64).collect()
        }
    };
    let length = vector.iter().map(|value| value * value).sum::<f64>().sqrt();
    if length > 0.0 {
        for value in &mut vector {
            *value /= length;
        }
    }
    vector.into_iter().map(|value| value as f32).collect()
}

impl Registry {
    /// Loads an encoder and serves it. Takes as long as packing its weights; not for an async thread.
    ///
    /// # Errors
    /// `NameTaken` before anything is read; then whatever stands in the way, by file, key or tensor.
    pub fn load_encoder(&self, name: String, path: &Path) -> Result<Arc<ServedEncoder>, RegistryError> {
        let _turn = self.inner.loading.lock().unwrap_or_else(PoisonError::into_inner);
        if self.get(&name).is_ok() || self.encoder(&name).is_some() {
            return Err(RegistryError::NameTaken { name });
        }
        let (config, tensors) = open_weights(path)?;
        let pooling = pooling_of(path)?;
        let tokenizer = EncoderTokenizer::new(Tokenizer::load(path)?, &BTreeMap::new())?;
        if tokenizer.needs_language() {
            return Err(RegistryError::TaggedEncoder { path: path.to_owned() });
        }
        let dtype = encoder_compute_dtype(self.defaults(), dominant_dtype(tensors.as_ref())?);
        let options = LoadOptions::new(dtype, self.workers());
        let encoder = encoders::load(&config, tensors.as_ref(), &options).map_err(|problem| {
            ModelError::At { place: path.display().to_string(), problem: Box::new(problem) }
        })?;
        let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let [turn, places] = [1, ENCODER_REQUESTS_MAX].map(|permits| Arc::new(Semaphore::new(permits)));
        let source = path.to_owned();
        tracing::info!("{name} from {}, an encoder of {} dimensions", path.display(), encoder.hidden_size());
        let served =
            Arc::new(ServedEncoder { name, created, source, pooling, encoder, tokenizer, turn, places });
        self.inner.encoders.write().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&served));
        Ok(served)
    }

    /// Every encoder, in the order of loading.
    pub fn encoders(&self) -> Vec<Arc<ServedEncoder>> {
        self.inner.encoders.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn encoder(&self, name: &str) -> Option<Arc<ServedEncoder>> {
        self.encoders().into_iter().find(|encoder| encoder.name == name)
    }
}

/// Whether a folder's config is that of an encoder.
pub fn is_encoder(path: &Path) -> bool {
    let config = std::fs::read(path.join("config.json")).ok();
    let config = config.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok()).unwrap_or_default();
    let is_known = |name: &str| encoders::SUPPORTED.contains(&name);
    config["model_type"].as_str().is_some_and(is_known)
}

/// What sentence-transformers wrote beside the model; the mean where it wrote nothing.
fn pooling_of(path: &Path) -> Result<Pooling, RegistryError> {
    let file = path.join("1_Pooling/config.json");
    let bytes = match std::fs::read(&file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Pooling::Mean),
        Err(source) => return Err(RegistryError::Pooling { path: file, problem: source.to_string() }),
    };
    let config: Value = serde_json::from_slice(&bytes)
        .map_err(|error| RegistryError::Pooling { path: file.clone(), problem: error.to_string() })?;
    let on = |key: &str| config[key] == true;
    match (on("pooling_mode_mean_tokens"), on("pooling_mode_cls_token"), on("pooling_mode_lasttoken")) {
        (true, false, false) => Ok(Pooling::Mean),
        (false, true, false) => Ok(Pooling::First),
        (false, false, true) => Ok(Pooling::Last),
        _ => {
            let problem = "one of `pooling_mode_mean_tokens`, `pooling_mode_cls_token` and `pooling_mode_lasttoken` must be true, \
                           and no other way of pooling is known";
            Err(RegistryError::Pooling { path: file, problem: problem.to_owned() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_batched_up_to_a_number_of_tokens() {
        let lengths = |texts: &[usize]| -> Vec<usize> {
            batches(texts.iter().map(|tokens| vec![1; *tokens]).collect()).iter().map(Vec::len).collect()
        };
        assert_eq!(lengths(&[1000, 1000, 48, 1]), [3, 1]);
        assert_eq!(lengths(&[1, 5000, 1]), [1, 1, 1]);
        assert!(lengths(&[]).is_empty());
    }

    #[test]
    fn states_are_pooled_to_length_one() {
        let states = [3.0, 4.0, 0.0, 0.0, -3.0, 4.0];
        let check = |pooling, expected: [f32; 2]| assert_eq!(pooled(&states, 2, pooling), expected);
        check(Pooling::First, [0.6, 0.8]);
        check(Pooling::Last, [-0.6, 0.8]);
        check(Pooling::Mean, [0.0, 1.0]);
        assert_eq!(pooled(&[0.0, 0.0], 2, Pooling::Mean), [0.0, 0.0]);
    }

    #[test]
    fn pooling_is_read_or_its_file_named() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(pooling_of(folder.path()).unwrap(), Pooling::Mean);
        std::fs::create_dir(folder.path().join("1_Pooling")).unwrap();
        let write = |text: &str| std::fs::write(folder.path().join("1_Pooling/config.json"), text).unwrap();
        write(r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}"#);
        assert_eq!(pooling_of(folder.path()).unwrap(), Pooling::First);
        for wrong in ["{}", "{", r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true}"#] {
            write(wrong);
            let error = pooling_of(folder.path()).unwrap_err().to_string();
            assert!(error.contains("1_Pooling/config.json"), "{error}");
        }
    }
}
