//! The watch service.

use bytes::Bytes;
use pb::watch_request::RequestUnion;
use prost::Message;
use quorate::wire::etcdserverpb as pb;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::street::{Server, bytes};

/// One stream; what is said goes out at once.
struct Stream {
    say: mpsc::Sender<Bytes>,
    answers: Streaming<Bytes>,
}

impl Stream {
    async fn open(server: &Server) -> Self {
        let (say, said) = mpsc::channel(16);
        let answers = server.stream("/etcdserverpb.Watch/Watch", ReceiverStream::new(said)).await.unwrap();
        Self { say, answers }
    }

    async fn say(&self, request: RequestUnion) {
        let request = pb::WatchRequest { request_union: Some(request) };
        self.say.send(request.encode_to_vec().into()).await.unwrap();
    }

    async fn next(&mut self) -> pb::WatchResponse {
        pb::WatchResponse::decode(self.answers.message().await.unwrap().unwrap()).unwrap()
    }

    async fn create(&mut self, create: pb::WatchCreateRequest) -> pb::WatchResponse {
        self.say(RequestUnion::CreateRequest(create)).await;
        self.next().await
    }
}

fn on(key: &'static str) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest { key: bytes(key), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_watches_leave_the_stream_open() {
    let server = Server::start().await;
    let mut stream = Stream::open(&server).await;
    let empty = stream.create(pb::WatchCreateRequest { range_end: bytes("a"), ..on("b") }).await;
    assert_eq!((empty.watch_id, empty.created, empty.canceled), (-1, true, true));
    assert_eq!(empty.cancel_reason, "mvcc: watcher range is empty");
    let negative = stream.create(pb::WatchCreateRequest { start_revision: -1, ..on("a") }).await;
    assert_eq!(negative.cancel_reason, "etcdserver: mvcc: required revision has been compacted");

    let first = stream.create(pb::WatchCreateRequest { watch_id: 7, ..on("a") }).await;
    assert_eq!((first.watch_id, first.created, first.canceled), (7, true, false));
    let twice = stream.create(pb::WatchCreateRequest { watch_id: 7, ..on("a") }).await;
    assert_eq!(twice.cancel_reason, "mvcc: duplicate watch ID provided on the WatchStream");

    stream.say(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id: 12_345 })).await;
    stream.say.send(Bytes::new()).await.unwrap();
    server.put("a", "1").await;
    let event = stream.next().await;
    assert_eq!((event.watch_id, event.events.len()), (7, 1));
    stream.say(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id: 7 })).await;
    assert!(stream.next().await.canceled);
    server.must_be_well_at(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_has_said_everything_still_listens() {
    let server = Server::start().await;
    let create = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(on("a"))) };
    let said = tokio_stream::once(Bytes::from(create.encode_to_vec()));
    let mut answers = server.stream("/etcdserverpb.Watch/Watch", said).await.unwrap();
    let created = pb::WatchResponse::decode(answers.message().await.unwrap().unwrap()).unwrap();
    assert!(created.created);
    server.put("a", "1").await;
    let event = pb::WatchResponse::decode(answers.message().await.unwrap().unwrap()).unwrap();
    assert_eq!(event.events.len(), 1);
    drop(answers);
    server.must_be_well_at(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forgotten_and_far_revisions() {
    let server = Server::start().await;
    for value in ["1", "2", "3", "4"] {
        server.put("a", value).await;
    }
    let compact = pb::CompactionRequest { revision: 4, physical: true };
    let _: pb::CompactionResponse = server.call("/etcdserverpb.KV/Compact", &compact).await.unwrap();
    let mut stream = Stream::open(&server).await;
    assert!(stream.create(pb::WatchCreateRequest { start_revision: 2, ..on("a") }).await.created);
    let canceled = stream.next().await;
    assert_eq!((canceled.canceled, canceled.compact_revision), (true, 4));
    assert_eq!((canceled.header.unwrap().revision, canceled.cancel_reason.as_str()), (0, ""));

    let far = stream.create(pb::WatchCreateRequest { start_revision: 7, ..on("a") }).await;
    assert!(far.created && !far.canceled);
    let from = stream.create(pb::WatchCreateRequest { start_revision: 4, prev_kv: true, ..on("") }).await;
    assert!(from.created);
    let whole = pb::WatchCreateRequest { start_revision: 4, range_end: bytes("\0"), ..on("") };
    let whole = stream.create(whole).await.watch_id;
    let caught_up = stream.next().await;
    assert_eq!((caught_up.watch_id, caught_up.events.len()), (whole, 2));
    server.put("a", "5").await;
    assert_eq!(stream.next().await.watch_id, whole, "6 is before 7");
    server.put("a", "6").await;
    let both = [stream.next().await.watch_id, stream.next().await.watch_id];
    assert!(both.contains(&whole) && both.contains(&far.watch_id), "{both:?}");
    server.must_be_well_at(7).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_answers_are_split_only_on_request() {
    let server = Server::start().await;
    let mut stream = Stream::open(&server).await;
    let whole = stream.create(on("a")).await.watch_id;
    let split = stream.create(pb::WatchCreateRequest { fragment: true, prev_kv: true, ..on("a") }).await.watch_id;
    let range = pb::WatchCreateRequest { fragment: true, range_end: bytes("\0"), ..on("\0") };
    let range = stream.create(range).await.watch_id;
    for key in ["a", "b", "c"] {
        let value = vec![1; 1_000_000].into();
        let put = pb::PutRequest { key: bytes(key), value, ..Default::default() };
        let _: pb::PutResponse = server.call("/etcdserverpb.KV/Put", &put).await.unwrap();
    }
    let mut seen = Vec::new();
    while seen.iter().filter(|(id, _)| *id == range).map(|(_, events)| events).sum::<usize>() < 3 {
        let answer = stream.next().await;
        assert!(answer.encoded_len() < 3 << 20);
        seen.push((answer.watch_id, answer.events.len()));
    }
    assert!(seen.contains(&(whole, 1)) && seen.contains(&(split, 1)));
    server.must_be_well_at(4).await;
}
