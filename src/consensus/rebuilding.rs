//! What rebuilding a member's state asks of consensus, whose log stays as it is.

use super::group::Group;
use crate::base::{LogIndex, Term};

impl Group {
    /// From here on this member does not stand for election: it votes and appends, but has no state to lead with.
    pub fn bar(&mut self) {
        self.barred = true;
    }

    /// It may stand again.
    pub fn unbar(&mut self) {
        self.barred = false;
    }

    /// Whether the log has this entry.
    pub fn holds(&self, (index, term): (LogIndex, Term)) -> bool {
        self.raw.raft.raft_log.match_term(index, term)
    }
}
