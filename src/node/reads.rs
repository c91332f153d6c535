//! Linearizable questions: one read-index round for all that wait, then an answer.
//!
//! A view is asked for on any member. Questions of leases are asked this way, too, so that one who was deposed and does not
//! know it yet answers nothing.

use super::input::{LeaseQuestion, Reply};
use crate::base::{LogIndex, Refusal, limits};
use crate::consensus::{ConfirmedRead, Group};
use crate::env::{Disk, Instant};
use crate::mvcc::View;

/// Who waits for a round.
pub(super) enum Question<D: Disk> {
    View(Reply<Result<View<D>, Refusal>>),
    Lease(LeaseQuestion),
}

impl<D: Disk> Question<D> {
    fn refuse(self, refusal: Refusal) {
        match self {
            Self::View(reply) => reply.send(Err(refusal)),
            Self::Lease(question) => question.refuse(refusal),
        }
    }
}

/// Questions with the moment at which each was asked.
type Questions<D> = Vec<(Instant, Question<D>)>;

/// Questions that wait for a round, the round under way, and those confirmed at an index not yet applied.
pub(super) struct ReadQueue<D: Disk> {
    fresh: Questions<D>,
    /// At most one round is under way; a new one starts when it is confirmed or given up.
    round: Option<Round<D>>,
    confirmed: Vec<(LogIndex, Questions<D>)>,
    /// Attempts so far: each round has its own, or a late answer to an old one could confirm a stale read.
    attempts: u64,
}

struct Round<D: Disk> {
    attempt: u64,
    retry_at: Instant,
    questions: Questions<D>,
}

impl<D: Disk> ReadQueue<D> {
    pub(super) fn new() -> Self {
        Self { fresh: Vec::new(), round: None, confirmed: Vec::new(), attempts: 0 }
    }

    /// Takes a question in, or refuses it where too many wait.
    pub(super) fn add(&mut self, now: Instant, question: Question<D>) {
        if self.len() >= limits::MAX_PENDING_READS {
            return question.refuse(Refusal::TooManyRequests);
        }
        self.fresh.push((now, question));
    }

    /// Starts a round where questions wait and none is under way, or gives up one that was not answered: before
    /// the first commit of a term the group drops the question silently.
    pub(super) fn ask(&mut self, group: &mut Group, now: Instant, retry_at: Instant) {
        match &mut self.round {
            Some(round) if now < round.retry_at => return,
            Some(round) => {
                self.attempts += 1;
                round.attempt = self.attempts;
                round.retry_at = retry_at;
                round.questions.append(&mut self.fresh);
            }
            None if self.fresh.is_empty() => return,
            None => {
                self.attempts += 1;
                let questions = std::mem::take(&mut self.fresh);
                self.round = Some(Round { attempt: self.attempts, retry_at, questions });
            }
        }
        group.read_index(self.attempts);
    }

    /// The leader is another, or the term has its first commit: a question that may have been dropped is asked again
    /// at once.
    pub(super) fn ask_again(&mut self) {
        if let Some(round) = &mut self.round {
            round.retry_at = Instant::default();
        }
    }

    /// A round was confirmed. One given up meanwhile confirms nothing.
    pub(super) fn confirmed(&mut self, read: &ConfirmedRead) {
        if let Some(round) = self.round.take_if(|round| round.attempt == read.attempt) {
            self.confirmed.push((read.index, round.questions));
        }
    }

    /// Serves the views whose index is applied; the questions of leases among them are given back to be answered, but for those
    /// of which `waits` says so.
    pub(super) fn serve(
        &mut self,
        applied: LogIndex,
        view: impl Fn() -> View<D>,
        waits: impl Fn(&LeaseQuestion) -> bool,
    ) -> Vec<(Instant, LeaseQuestion)> {
        let (mut leases, mut waiting) = (Vec::new(), Vec::new());
        if self.confirmed.iter().all(|(index, _)| *index > applied) {
            return leases;
        }
        let mut taken = None;
        for (_, questions) in self.confirmed.extract_if(.., |(index, _)| *index <= applied) {
            for (asked, question) in questions {
                match question {
                    Question::View(reply) => reply.send(Ok(taken.get_or_insert_with(&view).clone())),
                    Question::Lease(question) if waits(&question) => waiting.push((asked, Question::Lease(question))),
                    Question::Lease(question) => leases.push((asked, question)),
                }
            }
        }
        if !waiting.is_empty() {
            self.confirmed.push((applied, waiting));
        }
        leases
    }

    /// A question that needs no round waits as one that is confirmed at `index`, or is refused where too many wait.
    pub(super) fn wait(&mut self, now: Instant, index: LogIndex, question: LeaseQuestion) {
        if self.len() >= limits::MAX_PENDING_READS {
            return question.refuse(Refusal::TooManyRequests);
        }
        self.confirmed.push((index, vec![(now, Question::Lease(question))]));
    }

    /// Refuses those who asked at or before `until`, but for those who wait for an entry up to `spared`; `why` is told when each
    /// asked.
    pub(super) fn expire(&mut self, until: Instant, spared: Option<LogIndex>, why: impl Fn(Instant) -> Refusal) {
        let late = |questions: &mut Questions<D>| {
            for (asked, question) in questions.extract_if(.., |(asked, _)| *asked <= until) {
                question.refuse(why(asked));
            }
        };
        late(&mut self.fresh);
        if let Some(round) = &mut self.round {
            late(&mut round.questions);
        }
        let confirmed = self.confirmed.iter_mut();
        confirmed.filter(|(index, _)| spared < Some(*index)).for_each(|(_, questions)| late(questions));
        self.confirmed.retain(|(_, questions)| !questions.is_empty());
    }

    /// Whether questions wait for a round and none is under way, or the one under way is to be asked again now.
    pub(super) fn waits_to_ask(&self) -> bool {
        match &self.round {
            None => !self.fresh.is_empty(),
            Some(round) => round.retry_at == Instant::default(),
        }
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.fresh.len()
            + self.round.as_ref().map_or(0, |round| round.questions.len())
            + self.confirmed.iter().map(|(_, questions)| questions.len()).sum::<usize>()
    }
}
