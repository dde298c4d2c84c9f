//! A PostgreSQL server of this machine's own binaries, in a temporary folder, reached through a socket in it.
//!
//! PostgreSQL refuses to run as root, so root's tests run it as the user `postgres` or `nobody`. Without the binaries the
//! tests fail and say what to install; `XENOGLOT_TEST_POSTGRES=skip` leaves PostgreSQL out.

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub struct Postgres {
    server: Child,
    folder: TempDir,
}

/// Whether the person who runs the tests asked to leave PostgreSQL out.
pub fn is_skipped() -> bool {
    std::env::var("XENOGLOT_TEST_POSTGRES").is_ok_and(|value| value == "skip")
}

impl Postgres {
    /// Belongs to the thread that starts it: it dies with that thread, even one that is killed.
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("pg").tempdir_in("/tmp").unwrap();
        let user = unprivileged_user();
        if let Some((uid, gid)) = user {
            chown(folder.path(), Some(uid), Some(gid)).unwrap();
        }
        let data = folder.path().join("data");
        let data = data.to_str().unwrap();
        let options = ["-D", data, "-U", "xenoglot", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"];
        let made = command("initdb", user).args(options).output().unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let server = command("postgres", user)
            .args(["-D", data, "-k", folder.path().to_str().unwrap(), "-h", "", "-F"])
            .args(["-c", "max_connections=100"])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut started = Self { server, folder };
        started.wait();
        started
    }

    pub fn url(&self) -> String {
        format!("postgres://xenoglot@localhost/postgres?host={}", self.folder.path().display())
    }

    fn wait(&mut self) {
        let start = Instant::now();
        let log = self.folder.path().join("log");
        loop {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            if text.contains("ready to accept connections") {
                return;
            }
            let ended = self.server.try_wait().unwrap();
            assert!(ended.is_none() && start.elapsed() < Duration::from_mins(1), "postgres: {text}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGKILL leaves shared memory behind; SIGINT ends it at once without waiting for its clients.
        if let Ok(pid) = i32::try_from(self.server.id()) {
            // SAFETY: a signal to our own child, which is not reaped before the wait below.
            unsafe { libc::kill(pid, libc::SIGINT) };
        }
        let _ = self.server.wait();
    }
}

/// The user and group to become, if this process is root.
fn unprivileged_user() -> Option<(u32, u32)> {
    // SAFETY: asks for a number.
    if unsafe { libc::geteuid() } != 0 {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let find = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    Some(find("postgres").or_else(|| find("nobody")).expect("root has neither a user postgres nor nobody"))
}

/// One of PostgreSQL's programs, as that user; it gets a signal when this thread ends.
fn command(program: &str, user: Option<(u32, u32)>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "INT"]);
    if let Some((uid, gid)) = user {
        command.args([format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".to_owned()]);
    }
    command.arg(binary(program)).current_dir("/");
    command
}

/// On the path, or where Debian keeps them.
fn binary(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(Result::ok);
    folders.extend(versions.map(|version| version.path().join("bin")));
    let found = folders.iter().map(|folder| folder.join(program)).find(|path: &PathBuf| Path::is_file(path));
    found.unwrap_or_else(|| {
        panic!("no {program} here: install postgresql, or set XENOGLOT_TEST_POSTGRES=skip to leave it out")
    })
}
