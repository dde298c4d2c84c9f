//! `xenoglot sandbox-exec`: not for people. The harness starts it, and it becomes the program to confine.

use crate::eval::scorers::sandbox;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// What to run and within which limits, as JSON.
    spec: String,
}

/// Only comes back when the sandbox could not be set up.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    Err(sandbox::launch(&arguments.spec).into())
}
