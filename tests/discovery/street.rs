//! Servers as processes, with ports of their own.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use quorate::client::{Client, Options};
use quorate::wire::etcdserverpb as pb;

use crate::ports;

/// Longest any step may take: far beyond what a busy machine needs.
pub const LIMIT: Duration = Duration::from_secs(120);

/// A home for one server.
pub struct Home {
    directory: tempfile::TempDir,
    pub name: String,
    pub client_port: u16,
    pub peer_port: u16,
}

/// Homes whose ports differ.
pub fn homes<const N: usize>(names: [&str; N]) -> [Home; N] {
    names.map(|name| Home {
        directory: tempfile::tempdir().unwrap(),
        name: name.to_owned(),
        client_port: ports::free(),
        peer_port: ports::free(),
    })
}

/// A binary of this package, without the environment of whoever runs the tests.
pub fn bare(path: &str) -> Command {
    let mut command = Command::new(path);
    let own = |name: &str| name.starts_with("ETCD") || name.starts_with("QUORATE_");
    for (name, _) in std::env::vars().filter(|(name, _)| own(name)) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

impl Home {
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn log_text(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// A server of this home that does not say who its members are.
    pub fn command(&self, flags: &[&str]) -> Command {
        let mut command = bare(env!("CARGO_BIN_EXE_quorate"));
        let client = format!("http://127.0.0.1:{}", self.client_port);
        let peer = format!("http://127.0.0.1:{}", self.peer_port);
        command
            .args([format!("--name={}", self.name), format!("--data-dir={}", self.path("data").display())])
            .args([format!("--listen-client-urls={client}"), format!("--advertise-client-urls={client}")])
            .args([format!("--listen-peer-urls={peer}"), format!("--initial-advertise-peer-urls={peer}")])
            .arg(format!("--log-outputs={}", self.path("log").display()))
            .args(flags)
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }

    /// Waits until a line of the log has this.
    pub fn wait_for_log(&self, process: &mut Process, text: &str) {
        let began = Instant::now();
        while !self.log_text().contains(text) {
            if let Some(code) = process.0.try_wait().unwrap() {
                panic!("{} ended: {code}: {} {}", self.name, process.stderr(), self.log_text());
            }
            assert!(began.elapsed() < LIMIT, "{text:?} is not in {}", self.log_text());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn until_ready(&self, process: &mut Process) {
        self.wait_for_log(process, "ready to serve");
    }

    pub async fn client(&self) -> Client {
        let options = Options { timeout: Some(LIMIT), ..Options::default() };
        Client::connect(&[format!("127.0.0.1:{}", self.client_port)], options).await.unwrap()
    }
}

/// Names and peer URLs of the members, by one of them.
pub async fn members_of(client: &Client) -> Vec<(String, Vec<String>)> {
    let began = Instant::now();
    let listed = loop {
        // On a busy machine there is an election at any time.
        match client.member_list(pb::MemberListRequest { linearizable: true }).await {
            Ok(listed) => break listed,
            Err(error) => assert!(began.elapsed() < LIMIT, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let mut members: Vec<_> = listed.members.into_iter().map(|member| (member.name, member.peer_ur_ls)).collect();
    members.sort();
    members
}

/// A running process; killed when dropped.
pub struct Process(pub Child);

impl Process {
    pub fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    /// Waits for its end; the exit code and what it said on stderr.
    pub fn end(mut self) -> (i32, String) {
        let began = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return (status.code().unwrap_or(-1), self.stderr());
            }
            assert!(began.elapsed() < LIMIT, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn stderr(&mut self) -> String {
        let mut text = String::new();
        if let Some(mut stderr) = self.0.stderr.take() {
            stderr.read_to_string(&mut text).unwrap();
        }
        text
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
