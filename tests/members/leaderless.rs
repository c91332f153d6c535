//! What a member says for as long as it knows no leader: to callers who insist on one, and to those who ask whether it is well.
//!
//! Each code and text was seen at stock etcd 3.7.1.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::uri::PathAndQuery;
use quorate::wire::etcdserverpb as pb;
use quorate::wire::services::lease_client::LeaseClient;
use quorate::wire::services::watch_client::WatchClient;
use tokio_stream::StreamExt;
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::cluster::{LIMIT, Member, Process, start_all, until};
use crate::granted::granted;

const NO_LEADER: (Code, &str) = (Code::Unavailable, "etcdserver: no leader");

/// One method or more of each service: who insists is told before anything of the request is looked at.
const UNARY: [&str; 13] = [
    "/etcdserverpb.KV/Range",
    "/etcdserverpb.KV/Put",
    "/etcdserverpb.KV/Txn",
    "/etcdserverpb.KV/Compact",
    "/etcdserverpb.Lease/LeaseGrant",
    "/etcdserverpb.Lease/LeaseTimeToLive",
    "/etcdserverpb.Cluster/MemberList",
    "/etcdserverpb.Maintenance/Status",
    "/etcdserverpb.Maintenance/HashKV",
    "/etcdserverpb.Auth/AuthStatus",
    "/v3lockpb.Lock/Lock",
    "/v3electionpb.Election/Leader",
    "/grpc.health.v1.Health/Check",
];

const STREAMS: [&str; 5] = [
    "/etcdserverpb.Watch/Watch",
    "/etcdserverpb.Lease/LeaseKeepAlive",
    "/etcdserverpb.Maintenance/Snapshot",
    "/etcdserverpb.KV/RangeStream",
    "/v3electionpb.Election/Observe",
];

/// A request whose caller says this of a leader; nothing where he says nothing.
fn insisting<T>(message: T, on_leader: &'static str) -> Request<T> {
    let mut request = Request::new(message);
    if !on_leader.is_empty() {
        request.metadata_mut().insert("hasleader", on_leader.parse().unwrap());
    }
    request
}

fn why<T>(outcome: Result<T, Status>) -> (Code, String) {
    let status = outcome.err().expect("there is no leader");
    (status.code(), status.message().to_string())
}

/// What an empty request of a method by its path is answered with.
async fn asked(process: &Process, path: &'static str, on_leader: &'static str) -> Result<(), Status> {
    let mut grpc = tonic::client::Grpc::new(process.channel());
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = PathAndQuery::from_static(path);
    grpc.unary(insisting((), on_leader), path, ProstCodec::<(), ()>::default()).await.map(drop)
}

/// What comes first of a method that answers in a stream, to one who says no more than that he insists.
async fn streamed(process: &Process, path: &'static str) -> Result<(), Status> {
    let mut grpc = tonic::client::Grpc::new(process.channel());
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let says_nothing = insisting(tokio_stream::pending::<()>(), "true");
    let path = PathAndQuery::from_static(path);
    let mut answers = grpc.streaming(says_nothing, path, ProstCodec::<(), ()>::default()).await?.into_inner();
    answers.message().await.map(drop)
}

async fn read(process: &Process, on_leader: &'static str) -> Result<i64, Status> {
    let request = pb::RangeRequest { key: Bytes::from_static(b"k"), serializable: true, ..Default::default() };
    Ok(process.kv().range(insisting(request, on_leader)).await?.into_inner().count)
}

async fn put(process: &Process, on_leader: &'static str) -> Result<(), Status> {
    let request = pb::PutRequest { key: Bytes::from_static(b"k"), ..Default::default() };
    process.kv().put(insisting(request, on_leader)).await.map(drop)
}

/// A watch of the key, created.
async fn watch(process: &Process, on_leader: &'static str) -> Streaming<pb::WatchResponse> {
    let create = pb::WatchCreateRequest { key: Bytes::from_static(b"k"), ..Default::default() };
    let union = Some(pb::watch_request::RequestUnion::CreateRequest(create));
    let wishes = tokio_stream::once(pb::WatchRequest { request_union: union }).chain(tokio_stream::pending());
    let mut watch = WatchClient::new(process.channel()).watch(insisting(wishes, on_leader)).await.unwrap().into_inner();
    assert!(watch.message().await.unwrap().unwrap().created);
    watch
}

/// The keep-alives of a lease, the first of which was answered.
async fn keep_alive(process: &Process, id: i64, on_leader: &'static str) -> Streaming<pb::LeaseKeepAliveResponse> {
    let wishes = tokio_stream::once(pb::LeaseKeepAliveRequest { id }).chain(tokio_stream::pending());
    let mut kept =
        LeaseClient::new(process.channel()).lease_keep_alive(insisting(wishes, on_leader)).await.unwrap().into_inner();
    assert_eq!(kept.message().await.unwrap().unwrap().ttl, 600);
    kept
}

/// The next message of a stream, or why there is none, in time.
async fn next<T>(stream: &mut Streaming<T>) -> Result<Option<T>, Status> {
    tokio::time::timeout(LIMIT, stream.message()).await.expect("in time")
}

/// Whether nothing comes of a stream: neither a message nor its end.
async fn stands<T: std::fmt::Debug>(stream: &mut Streaming<T>) {
    let told = tokio::time::timeout(Duration::from_millis(50), stream.message()).await;
    assert!(told.is_err(), "{told:?}");
}

/// What the client port's plain endpoints say: the number of the status, and the body.
fn said(member: &Member, path: &str) -> (u16, String) {
    let text = member.ask_client_port(path);
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_string())
}

fn has_leader(member: &Member) -> bool {
    let (_, metrics) = said(member, "/metrics");
    assert!(metrics.contains("\netcd_server_has_leader "), "{metrics}");
    metrics.contains("\netcd_server_has_leader 1\n")
}

/// Two members, the first of which has lost the second and with it the leader.
async fn left_alone(members: &[Member; 2]) -> Process {
    let mut processes = start_all(members, &[]);
    processes.remove(1).kill();
    until(|| "the loss is noticed".to_string(), || !has_leader(&members[0]));
    processes.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_insists_on_a_leader_is_refused_without_one_by_every_service() {
    let members = Member::several(["m0", "m1"]);
    let alone = left_alone(&members).await;
    for path in UNARY {
        let (code, text) = why(asked(&alone, path, "true").await);
        assert_eq!((code, text.as_str()), NO_LEADER, "{path}");
    }
    for path in STREAMS {
        let (code, text) = why(streamed(&alone, path).await);
        assert_eq!((code, text.as_str()), NO_LEADER, "{path}");
    }
    for on_leader in ["", "false", "TRUE", "1"] {
        read(&alone, on_leader).await.unwrap_or_else(|why| panic!("{on_leader:?}: {why}"));
    }
    let status = alone.maintenance().status(pb::StatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.leader, status.errors), (0, vec![NO_LEADER.1.to_string()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_those_who_insist_end_with_the_leader_and_others_stand() {
    let members = Member::several(["m0", "m1"]);
    let mut processes = start_all(&members, &[]);
    let lease = pb::LeaseGrantRequest { id: 7, ttl: 600 };
    granted(async || match LeaseClient::new(processes[0].channel()).lease_grant(lease).await {
        Err(status) if status.message() == "etcdserver: lease already exists" => Ok(()),
        outcome => outcome.map(drop),
    })
    .await;
    let (mut insists, mut patient) = (watch(&processes[0], "true").await, watch(&processes[0], "").await);
    let (mut kept, mut kept_patiently) =
        (keep_alive(&processes[0], 7, "true").await, keep_alive(&processes[0], 7, "false").await);
    let began = Instant::now();
    processes.remove(1).kill();
    for (code, text) in [why(next(&mut insists).await), why(next(&mut kept).await)] {
        assert_eq!((code, text.as_str()), NO_LEADER);
    }
    // The loss is noticed after one election timeout at least, and borne for three more.
    assert!(began.elapsed() >= Duration::from_secs(3), "{:?}", began.elapsed());
    stands(&mut patient).await;
    stands(&mut kept_patiently).await;

    processes.push(members[1].start(&[&members[0], &members[1]], &[]));
    granted(async || put(&processes[0], "true").await).await;
    let event = next(&mut patient).await.unwrap().unwrap();
    assert_eq!(event.events.len(), 1, "{event:?}");
    stands(&mut kept_patiently).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_without_a_leader_lives_and_is_neither_well_nor_ready() {
    let members = Member::several(["m0", "m1"]);
    let alone = left_alone(&members).await;
    let member = &members[0];
    let late = "[-]linearizable_read failed: etcdserver: request timed out";
    let fails = (503, format!("[+]data_corruption ok\n[+]serializable_read ok\n{late}\n[+]non_learner ok\n\n"));
    for (path, expected) in [
        ("/health", (503, "{\"health\":\"false\",\"reason\":\"RAFT NO LEADER\"}\n".to_string())),
        ("/health?exclude=NOSPACE", (503, "{\"health\":\"false\",\"reason\":\"RAFT NO LEADER\"}\n".to_string())),
        ("/health?serializable=true", (200, "{\"health\":\"true\",\"reason\":\"\"}".to_string())),
        ("/livez", (200, "ok\n".to_string())),
        ("/livez?verbose", (200, "[+]serializable_read ok\nok\n".to_string())),
        ("/readyz/serializable_read", (200, "ok\n".to_string())),
        ("/readyz?exclude=linearizable_read", (200, "ok\n".to_string())),
        ("/readyz", fails),
        ("/readyz/linearizable_read", (503, format!("{late}\n\n"))),
    ] {
        assert_eq!(said(member, path), expected, "{path}");
    }
    let other = members[1].start(&[&members[0], &members[1]], &[]);
    until(|| "a leader is found".to_string(), || has_leader(member));
    granted(async || put(&alone, "true").await).await;
    for (path, body) in [("/health", "{\"health\":\"true\",\"reason\":\"\"}"), ("/readyz", "ok\n")] {
        until(|| format!("{path}: {:?}", said(member, path)), || said(member, path) == (200, body.to_string()));
    }
    other.stop();
}
