//! What is no gRPC, or only nearly; and the plain HTTP endpoints.

use std::io::Read;

use bytes::Bytes;
use http::uri::PathAndQuery;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::codec::CompressionEncoding;

use super::street::{Raw, Server, bytes};
use quorate::wire::etcdserverpb as pb;

/// Sends `text` and reads until the server closes.
pub(super) async fn exchange(server: &Server, text: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(text).await.unwrap();
    let mut answer = Vec::new();
    // The server may reset what it does not understand.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

async fn get(server: &Server, path: &str) -> String {
    exchange(server, format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn noise_ends_its_own_connection_only() {
    let server = Server::start().await;
    let client_hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    exchange(&server, &[&client_hello[..], &[b'x'; 200], b"\r\n\r\n"].concat()).await;
    exchange(&server, b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n").await;
    exchange(&server, b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\r\n\r\n").await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    // Frames: 16 MiB long, DATA on stream 0, HEADERS on an even stream, a window update of nothing.
    for frame in [
        &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1][..],
        &[0, 0, 1, 0, 0, 0, 0, 0, 0, 7],
        &[0, 0, 1, 1, 4, 0, 0, 0, 2, 0x82],
        &[0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ] {
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        exchange(&server, &[&preface[..], &settings, frame].concat()).await;
    }
    server.put("k", "v").await;
    server.must_be_well_at(2).await;
}

/// As stock etcd 3.7.1 counts them.
#[tokio::test(flavor = "multi_thread")]
async fn every_read_is_counted_also_in_a_transaction_and_in_vain() {
    let server = Server::start().await;
    let range = pb::RangeRequest { key: bytes("k"), ..Default::default() };
    let ranges = pb::request_op::Request::RequestRange(range.clone());
    let read_only = pb::TxnRequest { success: vec![pb::RequestOp { request: Some(ranges) }], ..Default::default() };
    for _ in 0..3 {
        let _: pb::TxnResponse = server.call("/etcdserverpb.KV/Txn", &read_only).await.unwrap();
    }
    let of_the_future = pb::RangeRequest { revision: 99, ..range };
    server
        .refuses(
            "/etcdserverpb.KV/Range",
            &of_the_future,
            11,
            "etcdserver: mvcc: required revision is a future revision",
        )
        .await;
    let told = get(&server, "/metrics").await;
    for line in [
        "etcd_mvcc_range_total 4",
        r#"etcd_server_request_duration_seconds_count{success="true",type="ReadonlyTxn"} 3"#,
        r#"etcd_server_request_duration_seconds_count{success="false",type="Range"} 1"#,
    ] {
        assert!(told.lines().any(|told| told == line), "{line}: {told}");
    }
}

/// Each text was recorded from stock etcd 3.7.1.
#[tokio::test(flavor = "multi_thread")]
async fn compressed_requests_are_read_and_hold_no_more_than_others() {
    let server = Server::start().await;
    let put = |size| {
        let put = pb::PutRequest { key: bytes("k"), value: vec![7; size].into(), ..Default::default() };
        let mut grpc = tonic::client::Grpc::new(server.channel.clone()).send_compressed(CompressionEncoding::Gzip);
        async move {
            grpc.ready().await.unwrap();
            let request = tonic::Request::new(Bytes::from(put.encode_to_vec()));
            grpc.unary(request, PathAndQuery::from_static("/etcdserverpb.KV/Put"), Raw).await.map(|_| ())
        }
    };
    put(1_000_000).await.unwrap();
    let too_large = put(1_600_000).await.unwrap_err();
    assert_eq!(
        (too_large.code(), too_large.message()),
        (tonic::Code::InvalidArgument, "etcdserver: request is too large")
    );
    // A few thousand bytes on the wire.
    let bomb = put(1 << 26).await.unwrap_err();
    let text = "grpc: received message after decompression larger than max 2097152";
    assert_eq!((bomb.code(), bomb.message()), (tonic::Code::ResourceExhausted, text));
    server.must_be_well_at(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_methods_are_named() {
    let server = Server::start().await;
    let ask = pb::StatusRequest {};
    for (path, text) in
        [("/etcdserverpb.KV/Fly", "unknown method Fly for service etcdserverpb.KV"), ("/a.B/C", "unknown service a.B")]
    {
        server.refuses(path, &ask, 12, text).await;
    }
    server.must_be_well_at(1).await;
}

/// Each text was recorded from stock etcd 3.7.1.
#[tokio::test(flavor = "multi_thread")]
async fn a_downgrade_that_cannot_be_is_refused() {
    let server = Server::start().await;
    let path = "/etcdserverpb.Maintenance/Downgrade";
    let ask = |action, version: &str| pb::DowngradeRequest { action, version: version.to_string() };
    for action in [0, 1] {
        for bad in ["", "3", "x", "3.6.1.2"] {
            server.refuses(path, &ask(action, bad), 3, "etcdserver: wrong downgrade target version format").await;
        }
        for other in ["3.7", "3.8", "3.5", "4.6"] {
            server.refuses(path, &ask(action, other), 3, "etcdserver: invalid downgrade target version").await;
        }
    }
    server.refuses(path, &ask(3, "3.6"), 2, "etcdserver: unknown method").await;
    let told = |answer: pb::DowngradeResponse| answer.version;
    assert_eq!(told(server.call(path, &ask(0, "3.6")).await.unwrap()), "3.7");
    assert_eq!(
        told(server.call(path, &ask(2, "")).await.unwrap()),
        "3.7",
        "that there is none is only told in the log"
    );
    assert_eq!(told(server.call(path, &ask(1, "3.6.9")).await.unwrap()), "3.7");
    server.must_be_well_at(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_endpoints_are_etcds() {
    let server = Server::start().await;
    let ends = [
        ("/health", "200 OK", "{\"health\":\"true\",\"reason\":\"\"}"),
        ("/version", "200 OK", "{\"etcdserver\":\"3.7.1\",\"etcdcluster\":\"3.7.0\",\"storage\":\"3.7.0\"}"),
        ("/livez?verbose", "200 OK", "[+]serializable_read ok\nok\n"),
        ("/readyz", "200 OK", "\r\n\r\nok\n"),
        ("/readyz/non_learner", "200 OK", "\r\n\r\nok\n"),
        ("/readyz/nothing", "404 Not Found", "404 page not found\n"),
        ("/", "404 Not Found", "404 page not found\n"),
    ];
    for (path, code, body) in ends {
        let answer = get(&server, path).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {code}\r\n")), "{path}: {answer}");
        assert!(answer.ends_with(body), "{path}: {answer}");
        assert!(answer.contains("access-control-allow-origin: *"), "{path}: {answer}");
    }
    let metrics = get(&server, "/metrics").await;
    assert!(metrics.contains("etcd_server_has_leader 1\n"), "{metrics}");
    let post = exchange(&server, b"POST /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(post.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"), "{post}");
    let post = exchange(&server, b"POST /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(post.starts_with("HTTP/1.1 200 OK\r\n"), "{post}");
    let options = exchange(&server, b"OPTIONS /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(options.starts_with("HTTP/1.1 200 OK\r\n"), "{options}");
    server.must_be_well_at(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alarms_make_the_server_unhealthy() {
    let server = Server::start().await;
    let alarm = |action| pb::AlarmRequest { action, member_id: 0, alarm: 1 };
    let raised: pb::AlarmResponse = server.call("/etcdserverpb.Maintenance/Alarm", &alarm(1)).await.unwrap();
    assert_eq!(raised.alarms.len(), 1);
    assert!(get(&server, "/health").await.ends_with("{\"health\":\"false\",\"reason\":\"ALARM NOSPACE\"}\n"));
    assert!(get(&server, "/health?exclude=NOSPACE").await.starts_with("HTTP/1.1 200 OK"));
    for (alarm, listed) in [(0, 1), (1, 1), (2, 0), (3, 0)] {
        let get = pb::AlarmRequest { action: 0, member_id: 0, alarm };
        let found: pb::AlarmResponse = server.call("/etcdserverpb.Maintenance/Alarm", &get).await.unwrap();
        assert_eq!(found.alarms.len(), listed, "{alarm}");
    }
    let long = pb::LeaseGrantRequest { id: 1, ttl: i64::MAX };
    server.refuses("/etcdserverpb.Lease/LeaseGrant", &long, 8, "etcdserver: mvcc: database space exceeded").await;
    let put = pb::PutRequest { key: bytes("k"), ..Default::default() };
    let full = "etcdserver: mvcc: database space exceeded";
    server.refuses("/etcdserverpb.KV/Put", &put, 8, full).await;
    let cleared: pb::AlarmResponse = server.call("/etcdserverpb.Maintenance/Alarm", &alarm(2)).await.unwrap();
    assert_eq!(cleared.alarms.len(), 1);
    assert!(get(&server, "/health").await.starts_with("HTTP/1.1 200 OK"));
    server.must_be_well_at(1).await;
}

/// Streams that are opened and cancelled in one breath, then a ping: whether it is answered.
async fn is_well_after_cancelling(server: &Server, streams: u32) -> bool {
    let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    for number in 0..streams {
        let stream = (2 * number + 1).to_be_bytes();
        // HEADERS: POST, http, /, authority "x"; then RST_STREAM: CANCEL.
        out.extend_from_slice(&[0, 0, 6, 1, 4]);
        out.extend_from_slice(&stream);
        out.extend_from_slice(&[0x83, 0x86, 0x84, 0x41, 1, b'x']);
        out.extend_from_slice(&[0, 0, 4, 3, 0]);
        out.extend_from_slice(&stream);
        out.extend_from_slice(&[0, 0, 0, 8]);
    }
    out.extend_from_slice(b"\0\0\x08\x06\0\0\0\0\0are-well");
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    // The server may end it before all is written.
    let _ = stream.write_all(&out).await;
    let (mut answer, mut buf) = (Vec::new(), [0; 4096]);
    while let Ok(read @ 1..) = stream.read(&mut buf).await {
        answer.extend_from_slice(&buf[..read]);
        if answer.windows(8).any(|bytes| bytes == b"are-well") {
            return true;
        }
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cancels_much_at_once_keeps_its_connection_and_a_flood_does_not() {
    let server = Server::start().await;
    assert!(is_well_after_cancelling(&server, 200).await, "an honest client goes on");
    assert!(!is_well_after_cancelling(&server, 50_000).await, "a flood ends its connection");
    server.put("k", "v").await;
    server.must_be_well_at(2).await;
}

/// HEADERS of a watch, in literals that need no table: POST, http, the path, the content type.
fn watch_headers() -> Vec<u8> {
    let (path, kind) = (b"/etcdserverpb.Watch/Watch", b"application/grpc");
    let mut block = vec![0x83, 0x86, 0x04, path.len() as u8];
    block.extend_from_slice(path);
    block.extend_from_slice(&[0x41, 1, b'x', 0x0f, 0x10, kind.len() as u8]);
    block.extend_from_slice(kind);
    [&[0, 0, block.len() as u8, 1, 4, 0, 0, 0, 1][..], &block].concat()
}

/// Sends up to `most` pings, each when the one before was answered. Which of them had the server say that they are too many,
/// if it did; after the last one that is waited for where it is `expected`.
async fn sent_away_at(server: &Server, begin: &[u8], most: usize, expected: bool) -> Option<usize> {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    stream.write_all(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &settings[..], begin].concat()).await.unwrap();
    let (mut answer, mut buf) = (Vec::new(), [0; 4096]);
    for number in 1..=most {
        let payload = (number as u64).to_be_bytes();
        stream.write_all(&[&[0, 0, 8, 6, 0, 0, 0, 0, 0][..], &payload].concat()).await.unwrap();
        let is_answered =
            |answer: &[u8]| answer.windows(9 + 8).any(|bytes| bytes[3..5] == [6, 1] && bytes[9..] == payload);
        while !is_answered(&answer) || (expected && number == most) {
            let read = stream.read(&mut buf).await.unwrap();
            assert!(read > 0, "ended without a word at {number}");
            answer.extend_from_slice(&buf[..read]);
            let calm = b"\0\0\0\x0btoo_many_pings";
            if answer.windows(calm.len()).any(|bytes| bytes == calm) {
                return Some(number);
            }
        }
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn who_pings_too_often_is_sent_away_as_by_grpc() {
    let server = Server::start().await;
    assert_eq!(sent_away_at(&server, &[], 3, false).await, None);
    assert_eq!(sent_away_at(&server, &[], 4, true).await, Some(4), "without a request: one every two hours");
    let patient = Server::start_with(&["--grpc-keepalive-min-time=1ns"]).await;
    assert_eq!(sent_away_at(&patient, &watch_headers(), 50, false).await, None);
    let strict = Server::start_with(&["--grpc-keepalive-min-time=1h"]).await;
    // That the watch is answered makes strikes void once, whenever it comes.
    let at = sent_away_at(&strict, &watch_headers(), 8, true).await;
    assert!(at.is_some_and(|at| (4..=8).contains(&at)), "{at:?}");
    for server in [server, patient, strict] {
        server.must_be_well_at(1).await;
    }
}

/// As stock etcd 3.7.1, at both ports.
#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_compressed_for_who_takes_that() {
    let metrics = crate::ports::free();
    let server = Server::start_with(&[&format!("--listen-metrics-urls=http://127.0.0.1:{metrics}")]).await;
    for port in [server.address.port(), metrics] {
        for (method, path, wish, is_gzip) in [
            ("GET", "/metrics", "gzip", true),
            ("POST", "/metrics", "gzip;q=0.5, deflate", true),
            ("GET", "/metrics", "identity, gzip", false),
            ("GET", "/health", "gzip", false),
        ] {
            let head =
                format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept-Encoding: {wish}\r\n\r\n");
            let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap();
            let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
            let (head, body) = (String::from_utf8_lossy(&answer[..end]), &answer[end + 4..]);
            assert_eq!(head.contains("\r\ncontent-encoding: gzip"), is_gzip, "{path} {wish}: {head}");
            let plain = "\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8; escaping=underscores\r\n";
            assert_eq!(head.contains(plain), path == "/metrics", "{head}");
            let mut text = String::new();
            match is_gzip {
                true => drop(flate2::read::GzDecoder::new(body).read_to_string(&mut text).unwrap()),
                false => text.push_str(std::str::from_utf8(body).unwrap()),
            }
            assert_eq!(text.contains("etcd_server_has_leader 1\n"), path == "/metrics", "{text}");
            assert!(!is_gzip || body.len() < text.len() / 5, "{} {}", body.len(), text.len());
        }
    }
    server.must_be_well_at(1).await;
}

/// Each was seen at stock etcd 3.7.1.
#[tokio::test(flavor = "multi_thread")]
async fn failed_calls_alarms_and_probes_are_counted() {
    let server = Server::start().await;
    let at_first = get(&server, "/metrics").await;
    assert!(at_first.contains("\netcd_debugging_mvcc_compact_revision -1\n"), "{at_first}");
    let future = "etcdserver: mvcc: required revision is a future revision";
    let (range, compact) = ("/etcdserverpb.KV/Range", "/etcdserverpb.KV/Compact");
    server.refuses(range, &pb::RangeRequest { key: bytes("k"), revision: 99, ..Default::default() }, 11, future).await;
    server.refuses(compact, &pb::CompactionRequest { revision: 99, physical: false }, 11, future).await;
    let none = "etcdserver: requested lease not found";
    server.refuses("/etcdserverpb.Lease/LeaseRevoke", &pb::LeaseRevokeRequest { id: 7 }, 5, none).await;
    server.refuses("/etcdserverpb.KV/Put", &pb::PutRequest::default(), 3, "etcdserver: key is not provided").await;
    let nobody = pb::AuthUserGetRequest { name: "x".into() };
    server.refuses("/etcdserverpb.Auth/UserGet", &nobody, 9, "etcdserver: user name not found").await;
    for action in [0, 2] {
        let alarm = pb::AlarmRequest { action, ..Default::default() };
        let _: pb::AlarmResponse = server.call("/etcdserverpb.Maintenance/Alarm", &alarm).await.unwrap();
    }
    server.put("k", "v").await;
    for path in ["/health", "/health?serializable=true", "/livez", "/readyz"] {
        get(&server, path).await;
    }
    let _: pb::CompactionResponse =
        server.call(compact, &pb::CompactionRequest { revision: 2, physical: true }).await.unwrap();
    let told = get(&server, "/metrics").await;
    let of = |name: &str, method: &str, service: &str| {
        format!(
            r#"grpc_server_msg_{name}_total{{grpc_method="{method}",grpc_service="etcdserverpb.{service}",grpc_type="unary"}}"#
        )
    };
    let took = |success: bool, kind: &str| {
        format!(r#"etcd_server_request_duration_seconds_count{{success="{success}",type="{kind}"}}"#)
    };
    for (line, count) in [
        (of("sent", "Range", "KV"), 1),
        (of("received", "Range", "KV"), 1),
        (of("sent", "Put", "KV"), 2),
        (of("sent", "Compact", "KV"), 2),
        (of("sent", "LeaseRevoke", "Lease"), 1),
        (of("sent", "Alarm", "Maintenance"), 2),
        (took(false, "Range"), 1),
        (took(true, "Range"), 5),
        (took(true, "Alarm"), 2),
        (took(true, "Compaction"), 2),
        (took(true, "LeaseRevoke"), 1),
        (took(true, "AuthUserGet"), 1),
        ("etcd_debugging_mvcc_compact_revision".to_string(), 2),
    ] {
        let line = format!("{line} {count}");
        assert!(told.lines().any(|told| told == line), "{line}: {told}");
    }
}
