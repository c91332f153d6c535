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

mod answer;
mod ask;
mod body;
mod complaints;
mod dialer;
mod door;
mod etcd_paths;
mod exchange;
mod greeting;
mod head;
mod letting_in;
mod lines;
mod link;
mod links;
mod listener;
mod message_codec;
mod msgapp_codec;
mod outbox;
mod pace;
mod pipeline;
mod post;
#[cfg(test)]
mod sample;
mod snapshot_frames;
mod snapshot_receiver;
mod snapshot_sender;
mod stream;
#[cfg(test)]
mod tests;
mod traffic;
mod transport;
mod url;
mod wait;
mod wrong;

pub use ask::{Asker, Fetched, Inquired, fetch, inquire};
pub use door::{
    AskFailure, ChunkSink, ChunkSource, EtcdAnswer, EtcdQuestion, EtcdReply, PeerAddress, PeerDoor, PeerSender, Reply,
    Roster,
};
pub use exchange::{PeerConfig, STORAGE_VERSION, VERSION};
pub use pace::{AnsweredWrites, Pace, Paces};
pub use traffic::{PeerTraffic, ROUND_TRIP_BOUNDS, SNAPSHOT_BOUNDS, ToldDurations, ToldSnapshots};
pub use transport::Transport;
pub use wait::BoxFuture;
