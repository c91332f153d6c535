//! A lock that many processes share.
//!
//! Invariants: at any revision one holder at most has the key that was created first, and who is told that it has the lock
//! had it at the revision of that answer; the lock goes with its session; who is not given it leaves the line.
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
/// One that is dropped, rather than released, stays until its session ends. A session has one place under a name: who asks
/// again with the same session shares it, and who gives it up gives it up for all of them.
///
/// Example, run as a test: `a_lock_is_one_holders_at_a_time_and_goes_with_its_session` in `tests/client_library.rs`.
#[derive(Debug)]
pub struct Lock {
    place: Place,
    /// Whether an answer has given it already.
    owned: bool,
}

impl Session {
    /// Takes the lock called `name`, when all who asked before have given it back.
    ///
    /// Giving up waiting (dropping this future) leaves the line, in a task of the client's runtime; what this session asks for next
    /// waits for that. Where the place itself was still being asked for, it may stay in line until the session ends; so it
    /// may where no answer came to that, or to leaving. [`Session::queue`] gives a place that can be waited at again and again.
    ///
    /// # Errors
    /// The session ended meanwhile ([`Error::Lost`]), the server's refusal, or that it cannot be reached. The line is left
    /// before the error is told. That a session ended is told when those before it are gone: [`Session::ended`] tells it at once.
    pub async fn lock(&self, name: impl AsRef<[u8]>) -> Result<Lock, Error> {
        let Taken { mut place, first, .. } = Place::take(self, name.as_ref(), Bytes::new()).await?;
        if !first {
            match place.place().first(EXPIRED).await {
                Ok(header) => place.place().was_told(header),
                Err(error) => {
                    // Whoever could not wait must not be in the way of others. The session's end does the same later.
                    let _ = place.leave().await;
                    return Err(error);
                }
            }
        }
        Ok(Lock { place: place.keep(), owned: true })
    }

    /// Takes the lock called `name` if nobody has it, and stands in line no longer otherwise.
    ///
    /// Dropping this future leaves in line what dropping [`Session::lock`] leaves there.
    ///
    /// # Errors
    /// Somebody has it ([`Error::Lost`]), the server's refusal, or that no answer came in time: the place may then stay in
    /// line until the session ends.
    pub async fn try_lock(&self, name: impl AsRef<[u8]>) -> Result<Lock, Error> {
        let Taken { place, first, .. } = Place::take(self, name.as_ref(), Bytes::new()).await?;
        if first {
            return Ok(Lock { place: place.keep(), owned: true });
        }
        place.leave().await?;
        Err(Error::Lost(LOCKED))
    }

    /// Stands in line for the lock called `name`, without waiting.
    ///
    /// # Errors
    /// The server's refusal, or that no answer came in time: the place may then stay in line until the session ends. So it
    /// may where this future is dropped.
    pub async fn queue(&self, name: impl AsRef<[u8]>) -> Result<Lock, Error> {
        let Taken { place, first, .. } = Place::take(self, name.as_ref(), Bytes::new()).await?;
        Ok(Lock { place: place.keep(), owned: first })
    }
}

impl Lock {
    /// Waits until the lock is this one's. May be given up (by dropping this future) and begun again: the place in line
    /// stays until it is released, or the session ends. Who has the lock already is told whether it still does.
    ///
    /// # Errors
    /// The session ended meanwhile, or the place was given up ([`Error::Lost`], told when those before it are gone), the
    /// server's refusal, or that it cannot be reached.
    pub async fn acquire(&mut self) -> Result<(), Error> {
        let header = self.place.first(EXPIRED).await?;
        if !self.owned {
            self.place.was_told(header);
            self.owned = true;
        }
        Ok(())
    }

    /// Gives the lock back, or leaves the line. Where this future is dropped, a task of the client's runtime does it.
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
