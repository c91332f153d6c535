//! Commands that members carry out in slices: who is in the middle of one, how long a slice takes, and what befalls there.
//!
//! In the middle of such a command everybody else sees the state before it. What is asked, ends or changes just there is
//! counted, so that a swarm shows that it looked there. A slice takes time where a member does it for the first time and the world is
//! not calm yet: a start replays what it did for nothing. One member of three is much faster than the others, so that some are in the
//! middle of what is done elsewhere, leaders among them.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use quorate::base::MemberId;
use quorate::consensus::Standing;

use crate::plan::Plan;

/// Slices of an entry that take time: what waits behind a long one is held up long enough.
const TIMED: u64 = 30;

/// How many times as fast as the others a fast member is.
const FASTER: u32 = 10;

/// How far a member is.
#[derive(Clone, Default)]
struct Member {
    /// How long a slice takes it.
    time: Duration,
    /// The entry that was begun and is not done, by index and term.
    entry: Option<(u64, u64)>,
    /// Slices of it so far.
    slices: u64,
    /// The last one that it ever applied.
    most: u64,
    /// In which term it takes whom for the leader.
    led: Option<(u64, Option<MemberId>)>,
}

/// See the module's head.
pub struct Slices(Mutex<Vec<Member>>);

impl Slices {
    /// None is under way.
    pub fn new(plan: &Plan) -> Self {
        let time = Duration::from_micros(plan.setting.slicing.micros);
        let is_fast = |n: usize| (plan.seed as usize).wrapping_add(n).is_multiple_of(3);
        Self::of((0..plan.members.len()).map(|n| if is_fast(n) { time / FASTER } else { time }))
    }

    /// None is under way; a slice takes each member its time.
    fn of(times: impl IntoIterator<Item = Duration>) -> Self {
        Self(Mutex::new(times.into_iter().map(|time| Member { time, ..Member::default() }).collect()))
    }

    fn members(&self) -> MutexGuard<'_, Vec<Member>> {
        self.0.lock().expect("no holder of the slices panics")
    }

    /// A member did a slice of an entry; how long that takes in a world that is not calm.
    pub fn does(&self, member: usize, entry: (u64, u64)) -> Duration {
        let mut members = self.members();
        let member = &mut members[member];
        let before = if member.entry == Some(entry) { member.slices } else { 0 };
        (member.entry, member.slices) = (Some(entry), before + 1);
        if entry.0 > member.most && before < TIMED { member.time } else { Duration::ZERO }
    }

    /// A member applied an entry to its end.
    pub fn done(&self, member: usize, index: u64) {
        let mut members = self.members();
        let member = &mut members[member];
        (member.entry, member.most) = (None, member.most.max(index));
    }

    /// What was begun is gone with the life or the state; whether there was something.
    pub fn gone(&self, member: usize) -> bool {
        self.members()[member].entry.take().is_some()
    }

    /// The entry in whose middle a member is.
    pub fn at(&self, member: usize) -> Option<(u64, u64)> {
        self.members()[member].entry
    }

    /// A member says how it stands; whether it has another leader or term since, in the middle of an entry.
    pub fn stands(&self, member: usize, standing: &Standing) -> bool {
        let mut members = self.members();
        let member = &mut members[member];
        let led = Some((standing.term, standing.leader));
        std::mem::replace(&mut member.led, led) != led && member.entry.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_once_takes_no_time_again() {
        let slices = Slices::of([Duration::ZERO, Duration::from_millis(5)]);
        assert_eq!(slices.does(1, (7, 2)), Duration::from_millis(5));
        assert_eq!((slices.at(0), slices.at(1)), (None, Some((7, 2))));
        assert!(slices.gone(1) && !slices.gone(1));
        assert_eq!(slices.does(1, (7, 2)), Duration::from_millis(5), "it was never done");
        let timed = (0..2 * TIMED).filter(|_| !slices.does(1, (7, 2)).is_zero()).count();
        assert_eq!(timed as u64 + 1, TIMED, "a long one takes no longer");
        slices.done(1, 7);
        assert_eq!(slices.at(1), None);
        assert_eq!(slices.does(1, (7, 2)), Duration::ZERO);
    }
}
