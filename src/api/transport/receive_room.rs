//! Room for what clients have begun to say and not ended.
//!
//! A message of which a part is here takes memory until the rest comes, and a client may begin as many as it likes. So a
//! message that does not come in one piece sets its whole length aside before more of it is taken, in the room of its
//! connection and in that of all. Where there is none it waits, and HTTP/2's windows make its client wait; where many wait
//! already it is refused.
//!
//! Invariants: who has room aside needs no more of it to be taken in whole, and those that wait leave it a part of the
//! connection's window, so nobody waits for each other; a message that does not go on for a while is given up, sooner
//! where others wait; a message that comes in one piece sets nothing aside. Does not know what the messages are.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};
use tonic::Status;

use crate::api::status::status_of;
use crate::base::{Refusal, limits};

/// What room is counted in.
const UNIT: usize = 1_024;

/// Room in bytes, and how many wait for some.
#[derive(Debug)]
struct Room {
    free: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl Room {
    fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self { free: Arc::new(Semaphore::new(bytes / UNIT)), waiting: AtomicUsize::new(0) })
    }

    fn is_wanted(&self) -> bool {
        self.waiting.load(Relaxed) > 0
    }
}

/// One that waits; counted as long as it does.
struct Waiter(Arc<Room>);

impl Waiter {
    fn at(room: &Arc<Room>) -> (Self, usize) {
        let before = room.waiting.fetch_add(1, Relaxed);
        (Self(room.clone()), before)
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
    }
}

/// How long a message may stand still.
#[derive(Clone, Copy, Debug)]
struct Patience {
    usual: Duration,
    pressed: Duration,
}

/// The room of all connections.
#[derive(Clone, Debug)]
pub struct ReceiveRooms {
    all: Arc<Room>,
    own_bytes: usize,
    patience: Patience,
}

impl Default for ReceiveRooms {
    fn default() -> Self {
        let time = Duration::from_millis;
        let patience =
            Patience { usual: time(limits::MESSAGE_STALL_MS), pressed: time(limits::MESSAGE_STALL_PRESSED_MS) };
        let own_bytes = limits::HALF_RECEIVED_BYTES;
        Self { all: Room::new(limits::ALL_HALF_RECEIVED_BYTES), own_bytes, patience }
    }
}

impl ReceiveRooms {
    /// The room of a new connection.
    pub fn connection(&self) -> ReceiveRoom {
        ReceiveRoom {
            all: self.all.clone(),
            own: Room::new(self.own_bytes),
            own_bytes: self.own_bytes,
            patience: self.patience,
        }
    }
}

/// The room of one connection, within that of all. Clones are the same.
#[derive(Clone, Debug)]
pub struct ReceiveRoom {
    all: Arc<Room>,
    own: Arc<Room>,
    own_bytes: usize,
    patience: Patience,
}

type Aside = [OwnedSemaphorePermit; 2];
type Asking = Pin<Box<dyn Future<Output = Option<Aside>> + Send>>;

impl ReceiveRoom {
    /// What a message of `bytes` sets aside. One that no room could hold is refused by its length elsewhere.
    fn units(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.min(self.own_bytes) / UNIT).unwrap_or(u32::MAX)
    }

    fn try_aside(&self, units: u32) -> Option<Aside> {
        // Who waits already comes first.
        if self.own.is_wanted() || self.all.is_wanted() {
            return None;
        }
        let own = self.own.free.clone().try_acquire_many_owned(units).ok()?;
        Some([own, self.all.free.clone().try_acquire_many_owned(units).ok()?])
    }

    /// Waits for room; `None` where too many do.
    fn ask(&self, units: u32) -> Option<Asking> {
        let (own, before) = Waiter::at(&self.own);
        if before >= limits::WAITING_FOR_ROOM {
            return None;
        }
        let all = self.all.clone();
        Some(Box::pin(async move {
            let here = own.0.free.clone().acquire_many_owned(units).await.ok()?;
            let (waiter, _) = Waiter::at(&all);
            let everywhere = waiter.0.free.clone().acquire_many_owned(units).await.ok()?;
            Some([here, everywhere])
        }))
    }
}

/// Where a stream of framed messages stands.
#[derive(Debug, Default)]
struct Framing {
    prefix: [u8; 5],
    /// How much of the prefix is here.
    have: usize,
    /// Bytes of the message that are to come.
    missing: usize,
    /// The length of a message without a prefix, until something of it is here.
    bare: Option<usize>,
}

impl Framing {
    /// Takes more bytes; the length of the message that begins in them and does not end there, if one does.
    fn take(&mut self, mut bytes: &[u8]) -> Option<usize> {
        let mut began = self.bare.take();
        self.missing += began.unwrap_or(0);
        while !bytes.is_empty() {
            if self.missing > 0 {
                let part = bytes.len().min(self.missing);
                self.missing -= part;
                bytes = &bytes[part..];
                if self.missing == 0 {
                    began = None;
                }
                continue;
            }
            let part = bytes.len().min(self.prefix.len() - self.have);
            self.prefix[self.have..self.have + part].copy_from_slice(&bytes[..part]);
            self.have += part;
            bytes = &bytes[part..];
            if self.have == self.prefix.len() {
                let [_, a, b, c, d] = self.prefix;
                self.missing = u32::from_be_bytes([a, b, c, d]) as usize;
                self.have = 0;
                began = (self.missing > 0).then_some(self.missing);
            }
        }
        began
    }
}

/// A message that does not go on: the next look at it, and how long it has stood still by then.
struct Stalled {
    look: Pin<Box<Sleep>>,
    time: Duration,
}

/// What a stream of messages holds of a room: of the one that has begun and not ended.
pub struct Held {
    room: ReceiveRoom,
    aside: Option<Aside>,
    /// Waiting for room.
    asking: Option<Asking>,
    /// Found no room to wait for any.
    refused: bool,
    stalled: Option<Stalled>,
}

impl Held {
    /// Nothing so far, of this room.
    pub fn new(room: ReceiveRoom) -> Self {
        Self { room, aside: None, asking: None, refused: false, stalled: None }
    }

    /// More has come. Where a message began in it and does not end there, `began` is what is to be set aside for it; where none
    /// is open then, nothing is held.
    pub fn went_on(&mut self, began: Option<usize>, is_open: bool) {
        self.stalled = None;
        if !is_open {
            self.aside = None;
        } else if let Some(length) = began {
            self.aside = None;
            let units = self.room.units(length);
            self.aside = self.room.try_aside(units);
            if self.aside.is_none() {
                self.asking = self.room.ask(units);
                self.refused = self.asking.is_none();
            }
        }
    }

    /// Ready when more may be taken.
    ///
    /// # Errors
    /// Too many wait for room.
    pub fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        if let Some(asking) = &mut self.asking {
            self.aside = ready!(asking.as_mut().poll(cx));
            self.asking = None;
        }
        Poll::Ready(if self.refused { Err(status_of(&Refusal::TooManyRequests)) } else { Ok(()) })
    }

    /// While nothing comes of a message that is open: ready with the reason when that was for too long.
    pub fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<Status> {
        let Patience { usual, pressed } = self.room.patience;
        loop {
            let begin = || Stalled { look: Box::pin(sleep(pressed)), time: pressed };
            let stalled = self.stalled.get_or_insert_with(begin);
            ready!(stalled.look.as_mut().poll(cx));
            if stalled.time >= usual || self.room.own.is_wanted() || self.room.all.is_wanted() {
                return Poll::Ready(Status::deadline_exceeded("quorate: the rest of the message did not come"));
            }
            *stalled = Stalled { look: Box::pin(sleep(pressed)), time: stalled.time + pressed };
        }
    }
}

/// A request's body, taken in as there is room.
pub struct TakenIn<B> {
    body: B,
    framing: Framing,
    held: Held,
}

impl<B> TakenIn<B> {
    /// The body of a request on a connection with that room.
    pub fn new(body: B, room: ReceiveRoom) -> Self {
        Self { body, framing: Framing::default(), held: Held::new(room) }
    }

    /// The body of one message of so many bytes at most, which has no prefix.
    pub fn whole(body: B, room: ReceiveRoom, most: usize) -> Self {
        let framing = Framing { bare: Some(most), ..Framing::default() };
        Self { framing, ..Self::new(body, room) }
    }

    fn took(&mut self, bytes: &[u8]) {
        let began = self.framing.take(bytes);
        self.held.went_on(began, self.framing.missing > 0);
    }
}

impl<B> Body for TakenIn<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        if let Err(refused) = ready!(this.held.poll_room(cx)) {
            return Poll::Ready(Some(Err(Box::new(refused))));
        }
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(bytes) = frame.data_ref() {
                    this.took(bytes);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending if this.framing.missing == 0 => Poll::Pending,
            Poll::Pending => {
                let status = ready!(this.held.poll_stalled(cx));
                Poll::Ready(Some(Err(Box::new(status))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.held.asking.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::task::Waker;

    /// A body of these pieces, and then nothing for ever.
    struct Pieces(VecDeque<Bytes>);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            self.0.pop_front().map_or(Poll::Pending, |piece| Poll::Ready(Some(Ok(Frame::data(piece)))))
        }
    }

    /// A message of `length` bytes, its prefix with it, in pieces of `piece`; only the first `sent` bytes of it all.
    fn message(length: usize, piece: usize, sent: usize) -> Pieces {
        let mut bytes = vec![0];
        bytes.extend_from_slice(&(length as u32).to_be_bytes());
        bytes.resize(5 + length, 7);
        bytes.truncate(sent);
        Pieces(bytes.chunks(piece).map(Bytes::copy_from_slice).collect())
    }

    fn taken(body: &mut TakenIn<Pieces>) -> usize {
        let mut bytes = 0;
        while let Poll::Ready(Some(Ok(frame))) =
            Pin::new(&mut *body).poll_frame(&mut Context::from_waker(Waker::noop()))
        {
            bytes += frame.data_ref().map_or(0, Bytes::len);
        }
        bytes
    }

    fn rooms() -> ReceiveRooms {
        let patience = Patience { usual: Duration::from_secs(30), pressed: Duration::from_secs(2) };
        ReceiveRooms { all: Room::new(1 << 20), own_bytes: 256 << 10, patience }
    }

    /// What becomes of a body that is waited for.
    async fn outcome(body: &mut TakenIn<Pieces>) -> tonic::Code {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await;
        frame.expect("an error").expect_err("given up").downcast_ref::<Status>().expect("a status").code()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_half_here_is_bounded_and_what_is_whole_is_free() {
        let rooms = rooms();
        let room = rooms.connection();
        let half = || TakenIn::new(message(100 << 10, 10 << 10, 60 << 10), room.clone());
        let mut bodies: Vec<_> = (0..50).map(|_| half()).collect();
        let held: usize = bodies.iter_mut().map(taken).sum();
        // Two messages of 100 KiB have room; the rest give their first piece and wait.
        assert_eq!(held, 2 * (60 << 10) + 48 * (10 << 10));
        let mut small = TakenIn::new(message(100, 1 << 10, 105), room.clone());
        assert_eq!(taken(&mut small), 105, "what comes in one piece does not wait");
        drop(bodies.drain(..1));
        let more: usize = bodies.iter_mut().map(taken).sum();
        assert_eq!(more, 50 << 10, "whose turn it is goes on when room is given back");
        let other = rooms.connection();
        let mut elsewhere = TakenIn::new(message(100 << 10, 10 << 10, 200 << 10), other);
        assert_eq!(taken(&mut elsewhere), (100 << 10) + 5, "other connections do not wait for this one");
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_wait() {
        let room = rooms().connection();
        let mut bodies: Vec<_> = (0..2 + limits::WAITING_FOR_ROOM + 3)
            .map(|_| TakenIn::new(message(100 << 10, 10 << 10, 60 << 10), room.clone()))
            .collect();
        bodies.iter_mut().for_each(|body| assert!(taken(body) > 0));
        assert_eq!(bodies.iter().filter(|body| body.held.refused).count(), 3);
        let last = bodies.last_mut().expect("some");
        assert_eq!(outcome(last).await, status_of(&Refusal::TooManyRequests).code());
        drop(bodies);
        assert!(!room.own.is_wanted(), "nobody waits who is gone");
    }

    #[tokio::test(start_paused = true)]
    async fn all_connections_share_one_room() {
        let rooms = rooms();
        let mut bodies: Vec<_> =
            (0..20).map(|_| TakenIn::new(message(200 << 10, 10 << 10, 150 << 10), rooms.connection())).collect();
        let held: usize = bodies.iter_mut().map(taken).sum();
        assert_eq!(held, 5 * (150 << 10) + 15 * (10 << 10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_does_not_go_on_is_given_up() {
        let rooms = rooms();
        let room = rooms.connection();
        let began = tokio::time::Instant::now();
        let mut body = TakenIn::new(message(100 << 10, 10 << 10, 50 << 10), room.clone());
        assert_eq!(taken(&mut body), 50 << 10);
        assert_eq!(outcome(&mut body).await, tonic::Code::DeadlineExceeded);
        assert_eq!(began.elapsed().as_secs(), 30);
        drop(body);
        let began = tokio::time::Instant::now();
        let mut bodies: Vec<_> =
            (0..3).map(|_| TakenIn::new(message(100 << 10, 10 << 10, 50 << 10), room.clone())).collect();
        bodies.iter_mut().for_each(|body| assert!(taken(body) > 0));
        assert_eq!(outcome(&mut bodies[1]).await, tonic::Code::DeadlineExceeded);
        assert_eq!(began.elapsed().as_secs(), 2, "another waits for its room");
        let mut between = TakenIn::new(message(100, 10, 105), rooms.connection());
        assert_eq!(taken(&mut between), 105);
        let frame = std::future::poll_fn(|cx| Pin::new(&mut between).poll_frame(cx));
        let waited = tokio::time::timeout(Duration::from_secs(3_600), frame).await;
        assert!(waited.is_err(), "between messages a stream may be silent");
    }

    #[test]
    fn messages_are_found_wherever_they_are_cut() {
        let lengths = [0, 1, 300, 0, 70_000, 5];
        let bytes: Vec<u8> = lengths
            .iter()
            .flat_map(|length| [vec![0], (*length as u32).to_be_bytes().to_vec(), vec![9; *length]].concat())
            .collect();
        for piece in [1, 3, 5, 100, 4_096, 1 << 20] {
            let (mut framing, mut began) = (Framing::default(), Vec::new());
            for bytes in bytes.chunks(piece) {
                began.extend(framing.take(bytes));
            }
            assert_eq!((framing.have, framing.missing), (0, 0), "{piece}");
            // Those that do not end in the piece in which their prefix does.
            assert!(began.iter().all(|length| lengths.contains(length)), "{piece}: {began:?}");
            assert_eq!(began.contains(&70_000), piece < 70_000, "{piece}");
        }
    }
}
