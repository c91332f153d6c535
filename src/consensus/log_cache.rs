//! The raft log in memory, as the raft crate reads it.
//!
//! Entries live here from the moment they are handed to the log's keeper until a checkpoint covers them, so
//! reading them never waits for the disk; their payloads are shared, not copied.

use std::collections::VecDeque;

use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, StorageError};

use crate::base::{LogIndex, Term};

pub(super) struct LogCache {
    hard_state: HardState,
    conf_state: ConfState,
    /// The entry before the first held one: covered by a checkpoint.
    released: (LogIndex, Term),
    /// What the machine has applied: a snapshot made now is of this state.
    applied: (LogIndex, Term),
    entries: VecDeque<Entry>,
    /// Bytes of their payloads.
    bytes: usize,
}

/// Entries that room is made for before it is known how many are read.
const ENTRIES_AT_FIRST: usize = 64;

fn payloads<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> usize {
    entries.into_iter().map(|entry| entry.data.len()).sum()
}

impl LogCache {
    /// A log whose machine starts behind `applied`. Where it begins before that, the first entry only lends its term
    /// to the place it begins behind.
    pub(super) fn new(
        hard_state: HardState,
        conf_state: ConfState,
        applied: (LogIndex, Term),
        entries: Vec<Entry>,
    ) -> Self {
        let mut entries: VecDeque<Entry> = entries.into();
        let mut released = applied;
        if let Some(first) = entries.front().filter(|first| first.index <= applied.0) {
            released = (first.index, first.term);
            entries.pop_front();
        }
        let bytes = payloads(&entries);
        let cache = Self { hard_state, conf_state, released, applied, entries, bytes };
        if let Some(first) = cache.entries.front() {
            assert_eq!(first.index, cache.released.0 + 1, "the recovered log has no gap before the checkpoint");
        }
        assert!(cache.last() >= applied.0, "the recovered log reaches the checkpoint");
        cache
    }

    pub(super) fn last(&self) -> LogIndex {
        self.entries.back().map_or(self.released.0, |entry| entry.index)
    }

    /// Takes over entries; those of the same index or above that are held already are replaced.
    pub(super) fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        assert!(first.index > self.released.0, "a released entry is never written again");
        assert!(first.index <= self.last() + 1, "the log has no gap");
        let keep = (first.index - self.released.0 - 1) as usize;
        self.bytes -= payloads(self.entries.range(keep.min(self.entries.len())..));
        self.bytes += payloads(entries);
        self.entries.truncate(keep);
        self.entries.extend(entries.iter().cloned());
    }

    pub(super) fn set_hard_state(&mut self, hard_state: HardState) {
        self.hard_state = hard_state;
    }

    pub(super) fn set_conf_state(&mut self, conf_state: ConfState) {
        self.conf_state = conf_state;
    }

    /// Forgets entries up to `index`, which a durable checkpoint covers.
    pub(super) fn release(&mut self, index: LogIndex) {
        while let Some(first) = self.entries.front() {
            if first.index > index {
                break;
            }
            self.released = (first.index, first.term);
            self.bytes -= first.data.len();
            self.entries.pop_front();
        }
    }

    pub(super) fn set_applied(&mut self, index: LogIndex) {
        let term = self.term_of(index).expect("what was applied just now is held");
        self.applied = (index, term);
    }

    /// The log starts anew behind a snapshot.
    pub(super) fn restart_behind(&mut self, snapshot: (LogIndex, Term), conf_state: ConfState) {
        assert!(snapshot.0 >= self.released.0, "a snapshot is newer than what was released");
        self.entries.clear();
        self.bytes = 0;
        self.released = snapshot;
        self.conf_state = conf_state;
    }

    /// The entry the log begins behind.
    pub(super) fn begins_behind(&self) -> LogIndex {
        self.released.0
    }

    /// How many entries there are, and the bytes of their payloads.
    pub(super) fn held(&self) -> (usize, usize) {
        (self.entries.len(), self.bytes)
    }

    /// Bytes of the entries behind this one.
    pub(super) fn bytes_behind(&self, index: LogIndex) -> usize {
        let behind = self.entries.iter().rev().take_while(|entry| entry.index > index);
        behind.map(|entry| entry.data.len() + size_of::<Entry>()).sum()
    }

    /// The first place behind which, up to `upto`, lie no more than so many entries and bytes.
    pub(super) fn kept_behind(&self, upto: LogIndex, entries: u64, bytes: usize) -> LogIndex {
        let (mut kept, mut left) = (upto, bytes);
        while kept > self.released.0 && upto - kept < entries {
            let size = self.at(kept).map_or(0, |entry| entry.data.len() + size_of::<Entry>());
            let Some(less) = left.checked_sub(size) else { break };
            (kept, left) = (kept - 1, less);
        }
        kept
    }

    fn term_of(&self, index: LogIndex) -> Option<Term> {
        if index == self.released.0 { Some(self.released.1) } else { self.at(index).map(|entry| entry.term) }
    }

    /// A snapshot of what is applied, in name: the state itself is taken when it is sent.
    pub(super) fn snapshot_of_applied(&self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        let metadata = snapshot.mut_metadata();
        metadata.index = self.applied.0;
        metadata.term = self.applied.1;
        metadata.set_conf_state(self.conf_state.clone());
        snapshot
    }

    fn at(&self, index: LogIndex) -> Option<&Entry> {
        let offset = index.checked_sub(self.released.0 + 1)?;
        self.entries.get(usize::try_from(offset).ok()?)
    }
}

impl raft::Storage for LogCache {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(self.hard_state.clone(), self.conf_state.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.released.0 {
            return Err(StorageError::Compacted.into());
        }
        assert!(high <= self.last() + 1, "the raft crate never reads past the end of its log");
        let limit = max_size.into().unwrap_or(u64::MAX);
        let mut size = 0_u64;
        // To the end of the log, as raft asks for one that lags, may be many times what is handed out.
        let mut slice = Vec::with_capacity(usize::try_from(high - low).unwrap_or(usize::MAX).min(ENTRIES_AT_FIRST));
        for index in low..high {
            let Some(entry) = self.at(index) else { break };
            size += entry.data.len() as u64 + 24;
            if size > limit && !slice.is_empty() {
                break;
            }
            slice.push(entry.clone());
        }
        Ok(slice)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index < self.released.0 {
            return Err(StorageError::Compacted.into());
        }
        self.term_of(index).ok_or_else(|| StorageError::Unavailable.into())
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.released.0 + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, _request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        if self.applied.0 == 0 {
            return Err(StorageError::SnapshotTemporarilyUnavailable.into());
        }
        Ok(self.snapshot_of_applied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft::Storage;

    fn entry(index: u64, term: u64) -> Entry {
        Entry { index, term, ..Entry::default() }
    }

    fn cache() -> LogCache {
        LogCache::new(HardState::default(), ConfState::default(), (4, 1), vec![entry(5, 1), entry(6, 2), entry(7, 2)])
    }

    #[test]
    fn what_is_held_is_counted_however_it_goes() {
        let of = |index: u64, term: u64, bytes: usize| Entry { data: vec![7; bytes].into(), ..entry(index, term) };
        let mut cache =
            LogCache::new(HardState::default(), ConfState::default(), (4, 1), vec![of(5, 1, 10), of(6, 1, 5)]);
        assert_eq!(cache.held(), (2, 15));
        cache.append(&[of(6, 2, 100), of(7, 2, 1)]);
        assert_eq!(cache.held(), (3, 111));
        cache.release(5);
        assert_eq!(cache.held(), (2, 101));
        cache.restart_behind((40, 5), ConfState::default());
        assert_eq!(cache.held(), (0, 0));
    }

    #[test]
    fn a_conflicting_suffix_is_replaced() {
        let mut cache = cache();
        cache.append(&[entry(6, 3)]);
        assert_eq!(cache.last(), 6);
        assert_eq!(cache.term(6).ok(), Some(3));
        assert_eq!(cache.term(5).ok(), Some(1));
        assert!(cache.term(7).is_err());
    }

    #[test]
    fn a_snapshot_is_of_what_is_applied_and_restarts_the_log() {
        let mut cache = cache();
        cache.set_applied(6);
        let metadata = cache.snapshot(0, 2).expect("there is one").get_metadata().clone();
        assert_eq!((metadata.index, metadata.term), (6, 2));
        cache.restart_behind((40, 5), ConfState::default());
        assert_eq!((cache.first_index().ok(), cache.last(), cache.term(40).ok()), (Some(41), 40, Some(5)));
    }

    /// Each append to one that lags far behind is a slice of what it lacks: so must be the room it takes.
    #[test]
    fn a_slice_of_a_long_log_takes_room_for_itself_alone() {
        let (mut cache, long) = (cache(), 100_000);
        cache.append(&(8..long).map(|index| entry(index, 2)).collect::<Vec<_>>());
        let slice = cache.entries(5, long, Some(240), GetEntriesContext::empty(false)).expect("they are held");
        assert_eq!(slice.len(), 10);
        assert!(slice.capacity() <= 100, "room for {}", slice.capacity());
    }

    #[test]
    fn what_is_kept_is_bounded_by_number_and_by_bytes() {
        let large = |index| Entry { data: vec![7; 1000].into(), ..entry(index, 2) };
        let (mut cache, each) = (cache(), 1000 + size_of::<Entry>());
        cache.append(&(8..=20).map(large).collect::<Vec<_>>());
        assert_eq!(cache.kept_behind(20, 3, usize::MAX), 17);
        assert_eq!(cache.kept_behind(20, u64::MAX, 5 * each), 15);
        assert_eq!(cache.kept_behind(18, u64::MAX, 5 * each - 1), 14);
        assert_eq!(cache.kept_behind(20, 0, 0), 20, "nothing");
        assert_eq!(cache.kept_behind(20, u64::MAX, usize::MAX), 4, "all there is");
        let kept = cache.kept_behind(20, 3, usize::MAX);
        cache.release(kept);
        assert_eq!((cache.first_index(), cache.bytes_behind(kept)), (Ok(18), 3 * each));
    }

    #[test]
    fn released_entries_keep_only_their_last_term() {
        let mut cache = cache();
        cache.release(6);
        assert_eq!(cache.first_index().ok(), Some(7));
        assert_eq!(cache.term(6).ok(), Some(2));
        assert!(cache.term(5).is_err());
        assert!(cache.entries(6, 8, None, GetEntriesContext::empty(false)).is_err());
        cache.release(100);
        assert_eq!(cache.last(), 7);
    }
}
