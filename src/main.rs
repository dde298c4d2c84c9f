//! Parse the arguments, call `cli`.

use std::ffi::{c_int, c_long};

/// The tensors of a step come and go; the system's allocator returns and faults in their pages again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

unsafe extern "C" {
    // Of mimalloc; the crate leaves them out.
    /// What the environment (`MIMALLOC_PURGE_DELAY`) says stays.
    fn mi_option_set_default(option: c_int, value: c_long);
    fn mi_option_set(option: c_int, value: c_long);
    fn mi_collect(force: bool);
}

const PURGE_DELAY: c_int = 15;

/// Milliseconds that freed memory waits before it goes back to the system. mimalloc's own second is as long as a large
/// prefill, whose buffers are then faulted in again; docs/benchmarks.md has the difference.
const PURGE_DELAY_MS: c_long = 5_000;

/// The same while something trains: longer than a pass there and back.
const TRAINING_PURGE_DELAY_MS: c_long = 600_000;

fn main() -> std::process::ExitCode {
    // A file at its size limit (ulimit -f) is an error that is told, not a signal that ends the process without a word.
    // SAFETY: ignoring a signal touches no memory, and no other thread runs yet.
    #[cfg(unix)]
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
    // SAFETY: mimalloc is linked, the option is one of its enumeration, and no other thread runs yet.
    unsafe { mi_option_set_default(PURGE_DELAY, PURGE_DELAY_MS) };
    if std::env::var_os("MIMALLOC_PURGE_DELAY").is_none() {
        xenoglot::train::set_allocator(keep);
    }
    xenoglot::cli::main()
}

/// Keeps freed memory while something trains, and gives it back then.
fn keep(keep: bool) {
    let delay = if keep { TRAINING_PURGE_DELAY_MS } else { PURGE_DELAY_MS };
    // SAFETY: as above; an option is one word, which other threads read before or after. Collecting is for any thread.
    unsafe {
        mi_option_set(PURGE_DELAY, delay);
        if !keep {
            mi_collect(true);
        }
    }
}
