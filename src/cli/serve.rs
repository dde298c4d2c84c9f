//! `xenoglot serve`: one model over the OpenAI API, until SIGTERM or Ctrl-C.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use clap::builder::PossibleValuesParser;

use crate::api::{self, ApiOptions, DataOptions, EvalOptions, read_keys};
use crate::settings::{Overrides, Settings, UnknownFields};
use crate::store::Store;

use super::failure::Failure;
use super::options::{GlobalOptions, ModelOptions, settings};
use super::start;
use super::worker::{endpoints, scorers};

/// Alternatives a token that distillation asks for.
const ROLLOUT_LOGPROBS: usize = 256;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A Hugging Face directory, a GGUF file, a name below the models directory or a hub name (org/name)
    /// [default: SmolLM2-135M-Instruct]
    model: Option<String>,
    /// Address to listen on [default: 127.0.0.1]
    #[arg(long)]
    host: Option<String>,
    /// Port to listen on; 0 takes a free one [default: 8080]
    #[arg(allow_negative_numbers = true, long)]
    port: Option<u16>,
    /// Key that may use the inference routes; repeat for several. Better set as XENOGLOT_API_KEYS, which no
    /// process list shows
    #[arg(long = "api-key", value_name = "KEY")]
    api_keys: Vec<String>,
    /// Key that may use the admin routes as well; repeat for several (XENOGLOT_ADMIN_KEYS)
    #[arg(long = "admin-key", value_name = "KEY")]
    admin_keys: Vec<String>,
    /// File with more keys, each with scopes and limits (xenoglot keys, docs/security.md); it is read again when it changes
    #[arg(long, value_name = "FILE")]
    keys_file: Option<PathBuf>,
    /// The name clients use
    #[arg(long, value_name = "NAME")]
    served_model_name: Option<String>,
    /// Text encoders to serve for /v1/embeddings: folders, or names of such below the models directory
    #[arg(long, value_name = "[NAME=]PATH", num_args = 1..)]
    embedding_models: Vec<String>,
    /// LoRA adapters to serve beside the model: folders as PEFT writes them, or names of such below the models directory
    #[arg(long, value_name = "NAME=PATH", num_args = 1..)]
    lora_modules: Vec<String>,
    /// LoRA adapters that may be served at once [default: 64]
    #[arg(allow_negative_numbers = true, long, value_name = "N")]
    max_loras: Option<usize>,
    /// The largest rank of a LoRA adapter [default: 256]
    #[arg(allow_negative_numbers = true, long, value_name = "N")]
    max_lora_rank: Option<usize>,
    /// Serve a trainer's rollouts: take its weight updates without a key on a loopback address, and report logprobs of the
    /// distribution that tokens were drawn from (docs/rollout-backend.md)
    #[arg(long)]
    rollout_backend: bool,
    /// Folder below which a trainer's checkpoints and adapters are read
    #[arg(long, value_name = "DIR")]
    weights_dir: Option<PathBuf>,
    /// Address, beside this machine's, at which a trainer may listen; repeat for several
    #[arg(long = "weight-transfer-host", value_name = "HOST")]
    weight_transfer_hosts: Vec<String>,
    /// Fields of a request that nobody knows: a 400, or named in a header of the answer [default: refuse]
    #[arg(long, value_parser = PossibleValuesParser::new(UnknownFields::CHOICES))]
    unknown_fields: Option<String>,
    /// Put before the names of metrics [default: xenoglot_]
    #[arg(long, value_name = "PREFIX")]
    metrics_prefix: Option<String>,
    /// Where evaluations are kept: sqlite:PATH or postgres://.. A password is better set as XENOGLOT_STORE
    /// [default: sqlite:runs/xenoglot.db]
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    #[command(flatten)]
    model_options: ModelOptions,
}

impl Arguments {
    fn overrides(&self) -> Overrides {
        let some = |keys: &[String]| (!keys.is_empty()).then(|| keys.to_vec());
        Overrides {
            host: self.host.clone(),
            port: self.port,
            api_keys: some(&self.api_keys),
            admin_keys: some(&self.admin_keys),
            keys_file: self.keys_file.clone().map(Some),
            served_model_name: self.served_model_name.clone().map(Some),
            embedding_models: some(&self.embedding_models),
            lora_modules: some(&self.lora_modules),
            max_loras: self.max_loras,
            max_lora_rank: self.max_lora_rank,
            rollout_backend: self.rollout_backend.then_some(true),
            weights_dir: self.weights_dir.clone().map(Some),
            weight_transfer_hosts: some(&self.weight_transfer_hosts),
            // The parser has checked the spelling.
            unknown_fields: self.unknown_fields.as_ref().and_then(|text| text.parse().ok()),
            metrics_prefix: self.metrics_prefix.clone(),
            store: self.store.clone(),
            ..self.model_options.overrides()
        }
    }
}

pub(super) fn run(global: &GlobalOptions, arguments: &Arguments) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut settings = settings(global, arguments.overrides())?;
    if settings.rollout_backend {
        settings.max_logprobs = settings.max_logprobs.max(ROLLOUT_LOGPROBS);
    }
    let _exporter = start::logging(&settings, false)?;
    // Before the model is loaded, which takes a while: a port that is taken is said at once, and so is a broken file.
    let listener = listen(&settings)?;
    if let Some(file) = &settings.keys_file {
        let hint = "`xenoglot keys new NAME --scope inference --file FILE` makes one";
        read_keys(file).map_err(|error| Failure::usage(error).hint(hint))?;
    }
    let endpoints = endpoints(&settings)?;
    let adapters = start::adapters(&settings)?;
    let encoders = start::encoders(&settings)?;
    let catalogue = start::catalogue(&settings)?;
    let runtime = start::runtime()?;
    let store = runtime.block_on(store(&settings))?;
    let address = listener.local_addr().context("reading the address listened on")?;
    let registry = start::registry(&settings, start::workers(&settings)?);
    let model = start::load(&registry, arguments.model.as_deref(), &settings)?;
    start::load_adapters(&registry, &model.name, &adapters)?;
    start::load_encoders(&registry, &encoders)?;
    start::load_catalogue(&registry, catalogue)?;
    warn_if_keyless(&settings, address.ip().is_loopback());
    tracing::info!(model = %model.name, max_model_len = model.max_model_len, "ready after {:.1?}", started.elapsed());
    tracing::info!("listening on http://{address}; the API is described at http://{address}/docs");
    drop(model);
    let evals = store.map(|store| EvalOptions {
        store,
        workers: settings.eval_workers,
        endpoints,
        scorers: scorers(&settings),
        data: data(&settings),
    });
    let mut options = ApiOptions { evals, ..ApiOptions::from(&settings) };
    options.auth.keyless_rollouts = settings.rollout_backend && address.ip().is_loopback();
    runtime.block_on(async {
        let listener =
            tokio::net::TcpListener::from_std(listener).context("handing the port to the server")?;
        api::serve(listener, registry, options, stop_signal()).await.context("serving")
    })
}

/// The store of evaluations. One that was not asked for and cannot be had is no reason not to serve.
async fn store(settings: &Settings) -> anyhow::Result<Option<Store>> {
    match Store::open(&settings.store).await {
        Ok(store) => Ok(Some(store)),
        Err(error) if settings.store == Settings::default().store => {
            tracing::warn!(%error, "evaluations are off: set `store` to a database that can be written");
            Ok(None)
        }
        Err(error) => {
            Err(Failure::new(error.to_string()).hint("`store` names the database of evaluations").into())
        }
    }
}

/// Where files and trainings are kept. A path that is relative means the same to those who find it in the store.
fn data(settings: &Settings) -> DataOptions {
    let beside = || {
        let path = settings.store.strip_prefix("sqlite:")?;
        let folder = Path::new(path.strip_prefix("//").unwrap_or(path)).parent()?;
        Some(folder.to_owned())
    };
    let folder = settings.data_dir.clone().or_else(beside).unwrap_or_else(|| PathBuf::from("runs"));
    let folder = std::path::absolute(&folder).unwrap_or(folder);
    DataOptions { folder, file_bytes_max: settings.max_file.0 }
}

fn listen(settings: &Settings) -> anyhow::Result<TcpListener> {
    let Settings { host, port, .. } = settings;
    let listener = TcpListener::bind((host.as_str(), *port)).map_err(|error| {
        let failure = Failure::new(format!("cannot listen on {host}:{port}: {error}"));
        match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                failure.hint("another process has this port; choose one with --port, or 0 for a free one")
            }
            std::io::ErrorKind::PermissionDenied => {
                failure.hint("ports below 1024 need privileges; choose one with --port")
            }
            _ => failure.hint("--host names an address of this machine, such as 127.0.0.1 or 0.0.0.0"),
        }
    })?;
    listener.set_nonblocking(true).context("preparing the port")?;
    Ok(listener)
}

fn warn_if_keyless(settings: &Settings, loopback: bool) {
    if !loopback && settings.api_keys.is_empty() && settings.keys_file.is_none() {
        tracing::warn!(
            "there is no API key, so only this machine is answered: set --api-key to let others in"
        );
    }
    if !loopback && settings.rollout_backend && settings.admin_keys.is_empty() && settings.keys_file.is_none()
    {
        tracing::warn!(
            "there is no admin key, so no trainer's weights are taken: set --admin-key, or a loopback --host"
        );
    }
}

/// Ends when the process is asked to stop. A second signal ends it without waiting for requests.
pub(super) async fn stop_signal() {
    wait_for_signal().await;
    tracing::info!("stopping: running requests may finish; a second signal ends at once");
    tokio::spawn(async {
        wait_for_signal().await;
        std::process::exit(1);
    });
}

async fn wait_for_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        }
        Err(_) => {
            // Without the handler, SIGTERM still ends the process by default.
            let _ = tokio::signal::ctrl_c().await;
        }
    }
}
