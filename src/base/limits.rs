//! Every limit of the house in one place, each with its reason. Sizes are bytes, times are milliseconds.
//!
//! What users and connections share, and how much of it one may hold, stands in `limits/shares.rs`, what travels between
//! members in `limits/peers.rs`, how connections begin in `limits/connections.rs`, the raft log's in `limits/log.rs`, how long the
//! node waits in `limits/waits.rs`.

mod connections;
mod log;
mod peers;
mod shares;
mod traces;
mod waits;

pub use connections::*;
pub use log::*;
pub use peers::*;
pub use shares::*;
pub use traces::*;
pub use waits::*;

/// Largest client request, as etcd's `--max-request-bytes` defaults to.
pub const MAX_REQUEST_BYTES: usize = 1_572_864;

/// What gRPC may receive beyond a request: etcd's own allowance for framing.
pub const GRPC_OVERHEAD_BYTES: usize = 512 * 1024;

/// How much longer than the message it stands for a request in JSON may be: base64 makes four bytes of three, names and
/// spaces come on top.
pub const JSON_TIMES: usize = 2;

/// How deep values may stand in each other in JSON: as deep as for Go's library.
pub const JSON_DEPTH: usize = 10_000;

/// Longest single message in JSON on a stream of requests. Nothing is set aside for it, so it is what a watch of long keys needs
/// and no more.
pub const JSON_STREAM_MESSAGE_BYTES: usize = 64 * 1024;

/// Longest message of a WebSocket, and longest request in several: as on a stream of requests.
pub const WEBSOCKET_MESSAGE_BYTES: usize = JSON_STREAM_MESSAGE_BYTES;

/// Set aside for a message of a WebSocket that is not whole: what has come of it, and the frame that is coming.
pub const WEBSOCKET_OPEN_BYTES: usize = 2 * WEBSOCKET_MESSAGE_BYTES;

/// Read from a WebSocket at once: requests are short.
pub const WEBSOCKET_READ_BYTES: usize = 4 * 1024;

/// What the rows of a transaction's answer may take in memory, all its reads together. etcd stops at what gRPC can send, 2 GiB,
/// and holds several times that; a hundred ranges over a few hundred thousand keys are no more than a slip of the pen.
pub const MAX_TXN_ANSWER_BYTES: usize = 256 * 1024 * 1024;

/// Depth of nested transactions. The protobuf decoder stops at 100 levels of messages, two a transaction and
/// one for the log payload around the request; what is accepted from a client must decode from the log, too.
pub const MAX_TXN_DEPTH: usize = 40;

/// Storage quota where the flag gives none, as in etcd: 2 GiB.
pub const DEFAULT_QUOTA_BYTES: u64 = 2 * 1024 * 1024 * 1024;

/// Longest lease, in seconds, as in etcd.
pub const MAX_LEASE_TTL_SECONDS: i64 = 9_000_000_000;

/// Leases that may fall due in one second after a change of leader: the new leader grants those beyond it a
/// little more time, so that they do not all die at once. Three quarters of etcd's revocation rate, as there.
pub const LEASES_DUE_PER_SECOND_AFTER_PROMOTION: usize = 750;

/// Revocations of due leases that are under way at once.
pub const MAX_REVOCATIONS_IN_FLIGHT: usize = 64;

/// Time between two looks at what a long lease has left, as in etcd: a shorter remainder is not written down.
pub const LEASE_CHECKPOINT_MS: u64 = 5 * 60 * 1_000;

/// Leases in one entry that says what they have left, as in etcd.
pub const LEASES_PER_CHECKPOINT: usize = 1_000;

/// Digests of earlier applied indexes kept beside those of the last entries, one for every 1,024 entries: members are
/// compared at an index of a second ago, and no cluster applies 256 thousand entries in one.
pub const KEPT_DIGESTS: usize = 256;

/// Time between two looks at whether all members hold the same, and of a member without a sound state between two
/// requests for one: soon enough that nothing much is served from a state that differs.
pub const COMPARE_MS: u64 = 1_000;

/// Time between two looks at whether damage that a check met is healed.
pub const HEALING_LOOK_MS: u64 = 10;

/// Looks within which the node has begun to look into what was met: it does at its next tick.
pub const HEALING_LOOKS: u32 = 1_500;

/// Requests for a state that come to nothing in a row before it is told, the first time and then again: a start or an
/// election takes a few, and a member that waits for ever must say so without filling its log.
pub const STATE_REQUESTS_UNTOLD: u64 = 10;

/// The same of those after.
pub const STATE_REQUESTS_BETWEEN_TWO_TELLINGS: u64 = 300;

/// Changes of the members whose outcome is remembered for who asks a second time, because the first answer was lost: they
/// come one at a time, and whoever asks again does so within seconds.
pub const CHANGES_REMEMBERED: usize = 64;

/// Comparisons that must find a difference without a majority before nobody is believed any more: a member that starts or
/// lags may be about to settle it, and what differs once differs for ever.
pub const COMPARISONS_WITHOUT_MAJORITY: u32 = 5;

/// Bytes committed and not applied, while another member's state is awaited or read above all; beyond it appends are not
/// taken, and the leader sends them again.
pub const MAX_UNAPPLIED_BYTES: usize = 256 * 1024 * 1024;

/// Digests of compactions kept, as in etcd: a member that lags may be asked about them for as many compactions.
pub const KEPT_COMPACTION_DIGESTS: usize = 10;

/// Bytes of other members' proposals that wait while the leadership is handed over: what some thousand clients write
/// in that time.
pub const MAX_PASSED_ON_BYTES_WAITING: usize = 32 * 1024 * 1024;

/// Entries committed but not applied before new proposals wait: etcd's number, which refuses them.
pub const MAX_APPLY_BACKLOG: u64 = 5_000;

/// Bytes in one write-ahead batch: large enough to share a sync, small enough not to delay it.
pub const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;

/// Bytes of entries in one append to a follower, as in etcd: one entry may be larger and goes alone.
pub const APPEND_BYTES: usize = 1024 * 1024;

/// Bytes of entries believed of one message of a peer: what fits into one record of the log beside a batch that was
/// almost full before.
pub const MAX_APPEND_BYTES: usize = 32 * 1024 * 1024;

/// Largest message between members: the largest append that is believed, and what frames its entries.
pub const PEER_MESSAGE_BYTES: usize = MAX_APPEND_BYTES + 4 * 1024 * 1024;

/// Appends under way to one follower before the leader waits for an answer, as in etcd.
pub const MAX_INFLIGHT_APPENDS: usize = 512;

/// Bytes of committed entries applied before other work gets its turn, raft's clock above all.
pub const APPLY_BYTES_PER_TURN: usize = 1024 * 1024;

/// Entries applied in one go, for the same reason: a few milliseconds of small ones.
pub const APPLY_ENTRIES_PER_TURN: usize = 1_000;

/// Size at which a history segment is sealed: the unit of reclaim.
pub const HISTORY_SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

/// Largest outline of a history segment: a start holds one at a time. A segment that would need a larger one is read whole.
pub const MAX_OUTLINE_BYTES: u64 = 256 * 1024 * 1024;

/// Parts in which a start sorts the keys of its index side by side: as many as there are processors to expect where starts take
/// long; each beyond the first costs a thread.
pub const INDEX_PARTS: usize = 4;

/// Bytes of keys, about, that a start reads and sorts at once, in up to [`INDEX_PARTS`] shares: what is in flight besides what
/// was read.
pub const INDEX_READ_BYTES: u64 = 64 * 1024 * 1024;

/// Bytes of keys, about, that are worth a share of their own: some ten milliseconds of reading and sorting.
pub const INDEX_SHARE_BYTES: u64 = 2 * 1024 * 1024;

/// Records that are worth a part of their own: some ten milliseconds of merging.
pub const INDEX_PART_RECORDS: usize = 32 * 1024;

/// Time from a start to the first reading of all history in the background, and from the end of one to the next: what a start
/// did not read is verified within the day.
pub const SCRUB_REST_MS: u64 = 6 * 60 * 60 * 1_000;

/// Bytes read in one step of that, and the pause behind it: 16 MiB a second, half an hour for 30 GB, and one percent of a
/// processor.
pub const SCRUB_STEP_BYTES: usize = 2 * 1024 * 1024;

/// See [`SCRUB_STEP_BYTES`].
pub const SCRUB_PAUSE_MS: u64 = 125;

/// Largest record body: a request with its framing, and room for a full transaction's bookkeeping.
pub const MAX_RECORD_BYTES: usize = 64 * 1024 * 1024;

/// History collected in memory before it is handed to the disk: large writes are cheap writes.
pub const WRITE_HISTORY_BYTES: usize = 1024 * 1024;

/// History held in memory before the disk has it; beyond it clients' writes that need room are refused. What frees room is
/// taken in all the same: where nothing is put it adds one small record for each key that is there, once.
pub const MAX_UNWRITTEN_HISTORY_BYTES: usize = 128 * 1024 * 1024;

/// The same; beyond it applying what needs room waits, whoever proposed it. More, so that as a rule a client is told first.
pub const APPLYING_WAITS_HISTORY_BYTES: usize = 192 * 1024 * 1024;

/// Largest checkpoint image read: a hundred million leases.
pub const MAX_IMAGE_BYTES: u64 = 4 * 1024 * 1024 * 1024;

/// Records in one chunk of a snapshot for another member, in bytes (a single larger record makes a chunk of its own):
/// what is sent again after a cut, and what either side holds of the data.
pub const SNAPSHOT_CHUNK_BYTES: usize = 256 * 1024;

/// Log bytes after which a checkpoint is made: bounds the work of a restart.
pub const CHECKPOINT_EVERY_BYTES: u64 = 32 * 1024 * 1024;

/// Entries kept behind a checkpoint for peers that lag a little, as etcd's `--snapshot-catchup-entries`.
pub const CATCH_UP_ENTRIES: u64 = 5_000;

/// The same in bytes, whatever their number: values may be large. Who is slower than this, and heard of, has what
/// [`SNAPSHOT_HELD_LOG_BYTES`] allows.
pub const CATCH_UP_LOG_BYTES: usize = 32 * 1024 * 1024;

/// Budget of values kept in memory where the flag gives none.
pub const DEFAULT_VALUE_CACHE_BYTES: usize = 128 * 1024 * 1024;

/// Bytes of keys and values read for compaction before other work gets its turn: large values count, too.
pub const COMPACTION_SLICE_BYTES: usize = 1024 * 1024;

/// Keys changed by entries that are applied in one go: one that changes more is carried out in slices over several turns. About
/// five milliseconds. The simulator's members have fewer.
pub const APPLY_CHANGES_PER_TURN: usize = 5_000;

/// So many keys that a transaction compares count in slices as one change: a look takes a tenth of its time.
pub const LOOKS_PER_CHANGE: usize = 8;
/// So many bytes of a value that is compared count as one more key.
pub const LOOK_BYTES: usize = 4096;

/// Values of before that a command may read from the disk for watchers though it is not carried out in slices: what it takes to be
/// ready for that, a copy of each part of the index that it changes, costs more than to be late by a few reads.
pub const PREVIOUS_VALUES_AT_ONCE: usize = 16;

/// Index entries compacted before other work gets its turn: some five microseconds each on a busy machine, so
/// that a slice takes about half a millisecond there. A put waits for two or three turns: of 400 they cost its 99th percentile
/// a factor of 4 to 7, of these 1 to 2 (`benches/record/2026-11-27-behind.md`).
pub const COMPACTION_SLICE: usize = 100;

/// Events buffered for one watch stream before its watchers are fed from history instead, in bytes.
pub const WATCH_BUFFER_BYTES: usize = 8 * 1024 * 1024;

/// Responses buffered for one watch stream, as etcd's channel of 128 grown for shared events.
pub const WATCH_BUFFER_RESPONSES: usize = 1_024;

/// Events taken from a stream's buffer at once, in bytes: what a stream holds beyond its buffer while it
/// writes to its client, so it is kept small against the buffer.
pub const WATCH_BATCH_BYTES: usize = 1024 * 1024;

/// Responses taken from a stream's buffer at once, for the same reason.
pub const WATCH_BATCH_RESPONSES: usize = 256;

/// Least room, in bytes, a catching-up watcher is told to read for: below it reading costs more than it brings.
pub const CATCH_UP_LEAST_ROOM: usize = 64 * 1024;

/// Watchers on one stream: a bound on memory, far above what any client asks.
pub const MAX_WATCHERS_PER_STREAM: usize = 1_000_000;

/// Watchers of closed streams given back in one turn of the hub: closing a stream of a million watchers must
/// not stop the node.
pub const WATCHERS_CLOSED_PER_TURN: usize = 2_000;

/// Watchers of one stream looked at for a progress notice in one tick, for the same reason.
pub const PROGRESS_NOTICES_PER_TURN: usize = 10_000;

/// History read in one turn for watchers that are nearly in step, in bytes, and how far behind such a one is at most: they would
/// never be in step were it always read beside the node, for meanwhile more is written. About half a millisecond.
pub const CATCH_UP_BYTES_PER_TURN: usize = 512 * 1024;

/// History read beside the node for watchers that are further behind, before the node hears of it, in bytes: large enough to be
/// worth a hand-over, small enough that segments that were replaced soon go.
pub const CATCH_UP_BYTES_BESIDE: usize = 4 * 1024 * 1024;

/// History read in one piece, in bytes, and most that one watcher is told of at once.
pub const CATCH_UP_PIECE_BYTES: usize = 1024 * 1024;

/// Pieces kept for watchers that stand near those for whom they were read, in bytes: they take twice as much in memory, and as
/// much again once they were sent to somebody.
pub const CATCH_UP_KEPT_BYTES: usize = 8 * 1024 * 1024;

/// The same by their number, for each is looked at.
pub const CATCH_UP_KEPT_PIECES: usize = 64;

/// Revisions in one response to a catching-up watcher, as in etcd.
pub const CATCH_UP_REVISIONS: usize = 1_000;

/// Watchers named to be fed from history in one turn, and at most that wait for the reader.
pub const CATCH_UP_TASKS_PER_TURN: usize = 64;

/// Reads waiting for one read-index round.
pub const MAX_PENDING_READS: usize = 100_000;

/// Bytes of entries a member takes from its leader while its disk does not answer; beyond it they are dropped and sent
/// again.
pub const MAX_UNDURABLE_BYTES: usize = 64 * 1024 * 1024;

/// Messages of peers waiting for the node; votes and heartbeats may be as many again. Beyond it they are dropped.
pub const MAX_PEER_MESSAGES: usize = 4_096;

/// Bytes of entries in messages of peers that wait for the node; beyond it appends are dropped and asked for again.
pub const MAX_PEER_BYTES: usize = 64 * 1024 * 1024;

/// Pause before the leader is asked again, where there was none or it could not be reached.
pub const ASK_LEADER_AGAIN_MS: u64 = 50;

/// How long a connection must have been good for its member to count as healthy when members are changed, as in etcd.
pub const HEALTHY_FOR_MS: u64 = 5_000;

/// Ticks of a leader's silence after which nothing is passed on to it: one heartbeat may be late.
pub const LEADER_SILENT_TICKS: usize = 2;

/// Time a founding member waits for another's word on whether the cluster has begun before.
pub const FOUNDING_QUESTION_MS: u64 = 1_000;

/// Time between a member's removal and its end, as in etcd.
pub const REMOVED_GRACE_MS: u64 = 1_000;

/// The same where the others may not know of the removal yet, and need this member's vote to learn of it.
pub const REMOVED_PATIENCE_MS: u64 = 60_000;

/// Time between two questions of a member that joins and was told nothing yet, whether it was removed meanwhile.
pub const UNTOLD_ASK_MS: u64 = 2_000;

/// Learners in a cluster at once where `--max-learners` does not say, as in etcd.
pub const MAX_LEARNERS: usize = 1;

/// Client connections at once, over all listeners, where the process may have as many descriptors; fewer where it may
/// not (`server/descriptors.rs`).
pub const MAX_CONNECTIONS: usize = 32_768;

/// Connections at once to the listeners of `--listen-metrics-urls`, beside those of clients: a probe must come through
/// when clients have taken all of theirs. A few scrapers and probes hold one each.
pub const METRICS_CONNECTIONS: usize = 64;

/// Threads beyond one a processor that stand in for those that a long read holds up, and wait for disks at the end.
pub const STAND_IN_THREADS: usize = 6;

/// Stack of a thread: the standard library's own, said so that no variable of its says another.
pub const STACK_BYTES: usize = 2 * 1024 * 1024;

/// Versions of clients that the metrics tell apart: each name that a client makes up would be a line of their page.
pub const CLIENT_VERSIONS: usize = 64;

/// Descriptors of the process itself: an idle member holds some 25 (log, lock, timers, listeners), opens a few while it
/// checkpoints, gives space back and sends snapshots, and has some connections to each peer; those for questions are counted
/// besides.
pub const OWN_DESCRIPTORS: u64 = 64;

/// Fewest client connections a start is content with: with fewer descriptors than this takes it is refused.
pub const LEAST_CONNECTIONS: u64 = 16;

/// Least time between two warnings of one kind that a client can bring about; what was held back is counted.
pub const SELDOM_MS: u64 = 10_000;

/// Time between two warnings that the disk is full: who looks at the last minutes of the log sees it.
pub const FULL_TOLD_AGAIN_MS: u64 = 60_000;

/// What is committed waits so long to be applied before the log tells it: for less it waits under any load.
pub const HELD_BACK_TOLD_MS: u64 = 1_000;

/// Keys in a part of the list of a lease's keys. Who is handed the list shares its parts: the next change copies one, and 2,000 pointers
/// for a million keys.
pub const LEASE_KEYS_PER_CHUNK: usize = 512;

/// Times a member asks anew for a lease's time and keys, which it hears of in two places, because the lease was another one
/// meanwhile. Each time it takes somebody who ends and grants it just then.
pub const LEASE_JOINS: usize = 5;

/// Log lines waiting for an output that takes none, in bytes; beyond it lines are dropped and counted.
pub const LOG_QUEUE_BYTES: usize = 4 * 1024 * 1024;

/// Time the outputs get at the end to take what waits.
pub const LOG_FINISH_MS: u64 = 1_000;

/// HTTP/2 streams that a client has given up before the server came to look at them, on one connection: a client that
/// cancels all it had under way is within it, a flood of resets is not.
pub const RESET_STREAMS: usize = 1_024;

/// Headers of one request, in bytes: gRPC's own recommendation is 8 KiB, tokens may be larger.
pub const MAX_HEADER_BYTES: u32 = 64 * 1024;

/// Headers of one request of HTTP/1.1: proxies add theirs. They hold 96 bytes each while they are read.
pub const MAX_HEADERS: usize = 1_000;

/// HTTP/2 window of one stream: what a request may have sent that was not taken yet. Most requests fit in one go, larger
/// ones go on as they are taken; and those that wait for room together leave some of the connection's window to the rest.
pub const STREAM_WINDOW_BYTES: u32 = 128 * 1024;

/// HTTP/2 window of one connection: what a client may have sent that no request has taken yet. The library takes half of
/// it as its budget for small frames that nobody has looked at (256 bytes each, so 49,152 of them): a client may put so
/// many watches or keep-alives while the server is stopped, and a smaller window would cut it off.
pub const CONNECTION_WINDOW_BYTES: u32 = 24 * 1024 * 1024;

/// Bytes of messages that one connection has begun to send and not ended: a message of which a part is here has set its
/// whole length aside, and who finds no room waits. Sixteen of the largest.
pub const HALF_RECEIVED_BYTES: usize = 32 * 1024 * 1024;

/// Messages of one connection that wait for such room; more are refused. Together they leave a third of the
/// connection's window to those that have room, or nobody could go on.
pub const WAITING_FOR_ROOM: usize = 128;

/// The same of all connections together.
pub const ALL_HALF_RECEIVED_BYTES: usize = 256 * 1024 * 1024;

/// Time in which a message that has begun must go on. Longer than most pauses of a client's machine.
pub const MESSAGE_STALL_MS: u64 = 30_000;

/// The same where others wait for the room that it holds.
pub const MESSAGE_STALL_PRESSED_MS: u64 = 2_000;

/// Answer bytes buffered for one stream whose client does not read, and so the most that one large answer puts before
/// a small one in a single go.
pub const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// Bytes of an answer that are encoded at once: large answers are made as they leave, in pieces of this size, so that
/// none is ever held whole. Small against what the allocator keeps for use again, large against a frame of 16 KiB.
pub const PIECE_BYTES: usize = 32 * 1024;

/// Values from this size on are not copied into a piece but sent as they lie in the store.
pub const UNCOPIED_VALUE_BYTES: usize = 16 * 1024;

/// Batches of a leader whose way to a majority is timed at once: more than wait in any cluster that works. Those beyond are
/// not timed.
pub const TIMED_BATCHES: usize = 1_024;

/// Time a client has to hear that it is sent away for its pings, as of gRPC.
pub const GOAWAY_HEARD_MS: u64 = 1_000;

/// Time requests under way get to end when the server stops.
pub const DRAIN_MS: u64 = 5_000;

/// Time between closing the listeners and ending the node: requests under way get their answers.
pub const STOP_GRACE_MS: u64 = 200;

/// Largest question between members, as etcd bounds its own.
pub const PEER_QUESTION_BYTES: usize = 64 * 1024;

/// Time between two rounds of questions of a member that has started and does not know yet whether it has what it
/// promised: an election takes ten times as long at the least.
pub const REMEMBER_ASK_MS: u64 = 50;

/// Time between two tellings of what members have acknowledged: who loses its disk and its leader within it has lost
/// what only those two knew.
pub const REMEMBER_TELL_MS: u64 = 100;

/// Time between two writings of what is remembered of the others, where it changed: a cluster of which all members start
/// again has forgotten no more than this.
pub const REMEMBER_KEEP_MS: u64 = 5_000;

/// Largest file of what is remembered: a member has six numbers and its id.
pub const MEMORY_BYTES: u64 = 64 * 1024;

/// Terms of which a member knows what it promised in this start of it.
pub const PROMISES_KEPT: usize = 1_000;

/// Largest answer to one, and largest list of members.
pub const PEER_ANSWER_BYTES: usize = 1024 * 1024;

/// Questions to one peer under way or waiting at once: more than the keep-alives that the porch has places for, all of which may come
/// in one moment, when a member or its leader has stood still.
pub const PEER_QUESTIONS: usize = 16 * 1024;

/// Connections that carry questions to one peer at once, where there are descriptors enough; the others wait their turn. At 100 ms
/// for a round that is 640 keep-alives a second through a follower.
pub const PEER_QUESTION_LINES: usize = 64;

/// The fewest of them.
pub const LEAST_QUESTION_LINES: usize = 4;

/// Time a question has, with connecting: within etcd's own timeout of a request.
pub const PEER_QUESTION_MS: u64 = 5_000;

/// Time a question of a lease by etcd's own path has, as in etcd.
pub const PEER_LEASE_MS: u64 = 1_000;

/// Digests of all data that others asked for and that are being made at once: each reads the whole history.
pub const PEER_DIGESTS: usize = 2;

/// Times a peer that the transport does not know yet is asked again, as right after a start.
pub const ASK_NEW_PEER_TIMES: usize = 20;

/// Ticks that are left to wait for a leader's word at a start once the others are there, as in etcd.
pub const FIRST_ELECTION_TICKS: usize = 2;

/// Time between two looks for the others at a start, as in etcd.
pub const FIRST_ELECTION_LOOK_MS: u64 = 50;

/// What a snapshot says of itself before its chunks.
pub const SNAPSHOT_MANIFEST_BYTES: usize = 1024 * 1024;

/// Largest chunk of a snapshot on its way to a member: one record goes alone, however large.
pub const SNAPSHOT_FRAME_BYTES: usize = MAX_RECORD_BYTES + 64 * 1024;

/// Bytes of snapshots sent to one member in a second, at most: what a disk or a network of today gives to one of several.
pub const SNAPSHOT_BYTES_PER_SECOND: u64 = 256 * 1024 * 1024;

/// While clients' writes take clearly longer than before, one part of it in so many.
pub const SNAPSHOT_PACES: u64 = 8;

/// Time after which is looked how long clients' writes take: some dozens of a busy member.
pub const SNAPSHOT_PACE_MS: u64 = 100;

/// Bytes of much that nobody waits for, written before they are synced: who waits for the same disk may wait for so much.
pub const SYNC_PIECE_BYTES: usize = 4 * 1024 * 1024;

/// Notes of how far a snapshot has arrived, in each segment's worth of it: what a receiver that ends in the middle has to get
/// again is a quarter of a segment. One note costs a sync of some hundred bytes.
pub const SNAPSHOT_NOTES_PER_SEGMENT: u64 = 4;

/// Time a snapshot that was cut on its way is kept for another attempt. It keeps the old versions of what changes meanwhile
/// in memory, and its segments on the disk.
pub const SNAPSHOT_KEPT_MS: u64 = 60_000;

/// Time between two offers of a snapshot to who still reads what an earlier life left of it.
pub const SNAPSHOT_ASK_AGAIN_MS: u64 = 1_000;

/// Time what arrived of a cut snapshot is kept by its receiver: longer than its sender can go on with it.
pub const SNAPSHOT_HALF_KEPT_MS: u64 = 90_000;

/// Attempts in a row to go on with a cut snapshot without coming further, after which a newer one is sent.
pub const SNAPSHOT_FRUITLESS_ATTEMPTS: u32 = 3;

/// Log held in memory for those to whom a snapshot is on its way, in bytes: what is written while a large state travels and
/// is installed. Beyond it they need another.
pub const SNAPSHOT_HELD_LOG_BYTES: usize = 128 * 1024 * 1024;

/// Time one chunk of a snapshot may take to arrive, however slowly its bytes come.
pub const SNAPSHOT_FRAME_MS: u64 = 120_000;

/// Time the receiver of a snapshot has to take a chunk in, or to look what it has of it: it waits for its disk.
pub const SNAPSHOT_STALL_MS: u64 = 30_000;

/// Time it has to take the whole over, as long as it says that it works: to hold the largest image's room at 7 MiB a second.
pub const SNAPSHOT_FINISH_MS: u64 = 600_000;

/// Snapshots received at once: there is one leader, and now and then one that does not know that it was.
pub const SNAPSHOTS_RECEIVED: usize = 2;

/// Entries of one message between members: raft's message size holds fewer, and an entry of no bytes weighs a hundred
/// times in memory what it weighs on the wire.
pub const PEER_MESSAGE_ENTRIES: usize = 128 * 1024;

/// Bytes of answers that a connection gathers before they are written: beyond, a call of the system more is nothing.
pub const GATHERED_BYTES: usize = 64 * 1024;

/// What is written at once from this size on is not gathered: copying it would cost more than the call it saves.
pub const GATHERED_WRITE_BYTES: usize = 16 * 1024;

/// Room for gathered answers that a connection keeps when they are written: there may be many connections.
pub const GATHERED_KEPT_BYTES: usize = 16 * 1024;

/// Names, password hashes and ranges of all users and roles, in bytes: every member holds them in memory, and each
/// checkpoint writes them whole. A hundred thousand users are within it; etcd bounds them by its quota alone.
pub const MAX_AUTH_BYTES: usize = 16 * 1024 * 1024;

/// Time a token that is not used lives, as in etcd where `--auth-token-ttl` gives none.
pub const TOKEN_TTL_MS: u64 = 300 * 1_000;

/// Time between two looks for tokens that are over, as in etcd.
pub const TOKEN_SWEEP_MS: u64 = 1_000;

/// Tokens one member knows: a client library draws one a connection and endpoint. Some 20 MiB; etcd sets no bound, so that
/// a loop that authenticates fills its memory.
pub const MAX_TOKENS: usize = 100_000;

/// Requests that wait for a password to be hashed or compared: some 60 ms each, so the last one waits for half a minute,
/// if all are of different users and addresses. etcd hashes as many at once as are asked for, and serves nobody meanwhile.
pub const MAX_WAITING_PASSWORDS: usize = 500;

/// Times a read is begun anew because users or roles changed meanwhile, before its client is told to.
pub const READS_WHILE_USERS_CHANGE: usize = 10;

/// Signed tokens whose signature is not looked at again while they are known: some 10 MiB. With more of them all are
/// forgotten, and looked at again.
pub const MAX_KNOWN_JWTS: usize = 10_000;

/// Pages that belong together in a database of etcd that is read: an entry is at most a record, and a page that was filled before it
/// was split holds few of them.
pub const MAX_BBOLT_RUN_BYTES: u64 = 3 * MAX_RECORD_BYTES as u64;

/// Levels of a tree in a database that is read. The smallest page has two children and the largest file 2^63 bytes; a
/// database of etcd has four or five.
pub const MAX_BBOLT_DEPTH: usize = 64;

/// Buckets of a database that is read; etcd makes ten, and two more for tests.
pub const MAX_BBOLT_BUCKETS: usize = 1024;

/// Backups made for clients at once: each reads all of the history, and holds on to the index as it was when it began.
pub const BACKUPS: usize = 4;

/// Bytes of a backup in one message: well below what every client takes (4 MiB). etcd's have 32 KiB, which cost both ends a third
/// more: each message wakes the client, and its head and end are frames of their own.
pub const BACKUP_BLOB_BYTES: usize = 256 * 1024;

/// Messages of a backup made in one go: so much is ready while as much is sent.
pub const BACKUP_BLOBS: usize = 4;

/// Bytes of a backup in a second while nobody writes at this member: no bound, but one that no machine reaches.
pub const BACKUP_BYTES_PER_SECOND: u64 = 64 * 1024 * 1024 * 1024;

/// The same while somebody writes. At twice the rate, and at what two processors give, puts take two to five times as long; at this
/// the tail of theirs is the one without, and etcd is no faster under the same writes.
pub const BACKUP_BYTES_PER_SECOND_BESIDE_WRITES: u64 = 160 * 1024 * 1024;

/// The same while those who write feel it; always given, so that a backup comes to an end: what etcd gives under load. As long as one
/// lasts, what is overwritten meanwhile keeps its old versions in the index, and files that are no longer of use their space.
pub const BACKUP_BYTES_PER_SECOND_AT_LEAST: u64 = 112 * 1024 * 1024;

/// A part of etcd's raft log that is read: etcd begins another after 64 MB, and ends the one before with whole requests.
pub const MAX_FOREIGN_LOG_BYTES: u64 = 1024 * 1024 * 1024;

/// Time a question to a name server has, as in Go's resolver.
pub const NAME_QUESTION_MS: u64 = 5_000;

/// Servers of one service that are looked at: more members than any cluster has.
pub const MAX_SERVICES: usize = 256;
