//! Work nobody waits for, and the space it gives back: compaction, digests, reclaim, checkpoints, files that go.
//!
//! Invariants: a file goes only when no checkpoint that is kept names it; where files wait for that and nothing is written
//! that would make checkpoints due, they are made due. Who asks for space ([`Input::GiveSpaceBack`]) is answered when what
//! could be given back at that time was given back, who asks for a compaction ([`Input::Compacted`]) when nothing of it is
//! left to do.
//!
//! [`Input::GiveSpaceBack`]: super::Input::GiveSpaceBack
//! [`Input::Compacted`]: super::Input::Compacted

use super::input::{DiskPart, Proposed, Reply};
use super::node::Node;
use super::output::Output;
use super::proposals::OwnProposal;
use super::space::{CHECKPOINTS_TO_LET_GO, Giving};
use crate::base::{LogIndex, Refusal, Wrong, limits};
use crate::env::{Disk, Instant};
use crate::machine::{AlarmAction, AlarmKind, Command};
use crate::mvcc::Reclaimed;

impl<D: Disk> Node<D> {
    /// A slice of each kind of work; whether any is left.
    pub(super) fn background(&mut self, out: &mut Vec<Output<D>>) -> Result<bool, Wrong> {
        let mut more = self.feed_watchers(out)?;
        let store = self.machine.store_mut();
        more |= store.compaction_step(self.config.pruned_per_turn)?;
        (self.work.compaction_bytes, self.work.pruned) = (store.compaction_read(), store.pruned());
        if !self.space.digesting
            && let Some(job) = store.digest_job()
        {
            self.space.digesting = true;
            out.push(Output::Digest(job));
        }
        let writes_out = self.begin_giving();
        let store = self.machine.store_mut();
        if !self.space.reclaiming
            && !self.space.waits_for_room
            && self.snapshots.stale_reclaims == 0
            // What is damaged cannot be rewritten.
            && store.damage().is_none()
            && let Some(job) = store.reclaim_candidate(self.space.giving == Giving::Rewriting)
        {
            self.space.reclaiming = true;
            out.push(Output::Reclaim(job));
        }
        self.outline(out);
        self.give_on();
        self.answer_compactions();
        self.write_out(writes_out, out);
        Ok(more)
    }

    /// Has somebody look for room, and the log give some, where that is due: also while the state is replaced, which may be what
    /// there is no room for.
    pub(super) fn ask_for_room(&mut self, out: &mut Vec<Output<D>>) {
        if std::mem::take(&mut self.space.log_gives) {
            out.push(Output::GiveRoom);
        }
        if std::mem::take(&mut self.space.looks) {
            out.push(Output::LookForRoom);
        }
        let alarm_stands = self.space_alarm_stands();
        if self.space.readies_log(alarm_stands) {
            out.push(Output::ReadyLog);
        }
    }

    /// Hands out history to be written, where there is much of it or it is `wanted`: also while a command is carried out that makes
    /// it, or memory would have to hold all of it.
    pub(super) fn hand_out(&mut self, wanted: bool, out: &mut Vec<Output<D>>) {
        let store = self.machine.store_mut();
        if wanted || store.gathered_bytes() >= self.config.held.gathered {
            let writes = store.take_writes();
            if let Some(mark) = writes.last().map(|write| write.mark()) {
                out.push(Output::WriteHistory { writes, mark });
            }
        }
    }

    /// Hands out history to be written, and a checkpoint, where they are due.
    fn write_out(&mut self, wanted: bool, out: &mut Vec<Output<D>>) {
        let lets_go = matches!(self.space.giving, Giving::LettingGo { checkpoints: 1.. });
        let due = self.checkpoints.due() || lets_go && !self.checkpoints.is_under_way();
        let due = due && !self.space.waits_for_room;
        let store = self.machine.store_mut();
        if due {
            store.pad();
        }
        self.hand_out(due || wanted, out);
        if due {
            if let Giving::LettingGo { checkpoints } = &mut self.space.giving {
                *checkpoints = checkpoints.saturating_sub(1);
            }
            let image = self.machine.image();
            let applied = image.state.applied.0;
            self.checkpoints.begun(applied, image.position.clone());
            self.space.unnamed_outlines = false;
            out.push(Output::Checkpoint { applied, image: image.encode() });
        }
    }

    /// Begins a round for those who asked, once it is counted what is dead. The segment that grows is closed and is to be
    /// written out, or it could never be rewritten where nothing more is written, as under a used-up quota.
    fn begin_giving(&mut self) -> bool {
        let space = &mut self.space;
        let store = self.machine.store_mut();
        if space.asked.is_empty() || space.giving != Giving::Nothing || store.is_pruning() {
            return false;
        }
        space.served = std::mem::take(&mut space.asked);
        space.giving = Giving::Rewriting;
        if space.waits_for_room || space.history_short {
            // Nothing can be rewritten without room.
            space.ask_log();
        }
        store.request_reclaim();
        true
    }

    /// Takes the round under way as far as it goes.
    fn give_on(&mut self) {
        let (space, store) = (&mut self.space, self.machine.store());
        // What there is no room for is not waited for.
        let goes_no_further = !space.room_asked && (space.waits_for_room || space.history_short);
        let is_rewritten = goes_no_further || store.is_settled() && !store.has_sealed_unwritten();
        let is_rewritten = is_rewritten && !space.reclaiming;
        if space.giving == Giving::Rewriting && is_rewritten {
            space.giving = Giving::LettingGo { checkpoints: CHECKPOINTS_TO_LET_GO };
        }
        if let Giving::LettingGo { checkpoints } = space.giving {
            let are_made = checkpoints == 0 && !self.checkpoints.is_under_way();
            let are_made = are_made || goes_no_further;
            if store.replaced_bytes() == 0 || are_made {
                space.giving = Giving::Removing;
            }
        }
        // What is about to be read for a digest holds its files open.
        if space.giving == Giving::Removing && space.removing == 0 && !space.digesting {
            space.giving = Giving::Nothing;
            space.served.drain(..).for_each(|reply| reply.send(()));
        }
    }

    fn answer_compactions(&mut self) {
        let store = self.machine.store();
        for (_, reply) in self.space.compactions.extract_if(.., |(revision, _)| store.has_compacted(*revision)) {
            reply.send(());
        }
    }

    /// Once a tick: files that wait for checkpoints while nothing is written that would make one due do not wait for ever.
    pub(super) fn let_go_at_rest(&mut self) {
        let patience = self.config.ticks(limits::FILES_WAIT_MS);
        let (space, store) = (&mut self.space, self.machine.store());
        let rests = space.giving == Giving::Nothing && !space.reclaiming && store.is_settled();
        space.ticks_waited = if rests && store.replaced_bytes() > 0 { space.ticks_waited + 1 } else { 0 };
        if space.ticks_waited >= patience {
            space.ticks_waited = 0;
            space.giving = Giving::LettingGo { checkpoints: CHECKPOINTS_TO_LET_GO };
        }
    }

    /// Part of the disk is full. That is told to the cluster as a used-up quota is: what needs more room is refused by all
    /// from then on, until somebody disarms the alarm.
    pub(super) fn found_no_room(&mut self, part: DiskPart, tried: Instant, now: Instant) {
        if self.space.found_none(part, tried) {
            // It is looked for in a while, not at once: what fails once more would be tried once more.
            self.space.ticks_short = 0;
            self.raise_space_alarm(now);
        }
    }

    /// Whether a part of the disk is full is told, and if so when that was tried.
    pub(super) fn told_room(&mut self, part: DiskPart, full: Option<Instant>, now: Instant) {
        match full {
            Some(tried) => self.found_no_room(part, tried, now),
            None => self.space.found_some(part),
        }
    }

    /// The archive had no room for what it began to do then.
    pub(super) fn wait_for_room(&mut self, tried: Instant, now: Instant) {
        self.space.waits_for_room = true;
        self.found_no_room(DiskPart::History, tried, now);
    }

    pub(super) fn checkpoint_put_off(&mut self, tried: Instant, now: Instant) {
        self.checkpoints.put_off();
        self.wait_for_room(tried, now);
    }

    pub(super) fn reclaim_put_off(&mut self, short: bool, tried: Instant, now: Instant) {
        if let Some(left) = self.snapshots.stale_reclaims.checked_sub(1) {
            // Of a state that a snapshot has replaced since.
            self.snapshots.stale_reclaims = left;
            return;
        }
        self.space.reclaiming = false;
        self.machine.store_mut().reclaim_put_off();
        if self.space.giving == Giving::Rewriting && !short {
            // Who asked has what could be given.
            self.space.giving = Giving::LettingGo { checkpoints: CHECKPOINTS_TO_LET_GO };
        }
        if short {
            self.wait_for_room(tried, now);
        }
    }

    /// Whether the alarm that this member's disk is full stands.
    pub(super) fn space_alarm_stands(&self) -> bool {
        self.machine.alarms().contains(&(self.config.member, AlarmKind::NoSpace))
    }

    /// Proposes the alarm, once until it is cleared.
    pub(super) fn raise_space_alarm(&mut self, now: Instant) {
        if !self.space.alarm_proposed && !self.stopping {
            self.space.alarm_proposed = true;
            let member = self.config.member;
            let command = Command::Alarm { action: AlarmAction::Activate, member, kind: AlarmKind::NoSpace };
            self.propose_own(&command, OwnProposal::SpaceAlarm, now);
        }
    }

    /// Refuses a proposal. Where the quota is used up that is told once the alarm stands, or what was to raise it came to
    /// nothing: who is refused and asks for alarms finds it, as at etcd's. On a full disk the alarm may take long.
    pub(super) fn refuse_proposal(&mut self, refusal: Refusal, reply: Reply<Result<Proposed, Refusal>>) {
        let rises = self.space.alarm_proposed && !self.space.is_short() && !self.space_alarm_stands();
        if refusal == Refusal::NoSpace && rises {
            self.space.refused.push(reply);
        } else {
            reply.send(Err(refusal));
        }
    }

    /// What was to raise the alarm is applied, or came to nothing, or another state says how it stands.
    pub(super) fn space_alarm_settled(&mut self) {
        self.space.alarm_proposed = self.space_alarm_stands();
        self.space.refused.drain(..).for_each(|reply| reply.send(Err(Refusal::NoSpace)));
    }

    /// Once a tick: where there is no room, somebody looks from time to time, and the cluster is told, again where the
    /// telling came to nothing.
    pub(super) fn look_for_room(&mut self, now: Instant) {
        if self.space.is_short() {
            self.raise_space_alarm(now);
        }
        let (space, between) = (&mut self.space, self.config.ticks(limits::LOOK_FOR_ROOM_MS));
        space.ticks_short = if space.is_short() || space.waits_for_room { space.ticks_short + 1 } else { 0 };
        if space.ticks_short >= between {
            (space.ticks_short, space.looks) = (0, true);
        }
    }

    /// A segment was rewritten, or that was given up.
    pub(super) fn reclaimed(&mut self, done: Reclaimed<D>) {
        match self.snapshots.stale_reclaims.checked_sub(1) {
            // Of a state that another has replaced since: what it wrote goes.
            Some(left) => self.snapshots.stale_reclaims = left,
            None => self.space.reclaiming = false,
        }
        self.machine.store_mut().reclaimed(done);
    }

    /// A checkpoint is durable.
    pub(super) fn checkpointed(&mut self, applied: LogIndex, out: &mut Vec<Output<D>>) {
        let up_to = self.checkpoints.durable(applied);
        // One of the state before a snapshot was installed comes too late to count.
        if applied >= self.counters.last_checkpointed() {
            self.counters.checkpointed(applied);
            self.release_log();
        }
        self.counters.released(up_to);
        out.push(Output::ReleaseLog { up_to });
        self.collect_garbage(out);
    }

    /// Lets go of history files that no checkpoint that is kept names any more.
    pub(super) fn collect_garbage(&mut self, out: &mut Vec<Output<D>>) {
        if let Some(kept) = self.checkpoints.kept() {
            let files = self.machine.store_mut().garbage(&kept);
            if !files.is_empty() {
                // The view that lies ready would hold them open, and their space with them.
                self.views.clear();
                self.remove(files, out);
            }
        }
    }

    /// Has files removed that nothing names.
    pub(super) fn remove(&mut self, files: Vec<String>, out: &mut Vec<Output<D>>) {
        self.space.removing += 1;
        out.push(Output::Remove(files));
    }
}
