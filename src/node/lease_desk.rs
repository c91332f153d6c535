//! Questions of leases, which the member on duty answers from its clock.
//!
//! Where others vote, too, it answers only once a round has confirmed that it still leads: one who was deposed and does
//! not know it yet would promise a life that its successor does not know of. Who asks for the keys of a lease waits while a command
//! is carried out in slices, which takes keys off their leases one by one.

use super::input::{LeaseQuestion, LeaseStanding};
use super::node::Node;
use super::reads::Question;
use crate::base::{LeaseId, Refusal};
use crate::env::{Disk, Instant};

impl<D: Disk> Node<D> {
    pub(super) fn lease_question(&mut self, question: LeaseQuestion, now: Instant) {
        if self.stopping {
            question.refuse(Refusal::Stopped);
        } else if !self.roles.on_duty() {
            question.refuse(Refusal::NotLeader);
        } else if self.group.is_lone_voter() && !(question.is_of_keys() && self.is_carrying_out()) {
            self.answer_lease_question(question, now, now);
        } else {
            self.reads.add(now, Question::Lease(question));
        }
    }

    /// Answers a question whose round is confirmed.
    pub(super) fn answer_lease_question(&mut self, question: LeaseQuestion, asked: Instant, now: Instant) {
        if !self.roles.on_duty() {
            return question.refuse(Refusal::NotLeader);
        }
        match question {
            LeaseQuestion::KeepAlive { id, reply } => self.renew_lease(id, reply, (asked, now)),
            // Before the duties are taken up the clock knows none of the leases there are.
            LeaseQuestion::Leases { reply } => reply.send(Ok(self.lease_clock.ids_by_remaining())),
            LeaseQuestion::TimeToLive { id, keys, reply } => reply.send(Ok(self.lease_standing(id, keys, now))),
        }
    }

    fn lease_standing(&self, id: LeaseId, keys: bool, now: Instant) -> Option<LeaseStanding> {
        let (lease, left) = (self.machine.leases().get(id)?, self.lease_clock.remaining(id, now)?);
        let keys = if keys { self.machine.leases().keys(id).cloned().collect() } else { Vec::new() };
        let ttl = i64::try_from(left.as_secs()).unwrap_or(i64::MAX);
        Some(LeaseStanding { granted_ttl: lease.ttl, ttl, keys })
    }
}
