//! Messages posted one by one: the way while a stream is not there.
//!
//! Invariants: what is urgent has a connection of its own; a post that fails ends all that waited for one, and nothing is
//! taken in until the pause after it is over, so that nothing old is delivered late.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::dialer::refusal;
use super::exchange::{Exchange, IdleLine};
use super::link::Link;
use super::outbox::Taker;
use super::post::{Post, post};
use super::wait::{BackOff, Timer};
use super::wrong::LineWrong;
use crate::base::limits;
use crate::consensus::PeerMessage;
use crate::env::Env;

/// Posts what waits for the peer and has no stream to go by, for as long as the link is there.
pub(super) async fn post_messages<E: Env>(exchange: Arc<Exchange<E>>, link: Arc<Link>, taker: Taker) {
    let mut timer = Timer::new(exchange.env.clock().clone());
    let mut back_off = BackOff::new(exchange.env.dice());
    let mut idle = None;
    let mut messages = Vec::new();
    let mut told = false;
    loop {
        poll_fn(|cx| link.outbox.poll_take(cx, taker, None, &mut messages)).await;
        let posted = post_all(&exchange, &link, &mut idle, &mut messages).await;
        let Err(wrong) = posted else {
            told = false;
            back_off.reset();
            continue;
        };
        messages.clear();
        let dropped = link.outbox.posts_fail();
        if matches!(wrong, LineWrong::Removed) {
            exchange.door.removed();
        }
        if !told {
            tracing::warn!(
                "local-member-id" = %exchange.config.member,
                "remote-peer-id" = %link.member,
                error = %wrong,
                dropped,
                "failed to post messages to a peer"
            );
            told = true;
        }
        exchange.door.unreachable(link.member);
        timer.sleep(back_off.pause()).await;
        link.outbox.posts_resume();
    }
}

async fn post_all<E: Env>(
    exchange: &Exchange<E>,
    link: &Link,
    idle: &mut Option<IdleLine<E>>,
    messages: &mut Vec<PeerMessage>,
) -> Result<(), LineWrong> {
    let mut body = Vec::new();
    for message in messages.drain(..) {
        body.clear();
        message.encode(&mut body);
        let timeout = exchange.config.dial_timeout + exchange.config.read_timeout;
        let what = Post {
            method: "POST",
            path: "/raft",
            content_type: "application/protobuf",
            body: &body,
            deadline: exchange.now().plus(timeout),
            answer_limit: limits::PEER_QUESTION_BYTES,
        };
        let posted = post(exchange, link, idle, &what).await;
        if !matches!(&posted, Ok((head, _)) if head.status == 204) {
            link.traffic.sent_failures.fetch_add(1, Ordering::Relaxed);
        }
        let (head, text) = posted?;
        link.traffic.sent(body.len());
        if head.status != 204 {
            return Err(refusal(exchange, link.member, &head, &text));
        }
    }
    Ok(())
}
