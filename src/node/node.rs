//! The node itself: the struct, the dispatch on inputs, and the order of a turn.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::time::Duration;

use fxhash::FxHashSet;

use super::applied_ops::TurnOps;
use super::auto_compaction::Compactor;
use super::backlog::Backlog;
use super::checkpoints::{Checkpoint, Checkpoints};
use super::config::NodeConfig;
use super::contacts::Contacts;
use super::counters::Counters;
use super::facts::Facts;
use super::hold_up::HoldUp;
use super::input::{Input, Reply};
use super::lateness::Lateness;
use super::leadership::Leadership;
use super::lease_clock::LeaseClock;
use super::observer::TurnWork;
use super::output::Output;
use super::pace::Pace;
use super::passed_on::PassedOn;
use super::proposals::{OwnProposal, Proposals};
use super::reads::{Question, ReadQueue};
use super::rebuild::Rebuild;
use super::recollection::Recollection;
use super::renewals::Renewals;
use super::roles::{Change, Roles};
use super::snapshots::Snapshots;
use super::space::Space;
use super::stages::UnderWay;
use super::view_cell::ViewCell;
use super::watches::Watches;
use crate::base::{LogIndex, Refusal, Wrong};
use crate::consensus::{Group, MessageKind, PeerMessage, Role, Standing, Stepped, passed_on};
use crate::env::{Disk, Instant};
use crate::machine::{AlarmKind, Command, Image, Machine, Member};
use crate::mvcc::{Pruned, View};
use crate::watch::{HubNow, RoomBell, WatchHub};

/// One member's core. See the room's head for the invariants.
pub struct Node<D: Disk> {
    pub(super) config: NodeConfig,
    pub(super) group: Group,
    pub(super) machine: Machine<D>,
    pub(super) counters: Counters,
    pub(super) proposals: Proposals,
    pub(super) pace: Pace,
    pub(super) passed_on: PassedOn,
    pub(super) reads: ReadQueue<D>,
    pub(super) lease_clock: LeaseClock,
    /// Leases fell due beyond those whose revocation is under way.
    pub(super) more_leases_due: bool,
    pub(super) renewals: Renewals,
    pub(super) compactor: Compactor,
    pub(super) watches: Watches,
    pub(super) checkpoints: Checkpoints,
    pub(super) roles: Roles,
    pub(super) leadership: Leadership,
    pub(super) contacts: Contacts,
    pub(super) facts: Arc<Facts>,
    pub(super) views: Arc<ViewCell<D>>,
    /// Committed and not applied yet, in order.
    pub(super) committed: Backlog,
    pub(super) own_ids: u64,
    /// Whether alarms, members or version changed since the facts were told.
    pub(super) rare_changed: bool,
    /// Whether the transport has not been told yet who the members are.
    pub(super) members_changed: bool,
    /// Whether the cluster knows this member's name.
    pub(super) told: bool,
    /// The entry with which this member was removed from the cluster, or one behind it.
    pub(super) removed: Option<LogIndex>,
    pub(super) telling: bool,
    /// Whether the version to be agreed on was proposed, and nothing was heard of it yet.
    pub(super) version_proposed: bool,
    pub(super) space: Space,
    /// Of the turn under way, or the last.
    pub(super) work: TurnWork,
    pub(super) hold_up: HoldUp,
    pub(super) turn_ops: TurnOps,
    /// Batches on their way to a majority.
    under_way: UnderWay,
    /// No proposal is taken any more.
    pub(super) stopping: bool,
    draining: Vec<Reply<()>>,
    /// What an input brought to light, until the turn ends the member with it.
    pub(super) wrong: Option<Wrong>,
    pub(super) snapshots: Snapshots<D>,
    pub(super) rebuild: Rebuild,
    pub(super) recollection: Recollection,
    stands: Option<Standing>,
    /// The log as it was found at the start ends here: what is applied up to there may be an earlier life's.
    pub(super) replays_to: LogIndex,
    /// Whether the coming tick is the first after the member heard nothing for long.
    was_deaf: bool,
    /// Whether the last tick was such a one.
    deaf_before: bool,
    /// When watchers were counted last.
    pub(super) watches_told: Instant,
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
        let older = older.map(|image| Checkpoint { applied: image.state.applied.0, position: image.position.clone() });
        let hub = WatchHub::new(config.progress_ticks, config.seed, config.watch);
        let own_alarm = machine.alarms().contains(&(config.member, AlarmKind::NoSpace));
        facts.quota_bytes.store(config.quota_bytes, Relaxed);
        let mut node = Self {
            counters: Counters::starting_at(start),
            checkpoints: Checkpoints::new(newest, older, config.checkpoint_entries),
            watches: Watches::new(hub, bell, config.catch_up),
            proposals: Proposals::default(),
            pace: Pace::default(),
            passed_on: PassedOn::default(),
            reads: ReadQueue::new(config.observer.clone()),
            lease_clock: LeaseClock::new(config.lease_checkpoint_interval),
            more_leases_due: false,
            renewals: Renewals::default(),
            compactor: Compactor::new(config.auto_compaction),
            roles: Roles::default(),
            leadership: Leadership::default(),
            contacts: Contacts::new(config.election_timeout),
            own_ids: 0,
            views: Arc::default(),
            committed: Backlog::new(config.held.unapplied),
            rare_changed: true,
            members_changed: true,
            told: false,
            removed: machine.removed().contains(&config.member).then_some(start),
            telling: false,
            version_proposed: false,
            space: Space::under(own_alarm),
            work: TurnWork::default(),
            hold_up: HoldUp::default(),
            turn_ops: TurnOps::default(),
            under_way: UnderWay::default(),
            stopping: false,
            draining: Vec::new(),
            wrong: None,
            snapshots: Snapshots::default(),
            rebuild: Rebuild::default(),
            recollection: Recollection::default(),
            stands: None,
            replays_to: start,
            was_deaf: false,
            deaf_before: false,
            watches_told: Instant::default(),
            config,
            group,
            machine,
            facts,
        };
        node.tell_facts();
        node.tell_auth();
        node
    }

    /// Takes one input in. The work it makes due is done by [`Node::turn`] and [`Node::work`].
    pub fn step(&mut self, now: Instant, input: Input<D>, out: &mut Vec<Output<D>>) {
        self.count_hold_up(now);
        match input {
            Input::Tick => self.tick(now, out),
            Input::Deaf { time } => self.stood_still(time),
            Input::Propose { id, payload, cost, since, reply } => match self.admit(cost, now) {
                Ok(()) => self.proposals.add(id, payload, (since, now), reply),
                Err(refusal) => self.refuse_proposal(refusal, reply),
            },
            Input::ChangeMembers { reply, .. } if self.stopping => reply.send(Err(Refusal::Stopped)),
            Input::ChangeMembers { id, change, reply } => self.change_members(id, &change, now, reply),
            Input::Read { linearizable: false, reply } => reply.send(Ok(self.fresh_view())),
            Input::Read { linearizable: true, reply } if self.stopping => reply.send(Err(Refusal::Stopped)),
            Input::Read { linearizable: true, reply } => self.reads.add(now, Question::View(reply)),
            Input::Lease(question) => self.lease_question(question, now),
            Input::CheckLeases { asker, access, reply } => self.rights_question(asker, access, reply, now),
            Input::Watch(input) => self.watches.input(input, self.machine.auth(), self.hub_now()),
            Input::CaughtUp(caught_up) => self.caught_up(*caught_up),
            Input::Persisted { number } => self.persisted(number, out),
            Input::Peer(message) => self.peer_message(message, now, out),
            Input::Unreachable(member) => {
                self.contacts.lost(member);
                self.group.unreachable(member);
            }
            Input::SnapshotSent { member, arrived } => self.snapshot_sent(member, arrived, now),
            Input::SnapshotOffered { message, reply } => reply.send(self.snapshot_offered(*message, now, out)),
            Input::SnapshotArrived(snapshot) => self.snapshot_arrived(*snapshot, now, out),
            Input::Installed(machine) => self.installed(*machine, now, out),
            Input::Rebuilt(machine) => self.wrong = self.rebuilt(*machine, now, out).err().or(self.wrong.take()),
            Input::Show { reply } => reply.send(self.show()),
            Input::StateAsked { to, reply } => self.state_asked(to, reply, out),
            Input::AdvanceElection { ticks, reply } => {
                self.group.advance_election(ticks);
                reply.send(());
            }
            Input::DigestNoted { since, reply } => {
                let at = self.machine.lasting_index(since);
                reply.send((self.machine.applied().0, at, self.digest_at(at)));
            }
            Input::DigestAsked { at, reply } => reply.send(self.digest_at(at)),
            Input::RecollectionAsked { of, last, reply } => reply.send(self.recall(of, last)),
            Input::Recollected { from, remembered, reply } => reply.send(self.recollected(from, remembered, now, out)),
            Input::PromisesWanted { reply } => reply.send(self.group.promises_to_tell()),
            Input::PromisesHeld { reply } => reply.send(self.promises_held()),
            Input::PromisesTold(promises) => self.note_promises(&promises),
            Input::HandOver { to, reply } => {
                // One that stops must not wait long for others.
                let patience = if to.is_some() { self.config.request_timeout } else { self.config.election_timeout };
                let give_up_at = now.plus(patience);
                self.leadership.hand_over(&mut self.group, to, give_up_at, reply);
            }
            Input::HistoryWritten(mark) => self.machine.store_mut().written(mark),
            Input::Checkpointed { applied } => self.checkpointed(applied, out),
            Input::Reclaimed(done) => self.reclaimed(done),
            Input::Room { part, short, tried } => self.told_room(part, short.then_some(tried), now),
            Input::RoomGiven => self.space.log_has_given(),
            Input::CheckpointPutOff { tried } => self.checkpoint_put_off(tried, now),
            Input::ReclaimPutOff { short, tried } => self.reclaim_put_off(short, tried, now),
            Input::Outlined(done) => self.outlined(done, out),
            Input::OutlinePutOff { tried } => self.outline_put_off(tried, now),
            Input::HistorySynced => self.space.history_synced(),
            Input::Digested => self.space.digesting = false,
            Input::Removed => self.space.removing -= 1,
            Input::GiveSpaceBack { reply } => self.space.asked.push(reply),
            Input::Compacted { revision, reply } => self.space.compactions.push((revision, reply)),
            Input::Drain { reply } => self.drain(reply),
        }
    }

    fn stood_still(&mut self, time: Duration) {
        if !self.hold_up.stands_still() {
            // Or it is told so already.
            self.lease_clock.stand_still(time);
        }
        self.was_deaf = true;
        if self.group.standing().role == Role::Leader {
            self.facts.late_heartbeats.fetch_add(1, Relaxed);
        }
    }

    fn persisted(&mut self, number: u64, out: &mut Vec<Output<D>>) {
        if let Some(observer) = &self.config.observer {
            observer.persisted(number);
        }
        let messages = self.group.persisted(number);
        self.send(messages, out);
    }

    pub(super) fn peer_message(&mut self, message: PeerMessage, now: Instant, out: &mut Vec<Output<D>>) {
        let from = message.from();
        if self.has_no_room(&message) || self.recollection.holds_back(&message) {
            return;
        }
        if !passed_on(&message).iter().all(|entry| self.could_apply(entry)) {
            self.facts.turned_away.fetch_add(1, Relaxed);
            return;
        }
        if self.must_wait(&message) {
            self.contacts.heard(from, now);
            return self.passed_on.add(message, now);
        }
        match self.group.step(message) {
            Ok(Stepped::Taken) => {
                self.contacts.heard(from, now);
                self.follows_another();
            }
            Ok(Stepped::TurnedAway(_)) => {
                self.facts.turned_away.fetch_add(1, Relaxed);
            }
            Ok(Stepped::CountsOnMore) => {
                self.contacts.heard(from, now);
                self.facts.counted_on_by.store(from.0, Release);
            }
            Ok(Stepped::PeerLogLost { .. }) => {
                self.facts.peers_log_lost.fetch_add(1, Relaxed);
            }
            Err(wrong) => self.wrong = Some(wrong),
        }
        if self.group.is_heavy() {
            // What one batch of the log may hold is handed out before more is taken in.
            self.rounds(out);
        }
    }

    /// Decides what the inputs since the last turn made due: what is to be persisted and sent is in `out` and should
    /// leave before [`Node::work`] is called, which takes longer.
    ///
    /// An error is damage or a fault: the process must stop.
    pub fn turn(&mut self, now: Instant, out: &mut Vec<Output<D>>) -> Result<(), Wrong> {
        self.take_wrong()?;
        self.count_hold_up(now);
        self.end_more_leases(now);
        self.propose_waiting(now, out);
        let retry_at = now.plus(self.config.read_retry);
        self.reads.ask(&mut self.group, now, retry_at);
        self.rounds(out);
        if self.stand_alone() {
            self.rounds(out);
        }
        self.observe(now);
        let standing = self.group.standing();
        self.under_way.turned(now, standing.role == Role::Leader, standing.committed, &self.facts.tallies.stages);
        Ok(())
    }

    /// Does what the turn left: applies a part of what is committed, answers, and gives a slice to work nobody waits
    /// for. True asks for another turn soon.
    ///
    /// An error is damage or a fault: the process must stop.
    pub fn work(&mut self, now: Instant, out: &mut Vec<Output<D>>) -> Result<bool, Wrong> {
        self.work = TurnWork::default();
        self.turn_ops.clear();
        self.count_hold_up(now);
        self.apply(now)?;
        self.tell_electorate();
        self.note_hold_up(now, out);
        self.observe(now);
        self.answer_confirmed(now);
        for own in self.proposals.take_lost() {
            self.own_came_to_nothing(own);
        }
        if std::mem::take(&mut self.members_changed) {
            out.push(Output::Members(self.machine.members()));
        }
        self.take_up_state(out);
        self.ask_for_room(out);
        if let Some(outdated) = self.machine.store_mut().take_outdated() {
            out.push(Output::LetGo(Box::new(outdated)));
        }
        let installing = self.snapshots.installing() || self.rebuild.under_way();
        let mut more = false;
        if self.is_carrying_out() {
            more = true;
        } else if !installing {
            more = self.background(out).or_else(|wrong| self.outlive(wrong))? || self.committed.wants_turn();
        }
        more |= self.reads.waits_to_ask();
        more |= self.wants_to_propose() || self.wants_to_end_leases();
        if let Some(observer) = &self.config.observer {
            observer.worked(&self.work);
            observer.holds(&self.held());
        }
        self.tell_facts();
        self.finish_draining();
        Ok(more)
    }

    /// Takes the group's rounds apart: what to send and to persist goes out, what is committed is kept to be applied.
    pub(super) fn rounds(&mut self, out: &mut Vec<Output<D>>) {
        while let Some(ready) = self.group.ready() {
            self.send(ready.messages, out);
            if let Some(at) = ready.snapshot {
                let image = Box::new(self.take_snapshot(at));
                if let Some(observer) = &self.config.observer {
                    observer.installs(ready.number, at, &ready.batch);
                }
                out.push(Output::Install { number: ready.number, image, batch: ready.batch });
            } else if !ready.batch.is_empty() {
                if let Some(observer) = &self.config.observer {
                    observer.appends(ready.number, &ready.batch);
                }
                self.under_way.handed_out(&ready.batch);
                out.push(Output::Persist { number: ready.number, batch: ready.batch });
            }
            ready.reads.iter().for_each(|read| self.reads.confirmed(read));
            self.committed.extend(ready.committed);
        }
    }

    fn send(&mut self, messages: Vec<PeerMessage>, out: &mut Vec<Output<D>>) {
        for message in messages {
            if let Some(observer) = &self.config.observer {
                observer.sends(&message);
            }
            match message.kind() {
                MessageKind::Snapshot => self.send_snapshot(message, out),
                _ => out.push(Output::Send(message)),
            }
        }
    }

    /// A lone voter without a leader stands for election at once: nobody else could win, so there is no reason
    /// to wait for a timeout. It waits only until what is committed is applied. Whether it stood.
    fn stand_alone(&mut self) -> bool {
        let standing = self.group.standing();
        let caught_up = standing.committed == self.counters.last_applied();
        let stands = standing.leader.is_none() && caught_up && self.group.is_lone_voter();
        if stands {
            self.group.campaign();
        }
        stands
    }

    /// Looks at role and leader, and takes up or lays down what goes with them.
    fn observe(&mut self, now: Instant) {
        let standing = self.group.standing();
        if self.stands != Some(standing) {
            self.stands = Some(standing);
            if let Some(observer) = &self.config.observer {
                observer.stands(&standing);
            }
        }
        if self.leadership.observe(standing.leader, now) {
            self.reads.ask_again();
        }
        match self.roles.observe(&standing, self.machine.applied().1) {
            Change::None => {}
            Change::TakeUp => {
                self.take_up_duties(now);
                self.reads.ask_again();
            }
            Change::LayDown => {
                self.lease_clock.demote();
                self.renewals.refuse_all(&Refusal::NotLeader);
            }
        }
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Output<D>>) {
        self.settle_doubt(now, out);
        self.group.unapplied(self.committed.stands_still() && !self.is_carrying_out());
        self.group.tick();
        // What was waiting may be what they wait for: it is done before anyone is told that it comes too late.
        // Of ticks that are all late only the first is such: a member that is always late tells it all the same. What is
        // committed behind a command that takes several turns is done before, too.
        let deaf = std::mem::take(&mut self.was_deaf);
        if !deaf || self.deaf_before {
            let timeout = u64::try_from(self.config.request_timeout.as_nanos()).unwrap_or(0);
            let until = Instant(now.0.saturating_sub(timeout));
            let (since, election) = (self.leadership.since(), self.config.election_timeout);
            let connected = |member| self.contacts.connected_since(member, now, now);
            let late = Lateness::at(self.config.member, &self.group, since, election, connected);
            let held_up = self.is_held_up();
            let on = held_up && self.proposals.may_expire(until);
            let spared = if on { self.held_up_proposals() } else { FxHashSet::default() };
            self.proposals.expire(until, &spared, |asked| late.refusal(asked));
            self.passed_on.expire(until);
            self.reads.expire(until, held_up.then(|| self.hold_up.reach()), |asked| late.refusal(asked));
        }
        self.deaf_before = deaf;
        self.keep_pace(now);
        self.give_up_hidden(now);
        self.leadership.expire(now);
        self.watches.tick(self.hub_now());
        self.tell_watches(now);
        self.drive_rebuild(now);
        self.expire_snapshots(now);
        self.release_log_at_rest();
        self.tell_name(now);
        self.settle_version(now);
        self.count_leases(now);
        self.compact_by_itself(now);
        self.let_go_at_rest();
        self.let_go_of_pieces(out);
        self.name_outlines_at_rest();
        self.look_at_damage(now, out);
        self.look_for_room(now);
    }

    fn compact_by_itself(&mut self, now: Instant) {
        // Under a corruption alarm it would be refused.
        let may = self.roles.on_duty() && !self.facts.has_alarm(AlarmKind::Corrupt);
        if let Some(revision) = self.compactor.tick(now, self.machine.store().revision(), may) {
            let command = Command::Compact { revision, physical: false };
            self.propose_own(&command, OwnProposal::Compact(revision), now);
        }
    }

    /// Whether the cluster, as these are its members, knows this member's name and where clients reach it.
    pub(super) fn is_told(&self, members: &[Member]) -> bool {
        members.iter().any(|member| {
            member.id == self.config.member
                && member.name == self.config.name
                && member.client_urls == self.config.client_urls
        })
    }

    /// Tells the cluster this member's name and where clients reach it, as long as it does not know. Not before its disk knows
    /// of the term: whoever told this is taken for one that has lost what it promised where its disk does not.
    fn tell_name(&mut self, now: Instant) {
        if self.is_told(&self.machine.members())
            || self.telling
            || self.removed.is_some()
            || self.group.standing().leader.is_none()
            || !self.group.is_term_durable()
        {
            return;
        }
        self.telling = true;
        let command = Command::SetMemberAttributes {
            member: self.config.member,
            name: self.config.name.clone(),
            client_urls: self.config.client_urls.clone(),
        };
        self.propose_own(&command, OwnProposal::Attributes, now);
    }

    fn take_up_duties(&mut self, now: Instant) {
        let leases = self.machine.leases().iter().map(|(id, lease)| (id, lease.ttl, lease.remaining));
        self.lease_clock.promote(now, leases, self.config.election_timeout);
        self.tell_name(now);
        self.version_proposed = false;
        self.settle_version(now);
    }

    /// Takes nothing in any more. Who is refused and waits for an alarm that may not come in time is told now.
    fn drain(&mut self, reply: Reply<()>) {
        self.stopping = true;
        self.space_alarm_settled();
        self.draining.push(reply);
    }

    fn finish_draining(&mut self) {
        if !self.draining.is_empty() && self.proposals.len() == 0 && self.reads.len() == 0 && self.renewals.is_empty() {
            self.draining.drain(..).for_each(|reply| reply.send(()));
        }
    }

    pub(super) fn hub_now(&self) -> HubNow {
        let store = self.machine.store();
        HubNow { revision: store.revision(), compact_revision: store.compact_revision() }
    }

    /// What the last turn pruned of what was compacted.
    pub fn pruned(&self) -> Pruned {
        self.work.pruned
    }

    /// What the last turn's work applied.
    pub fn turn_ops(&self) -> &TurnOps {
        &self.turn_ops
    }

    /// Whether the last turn's work left a command that the next goes on with.
    pub fn carries_on(&self) -> bool {
        self.work.pauses
    }

    /// Where the view last taken is found.
    pub fn views(&self) -> Arc<ViewCell<D>> {
        self.views.clone()
    }

    fn fresh_view(&self) -> View<D> {
        fresh_view(&self.machine, &self.views)
    }

    /// Entries up to this index were in the log when the node started.
    pub fn replays_to(&mut self, last: LogIndex) {
        self.replays_to = last;
        let is_there = self.machine.applied().0 >= last;
        self.machine.store_mut().keep_digests(is_there);
    }

    /// Ids of the node's own proposals count from here; unique to this start of this member.
    pub fn count_own_ids_from(&mut self, base: u64) {
        assert!(base >= self.own_ids, "ids are not used twice");
        self.own_ids = base;
    }
}

/// A view of now, which is also left in the cell.
pub(super) fn fresh_view<D: Disk>(machine: &Machine<D>, views: &ViewCell<D>) -> View<D> {
    let view = machine.store().view();
    views.put(view.clone());
    view
}
