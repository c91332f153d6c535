//! How many digests of all data are being made for others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::base::limits;

/// The digests that are being made.
#[derive(Clone, Default)]
pub(super) struct DigestPlaces(Arc<AtomicUsize>);

/// Held while a digest is made.
pub(super) struct DigestPlace(DigestPlaces);

impl DigestPlaces {
    /// A place among them, if there is one.
    pub(super) fn take(&self) -> Option<DigestPlace> {
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        let place = DigestPlace(self.clone());
        (before < limits::PEER_DIGESTS).then_some(place)
    }
}

impl Drop for DigestPlace {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_are_made_at_once() {
        let places = DigestPlaces::default();
        let held: Vec<_> = (0..limits::PEER_DIGESTS).map_while(|_| places.take()).collect();
        assert_eq!((held.len(), places.take().is_none()), (limits::PEER_DIGESTS, true));
        drop(held);
        assert!(places.take().is_some(), "a refusal holds no place");
    }
}
