//! Long work of the gateway beside the threads that serve everybody.
//!
//! Invariant: who asks for little never waits until long messages are written or read as JSON: a thread that serves everybody
//! goes on with others only between two pieces of work. Does not know what is done.

use std::sync::LazyLock;

use tokio::sync::Semaphore;
use tonic::Status;

use crate::api::status::status_of;
use crate::base::{Refusal, limits};

/// Half of the processors, for what takes some ten milliseconds and for what takes longer: the first does not wait for the second, and
/// the others are for who asks for neither.
static TURNS: LazyLock<[Semaphore; 2]> = LazyLock::new(|| {
    let processors = std::thread::available_parallelism().map_or(1, |number| number.get());
    [0; 2].map(|_| Semaphore::new(processors.div_ceil(2)))
});

/// Does what a message of so many bytes needs: at once where it is short, else aside, when it is its turn.
///
/// # Errors
/// The server stops.
pub async fn aside<T: Send + 'static>(bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Status> {
    if bytes <= limits::JSON_AT_ONCE_BYTES {
        return Ok(work());
    }
    let stopped = || status_of(&Refusal::Stopped);
    // It goes with the work: who goes away meanwhile sets nobody else to work beside it.
    let turn = TURNS[usize::from(bytes > limits::JSON_LONG_BYTES)].acquire().await.map_err(|_| stopped())?;
    let done = tokio::task::spawn_blocking(move || {
        let done = work();
        drop(turn);
        done
    });
    done.await.map_err(|_| stopped())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    /// Whether somebody else on the same thread went on while this was done.
    async fn others_went_on(bytes: usize, wait: Duration) -> bool {
        let (say, heard) = mpsc::channel();
        let long = aside(bytes, move || heard.recv_timeout(wait).is_ok());
        tokio::join!(long, async { say.send(()) }).0.expect("nobody stops")
    }

    #[tokio::test]
    async fn long_work_lets_others_go_on() {
        assert!(others_went_on(limits::JSON_AT_ONCE_BYTES + 1, Duration::from_secs(60)).await);
        let short = others_went_on(limits::JSON_AT_ONCE_BYTES, Duration::from_millis(50)).await;
        assert!(!short, "the test can tell");
    }
}
