//! The list of bad requests: frames, protobuf encodings, headers, paths, sizes and depths.
//!
//! Does not know what a server should say; stock etcd says it.

use bytes::Bytes;

use super::case::{Case, Judge};

const PUT: &str = "/etcdserverpb.KV/Put";
const RANGE: &str = "/etcdserverpb.KV/Range";
const TXN: &str = "/etcdserverpb.KV/Txn";
const WATCH: &str = "/etcdserverpb.Watch/Watch";
const KEEP_ALIVE: &str = "/etcdserverpb.Lease/LeaseKeepAlive";

/// A protobuf varint.
fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// A field tag.
fn tag(field: u64, wire_type: u64) -> Vec<u8> {
    varint(field << 3 | wire_type)
}

/// A length-delimited field.
fn field(number: u64, bytes: &[u8]) -> Vec<u8> {
    [tag(number, 2), varint(bytes.len() as u64), bytes.to_vec()].concat()
}

/// A varint field.
fn number(field: u64, value: u64) -> Vec<u8> {
    [tag(field, 0), varint(value)].concat()
}

/// One gRPC message frame.
fn frame(payload: &[u8]) -> Vec<u8> {
    [vec![0], (payload.len() as u32).to_be_bytes().to_vec(), payload.to_vec()].concat()
}

fn headers() -> Vec<(&'static str, Vec<u8>)> {
    vec![("content-type", b"application/grpc".to_vec()), ("te", b"trailers".to_vec())]
}

fn raw(name: &str, path: &'static str, body: Vec<u8>) -> Case {
    let (name, body) = (name.to_owned(), Bytes::from(body));
    Case { name, path, method: "POST", headers: headers(), body, then: Bytes::new(), judge: Judge::Equal }
}

/// A stream that says something good, hears the answer, and goes on with something bad.
fn answered(name: &str, path: &'static str, good: &[u8], bad: &[u8]) -> Case {
    Case { then: Bytes::from(frame(bad)), ..raw(name, path, frame(good)) }
}

fn message(name: &str, path: &'static str, payload: &[&[u8]]) -> Case {
    raw(name, path, frame(&payload.concat()))
}

fn with_header(name: &str, header: &'static str, value: &[u8]) -> Case {
    let mut case = message(name, RANGE, &[&field(1, b"k")]);
    case.headers.retain(|(other, _)| *other != header);
    case.headers.push((header, value.to_vec()));
    case
}

/// All cases.
pub(super) fn all() -> Vec<Case> {
    let mut cases = frames();
    cases.extend(encodings());
    cases.extend(merged());
    cases.extend(sizes());
    cases.extend(depths());
    cases.extend(calls());
    cases.extend(streams());
    for case in &mut cases {
        if DECODERS_CHOICE.contains(&case.name.as_str()) {
            case.judge = Judge::Alive;
        }
    }
    // What may leave different stores comes last.
    cases.sort_by_key(|case| case.judge == Judge::Alive);
    cases
}

/// What another gRPC or protobuf library honestly takes otherwise (`docs/compat.md`): grpc-go stops reading a unary call
/// after its first message; Go's protobuf takes a known field of another wire type for an unknown one; the depth at which
/// nested transactions are refused.
const DECODERS_CHOICE: &[&str] = &[
    "frame: bytes after the message",
    "kind: key as a number",
    "kind: lease as bytes",
    "kind: lease as fixed64",
    "depth: 127 transactions",
    "depth: 128 transactions",
];

fn frames() -> Vec<Case> {
    let put = [field(1, b"raw"), field(2, b"v")].concat();
    let twice = [frame(&put), frame(&put)].concat();
    vec![
        raw("frame: no message", PUT, Vec::new()),
        raw("frame: two messages on a unary call", PUT, twice),
        raw("frame: three bytes", PUT, vec![0, 0, 0]),
        raw("frame: length beyond the data", PUT, [vec![0, 0, 0, 0, 50], put.clone()].concat()),
        raw("frame: length of 4 GiB", PUT, [vec![0, 0xff, 0xff, 0xff, 0xff], put.clone()].concat()),
        raw("frame: length of 2 GiB", PUT, [vec![0, 0x80, 0, 0, 0], put.clone()].concat()),
        raw("frame: compressed without an encoding", PUT, [vec![1], frame(&put)[1..].to_vec()].concat()),
        raw("frame: flag 2", PUT, [vec![2], frame(&put)[1..].to_vec()].concat()),
        raw("frame: bytes after the message", PUT, [frame(&put), vec![0, 0]].concat()),
        message("frame: empty message", PUT, &[]),
    ]
}

fn encodings() -> Vec<Case> {
    let key = field(1, b"raw");
    let long = |count: usize, last: u8| [vec![0xff; count - 1], vec![last]].concat();
    vec![
        message("unknown: varint", PUT, &[&key, &number(1000, 7)]),
        message("unknown: bytes", PUT, &[&field(1000, b"zz"), &key]),
        message("unknown: fixed32", PUT, &[&key, &tag(1000, 5), &[1, 2, 3, 4]]),
        message("unknown: fixed64", PUT, &[&key, &tag(1000, 1), &[0; 8]]),
        message("unknown: group", PUT, &[&key, &tag(99, 3), &number(1, 1), &tag(99, 4)]),
        message("unknown: largest field number", PUT, &[&key, &number((1 << 29) - 1, 1)]),
        message("bad: field number too large", PUT, &[&key, &number(1 << 29, 1)]),
        message("bad: group that does not end", PUT, &[&key, &tag(99, 3), &number(1, 1)]),
        message("bad: group ends as another", PUT, &[&key, &tag(99, 3), &tag(98, 4)]),
        message("bad: end of no group", PUT, &[&key, &tag(99, 4)]),
        message("bad: wire type 6", PUT, &[&key, &tag(99, 6), &[0]]),
        message("bad: wire type 7", PUT, &[&key, &tag(99, 7), &[0]]),
        message("bad: field number 0", PUT, &[&key, &[0], &[1]]),
        message("bad: lone tag", PUT, &[&key, &tag(3, 0)]),
        message("bad: varint of 11 bytes", PUT, &[&key, &tag(3, 0), &long(11, 1)]),
        message("bad: varint of 10 bytes beyond 64 bits", PUT, &[&key, &tag(3, 0), &long(10, 0x7f)]),
        message("good: lease -1 as a varint of 10 bytes", PUT, &[&key, &tag(3, 0), &long(10, 1)]),
        message("good: overlong varint", PUT, &[&key, &tag(4, 0), &[0x81, 0x80, 0x00]]),
        message("bad: unfinished varint", PUT, &[&key, &tag(3, 0), &[0xff, 0xff]]),
        message("bad: length beyond the message", PUT, &[&tag(1, 2), &varint(100), b"short"]),
        message("bad: length of 2^31", PUT, &[&tag(1, 2), &varint(1 << 31), b"short"]),
        message("bad: length of 2^63", PUT, &[&tag(1, 2), &varint(1 << 63), b"short"]),
        message("bad: unfinished fixed64", PUT, &[&key, &tag(77, 1), &[0; 4]]),
        message("kind: key as a number", PUT, &[&number(1, 5)]),
        message("kind: lease as bytes", PUT, &[&key, &field(3, b"x")]),
        message("kind: lease as fixed64", PUT, &[&key, &tag(3, 1), &[1; 8]]),
        message("value: bool of 2", PUT, &[&key, &number(4, 2)]),
        message("value: bool of 2^63", PUT, &[&key, &number(4, 1 << 63)]),
        message("value: enum of 2^40", RANGE, &[&key, &number(5, 1 << 40)]),
        message("value: enum of 2^32 + 1", RANGE, &[&key, &number(5, (1 << 32) + 1)]),
        message("text: name that is not UTF-8", "/etcdserverpb.Auth/UserGet", &[&field(1, b"\xff\xfe")]),
        message("text: member URL that is not UTF-8", "/etcdserverpb.Cluster/MemberAdd", &[&field(1, b"\xc3\x28")]),
    ]
}

fn merged() -> Vec<Case> {
    let range_op = field(1, &field(1, b"raw"));
    let put_op = field(2, &[field(1, b"raw"), field(2, b"two")].concat());
    let half_put = |bytes: &[u8]| field(2, bytes);
    vec![
        message("twice: key, the last wins", PUT, &[&field(1, b"first"), &field(1, b"last"), &field(2, b"v")]),
        message("order: value before key", PUT, &[&field(2, b"v2"), &field(1, b"raw")]),
        message("oneof: range then put", TXN, &[&field(2, &[range_op.clone(), put_op.clone()].concat())]),
        message("oneof: put then range", TXN, &[&field(2, &[put_op, range_op].concat())]),
        message(
            "oneof: put in two halves is merged",
            TXN,
            &[&field(2, &[half_put(&field(1, b"halves")), half_put(&field(2, b"v"))].concat())],
        ),
        message(
            "oneof: compare with two targets",
            TXN,
            &[&field(1, &[field(3, b"raw"), number(4, 1), number(6, 1)].concat())],
        ),
        message("oneof: operation with nothing in it", TXN, &[&field(2, &[])]),
    ]
}

fn sizes() -> Vec<Case> {
    let put = |size: usize| [field(1, b"raw/size"), field(2, &vec![b'x'; size])].concat();
    // The key field takes 10 bytes, the tag of the value 1, its length 3.
    let exactly = |size: usize| put(size - 14);
    let mut cases = vec![
        message("size: 1.4 MiB", PUT, &[&put(1_400 << 10)]),
        message("size: value of 1.5 MiB", PUT, &[&put(1_536 << 10)]),
        message("size: value of 1.5 MiB + 1", PUT, &[&put((1_536 << 10) + 1)]),
        message("size: value of 2 MiB - 100", PUT, &[&put((2 << 20) - 100)]),
        message("size: value of 2 MiB", PUT, &[&put(2 << 20)]),
        message("size: value of 3 MiB", PUT, &[&put(3 << 20)]),
    ];
    for size in [(2 << 20) - 1, 2 << 20, (2 << 20) + 1] {
        let payload = exactly(size);
        assert_eq!(payload.len(), size, "the overhead above is right");
        let name = format!("size: at the transport's limit, {} bytes", payload.len());
        cases.push(message(&name, PUT, &[&payload]));
    }
    cases
}

/// `depth` transactions in each other, a range innermost.
fn tower(depth: usize) -> Vec<u8> {
    let mut op = field(1, &field(1, b"raw"));
    for _ in 1..depth {
        op = field(4, &field(2, &op));
    }
    field(2, &op)
}

fn depths() -> Vec<Case> {
    let groups = |depth: usize| [field(1, b"raw"), tag(99, 3).repeat(depth), tag(99, 4).repeat(depth)].concat();
    let mut cases: Vec<Case> = [2, 40, 127, 128, 129, 200]
        .iter()
        .map(|depth| message(&format!("depth: {depth} transactions"), TXN, &[&tower(*depth)]))
        .collect();
    cases.push(message("depth: 50 unknown groups", PUT, &[&groups(50)]));
    cases.push(message("depth: 20000 unknown groups", PUT, &[&groups(20_000)]));
    // Whether a thousand levels are too many is each decoder's own choice; that it stands them is not.
    for case in [
        message("depth: 4000 transactions", TXN, &[&tower(4_000)]),
        message("depth: 12000 transactions", TXN, &[&tower(12_000)]),
        message("depth: 1000 unknown groups", RANGE, &[&groups(1_000)]),
    ] {
        cases.push(Case { judge: Judge::Alive, ..case });
    }
    cases
}

fn calls() -> Vec<Case> {
    let get = field(1, b"k");
    let mut plain_get = message("call: GET", RANGE, &[&get]);
    plain_get.method = "GET";
    let mut bare = message("call: no te header", RANGE, &[&get]);
    bare.headers.retain(|(name, _)| *name != "te");
    vec![
        plain_get,
        bare,
        message("call: unknown method", "/etcdserverpb.KV/Nope", &[&get]),
        message("call: unknown service", "/no.Such/Thing", &[&get]),
        message("call: path without a method", "/etcdserverpb.KV", &[&get]),
        message("call: path of one slash", "/", &[&get]),
        with_header("call: grpc+proto", "content-type", b"application/grpc+proto"),
        with_header("call: grpc;charset", "content-type", b"application/grpc;charset=utf-8"),
        with_header("call: unknown encoding announced, not used", "grpc-encoding", b"snappy"),
        with_header("call: timeout without a unit", "grpc-timeout", b"10"),
        with_header("call: timeout of letters", "grpc-timeout", b"xyz"),
        with_header("call: timeout of nine digits", "grpc-timeout", b"123456789S"),
        with_header("call: timeout of a second", "grpc-timeout", b"1S"),
        with_header("call: timeout of the longest time", "grpc-timeout", b"99999999H"),
        with_header("call: client version not UTF-8", "client-api-version", b"\xff"),
        with_header("call: client version", "client-api-version", b"3.7"),
        with_header("call: leader wanted", "hasleader", b"true"),
        with_header("call: token while auth is off", "token", b"no.1"),
        with_header("call: long header", "x-long", &[b'a'; 12_000]),
        with_header("call: binary header that is not base64", "x-bin", b"!!"),
    ]
}

fn streams() -> Vec<Case> {
    let create = field(1, &field(1, b"k"));
    let bad = tag(99, 7);
    vec![
        raw("stream: watch with nothing", WATCH, Vec::new()),
        message("stream: watch with an empty request", WATCH, &[]),
        message("stream: watch with garbage", WATCH, &[&bad]),
        raw("stream: create, then the end", WATCH, frame(&create)),
        answered("stream: create, then garbage", WATCH, &create, &bad),
        raw("stream: keep-alive with nothing", KEEP_ALIVE, Vec::new()),
        raw("stream: keep-alive twice", KEEP_ALIVE, [frame(&number(1, 5)), frame(&number(1, 6))].concat()),
        answered("stream: keep-alive, then garbage", KEEP_ALIVE, &number(1, 5), &bad),
        message("stream: snapshot with garbage", "/etcdserverpb.Maintenance/Snapshot", &[&bad]),
    ]
}
