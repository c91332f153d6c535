//! A server under test as a real process: start on loopback, wait until it serves, kill by its own id, read its costs.
//!
//! Invariants: every process started here is ended by the id it was started with, also when the owner is dropped; flags
//! are the ones stock etcd and quorate share. Does not know what is asked of the server.

use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use quorate::client::{Options, TlsOptions, channel};
use quorate::wire::etcdserverpb::RangeRequest;
use quorate::wire::services::kv_client::KvClient;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tonic::transport::Channel;

/// Anything that stops a run; the text is for the person at the terminal.
pub type Trouble = Box<dyn std::error::Error + Send + Sync>;

/// Answers up to this size are read; larger than any answer a run asks for.
pub const ANSWER_LIMIT: usize = 256 << 20;

/// How a server is started, again and again on the same directory and ports.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The server binary.
    pub binary: PathBuf,
    /// Home of the data directory and the log file.
    pub home: PathBuf,
    /// Further flags, given after the ones every run needs.
    pub flags: Vec<String>,
    /// The member's name.
    pub name: String,
    /// `--initial-cluster`.
    pub initial_cluster: String,
    /// Whether the member was added to a cluster that is there.
    pub joins: bool,
    /// How clients speak TLS to it, if they are to.
    pub tls: Option<TlsOptions>,
    /// Each sync of its files takes so much longer than the disk does.
    pub sync_longer: Duration,
    client_port: u16,
    peer_port: u16,
}

impl Launch {
    /// A lone server to start in `home`, on two loopback ports that are free now.
    pub fn new(binary: &Path, home: &Path, flags: &[String]) -> Result<Self, Trouble> {
        let mut launch = Self::member(binary, home, "m1", flags)?;
        launch.initial_cluster = launch.as_founder();
        Ok(launch)
    }

    /// A member named `name` to start in `home`; `initial_cluster` is for the caller to fill in.
    pub fn member(binary: &Path, home: &Path, name: &str, flags: &[String]) -> Result<Self, Trouble> {
        std::fs::create_dir_all(home)?;
        Ok(Self {
            binary: binary.to_path_buf(),
            home: home.to_path_buf(),
            flags: flags.to_vec(),
            name: name.to_owned(),
            initial_cluster: String::new(),
            joins: false,
            tls: None,
            sync_longer: Duration::ZERO,
            client_port: free_port()?,
            peer_port: free_port()?,
        })
    }

    /// As `--initial-cluster` names it.
    pub fn as_founder(&self) -> String {
        format!("{}={}", self.name, self.peer_url())
    }

    /// Where clients find it.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.client_port)
    }

    /// Where the other members find it.
    pub fn peer_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.peer_port)
    }

    /// The client address without a scheme.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.client_port)
    }

    /// Starts the process and returns at once; see [`Server::ready`].
    pub fn start(&self) -> Result<Server, Trouble> {
        let log = std::fs::File::options().create(true).append(true).open(self.home.join("server.log"))?;
        let child = self
            .command()
            .args(["--name", &self.name, "--data-dir"])
            .arg(self.home.join("data"))
            .args(["--listen-client-urls", &self.url(), "--advertise-client-urls", &self.url()])
            .args(["--listen-peer-urls", &self.peer_url(), "--initial-advertise-peer-urls", &self.peer_url()])
            .args(["--initial-cluster", &self.initial_cluster])
            .args(["--initial-cluster-state", if self.joins { "existing" } else { "new" }])
            .args(&self.flags)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .map_err(|why| format!("cannot start {}: {why}", self.binary.display()))?;
        Ok(Server { child, url: self.url(), tls: self.tls.clone(), log: self.home.join("server.log") })
    }

    /// The program without arguments. A disk that is slow is one whose syncs come back late: `strace` holds them up, which
    /// any program bears, and costs nothing where nobody syncs (it is told of no other call).
    fn command(&self) -> Command {
        if self.sync_longer.is_zero() {
            return Command::new(&self.binary);
        }
        let mut command = Command::new("strace");
        let delay = format!("inject=fsync,fdatasync:delay_exit={}", self.sync_longer.as_micros());
        // As a grandchild: the process that is started is the member itself, and its tracer ends with it.
        command.args(["-D", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null"]);
        command.args(["-e", "trace=fsync,fdatasync", "-e", &delay]).arg(&self.binary);
        command
    }
}

/// Ports that are handed out lie below those that the system gives to outgoing connections, so that none of these takes
/// the port of a server that is down for a moment.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Ports where somebody named the first, as for `three_members.sh`.
const NAMED_PORTS: u16 = 1_000;

/// A loopback port that is free now and was not handed out before by this process.
fn free_port() -> Result<u16, Trouble> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let named = std::env::var("FIRST_PORT").ok().and_then(|port| port.parse::<u16>().ok());
    let ports = named.map_or(PORTS, |first| first..first.saturating_add(NAMED_PORTS));
    let span = u32::from(ports.end - ports.start);
    // Runs side by side begin at different places.
    let begin = std::process::id().wrapping_mul(97);
    for _ in 0..span {
        let step = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % span;
        let port = ports.start + u16::try_from(step)?;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err("no free port".into())
}

/// A running server process. Dropped, it is killed.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Where clients find it.
    pub url: String,
    /// How they speak TLS to it.
    pub tls: Option<TlsOptions>,
    log: PathBuf,
}

impl Server {
    /// Waits until a linearizable read is answered; returns the time since this call.
    ///
    /// # Errors
    /// When the process ends or `limit` passes first.
    pub async fn ready(&mut self, limit: Duration) -> Result<Duration, Trouble> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("the server ended while starting ({status}); see {}", self.log.display()).into());
            }
            if serves(&self.url, self.tls.as_ref()).await {
                return Ok(began.elapsed());
            }
            if began.elapsed() > limit {
                return Err(format!("not ready after {limit:?}; see {}", self.log.display()).into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// True while the process has not ended by itself.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal. One to a process that has ended goes nowhere.
    pub fn signal(&self, signal: Signal) -> Result<(), Trouble> {
        if let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            kill_process(pid, signal)?;
        }
        Ok(())
    }

    /// SIGTERM, then waits for the end; tells how long it took.
    ///
    /// # Errors
    /// When the process does not end within `limit`, or not in order.
    pub async fn stop(&mut self, limit: Duration) -> Result<Duration, Trouble> {
        self.signal(Signal::TERM)?;
        self.end(limit).await
    }

    /// Waits for the end after SIGTERM; tells how long it took.
    ///
    /// # Errors
    /// As [`Server::stop`].
    pub async fn end(&mut self, limit: Duration) -> Result<Duration, Trouble> {
        let began = Instant::now();
        let ended = tokio::time::timeout(limit, self.child.wait()).await;
        let status =
            ended.map_err(|_| format!("SIGTERM is not obeyed within {limit:?}; see {}", self.log.display()))??;
        // Stock etcd ends by the signal itself.
        if status.success() || status.signal() == Some(Signal::TERM.as_raw()) {
            return Ok(began.elapsed());
        }
        Err(format!("stopped with {status}; see {}", self.log.display()).into())
    }

    /// kill -9, then waits for the end.
    pub async fn kill(&mut self) -> Result<(), Trouble> {
        self.child.kill().await?;
        Ok(())
    }

    /// What the process has cost so far; `None` where the system does not tell.
    pub fn cost(&self) -> Option<Cost> {
        Cost::of(self.child.id()?)
    }

    /// The system's number for the process.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }
}

/// Processor time of a thread.
#[derive(Clone, Debug)]
pub struct ThreadCost {
    /// The system's number for it.
    pub id: u32,
    /// Its name, as far as the system keeps it.
    pub name: String,
    /// Time on a processor since it began.
    pub cpu: Duration,
    /// Time in which it could have run and had no processor.
    pub waited: Duration,
}

impl ThreadCost {
    /// Of every thread of a process; those that have ended are not among them.
    pub fn all(pid: u32) -> Vec<Self> {
        let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
        let id = |entry: std::io::Result<std::fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse().ok();
        tasks.filter_map(id).filter_map(|id| Self::of(pid, id)).collect()
    }

    fn of(pid: u32, id: u32) -> Option<Self> {
        let name = std::fs::read_to_string(format!("/proc/{pid}/task/{id}/comm")).ok()?;
        // Nanoseconds; `stat` has only hundredths of a second.
        let times = std::fs::read_to_string(format!("/proc/{pid}/task/{id}/schedstat")).ok()?;
        let mut nanos = times.split_whitespace().map_while(|word| word.parse().ok()).map(Duration::from_nanos);
        Some(Self { id, name: name.trim().to_string(), cpu: nanos.next()?, waited: nanos.next()? })
    }
}

async fn serves(url: &str, tls: Option<&TlsOptions>) -> bool {
    let attempt = async {
        let channel = connect_by(url, tls).await.ok()?;
        let probe = RangeRequest { key: "ready?".into(), ..Default::default() };
        KvClient::new(channel).range(probe).await.ok()
    };
    matches!(tokio::time::timeout(Duration::from_secs(10), attempt).await, Ok(Some(_)))
}

/// TLS that believes whoever answers.
pub fn unchecked() -> TlsOptions {
    TlsOptions { insecure_skip_verify: true, ..TlsOptions::default() }
}

/// One connection to a server; an encrypted one believes whoever answers.
pub async fn connect(url: &str) -> Result<Channel, Trouble> {
    let tls = url.starts_with("https:").then(unchecked);
    connect_by(url, tls.as_ref()).await
}

/// One connection to a server, encrypted where these options are given.
pub async fn connect_by(url: &str, tls: Option<&TlsOptions>) -> Result<Channel, Trouble> {
    if tls.is_some() {
        let (channel, _) = channel(url, &Options { tls: tls.cloned(), ..Options::default() })?;
        return Ok(channel);
    }
    let endpoint = tonic::transport::Endpoint::from_shared(url.to_owned())?;
    Ok(endpoint.tcp_nodelay(true).connect_timeout(Duration::from_secs(5)).connect().await?)
}

/// Processor time and memory of a process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// User and system time since the start.
    pub cpu: Duration,
    /// Resident memory in bytes.
    pub resident: u64,
    /// Bytes sent to the disk since the start; 0 where the system does not tell.
    pub written: u64,
}

/// Processor time of everything on this machine since it started, idle and waiting left out.
pub fn busy_of_all() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let ticks: Vec<u64> =
        stat.lines().next()?.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
    // user, nice, system, then idle and iowait, then irq and softirq.
    let busy: u64 = ticks.iter().take(3).chain(ticks.iter().skip(5).take(2)).sum();
    Some(Duration::from_millis(busy * 10))
}

impl Cost {
    /// Of the process with this id.
    pub fn of(pid: u32) -> Option<Self> {
        // /proc/PID/stat: the name in brackets may hold blanks, so count fields from the last bracket on.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
        let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
        let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
        let io = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
        let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.trim().parse().ok()).unwrap_or(0);
        // Linux reports in 1/100 s to user space on every architecture, and pages are 4 KiB where this runs.
        Some(Self { cpu: Duration::from_millis(ticks * 10), resident: pages * 4096, written })
    }
}

/// A fresh directory of this run below `base` (or the system's place for temporary files).
pub fn fresh_home(base: Option<&Path>, label: &str) -> Result<PathBuf, Trouble> {
    let base = base.map_or_else(std::env::temp_dir, Path::to_path_buf);
    for attempt in 0..10_000_u32 {
        let home = base.join(format!("quorate-{label}-{}-{attempt}", std::process::id()));
        std::fs::create_dir_all(&base)?;
        match std::fs::create_dir(&home) {
            Ok(()) => return Ok(home),
            Err(why) if why.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(why) => return Err(why.into()),
        }
    }
    Err("no free name for a directory".into())
}
