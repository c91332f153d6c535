//! Linearizable questions: one read-index round for all that wait, then an answer.
//!
//! A view is asked for on any member. Questions of leases are asked this way, too, so that one who was deposed and does not
//! know it yet answers nothing.

use std::sync::Arc;

use super::input::{LeaseQuestion, Reply};
use super::observer::Observer;
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
    /// Those of the round under way, each with the attempt that it was first asked by, in order. A new round starts when none is
    /// left.
    asked: Vec<(u64, Questions<D>)>,
    /// When the round under way is asked again.
    retry_at: Instant,
    confirmed: Vec<(LogIndex, Questions<D>)>,
    /// Attempts so far, of all rounds: an answer to one confirms what was asked by it or before it, however late it comes and
    /// whatever was asked since; what was asked after it, it knows nothing of.
    attempts: u64,
    observer: Option<Arc<dyn Observer>>,
}

impl<D: Disk> ReadQueue<D> {
    pub(super) fn new(observer: Option<Arc<dyn Observer>>) -> Self {
        Self {
            fresh: Vec::new(),
            asked: Vec::new(),
            retry_at: Instant::default(),
            confirmed: Vec::new(),
            attempts: 0,
            observer,
        }
    }

    /// Takes a question in, or refuses it where too many wait.
    pub(super) fn add(&mut self, now: Instant, question: Question<D>) {
        if self.len() >= limits::MAX_PENDING_READS {
            return question.refuse(Refusal::TooManyRequests);
        }
        self.fresh.push((now, question));
        if let Some(observer) = &self.observer {
            observer.asks(now);
        }
    }

    /// Starts a round where questions wait and none is under way, or asks again for one that was not answered: before
    /// the first commit of a term the group drops the question silently. What waits meanwhile goes along.
    pub(super) fn ask(&mut self, group: &mut Group, now: Instant, retry_at: Instant) {
        if let Some(attempt) = self.next_attempt(now, retry_at) {
            group.read_index(attempt);
        }
    }

    fn next_attempt(&mut self, now: Instant, retry_at: Instant) -> Option<u64> {
        let under_way = !self.asked.is_empty();
        if (under_way && now < self.retry_at) || (!under_way && self.fresh.is_empty()) {
            return None;
        }
        self.attempts += 1;
        self.retry_at = retry_at;
        if !self.fresh.is_empty() {
            self.asked.push((self.attempts, std::mem::take(&mut self.fresh)));
        }
        Some(self.attempts)
    }

    /// The leader is another, or the term has its first commit: a question that may have been dropped is asked again
    /// at once.
    pub(super) fn ask_again(&mut self) {
        self.retry_at = Instant::default();
    }

    /// An attempt was confirmed: the answer is to all that was asked by it or before it, and may come after others were made.
    pub(super) fn confirmed(&mut self, read: &ConfirmedRead) {
        let answered = self.asked.partition_point(|(attempt, _)| *attempt <= read.attempt);
        for (_, questions) in self.asked.drain(..answered) {
            if let Some(observer) = &self.observer
                && let Some((newest, _)) = questions.iter().max_by_key(|(asked, _)| *asked)
            {
                observer.confirms(read.index, *newest);
            }
            self.confirmed.push((read.index, questions));
        }
    }

    /// Serves the views whose index is applied. The questions of leases of which `is_ripe` says so, told what was confirmed and when
    /// each was asked, are given back to be answered.
    pub(super) fn serve(
        &mut self,
        applied: LogIndex,
        view: impl Fn() -> View<D>,
        is_ripe: impl Fn(LogIndex, Instant, &LeaseQuestion) -> bool,
    ) -> Vec<(Instant, LeaseQuestion)> {
        let (mut leases, mut taken) = (Vec::new(), None);
        for (index, questions) in &mut self.confirmed {
            let served = |(asked, question): &mut (Instant, Question<D>)| match question {
                Question::View(_) => *index <= applied,
                Question::Lease(question) => is_ripe(*index, *asked, question),
            };
            for (asked, question) in questions.extract_if(.., served) {
                match question {
                    Question::View(reply) => reply.send(Ok(taken.get_or_insert_with(&view).clone())),
                    Question::Lease(question) => leases.push((asked, question)),
                }
            }
        }
        self.confirmed.retain(|(_, questions)| !questions.is_empty());
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
        self.asked.iter_mut().for_each(|(_, questions)| late(questions));
        self.asked.retain(|(_, questions)| !questions.is_empty());
        let confirmed = self.confirmed.iter_mut();
        confirmed.filter(|(index, _)| spared < Some(*index)).for_each(|(_, questions)| late(questions));
        self.confirmed.retain(|(_, questions)| !questions.is_empty());
    }

    /// Whether questions wait for a round and none is under way, or the one under way is to be asked again now.
    pub(super) fn waits_to_ask(&self) -> bool {
        if self.asked.is_empty() { !self.fresh.is_empty() } else { self.retry_at == Instant::default() }
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        let asked = self.asked.iter().map(|(_, questions)| questions.len()).sum::<usize>();
        self.fresh.len() + asked + self.confirmed.iter().map(|(_, questions)| questions.len()).sum::<usize>()
    }
}
