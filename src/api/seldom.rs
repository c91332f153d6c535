//! Warnings that clients can bring about: told at once, then seldom, with the number of those held back.
//!
//! Invariant: nothing is forgotten: what is not told is counted, and the next that is told has the number.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::base::limits;

/// One kind of warning.
#[derive(Debug, Default)]
pub struct Seldom(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    told: Option<Instant>,
    held: u64,
}

impl Seldom {
    /// One more at `now`: how many there were since the last that was told, this one among them, or `None` where it is
    /// not to be told.
    pub fn one_more(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.held += 1;
        let pause = Duration::from_millis(limits::SELDOM_MS);
        if state.told.is_some_and(|told| now.saturating_duration_since(told) < pause) {
            return None;
        }
        state.told = Some(now);
        Some(std::mem::take(&mut state.held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_and_the_rest_are_counted() {
        let (seldom, start) = (Seldom::default(), Instant::now());
        let pause = Duration::from_millis(limits::SELDOM_MS);
        assert_eq!(seldom.one_more(start), Some(1));
        for _ in 0..1_000 {
            assert_eq!(seldom.one_more(start + pause / 2), None);
        }
        assert_eq!(seldom.one_more(start + pause), Some(1_001));
        assert_eq!(seldom.one_more(start + pause), None);
    }
}
