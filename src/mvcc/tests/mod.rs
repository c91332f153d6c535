//! Tests of the store as a whole, against a naive twin.

#![allow(clippy::unwrap_used, reason = "a test ends where something fails")]

mod compaction_digests;
mod halves;
mod outlines;
mod restarts;
mod snapshot;
mod store;
mod twin;

use bytes::Bytes;

use super::WriteTxn;
use crate::base::{KeyRange, LeaseId};
use crate::env::MemoryDisk;

/// Deletes a range; which keys were there, and the lease of each.
fn delete(txn: &mut WriteTxn<'_, MemoryDisk>, range: &KeyRange) -> Vec<(Bytes, LeaseId)> {
    let mut deleted = Vec::new();
    let rest =
        txn.delete_some(range, (usize::MAX, usize::MAX), |key, lease| deleted.push((key.clone(), lease))).unwrap();
    assert!(rest.is_none(), "all of it");
    deleted
}
