//! Posting to a peer and waiting for its answer, over a connection that is used again.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use super::dialer::{dial, request_head};
use super::exchange::{Exchange, IdleLine};
use super::head::ResponseHead;
use super::link::Link;
use super::wrong::LineWrong;
use crate::env::{Env, Instant};

/// What is posted.
pub(super) struct Post<'a> {
    pub(super) method: &'static str,
    pub(super) path: &'a str,
    pub(super) content_type: &'static str,
    pub(super) body: &'a [u8],
    /// When the answer must have come.
    pub(super) deadline: Instant,
    /// Bytes the answer may have.
    pub(super) answer_limit: usize,
}

/// Posts and gives the answer. Uses the idle connection where there is one that the peer has not closed meanwhile, and
/// leaves one where it can be used again.
///
/// What may have left is never posted again: the peer may have acted on it, and a proposal that arrives twice takes effect
/// twice.
pub(super) async fn post<E: Env>(
    exchange: &Exchange<E>,
    link: &Link,
    idle: &mut Option<IdleLine<E>>,
    post: &Post<'_>,
) -> Result<(ResponseHead, Vec<u8>), LineWrong> {
    if let Some(mut line) = idle.take()
        && !is_closed(&mut line).await
    {
        return over(exchange, line, idle, post).await;
    }
    let (ends, url) = dial(exchange, link).await?;
    let answered = over(exchange, IdleLine { ends, url: url.clone() }, idle, post).await;
    if answered.is_err() {
        link.pick_another(&url);
    }
    answered
}

/// Whether the peer is known to have closed the connection.
async fn is_closed<E: Env>(line: &mut IdleLine<E>) -> bool {
    let mut finished = pin!(line.ends.0.finished());
    poll_fn(|cx| Poll::Ready(finished.as_mut().poll(cx).is_ready())).await
}

async fn over<E: Env>(
    exchange: &Exchange<E>,
    mut line: IdleLine<E>,
    idle: &mut Option<IdleLine<E>>,
    post: &Post<'_>,
) -> Result<(ResponseHead, Vec<u8>), LineWrong> {
    let (incoming, outgoing) = &mut line.ends;
    incoming.set_deadline(Some(post.deadline));
    let length = post.body.len().to_string();
    let first = format!("{} {} HTTP/1.1", post.method, post.path);
    let own = [("Content-Type", post.content_type), ("Content-Length", length.as_str())];
    let mut request = request_head(exchange, &line.url, &first, &own);
    request.extend_from_slice(post.body);
    outgoing.send(&request).await?;
    let head = incoming.response().await?;
    let body = incoming.whole("an answer", post.answer_limit).await?;
    if head.keeps {
        *idle = Some(line);
    }
    Ok((head, body))
}
