//! What of a member's behaviour comes from flags.

use std::time::Duration;

use crate::base::limits;
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

/// How often a leader holds the members' data against each other as they lie, besides what they do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CorruptionChecks {
    /// All of the data.
    pub interval: Option<Duration>,
    /// What was there before the last compactions.
    pub compactions: Option<Duration>,
}

/// How the history is read again in the background, to find damage before somebody needs what is damaged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScrubPace {
    /// Between two passes. The first begins within so long from the start, by chance: members that were started together do
    /// not read together.
    pub rest: Duration,
    /// Bytes read at once.
    pub step_bytes: usize,
    /// Between two steps.
    pub pause: Duration,
}

impl Default for ScrubPace {
    fn default() -> Self {
        Self {
            rest: Duration::from_millis(limits::SCRUB_REST_MS),
            step_bytes: limits::SCRUB_STEP_BYTES,
            pause: Duration::from_millis(limits::SCRUB_PAUSE_MS),
        }
    }
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
    /// Go on alone at this start: the others are removed, unless a majority of them is there.
    pub force_new_cluster: bool,
    /// Whether the first election of a start comes sooner once the others are there.
    pub advances_first_election: bool,
    /// How the data are held against the other members' while they are served.
    pub corruption: CorruptionChecks,
    /// How the history is read again; `None` never does.
    pub scrub: Option<ScrubPace>,
    /// Where this member listens for its peers, as `host:port` each.
    pub listen_peers: Vec<String>,
    /// Connections that others may have open to it.
    pub peer_connections: usize,
    /// Connections to one peer that carry questions at once.
    pub question_lines: usize,
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

impl DriverConfig {
    /// What the flags' defaults make of one of these members, who listens for no peers; for what a test or a tool does not
    /// care about.
    pub fn new(name: &str, founding_members: Vec<FoundingMember>) -> Self {
        Self {
            name: name.to_string(),
            founding_members,
            joins: None,
            strict_reconfig_check: true,
            rebuild_from_peers: false,
            force_new_cluster: false,
            advances_first_election: true,
            corruption: CorruptionChecks::default(),
            scrub: Some(ScrubPace::default()),
            listen_peers: Vec::new(),
            peer_connections: limits::PEER_CONNECTIONS,
            question_lines: limits::PEER_QUESTION_LINES,
            cluster_token: "etcd-cluster".to_string(),
            tick: Duration::from_millis(100),
            election_ticks: 10,
            pre_vote: true,
            append_bytes: limits::APPEND_BYTES,
            max_request_bytes: limits::MAX_REQUEST_BYTES,
            wal_segment_bytes: limits::WAL_SEGMENT_BYTES,
            min_lease_ttl: 2,
            store: StoreOptions::default(),
            node: NodeConfig::new(name),
        }
    }

    /// As [`DriverConfig::new`], for a member that founds a cluster alone.
    pub fn alone(name: &str, peer_url: &str) -> Self {
        Self::new(name, vec![FoundingMember { name: name.to_string(), peer_urls: vec![peer_url.to_string()] }])
    }
}
