//! What a collector of OpenTelemetry is told of requests (`--enable-distributed-tracing`), by a collector of a few lines.
//!
//! Nothing waits for time to pass: what is told is looked at once the server has stopped, which tells all that is left.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use quorate::wire::etcdserverpb as pb;
use quorate::wire::otlp::any_value::Value;
use quorate::wire::otlp::span::SpanKind;
use quorate::wire::otlp::status::StatusCode;
use quorate::wire::otlp::{ExportTraceServiceRequest, ExportTraceServiceResponse, KeyValue, Span};
use quorate::wire::services::kv_client::KvClient;
use quorate::wire::services::watch_client::WatchClient;
use quorate::wire::trace_service::trace_service_server::{TraceService, TraceServiceServer};
use tokio::sync::watch;
use tonic::{Code, Request, Response, Status};

use super::street::{Server, bytes};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const OTHER_TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "00f067aa0ba902b7";
const ALL: &str = "--distributed-tracing-sampling-rate=1000000";

/// How a collector answers.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Mood {
    Takes,
    Refuses,
    NeverAnswers,
}

/// A collector that keeps whatever it is told.
#[derive(Clone)]
struct Collector {
    mood: Mood,
    told: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    asked: watch::Sender<usize>,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.told.lock().unwrap().push(request.into_inner());
        self.asked.send_modify(|asked| *asked += 1);
        match self.mood {
            Mood::Takes => Ok(Response::new(ExportTraceServiceResponse::default())),
            Mood::Refuses => Err(Status::permission_denied("not from you")),
            Mood::NeverAnswers => std::future::pending().await,
        }
    }
}

impl Collector {
    /// A collector and the flag that names it.
    async fn start(mood: Mood) -> (Self, String) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let flag = format!("--distributed-tracing-address={}", listener.local_addr().unwrap());
        let collector = Self { mood, told: Arc::default(), asked: watch::Sender::new(0) };
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        let service = TraceServiceServer::new(collector.clone());
        tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
        (collector, flag)
    }

    /// All spans it was told of, which must be of the member m1 of the service etcd.
    fn spans(&self) -> Vec<Span> {
        let told = self.told.lock().unwrap();
        let of_one = told.iter().flat_map(|request| &request.resource_spans).inspect(|of_one| {
            let resource = &of_one.resource.as_ref().unwrap().attributes;
            assert_eq!(said(resource, "service.name").unwrap(), "etcd");
            assert_eq!(said(resource, "service.instance.id").unwrap(), "m1");
        });
        of_one.flat_map(|of_one| &of_one.scope_spans).flat_map(|scope| scope.spans.clone()).collect()
    }
}

async fn traced(address: &str, more: &[&str]) -> Server {
    let flags = ["--enable-distributed-tracing", address, "--distributed-tracing-instance-id=m1"];
    Server::start_with(&[&flags[..], more].concat()).await
}

/// A request within a trace that its caller tells of, or not.
fn within<T>(trace: &str, sampled: bool, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("00-{trace}-{CALLER}-0{}", u8::from(sampled));
    request.metadata_mut().insert("traceparent", value.parse().unwrap());
    request.metadata_mut().insert("tracestate", "vendor=x".parse().unwrap());
    request
}

fn said(attributes: &[KeyValue], name: &str) -> Option<String> {
    let value = attributes.iter().find(|pair| pair.key == name)?.value.clone()?.value?;
    Some(match value {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        Value::BoolValue(truth) => truth.to_string(),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn names(spans: &[Span]) -> Vec<&str> {
    let mut names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    names.sort_unstable();
    names
}

fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("{name}: {spans:?}"))
}

fn put(key: &'static str) -> pb::PutRequest {
    pb::PutRequest { key: bytes(key), value: bytes("secret"), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_told_within_the_traces_of_their_callers() {
    let (collector, address) = Collector::start(Mood::Takes).await;
    let server = traced(&address, &[]).await;
    let place = server.address;
    let mut kv = KvClient::new(server.channel.clone());
    // By default of what no caller traces nothing is told.
    kv.put(put("untraced")).await.unwrap();
    kv.put(within(OTHER_TRACE, false, put("unsampled"))).await.unwrap();
    kv.put(within(TRACE, true, put("k"))).await.unwrap();
    kv.put(within(OTHER_TRACE, true, pb::PutRequest { lease: 77, ..put("leased") })).await.unwrap_err();
    // What is refused for its shape never began.
    kv.put(within(OTHER_TRACE, true, pb::PutRequest::default())).await.unwrap_err();
    let range = pb::RangeRequest { key: bytes("k"), limit: 3, ..Default::default() };
    kv.range(within(TRACE, true, range)).await.unwrap();
    drop(kv);
    server.must_be_well_at(4).await;

    let spans = collector.spans();
    let (told, others): (Vec<_>, Vec<_>) = spans.into_iter().partition(|span| hex(&span.trace_id) == TRACE);
    assert_eq!(names(&told), ["etcdserverpb.KV/Put", "etcdserverpb.KV/Range", "put", "range"]);
    for (method, operation) in [("etcdserverpb.KV/Put", "put"), ("etcdserverpb.KV/Range", "range")] {
        let (outer, inner) = (named(&told, method), named(&told, operation));
        assert_eq!((hex(&outer.parent_span_id).as_str(), outer.kind), (CALLER, SpanKind::Server as i32));
        assert_eq!((&inner.parent_span_id, inner.kind), (&outer.span_id, SpanKind::Internal as i32));
        assert_eq!((outer.flags, inner.flags, outer.trace_state.as_str()), (0x301, 0x101, "vendor=x"));
        assert!(outer.start_time_unix_nano <= inner.start_time_unix_nano);
        assert!(inner.end_time_unix_nano <= outer.end_time_unix_nano);
        let expected = [
            ("rpc.method", method),
            ("rpc.system.name", "grpc"),
            ("server.address", "127.0.0.1"),
            ("server.port", &place.port().to_string()),
            ("rpc.response.status_code", "OK"),
        ];
        for (name, value) in expected {
            assert_eq!(said(&outer.attributes, name).as_deref(), Some(value), "{outer:?}");
        }
        assert_eq!(outer.attributes.len(), expected.len());
    }
    assert_eq!(said(&named(&told, "put").attributes, "key").unwrap(), "k");
    let events: Vec<_> = named(&told, "put").events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(events, ["Send raft proposal", "Receive raft result"]);
    let range = &named(&told, "range").attributes;
    let expected =
        ["range_begin=k", "range_end=", "rev=0", "limit=3", "count_only=false", "keys_only=false"].map(str::to_string);
    let pairs = range.iter().map(|pair| format!("{}={}", pair.key, said(range, &pair.key).unwrap()));
    assert!(pairs.eq(expected), "{range:?}");
    // A client's own mistake is no error of the server's.
    assert_eq!(names(&others), ["etcdserverpb.KV/Put", "etcdserverpb.KV/Put", "put"]);
    let mut codes: Vec<_> =
        others.iter().filter_map(|span| said(&span.attributes, "rpc.response.status_code")).collect();
    codes.sort_unstable();
    assert_eq!(codes, ["INVALID_ARGUMENT", "NOT_FOUND"]);
    assert!(
        others.iter().all(|span| span.status.as_ref().is_some_and(|status| status.code == StatusCode::Unset as i32)),
        "{others:?}"
    );
    assert!(!format!("{told:?} {others:?}").contains("secret"), "values are not told");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_is_told_where_all_is_asked_for() {
    let (collector, address) = Collector::start(Mood::Takes).await;
    let server = traced(&address, &[ALL]).await;
    server.put("k", "v").await;
    // Nobody was elected by no name, which is an error of etcd's server.
    let failed = server.raw("/v3electionpb.Election/Leader", tonic::codegen::Bytes::new()).await.unwrap_err();
    assert_eq!(failed.code(), Code::Unknown);
    let mut watching = WatchClient::new(server.channel.clone());
    let create = pb::WatchCreateRequest { key: bytes("w"), progress_notify: true, ..Default::default() };
    let wish = pb::WatchRequest { request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)) };
    let (wishes, wished) = tokio::sync::mpsc::channel(1);
    wishes.send(wish).await.unwrap();
    let wished = tokio_stream::wrappers::ReceiverStream::new(wished);
    let mut answers = watching.watch(wished).await.unwrap().into_inner();
    assert!(answers.message().await.unwrap().unwrap().created);
    drop((answers, wishes, watching));
    server.must_be_well_at(2).await;

    let spans = collector.spans();
    let methods = ["etcdserverpb.KV/Put", "etcdserverpb.KV/Range", "etcdserverpb.Watch/Watch"];
    let others = ["put", "range", "range", "v3electionpb.Election/Leader", "watch"];
    assert_eq!(names(&spans), [&methods[..], &others].concat());
    let traces: std::collections::BTreeSet<_> = spans.iter().map(|span| span.trace_id.clone()).collect();
    assert_eq!(traces.len(), 4, "each request is a trace of its own");
    assert!(named(&spans, "etcdserverpb.KV/Put").parent_span_id.is_empty());
    let parents: Vec<_> = spans.iter().filter(|span| span.name == "range").map(|span| &span.parent_span_id).collect();
    assert!(parents.contains(&&named(&spans, "etcdserverpb.KV/Range").span_id), "{parents:?}");
    assert!(parents.contains(&&named(&spans, "v3electionpb.Election/Leader").span_id), "{parents:?}");
    assert_eq!(named(&spans, "watch").parent_span_id, named(&spans, "etcdserverpb.Watch/Watch").span_id);
    assert_eq!(said(&named(&spans, "watch").attributes, "progress_notify").unwrap(), "true");
    let status = named(&spans, "v3electionpb.Election/Leader").status.as_ref().unwrap();
    assert_eq!((status.code, status.message.as_str()), (StatusCode::Error as i32, failed.message()));
}

/// Whatever the collector does, requests are answered and the server stops.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_of_no_use_holds_nothing_up() {
    // Nobody listens there: the place is taken, and not listened at.
    let taken = tokio::net::TcpSocket::new_v4().unwrap();
    taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let away = format!("--distributed-tracing-address={}", taken.local_addr().unwrap());
    let (refusing, refuses) = Collector::start(Mood::Refuses).await;
    let (silent, never_answers) = Collector::start(Mood::NeverAnswers).await;
    for (address, collector) in [(away, None), (refuses, Some(refusing)), (never_answers, Some(silent))] {
        let server = traced(&address, &[ALL]).await;
        // More than are sent at once, so that some are under way while others come.
        for _ in 0..300 {
            server.put("k", "v").await;
        }
        if let Some(collector) = &collector {
            let mut asked = collector.asked.subscribe();
            let asked = tokio::time::timeout(Duration::from_secs(180), asked.wait_for(|asked| *asked > 0));
            asked.await.expect("it is asked").unwrap();
        }
        server.put("k", "v").await;
        let stopped = tokio::time::timeout(Duration::from_secs(180), server.must_be_well_at(302));
        stopped.await.unwrap_or_else(|_| panic!("{address}: it does not stop"));
    }
}
