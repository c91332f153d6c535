//! Brings the history to the disk, on whatever task waits for the disk.
//!
//! Invariant: what [`HistoryWriter::sync`] returned from is durable, with its directory entries. After a
//! failure the writer is not used again: the process stops.
//!
//! Does not know the store: it carries out [`HistoryWrite`]s in the order they are given.

use std::collections::BTreeMap;

use super::history_write::{HISTORY_DIR, HistoryWrite, WriteMark, file_name};
use crate::base::Fault;
use crate::env::{Disk, DiskFile, OpenMode};

/// Writes and syncs history files.
pub struct HistoryWriter<D: Disk> {
    disk: D,
    /// Files written since the last sync, and the one that is written to.
    open: BTreeMap<u64, D::File>,
    made_files: bool,
    mark: Option<WriteMark>,
}

impl<D: Disk> HistoryWriter<D> {
    /// A writer on `disk`.
    pub fn new(disk: D) -> Self {
        Self { disk, open: BTreeMap::new(), made_files: false, mark: None }
    }

    /// Writes, without making durable. Returns what the store may let go of; `None` if nothing was handed in.
    pub fn write(&mut self, writes: &[HistoryWrite]) -> Result<Option<WriteMark>, Fault> {
        for write in writes {
            if !self.open.contains_key(&write.segment) {
                let mode = if write.offset == 0 { OpenMode::Create } else { OpenMode::Write };
                self.made_files |= mode == OpenMode::Create;
                self.open.insert(write.segment, self.disk.open(&file_name(write.segment), mode)?);
            }
            let file = self.open.get(&write.segment).expect("it was just opened");
            file.write_at(write.offset, &write.bytes)?;
            self.mark = Some(write.mark);
        }
        Ok(writes.last().map(|write| write.mark))
    }

    /// Makes everything written durable.
    pub async fn sync(&mut self) -> Result<(), Fault> {
        for file in self.open.values() {
            file.sync().await?;
        }
        // Only the file that still grows is kept open.
        let growing = self.mark.map_or(u64::MAX, |mark| mark.segment);
        self.open.retain(|number, _| *number == growing);
        if self.made_files {
            self.disk.sync_dir(HISTORY_DIR).await?;
            self.made_files = false;
        }
        Ok(())
    }
}
