//! Reads of a write transaction that are carried out by whoever wants their answers.
//!
//! Invariants: the answer is what the read would have answered in its place in the transaction, own changes up to there
//! included, whenever it is carried out and whatever was written, compacted or reclaimed since; putting a read off costs a
//! few shared pointers. So one who applies a transaction for nobody reads nothing, and who waits pays on a thread
//! of their own.

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::history::Table;
use super::key_index::KeyIndex;
use super::query::{RangeAnswer, RangeQuery, Weight};
use super::range_read::{ReadFailure, Reading};
use super::value_cache::ValueCache;
use crate::env::Disk;

/// The history with the transaction's own records, once it is committed.
pub(super) type CommittedTable<D> = Arc<OnceLock<Arc<Table<D>>>>;

/// A read that was put off; see the module's head.
#[derive(Clone)]
pub struct LaterRange(Arc<dyn Later>);

trait Later: Send + Sync {
    fn read(&self, room: &mut usize) -> Result<RangeAnswer, ReadFailure>;
    fn weight(&self) -> Weight;
}

/// All that a read looks at.
pub(super) struct PutOff<D: Disk> {
    pub(super) query: RangeQuery,
    pub(super) index: KeyIndex,
    pub(super) cache: Arc<ValueCache>,
    pub(super) table: CommittedTable<D>,
    pub(super) watermark: i64,
    pub(super) current: i64,
}

impl<D: Disk> Later for PutOff<D> {
    fn read(&self, room: &mut usize) -> Result<RangeAnswer, ReadFailure> {
        self.reading().range(&self.query, room)
    }

    fn weight(&self) -> Weight {
        self.reading().weight(&self.query)
    }
}

impl<D: Disk> PutOff<D> {
    fn reading(&self) -> Reading<'_, D> {
        Reading {
            index: &self.index,
            table: self.table.get().expect("a read is carried out after its transaction is committed"),
            cache: &self.cache,
            watermark: self.watermark,
            current: self.current,
            own: &[],
            own_from: 0,
        }
    }
}

impl LaterRange {
    pub(super) fn new<D: Disk>(put_off: PutOff<D>) -> Self {
        Self(Arc::new(put_off))
    }

    /// Carries the read out. `room` is what the answer's rows may take in memory, and what is left of it afterwards.
    pub fn read(&self, room: &mut usize) -> Result<RangeAnswer, ReadFailure> {
        self.0.read(room)
    }

    /// What it may take. To be asked after the transaction is committed, as all of it.
    pub fn weight(&self) -> Weight {
        self.0.weight()
    }
}

impl fmt::Debug for LaterRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a read that was put off")
    }
}

impl PartialEq for LaterRange {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for LaterRange {}
