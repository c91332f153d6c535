//! Whose turn it is among several endpoints.
//!
//! Invariants: requests go round the endpoints in turn; one that was found away is passed over for [`AWAY`], unless
//! all are, and for twice as long each time it is found away again; nothing here is ever waited for. Does not know what a
//! request is.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Time for which an endpoint that was found away is passed over: long enough that a dead member costs few requests
/// a connect timeout, short enough that one that was restarted takes its share soon.
const AWAY: Duration = Duration::from_secs(1);

/// Longest time for which an endpoint is passed over: a write that is sent to a silent member costs its timeout, and
/// whoever takes turns with others (for a lock, say) makes all of them wait.
const LONGEST_AWAY: Duration = Duration::from_secs(8);

/// Endpoints by their place in the caller's list.
#[derive(Debug)]
pub struct Rotation {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The place that comes next.
    next: usize,
    /// How each is passed over; `None` where it answered last.
    away: Vec<Option<Away>>,
}

#[derive(Clone, Copy, Debug)]
struct Away {
    until: Instant,
    span: Duration,
}

impl Rotation {
    /// A rotation over `endpoints` places, at least one.
    pub fn new(endpoints: usize) -> Rotation {
        assert!(endpoints > 0, "there is somebody to ask");
        Rotation { state: Mutex::new(State { next: 0, away: vec![None; endpoints] }) }
    }

    /// Takes the next place that is not away at `now`; where all are away, simply the next.
    pub fn take(&self, now: Instant) -> usize {
        self.take_other(&[], now)
    }

    /// As [`Self::take`], of the places that are not `asked` already, while there are others.
    pub fn take_other(&self, asked: &[usize], now: Instant) -> usize {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let places = state.away.len();
        let next = state.next;
        let here = |place: &usize| state.away[*place].is_none_or(|away| away.until <= now);
        let others = || (0..places).map(|step| (next + step) % places).filter(|place| !asked.contains(place));
        let place = others().find(here).or_else(|| others().next()).unwrap_or(next);
        state.next = (place + 1) % places;
        place
    }

    /// Nobody answered at `place`.
    pub fn is_away(&self, place: usize, now: Instant) {
        let away = &mut self.state.lock().unwrap_or_else(PoisonError::into_inner).away[place];
        let span = match away {
            // Another request of the same time.
            Some(away) if away.until > now => return,
            Some(away) => (away.span * 2).min(LONGEST_AWAY),
            None => AWAY,
        };
        *away = Some(Away { until: now + span, span });
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

    #[test]
    fn who_is_asked_already_is_asked_last() {
        let (rotation, now) = (Rotation::new(3), Instant::now());
        assert_eq!([rotation.take_other(&[0], now), rotation.take_other(&[0, 1], now)], [1, 2]);
        rotation.is_away(2, now);
        assert_eq!(rotation.take_other(&[0, 1], now), 2, "away, and the only one that was not asked");
        assert_eq!(rotation.take_other(&[0, 1, 2], now), 0, "all are asked");
    }

    #[test]
    fn who_is_found_away_again_is_passed_over_for_longer() {
        let (rotation, mut now) = (Rotation::new(2), Instant::now());
        for span in [1, 2, 4, 8, 8] {
            rotation.is_away(1, now);
            rotation.is_away(1, now);
            let span = Duration::from_secs(span);
            now += span - Duration::from_millis(1);
            assert_eq!([rotation.take(now), rotation.take(now)], [0, 0]);
            now += Duration::from_millis(1);
            let both = [rotation.take(now), rotation.take(now)];
            assert!(both.contains(&1), "{both:?}");
        }
        rotation.is_here(1);
        rotation.is_away(1, now);
        assert!([rotation.take(now + AWAY), rotation.take(now + AWAY)].contains(&1), "it answered in between");
    }
}
