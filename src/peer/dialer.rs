//! Connecting to a peer, and the head of every request that is sent to one.

use std::time::Duration;

use super::exchange::{Ends, Exchange};
use super::greeting::{
    CLUSTER_ID, CLUSTER_ID_MISMATCH, DOUBLED, INCOMPATIBLE_VERSION, LIFE, MIN_CLUSTER_VERSION, MIN_VERSION,
    MISMATCH_REMEDY, PEER_URLS, SERVER_FROM, SERVER_VERSION,
};
use super::head::{ResponseHead, write_head};
use super::link::Link;
use super::url::PeerUrl;
use super::wait::Timer;
use super::wrong::LineWrong;
use crate::base::MemberId;
use crate::env::{Clock, Env, Net};

/// Connects to the URL of a peer that is tried now. Where that fails the next one is tried next time.
pub(super) async fn dial<E: Env>(exchange: &Exchange<E>, link: &Link) -> Result<(Ends<E>, PeerUrl), LineWrong> {
    let url = link.pick().ok_or_else(|| LineWrong::malformed("the peer has no URL"))?;
    match dial_url(exchange, &url).await {
        Ok(ends) => Ok((ends, url)),
        Err(wrong) => {
            link.pick_another(&url);
            Err(wrong)
        }
    }
}

async fn dial_url<E: Env>(exchange: &Exchange<E>, url: &PeerUrl) -> Result<Ends<E>, LineWrong> {
    let stream = dial_within(&exchange.env, &url.target, exchange.config.dial_timeout).await?;
    Ok(exchange.ends(stream))
}

/// Connects to an address within a time.
pub(super) async fn dial_within<E: Env>(
    env: &E,
    address: &str,
    timeout: Duration,
) -> Result<<E::Net as Net>::Stream, LineWrong> {
    let mut timer = Timer::new(env.clock().clone());
    let deadline = timer.after(timeout);
    match timer.within(deadline, env.net().dial(address)).await {
        Some(stream) => Ok(stream?),
        None => Err(LineWrong::Late("connecting")),
    }
}

/// The head of a request to a peer: the lines that every request has, and those of its own.
pub(super) fn request_head<E: Env>(
    exchange: &Exchange<E>,
    url: &PeerUrl,
    first: &str,
    own: &[(&str, &str)],
) -> Vec<u8> {
    let member = exchange.config.member.to_string();
    let cluster = exchange.door.roster().cluster.to_string();
    let urls = exchange.config.urls.join(",");
    let life = format!("{:x}", exchange.life);
    let mut lines = vec![
        ("Host", url.address.as_str()),
        (SERVER_FROM, member.as_str()),
        (SERVER_VERSION, exchange.config.version),
        (MIN_VERSION, MIN_CLUSTER_VERSION),
        (CLUSTER_ID, cluster.as_str()),
        (LIFE, life.as_str()),
    ];
    if !urls.is_empty() {
        lines.push((PEER_URLS, urls.as_str()));
    }
    lines.extend_from_slice(own);
    write_head(first, &lines)
}

/// What an answer that is no success means, with etcd's line in the log where it has one.
pub(super) fn refusal<E: Env>(exchange: &Exchange<E>, peer: MemberId, head: &ResponseHead, text: &[u8]) -> LineWrong {
    let local = exchange.config.member;
    let text = String::from_utf8_lossy(text).trim_end_matches('\n').to_string();
    match (head.status, text.as_str()) {
        (410, _) => return LineWrong::Removed,
        // The same status is the answer to a message for someone else, which says nothing of this member.
        (403, text) if !text.contains("mismatch member") => return LineWrong::Removed,
        (412, INCOMPATIBLE_VERSION) => {
            if let Some(held_back) = exchange.says("ignored: version", peer) {
                tracing::warn!(
                    "local-member-id" = %local,
                    "remote-peer-id" = %peer,
                    error = INCOMPATIBLE_VERSION,
                    "lines-held-back" = held_back,
                    "request sent was ignored by remote peer due to server version incompatibility"
                );
            }
        }
        (412, CLUSTER_ID_MISMATCH) => {
            if let Some(held_back) = exchange.says("ignored: cluster", peer) {
                tracing::warn!(
                    "remote-peer-id" = %peer,
                    "remote-peer-cluster-id" = head.headers.get(CLUSTER_ID).unwrap_or(""),
                    "local-member-id" = %local,
                    "local-member-cluster-id" = %exchange.door.roster().cluster,
                    error = CLUSTER_ID_MISMATCH,
                    remedy = MISMATCH_REMEDY,
                    "lines-held-back" = held_back,
                    "request sent was ignored by remote peer due to cluster ID mismatch"
                );
            }
        }
        (412, DOUBLED) if exchange.link(peer).is_some_and(|link| link.complains(exchange.env.clock().now())) => {
            tracing::error!(
                "remote-peer-id" = %peer,
                "local-member-id" = %local,
                "another process of this member is alive: this data directory is a copy of one in use, or the machine a \
                 clone; end one of the two"
            );
        }
        (404, _) => {
            return LineWrong::Refused {
                status: 404,
                text: format!("peer {peer} failed to find local node {local} ({text})"),
            };
        }
        _ => {}
    }
    LineWrong::Refused { status: head.status, text }
}
