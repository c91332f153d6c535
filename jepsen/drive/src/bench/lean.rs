//! Unary calls over HTTP/2 for next to nothing, so that the load costs little of what is measured.
//!
//! One connection carries the calls of several clients in a closed loop; frames are written and read by hand, what came
//! together is answered together. Invariants: every answer is whole, ends its stream and is looked at; no more calls are under way
//! than the server lets there be; what is given up is reset, and its answer passed over; a server that closes the connection ends
//! the run, and in a closed loop a refusal does. Does not read headers: an answer without a message is
//! a refusal, whatever its trailers say, and so is a reset.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::process::Trouble;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

const MAX_CONCURRENT_STREAMS: u16 = 3;
const CANCEL: u32 = 8;

pub(super) const HEAD: usize = 9;
/// What both ends of a connection may send before they are told more.
const FIRST_WINDOW: i64 = 65_535;
/// What the server may send us without being told more; told anew when half is used.
const OWN_WINDOW: u32 = 1 << 30;

/// What the clients of a connection call, and how its answers are looked at.
pub trait Call: Send + 'static {
    /// Of the method.
    const PATH: &'static str;
    /// Writes the next request behind what is in `out`.
    fn request(&mut self, out: &mut Vec<u8>);
    /// Whether the answer is one.
    fn accepts(&self, answer: &[u8]) -> bool;
}

/// One call under way.
struct Slot {
    began: Instant,
    answer: Vec<u8>,
}

/// A connection.
pub(super) struct Lane<C> {
    call: C,
    authority: String,
    slots: HashMap<u32, Slot>,
    next_stream: u32,
    /// Calls that may be under way.
    most: usize,
    /// Those that were begun, in this order, with those that are over.
    begun: VecDeque<(Instant, u32)>,
    /// How long they have, where they are told.
    patience: Option<Duration>,
    /// What we may still send.
    window: i64,
    /// What the server sent since it was last told that it may send more.
    received: u32,
    /// To be written.
    pub(super) out: Vec<u8>,
    body: Vec<u8>,
    /// What the headers look like from the second call on.
    told_headers: bool,
}

/// Lets `clients` clients call over one connection until `until`; the latencies in microseconds of what lay behind
/// `from`.
pub async fn calls<C: Call>(
    address: String,
    call: C,
    clients: usize,
    from: Instant,
    until: Instant,
) -> Result<Vec<u32>, Trouble> {
    let mut stream = TcpStream::connect(&address).await?;
    stream.set_nodelay(true)?;
    let mut lane = Lane::new(call, address);
    for _ in 0..clients {
        lane.begin(Instant::now())?;
    }
    let mut latencies = Vec::new();
    let (mut bytes, mut held) = (vec![0; 1 << 18], 0);
    loop {
        stream.write_all(&lane.out).await?;
        lane.out.clear();
        let read = stream.read(&mut bytes[held..]).await?;
        if read == 0 {
            return Err("the server closed the connection".into());
        }
        held += read;
        let now = Instant::now();
        if now >= until {
            return Ok(latencies);
        }
        let mut at = 0;
        while held - at >= HEAD {
            let length = u32::from_be_bytes([0, bytes[at], bytes[at + 1], bytes[at + 2]]) as usize;
            if held - at < HEAD + length {
                break;
            }
            let (head, payload) = bytes[at..at + HEAD + length].split_at(HEAD);
            if let Some((began, whole)) = lane.take(head, payload)? {
                if !whole {
                    return Err("a call was refused".into());
                }
                if began >= from {
                    latencies.push(u32::try_from((now - began).as_micros()).unwrap_or(u32::MAX));
                }
                lane.begin(now)?;
            }
            at += HEAD + length;
        }
        bytes.copy_within(at..held, 0);
        held -= at;
        if held == bytes.len() {
            return Err("a frame larger than any that is asked for".into());
        }
    }
}

impl<C: Call> Lane<C> {
    /// What is to be said on a new connection stands in [`Lane::out`].
    pub(super) fn new(call: C, address: String) -> Self {
        let mut lane = Self {
            call,
            authority: address,
            slots: HashMap::new(),
            next_stream: 1,
            most: usize::MAX,
            begun: VecDeque::new(),
            patience: None,
            window: FIRST_WINDOW,
            received: 0,
            out: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            body: Vec::new(),
            told_headers: false,
        };
        // No pushes; streams as wide as the connection.
        let settings = [&[0, 2, 0, 0, 0, 0, 0, 4][..], &OWN_WINDOW.to_be_bytes()].concat();
        lane.frame(SETTINGS, 0, 0, &settings);
        lane.frame(WINDOW_UPDATE, 0, 0, &OWN_WINDOW.to_be_bytes());
        lane
    }

    /// The same, of calls that have so long from when they are due.
    pub(super) fn with_patience(call: C, address: String, patience: Duration) -> Self {
        Self { patience: Some(patience), ..Self::new(call, address) }
    }

    /// Whether the server lets us send another call of a few hundred bytes.
    pub(super) fn has_room(&self) -> bool {
        self.window > 1_024 && self.slots.len() < self.most
    }

    /// Gives up what has waited for longer than it may; how many, of what was due since `from`.
    pub(super) fn give_up(&mut self, now: Instant, from: Instant) -> usize {
        let mut given_up = 0;
        while let Some((due, stream)) = self.begun.front().copied()
            && (!self.slots.contains_key(&stream) || self.patience.is_some_and(|patience| now > due + patience))
        {
            self.begun.pop_front();
            if self.slots.remove(&stream).is_some() {
                self.frame(RESET, 0, stream, &CANCEL.to_be_bytes());
                given_up += usize::from(due >= from);
            }
        }
        given_up
    }

    /// Calls under way.
    pub(super) fn under_way(&self) -> usize {
        self.slots.len()
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        put_frame(&mut self.out, kind, flags, stream, payload);
    }

    /// The next call, timed from `now`.
    pub(super) fn begin(&mut self, now: Instant) -> Result<(), Trouble> {
        let stream = self.next_stream;
        self.next_stream += 2;
        let mut headers = self.headers();
        if let Some(patience) = self.patience {
            let left = (now + patience).saturating_duration_since(Instant::now()).as_millis().max(1);
            let left = format!("{left}m");
            // A field that is not to be remembered, its name spelled out.
            headers.extend_from_slice(b"\x00\x0cgrpc-timeout");
            headers.push(u8::try_from(left.len())?);
            headers.extend_from_slice(left.as_bytes());
            self.begun.push_back((now, stream));
        }
        self.frame(HEADERS, END_HEADERS, stream, &headers);
        let mut body = std::mem::take(&mut self.body);
        body.clear();
        body.extend_from_slice(&[0; 5]);
        self.call.request(&mut body);
        let length = u32::try_from(body.len() - 5)?;
        body[1..5].copy_from_slice(&length.to_be_bytes());
        self.window -= i64::try_from(body.len())?;
        if self.window < 0 {
            return Err("the server does not widen the connection's window".into());
        }
        self.frame(DATA, END_STREAM, stream, &body);
        self.body = body;
        self.slots.insert(stream, Slot { began: now, answer: Vec::new() });
        Ok(())
    }

    /// As usual clients tell them: in full once, by their place in the table after that.
    fn headers(&mut self) -> Vec<u8> {
        let mut block = vec![0x83, 0x86];
        if std::mem::replace(&mut self.told_headers, true) {
            // The newest is 62: te, content-type, :authority, :path.
            block.extend_from_slice(&[0xc1, 0xc0, 0xbf, 0xbe]);
            return block;
        }
        let mut text = |name: &[u8], value: &str| {
            block.extend_from_slice(name);
            block.push(u8::try_from(value.len()).expect("a short header"));
            block.extend_from_slice(value.as_bytes());
        };
        text(&[0x44], C::PATH);
        text(&[0x41], &self.authority);
        text(&[0x5f], "application/grpc");
        text(&[0x40, 2, b't', b'e'], "trailers");
        block
    }

    /// Takes a frame; when the call began that it ends, and whether it was answered.
    pub(super) fn take(&mut self, head: &[u8], payload: &[u8]) -> Result<Option<(Instant, bool)>, Trouble> {
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes(head[5..9].try_into()?);
        match kind {
            SETTINGS if flags & ACK == 0 => {
                for setting in payload.chunks_exact(6) {
                    if setting[..2] == MAX_CONCURRENT_STREAMS.to_be_bytes() {
                        self.most = u32::from_be_bytes(setting[2..].try_into()?) as usize;
                    }
                }
                self.frame(SETTINGS, ACK, 0, &[]);
            }
            PING if flags & ACK == 0 => self.frame(PING, ACK, 0, payload),
            WINDOW_UPDATE if stream == 0 => self.window += i64::from(u32::from_be_bytes(payload.try_into()?)),
            RESET => return Ok(self.slots.remove(&stream).map(|slot| (slot.began, false))),
            GO_AWAY => return Err("the server sent the client away".into()),
            DATA | HEADERS => return self.answered(kind, flags, stream, payload),
            _ => {}
        }
        Ok(None)
    }

    fn answered(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: &[u8],
    ) -> Result<Option<(Instant, bool)>, Trouble> {
        if stream >= self.next_stream {
            return Err("an answer to no call".into());
        }
        let slot = self.slots.get_mut(&stream);
        if kind == DATA {
            if let Some(slot) = slot {
                slot.answer.extend_from_slice(payload);
            }
            self.received += u32::try_from(payload.len())?;
            if self.received > OWN_WINDOW / 2 {
                let more = std::mem::take(&mut self.received).to_be_bytes();
                self.frame(WINDOW_UPDATE, 0, 0, &more);
            }
        }
        if flags & END_STREAM == 0 {
            return Ok(None);
        }
        let Some(slot) = self.slots.remove(&stream) else { return Ok(None) };
        let whole = slot.answer.len() >= 5 && self.call.accepts(&slot.answer[5..]);
        Ok(Some((slot.began, whole)))
    }
}

fn put_frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&u32::try_from(payload.len()).expect("a short frame").to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Echo;

    impl Call for Echo {
        const PATH: &'static str = "/a.B/C";

        fn request(&mut self, out: &mut Vec<u8>) {
            out.extend_from_slice(b"question");
        }

        fn accepts(&self, answer: &[u8]) -> bool {
            answer == b"answer"
        }
    }

    /// A server of the common library understands every request, from the first one on.
    #[tokio::test]
    async fn a_server_understands_and_is_understood() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("accepted");
            let mut connection = h2::server::handshake(stream).await.expect("a client");
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                assert_eq!(request.uri().path(), "/a.B/C");
                assert_eq!(request.headers()["te"], "trailers");
                tokio::spawn(async move {
                    let mut body = request.into_body();
                    let mut whole = Vec::new();
                    while let Some(Ok(piece)) = body.data().await {
                        body.flow_control().release_capacity(piece.len()).expect("held");
                        whole.extend_from_slice(&piece);
                    }
                    assert_eq!(whole, b"\0\0\0\0\x08question");
                    let mut send = respond.send_response(http::Response::new(()), false).expect("sent");
                    send.send_data("\0\0\0\0\x06answer".into(), false).expect("sent");
                    send.send_trailers(http::HeaderMap::new()).expect("sent");
                });
            }
        });
        let now = Instant::now();
        let until = now + std::time::Duration::from_millis(300);
        let latencies = calls(address, Echo, 7, now, until).await.expect("served");
        assert!(latencies.len() > 100, "only {} calls", latencies.len());
    }
}
