//! A session: a lease that is kept alive for as long as its holder lives, and what hangs on it.
//!
//! Purpose: locks, elections and marks of presence end by themselves when their owner is gone. Invariants: the lease is
//! renewed by a task of its own, however busy the holder is; once it can no longer be held, [`Session::ended`] says so,
//! and it never comes back; a session that is dropped stops renewing, so that the server ends it within its time to live; a key
//! of it that is given up is gone before the next is asked for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::wire::etcdserverpb as pb;

use super::Safety;
use super::connection::Client;
use super::error::Error;

/// Seconds a session's lease lives without its holder, where the caller gives none; as in etcd's client.
pub const DEFAULT_SESSION_SECONDS: i64 = 60;

/// A lease that is kept alive.
///
/// Example, run as a test: `a_session_that_is_revoked_says_so` and `a_session_outlives_its_server_being_killed` in `tests/client_library.rs`.
#[derive(Debug)]
pub struct Session {
    client: Client,
    lease: i64,
    seconds: i64,
    renewing: JoinHandle<()>,
    alive: watch::Receiver<bool>,
    departures: Departures,
}

/// What is given up, also behind the back of somebody who was dropped.
#[derive(Clone, Debug)]
pub(super) struct Departures(Arc<Leaving>);

#[derive(Debug)]
struct Leaving {
    /// Where the client is at home: who was dropped may have been so anywhere.
    runtime: Handle,
    /// How many are under way.
    under_way: watch::Sender<usize>,
    /// Keys, each with the revision that made it, of which nobody knows whether they are gone, or will be. No more than there are keys of
    /// the session: each is looked at before it is taken anew.
    in_doubt: Mutex<Vec<(Bytes, i64)>>,
}

/// One of them, until it is done or was given up itself.
pub(super) struct Departing(Departures);

impl Departures {
    fn new(runtime: Handle) -> Self {
        Self(Arc::new(Leaving { runtime, under_way: watch::Sender::default(), in_doubt: Mutex::default() }))
    }

    /// Does it in a task of its own. Where the client's home is gone nothing more can be sent: the session's end does it then.
    pub(super) fn begin(&self, work: impl Future<Output = ()> + Send + 'static) {
        let departing = self.departs();
        self.0.runtime.spawn(async move {
            work.await;
            drop(departing);
        });
    }

    /// Counts one as long as the result is held.
    pub(super) fn departs(&self) -> Departing {
        self.0.under_way.send_modify(|under_way| *under_way += 1);
        Departing(self.clone())
    }

    fn doubts(&self) -> MutexGuard<'_, Vec<(Bytes, i64)>> {
        self.0.in_doubt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// No answer came to giving up what this revision made: a server may do it yet.
    pub(super) fn is_in_doubt(&self, key: &Bytes, revision: i64) {
        let one = (key.clone(), revision);
        let mut doubts = self.doubts();
        if !doubts.contains(&one) {
            doubts.push(one);
        }
    }

    /// What this revision made is gone, and so never given up again.
    pub(super) fn is_gone(&self, key: &Bytes, revision: i64) {
        self.doubts().retain(|(other, made)| (other, *made) != (key, revision));
    }

    /// The revisions of which it is not known whether this key, as they made it, is gone.
    pub(super) fn in_doubt(&self, key: &Bytes) -> Vec<i64> {
        self.doubts().iter().filter(|(other, _)| other == key).map(|(_, made)| *made).collect()
    }

    /// Waits until none is under way.
    pub(super) async fn done(&self) {
        // The sender is held here: it cannot be gone.
        let _ = self.0.under_way.subscribe().wait_for(|under_way| *under_way == 0).await;
    }
}

impl Drop for Departing {
    fn drop(&mut self) {
        self.0.0.under_way.send_modify(|under_way| *under_way -= 1);
    }
}

impl Client {
    /// Opens a session whose keys live for `seconds` after their holder is gone.
    ///
    /// # Errors
    /// The lease cannot be granted.
    pub async fn session(&self, seconds: i64) -> Result<Session, Error> {
        // Its time runs from the attempt that was answered: others never left.
        let (asked, granted) = self
            .call(Safety::Write, |wire| async move {
                let asked = Instant::now();
                let answer = self.lease(wire).lease_grant(pb::LeaseGrantRequest { ttl: seconds, id: 0 }).await?;
                Ok(answer.map(|granted| (asked, granted)))
            })
            .await?;
        let (lives, alive) = watch::channel(true);
        let time = Duration::from_secs(u64::try_from(granted.ttl).unwrap_or(0));
        let mut renewals = self.keep_alive_granted(granted.id, time, asked);
        let renewing = tokio::spawn(async move {
            while let Some(renewal) = renewals.next().await {
                if let Err(error) = renewal {
                    tracing::debug!(%error, "a session is no longer renewed");
                    break;
                }
            }
            // Nobody may be waiting for the end.
            let _ = lives.send(false);
        });
        let departures = Departures::new(self.runtime().clone());
        Ok(Session { client: self.clone(), lease: granted.id, seconds, renewing, alive, departures })
    }
}

impl Session {
    /// The lease. A key put with it goes when the session ends.
    pub fn lease(&self) -> i64 {
        self.lease
    }

    /// The handle on the cluster that the session was opened with.
    pub fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn departures(&self) -> &Departures {
        &self.departures
    }

    /// Waits until the session can no longer be held: its lease expired, was revoked, or cannot be renewed.
    pub async fn ended(&self) {
        let mut alive = self.alive.clone();
        // The sender goes with the task that renews; both mean the end.
        let _ = alive.wait_for(|alive| !alive).await;
    }

    /// Whether the session is still held, as far as is known here.
    pub fn is_alive(&self) -> bool {
        *self.alive.borrow()
    }

    /// Ends the session and deletes its keys. Takes no longer than the lease would take to end by itself.
    ///
    /// # Errors
    /// The server's refusal, or that no answer came in time; the lease then ends by itself.
    pub async fn close(self) -> Result<(), Error> {
        self.renewing.abort();
        let seconds = u64::try_from(self.seconds).unwrap_or(1).max(1);
        let client = self.client.within(Some(Duration::from_secs(seconds)));
        client.lease_revoke(pb::LeaseRevokeRequest { id: self.lease }).await?;
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}
