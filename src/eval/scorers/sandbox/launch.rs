//! The sandbox's own side: a fresh process takes everything from itself and becomes the interpreter.
//!
//! The order matters. Rules are made while files can still be opened, then the user changes, then landlock and
//! seccomp close. Each step must succeed; the last word before the program is `<mark> ready` on standard error.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope,
};

use super::{Limits, SandboxError, Spec, filter};

/// Become the program that `spec` describes.
///
/// # Errors
/// Comes back only with one, which standard error holds as well.
pub fn launch(spec: &str) -> SandboxError {
    let spec: Spec = match serde_json::from_str(spec) {
        Ok(spec) => spec,
        Err(error) => return SandboxError::io("read what it is told", &error),
    };
    let error = become_program(&spec);
    match &error {
        SandboxError::Missing { what } => eprintln!("{} missing {what}", spec.mark),
        other => eprintln!("{} failed {other}", spec.mark),
    }
    error
}

fn become_program(spec: &Spec) -> SandboxError {
    let steps = || -> Result<Exec, SandboxError> {
        own_session()?;
        // SAFETY: closes what this process might have inherited; nothing of ours beyond standard error is open.
        unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
        let exec = Exec::new(spec)?;
        let ruleset = ruleset(spec)?;
        drop_privileges(spec.user)?;
        die_with(spec.parent)?;
        restrict(ruleset)?;
        let filters = filter::programs(std::process::id())
            .map_err(|error| missing(&format!("seccomp has no filter for this processor ({error})")))?;
        // Late, since what is allocated now was reserved before memory was limited.
        limit(spec)?;
        eprintln!("{} ready", spec.mark);
        for program in &filters {
            seccompiler::apply_filter(program)
                .map_err(|error| missing(&format!("seccomp refuses its filter ({error})")))?;
        }
        Ok(exec)
    };
    match steps() {
        Ok(exec) => exec.run(),
        Err(error) => error,
    }
}

fn missing(what: &str) -> SandboxError {
    SandboxError::Missing { what: what.to_owned() }
}

fn checked(result: i64, action: &str) -> Result<(), SandboxError> {
    if result < 0 { Err(SandboxError::io(action, &std::io::Error::last_os_error())) } else { Ok(()) }
}

/// A session without a terminal, and a process group by which the harness can end it.
fn own_session() -> Result<(), SandboxError> {
    // SAFETY: takes nothing; fails where this process leads a group already.
    checked(i64::from(unsafe { libc::setsid() }), "start its session")
}

/// Soft and hard limits alike, so that none can be raised.
fn limit(spec: &Spec) -> Result<(), SandboxError> {
    let Limits { cpu_seconds, memory_bytes, output_bytes, .. } = spec.limits;
    let set = |resource, soft: u64, hard: u64, action: &str| {
        let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
        // SAFETY: the pointer is to a live rlimit.
        checked(i64::from(unsafe { libc::setrlimit(resource, &raw const limit) }), action)
    };
    // At the soft limit a signal ends the program, at the hard one even a program that handles the signal.
    set(libc::RLIMIT_CPU, cpu_seconds, cpu_seconds + 1, "limit processor time")?;
    set(libc::RLIMIT_AS, memory_bytes, memory_bytes, "limit memory")?;
    set(libc::RLIMIT_FSIZE, output_bytes, output_bytes, "limit output")?;
    // The binary ignores it, and programs inherit that.
    // SAFETY: the default handler touches no memory.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_DFL) };
    set(libc::RLIMIT_NOFILE, OPEN_FILES, OPEN_FILES, "limit open files")?;
    set(libc::RLIMIT_CORE, 0, 0, "forbid core files")?;
    set(libc::RLIMIT_MEMLOCK, 0, 0, "limit locked memory")?;
    set(libc::RLIMIT_STACK, STACK_BYTES.min(memory_bytes), memory_bytes, "limit the stack")?;
    if spec.user.is_some() {
        // Counts all that this user runs, which is only ours to say for a user that runs nothing else.
        set(libc::RLIMIT_NPROC, THREADS, THREADS, "limit threads")?;
    }
    Ok(())
}

const OPEN_FILES: u64 = 64;
const STACK_BYTES: u64 = 16 << 20;
/// Of all programs that run at once together.
const THREADS: u64 = 512;

fn drop_privileges(user: Option<u32>) -> Result<(), SandboxError> {
    if let Some(user) = user {
        // SAFETY: an empty list of groups, and numbers.
        unsafe {
            checked(i64::from(libc::setgroups(0, std::ptr::null())), "leave its groups")?;
            checked(i64::from(libc::setresgid(user, user, user)), "change its group")?;
            checked(i64::from(libc::setresuid(user, user, user)), "change its user")?;
        }
    }
    drop_capabilities()
}

/// A user's own capabilities, and those that executing a file could give. For users without any this changes nothing.
fn drop_capabilities() -> Result<(), SandboxError> {
    for capability in 0..64 {
        // SAFETY: takes numbers; fails for a capability that the kernel does not know or that may not be dropped,
        // which no_new_privs makes harmless.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    }
    // The kernel's `__user_cap_header_struct`: version 3, and this process.
    let header = [0x2008_0522_u32, 0];
    let none = [0_u32; 6];
    // SAFETY: the header is two words, and a version of 3 is followed by two sets of three words each.
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
    checked(result, "drop its capabilities")
}

/// End when the harness does, which might not be there to end it.
fn die_with(parent: u32) -> Result<(), SandboxError> {
    // SAFETY: takes numbers.
    let result = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) };
    checked(i64::from(result), "end with the harness")?;
    // SAFETY: takes nothing and cannot fail.
    if unsafe { libc::getppid() } as u32 != parent {
        return Err(SandboxError::io("start", &"the harness is gone"));
    }
    Ok(())
}

/// The newest rules whose names this crate and the kernel may share; older kernels enforce those they know, and what
/// they lack (truncation, sockets, signals) the system call filter refuses as well.
const NEWEST: ABI = ABI::V6;

fn ruleset(spec: &Spec) -> Result<RulesetCreated, SandboxError> {
    let no = |error: landlock::RulesetError| missing(&format!("landlock is not there ({error})"));
    let read = AccessFs::from_read(ABI::V1) & !AccessFs::Execute;
    let mut created = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))
        .map_err(no)?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(NEWEST)))
        .and_then(|rules| rules.scope(Scope::from_all(NEWEST)))
        .and_then(Ruleset::create)
        .map_err(no)?;
    let readable = spec.readable.iter().map(|path| (path.as_path(), read));
    let executable = spec.executable_paths.iter().map(|path| (path.as_path(), read | AccessFs::Execute));
    let null = (Path::new("/dev/null"), AccessFs::ReadFile | AccessFs::WriteFile);
    for (path, access) in readable.chain(executable).chain([null]) {
        let Ok(opened) = PathFd::new(path) else { continue };
        // Rights to a folder's entries mean nothing for a file and would be refused.
        let access = if path.is_dir() { access } else { access & AccessFs::from_file(ABI::V1) };
        created = created.add_rule(PathBeneath::new(opened, access)).map_err(no)?;
    }
    Ok(created)
}

fn restrict(ruleset: RulesetCreated) -> Result<(), SandboxError> {
    let status = ruleset.restrict_self().map_err(|error| missing(&format!("landlock refuses ({error})")))?;
    if status.ruleset == RulesetStatus::NotEnforced || !status.no_new_privs {
        return Err(missing("landlock is not enforced by this kernel"));
    }
    Ok(())
}

/// What `execve` takes, made before the filter closes.
struct Exec {
    path: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

impl Exec {
    fn new(spec: &Spec) -> Result<Self, SandboxError> {
        let text = |bytes: &[u8]| {
            CString::new(bytes).map_err(|error| SandboxError::io("read what it is told", &error))
        };
        let path = text(spec.executable.as_os_str().as_bytes())?;
        let arguments = spec.arguments.iter().map(|argument| text(argument.as_bytes()));
        let environment =
            spec.environment.iter().map(|(name, value)| text(format!("{name}={value}").as_bytes()));
        let arguments = std::iter::once(Ok(path.clone())).chain(arguments).collect::<Result<_, _>>()?;
        Ok(Self { path, arguments, environment: environment.collect::<Result<_, _>>()? })
    }

    fn run(&self) -> SandboxError {
        let pointers = |texts: &[CString]| -> Vec<*const libc::c_char> {
            texts.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
        };
        let (arguments, environment) = (pointers(&self.arguments), pointers(&self.environment));
        // SAFETY: both lists end in a null pointer, and their texts live as long as this call.
        unsafe { libc::execve(self.path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
        SandboxError::io(
            &format!("execute {}", self.path.to_string_lossy()),
            &std::io::Error::last_os_error(),
        )
    }
}
