//! Giving sealed segments their outlines, beside the store.
//!
//! Invariants: an outline is durable, with its name, before a position says that there is one; a segment that has one never
//! grows. All of it is optional: a segment without an outline is read whole at a start. One job at a time; what it reads it
//! verifies. A job of a store that is replaced ends as any other, and its file goes the way of its segment's.

use std::sync::Arc;

use super::history_write::{HISTORY_DIR, outline_name};
use super::outline::{OutlineMark, OutlineWriter};
use super::segment::{Outlining, Segment, Window, each_record};
use super::store::Store;
use crate::base::{Corruption, Wrong, limits};
use crate::env::{Disk, OpenMode, PiecewiseFile};

/// An outline is worth it where it is at most one in so many of its segment's bytes: else reading it spares little.
const WORTH_PART: u64 = 2;

/// A segment to be outlined. Holds all it needs, so it may run beside the store.
pub struct OutlineJob<D: Disk> {
    segment: Arc<Segment<D>>,
}

/// A segment that was outlined, or will not be; to be handed to [`Store::outlined`].
pub struct Outlined<D: Disk> {
    segment: Arc<Segment<D>>,
    outlining: Outlining,
}

impl<D: Disk> Store<D> {
    /// A segment worth an outline. The job runs before another is asked for. Costs nothing while there is none.
    pub fn outline_candidate(&mut self) -> Option<OutlineJob<D>> {
        self.history.lacks_outline().map(|segment| OutlineJob { segment })
    }

    /// Takes the outcome of a job. Whether there is an outline now that no position names yet; and files that are of no use
    /// any more, because their segment went meanwhile.
    pub fn outlined(&mut self, done: Outlined<D>) -> (bool, Vec<String>) {
        let Outlined { segment, outlining } = done;
        segment.outlined(outlining);
        let is_made = segment.outline().is_some();
        if self.history.table().segments().iter().any(|here| Arc::ptr_eq(here, &segment)) {
            self.history.outlined(&segment);
            return (is_made, Vec::new());
        }
        let waits = self.replaced.iter().any(|replaced| Arc::ptr_eq(replaced, &segment));
        let goes = is_made && !waits;
        (false, if goes { vec![outline_name(segment.number())] } else { Vec::new() })
    }

    /// Outlines that the position named and that could not be used at the start: their segments were read whole.
    pub fn unusable_outlines(&self) -> &[Corruption] {
        &self.unusable_outlines
    }

    /// Damage that somebody met in what can still be read, since the start.
    pub fn damage(&self) -> Option<Corruption> {
        self.history.table().segments().iter().find_map(|segment| segment.damage())
    }

    /// Whether some of it may pass: what the device could not read it may be able to read later.
    pub fn damage_may_pass(&self) -> bool {
        self.history.table().segments().iter().any(|segment| segment.damage_may_pass())
    }

    /// Reads once more what the device could not; whether some of it can be read now, which is no damage then.
    pub fn look_at_damage_again(&self) -> bool {
        self.history.table().segments().iter().filter(|segment| segment.look_again()).count() > 0
    }
}

impl<D: Disk> OutlineJob<D> {
    /// The outline's file: what is left of it where the job could not be done is of no use.
    pub fn file(&self) -> String {
        outline_name(self.segment.number())
    }

    /// The outcome where the outline cannot be made.
    pub fn without(self) -> Outlined<D> {
        Outlined { segment: self.segment, outlining: Outlining::Without }
    }

    /// Reads the segment, writes its outline and makes that durable.
    pub async fn run(&self, disk: &D) -> Result<Outlined<D>, Wrong> {
        let segment = self.segment.clone();
        let Some(bytes) = outline_of(&segment)? else {
            return Ok(Outlined { segment, outlining: Outlining::Without });
        };
        let name = self.file();
        if disk.exists(&name)? {
            // Of an earlier life, or damaged: then it is made anew, and is the same.
            disk.remove(&name)?;
        }
        let mut file = PiecewiseFile::new(disk.open(&name, OpenMode::Create)?);
        file.append(&bytes).await?;
        file.finish().await?;
        disk.sync_dir(HISTORY_DIR).await?;
        Ok(Outlined { segment, outlining: Outlining::Made(OutlineMark::of(&bytes)) })
    }
}

/// The outline of a segment, all of which is read; nothing where it is not worth it.
fn outline_of<D: Disk>(segment: &Segment<D>) -> Result<Option<bytes::Bytes>, Wrong> {
    let (number, len) = (segment.number(), segment.len());
    let most = limits::MAX_OUTLINE_BYTES.min(len / WORTH_PART);
    let outline = segment.asked_twice((0, usize::try_from(len).unwrap_or(usize::MAX)), || {
        let mut outline = OutlineWriter::new(number);
        each_record(segment.file()?, (number, len), &mut Window::default(), |at, record, _| {
            if outline.len() as u64 <= most {
                outline.add(at, record);
            }
            Ok(())
        })?;
        Ok(outline)
    });
    let outline = outline.map_err(|wrong| segment.note_damage(wrong))?;
    Ok((outline.len() as u64 <= most).then(|| outline.finish(len)))
}
