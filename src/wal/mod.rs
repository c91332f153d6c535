//! The raft log on the disk: batches of entries and hard state in recycled segments, and their recovery.
//!
//! [`UnrecoveredWal`] becomes a [`RecoveredWal`], whose [`Journal`] appends and syncs. Invariants: an append is
//! one write and a sync one sync; nothing counts as durable before a sync returned; a failed write or sync ends
//! the journal; recovery cuts only what nothing says was ever synced, and refuses to start on anything else that
//! does not verify and is needed. Does not know what entries mean, nor when a checkpoint covers them.

mod ahead;
mod batch;
mod covered;
mod entry;
mod journal;
mod judging;
mod mark;
mod recovery;
mod replay;
#[cfg(test)]
mod tests;
mod upkeep;

pub use ahead::{SegmentsAhead, ToReadAhead};
pub use entry::{Batch, EntryKind, HardState, LogEntry, TailReport, WalIdentity};
pub use journal::Journal;
pub use recovery::{RecoveredWal, UnrecoveredWal};
