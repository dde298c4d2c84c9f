//! Options of scorers that need more than a text: whom to ask, and which Python runs programs.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use crate::cli::failure::Failure;
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
    /// `XENOGLOT_JUDGE_API_KEY` [default: $XENOGLOT_JUDGE_URL]
    #[arg(long, value_name = "URL")]
    judge_url: Option<String>,
    /// The judging model's name at that URL [default: $XENOGLOT_JUDGE_MODEL]
    #[arg(long, value_name = "NAME")]
    judge_model: Option<String>,
    /// The Python that runs programs in the sandbox, for suites of code [default: $XENOGLOT_PYTHON, else `python3` on the PATH]
    #[arg(long, value_name = "FILE")]
    python: Option<PathBuf>,
}

impl ScorerArguments {
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// Flags of the judge that are on the line. What the environment says is a default for whatever suite has a use for it, and
    /// no request.
    pub fn of_judge(&self) -> [(&'static str, bool); 2] {
        [("judge-url", self.judge_url.is_some()), ("judge-model", self.judge_model.is_some())]
    }

    /// Flags of the sandbox that are on the line.
    pub fn of_sandbox(&self) -> [(&'static str, bool); 1] {
        [("python", self.python.is_some())]
    }

    /// With the environment's defaults for what is not on the line.
    ///
    /// # Errors
    /// A judge's URL without its model.
    pub fn options(&self) -> Result<ScorerOptions, Failure> {
        self.options_with(&|name| std::env::var_os(name))
    }

    fn options_with(&self, variable: &dyn Fn(&str) -> Option<OsString>) -> Result<ScorerOptions, Failure> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let text = |name: &str| set(name).map(|value| value.to_string_lossy().into_owned());
        let url = self.judge_url.clone().or_else(|| text("XENOGLOT_JUDGE_URL"));
        let model = self.judge_model.clone().or_else(|| text("XENOGLOT_JUDGE_MODEL"));
        if self.judge_url.is_some() && model.is_none() {
            let message = "--judge-url needs the name of the model at that URL: --judge-model";
            return Err(Failure::usage(message));
        }
        Ok(ScorerOptions {
            sandbox: SandboxOptions {
                python: self.python.clone().or_else(|| set("XENOGLOT_PYTHON").map(PathBuf::from)),
                launcher: None,
            },
            profile: self.profile,
            judge: url.zip(model).map(|(url, model)| JudgeOptions::new(&url, &model)),
        })
    }
}

fn profile(name: &str) -> Result<Profile, String> {
    Profile::named(name).ok_or_else(|| format!("known profiles: {}", Profile::NAMES.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_wins_over_the_environment() {
        let line = |url: Option<&str>, model: Option<&str>, python: Option<&str>| ScorerArguments {
            profile: Profile::Default,
            judge_url: url.map(str::to_owned),
            judge_model: model.map(str::to_owned),
            python: python.map(PathBuf::from),
        };
        let environment = |name: &str| -> Option<OsString> {
            let value = match name {
                "XENOGLOT_JUDGE_URL" => "http://env",
                "XENOGLOT_JUDGE_MODEL" => "env",
                "XENOGLOT_PYTHON" => "/env/python",
                _ => return None,
            };
            Some(value.into())
        };
        let check = |arguments: &ScorerArguments, judge: (&str, &str), python: &str| {
            let options = arguments.options_with(&environment).unwrap();
            let found = options.judge.unwrap();
            assert_eq!((found.http.url.as_str(), found.model.as_str()), judge);
            assert_eq!(options.sandbox.python, Some(PathBuf::from(python)));
        };
        check(&line(None, None, None), ("http://env", "env"), "/env/python");
        check(&line(Some("http://line"), None, Some("/python")), ("http://line", "env"), "/python");
        check(&line(None, Some("line"), None), ("http://env", "line"), "/env/python");
        // What is set to nothing is not set.
        let nothing = line(None, None, None).options_with(&|_| Some(OsString::new())).unwrap();
        assert!(nothing.judge.is_none() && nothing.sandbox.python.is_none());
        let error = line(Some("http://line"), None, None).options_with(&|_| None).unwrap_err();
        assert!(error.to_string().contains("--judge-model"), "{error}");
    }
}
