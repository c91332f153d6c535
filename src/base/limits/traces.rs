//! Limits of distributed tracing. Those without a reason of their own are the defaults of OpenTelemetry's libraries, which etcd
//! leaves as they are.

/// Spans that wait for the collector.
pub const SPANS_WAITING: usize = 2_048;

/// Bytes of them: keys make spans large, and a collector may be away. etcd has no such bound.
pub const SPANS_WAITING_BYTES: usize = 8 * 1024 * 1024;

/// Spans sent at once.
pub const SPANS_BATCH: usize = 512;

/// Bytes of them: a collector's gRPC takes 4 MiB by default.
pub const SPANS_BATCH_BYTES: usize = 2 * 1024 * 1024;

/// Time spans wait for others to be sent with.
pub const SPANS_BATCH_MS: u64 = 5_000;

/// Time a batch has to be taken, a second try included.
pub const SPANS_SEND_MS: u64 = 10_000;

/// Pause before the second try.
pub const SPANS_RETRY_MS: u64 = 5_000;

/// Time the last spans get to reach their collector when the server stops.
pub const LAST_SPANS_MS: u64 = 2_000;

/// Events of one span; more are counted.
pub const SPAN_EVENTS: usize = 128;

/// Bytes of a key that are told; a key may have as many as a request. OpenTelemetry's libraries tell all of it.
pub const SPAN_TEXT_BYTES: usize = 1_024;
