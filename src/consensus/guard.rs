//! What is looked at before a message reaches the raft crate, which asserts where a peer is wrong.
//!
//! A message that no sound peer sends is turned away: the connection's fault, not this member's. A message that shows
//! that somebody's log is not what it was is told as such: this member's ([`Admission::OwnLogLost`],
//! [`Admission::OwnLogDiffers`]), who must stop, or a peer's ([`Admission::PeerLogLost`]), who must not be counted.

use raft::eraftpb::{Message, MessageType};
use raft::{Raft, Storage};

use crate::base::{LogIndex, limits};

/// What becomes of a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Admission {
    /// It may be stepped.
    Sound,
    /// No sound peer sends it.
    Malformed(&'static str),
    /// The leader counts on entries that this member acknowledged and does not have.
    OwnLogLost {
        /// The entry counted on.
        acknowledged: LogIndex,
        /// The last one there is.
        last: LogIndex,
    },
    /// The leader's log differs from this member's in an entry that is committed.
    OwnLogDiffers {
        /// The first such entry.
        index: LogIndex,
    },
    /// A peer lacks what it acknowledged.
    PeerLogLost {
        /// The entry it acknowledged.
        acknowledged: LogIndex,
        /// What it says it has.
        last: LogIndex,
    },
}

pub(super) fn admit<T: Storage>(raft: &Raft<T>, message: &Message) -> Admission {
    if message.to != raft.id {
        return Admission::Malformed("it is for another member");
    }
    if message.from == 0 || message.from == raft.id {
        return Admission::Malformed("it is from nobody else");
    }
    let bytes: usize = message.entries.iter().map(|entry| entry.data.len()).sum();
    if bytes > limits::MAX_APPEND_BYTES {
        return Admission::Malformed("it carries more than an append may");
    }
    match message.get_msg_type() {
        MessageType::MsgPropose if message.entries.is_empty() => Admission::Malformed("a proposal of nothing"),
        MessageType::MsgReadIndex if message.entries.len() != 1 => Admission::Malformed("a read without a context"),
        MessageType::MsgPropose | MessageType::MsgReadIndex | MessageType::MsgTransferLeader => Admission::Sound,
        _ if message.term == 0 => Admission::Malformed("it is of no term"),
        MessageType::MsgAppend => append(raft, message),
        MessageType::MsgHeartbeat if message.term >= raft.term && message.commit > raft.raft_log.last_index() => {
            Admission::OwnLogLost { acknowledged: message.commit, last: raft.raft_log.last_index() }
        }
        MessageType::MsgAppendResponse => append_response(raft, message),
        MessageType::MsgSnapshot if message.get_snapshot().get_metadata().index == 0 => {
            Admission::Malformed("a snapshot of nothing")
        }
        _ => Admission::Sound,
    }
}

fn append<T: Storage>(raft: &Raft<T>, message: &Message) -> Admission {
    let (mut index, mut term) = (message.index, message.log_term);
    for entry in message.entries.iter() {
        let follows = entry.index == index.wrapping_add(1) && entry.term >= term && entry.term <= message.term;
        if !follows {
            return Admission::Malformed("its entries do not follow each other");
        }
        (index, term) = (entry.index, entry.term);
    }
    if message.term < raft.term {
        return Admission::Sound;
    }
    // Whoever leads holds every committed entry: one of another term there is no race, but damage. What is released
    // already cannot be compared; the crate says term 0 of it.
    let log = &raft.raft_log;
    let held = log.first_index()..=log.committed;
    let differs = |entry: &&raft::eraftpb::Entry| {
        held.contains(&entry.index) && log.term(entry.index).is_ok_and(|term| term != entry.term)
    };
    match message.entries.iter().find(differs) {
        Some(entry) => Admission::OwnLogDiffers { index: entry.index },
        None => Admission::Sound,
    }
}

/// The crate lets the next index of a peer fall to what the peer has acknowledged, when a refusal points below it
/// (mended there after 0.7.0). A sound peer never does: what it acknowledged it has.
fn append_response<T: Storage>(raft: &Raft<T>, message: &Message) -> Admission {
    if !message.reject || message.request_snapshot != 0 || message.term != raft.term {
        return Admission::Sound;
    }
    let Some(progress) = raft.prs().get(message.from) else { return Admission::Sound };
    // An older refusal, overtaken by an acknowledgement, is passed over by the crate itself.
    if message.reject_hint < progress.matched && message.index > progress.matched {
        return Admission::PeerLogLost { acknowledged: progress.matched, last: message.reject_hint };
    }
    Admission::Sound
}
