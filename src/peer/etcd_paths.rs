//! The paths by which a member of any make asks another besides raft's: promotion, digests, leases, and whether a downgrade
//! is under way.
//!
//! Invariants: methods, checks, their order and their texts are etcd's; bodies have bounds. Does not know what is in them.

use std::sync::Arc;
use std::time::Duration;

use super::answer::Answer;
use super::door::{EtcdAnswer, EtcdQuestion, EtcdReply};
use super::exchange::{Ends, Exchange};
use super::greeting::CLUSTER_ID;
use super::head::RequestHead;
use super::wrong::LineWrong;
use crate::base::{MemberId, limits};
use crate::env::Env;

/// Where a learner is promoted, with its id behind it.
pub(super) const PROMOTE: &str = "/members/promote";
/// Where a member's digest is asked for.
pub(super) const HASH_KV: &str = "/members/hashkv";
/// Where the leader is asked to keep a lease alive.
pub(super) const LEASES: &str = "/leases";
/// Where the leader is asked for a lease's times.
pub(super) const LEASES_INTERNAL: &str = "/leases/internal";
/// Where it is asked whether a downgrade is under way.
pub(super) const DOWNGRADE: &str = "/downgrade/enabled";

/// Whether a path is one of them.
pub(super) fn is_one(path: &str) -> bool {
    matches!(path, PROMOTE | HASH_KV | LEASES | LEASES_INTERNAL | DOWNGRADE) || promoted(path).is_some()
}

/// What stands behind the path of a promotion.
fn promoted(path: &str) -> Option<&str> {
    path.strip_prefix(PROMOTE)?.strip_prefix('/')
}

/// Answers a request for one of these paths.
pub(super) async fn answer<E: Env>(
    exchange: &Arc<Exchange<E>>,
    ends: &mut Ends<E>,
    head: &RequestHead,
) -> Result<Answer, LineWrong> {
    let leases = matches!(head.path.as_str(), LEASES | LEASES_INTERNAL);
    let body = match ends.0.whole("a request", limits::PEER_QUESTION_BYTES).await {
        Err(LineWrong::TooLong { .. }) if leases && head.method == "POST" => {
            return Ok(Answer::text(413, "request body too large").ending());
        }
        body => body?.into(),
    };
    let refused = |allowed| Answer::text(405, "Method Not Allowed").with("Allow", allowed);
    let cluster = exchange.door.roster().cluster.to_string();
    let of_cluster = |answer: Answer| answer.with(CLUSTER_ID, &cluster);
    Ok(match (head.path.as_str(), head.method.as_str()) {
        (PROMOTE, _) => Answer::elsewhere("/members/promote/"),
        (LEASES, "POST") => ask(exchange, ends, EtcdQuestion::KeepAlive(body)).await,
        (LEASES_INTERNAL, "POST") => ask(exchange, ends, EtcdQuestion::TimeToLive(body)).await,
        (LEASES | LEASES_INTERNAL, _) => Answer::text(405, "Method Not Allowed"),
        (DOWNGRADE, "GET") => of_cluster(ask(exchange, ends, EtcdQuestion::Downgrade).await),
        (HASH_KV, "GET") => match head.headers.get(CLUSTER_ID) {
            Some(told) if !told.is_empty() && told != cluster => Answer::text(412, "cluster ID mismatch"),
            _ => {
                let answer = ask(exchange, ends, EtcdQuestion::HashKv(body)).await;
                if answer.is_success() { of_cluster(answer) } else { answer }
            }
        },
        (DOWNGRADE | HASH_KV, _) => refused("GET"),
        (path, "POST") => {
            let id = promoted(path).unwrap_or_default();
            of_cluster(match decimal(id) {
                Some(member) => ask(exchange, ends, EtcdQuestion::Promote(member)).await,
                None => Answer::text(404, &format!("member {id} not found in cluster")),
            })
        }
        _ => refused("POST"),
    })
}

/// An id as Go reads a decimal number.
fn decimal(id: &str) -> Option<MemberId> {
    let digits = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
    if digits { id.parse().ok().map(MemberId) } else { None }
}

async fn ask<E: Env>(exchange: &Arc<Exchange<E>>, ends: &mut Ends<E>, question: EtcdQuestion) -> Answer {
    let of_lease = matches!(question, EtcdQuestion::KeepAlive(_) | EtcdQuestion::TimeToLive(_));
    let time = if of_lease { limits::PEER_LEASE_MS } else { limits::PEER_QUESTION_MS };
    let (reply, answered) = EtcdReply::new();
    exchange.door.asked_as_etcd(question, reply);
    match ends.1.within(Duration::from_millis(time), answered).await {
        Some(Ok(EtcdAnswer::Json(body))) => Answer::json(&body),
        Some(Ok(EtcdAnswer::Protobuf(body))) => Answer::protobuf(&body),
        Some(Ok(EtcdAnswer::Word(word))) => Answer::word(word),
        Some(Ok(EtcdAnswer::Refused(status, text))) => Answer::text(status, &text),
        Some(Ok(EtcdAnswer::Failed)) => Answer::message(500, "Internal Server Error"),
        // It is only starting, or ends.
        Some(Err(_)) => Answer::text(503, "not answered"),
        None if of_lease => Answer::text(408, "waiting for node to catch up its applied index has timed out"),
        None => Answer::text(408, "not answered in time"),
    }
}
