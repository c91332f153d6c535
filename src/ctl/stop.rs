//! Being stopped by the user: signals that would end the process end what goes on in an orderly way.
//!
//! Invariants: a signal that was passed over when the process began (`nohup`) is passed over still, unless somebody asks for Ctrl-C
//! ([`Stop::with_interrupt`]); where no [`Stop`] was made a signal ends the process, as it does where nobody listens.

use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

use futures_util::future::{Either, select, select_all};
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::base::{FILE_TOO_LARGE, STOPPING, code_of_signal, is_passed_over};

/// The signal of Ctrl-C.
const INTERRUPT: i32 = 2;

/// Whether there is, or was, a [`Stop`]: who made it says what a signal ends.
static IS_HEARD: AtomicBool = AtomicBool::new(false);

/// From now on a file that outgrows its limit is an error of whoever writes to it, and does not end the process. Must be called
/// inside the runtime.
///
/// # Errors
/// The system offers no signals.
pub fn outlive_size_limit() -> io::Result<()> {
    signal(SignalKind::from_raw(FILE_TOO_LARGE)).map(drop)
}

/// The signals that stop, from when this was made on.
#[derive(Debug)]
pub struct Stop {
    signals: Signals,
    /// The signal that came last.
    came: i32,
}

impl Stop {
    /// Listens for the signals. Must be called inside the runtime.
    ///
    /// # Errors
    /// The system offers no signals.
    pub fn new() -> io::Result<Stop> {
        let signals = Signals::of(STOPPING)?;
        IS_HEARD.store(true, Ordering::Release);
        Ok(Stop { signals, came: INTERRUPT })
    }

    /// The same, with Ctrl-C also where it was passed over when the process began, as it is for what a script has in the
    /// background: of what only a signal ends, as of etcdctl's commands of this kind.
    ///
    /// # Errors
    /// The system offers no signals.
    pub fn with_interrupt() -> io::Result<Stop> {
        let mut stop = Self::new()?;
        stop.signals.hear(INTERRUPT)?;
        Ok(stop)
    }

    /// By other signals, so that nobody else is stopped.
    #[cfg(test)]
    pub fn by(numbers: [i32; 3]) -> io::Result<Stop> {
        Ok(Stop { signals: Signals::of(numbers)?, came: INTERRUPT })
    }

    /// Waits for some work, or to be stopped first: `None` then, and the work was dropped.
    pub async fn or<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let came = std::pin::pin!(self.signals.next());
        let came = match select(came, std::pin::pin!(work)).await {
            Either::Left((came, _)) => came,
            Either::Right((done, _)) => return Some(done),
        };
        self.came = came;
        None
    }

    /// Forgets signals that came and nobody waited for.
    pub async fn forget(&mut self) {
        while self.or(std::future::ready(())).await.is_none() {}
    }

    /// Whether it was Ctrl-C that came last.
    pub fn is_interrupt(&self) -> bool {
        self.came == INTERRUPT
    }

    /// The exit code of a process that was stopped: what a shell shows of one that the same signal ended.
    pub fn code(&self) -> u8 {
        code_of_signal(self.came)
    }
}

/// Signals with their numbers.
#[derive(Debug)]
struct Signals(Vec<(i32, Signal)>);

impl Signals {
    /// Those that are not passed over, or all where nobody can say.
    fn of(numbers: impl IntoIterator<Item = i32>) -> io::Result<Signals> {
        let standing = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let wanted = numbers.into_iter().filter(|number| !is_passed_over(&standing, *number));
        wanted.map(|number| Ok((number, signal(SignalKind::from_raw(number))?))).collect::<io::Result<_>>().map(Signals)
    }

    /// Listens for one more, whether or not it is passed over.
    fn hear(&mut self, number: i32) -> io::Result<()> {
        if self.0.iter().all(|(heard, _)| *heard != number) {
            self.0.push((number, signal(SignalKind::from_raw(number))?));
        }
        Ok(())
    }

    /// The next that comes, by its number; never where none is listened for.
    async fn next(&mut self) -> i32 {
        if self.0.is_empty() {
            return std::future::pending().await;
        }
        let each = self.0.iter_mut().map(|(number, signal)| {
            Box::pin(async move {
                signal.recv().await;
                *number
            })
        });
        select_all(each).await.0
    }
}

/// From now on a signal ends the process behind `last`; where there is a [`Stop`] by then, `last` alone is done. By a thread of its
/// own: the process may be waiting for standard input.
///
/// # Errors
/// The system offers no signals.
pub fn before_end(last: fn()) -> io::Result<()> {
    let (begun, is_begun) = mpsc::channel();
    thread::Builder::new().spawn(move || {
        let runtime = Builder::new_current_thread().enable_io().build();
        let listening = runtime.and_then(|runtime| {
            let _inside = runtime.enter();
            // SIGQUIT too: it would end the process.
            let signals = Signals::of(STOPPING.into_iter().chain([3]))?;
            Ok((runtime, signals))
        });
        let (runtime, mut signals) = match listening {
            Ok(listening) => listening,
            Err(error) => return drop(begun.send(Err(error))),
        };
        let _ = begun.send(Ok(()));
        let came = runtime.block_on(signals.next());
        last();
        if !IS_HEARD.load(Ordering::Acquire) {
            std::process::exit(code_of_signal(came).into());
        }
    })?;
    is_begun.recv().map_err(io::Error::other)?
}
