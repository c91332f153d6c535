//! Links begun and ended: the peers of this member, and strangers who have to be answered.
//!
//! A stranger is a member of the same cluster that this one has not heard of yet, because it was away when the other
//! joined. What it sends is taken in and answered by posts; without that a member that lags could never catch up with a
//! leader it does not know.
//!
//! Invariant: strangers have a number, and lines about them are seldom; the tasks of a link end with it, and with the transport.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use super::door::PeerAddress;
use super::exchange::Exchange;
use super::link::Link;
use super::outbox::Taker;
use super::pipeline::post_messages;
use super::stream::{StreamKind, read_stream};
use crate::base::{MemberId, limits};
use crate::env::{Env, Tasks};

/// The peers from now on. Those that stay keep their connections; strangers who have become peers keep theirs, too.
pub(super) fn set_peers<E: Env>(exchange: &Arc<Exchange<E>>, peers: Vec<PeerAddress>) {
    let wanted: BTreeMap<MemberId, Vec<String>> = peers
        .into_iter()
        .filter(|peer| peer.member != exchange.config.member)
        .map(|peer| (peer.member, peer.urls))
        .collect();
    let mut links = exchange.links();
    if exchange.latch.has_fallen() {
        return;
    }
    links.retain(|member, link| {
        let stays = wanted.contains_key(member) || !link.is_peer();
        if !stays {
            tracing::info!("local-member-id" = %exchange.config.member, "removed-remote-peer-id" = %member, "removed remote peer");
            link.latch.fall();
        }
        stays
    });
    exchange.drop_idle(|member| links.contains_key(&member));
    for (member, urls) in wanted {
        match links.get(&member) {
            Some(link) => {
                link.set_urls(&urls);
                if !link.make_peer() {
                    begin_streams(exchange, link);
                }
            }
            None => {
                let link = Arc::new(Link::new(member, &urls, true, exchange.config.question_lines));
                begin_posts(exchange, &link);
                begin_streams(exchange, &link);
                tracing::info!(
                    "local-member-id" = %exchange.config.member,
                    "remote-peer-id" = %member,
                    "remote-peer-urls" = ?urls,
                    "added remote peer"
                );
                links.insert(member, link);
            }
        }
    }
}

/// Someone of the cluster has talked to this member: it can be answered from now on.
pub(super) fn answer_stranger<E: Env>(exchange: &Arc<Exchange<E>>, member: MemberId, urls: Option<&str>) {
    let Some(urls) = urls else { return };
    let mut links = exchange.links();
    let known = links.contains_key(&member) || member == exchange.config.member;
    if known || exchange.latch.has_fallen() {
        return;
    }
    let strangers: Vec<MemberId> =
        links.iter().filter(|(_, link)| !link.is_peer()).map(|(member, _)| *member).collect();
    if strangers.len() >= limits::PEER_REMOTES {
        let gone = strangers.first().and_then(|member| links.remove(member));
        gone.inspect(|link| link.latch.fall());
    }
    let urls: Vec<String> = urls.split(',').map(str::to_string).collect();
    let link = Arc::new(Link::new(member, &urls, false, exchange.config.question_lines));
    begin_posts(exchange, &link);
    links.insert(member, link);
    drop(links);
    if let Some(held_back) = exchange.says("added", member) {
        tracing::info!(
            "local-member-id" = %exchange.config.member,
            "remote-peer-id" = %member,
            "remote-peer-urls" = ?urls,
            "lines-held-back" = held_back,
            "added new remote peer"
        );
    }
}

fn begin_posts<E: Env>(exchange: &Arc<Exchange<E>>, link: &Arc<Link>) {
    for taker in [Taker::UrgentPosts, Taker::OtherPosts] {
        begin(exchange, link, "peer posts", post_messages(exchange.clone(), link.clone(), taker));
    }
}

fn begin_streams<E: Env>(exchange: &Arc<Exchange<E>>, link: &Arc<Link>) {
    for kind in [StreamKind::Message, StreamKind::MsgApp] {
        begin(exchange, link, "peer stream", read_stream(exchange.clone(), link.clone(), kind));
    }
}

/// Runs a task that ends with the link, and with the transport.
pub(super) fn begin<E: Env>(
    exchange: &Arc<Exchange<E>>,
    link: &Arc<Link>,
    name: &'static str,
    task: impl Future<Output = ()> + Send + 'static,
) {
    let (all, one) = (exchange.latch.clone(), link.latch.clone());
    exchange.env.tasks().spawn_light(name, async move {
        all.until(one.until(task)).await;
    });
}
