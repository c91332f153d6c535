//! Distributed tracing (`--enable-distributed-tracing`): what a collector of OpenTelemetry is told of requests.
//!
//! As with etcd each gRPC request has a span of its method, within the trace that its client names in the header `traceparent`,
//! and the main ones a span of the operation inside, with keys and numbers of the request but no values.
//! Invariants: without a tracer nothing is done for a request but to see that there is none; what waits to be sent is
//! bounded in number and in bytes, and nobody waits for it to be.

mod collector;
mod operations;
mod parent;
mod request_trace;
mod tracer;

pub use collector::{Collector, Tracing};
pub use operations::{Operation, Streamed};
pub use request_trace::{Draft, OperationSpan, RequestTrace};
pub use tracer::Tracer;
