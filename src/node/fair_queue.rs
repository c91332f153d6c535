//! Proposals that wait to be proposed, and whose turn it is.
//!
//! As long as all that waits fits into one batch it goes as it came. Beyond that accounts take turns by bytes (deficit round
//! robin), so that who has one request waiting is served within a round, however many another has; what is urgent goes first,
//! up to half of a batch.
//!
//! Invariants: what one account asks leaves in the order in which it was asked, apart from what is urgent; a batch is not
//! empty where anything waits; nothing waits twice. Does not know what the proposals are.

use std::collections::VecDeque;

use bytes::Bytes;
use fxhash::FxHashMap;

use crate::base::limits;
use crate::env::Instant;

/// One that waits.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) id: u64,
    pub(super) payload: Bytes,
    /// Whose it is.
    pub(super) account: u64,
    /// The moment a client's was handed over.
    pub(super) since: Option<Instant>,
}

impl Waiting {
    /// What it counts in its account's turn: a small one is not for nothing.
    fn weight(&self) -> usize {
        self.payload.len() + ENTRY_WEIGHT
    }
}

/// What an entry costs beyond its bytes, in bytes.
const ENTRY_WEIGHT: usize = 128;

/// The bounds of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch {
    pub(super) bytes: usize,
    pub(super) entries: usize,
}

impl Batch {
    /// What one round of the log takes.
    pub(super) const WHOLE: Self = Self { bytes: limits::MAX_BATCH_BYTES, entries: limits::MAX_BATCH_ENTRIES };
}

/// What one account has waiting while there is more than a batch.
#[derive(Debug, Default)]
struct Line {
    waiting: VecDeque<Waiting>,
    /// What it may still take in its turn.
    credit: usize,
}

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct FairQueue {
    urgent: VecDeque<Waiting>,
    /// As it came, and not given to the lines yet.
    fresh: VecDeque<Waiting>,
    fresh_bytes: usize,
    lines: FxHashMap<u64, Line>,
    /// Accounts with a line that is not empty, in the order of their turns.
    turns: VecDeque<u64>,
    len: usize,
}

impl FairQueue {
    pub(super) fn add(&mut self, waiting: Waiting) {
        self.len += 1;
        self.fresh_bytes += waiting.payload.len();
        self.fresh.push_back(waiting);
    }

    pub(super) fn add_urgent(&mut self, waiting: Waiting) {
        self.len += 1;
        self.urgent.push_back(waiting);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The ids of all that wait.
    pub(super) fn ids(&self) -> impl Iterator<Item = u64> {
        let lines = self.lines.values().flat_map(|line| &line.waiting);
        self.urgent.iter().chain(&self.fresh).chain(lines).map(|waiting| waiting.id)
    }

    /// Forgets those of which `stays` says no. Costs time in proportion to all that wait.
    pub(super) fn retain(&mut self, stays: impl Fn(u64) -> bool) {
        self.urgent.retain(|waiting| stays(waiting.id));
        self.fresh.retain(|waiting| stays(waiting.id));
        self.lines.values_mut().for_each(|line| line.waiting.retain(|waiting| stays(waiting.id)));
        self.lines.retain(|_, line| !line.waiting.is_empty());
        self.turns.retain(|account| self.lines.contains_key(account));
        self.fresh_bytes = self.fresh.iter().map(|waiting| waiting.payload.len()).sum();
        let lines: usize = self.lines.values().map(|line| line.waiting.len()).sum();
        self.len = self.urgent.len() + self.fresh.len() + lines;
    }

    /// The next batch: at least one, and no more than its bounds.
    pub(super) fn take(&mut self, most: Batch) -> Vec<Waiting> {
        let mut batch = Vec::with_capacity(self.len.min(most.entries));
        let mut bytes = 0;
        let half = Batch { bytes: most.bytes / 2, entries: most.entries.div_ceil(2) };
        while let Some(next) = self.urgent.front()
            && fits(&batch, bytes, next, half)
        {
            bytes += next.payload.len();
            batch.extend(self.urgent.pop_front());
        }
        let together = self.fresh.len() + batch.len() <= most.entries && self.fresh_bytes + bytes <= most.bytes;
        if self.lines.is_empty() && together {
            batch.extend(self.fresh.drain(..));
            self.fresh_bytes = 0;
        } else {
            self.give_to_lines();
            self.take_in_turns(&mut batch, bytes, most);
        }
        self.len -= batch.len();
        batch
    }

    fn give_to_lines(&mut self) {
        for waiting in self.fresh.drain(..) {
            let line = self.lines.entry(waiting.account).or_default();
            if line.waiting.is_empty() {
                self.turns.push_back(waiting.account);
            }
            line.waiting.push_back(waiting);
        }
        self.fresh_bytes = 0;
    }

    fn take_in_turns(&mut self, batch: &mut Vec<Waiting>, mut bytes: usize, most: Batch) {
        while let Some(account) = self.turns.front().copied() {
            let line = self.lines.get_mut(&account).expect("who has a turn has a line");
            while let Some(next) = line.waiting.front()
                && next.weight() <= line.credit
            {
                if !fits(batch, bytes, next, most) {
                    // It goes on with the next batch, with what is left of its turn.
                    return;
                }
                bytes += next.payload.len();
                line.credit -= next.weight();
                batch.extend(line.waiting.pop_front());
            }
            if line.waiting.is_empty() {
                self.lines.remove(&account);
                self.turns.pop_front();
            } else {
                line.credit += limits::FAIR_TURN_BYTES;
                self.turns.rotate_left(1);
            }
        }
    }
}

/// Whether one more has room in a batch. Alone anything has.
fn fits(batch: &[Waiting], bytes: usize, next: &Waiting, most: Batch) -> bool {
    batch.is_empty() || (batch.len() < most.entries && bytes + next.payload.len() <= most.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(account: u64, id: u64, bytes: usize) -> Waiting {
        Waiting { id, payload: vec![0; bytes].into(), account, since: None }
    }

    fn ids(batch: &[Waiting]) -> Vec<u64> {
        batch.iter().map(|waiting| waiting.id).collect()
    }

    const SMALL: Batch = Batch { bytes: 1 << 20, entries: 100 };

    #[test]
    fn what_fits_together_goes_as_it_came() {
        let mut queue = FairQueue::default();
        (0..100).for_each(|n| queue.add(waiting(n % 7 + 1, n, 300)));
        assert_eq!(ids(&queue.take(SMALL)), (0..100).collect::<Vec<_>>());
        assert!(queue.is_empty() && queue.take(SMALL).is_empty());
    }

    #[test]
    fn who_asks_for_little_is_served_within_a_round() {
        let mut queue = FairQueue::default();
        (0..10_000).for_each(|n| queue.add(waiting(1, n, 300)));
        let first = queue.take(SMALL);
        assert_eq!(ids(&first), (0..100).collect::<Vec<_>>(), "in the order of asking");
        queue.add(waiting(2, 90_000, 300));
        queue.add(waiting(3, 90_001, 300));
        let second = ids(&queue.take(SMALL));
        assert!(second.contains(&90_000) && second.contains(&90_001), "{second:?}");
        assert_eq!(second.len(), 100, "and the rest of the batch is not wasted");
        let mut seen = 200;
        while !queue.is_empty() {
            let batch = queue.take(SMALL);
            assert!((1..=100).contains(&batch.len()));
            seen += batch.len();
        }
        assert_eq!((seen, queue.lines.len(), queue.turns.len()), (10_002, 0, 0));
    }

    #[test]
    fn turns_are_counted_in_bytes() {
        let mut queue = FairQueue::default();
        (0..64).for_each(|n| queue.add(waiting(1, n, 64 << 10)));
        (0..10_000).for_each(|n| queue.add(waiting(2, 1_000 + n, 300)));
        let most = Batch { bytes: 2 << 20, entries: 100_000 };
        let mut taken = [0, 0];
        while taken[1] + 100_000 < 10_000 * 300 {
            for waiting in queue.take(most) {
                taken[(waiting.account - 1) as usize] += waiting.weight();
            }
        }
        let (large, small) = (taken[0] as f64, taken[1] as f64);
        assert!((0.8..1.25).contains(&(large / small)), "{taken:?}");
    }

    #[test]
    fn the_urgent_goes_first_and_takes_no_more_than_half() {
        let mut queue = FairQueue::default();
        (0..500).for_each(|n| queue.add(waiting(1, n, 300)));
        (0..500).for_each(|n| queue.add_urgent(waiting(2, 1_000 + n, 30)));
        let batch = ids(&queue.take(SMALL));
        assert_eq!(batch[..50], (1_000..1_050).collect::<Vec<_>>());
        assert_eq!(batch[50..], (0..50).collect::<Vec<_>>());
        let mut large = FairQueue::default();
        large.add_urgent(waiting(1, 1, 2 << 20));
        large.add(waiting(1, 2, 2 << 20));
        assert_eq!(ids(&large.take(SMALL)), [1], "alone anything is taken");
        assert_eq!(ids(&large.take(SMALL)), [2]);
    }

    #[test]
    fn what_is_forgotten_is_gone_from_every_place() {
        let mut queue = FairQueue::default();
        (0..300).for_each(|n| queue.add(waiting(n % 3 + 1, n, 300)));
        let taken = queue.take(SMALL).len() as u64;
        (300..310).for_each(|n| queue.add(waiting(9, n, 300)));
        queue.add_urgent(waiting(9, 310, 30));
        queue.retain(|id| id >= 290 || id % 3 == 0);
        let mut left: Vec<u64> = queue.ids().collect();
        left.sort_unstable();
        assert_eq!((left.len(), left.last()), (queue.len, Some(&310)));
        assert!(left.iter().all(|id| *id >= 290 || id % 3 == 0) && taken == 100);
        let mut seen = 0;
        while !queue.is_empty() {
            seen += queue.take(SMALL).len();
        }
        assert_eq!(seen, left.len());
    }
}
