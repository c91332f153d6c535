//! A server under test as a real process: start on loopback, wait until it serves, kill by its own id, read its costs.
//!
//! Invariants: every process started here is ended by the id it was started with, also when the owner is dropped; flags
//! are the ones stock etcd and quorate share. Does not know what is asked of the server.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use quorate::wire::etcdserverpb::RangeRequest;
use quorate::wire::services::kv_client::KvClient;
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
    client_port: u16,
    peer_port: u16,
}

impl Launch {
    /// A server to start in `home`, on two loopback ports that are free now.
    pub fn new(binary: &Path, home: &Path, flags: &[String]) -> Result<Self, Trouble> {
        std::fs::create_dir_all(home)?;
        // Both listeners live until both ports are known, so that the two differ.
        let (first, second) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
        Ok(Self {
            binary: binary.to_path_buf(),
            home: home.to_path_buf(),
            flags: flags.to_vec(),
            client_port: first.local_addr()?.port(),
            peer_port: second.local_addr()?.port(),
        })
    }

    /// Where clients find it.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.client_port)
    }

    /// The client address without a scheme.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.client_port)
    }

    /// Starts the process and returns at once; see [`Server::ready`].
    pub fn start(&self) -> Result<Server, Trouble> {
        let log = std::fs::File::options().create(true).append(true).open(self.home.join("server.log"))?;
        let peer = format!("http://127.0.0.1:{}", self.peer_port);
        let child = Command::new(&self.binary)
            .args(["--name", "m1", "--data-dir"])
            .arg(self.home.join("data"))
            .args(["--listen-client-urls", &self.url(), "--advertise-client-urls", &self.url()])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("m1={peer}")])
            .args(&self.flags)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .map_err(|why| format!("cannot start {}: {why}", self.binary.display()))?;
        Ok(Server { child, url: self.url(), log: self.home.join("server.log") })
    }
}

/// A running server process. Dropped, it is killed.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Where clients find it.
    pub url: String,
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
            if serves(&self.url).await {
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

    /// kill -9, then waits for the end.
    pub async fn kill(&mut self) -> Result<(), Trouble> {
        self.child.kill().await?;
        Ok(())
    }

    /// What the process has cost so far; `None` where the system does not tell.
    pub fn cost(&self) -> Option<Cost> {
        Cost::of(self.child.id()?)
    }
}

async fn serves(url: &str) -> bool {
    let attempt = async {
        let channel = connect(url).await.ok()?;
        let probe = RangeRequest { key: "ready?".into(), ..Default::default() };
        KvClient::new(channel).range(probe).await.ok()
    };
    matches!(tokio::time::timeout(Duration::from_secs(2), attempt).await, Ok(Some(_)))
}

/// One connection to a server.
pub async fn connect(url: &str) -> Result<Channel, Trouble> {
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
