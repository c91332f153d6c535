//! The network porch: etcd's API on top of a node's handle.
//!
//! Each service is plain async functions, a request struct in and a response struct or a refusal out, in a
//! file of its own; `dispatch` alone knows the gRPC library, so that a leaner transport can take its place.
//!
//! Invariants: a request passes `gate` and the shape `checks` before the node hears of it; values are shared
//! from the store to the socket; a refusal finds its gRPC code in one table, `status`.
//! Does not know of raft, files, flags or listeners.

mod answers;
mod call;
mod cluster;
mod dispatch;
mod gate;
mod health;
mod http;
mod inbound;
mod kv;
mod lease;
mod maintenance;
mod metrics;
mod mirror;
mod peer_metrics;
mod pieces;
mod porch;
mod process;
mod range_chunks;
mod receive_room;
mod replies;
mod rpc;
pub mod status;
mod streams;
mod watch;
mod watch_frames;

pub use http::{Cors, respond};
pub use metrics::{API_VERSION, Metrics, STORAGE_VERSION, Traits};
pub use porch::{Porch, Terms};
pub use watch_frames::RawWatchResponse;

pub use dispatch::serve;
pub use receive_room::{ReceiveRoom, ReceiveRooms, TakenIn};
