//! Record logs: frames with checksums that are bound to their place, segment files, and the search for frames
//! behind bytes that do not verify, on which the judgement "torn tail or damage" rests.
//!
//! Used by the raft log, by the history and by snapshots between members. Invariant: nothing read back is handed on unverified, and
//! no length field is believed before its checksum holds. Does not know what the bodies mean, nor what was
//! promised to whom: which record had to be durable is the judgement of the room that wrote it.

pub mod frame;
pub mod segment;
pub mod tail;

pub use frame::{FRAME_HEADER_BYTES, FrameWrong, Framed, LOG_HALF, LOG_HISTORY, LOG_SNAPSHOT, LOG_WAL, Place};
