//! The samples of a run with their completions, a piece at a time in the order of its problems: what is written down of a
//! run elsewhere, be it a download or a directory.

use std::io::Write;
use std::path::Path;

use super::error::JobError;
use super::measured::run_file;
use super::sink::record_of;
use super::spec::json_of;
use crate::eval::{AtomicFile, SampleRecord, StoredRun};
use crate::store::{ItemKey, ItemPage, RunRow, Store};

/// Samples of one piece.
const PIECE: usize = 100;

/// Where the reading stands.
pub struct SamplePages {
    store: Store,
    run: String,
    /// The last sample read; `None` before the first piece.
    after: Option<ItemKey>,
    has_more: bool,
}

impl SamplePages {
    pub fn new(store: &Store, run: &RunRow) -> Self {
        Self { store: store.clone(), run: run.id.clone(), after: None, has_more: true }
    }

    /// The next samples, those there are by now; `None` behind the last.
    ///
    /// # Errors
    /// `Damaged`; of the store.
    pub async fn piece(&mut self) -> Result<Option<Vec<SampleRecord>>, JobError> {
        if !self.has_more {
            return Ok(None);
        }
        let page = ItemPage { after: self.after, limit: PIECE, completions: true, ..ItemPage::default() };
        let page = self.store.samples(&self.run, &page).await?;
        self.has_more = page.has_more;
        self.after = page.rows.last().map(|row| row.key).or(self.after);
        let records = page.rows.into_iter().map(|row| record_of(&self.run, row));
        records.collect::<Result<_, _>>().map(Some)
    }
}

/// A run of the store as it would be in a directory of its own; `folder` must be there.
///
/// # Errors
/// `NothingYet` for a run that no worker has begun; `Damaged`; `Files`; of the store.
pub async fn copy_run(store: &Store, run: &RunRow, folder: &Path) -> Result<StoredRun, JobError> {
    let failed =
        |error: std::io::Error| JobError::Files { message: format!("{}: {error}", folder.display()) };
    let file = run_file(run)?;
    write(&folder.join("run.json"), json_of(&file)?.to_string().as_bytes()).map_err(failed)?;
    let mut samples = AtomicFile::create(&folder.join("samples.jsonl")).map_err(failed)?;
    let mut pages = SamplePages::new(store, run);
    while let Some(records) = pages.piece().await? {
        for record in &records {
            writeln!(samples, "{}", json_of(record)?).map_err(failed)?;
        }
    }
    samples.persist().map_err(failed)?;
    Ok(StoredRun { directory: folder.to_owned(), file })
}

fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes)?;
    file.persist()
}
