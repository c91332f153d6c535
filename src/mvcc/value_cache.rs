//! Current values kept in memory, within a budget of bytes.
//!
//! A value lies in a numbered slot together with the revision it belongs to; the index remembers only the
//! number. A number that went stale is noticed because the revision in the slot is another one, so eviction
//! touches no key. Slots stand in a queue: the first goes, unless it was read since it was put there, then it is spared once.
//!
//! Invariants: `used` is the sum over the taken slots; a taken slot stands in the queue, none stands there twice, and one that
//! is empty leaves it when it is met, so looking for a value to evict costs what was put since; a value never pins a buffer more than twice its size;
//! handing a value out copies nothing. A slot's lock is held for the clone of a handle, no longer.

use std::collections::VecDeque;

use bytes::Bytes;

use super::key_index::NO_SLOT;
use crate::base::Revision;
use crate::base::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Slots of the first chunk; every further one is as large as all before it.
const FIRST_CHUNK: usize = 1024;

/// Chunks: enough for 2^32 slots.
const CHUNKS: usize = 23;

/// What a taken slot costs beside its value's bytes.
const SLOT_BYTES: usize = size_of::<Mutex<Slot>>();

#[derive(Default, Debug)]
struct Slot {
    revision: Revision,
    value: Option<Bytes>,
    touched: bool,
    queued: bool,
}

#[derive(Default, Debug)]
struct Clock {
    used: usize,
    made: u32,
    /// Slots in the order in which they are looked at for eviction.
    queue: VecDeque<u32>,
    free: Vec<u32>,
}

/// The cache; shared by the writer and all views.
#[derive(Debug)]
pub struct ValueCache {
    budget: usize,
    clock: Mutex<Clock>,
    chunks: [OnceLock<Box<[Mutex<Slot>]>>; CHUNKS],
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic is a bug that ends the process; what is behind these locks holds whole between statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `value` as it may be kept: copied when it is less than half of the buffer it is a slice of.
pub fn unpinned(value: Bytes, backing_bytes: usize) -> Bytes {
    if value.len() < backing_bytes / 2 { Bytes::copy_from_slice(&value) } else { value }
}

impl ValueCache {
    /// A cache that keeps at most `budget` bytes.
    pub fn new(budget: usize) -> Self {
        Self { budget, clock: Mutex::default(), chunks: [const { OnceLock::new() }; CHUNKS] }
    }

    /// Bytes kept now.
    #[cfg(test)]
    pub fn used(&self) -> usize {
        lock(&self.clock).used
    }

    /// The value of `revision`, if slot `slot` still holds it.
    pub fn get(&self, slot: u32, revision: Revision) -> Option<Bytes> {
        let mut slot = lock(self.slot(slot)?);
        if slot.revision != revision {
            return None;
        }
        slot.touched = true;
        slot.value.clone()
    }

    /// Keeps `value`, in slot `old` if that holds `old_revision` (the value it replaces). Returns the slot, or
    /// [`NO_SLOT`] when the budget has no room for such a value.
    pub fn replace(&self, old: u32, old_revision: Revision, revision: Revision, value: Bytes) -> u32 {
        let mut clock = lock(&self.clock);
        self.free_slot(&mut clock, old, old_revision);
        self.insert(&mut clock, revision, value)
    }

    /// As [`Self::replace`] for a reader that fetched `value` from the history: gives way to whoever is at it.
    pub fn offer(&self, revision: Revision, value: Bytes) -> u32 {
        match self.clock.try_lock() {
            Ok(mut clock) => self.insert(&mut clock, revision, value),
            Err(_) => NO_SLOT,
        }
    }

    /// Lets go of the value of `revision`.
    pub fn forget(&self, slot: u32, revision: Revision) {
        if slot != NO_SLOT {
            self.free_slot(&mut lock(&self.clock), slot, revision);
        }
    }

    fn slot(&self, slot: u32) -> Option<&Mutex<Slot>> {
        if slot == NO_SLOT {
            return None;
        }
        let (chunk, at) = place(slot);
        self.chunks[chunk].get().map(|slots| &slots[at])
    }

    fn free_slot(&self, clock: &mut Clock, number: u32, revision: Revision) {
        let Some(slot) = self.slot(number) else { return };
        let mut slot = lock(slot);
        if slot.revision == revision
            && let Some(value) = slot.value.take()
        {
            clock.used -= value.len() + SLOT_BYTES;
            clock.free.push(number);
        }
    }

    fn insert(&self, clock: &mut Clock, revision: Revision, value: Bytes) -> u32 {
        let cost = value.len() + SLOT_BYTES;
        if cost > self.budget {
            return NO_SLOT;
        }
        while clock.used + cost > self.budget {
            self.evict_one(clock);
        }
        let number = clock.free.pop().unwrap_or_else(|| {
            clock.made += 1;
            clock.made - 1
        });
        assert!(number != NO_SLOT, "the budget is below 2^32 slots");
        clock.used += cost;
        let (chunk, at) = place(number);
        let slots = self.chunks[chunk].get_or_init(|| {
            let size = if chunk == 0 { FIRST_CHUNK } else { FIRST_CHUNK << (chunk - 1) };
            (0..size).map(|_| Mutex::default()).collect()
        });
        let was = std::mem::replace(
            &mut *lock(&slots[at]),
            Slot { revision, value: Some(value), touched: false, queued: true },
        );
        if !was.queued {
            clock.queue.push_back(number);
        }
        number
    }

    /// Lets the first value go that was not read since it was last looked at. Ends: something is kept, and a second round
    /// spares nothing.
    fn evict_one(&self, clock: &mut Clock) {
        loop {
            let number = clock.queue.pop_front().expect("what is kept stands in the queue");
            let mut slot = lock(self.slot(number).expect("slots that were made have a chunk"));
            if slot.value.is_some() && std::mem::take(&mut slot.touched) {
                clock.queue.push_back(number);
                continue;
            }
            slot.queued = false;
            if let Some(value) = slot.value.take() {
                clock.used -= value.len() + SLOT_BYTES;
                clock.free.push(number);
                return;
            }
        }
    }
}

/// Chunk and place in it of a slot.
fn place(slot: u32) -> (usize, usize) {
    let slot = slot as usize;
    if slot < FIRST_CHUNK {
        return (0, slot);
    }
    let chunk = (slot / FIRST_CHUNK).ilog2() as usize + 1;
    (chunk, slot - (FIRST_CHUNK << (chunk - 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(n: usize) -> Bytes {
        Bytes::from(vec![b'v'; n])
    }

    #[test]
    fn places_fill_the_chunks_without_gap() {
        let mut expected = (0, 0);
        for slot in 0..20_000 {
            assert_eq!(place(slot), expected);
            let size = if expected.0 == 0 { FIRST_CHUNK } else { FIRST_CHUNK << (expected.0 - 1) };
            expected = if expected.1 + 1 == size { (expected.0 + 1, 0) } else { (expected.0, expected.1 + 1) };
        }
        assert_eq!(place(u32::MAX - 1).0, CHUNKS - 1);
    }

    #[test]
    fn keeps_within_the_budget_and_spares_what_is_read() {
        let cache = ValueCache::new(10 * (100 + SLOT_BYTES));
        let slots: Vec<u32> =
            (0..10).map(|n| cache.replace(NO_SLOT, Revision::default(), Revision::new(n, 0), value(100))).collect();
        assert!(cache.get(slots[0], Revision::new(0, 0)).is_some());
        cache.replace(NO_SLOT, Revision::default(), Revision::new(10, 0), value(100));
        assert!(cache.get(slots[0], Revision::new(0, 0)).is_some(), "read, so spared");
        assert!(cache.get(slots[1], Revision::new(1, 0)).is_none(), "not read, so evicted; its slot is another's");
        for n in 11..500 {
            cache.replace(NO_SLOT, Revision::default(), Revision::new(n, 0), value(n as usize % 300));
            assert!(cache.used() <= 10 * (100 + SLOT_BYTES));
        }
    }

    /// Many small values gave way to few large ones: what is empty is passed once, not at every turn, and the queue is never
    /// longer than there are slots.
    #[test]
    fn empty_slots_are_not_looked_at_again_and_again() {
        let cache = ValueCache::new(1_000_000);
        let mut last = 0;
        let mut put = |len: usize| {
            last += 1;
            cache.replace(NO_SLOT, Revision::default(), Revision::new(last, 0), value(len))
        };
        for _ in 0..20_000 {
            put(10);
        }
        let many = lock(&cache.clock).queue.len();
        assert!(many > 5_000);
        for _ in 0..10 {
            put(300_000);
        }
        assert!(lock(&cache.clock).queue.len() <= 4, "{}", lock(&cache.clock).queue.len());
        // Replaced in place for ever: each slot once.
        let mut slot = NO_SLOT;
        for n in 1_000_000..1_001_000 {
            slot = cache.replace(slot, Revision::new(n - 1, 0), Revision::new(n, 0), value(5));
        }
        assert!(lock(&cache.clock).queue.len() <= 5);
    }

    #[test]
    fn replaced_and_forgotten_values_cost_nothing() {
        let cache = ValueCache::new(10_000);
        let mut slot = NO_SLOT;
        for n in 1..1_000 {
            slot = cache.replace(slot, Revision::new(n - 1, 0), Revision::new(n, 0), value(50));
        }
        assert_eq!((slot, cache.used()), (0, 50 + SLOT_BYTES));
        cache.forget(slot, Revision::new(1, 0));
        assert!(cache.get(slot, Revision::new(999, 0)).is_some(), "another revision is not forgotten");
        cache.forget(slot, Revision::new(999, 0));
        assert_eq!((cache.get(slot, Revision::new(999, 0)), cache.used()), (None, 0));
        assert_eq!(cache.replace(NO_SLOT, Revision::default(), Revision::new(1, 0), value(10_000)), NO_SLOT);
    }

    #[test]
    fn small_slices_are_copied_out_of_large_buffers() {
        let buffer = value(1_000);
        assert_eq!(unpinned(buffer.slice(..600), 1_000).as_ptr(), buffer.as_ptr());
        assert_ne!(unpinned(buffer.slice(..400), 1_000).as_ptr(), buffer.as_ptr());
    }
}
