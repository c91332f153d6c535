//! How messages come and go: frames, deadlines, room, counts, ends of streams.
//!
//! Invariant: this room alone decodes with the gRPC library. Does not know any method's messages, but
//! for the two answers of which more is told than their size (`answered`).

pub mod answered;
pub mod body;
pub mod call;
mod framed;
pub mod inbound;
pub mod pieces;
pub mod receive_room;
pub mod replies;
pub mod streams;
pub mod unwanted;
