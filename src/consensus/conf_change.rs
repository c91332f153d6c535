//! Changes of the configuration as log entries: etcd's `raftpb.ConfChange`, field for field.
//!
//! The raft crate numbers the kinds otherwise than etcd does (it has no update, and calls 2 what etcd calls 3), and a
//! leader of the crate reads the payload of what is proposed to it. So the entries it holds carry the kind in a field it
//! does not know; everywhere else, in the log on the disk and between members, the payload is etcd's.

use bytes::Bytes;
use protobuf::{CodedInputStream, CodedOutputStream, ProtobufResult};
use raft::eraftpb::{Entry, EntryType};

use crate::base::{LogIndex, MemberId, Term};
use crate::wal::{EntryKind, LogEntry};

/// Where etcd has the kind.
const KIND: u32 = 2;

/// Where an entry of the crate has it.
const KIND_INSIDE: u32 = 5;

/// What happens to the member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConfChangeKind {
    /// It becomes a voter: a new one, or a learner that is promoted.
    Add,
    /// It belongs to the cluster no more.
    Remove,
    /// It is described anew; who votes stays.
    Update,
    /// It becomes a learner.
    AddLearner,
}

/// One change of one member.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfChange {
    /// The request that asked for it, 0 for none.
    pub id: u64,
    /// What happens.
    pub kind: ConfChangeKind,
    /// To whom.
    pub member: MemberId,
    /// What the machine is told: a member in etcd's JSON.
    pub context: Bytes,
}

impl ConfChangeKind {
    fn number(self) -> i32 {
        match self {
            Self::Add => 0,
            Self::Remove => 1,
            Self::Update => 2,
            Self::AddLearner => 3,
        }
    }

    fn from_number(number: i32) -> Option<Self> {
        [Self::Add, Self::Remove, Self::Update, Self::AddLearner].into_iter().find(|kind| kind.number() == number)
    }
}

impl ConfChange {
    /// The payload of its entry.
    pub fn encode(&self) -> Bytes {
        self.encode_with(KIND)
    }

    fn encode_with(&self, kind_field: u32) -> Bytes {
        let mut out = Vec::new();
        self.write(kind_field, &mut out).expect("a buffer in memory grows");
        out.into()
    }

    fn write(&self, kind_field: u32, out: &mut Vec<u8>) -> ProtobufResult<()> {
        let mut stream = CodedOutputStream::vec(out);
        if self.id != 0 {
            stream.write_uint64(1, self.id)?;
        }
        if self.kind.number() != 0 {
            stream.write_enum(kind_field, self.kind.number())?;
        }
        if self.member.0 != 0 {
            stream.write_uint64(3, self.member.0)?;
        }
        if !self.context.is_empty() {
            stream.write_bytes(4, &self.context)?;
        }
        stream.flush()
    }

    /// Reads a payload; nothing where it is none. Any bytes may be given.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let (mut id, mut number, mut member, mut context) = (0, 0, 0, Bytes::new());
        let mut stream = CodedInputStream::from_bytes(payload);
        while !stream.eof().ok()? {
            let (field, wire) = stream.read_tag_unpack().ok()?;
            match (field, wire) {
                (1, protobuf::wire_format::WireTypeVarint) => id = stream.read_uint64().ok()?,
                (KIND | KIND_INSIDE, protobuf::wire_format::WireTypeVarint) => number = stream.read_int32().ok()?,
                (3, protobuf::wire_format::WireTypeVarint) => member = stream.read_uint64().ok()?,
                (4, protobuf::wire_format::WireTypeLengthDelimited) => context = stream.read_bytes().ok()?.into(),
                (_, wire) => stream.skip_field(wire).ok()?,
            }
        }
        Some(Self { id, kind: ConfChangeKind::from_number(number)?, member: MemberId(member), context })
    }

    /// What the raft crate is to change; nothing where the voters stay as they are.
    pub(super) fn for_raft(&self) -> Option<raft::eraftpb::ConfChange> {
        use raft::eraftpb::ConfChangeType;
        let kind = match self.kind {
            ConfChangeKind::Add => ConfChangeType::AddNode,
            ConfChangeKind::Remove => ConfChangeType::RemoveNode,
            ConfChangeKind::AddLearner => ConfChangeType::AddLearnerNode,
            ConfChangeKind::Update => return None,
        };
        let mut change = raft::eraftpb::ConfChange { node_id: self.member.0, ..Default::default() };
        change.set_change_type(kind);
        Some(change)
    }
}

/// Gives an entry the form the crate can read. One that cannot be read stays as it is: no leader takes it.
pub(super) fn to_inside(entry: &mut Entry) {
    rewrite(entry, KIND_INSIDE);
}

/// Gives an entry etcd's form.
pub(super) fn to_outside(entry: &mut Entry) {
    rewrite(entry, KIND);
}

fn rewrite(entry: &mut Entry, kind_field: u32) {
    if entry.get_entry_type() == EntryType::EntryConfChange
        && let Some(change) = ConfChange::decode(&entry.data)
    {
        entry.data = change.encode_with(kind_field);
    }
}

/// The log entry that brings a founding member into the configuration, as etcd writes it.
pub fn founding_entry(index: LogIndex, member: MemberId, context: Bytes) -> LogEntry {
    let change = ConfChange { id: 0, kind: ConfChangeKind::Add, member, context };
    LogEntry { index, term: 1 as Term, kind: EntryKind::ConfChange, data: change.encode() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_is_etcds() {
        let change = ConfChange {
            id: 5,
            kind: ConfChangeKind::AddLearner,
            member: MemberId(300),
            context: Bytes::from_static(b"{}"),
        };
        assert_eq!(&change.encode()[..], b"\x08\x05\x10\x03\x18\xac\x02\x22\x02{}");
        assert_eq!(ConfChange::decode(&change.encode()), Some(change));
    }

    #[test]
    fn the_crate_reads_what_it_holds_and_nothing_is_lost_on_the_way() {
        use protobuf::Message;
        for kind in [ConfChangeKind::Add, ConfChangeKind::Remove, ConfChangeKind::Update, ConfChangeKind::AddLearner] {
            let change = ConfChange { id: 9, kind, member: MemberId(4), context: Bytes::from_static(b"{}") };
            let mut entry = Entry { data: change.encode(), ..Entry::default() };
            entry.set_entry_type(EntryType::EntryConfChange);
            to_inside(&mut entry);
            assert!(raft::eraftpb::ConfChange::parse_from_bytes(&entry.data).is_ok(), "{kind:?}");
            to_outside(&mut entry);
            assert_eq!(entry.data, change.encode());
        }
    }

    #[test]
    fn what_is_no_change_is_refused() {
        assert_eq!(ConfChange::decode(b"\x10\x09"), None, "a kind that is not known");
        assert_eq!(ConfChange::decode(b"\x08"), None, "cut off");
        let later = ConfChange::decode(b"\x18\x01\x2a\x01x").expect("a field of a later version is passed over");
        assert_eq!(later.member, MemberId(1));
    }
}
