//! One watcher and the roster of all of them.
//!
//! Invariant: a watcher stands in the range index exactly while it is synced, so one that fell behind costs
//! a write nothing.
//!
//! Does not know of other watchers on the same stream.

use std::sync::Arc;

use super::buffer::StreamBuffer;
use super::message::{EventBatch, SharedEvent, StreamId, WatchMessage, WatchSpec, WatcherKey};
use super::range_index::RangeIndex;
use crate::base::{EventKind, KeyRange, RangeEnd, WatchId};

/// How far a watcher has been told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    /// Everything up to now; new revisions from `next` on are pushed to it.
    Synced,
    /// Everything below `next`; the rest waits in history.
    CatchingUp,
    /// As `CatchingUp`, and somebody is reading history for it.
    Fetching,
}

/// A watcher.
#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) stream: StreamId,
    pub(super) buffer: Arc<StreamBuffer>,
    pub(super) id: WatchId,
    pub(super) range: KeyRange,
    /// The user it was made for, where that was asked.
    pub(super) owner: Option<Arc<str>>,
    /// The revision the client asked to start at; 0 where it asked for what comes next.
    pub(super) start: i64,
    /// The first revision it may still be told.
    pub(super) next: i64,
    pub(super) standing: Standing,
    pub(super) no_put: bool,
    pub(super) no_delete: bool,
    pub(super) prev_kv: bool,
    pub(super) fragment: bool,
    /// Told nothing since the last round of progress notices.
    pub(super) quiet: bool,
}

impl Watcher {
    /// A synced watcher by the client's wishes.
    pub(super) fn new(stream: StreamId, buffer: Arc<StreamBuffer>, id: WatchId, spec: &WatchSpec, next: i64) -> Self {
        Self {
            stream,
            buffer,
            id,
            range: own(&spec.range),
            owner: None,
            start: spec.start_revision,
            next,
            standing: Standing::Synced,
            no_put: spec.no_put,
            no_delete: spec.no_delete,
            prev_kv: spec.prev_kv,
            fragment: spec.fragment,
            quiet: true,
        }
    }

    /// Whether the watcher wants events of that kind.
    pub(super) fn wants(&self, event: &SharedEvent) -> bool {
        match event.event.kind {
            EventKind::Put => !self.no_put,
            EventKind::Delete => !self.no_delete,
        }
    }

    /// The message that tells the watcher of `events`, at the store's `revision`.
    pub(super) fn events(&self, revision: i64, events: EventBatch) -> WatchMessage {
        WatchMessage::Events { watch_id: self.id, revision, events, prev_kv: self.prev_kv, fragment: self.fragment }
    }

    /// Whether the watcher may be told that everything up to `revision` was told.
    pub(super) fn may_know(&self, revision: i64) -> bool {
        self.standing == Standing::Synced && revision >= self.start
    }
}

/// The range with keys of its own: those of the request are slices of it and would keep all of it in memory.
fn own(range: &KeyRange) -> KeyRange {
    let copy = |key: &bytes::Bytes| bytes::Bytes::copy_from_slice(key);
    let end = match &range.end {
        RangeEnd::Single => RangeEnd::Single,
        RangeEnd::Before(end) => RangeEnd::Before(copy(end)),
        RangeEnd::Open => RangeEnd::Open,
    };
    KeyRange { start: copy(&range.start), end }
}

#[derive(Debug, Default)]
struct Slot {
    /// Counts the watchers that stood here, so that a late answer for one is not taken for the next.
    generation: u32,
    watcher: Option<Watcher>,
}

/// All watchers, by slot.
pub(super) struct Roster {
    slots: Vec<Slot>,
    free: Vec<u32>,
    index: RangeIndex,
    /// Of these the ones that ask for previous key-values.
    wanting_prev: RangeIndex,
    /// Watchers that are not synced.
    behind: usize,
}

impl Roster {
    /// `seed` is nobody's to know.
    pub(super) fn new(seed: u64) -> Self {
        let index = RangeIndex::new(seed);
        Self { slots: Vec::new(), free: Vec::new(), wanting_prev: index.clone(), index, behind: 0 }
    }

    /// Adds a synced watcher.
    pub(super) fn add(&mut self, watcher: Watcher) -> u32 {
        assert_eq!(watcher.standing, Standing::Synced, "a watcher begins synced and may then fall behind");
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 watchers fit into memory")
        });
        self.enter(&watcher, slot);
        let was = self.slots[slot as usize].watcher.replace(watcher);
        assert!(was.is_none(), "a free slot is empty");
        slot
    }

    /// Takes a watcher out.
    pub(super) fn remove(&mut self, slot: u32) -> Watcher {
        let place = &mut self.slots[slot as usize];
        let watcher = place.watcher.take().expect("a listed slot holds a watcher");
        place.generation = place.generation.wrapping_add(1);
        self.free.push(slot);
        match watcher.standing {
            Standing::Synced => self.leave(&watcher, slot),
            Standing::CatchingUp | Standing::Fetching => self.behind -= 1,
        }
        watcher
    }

    /// From now on new revisions find the watcher.
    fn enter(&mut self, watcher: &Watcher, slot: u32) {
        self.index.insert(&watcher.range, slot);
        if watcher.prev_kv {
            self.wanting_prev.insert(&watcher.range, slot);
        }
    }

    /// From now on they do not.
    fn leave(&mut self, watcher: &Watcher, slot: u32) {
        self.index.remove(&watcher.range, slot);
        if watcher.prev_kv {
            self.wanting_prev.remove(&watcher.range, slot);
        }
    }

    /// Changes a watcher's standing, and with it whether new revisions find it.
    pub(super) fn stand(&mut self, slot: u32, standing: Standing, next: i64) {
        let mut watcher = self.slots[slot as usize].watcher.take().expect("a listed slot holds a watcher");
        assert!(next >= watcher.next, "a watcher never goes back in history");
        let (was, is) = (watcher.standing == Standing::Synced, standing == Standing::Synced);
        watcher.standing = standing;
        watcher.next = next;
        match (was, is) {
            (true, false) => {
                self.leave(&watcher, slot);
                self.behind += 1;
            }
            (false, true) => {
                self.enter(&watcher, slot);
                self.behind -= 1;
            }
            _ => {}
        }
        self.slots[slot as usize].watcher = Some(watcher);
    }

    pub(super) fn get(&self, slot: u32) -> &Watcher {
        self.slots[slot as usize].watcher.as_ref().expect("a listed slot holds a watcher")
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> &mut Watcher {
        self.slots[slot as usize].watcher.as_mut().expect("a listed slot holds a watcher")
    }

    /// The key of the watcher in a slot.
    pub(super) fn key_of(&self, slot: u32) -> WatcherKey {
        WatcherKey { slot, generation: self.slots[slot as usize].generation }
    }

    /// The slot of a key, while its watcher is there.
    pub(super) fn find(&self, key: WatcherKey) -> Option<u32> {
        let slot = self.slots.get(key.slot as usize)?;
        (slot.generation == key.generation && slot.watcher.is_some()).then_some(key.slot)
    }

    /// Calls `found` for every synced watcher of `key`.
    pub(super) fn matching(&self, key: &[u8], found: impl FnMut(u32)) {
        self.index.matching(key, found);
    }

    /// Slots of synced watchers for which `which` holds, ascending.
    pub(super) fn synced(&self, which: impl Fn(&Watcher) -> bool) -> Vec<u32> {
        let holds = |slot: &Slot| {
            slot.watcher.as_ref().is_some_and(|watcher| watcher.standing == Standing::Synced && which(watcher))
        };
        (0u32..).zip(&self.slots).filter(|(_, slot)| holds(slot)).map(|(number, _)| number).collect()
    }

    /// All watchers.
    pub(super) fn all(&self) -> impl Iterator<Item = &Watcher> {
        self.slots.iter().filter_map(|slot| slot.watcher.as_ref())
    }

    /// Whether a synced watcher of `key` asks for previous key-values.
    pub(super) fn wants_prev(&self, key: &[u8]) -> bool {
        self.wanting_prev.holds(key)
    }

    /// Whether a synced watcher watches `key`.
    pub(super) fn is_watched(&self, key: &[u8]) -> bool {
        self.index.holds(key)
    }

    pub(super) fn behind(&self) -> usize {
        self.behind
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watcher_is_small() {
        // With its entries in index and stream (about 150 bytes) and its key it stays far below 500 bytes.
        assert!(size_of::<Slot>() <= 160, "{}", size_of::<Slot>());
    }
}
