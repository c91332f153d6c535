//! Questions: of one member to another, and of one that is no member yet.
//!
//! Invariants: a question and its answer have bounds and a time; questions to one peer have a number, and so have the connections
//! that carry them: the others wait their turn. Does not know what is asked.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use super::body::{Incoming, Outgoing};
use super::dialer::{dial_within, refusal};
use super::door::{AskFailure, EtcdQuestion};
use super::etcd_paths;
use super::exchange::{Exchange, VERSION};
use super::greeting::{CLUSTER_ID, MIN_CLUSTER_VERSION, MIN_VERSION, SERVER_FROM, SERVER_VERSION};
use super::head::{ResponseHead, write_head};
use super::link::Link;
use super::post::{Post, post};
use super::url::PeerUrl;
use super::wait::Timer;
use super::wrong::LineWrong;
use crate::base::{ClusterId, MemberId, limits};
use crate::env::{Env, NetStream};

/// Where questions are answered. Members of another make know no such place.
pub(super) const ASK_PATH: &str = "/quorate/ask";

/// Asks a peer of this make.
pub(super) async fn ask<E: Env>(exchange: &Exchange<E>, link: &Link, question: &[u8]) -> Result<Bytes, AskFailure> {
    let (head, answer) = ask_at(exchange, link, ("POST", ASK_PATH, "application/octet-stream"), question).await?;
    match head.status {
        200 => Ok(answer.into()),
        404 => Err(AskFailure::Unsupported),
        503 | 408 | 500 => Err(AskFailure::Unreachable(format!("it answered {}", head.status))),
        _ => match refusal(exchange, link.member, &head, &answer) {
            LineWrong::Removed => {
                exchange.door.removed();
                Err(AskFailure::Refused(LineWrong::Removed.to_string()))
            }
            wrong => Err(AskFailure::Refused(wrong.to_string())),
        },
    }
}

/// Asks a peer of any make, by etcd's paths.
pub(super) async fn ask_as_etcd<E: Env>(
    exchange: &Exchange<E>,
    link: &Link,
    question: &EtcdQuestion,
) -> Result<(u16, Bytes), AskFailure> {
    let promotion;
    let (method, path, kind, body) = match question {
        EtcdQuestion::Promote(member) => {
            promotion = format!("{}/{}", etcd_paths::PROMOTE, member.0);
            ("POST", promotion.as_str(), "application/json", &Bytes::new())
        }
        EtcdQuestion::HashKv(body) => ("GET", etcd_paths::HASH_KV, "application/json", body),
        EtcdQuestion::Downgrade => ("GET", etcd_paths::DOWNGRADE, "text/plain", &Bytes::new()),
        EtcdQuestion::KeepAlive(body) => ("POST", etcd_paths::LEASES, "application/protobuf", body),
        EtcdQuestion::TimeToLive(body) => ("POST", etcd_paths::LEASES_INTERNAL, "application/protobuf", body),
    };
    let (head, answer) = ask_at(exchange, link, (method, path, kind), body).await?;
    Ok((head.status, answer.into()))
}

/// Asks by a method, at a path, with a body of a type.
async fn ask_at<E: Env>(
    exchange: &Exchange<E>,
    link: &Link,
    (method, path, content_type): (&'static str, &str, &'static str),
    body: &[u8],
) -> Result<(ResponseHead, Vec<u8>), AskFailure> {
    let what = Post {
        method,
        path,
        content_type,
        body,
        deadline: exchange.now().plus(Duration::from_millis(limits::PEER_QUESTION_MS)),
        answer_limit: limits::PEER_ANSWER_BYTES,
    };
    let mut timer = Timer::new(exchange.env.clock().clone());
    let line = timer.within(what.deadline, link.lines.take()).await;
    let _line = line.ok_or_else(|| AskFailure::Unreachable("the questions before it take too long".to_string()))?;
    let mut idle = exchange.take_idle(link.member);
    let asked_at = exchange.now();
    let posted = post(exchange, link, &mut idle, &what).await;
    if let Some(line) = idle {
        exchange.keep_idle(link.member, line);
    }
    if posted.is_ok() {
        link.traffic.round_trips.took(exchange.now().since(asked_at));
    }
    posted.map_err(|wrong| AskFailure::Unreachable(wrong.to_string()))
}

/// A place among the questions to one peer.
pub(super) struct Place(Arc<Link>);

impl Place {
    /// Takes one, if there is one left.
    pub(super) fn take(link: &Arc<Link>) -> Option<Self> {
        let before = link.questions.fetch_add(1, Ordering::Relaxed);
        let place = Self(link.clone());
        (before < limits::PEER_QUESTIONS).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.questions.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Who asks a question before it is a member's process that runs.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    /// The member it will be.
    pub member: MemberId,
    /// Its cluster.
    pub cluster: ClusterId,
}

/// What came of a question that is put before there is a connection between members.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Inquired {
    /// The answer.
    Answer(Bytes),
    /// No such questions are answered there.
    Unsupported,
    /// Who asks was removed from the cluster.
    Removed,
}

/// Puts a question to whoever is found at a peer URL. In a light task alone. The error is for people.
pub async fn inquire<E: Env>(
    env: &E,
    url: &str,
    asker: Asker,
    question: &[u8],
    timeout: Duration,
) -> Result<Inquired, String> {
    let url = PeerUrl::parse(url)?;
    let mut timer = Timer::new(env.clock().clone());
    let deadline = timer.after(timeout);
    let asked = timer.within(deadline, inquire_at(env, &url, asker, question, timeout)).await;
    asked.unwrap_or(Err(LineWrong::Late("asking"))).map_err(|wrong| format!("{}: {wrong}", url.address))
}

async fn inquire_at<E: Env>(
    env: &E,
    url: &PeerUrl,
    asker: Asker,
    question: &[u8],
    timeout: Duration,
) -> Result<Inquired, LineWrong> {
    let (reader, writer) = dial_within(env, &url.target, timeout).await?.split();
    let mut incoming = Incoming::new(reader, env.clock().clone(), timeout);
    let mut outgoing = Outgoing::new(writer, env.clock().clone(), timeout);
    let (member, cluster, length) = (asker.member.to_string(), asker.cluster.to_string(), question.len().to_string());
    let lines = [
        ("Host", url.address.as_str()),
        (SERVER_FROM, &member),
        (SERVER_VERSION, VERSION),
        (MIN_VERSION, MIN_CLUSTER_VERSION),
        (CLUSTER_ID, &cluster),
        ("Content-Type", "application/octet-stream"),
        ("Content-Length", &length),
        ("Connection", "close"),
    ];
    let mut request = write_head(&format!("POST {ASK_PATH} HTTP/1.1"), &lines);
    request.extend_from_slice(question);
    outgoing.send(&request).await?;
    let head = incoming.response().await?;
    let body = incoming.whole("an answer", limits::PEER_ANSWER_BYTES).await?;
    match head.status {
        200 => Ok(Inquired::Answer(body.into())),
        404 => Ok(Inquired::Unsupported),
        // Who says so is of the cluster: whatever else listens there may answer anything.
        410 if head.headers.get(CLUSTER_ID) == Some(cluster.as_str()) => Ok(Inquired::Removed),
        status => Err(LineWrong::Refused { status, text: String::from_utf8_lossy(&body).trim().to_string() }),
    }
}

/// What was found at a peer URL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fetched {
    /// The cluster of who answered, where it said so.
    pub cluster: Option<ClusterId>,
    /// The answer.
    pub body: Bytes,
}

/// Asks for what lies at a path of a peer URL, as `/members` or `/version`, before anything is known of the cluster. In a
/// light task alone. The error is for people.
pub async fn fetch<E: Env>(env: &E, url: &str, path: &str, timeout: Duration) -> Result<Fetched, String> {
    let url = PeerUrl::parse(url)?;
    let mut timer = Timer::new(env.clock().clone());
    let deadline = timer.after(timeout);
    let fetched = timer.within(deadline, fetch_at(env, &url, path, timeout)).await;
    fetched.unwrap_or(Err(LineWrong::Late("asking"))).map_err(|wrong| format!("{}: {wrong}", url.address))
}

async fn fetch_at<E: Env>(env: &E, url: &PeerUrl, path: &str, timeout: Duration) -> Result<Fetched, LineWrong> {
    let (reader, writer) = dial_within(env, &url.target, timeout).await?.split();
    let mut incoming = Incoming::new(reader, env.clock().clone(), timeout);
    let mut outgoing = Outgoing::new(writer, env.clock().clone(), timeout);
    let own = [("Host", url.address.as_str()), ("Connection", "close")];
    outgoing.send(&write_head(&format!("GET {path} HTTP/1.1"), &own)).await?;
    let head = incoming.response().await?;
    let body = incoming.whole("an answer", limits::PEER_ANSWER_BYTES).await?;
    if head.status != 200 {
        return Err(LineWrong::Refused {
            status: head.status,
            text: String::from_utf8_lossy(&body).trim().to_string(),
        });
    }
    let cluster = head.headers.get(CLUSTER_ID).and_then(|id| u64::from_str_radix(id, 16).ok()).map(ClusterId);
    Ok(Fetched { cluster, body: body.into() })
}
