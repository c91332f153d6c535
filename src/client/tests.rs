//! The client against small servers in this process that misbehave on purpose.

use std::io::{Read as _, Write as _};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{Stream, StreamExt as _, stream};
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status, Streaming};

use super::*;
use crate::wire::etcdserverpb as pb;
use crate::wire::etcdserverpb::watch_request::RequestUnion;
use crate::wire::mvccpb;
use crate::wire::services::kv_server::{Kv, KvServer};
use crate::wire::services::lease_server::{Lease, LeaseServer};
use crate::wire::services::watch_server::{Watch, WatchServer};

mod frames;
mod lines;
mod tokens;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A member that is unavailable for its first request of each kind, after having seen it.
#[derive(Clone, Default)]
struct Flaky {
    puts: Arc<AtomicUsize>,
    ranges: Arc<AtomicUsize>,
}

#[tonic::async_trait]
impl Kv for Flaky {
    async fn range(&self, request: Request<pb::RangeRequest>) -> Result<Response<pb::RangeResponse>, Status> {
        if request.get_ref().key == "later" {
            tokio::time::sleep(Duration::from_millis(1_500)).await;
        }
        match self.ranges.fetch_add(1, Ordering::SeqCst) {
            0 => Err(Status::unavailable("etcdserver: leader changed")),
            _ => Ok(Response::new(Default::default())),
        }
    }
    type RangeStreamStream = Answers<pb::RangeStreamResponse>;
    async fn range_stream(
        &self,
        request: Request<pb::RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        if request.metadata().contains_key("grpc-timeout") {
            return Err(Status::internal("who is told of an end cuts the stream by it"));
        }
        let chunk = |kvs, count| pb::RangeStreamResponse {
            range_response: Some(pb::RangeResponse { kvs: vec![kvs], count, ..Default::default() }),
        };
        let key = |key: &'static str| mvccpb::KeyValue { key: key.into(), ..Default::default() };
        let chunks = [Ok(chunk(key("a"), 0)), Ok(chunk(key("b"), 2))];
        Ok(Response::new(Box::pin(stream::iter(chunks))))
    }
    async fn put(&self, request: Request<pb::PutRequest>) -> Result<Response<pb::PutResponse>, Status> {
        match self.puts.fetch_add(1, Ordering::SeqCst) {
            0..3 if request.get_ref().key == "as users change" => {
                Err(Status::invalid_argument("etcdserver: revision of auth store is old"))
            }
            0 if request.get_ref().key == "into silence" => futures_util::future::pending().await,
            0 => Err(Status::unavailable("etcdserver: request timed out")),
            _ => Ok(Response::new(Default::default())),
        }
    }
    async fn delete_range(
        &self,
        _: Request<pb::DeleteRangeRequest>,
    ) -> Result<Response<pb::DeleteRangeResponse>, Status> {
        Err(Status::out_of_range("etcdserver: mvcc: required revision has been compacted"))
    }
    async fn txn(&self, _: Request<pb::TxnRequest>) -> Result<Response<pb::TxnResponse>, Status> {
        futures_util::future::pending().await
    }
    async fn compact(
        &self,
        request: Request<pb::CompactionRequest>,
    ) -> Result<Response<pb::CompactionResponse>, Status> {
        match request.metadata().contains_key("grpc-timeout") {
            true => Ok(Response::new(Default::default())),
            false => Err(Status::internal("nobody said how long it is waited for")),
        }
    }
}

/// A member whose first watch stream breaks midway, and which remembers where each stream was asked to start.
#[derive(Clone, Default)]
struct Breaking {
    starts: Arc<Mutex<Vec<i64>>>,
}

fn events(revisions: &[i64]) -> Result<pb::WatchResponse, Status> {
    let event = |&mod_revision| {
        let kv = mvccpb::KeyValue { mod_revision, ..Default::default() };
        mvccpb::Event { kv: Some(kv), ..Default::default() }
    };
    Ok(pb::WatchResponse { events: revisions.iter().map(event).collect(), ..Default::default() })
}

#[tonic::async_trait]
impl Watch for Breaking {
    type WatchStream = Answers<pb::WatchResponse>;
    async fn watch(
        &self,
        requests: Request<Streaming<pb::WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let first = requests.into_inner().message().await?.and_then(|request| request.request_union);
        let Some(RequestUnion::CreateRequest(create)) = first else {
            return Err(Status::invalid_argument("a creation comes first"));
        };
        let mut starts = self.starts.lock().expect("no test panics while holding it");
        starts.push(create.start_revision);
        let header = Some(pb::ResponseHeader { revision: 10, ..Default::default() });
        let created = Ok(pb::WatchResponse { header, created: true, ..Default::default() });
        let answers = match starts.len() {
            1 => vec![created, events(&[11, 12, 12]), Err(Status::unavailable("etcdserver: server stopped"))],
            2 => vec![Err(Status::unavailable("the stream broke before anything"))],
            3 => vec![created, events(&[12, 13])],
            _ => vec![Ok(pb::WatchResponse { canceled: true, compact_revision: 14, ..Default::default() })],
        };
        Ok(Response::new(Box::pin(stream::iter(answers))))
    }
}

/// A member that takes streams of keep-alives, counts them, and falls silent once its answers are given: at once where there are none.
#[derive(Clone, Default)]
struct Mute {
    asked: Arc<AtomicUsize>,
    /// The times it answers, one a request.
    ttls: Vec<i64>,
}

impl Mute {
    async fn serve(self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let address = listener.local_addr().expect("bound").to_string();
        let server = Server::builder().add_service(LeaseServer::new(self));
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        address
    }
}

#[tonic::async_trait]
impl Lease for Mute {
    type LeaseKeepAliveStream = Answers<pb::LeaseKeepAliveResponse>;
    async fn lease_keep_alive(
        &self,
        requests: Request<Streaming<pb::LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.ttls.is_empty() {
            return futures_util::future::pending().await;
        }
        let answers = requests.into_inner().zip(stream::iter(self.ttls.clone()));
        let answers =
            answers.map(|(request, ttl)| Ok(pb::LeaseKeepAliveResponse { id: request?.id, ttl, header: None }));
        Ok(Response::new(Box::pin(answers.chain(stream::pending()))))
    }
    async fn lease_grant(&self, _: Request<pb::LeaseGrantRequest>) -> Result<Response<pb::LeaseGrantResponse>, Status> {
        Err(Status::unimplemented("grant"))
    }
    async fn lease_revoke(
        &self,
        _: Request<pb::LeaseRevokeRequest>,
    ) -> Result<Response<pb::LeaseRevokeResponse>, Status> {
        Err(Status::unimplemented("revoke"))
    }
    async fn lease_time_to_live(
        &self,
        _: Request<pb::LeaseTimeToLiveRequest>,
    ) -> Result<Response<pb::LeaseTimeToLiveResponse>, Status> {
        Err(Status::unimplemented("time to live"))
    }
    async fn lease_leases(
        &self,
        _: Request<pb::LeaseLeasesRequest>,
    ) -> Result<Response<pb::LeaseLeasesResponse>, Status> {
        Err(Status::unimplemented("leases"))
    }
}

/// Starts the servers and gives their address.
async fn serve(flaky: Flaky, breaking: Breaking) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
    let address = listener.local_addr().expect("bound").to_string();
    let server = Server::builder().add_service(KvServer::new(flaky)).add_service(WatchServer::new(breaking));
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    address
}

/// A loopback port where nobody listens: bound once, then given back.
async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
    listener.local_addr().expect("bound").to_string()
}

fn in_runtime<F: Future>(work: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}

fn patient() -> Options {
    Options { timeout: Some(Duration::from_secs(300)), ..Options::default() }
}

#[test]
fn a_read_is_repeated_and_a_write_that_was_seen_is_not() {
    in_runtime(async {
        let flaky = Flaky::default();
        let client =
            Client::connect(&[serve(flaky.clone(), Breaking::default()).await], patient()).await.expect("good");
        client.range(pb::RangeRequest::default()).await.expect("the second attempt");
        assert_eq!(flaky.ranges.load(Ordering::SeqCst), 2);
        let error = client.put(pb::PutRequest::default()).await.expect_err("told, not repeated");
        assert_eq!((error.code(), error.text()), (Some(Code::Unavailable), "etcdserver: request timed out"));
        assert_eq!(flaky.puts.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_write_is_sent_again_where_users_were_changed_between_the_look_and_the_deed() {
    in_runtime(async {
        let flaky = Flaky::default();
        let endpoint = serve(flaky.clone(), Breaking::default()).await;
        let client = Client::connect(&[endpoint], patient()).await.expect("good");
        let put = pb::PutRequest { key: "as users change".into(), ..Default::default() };
        client.put(put).await.expect("when they change no more");
        assert_eq!(flaky.puts.load(Ordering::SeqCst), 4);
    });
}

#[test]
fn a_wait_of_nothing_is_the_usual_one() {
    in_runtime(async {
        let endpoint = serve(Flaky::default(), Breaking::default()).await;
        let options = Options { connect_timeout: Duration::ZERO, keepalive_timeout: Duration::ZERO, ..patient() };
        assert_eq!(options.longest_connect(), Duration::from_secs(20));
        let client = Client::connect(&[endpoint], options).await.expect("good");
        client.range(pb::RangeRequest::default()).await.expect("connected, and answered at the second attempt");
    });
}

#[test]
fn a_write_goes_elsewhere_when_nobody_can_have_seen_it() {
    in_runtime(async {
        let flaky = Flaky::default();
        flaky.puts.store(1, Ordering::SeqCst);
        let endpoints = [nobody().await, serve(flaky.clone(), Breaking::default()).await];
        let client = Client::connect(&endpoints, patient()).await.expect("good");
        for done in 2..6 {
            client.put(pb::PutRequest::default()).await.expect("the living endpoint");
            assert_eq!(flaky.puts.load(Ordering::SeqCst), done);
        }
    });
}

/// A port that takes connections and never says a word, as a member that is stopped.
async fn silent() -> (String, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
    (listener.local_addr().expect("bound").to_string(), listener)
}

/// A port that does this with each connection that it takes.
async fn port(does: impl Fn(std::net::TcpStream) + Send + 'static) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a loopback port");
    let address = listener.local_addr().expect("bound").to_string();
    std::thread::spawn(move || listener.incoming().for_each(|line| does(line.expect("a connection"))));
    address
}

/// A process that stands still, a proxy with nobody behind it, what speaks TLS, what speaks HTTP/1, each before one that answers: as
/// with etcd's client, which asks nobody who has not greeted.
#[test]
fn nothing_is_asked_of_who_has_not_greeted() {
    in_runtime(async {
        let (stopped, _listener) = silent().await;
        let closes = port(drop).await;
        let reads_and_closes = port(|mut line| drop(line.read(&mut [0; 99]))).await;
        let alerts = port(|mut line| drop((line.read(&mut [0; 99]), line.write_all(&[21, 3, 1, 0, 2, 2, 70])))).await;
        let refuses = port(|mut line| drop(line.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n"))).await;
        for first in [stopped, closes, reads_and_closes, alerts, refuses, nobody().await] {
            let flaky = Flaky::default();
            flaky.puts.store(1, Ordering::SeqCst);
            flaky.ranges.store(1, Ordering::SeqCst);
            let endpoints = [first, serve(flaky.clone(), Breaking::default()).await];
            let client = Client::connect(&endpoints, patient()).await.expect("good");
            for done in 2..6 {
                client.put(pb::PutRequest::default()).await.expect("the one who answers");
                client.range(pb::RangeRequest::default()).await.expect("the one who answers");
                let asked = [&flaky.puts, &flaky.ranges].map(|asked| asked.load(Ordering::SeqCst));
                assert_eq!(asked, [done, done], "each once");
            }
            let another = Client::connect(&endpoints, patient()).await.expect("good");
            let mut watcher = another.watch(WatchRange { key: "k".into(), ..WatchRange::default() });
            let told = watcher.next().await.expect("not over").expect("no refusal");
            assert!(!told.events.is_empty());
        }
    });
}

/// A connection that waited for its first request, and was closed meanwhile: the write goes to who is there.
#[test]
fn a_connection_that_was_closed_while_it_waited_is_not_used() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let flaky = Flaky::default();
        flaky.puts.store(1, Ordering::SeqCst);
        for round in 0..20 {
            let has_greeted = std::sync::atomic::AtomicBool::new(false);
            let greets_once = port(move |mut line| {
                if !has_greeted.swap(true, Ordering::SeqCst) {
                    let _ = (line.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]), line.read(&mut [0; 99]));
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
            let endpoints = [greets_once.await, serve(flaky.clone(), Breaking::default()).await];
            let client = Client::connect(&endpoints, patient()).await.expect("good");
            client.endpoints().dial_ahead(0).await;
            tokio::time::sleep(Duration::from_millis(60)).await;
            client.put(pb::PutRequest::default()).await.expect("the one who is there");
            assert_eq!(flaky.puts.load(Ordering::SeqCst), round + 2);
        }
    });
}

/// Where a lease was granted is somebody who answers, whoever else stands still.
#[test]
fn a_renewal_is_asked_of_who_was_spoken_to() {
    in_runtime(async {
        let (stopped, _listener) = silent().await;
        let member = Mute { ttls: vec![6], ..Mute::default() };
        let client = Client::connect(&[stopped, member.clone().serve().await], patient()).await.expect("good");
        // Refused, for it is no store; and heard.
        client.put(pb::PutRequest::default()).await.expect_err("unimplemented");
        client.endpoints().is_heard(0);
        while client.endpoints().passes_the_turn() != 1 {}
        let mut kept = client.keep_alive(1);
        assert_eq!(kept.next().await.expect("not over").expect("no refusal").ttl, 6);
        assert_eq!(member.asked.load(Ordering::SeqCst), 1);
        let turns = [client.endpoints().passes_the_turn(), client.endpoints().passes_the_turn()];
        assert!(turns.contains(&0), "the first was not found silent, for it was not asked: {turns:?}");
    });
}

/// A proxy that has nobody behind it at first.
#[test]
fn who_closes_what_it_takes_is_asked_again() {
    in_runtime(async {
        let flaky = Flaky::default();
        flaky.puts.store(1, Ordering::SeqCst);
        let behind = serve(flaky.clone(), Breaking::default()).await;
        let proxy = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let endpoints = [proxy.local_addr().expect("bound").to_string()];
        tokio::spawn(async move {
            for nth in 0.. {
                let (mut line, _) = proxy.accept().await.expect("a connection");
                if nth >= 3 {
                    let mut server = tokio::net::TcpStream::connect(&behind).await.expect("there");
                    tokio::spawn(async move { tokio::io::copy_bidirectional(&mut line, &mut server).await });
                }
            }
        });
        let client = Client::connect(&endpoints, patient()).await.expect("good");
        client.put(pb::PutRequest::default()).await.expect("the fourth connection");
        assert_eq!(flaky.puts.load(Ordering::SeqCst), 2);
    });
}

#[test]
fn a_write_that_a_silent_member_may_have_is_sent_nowhere_else() {
    in_runtime(async {
        let (falls_silent, other) = (Flaky::default(), Flaky::default());
        other.puts.store(1, Ordering::SeqCst);
        let first = serve(falls_silent.clone(), Breaking::default()).await;
        let client = Client::connect(&[first, serve(other.clone(), Breaking::default()).await], patient()).await;
        let client = client.expect("good");
        let soon = client.within(Some(Duration::from_millis(1_500)));
        let put = || pb::PutRequest { key: "into silence".into(), ..Default::default() };
        assert!(matches!(soon.put(put()).await, Err(Error::Deadline)));
        let asked = || [&falls_silent, &other].map(|member| member.puts.load(Ordering::SeqCst));
        assert_eq!(asked(), [1, 1], "nobody else was asked");
        client.put(put()).await.expect("the silent one is passed over now");
        assert_eq!(asked(), [1, 2]);
    });
}

#[test]
fn a_request_ends_by_its_timeout_and_a_refusal_keeps_its_text() {
    in_runtime(async {
        let endpoints = [serve(Flaky::default(), Breaking::default()).await];
        let client = Client::connect(&endpoints, Options::default()).await.expect("good");
        let soon = client.within(Some(Duration::from_millis(50)));
        assert!(matches!(soon.txn(pb::TxnRequest::default()).await, Err(Error::Deadline)));
        let away = Client::connect(&[nobody().await], Options::default()).await.expect("an address");
        let soon = away.within(Some(Duration::from_millis(50)));
        assert!(matches!(soon.put(pb::PutRequest::default()).await, Err(Error::Deadline)));
        let refused = client.delete_range(pb::DeleteRangeRequest::default()).await.expect_err("refused");
        assert_eq!(refused.to_string(), "etcdserver: mvcc: required revision has been compacted");
    });
}

#[test]
fn a_streamed_range_is_joined() {
    in_runtime(async {
        let endpoints = [serve(Flaky::default(), Breaking::default()).await];
        let client = Client::connect(&endpoints, patient()).await.expect("good");
        let whole = client.range_stream(pb::RangeRequest::default()).await.expect("whole");
        assert_eq!((whole.kvs.len(), whole.count), (2, 2));
        client.compact(pb::CompactionRequest::default()).await.expect("told how long it is waited for");
    });
}

#[test]
fn a_time_beyond_all_clocks_is_none_and_a_place_that_is_not_there_is_an_error() {
    in_runtime(async {
        let (flaky, endless) = (Flaky::default(), Duration::MAX);
        flaky.ranges.store(1, Ordering::SeqCst);
        let options = Options {
            connect_timeout: endless,
            timeout: Some(endless),
            keepalive_time: endless,
            keepalive_timeout: endless,
            ..Options::default()
        };
        let client = Client::connect(&[serve(flaky, Breaking::default()).await], options).await.expect("good");
        for timeout in [endless, Duration::from_secs(1 << 40), Duration::from_secs(1 << 62)] {
            client.within(Some(timeout)).range(pb::RangeRequest::default()).await.expect("in time");
            client.within(Some(timeout)).range_stream(pb::RangeRequest::default()).await.expect("in time");
        }
        client.log_in().await.expect("nobody");
        drop(client.keep_alive(1));
        assert!(matches!(client.page(7, "/metrics").await, Err(Error::BadEndpoint(_))));
        let member = Mute { ttls: vec![i64::MAX, 6], ..Mute::default() }.serve().await;
        let mut kept = Client::connect(&[member], patient()).await.expect("good").keep_alive(1);
        assert_eq!(kept.next().await.expect("not over").expect("no refusal").ttl, i64::MAX);
    });
}

#[test]
fn a_watch_goes_on_after_its_stream_broke() {
    in_runtime(async {
        let breaking = Breaking::default();
        let endpoints = [serve(Flaky::default(), breaking.clone()).await];
        let client = Client::connect(&endpoints, Options::default()).await.expect("good");
        let mut watcher = client.watch(WatchRange { key: "a".into(), ..WatchRange::default() });
        let mut seen = Vec::new();
        let last = loop {
            let response = watcher.next().await.expect("not over").expect("no refusal");
            if response.canceled {
                break response;
            }
            seen.extend(response.events.into_iter().filter_map(|event| event.kv).map(|kv| kv.mod_revision));
        };
        assert_eq!(seen, [11, 12, 12, 13]);
        assert_eq!(last.compact_revision, 14);
        assert!(watcher.next().await.is_none());
        assert_eq!(*breaking.starts.lock().expect("no test panics while holding it"), [0, 13, 13, 14]);
    });
}

/// Whatever else goes on, whose answers say that all are there, and whoever's turn it is by that.
#[test]
fn a_renewal_is_asked_of_everybody_before_it_is_asked_of_one_twice() {
    in_runtime(async {
        let members: [Mute; 3] = Default::default();
        let mut endpoints = Vec::new();
        for member in &members {
            endpoints.push(member.clone().serve().await);
        }
        let client = Client::connect(&endpoints, patient()).await.expect("good");
        let asked = tokio::time::Instant::now() + Duration::from_secs(600);
        // The pace of a short lease, and time for a slow machine: it ends long after all of them were asked.
        let mut kept = client.keep_alive_granted(1, Duration::from_secs(12), asked);
        let watched = async {
            loop {
                tokio::time::sleep(Duration::from_millis(5)).await;
                let asked = [0, 1, 2].map(|place: usize| members[place].asked.load(Ordering::SeqCst));
                if asked.iter().sum::<usize>() >= members.len() {
                    return asked;
                }
                let Some(first) = asked.iter().position(|times| *times > 0) else { continue };
                (0..members.len()).for_each(|place| client.endpoints().is_heard(place));
                while (client.endpoints().passes_the_turn() + 1) % members.len() != first {}
            }
        };
        let asked = tokio::select! {
            biased;
            asked = watched => asked,
            ended = kept.next() => panic!("nobody answered: {ended:?}"),
        };
        assert_eq!(asked, [1, 1, 1]);
    });
}

/// Waits, beside some work that does not end meanwhile, until the client knows who has not answered.
async fn known_to_be_silent<W: Future<Output: std::fmt::Debug>>(
    client: &Client,
    endpoint: &str,
    mut work: Pin<&mut W>,
) {
    let silent = [(endpoint.to_owned(), "no answer".to_owned())];
    while client.unreached() != silent {
        assert_eq!(client.unreached(), []);
        // The look comes first: a slow machine may be late for both.
        tokio::select! {
            biased;
            () = tokio::time::sleep(Duration::from_millis(5)) => {}
            ended = &mut work => panic!("nobody answered: {ended:?}"),
        }
    }
}

#[test]
fn who_is_asked_no_more_is_not_said_to_be_silent() {
    in_runtime(async {
        let (stopped, _listener) = silent().await;
        let answers = Mute { ttls: vec![6, 0], ..Mute::default() }.serve().await;
        let client = Client::connect(&[stopped.clone(), answers], patient()).await.expect("good");
        let asked = tokio::time::Instant::now() + Duration::from_secs(600);
        let mut kept = client.keep_alive_granted(1, Duration::from_secs(12), asked);
        let renewed = kept.next().await.expect("not over").expect("no refusal");
        assert_eq!((renewed.ttl, client.unreached()), (6, vec![]), "the silent one was asked first");
        assert!(kept.next().await.is_none() && !kept.ran_out(), "it is said to be gone");
        assert_eq!(client.unreached(), []);

        let client = Client::connect(std::slice::from_ref(&stopped), patient()).await.expect("good");
        let mut watcher = client.watch(WatchRange { key: "a".into(), ..WatchRange::default() });
        known_to_be_silent(&client, &stopped, std::pin::pin!(watcher.next())).await;
        assert_eq!(client.unreached(), [], "nobody waits for the watch");
        let mut kept = client.keep_alive_granted(1, Duration::from_secs(600), asked);
        known_to_be_silent(&client, &stopped, std::pin::pin!(kept.next())).await;
        assert_eq!(client.unreached(), [], "nor for the renewal");
    });
}

#[test]
fn who_falls_silent_while_a_lease_is_kept_alive_is_known() {
    in_runtime(async {
        let member = Mute { ttls: vec![6], ..Mute::default() }.serve().await;
        let client = Client::connect(std::slice::from_ref(&member), patient()).await.expect("good");
        let mut kept = client.keep_alive(1);
        assert_eq!(kept.next().await.expect("not over").expect("no refusal").ttl, 6);
        {
            let mut last = std::pin::pin!(kept.next());
            known_to_be_silent(&client, &member, last.as_mut()).await;
            assert!(last.await.is_none());
        }
        assert!(kept.ran_out());
        assert_eq!(client.unreached(), [(member, "no answer".to_owned())]);
    });
}

#[test]
fn a_message_that_is_too_large_is_told_in_the_words_of_etcds_client() {
    in_runtime(async {
        let endpoints = [serve(Flaky::default(), Breaking::default()).await];
        let options = Options { max_request_bytes: 10, max_response_bytes: 3, ..patient() };
        let client = Client::connect(&endpoints, options).await.expect("good");
        let put = pb::PutRequest { key: "0123456789".into(), ..Default::default() };
        let error = client.put(put).await.expect_err("12 bytes");
        let text = "rpc error: code = ResourceExhausted desc = trying to send message larger than max (12 vs. 10)";
        assert_eq!(error.to_string(), text);
        let error = client.range_stream(pb::RangeRequest::default()).await.expect_err("a chunk");
        let text = "rpc error: code = ResourceExhausted desc = grpc: received message larger than max (";
        assert!(error.to_string().starts_with(text) && error.to_string().ends_with(" vs. 3)"), "{error}");
    });
}
