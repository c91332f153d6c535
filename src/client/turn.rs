//! Standing in line for something that one at a time may have: what locks and elections share.
//!
//! Invariants: a place in line is a key of a session under a common prefix; whose key was created first has the thing, and
//! who is told so had at that revision the very key that it put; a place goes with its session, and is left explicitly
//! otherwise, also where nobody came to know of it. Keys are those of etcd's own recipes, so that
//! clients of both makes stand in one line.

use bytes::Bytes;

use crate::wire::etcdserverpb as pb;
use crate::wire::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::wire::etcdserverpb::range_request::{SortOrder, SortTarget};
use crate::wire::etcdserverpb::request_op::Request;
use crate::wire::etcdserverpb::response_op::Response;
use crate::wire::mvccpb::KeyValue;
use crate::wire::mvccpb::event::EventType;

use super::connection::Client;
use super::error::Error;
use super::ranges::prefix_end;
use super::session::{Departures, Session};
use super::watch::WatchRange;

/// A place in line.
#[derive(Debug)]
pub struct Place {
    client: Client,
    prefix: Bytes,
    key: Bytes,
    lease: i64,
    /// The revision that created the key.
    revision: i64,
    header: pb::ResponseHeader,
    departures: Departures,
}

/// A place of which nobody knows yet, or any more: it is left again unless it is kept, also by who is dropped on the way.
#[derive(Debug)]
pub struct Unsettled(Option<Place>);

/// What was found on taking a place.
#[derive(Debug)]
pub struct Taken {
    /// The place.
    pub place: Unsettled,
    /// Whether nobody stands before it.
    pub first: bool,
    /// The value the place had already, where this session stood in line before.
    pub before: Option<Bytes>,
}

impl Place {
    /// Takes the session's place in the line called `name`, or finds it where it was taken already. A place of it that is
    /// being left, or may be by a server that gave no answer yet, is not found.
    ///
    /// # Errors
    /// The server's refusal, or that no answer came in time: the key may be there then, and goes with the session. So it
    /// may where this future is dropped.
    pub async fn take(session: &Session, name: &[u8], value: Bytes) -> Result<Taken, Error> {
        session.departures().done().await;
        let departures = session.departures().clone();
        let client = session.client().clone();
        let lease = session.lease();
        let prefix = line_prefix(name);
        let key = Bytes::from([&prefix[..], format!("{lease:x}").as_bytes()].concat());
        for revision in departures.in_doubt(&key) {
            // Done twice it is done once; and what is still under way then finds nothing of that revision.
            take_away(&client, &key, revision).await?;
            departures.is_gone(&key, revision);
        }
        let put = pb::PutRequest { key: key.clone(), value, lease, ..Default::default() };
        let own = pb::RangeRequest { key: key.clone(), ..Default::default() };
        let request = pb::TxnRequest {
            compare: vec![created(&key, 0)],
            success: vec![op(Request::RequestPut(put)), op(Request::RequestRange(first_of(&prefix)))],
            failure: vec![op(Request::RequestRange(own)), op(Request::RequestRange(first_of(&prefix)))],
        };
        let answer = client.txn(request).await?;
        let header = answer.header.unwrap_or_default();
        let mut parts = answer.responses.into_iter().map(|part| match part.response {
            Some(Response::ResponseRange(range)) => range.kvs,
            _ => Vec::new(),
        });
        let own = parts.next().unwrap_or_default();
        let owner = parts.next().unwrap_or_default();
        let revision = own.first().map_or(header.revision, |kv| kv.create_revision);
        let first = owner.first().is_none_or(|kv| kv.create_revision == revision);
        let before = own.into_iter().next().map(|kv| kv.value);
        let place = Place { client, prefix, key, lease, revision, header, departures };
        Ok(Taken { place: Unsettled(Some(place)), first, before })
    }

    /// Waits until this place is the first in line, and gives the header of the answer that shows it. Whoever gives up
    /// waiting still stands in line.
    ///
    /// # Errors
    /// [`Error::Lost`] with `lost` where the place is not there any more once nobody stands before it, the server's
    /// refusal, or that it cannot be reached.
    pub async fn first(&self, lost: &'static str) -> Result<pb::ResponseHeader, Error> {
        self.wait().await?;
        // Nobody can come to stand before it any more: it is the first one as long as it is there.
        let answer = self.read().await?;
        match answer.kvs.first() {
            Some(kv) if kv.create_revision == self.revision => Ok(answer.header.unwrap_or_default()),
            // Its session has ended, or it was left, and another was taken under the same key.
            _ => Err(Error::Lost(lost)),
        }
    }

    async fn wait(&self) -> Result<(), Error> {
        loop {
            let before = pb::RangeRequest {
                sort_order: SortOrder::Descend as i32,
                max_create_revision: self.revision - 1,
                ..first_of(&self.prefix)
            };
            let answer = self.client.range(before).await?;
            let Some(last) = answer.kvs.into_iter().next() else { return Ok(()) };
            let revision = answer.header.map_or(0, |header| header.revision);
            wait_for_delete(&self.client, last.key, revision).await?;
        }
    }

    /// Reads the key of the place.
    ///
    /// # Errors
    /// The server's refusal, or that no answer came in time.
    pub async fn read(&self) -> Result<pb::RangeResponse, Error> {
        self.client.range(pb::RangeRequest { key: self.key.clone(), ..Default::default() }).await
    }

    /// Puts another value on the place, as long as it is there.
    ///
    /// # Errors
    /// [`Error::Lost`] with `lost` where it is not, the server's refusal, or that no answer came in time.
    pub async fn say(&mut self, value: Bytes, lost: &'static str) -> Result<(), Error> {
        let put = pb::PutRequest { key: self.key.clone(), value, lease: self.lease, ..Default::default() };
        let request =
            pb::TxnRequest { compare: vec![self.held()], success: vec![op(Request::RequestPut(put))], failure: vec![] };
        let answer = self.client.txn(request).await?;
        if !answer.succeeded {
            return Err(Error::Lost(lost));
        }
        self.header = answer.header.unwrap_or_default();
        Ok(())
    }

    /// Leaves the line, also where this future is dropped on the way. A place that is another's by now (the name taken anew) is
    /// left alone.
    ///
    /// # Errors
    /// The server's refusal, or that no answer came in time; the place then goes with its session.
    pub async fn leave(self) -> Result<(), Error> {
        Unsettled(Some(self)).leave().await
    }

    async fn take_away(&self) -> Result<(), Error> {
        let left = take_away(&self.client, &self.key, self.revision).await;
        if left.is_err() {
            self.departures.is_in_doubt(&self.key, self.revision);
        }
        left
    }

    /// From now on this is the last answer about the place.
    pub fn was_told(&mut self, header: pb::ResponseHeader) {
        self.header = header;
    }

    /// The key of the place.
    pub fn key(&self) -> &Bytes {
        &self.key
    }

    /// The revision that made the place. It grows from owner to owner, so it fences off a late one.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The header of the last answer about the place.
    pub fn header(&self) -> &pb::ResponseHeader {
        &self.header
    }

    /// The comparison that holds as long as this place is there: put it into a transaction that only its owner may do.
    pub fn held(&self) -> pb::Compare {
        created(&self.key, self.revision)
    }
}

impl Unsettled {
    /// The place, from now on somebody's who knows of it.
    pub fn keep(mut self) -> Place {
        self.0.take().expect("a place is there until it is kept")
    }

    /// The place.
    pub fn place(&mut self) -> &mut Place {
        self.0.as_mut().expect("a place is there until it is kept")
    }

    /// Leaves the line before something else is done.
    ///
    /// # Errors
    /// The server's refusal, or that no answer came in time; the place then goes with its session.
    pub async fn leave(self) -> Result<(), Error> {
        // Declared first, so that it counts until the place, where this future is dropped, is left otherwise.
        let _departing = self.0.as_ref().map(|place| place.departures.departs());
        let mut unsettled = self;
        let left = unsettled.place().take_away().await;
        unsettled.0 = None;
        left
    }
}

impl Drop for Unsettled {
    fn drop(&mut self) {
        let Some(place) = self.0.take() else { return };
        let departures = place.departures.clone();
        departures.begin(async move {
            if let Err(error) = place.take_away().await {
                tracing::debug!(%error, "a place that nobody knows of goes with its session");
            }
        });
    }
}

/// Deletes a key as this revision made it, where it is there.
async fn take_away(client: &Client, key: &Bytes, revision: i64) -> Result<(), Error> {
    let delete = pb::DeleteRangeRequest { key: key.clone(), ..Default::default() };
    let request = pb::TxnRequest {
        compare: vec![created(key, revision)],
        success: vec![op(Request::RequestDeleteRange(delete))],
        failure: vec![],
    };
    client.txn(request).await?;
    Ok(())
}

/// Where the keys of a line stand.
pub fn line_prefix(name: &[u8]) -> Bytes {
    Bytes::from([name, b"/"].concat())
}

/// Asks for the key below `prefix` that was created first.
pub fn first_of(prefix: &Bytes) -> pb::RangeRequest {
    pb::RangeRequest {
        key: prefix.clone(),
        range_end: prefix_end(prefix),
        limit: 1,
        sort_order: SortOrder::Ascend as i32,
        sort_target: SortTarget::Create as i32,
        ..Default::default()
    }
}

fn op(request: Request) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

fn created(key: &Bytes, revision: i64) -> pb::Compare {
    pb::Compare {
        result: CompareResult::Equal as i32,
        target: CompareTarget::Create as i32,
        key: key.clone(),
        target_union: Some(TargetUnion::CreateRevision(revision)),
        range_end: Bytes::new(),
    }
}

/// Waits for a key to be deleted at `revision` or later.
async fn wait_for_delete(client: &Client, key: Bytes, revision: i64) -> Result<(), Error> {
    let mut watcher = client.watch(WatchRange { key, start_revision: revision, ..WatchRange::default() });
    while let Some(response) = watcher.next().await {
        let response = response?;
        if response.events.iter().any(|event| event.r#type == EventType::Delete as i32) {
            return Ok(());
        }
        if response.compact_revision != 0 {
            // Older than what is kept: whether it was deleted is asked again.
            return Ok(());
        }
        if response.canceled {
            return Err(Error::Answered(tonic::Code::Unknown, response.cancel_reason));
        }
    }
    Err(Error::StreamEnded)
}

/// The pair that has the line called `name`, where somebody has it.
///
/// # Errors
/// The server's refusal, or that no answer came in time.
pub async fn first_in(client: &Client, name: &[u8]) -> Result<(pb::ResponseHeader, Option<KeyValue>), Error> {
    let answer = client.range(first_of(&line_prefix(name))).await?;
    Ok((answer.header.unwrap_or_default(), answer.kvs.into_iter().next()))
}
