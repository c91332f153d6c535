//! Sending a snapshot to a peer: an offer first, which a member of another make does not know and which says where to
//! begin, then its head and its chunks in one long request.
//!
//! Invariants: a peer that has not said that it takes chunks is never sent one; the chunks of a second stay within a
//! budget, which is smaller while clients feel it; what became of it is told once, however it ends. A receiver tells at
//! intervals that it is there: one that is silent is given up as on any other connection, however long its disk may take; one that
//! takes the whole over is waited for, within a bound, for it has all there is. One that still reads what it has is asked again
//! until it has read it: that is no attempt that failed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use super::dialer::{dial, refusal, request_head};
use super::door::ChunkSource;
use super::exchange::Exchange;
use super::greeting::SNAPSHOT;
use super::link::Link;
use super::message_codec::put_message;
use super::pace::{Pace, Paces};
use super::post::{Post, post};
use super::snapshot_frames::{OFFER_PATH, SNAPSHOT_PATH, put_chunk, put_end, put_manifest};
use super::wrong::LineWrong;
use crate::base::limits;
use crate::consensus::PeerMessage;
use crate::env::{Clock, Env, Instant, NetWriter};

/// Tells what became of the sending when it goes, also where its task was dropped.
pub(super) struct Outcome<E: Env> {
    exchange: Arc<Exchange<E>>,
    link: Arc<Link>,
    arrived: bool,
    began: Instant,
}

impl<E: Env> Outcome<E> {
    /// The right to send a snapshot to this peer; nothing while another is on its way.
    pub(super) fn begin(exchange: &Arc<Exchange<E>>, link: &Arc<Link>) -> Option<Self> {
        let free = !link.sends_snapshot.swap(true, Ordering::AcqRel);
        free.then(|| {
            link.traffic.sent_snapshots.begins();
            Self { exchange: exchange.clone(), link: link.clone(), arrived: false, began: exchange.now() }
        })
    }
}

impl<E: Env> Drop for Outcome<E> {
    fn drop(&mut self) {
        self.link.sends_snapshot.store(false, Ordering::Release);
        let took = self.exchange.now().since(self.began);
        self.link.traffic.sent_snapshots.ends(self.arrived.then_some(took));
        self.exchange.door.snapshot_sent(self.link.member, self.arrived);
    }
}

/// Sends a snapshot.
pub(super) async fn send_snapshot<E: Env>(mut outcome: Outcome<E>, message: PeerMessage, source: Box<dyn ChunkSource>) {
    let (exchange, link) = (outcome.exchange.clone(), outcome.link.clone());
    let began = exchange.now();
    tracing::info!(
        "snapshot-index" = message.snapshot_index(),
        "remote-peer-id" = %link.member,
        "sending database snapshot"
    );
    match send(&exchange, &link, &message, source).await {
        Ok(bytes) => {
            outcome.arrived = true;
            tracing::info!(
                "snapshot-index" = message.snapshot_index(),
                "remote-peer-id" = %link.member,
                bytes,
                took = ?exchange.now().since(began),
                "sent database snapshot"
            );
        }
        Err(wrong) => {
            if matches!(wrong, LineWrong::Removed) {
                exchange.door.removed();
            }
            tracing::warn!(
                "snapshot-index" = message.snapshot_index(),
                "remote-peer-id" = %link.member,
                error = %wrong,
                "failed to send database snapshot"
            );
            exchange.door.unreachable(link.member);
        }
    }
}

async fn send<E: Env>(
    exchange: &Exchange<E>,
    link: &Link,
    message: &PeerMessage,
    mut source: Box<dyn ChunkSource>,
) -> Result<u64, LineWrong> {
    let manifest = source.manifest();
    if manifest.len() > limits::SNAPSHOT_MANIFEST_BYTES {
        let (bytes, limit) = (manifest.len() as u64, limits::SNAPSHOT_MANIFEST_BYTES);
        return Err(LineWrong::TooLong { what: "a manifest", bytes, limit });
    }
    let mut introduction = Vec::new();
    put_message(message, &mut introduction);
    put_manifest(&manifest, &mut introduction);
    let from = offer(exchange, link, &introduction).await?;

    let ((mut incoming, mut outgoing), url) = dial(exchange, link).await?;
    let own =
        [("Content-Type", "application/octet-stream"), ("Transfer-Encoding", "chunked"), (SNAPSHOT, &from.to_string())];
    let first = format!("POST {SNAPSHOT_PATH} HTTP/1.1");
    outgoing.send(&request_head(exchange, &url, &first, &own)).await?;
    let mut out = Vec::new();
    http_chunk(&introduction, &mut out);
    outgoing.send(&out).await?;
    let sending = send_chunks(exchange, &mut outgoing, source.as_mut(), from);
    // A receiver that answers before the end does not want the rest.
    let sent = {
        let answered = incoming.response();
        super::wait::first(answered, sending).await
    };
    let (bytes, head) = match sent {
        super::wait::First::One(answered) => (0, answered?),
        super::wait::First::Other(sent) => {
            let bytes = sent?;
            let deadline = incoming.after(Duration::from_millis(limits::SNAPSHOT_FINISH_MS));
            incoming.set_deadline(Some(deadline));
            (bytes, incoming.response().await?)
        }
    };
    let text = incoming.whole("an answer", limits::PEER_QUESTION_BYTES).await.unwrap_or_default();
    if head.status == 204 { Ok(bytes) } else { Err(refusal(exchange, link.member, &head, &text)) }
}

/// Offers the snapshot, as often as the peer wants to be asked again; the number of the first chunk that is wanted.
async fn offer<E: Env>(exchange: &Exchange<E>, link: &Link, introduction: &[u8]) -> Result<u64, LineWrong> {
    let mut line = None;
    loop {
        let what = Post {
            method: "POST",
            path: OFFER_PATH,
            content_type: "application/octet-stream",
            body: introduction,
            deadline: exchange.now().plus(Duration::from_millis(limits::SNAPSHOT_STALL_MS)),
            answer_limit: limits::PEER_QUESTION_BYTES,
        };
        let (head, text) = post(exchange, link, &mut line, &what).await?;
        match head.status {
            200 => {
                let number = std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok());
                return number.ok_or_else(|| LineWrong::malformed("the answer to an offered snapshot is no number"));
            }
            202 => {
                let pause = Duration::from_millis(limits::SNAPSHOT_ASK_AGAIN_MS);
                exchange.env.clock().sleep_until(exchange.now().plus(pause)).await;
            }
            404 => {
                let text = "the peer takes no snapshots in this form".to_string();
                return Err(LineWrong::Refused { status: 404, text });
            }
            _ => return Err(refusal(exchange, link.member, &head, &text)),
        }
    }
}

/// Sends the chunks from this one on, and the end; how many bytes that were.
async fn send_chunks<E: Env>(
    exchange: &Exchange<E>,
    outgoing: &mut super::body::Outgoing<impl NetWriter, E::Clock>,
    source: &mut dyn ChunkSource,
    from: u64,
) -> Result<u64, LineWrong> {
    outgoing.set_patience(Duration::from_millis(limits::SNAPSHOT_STALL_MS));
    let writes = || exchange.door.answered_writes();
    let paces = Paces::of_snapshot(exchange.config.snapshot_bytes_per_second);
    let mut pace = Pace::new(exchange.env.clock().clone(), paces, writes());
    let (mut bytes, mut frame, mut out) = (0, Vec::new(), Vec::new());
    for number in from.. {
        let chunk: Option<Bytes> =
            source.chunk(number).await.map_err(|wrong| LineWrong::malformed(wrong.to_string()))?;
        frame.clear();
        out.clear();
        let Some(chunk) = chunk else {
            put_end(number, &mut frame);
            http_chunk(&frame, &mut out);
            out.extend_from_slice(b"0\r\n\r\n");
            outgoing.send(&out).await?;
            break;
        };
        if chunk.is_empty() || chunk.len() > limits::SNAPSHOT_FRAME_BYTES {
            let (bytes, limit) = (chunk.len() as u64, limits::SNAPSHOT_FRAME_BYTES);
            return Err(LineWrong::TooLong { what: "a chunk", bytes, limit });
        }
        put_chunk(&chunk, &mut frame);
        http_chunk(&frame, &mut out);
        pace.spend(chunk.len() as u64, writes).await;
        outgoing.send(&out).await?;
        bytes += chunk.len() as u64;
    }
    Ok(bytes)
}

/// A chunk as HTTP knows it, around a frame of ours.
fn http_chunk(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{:x}\r\n", bytes.len()).as_bytes());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}
