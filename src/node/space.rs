//! What is under way for the sake of space, and who waits for it.
//!
//! Invariants: that the disk is full is believed of nobody who began to look before the alarm was last disarmed, nor, since then,
//! before the log has given what it takes ahead. The log takes nothing ahead while history may need the room.

use super::input::{DiskPart, Proposed, Reply};
use crate::base::{Corruption, Refusal};
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
    ticks_damaged: u64,
    /// What became of damage that was met in the history.
    damage: DamageStage,
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
#[derive(Clone, PartialEq, Eq, Debug, Default)]
enum DamageStage {
    /// None was met, or it may pass yet.
    #[default]
    None,
    /// What was written is being synced for this: what the system has lost of that is no damage of the disk.
    Syncing(Corruption),
    /// It was, and this is of the disk.
    OfDisk(Corruption),
    /// That was told.
    Told(Corruption),
}

/// What is to be done about damage.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum DamageStep {
    /// Nothing yet, or nothing more.
    Wait,
    /// What was written is to be synced, and that it was to be told.
    Sync(Corruption),
    /// It is damage of the disk: to be told, and cured.
    Tell(Corruption),
}

impl Space {
    /// That of a member which starts: the alarm that names it may stand.
    pub(super) fn under(own_alarm: bool) -> Self {
        Self { alarm_proposed: own_alarm, ..Self::default() }
    }

    /// There is none, or what there was went with the history that it was in.
    pub(super) fn no_damage(&mut self) {
        (self.damage, self.ticks_damaged) = (DamageStage::None, 0);
    }

    /// Once a tick, while there is damage: what is to be done about it. Where it may pass it has so many ticks for that;
    /// `looks_again` says whether some of it can be read then.
    pub(super) fn look_at(
        &mut self,
        damage: Corruption,
        may_pass: Option<u64>,
        looks_again: impl FnOnce() -> bool,
    ) -> DamageStep {
        match &self.damage {
            DamageStage::Syncing(_) | DamageStage::Told(_) => return DamageStep::Wait,
            DamageStage::OfDisk(synced_for) if *synced_for == damage => {
                self.damage = DamageStage::Told(damage.clone());
                return DamageStep::Tell(damage);
            }
            DamageStage::None | DamageStage::OfDisk(_) => {}
        }
        // A device that stands still for some seconds may do so under all members: they would have nobody to be cured from. Nor
        // may a sync be asked of it meanwhile, for one that fails is the member's end.
        if let Some(ticks) = may_pass {
            self.ticks_damaged += 1;
            if self.ticks_damaged < ticks {
                return DamageStep::Wait;
            }
            self.ticks_damaged = 0;
            if looks_again() {
                return DamageStep::Wait;
            }
        }
        // What the system could not write it may show no more, before any sync says so.
        self.damage = DamageStage::Syncing(damage.clone());
        DamageStep::Sync(damage)
    }

    /// Whether damage was met, and is looked into or told.
    pub(super) fn is_damaged(&self) -> bool {
        self.damage != DamageStage::None || self.ticks_damaged > 0
    }

    /// Nothing came of the alarm: damage that was told is told once more.
    pub(super) fn damage_alarm_came_to_nothing(&mut self) {
        if let DamageStage::Told(damage) = &self.damage {
            self.damage = DamageStage::OfDisk(damage.clone());
        }
    }

    /// What was written of the history is durable.
    pub(super) fn history_synced(&mut self) {
        if let DamageStage::Syncing(damage) = &self.damage {
            self.damage = DamageStage::OfDisk(damage.clone());
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

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: u64 = 50;

    fn met(file: &str) -> Corruption {
        Corruption { file: file.to_string(), offset: 0, what: "it cannot be read".to_string() }
    }

    fn never() -> bool {
        panic!("nothing is read once more");
    }

    /// A sync that fails ends the member: one that is asked of a device which only stands still would end all members.
    #[test]
    fn no_sync_is_asked_of_a_device_that_may_recover() {
        let mut space = Space::default();
        for _ in 0..3 {
            for _ in 1..PATIENCE {
                assert_eq!(space.look_at(met("a"), Some(PATIENCE), never), DamageStep::Wait);
                assert!(space.is_damaged());
            }
            assert_eq!(space.look_at(met("a"), Some(PATIENCE), || true), DamageStep::Wait);
            space.no_damage();
            assert!(!space.is_damaged());
        }
        for _ in 1..PATIENCE {
            assert_eq!(space.look_at(met("a"), Some(PATIENCE), never), DamageStep::Wait);
        }
        assert_eq!(
            space.look_at(met("a"), Some(PATIENCE), || false),
            DamageStep::Sync(met("a")),
            "it has had its time"
        );
        assert_eq!(space.look_at(met("a"), Some(PATIENCE), never), DamageStep::Wait);
        space.history_synced();
        assert_eq!(space.look_at(met("a"), Some(PATIENCE), never), DamageStep::Tell(met("a")), "and has no more of it");
        assert_eq!(space.look_at(met("a"), Some(PATIENCE), never), DamageStep::Wait);
    }

    #[test]
    fn a_sync_says_nothing_of_what_was_met_behind_it() {
        let mut space = Space::default();
        assert_eq!(space.look_at(met("b"), None, never), DamageStep::Sync(met("b")));
        space.history_synced();
        assert_eq!(space.look_at(met("a"), None, never), DamageStep::Sync(met("a")), "it may have been lost since");
        space.damage_alarm_came_to_nothing();
        assert_eq!(space.look_at(met("a"), None, never), DamageStep::Wait, "an alarm of before is not this one's");
        space.history_synced();
        assert_eq!(space.look_at(met("a"), None, never), DamageStep::Tell(met("a")));
        space.history_synced();
        assert_eq!(space.look_at(met("a"), None, never), DamageStep::Wait, "once");
        space.damage_alarm_came_to_nothing();
        assert_eq!(space.look_at(met("a"), None, never), DamageStep::Tell(met("a")), "until it is applied");
    }
}
