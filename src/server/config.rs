//! The effective configuration: flags turned into values that hold together.
//!
//! Invariant: what stands here can be served; everything that cannot be is refused before anything is
//! touched, with one line that names the flag. Does not know of files or sockets.

use std::time::Duration;

use crate::api::{Tracing, Web};
use crate::base::{Refusal, Url, limits};
use crate::node::AutoCompaction;
use crate::server::auto_compaction;
use crate::server::discovery::Discovery;
use crate::server::features::Features;
use crate::server::flags::{self, Flags};
use crate::server::founding::{self, InitialMember};
use crate::server::log_rotation::Rotation;
use crate::server::security::Security;
use crate::server::socket::{Listen, Listening, Place};
use crate::server::values;

/// A server's configuration.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are the flags")]
pub struct Config {
    pub name: String,
    pub data_dir: String,
    /// Empty is in the data directory.
    pub wal_dir: String,
    pub listening: Listening,
    pub advertise_client_urls: Vec<String>,
    pub security: Security,
    pub advertise_peer_urls: Vec<String>,
    /// Sorted by name. Where the flags do not hold together, or the members are yet to be found, it is this member alone.
    pub initial_cluster: Vec<InitialMember>,
    /// Where the members of a new cluster are found that the flags do not name.
    pub discovery: Option<Discovery>,
    /// Whether the flags that describe the first start hold together, or what is wrong. A later start does not ask.
    pub first_start: Result<(), String>,
    pub initial_cluster_token: String,
    /// Whether `--initial-cluster-state` is `existing`.
    pub cluster_exists: bool,
    pub force_new_cluster: bool,
    pub initial_election_tick_advance: bool,
    pub heartbeat: Duration,
    pub election_timeout: Duration,
    pub snapshot_count: u64,
    pub snapshot_catchup_entries: u64,
    /// `None` compacts nothing by itself.
    pub auto_compaction: Option<AutoCompaction>,
    /// `None` is no quota.
    pub quota_bytes: Option<u64>,
    pub max_txn_ops: usize,
    pub max_learners: usize,
    /// Whether what is in memory stays there.
    pub memory_mlock: bool,
    pub max_request_bytes: usize,
    pub max_concurrent_streams: u32,
    /// `None` sends no pings.
    pub keepalive_interval: Option<Duration>,
    pub keepalive_timeout: Duration,
    /// The least between a client's pings.
    pub ping_time: Duration,
    pub value_cache_bytes: usize,
    pub watch_progress_interval: Duration,
    pub pre_vote: bool,
    pub strict_reconfig_check: bool,
    pub rebuild_from_peers: bool,
    pub rebuild_when_diverged: bool,
    pub features: Features,
    /// `None` never reads.
    pub history_scrub_interval: Option<Duration>,
    /// `None` compares nothing.
    pub corrupt_check_time: Option<Duration>,
    /// `None` compares nothing.
    pub compact_hash_check_time: Option<Duration>,
    pub log_level: String,
    pub log_format: String,
    pub log_outputs: Vec<String>,
    /// `None` lets files grow.
    pub log_rotation: Option<Rotation>,
    /// What takes longer is slow; with `None` every request is.
    pub slow_request: Option<Duration>,
    pub socket_reuse_port: bool,
    /// What is open by plain HTTP, and for whom.
    pub web: Web,
    /// `None` tells nobody of requests.
    pub tracing: Option<Tracing>,
    /// Whether `--metrics` is `extensive`.
    pub extensive_metrics: bool,
    pub proof: ProofFlags,
}

/// How users prove who they are.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are the flags")]
pub struct ProofFlags {
    pub auth_token: String,
    pub bcrypt_cost: u64,
    pub auth_token_ttl: Duration,
}

/// Longest election timeout, as in etcd.
const MAX_ELECTION_MS: u64 = 50_000;

/// Time between progress notices where the flag gives none, and the least one, as in etcd.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(600);
const MIN_PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// Largest `--max-request-bytes`: a record of the log must hold a request.
const MAX_REQUEST_CEILING: u64 = (limits::MAX_RECORD_BYTES / 2) as u64;

/// Largest `--max-txn-ops`: what a request could hold at all.
const MAX_TXN_OPS_CEILING: u64 = 1_000_000;

/// The flags read as values; each is of its kind already.
struct Reader<'a>(&'a Flags);

impl Reader<'_> {
    fn text(&self, name: &str) -> String {
        self.0.get(name).to_string()
    }

    fn flag(&self, name: &str) -> Result<bool, String> {
        values::boolean(self.0.get(name)).map_err(|why| format!("--{name}: {why}"))
    }

    fn duration(&self, name: &str) -> Result<Duration, String> {
        values::duration(self.0.get(name)).map_err(|why| format!("--{name}: {why}"))
    }

    fn bound_of_slow(&self, name: &str) -> Result<Option<Duration>, String> {
        values::bound_of_slow(self.0.get(name)).map_err(|why| format!("--{name}: {why}"))
    }

    fn number(&self, name: &str) -> Result<u64, String> {
        values::unsigned(self.0.get(name)).map_err(|why| format!("--{name}: {why}"))
    }

    fn within(&self, name: &str, low: u64, high: u64) -> Result<u64, String> {
        let number = self.number(name)?;
        if (low..=high).contains(&number) {
            Ok(number)
        } else {
            Err(format!("--{name}={number} is out of range: {low} to {high}"))
        }
    }

    fn urls(&self, name: &str) -> Result<Vec<Url>, String> {
        values::urls(self.0.get(name)).map_err(|why| format!("--{name}: {why}"))
    }

    fn some_urls(&self, name: &str) -> Result<Vec<Url>, String> {
        let urls = self.urls(name)?;
        if urls.is_empty() { Err(format!("--{name} must not be empty")) } else { Ok(urls) }
    }

    fn listen(&self, name: &str) -> Result<Vec<Listen>, String> {
        self.urls(name)?.iter().map(|url| values::listen(url, name)).collect()
    }
}

fn texts(urls: &[Url]) -> Vec<String> {
    urls.iter().map(|url| url.text.clone()).collect()
}

fn compaction(flags: &Flags) -> Result<Option<AutoCompaction>, String> {
    let (mode, retention) = (flags.get("auto-compaction-mode"), flags.get("auto-compaction-retention"));
    auto_compaction::check_mode(mode)?;
    auto_compaction::retention(mode, retention)
}

impl Config {
    /// The configuration the flags make, or what is wrong with it.
    pub fn from_flags(flags: &Flags) -> Result<Self, String> {
        let read = Reader(flags);
        let log_rotation = logging(&read)?;
        let name = read.text("name");
        let listening = listening(&read)?;
        let advertise_peer_urls = told_urls(&read, "initial-advertise-peer-urls", "\"host:port\"")?;
        let advertise_client_urls = told_urls(&read, "advertise-client-urls", CLIENT_FORM)?;
        let (heartbeat, election_timeout) = timers(&read)?;
        check_advertised(flags)?;
        read.some_urls("listen-client-urls")?;
        let features = Features::read(flags.get("feature-gates"))?;
        let (corrupt_check_time, compact_hash_check_time) = check_times(&read, &features)?;
        let auto_compaction = compaction(flags)?;
        let security = Security::read(flags)?.check(&listening)?;
        let cluster_exists = flags.get("initial-cluster-state") == "existing";
        let alone = InitialMember { name: name.clone(), peer_urls: advertise_peer_urls.clone() };
        let (initial_cluster, discovery, first_start) = founders(flags, alone, cluster_exists);
        let (force_new_cluster, rebuild_from_peers) = at_this_start(&read)?;
        Ok(Self {
            listening,
            advertise_client_urls,
            security,
            advertise_peer_urls,
            initial_cluster,
            discovery,
            first_start,
            initial_cluster_token: read.text("initial-cluster-token"),
            cluster_exists,
            force_new_cluster,
            initial_election_tick_advance: read.flag("initial-election-tick-advance")?,
            snapshot_catchup_entries: read.number("snapshot-catchup-entries")?,
            auto_compaction,
            tracing: tracing(&read)?,
            heartbeat,
            election_timeout,
            snapshot_count: snapshot_count(&read)?,
            quota_bytes: quota(flags)?,
            max_txn_ops: usize_of(read.within("max-txn-ops", 1, MAX_TXN_OPS_CEILING)?),
            max_learners: max_learners(flags)?,
            memory_mlock: read.flag("memory-mlock")?,
            max_request_bytes: usize_of(read.within("max-request-bytes", 1, MAX_REQUEST_CEILING)?),
            max_concurrent_streams: streams(&read)?,
            keepalive_interval: Some(read.duration("grpc-keepalive-interval")?).filter(|time| !time.is_zero()),
            keepalive_timeout: read.duration("grpc-keepalive-timeout")?,
            ping_time: ping_time(&read)?,
            value_cache_bytes: usize_of(read.number("value-cache-bytes")?),
            watch_progress_interval: progress_interval(&read)?,
            pre_vote: read.flag("pre-vote")?,
            strict_reconfig_check: read.flag("strict-reconfig-check")?,
            rebuild_from_peers,
            rebuild_when_diverged: read.flag("rebuild-when-diverged")?,
            features,
            history_scrub_interval: Some(read.duration("history-scrub-interval")?).filter(|time| !time.is_zero()),
            corrupt_check_time,
            compact_hash_check_time,
            log_level: values::log_level(flags.get("log-level"))?.to_string(),
            log_format: read.text("log-format"),
            log_outputs: values::words(flags.get("log-outputs")),
            log_rotation,
            slow_request: read.bound_of_slow(flags::SLOW_REQUESTS)?,
            socket_reuse_port: read.flag("socket-reuse-port")?,
            extensive_metrics: flags.get("metrics") == "extensive",
            proof: proof(&read)?,
            web: web(&read)?,
            data_dir: data_dir(flags, &name),
            name,
            wal_dir: read.text("wal-dir"),
        })
    }

    /// Whether log lines go where people read what a command says.
    pub fn logs_to_stderr(&self) -> bool {
        self.log_outputs.iter().any(|output| matches!(output.as_str(), "default" | "stderr"))
    }
}

fn check_advertised(flags: &Flags) -> Result<(), String> {
    if flags.is_given("listen-client-urls") && !flags.is_given("advertise-client-urls") && !flags.are_of_file() {
        return Err("--advertise-client-urls is required when --listen-client-urls is set explicitly".into());
    }
    Ok(())
}

/// What is wrong with the flags of the log, before anything else is looked at; else when files are put aside.
fn logging(read: &Reader<'_>) -> Result<Option<Rotation>, String> {
    if read.0.get("discovery-fallback") == "proxy" {
        return Err("v2 proxy is deprecated, and --discovery-fallback can't be configured as \"proxy\"".into());
    }
    match read.0.get("logger") {
        "zap" => {}
        "capnslog" => return Err("--logger=capnslog is removed in v3.5".into()),
        other => return Err(format!("unknown logger option {other:?}")),
    }
    let outputs = values::words(read.0.get("log-outputs"));
    if outputs.len() < read.0.get("log-outputs").split(',').count() {
        return Err("open sink \"\": open : no such file or directory".into());
    }
    if outputs.len() > 1 && outputs.iter().any(|output| output == "default") {
        return Err("multi logoutput for \"default\" is not supported yet".into());
    }
    let rotation = match read.flag("enable-log-rotation")? {
        true => Some(Rotation::read(read.0.get("log-rotation-config-json"), &outputs)?),
        false => None,
    };
    match read.0.get("log-format") {
        "json" | "console" => Ok(rotation),
        other => Err(format!("unknown log format: {other}, supported values json, console")),
    }
}

fn data_dir(flags: &Flags, name: &str) -> String {
    match flags.get("data-dir") {
        "" => format!("{name}.etcd"),
        given => given.to_string(),
    }
}

/// The members that the flags of the first start name, where others are to be found, and whether these flags hold together.
/// This member `alone` where they do not, and where the others are yet to be found.
fn founders(
    flags: &Flags,
    alone: InitialMember,
    cluster_exists: bool,
) -> (Vec<InitialMember>, Option<Discovery>, Result<(), String>) {
    match Discovery::read(flags) {
        Ok(Some(discovery)) => return (vec![alone], Some(discovery), Ok(())),
        Err(why) => return (vec![alone], None, Err(why)),
        Ok(None) => {}
    }
    // The end of a service's name alone names no member, and leaves no default.
    let none_named = flags.is_given("initial-cluster") || !flags.get("discovery-srv-name").is_empty();
    let given = none_named.then(|| flags.get("initial-cluster"));
    let members = founding::members(given, &alone.name, &alone.peer_urls);
    let checked = members.and_then(|members| {
        founding::check(&members, &alone.name, &alone.peer_urls, cluster_exists, str::to_owned).map(|()| members)
    });
    match checked {
        Ok(members) => (members, None, Ok(())),
        Err(why) => (vec![alone], None, Err(why)),
    }
}

fn streams(read: &Reader<'_>) -> Result<u32, String> {
    let streams = read.within("max-concurrent-streams", 1, u32::MAX.into())?;
    Ok(u32::try_from(streams).expect("it was held against the bound"))
}

/// Where etcd is told of none gRPC has its own.
fn ping_time(read: &Reader<'_>) -> Result<Duration, String> {
    let time = read.duration("grpc-keepalive-min-time")?;
    Ok(if time.is_zero() { Duration::from_secs(5 * 60) } else { time })
}

fn web(read: &Reader<'_>) -> Result<Web, String> {
    Ok(Web {
        origins: values::words(read.0.get("cors")),
        hosts: values::words(read.0.get("host-whitelist")),
        gateway: read.flag("enable-grpc-gateway")?,
    })
}

fn proof(read: &Reader<'_>) -> Result<ProofFlags, String> {
    Ok(ProofFlags {
        auth_token: read.text("auth-token"),
        bcrypt_cost: read.number("bcrypt-cost")?,
        auth_token_ttl: Duration::from_secs(read.number("auth-token-ttl")?),
    })
}

fn usize_of(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn timers(read: &Reader<'_>) -> Result<(Duration, Duration), String> {
    let (heartbeat, election) = (read.number("heartbeat-interval")?, read.number("election-timeout")?);
    if heartbeat == 0 {
        return Err("--heartbeat-interval must be >0 (set to 0ms)".into());
    }
    if election == 0 {
        return Err("--election-timeout must be >0 (set to 0ms)".into());
    }
    if heartbeat.checked_mul(5).is_none_or(|least| least > election) {
        return Err(format!(
            "--election-timeout[{election}ms] should be at least as 5 times as --heartbeat-interval[{heartbeat}ms]"
        ));
    }
    if election > MAX_ELECTION_MS {
        return Err(format!(
            "--election-timeout[{election}ms] is too long, and should be set less than {MAX_ELECTION_MS}ms"
        ));
    }
    Ok((Duration::from_millis(heartbeat), Duration::from_millis(election)))
}

/// Where others come in. In etcd's order, so that of several things that are wrong the same one is told.
fn listening(read: &Reader<'_>) -> Result<Listening, String> {
    let peers = read.listen("listen-peer-urls")?;
    if let Some(file) = peers.iter().find(|listen| listen.sealed && matches!(listen.place, Place::File(_))) {
        let url = &file.url;
        return Err(format!(
            "--listen-peer-urls: {url}: peers are reached by unix sockets without encryption (unix://) alone"
        ));
    }
    read.some_urls("listen-peer-urls")?;
    let clients = read.listen("listen-client-urls")?;
    let http = read.listen("listen-client-http-urls")?;
    if let Some(both) = http.iter().find(|listen| clients.iter().any(|other| other.place == listen.place)) {
        return Err(format!(
            "cannot bind both --listen-client-urls and --listen-client-http-urls on the same url {}",
            both.url
        ));
    }
    Ok(Listening { clients, http, metrics: read.listen("listen-metrics-urls")?, peers })
}

/// The form of a client URL, as etcd's text has it.
const CLIENT_FORM: &str = "in the format \"host:port\", \"unix:/path/to/socket\" or \"unixs:/path/to/socket\"";

/// URLs that others are told: each must name a host.
fn told_urls(read: &Reader<'_>, name: &str, form: &str) -> Result<Vec<String>, String> {
    let urls = read.some_urls(name)?;
    let told = texts(&urls);
    match urls.iter().find(|url| url.host.is_empty()) {
        None => Ok(told),
        Some(url) => {
            Err(format!("--{name} {:?} must be {form} (unexpected empty host ({}))", told.join(","), url.text))
        }
    }
}

fn snapshot_count(read: &Reader<'_>) -> Result<u64, String> {
    match read.number("snapshot-count")? {
        0 => flags::find("snapshot-count").map_or(Ok(1), |flag| values::unsigned(flag.default)),
        count => Ok(count),
    }
}

fn quota(flags: &Flags) -> Result<Option<u64>, String> {
    let bytes =
        values::signed(flags.get("quota-backend-bytes")).map_err(|why| format!("--quota-backend-bytes: {why}"))?;
    Ok(match bytes {
        0 => Some(limits::DEFAULT_QUOTA_BYTES),
        bytes => u64::try_from(bytes).ok(),
    })
}

fn max_learners(flags: &Flags) -> Result<usize, String> {
    let most = values::signed(flags.get("max-learners")).map_err(|why| format!("--max-learners: {why}"))?;
    // In etcd's words: there are never fewer than none.
    usize::try_from(most).map_err(|_| Refusal::TooManyLearners.to_string())
}

/// Whether to go on alone, and whether to take the others' state.
fn at_this_start(read: &Reader<'_>) -> Result<(bool, bool), String> {
    let (force, rebuild) = (read.flag("force-new-cluster")?, read.flag("rebuild-from-peers")?);
    if force && rebuild {
        return Err("--force-new-cluster and --rebuild-from-peers contradict each other: choose one".into());
    }
    Ok((force, rebuild))
}

/// Time between two comparisons of the data, and of what was compacted, where there are any.
fn check_times(read: &Reader<'_>, features: &Features) -> Result<(Option<Duration>, Option<Duration>), String> {
    features.check()?;
    let (data, compacted) = (read.duration("corrupt-check-time")?, read.duration("compact-hash-check-time")?);
    if compacted.is_zero() {
        return Err("--compact-hash-check-time must be >0 (set to 0s)".into());
    }
    let compacted = features.is_open("CompactHashCheck").then_some(compacted);
    Ok((Some(data).filter(|time| !time.is_zero()), compacted))
}

/// Where spans go; a rate out of range is refused in etcd's words.
fn tracing(read: &Reader<'_>) -> Result<Option<Tracing>, String> {
    if !read.flag("enable-distributed-tracing")? {
        return Ok(None);
    }
    let name = "distributed-tracing-sampling-rate";
    let rate = values::signed(&read.text(name)).map_err(|why| format!("--{name}: {why}"))?;
    let per_million = match u32::try_from(rate) {
        Ok(rate @ ..=1_000_000) => rate,
        _ => {
            let what = if rate < 0 { "positive" } else { "less than 1000000" };
            let why = format!("tracing sampling rate must be {what}");
            return Err(format!("distributed tracing configurition is not valid: ({why})"));
        }
    };
    let address = read.text("distributed-tracing-address");
    let (service_name, instance_id) =
        (read.text("distributed-tracing-service-name"), read.text("distributed-tracing-instance-id"));
    let tracing = Tracing { address, service_name, instance_id, per_million }.check();
    tracing.map(Some).map_err(|why| format!("--distributed-tracing-address: {why}"))
}

fn progress_interval(read: &Reader<'_>) -> Result<Duration, String> {
    let given = read.duration("watch-progress-notify-interval")?;
    Ok(if given.is_zero() { PROGRESS_INTERVAL } else { given.max(MIN_PROGRESS_INTERVAL) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(arguments: &[&str]) -> Result<Config, String> {
        let flags = Flags::read(arguments.iter().map(|argument| argument.to_string()), []);
        Config::from_flags(&flags.map_err(|stop| stop.to_string())?)
    }

    #[test]
    fn tracing_is_off_until_it_is_asked_for() {
        assert_eq!(config(&["--distributed-tracing-sampling-rate=-7"]).expect("fine").tracing, None);
        let on = config(&["--enable-distributed-tracing", "--distributed-tracing-sampling-rate=1000000"]);
        let tracing = on.expect("fine").tracing.expect("asked for");
        assert_eq!((tracing.per_million, tracing.address.as_str()), (1_000_000, "localhost:4317"));
        assert_eq!((tracing.service_name.as_str(), tracing.instance_id.as_str()), ("etcd", ""));
    }

    #[test]
    fn defaults_are_etcds() {
        let config = config(&[]).expect("defaults hold together");
        assert_eq!(config.data_dir, "default.etcd");
        assert_eq!(config.listening.clients[0].place, Place::Net("127.0.0.1:2379".parse().expect("an address")));
        assert_eq!(founding::shown(&config.initial_cluster), "default=http://localhost:2380");
        assert_eq!((config.auto_compaction, config.snapshot_catchup_entries), (None, 5_000));
        assert_eq!((config.quota_bytes, config.max_txn_ops), (Some(2 << 30), 128));
        assert_eq!(config.watch_progress_interval, Duration::from_secs(600));
    }

    #[test]
    fn a_name_names_the_directory_and_the_only_member() {
        let config = config(&["--name=m1", "--initial-advertise-peer-urls=http://10.0.0.1:2380"]).expect("fine");
        assert_eq!(config.data_dir, "m1.etcd");
        assert_eq!(founding::shown(&config.initial_cluster), "m1=http://10.0.0.1:2380");
        assert_eq!(super::tests::config(&["--quota-backend-bytes=-1"]).expect("fine").quota_bytes, None);
    }

    #[test]
    fn what_starts_etcd_starts_here() {
        let plain = config(&[]).expect("defaults");
        for arguments in [
            &["--snapshot-count=0"][..],
            &["--auto-compaction-retention="],
            &["--log-level="],
            &["--log-level=INFO"],
            &["--cors=*"],
            &["--warning-apply-duration=-1s", "--backend-batch-interval=-1s", "--compaction-sleep-interval=-1s"],
            &["--heartbeat-interval=0144", "--max-wals=0x5", "--max-txn-ops=1_28"],
        ] {
            let same = config(arguments).expect("it starts etcd");
            let told = |config: &Config| {
                let times = (config.heartbeat, config.snapshot_count, config.auto_compaction, config.max_txn_ops);
                (times, config.log_level.clone(), config.web.origins.clone())
            };
            assert_eq!(told(&same), told(&plain), "{arguments:?}");
        }
        let levels = ["warning", "DPANIC", "Fatal"].map(|level| config(&[&format!("--log-level={level}")]));
        assert_eq!(levels.map(|config| config.expect("a level").log_level), ["warn", "dpanic", "fatal"]);
    }

    #[test]
    fn what_does_not_hold_together_is_refused_with_the_flags_name() {
        let table = [
            (&["--listen-client-urls=http://127.0.0.1:1"][..], "--advertise-client-urls is required when"),
            (&["--heartbeat-interval=0"], "--heartbeat-interval must be >0"),
            (&["--election-timeout=499"], "--election-timeout[499ms] should be at least as 5 times"),
            (&["--heartbeat-interval=18446744073709551615"], "--election-timeout[1000ms] should be"),
            (&["--election-timeout=50001"], "--election-timeout[50001ms] is too long"),
            (&["--listen-peer-urls=http://name:1"], "--listen-peer-urls: expected IP in URL for binding"),
            (&["--listen-peer-urls="], "--listen-peer-urls must not be empty"),
            (&["--listen-metrics-urls=https://127.0.0.1:1"], "client TLS key/cert (--cert-file, --key-file) must be"),
            (&["--listen-peer-urls=https://127.0.0.1:1"], "cannot listen on TLS for 127.0.0.1:1: KeyFile and CertFile"),
            (
                &["--name=a=b"],
                "error setting up initial cluster: parse \"b=http://localhost:2380\": first path segment",
            ),
            (&["--name="], "couldn't find local name \"\" in the initial cluster configuration"),
            (&["--log-outputs=stderr,"], "open sink \"\": open : no such file or directory"),
            (&["--tls-min-version=TLS1.1"], "unexpected TLS version \"TLS1.1\" (must be one of: TLS1.2, TLS1.3)"),
            (&["--initial-cluster=a=http://localhost:2380"], "couldn't find local name \"default\""),
            (&["--initial-cluster=default=http://localhost:1"], "--initial-cluster has default=http://localhost:1 but"),
            (
                &["--initial-cluster=default=http://localhost:2380,b=http://localhost:2380"],
                "initial cluster b=http://localhost:2380,default=http://localhost:2380 has duplicate url",
            ),
            (
                &["--initial-advertise-peer-urls=http://:1"],
                "--initial-advertise-peer-urls \"http://:1\" must be \"host:port\" (unexpected empty host (http://:1))",
            ),
            (
                &["--advertise-client-urls=http://:1"],
                "--advertise-client-urls \"http://:1\" must be in the format \"host:port\", \"unix:/path/to/socket\" or \
                 \"unixs:/path/to/socket\" (unexpected empty host (http://:1))",
            ),
            (&["--auto-compaction-mode=foo"], "unknown auto-compaction-mode \"foo\""),
            (&["--auto-compaction-retention=x"], "error parsing CompactionRetention: time: invalid duration \"x\""),
            (&["--max-txn-ops=0"], "--max-txn-ops=0 is out of range"),
            (&["--max-learners=-1"], "etcdserver: too many learner members in cluster"),
            (&["--max-request-bytes=99999999999"], "--max-request-bytes=99999999999 is out of range"),
            (
                &["--force-new-cluster", "--rebuild-from-peers"],
                "--force-new-cluster and --rebuild-from-peers contradict",
            ),
            (&["--compact-hash-check-time=0s"], "--compact-hash-check-time must be >0 (set to 0s)"),
            (&["--feature-gates=LeaseCheckpointPersist=true"], "enabling feature gate LeaseCheckpointPersist requires"),
            (&["--feature-gates=Foo=true"], "invalid value \"Foo=true\" for flag -feature-gates: unrecognized feature"),
            (
                &["--enable-distributed-tracing", "--distributed-tracing-sampling-rate=-1"],
                "distributed tracing configurition is not valid: (tracing sampling rate must be positive)",
            ),
            (
                &["--enable-distributed-tracing", "--distributed-tracing-sampling-rate=1000001"],
                "distributed tracing configurition is not valid: (tracing sampling rate must be less than 1000000)",
            ),
            (
                &["--enable-distributed-tracing", "--distributed-tracing-address=here"],
                "--distributed-tracing-address: \"here\" is not in the format \"host:port\"",
            ),
        ];
        for (arguments, text) in table {
            let refused = config(arguments).and_then(|config| config.first_start).expect_err("does not hold together");
            assert!(refused.starts_with(text), "{arguments:?}: {refused}");
        }
    }
}
