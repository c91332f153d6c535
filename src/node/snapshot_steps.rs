//! Snapshots between members, as far as the node has a part in them: when the state is taken for another, and how another's
//! takes the place of its own.
//!
//! An installation has these steps: the state arrived whole and durable ([`Input::SnapshotArrived`]); raft takes it
//! ([`super::Output::Install`] leaves, and from here on nothing is applied); its image is durable and the log is cut
//! ([`Input::Persisted`]); it was read ([`Input::Installed`]) and takes the place of what was.
//!
//! [`Input::SnapshotArrived`]: super::Input::SnapshotArrived
//! [`Input::Persisted`]: super::Input::Persisted
//! [`Input::Installed`]: super::Input::Installed

use std::sync::atomic::Ordering::Relaxed;

use super::input::{ArrivedSnapshot, Came};
use super::node::Node;
use super::output::Output;
use crate::base::{LogIndex, MemberId, Refusal, Term, Wrong, limits};
use crate::consensus::{PeerMessage, Stepped};
use crate::env::{Disk, Instant};
use crate::machine::{Image, Machine, Shown};

impl<D: Disk> Node<D> {
    /// A snapshot for another member leaves: of the state as it is now, or once more the one that was cut on its way.
    pub(super) fn send_snapshot(&mut self, message: PeerMessage, out: &mut Vec<Output<D>>) {
        if self.snapshots.installing() {
            // Not a leader any more, or it would not be installing: nobody waits for it.
            return;
        }
        if self.rebuild.is_needed() || self.is_named() || self.snapshots.is_under_way(message.to()) {
            // What is known to be wrong here is not spread; raft tries again, and by then another may lead.
            self.group.snapshot_sent(message.to(), false);
            return;
        }
        self.begin_sending(message, out);
    }

    /// All there is, for a file: what is known to be wrong is not spread in one either.
    pub(super) fn show(&self) -> Result<Shown<D>, Refusal> {
        let is_wrong = self.rebuild.is_needed() || self.rebuild.under_way() || self.is_named();
        if is_wrong { Err(Refusal::Corrupt) } else { Ok(self.machine.show()) }
    }

    /// To a member to whom none is on its way.
    pub(super) fn begin_sending(&mut self, mut message: PeerMessage, out: &mut Vec<Output<D>>) {
        let group = &self.group;
        let source = match self.snapshots.go_on(message.to(), |index| group.goes_on_behind(index)) {
            Some((head, source)) => {
                message.take_snapshot_of(head);
                source
            }
            None => {
                self.group.stamp_snapshot(&mut message);
                debug_assert_eq!(
                    message.snapshot_at(),
                    Some(self.machine.applied()),
                    "it is stamped with what is sent"
                );
                let source = self.machine.snapshot(self.config.snapshot_chunk_bytes);
                self.snapshots.begun(message.clone(), source.again());
                source
            }
        };
        out.push(Output::SendSnapshot { message, source: Box::new(source) });
    }

    /// What became of a snapshot that was sent.
    pub(super) fn snapshot_sent(&mut self, member: MemberId, arrived: bool, now: Instant) {
        self.snapshots.ended(member, arrived, now);
        self.group.snapshot_sent(member, arrived);
    }

    /// Once a tick: what is kept for those who get a snapshot is let go when they need it no more.
    pub(super) fn expire_snapshots(&mut self, now: Instant) {
        let group = &self.group;
        self.snapshots.expire(now, |member, index| group.has_reached(member, index));
    }

    /// Lets go of the log in memory behind the newest durable checkpoint. A part of it is kept for those who lag a little,
    /// bounded by bytes as by number, and more for who is at it, or what they lack would have to become a snapshot; nothing
    /// where there is nobody else.
    pub(super) fn release_log(&mut self) {
        let covered = self.counters.last_checkpointed();
        self.snapshots.log_waits = false;
        if self.group.is_alone() {
            return self.group.release(covered);
        }
        let kept = self.group.kept_behind(covered, self.config.catch_up_entries, limits::CATCH_UP_LOG_BYTES);
        let most = self.group.kept_behind(covered, self.config.catch_up_entries, limits::SNAPSHOT_HELD_LOG_BYTES);
        let wanted = self.group.slowest().map_or(kept, |slowest| slowest.min(kept));
        let up_to = self.releasable(wanted.max(most));
        self.snapshots.log_waits = up_to < kept;
        self.group.release(up_to);
    }

    /// Once a tick: what of the log waited for somebody goes when they need it no more. Where nothing is written no
    /// checkpoint would let go of it.
    pub(super) fn release_log_at_rest(&mut self) {
        let begins = self.group.begins_behind();
        let from_there = |wanted: Option<LogIndex>| wanted.is_some_and(|wanted| wanted <= begins);
        // Looking at the log costs its length: not while it is known to be wanted.
        let is_wanted = from_there(self.snapshots.held()) || from_there(self.group.slowest());
        if self.snapshots.log_waits && !is_wanted && !self.snapshots.installing() {
            self.release_log();
        }
    }

    /// Up to where the log in memory may be let go, of what is behind `up_to`: not behind a snapshot that is on its way, or
    /// whoever installs it would need another at once. A receiver that is too slow for what may be held has to take another.
    pub(super) fn releasable(&self, up_to: LogIndex) -> LogIndex {
        let affordable = |held: &LogIndex| self.group.bytes_behind(*held) <= limits::SNAPSHOT_HELD_LOG_BYTES;
        self.snapshots.held().filter(|held| *held < up_to).filter(affordable).unwrap_or(up_to)
    }

    /// Whether a snapshot would be taken: the generation it may be built in.
    ///
    /// A leader that offers what is here already counts on less than there is (a question of an earlier moment came late,
    /// [`Group::recall`]): raft tells it how far this member is, or it would offer the same for ever.
    ///
    /// [`Group::recall`]: crate::consensus::Group::recall
    pub(super) fn snapshot_offered(
        &mut self,
        message: PeerMessage,
        now: Instant,
        out: &mut Vec<Output<D>>,
    ) -> Result<u64, String> {
        let (index, term) = message.snapshot_at().ok_or("no snapshot")?;
        if self.snapshots.installing() || self.rebuild.is_installing() {
            return Err("another is being installed".to_string());
        }
        if index <= self.counters.last_applied() && !self.may_rebuild_at(index) {
            // Raft has no use for it: nothing is installed.
            self.peer_message(message, now, out);
            return Err(format!("entry {index} is applied here already"));
        }
        // What leaves for the leader from here on is not in it.
        if self.snapshots.offered.as_ref().is_none_or(|(at, _)| *at != (index, term)) {
            self.snapshots.offered = Some(((index, term), self.proposals.on_their_way()));
        }
        if let Some(observer) = &self.config.observer {
            observer.notes("a snapshot was offered");
        }
        Ok(self.machine.store_mut().fresh_generation())
    }

    pub(super) fn snapshot_arrived(&mut self, snapshot: ArrivedSnapshot, now: Instant, out: &mut Vec<Output<D>>) {
        let at = snapshot.image.state.applied;
        if let Some(observer) = &self.config.observer {
            match snapshot.came {
                Came::AtOnce => {}
                Came::AfterCut => observer.notes("a snapshot went on after a cut"),
                Came::AfterRestart => observer.notes("a half resumed after a restart"),
            }
        }
        if self.snapshots.installing() || self.rebuild.is_installing() {
            return self.discard(snapshot.image, out);
        }
        if self.may_rebuild_at(at.0) && self.group.holds(at) {
            return self.keep_state(snapshot, now, out);
        }
        let ArrivedSnapshot { message, image, .. } = snapshot;
        let from = message.from();
        self.snapshots.arrived = Some(image);
        match self.group.step(message) {
            Ok(Stepped::Taken) => self.contacts.heard(from, now),
            Ok(_) => {}
            Err(wrong) => self.wrong = Some(wrong),
        }
        self.rounds(out);
        if let Some(image) = self.snapshots.arrived.take() {
            // Raft had no use for it: this member has come as far by itself, or the sender leads no more.
            self.discard(image, out);
        }
    }

    /// Raft takes the snapshot that arrived.
    pub(super) fn take_snapshot(&mut self, at: (LogIndex, Term)) -> Image {
        let image = self.snapshots.arrived.take().expect("raft takes only what was offered");
        assert_eq!(image.state.applied, at, "raft takes what was offered");
        self.snapshots.installing = Some(at);
        self.give_up_reclaim();
        // What was committed and not applied is in it.
        self.committed.clear();
        image
    }

    /// The state of the snapshot was read: it takes the place of what was.
    ///
    /// Where it has fewer revisions than there were, those were never the cluster's: this member differed, and nobody had
    /// named it. What goes is treated as a state that is known to be wrong.
    pub(super) fn installed(&mut self, machine: Machine<D>, now: Instant, out: &mut Vec<Output<D>>) {
        let (index, term) = self.snapshots.installing.take().expect("what was read is being installed");
        assert_eq!(machine.applied(), (index, term));
        let alarm_stood = self.space_alarm_stands();
        if let Some(observer) = &self.config.observer {
            observer.installed((index, term));
        }
        let position = machine.store().position();
        let before = if self.rebuild.under_way() {
            self.machine.rebuild_from(machine)
        } else if self.machine.may_go_before(&machine) {
            self.machine.replace(machine)
        } else {
            self.facts.states_refuted.fetch_add(1, Relaxed);
            self.watches.end_all();
            self.machine.rebuild_from(machine)
        };
        // Of every key a part: dropping it takes long.
        out.push(Output::LetGo(Box::new(before)));
        self.counters.installed(index);
        self.checkpoints.installed(index, position);
        self.group.applied(index);
        let (at, offered) = self.snapshots.offered.take().unwrap_or_default();
        if at == (index, term) {
            self.snapshots.hidden = Some((now.plus(self.config.election_timeout), offered));
        }
        self.rebuild_done(out);
        self.settle_in(alarm_stood, now, out);
    }

    /// A rewriting of a segment that is under way is of no use any more: the state it belongs to goes.
    pub(super) fn give_up_reclaim(&mut self) {
        if !self.space.reclaiming {
            return;
        }
        self.machine.store_mut().give_up_reclaim();
        if let Some(observer) = &self.config.observer {
            observer.notes("a rewriting met a new state");
        }
    }

    /// Tells those whose proposals lie in the state that was put in place, which does not say what became of them. Not at
    /// once: what is in the log behind it comes within a moment.
    pub(super) fn give_up_hidden(&mut self, now: Instant) {
        if let Some((_, hidden)) = self.snapshots.hidden.take_if(|(at, _)| *at <= now) {
            self.proposals.give_up(hidden);
        }
    }

    /// What goes with a state that took the place of another.
    pub(super) fn settle_in(&mut self, alarm_stood: bool, now: Instant, out: &mut Vec<Output<D>>) {
        // What was met in the history that went says nothing of this one.
        self.space.no_damage();
        self.views.clear();
        self.snapshots.forget_sent();
        self.collect_garbage(out);
        if std::mem::take(&mut self.space.reclaiming) {
            self.snapshots.stale_reclaims += 1;
        }
        let hub_now = self.hub_now();
        self.watches.restored(hub_now);
        self.rare_changed = true;
        self.members_changed = true;
        // What disarmed it may lie between the state that went and this one.
        if alarm_stood && !self.space_alarm_stands() {
            self.space.disarmed(now);
        }
        self.tell_auth();
        self.tell_facts();
        self.space_alarm_settled();
    }

    /// A state that arrived is of no use.
    pub(super) fn discard(&mut self, image: Image, out: &mut Vec<Output<D>>) {
        self.space.removing += 1;
        out.push(Output::Discard(Box::new(image)));
    }

    /// What an input brought to light and ends the member.
    pub(super) fn take_wrong(&mut self) -> Result<(), Wrong> {
        self.wrong.take().map_or(Ok(()), Err)
    }
}
