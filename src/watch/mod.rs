//! The watch hub: who watches which keys, how far each has been told, and the bounded buffers between the
//! hub and the streams that read them.
//!
//! Invariants: every watcher is told every matching event from its start on, once and in order of revision;
//! a revision is never split over two messages; a progress notice goes through the same queue as events, so
//! it cannot overtake one; no reader, however slow, holds up a write or makes a queue grow without bound.
//!
//! Purely synchronous. Does not know of history (the node feeds watchers that fell behind), protobuf,
//! permissions, raft or time (progress is counted in ticks).

mod buffer;
mod catch_up;
mod hub;
mod message;
mod progress;
mod progress_clock;
mod range_index;
mod stream;
#[cfg(test)]
mod tests;
mod watcher;

pub use buffer::{Bounds as BufferBounds, Question, RoomBell, StreamBuffer};
pub use hub::{HubBounds, WatchHub};
pub use message::{
    CatchUpTask, EventBatch, HubCounts, HubNow, SharedEvent, StreamId, WatchMessage, WatchSpec, WatcherKey,
};
