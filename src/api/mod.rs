//! The network porch: etcd's API on top of a node's handle.
//!
//! Each service is plain async functions, a request struct in and a response struct or a refusal out, in a
//! file of its own in `services`; `transport` alone knows how messages travel, so that a leaner one can take its place;
//! `dispatch` brings the two together. The rooms inside import one way: `metrics`, `transport`,
//! `services`, `gateway`, `http`.
//!
//! Invariants: a request passes `gate` and the shape `checks` before the node hears of it; values are shared
//! from the store to the socket; a refusal finds its gRPC code in one table, `status`.
//! Does not know of raft, files, flags or listeners.

mod dispatch;
mod gate;
mod gateway;
mod guest;
mod http;
mod intake;
mod methods;
mod metrics;
mod porch;
mod request_text;
mod seldom;
mod services;
mod session;
mod slow;
pub mod status;
mod traces;
mod transport;

pub use dispatch::serve;
pub use gateway::websocket::Conversation;
pub use guest::{Guest, Guests};
pub use http::{Web, respond, respond_metrics};
pub use intake::Intake;
pub use metrics::registry::{API_VERSION, Metrics, STORAGE_VERSION, Traits};
pub use porch::{Passports, Porch, Terms};
pub use seldom::Seldom;
pub use services::watch_frames::RawWatchResponse;
pub use traces::{Collector, Tracing};
pub use transport::body::Asked;
pub use transport::receive_room::{Held, ReceiveRoom, ReceiveRooms, TakenIn};
