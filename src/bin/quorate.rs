//! The server.

use std::process::ExitCode;

/// Half of a put's cost elsewhere is allocation; this one is measured faster than the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    quorate::server::main()
}
