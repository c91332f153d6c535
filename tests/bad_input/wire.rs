//! HTTP/2 by hand: requests that are not ended, windows that are obeyed, and what comes back.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use quorate::wire::etcdserverpb as pb;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::street::{Server, bytes};

/// Longest any step may take: far beyond what a busy machine needs.
const LIMIT: Duration = Duration::from_secs(120);

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RESET: u8 = 3;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// A frame that came.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// A connection that says what it is told to.
pub struct Wire {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Wire {
    pub async fn open(server: &Server) -> Self {
        // The largest windows: what comes back is read here.
        Self::open_with(server, (1 << 31) - 1).await
    }

    /// With so much that the server may send on each stream.
    pub async fn open_with(server: &Server, window: u32) -> Self {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(&[&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &settings(window)].concat()).await.unwrap();
        Self { stream, received: Vec::new() }
    }

    /// Lets the server send without end on all streams together.
    pub async fn takes_all(&mut self) {
        self.send(WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes()).await;
    }

    pub async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.stream.write_all(&frame(kind, flags, stream, payload)).await.unwrap();
    }

    /// Sends all of this, while what comes is read.
    pub async fn send_all(&mut self, bytes: &[u8]) {
        let (mut reading, mut writing) = self.stream.split();
        let read = async { while reading.read_buf(&mut self.received).await.unwrap() > 0 {} };
        tokio::select! {
            sent = writing.write_all(bytes) => sent.unwrap(),
            () = read => panic!("the server ended the connection"),
        }
    }

    /// Sends what may have the server end the connection before it is all sent.
    pub async fn try_send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// Begins a call; `fields` are further metadata.
    async fn call(&mut self, stream: u32, path: &str, authority: &str, fields: &[(&str, &str)]) {
        self.stream.write_all(&head(stream, path, authority, fields)).await.unwrap();
    }

    /// The next frame, if one comes in time.
    pub async fn frame(&mut self, time: Duration) -> Option<Frame> {
        let until = tokio::time::Instant::now() + time;
        loop {
            if let [a, b, c, kind, flags, s0, s1, s2, s3, ..] = *self.received {
                let end = 9 + u32::from_be_bytes([0, a, b, c]) as usize;
                if self.received.len() >= end {
                    let payload = self.received[9..end].to_vec();
                    self.received.drain(..end);
                    return Some(Frame { kind, flags, stream: u32::from_be_bytes([s0, s1, s2, s3]), payload });
                }
            }
            let mut buf = [0; 64 << 10];
            let read = tokio::time::timeout_at(until, self.stream.read(&mut buf)).await.ok()?.unwrap_or(0);
            if read == 0 {
                return None;
            }
            self.received.extend_from_slice(&buf[..read]);
        }
    }

    /// Waits for the end of a stream: whether the server ended it in order.
    pub async fn ended(&mut self, stream: u32, time: Duration) -> Option<bool> {
        let until = tokio::time::Instant::now() + time;
        loop {
            let frame = self.frame(until.saturating_duration_since(tokio::time::Instant::now())).await?;
            match frame.kind {
                HEADERS if frame.stream == stream && frame.flags & END_STREAM != 0 => return Some(true),
                RESET if frame.stream == stream => return Some(false),
                GOAWAY => return Some(false),
                _ => {}
            }
        }
    }
}

/// A frame's bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// SETTINGS: so much may be sent on each stream.
pub fn settings(window: u32) -> Vec<u8> {
    frame(4, 0, 0, &[&[0, 4][..], &window.to_be_bytes()].concat())
}

/// How a call begins.
pub fn head(stream: u32, path: &str, authority: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    // POST, http, the path and the authority by their numbers.
    let mut block = [&[0x83, 0x86, 0x04][..], &text(path), &[0x01], &text(authority)].concat();
    for (name, value) in [("content-type", "application/grpc"), ("te", "trailers")].iter().chain(fields) {
        block.extend([&[0][..], &text(name), &text(value)].concat());
    }
    frame(HEADERS, END_HEADERS, stream, &block)
}

pub fn framed(message: &impl Message) -> Vec<u8> {
    let message = message.encode_to_vec();
    [&[0][..], &(message.len() as u32).to_be_bytes(), &message].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_covers_the_body_and_the_stream() {
    let server = Server::start().await;
    let mut wire = Wire::open(&server).await;
    let soon = [("grpc-timeout", "300m")];
    // Not a byte of the body, half of it, and streams that would be open for ever.
    wire.call(1, "/etcdserverpb.KV/Put", "x", &soon).await;
    wire.call(3, "/etcdserverpb.KV/Put", "x", &soon).await;
    wire.send(DATA, 0, 3, &[0, 0, 0, 1, 0, 7]).await;
    wire.call(5, "/etcdserverpb.Watch/Watch", "x", &soon).await;
    wire.call(7, "/etcdserverpb.Lease/LeaseKeepAlive", "x", &soon).await;
    wire.call(9, "/grpc.health.v1.Health/Watch", "x", &soon).await;
    wire.send(DATA, END_STREAM, 9, &[0; 5]).await;
    wire.call(11, "/etcdserverpb.KV/RangeStream", "x", &soon).await;
    let mut open = vec![1, 3, 5, 7, 9, 11];
    let began = std::time::Instant::now();
    while !open.is_empty() {
        let frame = wire.frame(LIMIT).await.expect("every call ends at its deadline");
        if frame.kind == HEADERS && frame.flags & END_STREAM != 0 {
            open.retain(|stream| *stream != frame.stream);
        }
        assert!(frame.kind != GOAWAY);
    }
    assert!(began.elapsed() >= Duration::from_millis(250), "and not before");
    // The connection goes on.
    wire.call(13, "/etcdserverpb.KV/Put", "x", &[]).await;
    wire.send(DATA, END_STREAM, 13, &framed(&pb::PutRequest { key: bytes("k"), ..Default::default() })).await;
    assert_eq!(wire.ended(13, LIMIT).await, Some(true));
    server.must_be_well_at(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_half_sent_is_bounded_and_others_are_served() {
    const STREAMS: u32 = 150;
    const MESSAGE: usize = 1_400_000;
    const ENOUGH: i64 = 10_000_000;
    let server = Server::start().await;
    let mut wire = Wire::open(&server).await;
    let mut windows = BTreeMap::new();
    let prefix = [&[0][..], &(MESSAGE as u32).to_be_bytes()].concat();
    let mut of_connection = 65_535;
    for number in 0..STREAMS {
        let stream = 2 * number + 1;
        wire.call(stream, "/etcdserverpb.KV/Put", "x", &[]).await;
        wire.send(DATA, 0, stream, &prefix).await;
        of_connection -= prefix.len() as i64;
        windows.insert(stream, (65_535 - prefix.len() as i64, MESSAGE as i64 - 1));
    }
    // Sends whatever the windows allow, round and round, until they allow nothing more for a while.
    let (mut sent, filler) = (0, vec![7; 16_384]);
    loop {
        let mut went = false;
        for (stream, (window, left)) in &mut windows {
            let part = 16_384.min(*window).min(*left).min(of_connection).max(0);
            if part > 0 {
                wire.send(DATA, 0, *stream, &filler[..part as usize]).await;
                (*window, *left, of_connection) = (*window - part, *left - part, of_connection - part);
                (sent, went) = (sent + part, true);
            }
        }
        // A server that stands still for a moment allows nothing either: so much is waited for.
        let pause = if sent > ENOUGH { Duration::from_millis(700) } else { LIMIT };
        let pause = if went { Duration::from_millis(1) } else { pause };
        let Some(frame) = wire.frame(pause).await else { if went { continue } else { break } };
        match (frame.kind, frame.payload.as_slice()) {
            (WINDOW_UPDATE, [a, b, c, d]) => {
                let more = i64::from(u32::from_be_bytes([*a, *b, *c, *d]));
                if frame.stream == 0 {
                    of_connection += more;
                } else if let Some((window, _)) = windows.get_mut(&frame.stream) {
                    *window += more;
                }
            }
            // SETTINGS: the stream's window of our own choice of server, not yet known when the streams began.
            (4, payload) if frame.flags == 0 => {
                for setting in payload.chunks(6).filter(|setting| setting[..2] == [0, 4]) {
                    let initial = i64::from(u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]));
                    windows.values_mut().for_each(|(window, _)| *window += initial - 65_535);
                }
            }
            (RESET | HEADERS, _) => drop(windows.remove(&frame.stream)),
            _ => {}
        }
    }
    let most = 2 * 32 * 1024 * 1024;
    assert!(sent < most, "{sent} bytes were taken in");
    assert!(sent > ENOUGH, "{sent} bytes only: the windows stopped what has room");
    // Others are served meanwhile, and messages that come in one piece.
    server.put("k", "v").await;
    let large = pb::PutRequest { key: bytes("large"), value: Bytes::from(vec![1; 1_000_000]), ..Default::default() };
    let _: pb::PutResponse = server.call("/etcdserverpb.KV/Put", &large).await.unwrap();
    drop(wire);
    server.must_be_well_at(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_large_puts_at_once_on_one_connection_are_all_taken() {
    let server = Server::start().await;
    let mut puts = Vec::new();
    for number in 0..140 {
        let channel = server.channel.clone();
        puts.push(tokio::spawn(async move {
            let mut kv = quorate::wire::services::kv_client::KvClient::new(channel);
            let value = Bytes::from(vec![number; 1_000_000]);
            kv.put(pb::PutRequest { key: vec![number].into(), value, ..Default::default() }).await.map(drop)
        }));
    }
    for put in puts {
        put.await.unwrap().unwrap();
    }
    let all = pb::DeleteRangeRequest { key: bytes("\0"), range_end: bytes("\0"), ..Default::default() };
    let gone: pb::DeleteRangeResponse = server.call("/etcdserverpb.KV/DeleteRange", &all).await.unwrap();
    assert_eq!(gone.deleted, 140);
    server.must_be_well_at(142).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_reads_may_be_anything() {
    let server = Server::start().await;
    let put = framed(&pb::PutRequest { key: bytes("k"), ..Default::default() });
    for authority in ["#initially=[http://127.0.0.1:2379]", "etcd-endpoints://0xc000/127.0.0.1:2379", "a b", "%", "::1"]
    {
        let mut wire = Wire::open(&server).await;
        for stream in [1, 3] {
            wire.call(stream, "/etcdserverpb.KV/Put", authority, &[]).await;
            wire.send(DATA, END_STREAM, stream, &put).await;
            assert_eq!(wire.ended(stream, LIMIT).await, Some(true), "{authority}");
        }
    }
    server.must_be_well_at(11).await;
}
