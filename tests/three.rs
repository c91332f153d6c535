//! Three members in this process, on real disks and sockets: one is started on an older copy of its directory or an empty
//! one, finds its history damaged, or is told to take the others' state; and what a follower is asked of leases.

#![cfg(feature = "tokio-env")]
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "three/amnesia.rs"]
mod amnesia;
#[path = "three/cluster.rs"]
mod cluster;
mod granted;
#[path = "three/leases.rs"]
mod leases;
mod ports;
#[path = "three/rebuild.rs"]
mod rebuild;
