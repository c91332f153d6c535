//! A connection whose frames are looked at as they pass: by those who overwrite header fields that nobody reads
//! ([`Filler`]), who judge pings ([`Client`]), and who say when more is read ([`Backpressure`]) and how many streams there may be
//! ([`StreamBound`]). Each byte is passed over once.
//!
//! A client that pings too often is told (`GOAWAY` with `ENHANCE_YOUR_CALM` and `too_many_pings`), and the connection ends.
//!
//! Invariants: no byte is added within a frame or taken away, but for the type of what is hidden, as long as the client is calm; its last ping is
//! answered before it is sent away. One whose buffers are full in the middle of a frame is not told, only closed. Bytes of
//! other protocols are not looked at.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::base::limits;
use crate::server::backpressure::Backpressure;
use crate::server::frames::{FRAME_HEAD_BYTES, Found, Frames, GOAWAY, HEADERS, RST_STREAM};
use crate::server::header_fields::Filler;
use crate::server::pings::Client;
use crate::server::stream_bound::StreamBound;

const ENHANCE_YOUR_CALM: u32 = 11;

/// Why the client is sent away, in gRPC's word.
const TOO_MANY_PINGS: &[u8] = b"too_many_pings";

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

/// A connection whose frames are looked at.
pub struct Inspected<S> {
    stream: S,
    incoming: Frames,
    outgoing: Frames,
    filler: Filler,
    client: Client,
    pressure: Backpressure,
    bound: StreamBound,
    end: End,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Inspected<S> {
    /// From its first byte on; `ping_time` is the time between pings while requests are under way.
    pub fn new(stream: S, ping_time: Duration, pressure: Backpressure, bound: StreamBound) -> Self {
        let (incoming, outgoing) = (Frames::of_client(), Frames::of_server());
        let (filler, client) = (Filler::new(), Client::new(ping_time));
        Self { stream, incoming, outgoing, filler, client, pressure, bound, end: End::Open }
    }

    /// Looks at what the client sent.
    fn received(&mut self, bytes: &mut [u8]) {
        let mut at = 0;
        while at < bytes.len() {
            let (used, found) = self.incoming.next(&bytes[at..]);
            at += used;
            match found {
                Found::Nothing => {}
                Found::Payload => self.filler.pass(&mut bytes[at - used..at]),
                Found::Head(head) => {
                    self.filler.begin_frame(&head);
                    self.client.received(head);
                    self.bound.received(&head, bytes, at);
                    match head.kind {
                        HEADERS => self.pressure.requested(),
                        RST_STREAM => self.pressure.given_up(),
                        _ => {}
                    }
                }
            }
        }
        self.bound.received_part(self.incoming.part_of_head(), bytes);
        if self.client.is_too_much() {
            self.end = End::Due;
        }
    }

    /// Looks at the first `count` bytes of these, which were sent.
    fn sent(&mut self, bufs: &[io::IoSlice<'_>], mut count: usize) {
        if !self.incoming.has_begun() {
            return;
        }
        let (client, bound) = (&mut self.client, &mut self.bound);
        for buf in bufs {
            let part = count.min(buf.len());
            self.outgoing.pass(&buf[..part], |head| {
                client.sent(head);
                bound.library_sends(&head);
            });
            count -= part;
        }
    }

    /// Tells the client how many streams it may have, where that changes; between two frames. Ready where nothing of it is
    /// under way.
    fn poll_bound(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.bound.rest().is_empty() && (self.bound.is_cut() || self.outgoing.is_between_frames()) {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, self.bound.rest()))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                bytes => self.bound.sent(bytes),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Tells the client why it has to go. False where that would be in the middle of a frame, or has no room.
    fn tell(&mut self, cx: &mut Context<'_>) -> bool {
        let mut frame = Vec::with_capacity(FRAME_HEAD_BYTES + 8 + TOO_MANY_PINGS.len());
        frame.extend_from_slice(&[0, 0, 8 + TOO_MANY_PINGS.len() as u8, GOAWAY, 0, 0, 0, 0, 0]);
        frame.extend_from_slice(&self.client.last_stream().to_be_bytes());
        frame.extend_from_slice(&ENHANCE_YOUR_CALM.to_be_bytes());
        frame.extend_from_slice(TOO_MANY_PINGS);
        if !self.outgoing.is_between_frames() || self.bound.is_cut() {
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

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Inspected<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !matches!(self.end, End::Open) {
            return self.poll_end(cx);
        }
        let this = &mut *self;
        let reads = this.pressure.poll_ready(cx).is_ready();
        this.bound.look(this.client.open(), this.pressure.is_held_up(), cx);
        if let Poll::Ready(Err(error)) = this.poll_bound(cx) {
            return Poll::Ready(Err(error));
        }
        if !reads {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.received(&mut buf.filled_mut()[before..]);
        outcome
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Inspected<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_told() {
            return Poll::Ready(Ok(buf.len()));
        }
        ready!(self.poll_bound(cx))?;
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
        ready!(self.poll_bound(cx))?;
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
        ready!(self.poll_bound(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;
    use crate::api::Intake;
    use crate::server::frames::testing::frame;
    use crate::server::frames::{ACK, DATA, PING, PREFACE};
    use crate::server::gathered::Turns;

    fn inspected(stream: DuplexStream) -> Inspected<DuplexStream> {
        let intake = Intake::new(Arc::default());
        let pressure = Backpressure::new(intake.clone(), Turns::default());
        Inspected::new(stream, Duration::from_secs(5), pressure, StreamBound::new(intake, 1_000))
    }

    #[tokio::test]
    async fn who_pings_too_often_is_told_between_frames_and_let_go() {
        let (near, mut far) = tokio::io::duplex(1 << 12);
        let mut near = inspected(near);
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
        let mut near = inspected(near);
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
