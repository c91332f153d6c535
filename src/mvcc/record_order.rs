//! Which record may come next in a history that is built of a snapshot, or of another's database.
//!
//! Invariant: records ascend; from a revision on none is missing. Does not know where they come from, nor where they go.

use super::record::RecordSlice;
use super::snapshot::{self, SnapshotHeader};
use crate::base::Revision;

/// The record that came last, and whether its transaction ended with it.
pub(super) type Last = Option<(Revision, bool)>;

/// What records may come.
pub(super) struct Bounds {
    /// From this revision on all are there; before, what is left of older ones.
    pub(super) complete_from: i64,
    /// None is newer.
    pub(super) newest: i64,
    /// What is left of older ones may hold what nobody can read any more.
    pub(super) may_hold_dead: bool,
}

impl Bounds {
    /// Of what a member sends.
    pub(super) fn of_snapshot(header: &SnapshotHeader) -> Self {
        Self { complete_from: header.compact_revision.max(2), newest: header.revision, may_hold_dead: false }
    }
}

/// Holds the records of a chunk to what may come after `last`; says what comes last in it and how many there are.
pub(super) fn check(body: &[u8], bounds: &Bounds, last: Last) -> Result<(Last, u64), String> {
    let (mut last, mut records) = (last, 0);
    snapshot::each_record(body, |record, _| {
        check_one(record, bounds, last)?;
        last = Some((record.meta.revision, record.last));
        records += 1;
        Ok(())
    })?;
    Ok((last, records))
}

/// As [`check`], of one record.
pub(super) fn check_one(record: &RecordSlice<'_>, bounds: &Bounds, last: Last) -> Result<(), String> {
    let (revision, complete_from) = (record.meta.revision, bounds.complete_from);
    let follows = if revision.main < complete_from {
        revision.main > 1
            && (bounds.may_hold_dead || !record.meta.is_tombstone())
            && last.is_none_or(|(last, _)| last < revision)
    } else {
        match last.filter(|(last, _)| last.main >= complete_from) {
            Some((last, true)) => revision == Revision::new(last.main + 1, 0),
            Some((last, false)) => revision == Revision::new(last.main, last.sub + 1),
            None => revision == Revision::new(complete_from, 0),
        }
    };
    // The one behind it has a revision, too.
    if !follows || revision.main > bounds.newest || revision.sub == u32::MAX {
        return Err(format!("revision {revision} is not what comes next"));
    }
    Ok(())
}
