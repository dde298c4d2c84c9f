//! For tests of the data: a tiny model's text, effort, files.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::{Counts, Effort, ModelText, PrepareOptions, TooLong};
use crate::weights::Checkpoint;

static RUN: AtomicBool = AtomicBool::new(false);

pub fn model() -> ModelText {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models/llama3");
    ModelText::of(&Checkpoint::open(&path).unwrap()).unwrap()
}

pub fn effort(threads: usize) -> Effort<'static> {
    Effort { threads: NonZero::new(threads).unwrap(), stop: &RUN }
}

pub fn silent(_: Counts) {}

pub fn options(length_max: usize, threads: usize) -> PrepareOptions<'static> {
    PrepareOptions { length_max, too_long: TooLong::Truncate, effort: effort(threads), progress: &silent }
}

pub fn file(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}
