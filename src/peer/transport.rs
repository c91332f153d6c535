//! The transport: begun, told what to send, and ended.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_channel::oneshot;

use super::ask::{Place, ask, ask_as_etcd};
use super::door::{AskFailure, ChunkSource, EtcdQuestion, PeerAddress, PeerDoor, PeerSender};
use super::exchange::{Exchange, PeerConfig};
use super::link::Link;
use super::links::{begin, set_peers};
use super::listener::accept;
use super::snapshot_sender::{Outcome, send_snapshot};
use super::traffic::PeerTraffic;
use super::wait::BoxFuture;
use crate::base::{Fault, MemberId, limits};
use crate::consensus::{MessageKind, PeerMessage};
use crate::env::{Env, Net, NetListener, Tasks};

/// The transport of one member. Ends when it is told to; dropping it ends nothing.
pub struct Transport<E: Env> {
    exchange: Arc<Exchange<E>>,
    addresses: Vec<String>,
}

impl<E: Env> Transport<E> {
    /// Listens, and is ready to be told of peers. The fault says where it cannot listen; nothing is left open then.
    pub async fn start(env: E, config: PeerConfig, door: Arc<dyn PeerDoor>) -> Result<Self, Fault> {
        let listen = config.listen.clone();
        let exchange = Arc::new(Exchange::new(env, config, door));
        let mut addresses = Vec::new();
        for address in listen {
            let (told, opened) = oneshot::channel();
            let (own, latch) = (exchange.clone(), exchange.latch.clone());
            let listening = async move {
                match own.env.net().listen(&address).await {
                    Ok(listener) => {
                        let _ = told.send(Ok(listener.address()));
                        accept(own, listener).await;
                    }
                    Err(fault) => drop(told.send(Err(fault))),
                }
            };
            exchange.env.tasks().spawn_light("peer listener", async move {
                latch.until(listening).await;
            });
            match opened.await {
                Ok(Ok(address)) => addresses.push(address),
                Ok(Err(fault)) => {
                    exchange.latch.fall();
                    return Err(fault);
                }
                Err(_) => {
                    exchange.latch.fall();
                    let ended = std::io::Error::other("the tasks of this process have ended");
                    return Err(Fault::new("listen at", "the peer port", ended));
                }
            }
        }
        Ok(Self { exchange, addresses })
    }

    /// The addresses listened at, in the order they were given, with the ports that were given where 0 was asked for.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }
}

impl<E: Env> Transport<E> {
    /// Has a question of so many bytes asked, where there is room for one more.
    fn question<T, F>(
        &self,
        member: MemberId,
        bytes: usize,
        asking: impl FnOnce(Arc<Exchange<E>>, Arc<Link>) -> F + Send + 'static,
    ) -> BoxFuture<'static, Result<T, AskFailure>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, AskFailure>> + Send + 'static,
    {
        let Some(link) = self.exchange.link(member) else {
            return Box::pin(std::future::ready(Err(AskFailure::Unknown)));
        };
        let place = Place::take(&link);
        let (Some(place), true) = (place, bytes <= limits::PEER_QUESTION_BYTES) else {
            return Box::pin(std::future::ready(Err(AskFailure::NoRoom)));
        };
        let (told, answered) = oneshot::channel();
        let asked = asking(self.exchange.clone(), link.clone());
        begin(&self.exchange, &link, "peer question", async move {
            let answer = asked.await;
            drop(place);
            let _ = told.send(answer);
        });
        Box::pin(async move {
            // Dropped unanswered: the peer was let go, or all ends.
            let ended = |_| Err(AskFailure::Unreachable("the connection was ended".to_string()));
            answered.await.unwrap_or_else(ended)
        })
    }
}

impl<E: Env> PeerSender for Transport<E> {
    fn send(&self, message: PeerMessage) {
        let to = message.to();
        let kind = message.kind();
        if kind == MessageKind::Snapshot {
            // It has its own way; alone it would bring a member to wait for chunks that never come.
            return self.exchange.door.snapshot_sent(to, false);
        }
        let taken = self.exchange.link(to).is_some_and(|link| link.outbox.put(message));
        // Of the others nothing is told: they are asked for again anyway, and a follower's answer to one leader is no
        // news of the other followers.
        if !taken && let Some(link) = self.exchange.link(to) {
            link.traffic.sent_failures.fetch_add(1, Ordering::Relaxed);
        }
        if !taken && kind == MessageKind::Append {
            self.exchange.door.unreachable(to);
        }
    }

    fn send_snapshot(&self, message: PeerMessage, source: Box<dyn ChunkSource>) {
        let to = message.to();
        let link = self.exchange.peer(to);
        let outcome = link.as_ref().and_then(|link| Outcome::begin(&self.exchange, link));
        match (link, outcome) {
            (Some(link), Some(outcome)) => {
                begin(&self.exchange, &link, "peer snapshot", send_snapshot(outcome, message, source));
            }
            _ => self.exchange.door.snapshot_sent(to, false),
        }
    }

    fn ask(&self, member: MemberId, question: Bytes) -> BoxFuture<'static, Result<Bytes, AskFailure>> {
        let bytes = question.len();
        self.question(member, bytes, move |exchange, link| async move { ask(&exchange, &link, &question).await })
    }

    fn ask_as_etcd(
        &self,
        member: MemberId,
        question: EtcdQuestion,
    ) -> BoxFuture<'static, Result<(u16, Bytes), AskFailure>> {
        self.question(member, 0, move |exchange, link| async move { ask_as_etcd(&exchange, &link, &question).await })
    }

    fn set_peers(&self, peers: Vec<PeerAddress>) {
        set_peers(&self.exchange, peers);
    }

    fn connected_for(&self, member: MemberId) -> Option<Duration> {
        self.exchange.link(member)?.connected_for(self.exchange.now())
    }

    fn traffic(&self) -> Vec<PeerTraffic> {
        let links = self.exchange.links();
        links
            .values()
            .map(|link| {
                let active = link.connected_for(self.exchange.now()).is_some();
                link.traffic.told(link.member, active, link.outbox.held())
            })
            .collect()
    }

    fn stop(&self) {
        self.exchange.latch.fall();
        let links = std::mem::take(&mut *self.exchange.links());
        links.into_values().for_each(|link| link.latch.fall());
        self.exchange.drop_idle(|_| false);
    }
}
