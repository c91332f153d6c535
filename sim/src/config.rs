//! The flags of a member, as the plan has them.

use std::sync::Arc;
use std::time::Duration;

use quorate::base::{MemberId, derive_member_id};
use quorate::driver::{CorruptionChecks, DriverConfig, FoundingMember, ScrubPace};
use quorate::mvcc::StoreOptions;
use quorate::node::{NodeConfig, Observer};
use quorate::wal::WalIdentity;

use crate::plan::{Falsified, Plan};

/// Shortest lease, in seconds, as the default flags make it.
pub const MIN_TTL: i64 = 2;

/// The tick of a member's logical clock.
pub const TICK: Duration = Duration::from_millis(100);

/// How long a member waits for a leader, at least.
pub const ELECTION: Duration = Duration::from_secs(1);

/// How long a request may wait for its outcome on a member.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(7);

/// Between two looks at all data, where there are any.
const CHECK: Duration = Duration::from_secs(1);

/// Part of the ids.
pub const TOKEN: &str = "sim";

/// Where a member may be reached by its peers: the first until it is moved.
pub const PORTS: [u16; 3] = [2380, 2381, 2382];

/// Where its peers reach a member first.
pub fn peer_url(member: usize) -> String {
    peer_url_at(member, PORTS[0])
}

/// Where its peers reach a member at a port.
pub fn peer_url_at(member: usize, port: u16) -> String {
    format!("http://{}", peer_address(member, port))
}

/// The address of a member at a port.
pub fn peer_address(member: usize, port: u16) -> String {
    format!("{}:{port}", host(member))
}

/// The id of a member.
pub fn member_id(member: usize) -> MemberId {
    derive_member_id(&[peer_url(member)], TOKEN, None)
}

/// The host of a member, which is its name, too.
pub fn host(member: usize) -> String {
    format!("m{}", member + 1)
}

/// Which looks at the data as they lie the plan asks for.
fn checks(plan: &Plan) -> CorruptionChecks {
    let what = plan.divergence.map(|divergence| divergence.what);
    let (interval, compactions) = (what == Some(Falsified::DataOnInterval), what == Some(Falsified::DataAtCompaction));
    CorruptionChecks { interval: interval.then_some(CHECK), compactions: compactions.then_some(CHECK) }
}

/// The flags of a member, who it is where it was added, and the ports it listens at; what it draws follows from `seed`.
pub fn driver_config(
    plan: &Plan,
    (member, joins, ports): (usize, Option<WalIdentity>, &[u16]),
    seed: u64,
    observer: Arc<dyn Observer>,
) -> DriverConfig {
    let setting = &plan.setting;
    let store = StoreOptions { cache_bytes: setting.cache_bytes, segment_bytes: setting.segment_bytes };
    let founder = |member| FoundingMember { name: host(member), peer_urls: vec![peer_url(member)] };
    DriverConfig {
        name: host(member),
        // One that joins is named among them, as flags name it.
        founding_members: (0..plan.founders).chain((member >= plan.founders).then_some(member)).map(founder).collect(),
        joins,
        strict_reconfig_check: true,
        rebuild_from_peers: false,
        force_new_cluster: false,
        advances_first_election: true,
        corruption: checks(plan),
        // Often enough for a run to see some.
        scrub: Some(ScrubPace {
            rest: Duration::from_secs(3),
            step_bytes: 8 * 1024,
            pause: Duration::from_millis(100),
        }),
        listen_peers: ports.iter().map(|port| peer_address(member, *port)).collect(),
        peer_connections: quorate::base::limits::PEER_CONNECTIONS,
        // Few enough for questions to wait for one another.
        question_lines: 2,
        cluster_token: TOKEN.to_string(),
        tick: TICK,
        election_ticks: 10,
        pre_vote: true,
        append_bytes: setting.append_bytes,
        max_request_bytes: quorate::base::limits::MAX_REQUEST_BYTES,
        wal_segment_bytes: setting.wal_segment_bytes,
        min_lease_ttl: MIN_TTL,
        store,
        node: NodeConfig {
            member: MemberId(0),
            tick: TICK,
            name: host(member),
            client_urls: vec![format!("http://{}:2379", host(member))],
            cluster_version: "3.7.0".to_string(),
            request_timeout: REQUEST_TIMEOUT,
            // In one run of four sooner than a round is answered.
            read_retry: Duration::from_millis(if plan.seed.is_multiple_of(4) { 20 } else { 500 }),
            election_timeout: ELECTION,
            catch_up_entries: setting.catch_up_entries,
            quota_bytes: setting.quota_bytes,
            checkpoint_entries: setting.checkpoint_entries,
            // Who sends small appends sends small chunks.
            snapshot_chunk_bytes: setting.append_bytes.clamp(64, quorate::base::limits::SNAPSHOT_CHUNK_BYTES),
            changes_per_turn: setting.slicing.changes_per_turn,
            pruned_per_turn: setting.slicing.pruned_per_turn,
            held: setting.holding.held(),
            watch: setting.holding.watch(),
            catch_up: setting.reading.bounds(),
            progress_ticks: setting.progress_ticks,
            lease_checkpoint_interval: setting.lease_checkpoint,
            auto_compaction: None,
            rebuild_when_diverged: plan.divergence.is_some_and(|divergence| divergence.rebuilds),
            seed,
            observer: Some(observer),
        },
    }
}
