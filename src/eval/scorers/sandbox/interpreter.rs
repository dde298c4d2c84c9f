//! The Python that programs run in: where it is and which files it needs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::SandboxError;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interpreter {
    /// The binary itself, not a shim that looks for it.
    pub executable: PathBuf,
    /// As "3.11.7".
    pub version: String,
    /// Its library, packages and prefix.
    pub folders: Vec<PathBuf>,
}

/// The interpreter's own files, asked of it. Outside the sandbox, since it is the user's and nobody's program runs.
const QUESTION: &str = "import os, sys\n\
    print('%d.%d.%d' % sys.version_info[:3])\n\
    paths = [sys.executable, os.path.realpath(sys.executable), sys.prefix, sys.base_prefix, sys.exec_prefix]\n\
    print('\\n'.join(paths + [path for path in sys.path if path]))";

impl Interpreter {
    pub fn find(python: Option<&Path>) -> Result<Self, SandboxError> {
        let python = python.unwrap_or(Path::new("python3"));
        let none = |message: String| SandboxError::NoInterpreter { python: python.to_owned(), message };
        let asked = Command::new(python).args(["-I", "-c", QUESTION]).stdin(Stdio::null()).output();
        let asked = asked.map_err(|error| none(error.to_string()))?;
        let said = String::from_utf8_lossy(&asked.stdout);
        let mut lines = said.lines();
        let version = lines.next().unwrap_or_default().to_owned();
        let mut paths = lines.map(PathBuf::from).filter(|path| path.is_absolute());
        let executable = paths.next().filter(|path| asked.status.success() && path.is_file());
        let executable = executable.ok_or_else(|| none(format!("it answers {}", asked.status)))?;
        let mut folders: Vec<PathBuf> = paths.filter(|path| path.exists()).collect();
        folders.sort();
        folders.dedup();
        if let Some(wide) = folders.iter().find(|folder| folder.parent().is_none()) {
            return Err(none(format!("its folder is {}, which would open every file", wide.display())));
        }
        Ok(Self { executable, version, folders })
    }
}
