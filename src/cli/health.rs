//! `xenoglot health`: asks a server whether it is well, for health checks of images that have no curl.

use std::time::Duration;

use clap::Args;

use super::failure::Failure;

/// A probe that waits longer than its prober hangs.
const TIMEOUT: Duration = Duration::from_secs(5);

/// An unhealthy server names its models; no answer of a healthy one is long.
const BODY_BYTES_MAX: u64 = 64 << 10;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The server
    #[arg(default_value = "http://127.0.0.1:8080")]
    url: String,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let url = format!("{}/health", arguments.url.trim_end_matches('/'));
    let config = ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).http_status_as_error(false);
    let answer = ureq::Agent::from(config.build()).get(&url).call();
    let mut answer = answer.map_err(|error| {
        Failure::new(format!("{url}: {error}")).hint("a server listens when its model is loaded")
    })?;
    let text = answer.body_mut().with_config().limit(BODY_BYTES_MAX).read_to_string();
    let text = text.map_err(|error| Failure::new(format!("{url}: {error}")))?;
    if !answer.status().is_success() {
        return Err(Failure::new(format!("{url}: {}: {}", answer.status(), text.trim())).into());
    }
    println!("{}", text.trim());
    Ok(())
}
