//! Flags that several commands share, and how they become settings: flag, then environment, then file.

use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::PossibleValuesParser;

use crate::settings::{
    ByteSize, Device, Dtype, KvDtype, Overrides, Quantize, Settings, Sources, Speculation,
};

use super::failure::Failure;

#[derive(Debug, Clone, Args)]
pub(super) struct GlobalOptions {
    /// Settings file [default: xenoglot.toml, if there is one]
    #[arg(long, global = true, value_name = "FILE", env = "XENOGLOT_CONFIG", hide_env = true)]
    pub config: Option<PathBuf>,
    /// Where models are looked up by name
    #[arg(long, global = true, value_name = "DIR")]
    pub models_dir: Option<PathBuf>,
    /// error, warn, info, debug, trace, or a filter
    #[arg(long, global = true, value_name = "LEVEL")]
    pub log_level: Option<String>,
}

/// How a model is kept and run.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Model options")]
pub(super) struct ModelOptions {
    /// Weights in memory
    #[arg(long, value_parser = PossibleValuesParser::new(Dtype::CHOICES))]
    dtype: Option<String>,
    /// Quantise the weights while they are loaded
    #[arg(long, value_parser = PossibleValuesParser::new(Quantize::CHOICES))]
    quantize: Option<String>,
    /// KV cache
    #[arg(long, value_parser = PossibleValuesParser::new(KvDtype::CHOICES))]
    kv_dtype: Option<String>,
    /// Where to compute
    #[arg(long, value_parser = PossibleValuesParser::new(Device::CHOICES))]
    device: Option<String>,
    /// Longest context, prompt and answer together
    #[arg(allow_negative_numbers = true, long, value_name = "TOKENS")]
    max_model_len: Option<usize>,
    /// Sequences that run at once
    #[arg(allow_negative_numbers = true, long, value_name = "N")]
    pub max_num_seqs: Option<usize>,
    /// Tokens computed in one step
    #[arg(allow_negative_numbers = true, long, value_name = "TOKENS")]
    max_batch_tokens: Option<usize>,
    /// Requests that may wait
    #[arg(allow_negative_numbers = true, long, value_name = "N")]
    pub max_queue: Option<usize>,
    /// Memory for the KV cache, such as 2GiB
    #[arg(long, value_name = "SIZE")]
    kv_cache_memory: Option<ByteSize>,
    /// Do not reuse the KV of prompts that begin alike
    #[arg(long)]
    no_prefix_caching: bool,
    /// Guess tokens while few sequences run; changes no token, only the speed
    #[arg(long, value_parser = PossibleValuesParser::new(Speculation::CHOICES))]
    speculation: Option<String>,
    /// Computing threads
    #[arg(allow_negative_numbers = true, long, value_name = "N")]
    threads: Option<usize>,
}

impl ModelOptions {
    /// `--dtype` as written.
    pub fn dtype(&self) -> Option<&str> {
        self.dtype.as_deref()
    }

    /// Each flag, and whether it was given.
    pub fn given(&self) -> [(&'static str, bool); 12] {
        [
            ("dtype", self.dtype.is_some()),
            ("quantize", self.quantize.is_some()),
            ("kv-dtype", self.kv_dtype.is_some()),
            ("device", self.device.is_some()),
            ("max-model-len", self.max_model_len.is_some()),
            ("max-num-seqs", self.max_num_seqs.is_some()),
            ("max-batch-tokens", self.max_batch_tokens.is_some()),
            ("max-queue", self.max_queue.is_some()),
            ("kv-cache-memory", self.kv_cache_memory.is_some()),
            ("no-prefix-caching", self.no_prefix_caching),
            ("speculation", self.speculation.is_some()),
            ("threads", self.threads.is_some()),
        ]
    }

    pub fn overrides(&self) -> Overrides {
        // The parser has checked the spellings. `bench engine` knows more types: `gguf` is no setting, and `int8`
        // another one.
        let dtype = self.dtype();
        Overrides {
            dtype: dtype.and_then(|text| text.parse().ok()),
            quantize: self.quantize.as_deref().or(dtype).and_then(|text| text.parse().ok()),
            kv_dtype: self.kv_dtype.as_ref().and_then(|text| text.parse().ok()),
            device: self.device.as_ref().and_then(|text| text.parse().ok()),
            max_model_len: self.max_model_len.map(Some),
            max_num_seqs: self.max_num_seqs,
            max_batch_tokens: self.max_batch_tokens,
            max_queue: self.max_queue,
            kv_cache_memory: self.kv_cache_memory.map(Some),
            prefix_caching: self.no_prefix_caching.then_some(false),
            speculation: self.speculation.as_ref().and_then(|text| text.parse().ok()),
            threads: self.threads.map(Some),
            ..Overrides::default()
        }
    }
}

/// The settings of this process.
pub(super) fn settings(global: &GlobalOptions, flags: Overrides) -> anyhow::Result<Settings> {
    let flags =
        Overrides { models_dir: global.models_dir.clone(), log_level: global.log_level.clone(), ..flags };
    let usual = Path::new("xenoglot.toml");
    let file = global.config.as_deref().or_else(|| usual.is_file().then_some(usual));
    let environment: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    Settings::load(Sources { file, environment: &environment, flags }).map_err(|error| {
        let hint = "config/xenoglot.toml describes every option";
        Failure::usage(error).hint(hint).into()
    })
}
