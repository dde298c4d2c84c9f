//! The sandbox, by programs that try to get out of it: each is stopped, and its end says why.

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use xenoglot::eval::scorers::sandbox::{End, Finished, Limits, Sandbox, SandboxError, SandboxOptions};

pub fn launcher() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_xenoglot"))
}

pub fn options() -> SandboxOptions {
    SandboxOptions { python: None, launcher: Some(launcher()) }
}

static SANDBOX: LazyLock<Sandbox> =
    LazyLock::new(|| Sandbox::open(&options()).expect("this machine has landlock, seccomp and Python"));

const LIMITS: Limits =
    Limits { cpu_seconds: 5, wall_seconds: 60, memory_bytes: 512 << 20, output_bytes: 1 << 20 };

fn run(source: &str, limits: Limits) -> Finished {
    SANDBOX.run(source, b"3 4\n", limits).expect("the sandbox can be set up")
}

#[track_caller]
fn check(source: &str, expected: End) -> Finished {
    let finished = run(source, LIMITS);
    assert_eq!(finished.end, expected, "{source}\n{}", finished.stderr);
    finished
}

#[test]
fn programs_compute_and_print() {
    let printed = |source: &str, expected: &str| {
        let finished = check(source, End::Exit(0));
        assert_eq!(String::from_utf8_lossy(&finished.stdout), expected, "{source}");
    };
    printed("print(sum(map(int, input().split())))", "7\n");
    printed("import sys; print(len(sys.stdin.read()))", "4\n");
    printed("print('สวัสดี')", "สวัสดี\n");
    printed("import math, collections, heapq, bisect, itertools, functools, re, decimal; print(1)", "1\n");
    printed(
        "import sys; sys.setrecursionlimit(10**6)\ndef f(n): return n and f(n - 1)\nprint(f(5000))",
        "0\n",
    );
    printed(
        "import threading\nt = threading.Thread(target=print, args=('thread',)); t.start(); t.join()",
        "thread\n",
    );
    printed("open('/dev/null', 'w').write('x'); print(open('/dev/urandom', 'rb').read(2) != 0)", "True\n");
    printed("import os; print(sorted(os.environ)[0], 'HOME' in os.environ)", "LANG False\n");
    check("import sys; sys.exit(3)", End::Exit(3));
    assert!(check("1 / 0", End::Exit(1)).stderr.contains("ZeroDivisionError"));
    check("syntax error", End::Exit(1));
}

#[test]
fn sets_are_gone_through_in_the_same_order_each_time() {
    let source = "print(list({str(n) for n in range(50)}))";
    assert_eq!(run(source, LIMITS).stdout, run(source, LIMITS).stdout);
}

#[test]
fn nothing_is_reached_over_the_network() {
    check("import socket; socket.socket()", End::Forbidden);
    check("import socket; socket.socket(socket.AF_UNIX)", End::Forbidden);
    check("import socket; socket.socketpair()", End::Forbidden);
    check("import socket; socket.create_connection(('127.0.0.1', 80))", End::Forbidden);
}

#[test]
fn no_other_file_is_read_or_written() {
    for path in
        ["/etc/shadow", "/etc/passwd", "/etc/hostname", "/proc/self/environ", "/proc/1/environ", "/dev/sda"]
    {
        let finished = run(&format!("open({path:?}).read()"), LIMITS);
        // What is not there at all need not be forbidden.
        let absent = finished.stderr.contains("FileNotFoundError");
        assert!(finished.end == End::Forbidden || absent, "{path}: {finished:?}");
    }
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret");
    std::fs::write(&secret, "secret").unwrap();
    check(&format!("open({secret:?}).read()"), End::Forbidden);
    check(&format!("open({secret:?}, 'w').write('x')"), End::Forbidden);
    check(&format!("import os; os.truncate({secret:?}, 0)"), End::Forbidden);
    check(&format!("import os; os.unlink({secret:?})"), End::Forbidden);
    check(&format!("import os; os.rename({secret:?}, {secret:?} + '2')"), End::Forbidden);
    check(&format!("import os; os.chmod({secret:?}, 0o777)"), End::Forbidden);
    check(&format!("import os; os.listdir({:?})", outside.path()), End::Forbidden);
    check(&format!("import os; os.mkdir({:?} + '/x')", outside.path()), End::Forbidden);
    check(&format!("import os; os.symlink('/etc', {:?} + '/x')", outside.path()), End::Forbidden);
    check(&format!("import os; os.mkfifo({:?} + '/x')", outside.path()), End::Forbidden);
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), "secret");
    check("open('/tmp/written', 'w')", End::Forbidden);
    check("open('written', 'w')", End::Forbidden);
    check("open('program.py', 'a')", End::Forbidden);
    check("open('/dev/shm/written', 'w')", End::Forbidden);
}

#[test]
fn no_process_is_started_and_none_is_touched() {
    check("import os; os.fork()", End::Forbidden);
    check("import os\nwhile True: os.fork()", End::Forbidden);
    check("import subprocess; subprocess.run(['/bin/ls'])", End::Forbidden);
    check("import os; os.execv('/bin/sh', ['sh', '-c', 'echo out'])", End::Forbidden);
    check("import os; os.kill(os.getppid(), 9)", End::Forbidden);
    check("import os; os.kill(-1, 9)", End::Forbidden);
    check("import os; os.setsid()", End::Forbidden);
    check("import os; os.nice(-5)", End::Forbidden);
    check("import os; os.memfd_create('x')", End::Forbidden);
    check("import resource; resource.prlimit(1, resource.RLIMIT_CPU, (1, 1))", End::Forbidden);
}

/// Calls that Python has no name for, by their number on x86-64: an error each, EPERM.
#[test]
#[cfg(target_arch = "x86_64")]
fn the_kernel_is_not_there_to_be_explored() {
    let calls = [
        ("ptrace", 101),
        ("mount", 165),
        ("unshare", 272),
        ("setns", 308),
        ("bpf", 321),
        ("keyctl", 250),
        ("perf_event_open", 298),
        ("userfaultfd", 323),
        ("io_uring_setup", 425),
        ("process_vm_readv", 310),
        ("pidfd_open", 434),
        ("kexec_load", 246),
        ("init_module", 175),
        ("chroot", 161),
        ("setuid", 105),
        ("personality", 135),
        ("landlock_create_ruleset", 444),
        ("x32 getpid", 0x4000_0000 + 39),
    ];
    for (name, number) in calls {
        let source = format!(
            "import ctypes\nc = ctypes.CDLL(None, use_errno=True)\n\
             print(c.syscall({number}, 0, 0, 0, 0, 0), ctypes.get_errno())"
        );
        let finished = check(&source, End::Exit(0));
        assert_eq!(String::from_utf8_lossy(&finished.stdout), "-1 1\n", "{name}");
    }
}

#[test]
fn limits_hold() {
    let timed = |source: &str, limits: Limits, expected: End, at_most: u64| {
        let start = Instant::now();
        let finished = run(source, limits);
        assert_eq!(finished.end, expected, "{source}\n{}", finished.stderr);
        assert!(start.elapsed() < Duration::from_secs(at_most), "{source}: {:?}", start.elapsed());
        finished
    };
    let short = Limits { cpu_seconds: 1, ..LIMITS };
    timed("while True: pass", short, End::TimeLimit, 50);
    let deaf = "import signal; signal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass";
    timed(deaf, short, End::TimeLimit, 50);
    timed("import time; time.sleep(1000)", Limits { wall_seconds: 1, ..LIMITS }, End::TimeLimit, 30);
    timed("x = 'a' * 10**10", LIMITS, End::MemoryLimit, 50);
    timed("x = []\nwhile True: x.append('a' * 10**6)", LIMITS, End::MemoryLimit, 50);
    let loud = timed("while True: print('x' * 1000)", LIMITS, End::OutputLimit, 50);
    assert_eq!(loud.stdout.len() as u64, LIMITS.output_bytes);
    timed("import sys\nwhile True: sys.stderr.write('x' * 1000)", LIMITS, End::OutputLimit, 50);
    timed("import ctypes; ctypes.string_at(0)", LIMITS, End::Signal(11), 50);
    timed("import os; [os.dup(1) for _ in range(1000)]", LIMITS, End::Exit(1), 50);
    timed("import os; os.abort()", LIMITS, End::Signal(6), 50);
}

#[test]
fn nothing_is_left_behind() {
    let own = || {
        let prefix = format!("xenoglot-{}-", std::process::id());
        let entries = std::fs::read_dir(std::env::temp_dir()).unwrap().filter_map(Result::ok);
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix)).count()
    };
    let sandbox = Sandbox::open(&options()).unwrap();
    sandbox.run("print(1)", b"", LIMITS).unwrap();
    // Other tests of this process may be at it.
    let until = Instant::now() + Duration::from_mins(2);
    while own() > 0 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(own(), 0);
}

#[test]
fn what_is_wrong_with_the_set_up_is_said() {
    let refused = |options: SandboxOptions, expected: &str| {
        let error = Sandbox::open(&options).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let python = |path: &str| SandboxOptions { python: Some(PathBuf::from(path)), ..options() };
    refused(python("/nowhere/python3"), "/nowhere/python3: no Python that runs");
    refused(python("/bin/false"), "/bin/false: no Python that runs");
    let other = |path: &str| SandboxOptions { launcher: Some(PathBuf::from(path)), ..options() };
    refused(other("/bin/true"), "/bin/true does not become a sandbox");
    refused(other("/nowhere/xenoglot"), "/nowhere/xenoglot does not become a sandbox");
    assert!(matches!(Sandbox::open(&other("/bin/cat")), Err(SandboxError::Launcher { .. })));
}

/// The launcher on a kernel without landlock, which a system call filter makes of this one.
#[test]
fn without_landlock_no_program_is_run() {
    use std::os::unix::process::CommandExt;
    let absent = seccompiler::SeccompFilter::new(
        [(libc::SYS_landlock_create_ruleset, Vec::new())].into_iter().collect(),
        seccompiler::SeccompAction::Allow,
        seccompiler::SeccompAction::Errno(libc::ENOSYS as u32),
        std::env::consts::ARCH.try_into().unwrap(),
    );
    let program: seccompiler::BpfProgram = absent.unwrap().try_into().unwrap();
    let spec = serde_json::json!({
        "mark": "mark", "parent": std::process::id(), "user": null, "executable": "/bin/echo",
        "arguments": ["ran"], "environment": [], "readable": ["/usr", "/lib"], "executable_paths": ["/bin", "/lib64"],
        "limits": LIMITS,
    });
    let mut command = std::process::Command::new(launcher());
    command.arg("sandbox-exec").arg(spec.to_string());
    // SAFETY: applying a filter is two system calls, on a program made before.
    unsafe {
        command.pre_exec(move || seccompiler::apply_filter(&program).map_err(std::io::Error::other));
    }
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(errors.starts_with("mark missing landlock"), "{errors}");
    assert!(output.stdout.is_empty() && !output.status.success());
}
