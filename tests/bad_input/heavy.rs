//! Inputs that are right in form and heavy: rows A12, A17, A20, B3, B7 and B10 at a size a test can carry.

use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use pb::watch_request::RequestUnion;
use prost::Message;
use quorate::wire::etcdserverpb as pb;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use tonic::transport::Endpoint;

use super::street::{Raw, Server, bytes};

const TXN: &str = "/etcdserverpb.KV/Txn";
const RANGE: &str = "/etcdserverpb.KV/Range";
const WATCH: &str = "/etcdserverpb.Watch/Watch";

/// Writes `count` keys `prefix0000..`, 128 a transaction; the revision after it.
async fn fill(server: &Server, prefix: &str, count: usize, value: &Bytes, lease: i64) -> i64 {
    let keys: Vec<usize> = (0..count).collect();
    let mut revision = 1;
    for chunk in keys.chunks(128) {
        let put = |n: &usize| pb::RequestOp {
            request: Some(pb::request_op::Request::RequestPut(pb::PutRequest {
                key: Bytes::from(format!("{prefix}{n:07}").into_bytes()),
                value: value.clone(),
                lease,
                ..Default::default()
            })),
        };
        let txn = pb::TxnRequest { success: chunk.iter().map(put).collect(), ..Default::default() };
        let answer: pb::TxnResponse = server.call(TXN, &txn).await.unwrap();
        revision = answer.header.unwrap().revision;
    }
    revision
}

fn all() -> pb::RangeRequest {
    pb::RangeRequest { key: bytes("\0"), range_end: bytes("\0"), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a12_many_compares_over_everything_leave_others_served() {
    let server = Server::start().await;
    let revision = fill(&server, "k", 10_000, &bytes("v"), 0).await;
    let compare = pb::Compare {
        result: pb::compare::CompareResult::Greater as i32,
        target: pb::compare::CompareTarget::Version as i32,
        key: bytes("\0"),
        range_end: bytes("\0"),
        target_union: Some(pb::compare::TargetUnion::Version(0)),
    };
    let txn = pb::TxnRequest { compare: vec![compare; 128], ..Default::default() };
    let heavy = server.call::<_, pb::TxnResponse>(TXN, &txn);
    let one = pb::RangeRequest { key: bytes("k"), ..Default::default() };
    let light = server.call::<_, pb::RangeResponse>(RANGE, &one);
    let (heavy, light) = tokio::join!(heavy, light);
    assert!(heavy.unwrap().succeeded);
    assert_eq!(light.unwrap().count, 0);
    server.must_be_well_at(revision).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a17_streams_that_are_not_read_or_given_up_hold_nothing_back() {
    let server = Server::start().await;
    let revision = fill(&server, "k", 2_000, &Bytes::from(vec![7; 4_000]), 0).await;
    let request = Bytes::from(all().encode_to_vec());
    let mut unread = Vec::new();
    for _ in 0..4 {
        // Each on a connection of its own: what is not read fills its window, as it should.
        let idle = Endpoint::from_shared(format!("http://{}", server.address)).unwrap().connect_lazy();
        let mut grpc = tonic::client::Grpc::new(idle);
        grpc.ready().await.unwrap();
        let said = tonic::Request::new(tokio_stream::iter([request.clone()]));
        let path = PathAndQuery::from_static("/etcdserverpb.KV/RangeStream");
        let mut answers = grpc.streaming(said, path, Raw).await.unwrap().into_inner();
        let first = pb::RangeStreamResponse::decode(answers.message().await.unwrap().unwrap()).unwrap();
        assert!(!first.range_response.unwrap().kvs.is_empty());
        unread.push(answers);
    }
    // Half are given up, half are never read on; compaction and writes do not wait for them.
    unread.truncate(2);
    let compact = pb::CompactionRequest { revision, physical: false };
    let _: pb::CompactionResponse = server.call("/etcdserverpb.KV/Compact", &compact).await.unwrap();
    server.put("after", "all").await;
    drop(unread);
    server.must_be_well_at(revision + 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a20_many_ranges_of_everything_at_once_are_all_answered_or_refused() {
    let server = Server::start().await;
    let revision = fill(&server, "k", 2_000, &Bytes::from(vec![7; 500]), 0).await;
    let ranges: Vec<_> = (0..300)
        .map(|_| {
            let channel = server.channel.clone();
            tokio::spawn(async move {
                let mut grpc = tonic::client::Grpc::new(channel).max_decoding_message_size(64 << 20);
                grpc.ready().await.unwrap();
                let request = tonic::Request::new(Bytes::from(all().encode_to_vec()));
                grpc.unary(request, PathAndQuery::from_static(RANGE), Raw).await.map(|answer| answer.into_inner().len())
            })
        })
        .collect();
    server.put("in", "between").await;
    for range in ranges {
        match range.await.unwrap() {
            Ok(len) => assert!(len > 1_000_000),
            Err(status) => assert_eq!(status.code(), tonic::Code::ResourceExhausted),
        }
    }
    server.must_be_well_at(revision + 1).await;
}

async fn say(said: &mpsc::Sender<Bytes>, request: RequestUnion) {
    said.send(pb::WatchRequest { request_union: Some(request) }.encode_to_vec().into()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn b3_a_storm_of_watches_on_one_stream_is_answered_one_by_one() {
    const WATCHES: i64 = 20_000;
    let server = Server::start().await;
    let (say_to, said) = mpsc::channel(64);
    let mut answers = server.stream(WATCH, ReceiverStream::new(said)).await.unwrap();
    let asker = tokio::spawn(async move {
        for n in 0..WATCHES {
            let key = Bytes::from(format!("k{n}").into_bytes());
            say(&say_to, RequestUnion::CreateRequest(pb::WatchCreateRequest { key, ..Default::default() })).await;
        }
        for watch_id in 0..WATCHES {
            say(&say_to, RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id })).await;
        }
        say_to
    });
    let (mut created, mut canceled) = (0, 0);
    while canceled < WATCHES {
        let answer = pb::WatchResponse::decode(answers.message().await.unwrap().unwrap()).unwrap();
        match answer.canceled {
            true => {
                assert_eq!(answer.watch_id, canceled);
                canceled += 1;
            }
            false => {
                assert!(answer.created);
                assert_eq!(answer.watch_id, created);
                created += 1;
            }
        }
    }
    assert_eq!(created, WATCHES);
    drop(asker.await.unwrap());
    drop(answers);
    server.must_be_well_at(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b7_a_client_that_stops_reading_finds_everything_when_it_resumes() {
    let server = Server::start().await;
    let (say_to, said) = mpsc::channel(4);
    let mut answers = server.stream(WATCH, ReceiverStream::new(said)).await.unwrap();
    let create = pb::WatchCreateRequest { key: bytes("\0"), range_end: bytes("\0"), ..Default::default() };
    say(&say_to, RequestUnion::CreateRequest(create)).await;
    assert!(pb::WatchResponse::decode(answers.message().await.unwrap().unwrap()).unwrap().created);
    // Far more than the stream's buffer and the connection's window hold.
    let last = fill(&server, "k", 12_800, &Bytes::from(vec![7; 2_000]), 0).await;
    let mut events = 0;
    let mut seen = 1;
    while seen < last {
        let message = tokio::time::timeout(Duration::from_secs(180), answers.message()).await.unwrap();
        let answer = pb::WatchResponse::decode(message.unwrap().unwrap()).unwrap();
        for event in &answer.events {
            let revision = event.kv.as_ref().unwrap().mod_revision;
            assert!(revision == seen || revision == seen + 1, "revision {revision} after {seen}");
            seen = revision;
            events += 1;
        }
    }
    assert_eq!(events, 12_800);
    drop((say_to, answers));
    server.must_be_well_at(last).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b10_a_lease_with_many_keys_is_revoked_as_one() {
    let server = Server::start().await;
    let grant = pb::LeaseGrantRequest { id: 7, ttl: 1_000 };
    let _: pb::LeaseGrantResponse = server.call("/etcdserverpb.Lease/LeaseGrant", &grant).await.unwrap();
    let revision = fill(&server, "k", 50_000, &bytes("v"), 7).await;
    let revoke = pb::LeaseRevokeRequest { id: 7 };
    let revoked: pb::LeaseRevokeResponse = server.call("/etcdserverpb.Lease/LeaseRevoke", &revoke).await.unwrap();
    assert_eq!(revoked.header.unwrap().revision, revision + 1);
    let left: pb::RangeResponse = server.call(RANGE, &all()).await.unwrap();
    assert_eq!(left.count, 0);
    server.must_be_well_at(revision + 1).await;
}
