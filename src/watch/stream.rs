//! What the hub keeps of one stream: its watchers by id, and which of them wait for history.
//!
//! Does not know what the watchers watch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::buffer::StreamBuffer;
use super::watcher::{Standing, Watcher};
use crate::base::WatchId;

/// A stream.
pub(super) struct Stream {
    pub(super) buffer: Arc<StreamBuffer>,
    /// Slots by id.
    pub(super) watchers: BTreeMap<WatchId, u32>,
    /// Ids of watchers that compaction cancelled: taken until the client cancels them, too, as in etcd.
    pub(super) spent: BTreeSet<WatchId>,
    /// Where the search for an unused id goes on.
    next_id: WatchId,
    /// Catching-up watchers nobody reads for, by position.
    pub(super) waiting: BTreeSet<(i64, u32)>,
    /// Watchers somebody reads history for.
    pub(super) fetching: usize,
    /// Watchers whose start was in the future when they were made.
    pub(super) future: BTreeSet<(i64, u32)>,
    /// Watchers that want progress notices.
    pub(super) notifying: BTreeSet<WatchId>,
    /// When the next round of notices is due, in the hub's ticks.
    pub(super) due: Option<u64>,
    /// Where a round that met a full buffer goes on.
    pub(super) resume: WatchId,
}

impl Stream {
    pub(super) fn new(buffer: Arc<StreamBuffer>) -> Self {
        Self {
            buffer,
            watchers: BTreeMap::new(),
            spent: BTreeSet::new(),
            next_id: 0,
            waiting: BTreeSet::new(),
            fetching: 0,
            future: BTreeSet::new(),
            notifying: BTreeSet::new(),
            due: None,
            resume: WatchId::MIN,
        }
    }

    /// Whether an id is taken.
    pub(super) fn has_id(&self, id: WatchId) -> bool {
        self.watchers.contains_key(&id) || self.spent.contains(&id)
    }

    /// The next unused id, from 0 on; ids once given are not given again.
    pub(super) fn assign_id(&mut self) -> WatchId {
        while self.has_id(self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        self.next_id - 1
    }

    /// Whether every watcher is synced and its start reached, and there is one: etcd answers nothing on a
    /// stream without watchers.
    pub(super) fn all_may_know(&mut self, revision: i64) -> bool {
        while self.future.first().is_some_and(|(start, _)| *start <= revision) {
            self.future.pop_first();
        }
        !self.watchers.is_empty() && self.waiting.is_empty() && self.fetching == 0 && self.future.is_empty()
    }

    /// Whether a turn has something to read for.
    pub(super) fn is_hungry(&self) -> bool {
        // One round of reading at a time: what it brings has first claim on the room.
        !self.waiting.is_empty() && self.fetching == 0
    }

    /// Forgets a watcher that left the roster.
    pub(super) fn forget(&mut self, slot: u32, watcher: &Watcher) {
        let was = self.watchers.remove(&watcher.id);
        assert_eq!(was, Some(slot), "a stream lists its watchers");
        match watcher.standing {
            Standing::Synced => {}
            Standing::CatchingUp => {
                assert!(self.waiting.remove(&(watcher.next, slot)), "a catching-up watcher waits at its position");
            }
            Standing::Fetching => self.fetching -= 1,
        }
        self.future.remove(&(watcher.start, slot));
        self.notifying.remove(&watcher.id);
    }
}
