//! A lock that many processes share.
//!
//! Invariants: at any revision one holder at most has the key that was created first; the lock goes with its session.
//! A holder that was paused may still believe it has the lock when the server has given it on: put
//! [`Lock::held`] into the transactions it guards, and such a late one is refused.

use bytes::Bytes;

use crate::wire::etcdserverpb as pb;

use super::error::Error;
use super::session::Session;
use super::turn::{Place, Taken};

const EXPIRED: &str = "mutex: session is expired";
const LOCKED: &str = "mutex: Locked by another session";

/// A lock that is held, or waited for.
///
/// Example, run as a test: `a_lock_is_one_holders_at_a_time_and_goes_with_its_session` in `tests/client_library.rs`.
#[derive(Debug)]
pub struct Lock {
    place: Place,
    owned: bool,
}

impl Session {
    /// Takes the lock called `name`, when all who asked before have given it back.
    ///
    /// Giving up waiting (dropping this future) leaves the session's place in line until the session ends; ask
    /// [`Session::queue`] for a place that can be left.
    ///
    /// # Errors
    /// The session ended meanwhile ([`Error::Lost`]), the server's refusal, or that it cannot be reached.
    pub async fn lock(&self, name: impl AsRef<[u8]>) -> Result<Lock, Error> {
        let mut lock = self.queue(name).await?;
        match lock.acquire().await {
            Ok(()) => Ok(lock),
            Err(error) => {
                // Whoever could not wait must not be in the way of others. The session's end does the same later.
                let _ = lock.release().await;
                Err(error)
            }
        }
    }

    /// Takes the lock called `name` if nobody has it.
    ///
    /// # Errors
    /// Somebody has it ([`Error::Lost`]), the server's refusal, or that no answer came in time.
    pub async fn try_lock(&self, name: impl AsRef<[u8]>) -> Result<Lock, Error> {
        let lock = self.queue(name).await?;
        if lock.owned {
            return Ok(lock);
        }
        lock.release().await?;
        Err(Error::Lost(LOCKED))
    }

    /// Stands in line for the lock called `name`, without waiting.
    ///
    /// # Errors
    /// The server's refusal, or that no answer came in time.
    pub async fn queue(&self, name: impl AsRef<[u8]>) -> Result<Lock, Error> {
        let Taken { place, first, .. } = Place::take(self, name.as_ref(), Bytes::new()).await?;
        Ok(Lock { place, owned: first })
    }
}

impl Lock {
    /// Waits until the lock is this one's. May be given up (by dropping this future) and begun again.
    ///
    /// # Errors
    /// The session ended meanwhile ([`Error::Lost`]), the server's refusal, or that it cannot be reached.
    pub async fn acquire(&mut self) -> Result<(), Error> {
        if !self.owned {
            self.place.wait().await?;
            self.place.confirm(EXPIRED).await?;
            self.owned = true;
        }
        Ok(())
    }

    /// Gives the lock back, or leaves the line.
    ///
    /// # Errors
    /// The server's refusal, or that no answer came in time; the lock then goes with its session.
    pub async fn release(self) -> Result<(), Error> {
        self.place.leave().await
    }

    /// The key that is this lock's.
    pub fn key(&self) -> &Bytes {
        self.place.key()
    }

    /// A number that grows from holder to holder.
    pub fn revision(&self) -> i64 {
        self.place.revision()
    }

    /// The header of the answer that gave the lock.
    pub fn header(&self) -> &pb::ResponseHeader {
        self.place.header()
    }

    /// The comparison that holds as long as the lock is this one's.
    pub fn held(&self) -> pb::Compare {
        self.place.held()
    }

    /// Reads the lock's key.
    ///
    /// # Errors
    /// The server's refusal, or that no answer came in time.
    pub async fn read(&self) -> Result<pb::RangeResponse, Error> {
        self.place.read().await
    }
}
