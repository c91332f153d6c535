//! What a connection has brought and waits for this server alone, and whether more of it is to be read.
//!
//! A client may send requests faster than they are carried out, and each that was read holds memory and a place in every queue
//! behind. So while a connection has too many that are here as a whole and not answered, or whose task has not begun, nothing
//! more is read from it: what is beyond stays with the client, who can still give it up. How many are too many follows a
//! dynamic threshold, as in [`crate::base::Account`]: as many as there is still room for, of all connections together.
//!
//! Invariants: only what needs nothing more of its client is counted (a message that is half here, an answer that is not taken,
//! one that waits for such to be taken, a stream, or a wait for another client would make both wait for each other), but for what
//! is held in all; who waits is woken by what is answered; no lock. Does not know what the requests ask, nor how they are read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

use crate::base::limits;

/// Requests that are refused to nobody however many there are: who asks for little is not refused because others do not stop.
const LEAST_HELD: usize = 4;

/// Of all connections together.
#[derive(Debug, Default)]
pub struct OfAll {
    waiting: AtomicUsize,
    aside: AtomicUsize,
}

/// Of one connection.
#[derive(Debug, Default)]
pub struct Intake {
    all: Arc<OfAll>,
    /// Requests whose task has not begun.
    unbegun: AtomicUsize,
    /// Requests that are here as a whole and not answered.
    waiting: AtomicUsize,
    /// Others that are, and wait for their client to take what it was answered.
    aside: AtomicUsize,
    /// Streams, and requests that wait for others: they last.
    lasting: AtomicUsize,
    /// Whether the reader waits.
    held: AtomicBool,
    reader: AtomicWaker,
}

impl Intake {
    /// Of a new connection, beside all others.
    pub fn new(all: Arc<OfAll>) -> Arc<Self> {
        Arc::new(Self { all, ..Self::default() })
    }

    /// The head of a request was read.
    pub fn arrived(self: &Arc<Self>) -> Unbegun {
        self.unbegun.fetch_add(1, Relaxed);
        Unbegun(self.clone())
    }

    /// A request is here as a whole, and waits to be answered.
    pub fn enter(self: &Arc<Self>) -> Entered {
        self.waiting.fetch_add(1, Relaxed);
        self.all.waiting.fetch_add(1, Relaxed);
        Entered(self.clone())
    }

    /// A request that has entered waits, until this is dropped, for its client to take what it was answered: more is read
    /// meanwhile, or the client's own slowness would pass for this server's.
    pub fn set_aside(self: &Arc<Self>) -> Aside {
        self.aside.fetch_add(1, Relaxed);
        self.all.aside.fetch_add(1, Relaxed);
        self.all.waiting.fetch_sub(1, Relaxed);
        self.waiting.fetch_sub(1, SeqCst);
        self.one_less();
        Aside(self.clone())
    }

    /// A request has come that may last.
    pub fn lasts(self: &Arc<Self>) -> Lasting {
        self.lasting.fetch_add(1, SeqCst);
        self.reader.wake();
        Lasting(self.clone())
    }

    /// Requests that may last.
    pub fn lasting(&self) -> usize {
        self.lasting.load(SeqCst)
    }

    /// Has the reader woken when more of what lasts has come.
    pub fn wake_reader(&self, cx: &mut Context<'_>) {
        self.reader.register(cx.waker());
    }

    /// Requests that wait to be answered.
    pub fn waiting(&self) -> usize {
        self.waiting.load(SeqCst)
    }

    /// Requests that are here as a whole and not answered, whoever they wait for.
    pub fn held(&self) -> usize {
        self.waiting() + self.aside.load(Relaxed)
    }

    /// As many as may wait before no more are read.
    pub fn most(&self) -> usize {
        limits::REQUESTS_TAKEN_IN.saturating_sub(self.all.waiting.load(Relaxed)).max(limits::REQUESTS_TAKEN_IN_OF_ONE)
    }

    /// Whether tasks have to begin before more is read; they need nothing but a processor.
    pub fn is_behind(&self) -> bool {
        self.unbegun.load(SeqCst) >= limits::UNBEGUN_REQUESTS
    }

    /// Whether no more is to be read for now.
    pub fn is_full(&self) -> bool {
        self.is_behind() || self.waiting() >= self.most()
    }

    /// Whether reading goes on where it was held: a little later than it was stopped, for each stop and go costs.
    fn has_room_again(&self) -> bool {
        self.unbegun.load(SeqCst) <= limits::UNBEGUN_REQUESTS / 2 && self.waiting() <= self.most() / 4 * 3
    }

    /// Ready when there is room again.
    pub fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.reader.register(cx.waker());
        // Who answers looks at this after it has counted: one of the two sees the other.
        self.held.store(true, SeqCst);
        if !self.has_room_again() {
            return Poll::Pending;
        }
        self.held.store(false, SeqCst);
        Poll::Ready(())
    }

    /// Whether even what was read is too much: its head alone is looked at, and it is refused. So it comes where nothing is
    /// answered for a while, or many wait for their client, and reading goes on for the sake of what else comes on the connection.
    pub fn is_overfull(&self) -> bool {
        let (own, all) = (self.held(), self.all.waiting.load(Relaxed) + self.all.aside.load(Relaxed));
        own >= LEAST_HELD && own >= limits::REQUESTS_HELD.saturating_sub(all)
    }

    fn one_less(&self) {
        if self.held.load(SeqCst) && self.has_room_again() && self.held.swap(false, SeqCst) {
            self.reader.wake();
        }
    }
}

/// A request whose task has not begun. Dropped when it does.
#[derive(Debug)]
pub struct Unbegun(Arc<Intake>);

impl Drop for Unbegun {
    fn drop(&mut self) {
        self.0.unbegun.fetch_sub(1, SeqCst);
        self.0.one_less();
    }
}

/// A request that waits. Dropped when it was answered, or when nobody will.
#[derive(Debug)]
pub struct Entered(Arc<Intake>);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.all.waiting.fetch_sub(1, Relaxed);
        self.0.waiting.fetch_sub(1, SeqCst);
        self.0.one_less();
    }
}

/// A request that waits for its client. Dropped when it waits for this server again.
#[derive(Debug)]
pub struct Aside(Arc<Intake>);

impl Drop for Aside {
    fn drop(&mut self) {
        self.0.waiting.fetch_add(1, Relaxed);
        self.0.all.waiting.fetch_add(1, Relaxed);
        self.0.aside.fetch_sub(1, Relaxed);
        self.0.all.aside.fetch_sub(1, Relaxed);
    }
}

/// A request that may last. Dropped with it.
#[derive(Debug)]
pub struct Lasting(Arc<Intake>);

impl Drop for Lasting {
    fn drop(&mut self) {
        self.0.lasting.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::{Wake, Waker};

    #[derive(Default)]
    struct Rung(AtomicUsize);

    impl Wake for Rung {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    /// All that is read of a connection that does not stop.
    fn flood(intake: &Arc<Intake>) -> Vec<Entered> {
        std::iter::from_fn(|| (!intake.is_full()).then(|| intake.enter())).collect()
    }

    #[test]
    fn one_takes_half_and_who_comes_next_finds_room() {
        let all = Arc::<OfAll>::default();
        let [first, second] = [(); 2].map(|()| Intake::new(Arc::clone(&all)));
        let one = flood(&first);
        assert_eq!(one.len(), limits::REQUESTS_TAKEN_IN / 2);
        assert_eq!(flood(&second).len(), limits::REQUESTS_TAKEN_IN / 4);
        let others: Vec<_> = (0..1_000).map(|_| Intake::new(all.clone())).map(|other| flood(&other)).collect();
        assert!(others.iter().all(|other| other.len() >= limits::REQUESTS_TAKEN_IN_OF_ONE), "each has a little");
        drop((one, others));
        assert_eq!(all.waiting.load(Relaxed), 0, "all of it is given back");
    }

    #[test]
    fn who_waits_is_woken_once_there_is_room_again() {
        let intake = Intake::new(Arc::default());
        let rung = Arc::new(Rung::default());
        let waker = Waker::from(rung.clone());
        let mut cx = Context::from_waker(&waker);
        let mut waiting = flood(&intake);
        let most = waiting.len();
        assert!(intake.poll_room(&mut cx).is_pending());
        while rung.0.load(Relaxed) == 0 {
            assert!(waiting.pop().is_some(), "an answer wakes the reader");
        }
        assert!(waiting.len() < most && waiting.len() > most / 2, "{} of {most}", waiting.len());
        assert!(!intake.is_full() && intake.poll_room(&mut cx).is_ready());
        drop(waiting);
        assert_eq!(rung.0.load(Relaxed), 1, "nobody waits any more");
    }

    #[test]
    fn tasks_that_have_not_begun_hold_reading_up_too() {
        let intake = Intake::new(Arc::default());
        let rung = Arc::new(Rung::default());
        let waker = Waker::from(rung.clone());
        let mut unbegun: Vec<_> = (0..limits::UNBEGUN_REQUESTS).map(|_| intake.arrived()).collect();
        assert!(intake.is_behind() && intake.is_full());
        assert!(intake.poll_room(&mut Context::from_waker(&waker)).is_pending());
        drop(unbegun.split_off(1));
        assert_eq!(rung.0.load(Relaxed), 1);
        assert!(!intake.is_behind() && !intake.is_full());
    }

    #[test]
    fn what_waits_for_its_client_holds_up_no_reading_and_is_held_all_the_same() {
        let all = Arc::<OfAll>::default();
        let intake = Intake::new(Arc::clone(&all));
        let rung = Arc::new(Rung::default());
        let waker = Waker::from(rung.clone());
        let waiting = flood(&intake);
        assert!(intake.is_full() && intake.poll_room(&mut Context::from_waker(&waker)).is_pending());
        let aside: Vec<_> = waiting.iter().map(|_| intake.set_aside()).collect();
        assert_eq!(rung.0.load(Relaxed), 1, "the reader is woken");
        assert_eq!((intake.waiting(), intake.held(), intake.is_full()), (0, waiting.len(), false));
        let held: Vec<_> =
            std::iter::from_fn(|| (!intake.is_overfull()).then(|| (intake.enter(), intake.set_aside()))).collect();
        assert_eq!(waiting.len() + held.len(), limits::REQUESTS_HELD / 2, "no more than may be held in all");
        drop(aside);
        assert!(intake.is_full(), "they wait for this server again");
        // As a request that is given up: it leaves as it came.
        drop(waiting);
        held.into_iter().for_each(|(entered, aside)| {
            drop(aside);
            drop(entered);
        });
        assert_eq!((intake.held(), all.waiting.load(Relaxed), all.aside.load(Relaxed)), (0, 0, 0));
    }

    #[test]
    fn what_is_held_is_bounded_where_reading_goes_on() {
        let all = Arc::<OfAll>::default();
        let [first, second] = [(); 2].map(|()| Intake::new(Arc::clone(&all)));
        let held: Vec<_> = std::iter::from_fn(|| (!first.is_overfull()).then(|| first.enter())).collect();
        assert_eq!(held.len(), limits::REQUESTS_HELD / 2);
        assert!(!second.is_overfull(), "another has room");
        let _others: Vec<_> = (0..limits::REQUESTS_HELD).map(|_| Intake::new(all.clone()).enter()).collect();
        let few: Vec<_> = std::iter::from_fn(|| (!second.is_overfull()).then(|| second.enter())).collect();
        assert_eq!(few.len(), LEAST_HELD, "and a little whatever others hold");
        drop(held);
    }
}
