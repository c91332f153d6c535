//! What a command that takes several turns holds up: the entries behind it, and whoever waits for them.
//!
//! Before such commands were carried out in slices, the member was deaf meanwhile, and what it does about that
//! ([`super::Input::Deaf`]) served here, too. Now it ticks, so time passes for those who wait through no fault of theirs: the clock
//! of leases stands still for it, because some renewals are among them. Of each hold-up the time up to its first tick passes: under
//! a load of such commands alone leases have a slow time, and not none at all.
//!
//! Does not know what is carried out, nor whether applying moves on.

use std::time::Duration;

use crate::base::LogIndex;
use crate::env::Instant;

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct HoldUp {
    /// What was committed when such a command was last under way.
    reach: LogIndex,
    /// Since when the clock of leases was not told that it stands still; nothing before the first tick.
    since: Option<Instant>,
}

impl HoldUp {
    /// A command is under way, and so much is committed.
    pub(super) fn goes_on(&mut self, committed: LogIndex) {
        self.reach = self.reach.max(committed);
    }

    /// The last entry that waits, or waited, because of it.
    pub(super) fn reach(&self) -> LogIndex {
        self.reach
    }

    /// A tick passes in it.
    pub(super) fn tick(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// Whether time in it stands still.
    pub(super) fn stands_still(&self) -> bool {
        self.since.is_some()
    }

    /// How long it stood still since this was asked last; `goes_on` says whether it does now.
    pub(super) fn take_time(&mut self, now: Instant, goes_on: bool) -> Option<Duration> {
        let since = self.since?;
        self.since = goes_on.then_some(now);
        Some(now.since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_stands_still_from_the_first_tick_to_the_end() {
        let at = |ms: u64| Instant(ms * 1_000_000);
        let ms = |ms: u64| Some(Duration::from_millis(ms));
        let mut hold_up = HoldUp::default();
        hold_up.goes_on(7);
        hold_up.goes_on(5);
        assert_eq!(hold_up.reach(), 7);
        assert_eq!(hold_up.take_time(at(90), true), None, "it passes up to the first tick");
        hold_up.tick(at(100));
        assert_eq!(hold_up.take_time(at(150), true), ms(50));
        hold_up.tick(at(200));
        assert_eq!(hold_up.take_time(at(230), true), ms(80), "each moment is told once");
        assert_eq!(hold_up.take_time(at(240), false), ms(10));
        assert_eq!(hold_up.take_time(at(500), false), None);
    }
}
