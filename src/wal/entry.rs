//! The words of the raft log, free of any raft library.

use bytes::Bytes;

use crate::base::{ClusterId, LogIndex, MemberId, Term};

/// What an entry's data is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EntryKind {
    /// A command, or nothing where a leader begins its term.
    Normal,
    /// A change of one member.
    ConfChange,
    /// A change of members, in the newer form.
    ConfChangeV2,
}

impl EntryKind {
    pub(super) fn to_byte(self) -> u8 {
        match self {
            Self::Normal => 0,
            Self::ConfChange => 1,
            Self::ConfChangeV2 => 2,
        }
    }

    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Normal),
            1 => Some(Self::ConfChange),
            2 => Some(Self::ConfChangeV2),
            _ => None,
        }
    }
}

/// One entry of the raft log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogEntry {
    /// Its position, from 1.
    pub index: LogIndex,
    /// The term of the leader that made it.
    pub term: Term,
    /// What the data is.
    pub kind: EntryKind,
    /// The payload.
    pub data: Bytes,
}

/// What a raft member must never forget besides its entries.
#[derive(Default, Clone, Copy, PartialEq, Eq, Debug)]
pub struct HardState {
    /// The newest term it has seen.
    pub term: Term,
    /// Whom it voted for in that term, or 0.
    pub vote: u64,
    /// The newest entry it knows to be committed.
    pub commit: LogIndex,
}

/// What is written with one write and made durable with one sync.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Batch {
    /// The new hard state; `None` leaves it as it is.
    pub hard_state: Option<HardState>,
    /// Entries with indexes that follow each other without gap. They replace whatever the log held from the
    /// first one's index on.
    pub entries: Vec<LogEntry>,
}

impl Batch {
    /// Whether there is nothing to make durable.
    pub fn is_empty(&self) -> bool {
        self.hard_state.is_none() && self.entries.is_empty()
    }
}

/// Whose log it is; stored in every segment, so that a log moved to another member is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WalIdentity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The member.
    pub member: MemberId,
}

/// What recovery found at the end of the log.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct TailReport {
    /// The segment in which the log ends; relative to the data directory.
    pub file: String,
    /// Where it ends, in bytes.
    pub offset: u64,
    /// Bytes behind that which a write cut off by a crash had left and which are gone now; 0 if the log ended
    /// cleanly. Nothing of it was ever synced.
    pub torn_bytes: u64,
    /// Whole later segments that such writes had begun and which are gone now.
    pub torn_segments: u64,
}
