//! How many writes may wait, by how long those that were answered had to.
//!
//! A queue that is only bounded in number is seconds long where the disk is slow, and answers everybody too late. So the
//! room is what is answered in half a second or so: by Little's law what waits, times the time wanted, over the time it
//! took. Nothing is concluded while nothing is answered (an election, a disk that hangs for a moment), and a room that was
//! made smaller by one such pause grows again within a few looks. Does not know who waits.

use std::time::Duration;

use crate::base::limits;
use crate::env::Instant;

/// The room, and what was seen at the last look.
#[derive(Debug)]
pub(super) struct Pace {
    room: usize,
    looked: Instant,
    writes: u64,
    micros: u64,
    /// The most that waited since the last look.
    waiting: usize,
}

impl Default for Pace {
    fn default() -> Self {
        let room = limits::MAX_PENDING_REQUESTS;
        Self { room, looked: Instant::default(), writes: 0, micros: 0, waiting: 0 }
    }
}

impl Pace {
    /// Looks at how it stands `now`: the writes answered so far, for how many microseconds they had waited in all, and how
    /// many wait. The room from now on, where it was time for a look.
    pub(super) fn look(&mut self, now: Instant, (writes, micros): (u64, u64), waiting: usize) -> Option<usize> {
        self.waiting = self.waiting.max(waiting);
        if now.since(self.looked) < Duration::from_millis(limits::PACE_LOOK_MS) {
            return None;
        }
        let (answered, waited) = (writes - self.writes, micros - self.micros);
        let most = self.waiting;
        (self.looked, self.writes, self.micros, self.waiting) = (now, writes, micros, waiting);
        let took = waited.checked_div(answered)?;
        let wanted = limits::PACE_WAIT_MS * 1_000;
        self.room = if took > wanted {
            let answered_in_time = most as u64 * wanted / took;
            usize::try_from(answered_in_time).unwrap_or(usize::MAX).min(self.room)
        } else {
            self.room * 2
        };
        self.room = self.room.clamp(limits::LEAST_PENDING_REQUESTS, limits::MAX_PENDING_REQUESTS);
        Some(self.room)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A look each half second at a queue of which so many are answered, after so many milliseconds each.
    fn looks(pace: &mut Pace, answers: &[(u64, u64, usize)]) -> Vec<Option<usize>> {
        let (mut writes, mut micros) = (pace.writes, pace.micros);
        let mut now = pace.looked;
        answers
            .iter()
            .map(|(answered, took, waiting)| {
                now = now.plus(Duration::from_millis(limits::PACE_LOOK_MS));
                (writes, micros) = (writes + answered, micros + answered * took * 1_000);
                pace.look(now, (writes, micros), *waiting)
            })
            .collect()
    }

    #[test]
    fn the_room_is_what_is_answered_in_time() {
        let mut pace = Pace::default();
        let most = limits::MAX_PENDING_REQUESTS;
        assert_eq!(looks(&mut pace, &[(10, 1, 5)]), [Some(most)], "a small load says nothing of a large one");
        // 2,000 a second: 10,000 wait for five seconds.
        let room = looks(&mut pace, &[(500, 5_000, 10_000)])[0].expect("a look");
        assert_eq!(room as u64, 2_000 * limits::PACE_WAIT_MS / 1_000);
        let settled = looks(&mut pace, &[(500, limits::PACE_WAIT_MS + 1, room)])[0].expect("a look");
        assert!(settled.abs_diff(room) <= room / 100 + 1, "{settled}");
    }

    #[test]
    fn a_pause_says_little_and_is_soon_forgotten() {
        let mut pace = Pace::default();
        assert_eq!(looks(&mut pace, &[(0, 0, 9_000), (0, 0, 9_000)]), [None, None], "nothing was answered");
        let after = looks(&mut pace, &[(9_000, 3_000, 9_000)])[0].expect("a look");
        assert!((limits::LEAST_PENDING_REQUESTS..2_000).contains(&after), "{after}");
        let grown = looks(&mut pace, &[(1_000, 10, 100); 5]);
        assert_eq!(grown.last().copied().flatten(), Some(limits::MAX_PENDING_REQUESTS));
    }
}
