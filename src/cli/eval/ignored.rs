//! Flags of `eval run` that would change nothing, told rather than passed over in silence. Only what stands on the line is a
//! request: what the environment says is a default, and may be set for other suites.

use super::run::Arguments;
use crate::cli::failure::Failure;
use crate::eval::{Suite, Task};
use crate::score::Profile;

/// A flag, and whether it was given.
type Flag = (&'static str, bool);

/// # Errors
/// The first flag that has no meaning with the others, and why.
pub(super) fn refuse(arguments: &Arguments, suite: &Suite, is_url: bool) -> Result<(), Failure> {
    let task = suite.task;
    let provider = &arguments.provider;
    let of_provider = [
        ("model-name", arguments.model_name.is_some()),
        ("requests-per-minute", provider.requests_per_minute.is_some()),
        ("tokens-per-minute", provider.tokens_per_minute.is_some()),
        ("prompt-price", provider.prompt_price.is_some()),
        ("completion-price", provider.completion_price.is_some()),
    ];
    let of_sampling = [
        ("temperature", arguments.temperature.is_some()),
        ("top-p", arguments.top_p.is_some()),
        ("top-k", arguments.top_k.is_some()),
        ("min-p", arguments.min_p.is_some()),
        ("max-tokens", arguments.max_tokens.is_some()),
    ];
    if is_url {
        none(&arguments.model_options.given(), "is of models in this process, and --model is a URL")?;
    } else {
        none(&of_provider, "is of servers, and --model is no URL")?;
    }
    if task == Task::Loglikelihood {
        none(&of_sampling, "has no meaning where choices are scored and nothing is generated")?;
    }
    // Other scorers know no profiles.
    let profiled = [("profile", arguments.scorers.profile() != Profile::Default)];
    if !matches!(task, Task::Math | Task::Choice) {
        none(&profiled, &format!("has no meaning for the task {}", task.name()))?;
    }
    let judges = |scorer: &str| task.name() == scorer || suite.scorers.iter().any(|spec| spec.name == scorer);
    if !judges("judge") {
        let message = format!("has no meaning for {}, which no model judges", suite.name);
        none(&arguments.scorers.of_judge(), &message)?;
    }
    if !judges("code") {
        let message = format!("has no meaning for {}, which runs no programs", suite.name);
        none(&arguments.scorers.of_sandbox(), &message)?;
    }
    none(&[("cache-size", arguments.cache_size.is_some() && arguments.cache == "off")], "needs --cache")?;
    none(&[("concurrency 0", arguments.concurrency == 0)], "asks for nothing: it must be at least 1")
}

fn none(flags: &[Flag], message: &str) -> Result<(), Failure> {
    match flags.iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((name, _)) => Err(Failure::usage(format!("--{name} {message}"))),
    }
}
