//! What a command shows, and in which format.
//!
//! A command describes its result once, as a [`Reply`]: the plain lines, the tree of named values, the table.
//! A format is one file here that renders one of those views, and one line in [`FORMATS`]. Neither knows the
//! other, so that a new command needs no change here and a new format none in the commands.

mod json;
mod kv;
mod simple;
mod table;
mod tree;

use std::io::{self, Write};

pub use kv::{header, header_fields, key_value, key_values, kv_lines};
pub use table::{Table, human_bytes};
pub use tree::{Object, Tree};

use super::failure::{Exit, Failure};

/// How the user wants byte strings and results shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look {
    /// Byte strings, and in JSON the ids of members, in hex.
    pub hex: bool,
    /// Values without their keys (`simple` only).
    pub values_only: bool,
}

/// Where output goes.
pub struct Streams<'a> {
    /// Standard output.
    pub out: &'a mut dyn Write,
    /// Standard error.
    pub err: &'a mut dyn Write,
}

/// The result of a command, seen in each way a format may ask for.
pub trait Reply {
    /// The lines of format `simple`.
    ///
    /// # Errors
    /// Writing failed.
    fn simple(&self, look: Look, to: &mut Streams<'_>) -> io::Result<()>;

    /// The named values, in order, as the protobuf structs have them.
    fn tree(&self, look: Look) -> Tree<'_>;
}

/// An output format.
pub struct Format {
    /// The word after `--write-out`.
    pub name: &'static str,
    /// Renders one reply; `None` while the format is not built.
    pub print: Option<Print>,
}

/// Renders one reply.
pub type Print = fn(&dyn Reply, Look, &mut Streams<'_>) -> io::Result<()>;

/// Every format etcdctl has.
const FORMATS: &[Format] = &[
    Format { name: "simple", print: Some(simple::print) },
    Format { name: "json", print: Some(json::print) },
    Format { name: "fields", print: None },
    Format { name: "protobuf", print: None },
    Format { name: "table", print: None },
];

/// The format of that name.
///
/// # Errors
/// It is unknown, or not built yet.
pub fn format(name: &str) -> Result<(&'static str, Print), Failure> {
    let format = FORMATS
        .iter()
        .find(|format| format.name == name)
        .ok_or_else(|| Failure::new(Exit::BadFeature, "unsupported output format"))?;
    let print = format
        .print
        .ok_or_else(|| Failure::new(Exit::InvalidInput, format!("output format {name} is not built yet")))?;
    Ok((format.name, print))
}

#[cfg(test)]
mod tests;
