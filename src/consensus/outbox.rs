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

use raft::eraftpb::{Message, MessageType};

use super::message::{MessageKind, PeerMessage};
use crate::base::{Term, limits};

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

    /// The term that is durable here.
    pub(super) fn durable_term(&self) -> Term {
        self.durable_term
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.held.len()
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
        joined(self.held.drain(..ready).map(|(_, message)| message).collect())
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

/// Puts together what goes to one peer in one go and says the same as one message: an append that goes on where the one
/// before ends, or only tells a later commit index; an acknowledgement that covers the one before. The crate writes one
/// for every step, and each costs both ends as much as a whole batch.
pub(super) fn joined(messages: Vec<PeerMessage>) -> Vec<PeerMessage> {
    // Each with the bytes of its entries: counted anew for every step, a long append would cost its length squared.
    let mut joined: Vec<(PeerMessage, usize)> = Vec::with_capacity(messages.len());
    for PeerMessage(mut message) in messages {
        let bytes = message.entries.iter().map(|entry| entry.data.len()).sum::<usize>();
        match joined.iter_mut().rev().find(|(last, _)| last.0.to == message.to) {
            Some((PeerMessage(last), before)) if goes_on((last, *before), (&message, bytes)) => {
                last.commit = last.commit.max(message.commit);
                *before += bytes;
                for entry in std::mem::take(&mut message.entries) {
                    last.entries.push(entry);
                }
            }
            Some((PeerMessage(last), before)) if covers(&message, last) => (*last, *before) = (message, bytes),
            _ => joined.push((PeerMessage(message), bytes)),
        }
    }
    joined.into_iter().map(|(message, _)| message).collect()
}

fn goes_on((last, before): (&Message, usize), (next, bytes): (&Message, usize)) -> bool {
    let plain = |message: &Message| {
        message.get_msg_type() == MessageType::MsgAppend && message.context.is_empty() && message.request_snapshot == 0
    };
    let end = last.entries.last().map_or((last.index, last.log_term), |entry| (entry.index, entry.term));
    plain(last)
        && plain(next)
        && last.term == next.term
        && last.from == next.from
        && end == (next.index, next.log_term)
        && last.entries.len() + next.entries.len() <= limits::PEER_MESSAGE_ENTRIES
        && (next.entries.is_empty() || before + bytes <= limits::APPEND_BYTES)
}

fn covers(next: &Message, last: &Message) -> bool {
    let plain = |message: &Message| {
        message.get_msg_type() == MessageType::MsgAppendResponse
            && !message.reject
            && message.context.is_empty()
            && message.request_snapshot == 0
    };
    plain(last)
        && plain(next)
        && last.term == next.term
        && last.from == next.from
        && next.index >= last.index
        && next.commit >= last.commit
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use raft::eraftpb::Entry;

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

    fn append(to: u64, index: u64, commit: u64, sizes: &[usize]) -> PeerMessage {
        let mut append = message(MessageType::MsgAppend, 3);
        (append.0.to, append.0.index, append.0.log_term, append.0.commit) = (to, index, 3, commit);
        for (place, size) in sizes.iter().enumerate() {
            let data = vec![7; *size].into();
            append.0.entries.push(Entry { index: index + 1 + place as u64, term: 3, data, ..Entry::default() });
        }
        append
    }

    fn acknowledgement(index: u64, reject: bool) -> PeerMessage {
        let mut response = message(MessageType::MsgAppendResponse, 3);
        (response.0.to, response.0.index, response.0.reject) = (2, index, reject);
        response
    }

    #[test]
    fn acknowledgements_become_one_and_refusals_stay() {
        let said = [acknowledgement(4, false), acknowledgement(7, false), acknowledgement(7, true)];
        let said: Vec<(u64, bool)> = joined(said.to_vec()).iter().map(|said| (said.0.index, said.0.reject)).collect();
        assert_eq!(said, [(7, false), (7, true)]);
        let back = joined(vec![acknowledgement(7, false), acknowledgement(4, false)]);
        assert_eq!(back.len(), 2, "what is said of less covers nothing");
    }

    #[test]
    fn what_does_not_go_on_stays_apart() {
        let apart = |one: PeerMessage, other: PeerMessage| joined(vec![one, other]).len() == 2;
        assert!(!apart(append(2, 5, 4, &[1]), append(2, 6, 6, &[])));
        assert!(apart(append(2, 5, 4, &[1]), append(3, 6, 6, &[])), "to another");
        assert!(apart(append(2, 5, 4, &[1]), append(2, 7, 6, &[1])), "a gap");
        assert!(apart(append(2, 5, 4, &[1]), append(2, 5, 4, &[1])), "sent again");
        assert!(apart(append(2, 5, 4, &[limits::APPEND_BYTES]), append(2, 6, 4, &[1])), "larger than an append may be");
        let mut later = append(2, 6, 6, &[1]);
        later.0.term = 4;
        assert!(apart(append(2, 5, 4, &[1]), later), "of another term");
    }

    proptest! {
        #[test]
        fn joined_appends_say_what_they_said(
            steps in proptest::collection::vec((2..4_u64, proptest::collection::vec(0..40_usize, 0..4)), 0..20),
        ) {
            let mut next = [10_u64; 4];
            let mut sent = Vec::new();
            for (number, (to, sizes)) in steps.iter().enumerate() {
                sent.push(append(*to, next[*to as usize], number as u64, sizes));
                next[*to as usize] += sizes.len() as u64;
            }
            let told = |messages: &[PeerMessage], to: u64| {
                let to = messages.iter().filter(|message| message.0.to == to);
                let entries = to.clone().flat_map(|message| message.0.entries.iter().cloned()).collect::<Vec<_>>();
                (entries, to.map(|message| message.0.commit).max())
            };
            let out = joined(sent.clone());
            prop_assert!(out.len() <= 2);
            for to in [2, 3] {
                prop_assert_eq!(told(&sent, to), told(&out, to));
            }
        }
    }
}
