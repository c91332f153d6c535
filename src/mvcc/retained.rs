//! The records of one view that can still be read, in order of revision.
//!
//! Invariants: what comes is what a reader of the view could ask for at any revision that was not compacted at
//! `compacted`, no more and no less. A window of the history is in memory. Nobody waits for it: it reads through the view's own
//! segments, whose files stay readable until it is dropped.

use super::history::{SCAN_WINDOW, Scan};
use super::history_write::outline_name;
use super::outline;
use super::outline_file::read_outline;
use super::record::{Record, RecordSlice};
use super::segment::SegmentScan;
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
        Ok(self.step()?.then(|| self.scan.as_ref().expect("it was just made").record()))
    }

    /// Goes to the next record, which [`Self::current`] then shows where it lies; false at the end.
    pub fn step(&mut self) -> Result<bool, Wrong> {
        let Self { view, compacted, from, scan } = self;
        let scan = scan.get_or_insert_with(|| view.table.scan(from.main, view.revision(), SCAN_WINDOW));
        while scan.step()? {
            if is_retained(view, *compacted, *from, &scan.current()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The record that was stepped to.
    pub fn current(&self) -> RecordSlice<'_> {
        self.scan.as_ref().expect("a record was stepped to").current()
    }

    /// Shows each record there is from the beginning on to `on_record`, with the length of its value: the value itself is
    /// not read where an outline tells of the record, and empty then. False where `on_record` wanted no more.
    pub fn sketch(&self, on_record: &mut dyn FnMut(&RecordSlice<'_>, usize) -> bool) -> Result<bool, Wrong> {
        let (view, revision, mut outline) = (&self.view, self.view.revision(), Vec::new());
        let mut wants_more = true;
        let mut show = |record: &RecordSlice<'_>, value_len: usize| {
            let is_in = record.meta.revision.main <= revision;
            if is_in && is_retained(view, self.compacted, self.from, record) {
                wants_more = on_record(record, value_len);
            }
            wants_more
        };
        for segment in view.table.segments() {
            let mark = segment.mark();
            if mark.first > revision {
                break;
            }
            let outlined = read_outline(segment.disk(), &mark, &mut outline)?;
            if let Some(Ok(bytes)) = outlined {
                let shown = outline::each_record(bytes, (mark.number, mark.len), |_, record, value_len| {
                    if show(record, value_len) { Ok(()) } else { Err(ENOUGH) }
                });
                match shown {
                    Ok(()) => continue,
                    Err(ENOUGH) => return Ok(false),
                    Err(what) => return Err(Wrong::corrupt(outline_name(mark.number), 0, what)),
                }
            }
            let mut scan = SegmentScan::new(segment.clone(), self.from.main, SCAN_WINDOW);
            while scan.step()?.is_some() {
                let record = scan.current();
                if !show(&record, record.value.len()) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

const ENOUGH: &str = "no more is wanted";

/// Whether a reader of the view could ask for a record of it.
fn is_retained<D: Disk>(view: &View<D>, compacted: i64, from: Revision, record: &RecordSlice<'_>) -> bool {
    let revision = record.meta.revision;
    let readable = || view.index.get(record.key).and_then(|node| node.visible_at(compacted)) == Some(revision);
    revision >= from && (revision.main >= compacted || readable())
}
