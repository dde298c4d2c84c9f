//! Options of scorers that need more than a text: whom to ask, and which Python runs programs.

use std::path::PathBuf;

use clap::Args;

use crate::eval::ScorerOptions;
use crate::eval::scorers::judge::JudgeOptions;
use crate::eval::scorers::sandbox::SandboxOptions;
use crate::score::Profile;

#[derive(Debug, Args)]
#[command(next_help_heading = "Scorers")]
pub(super) struct ScorerArguments {
    /// How answers are found and compared: default, or another harness' way with its faults (docs/scoring.md)
    #[arg(long, value_name = "NAME", default_value = "default", value_parser = profile)]
    profile: Profile,
    /// OpenAI-compatible URL of the model that judges answers, for suites that need one; its key is in
    /// `XENOGLOT_JUDGE_API_KEY`
    #[arg(long, value_name = "URL", env = "XENOGLOT_JUDGE_URL", requires = "judge_model")]
    judge_url: Option<String>,
    /// The judging model's name at that URL
    #[arg(long, value_name = "NAME", env = "XENOGLOT_JUDGE_MODEL")]
    judge_model: Option<String>,
    /// The Python that runs programs in the sandbox, for suites of code; `python3` on the PATH by default
    #[arg(long, value_name = "FILE", env = "XENOGLOT_PYTHON")]
    python: Option<PathBuf>,
}

impl ScorerArguments {
    pub fn profile(&self) -> Profile {
        self.profile
    }

    pub fn options(&self) -> ScorerOptions {
        let judge = self.judge_url.as_ref().zip(self.judge_model.as_ref());
        ScorerOptions {
            sandbox: SandboxOptions { python: self.python.clone(), launcher: None },
            profile: self.profile,
            judge: judge.map(|(url, model)| JudgeOptions::new(url, model)),
        }
    }
}

fn profile(name: &str) -> Result<Profile, String> {
    Profile::named(name).ok_or_else(|| format!("known profiles: {}", Profile::NAMES.join(", ")))
}
