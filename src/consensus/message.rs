//! Messages between members, as the rest of the house sees them.
//!
//! On the wire they are etcd's `raftpb.Message`, field for field (the raft crate's own schema is a superset of it). What
//! arrives is believed only as far as [`PeerMessage::decode`] has looked: fields are bounded by the frame they came in,
//! and everything else is raft's to judge.

use raft::eraftpb::{ConfChangeV2, Entry, EntryType, Message, MessageType};

use super::conf_change::{self, ConfChange};
use crate::base::{LogIndex, MemberId, Term, limits};

/// What says that a connection is alive, encoded: a heartbeat from nobody to nobody.
pub const LINK_HEARTBEAT: &[u8] = &[8, 8];

/// Indexes and terms stay below: raft adds to them without looking.
const HIGHEST: u64 = 1 << 62;

/// The field of raft's message that holds its entries.
const ENTRIES_FIELD: u32 = 7;

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

    /// The last entry in the state of a snapshot; nothing in other messages.
    pub fn snapshot_at(&self) -> Option<(LogIndex, Term)> {
        let metadata = self.0.get_snapshot().get_metadata();
        (self.kind() == MessageKind::Snapshot).then_some((metadata.index, metadata.term))
    }

    /// Makes it the head of the same snapshot as `other`.
    pub fn take_snapshot_of(&mut self, other: &Self) {
        self.0.set_snapshot(other.0.get_snapshot().clone());
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

    /// The index that everyone behind this message may apply up to.
    pub fn commit(&self) -> LogIndex {
        self.0.commit
    }

    /// Entries it carries.
    pub fn entry_count(&self) -> usize {
        self.0.entries.len()
    }

    /// The index of the last entry it carries, or of the one before where it carries none.
    pub fn last_index(&self) -> LogIndex {
        self.0.entries.last().map_or(self.0.index, |entry| entry.index)
    }

    /// The index of the snapshot it is the head of; 0 where it is none.
    pub fn snapshot_index(&self) -> LogIndex {
        self.0.get_snapshot().get_metadata().index
    }

    /// Whether it appends right behind the entry of this index and term, in the same term: what it is then follows from
    /// its entries and its commit index alone.
    pub fn continues(&self, term: Term, index: LogIndex) -> bool {
        self.kind() == MessageKind::Append
            && self.0.index == index
            && self.0.log_term == term
            && self.0.term == term
            && self.0.context.is_empty()
    }

    /// Writes the protobuf form of one of its entries behind what is in `out`.
    ///
    /// # Panics
    /// If there is no such entry.
    pub fn encode_entry(&self, number: usize, out: &mut Vec<u8>) {
        let entry = &self.0.entries[number];
        if entry.get_entry_type() != EntryType::EntryConfChange {
            return super::codec::protobuf_into(entry, out);
        }
        let mut outside = entry.clone();
        conf_change::to_outside(&mut outside);
        super::codec::protobuf_into(&outside, out);
    }

    /// Writes its protobuf form behind what is in `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        if self.0.entries.iter().all(|entry| entry.get_entry_type() != EntryType::EntryConfChange) {
            return super::codec::protobuf_into(&self.0, out);
        }
        let mut outside = self.0.clone();
        outside.mut_entries().iter_mut().for_each(conf_change::to_outside);
        super::codec::protobuf_into(&outside, out);
    }

    /// Reads the protobuf form. Any bytes may be given; says what does not hold. Nothing comes of a message without
    /// sender and receiver: it says that the connection is alive, as etcd's members tell each other.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, String> {
        if super::codec::fields(bytes, ENTRIES_FIELD).is_none_or(|entries| entries > limits::PEER_MESSAGE_ENTRIES) {
            return Err("it is no raft message, or one of too many entries".to_string());
        }
        let message: Message = super::codec::protobuf_from(bytes).ok_or("it is no raft message")?;
        if (message.from, message.to) == (0, 0) && message.get_msg_type() == MessageType::MsgHeartbeat {
            return Ok(None);
        }
        Self(message).judged().map(|message| Some(message.inside()))
    }

    /// The message itself, where raft can make something of it. What only raft can know is left to it.
    fn judged(self) -> Result<Self, String> {
        let kind = self.kind();
        let message = &self.0;
        let passed_on = matches!(kind, MessageKind::Propose | MessageKind::ReadIndex);
        if kind == MessageKind::Local {
            return Err(format!("a message of type {:?} is never sent", message.get_msg_type()));
        }
        if message.from == 0 || message.to == 0 || message.from == message.to {
            return Err(format!("{kind:?} from {:x} to {:x}", message.from, message.to));
        }
        if (message.term == 0) != passed_on || message.term > HIGHEST || message.log_term > HIGHEST {
            return Err(format!("{kind:?} of term {} and log term {}", message.term, message.log_term));
        }
        if [message.index, message.commit, message.reject_hint].into_iter().any(|index| index > HIGHEST) {
            return Err(format!("{kind:?} of an index beyond all"));
        }
        match kind {
            MessageKind::Append => self.check_entries()?,
            MessageKind::Snapshot => self.check_snapshot()?,
            MessageKind::Propose if message.entries.is_empty() => return Err("a proposal of nothing".to_string()),
            // Nobody proposes the later kind, and whoever applied it would have to stop.
            MessageKind::Propose if message.entries.iter().any(is_later_change) => {
                return Err("a change of members of a kind not in use".to_string());
            }
            MessageKind::Propose => check_changes(&message.entries)?,
            // The context of a read travels as an entry, and the crate takes it without looking.
            MessageKind::ReadIndex | MessageKind::ReadIndexResponse if message.entries.len() == 1 => {}
            MessageKind::ReadIndex | MessageKind::ReadIndexResponse => return Err("a read of none".to_string()),
            _ if !message.entries.is_empty() => return Err(format!("{kind:?} with entries")),
            _ => {}
        }
        Ok(self)
    }

    /// With its entries in the form the crate can read.
    fn inside(mut self) -> Self {
        self.0.mut_entries().iter_mut().for_each(conf_change::to_inside);
        self
    }

    fn check_entries(&self) -> Result<(), String> {
        let mut before = (self.0.index, self.0.log_term);
        for entry in &self.0.entries {
            if entry.index != before.0 + 1 || entry.term < before.1 || entry.term > self.0.term || entry.term == 0 {
                let (index, term) = before;
                return Err(format!("entry {} of term {} behind {index} of {term}", entry.index, entry.term));
            }
            before = (entry.index, entry.term);
        }
        check_changes(&self.0.entries)
    }

    fn check_snapshot(&self) -> Result<(), String> {
        let metadata = self.0.get_snapshot().get_metadata();
        let sound = (1..=HIGHEST).contains(&metadata.index)
            && (1..=self.0.term).contains(&metadata.term)
            && !metadata.get_conf_state().voters.is_empty();
        if sound { Ok(()) } else { Err("a snapshot of nothing".to_string()) }
    }
}

/// An append that is put together from what its line tells: which term, behind which entry, and the entries one by one.
#[derive(Debug)]
pub struct PartialAppend(Message);

impl PartialAppend {
    /// An append from one member to another, in this term, behind the entry of this index and the same term.
    pub fn new(from: MemberId, to: MemberId, term: Term, index: LogIndex) -> Self {
        let mut message = Message { from: from.0, to: to.0, term, index, log_term: term, ..Message::default() };
        message.set_msg_type(MessageType::MsgAppend);
        Self(message)
    }

    /// Adds an entry in its protobuf form.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), String> {
        let entry: Entry = super::codec::protobuf_from(bytes).ok_or("it is no raft entry")?;
        self.0.entries.push(entry);
        Ok(())
    }

    /// The whole.
    pub fn finish(mut self, commit: LogIndex) -> Result<PeerMessage, String> {
        self.0.commit = commit;
        PeerMessage(self.0).judged().map(PeerMessage::inside)
    }
}

fn is_later_change(entry: &Entry) -> bool {
    entry.get_entry_type() == EntryType::EntryConfChangeV2
}

/// A change of members must read as one, or whoever applies it could not.
fn check_changes(entries: &[Entry]) -> Result<(), String> {
    for entry in entries {
        let readable = match entry.get_entry_type() {
            EntryType::EntryNormal => true,
            EntryType::EntryConfChange => ConfChange::decode(&entry.data).is_some(),
            EntryType::EntryConfChangeV2 => super::codec::protobuf_from::<ConfChangeV2>(&entry.data).is_some(),
        };
        if !readable {
            return Err(format!("entry {} is no change of members", entry.index));
        }
    }
    Ok(())
}

#[cfg(test)]
impl PeerMessage {
    /// The same, as if another had sent it; for tests.
    pub fn in_the_name_of(mut self, from: MemberId) -> Self {
        self.0.from = from.0;
        self
    }

    /// A proposal passed on, of a command or of a change of the members; for tests.
    pub fn proposal(from: MemberId, to: MemberId, is_change: bool, data: bytes::Bytes) -> Self {
        let mut message = Message { from: from.0, to: to.0, ..Message::default() };
        message.set_msg_type(MessageType::MsgPropose);
        let mut entry = raft::eraftpb::Entry { data, ..Default::default() };
        if is_change {
            entry.set_entry_type(EntryType::EntryConfChange);
        }
        message.entries = vec![entry].into();
        Self(message)
    }

    /// The same with `data` in every entry, and the word that the log up to `commit` is committed; for tests.
    pub fn carrying(mut self, data: &bytes::Bytes, commit: LogIndex) -> Self {
        self.0.entries.iter_mut().for_each(|entry| entry.data = data.clone());
        self.0.commit = commit;
        self
    }

    /// An append of empty entries behind `before`, each an index and a term; for tests.
    pub fn append(
        from: MemberId,
        to: MemberId,
        term: Term,
        before: (LogIndex, Term),
        entries: &[(LogIndex, Term)],
    ) -> Self {
        let mut message =
            Message { from: from.0, to: to.0, term, index: before.0, log_term: before.1, ..Message::default() };
        message.set_msg_type(MessageType::MsgAppend);
        let entry = |(index, term): &(LogIndex, Term)| raft::eraftpb::Entry {
            index: *index,
            term: *term,
            ..Default::default()
        };
        message.entries = entries.iter().map(entry).collect::<Vec<_>>().into();
        Self(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(kind: MessageType) -> Message {
        let mut raw = Message { to: 2, from: 1, term: 7, index: 3, log_term: 6, ..Message::default() };
        raw.set_msg_type(kind);
        raw
    }

    fn encoded(raw: &Message) -> Vec<u8> {
        let mut out = Vec::new();
        PeerMessage(raw.clone()).encode(&mut out);
        out
    }

    fn append(entries: &[(u64, u64)]) -> Message {
        let entries = entries.iter().map(|&(index, term)| Entry { index, term, ..Entry::default() });
        Message { entries: entries.collect::<Vec<_>>().into(), ..raw(MessageType::MsgAppend) }
    }

    #[test]
    fn a_message_survives_the_wire() {
        for raw in [raw(MessageType::MsgAppendResponse), append(&[(4, 6), (5, 7)]), append(&[])] {
            assert_eq!(PeerMessage::decode(&encoded(&raw)), Ok(Some(PeerMessage(raw))));
        }
    }

    #[test]
    fn a_message_without_ends_says_that_the_line_is_alive() {
        assert_eq!(PeerMessage::decode(LINK_HEARTBEAT), Ok(None));
        let mut alive = Message::default();
        alive.set_msg_type(MessageType::MsgHeartbeat);
        assert_eq!(encoded(&alive), LINK_HEARTBEAT);
    }

    #[test]
    fn what_no_member_sends_is_refused() {
        let mut change = append(&[(4, 7)]);
        change.entries[0].set_entry_type(EntryType::EntryConfChange);
        change.entries[0].data = bytes::Bytes::from_static(b"\xff");
        let heartbeat = raw(MessageType::MsgHeartbeat);
        let mut later = Entry::default();
        later.set_entry_type(EntryType::EntryConfChangeV2);
        let later = Message { term: 0, entries: vec![later].into(), ..raw(MessageType::MsgPropose) };
        let refused = [
            ("a change of a kind not in use", later),
            ("local", raw(MessageType::MsgUnreachable)),
            ("to itself", Message { to: 1, ..heartbeat.clone() }),
            ("from nobody", Message { from: 0, ..heartbeat.clone() }),
            ("to nobody", Message { to: 0, ..heartbeat.clone() }),
            ("no term", Message { term: 0, ..heartbeat.clone() }),
            ("the last term", Message { term: u64::MAX, ..heartbeat.clone() }),
            ("an index beyond all", Message { index: 1 << 63, ..heartbeat.clone() }),
            ("a commit beyond all", Message { commit: u64::MAX, ..heartbeat.clone() }),
            ("a proposal with a term", raw(MessageType::MsgPropose)),
            ("a proposal of nothing", Message { term: 0, ..raw(MessageType::MsgPropose) }),
            ("a gap", append(&[(4, 7), (6, 7)])),
            ("a gap at the start", append(&[(5, 7)])),
            ("entries out of order", append(&[(5, 7), (4, 7)])),
            ("terms that fall", append(&[(4, 7), (5, 6)])),
            ("an entry of a later term", append(&[(4, 8)])),
            ("an entry of no term", append(&[(4, 0)])),
            ("no change of members", change),
            ("a read without its context", Message { term: 0, ..raw(MessageType::MsgReadIndex) }),
            ("no snapshot", raw(MessageType::MsgSnapshot)),
            ("a heartbeat with entries", Message { entries: append(&[(4, 7)]).entries, ..heartbeat }),
        ];
        for (what, raw) in refused {
            assert!(PeerMessage::decode(&encoded(&raw)).is_err(), "{what}");
        }
        assert!(PeerMessage::decode(b"\xff\xff").is_err());
        assert!(PeerMessage::decode(&[0x3a, 0].repeat(limits::PEER_MESSAGE_ENTRIES + 1)).is_err(), "many entries");
        // An unknown type, as etcd's MsgForgetLeader.
        assert!(PeerMessage::decode(&[8, 23, 16, 2, 24, 1, 32, 7]).is_err());
    }

    #[test]
    fn a_change_of_members_travels_in_etcds_form() {
        let change = ConfChange {
            id: 9,
            kind: super::super::ConfChangeKind::AddLearner,
            member: MemberId(4),
            context: bytes::Bytes::new(),
        };
        let mut raw = append(&[(4, 7)]);
        raw.entries[0].set_entry_type(EntryType::EntryConfChange);
        raw.entries[0].data = change.encode();
        let message = PeerMessage(raw.clone()).inside();
        assert_ne!(message.0, raw);
        let mut out = Vec::new();
        message.encode(&mut out);
        assert_eq!(super::super::codec::protobuf_from(&out), Some(raw.clone()));
        assert_eq!(PeerMessage::decode(&out), Ok(Some(message.clone())));
        let mut entry = Vec::new();
        message.encode_entry(0, &mut entry);
        assert_eq!(super::super::codec::protobuf_from(&entry), Some(raw.entries[0].clone()));
    }

    #[test]
    fn an_append_is_the_same_in_parts() {
        let whole = PeerMessage(Message { log_term: 7, commit: 4, ..append(&[(4, 7), (5, 7)]) });
        assert!(whole.continues(7, 3));
        assert!(!whole.continues(7, 2) && !whole.continues(6, 3));
        let mut parts = PartialAppend::new(whole.from(), whole.to(), 7, 3);
        for number in 0..whole.entry_count() {
            let mut entry = Vec::new();
            whole.encode_entry(number, &mut entry);
            parts.push(&entry).expect("an entry");
        }
        assert_eq!(parts.finish(4), Ok(whole));
        let mut gap = PartialAppend::new(MemberId(1), MemberId(2), 7, 3);
        assert!(gap.push(b"\xff").is_err());
        gap.push(&[16, 7, 24, 5]).expect("an entry");
        assert!(gap.finish(0).is_err());
    }
}
