//! Being stopped by the user: SIGINT and SIGTERM end what goes on in an orderly way.

use std::future::Future;
use std::io;

use futures_util::future::{Either, select};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGXFSZ, on every system this runs on.
const FILE_TOO_LARGE: i32 = 25;

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
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    /// Listens for the signals. Must be called inside the runtime.
    ///
    /// # Errors
    /// The system offers no signals.
    pub fn new() -> io::Result<Stop> {
        Ok(Stop { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// By other signals, so that nobody else is stopped.
    #[cfg(test)]
    pub fn by([one, other]: [SignalKind; 2]) -> io::Result<Stop> {
        Ok(Stop { interrupt: signal(one)?, terminate: signal(other)? })
    }

    /// Waits for some work, or to be stopped first: `None` then, and the work was dropped.
    pub async fn or<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let interrupt = std::pin::pin!(self.interrupt.recv());
        let terminate = std::pin::pin!(self.terminate.recv());
        match select(select(interrupt, terminate), std::pin::pin!(work)).await {
            Either::Left(_) => None,
            Either::Right((done, _)) => Some(done),
        }
    }
}
