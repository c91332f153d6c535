//! What rebuilding a member's state asks of consensus, whose log stays as it is.

use raft::eraftpb::{Message, MessageType};

use super::group::Group;
use super::message::PeerMessage;
use crate::base::{LogIndex, MemberId, Term};

impl Group {
    /// From here on this member does not stand for election: it votes and appends, but has no state to lead with.
    pub fn bar(&mut self) {
        self.barred = true;
    }

    /// It may stand again.
    pub fn unbar(&mut self) {
        self.barred = false;
    }

    /// The head of a snapshot of what is applied, for a member that asked for it by itself.
    pub fn snapshot_head(&self, to: MemberId) -> PeerMessage {
        let mut message = Message { from: self.raw.raft.id, to: to.0, term: self.raw.raft.term, ..Message::default() };
        message.set_msg_type(MessageType::MsgSnapshot);
        message.set_snapshot(self.raw.store().snapshot_of_applied());
        PeerMessage(message)
    }

    /// Whether the log has this entry.
    pub fn holds(&self, (index, term): (LogIndex, Term)) -> bool {
        self.raw.raft.raft_log.match_term(index, term)
    }
}
