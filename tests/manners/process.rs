//! A server process and ways to talk to it.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate::wire::etcdserverpb as pb;
use quorate::wire::services::kv_client::KvClient;
use quorate::wire::services::maintenance_client::MaintenanceClient;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use tonic::transport::{Channel, Endpoint};

use crate::ports;

/// Longest any step may take: far beyond what a busy machine needs, and short enough to fail.
pub const LIMIT: Duration = Duration::from_secs(180);

/// A home for one server: its directory and its ports. Starts it again and again.
pub struct Home {
    directory: tempfile::TempDir,
    pub client_port: u16,
    peer_port: u16,
}

impl Home {
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), client_port: ports::free(), peer_port: ports::free() }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.path().join("log")
    }

    /// The command with the flags every server needs. Its log goes to a file, so that stderr has only what the
    /// process says last.
    pub fn command(&self) -> Command {
        let client = format!("http://127.0.0.1:{}", self.client_port);
        let peer = format!("http://127.0.0.1:{}", self.peer_port);
        let mut command = bare();
        command
            .args(["--name=m1", &format!("--data-dir={}", self.data().display())])
            .args([format!("--listen-client-urls={client}"), format!("--advertise-client-urls={client}")])
            .args([format!("--listen-peer-urls={peer}"), format!("--initial-advertise-peer-urls={peer}")])
            .args([format!("--initial-cluster=m1={peer}"), format!("--log-outputs={}", self.log().display())]);
        command
    }

    pub fn log_text(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    pub fn log_has(&self, words: &[&str]) -> bool {
        self.log_text().lines().any(|line| words.iter().all(|word| line.contains(word)))
    }

    /// A server that answers.
    pub fn start(&self) -> Server {
        self.start_with(&[])
    }

    pub fn start_with(&self, flags: &[&str]) -> Server {
        let child = self.command().args(flags).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut server = Server { child, port: self.client_port };
        let began = Instant::now();
        while !self.log_text().lines().any(|line| line.contains("ready to serve") && line.contains(&server.word())) {
            if let Some(status) = server.child.try_wait().unwrap() {
                panic!("the server ended while starting: {status} {}", server.stderr());
            }
            assert!(began.elapsed() < LIMIT, "not ready: {}", self.log_text());
            std::thread::sleep(Duration::from_millis(2));
        }
        server
    }

    /// Waits until a line of the log has all these words.
    pub fn wait_for_log(&self, words: &[&str]) {
        let began = Instant::now();
        while !self.log_has(words) {
            assert!(began.elapsed() < LIMIT, "{words:?} in {}", self.log_text());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Starts a server that is expected not to; its exit code and what it said.
    pub fn refused(&self, flags: &[&str]) -> (i32, String) {
        said(self.command().args(flags))
    }
}

/// Waits until something holds.
pub async fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < LIMIT, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The binary without flags and without the environment of whoever runs the tests.
pub fn bare() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ETCD_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// A process that was just started.
pub fn running(mut command: Command) -> Server {
    Server { child: command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap(), port: 0 }
}

/// A process that was just started, with the streams its command says.
pub fn started(mut command: Command) -> Server {
    Server { child: command.spawn().unwrap(), port: 0 }
}

/// A terminal of its own: the side that shows and types, and the end that a command is given.
pub fn terminal() -> (File, File) {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let end = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    (File::from(terminal), end)
}

/// Runs a command that must end by itself; its exit code and stderr.
pub fn said(command: &mut Command) -> (i32, String) {
    let output = ended(command);
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

pub fn ended(command: &mut Command) -> Output {
    let mut server = Server { child: command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap(), port: 0 };
    let status = server.wait();
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    server.child.stdout.take().unwrap().read_to_end(&mut stdout).unwrap();
    server.child.stderr.take().unwrap().read_to_end(&mut stderr).unwrap();
    Output { status, stdout, stderr }
}

/// A running server; killed when dropped.
pub struct Server {
    child: Child,
    port: u16,
}

impl Server {
    /// The same, reached at this port.
    pub fn on(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// What marks this process's log lines among those of its predecessors.
    fn word(&self) -> String {
        format!("\"pid\":{}", self.child.id())
    }

    /// As the system has it.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name, as `TERM`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// The same, to one that may have ended by itself.
    pub fn signal_if_alive(&mut self, name: &str) {
        // Until it is waited for its id is nobody else's.
        if !self.is_over() {
            self.signal(name);
        }
    }

    pub fn is_over(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for the end.
    pub fn wait(&mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(began.elapsed() < LIMIT, "the process does not end");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub fn stderr(&mut self) -> String {
        let mut text = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        text
    }

    pub fn stop(mut self) {
        self.signal("TERM");
        assert_eq!(self.wait().code(), Some(0), "{}", self.stderr());
    }

    pub fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel())
    }

    pub fn maintenance(&self) -> MaintenanceClient<Channel> {
        MaintenanceClient::new(self.channel())
    }

    fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://127.0.0.1:{}", self.port)).unwrap().connect_lazy()
    }

    /// The status line and the body of an HTTP/1.1 GET.
    pub fn get(&self, path: &str) -> (String, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_string(), body.to_string())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One put; the revision it was acknowledged with.
pub async fn put(kv: &mut KvClient<Channel>, key: String, value: String) -> Result<i64, tonic::Status> {
    let request = pb::PutRequest { key: key.into(), value: value.into(), ..Default::default() };
    Ok(kv.put(request).await?.into_inner().header.unwrap().revision)
}

/// Puts `key-FROM` to `key-(TO-1)`.
pub async fn put_many(server: &Server, numbers: std::ops::Range<u32>) {
    let mut kv = server.kv();
    for number in numbers {
        put(&mut kv, key(number), value(number)).await.unwrap();
    }
}

pub fn key(number: u32) -> String {
    format!("key-{number:05}")
}

pub fn value(number: u32) -> String {
    format!("value of {number}")
}

/// Everything the server holds, key and value.
pub async fn all(server: &Server) -> Vec<(String, String)> {
    let request =
        pb::RangeRequest { key: Bytes::from_static(b"\0"), range_end: Bytes::from_static(b"\0"), ..Default::default() };
    let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    let answer = server.kv().range(request).await.unwrap().into_inner();
    answer.kvs.into_iter().map(|kv| (text(kv.key), text(kv.value))).collect()
}

/// Asserts that the server holds what [`put_many`] put, and nothing else.
pub async fn holds(server: &Server, numbers: std::ops::Range<u32>) {
    let expected: Vec<_> = numbers.map(|number| (key(number), value(number))).collect();
    assert_eq!(all(server).await, expected);
}
