//! The three members, and ways to talk to them.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use quorate::base::KeyRange;
use quorate::driver::{BootReport, DriverConfig, FoundingMember, Handle, start};
use quorate::env::{TokioDisk, TokioEnv};
use quorate::machine::{Command, Put};
use quorate::mvcc::{RangeQuery, View};
use quorate::node::NodeConfig;

use crate::granted::granted;
use crate::ports;

/// Longest any step may take: far beyond what a busy machine needs, and short enough to fail.
pub const LIMIT: Duration = Duration::from_secs(90);

const NAMES: [&str; 3] = ["one", "two", "three"];

/// Directories and ports of three members.
pub struct Homes {
    directories: Vec<tempfile::TempDir>,
    pub ports: Vec<u16>,
    /// Entries kept for those who lag.
    catch_up_entries: u64,
}

impl Homes {
    pub fn new(catch_up_entries: u64) -> Self {
        let directories = NAMES.iter().map(|_| tempfile::tempdir().unwrap()).collect();
        let ports = NAMES.iter().map(|_| ports::free()).collect();
        Self { directories, ports, catch_up_entries }
    }

    pub fn dir(&self, n: usize) -> &Path {
        self.directories[n].path()
    }

    pub fn config(&self, n: usize) -> DriverConfig {
        config(n, &self.ports, self.catch_up_entries)
    }

    pub async fn open(&self, n: usize) -> Handle<TokioEnv> {
        open(self.dir(n), self.config(n)).await.unwrap().0
    }

    /// All three, ready.
    pub async fn open_all(&self) -> Vec<Handle<TokioEnv>> {
        self.open_all_with(|n| self.config(n)).await
    }

    pub async fn open_all_with(&self, config: impl Fn(usize) -> DriverConfig) -> Vec<Handle<TokioEnv>> {
        let members = self.begin_all(config).await;
        for member in &members {
            until_ready(member).await;
        }
        members
    }

    /// All three, ready or not.
    pub async fn begin_all(&self, config: impl Fn(usize) -> DriverConfig) -> Vec<Handle<TokioEnv>> {
        let mut members = Vec::new();
        for n in 0..NAMES.len() {
            members.push(open(self.dir(n), config(n)).await.unwrap().0);
        }
        members
    }
}

/// Of the member of this number among those of these ports.
pub fn config(n: usize, ports: &[u16], catch_up_entries: u64) -> DriverConfig {
    let url = |port: &u16| format!("http://127.0.0.1:{port}");
    let founder = |(name, port): (&&str, &u16)| FoundingMember { name: name.to_string(), peer_urls: vec![url(port)] };
    let own = DriverConfig::new(NAMES[n], NAMES.iter().zip(ports).map(founder).collect());
    DriverConfig {
        listen_peers: vec![format!("127.0.0.1:{}", ports[n])],
        tick: Duration::from_millis(50),
        node: NodeConfig {
            client_urls: vec![format!("http://{}:2379", NAMES[n])],
            election_timeout: Duration::from_millis(500),
            catch_up_entries,
            checkpoint_entries: 30,
            seed: n as u64,
            ..own.node
        },
        ..own
    }
}

pub fn world(dir: &Path) -> TokioEnv {
    TokioEnv::new(dir.to_path_buf(), 1).unwrap()
}

/// A start that may be refused.
pub async fn open(dir: &Path, config: DriverConfig) -> Result<(Handle<TokioEnv>, BootReport), String> {
    start(world(dir), config).await.map_err(|wrong| wrong.to_string())
}

pub async fn until(what: &str, holds: impl Fn() -> bool) {
    let holds = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, holds).await.expect(what);
}

pub async fn until_ready(handle: &Handle<TokioEnv>) {
    until("the member gets ready", || handle.status().ready).await;
}

/// Puts a key of this number, once or more.
pub async fn put(handle: &Handle<TokioEnv>, n: usize) {
    let put = Put { key: format!("key-{n}").into(), value: Bytes::from_static(b"value"), ..Put::default() };
    granted(async || handle.propose(Command::Put(put.clone())).await).await;
}

/// What the member has of all that is acknowledged.
pub async fn view(handle: &Handle<TokioEnv>) -> View<TokioDisk> {
    granted(async || handle.view(true).await).await
}

/// The number of who leads, once there is one.
pub async fn leader(members: &[Handle<TokioEnv>]) -> usize {
    let led = || members.iter().position(|member| member.status().is_leader);
    until("somebody leads", || led().is_some()).await;
    led().unwrap_or_default()
}

/// Waits until this member remembers that another has promised to have the log up to here.
pub async fn until_remembered(handle: &Handle<TokioEnv>, of: &Handle<TokioEnv>, end: u64) {
    let of = of.identity().member;
    let remembered = async { while granted(async || handle.promises_held().await).await.of(of).entry.index < end {} };
    tokio::time::timeout(LIMIT, remembered).await.expect("it is remembered");
}

/// How many keys it has, and what they and their past digest to.
pub async fn digest(handle: &Handle<TokioEnv>) -> (i64, u32) {
    let view = view(handle).await;
    (view.range(&RangeQuery::plain(KeyRange::all())).unwrap().count, view.hash_kv(0).unwrap().hash)
}
