//! What locks and elections share: keys under one prefix, of which the oldest has won.
//!
//! Invariants: whoever waits for those before it watches one key, the newest of them, so that the end of one wakes one; who
//! stops waiting leaves nothing behind, also when its client goes away; failures leave as etcd's do from here, with their
//! text and the code of what is unknown. Does not know what is won.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::api::session::Session;
use crate::base::{EventKind, KeyRange, Refusal};
use crate::driver::{WatchReader, WatchStream};
use crate::env::Env;
use crate::watch::{SharedEvent, WatchMessage, WatchSpec};
use crate::wire::etcdserverpb as pb;
use pb::compare::{CompareResult, CompareTarget, TargetUnion};
use pb::range_request::{SortOrder, SortTarget};
use pb::request_op::Request;

/// Seconds of the lease that is made for who brings none, as in etcd.
const SESSION_TTL: i64 = 60;

/// Pause before a full node is told again.
const CROWDED_PAUSE: Duration = Duration::from_millis(2);

/// The prefix of all who contend for `name`.
pub fn prefix_of(name: &[u8]) -> Bytes {
    [name, b"/"].concat().into()
}

/// The key of the one with this lease.
pub fn key_of(prefix: &[u8], lease: i64) -> Bytes {
    let sign = if lease < 0 { "-" } else { "" };
    [prefix, format!("{sign}{:x}", lease.unsigned_abs()).as_bytes()].concat().into()
}

/// What begins with a prefix that ends in a slash.
fn end_of(prefix: &[u8]) -> Bytes {
    let before = prefix.strip_suffix(b"/").expect("every prefix here was made by `prefix_of`");
    [before, b"0"].concat().into()
}

/// Every key under a prefix.
pub fn all_under(prefix: Bytes) -> KeyRange {
    let end = end_of(&prefix);
    KeyRange::from_wire(prefix, end)
}

/// Asks for one key.
pub fn key(key: Bytes) -> pb::RangeRequest {
    pb::RangeRequest { key, ..Default::default() }
}

/// Asks for the oldest of all under a prefix.
pub fn oldest(prefix: Bytes) -> pb::RangeRequest {
    let range_end = end_of(&prefix);
    let (sort_order, sort_target) = (SortOrder::Ascend as i32, SortTarget::Create as i32);
    pb::RangeRequest { key: prefix, range_end, limit: 1, sort_order, sort_target, ..Default::default() }
}

/// Asks for the newest that is no younger than `revision`.
fn newest_until(prefix: Bytes, revision: i64) -> pb::RangeRequest {
    let sort_order = SortOrder::Descend as i32;
    pb::RangeRequest { sort_order, max_create_revision: revision, ..oldest(prefix) }
}

/// Holds where a key was made at a revision; at 0 where it is not there.
pub fn made_at(key: Bytes, revision: i64) -> pb::Compare {
    pb::Compare {
        result: CompareResult::Equal as i32,
        target: CompareTarget::Create as i32,
        key,
        target_union: Some(TargetUnion::CreateRevision(revision)),
        ..Default::default()
    }
}

/// A transaction of a compare and what follows from it.
pub fn when(compare: pb::Compare, success: Vec<Request>, failure: Vec<Request>) -> pb::TxnRequest {
    let ops = |ops: Vec<Request>| ops.into_iter().map(|op| pb::RequestOp { request: Some(op) }).collect();
    pb::TxnRequest { compare: vec![compare], success: ops(success), failure: ops(failure) }
}

/// The key-values of the range that stands at this place in a transaction's answer.
pub fn found(answer: &mut pb::TxnResponse, place: usize) -> Vec<crate::wire::mvccpb::KeyValue> {
    match answer.responses.get_mut(place).and_then(|op| op.response.take()) {
        Some(pb::response_op::Response::ResponseRange(range)) => range.kvs,
        _ => Vec::new(),
    }
}

/// The revision of an answer.
pub fn revision_of(header: Option<&pb::ResponseHeader>) -> i64 {
    header.map_or(0, |header| header.revision)
}

/// etcd answers these two services from a client of its own, whose errors keep their text and lose their code.
pub fn told(refusal: Refusal) -> Refusal {
    Refusal::Told(refusal.text().to_string())
}

/// A refusal that has no other word.
pub fn because(text: &str) -> Refusal {
    Refusal::Told(text.to_string())
}

/// Events under a range, one by one.
pub struct Events<E: Env> {
    /// Keeps the stream open.
    _stream: WatchStream<E>,
    reader: WatchReader,
    /// Told when the node has ended.
    ended: tokio::sync::watch::Receiver<bool>,
    /// Each with the revision of the message it came in.
    ready: VecDeque<(i64, Arc<SharedEvent>)>,
}

impl<E: Env> Events<E> {
    /// Those from a revision on.
    pub async fn open(session: &Session<E>, range: KeyRange, start_revision: i64) -> Result<Self, Refusal> {
        let asker = session.asker().await?;
        let (stream, reader) = session.handle.open_watch_stream().await?;
        let spec = WatchSpec::events(range, start_revision);
        while let Err(refusal) = stream.create_for(Ok(asker.clone()), spec.clone()) {
            if refusal != Refusal::TooManyRequests {
                return Err(refusal);
            }
            tokio::time::sleep(CROWDED_PAUSE).await;
        }
        Ok(Self { _stream: stream, reader, ended: session.ended(), ready: VecDeque::new() })
    }

    /// The next event, with the revision of the message it came in.
    pub async fn next(&mut self) -> Result<(i64, Arc<SharedEvent>), Refusal> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            let batch = tokio::select! {
                biased;
                batch = self.reader.next_batch() => batch,
                _ = self.ended.wait_for(|ended| *ended) => None,
            };
            for message in batch.ok_or(Refusal::Stopped)? {
                match message {
                    WatchMessage::Created { .. } | WatchMessage::Progress { .. } => {}
                    WatchMessage::Events { revision, events, .. } => {
                        self.ready.extend(events.iter().map(|event| (revision, event.clone())));
                    }
                    WatchMessage::Canceled { compact_revision: 0, .. } => return Err(Refusal::WatchCanceled),
                    WatchMessage::Canceled { .. } => return Err(Refusal::Compacted),
                    WatchMessage::Refused { reason, .. } => return Err(because(&reason)),
                    WatchMessage::Cut { .. } => return Err(Refusal::PermissionDenied),
                }
            }
        }
    }
}

impl<E: Env> Session<E> {
    /// The lease to contend with: the given one, or a new one.
    pub async fn lease_to_contend(&self, lease: i64) -> Result<i64, Refusal> {
        if lease != 0 {
            return Ok(lease);
        }
        Ok(self.lease_grant(pb::LeaseGrantRequest { ttl: SESSION_TTL, id: 0 }).await?.id)
    }

    /// Waits until all under a prefix that were made at a revision or before are gone.
    pub async fn wait_for_older(&self, prefix: &Bytes, revision: i64) -> Result<(), Refusal> {
        loop {
            let answer = self.range(newest_until(prefix.clone(), revision)).await?;
            let since = revision_of(answer.header.as_ref());
            let Some(last) = answer.kvs.into_iter().next() else { return Ok(()) };
            let mut events = Events::open(self, KeyRange::single(last.key), since).await?;
            while events.next().await?.1.event.kind != EventKind::Delete {}
        }
    }
}

/// What is to be undone when somebody stops contending before it has won.
pub struct Leaving<E: Env> {
    session: Session<E>,
    undo: Option<pb::TxnRequest>,
}

impl<E: Env> Leaving<E> {
    /// Undone unless something else is said.
    pub fn unless_told(session: &Session<E>, undo: pb::TxnRequest) -> Self {
        Self { session: session.clone(), undo: Some(undo) }
    }

    /// There is nothing to undo.
    pub fn stay(mut self) {
        self.undo = None;
    }

    /// Undoes it before something else is done.
    pub async fn leave(mut self) {
        if let Some(undo) = self.undo.take() {
            // Should it fail, the lease's end does it.
            let _ = self.session.txn(undo).await;
        }
    }
}

impl<E: Env> Drop for Leaving<E> {
    fn drop(&mut self) {
        let Some(undo) = self.undo.take() else { return };
        let session = self.session.clone();
        tokio::spawn(async move {
            let _ = session.txn(undo).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_etcds() {
        let prefix = prefix_of(b"a");
        assert_eq!(key_of(&prefix, 0x4e), "a/4e");
        assert_eq!(key_of(&prefix, -0x4e), "a/-4e");
        assert_eq!(key_of(&prefix, i64::MIN), "a/-8000000000000000");
        assert_eq!(prefix_of(b""), "/");
        let under = all_under(prefix);
        assert!(under.contains(b"a/") && under.contains(b"a/\xff") && !under.contains(b"a") && !under.contains(b"a0"));
    }
}
