//! Fetches the files of a repository into its folder, each compared with what the hub says of it.
//!
//! hf-hub's own retries stay off: after a failed first request of a resumed file they begin at byte 0 and append
//! to what is there, and it compares no finished file. Here an attempt goes on from the end of the partial file,
//! and a file of the wrong length, or (large files) of another sha256, is deleted and fetched anew.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::time::Duration;

use hf_hub::api::Progress;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo, Metadata};
use hf_hub::{Cache, CacheRepo, Repo, RepoType};
use sha2::{Digest, Sha256};

use super::{HubError, HubName, PullEvent, choose};

const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(300);
const HTTP_RANGE_NOT_SATISFIABLE: u16 = 416;

/// What the thread of a transfer sends to the one that waits.
pub(super) enum Message {
    Event(PullEvent),
    /// The files by name, and where each lies in the folder.
    Done(Result<Vec<(String, PathBuf)>, HubError>),
}

/// Fetches what the model is read from. Runs on the thread that may be left behind.
pub(super) fn fetch(
    endpoint: &str,
    name: &HubName,
    hub: &Path,
    events: &Sender<Message>,
) -> Result<Vec<(String, PathBuf)>, HubError> {
    let unreachable =
        |error: ApiError| HubError::Unreachable { endpoint: endpoint.to_owned(), problem: error.to_string() };
    let builder = ApiBuilder::new().with_cache_dir(hub.to_owned()).with_endpoint(endpoint.to_owned());
    let api = builder.with_token(std::env::var("HF_TOKEN").ok()).build().map_err(unreachable)?;
    let repo = match &name.revision {
        Some(revision) => Repo::with_revision(name.repository.clone(), RepoType::Model, revision.clone()),
        None => Repo::model(name.repository.clone()),
    };
    let cache = Cache::new(hub.to_owned()).repo(repo.clone());
    let transfer = Transfer { endpoint, name, repository: api.repo(repo), api, cache, events };
    let listed = transfer
        .repository
        .info()
        .map_err(|error| if is_refusal(&error) { transfer.no_such_model() } else { unreachable(error) })?;
    let listed: Vec<String> = listed.siblings.into_iter().map(|sibling| sibling.rfilename).collect();
    let wanted = choose(name, &listed)?;
    wanted.into_iter().map(|file| Ok((file.clone(), transfer.file(&file)?))).collect()
}

struct Transfer<'a> {
    endpoint: &'a str,
    name: &'a HubName,
    api: Api,
    repository: ApiRepo,
    cache: CacheRepo,
    events: &'a Sender<Message>,
}

impl Transfer<'_> {
    /// Where the file lies when it is whole.
    fn file(&self, file: &str) -> Result<PathBuf, HubError> {
        let mut attempt = 1;
        loop {
            match self.attempt(file) {
                Err(HubError::Download { .. }) if attempt < ATTEMPTS => std::thread::sleep(PAUSE * attempt),
                done => return done,
            }
            attempt += 1;
        }
    }

    fn attempt(&self, file: &str) -> Result<PathBuf, HubError> {
        let failed = |problem: String| HubError::Download {
            repository: self.name.repository.clone(),
            file: file.to_owned(),
            problem,
        };
        let refused = |error: ApiError| {
            if is_refusal(&error) { self.no_such_model() } else { failed(error.to_string()) }
        };
        let metadata = self.api.metadata(&self.repository.url(file)).map_err(refused)?;
        let blob = self.cache.blob_path(metadata.etag());
        let mut report = Report(self.events);
        if blob.is_file() && self.check(&blob, &metadata).is_ok() {
            report.init(metadata.size(), file);
            report.update(metadata.size());
            return Ok(blob);
        }
        if let Err(error) = self.repository.download_with_progress(file, report) {
            if cannot_resume(&error) {
                // As hf-hub names it. If it cannot be removed the next attempt ends here again.
                let _ = std::fs::remove_file(blob.with_extension("part"));
            }
            return Err(refused(error));
        }
        self.check(&blob, &metadata).map_err(|problem| {
            // If it cannot be removed the next attempt renames over it.
            let _ = std::fs::remove_file(&blob);
            failed(problem)
        })?;
        Ok(blob)
    }

    /// The length, and the sha256 where that is the file's tag, as it is for large files.
    fn check(&self, blob: &Path, metadata: &Metadata) -> Result<(), String> {
        let unreadable = |error| format!("{}: {error}", blob.display());
        let length = blob.metadata().map_err(unreadable)?.len();
        if length != metadata.size() as u64 {
            return Err(format!("{length} bytes came, and the hub says {}", metadata.size()));
        }
        let tag = metadata.etag();
        if tag.len() == 64 && tag.chars().all(|digit| digit.is_ascii_hexdigit()) {
            let sha256 = self.sha256(blob).map_err(unreadable)?;
            if !sha256.eq_ignore_ascii_case(tag) {
                return Err(format!("its sha256 is {sha256}, and the hub says {tag}"));
            }
        }
        Ok(())
    }

    fn sha256(&self, path: &Path) -> std::io::Result<String> {
        let mut file = std::fs::File::open(path)?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 4 << 20];
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                return Ok(format!("{:x}", hash.finalize()));
            }
            hash.update(&buffer[..read]);
            // Who waits for this thread must not think it stalled, however large the file.
            let _ = self.events.send(Message::Event(PullEvent::Bytes(0)));
        }
    }

    fn no_such_model(&self) -> HubError {
        HubError::NoSuchModel { endpoint: self.endpoint.to_owned(), repository: self.name.repository.clone() }
    }
}

fn status(error: &ApiError) -> Option<u16> {
    match error {
        ApiError::RequestError(error) => match **error {
            ureq::Error::StatusCode(status) => Some(status),
            _ => None,
        },
        _ => None,
    }
}

/// The hub's answers to what it does not have, or not for everyone.
fn is_refusal(error: &ApiError) -> bool {
    matches!(status(error), Some(401 | 403 | 404))
}

/// There is nothing after the partial file: it is as long as the whole one, or longer.
fn cannot_resume(error: &ApiError) -> bool {
    matches!(error, ApiError::InvalidResume) || status(error) == Some(HTTP_RANGE_NOT_SATISFIABLE)
}

struct Report<'a>(&'a Sender<Message>);

impl Progress for Report<'_> {
    fn init(&mut self, size: usize, filename: &str) {
        let event = PullEvent::File { name: filename.to_owned(), bytes: size as u64 };
        let _ = self.0.send(Message::Event(event));
    }

    fn update(&mut self, size: usize) {
        let _ = self.0.send(Message::Event(PullEvent::Bytes(size as u64)));
    }

    fn finish(&mut self) {}
}
