//! The records of one view that can still be read, in order of revision.
//!
//! Invariants: what comes is what a reader of the view could ask for at any revision that was not compacted at
//! `compacted`, no more and no less. A window of the history is in memory. Nobody waits for it: it reads through the view's own
//! segments, whose files stay readable until it is dropped.

use super::history::{SCAN_WINDOW, Scan};
use super::record::Record;
use super::view::View;
use crate::base::{Revision, Wrong};
use crate::env::Disk;

/// A walk over what can be read; see the module's head. It reads, so it belongs on a task that may wait for the disk.
pub struct Retained<D: Disk> {
    view: View<D>,
    compacted: i64,
    from: Revision,
    scan: Option<Scan<D>>,
}

impl<D: Disk> Retained<D> {
    /// From revision `from` on. `compacted` is the compact revision when the view was taken; the view's own goes on rising.
    pub(super) fn new(view: View<D>, compacted: i64, from: Revision) -> Self {
        Self { view, compacted, from, scan: None }
    }

    /// The same from its beginning on.
    pub fn again(&self) -> Self {
        Self::new(self.view.clone(), self.compacted, self.from)
    }

    /// Main revision of the newest change.
    pub fn revision(&self) -> i64 {
        self.view.revision()
    }

    /// The compact revision; −1 is never.
    pub fn compact_revision(&self) -> i64 {
        self.compacted
    }

    /// The next record; `None` at the end.
    pub fn next_record(&mut self) -> Result<Option<Record>, Wrong> {
        let scan =
            self.scan.get_or_insert_with(|| self.view.table.scan(self.from.main, self.view.revision(), SCAN_WINDOW));
        while let Some(record) = scan.next()? {
            let revision = record.meta.revision;
            let readable = || {
                let node = self.view.index.get(&record.key);
                node.and_then(|node| node.visible_at(self.compacted)) == Some(revision)
            };
            if revision >= self.from && (revision.main >= self.compacted || readable()) {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }
}
