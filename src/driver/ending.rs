//! How a driver ended, for whoever waits for it.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use crate::base::Wrong;

/// Told once; any number may wait for it.
#[derive(Clone, Default)]
pub struct Ending(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    ended: Option<Result<(), Arc<Wrong>>>,
    waiting: Vec<Waker>,
}

impl Ending {
    /// Tells how it ended. The first word counts.
    pub(super) fn tell(&self, how: Result<(), Wrong>) {
        let waiting = {
            let mut state = self.0.lock().expect("no holder of this lock panics");
            if state.ended.is_none() {
                state.ended = Some(how.map_err(Arc::new));
            }
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// How it ended, if it has.
    pub fn now(&self) -> Option<Result<(), Arc<Wrong>>> {
        self.0.lock().expect("no holder of this lock panics").ended.clone()
    }

    /// Waits for the end: clean, or by the fault or damage that made going on wrong.
    pub async fn wait(&self) -> Result<(), Arc<Wrong>> {
        poll_fn(|cx| {
            let mut state = self.0.lock().expect("no holder of this lock panics");
            match &state.ended {
                Some(how) => Poll::Ready(how.clone()),
                None => {
                    state.waiting.retain(|waker| !waker.will_wake(cx.waker()));
                    state.waiting.push(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}
