//! Where in a checkpoint the encoder lies: alone, below the model's name, or below both the model's and `encoder`.

use crate::weights::TensorSource;

/// The first of the prefixes under which there is a tensor `probe`; the first of all where there is none, for messages.
pub(super) fn prefix<'a>(source: &dyn TensorSource, probe: &str, prefixes: &[&'a str]) -> &'a str {
    let is_there = |prefix: &&&str| source.contains(&format!("{prefix}{probe}"));
    prefixes.iter().find(is_there).or(prefixes.first()).copied().unwrap_or_default()
}
