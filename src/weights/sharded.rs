//! A checkpoint over several files, safetensors or PyTorch's, found through an index such as
//! `model.safetensors.index.json`.
//!
//! The index says which shard holds a tensor; it is believed only where the shard agrees.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::WeightsError;
use super::source::{TensorSource, TensorType, TensorView};

/// Shards a checkpoint may have; the largest public ones have a few hundred.
const SHARDS_MAX: usize = 10_000;

/// Several files of one format seen as one source.
#[derive(Debug)]
pub struct Sharded<S> {
    index: PathBuf,
    shards: Vec<Shard<S>>,
    /// Tensor name to its place in `shards`.
    located: BTreeMap<String, usize>,
}

#[derive(Debug)]
struct Shard<S> {
    path: PathBuf,
    source: S,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl<S: TensorSource> Sharded<S> {
    /// Opens every shard that the index names, beside it.
    pub fn open(
        index_path: &Path,
        open_file: impl Fn(&Path) -> Result<S, WeightsError>,
    ) -> Result<Self, WeightsError> {
        let index: Index = super::directory::read_json(index_path)?;
        let mut shards = Vec::new();
        let mut opened = BTreeMap::new();
        let mut located = BTreeMap::new();
        for (name, shard) in index.weight_map {
            let at = match opened.get(&shard) {
                Some(at) => *at,
                None if opened.len() == SHARDS_MAX => {
                    return Err(index_error(index_path, &format!("names more than {SHARDS_MAX} shards")));
                }
                None => {
                    let path = shard_path(index_path, &shard)?;
                    let source = open_file(&path)?;
                    shards.push(Shard { path, source });
                    opened.insert(shard.clone(), shards.len() - 1);
                    shards.len() - 1
                }
            };
            if !shards[at].source.contains(&name) {
                return Err(index_error(
                    index_path,
                    &format!("places tensor `{name}` in {shard}, which lacks it"),
                ));
            }
            located.insert(name, at);
        }
        check_duplicates(index_path, &shards)?;
        Ok(Self { index: index_path.to_owned(), shards, located })
    }

    fn shard(&self, name: &str) -> Result<&S, WeightsError> {
        let missing = || WeightsError::MissingTensor { path: self.index.clone(), name: name.to_owned() };
        self.located.get(name).map(|at| &self.shards[*at].source).ok_or_else(missing)
    }
}

impl<S: TensorSource> TensorSource for Sharded<S> {
    fn names(&self) -> Vec<String> {
        self.located.keys().cloned().collect()
    }

    fn contains(&self, name: &str) -> bool {
        self.located.contains_key(name)
    }

    fn stored_name(&self, name: &str) -> String {
        name.to_owned()
    }

    fn shape(&self, name: &str) -> Result<Vec<usize>, WeightsError> {
        self.shard(name)?.shape(name)
    }

    fn dtype(&self, name: &str) -> Result<TensorType, WeightsError> {
        self.shard(name)?.dtype(name)
    }

    fn tensor(&self, name: &str) -> Result<TensorView<'_>, WeightsError> {
        self.shard(name)?.tensor(name)
    }

    fn unaligned(&self, name: &str) -> Result<TensorView<'_>, WeightsError> {
        self.shard(name)?.unaligned(name)
    }
}

fn index_error(path: &Path, problem: &str) -> WeightsError {
    WeightsError::Corrupt { path: path.to_owned(), problem: format!("the index {problem}") }
}

/// A shard is a plain file name beside the index: an index must not read elsewhere on the disk.
fn shard_path(index_path: &Path, shard: &str) -> Result<PathBuf, WeightsError> {
    if shard.is_empty() || shard == ".." || shard.contains(['/', '\\']) {
        return Err(index_error(index_path, &format!("names the shard `{shard}`, which is not a file name")));
    }
    let path = index_path.with_file_name(shard);
    if !path.exists() {
        return Err(index_error(
            index_path,
            &format!("names the shard {shard}, which is not in the directory"),
        ));
    }
    Ok(path)
}

fn check_duplicates<S: TensorSource>(index_path: &Path, shards: &[Shard<S>]) -> Result<(), WeightsError> {
    let mut seen: BTreeMap<String, &Path> = BTreeMap::new();
    for Shard { path, source } in shards {
        for name in source.names() {
            if let Some(other) = seen.insert(name.clone(), path) {
                let files = format!("{} and {}", other.display(), path.display());
                return Err(index_error(index_path, &format!("spans tensor `{name}` in both {files}")));
            }
        }
    }
    Ok(())
}
