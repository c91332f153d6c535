//! The records of a database that is read, in order.

use bytes::Bytes;

use super::buckets as names;
use super::entry::read_entry;
use crate::base::Wrong;
use crate::bbolt::{Database, Seen, Source, Walk};
use crate::mvcc::Record;

/// A walk over the bucket of the keys.
pub struct Records<'a, S> {
    walk: Walk<'a, S>,
}

impl<'a, S: Source> Records<'a, S> {
    /// Those of `database`; none of its pages may be in `seen`.
    pub fn of(database: &'a Database<S>, seen: &'a mut Seen) -> Self {
        Self { walk: database.walk(names::KEY, seen) }
    }

    /// The next record with its entry's key and value; `None` at the end.
    pub fn next_record(&mut self) -> Result<Option<(Record, Bytes, Bytes)>, Wrong> {
        let Some((key, value)) = self.walk.next_entry()? else { return Ok(None) };
        let record = read_entry(&key, value.clone()).map_err(|what| self.damaged(what))?;
        Ok(Some((record, key, value)))
    }

    /// What is wrong with the record that came last, told with its place.
    pub fn damaged(&self, what: impl std::fmt::Display) -> Wrong {
        self.walk.damaged(format!("bucket key: {what}"))
    }
}
