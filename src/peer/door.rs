//! The two doors between the transport and the member.

use std::time::Duration;

use bytes::Bytes;

use crate::base::{ClusterId, MemberId};
use crate::consensus::PeerMessage;

/// Where a peer is reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerAddress {
    /// Who.
    pub member: MemberId,
    /// Its peer URLs, tried in turn.
    pub urls: Vec<String>,
}

/// What the transport tells others of the cluster.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Roster {
    /// The cluster.
    pub cluster: ClusterId,
    /// The members as etcd's JSON of `/members`.
    pub members_json: Bytes,
    /// Those who were removed: they are refused for ever.
    pub removed: Vec<MemberId>,
}

/// What the transport tells the member. Every method answers at once and may be called from any task.
pub trait PeerDoor: Send + Sync + 'static {
    /// A message arrived. It may be dropped where there is no room: the group asks again.
    fn arrived(&self, message: PeerMessage);

    /// A message to this member was dropped, or its connection is gone.
    fn unreachable(&self, member: MemberId);

    /// What became of a snapshot that was sent.
    fn snapshot_sent(&self, member: MemberId, arrived: bool);

    /// Others say that this member was removed.
    fn removed(&self);

    /// What to tell of the cluster.
    fn roster(&self) -> Roster;
}

/// What the member tells the transport. Every method answers at once.
pub trait PeerSender: Send + Sync + 'static {
    /// Sends a message, or drops it where there is no room or no connection; what matters is told by
    /// [`PeerDoor::unreachable`].
    fn send(&self, message: PeerMessage);

    /// The peers from now on, this member left out: new ones are dialled, others are let go.
    fn set_peers(&self, peers: Vec<PeerAddress>);

    /// How long the connection to a peer has been good, if it is.
    fn connected_for(&self, member: MemberId) -> Option<Duration>;

    /// Ends every connection and listens no more.
    fn stop(&self);
}
