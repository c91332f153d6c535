//! Which proposals are taken in, and when those taken in are handed to the group.
//!
//! What would only come to nothing for the moment waits: there is no leader, or none that is heard, the leadership is
//! being handed over, or this member has still to apply what was committed while it was away. It waits as long as a
//! request may take. Refused is what has no room, and what time alone does not mend.

use super::node::Node;
use super::output::Output;
use crate::base::{Fund, Refusal, limits};
use crate::consensus::{MessageKind, PeerMessage, Role};
use crate::env::{Disk, Instant};
use crate::machine::Command;

impl<D: Disk> Node<D> {
    /// Whether a proposal may be taken in now.
    pub(super) fn admit(&mut self, cost: u64, now: Instant) -> Result<(), Refusal> {
        if self.stopping {
            return Err(Refusal::Stopped);
        }
        let store = self.machine.store();
        // What needs no room may be what gives some: it is taken in however little there is.
        if cost > 0 && store.unwritten_bytes() > limits::MAX_UNWRITTEN_HISTORY_BYTES {
            return Err(Refusal::TooManyRequests);
        }
        let quota = self.config.quota_bytes;
        let is_used_up = quota > 0 && store.size_bytes() + cost >= quota;
        if cost > 0 && (is_used_up || self.space.is_short()) {
            self.raise_space_alarm(now);
            return Err(Refusal::NoSpace);
        }
        Ok(())
    }

    /// Hands what waits to the group, a batch of the log at a time, where it would reach the leader.
    pub(super) fn propose_waiting(&mut self, now: Instant, out: &mut Vec<Output<D>>) {
        while self.takes_proposals()
            && let Some(message) = self.passed_on.pop()
        {
            // Looked at when it came: of what a proposal may be, nothing harms this member.
            let _ = self.group.step(message);
            self.rounds(out);
        }
        // A round for each batch: what is proposed together is handed to the log as one.
        while self.may_propose() && self.proposals.propose(&mut self.group, now, &self.facts.tallies.stages) {
            self.rounds(out);
        }
    }

    /// Has as much wait as is answered in time.
    pub(super) fn keep_pace(&mut self, now: Instant) {
        self.proposals.tick(self.config.ticks(limits::PASSED_ON_STUCK_MS).saturating_add(1));
        let waits = self.proposals.waits();
        if let Some(room) = self.pace.look(now, (waits.writes, waits.micros), self.proposals.len()) {
            self.facts.shares.make_room(Fund::Writes, room);
        }
    }

    /// Whether what waits would be handed on now.
    pub(super) fn wants_to_propose(&self) -> bool {
        let passed_on = !self.passed_on.is_empty() && self.takes_proposals();
        passed_on || (self.may_propose() && self.proposals.wants_turn(&self.group))
    }

    /// Whether an append finds no room: what is committed and not applied waits in memory. Its leader sends it again, and
    /// heartbeats tell how far it is meanwhile.
    pub(super) fn has_no_room(&self, message: &PeerMessage) -> bool {
        self.lacks_room() && message.kind() == MessageKind::Append
    }

    /// Whether so much waits to be applied that no append is taken in.
    ///
    /// A state that came and is not known to be committed here makes room once it is: a leader that had no answer of this member
    /// yet tells so by appends alone, and may need its answer to commit at all. They are taken in, which passes the bound by no more
    /// than a leader may have uncommitted.
    pub(super) fn lacks_room(&self) -> bool {
        self.committed.is_full() && !self.rebuild.awaits_commit()
    }

    /// A proposal of another's waits where this member would only drop it.
    pub(super) fn must_wait(&self, message: &PeerMessage) -> bool {
        message.kind() == MessageKind::Propose && !self.takes_proposals()
    }

    /// A leader that is far from having applied what is committed lets others' proposals wait as its own: what it proposes it
    /// commits, and holds until it is applied.
    fn takes_proposals(&self) -> bool {
        let is_swamped = self.committed.is_full() && self.group.standing().role == Role::Leader;
        self.group.takes_proposals() && self.reaches_leader() && !is_swamped
    }

    /// Whether what is passed on to the leader now may be hoped to arrive: what is lost on the way has an open outcome.
    fn reaches_leader(&self) -> bool {
        let standing = self.group.standing();
        standing.role == Role::Leader || standing.leader.is_some_and(|leader| self.contacts.is_known(leader))
    }

    /// Who has much to apply proposes nothing more until it has come nearer: its clients are slowed to its pace. While a
    /// batch of the leader's is being made durable, what comes gathers for the next.
    fn may_propose(&self) -> bool {
        let behind = self.group.standing().committed - self.counters.last_applied();
        let is_near = behind <= limits::MAX_APPLY_BACKLOG && !self.committed.is_full();
        self.reaches_leader() && is_near && !self.group.gathers()
    }
}

/// What a command is charged to.
pub fn fund_of(command: &Command) -> Fund {
    match command {
        Command::Put(_) | Command::DeleteRange(_) | Command::Txn(_) | Command::Auth(_) => Fund::Writes,
        Command::LeaseGrant { .. }
        | Command::LeaseRevoke { .. }
        | Command::LeaseCheckpoint { .. }
        | Command::Compact { .. }
        | Command::Alarm { .. }
        | Command::SetMemberAttributes { .. }
        | Command::SetClusterVersion(_)
        | Command::SetDowngrade(_) => Fund::Urgent,
    }
}
