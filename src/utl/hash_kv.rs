//! `hashkv`: etcd's digest of the data in a file.

use std::path::Path;

use super::arguments::Given;
use super::beside::Stop;
use super::failure::Failure;
use super::output::{Cell, Format, Row};
use super::source::FileSource;
use crate::backend;
use crate::bbolt::Database;

/// Reads a file twice and tells its digest. Unlike etcdutl, it does not write to it.
pub fn hash_kv(given: &Given) -> Result<(), Failure> {
    let format = Format::of(given)?;
    let source = FileSource::open(Path::new(&given.arguments[0]), given.time("timeout"), &Stop::default())?;
    let name = source.name().to_string();
    let database = Database::open(source, &name)?;
    let told = backend::hash_kv(&database, &name, given.number("rev"))?;
    let cell = |column, field, json, number: i64| Cell {
        column,
        field,
        json,
        shown: number.to_string(),
        value: number.into(),
    };
    format.print(&Row {
        cells: vec![
            cell("hash", "Hash", "hash", i64::from(told.hash)),
            cell("hash revision", "Hash revision", "hashRevision", told.hash_revision),
            cell("compact revision", "Compact revision", "compactRevision", told.compact_revision),
        ],
    })
}
