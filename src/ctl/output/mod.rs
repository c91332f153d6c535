//! What a command shows, and in which format.
//!
//! A command describes its result once, as a [`Reply`]: the plain lines, the tree of named values, and
//! where etcdctl has them the fields and the table.
//! A format renders one of those views and is one line in [`FORMATS`]; what it takes to render one is a file here.

mod done;
mod fields;
mod json;
mod kv;
mod table;
mod tree;

use std::io::{self, Write};

pub use done::Done;
pub use fields::Fields;
pub use kv::{header, header_fields, key_value, key_values, kv_lines};
pub use table::Table;
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

    /// The lines of format `fields`; `None` for a reply that etcdctl does not show so.
    fn fields(&self, _look: Look) -> Option<Fields> {
        None
    }

    /// The bytes of format `protobuf`; `None` for a reply that etcdctl does not show so.
    fn protobuf(&self) -> Option<Vec<u8>> {
        None
    }

    /// The rows of format `table`; `None` for a reply that etcdctl does not show so.
    fn table(&self) -> Option<Table> {
        None
    }
}

/// An output format.
pub struct Format {
    /// The word after `--write-out`.
    pub name: &'static str,
    /// Renders one reply.
    pub print: Print,
}

/// Renders one reply.
pub type Print = fn(&dyn Reply, Look, &mut Streams<'_>) -> Result<(), Failure>;

/// Every format etcdctl has.
const FORMATS: &[Format] = &[
    Format { name: "simple", print: print_simple },
    Format { name: "json", print: print_json },
    Format { name: "fields", print: print_fields },
    Format { name: "protobuf", print: print_protobuf },
    Format { name: "table", print: print_table },
];

fn print_simple(reply: &dyn Reply, look: Look, to: &mut Streams<'_>) -> Result<(), Failure> {
    Ok(reply.simple(look, to)?)
}

fn print_json(reply: &dyn Reply, look: Look, to: &mut Streams<'_>) -> Result<(), Failure> {
    Ok(json::write_line(&reply.tree(look), to.out)?)
}

fn print_fields(reply: &dyn Reply, look: Look, to: &mut Streams<'_>) -> Result<(), Failure> {
    Ok(reply.fields(look).ok_or_else(|| not_shown_so("fields"))?.write(to.out)?)
}

/// The bytes alone, without a line end, as etcdctl has it.
fn print_protobuf(reply: &dyn Reply, _look: Look, to: &mut Streams<'_>) -> Result<(), Failure> {
    Ok(to.out.write_all(&reply.protobuf().ok_or_else(|| not_shown_so("protobuf"))?)?)
}

fn print_table(reply: &dyn Reply, _look: Look, to: &mut Streams<'_>) -> Result<(), Failure> {
    Ok(reply.table().ok_or_else(|| not_shown_so("table"))?.framed(to.out)?)
}

/// The request was done; only its reply cannot be shown. etcdctl says so no earlier.
fn not_shown_so(format: &str) -> Failure {
    Failure::new(Exit::BadFeature, format!("{format} not supported as output format"))
}

/// What the formats are called.
pub fn format_names() -> Vec<&'static str> {
    FORMATS.iter().map(|format| format.name).collect()
}

/// The format of that name.
///
/// # Errors
/// It is unknown.
pub fn format(name: &str) -> Result<(&'static str, Print), Failure> {
    let format = FORMATS
        .iter()
        .find(|format| format.name == name)
        .ok_or_else(|| Failure::new(Exit::BadFeature, "unsupported output format"))?;
    Ok((format.name, format.print))
}

#[cfg(test)]
mod tests;
