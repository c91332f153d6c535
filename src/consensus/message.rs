//! Messages between members, as the rest of the house sees them.
//!
//! On the wire they are etcd's `raftpb.Message`, field for field (the raft crate's own schema is a superset of it). What
//! arrives is believed only as far as [`PeerMessage::decode`] has looked: fields are bounded by the frame they came in,
//! and everything else is raft's to judge.

use bytes::Bytes;
use raft::eraftpb::{EntryType, Message, MessageType};

use super::conf_change;
use crate::base::{LogIndex, MemberId, Term};

/// One message from one member's group to another's.
#[derive(Clone, PartialEq, Debug)]
pub struct PeerMessage(pub(super) Message);

/// What a message is, as far as its way depends on it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[allow(missing_docs, reason = "the names are raft's")]
pub enum MessageKind {
    Propose,
    Append,
    AppendResponse,
    Vote,
    VoteResponse,
    PreVote,
    PreVoteResponse,
    Snapshot,
    Heartbeat,
    HeartbeatResponse,
    TransferLeader,
    TimeoutNow,
    ReadIndex,
    ReadIndexResponse,
    /// Of no use between members: [`PeerMessage::decode`] refuses it.
    Local,
}

impl PeerMessage {
    /// The sender.
    pub fn from(&self) -> MemberId {
        MemberId(self.0.from)
    }

    /// The receiver.
    pub fn to(&self) -> MemberId {
        MemberId(self.0.to)
    }

    /// The sender's term; 0 in a proposal or a read that is passed on to the leader.
    pub fn term(&self) -> Term {
        self.0.term
    }

    /// The index the message is about: of the entry before the first one appended, of the last one acknowledged, and
    /// so on, by its kind.
    pub fn index(&self) -> LogIndex {
        self.0.index
    }

    /// Where an [`MessageKind::AppendResponse`] or a vote is a refusal.
    pub fn rejects(&self) -> bool {
        self.0.reject
    }

    /// What it is.
    pub fn kind(&self) -> MessageKind {
        match self.0.get_msg_type() {
            MessageType::MsgPropose => MessageKind::Propose,
            MessageType::MsgAppend => MessageKind::Append,
            MessageType::MsgAppendResponse => MessageKind::AppendResponse,
            MessageType::MsgRequestVote => MessageKind::Vote,
            MessageType::MsgRequestVoteResponse => MessageKind::VoteResponse,
            MessageType::MsgRequestPreVote => MessageKind::PreVote,
            MessageType::MsgRequestPreVoteResponse => MessageKind::PreVoteResponse,
            MessageType::MsgSnapshot => MessageKind::Snapshot,
            MessageType::MsgHeartbeat => MessageKind::Heartbeat,
            MessageType::MsgHeartbeatResponse => MessageKind::HeartbeatResponse,
            MessageType::MsgTransferLeader => MessageKind::TransferLeader,
            MessageType::MsgTimeoutNow => MessageKind::TimeoutNow,
            MessageType::MsgReadIndex => MessageKind::ReadIndex,
            MessageType::MsgReadIndexResp => MessageKind::ReadIndexResponse,
            MessageType::MsgHup
            | MessageType::MsgBeat
            | MessageType::MsgUnreachable
            | MessageType::MsgSnapStatus
            | MessageType::MsgCheckQuorum => MessageKind::Local,
        }
    }

    /// Bytes of the payloads it carries: what it weighs in a queue.
    pub fn payload_bytes(&self) -> usize {
        self.0.entries.iter().map(|entry| entry.data.len()).sum()
    }

    /// Its protobuf form.
    pub fn encode(&self) -> Bytes {
        if self.0.entries.iter().all(|entry| entry.get_entry_type() != EntryType::EntryConfChange) {
            return super::codec::protobuf_bytes(&self.0);
        }
        let mut outside = self.0.clone();
        outside.mut_entries().iter_mut().for_each(conf_change::to_outside);
        super::codec::protobuf_bytes(&outside)
    }

    /// Reads the protobuf form. Any bytes may be given; says what does not hold.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let mut message: Message = super::codec::protobuf_from(bytes).ok_or("it is no raft message")?;
        message.mut_entries().iter_mut().for_each(conf_change::to_inside);
        let message = Self(message);
        if message.kind() == MessageKind::Local {
            return Err(format!("a message of type {:?} is never sent", message.0.get_msg_type()));
        }
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_survives_the_wire_and_a_local_one_is_refused() {
        let mut raw = Message { to: 2, from: 1, term: 7, index: 3, ..Message::default() };
        raw.set_msg_type(MessageType::MsgAppendResponse);
        let message = PeerMessage(raw.clone());
        let back = PeerMessage::decode(&message.encode());
        assert_eq!(back, Ok(message));
        raw.set_msg_type(MessageType::MsgUnreachable);
        assert!(PeerMessage::decode(&PeerMessage(raw).encode()).is_err());
        assert!(PeerMessage::decode(b"\xff\xff").is_err());
    }
}
