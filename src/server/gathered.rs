//! A connection whose answers are gathered: what is written while other tasks of the thread are about to write, too,
//! leaves with one call of the system.
//!
//! The HTTP library writes once for every answer, and each call costs more than the answer itself. So what is written
//! in one turn of the connection's task is held until its next one, which is asked for at once and comes when those that
//! are ready have had theirs.
//!
//! That is for HTTP/2 alone, whose connections end by a shutdown, and which has many answers at once to gather. A connection
//! of HTTP/1 may end behind a flush: a request that asks for an upgrade and to close ends so, with its answer.
//!
//! Invariants: what is held leaves in the next turn, by itself; the order of bytes stays; no more than the limits say is
//! held; nothing is held before the client has begun as HTTP/2 does. Does not know what the bytes mean besides.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::base::limits::{GATHERED_BYTES, GATHERED_KEPT_BYTES, GATHERED_WRITE_BYTES};

/// Pieces written with one call: a few frames, each with its head.
const WRITE_SLICES: usize = 17;

/// What a client of HTTP/2 begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the first bytes of a client say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Begun {
    /// So much of the preface was seen, and nothing else.
    Perhaps(usize),
    /// It was seen whole.
    Http2,
    /// Something else.
    Other,
}

impl Begun {
    /// What they say with these next ones.
    fn with(self, bytes: &[u8]) -> Self {
        let Self::Perhaps(seen) = self else { return self };
        let part = &PREFACE[seen..];
        match bytes.len() {
            more if more >= part.len() && bytes.starts_with(part) => Self::Http2,
            more if part.starts_with(bytes) => Self::Perhaps(seen + more),
            _ => Self::Other,
        }
    }
}

/// Counts the turns of the task that serves a connection; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Turns(Arc<AtomicU64>);

impl Turns {
    /// To be called at the beginning of each.
    pub fn begin(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// The number of the one that is under way.
    pub fn current(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A connection that gathers what is written. Its task must call [`Turns::begin`], and in each turn read or flush, as
/// every server of HTTP does.
pub struct Gathered<S> {
    stream: S,
    held: Vec<u8>,
    /// How much of it has left.
    sent: usize,
    turns: Turns,
    /// The turn in which the first byte of what is held was written.
    since: u64,
    begun: Begun,
}

impl<S: AsyncWrite + Unpin> Gathered<S> {
    pub fn new(stream: S, turns: Turns) -> Self {
        Self { stream, held: Vec::new(), sent: 0, turns, since: 0, begun: Begun::Perhaps(0) }
    }

    /// Whether something is held of an earlier turn.
    fn is_due(&self) -> bool {
        !self.held.is_empty() && self.turns.current() != self.since
    }

    /// Writes all that is held.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.held.len() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.held[self.sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                bytes => self.sent += bytes,
            }
        }
        self.emptied();
        Poll::Ready(Ok(()))
    }

    /// All that was held has left.
    fn emptied(&mut self) {
        self.sent = 0;
        self.held.clear();
        if self.held.capacity() > GATHERED_KEPT_BYTES {
            self.held = Vec::new();
        }
    }

    /// Holds these until the next turn, which is asked for.
    fn hold(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) {
        if self.held.is_empty() && bufs.iter().any(|buf| !buf.is_empty()) {
            self.since = self.turns.current();
            cx.waker().wake_by_ref();
        }
        for buf in bufs {
            self.held.extend_from_slice(buf);
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.is_due()
            && let Poll::Ready(Err(error)) = self.poll_drain(cx)
        {
            return Poll::Ready(Err(error));
        }
        if !matches!(self.begun, Begun::Perhaps(_)) {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.begun = self.begun.with(&buf.filled()[before..]);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let large = buf.len() >= GATHERED_WRITE_BYTES || self.begun != Begun::Http2;
        if large || self.held.len() >= GATHERED_BYTES {
            ready!(self.poll_drain(cx))?;
        }
        if large {
            return Pin::new(&mut self.stream).poll_write(cx, buf);
        }
        self.hold(cx, &[IoSlice::new(buf)]);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let total: usize = bufs.iter().map(|buf| buf.len()).sum();
        if total < GATHERED_WRITE_BYTES && self.begun == Begun::Http2 {
            if self.held.len() >= GATHERED_BYTES {
                ready!(self.poll_drain(cx))?;
            }
            self.hold(cx, bufs);
            return Poll::Ready(Ok(total));
        }
        loop {
            // What is held leaves first, with the same call.
            let this = &mut *self;
            let before = this.held.len() - this.sent;
            let mut slices = [IoSlice::new(&[]); WRITE_SLICES];
            slices[0] = IoSlice::new(&this.held[this.sent..]);
            let taken = bufs.len().min(WRITE_SLICES - 1);
            slices[1..=taken].copy_from_slice(&bufs[..taken]);
            let first = usize::from(before == 0);
            let written = ready!(Pin::new(&mut this.stream).poll_write_vectored(cx, &slices[first..=taken]))?;
            if written < before {
                this.sent += written;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                continue;
            }
            this.emptied();
            if written > before || total == 0 {
                return Poll::Ready(Ok(written - before));
            }
            if before == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_due() {
            ready!(self.poll_drain(cx))?;
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Wake, Waker};

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;

    #[derive(Default)]
    struct Rung(AtomicU64);

    impl Wake for Rung {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    fn pair(room: usize) -> (Gathered<DuplexStream>, DuplexStream, Turns) {
        let (near, far) = tokio::io::duplex(room);
        let turns = Turns::default();
        let mut near = Gathered::new(near, turns.clone());
        near.begun = Begun::Perhaps(0).with(PREFACE);
        (near, far, turns)
    }

    fn arrived(far: &mut DuplexStream) -> usize {
        let mut bytes = [0; 1 << 12];
        let mut bytes = ReadBuf::new(&mut bytes);
        let _ = Pin::new(far).poll_read(&mut Context::from_waker(Waker::noop()), &mut bytes);
        bytes.filled().len()
    }

    #[test]
    fn what_is_written_in_one_turn_leaves_in_the_next_which_is_asked_for() {
        let (mut near, mut far, turns) = pair(1 << 12);
        let rung = Arc::new(Rung::default());
        let waker = Waker::from(rung.clone());
        let mut cx = Context::from_waker(&waker);
        turns.begin();
        for _ in 0..3 {
            assert!(Pin::new(&mut near).poll_write(&mut cx, b"abc").is_ready());
            assert!(Pin::new(&mut near).poll_flush(&mut cx).is_ready());
        }
        assert_eq!((arrived(&mut far), rung.0.load(Relaxed)), (0, 1), "held, and the task is woken once");
        turns.begin();
        let mut nothing = ReadBuf::new(&mut []);
        let _ = Pin::new(&mut near).poll_read(&mut cx, &mut nothing);
        assert_eq!(arrived(&mut far), 9, "reading is enough");
        assert!(Pin::new(&mut near).poll_write(&mut cx, b"de").is_ready());
        turns.begin();
        assert!(Pin::new(&mut near).poll_flush(&mut cx).is_ready());
        assert_eq!(arrived(&mut far), 2);
    }

    #[test]
    fn only_what_begins_as_http2_is_gathered() {
        for (pieces, begun) in [
            (&["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"][..], Begun::Http2),
            (&["P", "", "RI * HTTP/2.0\r\n\r\nSM\r\n\r", "\nmore"], Begun::Http2),
            (&["P", "OST / HTTP/1.1"], Begun::Other),
            (&["PRI * HTTP/2.0\r\n\r\nSM\r\n\rX"], Begun::Other),
            (&["PRI", " *"], Begun::Perhaps(5)),
        ] {
            let said = pieces.iter().fold(Begun::Perhaps(0), |begun, piece| begun.with(piece.as_bytes()));
            assert_eq!(said, begun, "{pieces:?}");
            let (mut near, mut far, turns) = pair(1 << 12);
            near.begun = Begun::Perhaps(0);
            let mut cx = Context::from_waker(Waker::noop());
            for piece in pieces {
                turns.begin();
                assert!(Pin::new(&mut far).poll_write(&mut cx, piece.as_bytes()).is_ready());
                let mut bytes = [0; 64];
                let _ = Pin::new(&mut near).poll_read(&mut cx, &mut ReadBuf::new(&mut bytes));
            }
            assert!(Pin::new(&mut near).poll_write(&mut cx, b"ab").is_ready());
            assert!(Pin::new(&mut near).poll_write_vectored(&mut cx, &[IoSlice::new(b"c")]).is_ready());
            assert!(Pin::new(&mut near).poll_flush(&mut cx).is_ready());
            // Whoever drops a connection of HTTP/1 now has nothing to lose.
            drop(near);
            let left = if begun == Begun::Http2 { 0 } else { 3 };
            assert_eq!(arrived(&mut far), left, "{pieces:?}");
        }
    }

    #[tokio::test]
    async fn bytes_keep_their_order_whatever_is_held() {
        let (mut near, mut far, turns) = pair(1 << 10);
        let sizes = [1, 700, GATHERED_WRITE_BYTES, 3, GATHERED_WRITE_BYTES - 1, GATHERED_WRITE_BYTES * 3, 5];
        let sent: Vec<u8> = sizes.iter().enumerate().flat_map(|(place, size)| vec![place as u8; *size]).collect();
        let expected = sent.repeat(10);
        let writing = tokio::spawn(async move {
            for _ in 0..10 {
                let mut rest = sent.as_slice();
                for size in sizes {
                    turns.begin();
                    near.write_all(&rest[..size]).await.expect("somebody reads");
                    rest = &rest[size..];
                }
            }
            near.shutdown().await.expect("somebody reads");
        });
        let mut read = Vec::new();
        far.read_to_end(&mut read).await.expect("read");
        writing.await.expect("written");
        assert!(read == expected, "{} of {} bytes, or another order", read.len(), expected.len());
    }

    #[tokio::test]
    async fn pieces_written_together_keep_their_order() {
        let (mut near, mut far, turns) = pair(1 << 10);
        let sizes = [9, 700, 9, GATHERED_WRITE_BYTES, 9, GATHERED_WRITE_BYTES * 3, 0, 5];
        let sent: Vec<Vec<u8>> = sizes.iter().enumerate().map(|(place, size)| vec![place as u8; *size]).collect();
        let expected = sent.concat().repeat(10);
        let writing = tokio::spawn(async move {
            for round in 0..10 {
                turns.begin();
                // A short piece alone is held; the others come behind it.
                near.write_all(&sent[0]).await.expect("somebody reads");
                let mut rest: Vec<&[u8]> = sent[1..].iter().map(Vec::as_slice).collect();
                while rest.iter().any(|piece| !piece.is_empty()) {
                    let slices: Vec<IoSlice<'_>> =
                        rest.iter().take(2 + round % 4).map(|piece| IoSlice::new(piece)).collect();
                    let mut written = near.write_vectored(&slices).await.expect("somebody reads");
                    while let Some(first) = rest.first_mut().filter(|first| written > 0 || first.is_empty()) {
                        let part = written.min(first.len());
                        *first = &first[part..];
                        written -= part;
                        if first.is_empty() {
                            rest.remove(0);
                        }
                    }
                }
            }
            near.shutdown().await.expect("somebody reads");
        });
        let mut read = Vec::new();
        far.read_to_end(&mut read).await.expect("read");
        writing.await.expect("written");
        assert!(read == expected, "{} of {} bytes, or another order", read.len(), expected.len());
    }

    #[test]
    fn no_more_than_the_limits_is_held() {
        let (mut near, _far, turns) = pair(1);
        turns.begin();
        let mut cx = Context::from_waker(Waker::noop());
        let piece = vec![7; GATHERED_WRITE_BYTES - 1];
        let mut taken = 0;
        while Pin::new(&mut near).poll_write(&mut cx, &piece).is_ready() {
            taken += piece.len();
            assert!(taken <= GATHERED_BYTES + piece.len());
        }
        assert!(taken >= GATHERED_BYTES);
    }
}
