//! Bounds: what a member holds in memory has limits, and when nothing is under way it holds nothing that somebody waits for,
//! and of its log no more than its flags say.

use quorate::base::limits;
use quorate::node::{Held, TurnWork};
use quorate::peer::PeerTraffic;

use super::{Verdict, require};
use crate::plan::{Holding, Setting};

/// What the records of one entry take beside its own bytes, and what is deleted while history waits to be written.
const RECORDS: usize = 16 * 1024;

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

/// What a member takes in while so much waits to be applied that it should take in nothing more: `before` was the turn before
/// in one life, and whoever may have `led` since then may have proposed the first entry of its term, and a change of the members.
pub fn takes_no_more(before: &Held, held: &Held, led: bool) -> Verdict {
    let more = held.last_log.saturating_sub(before.last_log);
    require(!before.lacks_room || more <= if led { 2 } else { 0 }, "who has no room takes nothing in", || {
        format!("{before:?}, then {held:?}")
    })
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
        let full = Held { lacks_room: true, last_log: 7, ..Held::default() };
        let then = |last_log| Held { last_log, ..full };
        assert!(takes_no_more(&full, &then(7), false).is_ok() && takes_no_more(&full, &then(5), false).is_ok());
        assert!(takes_no_more(&full, &then(8), false).is_err());
        assert!(takes_no_more(&full, &then(9), true).is_ok() && takes_no_more(&full, &then(10), true).is_err());
        assert!(takes_no_more(&Held { lacks_room: false, ..full }, &then(99), false).is_ok());
        let peer = |messages| PeerTraffic { waiting: (messages, 0), ..PeerTraffic::default() };
        assert!(queues_within((9, 9), &[peer(3)]).is_ok());
        assert!(queues_within((9, 9), &[peer(3), peer(3 * limits::PEER_QUEUE_MESSAGES + 1)]).is_err());
        assert!(queues_within((0, limits::MAX_PENDING_BYTES + limits::MAX_URGENT_BYTES + 1), &[]).is_err());
    }
}
