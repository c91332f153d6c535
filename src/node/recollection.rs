//! What the others remember of a member that has started, until it is known that it has what it promised.
//!
//! Invariant: of those who ask for a vote meanwhile the last request waits, and nothing else. Does not know what follows.

use std::collections::BTreeMap;
use std::fmt;

use crate::base::MemberId;
use crate::consensus::{Forgotten, MessageKind, PeerMessage, Promise, Remembered};
use crate::env::Instant;

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Recollection {
    pub(super) doubts: bool,
    /// Since when.
    pub(super) since: Option<Instant>,
    /// The last answer of each, and when it came.
    pub(super) answers: BTreeMap<MemberId, (Instant, Remembered)>,
    /// What of it is not here, and by whose word.
    pub(super) forgotten: Option<(MemberId, Forgotten)>,
    /// All promises of which something is not here.
    pub(super) lost: Promise,
    /// Requests for a vote that wait.
    held: BTreeMap<MemberId, PeerMessage>,
}

impl Recollection {
    /// Lets a request for a vote wait; whether it does.
    pub(super) fn holds_back(&mut self, message: &PeerMessage) -> bool {
        let asks = matches!(message.kind(), MessageKind::Vote | MessageKind::PreVote);
        if self.doubts && asks {
            self.held.insert(message.from(), message.clone());
        }
        self.doubts && asks
    }

    /// What waited.
    pub(super) fn take_held(&mut self) -> Vec<PeerMessage> {
        std::mem::take(&mut self.held).into_values().collect()
    }
}

/// What a member knows of its own memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Recalled {
    /// It has what it promised, as far as anybody knows.
    Whole,
    /// Not enough of the others have answered.
    Waits,
    /// It has forgotten something.
    Forgets {
        /// Who says so.
        from: MemberId,
        /// What.
        what: Forgotten,
        /// It leads all the same: it was found out too late.
        leads: bool,
    },
    /// It had, and a leader elected without it has given it everything again.
    Restored,
}

impl fmt::Display for Recalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => f.write_str("the disk holds what this member promised"),
            Self::Waits => f.write_str("others have still to say what this member promised"),
            Self::Forgets { from, what, .. } => {
                write!(f, "this member's disk is older than what it promised: {from} remembers that {what}")
            }
            Self::Restored => {
                f.write_str("the disk was older than what this member promised; the leader has sent what was missing")
            }
        }
    }
}
