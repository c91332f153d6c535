//! The plain HTTP endpoints of the client port.
//!
//! Does not know of gRPC.

mod endpoints;

pub use endpoints::{Cors, respond};
