//! What a group wants done, taken apart.

use raft::eraftpb::{Entry, EntryType};

use super::conf_change;
use super::message::{MessageKind, PeerMessage};
use crate::base::{LogIndex, MemberId, Term};
use crate::wal::{Batch, EntryKind, HardState, LogEntry};

/// A read whose index the group has confirmed: it may be served once that index is applied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfirmedRead {
    /// What [`super::Group::read_index`] was given.
    pub attempt: u64,
    /// The index the state must have reached.
    pub index: LogIndex,
}

/// One round of work of a group.
#[derive(Debug, Default)]
pub struct Ready {
    /// To be acknowledged by [`super::Group::persisted`] once `batch` is durable.
    pub number: u64,
    /// To be made durable; where it is empty there is nothing to acknowledge.
    pub batch: Batch,
    /// The snapshot whose state replaces this member's. It is to be made durable as part of this round, before `batch`,
    /// and the log cut behind it; what is committed from now on comes after it.
    pub snapshot: Option<(LogIndex, Term)>,
    /// To be sent: they may leave now. Those that promise something come later, of [`super::Group::persisted`].
    pub messages: Vec<PeerMessage>,
    /// To be applied, in order. They are durable here already.
    pub committed: Vec<LogEntry>,
    /// Reads confirmed since the last round.
    pub reads: Vec<ConfirmedRead>,
}

pub(super) fn log_entry(entry: &Entry) -> LogEntry {
    let kind = match entry.get_entry_type() {
        EntryType::EntryNormal => EntryKind::Normal,
        EntryType::EntryConfChange => EntryKind::ConfChange,
        EntryType::EntryConfChangeV2 => EntryKind::ConfChangeV2,
    };
    let data = match kind {
        EntryKind::ConfChange => {
            let mut outside = entry.clone();
            conf_change::to_outside(&mut outside);
            outside.data
        }
        _ => entry.data.clone(),
    };
    LogEntry { index: entry.index, term: entry.term, kind, data }
}

/// What a member passes on to its leader to be proposed, as it would be committed; nothing of other messages.
pub fn passed_on(message: &PeerMessage) -> Vec<LogEntry> {
    if message.kind() == MessageKind::Propose { message.0.entries.iter().map(log_entry).collect() } else { Vec::new() }
}

pub(super) fn raft_entry(entry: LogEntry) -> Entry {
    let mut out = Entry { index: entry.index, term: entry.term, data: entry.data, ..Entry::default() };
    out.set_entry_type(match entry.kind {
        EntryKind::Normal => EntryType::EntryNormal,
        EntryKind::ConfChange => EntryType::EntryConfChange,
        EntryKind::ConfChangeV2 => EntryType::EntryConfChangeV2,
    });
    conf_change::to_inside(&mut out);
    out
}

pub(super) fn hard_state(state: &raft::eraftpb::HardState) -> HardState {
    HardState { term: state.term, vote: state.vote, commit: state.commit }
}

pub(super) fn raft_hard_state(state: HardState) -> raft::eraftpb::HardState {
    raft::eraftpb::HardState {
        term: state.term,
        vote: state.vote,
        commit: state.commit,
        ..raft::eraftpb::HardState::default()
    }
}

/// What a read attempt carries through the group, and what tells it from every other: the crate keys pending reads by
/// it, over all members, and one used twice could confirm a stale read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ReadStamp {
    /// Who asks.
    pub member: MemberId,
    /// Drawn at each start of the member.
    pub nonce: u64,
    /// Counted by the asker.
    pub attempt: u64,
}

impl ReadStamp {
    pub(super) fn encode(self) -> Vec<u8> {
        [self.member.0, self.nonce, self.attempt].iter().flat_map(|part| part.to_be_bytes()).collect()
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; 24] = bytes.try_into().ok()?;
        let part = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        Some(Self { member: MemberId(part(0)), nonce: part(8), attempt: part(16) })
    }
}
