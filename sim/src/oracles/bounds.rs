//! Bounds: what a member holds in memory has limits, and when nothing is under way it holds nothing that somebody waits for,
//! and of its log no more than its flags say.

use quorate::base::limits;
use quorate::node::Held;
use quorate::peer::PeerTraffic;

use super::{Verdict, require};
use crate::plan::Setting;

/// What the records of one entry take beside its own bytes, and what is deleted while history waits to be written.
const RECORDS: usize = 64 * 1024;

/// What holds at every moment, where the largest entry of all logs has so many bytes.
pub fn within(held: &Held, largest: usize) -> Verdict {
    // What is larger than all that is allowed is taken where it is alone.
    let one = limits::MAX_REQUEST_BYTES;
    let batch = limits::MAX_APPEND_BYTES + limits::MAX_BATCH_BYTES;
    // What was taken in before may still be committed.
    let unapplied =
        limits::MAX_UNAPPLIED_BYTES + limits::MAX_PENDING_BYTES + limits::MAX_PASSED_ON_BYTES_WAITING + batch;
    let holds = held.proposals <= limits::MAX_PENDING_REQUESTS + limits::MAX_URGENT_REQUESTS
        && held.proposal_bytes <= limits::MAX_PENDING_BYTES + limits::MAX_URGENT_BYTES
        && held.reads <= limits::MAX_PENDING_READS
        && held.passed_on_bytes <= limits::MAX_PASSED_ON_BYTES_WAITING + one
        && held.unapplied_bytes <= unapplied
        && held.unwritten_bytes <= limits::APPLYING_WAITS_HISTORY_BYTES + largest + RECORDS
        && held.undurable_bytes <= limits::MAX_UNDURABLE_BYTES + batch;
    require(holds, "what is held is bounded", || format!("{held:?}, the largest entry is of {largest} bytes"))
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
        let within = |held: Held| within(&held, 9_000);
        assert!(within(Held { proposals: most, ..Held::default() }).is_ok());
        assert!(within(Held { proposals: most + 1, ..Held::default() }).is_err());
        let most = limits::APPLYING_WAITS_HISTORY_BYTES;
        assert!(within(Held { unwritten_bytes: most + 9_000, ..Held::default() }).is_ok());
        assert!(within(Held { unwritten_bytes: most + 9_000 + RECORDS + 1, ..Held::default() }).is_err());
        assert!(within(Held { unapplied_bytes: limits::MAX_UNAPPLIED_BYTES, ..Held::default() }).is_ok());
        assert!(within(Held { unapplied_bytes: 4 * limits::MAX_UNAPPLIED_BYTES, ..Held::default() }).is_err());
        let peer = |messages| PeerTraffic { waiting: (messages, 0), ..PeerTraffic::default() };
        assert!(queues_within((9, 9), &[peer(3)]).is_ok());
        assert!(queues_within((9, 9), &[peer(3), peer(3 * limits::PEER_QUEUE_MESSAGES + 1)]).is_err());
        assert!(queues_within((0, limits::MAX_PENDING_BYTES + limits::MAX_URGENT_BYTES + 1), &[]).is_err());
    }
}
