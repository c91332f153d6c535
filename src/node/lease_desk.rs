//! Questions of leases: of times, which the member on duty answers from its clock, and of what leases there are, which every
//! member answers from its machine.
//!
//! Where others vote, too, each answers only once a round has confirmed who leads: one who was deposed and does not know it
//! yet would promise a life that its successor does not know of, and tell of what is gone. Who asks for the keys of a lease, or for
//! rights over them, waits while a command is carried out in slices, which takes keys off their leases one by one.

use super::input::{LeaseAccess, LeaseKeys, LeaseQuestion, LeaseStanding, Reply};
use super::node::Node;
use super::reads::Question;
use crate::auth::Asker;
use crate::base::{LeaseId, Refusal};
use crate::env::{Disk, Instant};
use crate::lease::{KeySet, Lease};

impl<D: Disk> Node<D> {
    pub(super) fn lease_question(&mut self, question: LeaseQuestion, now: Instant) {
        if self.stopping {
            question.refuse(Refusal::Stopped);
        } else if question.is_of_times() && !self.roles.on_duty() {
            question.refuse(Refusal::NotLeader);
        } else if matches!(question, LeaseQuestion::Grant { .. }) {
            self.answer_lease_question(question, now, now);
        } else if self.group.is_lone_voter()
            && self.roles.on_duty()
            && !(question.is_of_keys() && self.machine.is_under_way())
        {
            // Before it is on duty it may not have applied yet what an earlier start of it acknowledged.
            self.answer_lease_question(question, now, now);
        } else {
            self.reads.add(now, Question::Lease(question));
        }
    }

    /// Whether the asker may do that with leases: any member knows.
    pub(super) fn rights_question(
        &mut self,
        asker: Option<Asker>,
        access: LeaseAccess,
        reply: Reply<Result<(), Refusal>>,
        now: Instant,
    ) {
        if self.machine.is_under_way() {
            let at = self.counters.last_applied();
            self.reads.wait(now, at, LeaseQuestion::Rights { asker, access, reply });
        } else {
            reply.send(self.check_leases(asker.as_ref(), access));
        }
    }

    /// Answers a question whose round is confirmed.
    pub(super) fn answer_lease_question(&mut self, question: LeaseQuestion, asked: Instant, now: Instant) {
        let on_duty = self.roles.on_duty();
        if question.is_of_times() && !on_duty {
            return question.refuse(Refusal::NotLeader);
        }
        match question {
            LeaseQuestion::KeepAlive { id, reply } => self.renew_lease(id, reply, (asked, now)),
            LeaseQuestion::Keys { id, reply } => {
                let lease = self.machine.leases().get(id);
                let keys =
                    |lease: Lease| LeaseKeys { granted_at: lease.granted_at, keys: self.machine.leases().key_set(id) };
                reply.send(Ok(lease.map(keys)));
            }
            LeaseQuestion::Grant { id, reply } => {
                reply.send(Ok(self.machine.leases().get(id).map(|lease| lease.granted_at)));
            }
            LeaseQuestion::Rights { asker, access, reply } => reply.send(self.check_leases(asker.as_ref(), access)),
            // Before the duties are taken up the clock knows none of the leases there are.
            LeaseQuestion::Leases { reply } if on_duty => reply.send(Ok(self.lease_clock.ids_by_remaining())),
            LeaseQuestion::Leases { reply } => reply.send(Ok(self.machine.leases().ids().collect())),
            LeaseQuestion::TimeToLive { id, keys, reply } => reply.send(Ok(self.lease_standing(id, keys, now))),
        }
    }

    fn lease_standing(&self, id: LeaseId, keys: bool, now: Instant) -> Option<LeaseStanding> {
        let (lease, left) = (self.machine.leases().get(id)?, self.lease_clock.remaining(id, now)?);
        let keys = if keys { self.machine.leases().key_set(id) } else { KeySet::default() };
        let ttl = i64::try_from(left.as_secs()).unwrap_or(i64::MAX);
        Some(LeaseStanding { granted_ttl: lease.ttl, ttl, keys })
    }
}
