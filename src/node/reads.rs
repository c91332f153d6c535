//! Linearizable reads: one read-index round for all that wait, then a view.

use super::input::Reply;
use crate::base::{LogIndex, Refusal, limits};
use crate::consensus::{ConfirmedRead, Group};
use crate::env::{Disk, Instant};
use crate::mvcc::View;

type Waiting<D> = Reply<Result<View<D>, Refusal>>;

/// Reads with the moment at which each is given up.
type Reads<D> = Vec<(Instant, Waiting<D>)>;

/// Reads that wait for a round, the rounds under way, and reads confirmed at an index not yet applied.
pub(super) struct ReadQueue<D: Disk> {
    fresh: Reads<D>,
    /// At most one round is under way; a new one starts when it is confirmed or given up.
    round: Option<Round<D>>,
    confirmed: Vec<(LogIndex, Reads<D>)>,
    /// Attempts so far: each round has its own, or a late answer to an old one could confirm a stale read.
    attempts: u64,
}

struct Round<D: Disk> {
    attempt: u64,
    retry_at: Instant,
    reads: Reads<D>,
}

impl<D: Disk> ReadQueue<D> {
    pub(super) fn new() -> Self {
        Self { fresh: Vec::new(), round: None, confirmed: Vec::new(), attempts: 0 }
    }

    /// Takes a read in, or refuses it where too many wait.
    pub(super) fn add(&mut self, deadline: Instant, reply: Waiting<D>) {
        if self.len() >= limits::MAX_PENDING_READS {
            return reply.send(Err(Refusal::TooManyRequests));
        }
        self.fresh.push((deadline, reply));
    }

    /// Starts a round where reads wait and none is under way, or gives up one that was not answered: before
    /// the first commit of a term the group drops the question silently.
    pub(super) fn ask(&mut self, group: &mut Group, now: Instant, retry_at: Instant) {
        match &mut self.round {
            Some(round) if now < round.retry_at => return,
            Some(round) => {
                self.attempts += 1;
                round.attempt = self.attempts;
                round.retry_at = retry_at;
                round.reads.append(&mut self.fresh);
            }
            None if self.fresh.is_empty() => return,
            None => {
                self.attempts += 1;
                let reads = std::mem::take(&mut self.fresh);
                self.round = Some(Round { attempt: self.attempts, retry_at, reads });
            }
        }
        group.read_index(self.attempts);
    }

    /// The term has its first commit: a question dropped before it is asked again at once.
    pub(super) fn ask_again(&mut self) {
        if let Some(round) = &mut self.round {
            round.retry_at = Instant::default();
        }
    }

    /// A round was confirmed. One given up meanwhile confirms nothing.
    pub(super) fn confirmed(&mut self, read: &ConfirmedRead) {
        if let Some(round) = self.round.take_if(|round| round.attempt == read.attempt) {
            self.confirmed.push((read.index, round.reads));
        }
    }

    /// Serves the reads whose index is applied.
    pub(super) fn serve(&mut self, applied: LogIndex, view: impl Fn() -> View<D>) {
        if self.confirmed.iter().all(|(index, _)| *index > applied) {
            return;
        }
        let view = view();
        for (_, reads) in self.confirmed.extract_if(.., |(index, _)| *index <= applied) {
            for (_, reply) in reads {
                reply.send(Ok(view.clone()));
            }
        }
    }

    /// Refuses those whose time is up.
    pub(super) fn expire(&mut self, now: Instant) {
        let late = |reads: &mut Reads<D>| {
            for (_, reply) in reads.extract_if(.., |(deadline, _)| *deadline <= now) {
                reply.send(Err(Refusal::Timeout));
            }
        };
        late(&mut self.fresh);
        if let Some(round) = &mut self.round {
            late(&mut round.reads);
        }
        self.confirmed.iter_mut().for_each(|(_, reads)| late(reads));
        self.confirmed.retain(|(_, reads)| !reads.is_empty());
    }

    /// Whether reads wait for a round and none is under way.
    pub(super) fn waits_to_ask(&self) -> bool {
        self.round.is_none() && !self.fresh.is_empty()
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.fresh.len()
            + self.round.as_ref().map_or(0, |round| round.reads.len())
            + self.confirmed.iter().map(|(_, reads)| reads.len()).sum::<usize>()
    }
}
