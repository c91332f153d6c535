//! Messages on their way out: which may leave at once, and which wait for a sync.
//!
//! Raft's promises are kept by its member's disk. So a message leaves
//! - never before its term is durable here, or a second life could speak in that term otherwise (a pre-vote speaks of
//!   a term to come and promises nothing);
//! - not before the round it belongs to is durable, where it promises something: an appended entry, a vote.
//!
//! Everything else, a leader's appends and heartbeats above all, leaves at once, in parallel with the local sync (the
//! raft thesis, 10.2.1).

use std::collections::VecDeque;

use super::message::{MessageKind, PeerMessage};
use crate::base::Term;

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Terms handed to the log and not known durable, by round.
    terms: VecDeque<(u64, Term)>,
    durable_term: Term,
    /// Messages that wait for a round, in the order of rounds.
    held: VecDeque<(u64, PeerMessage)>,
}

impl Outbox {
    /// What was read from the disk is durable.
    pub(super) fn new(durable_term: Term) -> Self {
        Self { durable_term, ..Self::default() }
    }

    /// A round that carries this term was handed to the log.
    pub(super) fn handed_out(&mut self, round: u64, term: Term) {
        if self.terms.back().map_or(self.durable_term, |(_, last)| *last) < term {
            self.terms.push_back((round, term));
        }
    }

    /// Takes a message of a round; gives it back where it may leave at once. `round` is the last one handed to the
    /// log, `settled` says that it is durable.
    pub(super) fn post(&mut self, round: u64, settled: bool, message: PeerMessage) -> Option<PeerMessage> {
        if settled || self.is_free(&message) {
            return Some(message);
        }
        self.held.push_back((round, message));
        None
    }

    fn is_free(&self, message: &PeerMessage) -> bool {
        match message.kind() {
            MessageKind::PreVote | MessageKind::PreVoteResponse => true,
            MessageKind::Vote | MessageKind::VoteResponse | MessageKind::AppendResponse => false,
            _ => message.term() <= self.durable_term,
        }
    }

    /// The rounds up to this one are durable; the messages that may leave now.
    pub(super) fn persisted(&mut self, round: u64) -> Vec<PeerMessage> {
        while let Some((_, term)) = self.terms.front().filter(|(of, _)| *of <= round) {
            self.durable_term = *term;
            self.terms.pop_front();
        }
        let ready = self.held.iter().take_while(|(of, _)| *of <= round).count();
        self.held.drain(..ready).map(|(_, message)| message).collect()
    }
}

/// A member speaks for itself alone, and what it says to another is taken for its own. Where others still took it for the
/// leader, the crate passes on what they passed on, in their name: a proposal leaves as this member's own, because nobody
/// answers it; a read is not passed on, because its answer would not find the way back, and whoever asked asks again.
pub(super) fn in_own_name(own: u64, mut message: PeerMessage) -> Option<PeerMessage> {
    if message.0.from == own {
        return Some(message);
    }
    message.0.from = own;
    (message.kind() == MessageKind::Propose).then_some(message)
}

#[cfg(test)]
mod tests {
    use raft::eraftpb::{Message, MessageType};

    use super::*;

    fn message(kind: MessageType, term: Term) -> PeerMessage {
        let mut message = Message { term, ..Message::default() };
        message.set_msg_type(kind);
        PeerMessage(message)
    }

    #[test]
    fn promises_wait_for_their_round_and_news_does_not() {
        let mut outbox = Outbox::new(3);
        let leaves = |outbox: &mut Outbox, kind| outbox.post(7, false, message(kind, 3)).is_some();
        assert!(leaves(&mut outbox, MessageType::MsgAppend));
        assert!(leaves(&mut outbox, MessageType::MsgHeartbeatResponse));
        assert!(!leaves(&mut outbox, MessageType::MsgAppendResponse));
        assert!(!leaves(&mut outbox, MessageType::MsgRequestVoteResponse));
        assert!(outbox.persisted(6).is_empty());
        assert_eq!(outbox.persisted(7).len(), 2);
        assert!(outbox.post(7, true, message(MessageType::MsgRequestVote, 3)).is_some(), "nothing is under way");
    }

    #[test]
    fn what_others_passed_on_leaves_in_the_members_own_name_or_not_at_all() {
        let passed = |kind, from| {
            let mut message = message(kind, 0);
            message.0.from = from;
            in_own_name(2, message).map(|message| message.from())
        };
        let own = Some(crate::base::MemberId(2));
        assert_eq!(passed(MessageType::MsgPropose, 1), own);
        assert_eq!(passed(MessageType::MsgPropose, 2), own);
        assert_eq!(passed(MessageType::MsgReadIndex, 2), own);
        assert_eq!(passed(MessageType::MsgReadIndex, 1), None);
    }

    #[test]
    fn nothing_is_said_in_a_term_that_is_not_durable() {
        let mut outbox = Outbox::new(3);
        outbox.handed_out(7, 4);
        assert!(outbox.post(7, false, message(MessageType::MsgAppend, 4)).is_none());
        assert!(outbox.post(7, false, message(MessageType::MsgRequestPreVote, 5)).is_some());
        assert!(outbox.post(7, false, message(MessageType::MsgPropose, 0)).is_some(), "passed on, in no term");
        assert_eq!(outbox.persisted(7).len(), 1);
        assert!(outbox.post(8, false, message(MessageType::MsgHeartbeat, 4)).is_some());
    }
}
