//! Completions that were drawn before, by what decides them: the model and its weights, the prompt, the sampling, the
//! problem's seed and the sample's number.
//!
//! In process all of it decides a completion bit for bit. Over HTTP it names a draw that was made: the server's model may
//! change behind its name, which nobody here can see, so that whoever turns the cache on answers for that. What is not in
//! the key does not matter: how many samples the problem has, or which other ones were missing.

mod store;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{GenerationEvent, GenerationRequest, Generator, GeneratorError, GeneratorIdentity, Usage};
use crate::eval::error::EvalError;
use crate::model::ModelError;
use crate::model::augmented::{self, AugmentedFolder};
pub use store::CacheStore;
use store::Entry;

/// A generator that asks for nothing it has seen.
pub struct CachedGenerator<G> {
    inner: G,
    store: Arc<CacheStore>,
    /// Digest of the weights, where they are known.
    weights: Option<String>,
}

impl<G: Generator> CachedGenerator<G> {
    /// `weights` names the state of the weights, such as [`weights_sha256`]; `None` where a server keeps them.
    pub fn new(inner: G, store: Arc<CacheStore>, weights: Option<String>) -> Self {
        Self { inner, store, weights }
    }

    /// What all samples of a request have in common.
    fn key(&self, request: &GenerationRequest) -> serde_json::Value {
        // They have a place of their own.
        let identity = GeneratorIdentity { weights_sha256: None, ..self.inner.identity() };
        let mut key = json!({
            "format": 1,
            "generator": identity,
            "weights": self.weights,
            "messages": request.messages,
            "sampling": request.sampling,
            "seed": request.seed,
        });
        if let Some(opening) = &request.opening {
            key["opening"] = json!(opening);
        }
        if let Some(asked) = self.inner.asked_beside(request) {
            key["asked"] = asked;
        }
        key
    }

    async fn generate_samples(
        &self,
        request: &GenerationRequest,
        events: &(dyn Fn(GenerationEvent) + Send + Sync),
    ) -> Result<(), GeneratorError> {
        let key = self.key(request).to_string();
        let digests: Vec<(u32, String)> =
            request.samples.iter().map(|sample| (*sample, sample_digest(&key, *sample))).collect();
        let found = self.look_up(digests.clone()).await?;
        let cached = found.len() as u64;
        let (mut samples, mut kept) = (request.samples.clone(), request.kept.clone());
        for (sample, Entry { draw, completion }) in found {
            samples.retain(|missing| *missing != sample);
            kept.push((sample, draw.seed));
            events(GenerationEvent::Finished { sample, draw, completion });
        }
        events(GenerationEvent::Usage(Usage { cached_samples: cached, ..Usage::default() }));
        if samples.is_empty() {
            return Ok(());
        }
        let missing = GenerationRequest { samples, kept, ..request.clone() };
        let keep = |event: GenerationEvent| {
            if let GenerationEvent::Finished { sample, draw, completion } = &event {
                let digest = digests.iter().find(|(known, _)| known == sample);
                if let Some((_, digest)) = digest {
                    self.store.put(digest, &Entry { draw: *draw, completion: completion.clone() });
                }
            }
            events(event);
        };
        self.inner.generate(&missing, &keep).await
    }

    /// Those of the samples that are there; files are read off the async threads.
    async fn look_up(&self, digests: Vec<(u32, String)>) -> Result<Vec<(u32, Entry)>, GeneratorError> {
        let store = self.store.clone();
        let read = move || {
            let entry = |(sample, digest): (u32, String)| Some((sample, store.get(&digest)?));
            digests.into_iter().filter_map(entry).collect()
        };
        tokio::task::spawn_blocking(read)
            .await
            .map_err(|error| GeneratorError::Unavailable { message: format!("the cache: {error}") })
    }
}

impl<G: Generator> Generator for CachedGenerator<G> {
    fn identity(&self) -> GeneratorIdentity {
        self.inner.identity()
    }

    fn generate<'a>(
        &'a self,
        request: &'a GenerationRequest,
        events: &'a (dyn Fn(GenerationEvent) + Send + Sync),
    ) -> BoxFuture<'a, Result<(), GeneratorError>> {
        self.generate_samples(request, events).boxed()
    }
}

fn sample_digest(key: &str, sample: u32) -> String {
    let mut hash = Sha256::new();
    hash.update(key.as_bytes());
    hash.update(sample.to_le_bytes());
    format!("{:x}", hash.finalize())
}

/// The digest of all weight files (safetensors, PyTorch, GGUF) and of config.json, of an adapter of adapter_config.json, in a model's
/// folder, or of its one file.
/// Of a MindMerger model it covers xenoglot.json and the parts.
///
/// # Errors
/// `Io`, naming the file.
pub fn weights_sha256(model: &Path) -> Result<String, EvalError> {
    let mut hash = Sha256::new();
    for path in files_of(model)? {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let mut file = std::fs::File::open(&path).map_err(EvalError::io(&path))?;
        let length = file.metadata().map_err(EvalError::io(&path))?.len();
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name.as_bytes());
        hash.update(length.to_le_bytes());
        std::io::copy(&mut file, &mut hash).map_err(EvalError::io(&path))?;
    }
    Ok(format!("{:x}", hash.finalize()))
}

/// All that decides what a model answers; of a MindMerger model that of its parts too.
fn files_of(model: &Path) -> Result<Vec<PathBuf>, EvalError> {
    if AugmentedFolder::is_one(model) {
        let damaged = |error: ModelError| EvalError::Io {
            path: model.to_owned(),
            source: std::io::Error::new(std::io::ErrorKind::InvalidData, error),
        };
        let AugmentedFolder { encoder, llm, mapping, .. } = AugmentedFolder::open(model).map_err(damaged)?;
        let description = if model.is_dir() { model.join(augmented::FILE_NAME) } else { model.to_owned() };
        return Ok([vec![description, mapping], files_of(&encoder)?, files_of(&llm)?].concat());
    }
    if !model.is_dir() {
        return Ok(vec![model.to_owned()]);
    }
    let entries = std::fs::read_dir(model).map_err(EvalError::io(model))?;
    let files = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| is_weights(path));
    let mut files: Vec<PathBuf> = files.collect();
    files.sort();
    Ok(files)
}

fn is_weights(path: &Path) -> bool {
    let ends = |end: &str| path.extension().is_some_and(|extension| extension == end);
    ends("safetensors")
        || ends("gguf")
        || ends("bin")
        || path.file_name().is_some_and(|name| name == "config.json" || name == "adapter_config.json")
}
