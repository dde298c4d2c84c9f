//! Runs programs that nobody has read, a process each, so that they can compute and print and do nothing else.
//!
//! What a program may do: read the interpreter's own files, use memory, processor time and threads up to its limits,
//! read its input, print. What it may not: open a socket, start a process, write or read any other file, signal or
//! watch another process, gain a privilege. docs/scorers.md says what each rests on, and what it does not hold off.
//!
//! How: this binary runs itself again as `xenoglot sandbox-exec` (`launch`), which limits itself, checks nothing and
//! becomes the interpreter. A process of our own starts clean: no memory, file or environment of the harness is in it,
//! and starting it does not copy the page tables of a process that holds a model's weights. A sandbox that does not
//! hold is refused when it is opened: a probe tries to get out first.

mod error;
#[cfg(target_os = "linux")]
mod filter;
mod interpreter;
#[cfg(target_os = "linux")]
mod launch;
#[cfg(target_os = "linux")]
mod process;
mod scratch;

use std::path::PathBuf;
use std::sync::{Condvar, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

pub use error::SandboxError;
use interpreter::Interpreter;

/// Where things are, for a caller that knows better than the defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SandboxOptions {
    /// The Python that runs programs; `None`: `python3` on the PATH.
    pub python: Option<PathBuf>,
    /// The `xenoglot` that becomes the sandbox; `None`: this process's own binary.
    pub launcher: Option<PathBuf>,
}

/// What one run may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Processor time. It decides, not the clock, so that a busy machine changes no verdict.
    pub cpu_seconds: u64,
    /// Time on the clock, for programs that sleep.
    pub wall_seconds: u64,
    /// Of address space.
    pub memory_bytes: u64,
    /// Of standard output and of standard error, each.
    pub output_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { cpu_seconds: 10, wall_seconds: 60, memory_bytes: 1 << 30, output_bytes: 16 << 20 }
    }
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By itself, with this status; an exception that nobody caught is 1.
    Exit(i32),
    TimeLimit,
    MemoryLimit,
    OutputLimit,
    /// It ended because something was not permitted: a socket, a file, a process.
    Forbidden,
    /// By a signal, such as that of a wrong memory access.
    Signal(i32),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    pub end: End,
    pub stdout: Vec<u8>,
    /// The end of it.
    pub stderr: String,
}

/// A sandbox that was tried and holds. Runs at most as many programs at once as there are processors.
#[derive(Debug)]
pub struct Sandbox {
    interpreter: Interpreter,
    launcher: PathBuf,
    /// The user that programs run as, where this process may choose one.
    user: Option<u32>,
    free: Mutex<usize>,
    freed: Condvar,
}

/// What the launcher is told, as JSON in its one argument.
#[derive(Debug, Serialize, Deserialize)]
struct Spec {
    /// Stands before whatever the launcher itself says on standard error.
    mark: String,
    parent: u32,
    user: Option<u32>,
    executable: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    /// Files and folders that may be read.
    readable: Vec<PathBuf>,
    /// Files and folders that may be executed: the interpreter and its loader.
    executable_paths: Vec<PathBuf>,
    limits: Limits,
}

/// Nobody: owns nothing anywhere.
const NOBODY: u32 = 65_534;

#[cfg(target_os = "linux")]
pub use launch::launch;

/// There is nothing to become elsewhere.
#[cfg(not(target_os = "linux"))]
pub fn launch(_spec: &str) -> SandboxError {
    SandboxError::NotLinux
}

impl Sandbox {
    /// Find the interpreter and try the sandbox out.
    ///
    /// # Errors
    /// No interpreter, or no sandbox that holds; with what is missing.
    #[cfg(target_os = "linux")]
    pub fn open(options: &SandboxOptions) -> Result<Self, SandboxError> {
        let interpreter = Interpreter::find(options.python.as_deref())?;
        let launcher = match &options.launcher {
            Some(launcher) => launcher.clone(),
            None => std::env::current_exe().map_err(|error| SandboxError::io("find this binary", &error))?,
        };
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let (free, freed) = (Mutex::new(processors), Condvar::new());
        let mut sandbox = Self { interpreter, launcher, user: None, free, freed };
        // SAFETY: takes nothing and cannot fail.
        let is_root = unsafe { libc::geteuid() } == 0;
        // As nobody where that user can reach the interpreter, else as this user without capabilities.
        sandbox.user = is_root.then_some(NOBODY);
        if let Err(error) = sandbox.probe() {
            if sandbox.user.take().is_none() {
                return Err(error);
            }
            sandbox.probe()?;
        }
        Ok(sandbox)
    }

    /// Programs are only run where landlock and seccomp are.
    ///
    /// # Errors
    /// Always `NotLinux`.
    #[cfg(not(target_os = "linux"))]
    pub fn open(_options: &SandboxOptions) -> Result<Self, SandboxError> {
        Err(SandboxError::NotLinux)
    }

    /// Run a Python program to its end or to a limit.
    ///
    /// # Errors
    /// When the sandbox could not be set up: never for anything the program did.
    #[cfg(target_os = "linux")]
    pub fn run(&self, source: &str, stdin: &[u8], limits: Limits) -> Result<Finished, SandboxError> {
        let _place = self.place();
        process::run(self, source, stdin, limits)
    }

    /// Nothing is run elsewhere.
    ///
    /// # Errors
    /// Always `NotLinux`.
    #[cfg(not(target_os = "linux"))]
    pub fn run(&self, _source: &str, _stdin: &[u8], _limits: Limits) -> Result<Finished, SandboxError> {
        Err(SandboxError::NotLinux)
    }

    /// For people: the interpreter, and who programs run as.
    pub fn describe(&self) -> String {
        let user = if self.user.is_some() { "nobody" } else { "this user, without capabilities" };
        format!("{} as {user}, under landlock and seccomp", self.interpreter.executable.display())
    }

    pub fn python_version(&self) -> &str {
        &self.interpreter.version
    }

    /// Waits for one of the places, so that programs do not take each other's time on the clock.
    fn place(&self) -> Place<'_> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = self.freed.wait_while(free, |free| *free == 0).unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        Place(self)
    }

    /// Whether the launcher is ours and nothing gets out.
    #[cfg(target_os = "linux")]
    fn probe(&self) -> Result<(), SandboxError> {
        let finished = self.run(include_str!("probe.py"), b"", Limits::default())?;
        let said = String::from_utf8_lossy(&finished.stdout);
        match (finished.end, said.trim()) {
            (End::Exit(0), "holds") => Ok(()),
            (End::Exit(0), leaks) => Err(SandboxError::Leaks { what: leaks.replace('\n', ", ") }),
            (end, _) => Err(SandboxError::Probe {
                message: format!("{end:?}: {}", finished.stderr.trim().lines().last().unwrap_or_default()),
            }),
        }
    }
}

struct Place<'a>(&'a Sandbox);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.freed.notify_one();
    }
}
