//! Parse the arguments, call `cli`.

use std::ffi::{c_int, c_long};

/// The tensors of a step come and go; the system's allocator returns and faults in their pages again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

unsafe extern "C" {
    /// Of mimalloc; the crate leaves it out. What the environment (`MIMALLOC_PURGE_DELAY`) says stays.
    fn mi_option_set_default(option: c_int, value: c_long);
}

/// Milliseconds that freed memory waits before it goes back to the system. mimalloc's own second is as long as a large
/// prefill, whose buffers are then faulted in again; docs/benchmarks.md has the difference.
const PURGE_DELAY_MS: c_long = 5_000;

fn main() -> std::process::ExitCode {
    const PURGE_DELAY: c_int = 15;
    // SAFETY: mimalloc is linked, the option is one of its enumeration, and no other thread runs yet.
    unsafe { mi_option_set_default(PURGE_DELAY, PURGE_DELAY_MS) };
    xenoglot::cli::main()
}
