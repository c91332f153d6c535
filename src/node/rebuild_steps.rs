//! Rebuilding: a member whose state is damaged, or differs from what the others hold, takes theirs in its place.
//!
//! Log and hard state stay, and with them every vote and every acknowledgement: the member goes on as a follower, votes and
//! appends, while nothing is applied and nothing served. A state that arrives is put in place once the log here is committed up
//! to it, and applying goes on behind it. Nothing of the old state goes before the new one is durable, so whatever
//! interrupts this leaves what was there before, and the next start finds the same damage or the same alarm.
//!
//! It never leads meanwhile: it could apply nothing. A leader hands over first. A lone voter has nobody to ask.

use std::sync::atomic::Ordering::{AcqRel, Release};

use super::input::{ArrivedSnapshot, Reply};
use super::node::Node;
use super::output::Output;
use super::proposals::OwnProposal;
use super::rebuild::{Rebuild, Stage};
use crate::base::{LogIndex, MemberId, Refusal, Wrong};
use crate::consensus::{Electorate, Role};
use crate::env::{Disk, Instant};
use crate::machine::{AlarmAction, AlarmKind, Command, Machine, Member, codec};
use crate::wal::EntryKind;

impl<D: Disk> Node<D> {
    /// The state here is to be replaced by another member's, as soon as another leads. Asked again it does no harm.
    pub fn rebuild(&mut self) {
        if !self.rebuild.is_needed() {
            self.rebuild.stage = Stage::Wanted;
            self.begin_rebuild();
        }
        self.tell_rebuild();
    }

    /// From here on this member only follows.
    fn begin_rebuild(&mut self) {
        let busy = self.snapshots.installing() || self.group.standing().role != Role::Follower;
        if matches!(self.rebuild.stage, Stage::Wanted) && !busy {
            self.group.bar();
            self.views.clear();
            self.rebuild.stage = Stage::Waiting;
        }
    }

    /// Once a tick.
    pub(super) fn drive_rebuild(&mut self, now: Instant) {
        if matches!(self.rebuild.stage, Stage::Wanted) {
            self.begin_rebuild();
            self.tell_rebuild();
        }
        let leads = self.group.standing().role == Role::Leader && self.group.takes_proposals();
        if leads && (self.rebuild.under_way() || matches!(self.rebuild.stage, Stage::Wanted)) {
            let give_up_at = now.plus(self.config.election_timeout);
            self.leadership.hand_over(&mut self.group, None, give_up_at, Reply::pair().0);
        }
        if self.rebuild.clears_alarm && !self.rebuild.clearing && self.group.standing().leader.is_some() {
            self.rebuild.clears_alarm = self.is_named();
            if self.rebuild.clears_alarm {
                self.rebuild.clearing = true;
                let member = self.config.member;
                let command = Command::Alarm { action: AlarmAction::Deactivate, member, kind: AlarmKind::Corrupt };
                self.propose_own(&command, OwnProposal::Rebuilt, now);
            }
        }
    }

    /// Whether an alarm names this member as one whose state is wrong.
    pub(super) fn is_named(&self) -> bool {
        self.machine.alarms().contains(&(self.config.member, AlarmKind::Corrupt))
    }

    /// The alarms may be others than before.
    pub(super) fn look_at_alarms(&mut self) {
        let may = self.config.rebuild_when_diverged && self.group.electorate().voters.len() > 1;
        if may && !self.rebuild.is_needed() && !self.rebuild.clears_alarm && self.is_named() {
            self.rebuild.stage = Stage::Wanted;
        }
        self.tell_rebuild();
    }

    pub(super) fn tell_rebuild(&mut self) {
        let is_corrupt = self.rebuild.is_needed() || self.is_named();
        if is_corrupt && !self.facts.corrupt.swap(true, AcqRel) {
            self.views.clear();
            self.watches.end_all();
        }
        self.facts.corrupt.store(is_corrupt, Release);
        self.facts.waits_for_state.store(self.rebuild.is_waiting(), Release);
    }

    /// Another member asks for the state, to rebuild its own. Who differs itself, or does not lead, has none to give. The
    /// leadership would be lost on who asks.
    pub(super) fn state_asked(&mut self, to: MemberId, reply: Reply<Result<(), Refusal>>, out: &mut Vec<Output<D>>) {
        // A leader that has applied nothing of its own term may wait for who asks: whose log is full until it has a state.
        let refusal = if self.group.standing().role != Role::Leader {
            Some(Refusal::NotLeader)
        } else if self.rebuild.is_needed() || self.is_named() {
            Some(Refusal::Corrupt)
        } else if !self.machine.members().iter().any(|member| member.id == to && to != self.config.member) {
            Some(Refusal::MemberNotFound)
        } else {
            None
        };
        if refusal.is_none() {
            self.group.pass_over(to);
        }
        // One that is on its way needs no second.
        if refusal.is_none() && !self.snapshots.is_under_way(to) {
            self.begin_sending(self.group.snapshot_head(to), out);
        }
        reply.send(refusal.map_or(Ok(()), Err));
    }

    /// A state arrived, while one is awaited: kept where the log here reaches it. One beyond the log is raft's to install, as
    /// any snapshot.
    pub(super) fn keep_state(&mut self, snapshot: ArrivedSnapshot, now: Instant, out: &mut Vec<Output<D>>) {
        // What is in it is committed, which raft learns from its head; it wants nothing else of it.
        let from = snapshot.message.from();
        if let Some(observer) = &self.config.observer {
            observer.notes("a state came for a rebuilding");
        }
        if let Stage::Arrived(earlier) =
            std::mem::replace(&mut self.rebuild.stage, Stage::Arrived(snapshot.image.into()))
        {
            // One of them is enough.
            self.discard(*earlier, out);
        }
        match self.group.step(snapshot.message) {
            Ok(_) => self.contacts.heard(from, now),
            Err(wrong) => self.wrong = Some(wrong),
        }
        self.tell_rebuild();
        self.rounds(out);
    }

    /// Puts the state that arrived in force, once the log here is committed up to it.
    pub(super) fn take_up_state(&mut self, out: &mut Vec<Output<D>>) {
        let committed = self.committed.back().map_or(self.counters.last_applied(), |last| last.index);
        if let Stage::Arrived(image) = &mut self.rebuild.stage
            && image.state.applied.0 <= committed
            && !self.snapshots.installing()
        {
            let image = std::mem::take(image);
            self.rebuild.stage = Stage::Installing;
            self.give_up_reclaim();
            out.push(Output::Rebuild { image });
        }
    }

    /// The state is in force on the disk and was read: it takes the place of what was, and applying goes on behind it.
    pub(super) fn rebuilt(&mut self, machine: Machine<D>, now: Instant, out: &mut Vec<Output<D>>) -> Result<(), Wrong> {
        let (index, term) = machine.applied();
        let ahead = index > self.counters.last_applied();
        while self.committed.front().is_some_and(|entry| entry.index <= index) {
            let Some(entry) = self.committed.pop_front() else { break };
            // Who votes is consensus' to know, entry by entry; the rest is in the state.
            match entry.kind {
                EntryKind::Normal => {
                    self.machine.pass_over(entry.index, entry.term);
                    // It is done; with what answer, the state does not say.
                    let proposal = codec::decode(&entry.data).ok().flatten();
                    self.proposals.give_up(proposal.map(|proposal| proposal.id));
                }
                _ => self.apply_change(now, &entry)?,
            }
        }
        if let (true, Some(observer)) = (ahead, &self.config.observer) {
            observer.installed((index, term));
        }
        let position = machine.store().position();
        let alarm_stood = self.space_alarm_stands();
        out.push(Output::LetGo(Box::new(self.machine.rebuild_from(machine))));
        self.counters.installed(index);
        self.checkpoints.rebuilt(index, position);
        self.group.applied(index);
        self.group.adopt(&self.voting_members());
        self.rebuild_done(out);
        self.settle_in(alarm_stood, now, out);
        Ok(())
    }

    /// Who votes by the state that is in place.
    fn voting_members(&self) -> Electorate {
        let (learners, voters) = self.machine.members().into_iter().partition(|member| member.is_learner);
        let ids = |members: Vec<Member>| members.iter().map(|member| member.id).collect();
        Electorate { voters: ids(voters), learners: ids(learners) }
    }

    /// A sound state is in place, however it came.
    pub(super) fn rebuild_done(&mut self, out: &mut Vec<Output<D>>) {
        if self.rebuild.is_needed() {
            // Of those who came in at the last moment.
            self.watches.end_all();
        }
        if let Stage::Arrived(earlier) = std::mem::take(&mut self.rebuild.stage) {
            // One that raft installed was there first.
            self.discard(*earlier, out);
        }
        // What was wrong, be it not begun to be mended, went with the state that this one replaced, and so did what an alarm
        // says of it.
        self.rebuild = Rebuild { clears_alarm: self.is_named(), ..Rebuild::default() };
        self.group.unbar();
        self.tell_rebuild();
    }

    /// Of a state that is in force: whether a rebuilding may take it, by the index of its last entry.
    pub(super) fn may_rebuild_at(&self, index: LogIndex) -> bool {
        self.rebuild.takes_another() && index >= self.counters.last_applied()
    }

    /// The digest at an index; nothing of a state that may be wrong.
    pub(super) fn digest_at(&self, index: LogIndex) -> Option<u64> {
        if self.rebuild.under_way() { None } else { self.machine.digest_at(index) }
    }
}
