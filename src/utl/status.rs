//! `snapshot status`.

use std::path::Path;

use super::arguments::Given;
use super::beside::Stop;
use super::failure::{Exit, Failure};
use super::output::{Cell, Format, Row};
use super::source::{FileSource, check_there};
use crate::backend;
use crate::base::human_bytes;
use crate::bbolt::Database;
use crate::progress::{Progress, Unit};

/// Reads all of a snapshot and tells of it.
pub fn status(given: &Given) -> Result<(), Failure> {
    let [path] = &given.arguments[..] else {
        return Err(Failure::new(Exit::BadArguments, "snapshot status requires exactly one argument"));
    };
    check_there(Path::new(path))?;
    let format = Format::of(given)?;
    let source = FileSource::open(Path::new(path), given.time("timeout"), &Stop::default())?;
    let name = source.name().to_string();
    let database = Database::open(source, &name)?;
    let mut progress = Progress::new(Unit::Bytes, database.bytes());
    let told = backend::status(&database, &name, &mut |bytes| progress.add(bytes))?;
    drop(progress);
    let cell = |column, field, json, shown, value| Cell { column, field, json, shown, value };
    format.print(&Row {
        cells: vec![
            cell("hash", "Hash", "hash", format!("{:x}", told.hash), told.hash.into()),
            cell("revision", "Revision", "revision", told.revision.to_string(), told.revision.into()),
            cell("total keys", "Keys", "totalKey", told.keys.to_string(), told.keys.into()),
            cell("total size", "Size", "totalSize", human_bytes(told.bytes), told.bytes.into()),
            cell("version", "Version", "version", told.version.clone(), told.version.into()),
        ],
    })
}
