//! The limits of connections: how they begin, and what one may keep others waiting for. Does not know what is asked over them.

/// Milliseconds that a TLS handshake may take, as in etcd.
pub const HANDSHAKE_MS: u64 = 10_000;

/// TLS handshakes under way at once, of clients and of peers each: one holds some 30 KiB and is let go after its time, and
/// a processor does a few hundred to a thousand a second. Beyond that who comes is closed at once, and tries again.
pub const HANDSHAKES: usize = 2_048;

/// Time for one who is not let in to read why and go; as many as there may be handshakes have it, the rest are closed at once.
pub const PARTING_MS: u64 = 1_000;

/// Connections of peers that were greeted and wait to be taken in: that takes no time, so a few.
pub const PEERS_GREETED: usize = 16;

/// Time a new connection has to begin as an HTTP connection does.
pub const GREETING_MS: u64 = 10_000;

/// Bytes of a body that are read although its answer is known: a client that still sends may not look at the answer. What
/// is longer than the largest request is nobody's mistake.
pub const UNWANTED_BODY_BYTES: usize = 2 * 1024 * 1024;

/// Time that such a body gets: what was sent with its head is there.
pub const UNWANTED_BODY_MS: u64 = 1_000;

/// Pages of metrics that are compressed at once: each keeps a processor for some milliseconds, and whoever looks on asks every few
/// seconds.
pub const PAGES_COMPRESSED: usize = 2;

/// Time an HTTP/1.1 client has to send the headers of a request, from their first byte.
pub const HEADER_READ_MS: u64 = 30_000;

/// Time for the request of a WebSocket that takes one, from its handshake on: as for a head.
pub const WEBSOCKET_ASKS_MS: u64 = HEADER_READ_MS;

/// Longest frame that is sent on a WebSocket: a line is made of several, so that it is not held a second time.
pub const WEBSOCKET_FRAME_BYTES: usize = 64 * 1024;

/// While nobody takes what the client of a WebSocket says, it is looked for so often: what it sends, an end among it, is not read.
pub const WEBSOCKET_LOOK_MS: u64 = 5_000;

/// Time for the end of a WebSocket: its last words, and that the client goes, who would lose them if it were sent away.
pub const WEBSOCKET_END_MS: u64 = 1_000;

/// Connections that wait to be accepted, as Go asks for on Linux (`net.core.somaxconn`): all clients of a cluster come
/// back at once after a pause.
pub const ACCEPT_BACKLOG: u32 = 4_096;

/// Bytes that a connection's socket holds unsent beyond what is on its way, before it takes no more: a small answer
/// waits for no more than these of the large ones before it.
pub const UNSENT_BYTES: u32 = 128 * 1024;

/// Descriptors that a member has when it looks for those it inherited: the three of each process, and its runtime's.
pub const DESCRIPTORS_AT_START: u64 = 16;
