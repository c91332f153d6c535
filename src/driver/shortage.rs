//! That a part of the disk is full: told when it begins, again as long as it lasts, and when it is over.
//!
//! Invariant: whoever looks at the log within one interval sees whether there is room. Does not look for room.

use std::time::Duration;

use crate::base::limits;
use crate::env::Instant;

/// What is to be said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Line {
    Full,
    RoomAgain,
}

/// Of one part.
#[derive(Debug)]
pub(super) struct Shortage {
    /// What there is no room for.
    part: &'static str,
    told: Option<Instant>,
}

impl Shortage {
    pub(super) fn new(part: &'static str) -> Self {
        Self { part, told: None }
    }

    /// How it stands now; to be told again and again while there is no room.
    pub(super) fn stands(&mut self, short: bool, now: Instant) {
        match self.line(short, now) {
            None => {}
            Some(Line::Full) => tracing::warn!(
                part = self.part,
                "the disk is full, or a quota, a file or the process is at its limit: what needs more room waits or is refused; \
                 give it room, then disarm the alarm NOSPACE (quoratectl alarm disarm)"
            ),
            Some(Line::RoomAgain) => tracing::info!(part = self.part, "the disk has room again"),
        }
    }

    fn line(&mut self, short: bool, now: Instant) -> Option<Line> {
        if !short {
            return self.told.take().map(|_| Line::RoomAgain);
        }
        let again = Duration::from_millis(limits::FULL_TOLD_AGAIN_MS);
        let says = self.told.is_none_or(|at| now.since(at) >= again);
        says.then(|| {
            self.told = Some(now);
            Line::Full
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_at_once_at_intervals_and_when_it_is_over() {
        let again = limits::FULL_TOLD_AGAIN_MS * 1_000_000;
        let mut shortage = Shortage::new("log");
        let mut line = |short, at| shortage.line(short, Instant(at));
        assert_eq!(line(false, 0), None);
        assert_eq!(line(true, 1), Some(Line::Full));
        assert_eq!([line(true, 2), line(true, again)], [None, None]);
        assert_eq!([line(true, again + 1), line(true, again + 2)], [Some(Line::Full), None]);
        assert_eq!([line(false, again + 3), line(false, again + 4)], [Some(Line::RoomAgain), None]);
        assert_eq!(line(true, again + 5), Some(Line::Full), "another time");
    }
}
