//! Tests of the store as a whole, against a naive twin.

#![allow(clippy::unwrap_used, reason = "a test ends where something fails")]

mod compaction_digests;
mod outlines;
mod restarts;
mod snapshot;
mod store;
mod twin;
