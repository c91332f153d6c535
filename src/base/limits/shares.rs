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

/// Bytes of events buffered for all watch streams of one user or connection. Beyond it a stream that holds any is given no
/// more, and its watchers are fed from history when it is read.
pub const WATCH_BACKLOG_BYTES: usize = 128 * 1024 * 1024;

/// The same of all users and connections together.
pub const ALL_WATCH_BACKLOG_BYTES: usize = 512 * 1024 * 1024;

/// Long answers on their way to one user or connection at once: the next is read when one has left, so that who does not take
/// his answers holds only so many.
pub const LONG_ANSWERS_OF_ONE: usize = 16;

/// Rows of one for each of these places that it takes beyond the first: 16 MiB of them in memory, without keys and values. So what
/// one user or connection does not take is bounded whatever it is of.
pub const LONG_ANSWER_PLACE_ROWS: u64 = 16 * 1024 * 1024 / 96;

/// Long reads that are made at once, beside one a processor. Fewer than [`super::STAND_IN_THREADS`]: what is short goes on.
pub const LONG_READS_BESIDE: usize = 2;

/// Unary requests of all connections that are here as a whole and not answered, before no more are read of those who have
/// most: some 100 ms of what one processor carries out. One connection alone gets half of it. A hundred clients that wait for
/// their answers have a hundred.
pub const REQUESTS_TAKEN_IN: usize = 4_096;

/// Of one connection at least, however many there are: what keeps a batch of the log and a thread in work.
pub const REQUESTS_TAKEN_IN_OF_ONE: usize = 64;

/// Requests of one connection whose task has not begun, before no more are read: more than are read at once. They wait for a
/// processor alone, and the runtime's queue of a thread holds twice as many.
pub const UNBEGUN_REQUESTS: usize = 128;

/// Requests of one connection that are read before those tasks get their turn which are ready.
pub const REQUESTS_READ_AT_ONCE: usize = 64;

/// Time in which of a connection that is not read nothing was answered until it is read all the same: nobody answers at the
/// moment (an election, a disk that hangs), so that what it has beside requests, pings above all, must not wait for that.
pub const UNREAD_MS: u64 = 250;

/// Unary requests of all connections that are held then, before what comes is refused by its head: some 200 MiB. One connection
/// gets half of it.
pub const REQUESTS_HELD: usize = 65_536;

/// Encoded bytes up to which a request for keys is copied until it is answered, so that it can be told where that took long; a
/// larger one is kept as it came, in a buffer of some 8 KiB or its own size.
pub const COPIED_REQUEST_BYTES: usize = 2_048;

/// Text of a request that is told: more than keys and conditions have as a rule.
pub const TOLD_CONTENT_BYTES: usize = 8_192;

/// Requests that a new client is told it may have under way on a connection, beside what lasts: more than a hundred clients, and
/// few enough that all connections together do not fill the system's windows at once with what comes too late. Who uses half
/// of it is soon told more.
pub const STREAMS_AT_FIRST: u32 = 256;

/// Time after which a client that uses what it was told is told more, where nothing holds it up: twice as many.
pub const STREAMS_GROW_MS: u64 = 50;

/// The same once it was held up, a quarter more: what may be under way is known then, and is felt for slowly.
pub const STREAMS_GROW_AGAIN_MS: u64 = 1_000;

/// Time for which the bound of a connection's streams grows slowly after they were too many: a moment's pile-up (an election, a
/// disk that stood still) says nothing of what comes later.
pub const STREAMS_CAUTIOUS_MS: u64 = 10_000;

/// Streams of one connection that are open at once, where `--max-concurrent-streams` says nothing: etcd sets no bound. What
/// clients ask in one message is bounded by the above; this bounds what has begun and what is not taken (some 3 KiB each), and
/// streams of watches and the like, of which the largest users have some thousands on a connection. Beyond it a client waits.
pub const CONCURRENT_STREAMS: u32 = 32_768;

/// Longest message that is made JSON, or of JSON, where everybody is served: a millisecond's work. Longer ones go aside.
pub const JSON_AT_ONCE_BYTES: usize = 64 * 1024;

/// Beyond it a message has its turn among the long ones.
pub const JSON_LONG_BYTES: usize = 1024 * 1024;

/// Bytes of JSON that leave at once of a long answer: the HTTP library takes sixteen of them before its client takes any.
pub const JSON_PIECE_BYTES: usize = 16 * 1024;
