//! Every flag of etcd 3.7 and ours, one line each.
//!
//! Invariant: names and defaults of etcd's flags are etcd's.

/// What values a flag takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Kind {
    Text,
    Bool,
    /// Anything, and nothing.
    Any,
    Unsigned,
    Signed,
    /// As `100ms` or `2h0m0s`.
    Duration,
    /// `http://host:port`, separated by commas.
    Urls,
    /// Words, separated by commas.
    Words,
    /// URLs or `*`, separated by commas.
    Origins,
    /// Feature gates: `A=true,B=false`.
    Gates,
    /// A level of the log.
    Level,
    OneOf(&'static [&'static str]),
    /// As `OneOf`, where etcd's flag library is what refuses another.
    Choice(&'static [&'static str]),
    /// Some of a few, separated by commas, by the reader of etcd's that says the wrong one.
    Choices(&'static [&'static str]),
}

/// Whether a flag does something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It does what etcd's does.
    Built,
    /// Accepted with a warning that says why it does nothing here.
    Ignored(&'static str),
}

/// Where a flag stands in the help.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the titles say it")]
pub enum Group {
    Member,
    Clustering,
    Limits,
    Compaction,
    Security,
    Logging,
    Monitoring,
}

impl Group {
    /// Every group, in the order of the help.
    pub const ALL: &'static [Self] = &[
        Self::Member,
        Self::Clustering,
        Self::Limits,
        Self::Compaction,
        Self::Security,
        Self::Logging,
        Self::Monitoring,
    ];

    /// The title.
    pub fn title(self) -> &'static str {
        match self {
            Self::Member => "Member",
            Self::Clustering => "Clustering",
            Self::Limits => "Limits",
            Self::Compaction => "Compaction and history",
            Self::Security => "Security",
            Self::Logging => "Logging",
            Self::Monitoring => "Monitoring",
        }
    }
}

/// A flag.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flag {
    /// Its name, without dashes.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What it is when not given.
    pub default: &'static str,
    /// Where the help shows it.
    pub group: Group,
    /// Whether it does something.
    pub standing: Standing,
    /// What it does.
    pub help: &'static str,
}

impl Flag {
    /// The environment variable that sets it.
    pub fn variable(&self) -> String {
        format!("ETCD_{}", self.name.to_uppercase().replace('-', "_"))
    }

    /// Whether `value` says what the default says.
    pub fn is_default(&self, value: &str) -> bool {
        use crate::server::values;
        value == self.default
            || match self.kind {
                Kind::Bool => values::boolean(value).ok() == values::boolean(self.default).ok(),
                Kind::Duration => values::duration(value).ok() == values::duration(self.default).ok(),
                Kind::Unsigned => values::unsigned(value).ok() == values::unsigned(self.default).ok(),
                _ => false,
            }
    }
}

const fn built(group: Group, name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Flag {
    Flag { name, kind, default, group, standing: Standing::Built, help }
}

const fn ignored(name: &'static str, kind: Kind, default: &'static str, why: &'static str) -> Flag {
    Flag { name, kind, default, group: Group::Member, standing: Standing::Ignored(why), help: "" }
}

use Group::{Clustering, Compaction, Limits, Logging, Member, Monitoring, Security};
use Kind::{Any, Bool, Choice, Choices, Duration, Gates, Level, OneOf, Origins, Signed, Text, Unsigned, Urls, Words};

/// Reasons that several flags have in common.
const NO_FILES: &str = "what is behind a checkpoint is released at once";
const LONG_GONE: &str = "etcd takes it for the sake of old scripts alone, too";
const NO_BBOLT: &str = "there is no bbolt file";
const OWN_TIMES: &str = "connections between members have their own times";
const SLICES: &str = "compaction goes in slices of its own";

/// Flags that etcd warns of wherever they are given, and its text.
pub const DEPRECATED: &[(&str, &str)] = &[
    ("max-snapshots", "--max-snapshots is deprecated in 3.6 and will be decommissioned in 3.8."),
    (
        "v2-deprecation",
        "--v2-deprecation is deprecated and scheduled for removal in v3.8. The default value is enforced, ignoring user input.",
    ),
];

/// A time that may be negative: then every request takes longer.
pub const SLOW_REQUESTS: &str = "warning-unary-request-duration";

/// Every flag.
#[rustfmt::skip]
pub const FLAGS: &[Flag] = &[
    built(Member, "name", Text, "default", "Human-readable name of this member."),
    built(Member, "data-dir", Text, "", "Directory of the data; '<name>.etcd' if not given."),
    built(Member, "wal-dir", Text, "", "Directory of the log, perhaps on another disk; 'wal' in the data directory if not given."),
    built(Member, "listen-client-urls", Urls, "http://localhost:2379", "URLs to listen on for clients."),
    built(Member, "listen-peer-urls", Urls, "http://localhost:2380", "URLs to listen on for peers."),
    built(Member, "heartbeat-interval", Unsigned, "100", "Time of a heartbeat, in milliseconds."),
    built(Member, "election-timeout", Unsigned, "1000", "Time without a leader before an election, in milliseconds."),
    built(Member, "initial-election-tick-advance", Bool, "true", "Fast-forward the first election at start."),
    built(Member, "snapshot-count", Unsigned, "100000", "Log entries after which a checkpoint is made; 0 is the default."),
    built(Member, "snapshot-catchup-entries", Unsigned, "5000", "Log entries kept after a checkpoint, for members that are a little behind."),
    built(Member, "socket-reuse-port", Bool, "false", "Let others that share ports listen at the same ones."),
    built(Member, "socket-reuse-address", Bool, "false", "Listen where a server was that has just ended: always so."),
    built(Clustering, "initial-advertise-peer-urls", Urls, "http://localhost:2380", "This member's peer URLs, told to the cluster."),
    built(Clustering, "advertise-client-urls", Urls, "http://localhost:2379", "This member's client URLs, told to the cluster."),
    built(Clustering, "initial-cluster", Text, "", "Members at first start: 'name=url,...'."),
    built(Clustering, "discovery-srv", Text, "", "DNS domain whose SRV records name the members of a new cluster."),
    built(Clustering, "discovery-srv-name", Text, "", "End of the services' names there: '_etcd-server-NAME._tcp'."),
    built(Clustering, "discovery-token", Text, "", "Name of the new cluster in a registry (v3 discovery)."),
    built(Clustering, "discovery-endpoints", Words, "", "The cluster that keeps the registry."),
    built(Clustering, "discovery-dial-timeout", Duration, "2s", "Time a connection to it may take."),
    built(Clustering, "discovery-request-timeout", Duration, "5s", "Time a request to it may take."),
    built(Clustering, "discovery-keepalive-time", Duration, "2s", "Time between pings to it."),
    built(Clustering, "discovery-keepalive-timeout", Duration, "6s", "Time it has to answer one."),
    built(Clustering, "discovery-insecure-transport", Bool, "true", "Whether it is reached without encryption."),
    built(Clustering, "discovery-insecure-skip-tls-verify", Bool, "false", "Whether any server is believed to be it."),
    built(Clustering, "discovery-cert", Text, "", "Certificate shown to it."),
    built(Clustering, "discovery-key", Text, "", "Its key."),
    built(Clustering, "discovery-cacert", Text, "", "Authorities by which it is trusted."),
    built(Clustering, "discovery-user", Text, "", "User there, as name or name:password."),
    built(Clustering, "discovery-password", Text, "", "The user's password."),
    built(Clustering, "discovery-fallback", Choice(&["exit", "proxy"]), "exit", "What to do where nothing is found: 'exit' is all there is."),
    built(Clustering, "initial-cluster-state", Choice(&["new", "existing"]), "new", "Whether the cluster is 'new' or 'existing', at first start."),
    built(Clustering, "force-new-cluster", Bool, "false", "Go on alone with one's data and remove the others: for when a majority is lost for good."),
    built(Clustering, "initial-cluster-token", Text, "etcd-cluster", "Token that sets clusters apart."),
    built(Clustering, "strict-reconfig-check", Bool, "true", "Refuse changes of members that would lose the quorum."),
    built(Clustering, "pre-vote", Bool, "true", "Ask before an election whether it could be won."),
    built(Clustering, "rebuild-from-peers", Bool, "false", "At this start, take the other members' data in place of one's own. (quorate)"),
    built(Clustering, "rebuild-when-diverged", Bool, "false", "Do so whenever a majority finds that one's own differ. (quorate)"),
    built(Limits, "quota-backend-bytes", Signed, "0", "Storage quota in bytes; 0 is 2 GiB, negative is none."),
    built(Limits, "max-txn-ops", Unsigned, "128", "Operations in one list of a transaction."),
    built(Limits, "max-request-bytes", Unsigned, "1572864", "Largest request in bytes."),
    built(Limits, "max-concurrent-streams", Unsigned, "4294967295", "Requests and streams at once on one connection."),
    built(Limits, "grpc-keepalive-min-time", Duration, "5s", "Least time between a client's pings; 0 is 5 minutes."),
    built(Limits, "grpc-keepalive-interval", Duration, "2h0m0s", "Time between pings to a silent client; 0 is never."),
    built(Limits, "grpc-keepalive-timeout", Duration, "20s", "Time a client has to answer a ping."),
    built(Limits, "value-cache-bytes", Unsigned, "134217728", "Memory for values; what is beyond is read from disk. (quorate)"),
    built(Compaction, "auto-compaction-mode", Text, "periodic", "What the retention counts: 'periodic' is time, 'revision' revisions."),
    built(Compaction, "auto-compaction-retention", Text, "0", "History kept: hours or a duration, or revisions; 0 keeps all."),
    built(Compaction, "watch-progress-notify-interval", Duration, "0s", "Time between progress notices of quiet watches; 0s is 10m."),
    built(Monitoring, "history-scrub-interval", Duration, "6h0m0s", "Time between two readings of all history for damage, the first within it; 0 is never. (quorate)"),
    built(Monitoring, "corrupt-check-time", Duration, "0s", "Time between two comparisons of the members' data as they lie; 0s is none."),
    built(Monitoring, "compact-hash-check-time", Duration, "1m0s", "Time between two comparisons of what was compacted (gate CompactHashCheck)."),
    built(Monitoring, "feature-gates", Gates, "", "Gates, as InitialCorruptCheck=true,CompactHashCheck=true."),
    built(Logging, "logger", Text, "zap", "Kind of log lines; 'zap' is the only one."),
    built(Logging, "log-level", Level, "info", "Least level that is logged."),
    built(Logging, "log-format", Text, "json", "Form of log lines."),
    built(Logging, "log-outputs", Words, "default", "Where the log goes: 'default' or 'stderr', 'stdout', or files."),
    built(Logging, "enable-log-rotation", Bool, "false", "Put a log file aside when it is full; --log-outputs must name one."),
    built(Logging, "log-rotation-config-json", Text, r#"{"maxsize": 100, "maxage": 0, "maxbackups": 0, "localtime": false, "compress": false}"#, "When it is full (megabytes), how long (days) and how many of them are kept."),
    built(Monitoring, "metrics", OneOf(&["basic", "extensive"]), "basic", "Detail of metrics; 'extensive' adds the time of every kind of request."),
    built(Monitoring, "listen-metrics-urls", Urls, "", "Further URLs that serve only metrics and health."),
    built(Member, "config-file", Text, "", "YAML file that says it all: other flags and variables are then not looked at."),
    built(Member, "listen-client-http-urls", Urls, "", "URLs for HTTP alone; --listen-client-urls then serves gRPC alone."),
    built(Monitoring, "cors", Origins, "*", "Web origins that may read answers; '*' is any."),
    built(Security, "cert-file", Text, "", "Certificate that clients are shown."),
    built(Security, "key-file", Text, "", "Its key."),
    built(Security, "client-cert-file", Text, "", "Certificate shown where this server is a client; the server's own where not given."),
    built(Security, "client-key-file", Text, "", "Its key."),
    built(Security, "client-cert-auth", Bool, "false", "Clients must show a certificate."),
    built(Security, "client-crl-file", Text, "", "Certificates of clients that were revoked."),
    built(Security, "client-cert-allowed-hostname", Words, "", "Hosts that certificates of clients must be for, any of them."),
    built(Security, "trusted-ca-file", Text, "", "Authorities by which clients are trusted; with it they must show a certificate."),
    built(Security, "auto-tls", Bool, "false", "Make a certificate for clients to see, in the data directory."),
    built(Security, "peer-cert-file", Text, "", "Certificate that peers are shown."),
    built(Security, "peer-key-file", Text, "", "Its key."),
    built(Security, "peer-client-cert-file", Text, "", "Certificate shown to peers that are connected to; the one above where not given."),
    built(Security, "peer-client-key-file", Text, "", "Its key."),
    built(Security, "peer-client-cert-auth", Bool, "false", "Peers must show a certificate."),
    built(Security, "peer-trusted-ca-file", Text, "", "Authorities by which peers are trusted; with it they must show a certificate."),
    built(Security, "peer-auto-tls", Bool, "false", "Make a certificate for peers to see, in the data directory."),
    built(Security, "self-signed-cert-validity", Unsigned, "1", "Years that certificates of --auto-tls and --peer-auto-tls are good for."),
    built(Security, "peer-crl-file", Text, "", "Certificates of peers that were revoked."),
    built(Security, "peer-cert-allowed-cn", Words, "", "Common names that certificates of peers must have, any of them."),
    built(Security, "peer-cert-allowed-hostname", Words, "", "Hosts that certificates of peers must be for, any of them."),
    built(Security, "cipher-suites", Words, "", "Cipher suites of TLS 1.2; of several the one that the client likes best is taken."),
    built(Security, "peer-skip-client-san-verification", Bool, "false", "Peers may come from addresses that their certificates are not for."),
    built(Security, "tls-min-version", Text, "TLS1.2", "Least version of TLS: TLS1.2 or TLS1.3."),
    built(Security, "tls-max-version", Text, "", "Greatest version of TLS; empty is the greatest there is."),
    built(Security, "host-whitelist", Words, "*", "Names by which HTTP requests without TLS may call this server."),
    built(Monitoring, SLOW_REQUESTS, Duration, "300ms", "Time beyond which a request is slow; of each method one in ten seconds is told in the log. 0 is the default; if negative every one is."),
    built(Monitoring, "enable-distributed-tracing", Bool, "false", "Tell a collector of OpenTelemetry of requests."),
    built(Monitoring, "distributed-tracing-address", Text, "localhost:4317", "Where it takes OTLP by gRPC, not encrypted: host:port."),
    built(Monitoring, "distributed-tracing-service-name", Text, "etcd", "The name of the service it is told; the same for all members."),
    built(Monitoring, "distributed-tracing-instance-id", Text, "", "What tells this member from the others there."),
    built(Monitoring, "distributed-tracing-sampling-rate", Signed, "0", "Of a million traces that no client began, so many are told."),
    built(Member, "enable-grpc-gateway", Bool, "true", "Serve the JSON gateway under /v3/."),
    built(Security, "auth-token", Text, "simple", "tokens of users: simple, or jwt,sign-method=METHOD,priv-key=FILE,pub-key=FILE,ttl=10m"),
    built(Security, "bcrypt-cost", Unsigned, "10", "cost of a password's hash, 4 to 31"),
    built(Security, "auth-token-ttl", Unsigned, "300", "seconds a simple token lives that is not used"),
    built(Member, "memory-mlock", Bool, "false", "Keep what is in memory from being swapped out; needs LimitMEMLOCK=infinity or CAP_IPC_LOCK."),
    built(Clustering, "max-learners", Signed, "1", "Learners in the cluster, as far as they are added here."),

    ignored("enable-pprof", Bool, "false", "profiles are Go's"),
    ignored("unsafe-no-fsync", Bool, "false", "an acknowledged write is always on the disk first"),
    ignored("max-snapshots", Unsigned, "5", NO_FILES),
    ignored("max-wals", Unsigned, "5", NO_FILES),
    ignored("backend-bbolt-freelist-type", Text, "", NO_BBOLT),
    ignored("backend-batch-interval", Duration, "0s", NO_BBOLT),
    ignored("backend-batch-limit", Signed, "0", NO_BBOLT),
    ignored("raft-read-timeout", Duration, "5s", OWN_TIMES),
    ignored("raft-write-timeout", Duration, "5s", OWN_TIMES),
    ignored("compaction-batch-limit", Signed, "0", SLICES),
    ignored("compaction-sleep-interval", Duration, "0s", SLICES),
    ignored("downgrade-check-time", Duration, "5s", "a downgrade is ended by who began it"),
    ignored("warning-apply-duration", Duration, "100ms", "entries are applied many at a time"),
    ignored("bootstrap-defrag-threshold-megabytes", Unsigned, "0", "space is given back all the time"),
    ignored("cluster-active-size", Any, "", LONG_GONE),
    ignored("cluster-remove-delay", Any, "", LONG_GONE),
    ignored("cluster-sync-interval", Any, "", LONG_GONE),
    ignored("config", Any, "", LONG_GONE),
    ignored("force", Any, "", LONG_GONE),
    ignored("max-result-buffer", Any, "", LONG_GONE),
    ignored("max-retry-attempts", Any, "", LONG_GONE),
    ignored("peer-heartbeat-interval", Any, "", LONG_GONE),
    ignored("peer-election-timeout", Any, "", LONG_GONE),
    ignored("retry-interval", Any, "", LONG_GONE),
    ignored("snapshot", Any, "", LONG_GONE),
    ignored("v", Any, "", LONG_GONE),
    ignored("vv", Any, "", LONG_GONE),
    ignored("test.coverprofile", Any, "", LONG_GONE),
    ignored("test.outputdir", Any, "", LONG_GONE),
    ignored("v2-deprecation", Choices(&["write-only", "write-only-drop-data", "gone"]), "write-only", "there is no v2 store"),
];
