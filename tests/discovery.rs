//! Members that find each other: by DNS, and through a registry in another cluster; and the command line, which finds
//! servers by DNS.

#![cfg(all(feature = "server", feature = "client", feature = "tokio-env"))]
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "discovery/name_server.rs"]
mod name_server;
#[path = "discovery/named.rs"]
mod named;
mod ports;
#[path = "discovery/registry.rs"]
mod registry;
#[path = "discovery/sealed.rs"]
mod sealed;
#[path = "discovery/services.rs"]
mod services;
#[path = "discovery/street.rs"]
mod street;
