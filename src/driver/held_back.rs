//! That what is committed is not applied: told in the log when it lasts, again as long as it lasts, and when it is over.
//!
//! Invariant: what lasts no longer than a moment, as under any load, is not told; what lasts is told once an interval at most. Does not
//! know what is done about it.

use std::time::Duration;

use crate::base::limits;
use crate::env::Instant;
use crate::node::HeldBack;

/// What is to be said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Line {
    Lasts(HeldBack, Duration),
    Over(Duration),
}

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct HeldBackLines {
    since: Option<Instant>,
    told: Option<Instant>,
}

impl HeldBackLines {
    /// How it stands now; to be told again and again.
    pub(super) fn stands(&mut self, why: Option<HeldBack>, now: Instant) {
        match self.line(why, now) {
            None => {}
            Some(Line::Lasts(HeldBack::UnwrittenHistory, since)) => tracing::warn!(
                ?since,
                "what is committed waits to be applied: the history that was made before it is not written yet; the disk is slow or full"
            ),
            Some(Line::Lasts(HeldBack::FullBacklog, since)) => tracing::warn!(
                ?since,
                "so much is committed and not applied that no more is taken in: entries come faster than they are applied"
            ),
            Some(Line::Lasts(HeldBack::LongCommand, since)) => {
                tracing::warn!(?since, "what is committed waits for a command that changes many keys");
            }
            Some(Line::Over(lasted)) => tracing::info!(?lasted, "what is committed is applied again"),
        }
    }

    fn line(&mut self, why: Option<HeldBack>, now: Instant) -> Option<Line> {
        let Some(why) = why else {
            let since = self.since.take();
            return self.told.take().and(since).map(|since| Line::Over(now.since(since)));
        };
        let since = *self.since.get_or_insert(now);
        let lasts = now.since(since) >= Duration::from_millis(limits::HELD_BACK_TOLD_MS);
        let again = Duration::from_millis(limits::FULL_TOLD_AGAIN_MS);
        let says = lasts && self.told.is_none_or(|at| now.since(at) >= again);
        says.then(|| {
            self.told = Some(now);
            Line::Lasts(why, now.since(since))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_is_told_once_an_interval_and_when_it_is_over() {
        let mut lines = HeldBackLines::default();
        let mut line = |why, ms: u64| lines.line(why, Instant(ms * 1_000_000));
        let (lasts, again) = (limits::HELD_BACK_TOLD_MS, limits::FULL_TOLD_AGAIN_MS);
        let (why, ms) = (Some(HeldBack::FullBacklog), Duration::from_millis);
        assert_eq!([line(None, 0), line(why, 10), line(why, 9 + lasts), line(None, 10 + lasts)], [None; 4], "a moment");
        assert_eq!([line(why, 10_000), line(why, 9_999 + lasts)], [None; 2]);
        let told = Some(Line::Lasts(HeldBack::FullBacklog, ms(lasts)));
        assert_eq!([line(why, 10_000 + lasts), line(why, 9_999 + lasts + again)], [told, None]);
        let other = line(Some(HeldBack::UnwrittenHistory), 10_000 + lasts + again);
        assert_eq!(other, Some(Line::Lasts(HeldBack::UnwrittenHistory, ms(lasts + again))), "for another reason now");
        assert_eq!(line(None, 20_000 + lasts + again), Some(Line::Over(ms(10_000 + lasts + again))));
        assert_eq!(line(None, 20_001 + lasts + again), None);
    }
}
