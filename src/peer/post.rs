//! Posting to a peer and waiting for its answer, over a connection that is used again.

use super::dialer::{dial, request_head};
use super::exchange::{Exchange, IdleLine};
use super::head::ResponseHead;
use super::link::Link;
use super::wrong::LineWrong;
use crate::env::{Env, Instant};

/// What is posted.
pub(super) struct Post<'a> {
    pub(super) path: &'static str,
    pub(super) content_type: &'static str,
    pub(super) body: &'a [u8],
    /// Whether it does no harm twice. What does goes over a fresh connection, once.
    pub(super) repeatable: bool,
    /// When the answer must have come.
    pub(super) deadline: Instant,
    /// Bytes the answer may have.
    pub(super) answer_limit: usize,
}

/// Posts and gives the answer. Uses the idle connection where there is one and leaves one where it can be used again. A
/// connection that the peer has closed meanwhile is no failure: the post is tried once more over a new one.
pub(super) async fn post<E: Env>(
    exchange: &Exchange<E>,
    link: &Link,
    idle: &mut Option<IdleLine<E>>,
    post: &Post<'_>,
) -> Result<(ResponseHead, Vec<u8>), LineWrong> {
    if post.repeatable
        && let Some(line) = idle.take()
    {
        match over(exchange, line, idle, post).await {
            Err(LineWrong::Fault(_) | LineWrong::Cut | LineWrong::Finished) => {}
            answered => return answered,
        }
    }
    let (ends, url) = dial(exchange, link).await?;
    let answered = over(exchange, IdleLine { ends, url: url.clone() }, idle, post).await;
    if answered.is_err() {
        link.pick_another(&url);
    }
    answered
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
    let first = format!("POST {} HTTP/1.1", post.path);
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
