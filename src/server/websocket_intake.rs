//! A WebSocket as it comes in: the heads of its frames are looked at as they pass (RFC 6455, section 5.2).
//!
//! Invariants: a message that does not come in one piece has room set aside while it is not whole, as other requests have, and is
//! given up when it stands still; a client that pings too often is sent away by the rule for HTTP/2 (`pings.rs`). Each byte is passed
//! over once, wherever bytes are cut. Does not know what messages say; whether frames are well formed others judge.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::api::{Held, ReceiveRoom};
use crate::base::limits;
use crate::server::frames::{DATA, HEADERS, Head, PING as PING_OF_HTTP};
use crate::server::pings;

/// The bit of a frame's first byte that says that it is the last of its message.
const LAST: u8 = 0x80;
/// Frames of this kind and above are no part of a message.
const CONTROL: u8 = 0x08;
const PING: u8 = 0x09;
/// The bit of its second byte that says that four bytes of a mask follow its length.
const MASKED: u8 = 0x80;
/// Longest head: two bytes, eight of a length, four of a mask.
const HEAD_BYTES: usize = 14;

/// Where the frames of one direction stand.
#[derive(Debug, Default)]
struct Frames {
    head: [u8; HEAD_BYTES],
    /// So much of a head is here.
    have: usize,
    /// Bytes of the frame that are to come; its head is here.
    missing: u64,
    /// The frame in hand: no part of a message, and the last of one.
    is_control: bool,
    is_last: bool,
    /// A message has begun and not ended.
    is_open: bool,
    /// Pings so far.
    pings: u64,
}

impl Frames {
    /// Takes more bytes; whether a message began in them and does not end there.
    fn take(&mut self, mut bytes: &[u8]) -> bool {
        let mut began = false;
        while !bytes.is_empty() {
            if self.missing > 0 {
                let part = bytes.len().min(usize::try_from(self.missing).unwrap_or(usize::MAX));
                self.missing -= part as u64;
                bytes = &bytes[part..];
            } else {
                let wanted = self.head_bytes();
                let part = bytes.len().min(wanted - self.have);
                self.head[self.have..self.have + part].copy_from_slice(&bytes[..part]);
                self.have += part;
                bytes = &bytes[part..];
                if self.have < 2 || self.have < self.head_bytes() {
                    continue;
                }
                began |= self.begin();
            }
            if self.missing == 0 && !self.is_control && self.is_last {
                self.is_open = false;
            }
        }
        began && self.is_open
    }

    /// Bytes of the head in hand, as far as is known.
    fn head_bytes(&self) -> usize {
        if self.have < 2 {
            return 2;
        }
        let length = match self.head[1] & !MASKED {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + length + if self.head[1] & MASKED == 0 { 0 } else { 4 }
    }

    /// The head in hand is whole; whether a message begins with it.
    fn begin(&mut self) -> bool {
        let kind = self.head[0] & 0x0f;
        let (a, b) = (self.head[2], self.head[3]);
        self.missing = match self.head[1] & !MASKED {
            126 => u64::from(u16::from_be_bytes([a, b])),
            127 => {
                let mut length = [0; 8];
                length.copy_from_slice(&self.head[2..10]);
                u64::from_be_bytes(length)
            }
            length => u64::from(length),
        };
        self.have = 0;
        (self.is_control, self.is_last) = (kind >= CONTROL, self.head[0] & LAST != 0);
        self.pings += u64::from(kind == PING);
        let began = !self.is_control && !self.is_open;
        self.is_open |= began;
        began
    }
}

/// It pings too often.
#[derive(Debug)]
pub struct TooManyPings;

impl fmt::Display for TooManyPings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("too_many_pings")
    }
}

impl std::error::Error for TooManyPings {}

/// Counts the pings of one conversation.
struct Pings {
    client: pings::Client,
    counted: u64,
    /// Turns true when a part of the answer is sent.
    answered: Arc<AtomicBool>,
}

impl Pings {
    fn new(least: Duration, answered: Arc<AtomicBool>) -> Self {
        let mut client = pings::Client::new(least);
        // A conversation is one request, which is under way for as long as it lasts.
        client.received(Head { length: 0, kind: HEADERS, flags: 0, stream: 1 });
        Self { client, counted: 0, answered }
    }

    /// Whether there are too many now, of so many in all.
    fn are_too_many(&mut self, all: u64) -> bool {
        for _ in self.counted..all {
            if self.answered.swap(false, Ordering::Relaxed) {
                self.client.sent(Head { length: 0, kind: DATA, flags: 0, stream: 1 });
            }
            self.client.received(Head { length: 0, kind: PING_OF_HTTP, flags: 0, stream: 0 });
        }
        self.counted = all;
        self.client.is_too_much()
    }
}

/// The connection of a conversation.
pub struct Inbound<S> {
    stream: S,
    frames: Frames,
    held: Held,
    pings: Pings,
}

impl<S> Inbound<S> {
    /// Of a connection with this room, whose client may ping so often; `answered` turns true when a part of the answer is sent.
    pub fn new(stream: S, room: ReceiveRoom, least: Duration, answered: Arc<AtomicBool>) -> Self {
        Self { stream, frames: Frames::default(), held: Held::new(room), pings: Pings::new(least, answered) }
    }

    /// The connection as it is.
    pub fn bare(&mut self) -> &mut S {
        &mut self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Inbound<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.held.poll_room(cx)).map_err(io::Error::other)?;
        let before = buf.filled().len();
        match Pin::new(&mut this.stream).poll_read(cx, buf)? {
            Poll::Ready(()) => {
                let began = this.frames.take(&buf.filled()[before..]);
                this.held.went_on(began.then_some(limits::WEBSOCKET_OPEN_BYTES), this.frames.is_open);
                let enough = this.pings.are_too_many(this.frames.pings);
                Poll::Ready(if enough { Err(io::Error::other(TooManyPings)) } else { Ok(()) })
            }
            Poll::Pending if !this.frames.is_open => Poll::Pending,
            Poll::Pending => Poll::Ready(Err(io::Error::other(ready!(this.held.poll_stalled(cx))))),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Inbound<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ReceiveRooms;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    /// A frame of a client, masked with nothing.
    fn frame(first: u8, length: usize) -> Vec<u8> {
        let mut bytes = match length {
            0..126 => vec![first, MASKED | length as u8],
            126..65_536 => [vec![first, MASKED | 126], (length as u16).to_be_bytes().to_vec()].concat(),
            _ => [vec![first, MASKED | 127], (length as u64).to_be_bytes().to_vec()].concat(),
        };
        bytes.resize(bytes.len() + 4 + length, 0);
        bytes
    }

    const TEXT: u8 = 1;
    const MORE: u8 = 0;

    #[test]
    fn messages_and_pings_are_found_wherever_bytes_are_cut() {
        let all = [
            frame(LAST | TEXT, 0),
            frame(TEXT, 5),
            frame(LAST | PING, 3),
            frame(MORE, 70_000),
            frame(LAST | MORE, 0),
            frame(LAST | PING, 0),
            frame(LAST | TEXT, 300),
            frame(LAST | 0x0a, 125),
            frame(TEXT, 0),
        ]
        .concat();
        for cut in [1, 2, 3, 7, 100, 4_096, all.len()] {
            let mut frames = Frames::default();
            let mut began = 0;
            for piece in all.chunks(cut) {
                began += usize::from(frames.take(piece));
            }
            assert_eq!((frames.pings, frames.missing, frames.have), (2, 0, 0), "{cut}");
            assert!(frames.is_open, "the last is not whole: {cut}");
            assert!((1..=4).contains(&began), "{began} {cut}");
            frames.take(&frame(LAST | MORE, 0));
            assert!(!frames.is_open);
        }
        let mut frames = Frames::default();
        assert!(!frames.take(&frame(LAST | TEXT, 60_000)), "what comes in one piece sets nothing aside");
        assert!(frames.take(&frame(LAST | TEXT, 60_000)[..9]));
    }

    fn intake(room: ReceiveRoom) -> (DuplexStream, Inbound<DuplexStream>) {
        let (near, far) = duplex(1 << 20);
        (near, Inbound::new(far, room, Duration::from_secs(5), Arc::default()))
    }

    async fn read(intake: &mut Inbound<DuplexStream>) -> io::Result<usize> {
        intake.read(&mut [0; 4_096]).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_is_not_whole_has_the_room_of_its_connection_and_is_given_up() {
        let room = ReceiveRooms::default().connection();
        let fit = limits::HALF_RECEIVED_BYTES / limits::WEBSOCKET_OPEN_BYTES;
        let mut open = Vec::new();
        for _ in 0..fit {
            let (mut near, mut intake) = intake(room.clone());
            near.write_all(&frame(TEXT, 10)).await.expect("room");
            read(&mut intake).await.expect("there is room");
            open.push((near, intake));
        }
        let (mut near, mut waits) = intake(room.clone());
        near.write_all(&frame(TEXT, 10)).await.expect("room");
        read(&mut waits).await.expect("its first piece");
        near.write_all(&frame(MORE, 10)).await.expect("room");
        let second = tokio::time::timeout(Duration::from_millis(1), read(&mut waits)).await;
        assert!(second.is_err(), "there is no room for more");
        let begun = tokio::time::Instant::now();
        let (_, stalled) = open.first_mut().expect("some");
        let given_up = read(stalled).await.expect_err("nothing comes, and another waits");
        assert!(given_up.to_string().contains("the rest of the message did not come"), "{given_up}");
        assert_eq!(begun.elapsed().as_millis() as u64, limits::MESSAGE_STALL_PRESSED_MS);
        drop(open.remove(0));
        read(&mut waits).await.expect("now there is");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_whole_may_be_followed_by_silence() {
        let (mut near, mut intake) = intake(ReceiveRooms::default().connection());
        near.write_all(&frame(LAST | TEXT, 10)).await.expect("room");
        read(&mut intake).await.expect("a message");
        assert!(tokio::time::timeout(Duration::from_secs(3_600), read(&mut intake)).await.is_err());
    }

    #[tokio::test]
    async fn who_pings_too_often_is_told_so_and_answers_make_strikes_void() {
        for is_answered in [false, true] {
            let (mut near, mut intake) = intake(ReceiveRooms::default().connection());
            let mut borne = 0;
            for _ in 0..20 {
                near.write_all(&frame(LAST | PING, 4)).await.expect("room");
                intake.pings.answered.store(is_answered, Ordering::Relaxed);
                match read(&mut intake).await {
                    Ok(_) => borne += 1,
                    Err(error) => {
                        assert!(error.get_ref().expect("a reason").is::<TooManyPings>());
                        break;
                    }
                }
            }
            assert_eq!(borne, if is_answered { 20 } else { 3 }, "the first, and two strikes");
        }
    }
}
