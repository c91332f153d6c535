//! One connection that asks for all it can leaves another its own: everything the other asks is answered, while the flood
//! goes on.
//!
//! Nothing is said of times: the flood does not end before the other is served.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use http::uri::PathAndQuery;
use quorate::base::limits;
use quorate::wire::etcdserverpb as pb;
use quorate::wire::services::auth_client::AuthClient;
use quorate::wire::services::kv_client::KvClient;
use quorate::wire::services::lease_client::LeaseClient;
use tonic::transport::{Channel, Endpoint};

use super::street::{Raw, Server};

/// What a flood may hear: that it is too much, or, where its own client is slow to send so much, that others want the room.
const REFUSED: [&str; 2] = ["etcdserver: too many requests", "quorate: the rest of the message did not come"];

/// A connection of its own.
async fn connect(server: &Server) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{}", server.address)).unwrap();
    // What one stream does not take is to stand in no other's way.
    endpoint.initial_connection_window_size(1 << 30).connect().await.unwrap()
}

/// Puts without end over one connection, so many at once, until it is dropped.
struct Flood {
    over: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Flood {
    async fn begin(server: &Server, at_once: usize, bytes: usize) -> Self {
        let channel = connect(server).await;
        let (over, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let value = Bytes::from(vec![7; bytes]);
        let tasks = (0..at_once)
            .map(|n| {
                let (mut kv, over, done) = (KvClient::new(channel.clone()), over.clone(), done.clone());
                let put =
                    pb::PutRequest { key: format!("flood{n}").into(), value: value.clone(), ..Default::default() };
                tokio::spawn(async move {
                    while !over.load(Ordering::Relaxed) {
                        match kv.put(put.clone()).await {
                            Ok(_) => drop(done.fetch_add(1, Ordering::Relaxed)),
                            Err(refused) => assert!(REFUSED.contains(&refused.message()), "{refused}"),
                        }
                    }
                })
            })
            .collect();
        let flood = Self { over, done, tasks };
        flood.goes_on().await;
        flood
    }

    /// Waits until one more of them was carried out.
    async fn goes_on(&self) {
        let before = self.done.load(Ordering::Relaxed);
        while self.done.load(Ordering::Relaxed) == before {
            tokio::task::yield_now().await;
        }
    }

    async fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

/// Another connection writes, reads, keeps a lease and compacts, and is refused nothing.
async fn is_served(server: &Server, flood: &Flood) {
    let channel = connect(server).await;
    let (mut kv, mut leases) = (KvClient::new(channel.clone()), LeaseClient::new(channel));
    let lease = leases.lease_grant(pb::LeaseGrantRequest { ttl: 600, id: 0 }).await.unwrap().into_inner();
    let (say, said) = tokio::sync::mpsc::channel(1);
    let said = tokio_stream::wrappers::ReceiverStream::new(said);
    let mut renewed = leases.lease_keep_alive(said).await.unwrap().into_inner();
    for n in 0..20 {
        let key = Bytes::from(format!("own{n}"));
        let put = pb::PutRequest { key: key.clone(), value: "v".into(), lease: lease.id, ..Default::default() };
        let revision = kv.put(put).await.unwrap().into_inner().header.unwrap().revision;
        let read = kv.range(pb::RangeRequest { key, ..Default::default() }).await.unwrap().into_inner();
        assert_eq!(read.kvs.len(), 1);
        say.send(pb::LeaseKeepAliveRequest { id: lease.id }).await.unwrap();
        assert_eq!(renewed.message().await.unwrap().unwrap().ttl, 600);
        if n % 10 == 9 {
            kv.compact(pb::CompactionRequest { revision, physical: false }).await.unwrap();
        }
    }
    flood.goes_on().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_puts_leave_another_connection_its_own() {
    let server = Server::start().await;
    let flood = Flood::begin(&server, 1_000, 64 << 10).await;
    is_served(&server, &flood).await;
    flood.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_puts_without_number_leave_another_connection_its_own() {
    let server = Server::start().await;
    let flood = Flood::begin(&server, 12_000, 10).await;
    is_served(&server, &flood).await;
    flood.end().await;
}

/// A client that asks for long ranges and does not take the answers gets so many and no more; another is served, and the next
/// comes when one was taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_answers_that_are_not_taken_are_few() {
    let server = Server::start().await;
    let mut kv = KvClient::new(connect(&server).await);
    for n in 0..20 {
        let puts = (0..100).map(|m| {
            let put = pb::PutRequest {
                key: format!("k{n:02}{m:02}").into(),
                value: vec![1; 4_096].into(),
                ..Default::default()
            };
            pb::RequestOp { request: Some(pb::request_op::Request::RequestPut(put)) }
        });
        kv.txn(pb::TxnRequest { success: puts.collect(), ..Default::default() }).await.unwrap();
    }
    let all = pb::RangeRequest { key: "k".into(), range_end: "l".into(), ..Default::default() };
    let request = Bytes::from(prost::Message::encode_to_vec(&all));
    let channel = connect(&server).await;
    let (begun, mut began) = tokio::sync::mpsc::unbounded_channel();
    for _ in 0..3 * limits::LONG_ANSWERS_OF_ONE {
        let (channel, request, begun) = (channel.clone(), request.clone(), begun.clone());
        tokio::spawn(async move {
            let mut grpc = tonic::client::Grpc::new(channel).max_decoding_message_size(usize::MAX);
            grpc.ready().await.unwrap();
            let path = PathAndQuery::from_static("/etcdserverpb.KV/Range");
            let answer = grpc.server_streaming(tonic::Request::new(request), path, Raw).await.unwrap();
            begun.send(answer.into_inner()).unwrap();
        });
    }
    let mut held = Vec::new();
    while held.len() < limits::LONG_ANSWERS_OF_ONE {
        held.push(began.recv().await.unwrap());
    }
    let mut other = KvClient::new(connect(&server).await).max_decoding_message_size(usize::MAX);
    assert_eq!(other.range(all).await.unwrap().into_inner().kvs.len(), 2_000);
    assert!(began.try_recv().is_err(), "the others wait for their turn");
    drop(held.pop());
    let mut next = began.recv().await.unwrap();
    drop(held);
    assert!(next.message().await.unwrap().unwrap().len() > 2_000 * 4_096);
}

/// More wrong passwords of one user than may wait, over and over: another user's right one is taken each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_passwords_of_one_user_shut_out_no_other() {
    let server = Server::start_with(&["--bcrypt-cost=4"]).await;
    let mut auth = AuthClient::new(connect(&server).await);
    for name in ["root", "other"] {
        let add = pb::AuthUserAddRequest { name: name.into(), password: name.into(), ..Default::default() };
        auth.user_add(add).await.unwrap();
    }
    auth.user_grant_role(pb::AuthUserGrantRoleRequest { user: "root".into(), role: "root".into() }).await.unwrap();
    auth.auth_enable(pb::AuthEnableRequest {}).await.unwrap();

    let login = |name: &str, password: &str| pb::AuthenticateRequest { name: name.into(), password: password.into() };
    let (over, refused) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut flood = Vec::new();
    for _ in 0..8 {
        let channel = connect(&server).await;
        for _ in 0..limits::MAX_WAITING_PASSWORDS / 4 {
            let (mut auth, over, refused) = (AuthClient::new(channel.clone()), over.clone(), refused.clone());
            let wrong = login("root", "guess");
            flood.push(tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    let why = auth.authenticate(wrong.clone()).await.expect_err("the password is wrong");
                    if why.message() == REFUSED[0] {
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }));
        }
    }
    for n in 0..10 {
        // As many wait as may.
        let before = refused.load(Ordering::Relaxed);
        while refused.load(Ordering::Relaxed) == before {
            tokio::task::yield_now().await;
        }
        auth.authenticate(login("other", "other")).await.unwrap_or_else(|why| panic!("{n}: {why}"));
    }
    over.store(true, Ordering::Relaxed);
    for task in flood {
        task.await.unwrap();
    }
}
