//! A part of the keyspace that looks like the whole of it.
//!
//! Invariants: no request reaches a key outside the prefix, whatever its range says; the prefix itself is none of its keys,
//! for it would have no name there; keys in answers have lost the prefix again.
//! Leases, members and users belong to the whole cluster and are not narrowed.

use bytes::Bytes;

use crate::wire::etcdserverpb as pb;
use crate::wire::etcdserverpb::request_op::Request;
use crate::wire::etcdserverpb::response_op::Response;
use crate::wire::mvccpb::KeyValue;

use super::connection::Client;
use super::error::Error;
use super::ranges::prefix_end;
use super::watch::{WatchRange, Watcher};

/// A handle on the keys below a prefix.
///
/// Example, run as a test: `a_namespace_is_a_keyspace_of_its_own` in `tests/client_library.rs`.
#[derive(Clone, Debug)]
pub struct Namespace {
    client: Client,
    prefix: Bytes,
}

/// A watch below a prefix.
///
/// Example, run as a test: `a_namespace_is_a_keyspace_of_its_own` in `tests/client_library.rs`.
#[derive(Debug)]
pub struct NamespaceWatcher {
    watcher: Watcher,
    prefix: Bytes,
}

impl Client {
    /// The part of the keyspace below `prefix`.
    pub fn namespace(&self, prefix: impl Into<Bytes>) -> Namespace {
        Namespace { client: self.clone(), prefix: prefix.into() }
    }
}

impl Namespace {
    /// Reads keys.
    ///
    /// # Errors
    /// As [`Client::range`]; an empty key is refused, as the server refuses it, because it would name the prefix itself.
    pub async fn range(&self, request: pb::RangeRequest) -> Result<pb::RangeResponse, Error> {
        let mut answer = self.client.range(self.range_below(request)?).await?;
        self.strip_all(&mut answer.kvs);
        Ok(answer)
    }

    /// Writes one key.
    ///
    /// # Errors
    /// As [`Client::put`]; an empty key is refused.
    pub async fn put(&self, request: pb::PutRequest) -> Result<pb::PutResponse, Error> {
        let mut answer = self.client.put(self.put_below(request)?).await?;
        self.strip_all(answer.prev_kv.as_mut_slice());
        Ok(answer)
    }

    /// Deletes keys.
    ///
    /// # Errors
    /// As [`Client::delete_range`]; an empty key is refused.
    pub async fn delete_range(&self, request: pb::DeleteRangeRequest) -> Result<pb::DeleteRangeResponse, Error> {
        let mut answer = self.client.delete_range(self.delete_below(request)?).await?;
        self.strip_all(&mut answer.prev_kvs);
        Ok(answer)
    }

    /// Compares, then does one of two lists of requests, as one.
    ///
    /// # Errors
    /// As [`Client::txn`]; an empty key is refused, also in a comparison.
    pub async fn txn(&self, request: pb::TxnRequest) -> Result<pb::TxnResponse, Error> {
        let mut answer = self.client.txn(self.txn_below(request)?).await?;
        self.strip_txn(&mut answer);
        Ok(answer)
    }

    /// Watches a range. An empty key is the smallest there may be, a zero byte, as it is for the server.
    pub fn watch(&self, range: WatchRange) -> NamespaceWatcher {
        let smallest = Bytes::from_static(b"\0");
        let first = if range.key.is_empty() { &smallest } else { &range.key };
        let (key, range_end) = self.bounds(first, &range.range_end);
        let watcher = self.client.watch(WatchRange { key, range_end, ..range });
        NamespaceWatcher { watcher, prefix: self.prefix.clone() }
    }

    /// The bounds of a range below the prefix. One that is open ends where the prefix does.
    fn bounds(&self, key: &Bytes, end: &Bytes) -> (Bytes, Bytes) {
        let below = |rest: &[u8]| Bytes::from([&self.prefix[..], rest].concat());
        let end = match &end[..] {
            [] => Bytes::new(),
            [0] => prefix_end(&self.prefix),
            end => below(end),
        };
        (below(key), end)
    }

    fn named(key: &Bytes) -> Result<(), Error> {
        if key.is_empty() {
            let text = "etcdserver: key is not provided".to_owned();
            return Err(Error::Answered(tonic::Code::InvalidArgument, text));
        }
        Ok(())
    }

    fn range_below(&self, request: pb::RangeRequest) -> Result<pb::RangeRequest, Error> {
        Self::named(&request.key)?;
        let (key, range_end) = self.bounds(&request.key, &request.range_end);
        Ok(pb::RangeRequest { key, range_end, ..request })
    }

    fn put_below(&self, request: pb::PutRequest) -> Result<pb::PutRequest, Error> {
        Self::named(&request.key)?;
        let (key, _) = self.bounds(&request.key, &Bytes::new());
        Ok(pb::PutRequest { key, ..request })
    }

    fn delete_below(&self, request: pb::DeleteRangeRequest) -> Result<pb::DeleteRangeRequest, Error> {
        Self::named(&request.key)?;
        let (key, range_end) = self.bounds(&request.key, &request.range_end);
        Ok(pb::DeleteRangeRequest { key, range_end, ..request })
    }

    fn txn_below(&self, request: pb::TxnRequest) -> Result<pb::TxnRequest, Error> {
        let compare = request.compare.into_iter().map(|compare| {
            Self::named(&compare.key)?;
            let (key, range_end) = self.bounds(&compare.key, &compare.range_end);
            Ok(pb::Compare { key, range_end, ..compare })
        });
        let ops = |ops: Vec<pb::RequestOp>| ops.into_iter().map(|op| self.op_below(op)).collect::<Result<Vec<_>, _>>();
        Ok(pb::TxnRequest {
            compare: compare.collect::<Result<_, Error>>()?,
            success: ops(request.success)?,
            failure: ops(request.failure)?,
        })
    }

    fn op_below(&self, op: pb::RequestOp) -> Result<pb::RequestOp, Error> {
        let request = match op.request {
            Some(Request::RequestRange(request)) => Some(Request::RequestRange(self.range_below(request)?)),
            Some(Request::RequestPut(request)) => Some(Request::RequestPut(self.put_below(request)?)),
            Some(Request::RequestDeleteRange(request)) => {
                Some(Request::RequestDeleteRange(self.delete_below(request)?))
            }
            Some(Request::RequestTxn(request)) => Some(Request::RequestTxn(self.txn_below(request)?)),
            None => None,
        };
        Ok(pb::RequestOp { request })
    }

    fn strip_all(&self, kvs: &mut [KeyValue]) {
        kvs.iter_mut().for_each(|kv| strip(&self.prefix, kv));
    }

    fn strip_txn(&self, answer: &mut pb::TxnResponse) {
        for response in &mut answer.responses {
            match &mut response.response {
                Some(Response::ResponseRange(range)) => self.strip_all(&mut range.kvs),
                Some(Response::ResponsePut(put)) => self.strip_all(put.prev_kv.as_mut_slice()),
                Some(Response::ResponseDeleteRange(delete)) => self.strip_all(&mut delete.prev_kvs),
                Some(Response::ResponseTxn(txn)) => self.strip_txn(txn),
                None => {}
            }
        }
    }
}

impl NamespaceWatcher {
    /// As [`Watcher::next`], with keys as they are called below the prefix.
    ///
    /// # Errors
    /// As [`Watcher::next`].
    pub async fn next(&mut self) -> Option<Result<pb::WatchResponse, Error>> {
        let response = self.watcher.next().await?;
        Some(response.map(|mut response| {
            for event in &mut response.events {
                event.kv.as_mut_slice().iter_mut().for_each(|kv| strip(&self.prefix, kv));
                event.prev_kv.as_mut_slice().iter_mut().for_each(|kv| strip(&self.prefix, kv));
            }
            response
        }))
    }

    /// As [`Watcher::request_progress`].
    pub fn request_progress(&mut self) {
        self.watcher.request_progress();
    }

    /// As [`Watcher::next_revision`]: revisions are those of the whole cluster.
    pub fn next_revision(&self) -> i64 {
        self.watcher.next_revision()
    }
}

fn strip(prefix: &Bytes, kv: &mut KeyValue) {
    if kv.key.starts_with(prefix) {
        kv.key = kv.key.slice(prefix.len()..);
    }
}
