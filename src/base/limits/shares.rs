//! The limits of what users and connections share: requests that wait, their turns, what waits for those who watch, long
//! answers. Does not know who is who: that is `base/account.rs`.

/// Writes waiting for the node, the log or their turn to be applied: beyond it one is refused, so that memory and latency stay
/// bounded. One user or connection gets half of it (`base/account.rs`).
pub const MAX_PENDING_REQUESTS: usize = 10_000;

/// Bytes of them.
pub const MAX_PENDING_BYTES: usize = 256 * 1024 * 1024;

/// What is urgent among the waiting (leases, compactions, alarms), beside them: a member renews and grants some thousands of
/// leases a second.
pub const MAX_URGENT_REQUESTS: usize = 10_000;

/// Bytes of it: a hundred each, and a compaction or an alarm has no more.
pub const MAX_URGENT_BYTES: usize = 16 * 1024 * 1024;

/// Inputs in the node's mailbox: all that is bounded one by one finds room in it, with reads ([`super::MAX_PENDING_READS`]) and
/// what streams of watches ask.
pub const MAX_INPUTS: usize = MAX_PENDING_REQUESTS + MAX_URGENT_REQUESTS + 130_000;

/// Bytes of proposals in it.
pub const MAX_INPUT_BYTES: usize = MAX_PENDING_BYTES + MAX_URGENT_BYTES;

/// Writes that may wait however long they take: what a thousand clients have under way.
pub const LEAST_PENDING_REQUESTS: usize = 1_000;

/// Time a write is to wait at most on average; while it is longer less may wait. A tenth of what a client is told to be
/// too late after.
pub const PACE_WAIT_MS: u64 = 500;

/// Time between two looks at that.
pub const PACE_LOOK_MS: u64 = 250;

/// Entries of one batch of the log that are proposed here: those that are applied in one go
/// ([`super::APPLY_ENTRIES_PER_TURN`]). More would spare no sync
/// worth naming, and whoever asks meanwhile waits for all of them.
pub const MAX_BATCH_ENTRIES: usize = 1_000;

/// Bytes an account proposes in its turn where there is more than a batch: forty small writes, or a part of a large one,
/// which saves up for it.
pub const FAIR_TURN_BYTES: usize = 16 * 1024;

/// Entries passed on to the leader and not applied here yet; what comes meanwhile waits here, where it takes turns. Some
/// thousand a round trip are more than a leader takes, and all of them fit into the lane to it ([`super::PEER_QUEUE_BYTES`]).
pub const MAX_PASSED_ON_UNDER_WAY: usize = 4_000;

/// Bytes of them.
pub const MAX_PASSED_ON_BYTES_UNDER_WAY: usize = 16 * 1024 * 1024;

/// Ticks in which none of them is applied until it is passed on again: they may have been lost.
pub const PASSED_ON_STUCK_TICKS: u32 = 10;

/// Bytes of events buffered for all watch streams of one user or connection. Beyond it a stream that holds any is given no
/// more, and its watchers are fed from history when it is read.
pub const WATCH_BACKLOG_BYTES: usize = 128 * 1024 * 1024;

/// The same of all users and connections together.
pub const ALL_WATCH_BACKLOG_BYTES: usize = 512 * 1024 * 1024;

/// Long answers on their way to one user or connection at once: the next is read when one has left, so that who does not take
/// his answers holds only so many.
pub const LONG_ANSWERS_OF_ONE: usize = 16;

/// Long reads that are made at once, beside one a processor. Fewer than [`super::STAND_IN_THREADS`]: what is short goes on.
pub const LONG_READS_BESIDE: usize = 2;
