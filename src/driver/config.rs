//! What of a member's behaviour comes from flags.

use std::time::Duration;

use crate::mvcc::StoreOptions;
use crate::node::NodeConfig;
use crate::wal::WalIdentity;

/// A member of a new cluster, as the flags name it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FoundingMember {
    /// Its name.
    pub name: String,
    /// Where its peers reach it.
    pub peer_urls: Vec<String>,
}

/// Everything that is decided by flags.
#[derive(Clone)]
pub struct DriverConfig {
    /// This member's name; one of the founding members has it.
    pub name: String,
    /// The members of the cluster when it is new.
    pub founding_members: Vec<FoundingMember>,
    /// Who this member is in a cluster that it was added to: by [`super::own_identity`] or, where it starts for the first
    /// time, by [`super::find_cluster`].
    pub joins: Option<WalIdentity>,
    /// Whether a change of members is refused that could cost the majority, by etcd's rules.
    pub strict_reconfig_check: bool,
    /// Take the others' state at this start, before anybody is served.
    pub rebuild_from_peers: bool,
    /// Where this member listens for its peers, as `host:port` each.
    pub listen_peers: Vec<String>,
    /// Part of the ids of a new cluster.
    pub cluster_token: String,
    /// The tick of the logical clock.
    pub tick: Duration,
    /// Ticks without a leader before an election.
    pub election_ticks: usize,
    /// Ask before standing for election.
    pub pre_vote: bool,
    /// Bytes of entries in one append to a follower; a larger entry goes alone.
    pub append_bytes: usize,
    /// Largest log payload of a request, in bytes.
    pub max_request_bytes: usize,
    /// Bytes of a segment of the log.
    pub wal_segment_bytes: u64,
    /// Shortest lease, in seconds; a shorter one is proposed as one of this length, as in etcd.
    pub min_lease_ttl: i64,
    /// Where and how data is kept.
    pub store: StoreOptions,
    /// The node's options; `member` is filled in here.
    pub node: NodeConfig,
}
