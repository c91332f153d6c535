//! What is read from elsewhere when somebody asks for the metrics: the node's standing, its tallies, the process.
//!
//! Invariant: names, kinds and labels are etcd's; asking costs the node nothing. Does not know how metrics are served.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

use crate::api::metrics::process::Process;
use crate::base::Measured;
use crate::machine::AlarmKind;
use crate::node::{NodeStatus, Stages, Tallies};

type Reading = fn(&NodeStatus) -> u64;
type Tally = fn(&Tallies) -> &AtomicU64;
type Times = fn(&Tallies) -> Measured;

/// Gauges that mirror the node: name, help, reading.
const GAUGES: &[(&str, &str, Reading)] = &[
    ("etcd_server_has_leader", "Whether or not a leader exists. 1 is existence, 0 is not.", |s| {
        s.leader.is_some().into()
    }),
    ("etcd_server_is_leader", "Whether or not this member is a leader. 1 if is, 0 otherwise.", |s| s.is_leader.into()),
    ("etcd_server_is_learner", "Whether or not this member is a learner. 1 if is, 0 otherwise.", |s| {
        s.is_learner.into()
    }),
    ("etcd_server_proposals_committed_total", "The total number of consensus proposals committed.", |s| s.committed),
    ("etcd_server_proposals_applied_total", "The total number of consensus proposals applied.", |s| s.applied),
    ("etcd_server_proposals_pending", "The current number of pending proposals to commit.", |s| s.pending_proposals),
    ("etcd_server_quota_backend_bytes", "Current backend storage quota size in bytes.", |s| s.quota_bytes),
    ("etcd_mvcc_db_total_size_in_bytes", "Total size of the history on disk in bytes.", |s| s.size_bytes),
    ("etcd_mvcc_db_total_size_in_use_in_bytes", "Bytes of it that a read can reach.", |s| s.in_use_bytes),
    ("etcd_debugging_mvcc_keys_total", "Total number of keys.", |s| s.key_count),
    ("etcd_debugging_mvcc_current_revision", "The current revision of store.", |s| unsigned(s.revision)),
    ("etcd_debugging_mvcc_watcher_total", "Total number of watchers.", |s| s.watchers),
    ("etcd_debugging_mvcc_watch_stream_total", "Total number of watch streams.", |s| s.watch_streams),
    ("etcd_debugging_mvcc_slow_watcher_total", "Total number of unsynced slow watchers.", |s| s.slow_watchers),
    ("etcd_debugging_mvcc_pending_events_total", "Total number of pending events to be sent.", |s| s.pending_events),
    ("etcd_debugging_auth_revision", "The current revision of auth store.", |s| s.auth_revision),
    (
        "etcd_server_snapshot_apply_in_progress_total",
        "1 if the state of another member is being put in place. 0 if none.",
        |s| s.installing,
    ),
    ("quorate_leases", "Leases.", |s| s.leases),
    ("quorate_unapplied_bytes", "Bytes of entries that are committed and not applied.", |s| s.unapplied_bytes),
];

/// Counters that mirror the node.
const COUNTERS: &[(&str, &str, Reading)] = &[
    ("etcd_server_leader_changes_seen_total", "The number of leader changes seen.", |s| s.leader_changes),
    ("etcd_debugging_server_lease_expired_total", "The total number of expired leases.", |s| s.expired_leases),
    ("quorate_apply_history_waits_total", "Times applying waited until more history was written.", |s| s.history_waits),
    ("quorate_apply_backlogs_full_total", "Times so much waited to be applied that no more was taken in.", |s| {
        s.full_backlogs
    }),
];

/// Counters of what was done.
const TALLIES: &[(&str, &str, Tally)] = &[
    ("etcd_mvcc_put_total", "Total number of puts seen by this member.", |t| &t.puts),
    ("etcd_mvcc_delete_total", "Total number of deletes seen by this member.", |t| &t.deletes),
    ("etcd_mvcc_txn_total", "Total number of txns seen by this member.", |t| &t.txns),
    ("etcd_mvcc_range_total", "Total number of ranges seen by this member.", |t| &t.ranges),
    ("etcd_debugging_lease_granted_total", "The total number of granted leases.", |t| &t.leases_granted),
    ("etcd_debugging_lease_revoked_total", "The total number of revoked leases.", |t| &t.leases_revoked),
    ("etcd_debugging_mvcc_db_compaction_keys_total", "Total number of changes of keys compacted.", |t| {
        &t.compactions.changes
    }),
    (
        "etcd_server_slow_apply_total",
        "The total number of slow apply requests (likely overloaded from slow disk).",
        |t| &t.slow_applies,
    ),
];

/// Sums, and a time, that etcd calls gauges.
const SUMS: &[(&str, &str, Tally)] = &[
    ("etcd_debugging_mvcc_total_put_size_in_bytes", "The total size of put kv pairs seen by this member.", |t| {
        &t.put_bytes
    }),
    ("etcd_disk_wal_write_bytes_total", "Total number of bytes written in WAL.", |t| &t.log_bytes),
    (
        "etcd_debugging_mvcc_db_compaction_last",
        "The unix time of the end of the last compaction. Resets to 0 on start.",
        |t| &t.compactions.ended_at,
    ),
];

/// How long things took, by the driver's clock.
const TIMES: &[(&str, &str, Times)] = &[
    ("etcd_disk_wal_fsync_duration_seconds", "The latency distributions of fsync called by WAL.", |t| {
        t.log_syncs.measured()
    }),
    ("etcd_disk_wal_write_duration_seconds", "The latency distributions of write called by WAL.", |t| {
        t.log_writes.measured()
    }),
    ("etcd_disk_backend_commit_duration_seconds", "The latency distributions of writing history.", |t| {
        t.history_writes.measured()
    }),
    ("etcd_snap_fsync_duration_seconds", "The latency distributions of making a checkpoint durable.", |t| {
        t.checkpoints.measured()
    }),
    (
        "etcd_snap_db_save_total_duration_seconds",
        "The total latency distributions of taking in a snapshot of another member.",
        |t| t.snapshots.measured(),
    ),
    (
        "etcd_snap_db_fsync_duration_seconds",
        "The latency distributions of making durable what was still not when all of it was here.",
        |t| t.snapshot_syncs.measured(),
    ),
    ("etcd_debugging_snap_save_total_duration_seconds", "The total latency distributions of a checkpoint.", |t| {
        t.checkpoints.measured()
    }),
];

/// How long things took, which etcd tells in milliseconds.
const TIMES_IN_MS: &[(&str, &str, Times)] = &[
    (
        "etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds",
        "Bucketed histogram of turns in which a slice of what was compacted is pruned.",
        |t| t.compactions.pauses.measured(),
    ),
    (
        "etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds",
        "Bucketed histogram of the same turns: what is pruned is the index.",
        |t| t.compactions.index_pauses.measured(),
    ),
    (
        "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds",
        "Bucketed histogram of compactions, from the first slice to the last.",
        |t| t.compactions.passes.measured(),
    ),
];

fn unsigned(revision: i64) -> u64 {
    revision.try_into().unwrap_or(0)
}

/// Everything the node and the process say.
pub fn families(status: &NodeStatus, tallies: &Tallies, process: &Process) -> Vec<MetricFamily> {
    let mut all = Vec::new();
    all.extend(GAUGES.iter().map(|(name, help, reading)| gauge(name, help, reading(status) as f64)));
    all.extend(COUNTERS.iter().map(|(name, help, reading)| counter(name, help, reading(status) as f64)));
    all.extend(TALLIES.iter().map(|(name, help, tally)| counter(name, help, tally(tallies).load(Relaxed) as f64)));
    all.extend(SUMS.iter().map(|(name, help, tally)| gauge(name, help, tally(tallies).load(Relaxed) as f64)));
    all.extend(TIMES.iter().map(|(name, help, times)| histogram(name, help, &times(tallies))));
    let in_ms = |(name, help, times): &(&str, &str, Times)| {
        family(name, help, MetricType::HISTOGRAM, vec![histogram_in(&[], &times(tallies), 1e6)])
    };
    all.extend(TIMES_IN_MS.iter().map(in_ms));
    // As etcd says that nothing was compacted.
    let compacted = if status.compact_revision == 0 { -1.0 } else { status.compact_revision as f64 };
    let help = "The revision of the last compaction in store.";
    all.push(gauge("etcd_debugging_mvcc_compact_revision", help, compacted));
    all.push(applied(tallies));
    all.push(stages(&tallies.stages));
    let alarms = status.alarms.iter().map(|(member, kind)| {
        let kind = match kind {
            AlarmKind::NoSpace => "NOSPACE",
            AlarmKind::Corrupt => "CORRUPT",
        };
        labeled_gauge(&[("alarm_type", kind), ("server_id", &member.to_string())], 1.0)
    });
    let help = "Alarms for every member in cluster. 1 for 'server_id' label with current ID.";
    all.push(family("etcd_debugging_server_alarms", help, MetricType::GAUGE, alarms.collect()));
    if let Some(version) = &status.cluster_version {
        let short = version.rsplit_once('.').map_or(version.as_str(), |(short, _)| short);
        let help = "Which version is running. 1 for 'cluster_version' label with current cluster version";
        let metrics = vec![labeled_gauge(&[("cluster_version", short)], 1.0)];
        all.push(family("etcd_cluster_version", help, MetricType::GAUGE, metrics));
    }
    all.extend(process.readings().into_iter().map(|(name, help, value)| gauge(name, help, value)));
    let help = "Total user and system CPU time spent in seconds.";
    all.extend(process.cpu_seconds.map(|value| counter("process_cpu_seconds_total", help, value)));
    // A family without a single line is none.
    all.retain(|family| !family.get_metric().is_empty());
    all
}

fn applied(tallies: &Tallies) -> MetricFamily {
    let metrics = tallies.applies.measured().map(|(op, well, measured)| {
        let success = if well { "true" } else { "false" };
        labeled_histogram(&[("op", op), ("success", success), ("version", "v3")], &measured)
    });
    let help = "The latency distributions of v2 apply called by backend.";
    family("etcd_server_apply_duration_seconds", help, MetricType::HISTOGRAM, metrics.collect())
}

fn stages(stages: &Stages) -> MetricFamily {
    let all = [
        ("answer", &stages.answer),
        ("apply", &stages.apply),
        ("propose", &stages.propose),
        ("queue", &stages.queue),
        ("replicate", &stages.replicate),
        ("sync", &stages.sync),
    ];
    let metrics = all.map(|(stage, durations)| labeled_histogram(&[("stage", stage)], &durations.measured()));
    let help = "Where the time of a write goes: queue, replicate and answer follow each other; propose and sync are within \
                replicate, apply within answer.";
    family("quorate_request_stage_duration_seconds", help, MetricType::HISTOGRAM, metrics.into())
}

fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.into());
    family.set_help(help.into());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

fn pairs(labels: &[(&str, &str)]) -> Vec<LabelPair> {
    let pair = |(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).into());
        pair.set_value((*value).into());
        pair
    };
    labels.iter().map(pair).collect()
}

fn labeled_gauge(labels: &[(&str, &str)], value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut metric = Metric::from_label(pairs(labels));
    metric.set_gauge(gauge);
    metric
}

fn gauge(name: &str, help: &str, value: f64) -> MetricFamily {
    family(name, help, MetricType::GAUGE, vec![labeled_gauge(&[], value)])
}

fn counter(name: &str, help: &str, value: f64) -> MetricFamily {
    let mut counter = Counter::default();
    counter.set_value(value);
    let mut metric = Metric::default();
    metric.set_counter(counter);
    family(name, help, MetricType::COUNTER, vec![metric])
}

fn histogram(name: &str, help: &str, measured: &Measured) -> MetricFamily {
    family(name, help, MetricType::HISTOGRAM, vec![labeled_histogram(&[], measured)])
}

fn labeled_histogram(labels: &[(&str, &str)], measured: &Measured) -> Metric {
    histogram_in(labels, measured, 1e9)
}

/// In units of so many nanoseconds.
fn histogram_in(labels: &[(&str, &str)], measured: &Measured, unit: f64) -> Metric {
    let bucket = |(bound, count): &(std::time::Duration, u64)| {
        let mut bucket = Bucket::default();
        // Not a sum of seconds and a rest, whose last digit is another than that of etcd's bound.
        bucket.set_upper_bound(bound.as_nanos() as f64 / unit);
        bucket.set_cumulative_count(*count);
        bucket
    };
    let mut histogram = Histogram::default();
    histogram.set_bucket(measured.buckets.iter().map(bucket).collect());
    histogram.set_sample_count(measured.count);
    histogram.set_sample_sum(measured.sum.as_nanos() as f64 / unit);
    let mut metric = Metric::from_label(pairs(labels));
    metric.set_histogram(histogram);
    metric
}
