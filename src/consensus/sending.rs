//! Snapshots for other members, as far as consensus has a part in them: their heads, what became of them, and the log that is to
//! go on behind them.

use raft::eraftpb::{Message, MessageType};
use raft::{ProgressState, SnapshotStatus, StateRole};

use super::group::Group;
use super::message::PeerMessage;
use crate::base::{LogIndex, MemberId};

/// What of the log and of messages is in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LogHeld {
    /// Entries.
    pub entries: usize,
    /// Bytes of their payloads.
    pub bytes: usize,
    /// Bytes of entries handed out and not known durable.
    pub undurable_bytes: usize,
    /// Messages that wait for a round to become durable.
    pub held_back: usize,
    /// Index of the last entry, be it not handed out yet.
    pub last: LogIndex,
}

impl Group {
    /// What is in memory now.
    pub fn held(&self) -> LogHeld {
        let (entries, bytes) = self.raw.store().held();
        let last = self.raw.raft.raft_log.last_index();
        LogHeld { entries, bytes, undurable_bytes: self.undurable_bytes, held_back: self.outbox.len(), last }
    }

    /// Stamps the head of a snapshot with the state that is sent with it: what is applied now, which may be more than
    /// when the snapshot was called for.
    pub fn stamp_snapshot(&self, message: &mut PeerMessage) {
        message.0.set_snapshot(self.raw.store().snapshot_of_applied());
    }

    /// The head of a snapshot of what is applied, for a member that asked for it by itself.
    pub fn snapshot_head(&self, to: MemberId) -> PeerMessage {
        let mut message = Message { from: self.raw.raft.id, to: to.0, term: self.raw.raft.term, ..Message::default() };
        message.set_msg_type(MessageType::MsgSnapshot);
        message.set_snapshot(self.raw.store().snapshot_of_applied());
        PeerMessage(message)
    }

    /// What became of a snapshot that was sent.
    pub fn snapshot_sent(&mut self, member: MemberId, arrived: bool) {
        let status = if arrived { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
        self.raw.report_snapshot(member.0, status);
        self.settle();
    }

    /// Whether the log that is held goes on behind this entry: for whoever has the state up to it.
    pub fn goes_on_behind(&self, index: LogIndex) -> bool {
        self.raw.store().begins_behind() <= index
    }

    /// Whether this member's disk knows of the present term.
    pub fn is_term_durable(&self) -> bool {
        self.outbox.durable_term() >= self.raw.raft.term
    }

    /// The entry behind which the log that is held begins.
    pub fn begins_behind(&self) -> LogIndex {
        self.raw.store().begins_behind()
    }

    /// Bytes of the log that is held behind this entry. Looks at each of them.
    pub fn bytes_behind(&self, index: LogIndex) -> usize {
        self.raw.store().bytes_behind(index)
    }

    /// The first place behind which, up to `upto`, lie no more than so many entries and bytes of the log.
    pub fn kept_behind(&self, upto: LogIndex, entries: u64, bytes: usize) -> LogIndex {
        self.raw.store().kept_behind(upto, entries, bytes)
    }

    /// How far the slowest of the others has the log, of those that are there and take it. Only a leader knows.
    pub fn slowest(&self) -> Option<LogIndex> {
        let raft = &self.raw.raft;
        if raft.state != StateRole::Leader {
            return None;
        }
        let others = raft.prs().iter().filter(|(id, _)| **id != raft.id).map(|(_, progress)| progress);
        let there = others.filter(|other| other.state == ProgressState::Replicate && other.recent_active);
        there.map(|other| other.matched).min()
    }

    /// Whether there is nobody else, neither with a vote nor without.
    pub fn is_alone(&self) -> bool {
        let raft = &self.raw.raft;
        raft.prs().iter().all(|(id, _)| *id == raft.id)
    }

    /// Whether a member is known to have the log up to this entry. Only a leader knows.
    pub fn has_reached(&self, member: MemberId, index: LogIndex) -> bool {
        self.raw.raft.prs().get(member.0).is_some_and(|progress| progress.matched >= index)
    }
}
