//! Members as processes, and ways to talk to them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate::wire::etcdserverpb as pb;
use quorate::wire::services::cluster_client::ClusterClient;
use quorate::wire::services::kv_client::KvClient;
use quorate::wire::services::maintenance_client::MaintenanceClient;
use tonic::transport::{Channel, Endpoint};

use crate::granted::granted;
use crate::ports;

/// Longest any step may take: far beyond what a busy machine needs, and short enough to fail.
pub const LIMIT: Duration = Duration::from_secs(180);

/// A home for one member: its directory and its ports. Starts it again and again.
pub struct Member {
    directory: tempfile::TempDir,
    pub name: String,
    pub client_port: u16,
    pub peer_port: u16,
}

impl Member {
    pub fn new(name: &str) -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            name: name.to_string(),
            client_port: ports::free(),
            peer_port: ports::free(),
        }
    }

    pub fn several<const N: usize>(names: [&str; N]) -> [Self; N] {
        names.map(Self::new)
    }

    pub fn peer_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.peer_port)
    }

    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// Starts it among `members`, with further flags; whether it gets ready is another question.
    pub fn spawn(&self, members: &[&Self], flags: &[&str]) -> Process {
        let client = format!("http://127.0.0.1:{}", self.client_port);
        let named: Vec<String> =
            members.iter().map(|member| format!("{}={}", member.name, member.peer_url())).collect();
        let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ETCD_")) {
            command.env_remove(name);
        }
        command
            .args([format!("--name={}", self.name), format!("--data-dir={}", self.data().display())])
            .args([format!("--listen-client-urls={client}"), format!("--advertise-client-urls={client}")])
            .args([format!("--listen-peer-urls={}", self.peer_url())])
            .args([format!("--initial-advertise-peer-urls={}", self.peer_url())])
            .args([format!("--initial-cluster={}", named.join(",")), format!("--log-outputs={}", self.log().display())])
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        Process { child: command.spawn().unwrap(), client_port: self.client_port, log: self.log() }
    }

    /// A member that is ready to serve.
    pub fn start(&self, members: &[&Self], flags: &[&str]) -> Process {
        let mut process = self.spawn(members, flags);
        process.until_ready();
        process
    }

    pub fn log_text(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// Waits until a line of the log has all these words.
    pub fn wait_for_log(&self, words: &[&str]) {
        let has = || self.log_text().lines().any(|line| words.iter().all(|word| line.contains(word)));
        until(|| format!("{words:?} in {}", self.log_text()), has);
    }

    /// Waits for something asked of the peer port by GET.
    pub fn ask_peer_port(&self, path: &str, body: &str) -> String {
        asked(self.peer_port, path, body).split_once("\r\n\r\n").unwrap().1.to_string()
    }

    /// Waits for something asked of the client port by GET: head and body.
    pub fn ask_client_port(&self, path: &str) -> String {
        asked(self.client_port, path, "")
    }
}

fn asked(port: u16, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let length = body.len();
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// All members of a new cluster, started at once and ready.
pub fn start_all(members: &[Member], flags: &[&str]) -> Vec<Process> {
    let all: Vec<&Member> = members.iter().collect();
    let mut processes: Vec<Process> = members.iter().map(|member| member.spawn(&all, flags)).collect();
    processes.iter_mut().for_each(Process::until_ready);
    processes
}

/// Waits, for at most [`LIMIT`].
pub fn until(what: impl Fn() -> String, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < LIMIT, "in vain: {}", what());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A running member; killed when dropped.
pub struct Process {
    child: Child,
    client_port: u16,
    log: PathBuf,
}

impl Process {
    fn until_ready(&mut self) {
        // What marks this process's log lines among those of its predecessors.
        let word = format!("\"pid\":{}", self.child.id());
        let began = Instant::now();
        loop {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            if log.lines().any(|line| line.contains("ready to serve") && line.contains(&word)) {
                return;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the member ended while starting: {status} {}", self.stderr());
            }
            assert!(began.elapsed() < LIMIT, "not ready: {log}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// The exit code and what it said, once it ends by itself.
    pub fn ended(mut self) -> (Option<i32>, String) {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status.code(), self.stderr());
            }
            assert!(began.elapsed() < LIMIT, "the member does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn stderr(&mut self) -> String {
        let mut text = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        text
    }

    /// As `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Stops it in order.
    pub fn stop(self) {
        let status = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
        assert_eq!(self.ended(), (Some(0), String::new()));
    }

    pub fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://127.0.0.1:{}", self.client_port)).unwrap().connect_lazy()
    }

    pub fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel())
    }

    pub fn cluster(&self) -> ClusterClient<Channel> {
        ClusterClient::new(self.channel())
    }

    pub fn maintenance(&self) -> MaintenanceClient<Channel> {
        MaintenanceClient::new(self.channel())
    }

    /// Puts `key-FROM` to `key-(TO-1)`; asked again where the outcome is open.
    pub async fn put_many(&self, numbers: std::ops::Range<u32>) {
        let kv = self.kv();
        for number in numbers {
            let request =
                pb::PutRequest { key: key(number), value: Bytes::from_static(b"value"), ..Default::default() };
            granted(async || kv.clone().put(request.clone()).await).await;
        }
    }

    /// The keys it holds by itself.
    pub async fn keys(&self) -> Vec<Bytes> {
        let request = pb::RangeRequest {
            key: Bytes::from_static(b"\0"),
            range_end: Bytes::from_static(b"\0"),
            serializable: true,
            ..Default::default()
        };
        let answer = granted(async || self.kv().range(request.clone()).await).await;
        answer.into_inner().kvs.into_iter().map(|kv| kv.key).collect()
    }

    /// Waits until it holds the keys of [`Process::put_many`] of these numbers, and no others.
    pub async fn until_it_holds(&self, numbers: std::ops::Range<u32>) {
        let wanted: Vec<Bytes> = numbers.map(key).collect();
        let began = Instant::now();
        while self.keys().await != wanted {
            assert!(began.elapsed() < LIMIT, "{} of {} keys", self.keys().await.len(), wanted.len());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn members(&self) -> Vec<pb::Member> {
        let request = pb::MemberListRequest { linearizable: true };
        granted(async || self.cluster().member_list(request).await).await.into_inner().members
    }

    pub async fn id_of(&self, member: &Member) -> u64 {
        self.members().await.into_iter().find(|have| have.name == member.name).unwrap().id
    }

    /// Adds a member, asking again while the cluster thinks itself unhealthy. One whose answer was lost was added.
    pub async fn add(&self, member: &Member, is_learner: bool) {
        let request = pb::MemberAddRequest { peer_ur_ls: vec![member.peer_url()], is_learner };
        granted(async || match self.cluster().member_add(request.clone()).await {
            Err(status) if status.message() == "etcdserver: Peer URLs already exists" => Ok(()),
            outcome => outcome.map(drop),
        })
        .await;
    }

    /// Removes a member, asking again while the cluster thinks itself unhealthy. One whose answer was lost was removed.
    pub async fn remove(&self, id: u64) {
        granted(async || match self.cluster().member_remove(pb::MemberRemoveRequest { id }).await {
            Err(status) if status.message() == "etcdserver: member not found" => Ok(()),
            outcome => outcome.map(drop),
        })
        .await;
    }

    /// The members that an alarm CORRUPT names.
    pub async fn corrupt(&self) -> Vec<u64> {
        let request = pb::AlarmRequest { action: 0, member_id: 0, alarm: 2 };
        let alarms = granted(async || self.maintenance().alarm(request).await).await.into_inner().alarms;
        alarms.into_iter().filter(|alarm| alarm.alarm == 2).map(|alarm| alarm.member_id).collect()
    }

    /// Waits until an alarm CORRUPT names this member, and nobody else.
    pub async fn until_named(&self, member: u64) {
        let began = Instant::now();
        loop {
            let named = self.corrupt().await;
            if named == [member] {
                return;
            }
            assert!(named.is_empty() && began.elapsed() < LIMIT, "{named:x?} in place of {member:x}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn key(number: u32) -> Bytes {
    format!("key-{number:05}").into()
}
