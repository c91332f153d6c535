//! Service Watch: one stream, many watchers.
//!
//! A task reads what the client wants and tells the node; the answers come from the node's bounded buffer in
//! the order the hub put them there, so that nothing overtakes.
//!
//! Invariants: nothing is queued here beyond the batch in hand; a client that has said everything is still told
//! of events until it goes away, as in etcd.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tonic::{Status, Streaming};

use crate::api::methods::Rpc;
use crate::api::services::watch_frames::{RawWatchResponse, WatchPieces, encode_event, split};
use crate::api::services::watch_spans::WatchSpans;
use crate::api::session::Session;
use crate::api::status::status_of;
use crate::api::transport::inbound::received;
use crate::api::transport::streams::Answers;
use crate::auth::Asker;
use crate::base::{KeyRange, Refusal};
use crate::driver::{WatchReader, WatchStream};
use crate::env::Env;
use crate::watch::{WatchMessage, WatchSpec};
use crate::wire::etcdserverpb as pb;
use pb::watch_create_request::FilterType;
use pb::watch_request::RequestUnion;

/// The id in answers that concern no watcher.
const NO_WATCHER: i64 = -1;

/// The answers of one watch stream.
pub struct WatchAnswers<E: Env> {
    session: Session<E>,
    reader: WatchReader,
    /// Answers made from the last batch.
    ready: VecDeque<RawWatchResponse>,
    /// How the client's side failed.
    failed: oneshot::Receiver<Status>,
    wishes: AbortHandle,
    /// Where watchers are told of.
    spans: Option<WatchSpans>,
}

impl<E: Env> WatchAnswers<E> {
    /// Opens a stream and begins to read what the client wants.
    pub async fn open(session: Session<E>, inbound: Streaming<pb::WatchRequest>) -> Result<Self, Refusal> {
        let (stream, reader) = {
            let asker = session.asker().await.unwrap_or_default();
            let patron = session.guest().patron(asker.as_ref());
            session.handle.open_watch_stream_for(&patron.account).await?
        };
        let (fail, failed) = oneshot::channel();
        let (service, room) = (session.clone(), reader.clone());
        let spans = session.trace().cloned().map(WatchSpans::new);
        let wished = spans.clone();
        let wishes = tokio::spawn(async move {
            // The failure is told before the stream is closed. Nobody listens if the answers were dropped first.
            let _ = fail.send(obey(&service, &stream, &room, wished.as_ref(), inbound).await);
        });
        Ok(Self { session, reader, ready: VecDeque::new(), failed, wishes: wishes.abort_handle(), spans })
    }
}

impl<E: Env> Drop for WatchAnswers<E> {
    fn drop(&mut self) {
        self.wishes.abort();
    }
}

impl<E: Env> Answers for WatchAnswers<E> {
    type Message = WatchPieces;

    async fn next(&mut self) -> Option<Result<WatchPieces, Status>> {
        loop {
            if let Some(response) = self.ready.pop_front() {
                return Some(Ok(WatchPieces::from(response)));
            }
            let batch = tokio::select! {
                biased;
                failed = &mut self.failed => return Some(Err(failed.unwrap_or_else(|_| stopped()))),
                batch = self.reader.next_batch() => batch,
            };
            let Some(batch) = batch else {
                let is_corrupt = self.session.handle.facts().is_corrupt();
                return Some(Err(if is_corrupt { status_of(&Refusal::Corrupt) } else { stopped() }));
            };
            let term = self.session.handle.facts().term();
            let limit = self.session.terms.max_message_bytes();
            for message in batch {
                if let Some(spans) = &self.spans {
                    spans.hear(&message);
                }
                if let WatchMessage::Events { events, .. } = &message {
                    self.session.metrics.asked.events.inc_by(events.len() as u64);
                }
                let header = |revision| self.session.header_of(revision, term);
                self.ready.extend(responses(message, header, limit));
            }
        }
    }
}

fn stopped() -> Status {
    status_of(&Refusal::Stopped)
}

/// Carries out what the client wants until its side fails. One that ends in order only listens from then on.
/// The next wish is taken when there is room for its answer: who asks and never reads is not served further.
async fn obey<E: Env>(
    session: &Session<E>,
    stream: &WatchStream<E>,
    room: &WatchReader,
    spans: Option<&WatchSpans>,
    mut inbound: Streaming<pb::WatchRequest>,
) -> Status {
    loop {
        room.room().await;
        let request = match received(session, Rpc::Watch, &mut inbound).await {
            Ok(Some(request)) => request,
            Ok(None) => return pending().await,
            Err(status) => {
                session.metrics.stream_failure("receive", "watch");
                return status;
            }
        };
        // As etcd: a request of no kind is probably a newer client's; ignored.
        let Some(wish) = request.request_union else { continue };
        if let (Some(spans), RequestUnion::CreateRequest(create)) = (spans, &wish) {
            spans.wish(create);
        }
        let asker = match wish {
            RequestUnion::CreateRequest(_) => session.asker().await,
            _ => Ok(None),
        };
        loop {
            match tell(stream, &asker, &wish) {
                Ok(()) => break,
                // The node is behind: the client is not told off but kept waiting.
                Err(Refusal::TooManyRequests) => tokio::time::sleep(CROWDED_PAUSE).await,
                Err(refusal) => return status_of(&refusal),
            }
        }
    }
}

/// Pause before a full node is told again.
const CROWDED_PAUSE: Duration = Duration::from_millis(2);

fn tell<E: Env>(
    stream: &WatchStream<E>,
    asker: &Result<Option<Asker>, Refusal>,
    wish: &RequestUnion,
) -> Result<(), Refusal> {
    match wish {
        RequestUnion::CreateRequest(create) => stream.create_for(asker.clone(), spec(create.clone())),
        RequestUnion::CancelRequest(cancel) => stream.cancel(cancel.watch_id),
        RequestUnion::ProgressRequest(_) => stream.request_progress(),
    }
}

/// What the client wants, in the hub's words. An empty key means the lowest.
fn spec(create: pb::WatchCreateRequest) -> WatchSpec {
    let key = if create.key.is_empty() { Bytes::from_static(b"\0") } else { create.key };
    let filtered = |kind: FilterType| create.filters.contains(&(kind as i32));
    WatchSpec {
        range: KeyRange::from_wire(key, create.range_end),
        start_revision: create.start_revision,
        watch_id: create.watch_id,
        no_put: filtered(FilterType::Noput),
        no_delete: filtered(FilterType::Nodelete),
        prev_kv: create.prev_kv,
        progress_notify: create.progress_notify,
        fragment: create.fragment,
    }
}

/// A message of the hub as it travels: one answer, or several where it is large and may be split.
fn responses(message: WatchMessage, header: impl Fn(i64) -> pb::ResponseHeader, limit: usize) -> Vec<RawWatchResponse> {
    let (revision, head) = match message {
        WatchMessage::Created { watch_id, revision } => {
            (revision, pb::WatchResponse { watch_id, created: true, ..Default::default() })
        }
        WatchMessage::Refused { revision, reason } => {
            let (created, canceled) = (true, true);
            let (watch_id, cancel_reason) = (NO_WATCHER, reason);
            (revision, pb::WatchResponse { watch_id, created, canceled, cancel_reason, ..Default::default() })
        }
        WatchMessage::Canceled { watch_id, revision, compact_revision } => {
            (revision, pb::WatchResponse { watch_id, canceled: true, compact_revision, ..Default::default() })
        }
        WatchMessage::Cut { watch_id, revision, reason: cancel_reason } => {
            (revision, pb::WatchResponse { watch_id, canceled: true, cancel_reason, ..Default::default() })
        }
        WatchMessage::Progress { watch_id, revision } => {
            (revision, pb::WatchResponse { watch_id, ..Default::default() })
        }
        WatchMessage::Events { watch_id, revision, events, prev_kv, fragment } => {
            let head = pb::WatchResponse { header: Some(header(revision)), watch_id, ..Default::default() };
            let encode = |shared: &Arc<crate::watch::SharedEvent>| {
                shared.encoded_with(prev_kv, || encode_event(&shared.event, prev_kv))
            };
            let whole = RawWatchResponse { head, events: events.iter().map(encode).collect() };
            return if fragment { split(whole, limit) } else { vec![whole] };
        }
    };
    let head = pb::WatchResponse { header: Some(header(revision)), ..head };
    vec![RawWatchResponse { head, events: vec![] }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Event, EventKind, KeyValue};
    use crate::watch::SharedEvent;
    use prost::Message;

    fn sent(message: WatchMessage, limit: usize) -> Vec<pb::WatchResponse> {
        let header = |revision| pb::ResponseHeader { revision, member_id: 1, ..Default::default() };
        let raw = responses(message, header, limit);
        raw.iter().map(|raw| pb::WatchResponse::decode(&raw.encode_to_vec()[..]).expect("a response")).collect()
    }

    #[test]
    fn words_of_the_hub_are_etcds_answers() {
        let refused =
            sent(WatchMessage::Refused { revision: 4, reason: "mvcc: watcher range is empty".to_string() }, 1 << 20);
        assert_eq!((refused[0].watch_id, refused[0].created, refused[0].canceled), (-1, true, true));
        assert_eq!(refused[0].cancel_reason, "mvcc: watcher range is empty");

        let compacted = WatchMessage::Canceled { watch_id: 3, revision: 0, compact_revision: 9 };
        let compacted = sent(compacted, 1 << 20);
        assert_eq!((compacted[0].watch_id, compacted[0].canceled, compacted[0].compact_revision), (3, true, 9));
        assert_eq!(compacted[0].header.map(|header| (header.revision, header.member_id)), Some((0, 1)));

        let created = sent(WatchMessage::Created { watch_id: 0, revision: 7 }, 1 << 20);
        assert!(created[0].created && !created[0].canceled);
        let progress = sent(WatchMessage::Progress { watch_id: -1, revision: 8 }, 1 << 20);
        assert_eq!((progress[0].watch_id, progress[0].events.len()), (-1, 0));
    }

    #[test]
    fn large_answers_are_split_only_on_request() {
        let event = |n: u8| {
            let kv = KeyValue { key: vec![n].into(), value: vec![n; 400].into(), ..Default::default() };
            Arc::new(SharedEvent::new(Event { kind: EventKind::Put, kv, prev_kv: None }))
        };
        let message = |fragment| WatchMessage::Events {
            watch_id: 1,
            revision: 5,
            events: (0..4).map(event).collect(),
            prev_kv: false,
            fragment,
        };
        assert_eq!(sent(message(false), 1_000).len(), 1);
        let parts = sent(message(true), 1_000);
        assert_eq!(parts.iter().map(|part| part.fragment).collect::<Vec<_>>(), [true, false]);
        assert_eq!(parts.iter().map(|part| part.events.len()).sum::<usize>(), 4);
    }

    #[test]
    fn an_empty_key_is_the_lowest() {
        let all = spec(pb::WatchCreateRequest { range_end: Bytes::from_static(b"\0"), ..Default::default() });
        assert!(all.range.contains(b"\0") && all.range.contains(b"zzz"));
        assert!(!spec(pb::WatchCreateRequest::default()).range.contains(b"a"));
    }
}
