//! Bounds: what a member holds in memory has limits, and when nothing is under way it holds nothing that somebody waits for,
//! and of its log no more than its flags say.

use quorate::base::{Term, limits};
use quorate::consensus::{Role, Standing};
use quorate::node::{Held, TurnWork};
use quorate::peer::PeerTraffic;

use super::{Verdict, require};
use crate::plan::{Holding, Setting};

/// What the records of one entry take beside its own bytes, and what is deleted while history waits to be written.
const RECORDS: usize = 64 * 1024;

/// What a record of the history takes beside the value, which the entry has.
const RECORD: usize = 256;

/// What holds at every moment, where the largest entry of all logs has so many bytes, this was the last turn's work, and `before`
/// it so many bytes of history were not written.
pub fn within(held: &Held, holding: &Holding, (work, before): (&TurnWork, usize), largest: usize) -> Verdict {
    // What is larger than all that is allowed is taken where it is alone.
    let one = limits::MAX_REQUEST_BYTES;
    let batch = limits::MAX_APPEND_BYTES + limits::MAX_BATCH_BYTES;
    // What was taken in before may still be committed.
    let unapplied = holding.unapplied + limits::MAX_PENDING_BYTES + limits::MAX_PASSED_ON_BYTES_WAITING + batch;
    // Nothing waits for a disk that was given nothing.
    let unwritten = holding.unwritten.max(holding.gathered + work.entry_bytes + RECORD * work.changes);
    let holds = held.proposals <= limits::MAX_PENDING_REQUESTS + limits::MAX_URGENT_REQUESTS
        && held.proposal_bytes <= limits::MAX_PENDING_BYTES + limits::MAX_URGENT_BYTES
        && held.reads <= limits::MAX_PENDING_READS
        && held.passed_on_bytes <= limits::MAX_PASSED_ON_BYTES_WAITING + one
        && held.unapplied_bytes <= unapplied
        // What one turn made before any of it was handed out waits for the disk in those that follow.
        && held.unwritten_bytes <= before.max(unwritten + largest + RECORDS)
        && held.watch_bytes <= holding.watch_bytes
        && held.watch_messages <= 2 * holding.watch_messages
        && held.undurable_bytes <= limits::MAX_UNDURABLE_BYTES + batch;
    require(holds, "what is held is bounded", || {
        format!("{held:?} of {holding:?}, the largest entry is of {largest} bytes, {work:?}")
    })
}

/// What a member held after its last turn, and what it may take in although it has no room for more: the first entry of each term that
/// it leads, once.
#[derive(Default)]
pub struct Intake {
    last: Option<Held>,
    /// Of no term up to this one a first entry of its own is to come any more.
    settled: Term,
}

impl Intake {
    /// What it held after its last turn; nothing where another's state came since.
    pub fn last(&self) -> Option<&Held> {
        self.last.as_ref()
    }

    /// Another's state came: what is taken in now is held against nothing that was before.
    pub fn forget(&mut self) {
        self.last = None;
    }

    /// A turn is over, after which the member holds this and stands so: whether it took in what it had no room for.
    pub fn turned(&mut self, held: &Held, standing: &Standing) -> Verdict {
        let leads = standing.role == Role::Leader;
        let follows = !leads && standing.leader.is_some();
        // It may have led in each term that passed, but for the one in which another leads.
        let due = (standing.term - u64::from(follows)).saturating_sub(self.settled);
        let before = self.last.replace(*held);
        let full = before.filter(|before| before.lacks_room);
        let more = full.map_or(0, |before| held.last_log.saturating_sub(before.last_log));
        // Who stands in a term that nobody leads may still lead it.
        let over = if leads || follows { standing.term } else { standing.term.saturating_sub(1) };
        self.settled = over.max(self.settled + more);
        require(more <= due, "who has no room takes nothing in", || {
            format!("{before:?}, then {held:?} as {standing:?}: {more} entries where {due} were due")
        })
    }
}

/// The same of what waits for the node, and for its peers.
pub fn queues_within(mailbox: (usize, usize), peers: &[PeerTraffic]) -> Verdict {
    // Votes of peers come beside what clients ask, and completions are taken in any case: one of each kind at most.
    let most = limits::MAX_INPUTS + limits::MAX_PEER_MESSAGES + 64;
    let holds = mailbox.0 <= most && mailbox.1 <= limits::MAX_PENDING_BYTES + limits::MAX_URGENT_BYTES;
    require(holds, "what waits for the node is bounded", || format!("{mailbox:?}"))?;
    let bytes = 2 * limits::PEER_QUEUE_BYTES + limits::PEER_URGENT_BYTES + limits::PEER_MESSAGE_BYTES;
    let sound = |peer: &PeerTraffic| peer.waiting.0 <= 3 * limits::PEER_QUEUE_MESSAGES && peer.waiting.1 <= bytes;
    require(peers.iter().all(sound), "what waits for a peer is bounded", || format!("{peers:?}"))
}

/// Whether nothing is held that should have gone by now, in a calm world in which nobody asks anything.
pub fn at_rest(held: &Held, setting: &Setting) -> bool {
    let waiting = held.proposals + held.proposal_bytes + held.reads + held.passed_on_bytes + held.unapplied;
    // Behind the newest checkpoint what is kept for those who lag, since it fewer entries than make another due.
    let log = setting.catch_up_entries + setting.checkpoint_entries;
    // For whom a snapshot is on its way the log behind it is kept.
    waiting + held.undurable_bytes + held.held_back == 0 && (held.snapshots > 0 || held.log_entries as u64 <= log)
}

#[cfg(test)]
mod tests {
    use quorate::base::MemberId;

    use super::*;
    use crate::plan::Plan;

    #[test]
    fn what_waits_or_grows_is_noticed() {
        let setting = Setting { catch_up_entries: 3, checkpoint_entries: 20, ..Plan::of(1).setting };
        let rests = |held: Held| at_rest(&held, &setting);
        assert!(rests(Held { log_entries: 23, log_bytes: 9_000, ..Held::default() }));
        assert!(!rests(Held { log_entries: 24, ..Held::default() }));
        assert!(rests(Held { log_entries: 24, snapshots: 1, ..Held::default() }));
        assert!(!rests(Held { reads: 1, ..Held::default() }) && !rests(Held { held_back: 1, ..Held::default() }));
        assert!(!rests(Held { proposal_bytes: 1, ..Held::default() }), "bytes of nobody's proposal");
        let most = limits::MAX_PENDING_REQUESTS + limits::MAX_URGENT_REQUESTS;
        let (holding, work) = (Holding::default(), TurnWork::default());
        let within = |held: Held| super::within(&held, &holding, (&work, 0), 9_000);
        assert!(within(Held { proposals: most, ..Held::default() }).is_ok());
        assert!(within(Held { proposals: most + 1, ..Held::default() }).is_err());
        let most = limits::APPLYING_WAITS_HISTORY_BYTES;
        assert!(within(Held { unwritten_bytes: most + 9_000, ..Held::default() }).is_ok());
        assert!(within(Held { unwritten_bytes: most + 9_000 + RECORDS + 1, ..Held::default() }).is_err());
        assert!(within(Held { unapplied_bytes: limits::MAX_UNAPPLIED_BYTES, ..Held::default() }).is_ok());
        assert!(within(Held { unapplied_bytes: 4 * limits::MAX_UNAPPLIED_BYTES, ..Held::default() }).is_err());
        let tiny = Holding { unwritten: 200, gathered: 600, watch_bytes: 300, watch_messages: 16, ..holding };
        let work = TurnWork { entry_bytes: 50, changes: 1, ..work };
        let within = |held: Held| super::within(&held, &tiny, (&work, 0), 9_000);
        let most = 600 + 50 + RECORD + 9_000 + RECORDS;
        assert!(within(Held { unwritten_bytes: most, ..Held::default() }).is_ok(), "it was not given to the disk");
        let more = Held { unwritten_bytes: most + 1, ..Held::default() };
        assert!(within(more).is_err());
        assert!(super::within(&more, &tiny, (&work, most + 1), 9_000).is_ok(), "it was so before");
        assert!(super::within(&more, &tiny, (&work, most), 9_000).is_err(), "and grows");
        assert!(within(Held { watch_bytes: 300, watch_messages: 32, ..Held::default() }).is_ok());
        assert!(within(Held { watch_bytes: 301, ..Held::default() }).is_err());
        assert!(within(Held { watch_messages: 33, ..Held::default() }).is_err());
        let peer = |messages| PeerTraffic { waiting: (messages, 0), ..PeerTraffic::default() };
        assert!(queues_within((9, 9), &[peer(3)]).is_ok());
        assert!(queues_within((9, 9), &[peer(3), peer(3 * limits::PEER_QUEUE_MESSAGES + 1)]).is_err());
        assert!(queues_within((0, limits::MAX_PENDING_BYTES + limits::MAX_URGENT_BYTES + 1), &[]).is_err());
    }

    /// Turns of a member, each with the end of its log, its role, its term and whom it takes for the leader; whether each had room.
    fn takes(has_room: bool, turns: &[(u64, Role, u64, Option<u64>)]) -> bool {
        let mut intake = Intake::default();
        turns.iter().all(|(last_log, role, term, leader)| {
            let held = Held { lacks_room: !has_room, last_log: *last_log, ..Held::default() };
            let leader = leader.map(MemberId);
            let standing = Standing { role: *role, term: *term, leader, committed: 0, role_changes: 0 };
            intake.turned(&held, &standing).is_ok()
        })
    }

    #[test]
    fn without_room_a_leader_takes_the_first_entry_of_its_term_and_nothing_more() {
        let follows = |last_log, term| (last_log, Role::Follower, term, Some(2));
        let leads = |last_log, term| (last_log, Role::Leader, term, Some(1));
        let stands = |last_log, term| (last_log, Role::Candidate, term, None);
        assert!(takes(false, &[follows(7, 3), follows(7, 3), follows(5, 4)]));
        assert!(takes(true, &[follows(7, 3), follows(99, 3), leads(200, 4)]));
        assert!(!takes(false, &[follows(7, 3), follows(8, 3)]));
        assert!(!takes(false, &[follows(7, 3), follows(8, 4)]), "another leads the new term");
        assert!(takes(false, &[follows(7, 3), leads(8, 4), leads(8, 4)]));
        assert!(takes(false, &[follows(7, 3), stands(7, 4), stands(7, 4), leads(8, 4)]));
        assert!(!takes(false, &[leads(7, 3), leads(8, 3)]), "one at a time");
        assert!(!takes(false, &[follows(7, 3), leads(8, 4), leads(9, 4)]));
        assert!(!takes(false, &[follows(7, 3), stands(7, 4), leads(8, 4), leads(8, 4), leads(9, 4)]));
        assert!(takes(false, &[leads(7, 3), stands(7, 3), stands(7, 4), leads(8, 4)]));
        assert!(!takes(false, &[leads(7, 3), stands(8, 3)]), "of a term once");
        assert!(takes(false, &[leads(7, 3), follows(8, 5)]), "it may have led the one between");
        assert!(!takes(false, &[leads(7, 3), follows(9, 5)]));
        let mut intake = Intake::default();
        let standing = Standing { role: Role::Leader, term: 1, leader: None, committed: 0, role_changes: 0 };
        let held = Held { lacks_room: true, last_log: 7, ..Held::default() };
        assert!(intake.turned(&held, &standing).is_ok() && intake.last() == Some(&held));
        intake.forget();
        assert!(intake.turned(&Held { last_log: 50, ..held }, &standing).is_ok(), "another state came");
        assert!(intake.turned(&Held { last_log: 51, ..held }, &standing).is_err());
    }
}
