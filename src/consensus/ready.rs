//! What a group wants done, taken apart.

use raft::eraftpb::{Entry, EntryType};

use crate::base::{LogIndex, Term};
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
    LogEntry { index: entry.index, term: entry.term, kind, data: entry.data.clone() }
}

pub(super) fn raft_entry(entry: LogEntry) -> Entry {
    let mut out = Entry { index: entry.index, term: entry.term, data: entry.data, ..Entry::default() };
    out.set_entry_type(match entry.kind {
        EntryKind::Normal => EntryType::EntryNormal,
        EntryKind::ConfChange => EntryType::EntryConfChange,
        EntryKind::ConfChangeV2 => EntryType::EntryConfChangeV2,
    });
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

/// A read attempt's number as the context the raft crate carries; unique for ever, because the crate keys
/// pending reads by it and a reused one could confirm a stale read.
pub(super) fn read_context(term: Term, attempt: u64) -> Vec<u8> {
    let mut context = Vec::with_capacity(16);
    context.extend_from_slice(&term.to_be_bytes());
    context.extend_from_slice(&attempt.to_be_bytes());
    context
}

pub(super) fn attempt_of(context: &[u8]) -> Option<u64> {
    context.get(8..16).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes)
}
