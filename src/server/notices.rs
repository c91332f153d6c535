//! What the log says of the start: the configuration, and what boot found.
//!
//! Invariant: whatever boot passed over, cut off or overruled is told as a warning that names the file. Does not
//! decide anything.

use crate::base::MemberId;
use crate::driver::{BootReport, DAMAGED_SUFFIX, Forced, Rebuilds};
use crate::node::NodeStatus;
use crate::server::config::Config;
use crate::server::descriptors::Share;
use crate::server::founding;
use crate::server::socket::Listen;

/// The configuration in effect, under the names of its flags.
pub fn starting(config: &Config) {
    let quota = config.quota_bytes.map_or_else(|| "none".to_string(), |bytes| bytes.to_string());
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        pid = std::process::id(),
        name = config.name,
        data_dir = config.data_dir,
        wal_dir = config.wal_dir,
        listen_client_urls = addresses(&config.listening.clients),
        advertise_client_urls = config.advertise_client_urls.join(","),
        listen_peer_urls = addresses(&config.listening.peers),
        initial_advertise_peer_urls = config.advertise_peer_urls.join(","),
        listen_client_http_urls = addresses(&config.listening.http),
        listen_metrics_urls = addresses(&config.listening.metrics),
        initial_cluster = founding::shown(&config.initial_cluster),
        initial_cluster_token = config.initial_cluster_token,
        initial_cluster_state = if config.cluster_exists { "existing" } else { "new" },
        "starting"
    );
    tracing::info!(
        heartbeat_interval = ?config.heartbeat,
        election_timeout = ?config.election_timeout,
        pre_vote = config.pre_vote,
        strict_reconfig_check = config.strict_reconfig_check,
        rebuild_when_diverged = config.rebuild_when_diverged,
        snapshot_count = config.snapshot_count,
        snapshot_catchup_entries = config.snapshot_catchup_entries,
        initial_election_tick_advance = config.initial_election_tick_advance,
        initial_corrupt_check = config.features.is_open("InitialCorruptCheck"),
        history_scrub_interval = ?config.history_scrub_interval.unwrap_or_default(),
        corrupt_check_time = ?config.corrupt_check_time.unwrap_or_default(),
        compact_hash_check_time = ?config.compact_hash_check_time.unwrap_or_default(),
        auto_compaction = ?config.auto_compaction,
        quota_backend_bytes = quota,
        max_txn_ops = config.max_txn_ops as u64,
        max_request_bytes = config.max_request_bytes as u64,
        max_concurrent_streams = config.max_concurrent_streams,
        grpc_keepalive_interval = ?config.keepalive_interval.unwrap_or_default(),
        grpc_keepalive_timeout = ?config.keepalive_timeout,
        watch_progress_notify_interval = ?config.watch_progress_interval,
        value_cache_bytes = config.value_cache_bytes as u64,
        log_level = config.log_level,
        cors = config.web.origins.join(","),
        // As etcd tells it, whatever was said.
        v2_deprecation = "write-only",
        "limits and timers"
    );
}

fn addresses(listen: &[Listen]) -> String {
    let texts: Vec<&str> = listen.iter().map(|listen| listen.url.as_str()).collect();
    texts.join(",")
}

/// How the descriptors are shared out.
pub fn descriptors(share: &Share) {
    tracing::info!(
        limit = share.limit,
        clients = share.clients as u64,
        metrics = share.metrics as u64,
        peers = share.peers as u64,
        "file descriptors"
    );
}

/// The data directory is not the one its member began in. Told once: nothing later depends on it.
pub fn copied(data_dir: &str) {
    tracing::warn!(
        data_dir,
        "the data directory is a copy: what was acknowledged after the copy was made is here only if other members have \
         it; a cluster whose members all start from copies goes on from the newest of them, and forgets the rest"
    );
}

/// It is not ready yet: what it waits for.
pub fn waiting(status: &NodeStatus) {
    let voters = status.members.iter().filter(|member| !member.is_learner).count();
    tracing::warn!(
        leader = status.leader.map(|leader| leader.to_string()),
        term = status.term,
        voters,
        needed = voters / 2 + 1,
        "waiting to serve clients: there is no leader while fewer members than needed are reached, and one that leads or \
         follows has first to be told what was agreed on"
    );
}

/// What boot found in the data directory.
pub fn booted(report: &BootReport) {
    for image in &report.damaged {
        let kept_as = format!("{}{DAMAGED_SUFFIX}", image.file);
        tracing::warn!(file = image.file, what = image.what, kept_as, "a checkpoint is damaged and was passed over");
    }
    for part in &report.unreadable {
        tracing::warn!(file = part.file, offset = part.offset, what = part.what, "made anew from its other copies");
    }
    for damage in &report.passed_over {
        let what = damage.what.as_str();
        tracing::warn!(
            file = damage.file,
            offset = damage.offset,
            what,
            "damage of the log, of which nothing is needed"
        );
    }
    for outline in &report.outlines {
        tracing::warn!(
            file = outline.file,
            what = outline.what,
            "an outline cannot be used: its segment was read whole"
        );
    }
    match &report.rebuilds {
        None => {}
        Some(Rebuilds::AsTold) => {
            tracing::warn!("the data are taken from the other members; nobody is served until then")
        }
        Some(Rebuilds::Damaged(damage)) => tracing::warn!(
            file = damage.file,
            offset = damage.offset,
            what = damage.what,
            "the history is damaged: the data are taken from the other members; nobody is served until then"
        ),
    }
    forced(report);
    let tail = &report.tail;
    if tail.torn_bytes > 0 || tail.torn_segments > 0 {
        tracing::warn!(
            file = tail.file,
            offset = tail.offset,
            torn_bytes = tail.torn_bytes,
            torn_segments = tail.torn_segments,
            "the end of the log was torn by a crash and was cut off; nothing of it had been acknowledged"
        );
    }
    if let Some(flags) = &report.differs_from_flags {
        tracing::warn!(
            member_of_flags = %flags.member,
            cluster_of_flags = %flags.cluster,
            member = %report.identity.member,
            cluster = %report.identity.cluster,
            "the flags describe another member or cluster than the data directory; the directory counts"
        );
    }
    tracing::info!(
        member = %report.identity.member,
        cluster = %report.identity.cluster,
        founded = report.founded,
        checkpoint_index = report.checkpoint,
        replayed_entries = report.replayed as u64,
        log_file = tail.file,
        log_offset = tail.offset,
        torn_bytes = tail.torn_bytes,
        "booted"
    );
}

/// What became of `--force-new-cluster`; etcd's line where it has one.
fn forced(report: &BootReport) {
    let (cluster, member) = (report.identity.cluster, report.identity.member);
    match &report.forced {
        None => {}
        Some(Forced::Removed { members, committed, commits }) => {
            tracing::info!(
                "cluster-id" = %cluster,
                "local-member-id" = %member,
                "wal-commit-index" = *committed,
                "commit-index" = *commits,
                "forcing restart member"
            );
            tracing::warn!(
                "removed-member-ids" = listed(members),
                "the other members were removed: this one goes on alone with its data; take --force-new-cluster out \
                 and do not start the others again before their data directories are removed"
            );
        }
        Some(Forced::Alone) => tracing::warn!(
            "--force-new-cluster does nothing: there is no other member; take it out, or a later start may remove some"
        ),
        Some(Forced::MajorityAnswers(answering)) => tracing::warn!(
            "answering-member-ids" = listed(answering),
            "--force-new-cluster does nothing: a majority of the members answers; take it out, or stop the others first"
        ),
    }
}

fn listed(members: &[MemberId]) -> String {
    members.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
