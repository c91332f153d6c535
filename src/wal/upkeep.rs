//! The journal's work off the hot path: making the next segment ready and letting old ones go.
//!
//! Invariants: a segment is dropped from the log in both slots of the durable mark before its file is touched; only segments
//! behind which a durable batch stands are dropped, because that batch repeats the hard state; a ready segment's
//! header and name are durable before it takes a batch.

use super::journal::{Failure, Filling, Journal, ReadySegment, unless_full};
use super::mark::Mark;
use crate::base::limits::{WAL_FILL_WRITE_BYTES, WAL_GIVES_BESIDE_BYTES, WAL_MAX_SPARES, WAL_PREPARE_BYTES};
use crate::base::{Fault, LogIndex, Wrong};
use crate::env::{Disk, DiskFile, OpenMode};
use crate::log::segment;

/// Ends the name of a used file that is kept for use again; its content is of no worth.
pub(super) const SPARE_SUFFIX: &str = ".spare";

/// Ends the name of a file that is being pre-written.
pub(super) const FILL_SUFFIX: &str = ".fill";

impl<D: Disk> Journal<D> {
    /// Says that entries up to `up_to` are covered by a durable checkpoint. Segments wholly at or below that are
    /// recycled by the next [`Self::prepare`], or by the sync after the next change of segment.
    pub fn release(&mut self, up_to: LogIndex) -> Result<(), Wrong> {
        self.check_alive()?;
        self.release_up_to = self.release_up_to.max(up_to);
        Ok(())
    }

    /// Does a few milliseconds of work ahead: recycles what was released, pre-writes the next segment. Returns
    /// whether there is more to do. To be called when there is nothing to append; all of it is optional: without
    /// it a segment is begun when it is needed, and grows as it is written. Where the disk has no room for it, it is put off
    /// until [`Self::look_for_room`]: see [`Self::lacks_room`]. To be awaited to its end: dropped
    /// half-way it leaves files in between two states, and the journal refuses to go on.
    pub async fn prepare(&mut self) -> Result<bool, Wrong> {
        self.check_alive()?;
        self.failure = Some(Failure::abandoned(&self.dir));
        let answer = match self.prepare_slice().await {
            Err(fault) if fault.is_no_space() => self.put_off().map(|()| false),
            answer => answer,
        };
        self.failure = None;
        self.lacks_room &= self.ready.is_none();
        self.watch_over(answer)
    }

    /// Whether there was no room on the disk for the next segment: what is left of the present one is all there is, until
    /// a segment is released.
    pub fn lacks_room(&self) -> bool {
        self.lacks_room
    }

    /// There may be room again: the next [`Self::prepare`] tries.
    pub fn look_for_room(&mut self) {
        self.is_put_off = false;
    }

    /// Others need room: gives the space back of all that is not in use, and takes none ahead until [`Self::look_for_room`]. The next
    /// segment, or a used file for it, stays where the present one has hardly any room left: without it not even what makes
    /// room could be written down.
    pub fn give_room(&mut self) -> Result<(), Wrong> {
        self.check_alive()?;
        let answer = self.give();
        self.watch_over(answer)
    }

    fn give(&mut self) -> Result<(), Fault> {
        self.is_put_off = true;
        self.drop_filling()?;
        let is_near_end = self.segment_bytes.saturating_sub(self.active.offset) < WAL_GIVES_BESIDE_BYTES;
        if !is_near_end && let Some(ready) = self.ready.take() {
            self.disk.remove(&segment::path(&self.dir, ready.segment))?;
        }
        let kept = usize::from(is_near_end && self.ready.is_none()).min(self.spares.len());
        self.spares.split_off(kept).iter().try_for_each(|spare| self.disk.remove(spare))
    }

    /// No room: what was begun goes, and makes some for others.
    fn put_off(&mut self) -> Result<(), Fault> {
        (self.lacks_room, self.is_put_off) = (true, true);
        self.drop_filling()
    }

    /// What was being pre-written is not wanted, or finds no room.
    fn drop_filling(&mut self) -> Result<(), Fault> {
        self.filling = None;
        let fill = self.fill_path();
        if self.disk.exists(&fill)? { self.disk.remove(&fill) } else { Ok(()) }
    }

    /// Lets the durable mark name every durable batch, with a sync of its own: before an orderly end of the
    /// process, so that not even the last batch can vanish unnoticed.
    pub async fn close(&mut self) -> Result<(), Wrong> {
        self.sync().await?;
        if self.mark.synced_durable() < self.position.durable {
            let answer = unless_full(self.set_mark().await);
            self.watch_over(answer)?;
        }
        Ok(())
    }

    async fn prepare_slice(&mut self) -> Result<bool, Fault> {
        if self.releasable() > 0 {
            self.release_segments().await?;
            return Ok(self.ready.is_none());
        }
        if self.ready.is_some() {
            return Ok(false);
        }
        if let Some(name) = self.spares.pop() {
            // It takes the place of what was begun, which nobody would end before the segment after the next.
            self.drop_filling()?;
            let file = self.disk.open(&name, OpenMode::Write)?;
            self.make_ready(&name, file, false).await?;
            return Ok(false);
        }
        if self.is_put_off {
            return Ok(false);
        }
        let mut filling = match self.filling.take() {
            Some(filling) => filling,
            None => self.begin_filling()?,
        };
        let left = self.segment_bytes.saturating_sub(filling.done);
        let slice = left.min(WAL_PREPARE_BYTES as u64);
        // In small pieces: systems keep what was written at once as one piece in memory, and would look through all of it
        // at every later write and sync of a sector in it.
        let zeroes = vec![0; WAL_FILL_WRITE_BYTES];
        let end = filling.done + slice;
        while filling.done < end {
            let piece = (end - filling.done).min(WAL_FILL_WRITE_BYTES as u64);
            filling.file.write_at(filling.done, &zeroes[..piece as usize])?;
            filling.done += piece;
        }
        // Synced slice by slice, so that no later sync of the log waits for all of it at once.
        filling.file.sync().await?;
        if filling.done < self.segment_bytes {
            self.filling = Some(filling);
            return Ok(true);
        }
        self.make_ready(&filling.name, filling.file, true).await?;
        Ok(false)
    }

    fn begin_filling(&self) -> Result<Filling<D::File>, Fault> {
        let name = self.fill_path();
        let file = self.disk.open(&name, OpenMode::Create)?;
        Ok(Filling { name, file, done: 0 })
    }

    fn fill_path(&self) -> String {
        format!("{}/next{FILL_SUFFIX}", self.dir)
    }

    async fn make_ready(&mut self, name: &str, file: D::File, zeroed: bool) -> Result<(), Fault> {
        let segment = self.active.about.segment + 1;
        file.write_at(0, &self.header(segment, zeroed))?;
        file.sync().await?;
        self.disk.rename(name, &segment::path(&self.dir, segment))?;
        self.disk.sync_dir(&self.dir).await?;
        self.ready = Some(ReadySegment { segment, file });
        Ok(())
    }

    /// How many of the oldest segments nobody needs.
    pub(super) fn releasable(&self) -> usize {
        let covered = self.closed.iter().take_while(|closed| closed.max_index <= self.release_up_to).count();
        // The segment that becomes the oldest must hold a durable batch.
        let firsts = self.closed.iter().skip(1).map(|closed| closed.first_batch);
        let followed = firsts.chain([self.active.about.first_batch]);
        followed.take(covered).take_while(|first_batch| *first_batch <= self.position.durable).count()
    }

    pub(super) async fn release_segments(&mut self) -> Result<(), Fault> {
        let count = self.releasable();
        if count == 0 {
            return Ok(());
        }
        let oldest = self.closed.get(count).unwrap_or(&self.active.about);
        let durable = self.position.durable;
        let mark = Mark { durable, oldest: oldest.segment, oldest_batch: oldest.first_batch, ..self.mark.mark() };
        self.mark.set_in_turn(mark).await?;
        self.bytes_at_mark = self.bytes_written;
        for _ in 0..count {
            let segment = self.closed.front().expect("counted above").segment;
            self.recycle(segment)?;
            self.closed.pop_front();
        }
        self.disk.sync_dir(&self.dir).await
    }

    fn recycle(&mut self, segment: u64) -> Result<(), Fault> {
        let path = segment::path(&self.dir, segment);
        if self.spares.len() >= WAL_MAX_SPARES {
            return self.disk.remove(&path);
        }
        let spare = spare_path(&self.dir, segment);
        self.disk.rename(&path, &spare)?;
        self.spares.push(spare);
        Ok(())
    }
}

fn spare_path(dir: &str, segment: u64) -> String {
    format!("{dir}/{segment:016x}{SPARE_SUFFIX}")
}
