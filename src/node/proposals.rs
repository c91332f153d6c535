//! Proposals on their way: collected, proposed in one step, answered when applied.

use std::collections::VecDeque;

use bytes::Bytes;
use fxhash::{FxHashMap, FxHashSet};

use super::fair_queue::{Batch, FairQueue, Waiting};
use super::input::{Proposed, Reply};
use super::stages::Stages;
use crate::base::{LeaseId, LogIndex, Refusal, Term, limits};
use crate::consensus::{ConfChange, Group, Role};
use crate::env::Instant;
use crate::machine::{Answer, Applied};

type Answered = Reply<Result<Proposed, Refusal>>;

/// What the node proposed of its own accord, for whoever must know when it came to nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum OwnProposal {
    /// A lease that fell due is to end.
    Revoke(LeaseId),
    /// What leases have left is written down.
    Remainders,
    /// What a lease had left is forgotten, because it was renewed.
    Forget(LeaseId),
    /// History up to this revision is compacted by itself.
    Compact(i64),
    /// The quota is used up.
    SpaceAlarm,
    /// The history here is damaged, and nobody else has it.
    DamageAlarm,
    /// The cluster is told this member's name.
    Attributes,
    /// The cluster agrees on a version.
    Version,
    /// The state here was rebuilt: the alarm that named this member is over.
    Rebuilt,
}

enum Asker {
    Client(Answered),
    Node(OwnProposal),
}

struct Pending {
    asker: Asker,
    bytes: usize,
    asked: Instant,
    /// The window in which it was passed on, where it was.
    window: Option<u64>,
}

/// What was passed on to a leader and is not applied here. What is lost with a leader is another window's.
#[derive(Default)]
struct Window {
    number: u64,
    term: Term,
    entries: usize,
    bytes: usize,
    /// Ticks since one of them was applied.
    stuck: u64,
}

impl Window {
    fn begin(&mut self, term: Term) {
        *self = Self { number: self.number + 1, term, ..Self::default() };
    }

    fn has_room(&self) -> bool {
        self.entries < limits::MAX_PASSED_ON_UNDER_WAY && self.bytes < limits::MAX_PASSED_ON_BYTES_UNDER_WAY
    }
}

/// Clients' writes that were answered, and for how long they had waited, in all.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Waits {
    pub(super) writes: u64,
    pub(super) micros: u64,
}

/// Proposals that wait to be proposed, and those that wait to be applied.
///
/// One that is not applied in time is answered with a time-out: its outcome is unknown to the asker, and it may still
/// be applied. While there is no leader, or the leadership is being handed over, proposals wait.
#[derive(Default)]
pub(super) struct Proposals {
    fresh: FairQueue,
    window: Window,
    changes: VecDeque<(u64, ConfChange)>,
    pending: FxHashMap<u64, Pending>,
    /// When each was asked, in that order; ids answered meanwhile are passed over.
    asked: VecDeque<(Instant, u64)>,
    bytes: usize,
    clients: usize,
    /// The node's own that came to nothing, or may have.
    lost: Vec<OwnProposal>,
    waits: Waits,
    /// Changes of the configuration that were made last, whoever proposed them.
    changes_made: VecDeque<(u64, Proposed)>,
}

impl Proposals {
    /// Takes a client's proposal in, that was handed over at `since`, or refuses it where too many wait.
    pub(super) fn add(&mut self, id: u64, payload: Bytes, (since, now): (Instant, Instant), reply: Answered) {
        let (bytes, urgent) = (payload.len(), reply.is_urgent());
        let waiting = Waiting { id, payload, account: reply.account(), since: Some(since) };
        if self.wait_for(id, bytes, now, reply) {
            if urgent { self.fresh.add_urgent(waiting) } else { self.fresh.add(waiting) }
        }
    }

    /// Takes a change of the configuration in. One that waits already is asked for again, because the first answer found no
    /// way: who asked first has gone away.
    pub(super) fn add_change(&mut self, change: ConfChange, now: Instant, reply: Answered) {
        if let Some(Pending { asker, .. }) = self.pending.get_mut(&change.id) {
            *asker = Asker::Client(reply);
            return;
        }
        if self.wait_for(change.id, change.context.len(), now, reply) {
            self.changes.push_back((change.id, change));
        }
    }

    /// Who shares what how is settled where it is asked (`base/account.rs`); here is what holds for all that is taken in.
    fn wait_for(&mut self, id: u64, bytes: usize, now: Instant, reply: Answered) -> bool {
        let full = self.clients >= limits::MAX_PENDING_REQUESTS + limits::MAX_URGENT_REQUESTS
            || self.bytes + bytes > limits::MAX_PENDING_BYTES + limits::MAX_URGENT_BYTES;
        if full || self.pending.contains_key(&id) {
            reply.send(Err(Refusal::TooManyRequests));
            return false;
        }
        self.bytes += bytes;
        self.clients += 1;
        self.pending.insert(id, Pending { asker: Asker::Client(reply), bytes, asked: now, window: None });
        self.asked.push_back((now, id));
        true
    }

    /// A proposal of the node's own. That it came to nothing is told by [`Proposals::take_lost`].
    pub(super) fn add_own(&mut self, id: u64, payload: Bytes, now: Instant, own: OwnProposal) {
        self.pending.insert(id, Pending { asker: Asker::Node(own), bytes: 0, asked: now, window: None });
        self.asked.push_back((now, id));
        self.fresh.add_urgent(Waiting { id, payload, account: 0, since: None });
    }

    /// Proposes what was collected, as much as one batch of the log may hold, and at least one; whether more should
    /// follow at once. The raft crate hands all it was given to the log at once: the bound must be kept here.
    ///
    /// Where it is refused none of it has reached a log, and it is answered so; what was proposed before keeps
    /// waiting, for its outcome is open.
    pub(super) fn propose(&mut self, group: &mut Group, now: Instant, stages: &Stages) -> bool {
        if !group.takes_proposals() {
            return false;
        }
        self.propose_change(group);
        if self.fresh.is_empty() || !self.may_pass_on(group) {
            return false;
        }
        let batch = self.fresh.take(Batch::WHOLE);
        let standing = group.standing();
        if standing.role != Role::Leader {
            batch.iter().for_each(|waiting| self.passed_on(waiting, standing.term));
        }
        let stood: Vec<_> = batch.iter().map(|waiting| (waiting.id, waiting.since)).collect();
        let refused = group.propose(batch.into_iter().map(|waiting| waiting.payload)).err();
        for (id, since) in stood {
            match (&refused, since) {
                (Some(refusal), _) => self.refuse(id, refusal.clone()),
                (None, Some(since)) => stages.queue.took(now.since(since)),
                (None, None) => {}
            }
        }
        !self.fresh.is_empty()
    }

    /// A leader's log is held back elsewhere. Who passes on keeps what would only wait at the leader.
    fn may_pass_on(&self, group: &Group) -> bool {
        let standing = group.standing();
        standing.role == Role::Leader || standing.term != self.window.term || self.window.has_room()
    }

    fn passed_on(&mut self, waiting: &Waiting, term: Term) {
        if self.window.term != term {
            self.window.begin(term);
        }
        if let Some(pending) = self.pending.get_mut(&waiting.id) {
            pending.window = Some(self.window.number);
            self.window.entries += 1;
            self.window.bytes += pending.bytes;
        }
    }

    /// A tick has passed. What was passed on and not heard of again for `a_while`, in ticks, may have been lost: it stands in
    /// nobody's way any more.
    pub(super) fn tick(&mut self, a_while: u64) {
        self.window.stuck += u64::from(self.window.entries > 0);
        if self.window.stuck >= a_while {
            self.window.begin(self.window.term);
        }
    }

    /// One change at a time: the next waits until the one before is applied. A follower cannot know, and passes it
    /// on; should the leader have another under way, this one comes to nothing and times out, as in etcd.
    fn propose_change(&mut self, group: &mut Group) {
        let leads = group.standing().role == Role::Leader;
        if self.changes.is_empty() || (leads && group.has_pending_change()) {
            return;
        }
        let Some((id, change)) = self.changes.pop_front() else { return };
        if let Err(refusal) = group.propose_change(&change) {
            self.refuse(id, refusal);
        }
    }

    fn take(&mut self, id: u64) -> Option<(Asker, Instant)> {
        let Pending { asker, bytes, asked, window } = self.pending.remove(&id)?;
        self.bytes -= bytes;
        if window == Some(self.window.number) {
            self.window.entries -= 1;
            self.window.bytes -= bytes;
            self.window.stuck = 0;
        }
        if let Asker::Client(_) = asker {
            self.clients -= 1;
        }
        Some((asker, asked))
    }

    /// How long writes have waited, of all those that were answered since the start.
    pub(super) fn waits(&self) -> Waits {
        self.waits
    }

    fn refuse(&mut self, id: u64, refusal: Refusal) {
        match self.take(id) {
            Some((Asker::Client(reply), _)) => reply.send(Err(refusal)),
            Some((Asker::Node(own), _)) => self.lost.push(own),
            None => {}
        }
    }

    /// Answers whoever waits for this proposal, in the turn that began `now`; where that is the node itself, with what it was
    /// and the answer.
    pub(super) fn applied(
        &mut self,
        id: u64,
        (index, term): (LogIndex, Term),
        applied: Applied,
        now: Instant,
    ) -> Option<(OwnProposal, Result<Answer, Refusal>)> {
        match self.take(id)? {
            (Asker::Client(reply), asked) => {
                self.waits.writes += 1;
                self.waits.micros += u64::try_from(now.since(asked).as_micros()).unwrap_or(0);
                let revision = applied.revision;
                reply.send(applied.answer.map(|answer| Proposed { answer, revision, term, index, turn: now }));
                None
            }
            (Asker::Node(own), _) => Some((own, applied.answer)),
        }
    }

    /// As [`Proposals::applied`], of a change of the configuration. One that was made is remembered.
    pub(super) fn change_applied(&mut self, id: u64, at: (LogIndex, Term), applied: Applied, now: Instant) {
        if let Ok(answer) = &applied.answer {
            let (index, term) = at;
            let made = Proposed { answer: answer.clone(), revision: applied.revision, term, index, turn: now };
            self.changes_made.truncate(limits::CHANGES_REMEMBERED - 1);
            self.changes_made.push_front((id, made));
        }
        self.applied(id, at, applied, now);
    }

    /// The change of this id, if it was made lately, here or by another leader.
    pub(super) fn change_made(&self, id: u64) -> Option<Proposed> {
        self.changes_made.iter().find(|(made, _)| *made == id).map(|(_, made)| made.clone())
    }

    /// Those that were handed on and are not applied here.
    pub(super) fn on_their_way(&self) -> Vec<u64> {
        let waiting: FxHashSet<u64> = self.fresh.ids().chain(self.changes.iter().map(|(id, _)| *id)).collect();
        self.pending.keys().copied().filter(|id| !waiting.contains(id)).collect()
    }

    /// Answers those of these that still wait: what became of them will not be learned here.
    pub(super) fn give_up(&mut self, ids: impl IntoIterator<Item = u64>) {
        ids.into_iter().for_each(|id| self.refuse(id, Refusal::TimeoutConnectionLost));
    }

    /// Whether somebody may have asked at or before `until`.
    pub(super) fn may_expire(&self, until: Instant) -> bool {
        self.asked.front().is_some_and(|(asked, _)| *asked <= until)
    }

    /// Answers those who asked at or before `until`, but for `spared`; `why` is told when each asked.
    pub(super) fn expire(&mut self, until: Instant, spared: &FxHashSet<u64>, why: impl Fn(Instant) -> Refusal) {
        let (mut some, mut kept) = (false, Vec::new());
        while let Some((asked, id)) = self.asked.front().copied() {
            if asked > until && self.pending.contains_key(&id) {
                break;
            }
            self.asked.pop_front();
            if spared.contains(&id) && self.pending.contains_key(&id) {
                kept.push((asked, id));
            } else if self.pending.contains_key(&id) {
                self.refuse(id, why(asked));
                some = true;
                if self.changes.front().is_some_and(|(fresh, _)| *fresh == id) {
                    self.changes.pop_front();
                }
            }
        }
        kept.into_iter().rev().for_each(|it| self.asked.push_front(it));
        if some {
            // Never proposed, it is not proposed any more.
            self.fresh.retain(|id| self.pending.contains_key(&id));
        }
    }

    /// Whether something waits that the group would take now.
    pub(super) fn wants_turn(&self, group: &Group) -> bool {
        let change = !self.changes.is_empty() && !group.has_pending_change();
        (change || (!self.fresh.is_empty() && self.may_pass_on(group))) && group.takes_proposals()
    }

    /// The node's own proposals that came to nothing, or may have, since it was last asked.
    pub(super) fn take_lost(&mut self) -> Vec<OwnProposal> {
        std::mem::take(&mut self.lost)
    }

    /// Bytes of the clients' proposals.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many clients wait.
    pub(super) fn len(&self) -> usize {
        self.clients
    }
}
