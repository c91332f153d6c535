//! Waiting: for a moment, for the first of two things, for the end.
//!
//! Invariant: what is asked first wins; nothing is drawn by chance. Does not know what is waited for.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::base::{Dice, limits};
use crate::env::{Clock, Instant};

/// A future in a box, for doors that have no type parameters.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One sleep that is used for many deadlines: a deadline that moves on costs nothing until it is reached.
pub(super) struct Timer<C> {
    clock: C,
    armed: Option<(Instant, BoxFuture<'static, ()>)>,
}

impl<C: Clock> Timer<C> {
    pub(super) fn new(clock: C) -> Self {
        Self { clock, armed: None }
    }

    pub(super) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// The moment this long from now.
    pub(super) fn after(&self, duration: Duration) -> Instant {
        self.now().plus(duration)
    }

    /// Ready when the deadline has passed.
    pub(super) fn poll_at(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        loop {
            if self.clock.now() >= deadline {
                return Poll::Ready(());
            }
            match &mut self.armed {
                // An earlier alarm will do: it is set anew when it rings.
                Some((at, sleep)) if *at <= deadline => {
                    if sleep.as_mut().poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                    self.armed = None;
                }
                _ => {
                    let clock = self.clock.clone();
                    let sleep = Box::pin(async move { clock.sleep_until(deadline).await });
                    self.armed = Some((deadline, sleep));
                }
            }
        }
    }

    /// What the future gives, or nothing when it is not ready by the deadline.
    pub(super) async fn within<T>(&mut self, deadline: Instant, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending => self.poll_at(cx, deadline).map(|()| None),
        })
        .await
    }

    pub(super) async fn sleep(&mut self, duration: Duration) {
        let deadline = self.after(duration);
        poll_fn(|cx| self.poll_at(cx, deadline)).await;
    }
}

/// Which of two was ready first, and what it gave.
pub(super) enum First<A, B> {
    One(A),
    Other(B),
}

/// Whichever is ready first; the other is dropped. Where both are, it is the one.
pub(super) async fn first<A, B>(one: impl Future<Output = A>, other: impl Future<Output = B>) -> First<A, B> {
    let (mut one, mut other) = (pin!(one), pin!(other));
    poll_fn(|cx| match one.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(First::One(value)),
        Poll::Pending => other.as_mut().poll(cx).map(First::Other),
    })
    .await
}

#[derive(Default)]
struct Waiting {
    fallen: bool,
    next: u64,
    wakers: BTreeMap<u64, Waker>,
}

/// Falls once and stays fallen; whatever runs until then is dropped. Clones are the same latch.
#[derive(Clone, Default)]
pub(super) struct Latch {
    waiting: Arc<Mutex<Waiting>>,
}

/// Strikes its waker off the list when it goes.
struct Place<'a> {
    latch: &'a Latch,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.latch.lock().wakers.remove(&self.number);
    }
}

impl Latch {
    pub(super) fn fall(&self) {
        let wakers = {
            let mut waiting = self.lock();
            waiting.fallen = true;
            std::mem::take(&mut waiting.wakers)
        };
        wakers.into_values().for_each(Waker::wake);
    }

    pub(super) fn has_fallen(&self) -> bool {
        self.lock().fallen
    }

    /// Runs the future until it is ready or the latch falls, in which case it is dropped.
    pub(super) async fn until<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        let number = {
            let mut waiting = self.lock();
            waiting.next += 1;
            waiting.next
        };
        let place = Place { latch: self, number };
        poll_fn(|cx| {
            {
                let mut waiting = place.latch.lock();
                if waiting.fallen {
                    return Poll::Ready(None);
                }
                match waiting.wakers.get(&number) {
                    Some(waker) if waker.will_wake(cx.waker()) => {}
                    _ => drop(waiting.wakers.insert(number, cx.waker().clone())),
                }
            }
            future.as_mut().poll(cx).map(Some)
        })
        .await
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pauses between attempts: each twice the last, up to a bound, with half of it left to chance so that members do
/// not knock in step.
pub(super) struct BackOff {
    dice: Box<dyn Dice>,
    next_ms: u64,
}

impl BackOff {
    pub(super) fn new(dice: Box<dyn Dice>) -> Self {
        Self { dice, next_ms: limits::PEER_REDIAL_MS }
    }

    pub(super) fn reset(&mut self) {
        self.next_ms = limits::PEER_REDIAL_MS;
    }

    pub(super) fn pause(&mut self) -> Duration {
        let ms = self.next_ms / 2 + self.dice.below(self.next_ms / 2 + 1);
        self.next_ms = (self.next_ms * 2).min(limits::PEER_REDIAL_MAX_MS);
        Duration::from_millis(ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::SeededDice;

    #[test]
    fn a_latch_drops_what_runs_and_forgets_who_has_gone() {
        let latch = Latch::default();
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(pin!(latch.until(async { 7 })).poll(&mut cx), Poll::Ready(Some(7)));
        assert!(latch.lock().wakers.is_empty(), "one that is done waits no more");
        {
            let mut endless = pin!(latch.until(std::future::pending::<()>()));
            assert!(endless.as_mut().poll(&mut cx).is_pending());
            latch.fall();
            assert_eq!(endless.poll(&mut cx), Poll::Ready(None));
        }
        assert!(latch.has_fallen());
        assert_eq!(pin!(latch.until(async { 7 })).poll(&mut cx), Poll::Ready(None), "nothing runs behind it");
    }

    #[test]
    fn pauses_grow_to_their_bound_and_begin_anew() {
        let mut back_off = BackOff::new(Box::new(SeededDice::new(1)));
        let mut bound = limits::PEER_REDIAL_MS;
        for _ in 0..10 {
            let pause = back_off.pause().as_millis() as u64;
            assert!((bound / 2..=bound).contains(&pause), "{pause} of {bound}");
            bound = (bound * 2).min(limits::PEER_REDIAL_MAX_MS);
        }
        back_off.reset();
        assert!(back_off.pause().as_millis() as u64 <= limits::PEER_REDIAL_MS);
    }
}
