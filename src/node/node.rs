//! The node itself: the struct, the dispatch on inputs, and the order of a turn.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::time::Duration;

use super::checkpoints::{Checkpoint, Checkpoints};
use super::counters::Counters;
use super::facts::{Facts, RareFacts};
use super::input::{Input, LeaseStanding, Reply};
use super::lease_clock::LeaseClock;
use super::observer::Observer;
use super::output::Output;
use super::proposals::Proposals;
use super::reads::ReadQueue;
use super::roles::{Change, Roles};
use super::view_cell::ViewCell;
use super::watches::Watches;
use crate::base::{LeaseId, LogIndex, MemberId, Refusal, Wrong, limits};
use crate::consensus::{Group, Role, conf_change_context};
use crate::env::{Disk, Instant};
use crate::machine::{AlarmAction, AlarmKind, Answer, Applied, Command, Expiry, Image, Machine, codec};
use crate::mvcc::View;
use crate::wal::{EntryKind, LogEntry};
use crate::watch::{HubNow, RoomBell, WatchHub};

/// What of a node's behaviour comes from flags.
#[derive(Clone)]
pub struct NodeConfig {
    /// This member.
    pub member: MemberId,
    /// Its name, told to the cluster.
    pub name: String,
    /// Where clients reach it, told to the cluster.
    pub client_urls: Vec<String>,
    /// The version this member speaks, as `major.minor.patch`.
    pub cluster_version: String,
    /// How long a request may wait for its outcome.
    pub request_timeout: Duration,
    /// How long a read round may go unanswered before it is tried anew.
    pub read_retry: Duration,
    /// Added to every lease when a new leader begins to count it: what may have passed unseen.
    pub election_timeout: Duration,
    /// Bytes of history beyond which writing is refused; 0 is no bound.
    pub quota_bytes: u64,
    /// Entries after which a checkpoint is made.
    pub checkpoint_entries: u64,
    /// Ticks between two notices of progress to a watcher that asked for them.
    pub progress_ticks: u64,
    /// Seed of everything drawn here.
    pub seed: u64,
    /// Who is told of every entry applied.
    pub observer: Option<Arc<dyn Observer>>,
}

/// One member's core. See the room's head for the invariants.
pub struct Node<D: Disk> {
    config: NodeConfig,
    group: Group,
    machine: Machine<D>,
    counters: Counters,
    proposals: Proposals,
    reads: ReadQueue<D>,
    lease_clock: LeaseClock,
    watches: Watches,
    checkpoints: Checkpoints,
    roles: Roles,
    facts: Arc<Facts>,
    views: Arc<ViewCell<D>>,
    own_ids: u64,
    /// Whether alarms, members or version changed since the facts were told.
    rare_changed: bool,
    /// Whether the cluster knows this member's name.
    told: bool,
    space_alarm_proposed: bool,
    reclaiming: bool,
    /// A client asked for the space of what was compacted.
    space_wanted: bool,
    /// No proposal is taken any more.
    stopping: bool,
    draining: Vec<Reply<()>>,
}

impl<D: Disk> Node<D> {
    /// A node from its recovered parts; `bell` is rung when a full watch stream has room again.
    /// `older` is the image kept beside the one the machine was opened from.
    pub fn new(
        config: NodeConfig,
        group: Group,
        machine: Machine<D>,
        older: Option<&Image>,
        facts: Arc<Facts>,
        bell: RoomBell,
    ) -> Self {
        let start = machine.applied().0;
        let newest = Checkpoint { applied: start, position: machine.store().position() };
        let older = older.map(|image| Checkpoint { applied: image.applied.0, position: image.position.clone() });
        let hub = WatchHub::new(config.progress_ticks, config.seed);
        facts.quota_bytes.store(config.quota_bytes, Relaxed);
        let mut node = Self {
            counters: Counters::starting_at(start),
            checkpoints: Checkpoints::new(newest, older, config.checkpoint_entries),
            watches: Watches::new(hub, bell),
            proposals: Proposals::default(),
            reads: ReadQueue::new(),
            lease_clock: LeaseClock::new(),
            roles: Roles::default(),
            own_ids: 0,
            views: Arc::default(),
            rare_changed: true,
            told: false,
            space_alarm_proposed: false,
            reclaiming: false,
            space_wanted: false,
            stopping: false,
            draining: Vec::new(),
            config,
            group,
            machine,
            facts,
        };
        node.tell_facts();
        node
    }

    /// Takes one input in. The work it makes due is done by [`Node::turn`].
    pub fn step(&mut self, now: Instant, input: Input<D>, out: &mut Vec<Output<D>>) {
        match input {
            Input::Tick => self.tick(now),
            Input::Propose { id, payload, cost, reply } => match self.admit(cost) {
                Ok(()) => {
                    let deadline = now.plus(self.config.request_timeout);
                    self.proposals.add(id, payload, deadline, reply);
                }
                Err(refusal) => reply.send(Err(refusal)),
            },
            Input::Read { linearizable: false, reply } => reply.send(Ok(fresh_view(&self.machine, &self.views))),
            Input::Read { linearizable: true, reply } => {
                self.reads.add(now.plus(self.config.request_timeout), reply);
            }
            Input::KeepAlive { id, reply } => reply.send(self.keep_alive(id, now)),
            Input::TimeToLive { id, keys, reply } => reply.send(self.time_to_live(id, keys, now)),
            Input::Leases { reply } => reply.send(self.leases()),
            Input::Watch(input) => self.watches.input(input, self.hub_now()),
            Input::Persisted { number } => self.group.persisted(number),
            Input::HistoryWritten(mark) => self.machine.store_mut().written(mark),
            Input::Checkpointed { applied } => self.checkpointed(applied, out),
            Input::Reclaimed(done) => {
                self.reclaiming = false;
                self.machine.store_mut().reclaimed(done);
            }
            Input::GiveSpaceBack => self.space_wanted = true,
            Input::Drain { reply } => {
                self.stopping = true;
                self.draining.push(reply);
            }
        }
    }

    /// Does what the inputs since the last turn made due. True asks for another turn soon: there is
    /// background work left that must not keep inputs waiting.
    ///
    /// An error is damage or a fault met while applying: the process must stop.
    pub fn turn(&mut self, now: Instant, out: &mut Vec<Output<D>>) -> Result<bool, Wrong> {
        // A round for each batch: what is proposed together is handed to the log as one.
        while self.proposals.propose(&mut self.group) {
            self.rounds(now, out)?;
        }
        let retry_at = now.plus(self.config.read_retry);
        self.reads.ask(&mut self.group, now, retry_at);
        self.rounds(now, out)?;
        if self.group.standing().leader.is_none() {
            self.stand_alone();
            self.rounds(now, out)?;
        }
        let (index, term) = self.machine.applied();
        match self.roles.observe(&self.group.standing(), term) {
            Change::None => {}
            Change::TakeUp => {
                self.take_up_duties(now);
                self.reads.ask_again();
                self.reads.ask(&mut self.group, now, retry_at);
                self.rounds(now, out)?;
            }
            Change::LayDown => self.lease_clock.demote(),
        }
        let (machine, views) = (&self.machine, &self.views);
        self.reads.serve(index, || fresh_view(machine, views));
        let more = self.background(out)? || self.reads.waits_to_ask();
        self.tell_facts();
        self.finish_draining();
        Ok(more)
    }

    /// Takes the group's rounds apart: what to persist goes out, what is committed is applied.
    fn rounds(&mut self, now: Instant, out: &mut Vec<Output<D>>) -> Result<(), Wrong> {
        while let Some(ready) = self.group.ready() {
            if !ready.batch.is_empty() {
                out.push(Output::Persist { number: ready.number, batch: ready.batch });
            }
            ready.reads.iter().for_each(|read| self.reads.confirmed(read));
            self.apply(now, ready.committed)?;
        }
        Ok(())
    }

    /// A lone voter without a leader stands for election at once: nobody else could win, so there is no reason
    /// to wait for a timeout. It waits only until what is committed is applied.
    fn stand_alone(&mut self) {
        let standing = self.group.standing();
        let caught_up = standing.committed == self.counters.last_applied();
        if standing.leader.is_none() && caught_up && self.group.is_lone_voter() {
            self.group.campaign();
        }
    }

    fn tick(&mut self, now: Instant) {
        self.group.tick();
        self.proposals.expire(now);
        self.reads.expire(now);
        self.watches.tick(self.hub_now());
        self.tell_watches();
        // Under a corruption alarm every revocation would be refused, for ever.
        if self.roles.on_duty() && !self.facts.has_alarm(AlarmKind::Corrupt) {
            let room = limits::MAX_REVOCATIONS_IN_FLIGHT.saturating_sub(self.lease_clock.in_flight());
            for id in self.lease_clock.due(now, room) {
                let expiry = self.expiry(id);
                self.propose_own(&Command::LeaseRevoke { id, expiry: Some(expiry) });
                self.facts.expired_leases.fetch_add(1, Relaxed);
            }
        }
    }

    /// What names the lease that is on the clock, and this leadership.
    fn expiry(&self, id: LeaseId) -> Expiry {
        let term = self.roles.duty_term().expect("only the member on duty counts leases");
        // The clock and the table change with the same entries.
        let granted_at = self.machine.leases().get(id).expect("a lease on the clock is in the table").granted_at;
        Expiry { granted_at, term }
    }

    /// Whether a proposal may be taken in now.
    fn admit(&mut self, cost: u64) -> Result<(), Refusal> {
        if self.stopping {
            return Err(Refusal::Stopped);
        }
        let store = self.machine.store();
        if store.unwritten_bytes() > limits::MAX_UNWRITTEN_HISTORY_BYTES {
            return Err(Refusal::TooManyRequests);
        }
        let quota = self.config.quota_bytes;
        if cost > 0 && quota > 0 && store.size_bytes() + cost >= quota {
            if !self.space_alarm_proposed {
                self.space_alarm_proposed = true;
                let member = self.config.member;
                self.propose_own(&Command::Alarm { action: AlarmAction::Activate, member, kind: AlarmKind::NoSpace });
            }
            return Err(Refusal::NoSpace);
        }
        Ok(())
    }

    fn apply(&mut self, now: Instant, entries: Vec<LogEntry>) -> Result<(), Wrong> {
        let Some(last) = entries.last() else { return Ok(()) };
        self.views.clear();
        let (last_index, last_term) = (last.index, last.term);
        self.counters.committed(last_index);
        for entry in entries {
            self.checkpoints.applied(entry.data.len());
            match entry.kind {
                EntryKind::Normal => self.apply_command(now, &entry)?,
                EntryKind::ConfChange => self.apply_member(&entry)?,
                EntryKind::ConfChangeV2 => {
                    return Err(Wrong::corrupt("wal", 0, format!("entry {} is of a kind not in use", entry.index)));
                }
            }
        }
        self.counters.applied(last_index);
        self.group.applied(last_index);
        debug_assert_eq!(self.machine.applied(), (last_index, last_term));
        Ok(())
    }

    fn apply_member(&mut self, entry: &LogEntry) -> Result<(), Wrong> {
        let Some((_, context)) = conf_change_context(entry) else {
            return Err(Wrong::corrupt("wal", 0, format!("entry {} is no change of the configuration", entry.index)));
        };
        self.machine.add_member(entry.index, entry.term, &context)?;
        self.group.apply_conf_change(entry);
        self.rare_changed = true;
        Ok(())
    }

    fn apply_command(&mut self, now: Instant, entry: &LogEntry) -> Result<(), Wrong> {
        let want_prev = self.watches.want_prev();
        let outcome = self.machine.apply(entry.index, entry.term, &entry.data, want_prev)?;
        let mut applied = outcome.applied;
        let command = outcome.proposal.as_ref().and_then(|proposal| proposal.command.as_ref().ok());
        if let Some(observer) = &self.config.observer {
            let request = outcome.proposal.as_ref().map(|proposal| proposal.id);
            observer.applied((entry.index, entry.term), request, command, &applied);
        }
        self.watches.applied(applied.revision, std::mem::take(&mut applied.events));
        if let Some(command) = command {
            self.follow_up(now, command, &applied);
        }
        self.facts.revision.store(applied.revision, Release);
        if self.rare_changed {
            // Before the answer leaves: who has it may ask the noticeboard next.
            self.tell_rare();
        }
        if let Some(proposal) = outcome.proposal {
            self.proposals.applied(proposal.id, entry.index, entry.term, applied);
        }
        Ok(())
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
                _ => self.lease_clock.forget(*id),
            },
            Command::Compact { revision, .. } if applied.answer.is_ok() => {
                self.watches.compacted(*revision, self.hub_now());
            }
            Command::Alarm { action, kind, .. } => {
                self.rare_changed = true;
                if (*action, *kind) == (AlarmAction::Deactivate, AlarmKind::NoSpace) {
                    self.space_alarm_proposed = false;
                }
            }
            Command::SetMemberAttributes { .. } | Command::SetClusterVersion(_) => self.rare_changed = true,
            _ => {}
        }
    }

    fn take_up_duties(&mut self, now: Instant) {
        let leases = self.machine.leases().iter().map(|(id, lease)| (id, lease.ttl, lease.remaining));
        self.lease_clock.promote(now, leases, self.config.election_timeout);
        let told = self.machine.members().iter().any(|member| {
            member.id == self.config.member
                && member.name == self.config.name
                && member.client_urls == self.config.client_urls
        });
        if !told {
            self.propose_own(&Command::SetMemberAttributes {
                member: self.config.member,
                name: self.config.name.clone(),
                client_urls: self.config.client_urls.clone(),
            });
        }
        if self.machine.cluster_version() != Some(&self.config.cluster_version) {
            self.propose_own(&Command::SetClusterVersion(self.config.cluster_version.clone()));
        }
        self.proposals.propose(&mut self.group);
    }

    fn propose_own(&mut self, command: &Command) {
        self.own_ids += 1;
        self.proposals.add_own(self.own_ids, codec::encode(self.own_ids, command));
    }

    fn keep_alive(&mut self, id: LeaseId, now: Instant) -> Result<Option<i64>, Refusal> {
        if !self.roles.on_duty() {
            return Err(Refusal::NoLeader);
        }
        Ok(self.lease_clock.renew(id, now))
    }

    /// Before the duties are taken up the clock knows none of the leases there are.
    fn leases(&self) -> Result<Vec<LeaseId>, Refusal> {
        if !self.roles.on_duty() {
            return Err(Refusal::NoLeader);
        }
        Ok(self.lease_clock.ids_by_remaining())
    }

    fn time_to_live(&self, id: LeaseId, keys: bool, now: Instant) -> Result<Option<LeaseStanding>, Refusal> {
        if !self.roles.on_duty() {
            return Err(Refusal::NoLeader);
        }
        let (Some(lease), Some(left)) = (self.machine.leases().get(id), self.lease_clock.remaining(id, now)) else {
            return Ok(None);
        };
        let keys = if keys { self.machine.leases().keys(id).cloned().collect() } else { Vec::new() };
        let ttl = i64::try_from(left.as_secs()).unwrap_or(i64::MAX);
        Ok(Some(LeaseStanding { granted_ttl: lease.ttl, ttl, keys }))
    }

    fn checkpointed(&mut self, applied: LogIndex, out: &mut Vec<Output<D>>) {
        self.counters.checkpointed(applied);
        self.group.release(applied);
        let up_to = self.checkpoints.durable(applied);
        self.counters.released(up_to);
        out.push(Output::ReleaseLog { up_to });
        if let Some(kept) = self.checkpoints.kept() {
            let files = self.machine.store_mut().garbage(&kept);
            if !files.is_empty() {
                out.push(Output::Remove(files));
            }
        }
    }

    /// Work nobody waits for, a slice of each; whether any is left.
    fn background(&mut self, out: &mut Vec<Output<D>>) -> Result<bool, Wrong> {
        let mut more = self.watches.catch_up(self.machine.store(), self.hub_now())?;
        let store = self.machine.store_mut();
        more |= store.compaction_step(limits::COMPACTION_SLICE)?;
        if !self.reclaiming
            && let Some(job) = store.reclaim_candidate()
        {
            self.reclaiming = true;
            out.push(Output::Reclaim(job));
        }
        // Asked for space: once it is counted what is dead, the segment that grows is closed and written out, or
        // it could never be rewritten where nothing more is written, as under a used-up quota.
        let give = self.space_wanted && !store.is_pruning();
        if give {
            self.space_wanted = false;
            store.request_reclaim();
        }
        let due = self.checkpoints.due();
        if due || give || store.unwritten_bytes() >= limits::WRITE_HISTORY_BYTES {
            let writes = store.take_writes();
            if let Some(mark) = writes.last().map(|write| write.mark()) {
                out.push(Output::WriteHistory { writes, mark });
            }
        }
        if due {
            let image = self.machine.image();
            let applied = image.applied.0;
            self.checkpoints.begun(applied, image.position.clone());
            out.push(Output::Checkpoint { applied, image: image.encode() });
        }
        Ok(more)
    }

    fn finish_draining(&mut self) {
        if !self.draining.is_empty() && self.proposals.len() == 0 && self.reads.len() == 0 {
            self.draining.drain(..).for_each(|reply| reply.send(()));
        }
    }

    fn hub_now(&self) -> HubNow {
        let store = self.machine.store();
        HubNow { revision: store.revision(), compact_revision: store.compact_revision() }
    }

    /// Where the view last taken is found.
    pub fn views(&self) -> Arc<ViewCell<D>> {
        self.views.clone()
    }

    /// Counting looks at every stream: once a tick, not once a turn.
    fn tell_watches(&self) {
        let (facts, watches) = (&self.facts, self.watches.hub().counts());
        facts.watchers.store(watches.watchers as u64, Relaxed);
        facts.watch_streams.store(watches.streams as u64, Relaxed);
        facts.slow_watchers.store(watches.slow_watchers as u64, Relaxed);
        facts.pending_events.store(watches.pending_events as u64, Relaxed);
    }

    fn tell_facts(&mut self) {
        let (facts, standing, store) = (&self.facts, self.group.standing(), self.machine.store());
        facts.leader.store(standing.leader.map_or(0, |member| member.0), Relaxed);
        facts.is_leader.store(self.roles.on_duty(), Relaxed);
        facts.reads_alone.store(self.roles.on_duty() && self.group.is_lone_voter(), Release);
        facts.term.store(standing.term, Relaxed);
        facts.committed.store(standing.committed, Relaxed);
        facts.applied.store(self.counters.last_applied(), Relaxed);
        facts.revision.store(store.revision(), Release);
        facts.compact_revision.store(store.compact_revision(), Relaxed);
        facts.size_bytes.store(store.size_bytes(), Relaxed);
        facts.in_use_bytes.store(store.in_use_bytes(), Relaxed);
        facts.key_count.store(store.key_count(), Relaxed);
        facts.leases.store(self.machine.leases().len() as u64, Relaxed);
        facts.pending_proposals.store(self.proposals.len() as u64, Relaxed);
        facts.leader_changes.store(self.roles.leader_changes(), Relaxed);
        facts.checkpoints.store(self.checkpoints.made(), Relaxed);
        // At every telling: a member started from a checkpoint knows its name before there is a leader. A leader
        // that has not applied an entry of its own term yet may not have applied all that was acknowledged.
        let knows_all = standing.leader.is_some() && (standing.role != Role::Leader || self.roles.on_duty());
        facts.ready.store(self.told && knows_all, Release);
        if self.rare_changed {
            self.tell_rare();
        }
    }

    fn tell_rare(&mut self) {
        self.rare_changed = false;
        let members = self.machine.members();
        self.told = members.iter().any(|member| member.id == self.config.member && !member.name.is_empty());
        self.facts.set_rare(RareFacts {
            alarms: self.machine.alarms(),
            members,
            cluster_version: self.machine.cluster_version().map(str::to_string),
        });
    }

    /// The end: nothing is answered from here any more, not even from the view last taken.
    pub fn close(&self) {
        self.facts.reads_alone.store(false, Release);
        self.facts.ready.store(false, Release);
        self.views.clear();
    }

    /// Ids of the node's own proposals count from here; unique to this start of this member.
    pub fn count_own_ids_from(&mut self, base: u64) {
        assert!(base >= self.own_ids, "ids are not used twice");
        self.own_ids = base;
    }
}

/// A view of now, which is also left in the cell.
fn fresh_view<D: Disk>(machine: &Machine<D>, views: &ViewCell<D>) -> View<D> {
    let view = machine.store().view();
    views.put(view.clone());
    view
}
