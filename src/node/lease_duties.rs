//! What the member on duty does for leases by itself: ends those that fell due, and writes down what long ones have left.

use std::sync::atomic::Ordering::Relaxed;

use super::input::Reply;
use super::lease_clock::Renewal;
use super::node::Node;
use super::proposals::OwnProposal;
use crate::base::{LeaseId, LogIndex, Refusal, Term, limits};
use crate::env::{Disk, Instant};
use crate::machine::{AlarmKind, Command, Expiry, Remainder};

impl<D: Disk> Node<D> {
    /// Looks at the clock, where that is this member's to do.
    pub(super) fn count_leases(&mut self, now: Instant) {
        if self.is_held_up() {
            // Among those held up may be who renews what is due.
            self.hold_up.tick(now);
        } else if let Some(term) = self.roles.duty_term() {
            self.end_due_leases(term, now);
            self.write_remainders(term, now);
        }
    }

    /// More leases fell due than may be under way: as soon as some of those have ended the next ones are named, and not a tick
    /// later, or so many a tick were all that ever end.
    pub(super) fn end_more_leases(&mut self, now: Instant) {
        if self.wants_to_end_leases() {
            self.more_leases_due = false;
            if let Some(term) = self.roles.duty_term() {
                self.end_due_leases(term, now);
            }
        }
    }

    /// Whether more of those that are due may be ended now.
    pub(super) fn wants_to_end_leases(&self) -> bool {
        self.more_leases_due
            && !self.is_held_up()
            && self.lease_clock.in_flight() <= limits::MAX_REVOCATIONS_IN_FLIGHT / 2
    }

    fn end_due_leases(&mut self, term: Term, now: Instant) {
        self.more_leases_due = false;
        // Under a corruption alarm every revocation would be refused, for ever.
        if !self.facts.has_alarm(AlarmKind::Corrupt) {
            let room = limits::MAX_REVOCATIONS_IN_FLIGHT.saturating_sub(self.lease_clock.in_flight());
            let due = self.lease_clock.due(now, room);
            self.more_leases_due = due.len() == room;
            for id in due {
                let expiry = Expiry { granted_at: self.granted_at(id), term };
                let command = Command::LeaseRevoke { id, expiry: Some(expiry) };
                self.propose_own(&command, OwnProposal::Revoke(id), now);
                self.facts.expired_leases.fetch_add(1, Relaxed);
            }
        }
    }

    fn write_remainders(&mut self, term: Term, now: Instant) {
        let named = self.lease_clock.remainders(now, limits::LEASES_PER_CHECKPOINT);
        if !named.is_empty() {
            let remainder = |(id, seconds)| Remainder { id, seconds, granted_at: self.granted_at(id) };
            let remainders: Vec<Remainder> = named.into_iter().map(remainder).collect();
            self.facts.lease_checkpoints.fetch_add(remainders.len() as u64, Relaxed);
            let command = Command::LeaseCheckpoint { remainders, counted_in: Some(term) };
            self.propose_own(&command, OwnProposal::Remainders, now);
        }
    }

    /// Which entry granted a lease that is on the clock.
    fn granted_at(&self, id: LeaseId) -> LogIndex {
        // The clock and the table change with the same entries.
        self.machine.leases().get(id).expect("a lease on the clock is in the table").granted_at
    }

    /// Renews a lease, and answers when that is sure to be remembered. It counts from `asked`.
    pub(super) fn renew_lease(
        &mut self,
        id: LeaseId,
        reply: Reply<Result<Option<i64>, Refusal>>,
        (asked, now): (Instant, Instant),
    ) {
        match self.lease_clock.renew(id, asked, now) {
            Renewal::Gone => reply.send(Ok(None)),
            Renewal::Told(ttl) => reply.send(Ok(Some(ttl))),
            Renewal::Forgetting(ttl) => self.renewals.add(id, ttl, reply),
            Renewal::Forget(ttl) => {
                self.renewals.add(id, ttl, reply);
                let term = self.roles.duty_term().expect("only the member on duty renews");
                let remainders = vec![Remainder { id, seconds: 0, granted_at: self.granted_at(id) }];
                let command = Command::LeaseCheckpoint { remainders, counted_in: Some(term) };
                self.propose_own(&command, OwnProposal::Forget(id), now);
            }
        }
    }

    /// Remainders were applied.
    pub(super) fn remainders_applied(&mut self, remainders: &[Remainder], counted_in: Option<Term>) {
        if counted_in.is_some() && counted_in == self.roles.duty_term() {
            for it in remainders.iter().filter(|it| it.seconds == 0) {
                let same = self.machine.leases().get(it.id).is_some_and(|lease| lease.granted_at == it.granted_at);
                if same {
                    self.lease_clock.forgotten(it.id);
                    self.renewals.tell(it.id);
                }
            }
        }
    }

    /// What was to forget a remainder came to nothing, or may have.
    pub(super) fn renewal_came_to_nothing(&mut self, id: LeaseId) {
        self.lease_clock.not_forgotten(id);
        self.renewals.refuse(id, &Refusal::Timeout);
    }

    /// The lease is gone.
    pub(super) fn lease_ended(&mut self, id: LeaseId) {
        self.lease_clock.forget(id);
        self.renewals.gone(id);
    }
}
