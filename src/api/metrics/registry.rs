//! What is counted, under etcd's names.
//!
//! Invariants: the registry is a value that the composition owns, there is no global; gauges that mirror the
//! node are read from its status when someone asks, so that counting costs the node nothing.

use std::collections::BTreeSet;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use prometheus::{
    Encoder, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder,
};
use tonic::Code;

use crate::api::methods::Rpc;
use crate::api::metrics::mirror;
use crate::api::metrics::process::Process;
use crate::api::status::code_name;
use crate::base::limits;
use crate::node::{NodeStatus, Tallies};

/// The versions that clients are told are those that peers are told.
pub use crate::peer::{STORAGE_VERSION, VERSION as API_VERSION};

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

/// What a server's metrics say of it from the beginning.
#[derive(Clone, Debug, Default)]
pub struct Traits {
    /// The member's id as printed.
    pub member: String,
    /// Whether the time of every request is told (`--metrics=extensive`).
    pub extensive: bool,
    /// Descriptors this process may have.
    pub descriptor_limit: u64,
    /// Feature gates: name, stage, and whether it is open.
    pub features: Vec<(&'static str, &'static str, bool)>,
}

/// All metrics of a server.
pub struct Metrics {
    registry: Registry,
    traits: Traits,
    /// Only where the time of every request is told.
    handling: Option<HistogramVec>,
    rpcs: Vec<RpcCounters>,
    handled: IntCounterVec,
    client_requests: IntCounterVec,
    /// The names of versions that are counted by themselves.
    client_versions: RwLock<BTreeSet<String>>,
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
    /// What the node was asked.
    pub asked: Asked,
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

    fn histograms(&self, name: &str, help: &str, labels: &[&str]) -> HistogramVec {
        self.add(HistogramVec::new(HistogramOpts::new(name, help), labels))
    }

    fn histograms_of(&self, name: &str, help: &str, labels: &[&str], buckets: Vec<f64>) -> HistogramVec {
        self.add(HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets), labels))
    }

    fn histogram(&self, name: &str, help: &str, buckets: Vec<f64>) -> Histogram {
        self.add(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets)))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.add(GaugeVec::new(Opts::new(name, help), labels))
    }
}

/// What the node was asked by way of this porch, and how long it took.
pub struct Asked {
    /// How long the node took for what was asked of it, by kind and outcome.
    request_seconds: HistogramVec,
    range_seconds: HistogramVec,
    /// Time of `Hash`.
    pub hash_seconds: Histogram,
    /// Time of `HashKV`.
    pub hash_rev_seconds: Histogram,
    /// Time of `Defragment`.
    pub defrag_seconds: Histogram,
    /// Time of `Snapshot`, until its last blob was taken.
    pub snapshot_seconds: Histogram,
    /// Seconds that leases were granted for by way of this member.
    pub lease_ttl: Histogram,
    /// Proposals that came to nothing.
    pub proposals_failed: IntCounter,
    /// Linearizable reads that were not confirmed in time.
    pub slow_read_indexes: IntCounter,
    /// Linearizable reads that could not be asked for.
    pub read_indexes_failed: IntCounter,
    /// Leases renewed by way of this member.
    pub leases_renewed: IntCounter,
    /// Events sent to watchers.
    pub events: IntCounter,
}

impl Asked {
    fn new(make: &Registrar) -> Self {
        Self {
            request_seconds: make.histograms_of(
                "etcd_server_request_duration_seconds",
                "Response latency histogram in seconds for each type.",
                &["type", "success"],
                buckets(0.001, 14),
            ),
            range_seconds: make.histograms_of(
                "etcd_server_range_duration_seconds",
                "The latency distributions of range requests.",
                &["success"],
                buckets(0.0001, 20),
            ),
            hash_seconds: make.histogram("etcd_mvcc_hash_duration_seconds", "Latencies of Hash.", buckets(0.01, 15)),
            hash_rev_seconds: make.histogram(
                "etcd_mvcc_hash_rev_duration_seconds",
                "Latencies of HashKV.",
                buckets(0.01, 15),
            ),
            defrag_seconds: make.histogram(
                "etcd_disk_backend_defrag_duration_seconds",
                "The latency distribution of defragmentation.",
                buckets(0.1, 13),
            ),
            snapshot_seconds: make.histogram(
                "etcd_disk_backend_snapshot_duration_seconds",
                "The latency distribution of backend snapshots.",
                buckets(0.01, 17),
            ),
            lease_ttl: make.histogram(
                "etcd_debugging_lease_ttl_total",
                "Bucketed histogram of lease TTLs.",
                buckets(1.0, 24),
            ),
            proposals_failed: make
                .counter("etcd_server_proposals_failed_total", "The total number of failed proposals seen."),
            slow_read_indexes: make.counter(
                "etcd_server_slow_read_indexes_total",
                "The total number of pending read indexes not in sync with leader's or timed out read index requests.",
            ),
            read_indexes_failed: make
                .counter("etcd_server_read_indexes_failed_total", "The total number of failed read indexes seen."),
            leases_renewed: make
                .counter("etcd_debugging_lease_renewed_total", "The number of renewed leases seen by this member."),
            events: make.counter("etcd_debugging_mvcc_events_total", "Total number of events sent by this member."),
        }
    }
}

/// So many bounds, each twice the one before.
fn buckets(first: f64, count: usize) -> Vec<f64> {
    prometheus::exponential_buckets(first, 2.0, count).expect("the bounds are well formed literals")
}

impl Metrics {
    /// All metrics, at zero.
    pub fn new(traits: Traits) -> Self {
        let make = Registrar(Registry::new());
        let (rpcs, handled) = rpc_counters(&make);
        make.gauges("etcd_server_version", "Which version is running.", &["server_version"])
            .with_label_values(&[API_VERSION])
            .set(1.0);
        make.gauges("etcd_server_id", "Server or member ID in hexadecimal format.", &["server_id"])
            .with_label_values(&[traits.member.as_str()])
            .set(1.0);
        let help = "Whether or not a feature is enabled. 1 is enabled, 0 is not.";
        let features = make.gauges("etcd_server_feature_enabled", help, &["name", "stage"]);
        for (name, stage, open) in &traits.features {
            features.with_label_values(&[name, stage]).set(f64::from(u8::from(*open)));
        }
        let labels = ["grpc_type", "grpc_service", "grpc_method"];
        let help =
            "Histogram of response latency (seconds) of gRPC that had been application-level handled by the server.";
        let handling = traits.extensive.then(|| make.histograms("grpc_server_handling_seconds", help, &labels));
        for rpc in handling.iter().flat_map(|_| Rpc::ALL) {
            let of = [rpc.flow().label(), rpc.service(), rpc.method()];
            handling.iter().for_each(|handling| drop(handling.with_label_values(&of)));
        }
        Self {
            traits,
            handling,
            rpcs,
            handled,
            client_requests: make.counters(
                "etcd_server_client_requests_total",
                "The total number of client requests per client version.",
                &["type", "client_api_version"],
            ),
            client_versions: RwLock::default(),
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
            asked: Asked::new(&make),
            registry: make.0,
        }
    }

    /// The counters of a method.
    pub fn rpc(&self, rpc: Rpc) -> &RpcCounters {
        &self.rpcs[rpc as usize]
    }

    /// Descriptors this process may have.
    pub fn descriptor_limit(&self) -> u64 {
        self.traits.descriptor_limit
    }

    /// Counts a request that ended with `code` after so long.
    pub fn handled(&self, rpc: Rpc, code: &str, after: Duration) {
        if let Some(handling) = &self.handling {
            let labels = [rpc.flow().label(), rpc.service(), rpc.method()];
            handling.with_label_values(&labels).observe(after.as_secs_f64());
        }
        if code == "OK" {
            self.rpc(rpc).handled_ok.inc();
        } else {
            let labels = [rpc.flow().label(), rpc.service(), rpc.method(), code];
            self.handled.with_label_values(&labels).inc();
        }
    }

    /// Counts a client's request by the version of its library. Clients name their versions as they like: those beyond a
    /// number of names are counted together.
    pub fn client_request(&self, kind: &str, version: &str) {
        let version = if self.is_counted(version) { version } else { "other" };
        self.client_requests.with_label_values(&[kind, version]).inc();
    }

    fn is_counted(&self, version: &str) -> bool {
        if self.client_versions.read().unwrap_or_else(PoisonError::into_inner).contains(version) {
            return true;
        }
        let mut versions = self.client_versions.write().unwrap_or_else(PoisonError::into_inner);
        versions.len() < limits::CLIENT_VERSIONS && versions.insert(version.to_string())
    }

    /// Notes how long the node took for a request, as etcd calls its kind.
    pub fn requested(&self, kind: &str, success: bool, took: Duration) {
        let success = if success { "true" } else { "false" };
        self.asked.request_seconds.with_label_values(&[kind, success]).observe(took.as_secs_f64());
        if kind == "Range" {
            self.asked.range_seconds.with_label_values(&[success]).observe(took.as_secs_f64());
        }
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

    /// All metrics as text: those counted here, the node's, and the process's.
    pub fn render(&self, status: &NodeStatus, tallies: &Tallies) -> Vec<u8> {
        let mut families = self.registry.gather();
        families.extend(mirror::families(status, tallies, &Process::read(self.traits.descriptor_limit)));
        families.sort_by(|one, other| one.name().cmp(other.name()));
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&families, &mut text) {
            tracing::warn!(%error, "cannot write metrics");
        }
        text
    }
}

/// Every code a call may end with.
const CODES: [Code; 17] = [
    Code::Ok,
    Code::Cancelled,
    Code::Unknown,
    Code::InvalidArgument,
    Code::DeadlineExceeded,
    Code::NotFound,
    Code::AlreadyExists,
    Code::PermissionDenied,
    Code::ResourceExhausted,
    Code::FailedPrecondition,
    Code::Aborted,
    Code::OutOfRange,
    Code::Unimplemented,
    Code::Internal,
    Code::Unavailable,
    Code::DataLoss,
    Code::Unauthenticated,
];

fn rpc_counters(make: &Registrar) -> (Vec<RpcCounters>, IntCounterVec) {
    let labels = ["grpc_type", "grpc_service", "grpc_method"];
    let started = make.counters("grpc_server_started_total", "RPCs started on the server.", &labels);
    let received = make.counters("grpc_server_msg_received_total", "Messages received on the server.", &labels);
    let sent = make.counters("grpc_server_msg_sent_total", "Messages sent by the server.", &labels);
    let coded = ["grpc_type", "grpc_service", "grpc_method", "grpc_code"];
    let handled = make.counters("grpc_server_handled_total", "RPCs completed on the server.", &coded);
    let rpcs = Rpc::ALL.iter().map(|rpc| {
        let of = [rpc.flow().label(), rpc.service(), rpc.method()];
        // All there from the start, as at etcd: of a series that begins with its first failure no rate shows that one.
        for code in CODES {
            handled.with_label_values(&[of[0], of[1], of[2], code_name(code)]);
        }
        RpcCounters {
            started: started.with_label_values(&of),
            received: received.with_label_values(&of),
            sent: sent.with_label_values(&of),
            handled_ok: handled.with_label_values(&[of[0], of[1], of[2], "OK"]),
        }
    });
    (rpcs.collect(), handled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::MemberId;
    use crate::machine::{AlarmKind, Answer, Command, Put};
    use crate::node::TurnOps;

    #[test]
    fn the_node_is_mirrored_under_etcds_names() {
        let metrics = Metrics::new(Traits::default());
        metrics.handled(Rpc::Range, "OK", Duration::ZERO);
        metrics.handled(Rpc::Put, "InvalidArgument", Duration::ZERO);
        let mut status = NodeStatus { leader_changes: 3, revision: 7, ..Default::default() };
        status.leader = Some(MemberId(1));
        status.alarms.push((MemberId(0xab), AlarmKind::NoSpace));
        status.cluster_version = Some("3.7.0".to_string());
        let tallies = Tallies::default();
        let text = String::from_utf8(metrics.render(&status, &tallies)).expect("text");
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
        let of_codes = text.lines().filter(|line| line.starts_with("grpc_server_handled_total{")).count();
        assert_eq!(of_codes, Rpc::ALL.len() * CODES.len(), "each of each from the start");
        // As they are on the page of stock etcd 3.7.1.
        let codes = "Aborted AlreadyExists Canceled DataLoss DeadlineExceeded FailedPrecondition Internal InvalidArgument \
                     NotFound OK OutOfRange PermissionDenied ResourceExhausted Unauthenticated Unavailable Unimplemented Unknown";
        let named = text
            .lines()
            .filter_map(|line| line.strip_prefix("grpc_server_handled_total{grpc_code=\"")?.split('"').next());
        assert_eq!(named.collect::<BTreeSet<_>>(), codes.split_whitespace().collect());
        let at_one: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("grpc_server_handled_total{") && !line.ends_with(" 0"))
            .collect();
        assert_eq!(
            at_one,
            [
                "grpc_server_handled_total{grpc_code=\"InvalidArgument\",grpc_method=\"Put\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"} 1",
                "grpc_server_handled_total{grpc_code=\"OK\",grpc_method=\"Range\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"} 1",
            ]
        );
        let mut named = BTreeSet::new();
        let helped = text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next());
        assert!(helped.into_iter().all(|name| named.insert(name)), "a family stands there once");
        let bounds = |name: &str| {
            let of_it = text.lines().filter(|line| line.starts_with(name) && line.contains("_bucket{"));
            of_it
                .filter_map(|line| line.split("le=\"").nth(1)?.split('"').next())
                .map(str::to_owned)
                .collect::<BTreeSet<_>>()
        };
        assert!(bounds("etcd_server_request_duration_seconds").iter().all(|bound| bound != "0.0001"));
        for name in ["etcd_disk_wal_fsync_duration_seconds", "etcd_disk_backend_commit_duration_seconds"] {
            assert!(bounds(name).contains("8.192"), "{name}");
        }
        for (name, first, last) in [
            ("etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds", "1", "4096"),
            ("etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds", "0.5", "4096"),
            ("etcd_debugging_mvcc_db_compaction_total_duration_milliseconds", "100", "819200"),
        ] {
            assert!(bounds(name).contains(first) && bounds(name).contains(last), "{name} {:?}", bounds(name));
        }
        status.alarms.clear();
        let text = String::from_utf8(metrics.render(&status, &tallies)).expect("text");
        assert!(!text.contains("NOSPACE"), "a cleared alarm goes away");
    }

    #[test]
    fn however_many_versions_clients_name_the_page_stays_small() {
        let metrics = Metrics::new(Traits::default());
        for number in 0..20_000 {
            metrics.client_request("unary", &format!("v{number}"));
        }
        let text = String::from_utf8(metrics.render(&NodeStatus::default(), &Tallies::default())).expect("text");
        let lines = text.lines().filter(|line| line.starts_with("etcd_server_client_requests_total{")).count();
        assert_eq!(lines, limits::CLIENT_VERSIONS + 1);
        assert!(text.contains("client_api_version=\"other\",type=\"unary\"} 19936"), "{text}");
    }

    /// Families of stock etcd 3.7.1 that are not here, and why.
    const ABSENT: &[(&str, &str)] = &[
        ("go_", "there is no Go runtime"),
        ("promhttp_", "of Go's library for metrics"),
        ("etcd_server_go_version", "there is no Go runtime"),
        ("etcd_grpc_proxy_", "the proxy is not built"),
        ("etcd_debugging_disk_backend_commit_", "steps of writing etcd's database file, which there is not"),
        ("etcd_debugging_server_watch_send_loop_", "there is no such loop"),
        ("etcd_debugging_snap_save_marshalling_duration_seconds", "part of making a checkpoint durable"),
        ("etcd_debugging_store_", "etcd's second interface, which is gone there, too"),
        ("etcd_disk_defrag_inflight", "space is given back all the time"),
        ("etcd_mvcc_db_open_read_transactions", "a view is no transaction"),
        ("etcd_network_known_peers", "told by `peer_metrics`"),
        ("etcd_server_heartbeat_send_failures_total", "told by `peer_metrics`"),
        ("etcd_server_learner_promote_successes", "told by `peer_metrics`"),
        ("process_network_", "counts of the whole machine"),
        ("process_virtual_memory_max_bytes", "no limit of this process"),
    ];

    /// Name, kind and labels of every family of a page.
    fn families(page: &str) -> std::collections::BTreeMap<String, (String, BTreeSet<String>)> {
        let mut all = std::collections::BTreeMap::new();
        for line in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let (name, kind) = line.split_once(' ').expect("a name and a kind");
            let mut labels = BTreeSet::new();
            let samples = page.lines().filter(|line| !line.starts_with('#'));
            for sample in samples {
                let Some((sampled, rest)) = sample.split_once('{') else { continue };
                let bare = ["_bucket", "_sum", "_count"].iter().find_map(|end| sampled.strip_suffix(end));
                if sampled == name || (kind == "histogram" && bare == Some(name)) {
                    let pairs = rest.rsplit_once('}').map_or(rest, |(pairs, _)| pairs);
                    let named =
                        pairs.split("\",").filter_map(|pair| pair.split_once('=')).map(|(name, _)| name.to_string());
                    labels.extend(named.filter(|name| name != "le"));
                }
            }
            all.insert(name.to_string(), (kind.to_string(), labels));
        }
        all
    }

    /// All that a server with peers tells; what has labels shows itself once it counted something.
    fn full_page() -> String {
        let metrics = Metrics::new(Traits {
            member: "1".into(),
            extensive: true,
            descriptor_limit: 9,
            features: vec![("A", "ALPHA", true)],
        });
        metrics.handled(Rpc::Range, "OK", Duration::ZERO);
        metrics.client_request("unary", "3.7");
        metrics.requested("Range", true, Duration::ZERO);
        let (tallies, mut turn) = (Tallies::default(), TurnOps::default());
        turn.applied(Some(&Command::Put(Put::default())), &Ok(Answer::Put { prev_kv: None }));
        tallies.applies.took(&turn, Duration::ZERO);
        let status = NodeStatus { cluster_version: Some("3.7.0".into()), ..Default::default() };
        String::from_utf8(metrics.render(&status, &tallies)).expect("text")
    }

    #[test]
    fn every_family_of_stock_etcd_is_here_or_named_as_absent() {
        let stock = families(include_str!("../../../jepsen/recorded/metrics-3.7.1.txt"));
        let page = full_page();
        let own = families(&page);
        let absent = |name: &str| ABSENT.iter().any(|(prefix, _)| name.starts_with(prefix));
        for (name, family) in &stock {
            match own.get(name) {
                Some(have) => assert_eq!(have, family, "{name}"),
                None => assert!(absent(name), "{name} {family:?} is missing"),
            }
        }
        for (prefix, why) in ABSENT {
            assert!(stock.keys().any(|name| name.starts_with(prefix)), "{prefix} ({why}) is not stock's");
            assert!(!own.keys().any(|name| name.starts_with(prefix)), "{prefix} ({why}) is here");
        }
    }

    /// `jepsen/check_rules.sh` looks more closely, with Prometheus' parsers and at running members; this is told at once.
    #[test]
    fn rules_and_dashboard_name_metrics_that_are_here_and_in_stock_etcd() {
        let members = families(include_str!("../../../jepsen/recorded/metrics-members-3.7.1.txt"));
        let stock = families(include_str!("../../../jepsen/recorded/metrics-3.7.1.txt"));
        let own = families(&full_page());
        let texts = [
            include_str!("../../../contrib/prometheus/alerts.yaml"),
            include_str!("../../../contrib/grafana/dashboard.json"),
        ];
        let mut named = BTreeSet::new();
        for word in texts.iter().flat_map(|text| text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')) {
            let prefixes = ["etcd_", "quorate_", "grpc_server_", "process_"];
            if prefixes.iter().any(|prefix| word.starts_with(prefix)) {
                let part = ["_bucket", "_sum", "_count"].iter().find_map(|part| word.strip_suffix(part));
                named.insert(part.filter(|whole| own.contains_key(*whole)).unwrap_or(word));
            }
        }
        assert!(named.len() > 30, "{named:?}");
        for name in named {
            // What members tell of each other is rendered elsewhere, from real connections.
            if members.contains_key(name) || members.keys().any(|family| name.strip_suffix("_bucket") == Some(family)) {
                continue;
            }
            assert!(
                own.contains_key(name) || name == "etcd_server_heartbeat_send_failures_total",
                "{name} is not here"
            );
            assert!(stock.contains_key(name) || name.starts_with("quorate_"), "{name} is not in stock etcd");
        }
    }
}
