//! The digests of all data that a member has made at compactions, and how many are being made.
//!
//! Invariant: a compaction's digest is of the data as they were before it, with the compact revision before it, as etcd makes
//! it; so members that compact at different times can still be held against each other. The last few are kept.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::limits;
use crate::mvcc::HashKv;

/// A member's digests.
#[derive(Default)]
pub(super) struct Digests {
    kept: Mutex<VecDeque<HashKv>>,
    under_way: Arc<AtomicUsize>,
}

impl Digests {
    /// Keeps what was made at a compaction.
    pub(super) fn keep(&self, hash: HashKv) {
        let mut kept = self.kept();
        kept.push_back(hash);
        while kept.len() > limits::COMPACTION_DIGESTS {
            kept.pop_front();
        }
    }

    /// The one made at the compaction to this revision.
    pub(super) fn at_compaction(&self, revision: i64) -> Option<HashKv> {
        self.kept().iter().rfind(|hash| hash.hash_revision == revision).copied()
    }

    /// All that are kept, the newest revision first.
    pub(super) fn at_compactions(&self) -> Vec<HashKv> {
        let mut all: Vec<HashKv> = self.kept().iter().copied().collect();
        all.sort_by_key(|hash| std::cmp::Reverse(hash.hash_revision));
        all
    }

    /// A place among those that are being made, if there is one.
    pub(super) fn take_place(&self) -> Option<DigestPlace> {
        let before = self.under_way.fetch_add(1, Ordering::Relaxed);
        let place = DigestPlace(self.under_way.clone());
        (before < limits::PEER_DIGESTS).then_some(place)
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<HashKv>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Held while a digest is made.
pub(super) struct DigestPlace(Arc<AtomicUsize>);

impl Drop for DigestPlace {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_few_are_kept_and_few_are_made_at_once() {
        let digests = Digests::default();
        for hash_revision in 1..=12 {
            digests.keep(HashKv { hash: 7, compact_revision: hash_revision - 1, hash_revision });
        }
        let kept: Vec<i64> = digests.at_compactions().iter().map(|hash| hash.hash_revision).collect();
        assert_eq!(kept, (3..=12).rev().collect::<Vec<i64>>());
        assert_eq!(digests.at_compaction(12).map(|hash| hash.compact_revision), Some(11));
        assert_eq!(digests.at_compaction(2), None);
        let places: Vec<_> = (0..limits::PEER_DIGESTS).map_while(|_| digests.take_place()).collect();
        assert_eq!((places.len(), digests.take_place().is_none()), (limits::PEER_DIGESTS, true));
        drop(places);
        assert!(digests.take_place().is_some(), "a refusal holds no place");
    }
}
