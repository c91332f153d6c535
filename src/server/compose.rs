//! Start and stop: flags, logs, data directory, node, listeners; and the way back.
//!
//! Invariants: nothing is served before every address is taken and the node has started; on stop the
//! listeners close first, requests get a bounded time, then the node syncs and ends.
//!
//! Exit codes: 0 stopped in order, also by SIGINT or SIGTERM; 1 the configuration or the start is refused;
//! 2 the command line is malformed; 3 a fault or damage ended a running server; 130 a second signal.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::api::{API_VERSION, Collector, Metrics, Porch, STORAGE_VERSION, Terms, Tracing, Traits};
use crate::base::{Fault, HEARD_AND_LEFT, MemberId, Wrong, limits};
use crate::driver::{self, CorruptionChecks, DriverConfig, FoundingMember, Handle, ScrubPace};
use crate::env::{DirLock, Env, SEALED, TokioEnv, entropy_seed};
use crate::mvcc::StoreOptions;
use crate::node::{CatchUpBounds, HeldBounds, NodeConfig};
use crate::server::config::Config;
use crate::server::descriptors::{self, Share};
use crate::server::flags::{FlagStop, Flags};
use crate::server::founding::InitialMember;
use crate::server::listen::{Entry, Listener, Manners, Traffic};
use crate::server::log_place::LogPlace;
use crate::server::socket::{Listen, Place, Socket};
use crate::server::{directory, finding, logs, memory_lock, notices, notify, passports, runtime};
use crate::watch::HubBounds;

/// The configuration or the start is refused.
const EXIT_REFUSED: u8 = 1;
/// The command line is malformed.
const EXIT_USAGE: u8 = 2;
/// A fault or damage ended a running server.
const EXIT_FAULT: u8 = 3;
/// The member was removed: nothing is wrong, and starting it again is of no use.
const EXIT_REMOVED: u8 = 0;
/// A second signal came before the first was obeyed.
const EXIT_IMPATIENT: i32 = 130;

/// The whole process, from arguments and environment to the exit code.
pub fn main() -> ExitCode {
    abort_on_panic();
    let arguments = std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned());
    let environment = std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()));
    let flags = match Flags::read(arguments, environment) {
        Ok(flags) => flags,
        Err(FlagStop::Help(text)) => return print(&text),
        Err(FlagStop::Version) => return print(&version()),
        Err(FlagStop::Usage(text)) => return complain(&format!("{text} (see quorate --help)"), EXIT_USAGE),
        Err(FlagStop::Refused(text)) => return complain(&text, EXIT_REFUSED),
    };
    let config = match Config::from_flags(&flags) {
        Ok(config) => config,
        Err(text) => return complain(&text, EXIT_REFUSED),
    };
    if let Err(text) = logs::start(&config.log_level, &config.log_format, &config.log_outputs, config.log_rotation) {
        return complain(&text, EXIT_REFUSED);
    }
    for warning in &flags.warnings {
        tracing::warn!("{warning}");
    }
    if config.memory_mlock
        && let Err(text) = memory_lock::lock()
    {
        return complain(&text, EXIT_REFUSED);
    }
    let runtime = match runtime::begin() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&format!("cannot start threads: {error}"), EXIT_REFUSED),
    };
    let code = runtime.block_on(run(config));
    // What still holds a connection must not hold the process.
    runtime.shutdown_timeout(RUNTIME_TIME);
    logs::finish();
    code
}

/// Time the runtime's threads get once everything is stopped.
const RUNTIME_TIME: Duration = Duration::from_millis(200);

/// Time the node's own threads get to end after it synced.
const JOIN_TIME: Duration = Duration::from_secs(5);

fn print(text: &str) -> ExitCode {
    // A closed pipe is the reader's wish.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn complain(text: &str, code: u8) -> ExitCode {
    logs::say(format!("quorate: {text}"));
    ExitCode::from(code)
}

/// The commit this was built from, where the build was told it.
const COMMIT: Option<&str> = option_env!("QUORATE_COMMIT");

/// Lines in the shape of etcd's, one of them its own: tools look for that, and for the first and the last.
fn version() -> String {
    format!(
        "quorate Version: {}\netcd Version: {API_VERSION}\nGit SHA: {}\nStorage Version: {STORAGE_VERSION}\nOS/Arch: {}/{}\n",
        env!("CARGO_PKG_VERSION"),
        COMMIT.unwrap_or("not recorded"),
        std::env::consts::OS,
        std::env::consts::ARCH
    )
}

/// A bug ends the process at once, with one line: going on could only make it worse.
fn abort_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(|place| format!("{}:{}", place.file(), place.line()));
        let what = panic
            .payload()
            .downcast_ref::<&str>()
            .map(|text| text.to_string())
            .or_else(|| panic.payload().downcast_ref::<String>().cloned())
            .unwrap_or_default();
        let what = what.replace('\n', " ");
        let place = place.unwrap_or_default();
        let text = format!("bug at {place}: {what} (version {}); stopping", env!("CARGO_PKG_VERSION"));
        // For whoever collects the log, and for whoever looks at the terminal.
        tracing::error!("{text}");
        logs::finish();
        logs::say(format!("quorate: {text}"));
        std::process::abort();
    }));
}

/// The last word of a server: a line of the log, and one for people on stderr where the log goes elsewhere.
fn last_word(config: &Config, text: &str, code: u8) -> ExitCode {
    tracing::error!("{text}");
    if config.logs_to_stderr() {
        return ExitCode::from(code);
    }
    complain(text, code)
}

/// Why a running server stops by itself, with what helps.
fn stopped_by(wrong: &Wrong) -> String {
    match wrong {
        Wrong::Fault(fault) if fault.is_no_space() => {
            format!("stopped: {wrong}; what was acknowledged is safe: make room, or raise the limit, and start again")
        }
        _ => format!("stopped: {wrong}"),
    }
}

async fn run(config: Config) -> ExitCode {
    notices::starting(&config);
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => return last_word(&config, &format!("cannot listen for signals: {error}"), EXIT_REFUSED),
    };
    // A task of its own: reading a large directory must not keep a signal waiting.
    let start = {
        let config = config.clone();
        tokio::spawn(async move { Serving::start(&config).await })
    };
    let started = tokio::select! {
        biased;
        started = start => started,
        name = signals.next() => {
            // As after a crash: whatever the start had begun, the next one takes up.
            tracing::info!(signal = name, "stopped while starting");
            return ExitCode::SUCCESS;
        }
    };
    let serving = match started {
        Ok(Ok(serving)) => serving,
        Ok(Err(NotStarted::Removed)) => return last_word(&config, REMOVED, EXIT_REMOVED),
        Ok(Err(NotStarted::Refused(text))) => return last_word(&config, &text, EXIT_REFUSED),
        Err(error) => return last_word(&config, &format!("the start was given up: {error}"), EXIT_REFUSED),
    };
    let facts = serving.handle.facts().clone();
    let removed = || facts.is_removed();
    let ended = {
        let ending = serving.handle.ending().clone();
        async move { ending.wait().await }
    };
    tokio::select! {
        biased;
        outcome = ended => match outcome {
            Ok(()) if removed() => {
                last_word(&config, REMOVED, EXIT_REMOVED)
            }
            Ok(()) => ExitCode::SUCCESS,
            Err(wrong) => last_word(&config, &stopped_by(&wrong), EXIT_FAULT),
        },
        name = signals.next() => {
            tracing::info!(signal = name, "stopping");
            notify::stopping();
            tokio::spawn(async move {
                signals.next().await;
                logs::finish();
                std::process::exit(EXIT_IMPATIENT);
            });
            match serving.stop().await {
                Ok(()) => {
                    tracing::info!("stopped");
                    ExitCode::SUCCESS
                }
                Err(wrong) => last_word(&config, &stopped_by(&wrong), EXIT_FAULT),
            }
        }
    }
}

/// The signals that ask to stop. Made once, so that one that comes while another is obeyed is not lost.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        // Once they are listened for they end nothing: a file that may not grow is a fault of whoever writes to it.
        for number in HEARD_AND_LEFT {
            drop(signal(SignalKind::from_raw(number))?);
        }
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Completes when the process is asked to stop; gives the signal's name.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// What a member says that was removed, as etcd does.
const REMOVED: &str = "the member has been permanently removed from the cluster";

/// Why a server did not start.
#[derive(Debug)]
pub enum NotStarted {
    /// In one line.
    Refused(String),
    /// The member was removed from its cluster.
    Removed,
}

impl From<String> for NotStarted {
    fn from(text: String) -> Self {
        Self::Refused(text)
    }
}

/// A running server.
pub struct Serving {
    handle: Handle<TokioEnv>,
    env: TokioEnv,
    stop: watch::Sender<bool>,
    listeners: Vec<JoinHandle<()>>,
    /// Where clients are served over the network; useful when port 0 was asked for.
    pub client_addresses: Vec<std::net::SocketAddr>,
    /// Held until the node has ended.
    lock: DirLock,
    collector: Option<Collector>,
}

impl Serving {
    /// Starts everything a configuration asks for, or tells in one line why not.
    pub async fn start(config: &Config) -> Result<Self, NotStarted> {
        let passports = passports::passports(config)?;
        let root = PathBuf::from(&config.data_dir);
        directory::check_foreign(&root)?;
        directory::check_finished(&root)?;
        let log = LogPlace::of(&root, &config.wal_dir)?;
        directory::check_finished(&log.dir())?;
        log.check()?;
        if !log.holds_member() {
            directory::check_unmade(&root)?;
            config.first_start.clone()?;
        }
        let share = shared(config)?;
        let sockets = bind_all(config)?;
        let in_directory = |fault: &dyn std::fmt::Display| format!("data directory {}: {fault}", config.data_dir);
        let (env, lock) = enter(&root, &log)?;
        if lock.is_copy().map_err(|fault| in_directory(&fault))? {
            notices::copied(&config.data_dir);
        }
        let config = &with_founders(config, &env).await?;
        let mut security = config.security.clone();
        security.warn(&config.listening);
        security.make_own(&root, &config.listening)?;
        let doors = security.doors(&config.listening)?;
        let sealing = security.between_members(&config.listening.peers)?;
        let env = env.sealed_by(sealing).sharing_ports(config.socket_reuse_port);
        let driver_config = founded_or_joined(config, &env, &share).await?;
        let (handle, report) = driver::start(env.clone(), driver_config).await.map_err(|wrong| in_directory(&wrong))?;
        lock.note_begun().map_err(|fault| in_directory(&fault))?;
        notices::booted(&report);
        ready(&handle).await?;
        // Once there is something to check: a state that is known to be wrong is replaced before.
        if config.features.is_open("InitialCorruptCheck") && !report.founded {
            handle.check_at_start().await?;
        }
        let traits = Traits {
            member: handle.identity().member.to_string(),
            extensive: config.extensive_metrics,
            descriptor_limit: share.limit,
            features: config.features.all(),
        };
        let terms = Terms {
            max_request_bytes: config.max_request_bytes,
            max_txn_ops: config.max_txn_ops,
            max_learners: config.max_learners,
            slow_request: config.slow_request,
            election_timeout: config.election_timeout,
        };
        handle.facts().auth.tokens_live_for(passports::token_ttl(config));
        let collector = config.tracing.as_ref().map(begin_traces).transpose()?;
        let porch = Porch::new(handle.clone(), terms, Arc::new(Metrics::new(traits))).with_passports(passports);
        let porch = open(porch, collector.as_ref());
        let (stop, stopping) = watch::channel(false);
        let manners = Manners::new(config, &share, doors);
        let clients = sockets.iter().filter(|listener| matches!(listener.traffic(), Traffic::Clients | Traffic::Calls));
        let client_addresses: Vec<_> = clients
            .filter_map(|listener| match listener.place {
                Place::Net(address) => Some(address),
                Place::File(_) => None,
            })
            .collect();
        let serve = |listener: Listener| {
            told(&listener);
            tokio::spawn(listener.serve(porch.clone(), manners.clone(), stopping.clone()))
        };
        let listeners = sockets.into_iter().map(serve).collect();
        tracing::info!(pid = std::process::id(), "ready to serve client requests");
        notify::ready();
        Ok(Self { handle, env, stop, listeners, client_addresses, lock, collector })
    }

    /// Stops in order: listeners, requests under way, node.
    pub async fn stop(self) -> Result<(), Arc<Wrong>> {
        // Nobody may be listening any more; then there is nothing to stop.
        let _ = self.stop.send(true);
        // Streams end only when the node does, so both are told at once; what was accepted is still answered.
        let drained = async {
            for listener in self.listeners {
                let _ = listener.await;
            }
        };
        let node = async {
            tokio::time::sleep(Duration::from_millis(limits::STOP_GRACE_MS)).await;
            self.handle.stop().await;
        };
        tokio::join!(drained, node);
        let outcome = self.handle.ending().wait().await;
        if let Some(collector) = self.collector {
            collector.end().await;
        }
        let env = self.env;
        let joined = tokio::task::spawn_blocking(move || env.join(JOIN_TIME)).await;
        if let Ok(Err(tasks)) = joined {
            tracing::warn!(?tasks, "some tasks did not end in time");
            // They may still write: the directory stays locked until the process is gone.
            std::mem::forget(self.lock);
        }
        outcome
    }
}

/// The descriptors that the process may have, shared out and told.
fn shared(config: &Config) -> Result<Share, String> {
    let share = descriptors::share(descriptors::raise(), descriptors::inherited(), config.quota_bytes)?;
    notices::descriptors(&share);
    Ok(share)
}

/// The world of a member, its own alone: the data directory and the place of its log, which belong together.
fn enter(root: &Path, log: &LogPlace) -> Result<(TokioEnv, DirLock), String> {
    let in_directory = |fault: Fault| format!("data directory {}: {fault}", root.display());
    let env = log.on(TokioEnv::new(root.to_path_buf(), entropy_seed()).map_err(in_directory)?)?;
    let lock = env.disk().lock().map_err(in_directory)?;
    // A tool may have begun here before the lock was free.
    [root, &log.dir()].into_iter().try_for_each(directory::check_finished)?;
    if !log.holds_member() {
        directory::check_unmade(root)?;
    }
    log.settle()?;
    directory::check_log(root, &log.dir(), lock.has_begun())?;
    for warning in [root, &log.dir()].into_iter().filter_map(directory::open_to_others) {
        tracing::warn!("{warning}");
    }
    Ok((env, lock))
}

/// Begins to tell a collector of requests. Ids of spans differ between servers and runs.
fn begin_traces(tracing: &Tracing) -> Result<Collector, String> {
    Collector::begin(tracing, [entropy_seed(), entropy_seed()])
}

/// The services, which end with the node.
fn open(porch: Porch<TokioEnv>, collector: Option<&Collector>) -> Arc<Porch<TokioEnv>> {
    let porch = Arc::new(porch.with_tracer(collector.map(Collector::tracer)));
    let services = porch.clone();
    tokio::spawn(async move { services.end_streams_with_the_node().await });
    porch
}

/// Takes every place of the configuration. Those of peers are let go again: the transport takes them in its turn, and a
/// port that is in use must be found before the data directory is made.
fn bind_all(config: &Config) -> Result<Vec<Listener>, String> {
    let cannot = |place: &dyn std::fmt::Display, error| format!("cannot listen on {place}: {error}");
    let bind = |(place, entry): (&Place, Entry), traffic| {
        Listener::bind(place, traffic, entry, config.socket_reuse_port).map_err(|error| cannot(place, error))
    };
    let listening = &config.listening;
    let both = if listening.http.is_empty() { Traffic::Clients } else { Traffic::Calls };
    let clients = entries(&listening.clients).into_iter().map(|place| bind(place, both));
    let http = entries(&listening.http).into_iter().map(|place| bind(place, Traffic::Web));
    let metrics = entries(&listening.metrics).into_iter().map(|place| bind(place, Traffic::Metrics));
    let sockets = clients.chain(http).chain(metrics).collect::<Result<_, _>>()?;
    for listen in &listening.peers {
        Socket::bind(&listen.place, config.socket_reuse_port).map_err(|error| cannot(&listen.place, error))?;
    }
    Ok(sockets)
}

/// Each place once. One that is named with a scheme that encrypts and one that does not takes both kinds of connections.
fn entries(listen: &[Listen]) -> Vec<(&Place, Entry)> {
    let mut entries: Vec<(&Place, Entry)> = Vec::new();
    for listen in listen {
        let entry = if listen.sealed { Entry::Sealed } else { Entry::Plain };
        match entries.iter_mut().find(|(place, _)| *place == &listen.place) {
            Some((_, known)) if *known != entry => *known = Entry::Either,
            Some(_) => {}
            None => entries.push((&listen.place, entry)),
        }
    }
    entries
}

/// Where peers are listened at, as the seam has it.
fn peer_address(listen: &Listen) -> String {
    format!("{}{}", if listen.sealed { SEALED } else { "" }, listen.place)
}

/// The configuration with the members of a new cluster that the flags do not name.
async fn with_founders(config: &Config, env: &TokioEnv) -> Result<Config, String> {
    let mut config = config.clone();
    let own = driver::own_identity(env.disk());
    if own.map_err(|wrong| format!("data directory {}: {wrong}", config.data_dir))?.is_none() {
        finding::find(&mut config).await?;
    } else if config.discovery.is_some() {
        tracing::warn!("discovery token is ignored since cluster already initialized; valid logs are found");
    }
    Ok(config)
}

/// The driver's configuration. Flags that describe the first start are read where there was none before, and nowhere else:
/// later the others may be away, or be others than the flags say.
async fn founded_or_joined(config: &Config, env: &TokioEnv, share: &Share) -> Result<DriverConfig, String> {
    let mut driver_config = driver_config(config, env, share);
    let own = driver::own_identity(env.disk());
    let own = own.map_err(|wrong| format!("data directory {}: {wrong}", config.data_dir))?;
    if own.is_some() {
        if let Err(text) = &config.first_start {
            tracing::warn!("the flags of the first start do not hold together, and are not looked at any more: {text}");
        }
        if config.cluster_exists || config.first_start.is_err() {
            driver_config.joins = own;
        }
        return Ok(driver_config);
    }
    config.first_start.clone()?;
    if config.cluster_exists {
        driver_config.joins = Some(driver::find_cluster(env, &driver_config).await?);
    } else if driver_config.founding_members.len() > 1 {
        driver::check_not_begun(env, &driver_config).await?;
    }
    Ok(driver_config)
}

/// etcd's lines in the log of who is served.
fn told(listener: &Listener) {
    let (address, traffic) = (&listener.place, listener.traffic());
    if listener.entry() != Entry::Sealed {
        tracing::info!(traffic = traffic.name(), %address, "serving client traffic insecurely; this is strongly discouraged!");
    }
    if listener.entry() != Entry::Plain {
        tracing::info!(traffic = traffic.name(), %address, "serving client traffic securely");
    }
}

/// Waits until the node welcomes clients, or has ended.
async fn ready(handle: &Handle<TokioEnv>) -> Result<(), NotStarted> {
    let welcome = async {
        loop {
            // A client may ask for the cluster's version first of all, so that is decided first.
            let status = handle.status();
            if status.ready && status.cluster_version.is_some() {
                return;
            }
            tokio::time::sleep(READY_PAUSE).await;
        }
    };
    let mut pause = tokio::time::interval(WAITING_PAUSE);
    pause.reset();
    let complaints = async {
        loop {
            pause.tick().await;
            notices::waiting(&handle.status());
        }
    };
    tokio::select! {
        biased;
        () = complaints => unreachable!("it complains without end"),
        outcome = handle.ending().wait() => match outcome {
            Ok(()) if handle.facts().is_removed() => Err(NotStarted::Removed),
            Ok(()) => Err("the node ended while starting".to_string().into()),
            Err(wrong) => Err(wrong.to_string().into()),
        },
        () = welcome => Ok(()),
    }
}

/// Pause between two looks at a node that is not ready.
const READY_PAUSE: Duration = Duration::from_millis(1);

/// Time between two lines of a member that waits to be ready.
const WAITING_PAUSE: Duration = Duration::from_secs(5);

/// Time a request waits for its outcome beside two election timeouts, as in etcd.
const REQUEST_TIME: Duration = Duration::from_secs(5);

/// Time after which a read round is asked anew, as in etcd; the answer to what was asked before counts all the same.
const READ_RETRY: Duration = Duration::from_millis(500);

fn driver_config(config: &Config, env: &TokioEnv, share: &Share) -> DriverConfig {
    let ticks = |time: Duration| time.as_millis().div_ceil(config.heartbeat.as_millis().max(1));
    let founder =
        |member: &InitialMember| FoundingMember { name: member.name.clone(), peer_urls: member.peer_urls.clone() };
    // Three half election timeouts, in whole seconds, as in etcd: no lease may end while a leader is elected.
    let min_lease_ttl = (config.election_timeout.as_secs_f64() * 1.5).ceil() as i64;
    DriverConfig {
        name: config.name.clone(),
        founding_members: config.initial_cluster.iter().map(founder).collect(),
        joins: None,
        strict_reconfig_check: config.strict_reconfig_check,
        rebuild_from_peers: config.rebuild_from_peers,
        force_new_cluster: config.force_new_cluster,
        advances_first_election: config.initial_election_tick_advance,
        corruption: CorruptionChecks {
            interval: config.corrupt_check_time,
            compactions: config.compact_hash_check_time,
        },
        scrub: config.history_scrub_interval.map(|rest| ScrubPace { rest, ..ScrubPace::default() }),
        listen_peers: config.listening.peers.iter().map(peer_address).collect(),
        peer_connections: share.peers,
        question_lines: share.question_lines,
        cluster_token: config.initial_cluster_token.clone(),
        tick: config.heartbeat,
        election_ticks: usize::try_from(ticks(config.election_timeout)).unwrap_or(usize::MAX),
        pre_vote: config.pre_vote,
        append_bytes: limits::APPEND_BYTES,
        max_request_bytes: config.max_request_bytes,
        wal_segment_bytes: limits::WAL_SEGMENT_BYTES,
        min_lease_ttl,
        store: StoreOptions { cache_bytes: config.value_cache_bytes, ..Default::default() },
        node: NodeConfig {
            // Filled in by the driver, from the data directory.
            member: MemberId::default(),
            tick: config.heartbeat,
            name: config.name.clone(),
            client_urls: config.advertise_client_urls.clone(),
            cluster_version: STORAGE_VERSION.to_string(),
            request_timeout: REQUEST_TIME + 2 * config.election_timeout,
            read_retry: READ_RETRY,
            election_timeout: config.election_timeout,
            catch_up_entries: config.snapshot_catchup_entries,
            quota_bytes: config.quota_bytes.unwrap_or(0),
            checkpoint_entries: config.snapshot_count,
            snapshot_chunk_bytes: limits::SNAPSHOT_CHUNK_BYTES,
            changes_per_turn: limits::APPLY_CHANGES_PER_TURN,
            pruned_per_turn: limits::COMPACTION_SLICE,
            held: HeldBounds::default(),
            watch: HubBounds::default(),
            catch_up: CatchUpBounds::default(),
            progress_ticks: u64::try_from(ticks(config.watch_progress_interval)).unwrap_or(u64::MAX).max(1),
            lease_checkpoint_interval: Duration::from_millis(limits::LEASE_CHECKPOINT_MS),
            auto_compaction: config.auto_compaction,
            rebuild_when_diverged: config.rebuild_when_diverged,
            seed: env.dice().next_u64(),
            observer: None,
        },
    }
}
