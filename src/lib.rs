//! quorate: a strongly consistent, etcd-compatible key-value store.
//!
//! Rooms are layered; a room imports only from rooms strictly below it, and `tests/tidy.rs` holds this.
//! Everything up to and with [`driver`] is free of sockets, clocks, threads and ambient randomness and runs
//! unchanged in the simulator; [`api`] and above are the network porch. `docs/ARCHITECTURE.md` is the map.

// These panic where nobody can be told: a closed pipe, a full disk.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod base;
pub mod wire;

pub mod bbolt;
#[cfg(feature = "client-library")]
pub mod dns;
pub mod env;
#[cfg(any(feature = "client", feature = "server"))]
pub mod manual;
#[cfg(any(feature = "client", feature = "server"))]
pub mod progress;
#[cfg(feature = "tls")]
pub mod tls;

pub mod auth;
pub mod lease;
pub mod log;
pub mod watch;

pub mod mvcc;
pub mod wal;

pub mod machine;

pub mod consensus;

pub mod peer;

pub mod backend;
pub mod node;

pub mod driver;

#[cfg(feature = "server")]
pub mod api;
#[cfg(feature = "server")]
pub mod passport;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
pub mod utl;

#[cfg(feature = "client-library")]
pub mod client;
#[cfg(feature = "client")]
pub mod ctl;
