//! Questions of leases: of times, which the member on duty answers from its clock, and of what leases there are, which every
//! member answers from its machine.
//!
//! Where others vote, too, each answers only once a round has confirmed who leads: one who was deposed and does not know it
//! yet would promise a life that its successor does not know of, and tell of what is gone. It waits, too, until what the round
//! confirmed is applied; a renewal does not where nothing of that can change its answer (decision 30).
//!
//! Who asks for the keys of a lease, or for rights over them, waits while a command is carried out in slices, which takes keys off
//! their leases one by one. Who wants to renew does not where it hangs none on: each right that is enough in its middle is at its end.

use super::input::{LeaseAccess, LeaseKeys, LeaseQuestion, LeaseStanding, Reply};
use super::node::{Node, fresh_view};
use super::reads::Question;
use crate::auth::Asker;
use crate::base::{LeaseId, LogIndex, Refusal};
use crate::env::{Disk, Instant};
use crate::lease::{KeySet, Lease};
use crate::machine::Machine;

impl<D: Disk> Node<D> {
    pub(super) fn lease_question(&mut self, question: LeaseQuestion, now: Instant) {
        if self.stopping {
            question.refuse(Refusal::Stopped);
        } else if question.is_of_times() && !self.roles.on_duty() {
            question.refuse(Refusal::NotLeader);
        } else if matches!(question, LeaseQuestion::Grant { .. }) {
            self.answer_lease_question(question, now, now);
        } else if self.group.is_alone() && self.roles.on_duty() && !is_blurred(&self.machine, &question) {
            // Before it is on duty it may not have applied yet what an earlier start of it acknowledged. A learner may be ahead of it.
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
        let question = LeaseQuestion::Rights { asker, access, reply };
        if is_blurred(&self.machine, &question) {
            self.reads.wait(now, self.counters.last_applied(), question);
        } else {
            self.answer_lease_question(question, now, now);
        }
    }

    /// Serves whose round is confirmed, as far as what is applied allows.
    pub(super) fn answer_confirmed(&mut self, now: Instant) {
        let (machine, views, on_duty) = (&self.machine, &self.views, self.roles.on_duty());
        let (committed, clock, applied) = (&self.committed, &self.lease_clock, self.counters.last_applied());
        let is_ripe = |index: LogIndex, asked: Instant, question: &LeaseQuestion| match question {
            question if index <= applied => !is_blurred(machine, question),
            LeaseQuestion::KeepAlive { id, .. } => {
                on_duty && committed.lets_live(*id, index) && clock.would_tell(*id, asked)
            }
            _ => false,
        };
        for (asked, question) in self.reads.serve(applied, || fresh_view(machine, views), is_ripe) {
            self.answer_lease_question(question, asked, now);
        }
    }

    /// Answers a question whose round is confirmed.
    fn answer_lease_question(&mut self, question: LeaseQuestion, asked: Instant, now: Instant) {
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

/// Whether a command under way has taken keys off leases, or hung them on, of which a question must not be answered before it is
/// done.
fn is_blurred<D: Disk>(machine: &Machine<D>, question: &LeaseQuestion) -> bool {
    match question {
        LeaseQuestion::Rights { access: LeaseAccess::Renew(_), .. } => machine.hangs_keys_on(),
        _ => question.is_of_keys() && machine.is_under_way(),
    }
}
