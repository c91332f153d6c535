//! Reclaim: giving back the space of what was compacted, by writing what is alive of some segments into one.
//!
//! Invariants: only records below the watermark that no read can see are left behind, so every answer stays the
//! same, and a tombstone is left behind only when no older put of its key can lie in any file; the index is not touched, because it knows no places. The new file is durable before the table names
//! it; an old file goes only after a checkpoint that no longer names it is durable, and stays readable for
//! views that still hold it. One job at a time: what it works on must still be there when it is done. A job of a store
//! that is replaced is given up; it reads through files that stay open, also when their names are gone.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::BytesMut;

use super::history::SCAN_WINDOW;
use super::history_write::{HISTORY_DIR, file_name, outline_name};
use super::key_index::KeyIndex;
use super::position::StorePosition;
use super::record::{KIND_RECORD, Record};
use super::segment::{Dead, Segment, SegmentScan};
use super::store::Store;
use crate::base::Wrong;
use crate::env::{Disk, OpenMode, PiecewiseFile};
use crate::log::frame;
use crate::log::{LOG_HISTORY, Place};

/// Bytes of the new file written at once.
const WRITE_BYTES: usize = 1024 * 1024;

/// A segment below this part of its full size is small: neighbours that are small become one.
const SMALL_PART: u64 = 4;

/// A segment is rewritten when more than this part of it is dead: each byte given back costs at most one rewritten.
const DEAD_PART: u64 = 2;

/// The same where a client asked for space, who would rather wait: at most fifteen bytes are rewritten for one.
const ASKED_DEAD_PART: u64 = 16;

/// Bytes a rewritten segment can have at most, because its table says where each record starts in 32 bits. What is
/// longer, by one huge transaction, stays as it is.
const LONGEST: u64 = u32::MAX as u64;

/// Segments to be rewritten as one. Holds all it needs, so it may run beside the store.
pub struct ReclaimJob<D: Disk> {
    segments: Vec<Arc<Segment<D>>>,
    dead: Dead,
    drop_tombstones: bool,
    index: KeyIndex,
    watermark: i64,
    number: u64,
    given_up: Arc<AtomicBool>,
}

/// A reclaim that ran; to be handed to [`Store::reclaimed`].
pub struct Reclaimed<D: Disk> {
    old: Vec<Arc<Segment<D>>>,
    dead: Dead,
    outcome: Outcome<D>,
}

/// What came of rewriting.
enum Outcome<D: Disk> {
    /// What is alive of them, where anything is.
    Rewritten(Option<Arc<Segment<D>>>),
    /// It was given up, and left no file.
    GivenUp,
}

impl<D: Disk> Store<D> {
    /// Sealed segments worth rewriting as one. The job runs before another is asked for. Costs nothing while
    /// nothing changed since the last time there were none.
    ///
    /// A segment is worth it when half of it is dead, or, where space was asked for (`thorough`), a small part.
    pub fn reclaim_candidate(&mut self, thorough: bool) -> Option<ReclaimJob<D>> {
        // While pruning, what is dead is not counted yet.
        if self.is_pruning() || !self.history.is_stirred() {
            return None;
        }
        let part = if thorough { ASKED_DEAD_PART } else { DEAD_PART };
        let Some((segments, drop_tombstones)) = self.worth_reclaiming(part) else {
            self.history.settle();
            return None;
        };
        self.reclaim_given_up = Arc::default();
        Some(ReclaimJob {
            given_up: self.reclaim_given_up.clone(),
            dead: dead_of(&segments),
            segments,
            drop_tombstones,
            index: self.index.clone(),
            watermark: self.compact_revision(),
            number: self.history.fresh_number(),
        })
    }

    /// What to rewrite as one, and whether dead tombstones may go from it; looks at every segment.
    pub(super) fn worth_reclaiming(&self, dead_part: u64) -> Option<(Vec<Arc<Segment<D>>>, bool)> {
        let sealed = self.history.sealed();
        let sealed = &sealed[..sealed.iter().take_while(|segment| !segment.has_unwritten()).count()];
        let (run, drop_tombstones) = worst_run(sealed, self.history.segment_bytes(), dead_part)?;
        Some((sealed[run].to_vec(), drop_tombstones))
    }

    /// Makes what is dead in the segment that still grows reclaimable too, by beginning another one with the
    /// next change. For a client that asks for its space now; without anything dead there it does nothing, so
    /// asking again and again makes no small files.
    pub fn request_reclaim(&mut self) {
        assert!(self.shown.is_none(), "a segment is closed between transactions");
        if self.history.table().segments().last().is_some_and(|segment| segment.dead().bytes() > 0) {
            self.history.seal();
        }
        self.history.stir();
    }

    /// Whether there is nothing to reclaim, now that everything that is dead is counted.
    pub fn is_settled(&self) -> bool {
        !self.is_pruning() && !self.history.is_stirred()
    }

    /// Whether a segment that will not grow any more is not written out: only then it can be reclaimed.
    pub fn has_sealed_unwritten(&self) -> bool {
        self.history.sealed().iter().any(|segment| segment.has_unwritten())
    }

    /// Bytes of files that were replaced and are still there.
    pub fn replaced_bytes(&self) -> u64 {
        self.replaced.iter().map(|segment| segment.len() + segment.outline().map_or(0, |mark| mark.len)).sum()
    }

    /// The job that was begun could not be done: there is something to do again.
    pub fn reclaim_put_off(&mut self) {
        self.history.stir();
    }

    /// The job that is under way ends soon and without a result: this store is about to be replaced, and nobody is to wait
    /// for the disk because of it.
    pub fn give_up_reclaim(&mut self) {
        self.reclaim_given_up.store(true, Ordering::Relaxed);
    }

    /// Puts the rewritten segment in place of the old ones, whose files stay until [`Self::garbage`] names them.
    pub fn reclaimed(&mut self, done: Reclaimed<D>) {
        let Outcome::Rewritten(new) = done.outcome else { return };
        let numbers: Vec<u64> = done.old.iter().map(|segment| segment.number()).collect();
        if !self.history.holds(&numbers) {
            // It was begun in a store whose place this one took: what it wrote is of no use.
            self.replaced.extend(new);
            return;
        }
        if let Some(new) = &new {
            // What died in the old segments meanwhile is dead in the new one.
            new.bury_more(dead_of(&done.old).since(done.dead));
        }
        self.history.replace(&numbers, new);
        self.replaced.extend(done.old);
    }

    /// Makes this store, [loaded](Self::load) beside `old`, its successor: the old one's files go the way of
    /// replaced ones, by [`Self::garbage`], and stay readable for the views that are about. What the disk does not
    /// have of them is written no more.
    ///
    /// Digests of compactions stay those of `old` unless it was wrong: `believed`.
    pub fn take_place_of(&mut self, old: &Self, believed: bool) {
        if believed {
            self.digests = old.digests.clone();
        }
        self.replaced.extend(old.history.table().segments().iter().chain(&old.replaced).cloned());
        self.history.skip_generations(&old.history);
    }

    /// Files that may be removed, because neither the store nor one of `kept`, the checkpoints that are on the
    /// disk and a restart may take, names them. Each is named once.
    pub fn garbage(&mut self, kept: &[&StorePosition]) -> Vec<String> {
        let mut names = Vec::new();
        self.replaced.retain(|segment| {
            let needed = kept.iter().any(|position| position.names(segment.number()));
            // A view may still read it: through a handle opened before the name goes. If that fails, later; unless
            // it never came to a file.
            let is_open = segment.file().is_ok();
            let stays = needed || !is_open && !matches!(self.history.has_file(&file_name(segment.number())), Ok(false));
            if !stays && is_open {
                names.push(file_name(segment.number()));
            }
            let outline = outline_name(segment.number());
            if !stays && self.history.has_file(&outline).unwrap_or(false) {
                names.push(outline);
            }
            stays
        });
        names
    }
}

fn dead_of<D: Disk>(segments: &[Arc<Segment<D>>]) -> Dead {
    segments.iter().fold(Dead::default(), |sum, segment| sum.plus(segment.dead()))
}

/// The first neighbours that are dead by more than one in `dead_part`, or small, or dirty and in the way; and whether dead
/// tombstones may go from them.
///
/// A dead tombstone may go only when no dead put lies before it: at boot that put would come back to life. So a
/// segment that holds dead puts, though too few to be worth it, stands in the way of every tombstone behind it;
/// once more of those wait than it has live bytes, it is rewritten for their sake.
fn worst_run<D: Disk>(sealed: &[Arc<Segment<D>>], full: u64, dead_part: u64) -> Option<(Range<usize>, bool)> {
    let mut waiting: u64 = sealed.iter().map(|segment| segment.dead().tombstone_bytes).sum();
    let small = |segment: &Arc<Segment<D>>| segment.len() < full / SMALL_PART;
    let mut clean = true;
    for (at, segment) in sealed.iter().enumerate() {
        let (len, dead) = (segment.len(), segment.dead());
        let live = len.saturating_sub(dead.bytes());
        waiting -= dead.tombstone_bytes;
        let frees = dead.put_bytes + if clean { dead.tombstone_bytes } else { 0 };
        let poor = frees * dead_part > len;
        let in_the_way = dead.puts > 0 && waiting > live;
        let worth_it = poor || in_the_way || small(segment) && sealed.get(at + 1).is_some_and(small);
        if worth_it && len <= LONGEST {
            let (mut together, mut total) = (live, len);
            let more = sealed[at + 1..].iter().take_while(|next| {
                let bytes = next.dead().bytes();
                together += next.len().saturating_sub(bytes);
                total += next.len();
                (bytes * dead_part > next.len() || small(next)) && together <= full && total <= LONGEST
            });
            return Some((at..at + 1 + more.count(), clean));
        }
        clean &= dead.puts == 0;
    }
    None
}

impl<D: Disk> ReclaimJob<D> {
    /// Whether a read can still see the record, or boot needs it.
    fn is_kept(&self, record: &Record) -> bool {
        let revision = record.meta.revision;
        if revision.main >= self.watermark || record.meta.is_tombstone() && !self.drop_tombstones {
            return true;
        }
        self.index.get(&record.key).and_then(|node| node.visible_at(self.watermark)) == Some(revision)
    }

    /// The new file: what is left of it where the job could not be done is of no use.
    pub fn file(&self) -> String {
        file_name(self.number)
    }

    /// Writes the new file and makes it durable.
    pub async fn run(self, disk: &D) -> Result<Reclaimed<D>, Wrong> {
        let (first, last) = (&self.segments[0], &self.segments[self.segments.len() - 1]);
        let new = Arc::new(Segment::new(disk.clone(), self.number, first.first(), true));
        let (mut file, mut out) = (None, BytesMut::new());
        for segment in &self.segments {
            let mut scan = SegmentScan::new(segment.clone(), segment.first(), SCAN_WINDOW);
            while let Some((at, record, _)) = scan.next()? {
                if self.given_up.load(Ordering::Relaxed) {
                    return self.give_up(disk, file);
                }
                if !self.is_kept(&record) {
                    continue;
                }
                let written = file.as_ref().map_or(0, PiecewiseFile::len);
                let place = Place { log: LOG_HISTORY, segment: self.number, offset: written + out.len() as u64 };
                let begun = frame::begin(&mut out);
                record.encode(&mut out);
                let total = frame::seal(&mut out, begun, place, KIND_RECORD);
                let damaged = |what: &str| Wrong::corrupt(file_name(segment.number()), at, what);
                new.note(record.meta.revision, total).map_err(damaged)?;
                if record.meta.is_tombstone() && record.meta.revision.main < self.watermark {
                    new.bury(record.meta.mark());
                }
                if out.len() >= WRITE_BYTES {
                    self.write(disk, &mut file, &mut out).await?;
                }
            }
        }
        if !out.is_empty() {
            self.write(disk, &mut file, &mut out).await?;
        }
        let is_made = file.is_some();
        if let Some(file) = file {
            file.finish().await?;
            disk.sync_dir(HISTORY_DIR).await?;
        }
        new.close_at(last.last());
        let new = is_made.then_some(new);
        Ok(Reclaimed { old: self.segments, dead: self.dead, outcome: Outcome::Rewritten(new) })
    }

    fn give_up(self, disk: &D, file: Option<PiecewiseFile<D::File>>) -> Result<Reclaimed<D>, Wrong> {
        if file.is_some() {
            disk.remove(&file_name(self.number))?;
        }
        Ok(Reclaimed { old: self.segments, dead: self.dead, outcome: Outcome::GivenUp })
    }

    /// Writes what was gathered, to the file that is made with the first of it.
    async fn write(
        &self,
        disk: &D,
        file: &mut Option<PiecewiseFile<D::File>>,
        out: &mut BytesMut,
    ) -> Result<(), Wrong> {
        let file = match file {
            Some(file) => file,
            none => none.insert(PiecewiseFile::new(disk.open(&file_name(self.number), OpenMode::Create)?)),
        };
        file.append(out).await?;
        out.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Revision;
    use crate::env::MemoryDisk;

    /// A segment of one transaction, all of it dead.
    fn dead_segment(number: u64, len: u64) -> Arc<Segment<MemoryDisk>> {
        let main = number as i64 + 2;
        let segment = Segment::new(MemoryDisk::new(), number, main, false);
        segment.note(Revision::new(main, 0), len as usize).expect("the first");
        segment.bury_more(Dead { puts: 1, put_bytes: len, tombstone_bytes: 0 });
        Arc::new(segment)
    }

    #[test]
    fn what_a_table_cannot_say_is_left_out() {
        let (full, huge) = (1000, 5 << 30);
        let run = |lens: &[u64]| {
            let sealed: Vec<_> = (0..).zip(lens).map(|(number, len)| dead_segment(number, *len)).collect();
            worst_run(&sealed, full, DEAD_PART).map(|(run, _)| run)
        };
        assert_eq!(run(&[1000, 1000]), Some(0..2));
        assert_eq!(run(&[huge]), None);
        assert_eq!(run(&[huge, 1000]), Some(1..2));
        assert_eq!(run(&[1000, huge, 1000]), Some(0..1));
        assert_eq!(run(&[3 << 30, 2 << 30, 1000]), Some(0..1), "together they would be too long");
    }
}
