//! Where what the transport brings enters, and the peers of a member that has none.

use std::sync::Arc;
use std::time::Duration;

use super::mailbox::Mailbox;
use crate::base::{ClusterId, MemberId};
use crate::consensus::{MessageKind, PeerMessage};
use crate::env::Disk;
use crate::machine::members_json;
use crate::node::{Facts, Input};
use crate::peer::{PeerAddress, PeerDoor, PeerSender, Roster};

/// The member's door for its peers.
///
/// What they say has a mailbox of its own, so that no heartbeat waits behind clients; where it is full, what carries
/// entries is dropped, and raft asks for it again.
pub(super) struct MemberDoor<D: Disk> {
    cluster: ClusterId,
    mailbox: Arc<Mailbox<Input<D>>>,
    facts: Arc<Facts>,
}

impl<D: Disk> MemberDoor<D> {
    pub(super) fn new(cluster: ClusterId, mailbox: Arc<Mailbox<Input<D>>>, facts: Arc<Facts>) -> Self {
        Self { cluster, mailbox, facts }
    }
}

impl<D: Disk> PeerDoor for MemberDoor<D> {
    fn arrived(&self, message: PeerMessage) {
        let bytes = message.payload_bytes();
        let light = !matches!(message.kind(), MessageKind::Append | MessageKind::Propose);
        // Votes and heartbeats are few, but a peer that floods with them must not fill the memory either.
        let room = if light { crate::base::limits::MAX_PEER_MESSAGES } else { 0 };
        let _ = self.mailbox.put_with_reserve(Input::Peer(message), bytes, room);
    }

    fn unreachable(&self, member: MemberId) {
        let _ = self.mailbox.put(Input::Unreachable(member), 0);
    }

    fn snapshot_sent(&self, _member: MemberId, _arrived: bool) {}

    fn removed(&self) {
        self.facts.told_removed();
    }

    fn roster(&self) -> Roster {
        let status = self.facts.status();
        Roster { cluster: self.cluster, members_json: members_json(&status.members), removed: status.removed_members }
    }
}

/// The peers of a member that has none: nothing is sent.
pub(super) struct NoPeers;

impl PeerSender for NoPeers {
    fn send(&self, _message: PeerMessage) {}

    fn set_peers(&self, _peers: Vec<PeerAddress>) {}

    fn connected_for(&self, _member: MemberId) -> Option<Duration> {
        None
    }

    fn stop(&self) {}
}
