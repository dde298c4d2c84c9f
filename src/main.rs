//! Parse the arguments, call `cli`.

/// Many small tensors come and go in a step; the system's allocator returns and faults in their pages again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    xenoglot::cli::main()
}
