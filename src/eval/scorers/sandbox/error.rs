//! Why no program can be run.

use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("generated code is only run on Linux, where landlock and seccomp can confine it")]
    NotLinux,
    #[error(
        "no sandbox: {what}. Generated code is not run without one; use a kernel with landlock (5.13 or later, \
         `landlock` among its security modules) and seccomp"
    )]
    Missing { what: String },
    #[error("no sandbox: a program that tried could still {what}; generated code is not run")]
    Leaks { what: String },
    #[error("no sandbox: its probe did not run ({message}); generated code is not run")]
    Probe { message: String },
    #[error("{}: no Python that runs ({message}); name one by its path", python.display())]
    NoInterpreter { python: PathBuf, message: String },
    #[error("{} does not become a sandbox ({message}); it must be the xenoglot binary", launcher.display())]
    Launcher { launcher: PathBuf, message: String },
    #[error("the sandbox cannot {action}: {message}")]
    Io { action: String, message: String },
}

impl SandboxError {
    pub(super) fn io(action: &str, error: &dyn std::fmt::Display) -> Self {
        Self::Io { action: action.to_owned(), message: error.to_string() }
    }
}
