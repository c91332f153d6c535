//! What is under way for the sake of space, and who waits for it.
//!
//! Invariant: that the disk is full is believed of nobody who began to look before the alarm was last disarmed.

use super::input::{DiskPart, Reply};
use crate::env::Instant;

/// What is under way for the sake of space.
#[derive(Debug, Default)]
pub(super) struct Space {
    /// The alarm stands, or was proposed, and is not cleared.
    pub(super) alarm_proposed: bool,
    /// When it was last cleared.
    disarmed: Option<Instant>,
    /// What the disk has no room for.
    log_short: bool,
    pub(super) history_short: bool,
    /// Whether work that needs room of the archive waits until somebody has looked for some.
    pub(super) waits_for_room: bool,
    /// Ticks since somebody looked for room, while there is none.
    pub(super) ticks_short: u64,
    /// Somebody is to look for room now.
    pub(super) looks: bool,
    /// The log is to give room now.
    pub(super) log_gives: bool,
    /// A segment is being rewritten.
    pub(super) reclaiming: bool,
    /// A segment is being outlined.
    pub(super) outlining: bool,
    /// Outlines were made that no checkpoint names yet.
    pub(super) unnamed_outlines: bool,
    /// Ticks since the last of them was made.
    pub(super) ticks_unnamed: u64,
    /// Ticks since damage was met that may pass.
    pub(super) ticks_damaged: u64,
    /// Damage in the history that was told.
    pub(super) damage_told: bool,
    /// The digest of a compaction is being made.
    pub(super) digesting: bool,
    /// Removals of files that were handed out and not told done.
    pub(super) removing: usize,
    /// Who wants the space of what was compacted.
    pub(super) asked: Vec<Reply<()>>,
    /// Who waits for all of a compaction.
    pub(super) compactions: Vec<(i64, Reply<()>)>,
    pub(super) giving: Giving,
    /// Who waits for the round under way.
    pub(super) served: Vec<Reply<()>>,
    /// Ticks for which replaced files have waited while nothing else was done.
    pub(super) ticks_waited: u64,
}

impl Space {
    /// That of a member which starts: the alarm that names it may stand.
    pub(super) fn under(own_alarm: bool) -> Self {
        Self { alarm_proposed: own_alarm, ..Self::default() }
    }

    /// Somebody who began at `tried` found no room: whether there is none now that there was before. What was found before
    /// the alarm was disarmed says nothing: whoever disarmed it made room first. It is looked again.
    pub(super) fn found_none(&mut self, part: DiskPart, tried: Instant) -> bool {
        if self.disarmed.is_some_and(|disarmed| tried < disarmed) {
            self.looks = true;
            return false;
        }
        let was_short = self.is_short();
        let short = match part {
            DiskPart::Log => &mut self.log_short,
            DiskPart::History => &mut self.history_short,
        };
        // What the log keeps for use again may be the room that is wanted, also where the log itself lacks some for its next
        // segment.
        self.log_gives |= !std::mem::replace(short, true) && part == DiskPart::History;
        !was_short
    }

    pub(super) fn found_some(&mut self, part: DiskPart) {
        match part {
            DiskPart::Log => self.log_short = false,
            DiskPart::History => (self.history_short, self.waits_for_room) = (false, false),
        }
    }

    /// The alarm was disarmed.
    pub(super) fn disarmed(&mut self, now: Instant) {
        self.alarm_proposed = false;
        self.disarmed = Some(now);
        self.looks |= self.is_short() || self.waits_for_room;
        (self.log_short, self.history_short) = (false, false);
    }

    /// Whether the disk has no room for something: nothing is taken in that needs more.
    pub(super) fn is_short(&self) -> bool {
        self.log_short || self.history_short
    }
}

/// How far a round of giving space back is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Giving {
    #[default]
    Nothing,
    /// What is dead is left out of new segments.
    Rewriting,
    /// The files they took the place of wait until no checkpoint names them; so many more are made for it.
    LettingGo { checkpoints: u8 },
    /// The last files go.
    Removing,
}

/// Checkpoints made for one round: the first that names none of the files, one more so that both that are kept are such,
/// and one in case the first was under way already.
pub(super) const CHECKPOINTS_TO_LET_GO: u8 = 3;
