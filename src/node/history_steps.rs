//! What is done for the history's files beside their space: outlines, and damage.
//!
//! Invariants: outlines are optional work, put off where there is no room for it; one that was made is named by a checkpoint
//! soon, be it at rest. Damage in the history, whoever met it, is told once, and cured as at a start: where others vote,
//! theirs takes the place of the state here; a lone voter raises the alarm, which ends its service until somebody has
//! looked at it. Before it counts as damage the device has had its time, and then what was written is synced: a system that failed to write a page may show what was
//! there before. Then the sync fails, which ends the member as any failed sync does, and the next start has it from the log.

use super::node::Node;
use super::output::Output;
use super::proposals::OwnProposal;
use super::space::DamageStep;
use crate::base::{Wrong, limits};
use crate::env::{Disk, Instant};
use crate::machine::{AlarmAction, AlarmKind, Command};
use crate::mvcc::Outlined;

impl<D: Disk> Node<D> {
    /// Has the next segment outlined that may be.
    pub(super) fn outline(&mut self, out: &mut Vec<Output<D>>) {
        if !self.space.outlining
            && !self.space.waits_for_room
            && let Some(job) = self.machine.store_mut().outline_candidate()
        {
            self.space.outlining = true;
            out.push(Output::Outline(job));
        }
    }

    /// There was no room for an outline.
    pub(super) fn outline_put_off(&mut self, tried: Instant, now: Instant) {
        self.space.outlining = false;
        self.wait_for_room(tried, now);
    }

    /// A segment was outlined, or will not be.
    pub(super) fn outlined(&mut self, done: Outlined<D>, out: &mut Vec<Output<D>>) {
        self.space.outlining = false;
        let (is_new, files) = self.machine.store_mut().outlined(done);
        if is_new {
            self.space.unnamed_outlines = true;
            self.space.ticks_unnamed = 0;
        }
        if !files.is_empty() {
            self.remove(files, out);
        }
    }

    /// Once a tick: outlines that no checkpoint names are of no use to a start. Where nothing is written that would make
    /// one due, and no more of them are made, one is made for them.
    pub(super) fn name_outlines_at_rest(&mut self) {
        if self.space.unnamed_outlines && !self.space.outlining {
            self.space.ticks_unnamed += 1;
            if self.space.ticks_unnamed == self.config.ticks(limits::FILES_WAIT_MS) {
                self.checkpoints.want();
            }
        }
    }

    /// Whether another member votes, who would have the data.
    fn others_vote(&self) -> bool {
        self.group.electorate().voters.iter().any(|voter| *voter != self.config.member)
    }

    /// Once a tick: whether somebody met damage in the history.
    pub(super) fn look_at_damage(&mut self, now: Instant, out: &mut Vec<Output<D>>) {
        let store = self.machine.store();
        let Some(damage) = store.damage() else {
            self.space.no_damage();
            return;
        };
        if self.stopping {
            return;
        }
        let patience = self.config.ticks(limits::DEVICE_MAY_RECOVER_MS).saturating_add(1);
        match self.space.look_at(damage, store.damage_may_pass().then_some(patience), || store.look_at_damage_again()) {
            DamageStep::Wait => return,
            DamageStep::Sync(damage) => return out.push(Output::SyncHistory(damage)),
            DamageStep::Tell(damage) => out.push(Output::Damaged(damage)),
        }
        if self.others_vote() {
            self.rebuild();
        } else {
            let member = self.config.member;
            let command = Command::Alarm { action: AlarmAction::Activate, member, kind: AlarmKind::Corrupt };
            self.propose_own(&command, OwnProposal::DamageAlarm, now);
        }
    }

    /// Work that nobody waits for met damage: not the end, where the others have what is damaged. It is tried no more once
    /// the state is to be replaced.
    pub(super) fn outlive(&mut self, wrong: Wrong) -> Result<bool, Wrong> {
        let is_cured = matches!(wrong, Wrong::Corruption(_)) && self.machine.store().damage().is_some();
        if is_cured && self.others_vote() { Ok(false) } else { Err(wrong) }
    }
}
