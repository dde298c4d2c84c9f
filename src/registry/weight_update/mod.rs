//! New weights for a served model from outside of the process: sent by a trainer over TCP, or read from a checkpoint's folder.
//!
//! What a trainer sends is a session: start, receive (once or several times), finish. Everything is staged, and checked
//! by name, shape, type and checksum, before `finish` puts it in the place of the old weights between two steps of the
//! engine; whatever fails leaves those serving, and a session in which something failed changes nothing. Each call may come
//! twice, for trainers repeat what they got no answer to.

mod error;
mod stream;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

pub use error::UpdateError;
use stream::{Expected, WeightStream};

use super::ServedModel;
use crate::weights::{StagedTensors, TensorSource, TensorType, open_safetensors};

/// Tensors of one announcement: no model has more.
const TENSORS_MAX: usize = 100_000;
/// Of an announcement that is refused, so much is read and thrown away to stay in step with the sender.
const DISCARDED_BYTES_MAX: usize = 1 << 40;

/// Where a trainer listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trainer {
    /// An address or a name.
    pub host: String,
    pub port: u16,
    /// Each announcement's tensors are followed by the SHA-256 of their bytes.
    pub checksum: bool,
}

/// What a trainer is about to send, in this order; the lists are equally long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// Of the Hugging Face checkpoint.
    pub names: Vec<String>,
    /// In PyTorch's words.
    pub dtypes: Vec<String>,
    pub shapes: Vec<Vec<usize>>,
}

/// The updates of a process. Calls take turns.
pub struct WeightUpdates {
    /// Where trainers may listen, beside this machine.
    hosts: Vec<String>,
    /// How long a trainer may say nothing in the middle of what it announced: the other calls wait for it.
    silence_max: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    stream: Option<WeightStream>,
    session: Option<Session>,
}

#[derive(Default)]
struct Session {
    staged: StagedTensors,
    received: Vec<Announcement>,
    /// Why nothing may come of it.
    failed: Option<String>,
}

impl Session {
    fn failed(reason: String) -> Self {
        Self { failed: Some(reason), ..Self::default() }
    }
}

impl WeightUpdates {
    pub fn new(hosts: Vec<String>, silence_max: Duration) -> Self {
        Self { hosts, silence_max, state: Mutex::default() }
    }

    /// Connects to a trainer, which may begin to listen a little later.
    ///
    /// # Errors
    /// `AddressNotAllowed`, `Unreachable`.
    pub async fn connect(&self, trainer: Trainer) -> Result<(), UpdateError> {
        if !stream::is_this_machine(&trainer.host) && !self.hosts.contains(&trainer.host) {
            return Err(UpdateError::AddressNotAllowed { host: trainer.host });
        }
        let mut state = self.state.lock().await;
        // The same call again: the trainer waits at the connection that it has.
        if !state.stream.as_ref().is_some_and(|stream| stream.is_open_to(&trainer)) {
            let connected = WeightStream::connect(&trainer, self.silence_max).await;
            state.stream = Some(connected.map_err(|source| UpdateError::Unreachable { trainer, source })?);
        }
        Ok(())
    }

    /// Begins a session; what an earlier one staged is forgotten.
    pub async fn start(&self) {
        self.state.lock().await.session = Some(Session::default());
    }

    /// Receives and stages what is announced.
    ///
    /// # Errors
    /// `NotStarted`, `NotConnected`, and everything that can be wrong with names, shapes, types and bytes. After one the
    /// session can only be started anew.
    pub async fn receive(&self, model: &ServedModel, announced: Announcement) -> Result<(), UpdateError> {
        let mut state = self.state.lock().await;
        let State { stream, session } = &mut *state;
        let Some(session) = session.as_mut() else {
            // What the trainer sends all the same would be taken for the next update's.
            *stream = None;
            return Err(UpdateError::NotStarted);
        };
        if session.received.contains(&announced) {
            return Ok(());
        }
        let Some(connected) = stream.as_mut() else {
            session.failed.get_or_insert_with(|| UpdateError::NotConnected.to_string());
            return Err(UpdateError::NotConnected);
        };
        let received = match checked(model, &announced, session.failed.as_deref()).await {
            Ok(expected) => connected.receive(expected).await,
            Err(error) => {
                connected.discard(announced.bytes()).await;
                Err(error)
            }
        };
        if !connected.is_in_step() {
            *stream = None;
        }
        let tensors = received.inspect_err(|error| {
            session.failed.get_or_insert_with(|| error.to_string());
        })?;
        session.staged.extend(tensors);
        session.received.push(announced);
        Ok(())
    }

    /// Ends the session and computes with what it staged. The version of the weights; without a session, or with an empty
    /// one, the present. A session that failed stays failed until another one is started, however often it is asked for.
    ///
    /// # Errors
    /// `Failed` where something of the session failed; what the engine says.
    pub async fn finish(&self, model: &ServedModel) -> Result<u64, UpdateError> {
        let mut state = self.state.lock().await;
        match state.session.take() {
            None => Ok(model.weight_version()),
            Some(Session { failed: Some(reason), .. }) => {
                state.session = Some(Session::failed(reason.clone()));
                Err(UpdateError::Failed { reason })
            }
            Some(session) if session.staged.is_empty() => Ok(model.weight_version()),
            Some(session) => {
                let replaced = replace(model, move || Ok(Box::new(session.staged))).await;
                replaced.inspect_err(|error| state.session = Some(Session::failed(error.to_string())))
            }
        }
    }

    /// Computes with the weights of a checkpoint's folder, all of which it must have. The version of the weights.
    ///
    /// # Errors
    /// What is wrong with the files, by tensor; what the engine says.
    pub async fn replace_from(&self, model: &ServedModel, folder: PathBuf) -> Result<u64, UpdateError> {
        let _turn = self.state.lock().await;
        let config = Arc::clone(&model.config);
        replace(model, move || {
            let tensors = open_safetensors(&folder)?;
            crate::model::check_tensors(&config, &*tensors)?;
            Ok(tensors)
        })
        .await
    }
}

/// What the streamed bytes have to be.
async fn checked(
    model: &ServedModel,
    announced: &Announcement,
    failed: Option<&str>,
) -> Result<Vec<Expected>, UpdateError> {
    if let Some(reason) = failed {
        return Err(UpdateError::Failed { reason: reason.to_owned() });
    }
    let weights = model.handle.weights().await?.ok_or(UpdateError::Lent)?;
    let Announcement { names, dtypes, shapes } = announced;
    let count = names.len();
    if count != dtypes.len() || count != shapes.len() || count > TENSORS_MAX {
        return Err(UpdateError::Lists { names: count, dtypes: dtypes.len(), shapes: shapes.len() });
    }
    weights.check_update(names.iter().map(String::as_str).zip(shapes.iter().map(Vec::as_slice)))?;
    let expected = |((name, dtype), shape): ((&String, &String), &Vec<usize>)| {
        let wrong = || UpdateError::Dtype { name: name.clone(), dtype: dtype.clone() };
        let dtype = TensorType::from_torch(dtype).ok_or_else(wrong)?;
        Ok(Expected { name: name.clone(), dtype, shape: shape.clone() })
    };
    names.iter().zip(dtypes).zip(shapes).map(expected).collect()
}

impl Announcement {
    /// What would follow it, as far as that can be told.
    fn bytes(&self) -> Option<usize> {
        if self.dtypes.len() != self.shapes.len() {
            return None;
        }
        let of_tensor = |(dtype, shape): (&String, &Vec<usize>)| {
            let size = TensorType::from_torch(dtype)?.block_bytes();
            shape.iter().try_fold(size, |product, side| product.checked_mul(*side))
        };
        let mut each = self.dtypes.iter().zip(&self.shapes).map(of_tensor);
        each.try_fold(0_usize, |sum, bytes| sum.checked_add(bytes?)).filter(|sum| *sum <= DISCARDED_BYTES_MAX)
    }
}

/// Packs what `open` gives over a model's weights, off the async threads, and swaps it in.
async fn replace(
    model: &ServedModel,
    open: impl FnOnce() -> Result<Box<dyn TensorSource + Send + Sync>, UpdateError> + Send + 'static,
) -> Result<u64, UpdateError> {
    let weights = model.handle.weights().await?.ok_or(UpdateError::Lent)?;
    let packing = tokio::task::spawn_blocking(move || Ok::<_, UpdateError>(weights.with_tensors(&*open()?)?));
    let packed = packing.await.map_err(|error| UpdateError::Panicked { problem: error.to_string() })??;
    let version = model.handle.swap_weights(Some(Arc::new(packed))).await?;
    tracing::info!(model = model.name, version, "the weights were replaced");
    Ok(version)
}
