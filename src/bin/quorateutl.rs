//! The offline tools.

use std::process::ExitCode;

fn main() -> ExitCode {
    quorate::utl::main()
}
