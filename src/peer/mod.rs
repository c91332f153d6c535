//! Peers: how members reach each other.
//!
//! The transport carries raft messages, snapshots and the few questions one member asks another, over the streams of
//! [`crate::env::Net`], in etcd's peer protocol. It owns no state of the group: what arrives goes through a
//! [`PeerDoor`], what the group wants sent comes through [`PeerSender`].
//!
//! Invariants:
//! - Nothing is buffered without bound; an append that finds no room is dropped, and the group is told.
//! - Votes and heartbeats never wait behind appends.
//! - No length is believed before it is held against its limit.
//!
//! Does not know what a message means, nor who should be a member.

mod door;

pub use door::{PeerAddress, PeerDoor, PeerSender, Roster};
