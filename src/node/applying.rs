//! Applying what is committed, and what goes with it: watchers, answers, the clock of leases, the noticeboard.

use std::sync::atomic::Ordering::Release;

use super::membership::change_of;
use super::node::Node;
use crate::base::{Refusal, Wrong};
use crate::consensus::{ConfChange, ConfChangeKind};
use crate::env::{Disk, Instant};
use crate::machine::{AlarmAction, AlarmKind, Answer, Applied, Command, Member, Slice, Told, codec};
use crate::wal::{EntryKind, LogEntry};

impl<D: Disk> Node<D> {
    /// Applies as much of what is committed as one turn may.
    pub(super) fn apply(&mut self, now: Instant) -> Result<(), Wrong> {
        if self.snapshots.installing() || self.rebuild.under_way() {
            return Ok(());
        }
        let mut last = None;
        self.committed.waits_for_history = false;
        while let Some((changes, bytes)) = self.work.room(self.config.changes_per_turn) {
            // What was begun is done first.
            if !self.machine.is_under_way() && self.waits_for_history() {
                self.committed.waits_for_history = true;
                break;
            }
            let Some(entry) = self.committed.pop_front() else { break };
            let goes_on = self.machine.is_under_way();
            if self.work.entries == 0 && !goes_on {
                self.views.clear();
            }
            self.work.begins(entry.data.len());
            let slice = Slice::new(changes, bytes).rest_of(self.config.changes_per_turn);
            match entry.kind {
                EntryKind::Normal if !self.apply_command(now, &entry, slice)? => {
                    self.work.pauses = self.machine.is_under_way();
                    self.committed.push_front(entry);
                    break;
                }
                EntryKind::Normal => {}
                EntryKind::ConfChange => self.apply_change(now, &entry)?,
                EntryKind::ConfChangeV2 => {
                    return Err(Wrong::corrupt("wal", 0, format!("entry {} is of a kind not in use", entry.index)));
                }
            }
            if goes_on {
                // What was taken meanwhile is of the index that goes with it, elsewhere.
                self.views.clear();
                self.work.ends = true;
            }
            self.checkpoints.applied(entry.data.len());
            last = Some((entry.index, entry.term));
            if entry.index == self.replays_to {
                self.machine.store_mut().keep_digests(true);
            }
        }
        if let Some((index, term)) = last {
            self.counters.committed(index);
            self.counters.applied(index);
            self.group.applied(index);
            debug_assert_eq!(self.machine.applied(), (index, term));
        }
        Ok(())
    }

    /// Whether what is to be applied next waits until the archive has written some of what it was given. What needs no room
    /// does not: it may be what gives some, or the alarm after which nothing is put.
    fn waits_for_history(&self) -> bool {
        let store = self.machine.store();
        store.unwritten_bytes() > self.config.held.unwritten
            && store.unwritten_bytes() > store.gathered_bytes()
            && self.committed.front().is_some_and(|next| match next.kind {
                EntryKind::Normal => self.machine.would_put(&next.data),
                EntryKind::ConfChange | EntryKind::ConfChangeV2 => false,
            })
    }

    pub(super) fn apply_change(&mut self, now: Instant, entry: &LogEntry) -> Result<(), Wrong> {
        let unreadable = |what: &str| {
            Wrong::corrupt("wal", 0, format!("entry {} is no change of the configuration: {what}", entry.index))
        };
        let change = ConfChange::decode(&entry.data).ok_or_else(|| unreadable("it cannot be read"))?;
        let (index, term) = (entry.index, entry.term);
        let outcome = match change_of(&change).map_err(|what| unreadable(&what))? {
            Some(member_change) => self.machine.change_member(index, term, member_change),
            None => {
                let member = Member::from_context(&change.context).map_err(|what| unreadable(&what))?;
                self.machine.found_member(index, term, member);
                Ok(())
            }
        };
        if outcome.is_ok() {
            let electorate = self.group.apply_change(&change);
            self.group.forget(&self.machine.removed());
            self.rare_changed = true;
            self.members_changed = true;
            if change.kind == ConfChangeKind::Remove && change.member == self.config.member {
                self.removed = Some(index);
            }
            self.contacts.keep(|member| electorate.voters.contains(&member) || electorate.learners.contains(&member));
            // Before an answer leaves: who has it may read here at once.
            self.tell_facts();
        }
        if let Some(observer) = &self.config.observer {
            observer.reconfigured(entry);
        }
        let applied = Applied {
            answer: outcome.map(|()| Answer::Done),
            revision: self.machine.store().revision(),
            events: Vec::new(),
            digest: self.machine.digest_at(index),
        };
        self.proposals.change_applied(change.id, (index, term), applied, now);
        Ok(())
    }

    /// Whether every member could apply this, were it committed. What another passes on is looked at before it is
    /// proposed: an entry that cannot be read would end every member, at every start.
    pub(super) fn could_apply(&self, entry: &LogEntry) -> bool {
        match entry.kind {
            EntryKind::Normal => codec::decode(&entry.data).is_ok(),
            EntryKind::ConfChange => {
                ConfChange::decode(&entry.data).is_some_and(|change| change.id != 0 && change_of(&change).is_ok())
            }
            EntryKind::ConfChangeV2 => false,
        }
    }

    /// Applies an entry, or a slice of it; whether it is done.
    fn apply_command(&mut self, now: Instant, entry: &LogEntry, slice: Slice) -> Result<bool, Wrong> {
        let (watches, observer) = (&self.watches, self.config.observer.as_ref());
        let told = Told {
            wants_prev: &|key| watches.want_prev_of(key),
            is_told: &|key| watches.are_told_of(key),
            on_slice: &|before, events| {
                if let Some(observer) = observer {
                    observer.carried_out((entry.index, entry.term), before, events);
                }
            },
        };
        let progress = self.machine.apply_some((entry.index, entry.term), &entry.data, &told, slice)?;
        self.work.changed(progress.changes, progress.read);
        let Some(outcome) = progress.outcome else { return Ok(false) };
        let mut applied = outcome.applied;
        let command = outcome.proposal.as_ref().and_then(|proposal| proposal.command.as_ref().ok());
        if let Some(observer) = &self.config.observer {
            let request = outcome.proposal.as_ref().map(|proposal| proposal.id);
            observer.applied((entry.index, entry.term), request, command, &applied);
        }
        if outcome.proposal.is_some() {
            self.turn_ops.applied(command, &applied.answer);
        }
        self.watches.applied(applied.revision, std::mem::take(&mut applied.events));
        if let Some(command) = command {
            if let Ok(answer) = &applied.answer {
                self.facts.tallies.applied(command, answer);
            }
            if let (Command::Auth(command), true) = (command, applied.answer.is_ok()) {
                // Before the answer leaves: who has it may come with his token at once, or must not come any more.
                self.auth_applied(command, entry.index, now);
            }
            self.follow_up(now, command, &applied);
        }
        self.facts.revision.store(applied.revision, Release);
        if self.rare_changed {
            // Before the answer leaves: who has it may ask the noticeboard next.
            self.tell_rare();
        }
        if let Some(proposal) = outcome.proposal {
            let own = self.proposals.applied(proposal.id, (entry.index, entry.term), applied, now);
            if let Some((own, answer)) = own {
                self.own_applied(own, &answer, now);
            }
        }
        Ok(true)
    }

    /// What a command asks of the node beside the machine.
    fn follow_up(&mut self, now: Instant, command: &Command, applied: &Applied) {
        match command {
            Command::LeaseGrant { .. } => {
                if let (true, Ok(Answer::LeaseGrant { id, ttl })) = (self.roles.on_duty(), &applied.answer) {
                    self.lease_clock.grant(*id, *ttl, now);
                }
            }
            Command::LeaseRevoke { id, .. } => match &applied.answer {
                // Not revoked although due, for an alarm forbids it: it stays due.
                Err(Refusal::Corrupt) => self.lease_clock.retry(*id),
                // An expiry that came too late, for one granted anew: that one's time runs on.
                Err(_) if self.machine.leases().contains(*id) => {}
                _ => self.lease_ended(*id),
            },
            Command::LeaseCheckpoint { remainders, counted_in } => self.remainders_applied(remainders, *counted_in),
            Command::Compact { revision, .. } if applied.answer.is_ok() => {
                self.watches.compacted(*revision, self.hub_now());
            }
            Command::Alarm { action, member, kind } => {
                self.rare_changed = true;
                if *member == self.config.member && (*action, *kind) == (AlarmAction::Activate, AlarmKind::Corrupt) {
                    self.rebuild.named();
                }
                let own = *member == self.config.member || member.0 == 0;
                if own && (*action, *kind) == (AlarmAction::Deactivate, AlarmKind::NoSpace) {
                    self.space.disarmed(now);
                }
            }
            Command::SetMemberAttributes { .. } => {
                self.rare_changed = true;
                self.members_changed = true;
            }
            Command::SetClusterVersion(_) | Command::SetDowngrade(_) => self.rare_changed = true,
            _ => {}
        }
    }
}
