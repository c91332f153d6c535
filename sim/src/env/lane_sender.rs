//! What one life of a member sends with on the message lane.
//!
//! Invariant: it sends nothing once its life is over or it was stopped, and nothing to whom it was not told of.

use std::pin::Pin;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use quorate::base::MemberId;
use quorate::consensus::PeerMessage;
use quorate::peer::{AskFailure, ChunkSource, PeerAddress, PeerSender};

use super::clock::true_now;
use super::lane::Lane;
use super::lane_snapshot;
use super::net::SimNet;

/// See the module's head.
pub struct LaneSender {
    lane: Lane,
    member: MemberId,
    net: SimNet,
    host: String,
    /// Whom it may send to; nobody once it was stopped.
    peers: Mutex<Option<Vec<MemberId>>>,
}

impl LaneSender {
    /// For the life of a member that has this network.
    pub fn new(lane: &Lane, member: MemberId, net: &SimNet) -> Self {
        let host = net.host_name();
        Self { lane: lane.clone(), member, net: net.clone(), host, peers: Mutex::new(Some(Vec::new())) }
    }

    fn knows(&self, member: MemberId) -> bool {
        let peers = self.peers.lock().expect("no holder of the peers panics");
        peers.as_ref().is_some_and(|peers| peers.contains(&member))
    }
}

impl PeerSender for LaneSender {
    fn send(&self, message: PeerMessage) {
        if self.net.is_alive() && self.knows(message.to()) {
            self.lane.send(message, &self.host, &self.net);
        }
    }

    fn send_snapshot(&self, message: PeerMessage, source: Box<dyn ChunkSource>) {
        if self.net.is_alive() && self.knows(message.to()) {
            drop(madsim::task::spawn(lane_snapshot::carry(self.lane.clone(), self.net.clone(), message, source)));
        } else {
            self.lane.failed(&message, &self.net);
        }
    }

    /// The lane carries messages and states; questions have no way.
    fn ask(
        &self,
        _member: MemberId,
        _question: Bytes,
    ) -> Pin<Box<dyn Future<Output = Result<Bytes, AskFailure>> + Send>> {
        Box::pin(std::future::ready(Err(AskFailure::Unsupported)))
    }

    fn set_peers(&self, peers: Vec<PeerAddress>) {
        let mut known = self.peers.lock().expect("no holder of the peers panics");
        if let Some(known) = known.as_mut() {
            *known = peers.into_iter().map(|peer| peer.member).collect();
        }
    }

    fn connected_for(&self, member: MemberId) -> Option<Duration> {
        if !self.net.is_alive() || !self.knows(member) {
            return None;
        }
        let (host, since) = self.lane.opened(member)?;
        let good = self.lane.good_since(&self.host, &host)?;
        Some(true_now().saturating_sub(since.max(good)))
    }

    fn stop(&self) {
        *self.peers.lock().expect("no holder of the peers panics") = None;
        self.lane.close(self.member, &self.net);
    }
}
