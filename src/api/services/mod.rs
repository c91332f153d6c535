//! etcd's services as functions: a request in, an answer or a refusal out, one file a service.
//!
//! Invariant: what a request is judged by stands here or below, never in the transport. Does not know of paths, frames and
//! deadlines.

mod answers;
mod auth;
mod cluster;
mod contest;
mod downgrade;
pub mod election;
pub mod health;
mod kv;
pub mod lease;
pub mod lease_pieces;
mod lock;
pub mod maintenance;
pub mod range_chunks;
pub mod range_pieces;
mod rows;
pub mod snapshot;
pub mod txn_pieces;
pub mod watch;
pub mod watch_frames;
mod watch_spans;
