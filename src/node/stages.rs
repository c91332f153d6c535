//! Where the time of a client's write goes, in stages.
//!
//! Three follow each other: `queue` (from the handle to the turn that proposes it), `replicate` (from there to the turn that
//! knows it committed, of the one who leads) and `answer` (from that turn to who asked). Three are parts of them: `propose`
//! (a turn up to its batch having left) and `sync` (from there to being durable here) run within `replicate`, `apply` (the
//! work of a turn that applied something) within `answer`. `queue` and `answer` are counted for each write, the others for each
//! batch, sync or turn.
//!
//! Invariants: nothing waits for a count; what is under way is bounded. The node's part counts in turns, for it has no clock.

use std::collections::VecDeque;
use std::time::Duration;

use crate::base::{Durations, LogIndex, limits};
use crate::env::Instant;
use crate::wal::Batch;

/// How long each stage took. Everyone may read it.
#[derive(Debug)]
#[allow(missing_docs, reason = "the module's head says it")]
pub struct Stages {
    pub queue: Durations,
    pub propose: Durations,
    pub sync: Durations,
    pub replicate: Durations,
    pub apply: Durations,
    pub answer: Durations,
}

impl Default for Stages {
    fn default() -> Self {
        // 50 us to 6.6 s: a request waits no longer than 7 s.
        let stage = || Durations::new(Duration::from_micros(50), 18);
        Self { queue: stage(), propose: stage(), sync: stage(), replicate: stage(), apply: stage(), answer: stage() }
    }
}

/// The batches a leader handed out and does not know committed yet.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    /// The end of each and the turn it was handed out in.
    batches: VecDeque<(LogIndex, Instant)>,
    /// The end of what this turn handed out.
    fresh: Option<LogIndex>,
}

impl UnderWay {
    /// A batch leaves for the log.
    pub(super) fn handed_out(&mut self, batch: &Batch) {
        self.fresh = batch.entries.last().map(|entry| entry.index).or(self.fresh);
    }

    /// A turn is over, in which everything up to an index was known to be committed. What another led is not timed: it may be
    /// overwritten, and what is committed under its index is something else.
    pub(super) fn turned(&mut self, now: Instant, leads: bool, committed: LogIndex, stages: &Stages) {
        let fresh = self.fresh.take();
        if !leads {
            return self.batches.clear();
        }
        if let Some(end) = fresh.filter(|_| self.batches.len() < limits::TIMED_BATCHES) {
            self.batches.push_back((end, now));
        }
        while let Some((_, since)) = self.batches.front().copied().filter(|(end, _)| *end <= committed) {
            self.batches.pop_front();
            stages.replicate.took(now.since(since));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::{EntryKind, LogEntry};

    fn at(ms: u64) -> Instant {
        Instant(ms * 1_000_000)
    }

    fn up_to(index: LogIndex) -> Batch {
        let entry = LogEntry { index, term: 1, kind: EntryKind::Normal, data: bytes::Bytes::new() };
        Batch { entries: vec![entry], ..Batch::default() }
    }

    #[test]
    fn a_batch_is_timed_from_the_turn_it_left_in_to_the_turn_that_knows_it_committed() {
        let (mut under_way, stages) = (UnderWay::default(), Stages::default());
        under_way.handed_out(&up_to(5));
        under_way.turned(at(1), true, 4, &stages);
        under_way.handed_out(&up_to(7));
        under_way.turned(at(3), true, 4, &stages);
        assert_eq!(stages.replicate.measured().count, 0);
        under_way.turned(at(6), true, 6, &stages);
        let measured = stages.replicate.measured();
        assert_eq!((measured.count, measured.sum), (1, Duration::from_millis(5)));
        under_way.turned(at(13), true, 7, &stages);
        let measured = stages.replicate.measured();
        assert_eq!((measured.count, measured.sum), (2, Duration::from_millis(15)));
    }

    #[test]
    fn who_does_not_lead_any_more_times_nothing_of_it() {
        let (mut under_way, stages) = (UnderWay::default(), Stages::default());
        under_way.handed_out(&up_to(5));
        under_way.turned(at(1), true, 4, &stages);
        under_way.turned(at(2), false, 4, &stages);
        under_way.turned(at(9), true, 5, &stages);
        assert_eq!(stages.replicate.measured().count, 0);
    }

    #[test]
    fn what_is_under_way_is_bounded() {
        let (mut under_way, stages) = (UnderWay::default(), Stages::default());
        for index in 0..2 * limits::TIMED_BATCHES as u64 {
            under_way.handed_out(&up_to(index + 1));
            under_way.turned(at(index), true, 0, &stages);
        }
        assert_eq!(under_way.batches.len(), limits::TIMED_BATCHES);
    }
}
