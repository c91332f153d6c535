//! What the node writes on the noticeboard.

use std::sync::atomic::Ordering::{Relaxed, Release};
use std::time::Duration;

use super::backlog::HeldBack;
use super::facts::RareFacts;
use super::node::Node;
use super::observer::Held;
use crate::base::limits;
use crate::consensus::Role;
use crate::env::{Disk, Instant};

impl<D: Disk> Node<D> {
    /// What is in memory now, for whoever holds it against its bounds. Costs time in proportion to what
    /// watch streams hold.
    pub(super) fn held(&self) -> Held {
        let log = self.group.held();
        let (watch_bytes, watch_messages) = self.watches.hub().fullest();
        Held {
            proposals: self.proposals.len(),
            proposal_bytes: self.proposals.bytes(),
            reads: self.reads.len(),
            passed_on_bytes: self.passed_on.bytes(),
            unapplied: self.committed.len(),
            unapplied_bytes: self.committed.bytes(),
            unwritten_bytes: self.machine.store().unwritten_bytes(),
            log_entries: log.entries,
            log_bytes: log.bytes,
            undurable_bytes: log.undurable_bytes,
            held_back: log.held_back,
            snapshots: self.snapshots.kept(),
            last_log: log.last,
            applied: self.counters.last_applied(),
            lacks_room: self.lacks_room(),
            watch_bytes,
            watch_messages,
        }
    }

    /// Whom the group counts, for whoever holds it against the log. Where another state is being put in place it is of that one.
    pub(super) fn tell_electorate(&self) {
        if let Some(observer) = &self.config.observer
            && !self.snapshots.installing()
            && !self.rebuild.under_way()
        {
            observer.counts(&self.group.electorate(), self.counters.last_applied());
        }
    }

    /// Counting looks at every stream: once a tick, not once a turn, and once for many ticks that are short.
    pub(super) fn tell_watches(&mut self, now: Instant) {
        if now.since(self.watches_told) < Duration::from_millis(limits::WATCHERS_COUNTED_MS) {
            return;
        }
        self.watches_told = now;
        let (facts, watches) = (&self.facts, self.watches.hub().counts());
        facts.watchers.store(watches.watchers as u64, Relaxed);
        facts.watch_streams.store(watches.streams as u64, Relaxed);
        facts.slow_watchers.store(watches.slow_watchers as u64, Relaxed);
        facts.pending_events.store(watches.pending_events as u64, Relaxed);
    }

    pub(super) fn tell_facts(&mut self) {
        if self.rare_changed {
            self.tell_rare();
        }
        match self.committed.begins_to_wait() {
            Some(HeldBack::UnwrittenHistory) => _ = self.facts.history_waits.fetch_add(1, Relaxed),
            Some(HeldBack::FullBacklog) => _ = self.facts.full_backlogs.fetch_add(1, Relaxed),
            Some(HeldBack::LongCommand) | None => {}
        }
        let (facts, standing, store) = (&self.facts, self.group.standing(), self.machine.store());
        facts.leader.store(standing.leader.map_or(0, |member| member.0), Relaxed);
        facts.is_leader.store(self.roles.on_duty(), Relaxed);
        facts.reads_alone.store(self.roles.on_duty() && self.group.is_alone(), Release);
        facts.term.store(standing.term, Relaxed);
        facts.committed.store(standing.committed, Relaxed);
        facts.log_end.store(self.group.log_end().0, Relaxed);
        facts.applied.store(self.machine.applied().0, Relaxed);
        facts.unapplied_bytes.store(self.committed.bytes() as u64, Relaxed);
        facts.revision.store(store.revision(), Release);
        facts.compact_revision.store(store.compact_revision(), Relaxed);
        facts.size_bytes.store(store.disk_bytes(), Relaxed);
        facts.in_use_bytes.store(store.in_use_bytes(), Relaxed);
        facts.key_count.store(store.key_count(), Relaxed);
        facts.leases.store(self.machine.leases().len() as u64, Relaxed);
        facts.pending_proposals.store(self.proposals.len() as u64, Relaxed);
        let waits = self.proposals.waits();
        facts.writes_answered.store(waits.writes, Relaxed);
        facts.writes_waited_us.store(waits.micros, Relaxed);
        facts.leader_changes.store(self.leadership.changes(), Relaxed);
        facts.checkpoints.store(self.checkpoints.made(), Relaxed);
        let installing = self.snapshots.installing() || self.rebuild.is_installing();
        facts.installing.store(installing.into(), Relaxed);
        facts.damaged.store(self.space.is_damaged().into(), Relaxed);
        facts.removed.fetch_or(self.removed.is_some(), Release);
        // At every telling: a member started from a checkpoint knows its name before there is a leader. A leader
        // that has not applied an entry of its own term yet may not have applied all that was acknowledged.
        let knows_all = standing.leader.is_some() && (standing.role != Role::Leader || self.roles.on_duty());
        let sound = !self.rebuild.is_needed();
        debug_assert!(
            !sound || !facts.is_corrupt() || self.is_named(),
            "who is ready serves, unless an alarm names it"
        );
        facts.ready.store(self.told && knows_all && self.removed.is_none() && sound, Release);
    }

    pub(super) fn tell_rare(&mut self) {
        self.rare_changed = false;
        let members = self.machine.members();
        let own = members.iter().find(|member| member.id == self.config.member);
        // A founder's name is known from the start; where clients reach it only once it told, and only then does it
        // serve them, as in etcd: who lists the members of a cluster that serves finds all it needs.
        self.told = self.is_told(&members);
        self.facts.is_learner.store(own.is_some_and(|member| member.is_learner), Release);
        self.facts.set_rare(RareFacts {
            alarms: self.machine.alarms(),
            members,
            removed: self.machine.removed(),
            cluster_version: self.machine.cluster_version().map(str::to_string),
            downgrade: self.machine.downgrade().map(str::to_string),
        });
        self.look_at_alarms();
    }

    /// Whether this member was removed from the cluster, by its own log or by the word of others.
    pub fn is_removed(&self) -> bool {
        self.removed.is_some() || self.facts.is_removed()
    }

    /// Whether the others can go on without this member, who was removed: they say so themselves, or are known to have
    /// the entry as committed. Before that, its vote and its copy of the log may be what they need to carry its own
    /// removal out: of two members, the one that stays cannot commit the removal alone.
    pub fn is_dispensable(&self) -> bool {
        self.facts.was_told_removed() || self.removed.is_some_and(|index| self.group.others_know(index))
    }

    /// The end: nothing is answered from here any more, not even from the view last taken.
    pub fn close(&self) {
        self.facts.reads_alone.store(false, Release);
        self.facts.ready.store(false, Release);
        self.views.clear();
    }
}
