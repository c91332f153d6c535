//! How many connections carry questions to one peer at once; who finds them all in use waits.
//!
//! Invariants: those who wait come in their order, and who went away meanwhile is passed over; what is given back goes to who
//! waits. Does not know what is asked, nor the connections.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_channel::oneshot;

/// See the module's head.
pub(super) struct Lines(Mutex<Held>);

struct Held {
    free: usize,
    waiting: VecDeque<oneshot::Sender<Line>>,
}

/// The right to one connection, given back when dropped; none is left in one that nobody wanted.
pub(super) struct Line(Option<Arc<Lines>>);

impl Lines {
    /// So many, at least one.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Held { free: most.max(1), waiting: VecDeque::new() })))
    }

    /// One of them, as soon as it is this one's turn.
    pub(super) async fn take(self: &Arc<Self>) -> Line {
        let turn = {
            let mut held = self.held();
            if held.free > 0 {
                held.free -= 1;
                return Line(Some(self.clone()));
            }
            let (given, turn) = oneshot::channel();
            held.waiting.push_back(given);
            turn
        };
        turn.await.expect("whoever waits is given one, for the lines are held here")
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let Some(lines) = self.0.take() else { return };
        loop {
            let next = {
                let mut held = lines.held();
                let next = held.waiting.pop_front();
                held.free += usize::from(next.is_none());
                next
            };
            let Some(next) = next else { return };
            match next.send(Self(Some(lines.clone()))) {
                Ok(()) => return,
                // Who waited went away.
                Err(mut unwanted) => unwanted.0 = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn who_finds_none_free_waits_for_its_turn() {
        let lines = Lines::new(2);
        let mut cx = Context::from_waker(Waker::noop());
        let mut takes: Vec<_> = (0..5).map(|_| Box::pin(lines.take())).collect();
        let mut polls: Vec<_> = takes.iter_mut().map(|take| take.as_mut().poll(&mut cx)).collect();
        assert_eq!(polls.iter().filter(|poll| poll.is_ready()).count(), 2);
        // The third goes away while it waits.
        let mut fifth = takes.pop().expect("five");
        let mut fourth = takes.pop().expect("four");
        drop(takes.pop());
        drop(std::mem::replace(&mut polls[0], Poll::Pending));
        let Poll::Ready(held) = fourth.as_mut().poll(&mut cx) else { panic!("it is its turn") };
        assert!(fifth.as_mut().poll(&mut cx).is_pending());
        drop(held);
        assert!(fifth.as_mut().poll(&mut cx).is_ready());
        drop((polls, takes, fourth, fifth));
        assert_eq!((lines.held().free, Arc::strong_count(&lines)), (2, 1), "all were given back");
        assert!(lines.held().waiting.is_empty());
    }

    #[test]
    fn one_that_was_given_and_never_taken_comes_back() {
        let lines = Lines::new(1);
        let mut cx = Context::from_waker(Waker::noop());
        let mut first = Box::pin(lines.take());
        let Poll::Ready(line) = first.as_mut().poll(&mut cx) else { panic!("it is free") };
        let mut second = Box::pin(lines.take());
        assert!(second.as_mut().poll(&mut cx).is_pending());
        drop(line);
        assert_eq!(lines.held().free, 0, "it is the second one's");
        drop(second);
        assert_eq!((lines.held().free, Arc::strong_count(&lines)), (1, 1));
    }
}
