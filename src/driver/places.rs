//! How many large things are being made for others at once.

use crate::base::sync::Arc;
use crate::base::sync::atomic::{AtomicUsize, Ordering};

/// Places for what is being made: digests of all data, or backups.
#[derive(Clone)]
pub(super) struct Places {
    taken: Arc<AtomicUsize>,
    most: usize,
}

/// Held while it is made.
pub(super) struct Place(Places);

impl Places {
    /// So many.
    pub(super) fn new(most: usize) -> Self {
        Self { taken: Arc::default(), most }
    }

    /// A place among them, if there is one.
    pub(super) fn take(&self) -> Option<Place> {
        let before = self.taken.fetch_add(1, Ordering::Relaxed);
        let place = Place(self.clone());
        (before < self.most).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_are_made_at_once() {
        let places = Places::new(2);
        let held: Vec<_> = (0..2).map_while(|_| places.take()).collect();
        assert_eq!((held.len(), places.take().is_none()), (2, true));
        drop(held);
        assert!(places.take().is_some(), "a refusal holds no place");
    }
}
