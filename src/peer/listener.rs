//! The peer port: who is let in, and what is answered.
//!
//! Invariants: connections have a number; a head, a body and an answer have bounds and times; the checks, their order and
//! their texts are etcd's. Does not know what a message means.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::answer::Answer;
use super::ask::ASK_PATH;
use super::door::Reply;
use super::etcd_paths;
use super::exchange::{Ends, Exchange};
use super::greeting::{CLUSTER_ID, LIFE, PEER_URLS, RAFT_TO, SERVER_VERSION, check, from_header, parse_id};
use super::head::{RequestHead, write_head};
use super::letting_in::{doubled, let_in};
use super::links::answer_stranger;
use super::snapshot_receiver;
use super::stream::{StreamKind, write_stream};
use super::wait::Timer;
use super::wrong::LineWrong;
use crate::base::{MemberId, limits};
use crate::consensus::{MessageKind, PeerMessage};
use crate::env::{Clock, Env, NetListener, Tasks};

/// Takes in connections until all ends.
pub(super) async fn accept<E: Env>(exchange: Arc<Exchange<E>>, mut listener: <E::Net as crate::env::Net>::Listener) {
    let mut timer = Timer::new(exchange.env.clock().clone());
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(fault) => {
                // As long as there is no descriptor left each try fails.
                if let Some(held_back) = exchange.says("accept", MemberId::default()) {
                    tracing::warn!(
                        error = %fault,
                        "lines-held-back" = held_back,
                        "a connection to the peer port was not taken in"
                    );
                }
                timer.sleep(Duration::from_millis(limits::PEER_REDIAL_MS)).await;
                continue;
            }
        };
        let Some(place) = Place::take(&exchange) else {
            if let Some(held_back) = exchange.says("connections", MemberId::default()) {
                tracing::warn!(
                    "remote-addr" = from,
                    "lines-held-back" = held_back,
                    "too many connections to the peer port"
                );
            }
            continue;
        };
        let ends = exchange.ends(stream);
        let serving = exchange.clone();
        exchange.env.tasks().spawn_light("peer connection", async move {
            let _place = place;
            let latch = serving.latch.clone();
            let ended = latch.until(serve(&serving, ends)).await;
            if let Some(Err(wrong)) = ended {
                tracing::debug!("remote-addr" = from, error = %wrong, "a connection to the peer port ended");
            }
        });
    }
}

/// A place among the connections that others have opened.
struct Place<E: Env>(Arc<Exchange<E>>);

impl<E: Env> Place<E> {
    fn take(exchange: &Arc<Exchange<E>>) -> Option<Self> {
        let before = exchange.accepted.fetch_add(1, Ordering::Relaxed);
        let place = Self(exchange.clone());
        (before < exchange.config.connections).then_some(place)
    }
}

impl<E: Env> Drop for Place<E> {
    fn drop(&mut self) {
        self.0.accepted.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Where streams are asked for.
const STREAMS: &str = "/raft/stream/";

/// Answers the requests of one connection, one after the other.
async fn serve<E: Env>(exchange: &Arc<Exchange<E>>, mut ends: Ends<E>) -> Result<(), LineWrong> {
    let request_time = exchange.config.read_timeout;
    loop {
        ends.0.set_deadline(None);
        let Some(head) = request::<E>(&mut ends, request_time).await? else { return Ok(()) };
        if head.path.starts_with(STREAMS) {
            return serve_stream(exchange, &mut ends, &head).await;
        }
        if head.path == "/raft/snapshot" {
            return snapshot_receiver::serve(exchange, &mut ends, &head).await;
        }
        // Only a snapshot may take its time.
        let deadline = ends.0.after(request_time);
        ends.0.set_deadline(Some(deadline));
        let answer = match answer(exchange, &mut ends, &head).await {
            Ok(answer) => answer,
            // Too much is said before the connection is closed; on anything else there is nobody to say it to.
            Err(wrong @ LineWrong::TooLong { .. }) => {
                let _ = ends.1.send(&Answer::text(413, &wrong.to_string()).bytes(false)).await;
                return Err(wrong);
            }
            Err(wrong) => return Err(wrong),
        };
        let answer = answer.to(&head);
        ends.1.send(&answer.bytes(head.keeps)).await?;
        if !head.keeps || answer.ends {
            return Ok(());
        }
    }
}

/// The next request. Its head comes within the time for one from its first byte on; before that the connection may be
/// idle for as long.
async fn request<E: Env>(ends: &mut Ends<E>, time: Duration) -> Result<Option<RequestHead>, LineWrong> {
    let deadline = ends.0.after(time * 2);
    ends.0.set_deadline(Some(deadline));
    match ends.0.request().await {
        Err(wrong @ LineWrong::Malformed(_)) => {
            let _ = ends.1.send(&Answer::text(400, "Bad Request").bytes(false)).await;
            Err(wrong)
        }
        Err(wrong @ LineWrong::TooLong { .. }) => {
            let _ = ends.1.send(&Answer::text(431, "Request Header Fields Too Large").bytes(false)).await;
            Err(wrong)
        }
        head => head,
    }
}

async fn answer<E: Env>(
    exchange: &Arc<Exchange<E>>,
    ends: &mut Ends<E>,
    head: &RequestHead,
) -> Result<Answer, LineWrong> {
    if etcd_paths::is_one(&head.path) {
        return etcd_paths::answer(exchange, ends, head).await;
    }
    let allowed = if matches!(head.path.as_str(), "/raft" | "/quorate/snapshot" | ASK_PATH) { "POST" } else { "GET" };
    let known = ["/raft", "/raft/probing", "/members", "/version", "/quorate/snapshot", ASK_PATH];
    if !known.contains(&head.path.as_str()) {
        ends.0.whole("a request", limits::PEER_QUESTION_BYTES).await?;
        return Ok(Answer::text(404, "404 page not found"));
    }
    // Of the prober etcd takes any method.
    if head.method != allowed && head.path != "/raft/probing" {
        ends.0.whole("a request", limits::PEER_QUESTION_BYTES).await?;
        return Ok(Answer::text(405, "Method Not Allowed").with("Allow", allowed));
    }
    match head.path.as_str() {
        "/raft" => take_message(exchange, ends, head).await,
        ASK_PATH => answer_question(exchange, ends, head).await,
        "/quorate/snapshot" => snapshot_receiver::offered(exchange, ends, head).await,
        path => {
            ends.0.whole("a request", limits::PEER_QUESTION_BYTES).await?;
            let roster = exchange.door.roster();
            Ok(match path {
                "/members" => Answer::json(&[&roster.members_json[..], b"\n"].concat())
                    .with(CLUSTER_ID, &roster.cluster.to_string()),
                "/version" => Answer::json(&roster.version_json),
                _ => Answer::plain(&super::answer::probing(exchange.env.clock().wall_ms())),
            })
        }
    }
}

/// A message that was posted.
async fn take_message<E: Env>(
    exchange: &Arc<Exchange<E>>,
    ends: &mut Ends<E>,
    head: &RequestHead,
) -> Result<Answer, LineWrong> {
    let roster = exchange.door.roster();
    let local = exchange.config.member;
    let with_cluster = |answer: Answer| answer.with(CLUSTER_ID, &roster.cluster.to_string());
    let says = |text, of| exchange.says(text, of);
    if let Err(text) = check(&head.headers, local, exchange.config.version, roster.cluster, says) {
        ends.0.whole("a raft message", limits::PEER_QUESTION_BYTES).await?;
        return Ok(with_cluster(Answer::text(412, text)));
    }
    let body = ends.0.whole("a raft message", limits::PEER_MESSAGE_BYTES).await?;
    let message = match PeerMessage::decode(&body) {
        Ok(Some(message)) if message.kind() != MessageKind::Snapshot => message,
        refused => {
            let error = refused.err().unwrap_or_else(|| "it has its own way".to_string());
            if let Some(held_back) = exchange.says("unmarshal", from_header(&head.headers).unwrap_or_default()) {
                tracing::warn!(
                    "local-member-id" = %local,
                    error,
                    "lines-held-back" = held_back,
                    "failed to unmarshal Raft message"
                );
            }
            return Ok(with_cluster(Answer::text(400, "error unmarshalling raft message")));
        }
    };
    if roster.removed.contains(&message.from()) {
        if let Some(held_back) = exchange.says("message of a removed member", message.from()) {
            tracing::warn!(
                "local-member-id" = %local,
                "removed-member-id" = %message.from(),
                "lines-held-back" = held_back,
                "rejected Raft message from removed member"
            );
        }
        return Ok(with_cluster(Answer::message(403, "cannot process message from removed member")));
    }
    if message.to() != local {
        if let Some(held_back) = exchange.says("message for another", message.from()) {
            tracing::warn!(
                "local-member-id" = %local,
                "mismatch-member-id" = %message.to(),
                "lines-held-back" = held_back,
                "rejected Raft message to mismatch member"
            );
        }
        return Ok(with_cluster(Answer::message(403, "cannot process message to mismatch member")));
    }
    let from = from_header(&head.headers);
    if from != Some(message.from()) || doubled(exchange, head, message.from()) {
        return Ok(with_cluster(Answer::text(412, "from field mismatch")));
    }
    answer_stranger(exchange, message.from(), head.headers.get(PEER_URLS));
    if let Some(link) = exchange.link(message.from()) {
        link.traffic.received(body.len());
    }
    exchange.door.arrived(message);
    Ok(with_cluster(Answer::nothing()))
}

async fn answer_question<E: Env>(
    exchange: &Arc<Exchange<E>>,
    ends: &mut Ends<E>,
    head: &RequestHead,
) -> Result<Answer, LineWrong> {
    let question = ends.0.whole("a question", limits::PEER_QUESTION_BYTES).await?;
    let from = match let_in(exchange, head) {
        Ok(from) => from,
        Err(answer) => return Ok(answer),
    };
    let (reply, answered) = Reply::new();
    exchange.door.asked(from, question.into(), reply);
    let time = Duration::from_millis(limits::PEER_QUESTION_MS);
    Ok(match ends.1.within(time, answered).await {
        Some(Ok(answer)) if answer.len() <= limits::PEER_ANSWER_BYTES => Answer::bytes_of(&answer),
        Some(Ok(_)) => Answer::text(500, "the answer is too long"),
        Some(Err(_)) => Answer::text(503, "not answered"),
        None => Answer::text(408, "not answered in time"),
    })
}

fn tell_bad_path<E: Env>(exchange: &Exchange<E>, path: &str) {
    if let Some(held_back) = exchange.says("path", MemberId::default()) {
        let local = exchange.config.member;
        tracing::warn!(
            "local-member-id" = %local,
            path,
            "lines-held-back" = held_back,
            "failed to parse path into ID"
        );
    }
}

async fn serve_stream<E: Env>(
    exchange: &Arc<Exchange<E>>,
    ends: &mut Ends<E>,
    head: &RequestHead,
) -> Result<(), LineWrong> {
    let roster = exchange.door.roster();
    let (local, cluster) = (exchange.config.member, roster.cluster.to_string());
    let life = format!("{:x}", exchange.life);
    let refused =
        |answer: Answer| answer.with(SERVER_VERSION, exchange.config.version).with(CLUSTER_ID, &cluster).bytes(false);
    if head.method != "GET" {
        let answer = Answer::text(405, "Method Not Allowed").with("Allow", "GET").to(head);
        return ends.1.send(&answer.bytes(false)).await;
    }
    let says = |text, of| exchange.says(text, of);
    if let Err(text) = check(&head.headers, local, exchange.config.version, roster.cluster, says) {
        return ends.1.send(&refused(Answer::text(412, text))).await;
    }
    let Some((kind, from)) = [StreamKind::Message, StreamKind::MsgApp]
        .into_iter()
        .find_map(|kind| head.path.strip_prefix(kind.path()).map(|from| (kind, from)))
    else {
        return ends.1.send(&refused(Answer::text(404, "invalid path"))).await;
    };
    let Some(from) = parse_id(from) else {
        tell_bad_path(exchange, from);
        return ends.1.send(&refused(Answer::text(404, "invalid from"))).await;
    };
    if let Err(answer) = let_in(exchange, head) {
        return ends.1.send(&refused(answer)).await;
    }
    if roster.removed.contains(&from) {
        return ends.1.send(&refused(Answer::text(410, "removed member"))).await;
    }
    let Some(link) = exchange.peer(from) else {
        answer_stranger(exchange, from, head.headers.get(PEER_URLS));
        if let Some(held_back) = exchange.says("stranger", from) {
            tracing::warn!(
                "local-member-id" = %local,
                "remote-peer-id-from" = %from,
                "cluster-id" = cluster,
                "lines-held-back" = held_back,
                "failed to find remote peer in cluster"
            );
        }
        return ends.1.send(&refused(Answer::text(404, "error sender not found"))).await;
    };
    let to = head.headers.get(RAFT_TO).unwrap_or("");
    if to != local.to_string() {
        if let Some(held_back) = exchange.says("stream for another", from) {
            tracing::warn!(
                "local-member-id" = %local,
                "remote-peer-id-header" = to,
                "remote-peer-id-from" = %from,
                "cluster-id" = cluster,
                "lines-held-back" = held_back,
                "ignored streaming request; ID mismatch"
            );
        }
        return ends.1.send(&refused(Answer::text(412, "to field mismatch"))).await;
    }
    // Without a length the body goes on until the connection ends.
    let lines =
        [(SERVER_VERSION, exchange.config.version), (CLUSTER_ID, &cluster), (LIFE, &life), ("Connection", "close")];
    ends.1.send(&write_head("HTTP/1.1 200 OK", &lines)).await?;
    ends.0.set_deadline(None);
    link.latch.until(write_stream(exchange, &link, kind, &mut ends.0, &mut ends.1)).await;
    Ok(())
}
