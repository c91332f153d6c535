//! What is under way for the sake of space, and who waits for it.
//!
//! Invariants: that the disk is full is believed of nobody who began to look before the alarm was last disarmed, nor, since then,
//! before the log has given what it takes ahead. The log takes nothing ahead while history may need the room.

use super::input::{DiskPart, Proposed, Reply};
use crate::base::Refusal;
use crate::env::Instant;

/// What is under way for the sake of space.
#[derive(Debug, Default)]
pub(super) struct Space {
    /// The alarm stands, or was proposed, and is not cleared.
    pub(super) alarm_proposed: bool,
    /// Who was refused for the quota, and is told once the alarm stands.
    pub(super) refused: Vec<Reply<Result<Proposed, Refusal>>>,
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
    /// It has given what it takes ahead.
    log_gave: bool,
    /// It may take room ahead again, once nothing else needs it.
    log_readies: bool,
    /// Whether there is room for history is being found out.
    pub(super) room_asked: bool,
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
    /// What became of damage that was met in the history.
    pub(super) damage: DamageStage,
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

/// How far the damage that was met in the history is looked into.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum DamageStage {
    /// None was met.
    #[default]
    None,
    /// What was written is being synced: what the system has lost of that is no damage of the disk.
    Syncing,
    /// It was, and the damage is of the disk.
    OfDisk,
    /// That was told.
    Told,
}

impl Space {
    /// That of a member which starts: the alarm that names it may stand.
    pub(super) fn under(own_alarm: bool) -> Self {
        Self { alarm_proposed: own_alarm, ..Self::default() }
    }

    /// What was written of the history is durable.
    pub(super) fn history_synced(&mut self) {
        if self.damage == DamageStage::Syncing {
            self.damage = DamageStage::OfDisk;
        }
    }

    /// Somebody who began at `tried` found no room: whether there is none now that there was before. What was found before
    /// the alarm was disarmed says nothing: whoever disarmed it made room first. It is looked again.
    pub(super) fn found_none(&mut self, part: DiskPart, tried: Instant) -> bool {
        if self.disarmed.is_some_and(|disarmed| tried < disarmed) {
            (self.looks, self.room_asked) = (true, true);
            return false;
        }
        if part == DiskPart::History && self.disarmed.is_some() && !self.log_gave {
            // Whoever disarmed it made room, and the log may have taken it ahead.
            self.ask_log();
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
        self.room_asked &= part == DiskPart::Log;
        !was_short
    }

    pub(super) fn found_some(&mut self, part: DiskPart) {
        match part {
            DiskPart::Log => self.log_short = false,
            DiskPart::History => {
                (self.history_short, self.waits_for_room, self.room_asked) = (false, false, false);
                self.log_readies |= self.log_short || self.log_gave;
            }
        }
    }

    /// The log gives what it has taken ahead; then it is looked whether that is enough.
    pub(super) fn ask_log(&mut self) {
        (self.log_gives, self.room_asked) = (true, true);
    }

    pub(super) fn log_has_given(&mut self) {
        (self.log_gave, self.looks) = (true, true);
    }

    /// Whether the log is to take room ahead now. Where it lacks some and has given none it tries; what it gave it takes back when
    /// the alarm is disarmed and nothing is being rewritten.
    pub(super) fn readies_log(&mut self, alarm_stands: bool) -> bool {
        let rests = !alarm_stands && self.giving == Giving::Nothing && !self.reclaiming && !self.waits_for_room;
        let readies = self.log_readies && (rests || self.log_short && !self.log_gave);
        if readies {
            (self.log_readies, self.log_gave) = (false, false);
        }
        readies
    }

    /// The alarm was disarmed.
    pub(super) fn disarmed(&mut self, now: Instant) {
        self.alarm_proposed = false;
        self.disarmed = Some(now);
        let lacked = self.is_short() || self.waits_for_room;
        self.looks |= lacked;
        self.room_asked |= lacked;
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
