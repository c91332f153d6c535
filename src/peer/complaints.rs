//! Lines of the log that others bring about, who ask again and again: of a kind and a peer one seldom, with the number of those
//! that were held back.
//!
//! Invariant: bounded, whoever asks and under however many names. Does not know what the lines say.

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
pub(super) struct Complaints(Mutex<BTreeMap<(&'static str, MemberId), Told>>);

impl Complaints {
    /// Whether a line with this text is to be written of a peer now: with the number of those held back since the last one, where
    /// there are.
    pub(super) fn says(&self, text: &'static str, of: MemberId, now: Instant) -> Option<Option<u64>> {
        let pause = Duration::from_millis(limits::SELDOM_MS);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= limits::PEER_COMPLAINTS && !all.contains_key(&(text, of)) {
            all.retain(|_, told| now.since(told.at) < pause);
        }
        let of = if all.len() < limits::PEER_COMPLAINTS || all.contains_key(&(text, of)) { of } else { OTHERS };
        let Some(told) = all.get_mut(&(text, of)) else {
            all.insert((text, of), Told { at: now, held_back: 0 });
            return Some(None);
        };
        if now.since(told.at) < pause {
            told.held_back += 1;
            return None;
        }
        let held_back = std::mem::replace(told, Told { at: now, held_back: 0 }).held_back;
        Some((held_back > 0).then_some(held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: u64 = limits::SELDOM_MS * 1_000_000;

    #[test]
    fn each_kind_of_each_peer_is_told_seldom_with_the_number_of_those_held_back() {
        let complaints = Complaints::default();
        let says = |text, of, at| complaints.says(text, MemberId(of), Instant(at));
        assert_eq!(says("mismatch", 1, 0), Some(None));
        assert_eq!(says("mismatch", 2, 0), Some(None), "another peer");
        assert_eq!(says("removed", 1, 0), Some(None), "another kind");
        assert_eq!([says("mismatch", 1, 5), says("mismatch", 1, PAUSE - 1)], [None, None]);
        assert_eq!(says("mismatch", 1, PAUSE), Some(Some(2)));
        assert_eq!(says("mismatch", 1, PAUSE * 2), Some(None), "nothing was held back since");
    }

    #[test]
    fn who_comes_under_ever_new_names_fills_neither_log_nor_memory() {
        let complaints = Complaints::default();
        let says = |of, at| complaints.says("mismatch", MemberId(of), Instant(at)).is_some();
        let told = (1..=10_000).filter(|of| says(*of, *of)).count();
        assert!(told <= limits::PEER_COMPLAINTS + 1, "{told}");
        assert!(complaints.0.lock().expect("nobody panics").len() <= limits::PEER_COMPLAINTS + 1);
        assert!(says(20_000, PAUSE * 2), "those that are over make room");
        assert_eq!(complaints.0.lock().expect("nobody panics").len(), 1);
    }
}
