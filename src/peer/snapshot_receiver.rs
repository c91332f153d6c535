//! Receiving a snapshot: the offer is answered with where to begin, then the chunks go to the member's sink.
//!
//! Invariants: a body that is not marked as ours is not read; few are received at once; the message of the snapshot
//! reaches the group only when every chunk is in and the sink has finished; who waits for an answer is told at intervals
//! that it is worked on, so that silence means that nobody is there. Who is to ask again, because what is there is still being
//! read, is told so at once: a connection that was lost meanwhile holds nothing.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use super::answer::Answer;
use super::body::Outgoing;
use super::door::ChunkSink;
use super::exchange::{Ends, Exchange, Reader, Writer};
use super::greeting::{CLUSTER_ID, SNAPSHOT};
use super::head::RequestHead;
use super::letting_in::let_in;
use super::snapshot_frames::{SnapshotFrame, read_frame, read_introduction};
use super::wait::Timer;
use super::wrong::LineWrong;
use crate::base::{MemberId, limits};
use crate::consensus::PeerMessage;
use crate::env::Env;

/// The answer before the answer: whoever waits passes it over.
const WORKING: &[u8] = b"HTTP/1.1 102 Processing\r\n\r\n";

/// What is said of an offer that is to be made again.
const READING: &str = "what is here of it is being read";

/// Why a snapshot was not received.
enum NotReceived {
    /// The connection is of no use any more.
    Line(LineWrong),
    /// It is refused with this status and text.
    Refused(u16, String),
}

impl From<LineWrong> for NotReceived {
    fn from(wrong: LineWrong) -> Self {
        match wrong {
            LineWrong::TooLong { .. } | LineWrong::Malformed(_) => {
                Self::Refused(400, format!("failed to decode raft message ({wrong})"))
            }
            wrong => Self::Line(wrong),
        }
    }
}

/// A place among the snapshots received at once.
struct Place<'a, E: Env>(&'a Exchange<E>);

impl<'a, E: Env> Place<'a, E> {
    fn take(exchange: &'a Exchange<E>) -> Option<Self> {
        let before = exchange.snapshots.fetch_add(1, Ordering::Relaxed);
        let place = Self(exchange);
        (before < limits::SNAPSHOTS_RECEIVED).then_some(place)
    }
}

impl<E: Env> Drop for Place<'_, E> {
    fn drop(&mut self) {
        self.0.snapshots.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Answers an offer with the number of the first chunk that is wanted.
pub(super) async fn offered<E: Env>(
    exchange: &Exchange<E>,
    ends: &mut Ends<E>,
    head: &RequestHead,
) -> Result<Answer, LineWrong> {
    let from = match let_in(exchange, head) {
        Ok(from) => from,
        Err(answer) => return Ok(answer.ending()),
    };
    // Opening a sink may wait for the disk.
    let deadline = ends.0.after(Duration::from_millis(limits::SNAPSHOT_STALL_MS));
    ends.0.set_deadline(Some(deadline));
    match open(exchange, ends, from).await {
        Ok((_, Some(sink))) => Ok(Answer::plain(&sink.next().to_string())),
        Ok((_, None)) => Ok(Answer::text(202, READING)),
        Err(NotReceived::Refused(status, text)) => {
            tracing::warn!("remote-snapshot-sender-id" = %from, error = text, "a snapshot that was offered is refused");
            Ok(Answer::text(status, &text).ending())
        }
        Err(NotReceived::Line(wrong)) => Err(wrong),
    }
}

/// Receives a snapshot. The connection ends with it.
pub(super) async fn serve<E: Env>(
    exchange: &Arc<Exchange<E>>,
    ends: &mut Ends<E>,
    head: &RequestHead,
) -> Result<(), LineWrong> {
    if head.method != "POST" {
        let answer = Answer::text(405, "Method Not Allowed").with("Allow", "POST").to(head);
        return ends.1.send(&answer.bytes(false)).await;
    }
    let cluster = exchange.door.roster().cluster.to_string();
    let answer = match receive(exchange, ends, head).await {
        Ok(()) => Answer::nothing(),
        Err(Stopped::Answered(answer)) => answer,
        Err(Stopped::Not(NotReceived::Line(wrong))) => return Err(wrong),
        Err(Stopped::Not(NotReceived::Refused(status, text))) => {
            tracing::warn!(
                "local-member-id" = %exchange.config.member,
                error = text,
                "failed to save incoming database snapshot"
            );
            Answer::text(status, &text)
        }
    };
    ends.1.send(&answer.with(CLUSTER_ID, &cluster).bytes(false)).await
}

enum Stopped {
    Answered(Answer),
    Not(NotReceived),
}

impl<T: Into<NotReceived>> From<T> for Stopped {
    fn from(not: T) -> Self {
        Self::Not(not.into())
    }
}

async fn receive<E: Env>(exchange: &Exchange<E>, ends: &mut Ends<E>, head: &RequestHead) -> Result<(), Stopped> {
    let from = let_in(exchange, head).map_err(Stopped::Answered)?;
    let Some(begin) = head.headers.get(SNAPSHOT) else {
        // What stock etcd sends: its database file, which this store cannot take over.
        let text = "failed to save KV snapshot (a member of another make sent it)".to_string();
        return Err(NotReceived::Refused(500, text).into());
    };
    let Some(_place) = Place::take(exchange) else {
        return Err(NotReceived::Refused(503, "too many snapshots are being received".to_string()).into());
    };
    let (link, began) = (exchange.link(from), exchange.now());
    if let Some(link) = &link {
        link.traffic.received_snapshots.begins();
    }
    let received = receive_from(exchange, ends, from, begin).await;
    if let Some(link) = &link {
        let took = exchange.now().since(began);
        link.traffic.received_snapshots.ends(received.is_ok().then_some(took));
    }
    received
}

/// Receives a snapshot of this member, from the chunk that is to be `begin`.
async fn receive_from<E: Env>(
    exchange: &Exchange<E>,
    ends: &mut Ends<E>,
    from: MemberId,
    begin: &str,
) -> Result<(), Stopped> {
    ends.0.set_deadline(None);
    ends.0.set_silence(Duration::from_millis(limits::SNAPSHOT_STALL_MS));
    let (message, sink) = open(exchange, ends, from).await?;
    // Nobody sends before an offer was answered otherwise; it has begun another life since.
    let mut sink = sink.ok_or_else(|| NotReceived::Refused(503, READING.to_string()))?;
    if sink.next().to_string() != begin {
        return Err(NotReceived::Refused(412, format!("chunk {} is wanted, not {begin}", sink.next())).into());
    }
    tracing::info!(
        "local-member-id" = %exchange.config.member,
        "remote-snapshot-sender-id" = %from,
        "incoming-snapshot-index" = message.snapshot_index(),
        "receiving database snapshot"
    );
    let (incoming, outgoing) = ends;
    telling::<E, _>(outgoing, exchange.config.read_timeout / 3, async {
        take_chunks::<E>(incoming, sink.as_mut()).await?;
        let refused = |text: String| NotReceived::Refused(500, format!("failed to save KV snapshot ({text})"));
        sink.finish().await.map_err(refused)
    })
    .await??;
    tracing::info!(
        "local-member-id" = %exchange.config.member,
        "remote-snapshot-sender-id" = %from,
        "incoming-snapshot-index" = message.snapshot_index(),
        "received and saved database snapshot"
    );
    exchange.door.arrived(message);
    Ok(())
}

/// Reads what the snapshot says of itself and opens a sink for it; nothing where it cannot be opened yet.
async fn open<E: Env>(
    exchange: &Exchange<E>,
    ends: &mut Ends<E>,
    from: MemberId,
) -> Result<(PeerMessage, Option<Box<dyn ChunkSink>>), NotReceived> {
    let (message, manifest): (PeerMessage, Bytes) = read_introduction(&mut ends.0).await?;
    if message.to() != exchange.config.member || message.from() != from {
        return Err(NotReceived::Refused(403, "cannot process message to mismatch member".to_string()));
    }
    let time = Duration::from_millis(limits::SNAPSHOT_STALL_MS);
    let opening = exchange.door.snapshot_offered(&message, manifest);
    let mut timer = Timer::new(exchange.env.clock().clone());
    let until = timer.after(time);
    match telling::<E, _>(&mut ends.1, exchange.config.read_timeout / 3, timer.within(until, opening)).await? {
        Some(Ok(sink)) => Ok((message, sink)),
        Some(Err(text)) => Err(NotReceived::Refused(500, text)),
        None => Err(NotReceived::Line(LineWrong::Late("opening a snapshot"))),
    }
}

/// What the work gives; until it does, whoever waits for it is told so often that it goes on.
async fn telling<E: Env, T>(
    outgoing: &mut Outgoing<Writer<E>, E::Clock>,
    every: Duration,
    work: impl Future<Output = T>,
) -> Result<T, LineWrong> {
    let mut work = pin!(work);
    loop {
        match outgoing.within(every, work.as_mut()).await {
            Some(done) => return Ok(done),
            None => outgoing.send(WORKING).await?,
        }
    }
}

async fn take_chunks<E: Env>(
    incoming: &mut super::body::Incoming<Reader<E>, E::Clock>,
    sink: &mut dyn ChunkSink,
) -> Result<(), NotReceived> {
    loop {
        // Who sends a byte now and then would hold one of the few places for ever.
        let deadline = incoming.after(Duration::from_millis(limits::SNAPSHOT_FRAME_MS));
        incoming.set_deadline(Some(deadline));
        match read_frame(incoming).await? {
            SnapshotFrame::Chunk(chunk) => {
                let number = sink.next();
                let refused = |text: String| NotReceived::Refused(500, format!("failed to save KV snapshot ({text})"));
                sink.put(chunk).await.map_err(refused)?;
                assert_eq!(sink.next(), number + 1, "a chunk that was taken in is held");
            }
            SnapshotFrame::End(chunks) if chunks == sink.next() => return Ok(()),
            SnapshotFrame::End(chunks) => {
                let text = format!("{chunks} chunks were sent and {} arrived", sink.next());
                return Err(NotReceived::Refused(400, text));
            }
        }
    }
}
