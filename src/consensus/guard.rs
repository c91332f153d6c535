//! What is looked at before a message reaches the raft crate, which asserts where a peer is wrong.
//!
//! A message that no sound peer sends is turned away: the connection's fault, not this member's. A message that shows
//! that somebody's log is not what it was is told as such: this member's ([`Admission::OwnLogLost`],
//! [`Admission::OwnLogDiffers`]), who must stop, or a peer's ([`Admission::PeerLogLost`]), who must not be counted.

use raft::eraftpb::{Message, MessageType};
use raft::{Raft, StateRole, Storage};

use std::io;

use crate::base::{Fault, LogIndex, MemberId, Wrong, limits};

/// What becomes of a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Admission {
    /// It may be stepped.
    Sound,
    /// No sound peer sends it.
    Malformed(&'static str),
    /// The leader counts on entries that this member acknowledged and does not have.
    OwnLogLost {
        /// The entry counted on.
        acknowledged: LogIndex,
        /// The last one there is.
        last: LogIndex,
    },
    /// The leader's log differs from this member's in an entry that is committed.
    OwnLogDiffers {
        /// The first such entry.
        index: LogIndex,
    },
    /// A peer lacks what it acknowledged.
    PeerLogLost {
        /// The entry it acknowledged.
        acknowledged: LogIndex,
        /// What it says it has.
        last: LogIndex,
    },
}

/// What a member says that ends because its log is not what it was.
pub(super) fn own_log_lost(acknowledged: LogIndex, last: LogIndex, leader: u64) -> Wrong {
    let what = format!(
        "the log ends at entry {last}, but this member acknowledged entry {acknowledged} to {}: entries were lost",
        MemberId(leader)
    );
    Wrong::corrupt("wal", 0, what)
}

/// What a member says that ends because the others went on without what is committed here: nothing here is damaged.
pub(super) fn own_log_differs(index: LogIndex, leader: u64) -> Wrong {
    let why = format!(
        "entry {index} is committed here, and the leader has another in its place: members that lost their data have \
         gone on without it. What was acknowledged may be left on this member alone: keep a copy of its data directory. \
         To go on with what is here, stop the others and start this one with --force-new-cluster; to go on with what \
         the others have, replace this member with an empty one"
    );
    let leader = format!("the leader {}", MemberId(leader));
    Fault::new("follow", leader, io::Error::other(why)).into()
}

pub(super) fn admit<T: Storage>(raft: &Raft<T>, message: &Message) -> Admission {
    if message.to != raft.id {
        return Admission::Malformed("it is for another member");
    }
    if message.from == 0 || message.from == raft.id {
        return Admission::Malformed("it is from nobody else");
    }
    let bytes: usize = message.entries.iter().map(|entry| entry.data.len()).sum();
    if bytes > limits::MAX_APPEND_BYTES {
        return Admission::Malformed("it carries more than an append may");
    }
    match message.get_msg_type() {
        MessageType::MsgPropose if message.entries.is_empty() => Admission::Malformed("a proposal of nothing"),
        MessageType::MsgReadIndex if message.entries.len() != 1 => Admission::Malformed("a read without a context"),
        MessageType::MsgPropose | MessageType::MsgReadIndex if message.term != 0 => {
            Admission::Malformed("what is passed on is of no term")
        }
        MessageType::MsgPropose | MessageType::MsgReadIndex => Admission::Sound,
        // Who does not lead would pass it on, and the crate asserts that what it passes on has no term: this one has.
        MessageType::MsgTransferLeader if raft.state != StateRole::Leader => {
            Admission::Malformed("a hand-over is asked of the leader alone")
        }
        MessageType::MsgTransferLeader => Admission::Sound,
        _ if message.term == 0 => Admission::Malformed("it is of no term"),
        MessageType::MsgAppend => append(raft, message),
        MessageType::MsgHeartbeat if message.term >= raft.term && message.commit > raft.raft_log.last_index() => {
            Admission::OwnLogLost { acknowledged: message.commit, last: raft.raft_log.last_index() }
        }
        MessageType::MsgAppendResponse => append_response(raft, message),
        MessageType::MsgSnapshot if message.get_snapshot().get_metadata().index == 0 => {
            Admission::Malformed("a snapshot of nothing")
        }
        _ => Admission::Sound,
    }
}

fn append<T: Storage>(raft: &Raft<T>, message: &Message) -> Admission {
    // The crate takes every index beyond its log for one of term 0, and would commit up to there.
    if message.index > 0 && message.log_term == 0 {
        return Admission::Malformed("it follows an entry of no term");
    }
    let (mut index, mut term) = (message.index, message.log_term);
    for entry in message.entries.iter() {
        let follows = entry.index == index.wrapping_add(1) && entry.term >= term && entry.term <= message.term;
        if !follows {
            return Admission::Malformed("its entries do not follow each other");
        }
        (index, term) = (entry.index, entry.term);
    }
    if message.term < raft.term {
        return Admission::Sound;
    }
    // Whoever leads holds every committed entry: one of another term there is no race, but damage. What is released
    // already cannot be compared; the crate says term 0 of it.
    let log = &raft.raft_log;
    let held = log.first_index()..=log.committed;
    let differs = |entry: &&raft::eraftpb::Entry| {
        held.contains(&entry.index) && log.term(entry.index).is_ok_and(|term| term != entry.term)
    };
    match message.entries.iter().find(differs) {
        Some(entry) => Admission::OwnLogDiffers { index: entry.index },
        None => Admission::Sound,
    }
}

/// Beyond what is refused: the crate counts an acknowledgement of what this leader does not have, and then tells the peer that
/// as much is committed, which ends it. A leader has all that it has sent in its term.
///
/// The crate lets the next index of a peer fall to what the peer has acknowledged, when a refusal points below it
/// (mended there after 0.7.0). A sound peer never does: what it acknowledged it has.
fn append_response<T: Storage>(raft: &Raft<T>, message: &Message) -> Admission {
    let own_term = message.term == raft.term && raft.state == StateRole::Leader;
    if own_term && !message.reject && message.index > raft.raft_log.last_index() {
        return Admission::Malformed("it acknowledges more than there is");
    }
    if !message.reject || message.request_snapshot != 0 || message.term != raft.term {
        return Admission::Sound;
    }
    let Some(progress) = raft.prs().get(message.from) else { return Admission::Sound };
    // An older refusal, overtaken by an acknowledgement, is passed over by the crate itself.
    if message.reject_hint < progress.matched && message.index > progress.matched {
        return Admission::PeerLogLost { acknowledged: progress.matched, last: message.reject_hint };
    }
    Admission::Sound
}

#[cfg(test)]
mod tests {
    use raft::Config;
    use raft::eraftpb::{Entry, Snapshot};
    use raft::storage::MemStorage;

    use super::super::message::PeerMessage;
    use super::*;
    use proptest::prelude::*;

    const OWN: u64 = 1;
    const PEER: u64 = 2;
    /// The member's term; its log holds entries 1 to 5 of term 2, of which 3 are committed.
    const TERM: u64 = 3;

    fn member() -> Raft<MemStorage> {
        let storage = MemStorage::new_with_conf_state((vec![OWN, PEER, 3], vec![]));
        let entries: Vec<Entry> = (1..=5).map(|index| entry(index, 2)).collect();
        storage.wl().append(&entries).expect("they follow each other");
        storage.wl().mut_hard_state().term = TERM;
        storage.wl().mut_hard_state().commit = 3;
        let config = Config { id: OWN, election_tick: 10, heartbeat_tick: 1, ..Config::default() };
        Raft::new(&config, storage, &slog::Logger::root(slog::Discard, slog::o!())).expect("a sound member")
    }

    /// The member leads, and the peer has acknowledged entry 4.
    fn leader() -> Raft<MemStorage> {
        let mut raft = member();
        raft.become_candidate();
        raft.become_leader();
        assert_eq!((raft.state, raft.term), (StateRole::Leader, TERM + 1));
        raft.mut_prs().get_mut(PEER).expect("it votes").matched = 4;
        raft
    }

    fn entry(index: u64, term: u64) -> Entry {
        Entry { index, term, ..Entry::default() }
    }

    fn message(kind: MessageType) -> Message {
        Message { msg_type: kind, from: PEER, to: OWN, term: TERM, ..Message::default() }
    }

    /// Entries behind this one.
    fn appending(behind: (u64, u64), entries: Vec<Entry>) -> Message {
        let (index, log_term) = behind;
        Message { index, log_term, entries: entries.into(), ..message(MessageType::MsgAppend) }
    }

    fn refusing(hint: u64, index: u64) -> Message {
        let kind = MessageType::MsgAppendResponse;
        Message { reject: true, reject_hint: hint, index, term: TERM + 1, ..message(kind) }
    }

    #[track_caller]
    fn malformed(raft: &Raft<MemStorage>, message: &Message, words: &'static str) {
        assert_eq!(admit(raft, message), Admission::Malformed(words));
    }

    #[track_caller]
    fn sound(raft: &Raft<MemStorage>, message: &Message) {
        assert_eq!(admit(raft, message), Admission::Sound);
    }

    #[test]
    fn who_it_is_from_and_for_is_looked_at() {
        let raft = member();
        let heartbeat = message(MessageType::MsgHeartbeat);
        sound(&raft, &heartbeat);
        malformed(&raft, &Message { to: 3, ..heartbeat.clone() }, "it is for another member");
        malformed(&raft, &Message { from: 0, ..heartbeat.clone() }, "it is from nobody else");
        malformed(&raft, &Message { from: OWN, ..heartbeat }, "it is from nobody else");
    }

    #[test]
    fn what_no_member_sends_is_turned_away() {
        let raft = member();
        let one = || vec![Entry::default()];
        let (propose, read) = (message(MessageType::MsgPropose), message(MessageType::MsgReadIndex));
        malformed(&raft, &propose, "a proposal of nothing");
        sound(&raft, &Message { entries: one().into(), term: 0, ..propose });
        malformed(&raft, &read, "a read without a context");
        malformed(
            &raft,
            &Message { entries: [one(), one()].concat().into(), ..read.clone() },
            "a read without a context",
        );
        sound(&raft, &Message { entries: one().into(), term: 0, ..read });
        malformed(
            &raft,
            &Message { entries: one().into(), ..message(MessageType::MsgReadIndex) },
            "what is passed on is of no term",
        );
        let hand_over = message(MessageType::MsgTransferLeader);
        malformed(&raft, &hand_over, "a hand-over is asked of the leader alone");
        sound(&leader(), &Message { term: TERM + 1, ..hand_over });
        malformed(&raft, &Message { term: 0, ..message(MessageType::MsgHeartbeat) }, "it is of no term");
        let mut snapshot = message(MessageType::MsgSnapshot);
        malformed(&raft, &snapshot, "a snapshot of nothing");
        let mut at = Snapshot::default();
        at.mut_metadata().index = 9;
        snapshot.set_snapshot(at);
        sound(&raft, &snapshot);
    }

    #[test]
    fn nobody_acknowledges_more_than_there_is() {
        let raft = leader();
        let last = raft.raft_log.last_index();
        let of = |index, term| Message { index, term, ..message(MessageType::MsgAppendResponse) };
        sound(&raft, &of(last, TERM + 1));
        malformed(&raft, &of(last + 1, TERM + 1), "it acknowledges more than there is");
        // Of an earlier term, the crate passes it over; to who does not lead, too.
        sound(&raft, &of(last + 1, TERM));
        sound(&member(), &of(9, TERM));
    }

    #[test]
    fn an_append_holds_what_it_may_and_no_more() {
        let raft = member();
        let of = |bytes: usize| {
            let mut heavy = entry(6, TERM);
            heavy.data = vec![0; bytes].into();
            appending((5, 2), vec![heavy])
        };
        sound(&raft, &of(limits::MAX_APPEND_BYTES));
        malformed(&raft, &of(limits::MAX_APPEND_BYTES + 1), "it carries more than an append may");
    }

    #[test]
    fn entries_follow_each_other() {
        let raft = member();
        let words = "its entries do not follow each other";
        sound(&raft, &appending((5, 2), vec![entry(6, 2), entry(7, TERM)]));
        malformed(&raft, &appending((5, 2), vec![entry(7, TERM)]), words);
        malformed(&raft, &appending((5, 2), vec![entry(6, TERM), entry(8, TERM)]), words);
        malformed(&raft, &appending((5, 2), vec![entry(6, TERM), entry(7, 2)]), words);
        malformed(&raft, &appending((5, 2), vec![entry(6, TERM + 1)]), words);
        malformed(&raft, &appending((u64::MAX, 2), vec![entry(1, TERM)]), words);
        malformed(&raft, &Message { commit: 9, ..appending((9, 0), vec![]) }, "it follows an entry of no term");
        sound(&raft, &Message { commit: 9, ..appending((0, 0), vec![entry(1, 2)]) });
    }

    #[test]
    fn what_is_committed_is_the_same_at_whoever_leads() {
        let raft = member();
        assert_eq!(
            admit(&raft, &appending((2, 2), vec![entry(3, TERM), entry(4, TERM)])),
            Admission::OwnLogDiffers { index: 3 }
        );
        sound(&raft, &appending((2, 2), vec![entry(3, 2), entry(4, TERM)]));
        sound(&raft, &appending((3, 2), vec![entry(4, TERM)]));
        // Of an old term, it is nobody who leads: the crate passes it over.
        let old = Message { term: TERM - 1, ..appending((2, 1), vec![entry(3, 1)]) };
        sound(&raft, &old);
    }

    #[test]
    fn a_heartbeat_counts_on_no_more_than_there_is() {
        let raft = member();
        let counting_on = |commit| Message { commit, ..message(MessageType::MsgHeartbeat) };
        sound(&raft, &counting_on(5));
        assert_eq!(admit(&raft, &counting_on(6)), Admission::OwnLogLost { acknowledged: 6, last: 5 });
        sound(&raft, &Message { term: TERM - 1, ..counting_on(6) });
    }

    #[test]
    fn a_refusal_of_what_was_acknowledged_is_a_lost_log() {
        let raft = leader();
        assert_eq!(admit(&raft, &refusing(3, 5)), Admission::PeerLogLost { acknowledged: 4, last: 3 });
        sound(&raft, &refusing(4, 5));
        // Overtaken by the acknowledgement.
        sound(&raft, &refusing(3, 4));
        sound(&raft, &Message { reject: false, ..refusing(3, 5) });
        sound(&raft, &Message { request_snapshot: 7, ..refusing(3, 5) });
        sound(&raft, &Message { term: TERM, ..refusing(3, 5) });
        sound(&raft, &Message { from: 9, ..refusing(3, 5) });
    }

    /// What members send each other.
    const KINDS: [MessageType; 14] = [
        MessageType::MsgPropose,
        MessageType::MsgAppend,
        MessageType::MsgAppendResponse,
        MessageType::MsgRequestVote,
        MessageType::MsgRequestVoteResponse,
        MessageType::MsgSnapshot,
        MessageType::MsgHeartbeat,
        MessageType::MsgHeartbeatResponse,
        MessageType::MsgTransferLeader,
        MessageType::MsgTimeoutNow,
        MessageType::MsgReadIndex,
        MessageType::MsgReadIndexResp,
        MessageType::MsgRequestPreVote,
        MessageType::MsgRequestPreVoteResponse,
    ];

    /// A message as anybody might make it up, of numbers around what the member holds, and far beyond.
    fn any_message() -> impl Strategy<Value = Message> {
        let number = || prop_oneof![8 => 0_u64..9, 1 => Just(1_000_000), 1 => Just((1_u64 << 62) - 1)];
        let kind = prop::sample::select(KINDS.as_slice());
        let entries = prop::collection::vec((number(), number()), 0..3);
        let numbers = (number(), number(), number(), number(), number());
        (kind, numbers, any::<bool>(), entries, number(), 2_u64..5).prop_map(
            |(kind, numbers, reject, entries, at, from)| {
                let (term, index, log_term, commit, reject_hint) = numbers;
                let entries: Vec<Entry> = entries.into_iter().map(|(index, term)| entry(index, term)).collect();
                let made = Message { term, index, log_term, commit, reject_hint, reject, from, ..message(kind) };
                let mut made = Message { entries: entries.into(), ..made };
                if kind == MessageType::MsgSnapshot {
                    let mut snapshot = Snapshot::default();
                    snapshot.mut_metadata().index = at;
                    snapshot.mut_metadata().term = log_term;
                    snapshot.mut_metadata().mut_conf_state().voters = vec![OWN, PEER, 3];
                    made.set_snapshot(snapshot);
                }
                made
            },
        )
    }

    proptest! {
        #[test]
        fn nothing_that_is_let_in_ends_a_member(role in 0..4, messages in prop::collection::vec(any_message(), 1..6)) {
            let mut raft = if role == 3 { leader() } else { member() };
            match role {
                1 => raft.become_follower(TERM, PEER),
                2 => raft.become_candidate(),
                _ => {}
            }
            for made in messages {
                // What is let in from a connection was judged as it was read.
                let mut bytes = Vec::new();
                PeerMessage(made).encode(&mut bytes);
                let Ok(Some(PeerMessage(made))) = PeerMessage::decode(&bytes) else { continue };
                if admit(&raft, &made) == Admission::Sound {
                    let _ = raft.step(made);
                    raft.msgs.clear();
                    let (last, prs) = (raft.raft_log.last_index(), raft.prs());
                    prop_assert!(raft.state != StateRole::Leader || prs.iter().all(|(_, peer)| peer.matched <= last));
                }
            }
        }
    }
}
