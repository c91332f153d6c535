//! The limits of the raft log on the disk. Does not know how it is laid out: that is `wal/`.

/// Size of one write-ahead segment, recycled and pre-written, as etcd's 64 MB.
pub const WAL_SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

/// What a disk writes as a unit: write-ahead batches start at its multiples, so that a torn write harms nothing
/// that was durable before it.
pub const SECTOR_BYTES: usize = 512;

/// Write-ahead bytes after which the durable mark is synced: how much of the log's end could be taken away
/// unnoticed after a power failure, besides what was never synced.
pub const WAL_MARK_EVERY_BYTES: u64 = 8 * 1024 * 1024;

/// Bytes of a coming write-ahead segment that are pre-written in one go: a few milliseconds of disk time.
pub const WAL_PREPARE_BYTES: usize = 2 * 1024 * 1024;

/// Bytes of these that are written with one call. ext4 holds what one call wrote as one piece (a folio) of the page cache,
/// and a small write and its sync cost 28 us in pieces up to this size, 45 us in a piece of 2 MiB (Linux 6.18).
pub const WAL_FILL_WRITE_BYTES: usize = 64 * 1024;

/// Time between two tries to write a batch for which the disk had no room.
pub const WAL_ROOM_RETRY_MS: u64 = 200;

/// Segments of the log that a start reads beside the history: the one that ends it and the one made ready. What is written in
/// them is held in memory while the index is built.
pub const WAL_SEGMENTS_READ_AHEAD: usize = 2;

/// Bytes that a start reads of a segment to learn what it begins with: its header and, as a rule, its first batch.
pub const WAL_LOOK_BYTES: usize = 32 * 1024;

/// Damaged places of the log, none of it needed, behind which a start goes on. Each is another reading of the log, and a disk
/// with more of them is dying.
pub const WAL_MAX_PASSED_OVER: usize = 16;

/// Used write-ahead segments kept for use again; more would only hold space.
pub const WAL_MAX_SPARES: usize = 2;

/// Room that the segment in use has at least where the log gives the next one to others: thousands of the commands that make room,
/// each of a few hundred bytes.
pub const WAL_GIVES_BESIDE_BYTES: u64 = 2 * 1024 * 1024;
