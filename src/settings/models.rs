//! Models beside the one on the command line: the `[models.NAME]` tables of the settings file.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::values::Text;
use super::{ByteSize, Dtype, KvDtype, Load, Quantize};

/// By the name that clients use.
pub type ModelEntries = BTreeMap<String, ModelEntry>;

/// One model. What it leaves out is as the server's own options say.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelEntry {
    /// A Hugging Face directory, a GGUF file, or a name below the models directory.
    pub path: String,
    /// More names that clients may use.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// When it is loaded.
    #[serde(default = "with_the_server")]
    pub load: Load,
    /// Seconds without a request after which it is unloaded; without it, only where its memory is needed.
    #[serde(default)]
    pub idle_seconds: Option<u64>,
    #[serde(default)]
    pub dtype: Option<Dtype>,
    #[serde(default)]
    pub quantize: Option<Quantize>,
    #[serde(default)]
    pub kv_dtype: Option<KvDtype>,
    #[serde(default)]
    pub max_model_len: Option<usize>,
    #[serde(default)]
    pub max_num_seqs: Option<usize>,
    #[serde(default)]
    pub kv_cache_memory: Option<ByteSize>,
}

fn with_the_server() -> Load {
    Load::Start
}

impl Text for ModelEntries {
    fn from_text(_: &str) -> Result<Self, String> {
        Err("models are described in the settings file, a table `[models.NAME]` each".to_owned())
    }
}

/// Names and aliases that are there twice, or blank.
pub(super) fn wrong_name(models: &ModelEntries) -> Option<String> {
    let mut seen: Vec<&str> = Vec::new();
    for (name, entry) in models {
        for given in std::iter::once(name).chain(&entry.aliases) {
            if given.trim().is_empty() {
                return Some(format!("`{name}` has a blank name or alias"));
            }
            if seen.contains(&given.as_str()) {
                return Some(format!("the name `{given}` is there twice"));
            }
            seen.push(given);
        }
    }
    None
}
