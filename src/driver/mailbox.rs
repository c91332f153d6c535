//! A bounded queue between tasks that hands over everything it holds at once.
//!
//! One lock, held for a push or a swap. Taking the whole queue is what makes group commit and read batching
//! natural: what came while the taker worked is its next batch.

use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use crate::base::sync::{Mutex, MutexGuard};

/// Why an item was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotTaken {
    /// The queue is full.
    Full,
    /// Nobody takes from it any more.
    Closed,
}

struct State<T> {
    items: Vec<T>,
    /// What the items weigh, as their senders told.
    bytes: usize,
    taker: Option<Waker>,
    closed: bool,
}

/// Many put in, one takes out.
pub struct Mailbox<T> {
    state: Mutex<State<T>>,
    capacity: usize,
    max_bytes: usize,
}

impl<T> Mailbox<T> {
    /// A queue of at most `capacity` items that weigh at most `max_bytes`.
    pub fn new(capacity: usize, max_bytes: usize) -> Self {
        let state = State { items: Vec::new(), bytes: 0, taker: None, closed: false };
        Self { state: Mutex::new(state), capacity, max_bytes }
    }

    /// Puts an item that weighs `bytes` in, or gives it back where the queue is full or closed. What weighs more
    /// than all that is allowed is taken where it is alone.
    pub fn put(&self, item: T, bytes: usize) -> Result<(), (NotTaken, T)> {
        self.put_below(item, bytes, self.capacity, self.max_bytes)
    }

    /// Puts an item in where the queue holds up to `reserve` items more than it otherwise takes.
    pub fn put_with_reserve(&self, item: T, bytes: usize, reserve: usize) -> Result<(), (NotTaken, T)> {
        self.put_below(item, bytes, self.capacity + reserve, self.max_bytes)
    }

    /// Puts an item in even where the queue is full: for completions, of which there are never more than the
    /// taker itself has asked for. Dropped where the queue is closed.
    pub fn put_completion(&self, item: T) {
        let _ = self.put_below(item, 0, usize::MAX, usize::MAX);
    }

    fn put_below(&self, item: T, bytes: usize, capacity: usize, max_bytes: usize) -> Result<(), (NotTaken, T)> {
        let taker = {
            let mut state = self.lock();
            if state.closed {
                return Err((NotTaken::Closed, item));
            }
            let too_heavy = state.bytes > 0 && bytes > 0 && state.bytes.saturating_add(bytes) > max_bytes;
            if state.items.len() >= capacity || too_heavy {
                return Err((NotTaken::Full, item));
            }
            state.items.push(item);
            state.bytes = state.bytes.saturating_add(bytes);
            state.taker.take()
        };
        if let Some(taker) = taker {
            taker.wake();
        }
        Ok(())
    }

    /// Moves everything into `into`, which must be empty. Ready when there was something, or when the queue
    /// is closed.
    pub fn poll_take(&self, cx: &mut Context<'_>, into: &mut Vec<T>) -> Poll<()> {
        debug_assert!(into.is_empty(), "what was taken before is done");
        let mut state = self.lock();
        if state.items.is_empty() && !state.closed {
            if !state.taker.as_ref().is_some_and(|taker| taker.will_wake(cx.waker())) {
                state.taker = Some(cx.waker().clone());
            }
            return Poll::Pending;
        }
        std::mem::swap(&mut state.items, into);
        state.bytes = 0;
        Poll::Ready(())
    }

    /// Waits for items and moves them into `into`; false when the queue is closed and empty.
    pub async fn take(&self, into: &mut Vec<T>) -> bool {
        poll_fn(|cx| self.poll_take(cx, into)).await;
        !into.is_empty()
    }

    /// How many wait, and what they weigh.
    pub fn held(&self) -> (usize, usize) {
        let state = self.lock();
        (state.items.len(), state.bytes)
    }

    /// Whether something waits to be taken.
    pub fn has_items(&self) -> bool {
        !self.lock().items.is_empty()
    }

    /// Whether nothing is taken in any more.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Takes nothing in any more and drops what is held.
    pub fn close(&self) {
        let (items, taker) = {
            let mut state = self.lock();
            state.closed = true;
            (std::mem::take(&mut state.items), state.taker.take())
        };
        drop(items);
        if let Some(taker) = taker {
            taker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

/// Lets other tasks of the same thread have a turn.
pub(super) async fn yield_once() {
    let mut yielded = false;
    poll_fn(|cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_handed_over_in_order_and_bounds_hold() {
        let mailbox = Mailbox::new(2, usize::MAX);
        let mut cx = Context::from_waker(Waker::noop());
        let mut taken = Vec::new();
        assert!(mailbox.poll_take(&mut cx, &mut taken).is_pending());
        assert_eq!(mailbox.put(1, 0), Ok(()));
        assert_eq!(mailbox.put(2, 0), Ok(()));
        assert_eq!(mailbox.put(3, 0), Err((NotTaken::Full, 3)));
        mailbox.put_completion(4);
        assert!(mailbox.poll_take(&mut cx, &mut taken).is_ready());
        assert_eq!(taken, [1, 2, 4]);
        assert!(!mailbox.has_items());
        taken.clear();
        assert_eq!(mailbox.held(), (0, 0));
        let heavy = Mailbox::new(10, 100);
        assert_eq!(heavy.put(1, 500), Ok(()), "alone, anything is taken");
        assert_eq!(heavy.put(2, 1), Err((NotTaken::Full, 2)));
        assert_eq!(heavy.put(3, 0), Ok(()));
        assert_eq!(heavy.held(), (2, 500));
        assert!(heavy.poll_take(&mut cx, &mut taken).is_ready());
        assert_eq!(heavy.put(4, 60), Ok(()));
        mailbox.close();
        taken.clear();
        assert!(mailbox.poll_take(&mut cx, &mut taken).is_ready());
        assert!(taken.is_empty());
        assert_eq!(mailbox.put(5, 0), Err((NotTaken::Closed, 5)));
    }
}
