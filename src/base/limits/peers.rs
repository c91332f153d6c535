//! The limits of what travels between members: queues, writes, connections. What one message may hold stands beside what a
//! batch of the log may, one level up.

/// Head of a request or an answer between members: peer URLs are the only part that grows.
pub const PEER_HEAD_BYTES: usize = 16 * 1024;

/// Header lines of such a head.
pub const PEER_HEAD_LINES: usize = 64;

/// Messages waiting for one peer in each class, as etcd's stream buffer.
pub const PEER_QUEUE_MESSAGES: usize = 4_096;

/// Bytes of appends, and of proposals passed on, waiting for one peer: raft keeps fewer in flight; what is beyond is
/// dropped and sent again.
pub const PEER_QUEUE_BYTES: usize = 64 * 1024 * 1024;

/// Bytes of votes, heartbeats, reads and answers waiting for one peer: a few dozen bytes each.
pub const PEER_URGENT_BYTES: usize = 4 * 1024 * 1024;

/// Messages written in one go: what an urgent message may have to wait for.
pub const PEER_WRITE_MESSAGES: usize = 64;

/// Bytes of messages written in one go, for the same reason; one message may be larger.
pub const PEER_WRITE_BYTES: usize = 256 * 1024;

/// Buffers of a connection between members that grew beyond this are given back when they are empty.
pub const PEER_KEPT_BUFFER_BYTES: usize = 1024 * 1024;

/// Bytes read from a connection between members at once, as in etcd.
pub const PEER_READ_BYTES: usize = 64 * 1024;

/// Silence after which a connection between members is given up, as etcd's; kept alive at a third of it.
pub const PEER_READ_TIMEOUT_MS: u64 = 5_000;

/// What connecting to a peer may take beyond an election timeout, as in etcd.
pub const PEER_DIAL_MS: u64 = 1_000;

/// First pause after a peer could not be reached, as etcd's only one.
pub const PEER_REDIAL_MS: u64 = 100;

/// Longest pause: a healed network is noticed within it.
pub const PEER_REDIAL_MAX_MS: u64 = 1_000;

/// Connections that others have opened to the peer port: two streams, two pipelines, a snapshot and some questions of
/// each member, many times over.
pub const PEER_CONNECTIONS: usize = 1_024;

/// Senders that are not known as members and are answered all the same: those who joined while this member was away.
pub const PEER_REMOTES: usize = 16;

/// Kinds of lines and peers of which it is known when they were last told: ten kinds of a few members each, and of those who are
/// none a few. The rest are told as one.
pub const PEER_COMPLAINTS: usize = 256;
