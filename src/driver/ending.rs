//! How a driver ended, for whoever waits for it.

use std::future::poll_fn;
use std::task::{Poll, Waker};

use futures_channel::oneshot;

use crate::base::Wrong;
use crate::base::sync::{Arc, Mutex};

/// Held by each task that writes in the data directory beside the keeper. A clean end is told when none is held: the
/// directory is then at rest, and may be copied, removed or opened by another start in the same process.
#[derive(Clone)]
pub(super) struct AtWork {
    /// That it is dropped is what counts.
    _held: Arc<oneshot::Sender<()>>,
}

impl AtWork {
    /// Work that begins, and what is told (by being dropped) when nobody does any.
    pub(super) fn begin() -> (Self, oneshot::Receiver<()>) {
        let (held, at_rest) = oneshot::channel();
        (Self { _held: Arc::new(held) }, at_rest)
    }
}

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
