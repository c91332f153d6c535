//! Proposals on their way: collected, proposed in one step, answered when applied.

use std::collections::VecDeque;

use bytes::Bytes;
use fxhash::FxHashMap;

use super::input::{Proposed, Reply};
use crate::base::{LogIndex, Refusal, Term, limits};
use crate::consensus::Group;
use crate::env::Instant;
use crate::machine::Applied;

type Waiting = Reply<Result<Proposed, Refusal>>;

/// Proposals that wait to be proposed, and those that wait to be applied.
///
/// One that is proposed and not applied in time is answered with a time-out: its outcome is unknown to the
/// asker, and it may still be applied.
#[derive(Default)]
pub(super) struct Proposals {
    fresh: VecDeque<(u64, Bytes)>,
    waiting: FxHashMap<u64, (Waiting, usize)>,
    /// Deadlines in the order they were given; ids answered meanwhile are passed over.
    deadlines: VecDeque<(Instant, u64)>,
    bytes: usize,
}

impl Proposals {
    /// Takes a proposal in, or refuses it where too many wait.
    pub(super) fn add(&mut self, id: u64, payload: Bytes, deadline: Instant, reply: Waiting) {
        let full = self.waiting.len() >= limits::MAX_PENDING_REQUESTS
            || self.bytes + payload.len() > limits::MAX_PENDING_BYTES;
        if full || self.waiting.contains_key(&id) {
            return reply.send(Err(Refusal::TooManyRequests));
        }
        self.bytes += payload.len();
        self.waiting.insert(id, (reply, payload.len()));
        self.deadlines.push_back((deadline, id));
        self.fresh.push_back((id, payload));
    }

    /// A proposal of the node's own: nobody waits for it.
    pub(super) fn add_own(&mut self, id: u64, payload: Bytes) {
        self.fresh.push_back((id, payload));
    }

    /// Proposes what was collected, as much as one batch of the log may hold, and at least one; whether any is
    /// left. The raft crate hands all it was given to the log at once: the bound must be kept here.
    ///
    /// Where it is refused none of it has reached a log, and it is answered so; what was proposed before keeps
    /// waiting, for its outcome is open.
    pub(super) fn propose(&mut self, group: &mut Group) -> bool {
        let mut bytes = 0;
        let fits = self.fresh.iter().take_while(|(_, payload)| {
            bytes += payload.len();
            bytes <= limits::MAX_BATCH_BYTES
        });
        let count = fits.count().max(1).min(self.fresh.len());
        if count == 0 {
            return false;
        }
        let payloads = self.fresh.iter().take(count).map(|(_, payload)| payload.clone());
        let refused = group.propose(payloads).err();
        for (id, _) in self.fresh.drain(..count) {
            let Some(refusal) = &refused else { continue };
            if let Some((reply, bytes)) = self.waiting.remove(&id) {
                self.bytes -= bytes;
                reply.send(Err(refusal.clone()));
            }
        }
        !self.fresh.is_empty()
    }

    /// Answers whoever waits for this proposal.
    pub(super) fn applied(&mut self, id: u64, index: LogIndex, term: Term, applied: Applied) {
        let Some((reply, bytes)) = self.waiting.remove(&id) else { return };
        self.bytes -= bytes;
        let revision = applied.revision;
        reply.send(applied.answer.map(|answer| Proposed { answer, revision, term, index }));
    }

    /// Answers those whose time is up.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((deadline, id)) = self.deadlines.front().copied() {
            if deadline > now && self.waiting.contains_key(&id) {
                break;
            }
            self.deadlines.pop_front();
            if let Some((reply, bytes)) = self.waiting.remove(&id) {
                self.bytes -= bytes;
                reply.send(Err(Refusal::Timeout));
            }
        }
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}
