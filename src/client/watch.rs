//! A watch that outlives its stream.
//!
//! Purpose: deliver the events of a range from a revision on, over as many streams as it takes. Invariants:
//! each event is delivered once and in order; after a break the next stream starts at the revision after the
//! last one delivered (or announced by a progress notice); a refusal by the server ends the watch, a broken
//! connection does not, nor a token that nobody can give at the time. It holds one stream and no queue: the reader's pace is the stream's.

use bytes::Bytes;
use futures_channel::mpsc::{Sender, channel};
use futures_util::StreamExt as _;
use tokio::time::{Instant, sleep_until};
use tonic::{Code, Status, Streaming};

use crate::wire::etcdserverpb as pb;
use crate::wire::etcdserverpb::watch_request::RequestUnion;
use crate::wire::services::watch_client::WatchClient;

use super::connection::Client;
use super::error::{Error, lost};
use super::refreshes::Refreshes;
use super::silence::Waiting;
use super::token::Token;

/// Requests waiting to leave on one watch stream: the creation and a few progress requests.
const REQUESTS_WAITING: usize = 16;

/// What to watch.
#[derive(Clone, Debug, Default)]
pub struct WatchRange {
    /// First key.
    pub key: Bytes,
    /// End of the range as etcd writes it: empty is the one key, a zero byte is all keys from `key` on.
    pub range_end: Bytes,
    /// First revision wanted; 0 is from now on.
    pub start_revision: i64,
    /// Also deliver the server's notices of how far the watch has come.
    pub progress_notify: bool,
    /// Put the former key-value pair on each event.
    pub prev_kv: bool,
    /// End the watch where the member that holds it has no leader; otherwise another one is asked, until one has.
    pub ends_without_leader: bool,
}

/// A running watch; dropping it ends it.
///
/// Example, run as a test: `a_watch_goes_on_over_the_death_of_its_server_and_sees_each_change_once` in `tests/client_library.rs`.
#[derive(Debug)]
pub struct Watcher {
    client: Client,
    range: WatchRange,
    /// First revision not yet delivered; 0 while the server has not said where "now" is.
    next: i64,
    stream: Option<Line>,
    over: bool,
    /// Streams that broke in a row without delivering.
    broken: usize,
    /// When another token is fetched before the next stream is opened: the last was refused for its own.
    stale: Option<Instant>,
    /// How often a token was asked for since a stream was taken in.
    refreshes: Refreshes,
    /// What the last stream was opened with.
    token: Token,
}

/// A stream to one member.
#[derive(Debug)]
struct Line {
    /// The member's place among the endpoints.
    place: usize,
    requests: Sender<pb::WatchRequest>,
    responses: Streaming<pb::WatchResponse>,
    /// Until anything has come.
    waiting: Option<Waiting>,
}

impl Client {
    /// Watches a range. The stream is opened by the first [`Watcher::next`].
    pub fn watch(&self, range: WatchRange) -> Watcher {
        let next = range.start_revision;
        let client = self.clone();
        let (stream, token, refreshes) = (None, Token::default(), Refreshes::default());
        Watcher { client, range, next, stream, over: false, broken: 0, stale: None, refreshes, token }
    }
}

impl Watcher {
    /// The next response with events, progress or the server's cancellation; `None` once the watch is over.
    ///
    /// A cancellation is delivered as the last response. Losing it midway (dropping this future) loses nothing.
    ///
    /// # Errors
    /// A refusal that another stream would meet again, or of the password; the watch is then over.
    pub async fn next(&mut self) -> Option<Result<pb::WatchResponse, Error>> {
        while !self.over {
            if let Some(due) = self.stale
                && let Err(error) = self.renews(due).await
            {
                self.over = true;
                return Some(Err(error));
            }
            match self.receive().await {
                Ok(response) if response.canceled && self.is_stale(&response.cancel_reason) => {}
                Ok(response) => {
                    if let Some(response) = self.hears(response) {
                        return Some(Ok(response));
                    }
                }
                Err(status) if may_resume(&status, self.range.ends_without_leader) => {
                    self.stream = None;
                    self.broken += 1;
                    self.client.pause(self.broken).await;
                }
                Err(status) if self.is_stale(status.message()) => {}
                Err(status) => {
                    self.over = true;
                    return Some(Err(status.into()));
                }
            }
        }
        None
    }

    /// Asks the server to say how far the watch has come; the answer comes through [`Watcher::next`].
    /// Does nothing while no stream is open or the request line is full: the server would answer nothing new.
    pub fn request_progress(&mut self) {
        let request = RequestUnion::ProgressRequest(pb::WatchProgressRequest {});
        if let Some(line) = &mut self.stream {
            let full_or_closed = line.requests.try_send(pb::WatchRequest { request_union: Some(request) }).is_err();
            if full_or_closed {
                tracing::debug!("a progress request was not sent");
            }
        }
    }

    /// First revision the watch has not delivered; 0 while unknown.
    pub fn next_revision(&self) -> i64 {
        self.next
    }

    /// Whether the stream was refused for the token it had, so that it is opened anew with another: until one is taken in as often as a
    /// request would be asked again.
    fn is_stale(&mut self, why: &str) -> bool {
        let is_stale = self.client.may_refresh(why) && self.refreshes.one_more(why, self.token.age());
        if is_stale {
            self.stream = None;
            // A point in time: who gives up waiting again and again comes to it all the same.
            self.stale = Some(Instant::now() + self.refreshes.pause());
        }
        is_stale
    }

    /// Fetches another token, however long it takes: who is to give it may be away, as who is watched at may be.
    async fn renews(&mut self, due: Instant) -> Result<(), Error> {
        sleep_until(due).await;
        if !self.client.refresh(&self.token, usize::MAX).await? {
            self.refreshes.was_made_by_another();
        }
        self.stale = None;
        Ok(())
    }

    /// What the caller should see of a response. Only that makes streams that break worth no pause: the next may be taken in, and broken at once.
    fn hears(&mut self, response: pb::WatchResponse) -> Option<pb::WatchResponse> {
        self.refreshes = Refreshes::default();
        let response = self.take(response)?;
        self.broken = 0;
        Some(response)
    }

    async fn receive(&mut self) -> Result<pb::WatchResponse, Status> {
        if self.stream.is_none() {
            self.token = self.client.token();
            self.stream = Some(self.open().await?);
        }
        let line = self.stream.as_mut().expect("the stream was opened above");
        let response = match line.responses.next().await {
            Some(response) => response,
            None => Err(Status::unavailable("the watch stream ended")),
        };
        if line.waiting.take().is_some() || response.is_err() {
            self.client.endpoints().stream_was_told(line.place, &response);
        }
        response
    }

    async fn open(&self) -> Result<Line, Status> {
        let create = pb::WatchCreateRequest {
            key: self.range.key.clone(),
            range_end: self.range.range_end.clone(),
            start_revision: self.next,
            progress_notify: self.range.progress_notify,
            prev_kv: self.range.prev_kv,
            ..Default::default()
        };
        let (mut requests, outgoing) = channel(REQUESTS_WAITING);
        let create = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        requests.try_send(create).expect("a fresh channel has room for the creation");
        let (place, wire) = self.client.stream_wire().await?;
        let waiting = Some(self.client.endpoints().stream_asks(place));
        let mut stub = WatchClient::new(wire).max_decoding_message_size(self.client.options().max_response_bytes);
        let opened = stub.watch(outgoing).await;
        if opened.is_err() {
            self.client.endpoints().stream_was_told(place, &opened);
        }
        Ok(Line { place, requests, responses: opened?.into_inner(), waiting })
    }

    /// Moves the mark over one response and says whether the caller should see it.
    fn take(&mut self, mut response: pb::WatchResponse) -> Option<pb::WatchResponse> {
        let revision = response.header.as_ref().map_or(0, |header| header.revision);
        if response.canceled {
            self.over = true;
            return Some(response);
        }
        if response.created {
            // "From now on" becomes a revision, so that a break before the first event loses nothing.
            if self.next == 0 {
                self.next = revision + 1;
            }
            return None;
        }
        if response.events.is_empty() {
            self.next = self.next.max(revision + 1);
            return Some(response);
        }
        let next = self.next;
        response.events.retain(|event| mod_revision(event) >= next);
        let last = response.events.last()?;
        self.next = mod_revision(last) + 1;
        assert!(self.next > next, "a watch moves forward only");
        Some(response)
    }
}

fn mod_revision(event: &crate::wire::mvccpb::Event) -> i64 {
    event.kv.as_ref().map_or(0, |kv| kv.mod_revision)
}

/// A break is worth another stream when the server is expected back: unavailable, or a transport gone wrong. What a server
/// or a proxy says in any other words it would say again.
fn may_resume(status: &Status, ends_without_leader: bool) -> bool {
    let away = matches!(status.code(), Code::Unavailable | Code::Internal) || lost(status);
    away && !(ends_without_leader && status.message() == "etcdserver: no leader")
}

#[cfg(test)]
mod tests;
