//! The cache of values, and a view that knows its revision alone.

use std::marker::PhantomData;

use bytes::Bytes;
use shuttle::sync::{Arc, Mutex};
use shuttle::thread;

use crate::base::Revision;
use crate::env::Disk;

mod key_index {
    pub const NO_SLOT: u32 = u32::MAX;
}

#[path = "../../../src/mvcc/value_cache.rs"]
pub mod value_cache;

use key_index::NO_SLOT;
use value_cache::ValueCache;

/// A view: its revision, shared as a view's index is.
pub struct View<D>(Arc<i64>, PhantomData<D>);

impl<D: Disk> View<D> {
    pub(crate) fn new(revision: i64) -> Self {
        Self(Arc::new(revision), PhantomData)
    }

    pub(crate) fn revision(&self) -> i64 {
        *self.0
    }
}

impl<D> Clone for View<D> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
    }
}

/// Bytes of a value: so many that what a slot costs beside is little.
const LARGE: usize = 10_000;

static ZEROS: [u8; LARGE + 100] = [0; LARGE + 100];

/// A value that tells its revision by its length.
fn value(revision: i64) -> Bytes {
    Bytes::from_static(&ZEROS[..LARGE + usize::try_from(revision).expect("small and positive")])
}

/// Looks a value up as a reader does, who finds it in the history where the cache has it no more.
fn read(cache: &ValueCache, node: &Mutex<(u32, i64)>) {
    let (slot, revision) = *node.lock().expect("no scenario goes on after a panic");
    let kept = Revision::new(revision, 0);
    if let Some(found) = cache.get(slot, kept) {
        assert_eq!(found.len(), value(revision).len(), "a slot tells the value of the revision that is asked for");
        return;
    }
    let slot = cache.offer(kept, value(revision));
    let mut node = node.lock().expect("no scenario goes on after a panic");
    // In the product the number of a stale slot may be written over a newer one; the cache stands that, too.
    if slot != NO_SLOT {
        node.0 = slot;
    }
}

/// Whatever writers and readers do: a value belongs to the revision it is asked for by, and what is kept is within the budget.
/// Caught: `get` that does not compare revisions; `get` that compares them under one lock and takes the value under another;
/// `evict_one` that lets go without counting.
pub fn values_are_of_their_revisions_and_within_the_budget() {
    let cache = Arc::new(ValueCache::new(2 * LARGE + LARGE / 2));
    let nodes: Arc<[_; 3]> = Arc::new([(); 3].map(|()| Mutex::new((NO_SLOT, 0))));
    let writer = thread::spawn({
        let (cache, nodes) = (cache.clone(), nodes.clone());
        move || {
            for revision in 1..=6 {
                let node = &nodes[usize::try_from(revision).expect("small and positive") % 3];
                let (slot, was) = *node.lock().expect("no scenario goes on after a panic");
                let slot = cache.replace(slot, Revision::new(was, 0), Revision::new(revision, 0), value(revision));
                *node.lock().expect("no scenario goes on after a panic") = (slot, revision);
            }
            let (slot, revision) = *nodes[0].lock().expect("no scenario goes on after a panic");
            cache.forget(slot, Revision::new(revision, 0));
        }
    });
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (cache, nodes) = (cache.clone(), nodes.clone());
            thread::spawn(move || (0..2).for_each(|_| nodes.iter().for_each(|node| read(&cache, node))))
        })
        .collect();
    writer.join().expect("it asserts");
    readers.into_iter().for_each(|reader| reader.join().expect("it asserts"));
    let kept = |slot| (0..=6).filter(|revision| cache.get(slot, Revision::new(*revision, 0)).is_some()).count();
    let all: usize = (0..6).map(kept).sum();
    assert!(all <= 2, "{all} values are kept where there is room for two");
    // Were more counted than is kept, the cache would look in vain for what it could let go.
    for revision in 7..12 {
        assert_ne!(cache.replace(NO_SLOT, Revision::default(), Revision::new(revision, 0), value(revision)), NO_SLOT);
    }
}

/// A value is forgotten by its revision: where its slot is another's by then, that one stays.
/// Caught: `free_slot` that does not compare revisions.
pub fn forgetting_spares_who_came_later() {
    let cache = Arc::new(ValueCache::new(LARGE + LARGE / 2));
    let (old, new) = (Revision::new(1, 0), Revision::new(2, 0));
    let slot = cache.replace(NO_SLOT, Revision::default(), old, value(1));
    let reader = thread::spawn({
        let cache = cache.clone();
        move || cache.offer(new, value(2))
    });
    cache.forget(slot, old);
    let offered = reader.join().expect("it asserts");
    assert!(cache.get(slot, old).is_none(), "it is forgotten");
    assert!(offered == NO_SLOT || cache.get(offered, new).is_some(), "nothing was put since");
}
