//! The KV service.

use bytes::Bytes;
use pb::request_op::Request as Op;
use prost::Message;
use quorate::wire::etcdserverpb as pb;

use super::street::{Server, bytes};

const RANGE: &str = "/etcdserverpb.KV/Range";
const PUT: &str = "/etcdserverpb.KV/Put";
const DELETE: &str = "/etcdserverpb.KV/DeleteRange";
const TXN: &str = "/etcdserverpb.KV/Txn";
const COMPACT: &str = "/etcdserverpb.KV/Compact";
const NO_KEY: &str = "etcdserver: key is not provided";
const TOO_MANY: &str = "etcdserver: too many operations in txn request";
const DUPLICATE: &str = "etcdserver: duplicate key given in txn request";

fn range(key: &'static str) -> pb::RangeRequest {
    pb::RangeRequest { key: bytes(key), ..Default::default() }
}

fn put(key: &'static str) -> pb::PutRequest {
    pb::PutRequest { key: bytes(key), value: bytes("v"), ..Default::default() }
}

fn op(request: Op) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

fn success(ops: Vec<pb::RequestOp>) -> pb::TxnRequest {
    pb::TxnRequest { success: ops, ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_are_refused_in_etcds_words() {
    let server = Server::start().await;
    server.refuses(RANGE, &range(""), 3, NO_KEY).await;
    server.refuses(PUT, &put(""), 3, NO_KEY).await;
    server.refuses(DELETE, &pb::DeleteRangeRequest::default(), 3, NO_KEY).await;
    let compare = pb::TxnRequest { compare: vec![pb::Compare::default()], ..Default::default() };
    server.refuses(TXN, &compare, 3, NO_KEY).await;

    let provided = pb::PutRequest { ignore_value: true, ..put("k") };
    server.refuses(PUT, &provided, 3, "etcdserver: value is provided").await;
    let provided = pb::PutRequest { ignore_lease: true, lease: 1, ..put("k") };
    server.refuses(PUT, &provided, 3, "etcdserver: lease is provided").await;
    let missing = pb::PutRequest { ignore_value: true, value: Bytes::new(), ..put("missing") };
    server.refuses(PUT, &missing, 3, "etcdserver: key not found").await;
    let leased = pb::PutRequest { lease: 77, ..put("k") };
    server.refuses(PUT, &leased, 5, "etcdserver: requested lease not found").await;

    for wrong in [99, -1] {
        let sorted = pb::RangeRequest { sort_order: wrong, ..range("k") };
        server.refuses(RANGE, &sorted, 3, "etcdserver: invalid sort option").await;
        let sorted = pb::RangeRequest { sort_target: wrong, ..range("k") };
        server.refuses(RANGE, &sorted, 3, "etcdserver: invalid sort option").await;
    }
    server.must_be_well_at(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revisions_and_ranges_at_their_edges() {
    let server = Server::start().await;
    for key in ["a", "b", "c"] {
        server.put(key, "v").await;
    }
    let future = pb::RangeRequest { revision: 5, ..range("a") };
    server.refuses(RANGE, &future, 11, "etcdserver: mvcc: required revision is a future revision").await;
    for (key, end, limit, revision, count) in [
        ("a", "", -1, -9, 1),
        ("b", "a", 0, 0, 0),
        ("b", "b", 0, 0, 0),
        ("b", "\0", 0, 0, 2),
        ("\0", "\0", 0, 0, 3),
        ("a", "z", 1, 0, 3),
    ] {
        let request = pb::RangeRequest { range_end: bytes(end), limit, revision, ..range(key) };
        let answer: pb::RangeResponse = server.call(RANGE, &request).await.unwrap();
        assert_eq!(answer.count, count, "{request:?}");
    }
    let whole = pb::RangeRequest { key: bytes("\0"), range_end: vec![0xff; 8].into(), ..Default::default() };
    let answer: pb::RangeResponse = server.call(RANGE, &whole).await.unwrap();
    assert_eq!(answer.kvs.len(), 3);
    let filtered = pb::RangeRequest { min_mod_revision: 4, max_mod_revision: 2, ..whole };
    let answer: pb::RangeResponse = server.call(RANGE, &filtered).await.unwrap();
    assert_eq!((answer.kvs.len(), answer.count), (0, 3));

    let compact = |revision| pb::CompactionRequest { revision, physical: false };
    server.refuses(COMPACT, &compact(5), 11, "etcdserver: mvcc: required revision is a future revision").await;
    let _: pb::CompactionResponse = server.call(COMPACT, &compact(3)).await.unwrap();
    for gone in [3, 0, -1] {
        server.refuses(COMPACT, &compact(gone), 11, "etcdserver: mvcc: required revision has been compacted").await;
    }
    let old = pb::RangeRequest { revision: 2, ..range("a") };
    server.refuses(RANGE, &old, 11, "etcdserver: mvcc: required revision has been compacted").await;
    server.must_be_well_at(4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_beyond_their_bounds() {
    let server = Server::start().await;
    let reads = |n: usize| vec![op(Op::RequestRange(range("k"))); n];
    server.refuses(TXN, &success(reads(129)), 3, TOO_MANY).await;
    let _: pb::TxnResponse = server.call(TXN, &success(reads(128))).await.unwrap();
    let nested = success(vec![op(Op::RequestTxn(success(reads(128))))]);
    server.refuses(TXN, &nested, 3, TOO_MANY).await;

    for depth in [128, 400] {
        let mut deep = success(vec![]);
        for _ in 0..depth {
            deep = success(vec![op(Op::RequestTxn(deep))]);
        }
        server.refuses(TXN, &deep, 3, TOO_MANY).await;
    }

    let twice = vec![op(Op::RequestPut(put("k"))), op(Op::RequestPut(put("k")))];
    server.refuses(TXN, &success(twice.clone()), 3, DUPLICATE).await;
    let delete = pb::DeleteRangeRequest { key: bytes("a"), range_end: bytes("z"), prev_kv: false };
    let deleted = vec![op(Op::RequestDeleteRange(delete)), op(Op::RequestPut(put("k")))];
    server.refuses(TXN, &success(deleted), 3, DUPLICATE).await;
    let inside = vec![op(Op::RequestTxn(success(twice[..1].to_vec()))), twice[0].clone()];
    server.refuses(TXN, &success(inside), 3, DUPLICATE).await;

    let empty = success(vec![pb::RequestOp { request: None }]);
    server.refuses(TXN, &empty, 3, "etcdserver: key not found").await;
    let odd = pb::Compare { key: bytes("k"), target: 99, result: 99, ..Default::default() };
    let odd = pb::TxnRequest { compare: vec![odd], ..Default::default() };
    let _: pb::TxnResponse = server.call(TXN, &odd).await.unwrap();
    server.must_be_well_at(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_at_their_bounds() {
    let server = Server::start().await;
    let sized = |size: usize| pb::PutRequest { value: vec![7; size].into(), ..put("k") };
    server.refuses(PUT, &sized(1_572_864 + 1), 3, "etcdserver: request is too large").await;
    let status = server.raw(PUT, sized(3 << 20).encode_to_vec().into()).await.unwrap_err();
    assert_eq!(status.code() as i32, 8, "{status:?}");
    assert!(status.message().starts_with("grpc: received message larger than max ("), "{status:?}");
    let _: pb::PutResponse = server.call(PUT, &sized(1_500_000)).await.unwrap();

    let odd_key: Bytes = (0..=255).cycle().take(65_536).collect::<Vec<u8>>().into();
    let odd = pb::PutRequest { key: odd_key.clone(), value: odd_key.clone(), ..Default::default() };
    let _: pb::PutResponse = server.call(PUT, &odd).await.unwrap();
    let request = pb::RangeRequest { key: odd_key.clone(), ..Default::default() };
    let answer: pb::RangeResponse = server.call(RANGE, &request).await.unwrap();
    assert_eq!(answer.kvs[0].value, odd_key);
    server.must_be_well_at(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_message() {
    let server = Server::start().await;
    let malformed: [&[u8]; 7] = [
        // A varint of eleven bytes, a length beyond the end, a length of 2^31, wire types 4, 6 and 7, a key cut off.
        &[0x18, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1],
        &[0x0a, 9, b'k'],
        &[0x0a, 0x80, 0x80, 0x80, 0x80, 0x08],
        &[0x0c],
        &[0x0e, 1],
        &[0x0f, 1],
        &[0x0a],
    ];
    for bytes in malformed {
        let status = server.raw(RANGE, Bytes::from_static(bytes)).await.expect_err("malformed");
        assert_eq!(status.code() as i32, 13, "{bytes:?}: {status:?}");
    }
    // Groups in groups, unknown fields, and a singular field given twice: the last one counts.
    let groups: Vec<u8> = std::iter::repeat_n(0x9b, 50_000).flat_map(|byte| [byte, 0x06]).collect();
    assert!(server.raw(RANGE, groups.into()).await.is_err());
    let mut twice = range("x").encode_to_vec();
    twice.extend([0xa0, 0x06, 5]);
    twice.extend(range("k").encode_to_vec());
    server.put("k", "v").await;
    let answer = pb::RangeResponse::decode(server.raw(RANGE, twice.into()).await.unwrap()).unwrap();
    assert_eq!(answer.count, 1);
    server.must_be_well_at(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn range_streams() {
    let server = Server::start().await;
    let ordered = |sort_order, sort_target| pb::RangeRequest { sort_order, sort_target, ..range("k") };
    let refused = |request: pb::RangeRequest| {
        let server = &server;
        async move {
            let request = tokio_stream::once(Bytes::from(request.encode_to_vec()));
            server.stream("/etcdserverpb.KV/RangeStream", request).await.expect_err("refused")
        }
    };
    let status = refused(ordered(2, 0)).await;
    assert_eq!((status.code() as i32, status.message()), (12, "RangeStream does not support custom sort orders"));
    let status = refused(pb::RangeRequest { min_mod_revision: 1, ..range("k") }).await;
    assert_eq!((status.code() as i32, status.message()), (12, "RangeStream does not support revision filters"));
    assert_eq!(refused(range("")).await.message(), NO_KEY);
    // No more messages than the one, and no fewer, as stock etcd answers.
    for (messages, what) in [(0, "no request message from"), (2, "multiple request messages for")] {
        let request = tokio_stream::iter(vec![Bytes::from(range("k").encode_to_vec()); messages]);
        let status = server.stream("/etcdserverpb.KV/RangeStream", request).await.expect_err("refused");
        let text = format!("cardinality violation: received {what} non-client-streaming RPC");
        assert_eq!((status.code() as i32, status.message()), (13, text.as_str()));
    }

    for key in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"] {
        server.put(key, "v").await;
    }
    let all = pb::RangeRequest { range_end: bytes("\0"), ..range("\0") };
    let request = tokio_stream::once(Bytes::from(all.encode_to_vec()));
    let mut stream = server.stream("/etcdserverpb.KV/RangeStream", request).await.unwrap();
    let mut chunks = Vec::new();
    while let Some(chunk) = stream.message().await.unwrap() {
        chunks.push(pb::RangeStreamResponse::decode(chunk).unwrap().range_response.unwrap());
    }
    assert_eq!(chunks.iter().map(|chunk| chunk.kvs.len()).collect::<Vec<_>>(), [10, 2]);
    assert!(chunks[0].header.is_none());
    assert_eq!((chunks[1].count, chunks[1].header.map(|header| header.revision)), (12, Some(13)));
    server.must_be_well_at(13).await;
}
