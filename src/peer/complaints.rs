//! Lines of the log that others bring about, who ask again and again: of a kind and a peer one seldom, with the number of those
//! that were held back.
//!
//! Invariants: bounded, whoever asks and under however many names; strangers take no places from members, and what was held back
//! is told some time, if not of whom. Does not know what the lines say, nor who is a member.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::base::{MemberId, limits};
use crate::env::Instant;

/// In whose name lines are counted where there are too many names.
const OTHERS: MemberId = MemberId(0);

#[derive(Debug)]
struct Told {
    at: Instant,
    held_back: u64,
}

/// What was said of whom.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    members: Mutex<Lines>,
    strangers: Mutex<Lines>,
}

impl Complaints {
    /// Whether a line with this text is to be written of a peer now: with the number of those held back since the last one, where
    /// there are. Members and strangers are counted apart.
    pub(super) fn says(&self, text: &'static str, of: MemberId, is_member: bool, now: Instant) -> Option<Option<u64>> {
        let lines = if is_member { &self.members } else { &self.strangers };
        lines.lock().unwrap_or_else(PoisonError::into_inner).says(text, of, now)
    }
}

#[derive(Debug, Default)]
struct Lines(BTreeMap<(&'static str, MemberId), Told>);

impl Lines {
    fn says(&mut self, text: &'static str, of: MemberId, now: Instant) -> Option<Option<u64>> {
        let pause = Duration::from_millis(limits::SELDOM_MS);
        if self.0.len() >= limits::PEER_COMPLAINTS && !self.0.contains_key(&(text, of)) {
            self.forget_before(now, pause);
        }
        let of = if self.0.len() < limits::PEER_COMPLAINTS || self.0.contains_key(&(text, of)) { of } else { OTHERS };
        let Some(told) = self.0.get_mut(&(text, of)) else {
            self.0.insert((text, of), Told { at: now, held_back: 0 });
            return Some(None);
        };
        if now.since(told.at) < pause {
            told.held_back += 1;
            return None;
        }
        let held_back = std::mem::replace(told, Told { at: now, held_back: 0 }).held_back;
        Some((held_back > 0).then_some(held_back))
    }

    /// Forgets whom nothing was said of for so long. What was held back is told of the others.
    fn forget_before(&mut self, now: Instant, pause: Duration) {
        let mut left: BTreeMap<&'static str, Told> = BTreeMap::new();
        self.0.retain(|(text, of), told| {
            let stays = now.since(told.at) < pause;
            if !stays && told.held_back > 0 && *of != OTHERS {
                let others = left.entry(*text).or_insert(Told { at: told.at, held_back: 0 });
                others.held_back += told.held_back;
            }
            stays || (*of == OTHERS && told.held_back > 0)
        });
        for (text, told) in left {
            self.0.entry((text, OTHERS)).or_insert(Told { at: told.at, held_back: 0 }).held_back += told.held_back;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: u64 = limits::SELDOM_MS * 1_000_000;

    fn of_strangers(complaints: &Complaints) -> usize {
        complaints.strangers.lock().expect("nobody panics").0.len()
    }

    #[test]
    fn each_kind_of_each_peer_is_told_seldom_with_the_number_of_those_held_back() {
        for is_member in [false, true] {
            let complaints = Complaints::default();
            let says = |text, of, at| complaints.says(text, MemberId(of), is_member, Instant(at));
            assert_eq!(says("mismatch", 1, 0), Some(None));
            assert_eq!(says("mismatch", 2, 0), Some(None), "another peer");
            assert_eq!(says("removed", 1, 0), Some(None), "another kind");
            assert_eq!([says("mismatch", 1, 5), says("mismatch", 1, PAUSE - 1)], [None, None]);
            assert_eq!(says("mismatch", 1, PAUSE), Some(Some(2)));
            assert_eq!(says("mismatch", 1, PAUSE * 2), Some(None), "nothing was held back since");
        }
    }

    #[test]
    fn who_comes_under_ever_new_names_fills_neither_log_nor_memory() {
        let complaints = Complaints::default();
        let says = |of, at| complaints.says("mismatch", MemberId(of), false, Instant(at));
        let told = (1..=10_000).filter(|of| says(*of, *of).is_some()).count();
        assert!(told <= limits::PEER_COMPLAINTS + 1, "{told}");
        assert!(of_strangers(&complaints) <= limits::PEER_COMPLAINTS + 1);
        assert!(says(20_000, PAUSE * 2).is_some(), "those that are over make room");
        assert_eq!(of_strangers(&complaints), 2, "and what was held back of the others is kept");
        let held_back = 10_000 - told as u64;
        let mut others = (30_001..).take(limits::PEER_COMPLAINTS).filter_map(|of| says(of, PAUSE * 2));
        assert_eq!(others.find_map(|held_back| held_back), Some(held_back), "until it is told");
    }

    #[test]
    fn strangers_take_no_places_from_members() {
        let complaints = Complaints::default();
        (1..=10_000).for_each(|of| {
            assert!(complaints.says("mismatch", MemberId(of), false, Instant(0)).is_none() || of <= 257)
        });
        for of in [20_001, 20_002] {
            assert_eq!(complaints.says("mismatch", MemberId(of), true, Instant(0)), Some(None));
            assert_eq!(complaints.says("mismatch", MemberId(of), true, Instant(1)), None);
        }
    }

    #[test]
    fn what_was_held_back_of_one_who_is_forgotten_is_told_of_the_others() {
        let complaints = Complaints::default();
        let says = |of, at| complaints.says("mismatch", MemberId(of), false, Instant(at));
        (1..=limits::PEER_COMPLAINTS as u64).for_each(|of| assert_eq!(says(of, 0), Some(None)));
        assert_eq!([says(1, 1), says(2, 1), says(2, 2)], [None; 3]);
        assert_eq!(says(20_000, PAUSE), Some(None), "a new name");
        let more =
            (20_001..20_000 + limits::PEER_COMPLAINTS as u64).filter_map(|of| says(of, PAUSE)).collect::<Vec<_>>();
        assert!(more.contains(&Some(3)), "{more:?}");
    }
}
