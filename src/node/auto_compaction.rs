//! When history is compacted by itself, by etcd's rules.
//!
//! Every member counts, so that a new leader knows what was current a window ago; only the one on duty proposes. Time is
//! handed in with each tick. Does not compact anything.

use std::collections::VecDeque;
use std::time::Duration;

use crate::env::Instant;

/// What the cluster forgets by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AutoCompaction {
    /// Revisions older than this.
    Periodic(Duration),
    /// All but this many revisions.
    Revisions(u64),
}

/// Time between two looks in mode `revision`, as in etcd.
const REVISION_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// Longest time between two compactions in mode `periodic`, as in etcd.
const PERIODIC_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// Looks in one interval of mode `periodic`, as in etcd.
const LOOKS: u32 = 10;

/// See the module's head.
#[derive(Debug)]
pub(super) struct Compactor {
    mode: Option<AutoCompaction>,
    /// In mode `periodic`: the revisions at the last looks; the first is of a window ago once the window is full.
    seen: VecDeque<i64>,
    /// The next look; nothing before the first tick.
    next_look: Option<Instant>,
    /// The revision compacted last.
    last: i64,
    /// When that was, or the start.
    last_at: Instant,
    /// Whether one was done: the first waits for a whole window.
    begun: bool,
    under_way: bool,
}

impl Compactor {
    pub(super) fn new(mode: Option<AutoCompaction>) -> Self {
        Self {
            mode,
            seen: VecDeque::new(),
            next_look: None,
            last: 0,
            last_at: Instant(0),
            begun: false,
            under_way: false,
        }
    }

    /// Looks at the clock; what is to be compacted now, where this member is `on_duty`.
    pub(super) fn tick(&mut self, now: Instant, revision: i64, on_duty: bool) -> Option<i64> {
        let mode = self.mode?;
        match self.next_look {
            Some(at) if now < at => return None,
            Some(_) => {}
            None => {
                self.last_at = now;
                self.looked(mode, now, revision);
                return None;
            }
        }
        let due = match mode {
            AutoCompaction::Revisions(kept) => Some(revision.saturating_sub_unsigned(kept)),
            AutoCompaction::Periodic(window) => {
                let wait = if self.begun { window.min(PERIODIC_INTERVAL) } else { window };
                self.seen.front().copied().filter(|_| now.since(self.last_at) >= wait)
            }
        };
        self.looked(mode, now, revision);
        let due = due.filter(|due| on_duty && !self.under_way && *due > 0 && *due != self.last)?;
        self.under_way = true;
        self.begun = true;
        Some(due)
    }

    fn looked(&mut self, mode: AutoCompaction, now: Instant, revision: i64) {
        self.next_look = Some(now.plus(match mode {
            AutoCompaction::Revisions(_) => REVISION_INTERVAL,
            AutoCompaction::Periodic(window) => {
                let step = look_interval(window);
                self.seen.push_back(revision);
                let kept = window.as_nanos() / step.as_nanos() + 1;
                if self.seen.len() as u128 > kept {
                    self.seen.pop_front();
                }
                step
            }
        }));
    }

    /// It was compacted up to here, by this proposal or before.
    pub(super) fn done(&mut self, revision: i64, now: Instant) {
        (self.under_way, self.last, self.last_at) = (false, revision, now);
    }

    /// The proposal came to nothing, or may have: the next look tries again.
    pub(super) fn failed(&mut self) {
        self.under_way = false;
    }
}

/// Time between two looks in mode `periodic`.
fn look_interval(window: Duration) -> Duration {
    (window.min(PERIODIC_INTERVAL) / LOOKS).max(Duration::from_nanos(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000_000_000;

    fn at(minutes: u64) -> Instant {
        Instant(minutes * MINUTE)
    }

    #[test]
    fn without_a_retention_nothing_is_compacted() {
        let mut compactor = Compactor::new(None);
        assert!((0..1_000).all(|minute| compactor.tick(at(minute), 1_000, true).is_none()));
    }

    #[test]
    fn revisions_are_counted_every_five_minutes() {
        let mut compactor = Compactor::new(Some(AutoCompaction::Revisions(100)));
        assert_eq!(compactor.tick(at(0), 1_000, true), None);
        assert_eq!(compactor.tick(at(4), 1_000, true), None);
        assert_eq!(compactor.tick(at(5), 1_000, true), Some(900));
        compactor.done(900, at(5));
        assert_eq!(compactor.tick(at(10), 1_000, true), None, "nothing new");
        assert_eq!(compactor.tick(at(15), 1_010, false), None, "another's duty");
        assert_eq!(compactor.tick(at(20), 1_010, true), Some(910));
        assert_eq!(compactor.tick(at(25), 1_020, true), None, "one is under way");
        compactor.failed();
        assert_eq!(compactor.tick(at(30), 1_020, true), Some(920));
        let mut compactor = Compactor::new(Some(AutoCompaction::Revisions(100)));
        compactor.tick(at(0), 50, true);
        assert_eq!(compactor.tick(at(5), 100, true), None, "all are kept");
    }

    /// Revision n is written in minute n. As in etcd, what was seen at the look itself does not count yet: a window and a
    /// look's interval are kept.
    fn compactions(window: Duration, minutes: u64) -> Vec<(u64, i64)> {
        let mut compactor = Compactor::new(Some(AutoCompaction::Periodic(window)));
        let mut done = Vec::new();
        for minute in 1..=minutes {
            if let Some(revision) = compactor.tick(at(minute), minute as i64, true) {
                compactor.done(revision, at(minute));
                done.push((minute, revision));
            }
        }
        done
    }

    #[test]
    fn a_short_window_is_kept_and_compacted_once_in_itself() {
        let window = Duration::from_secs(10 * 60);
        assert_eq!(compactions(window, 45), [(11, 1), (21, 10), (31, 20), (41, 30)]);
    }

    #[test]
    fn a_long_window_is_kept_and_compacted_once_an_hour() {
        let window = Duration::from_secs(3 * 60 * 60);
        assert_eq!(compactions(window, 350), [(181, 1), (241, 55), (301, 115)]);
    }

    #[test]
    fn a_new_leader_knows_what_was_current_a_window_ago_and_a_failure_is_tried_again_soon() {
        let window = Duration::from_secs(60 * 60);
        let mut compactor = Compactor::new(Some(AutoCompaction::Periodic(window)));
        for minute in 1..100 {
            assert_eq!(compactor.tick(at(minute), minute as i64, false), None);
        }
        assert_eq!(compactor.tick(at(103), 103, true), Some(37));
        compactor.failed();
        assert_eq!(compactor.tick(at(108), 108, true), None);
        assert_eq!(compactor.tick(at(109), 109, true), Some(43));
    }
}
