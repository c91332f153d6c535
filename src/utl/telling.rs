//! What the user is told besides the result: on standard error.
//!
//! Invariant: that nobody can be told changes nothing of what is done, nor its exit code.

use std::fmt::Display;
use std::io::{self, Write as _};

/// Tells a line.
pub fn tell(line: impl Display) {
    tell_part(format_args!("{line}\n"));
}

/// As [`tell`], without the end of a line.
pub fn tell_part(text: impl Display) {
    // In one go: others may tell something, too.
    let _ = io::stderr().write_all(text.to_string().as_bytes());
}
