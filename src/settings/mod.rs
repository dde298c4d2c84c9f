//! The options of a process: one struct, one documented file (`config/xenoglot.toml`), and the order in which
//! they override each other: flag, then environment (`XENOGLOT_*`), then file, then default.
//!
//! Only options that a person sets; limits that keep code safe are constants where they act. Nothing is read
//! behind the caller's back: `Settings::load` is handed the file, the environment and the flags.

mod models;
mod nearest;
mod sources;
mod values;

use std::path::PathBuf;

pub use models::{ModelEntries, ModelEntry};
pub use nearest::nearest;
pub use sources::{SettingsError, Sources};
pub use values::{ByteSize, Device, Dtype, KvDtype, Load, LogFormat, Quantize, Speculation, UnknownFields};

use values::Text;

/// Declares `Settings`, its defaults, the partial form that files and flags fill, and the key list, so that
/// an option is written down once. A key's variable is `XENOGLOT_` and the key in capitals, unless given.
macro_rules! settings {
    ($( $(#[$doc:meta])* $name:ident: $type:ty = $default:expr $(, env $env:literal)?; )*) => {
        /// What one process runs with.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Settings {
            $( $(#[$doc])* pub $name: $type, )*
        }

        impl Default for Settings {
            fn default() -> Self {
                Self { $( $name: $default, )* }
            }
        }

        /// The options one source sets; `None` leaves an option to the source below.
        #[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Overrides {
            $( pub $name: Option<$type>, )*
        }

        /// Every option's key and its environment variable.
        pub const KEYS: &[(&str, &str)] = &[$( (stringify!($name), settings!(@env $name $($env)?)), )*];

        impl Settings {
            fn apply(&mut self, overrides: Overrides) {
                $( if let Some(value) = overrides.$name { self.$name = value; } )*
            }
        }

        impl Overrides {
            /// Sets the option `key` from text; `Err` says what the text should be.
            fn set(&mut self, key: &str, text: &str) -> Result<(), String> {
                match key {
                    $( stringify!($name) => self.$name = Some(<$type as Text>::from_text(text)?), )*
                    _ => return Err("there is no such option".to_owned()),
                }
                Ok(())
            }
        }
    };
    (@env $name:ident $env:literal) => { $env };
    (@env $name:ident) => { "" };
}

settings! {
    /// Address to listen on. The default answers this machine only.
    host: String = "127.0.0.1".to_owned();
    /// Port to listen on; 0 takes a free one.
    port: u16 = 8080;
    /// Where models are looked up by name and pulled to.
    models_dir: PathBuf = PathBuf::from("models"), env "XENOGLOT_MODELS";
    /// The name clients use; without it, the model's directory or file name.
    served_model_name: Option<String> = None;
    /// Type of the weights in memory.
    dtype: Dtype = Dtype::Auto;
    /// Weights quantised while they are loaded.
    quantize: Quantize = Quantize::None;
    /// Type of the KV cache.
    kv_dtype: KvDtype = KvDtype::Auto;
    /// Where to compute.
    device: Device = Device::Cpu;
    /// Longest context; more than the model's own is refused.
    max_model_len: Option<usize> = None;
    /// Sequences that run at once.
    max_num_seqs: usize = 128;
    /// Tokens computed in one engine step.
    max_batch_tokens: usize = 1024;
    /// Requests that may wait; more are refused with 429.
    max_queue: usize = 1024;
    /// Memory for the KV cache; without it, a share of what is free.
    kv_cache_memory: Option<ByteSize> = None;
    /// Keep the KV of finished prompts for requests that begin alike.
    prefix_caching: bool = true;
    /// Guess tokens while few sequences run.
    speculation: Speculation = Speculation::Ngram;
    /// More models, a table `[models.NAME]` each.
    models: ModelEntries = ModelEntries::new(), env "XENOGLOT_MODEL_TABLES";
    /// Text encoders to serve for /v1/embeddings, as NAME=PATH or PATH.
    embedding_models: Vec<String> = Vec::new();
    /// LoRA adapters to serve beside the model, as NAME=PATH.
    lora_modules: Vec<String> = Vec::new();
    /// LoRA adapters that may be served at once.
    max_loras: usize = 64;
    /// The largest rank of one.
    max_lora_rank: usize = 256;
    /// Serve a trainer's rollouts: its weight updates are taken without a key on loopback, and logprobs are those of the
    /// distribution that a token was drawn from.
    rollout_backend: bool = false;
    /// Folder below which a trainer's checkpoints and adapters are read; without it, the models directory alone.
    weights_dir: Option<PathBuf> = None;
    /// Addresses, beside this machine's, at which a trainer may have the server fetch weights.
    weight_transfer_hosts: Vec<String> = Vec::new();
    /// How long a trainer that has announced tensors may send nothing before its update fails.
    weight_transfer_idle_seconds: u64 = 60;
    /// Computing threads; without it, one a core.
    threads: Option<usize> = None;
    /// Keys that may use the inference routes. None: this machine alone may.
    api_keys: Vec<String> = Vec::new();
    /// Keys that may use the admin routes. None: nobody may.
    admin_keys: Vec<String> = Vec::new();
    /// Key that may read /metrics and nothing else. None: /metrics is open to whom the inference routes are.
    metrics_api_key: Option<String> = None;
    /// File with more keys, each with a name, scopes and limits, read again when it changes. With one, nothing is open
    /// without a key.
    keys_file: Option<PathBuf> = None;
    /// Largest request body.
    max_body: ByteSize = ByteSize(16 << 20);
    /// Choices a request may ask for.
    max_n: usize = 128;
    /// Prompts in one completions request.
    max_prompts: usize = 1024;
    /// Stop strings in one request.
    max_stop: usize = 16;
    /// Alternatives a token that logprobs may ask for.
    max_logprobs: usize = 20;
    /// Template variables a request may set.
    chat_template_kwargs: Vec<String> =
        ["enable_thinking", "thinking", "reasoning_effort", "date_string"].map(str::to_owned).to_vec();
    /// What is done with fields of a request that nobody knows.
    unknown_fields: UnknownFields = UnknownFields::Refuse;
    /// Where evaluations and their runs are kept: `sqlite:PATH` or `postgres://..`.
    store: String = "sqlite:runs/xenoglot.db".to_owned();
    /// Where uploaded files and trainings are kept; without it, beside the store's file, and `runs` for PostgreSQL.
    data_dir: Option<PathBuf> = None;
    /// Largest uploaded file.
    max_file: ByteSize = ByteSize(512 << 20);
    /// Problems of evaluation runs that this process works on at once; 0 leaves them to other workers.
    eval_workers: usize = 4;
    /// OpenAI-compatible servers that runs may measure, as NAME=URL or NAME=URL#MODEL.
    eval_endpoints: Vec<String> = Vec::new();
    /// OpenAI-compatible URL of the model that judges answers in evaluations, for suites that need one.
    judge_url: Option<String> = None;
    /// The judging model's name at that URL.
    judge_model: Option<String> = None;
    /// The Python that runs programs of suites of code; without it, `python3` on the PATH.
    python: Option<PathBuf> = None;
    /// Seconds that running requests get after SIGTERM.
    drain_timeout_seconds: u64 = 30;
    /// Seconds after which an engine that has work and does not move on is reported as unhealthy.
    watchdog_timeout_seconds: u64 = 120;
    /// Put before the names of metrics; `vllm:` serves existing dashboards.
    metrics_prefix: String = "xenoglot_".to_owned();
    /// error, warn, info, debug or trace; or a filter such as `xenoglot=debug,tower_http=warn`.
    log_level: String = "info".to_owned();
    /// text or json.
    log_format: LogFormat = LogFormat::Text;
    /// OpenTelemetry collector that traces are sent to, in builds with the feature `otel`.
    otlp_endpoint: Option<String> = None;
}

impl Settings {
    /// Reads the sources, lowest first, each over the one before, and checks the result.
    ///
    /// # Errors
    /// Names the file and line, or the variable, and the key.
    pub fn load(sources: Sources<'_>) -> Result<Self, SettingsError> {
        let mut settings = Self::default();
        if let Some(file) = sources.file {
            settings.apply(sources::read_file(file)?);
        }
        settings.apply(sources::read_environment(sources.environment)?);
        settings.apply(sources.flags);
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), SettingsError> {
        let wrong = |key, message: &str| Err(SettingsError::Invalid { key, message: message.to_owned() });
        let at_least_one = [
            ("max_num_seqs", self.max_num_seqs),
            ("max_queue", self.max_queue),
            ("max_n", self.max_n),
            ("max_prompts", self.max_prompts),
            ("max_model_len", self.max_model_len.unwrap_or(1)),
            ("threads", self.threads.unwrap_or(1)),
        ];
        for (key, value) in at_least_one {
            if value == 0 {
                return wrong(key, "must be at least 1");
            }
        }
        if self.weight_transfer_idle_seconds == 0 {
            return wrong("weight_transfer_idle_seconds", "must be at least 1");
        }
        if self.watchdog_timeout_seconds == 0 {
            return wrong("watchdog_timeout_seconds", "must be at least 1");
        }
        if self.threads.is_some_and(|threads| threads > 1024) {
            return wrong("threads", "must be at most 1024");
        }
        if self.eval_workers > 1024 {
            return wrong("eval_workers", "must be at most 1024");
        }
        if self.judge_url.is_some() != self.judge_model.is_some() {
            return wrong("judge_model", "and `judge_url` go together: set both or none");
        }
        if self.max_batch_tokens < 32 {
            return wrong("max_batch_tokens", "must be at least 32, one KV block");
        }
        if self.max_body.0 < 1024 {
            return wrong("max_body", "must be at least 1KiB");
        }
        if self.host.is_empty() {
            return wrong("host", "must name an address, such as 127.0.0.1");
        }
        let keys = [
            ("api_keys", self.api_keys.as_slice()),
            ("admin_keys", &self.admin_keys),
            ("metrics_api_key", self.metrics_api_key.as_slice()),
        ];
        for (key, values) in keys {
            // The server skips blank keys, and would be open where its owner believes it locked.
            if values.iter().any(|value| value.trim().is_empty()) {
                return wrong(key, "a key must not be blank");
            }
        }
        if let Some(problem) = models::wrong_name(&self.models) {
            return wrong("models", &problem);
        }
        let prefix_fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        if !self.metrics_prefix.chars().all(prefix_fits)
            || self.metrics_prefix.starts_with(|c: char| c.is_ascii_digit())
        {
            return wrong(
                "metrics_prefix",
                "may hold letters, digits, `_` and `:`, and begins with no digit",
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
