//! Plain HTTP on the client port: etcd's endpoints, and the way to the JSON gateway.
//!
//! Does not know of gRPC.

mod compressed;
mod endpoints;
mod manners;
mod origins;

pub use endpoints::{Web, respond, respond_metrics};
