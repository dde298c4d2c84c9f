//! Parse the arguments, call `cli`.

use std::ffi::{c_int, c_long};

/// The tensors of a step come and go; the system's allocator returns and faults in their pages again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

unsafe extern "C" {
    /// Of mimalloc; the crate leaves it out.
    fn mi_option_set(option: c_int, value: c_long);
}

/// Milliseconds that freed memory waits before it goes back to the system. mimalloc's own 10 are less than a step
/// takes: a prefill would fault in all of its buffers again in every layer, a fifth of its time.
const PURGE_DELAY_MS: c_long = 5_000;

fn main() -> std::process::ExitCode {
    const PURGE_DELAY: c_int = 15;
    // SAFETY: mimalloc is linked, the option is one of its enumeration, and no other thread runs yet.
    unsafe { mi_option_set(PURGE_DELAY, PURGE_DELAY_MS) };
    xenoglot::cli::main()
}
