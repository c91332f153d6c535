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

/// Questions that wait for the same, each with the moment at which it was asked.
struct Questions<D: Disk> {
    /// What may be answered before all is applied that is confirmed: looked at in every turn.
    renewals: Vec<(Instant, LeaseQuestion)>,
    rest: Vec<(Instant, Question<D>)>,
}

impl<D: Disk> Default for Questions<D> {
    fn default() -> Self {
        Self { renewals: Vec::new(), rest: Vec::new() }
    }
}

impl<D: Disk> Questions<D> {
    fn push(&mut self, asked: Instant, question: Question<D>) {
        match question {
            Question::Lease(question @ LeaseQuestion::KeepAlive { .. }) => self.renewals.push((asked, question)),
            question => self.rest.push((asked, question)),
        }
    }

    fn len(&self) -> usize {
        self.renewals.len() + self.rest.len()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// When the last of them was asked.
    fn newest(&self) -> Option<Instant> {
        let renewals = self.renewals.iter().map(|(asked, _)| *asked);
        renewals.chain(self.rest.iter().map(|(asked, _)| *asked)).max()
    }

    /// Refuses those who asked at or before `until`.
    fn expire(&mut self, until: Instant, why: &impl Fn(Instant) -> Refusal) {
        for (asked, question) in self.renewals.extract_if(.., |(asked, _)| *asked <= until) {
            question.refuse(why(asked));
        }
        for (asked, question) in self.rest.extract_if(.., |(asked, _)| *asked <= until) {
            question.refuse(why(asked));
        }
    }
}

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
            fresh: Questions::default(),
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
        self.fresh.push(now, question);
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
                && let Some(newest) = questions.newest()
            {
                observer.confirms(read.index, newest);
            }
            self.confirmed.push((read.index, questions));
        }
    }

    /// Serves the views whose index is applied. The questions of leases of which `is_ripe` says so, told what was confirmed and when
    /// each was asked, are given back to be answered. Of those whose index is not, renewals alone are looked at.
    pub(super) fn serve(
        &mut self,
        applied: LogIndex,
        view: impl Fn() -> View<D>,
        is_ripe: impl Fn(LogIndex, Instant, &LeaseQuestion) -> bool,
    ) -> Vec<(Instant, LeaseQuestion)> {
        let (mut leases, mut taken) = (Vec::new(), None);
        for (index, questions) in &mut self.confirmed {
            let renewals = questions.renewals.extract_if(.., |(asked, question)| is_ripe(*index, *asked, question));
            leases.extend(renewals);
            if *index > applied {
                continue;
            }
            let served = |(asked, question): &mut (Instant, Question<D>)| match question {
                Question::View(_) => true,
                Question::Lease(question) => is_ripe(*index, *asked, question),
            };
            for (asked, question) in questions.rest.extract_if(.., served) {
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
        let mut questions = Questions::default();
        questions.push(now, Question::Lease(question));
        self.confirmed.push((index, questions));
    }

    /// Refuses those who asked at or before `until`, but for those who wait for an entry up to `spared`; `why` is told when each
    /// asked.
    pub(super) fn expire(&mut self, until: Instant, spared: Option<LogIndex>, why: impl Fn(Instant) -> Refusal) {
        self.fresh.expire(until, &why);
        self.asked.iter_mut().for_each(|(_, questions)| questions.expire(until, &why));
        self.asked.retain(|(_, questions)| !questions.is_empty());
        let confirmed = self.confirmed.iter_mut();
        confirmed.filter(|(index, _)| spared < Some(*index)).for_each(|(_, questions)| questions.expire(until, &why));
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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::env::MemoryDisk;

    /// Of many that wait while a command is carried out in slices each turn would look at each.
    #[test]
    fn before_a_rounds_index_is_applied_its_renewals_alone_are_looked_at() {
        let mut reads: ReadQueue<MemoryDisk> = ReadQueue::new(None);
        let (view, mut viewed) = Reply::pair();
        let (left, mut told_left) = Reply::pair();
        let (lives, _living) = Reply::pair();
        reads.add(Instant(1), Question::View(view));
        reads.add(Instant(2), Question::Lease(LeaseQuestion::KeepAlive { id: 7, reply: lives }));
        reads.add(Instant(3), Question::Lease(LeaseQuestion::TimeToLive { id: 8, keys: false, reply: left }));
        let attempt = reads.next_attempt(Instant(3), Instant(9)).expect("they wait");
        reads.confirmed(&ConfirmedRead { attempt, index: 10 });
        let looked = RefCell::new(Vec::new());
        let mut serve = |applied, ripe: bool| {
            let is_ripe = |index: LogIndex, asked: Instant, _: &LeaseQuestion| {
                looked.borrow_mut().push((index, asked.0));
                ripe
            };
            let served = reads.serve(applied, || unreachable!("nobody is served a view"), is_ripe);
            let asked: Vec<_> = served.iter().map(|(asked, _)| asked.0).collect();
            (asked, looked.take(), reads.len())
        };
        assert_eq!(serve(9, false), (vec![], vec![(10, 2)], 3));
        assert_eq!(serve(9, true), (vec![2], vec![(10, 2)], 2));
        assert_eq!(serve(9, true), (vec![], vec![], 2), "the others are not touched");
        assert!(matches!(viewed.try_recv(), Ok(None)) && matches!(told_left.try_recv(), Ok(None)), "and wait");
        reads.expire(Instant(1), None, |_| Refusal::Timeout);
        assert!(matches!(viewed.try_recv(), Ok(Some(Err(Refusal::Timeout)))));
        let leases = reads.serve(10, || unreachable!("nobody waits for a view"), |_, _, _| true);
        assert_eq!((leases.len(), leases[0].0, reads.len()), (1, Instant(3), 0));
    }
}
