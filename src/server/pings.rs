//! A connection whose client may not ping too often (`--grpc-keepalive-min-time`): gRPC's rules, as etcd's server has them.
//!
//! The HTTP/2 library answers pings by itself, unseen. So the heads of frames are read as they pass, in both directions. A ping
//! is a strike where the one before is younger than the least time, or than two hours while no request is under way; what the
//! server has sent of an answer since makes all strikes void. After the third the client is told (`GOAWAY` with
//! `ENHANCE_YOUR_CALM` and `too_many_pings`), and the connection ends.
//!
//! Invariants: no byte is added within a frame, taken away or held back as long as the client is calm; its last ping is
//! answered before it is sent away. One whose buffers are full in the middle of a frame is not told, only closed. Bytes of
//! other protocols are not looked at.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use fxhash::FxHashSet;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::base::limits;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEAD_BYTES: usize = 9;

/// Frame types and flags of HTTP/2 (RFC 9113, section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 0x01;
const END_STREAM: u8 = 0x01;
const ENHANCE_YOUR_CALM: u32 = 11;

/// Why the client is sent away, in gRPC's word.
const TOO_MANY_PINGS: &[u8] = b"too_many_pings";

/// Strikes that are borne, as by gRPC.
const STRIKES_BORNE: u32 = 2;

/// Least time between pings while no request is under way, as of gRPC.
const IDLE_PING_TIME: Duration = Duration::from_secs(2 * 60 * 60);

/// What frames say of themselves.
#[derive(Clone, Copy, Debug)]
struct Head {
    kind: u8,
    flags: u8,
    stream: u32,
}

/// Where one direction of a connection stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
    /// So much of the preface was seen.
    Preface(usize),
    /// This is no HTTP/2.
    Other,
    /// So much of a frame's head was seen.
    Head(usize),
    /// So much of a payload is left.
    Payload(usize),
}

/// Reads the heads of the frames of one direction.
#[derive(Debug)]
struct Heads {
    at: At,
    head: [u8; FRAME_HEAD_BYTES],
}

impl Heads {
    fn from(at: At) -> Self {
        Self { at, head: [0; FRAME_HEAD_BYTES] }
    }

    /// Whether the next byte begins a frame.
    fn is_between_frames(&self) -> bool {
        self.at == At::Head(0)
    }

    /// Passes over bytes; `seen` is told of each head that is complete with them.
    fn pass(&mut self, mut bytes: &[u8], mut seen: impl FnMut(Head)) {
        while !bytes.is_empty() {
            let used = match self.at {
                At::Other => return,
                At::Preface(done) => {
                    self.at = match done + 1 {
                        _ if bytes[0] != PREFACE[done] => At::Other,
                        all if all == PREFACE.len() => At::Head(0),
                        some => At::Preface(some),
                    };
                    1
                }
                At::Head(done) => {
                    let part = bytes.len().min(FRAME_HEAD_BYTES - done);
                    self.head[done..done + part].copy_from_slice(&bytes[..part]);
                    self.at = At::Head(done + part);
                    if done + part == FRAME_HEAD_BYTES {
                        let [a, b, c, kind, flags, stream @ ..] = self.head;
                        self.at = payload(u32::from_be_bytes([0, a, b, c]) as usize);
                        seen(Head { kind, flags, stream: u32::from_be_bytes(stream) & (u32::MAX >> 1) });
                    }
                    part
                }
                At::Payload(left) => {
                    let part = left.min(bytes.len());
                    self.at = payload(left - part);
                    part
                }
            };
            bytes = &bytes[used..];
        }
    }
}

fn payload(left: usize) -> At {
    if left == 0 { At::Head(0) } else { At::Payload(left) }
}

/// What is known of one client.
#[derive(Debug)]
struct Client {
    least: Duration,
    last_ping: Option<Instant>,
    strikes: u32,
    /// Whether a part of an answer was sent since the last ping.
    answered: bool,
    /// Requests under way.
    open: FxHashSet<u32>,
    last_stream: u32,
}

impl Client {
    fn received(&mut self, head: Head) {
        match head.kind {
            HEADERS if head.stream > self.last_stream => {
                self.last_stream = head.stream;
                self.open.insert(head.stream);
            }
            RST_STREAM => {
                self.open.remove(&head.stream);
            }
            PING if head.flags & ACK == 0 => self.pinged(Instant::now()),
            _ => {}
        }
    }

    fn sent(&mut self, head: Head) {
        match head.kind {
            DATA | HEADERS => {
                self.answered = true;
                if head.flags & END_STREAM != 0 {
                    self.open.remove(&head.stream);
                }
            }
            RST_STREAM => {
                self.open.remove(&head.stream);
            }
            _ => {}
        }
    }

    fn pinged(&mut self, now: Instant) {
        let least = if self.open.is_empty() { IDLE_PING_TIME } else { self.least };
        let last = self.last_ping.replace(now);
        if std::mem::take(&mut self.answered) {
            self.strikes = 0;
        } else if last.is_some_and(|last| now.duration_since(last) < least) {
            self.strikes += 1;
        }
    }

    fn is_too_much(&self) -> bool {
        self.strikes > STRIKES_BORNE
    }
}

/// How far the end of the connection is.
#[derive(Debug)]
enum End {
    /// It goes on.
    Open,
    /// The client has pinged too often. What it is owed leaves in this turn of the connection's task.
    Due,
    /// It may be told in this one.
    Now,
    /// It was told, and has a moment to hear it: what it sends meanwhile must not make the system drop what it was told.
    Told(Pin<Box<Sleep>>),
}

/// A connection whose client's pings are counted.
pub struct Pings<S> {
    stream: S,
    incoming: Heads,
    outgoing: Heads,
    client: Client,
    end: End,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Pings<S> {
    /// From its first byte on; `least` is the time between pings while requests are under way.
    pub fn new(stream: S, least: Duration) -> Self {
        let client =
            Client { least, last_ping: None, strikes: 0, answered: false, open: FxHashSet::default(), last_stream: 0 };
        let (incoming, outgoing) = (Heads::from(At::Preface(0)), Heads::from(At::Head(0)));
        Self { stream, incoming, outgoing, client, end: End::Open }
    }

    /// Looks at what the client sent.
    fn received(&mut self, bytes: &[u8]) {
        let client = &mut self.client;
        self.incoming.pass(bytes, |head| client.received(head));
        if client.is_too_much() {
            self.end = End::Due;
        }
    }

    /// Looks at the first `count` bytes of these, which were sent.
    fn sent(&mut self, bufs: &[io::IoSlice<'_>], mut count: usize) {
        if matches!(self.incoming.at, At::Preface(_) | At::Other) {
            return;
        }
        let client = &mut self.client;
        for buf in bufs {
            let part = count.min(buf.len());
            self.outgoing.pass(&buf[..part], |head| client.sent(head));
            count -= part;
        }
    }

    /// Tells the client why it has to go. False where that would be in the middle of a frame, or has no room.
    fn tell(&mut self, cx: &mut Context<'_>) -> bool {
        let mut frame = Vec::with_capacity(FRAME_HEAD_BYTES + 8 + TOO_MANY_PINGS.len());
        frame.extend_from_slice(&[0, 0, 8 + TOO_MANY_PINGS.len() as u8, GOAWAY, 0, 0, 0, 0, 0]);
        frame.extend_from_slice(&self.client.last_stream.to_be_bytes());
        frame.extend_from_slice(&ENHANCE_YOUR_CALM.to_be_bytes());
        frame.extend_from_slice(TOO_MANY_PINGS);
        if !self.outgoing.is_between_frames() {
            return false;
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, &frame);
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        matches!((written, flushed), (Poll::Ready(Ok(bytes)), Poll::Ready(Ok(()))) if bytes == frame.len())
    }

    /// Ends the connection, step by step; an error is the last.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let over = || Poll::Ready(Err(io::Error::other("got too many pings from the client")));
        loop {
            match &mut self.end {
                End::Open => return Poll::Pending,
                End::Due => {
                    self.end = End::Now;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                End::Now => {
                    if !self.tell(cx) {
                        return over();
                    }
                    self.end = End::Told(Box::pin(tokio::time::sleep(Duration::from_millis(limits::GOAWAY_HEARD_MS))));
                }
                End::Told(time) => {
                    if time.as_mut().poll(cx).is_ready() {
                        return over();
                    }
                    let mut unread = [0; 1024];
                    let mut unread = ReadBuf::new(&mut unread);
                    match Pin::new(&mut self.stream).poll_read(cx, &mut unread) {
                        Poll::Ready(Ok(())) if !unread.filled().is_empty() => {}
                        Poll::Ready(_) => return over(),
                        Poll::Pending => return Poll::Pending,
                    }
                }
            }
        }
    }

    /// Whether the client was told: it wants nothing more.
    fn is_told(&self) -> bool {
        matches!(self.end, End::Told(_))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Pings<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !matches!(self.end, End::Open) {
            return self.poll_end(cx);
        }
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.received(&buf.filled()[before..]);
        outcome
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Pings<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_told() {
            return Poll::Ready(Ok(buf.len()));
        }
        let outcome = Pin::new(&mut self.stream).poll_write(cx, buf);
        if let Poll::Ready(Ok(count)) = outcome {
            self.sent(&[io::IoSlice::new(buf)], count);
        }
        outcome
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_told() {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        if let Poll::Ready(Ok(count)) = outcome {
            self.sent(bufs, count);
        }
        outcome
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const LEAST: Duration = Duration::from_secs(5);

    fn client() -> Client {
        Pings::new(tokio::io::duplex(1).0, LEAST).client
    }

    fn head(kind: u8, flags: u8, stream: u32) -> Head {
        Head { kind, flags, stream }
    }

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    /// Pings at these seconds after one at 0; the strikes after each.
    fn strikes(client: &mut Client, at: &[u64]) -> Vec<u32> {
        let begun = Instant::now();
        client.pinged(begun);
        let ping = |seconds: &u64| {
            client.pinged(begun + Duration::from_secs(*seconds));
            client.strikes
        };
        at.iter().map(ping).collect()
    }

    #[test]
    fn a_ping_is_a_strike_where_the_last_is_too_young() {
        let mut busy = client();
        busy.received(head(HEADERS, 4, 1));
        assert_eq!(strikes(&mut busy, &[5, 9, 14, 15, 16]), [0, 1, 1, 2, 3]);
        assert!(busy.is_too_much());
        assert_eq!(strikes(&mut client(), &[5, 7_204, 14_404]), [1, 2, 2], "while no request is under way");
    }

    #[test]
    fn an_answer_makes_strikes_void_and_what_is_none_does_not() {
        let mut busy = client();
        busy.received(head(HEADERS, 4, 1));
        assert_eq!(strikes(&mut busy, &[1, 2]), [1, 2]);
        for kind in [2, 4, RST_STREAM, PING, GOAWAY, 8] {
            busy.sent(head(kind, 0, 3));
        }
        assert_eq!(strikes(&mut busy, &[]), [0; 0]);
        assert!(busy.is_too_much(), "one more");
        busy.sent(head(DATA, 0, 1));
        assert_eq!(strikes(&mut busy, &[1]), [1], "the first after it counts for nothing");
        busy.received(head(PING, ACK, 0));
        assert_eq!(busy.strikes, 1, "an answer to a ping is none");
    }

    #[test]
    fn a_request_is_under_way_from_its_headers_to_the_end_of_its_answer_or_a_reset() {
        let mut client = client();
        let ends: [fn(&mut Client, u32); 4] = [
            |client, stream| client.sent(head(HEADERS, 5, stream)),
            |client, stream| client.sent(head(DATA, END_STREAM, stream)),
            |client, stream| client.sent(head(RST_STREAM, 0, stream)),
            |client, stream| client.received(head(RST_STREAM, 0, stream)),
        ];
        for (place, end) in ends.into_iter().enumerate() {
            let stream = 2 * place as u32 + 1;
            client.received(head(HEADERS, 4, stream));
            client.received(head(DATA, END_STREAM, stream));
            client.sent(head(HEADERS, 4, stream));
            // Trailers of the client's own begin nothing.
            client.received(head(HEADERS, 5, stream));
            assert_eq!(client.open.len(), 1);
            end(&mut client, stream);
            assert!(client.open.is_empty(), "{place}");
        }
        assert_eq!(client.last_stream, 7);
    }

    #[test]
    fn heads_are_found_wherever_bytes_are_cut() {
        let frames = [frame(4, 0, 0, &[]), frame(HEADERS, 4, 1, &[7; 300]), frame(PING, 0, 0, &[6; 8])].concat();
        for cut in [1, 2, 8, 9, 10, 1_000] {
            let (mut heads, mut kinds) = (Heads::from(At::Preface(0)), Vec::new());
            for part in [PREFACE, &frames].concat().chunks(cut) {
                heads.pass(part, |head| kinds.push((head.kind, head.stream)));
            }
            assert_eq!(kinds, [(4, 0), (HEADERS, 1), (PING, 0)], "{cut}");
            assert!(heads.is_between_frames());
            let mut heads = Heads::from(At::Preface(0));
            heads.pass(b"PRX * HTTP/2.0\r\n", |head| panic!("{head:?}"));
            heads.pass(&frames, |head| panic!("{head:?}"));
        }
    }

    #[tokio::test]
    async fn who_pings_too_often_is_told_between_frames_and_let_go() {
        let (near, mut far) = tokio::io::duplex(1 << 12);
        let mut near = Pings::new(near, LEAST);
        let ping = frame(PING, 0, 0, &[1; 8]);
        far.write_all(&[PREFACE, &frame(HEADERS, 4, 5, &[0; 3]), &ping.repeat(4)].concat()).await.expect("room");
        let mut read = [0; 1 << 10];
        let count = near.read(&mut read).await.expect("all of it is handed on");
        assert_eq!(&read[count - ping.len()..count], ping);
        near.write_all(&frame(PING, ACK, 0, &[1; 8])).await.expect("room");
        let told = async {
            let mut told = [0; 17 + 31];
            far.read_exact(&mut told).await.expect("told");
            let end = [&[0, 0, 0, 5, 0, 0, 0, 11][..], TOO_MANY_PINGS].concat();
            assert_eq!(told[..17], frame(PING, ACK, 0, &[1; 8]));
            assert_eq!(told[17..], frame(GOAWAY, 0, 0, &end));
            drop(far);
        };
        let (ended, ()) = tokio::join!(near.read(&mut read), told);
        assert_eq!(ended.expect_err("over").to_string(), "got too many pings from the client");
    }

    #[tokio::test]
    async fn in_the_middle_of_a_frame_it_is_only_closed() {
        let (near, mut far) = tokio::io::duplex(1 << 12);
        let mut near = Pings::new(near, LEAST);
        far.write_all(&[PREFACE, &frame(PING, 0, 0, &[1; 8]).repeat(4)].concat()).await.expect("room");
        let mut read = [0; 1 << 10];
        let count = near.read(&mut read).await.expect("handed on");
        assert_eq!(count, PREFACE.len() + 4 * 17);
        near.write_all(&[0, 0, 9, DATA]).await.expect("room");
        let ended = near.read(&mut read).await;
        assert!(ended.is_err(), "over");
        drop(near);
        let mut all = Vec::new();
        far.read_to_end(&mut all).await.expect("closed");
        assert_eq!(all, [0, 0, 9, DATA]);
    }
}
