//! Keeping a lease alive.
//!
//! Invariants: one request is on the way at a time, a third of the granted time after the last answer; a
//! broken stream is opened anew until the lease must have ended; an answer of no time left ends the stream.

use std::time::Duration;

use futures_channel::mpsc::{Sender, channel};
use futures_util::StreamExt as _;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tonic::{Status, Streaming};

use crate::wire::etcdserverpb as pb;

use super::connection::Client;
use super::error::{Error, lost};

/// Time a lease is taken to have before the first answer, as in etcd's client.
const FIRST_TTL: Duration = Duration::from_secs(5);

/// Wait before a broken stream is opened anew, as in etcd's client.
const REOPEN_AFTER: Duration = Duration::from_millis(500);

/// A stream that renews one lease for as long as [`KeepAlive::next`] is called.
#[derive(Debug)]
pub struct KeepAlive {
    client: Client,
    id: i64,
    /// When the next request is due.
    due: Instant,
    /// When the lease has ended unless an answer comes.
    ends: Instant,
    stream: Option<(Sender<pb::LeaseKeepAliveRequest>, Streaming<pb::LeaseKeepAliveResponse>)>,
}

impl Client {
    /// Renews a lease once.
    ///
    /// # Errors
    /// The server's refusal, that the lease is not there, or that no answer came in time.
    pub async fn keep_alive_once(&self, id: i64) -> Result<pb::LeaseKeepAliveResponse, Error> {
        // Renewing twice is renewing: safe to repeat.
        let mut answers = self
            .call(super::Safety::Read, |wire| async move {
                let request = futures_util::stream::iter([pb::LeaseKeepAliveRequest { id }]);
                self.lease(wire).lease_keep_alive(request).await
            })
            .await?;
        let answer = self
            .rest(async {
                match answers.next().await {
                    Some(answer) => Ok(answer?),
                    None => Err(Error::StreamEnded),
                }
            })
            .await?;
        if answer.ttl <= 0 {
            return Err(Error::Answered(tonic::Code::NotFound, "etcdserver: requested lease not found".to_owned()));
        }
        Ok(answer)
    }

    /// Renews a lease until it ends or the result is dropped.
    pub fn keep_alive(&self, id: i64) -> KeepAlive {
        let now = Instant::now();
        KeepAlive { client: self.clone(), id, due: now, ends: now + FIRST_TTL, stream: None }
    }
}

impl KeepAlive {
    /// Renews once more, when due, and gives the answer; `None` once the lease has ended or was revoked.
    ///
    /// # Errors
    /// A refusal that another stream would meet again.
    pub async fn next(&mut self) -> Option<Result<pb::LeaseKeepAliveResponse, Error>> {
        sleep_until(self.due).await;
        let mut refreshed = false;
        loop {
            let ends = self.ends;
            match timeout_at(ends, self.renew()).await {
                Err(_) => return None,
                Ok(Ok(answer)) => {
                    let granted = u64::try_from(answer.ttl).unwrap_or(0);
                    if granted == 0 {
                        return None;
                    }
                    let granted = Duration::from_secs(granted);
                    self.due = Instant::now() + granted / 3;
                    self.ends = Instant::now() + granted;
                    return Some(Ok(answer));
                }
                Ok(Err(status)) => {
                    self.stream = None;
                    if self.client.may_refresh(status.message()) && !refreshed {
                        refreshed = true;
                        if let Err(error) = self.client.authenticate().await {
                            return Some(Err(error));
                        }
                        continue;
                    }
                    if !matches!(status.code(), tonic::Code::Unavailable | tonic::Code::Internal) && !lost(&status) {
                        return Some(Err(status.into()));
                    }
                    sleep(REOPEN_AFTER).await;
                }
            }
        }
    }

    async fn renew(&mut self) -> Result<pb::LeaseKeepAliveResponse, Status> {
        let request = pb::LeaseKeepAliveRequest { id: self.id };
        match &mut self.stream {
            Some((requests, _)) => requests
                .try_send(request)
                .map_err(|_| Status::unavailable("the keep-alive stream takes no requests"))?,
            None => {
                let (mut requests, waiting) = channel(1);
                requests.try_send(request).expect("a fresh channel has room for one request");
                let wire = self.client.stream_wire(true);
                let answers = self.client.lease(wire).lease_keep_alive(waiting).await?.into_inner();
                self.stream = Some((requests, answers));
            }
        }
        let (_, answers) = self.stream.as_mut().expect("the stream was opened above");
        match answers.next().await {
            Some(answer) => answer,
            None => Err(Status::unavailable("the keep-alive stream ended")),
        }
    }
}
