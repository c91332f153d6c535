//! Inputs a client should not send, and what it gets for them: tables of the KV, watch and lease services and
//! of the transport; requests of those who may not make them. Each test starts a server of its own; those of inputs ask at the end
//! whether it is still well.

#![cfg(all(feature = "server", feature = "client"))]
#![allow(clippy::unwrap_used, reason = "a test")]

mod ports;

#[path = "bad_input/advisories.rs"]
mod advisories;
#[path = "bad_input/fair_share.rs"]
mod fair_share;
#[path = "bad_input/flood.rs"]
mod flood;
#[path = "bad_input/guards.rs"]
mod guards;
#[path = "bad_input/heavy.rs"]
mod heavy;
#[path = "bad_input/kv.rs"]
mod kv;
#[path = "bad_input/lease.rs"]
mod lease;
#[path = "bad_input/quota.rs"]
mod quota;
#[path = "bad_input/rights.rs"]
mod rights;
#[path = "bad_input/street.rs"]
mod street;
#[path = "bad_input/tracing.rs"]
mod tracing;
#[path = "bad_input/transport.rs"]
mod transport;
#[path = "bad_input/watch.rs"]
mod watch;
#[path = "bad_input/wire.rs"]
mod wire;
