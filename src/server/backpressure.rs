//! When more is read from a connection.
//!
//! The HTTP library reads whatever a client sends, faster than anything is carried out, and hands each request to a task. So
//! reading waits where it is ahead: after a number of requests until the tasks that are ready had their turn, and while what
//! was taken in is too much ([`Intake`]). What is not read fills the connection's windows in the system, and its client waits.
//!
//! Invariants: what is waited for needs a processor, or is answered within a request's time, whatever the client does; where
//! nothing is answered for a while reading goes on, for pings and what else is no request must come through. Does not know
//! what is read.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::api::Intake;
use crate::base::limits;
use crate::server::gathered::Turns;

const UNREAD_TIME: Duration = Duration::from_millis(limits::UNREAD_MS);

/// See the module's head.
#[derive(Debug)]
pub struct Backpressure {
    intake: Arc<Intake>,
    turns: Turns,
    /// The turn of the connection's task in which was read last, and the requests that came in it.
    turn: u64,
    requests: usize,
    /// How many waited when the time of a pause began; `None` while there is none.
    paused_at: Option<usize>,
    time: Option<Pin<Box<Sleep>>>,
    /// Nothing was answered for a while, and reading goes on.
    reads_on: bool,
}

impl Backpressure {
    /// Of a connection whose task's turns these are.
    pub fn new(intake: Arc<Intake>, turns: Turns) -> Self {
        Self { intake, turns, turn: 0, requests: 0, paused_at: None, time: None, reads_on: false }
    }

    /// Whether nothing is read because too much waits.
    pub fn is_held_up(&self) -> bool {
        self.paused_at.is_some()
    }

    /// A request begins in what was read.
    pub fn requested(&mut self) {
        self.requests += 1;
    }

    /// One was given up. How many may be before they were looked at is for the library to judge, so none is kept from it.
    pub fn given_up(&mut self) {
        self.requests = self.requests.saturating_sub(1);
    }

    /// Ready when more is to be read.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let turn = self.turns.current();
        if self.turn != turn {
            (self.turn, self.requests) = (turn, 0);
        } else if self.requests >= limits::REQUESTS_READ_AT_ONCE {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.paused_at.is_none() {
            if !self.intake.is_full() {
                self.reads_on = false;
                return Poll::Ready(());
            }
            if self.reads_on && !self.intake.is_behind() {
                return Poll::Ready(());
            }
        }
        if self.intake.poll_room(cx).is_ready() {
            (self.paused_at, self.reads_on) = (None, false);
            return Poll::Ready(());
        }
        if self.intake.is_behind() {
            return Poll::Pending;
        }
        self.poll_time(cx)
    }

    /// Ready where nothing was answered for too long.
    fn poll_time(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let waiting = self.intake.waiting();
            let until = Instant::now() + UNREAD_TIME;
            let time = self.time.get_or_insert_with(|| Box::pin(sleep_until(until)));
            let Some(before) = self.paused_at else {
                self.paused_at = Some(waiting);
                time.as_mut().reset(until);
                continue;
            };
            if time.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.paused_at = None;
            if waiting >= before {
                self.reads_on = true;
                return Poll::Ready(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::task::Waker;

    fn ready(pressure: &mut Backpressure) -> bool {
        pressure.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    fn pressure() -> (Backpressure, Arc<Intake>, Turns) {
        let (intake, turns) = (Intake::new(Arc::default()), Turns::default());
        (Backpressure::new(intake.clone(), turns.clone()), intake, turns)
    }

    #[test]
    fn tasks_that_are_ready_get_their_turn_between_requests() {
        let (mut pressure, _, turns) = pressure();
        turns.begin();
        for _ in 0..limits::REQUESTS_READ_AT_ONCE {
            assert!(ready(&mut pressure));
            pressure.requested();
        }
        assert!(!ready(&mut pressure));
        turns.begin();
        assert!(ready(&mut pressure));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_answered_is_not_read_and_goes_on_with_answers() {
        let (mut pressure, intake, _) = pressure();
        let mut waiting: Vec<_> = std::iter::from_fn(|| (!intake.is_full()).then(|| intake.enter())).collect();
        let began = Instant::now();
        for _ in 0..100 {
            // One answer in so long is enough: it is carried out.
            let wait = tokio::time::timeout(UNREAD_TIME * 9 / 10, poll_fn(|cx| pressure.poll_ready(cx))).await;
            assert!(wait.is_err());
            waiting.pop();
        }
        assert!(began.elapsed() > UNREAD_TIME * 80);
        let half = waiting.len() / 2;
        waiting.truncate(half);
        assert!(ready(&mut pressure));
    }

    #[tokio::test(start_paused = true)]
    async fn where_nothing_is_answered_reading_goes_on_in_time() {
        let (mut pressure, intake, _) = pressure();
        let waiting: Vec<_> = std::iter::from_fn(|| (!intake.is_full()).then(|| intake.enter())).collect();
        let began = Instant::now();
        poll_fn(|cx| pressure.poll_ready(cx)).await;
        assert!((UNREAD_TIME..UNREAD_TIME * 2).contains(&began.elapsed()), "{:?}", began.elapsed());
        assert!(ready(&mut pressure), "and goes on");
        let behind: Vec<_> = (0..limits::UNBEGUN_REQUESTS).map(|_| intake.arrived()).collect();
        let wait = tokio::time::timeout(UNREAD_TIME * 9, poll_fn(|cx| pressure.poll_ready(cx))).await;
        assert!(wait.is_err(), "but for tasks that have to begin");
        drop((behind, waiting));
        assert!(ready(&mut pressure));
        let _again: Vec<_> = std::iter::from_fn(|| (!intake.is_full()).then(|| intake.enter())).collect();
        assert!(!ready(&mut pressure), "once there was room it is over");
    }
}
