//! Renewals of leases that hold, and wait until the log has forgotten what their lease had left.
//!
//! Told before, a change of leader could shorten them: the next leader would count from the remainder.

use std::collections::BTreeMap;

use super::input::Reply;
use crate::base::{LeaseId, Refusal, limits};

type Waiting = Reply<Result<Option<i64>, Refusal>>;

/// Who waits, by lease.
#[derive(Debug, Default)]
pub(super) struct Renewals {
    waiting: BTreeMap<LeaseId, Vec<(i64, Waiting)>>,
    count: usize,
}

impl Renewals {
    /// One waits to be told that its lease lives for `ttl` seconds; refused where too many wait.
    pub(super) fn add(&mut self, id: LeaseId, ttl: i64, reply: Waiting) {
        if self.count >= limits::MAX_PENDING_READS {
            return reply.send(Err(Refusal::TooManyRequests));
        }
        self.count += 1;
        self.waiting.entry(id).or_default().push((ttl, reply));
    }

    /// The lease lives, and nothing in the log says less.
    pub(super) fn tell(&mut self, id: LeaseId) {
        self.take(id).for_each(|(ttl, reply)| reply.send(Ok(Some(ttl))));
    }

    /// The lease is gone.
    pub(super) fn gone(&mut self, id: LeaseId) {
        self.take(id).for_each(|(_, reply)| reply.send(Ok(None)));
    }

    /// Whether the renewal will be remembered is not known.
    pub(super) fn refuse(&mut self, id: LeaseId, refusal: &Refusal) {
        self.take(id).for_each(|(_, reply)| reply.send(Err(refusal.clone())));
    }

    pub(super) fn refuse_all(&mut self, refusal: &Refusal) {
        while let Some(id) = self.waiting.keys().next().copied() {
            self.refuse(id, refusal);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn take(&mut self, id: LeaseId) -> impl Iterator<Item = (i64, Waiting)> + use<> {
        let waiting = self.waiting.remove(&id).unwrap_or_default();
        self.count -= waiting.len();
        waiting.into_iter()
    }
}
