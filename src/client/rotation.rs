//! Whose turn it is among several endpoints.
//!
//! Invariants: requests go round the endpoints in turn; one that was found away is passed over for [`AWAY`], unless
//! all are; nothing here is ever waited for. Does not know what a request is.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Time for which an endpoint that was found away is passed over: long enough that a dead member costs few requests
/// a connect timeout, short enough that one that was restarted takes its share soon.
const AWAY: Duration = Duration::from_secs(1);

/// Endpoints by their place in the caller's list.
#[derive(Debug)]
pub struct Rotation {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The place that comes next.
    next: usize,
    /// Until when each is passed over.
    away: Vec<Option<Instant>>,
}

impl Rotation {
    /// A rotation over `endpoints` places, at least one.
    pub fn new(endpoints: usize) -> Rotation {
        assert!(endpoints > 0, "there is somebody to ask");
        Rotation { state: Mutex::new(State { next: 0, away: vec![None; endpoints] }) }
    }

    /// Takes the next place that is not away at `now`; where all are away, simply the next.
    pub fn take(&self, now: Instant) -> usize {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let places = state.away.len();
        let next = state.next;
        let here = |place: &usize| state.away[*place].is_none_or(|until| until <= now);
        let place = (0..places).map(|step| (next + step) % places).find(here).unwrap_or(next);
        state.next = (place + 1) % places;
        place
    }

    /// Nobody answered at `place`.
    pub fn is_away(&self, place: usize, now: Instant) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).away[place] = Some(now + AWAY);
    }

    /// Somebody answered at `place`.
    pub fn is_here(&self, place: usize) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).away[place] = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_turn_passes_over_who_is_away_and_comes_back() {
        let (rotation, now) = (Rotation::new(3), Instant::now());
        let taken = |at: Instant| (0..4).map(|_| rotation.take(at)).collect::<Vec<_>>();
        assert_eq!(taken(now), [0, 1, 2, 0]);
        rotation.is_away(2, now);
        assert_eq!(taken(now), [1, 0, 1, 0]);
        assert_eq!(taken(now + AWAY), [1, 2, 0, 1]);
        rotation.is_here(2);
        assert_eq!(taken(now), [2, 0, 1, 2]);
        (0..3).for_each(|place| rotation.is_away(place, now));
        assert_eq!(taken(now), [0, 1, 2, 0], "all are away: each is tried all the same");
    }
}
