//! Format `simple`: the lines each command has for it.

use std::io;

use super::{Look, Reply, Streams};

/// Prints the reply's own lines.
pub fn print(reply: &dyn Reply, look: Look, to: &mut Streams<'_>) -> io::Result<()> {
    reply.simple(look, to)
}
