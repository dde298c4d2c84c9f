//! The harness's side of one run: start the launcher, wait for it within its time, and say how it ended.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use super::scratch::Scratch;
use super::{End, Finished, Limits, Sandbox, SandboxError, Spec};

/// Of standard error only the end says why a program failed.
const STDERR_BYTES: u64 = 16 << 10;

pub(super) fn run(
    sandbox: &Sandbox,
    source: &str,
    stdin: &[u8],
    limits: Limits,
) -> Result<Finished, SandboxError> {
    let mark = uuid::Uuid::new_v4().simple().to_string();
    let scratch = Scratch::create(&mark)?;
    scratch.file("program.py", source.as_bytes())?;
    let input = scratch.file("input", stdin)?;
    let mut output = scratch.file("output", b"")?;
    let mut errors = scratch.file("errors", b"")?;
    let spec = spec(sandbox, &scratch, &mark, limits);
    let spec = serde_json::to_string(&spec).map_err(|error| SandboxError::io("describe itself", &error))?;
    let started =
        |file: &File| file.try_clone().map_err(|error| SandboxError::io("pass its files on", &error));
    let child = Command::new(&sandbox.launcher)
        .arg("sandbox-exec")
        .arg(spec)
        .env_clear()
        .current_dir(scratch.path())
        .stdin(input)
        .stdout(started(&output)?)
        .stderr(started(&errors)?)
        .spawn()
        .map_err(|error| launcher(sandbox, error.to_string()))?;
    let ended = wait(&child, limits)?;
    let stdout = read(&mut output, 0, limits.output_bytes)?;
    let stderr = read_errors(sandbox, &mut errors, &mark)?;
    let full = |file: &File| file.metadata().is_ok_and(|data| data.len() >= limits.output_bytes);
    let end = ended.end(full(&output) || full(&errors), &stderr, limits);
    Ok(Finished { end, stdout, stderr })
}

fn spec(sandbox: &Sandbox, scratch: &Scratch, mark: &str, limits: Limits) -> Spec {
    let program = scratch.path().join("program.py");
    let interpreter = &sandbox.interpreter;
    let system = ["/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64"].map(PathBuf::from);
    let files = ["/etc/ld.so.cache", "/etc/localtime", "/usr/share/zoneinfo", "/dev/urandom", "/dev/zero"];
    let readable = interpreter.folders.iter().cloned().chain(system.clone());
    let readable = readable.chain(files.map(PathBuf::from)).chain([scratch.path().to_owned()]);
    let text = |text: &str| text.to_owned();
    Spec {
        mark: mark.to_owned(),
        parent: std::process::id(),
        user: sandbox.user,
        executable: interpreter.executable.clone(),
        // -B: nothing is written beside modules. -s: no packages of the user's.
        arguments: ["-B", "-s", "-X", "utf8"]
            .map(str::to_owned)
            .into_iter()
            .chain([program.to_string_lossy().into_owned()])
            .collect(),
        environment: [
            ("PATH", "/usr/bin:/bin"),
            ("LANG", "C.UTF-8"),
            // Sets and dictionaries are gone through in the same order each time.
            ("PYTHONHASHSEED", "0"),
            ("OMP_NUM_THREADS", "1"),
            ("OPENBLAS_NUM_THREADS", "1"),
            ("MKL_NUM_THREADS", "1"),
        ]
        .map(|(name, value)| (text(name), text(value)))
        .to_vec(),
        readable: readable.collect(),
        executable_paths: system.into_iter().chain([interpreter.executable.clone()]).collect(),
        limits,
    }
}

fn launcher(sandbox: &Sandbox, message: String) -> SandboxError {
    SandboxError::Launcher { launcher: sandbox.launcher.clone(), message }
}

/// How the process ended, as the kernel says it.
struct Ended {
    status: i32,
    cpu: Duration,
    out_of_time: bool,
}

/// Wait for the process, or end it when its time is over.
fn wait(child: &Child, limits: Limits) -> Result<Ended, SandboxError> {
    let pid = child.id() as libc::pid_t;
    let wall = Duration::from_secs(limits.wall_seconds);
    let out_of_time = !ends_within(pid, wall)?;
    if out_of_time {
        // SAFETY: the process is our child and not yet waited for, so the number is still its own. It has a group of
        // its own once it has set itself up; it cannot have started another process either way.
        unsafe {
            libc::kill(-pid, libc::SIGKILL);
            libc::kill(pid, libc::SIGKILL);
        }
    }
    let mut status = 0;
    // SAFETY: all zeroes is a valid rusage.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both pointers are to live values of the right types.
        if unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) } == pid {
            break;
        }
        let error = std::io::Error::last_os_error();
        if error.kind() != std::io::ErrorKind::Interrupted {
            return Err(SandboxError::io("wait for its process", &error));
        }
    }
    let time = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    Ok(Ended { status, cpu: time(usage.ru_utime) + time(usage.ru_stime), out_of_time })
}

/// Whether the process ends in time. A descriptor of a process is readable when it has ended.
fn ends_within(pid: libc::pid_t, wall: Duration) -> Result<bool, SandboxError> {
    // SAFETY: takes two numbers; gives a new descriptor or -1.
    let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) } as i32;
    if descriptor < 0 {
        return Err(SandboxError::io("watch its process", &std::io::Error::last_os_error()));
    }
    // SAFETY: the descriptor is new and nobody else's.
    let descriptor: std::os::fd::OwnedFd = unsafe { std::os::fd::FromRawFd::from_raw_fd(descriptor) };
    let start = Instant::now();
    loop {
        let left = wall.saturating_sub(start.elapsed());
        let mut poll = libc::pollfd {
            fd: std::os::fd::AsRawFd::as_raw_fd(&descriptor),
            events: libc::POLLIN,
            revents: 0,
        };
        let milliseconds = left.as_millis().min(60_000) as i32;
        // SAFETY: one live pollfd, and a count of one.
        if unsafe { libc::poll(&raw mut poll, 1, milliseconds) } > 0 {
            return Ok(true);
        }
        if left.is_zero() {
            return Ok(false);
        }
    }
}

impl Ended {
    fn end(&self, output_is_full: bool, stderr: &str, limits: Limits) -> End {
        let signal = libc::WIFSIGNALED(self.status).then(|| libc::WTERMSIG(self.status));
        let used_up = self.cpu >= Duration::from_secs(limits.cpu_seconds);
        if self.out_of_time || signal == Some(libc::SIGXCPU) || (signal == Some(libc::SIGKILL) && used_up) {
            return End::TimeLimit;
        }
        if output_is_full || signal == Some(libc::SIGXFSZ) {
            return End::OutputLimit;
        }
        let status = libc::WEXITSTATUS(self.status);
        match signal {
            Some(libc::SIGSYS) => End::Forbidden,
            Some(signal) => End::Signal(signal),
            None if status == 0 => End::Exit(0),
            None => by_exception(stderr).unwrap_or(End::Exit(status)),
        }
    }
}

/// What an exception that nobody caught says of the limit it ran into; the last line names it.
fn by_exception(stderr: &str) -> Option<End> {
    let last = stderr.trim_end().lines().last()?;
    let names =
        |name: &str| last.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'));
    if names("MemoryError") || names("numpy.core._exceptions._ArrayMemoryError") {
        Some(End::MemoryLimit)
    } else if names("PermissionError") {
        Some(End::Forbidden)
    } else {
        None
    }
}

fn read(file: &mut File, from: u64, most: u64) -> Result<Vec<u8>, SandboxError> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(from))
        .and_then(|_| file.take(most).read_to_end(&mut bytes))
        .map_err(|error| SandboxError::io("read what was printed", &error))?;
    Ok(bytes)
}

/// What the program said on standard error, once the launcher has said that the sandbox stands.
fn read_errors(sandbox: &Sandbox, file: &mut File, mark: &str) -> Result<String, SandboxError> {
    let ready = format!("{mark} ready\n");
    let head = read(file, 0, 4096)?;
    if !head.starts_with(ready.as_bytes()) {
        let head = String::from_utf8_lossy(&head);
        return Err(match head.strip_prefix(&format!("{mark} missing ")) {
            Some(what) => SandboxError::Missing { what: what.trim().to_owned() },
            None => launcher(sandbox, head.trim().lines().last().unwrap_or("it says nothing").to_owned()),
        });
    }
    let length = file.metadata().map_or(0, |data| data.len());
    let start = (ready.len() as u64).max(length.saturating_sub(STDERR_BYTES));
    let said = String::from_utf8_lossy(&read(file, start, STDERR_BYTES)?).into_owned();
    // The program cannot say this: it does not know the mark.
    match said.split_once(&format!("{mark} failed ")) {
        Some((_, message)) => Err(SandboxError::io("become the program", &message.trim())),
        None => Ok(said),
    }
}
