//! What is counted, under etcd's names.
//!
//! Invariants: the registry is a value that the composition owns, there is no global; gauges that mirror the
//! node are read from its status when someone asks, so that counting costs the node nothing.

use std::sync::Mutex;

use prometheus::{Encoder, GaugeVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};

use crate::api::rpc::Rpc;
use crate::machine::AlarmKind;
use crate::node::NodeStatus;

/// The versions that clients are told are those that peers are told.
pub use crate::peer::{STORAGE_VERSION, VERSION as API_VERSION};

type Reading = fn(&NodeStatus) -> u64;

/// Gauges that mirror the node: name, help, reading.
const GAUGES: &[(&str, &str, Reading)] = &[
    ("etcd_server_has_leader", "Whether or not a leader exists.", |s| s.leader.is_some().into()),
    ("etcd_server_is_learner", "Whether or not this member is a learner. 1 if is, 0 otherwise.", |s| {
        s.is_learner.into()
    }),
    ("etcd_server_is_leader", "Whether or not this member is the leader.", |s| s.is_leader.into()),
    ("etcd_server_proposals_committed_total", "Entries committed.", |s| s.committed),
    ("etcd_server_proposals_applied_total", "Entries applied.", |s| s.applied),
    ("etcd_server_proposals_pending", "Proposals waiting to be committed.", |s| s.pending_proposals),
    ("etcd_server_quota_backend_bytes", "Storage quota in bytes.", |s| s.quota_bytes),
    ("etcd_mvcc_db_total_size_in_bytes", "Bytes the store takes on disk.", |s| s.size_bytes),
    ("etcd_mvcc_db_total_size_in_use_in_bytes", "Bytes of it that are live.", |s| s.in_use_bytes),
    ("etcd_debugging_mvcc_keys_total", "Keys.", |s| s.key_count),
    ("etcd_debugging_mvcc_current_revision", "The store's revision.", |s| unsigned(s.revision)),
    ("etcd_debugging_mvcc_compact_revision", "The last compacted revision.", |s| unsigned(s.compact_revision)),
    ("etcd_debugging_mvcc_watcher_total", "Watchers.", |s| s.watchers),
    ("etcd_debugging_mvcc_watch_stream_total", "Watch streams.", |s| s.watch_streams),
    ("etcd_debugging_mvcc_slow_watcher_total", "Watchers that are fed from history.", |s| s.slow_watchers),
    ("quorate_leases", "Leases.", |s| s.leases),
];

/// Counters that mirror the node.
const COUNTERS: &[(&str, &str, Reading)] =
    &[("etcd_server_leader_changes_seen_total", "Changes of leader seen.", |s| s.leader_changes)];

fn unsigned(revision: i64) -> u64 {
    revision.try_into().unwrap_or(0)
}

/// The counters of one method.
pub struct RpcCounters {
    /// Requests begun.
    pub started: IntCounter,
    /// Messages received.
    pub received: IntCounter,
    /// Messages sent.
    pub sent: IntCounter,
    /// Requests ended well.
    pub handled_ok: IntCounter,
}

/// All metrics of a server.
pub struct Metrics {
    registry: Registry,
    rpcs: Vec<RpcCounters>,
    handled: IntCounterVec,
    client_requests: IntCounterVec,
    stream_failures: IntCounterVec,
    /// Bytes received from clients.
    pub received_bytes: IntCounter,
    /// Bytes sent to clients.
    pub sent_bytes: IntCounter,
    /// `/health` answered well.
    pub health_success: IntCounter,
    /// `/health` answered badly.
    pub health_failures: IntCounter,
    healthcheck: GaugeVec,
    healthchecks: IntCounterVec,
    /// Open client connections.
    pub connections: IntGauge,
    mirror: Mutex<Mirror>,
}

struct Mirror {
    gauges: Vec<IntGauge>,
    counters: Vec<IntCounter>,
    alarms: GaugeVec,
    cluster_version: GaugeVec,
}

/// Makes metrics and registers them; a name given twice is a bug.
struct Registrar(Registry);

impl Registrar {
    fn add<C: prometheus::core::Collector + Clone + 'static>(&self, collector: prometheus::Result<C>) -> C {
        let collector = collector.expect("metric names and labels are well formed literals");
        self.0.register(Box::new(collector.clone())).expect("every metric is registered once");
        collector
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.add(IntCounter::new(name, help))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.add(IntGauge::new(name, help))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.add(IntCounterVec::new(Opts::new(name, help), labels))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.add(GaugeVec::new(Opts::new(name, help), labels))
    }
}

impl Metrics {
    /// All metrics, at zero. `member` is the member's id as printed.
    pub fn new(member: &str) -> Self {
        let make = Registrar(Registry::new());
        let (rpcs, handled) = rpc_counters(&make);
        let mirror = Mirror {
            gauges: GAUGES.iter().map(|(name, help, _)| make.gauge(name, help)).collect(),
            counters: COUNTERS.iter().map(|(name, help, _)| make.counter(name, help)).collect(),
            alarms: make.gauges("etcd_debugging_server_alarms", "Alarms that stand.", &["server_id", "alarm_type"]),
            cluster_version: make.gauges(
                "etcd_cluster_version",
                "Which version is running. 1 for 'cluster_version' label with current cluster version",
                &["cluster_version"],
            ),
        };
        make.gauges("etcd_server_version", "Which version is running.", &["server_version"])
            .with_label_values(&[API_VERSION])
            .set(1.0);
        make.gauges("etcd_server_id", "Server or member ID in hexadecimal format.", &["server_id"])
            .with_label_values(&[member])
            .set(1.0);
        Self {
            rpcs,
            handled,
            client_requests: make.counters(
                "etcd_server_client_requests_total",
                "The total number of client requests per client version.",
                &["type", "client_api_version"],
            ),
            stream_failures: make.counters(
                "etcd_network_server_stream_failures_total",
                "Streams that ended badly.",
                &["Type", "API"],
            ),
            received_bytes: make.counter("etcd_network_client_grpc_received_bytes_total", "Bytes from clients."),
            sent_bytes: make.counter("etcd_network_client_grpc_sent_bytes_total", "Bytes to clients."),
            health_success: make.counter("etcd_server_health_success", "Successful health checks."),
            health_failures: make.counter("etcd_server_health_failures", "Failed health checks."),
            healthcheck: make.gauges("etcd_server_healthcheck", "The result of each check.", &["type", "name"]),
            healthchecks: make.counters(
                "etcd_server_healthchecks_total",
                "Checks made, by result.",
                &["type", "name", "status"],
            ),
            connections: make.gauge("quorate_client_connections", "Open client connections."),
            mirror: Mutex::new(mirror),
            registry: make.0,
        }
    }

    /// The counters of a method.
    pub fn rpc(&self, rpc: Rpc) -> &RpcCounters {
        &self.rpcs[rpc as usize]
    }

    /// Counts a request that ended with `code`.
    pub fn handled(&self, rpc: Rpc, code: &str) {
        if code == "OK" {
            self.rpc(rpc).handled_ok.inc();
        } else {
            let labels = [rpc.flow().label(), rpc.service(), rpc.method(), code];
            self.handled.with_label_values(&labels).inc();
        }
    }

    /// Counts a client's request by the version of its library.
    pub fn client_request(&self, kind: &str, version: &str) {
        self.client_requests.with_label_values(&[kind, version]).inc();
    }

    /// Counts a stream that ended badly: `direction` is `receive` or `send`.
    pub fn stream_failure(&self, direction: &str, api: &str) {
        self.stream_failures.with_label_values(&[direction, api]).inc();
    }

    /// Notes the result of one check of `/livez` or `/readyz`.
    pub fn health_check(&self, kind: &str, name: &str, healthy: bool) {
        self.healthcheck.with_label_values(&[kind, name]).set(f64::from(u8::from(healthy)));
        let status = if healthy { "success" } else { "error" };
        self.healthchecks.with_label_values(&[kind, name, status]).inc();
    }

    /// All metrics as text, the node's as `status` has them.
    pub fn render(&self, status: &NodeStatus) -> Vec<u8> {
        let mirror = self.mirror.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        mirror.show(status);
        let mut text = Vec::new();
        let families = self.registry.gather();
        if let Err(error) = TextEncoder::new().encode(&families, &mut text) {
            tracing::warn!(%error, "cannot write metrics");
        }
        text
    }
}

fn rpc_counters(make: &Registrar) -> (Vec<RpcCounters>, IntCounterVec) {
    let labels = ["grpc_type", "grpc_service", "grpc_method"];
    let started = make.counters("grpc_server_started_total", "RPCs started on the server.", &labels);
    let received = make.counters("grpc_server_msg_received_total", "Messages received on the server.", &labels);
    let sent = make.counters("grpc_server_msg_sent_total", "Messages sent by the server.", &labels);
    let coded = ["grpc_type", "grpc_service", "grpc_method", "grpc_code"];
    let handled = make.counters("grpc_server_handled_total", "RPCs completed on the server.", &coded);
    let rpcs = Rpc::ALL.iter().map(|rpc| {
        let of = [rpc.flow().label(), rpc.service(), rpc.method()];
        RpcCounters {
            started: started.with_label_values(&of),
            received: received.with_label_values(&of),
            sent: sent.with_label_values(&of),
            handled_ok: handled.with_label_values(&[of[0], of[1], of[2], "OK"]),
        }
    });
    (rpcs.collect(), handled)
}

impl Mirror {
    fn show(&self, status: &NodeStatus) {
        for (gauge, (_, _, reading)) in self.gauges.iter().zip(GAUGES) {
            gauge.set(reading(status).try_into().unwrap_or(i64::MAX));
        }
        for (counter, (_, _, reading)) in self.counters.iter().zip(COUNTERS) {
            counter.inc_by(reading(status).saturating_sub(counter.get()));
        }
        self.alarms.reset();
        for (member, kind) in &status.alarms {
            let kind = match kind {
                AlarmKind::NoSpace => "NOSPACE",
                AlarmKind::Corrupt => "CORRUPT",
            };
            self.alarms.with_label_values(&[member.to_string().as_str(), kind]).set(1.0);
        }
        self.cluster_version.reset();
        if let Some(version) = &status.cluster_version {
            let short = version.rsplit_once('.').map_or(version.as_str(), |(short, _)| short);
            self.cluster_version.with_label_values(&[short]).set(1.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::MemberId;

    #[test]
    fn the_node_is_mirrored_under_etcds_names() {
        let metrics = Metrics::new("8e9e05c52164694d");
        metrics.handled(Rpc::Range, "OK");
        metrics.handled(Rpc::Put, "InvalidArgument");
        let mut status = NodeStatus { leader_changes: 3, revision: 7, ..Default::default() };
        status.leader = Some(MemberId(1));
        status.alarms.push((MemberId(0xab), AlarmKind::NoSpace));
        status.cluster_version = Some("3.7.0".to_string());
        metrics.render(&status);
        let text = String::from_utf8(metrics.render(&status)).expect("text");
        for line in [
            "etcd_server_has_leader 1",
            "etcd_server_leader_changes_seen_total 3",
            "etcd_debugging_mvcc_current_revision 7",
            "etcd_debugging_server_alarms{alarm_type=\"NOSPACE\",server_id=\"ab\"} 1",
            "etcd_cluster_version{cluster_version=\"3.7\"} 1",
            "etcd_server_version{server_version=\"3.7.1\"} 1",
            "grpc_server_started_total{grpc_method=\"Watch\",grpc_service=\"etcdserverpb.Watch\",grpc_type=\"bidi_stream\"} 0",
        ] {
            assert!(text.lines().any(|have| have == line), "{line} is missing in\n{text}");
        }
        status.alarms.clear();
        let text = String::from_utf8(metrics.render(&status)).expect("text");
        assert!(!text.contains("NOSPACE"), "a cleared alarm goes away");
    }
}
