//! The two long-lived streams of each direction. Who receives has dialled: it asks, and the answer never ends.
//!
//! Invariants: a stream that carries nothing carries a sign of life each third of the read timeout, and one that carries
//! not even that is given up; a stream that ends in the middle of a frame, or whose frames are not what they should be,
//! is closed and opened anew, and what it brought until then stands.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Duration;

use super::body::{Incoming, Outgoing};
use super::dialer::{dial, refusal, request_head};
use super::exchange::{Exchange, Reader};
use super::greeting::{LIFE, RAFT_TO};
use super::link::Link;
use super::message_codec;
use super::msgapp_codec::MsgAppPlace;
use super::outbox::{LineNumber, Taker};
use super::wait::{BackOff, Timer};
use super::wrong::LineWrong;
use crate::base::limits;
use crate::consensus::PeerMessage;
use crate::env::{Env, Instant, NetReader, NetWriter};

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum StreamKind {
    Message,
    MsgApp,
}

impl StreamKind {
    /// Its place on the peer port, before the id of who asks.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Message => "/raft/stream/message/",
            Self::MsgApp => "/raft/stream/msgapp/",
        }
    }

    /// etcd's name in log lines.
    fn name(self) -> &'static str {
        match self {
            Self::Message => "stream Message",
            Self::MsgApp => "stream MsgApp v2",
        }
    }

    fn taker(self) -> Taker {
        match self {
            Self::Message => Taker::Messages,
            Self::MsgApp => Taker::Appends,
        }
    }
}

/// What a writer waits for.
enum Event {
    Messages,
    Replaced,
    KeepAlive,
    Finished,
}

/// Writes what waits for the peer into a stream that it has asked for, until the stream is gone.
pub(super) async fn write_stream<E: Env>(
    exchange: &Exchange<E>,
    link: &Link,
    kind: StreamKind,
    incoming: &mut Incoming<Reader<E>, E::Clock>,
    outgoing: &mut Outgoing<impl NetWriter, E::Clock>,
) {
    let local = exchange.config.member;
    let number = link.outbox.attach(kind.taker());
    tracing::info!(
        "stream-writer-type" = kind.name(),
        "local-member-id" = %local,
        "remote-peer-id" = %link.member,
        "established TCP streaming connection with remote peer"
    );
    let wrong = match write_messages(exchange, link, kind, number, incoming, outgoing).await {
        Ok(()) => {
            LineWrong::Refused { status: 0, text: "a newer stream has taken over, or the peer is silent".to_string() }
        }
        Err(wrong) => {
            link.traffic.sent_failures.fetch_add(1, Relaxed);
            wrong
        }
    };
    let dropped = link.outbox.detach(kind.taker(), number);
    tracing::warn!(
        "stream-writer-type" = kind.name(),
        "local-member-id" = %local,
        "remote-peer-id" = %link.member,
        error = %wrong,
        dropped,
        "lost TCP streaming connection with remote peer"
    );
    exchange.door.unreachable(link.member);
}

/// Ends well when a newer stream has taken over.
async fn write_messages<E: Env>(
    exchange: &Exchange<E>,
    link: &Link,
    kind: StreamKind,
    number: LineNumber,
    incoming: &mut Incoming<impl NetReader, E::Clock>,
    outgoing: &mut Outgoing<impl NetWriter, E::Clock>,
) -> Result<(), LineWrong> {
    let mut timer = Timer::new(exchange.env.clock().clone());
    let mut place = MsgAppPlace::default();
    let mut messages: Vec<PeerMessage> = Vec::new();
    let mut out = Vec::new();
    let every = exchange.config.read_timeout / 3;
    loop {
        let keep_alive_at = timer.after(every);
        match next_event(link, kind, number, keep_alive_at, &mut timer, incoming, &mut messages).await {
            Event::Replaced => return Ok(()),
            Event::Finished => return Err(LineWrong::Finished),
            Event::KeepAlive if kind == StreamKind::Message => message_codec::put_keep_alive(&mut out),
            Event::KeepAlive => MsgAppPlace::put_keep_alive(&mut out),
            Event::Messages => {
                for message in messages.drain(..) {
                    match kind {
                        StreamKind::Message => message_codec::put_message(&message, &mut out),
                        StreamKind::MsgApp => place.put(&message, &mut out),
                    }
                }
            }
        }
        outgoing.send(&out).await?;
        link.traffic.sent(out.len());
        out.clear();
        if out.capacity() > limits::PEER_KEPT_BUFFER_BYTES {
            out = Vec::new();
        }
    }
}

async fn next_event<C: crate::env::Clock>(
    link: &Link,
    kind: StreamKind,
    number: LineNumber,
    keep_alive_at: Instant,
    timer: &mut Timer<C>,
    incoming: &mut Incoming<impl NetReader, C>,
    messages: &mut Vec<PeerMessage>,
) -> Event {
    let mut finished = pin!(incoming.finished());
    poll_fn(|cx| {
        match link.outbox.poll_take(cx, kind.taker(), Some(number), messages) {
            Poll::Ready(true) => return Poll::Ready(Event::Messages),
            Poll::Ready(false) => return Poll::Ready(Event::Replaced),
            Poll::Pending => {}
        }
        if finished.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Event::Finished);
        }
        timer.poll_at(cx, keep_alive_at).map(|()| Event::KeepAlive)
    })
    .await
}

/// Keeps a stream from the peer open, for as long as the peer is one.
pub(super) async fn read_stream<E: Env>(exchange: Arc<Exchange<E>>, link: Arc<Link>, kind: StreamKind) {
    let mut timer = Timer::new(exchange.env.clock().clone());
    let mut back_off = BackOff::new(exchange.env.dice());
    let mut told = false;
    loop {
        match open_stream(&exchange, &link, kind).await {
            Ok((mut incoming, life)) => {
                let opened = exchange.now();
                told = false;
                let wrong = read_open_stream(&exchange, &link, kind, &mut incoming, life).await;
                tracing::warn!(
                    "stream-reader-type" = kind.name(),
                    "local-member-id" = %exchange.config.member,
                    "remote-peer-id" = %link.member,
                    error = %wrong,
                    "lost TCP streaming connection with remote peer"
                );
                if matches!(wrong, LineWrong::Silent(_)) && link.connected_for(exchange.now()).is_none() {
                    // A peer that is not heard does not hear either: what is written to it would come late, if ever.
                    link.outbox.end_streams();
                    exchange.door.unreachable(link.member);
                }
                // One that never lives long is no reason to knock faster.
                if exchange.now().since(opened) >= Duration::from_millis(limits::PEER_REDIAL_MAX_MS) {
                    back_off.reset();
                }
            }
            Err(wrong) => {
                if matches!(wrong, LineWrong::Removed) {
                    exchange.door.removed();
                }
                if !told {
                    tracing::warn!(
                        "stream-reader-type" = kind.name(),
                        "local-member-id" = %exchange.config.member,
                        "remote-peer-id" = %link.member,
                        error = %wrong,
                        "failed to dial the stream of a peer"
                    );
                    told = true;
                }
            }
        }
        timer.sleep(back_off.pause()).await;
    }
}

/// Asks the peer for a stream; gives where it comes out, and which start of the peer gave it.
async fn open_stream<E: Env>(
    exchange: &Exchange<E>,
    link: &Link,
    kind: StreamKind,
) -> Result<(Incoming<Reader<E>, E::Clock>, Option<u64>), LineWrong> {
    let ((mut incoming, mut outgoing), url) = dial(exchange, link).await?;
    let local = exchange.config.member;
    let first = format!("GET {}{local} HTTP/1.1", kind.path());
    let head = request_head(exchange, &url, &first, &[(RAFT_TO, &link.member.to_string())]);
    let answered = async {
        outgoing.send(&head).await?;
        incoming.response().await
    };
    let answer = match answered.await {
        Ok(answer) => answer,
        Err(wrong) => {
            link.pick_another(&url);
            return Err(wrong);
        }
    };
    if answer.status != 200 {
        link.pick_another(&url);
        // The text is a line; one that is longer, or does not come, is not waited for.
        let text = incoming.whole("an answer", limits::PEER_QUESTION_BYTES).await.unwrap_or_default();
        return Err(refusal(exchange, link.member, &answer, &text));
    }
    // The writing end is kept with the reading one: closing it would say that nobody listens.
    incoming.keep(Box::new(outgoing));
    let life = answer.headers.get(LIFE).and_then(|life| u64::from_str_radix(life, 16).ok());
    Ok((incoming, life))
}

async fn read_open_stream<E: Env>(
    exchange: &Exchange<E>,
    link: &Link,
    kind: StreamKind,
    incoming: &mut Incoming<Reader<E>, E::Clock>,
    life: Option<u64>,
) -> LineWrong {
    link.stream_opened(exchange.now());
    if let Some(life) = life {
        link.life_heard(life);
    }
    tracing::info!(
        "stream-reader-type" = kind.name(),
        "local-member-id" = %exchange.config.member,
        "remote-peer-id" = %link.member,
        "established TCP streaming connection with remote peer"
    );
    let mut place = MsgAppPlace::default();
    let mut taken = incoming.taken();
    let wrong = loop {
        let next = match kind {
            StreamKind::Message => message_codec::next_message(incoming).await,
            StreamKind::MsgApp => place.next(incoming, link.member, exchange.config.member).await,
        };
        link.traffic.received((incoming.taken() - taken) as usize);
        taken = incoming.taken();
        match next {
            Ok(None) => {}
            Ok(Some(message)) => receive(exchange, link, message),
            Err(wrong) => break wrong,
        }
    };
    if let Some(life) = life {
        link.life_gone(life);
    }
    if matches!(wrong, LineWrong::Malformed(_) | LineWrong::TooLong { .. }) {
        link.traffic.received_failures.fetch_add(1, Relaxed);
    }
    link.stream_closed(&wrong);
    wrong
}

/// Hands a message on. A stream carries its peer's messages to this member, and nobody else's.
fn receive<E: Env>(exchange: &Exchange<E>, link: &Link, message: PeerMessage) {
    if message.to() != exchange.config.member || message.from() != link.member {
        if let Some(held_back) = exchange.says("message for another", link.member) {
            tracing::warn!(
                "local-member-id" = %exchange.config.member,
                "mismatch-member-id" = %message.to(),
                "remote-peer-id" = %link.member,
                "lines-held-back" = held_back,
                "rejected Raft message to mismatch member"
            );
        }
        return;
    }
    exchange.door.arrived(message);
}
