//! Builds a history from the records of a database of etcd.
//!
//! Invariants: records come in order of revision; from the one behind the compact revision on none may be missing, while of what is
//! older there may be any: etcd leaves of it what is alive, of the compact revision itself (from 3.6 on) what was deleted in it,
//! and more where it was stopped in the middle of a compaction. What is built is named by nobody until its position is in a checkpoint image that is durable.
//!
//! Does not know where records come from.

use bytes::BytesMut;

use super::position::StorePosition;
use super::record::Record;
use super::record_order::Bounds;
use super::snapshot;
use super::snapshot_builder::{BuildFailure, SnapshotBuilder};
use crate::base::{Revision, limits};
use crate::env::Disk;

/// A history being built; see the module's head.
pub struct Import<D: Disk> {
    builder: SnapshotBuilder<D>,
    bounds: Bounds,
    compacted: i64,
    /// Records to be written, each behind its length.
    body: BytesMut,
    /// The last one: whether its transaction ends with it, the next one says.
    pending: Option<Record>,
}

impl<D: Disk> Import<D> {
    /// Into an empty data directory, of a store compacted at `compacted`; −1 is never.
    pub fn new(disk: D, compacted: i64) -> Self {
        let builder = SnapshotBuilder::new(disk, 1, 1, limits::HISTORY_SEGMENT_BYTES);
        let bounds = Bounds { complete_from: (compacted + 1).max(2), newest: i64::MAX - 1, may_hold_dead: true };
        Self { builder, bounds, compacted, body: BytesMut::new(), pending: None }
    }

    /// Takes the next record. Whether its transaction ends with it is not believed.
    pub async fn put(&mut self, record: Record) -> Result<(), BuildFailure> {
        let next = record.meta.revision;
        let before = self.pending.replace(record);
        self.gather(before, Some(next));
        if self.body.len() >= limits::SNAPSHOT_CHUNK_BYTES {
            self.write().await?;
        }
        Ok(())
    }

    fn gather(&mut self, record: Option<Record>, next: Option<Revision>) {
        let Some(mut record) = record else { return };
        record.last = next.is_none_or(|next| next.main != record.meta.revision.main);
        snapshot::put_record(&mut self.body, &record);
    }

    async fn write(&mut self) -> Result<(), BuildFailure> {
        if self.body.is_empty() {
            return Ok(());
        }
        let body = self.body.split().freeze();
        self.builder.take_records(&body, &self.bounds).await
    }

    /// Makes the history durable; also says a fingerprint of the records, which all who import the same have in common. Where
    /// everything up to the compact revision was deleted, the store stands there.
    pub async fn finish(mut self) -> Result<(StorePosition, u64), BuildFailure> {
        let last = self.pending.take();
        self.gather(last, None);
        self.write().await?;
        let newest = self.builder.last_revision().map_or(1, |last| last.main).max(self.compacted);
        let position = self.builder.finish_at(newest, self.compacted).await?;
        Ok((position, self.builder.fingerprint()))
    }
}
