//! How long a member waits for what, and from when on it counts as one that stood still.
//!
//! In milliseconds, though the node counts them in ticks: a tick is what `--heartbeat-interval` says, from one millisecond to ten
//! seconds, and what is meant to be a second must become neither ten of these nor ten of those. Does not know who waits.

/// Lateness of a tick, if it is also one of a tick, from which on the member stood still, so that the time is none for leases. With
/// short ticks a member that works is late by several, again and again: that is no standing still.
pub const STANDS_STILL_MS: u64 = 100;

/// Time after which what the device could not read is read once more, before it counts as damage: a storage that hangs or
/// answers with errors for a moment may be that of all members.
pub const DEVICE_MAY_RECOVER_MS: u64 = 5_000;

/// Time between two looks at whether a disk that was full has room again.
pub const LOOK_FOR_ROOM_MS: u64 = 1_000;

/// Time for which files that were replaced wait while nothing is written, before checkpoints are made to let them go: long
/// enough to gather what one compaction sets free, short enough that the disk follows within seconds.
pub const FILES_WAIT_MS: u64 = 1_000;

/// Time between two countings of watchers: each looks at every stream.
pub const WATCHERS_COUNTED_MS: u64 = 100;

/// Time in which none of what was passed on to the leader is applied before more is passed on than the bound allows: what was may
/// be lost. A slow disk takes less.
pub const PASSED_ON_STUCK_MS: u64 = 1_000;

/// Time between two tries to get a thread where the system gave none.
pub const THREAD_AGAIN_MS: u64 = 100;
