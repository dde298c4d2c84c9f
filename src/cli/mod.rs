//! The command line: a file a subcommand. Data goes to stdout, talk to stderr; an error is one line and, where
//! there is a way out, a hint; the exit status is 1 for a failure and 2 for a mistake in the command or settings.
//!
//! The only layer that uses `anyhow`; it decides nothing that a library caller might want decided otherwise.

mod bench;
mod chat;
mod eval;
mod failure;
mod health;
mod keys;
mod language;
mod lora;
mod maet;
mod merge;
mod models;
mod openapi;
mod options;
mod pull;
mod sandbox_exec;
mod score;
mod serve;
mod start;
mod traces;
mod train;
mod worker;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use options::GlobalOptions;

/// Serve, evaluate, merge and train language models that reason in the user's language.
#[derive(Debug, Parser)]
#[command(name = "xenoglot", version, propagate_version = true, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    global: GlobalOptions,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve models over the OpenAI API.
    Serve(Box<serve::Arguments>),
    /// Talk to a model in the terminal.
    Chat(Box<chat::Arguments>),
    /// Pull, list, show and convert models.
    Models(models::Arguments),
    /// Run evaluation suites.
    Eval(Box<eval::Arguments>),
    /// Ask a server whether it is well.
    Health(health::Arguments),
    /// Make and list API keys with scopes and limits.
    Keys(Box<keys::Arguments>),
    /// Work on the evaluation runs of a store.
    Worker(Box<worker::Arguments>),
    /// Say in how far texts are in the language that they should be in.
    Language(Box<language::Arguments>),
    /// Merge adapters into models, and draw adapters out of models.
    Lora(Box<lora::Arguments>),
    /// Extract an ability and transfer it between languages (MAET).
    Maet(Box<maet::Arguments>),
    /// Merge models, by a configuration of mergekit's.
    Merge(Box<merge::Arguments>),
    /// Train a model, from a file that describes the training.
    Train(Box<train::Arguments>),
    /// Judge answers: a case a line in, a verdict a line out.
    Score(Box<score::Arguments>),
    /// Measure the engine.
    Bench(Box<bench::Arguments>),
    /// Print the API's description (OpenAPI 3.1) as JSON.
    Openapi,
    /// Become the sandbox of a generated program; the harness calls it.
    #[command(hide = true)]
    SandboxExec(sandbox_exec::Arguments),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let Cli { global, command } = Cli::parse();
    let outcome = match command {
        Command::Serve(arguments) => serve::run(&global, &arguments),
        Command::Chat(arguments) => chat::run(&global, &arguments),
        Command::Models(arguments) => models::run(&global, &arguments),
        Command::Eval(arguments) => eval::run(&global, &arguments),
        Command::Health(arguments) => health::run(&arguments),
        Command::Keys(arguments) => keys::run(&global, &arguments),
        Command::Worker(arguments) => worker::run(&global, &arguments),
        Command::Language(arguments) => language::run(&arguments),
        Command::Lora(arguments) => lora::run(&global, &arguments),
        Command::Maet(arguments) => maet::run(&global, &arguments),
        Command::Merge(arguments) => merge::run(&global, &arguments),
        Command::Train(arguments) => train::run(&global, &arguments),
        Command::Score(arguments) => score::run(&global, &arguments),
        Command::Bench(arguments) => bench::run(&global, &arguments),
        Command::Openapi => openapi::run(),
        Command::SandboxExec(arguments) => sandbox_exec::run(&arguments),
    };
    failure::report(outcome)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
