//! Whether the log goes on where it stops to verify, or was damaged there; and where the damage is.
//!
//! Invariant: a batch that anything says was durable, and that is not there, is damage. Nothing is read or changed here; that
//! nothing of what is damaged is needed is for recovery to see.

use super::mark::Mark;
use super::replay::{Replay, Start};
use crate::base::limits::SECTOR_BYTES;
use crate::base::{Corruption, Fault, Wrong};
use crate::log::segment::{self, SegmentHeader};

/// A later segment, or the rest of the last one, and what was found there.
pub(super) struct Rest {
    pub segment: u64,
    /// Where what was searched starts.
    pub from: u64,
    /// End of what was written behind that, as far as it can be told; `from` if nothing was.
    pub reach: u64,
    /// Whether what stands right at `from` verifies.
    pub begins_whole: bool,
    pub header: Result<SegmentHeader, &'static str>,
    /// Whether the next batch may stand there and cannot be read.
    pub hides: bool,
    /// The first batch there before which nothing is needed.
    pub resumes: Option<Start>,
}

/// Refuses the log if anything says that the batch which is not there was durable, or it may be there and cannot be read.
/// Where anything could not be read that is told instead of damage: another start may find it readable.
pub(super) fn judge(
    dir: &str,
    segment_bytes: u64,
    mark: &Mark,
    (replay, rests): (&Replay, &[Rest]),
    fault: &mut Option<Fault>,
) -> Result<(), Wrong> {
    let last = replay.segments.last().map_or(mark.oldest, |seen| seen.about.segment);
    let is_hidden = rests.iter().any(|rest| rest.hides && rest.segment <= last + 1);
    if replay.vouched < replay.expected && !is_hidden {
        return Ok(());
    }
    if let Some(fault) = fault.take() {
        return Err(fault.into());
    }
    let (path, offset, why) = blame(dir, segment_bytes, mark, replay, rests);
    let (expected, vouched) = (replay.expected, replay.vouched);
    let what = format!("batch {expected} is missing, but up to batch {vouched} the log was durable: {why}");
    Err(Wrong::corrupt(path, offset, what))
}

/// The likeliest place of the damage.
fn blame(dir: &str, segment_bytes: u64, mark: &Mark, replay: &Replay, rests: &[Rest]) -> (String, u64, &'static str) {
    let path = |segment| segment::path(dir, segment);
    let Some(last) = replay.segments.last() else {
        return match rests.first() {
            Some(Rest { segment, header: Err(why), .. }) if *segment == mark.oldest => (path(*segment), 0, *why),
            _ => (path(mark.oldest), 0, "the segment is missing"),
        };
    };
    let here = (last.path.clone(), last.end, last.why);
    let written_here = rests.iter().any(|rest| rest.segment == last.about.segment && rest.reach > rest.from);
    let full = last.end + SECTOR_BYTES as u64 > segment_bytes;
    if written_here {
        return here;
    }
    let next = last.about.segment + 1;
    match rests.iter().find(|rest| rest.segment > last.about.segment) {
        Some(rest) if rest.segment > next => (path(next), 0, "the segment is missing"),
        Some(Rest { segment, header: Err(why), .. }) => (path(*segment), 0, *why),
        Some(rest) if full || rest.reach > rest.from && !rest.begins_whole => {
            (path(rest.segment), rest.from, "the first batch does not verify")
        }
        _ => here,
    }
}

/// Damage that is passed over, as it is told.
pub(super) fn told(wrong: &Wrong) -> Corruption {
    match wrong {
        Wrong::Corruption(corruption) => corruption.clone(),
        Wrong::Fault(fault) => Corruption { file: fault.path.clone(), offset: 0, what: fault.to_string() },
    }
}

/// A refusal, with why the damage was not passed over.
pub(super) fn and_why(wrong: Wrong, doubt: &str) -> Wrong {
    match wrong {
        Wrong::Corruption(corruption) => {
            Corruption { what: format!("{}; {doubt}", corruption.what), ..corruption }.into()
        }
        fault @ Wrong::Fault(_) => fault,
    }
}
