//! Record logs: frames with checksums that are bound to their place, segments, and the judgement whether
//! bytes that do not verify are a torn tail or damage.
//!
//! Used twice: by the raft log and by the history. Invariant: nothing read back is handed on unverified, and
//! no length field is believed before its checksum holds. Does not know what the bodies mean, nor what was
//! promised to whom: which batch had to be durable is the judgement of the room that wrote it.

pub mod frame;

pub use frame::{FRAME_HEADER_BYTES, FrameWrong, Framed, LOG_HISTORY, LOG_WAL, Place};
