//! Three members as processes, with a street of the test's own before every port: clients and members know no other way.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use quorate::client::{Client, Credentials, Options};
use quorate::wire::etcdserverpb as pb;
use tokio::time::{Instant, sleep, timeout};

use crate::ports;
use crate::street::{Street, Traffic};

/// Longest any step may take: far beyond what a busy machine needs, and short enough to fail.
pub const LIMIT: Duration = Duration::from_secs(180);

/// Longest one request is waited for. What it did is open then.
const REQUEST: Duration = Duration::from_secs(4);

/// How many members there are.
pub const MEMBERS: usize = 3;

struct Member {
    directory: tempfile::TempDir,
    client_port: u16,
    peer_port: u16,
    /// Where clients come in.
    client_door: u16,
    /// Where members come in.
    peer_door: u16,
    clients: Street,
    peers: Street,
    child: Option<Child>,
}

/// The members; killed when dropped.
pub struct Cluster {
    members: Vec<Member>,
    ids: Vec<u64>,
    /// Whether only a user may do anything. Its tokens end after two seconds in which they were not used.
    guarded: bool,
}

impl Cluster {
    /// Three members that serve.
    pub async fn start() -> Self {
        let mut members = Vec::new();
        for _ in 0..MEMBERS {
            let [client_port, peer_port, client_door, peer_door] = std::array::from_fn(|_| ports::free());
            let clients = Street::open(client_door, client_port).await;
            let peers = Street::open_to_members(peer_door, peer_port).await;
            let directory = tempfile::tempdir().unwrap();
            let member =
                Member { directory, client_port, peer_port, client_door, peer_door, clients, peers, child: None };
            members.push(member);
        }
        let mut cluster = Self { members, ids: Vec::new(), guarded: false };
        for n in 0..MEMBERS {
            cluster.start_one(n);
        }
        let mut ids = Vec::new();
        for n in 0..MEMBERS {
            ids.push(cluster.status_in_time(n).await.header.unwrap().member_id);
        }
        cluster.ids = ids;
        cluster
    }

    /// The same, and only `root` may do anything.
    pub async fn start_guarded() -> Self {
        let mut cluster = Self::start().await;
        let (client, root, password) = (cluster.direct(0).await, "root".to_owned(), "pw".to_owned());
        let user = pb::AuthUserAddRequest { name: root.clone(), password, ..Default::default() };
        client.user_add(user).await.unwrap();
        client.role_add(pb::AuthRoleAddRequest { name: root.clone() }).await.unwrap();
        client.user_grant_role(pb::AuthUserGrantRoleRequest { user: root.clone(), role: root }).await.unwrap();
        client.auth_enable(pb::AuthEnableRequest {}).await.unwrap();
        cluster.guarded = true;
        cluster
    }

    fn options(&self) -> Options {
        let root = || Credentials::Password { name: "root".to_owned(), password: "pw".to_owned() };
        Options { timeout: Some(REQUEST), credentials: self.guarded.then(root), ..Options::default() }
    }

    /// A client that knows the streets, begins with the one of this number, and has seen the cluster answer.
    pub async fn client(&self, first: usize) -> Client {
        let door = |n: usize| format!("127.0.0.1:{}", self.members[(first + n) % MEMBERS].client_door);
        let client = Client::connect(&(0..MEMBERS).map(door).collect::<Vec<_>>(), self.options()).await.unwrap();
        client.within(Some(LIMIT)).range(pb::RangeRequest { key: "ready".into(), ..Default::default() }).await.unwrap();
        client
    }

    /// A client of one member that no trouble of the streets reaches.
    pub async fn direct(&self, n: usize) -> Client {
        // Whoever cannot say now who asks does so with the first request.
        let client = Client::open(&[format!("127.0.0.1:{}", self.members[n].client_port)], self.options()).unwrap();
        let _ = client.log_in().await;
        client
    }

    pub fn order(&self, n: usize, traffic: Traffic) {
        self.members[n].clients.order(traffic);
    }

    /// What becomes of what this member says to the others, and they to it.
    pub fn part(&self, n: usize, traffic: Traffic) {
        for other in (0..MEMBERS).filter(|other| *other != n) {
            self.members[other].peers.order_for(self.ids[n], traffic);
            self.members[n].peers.order_for(self.ids[other], traffic);
        }
    }

    /// Only what comes in by this member's own door: members read what is said to them on connections they made.
    pub fn part_one_way(&self, n: usize, traffic: Traffic) {
        for other in (0..MEMBERS).filter(|other| *other != n) {
            self.members[n].peers.order_for(self.ids[other], traffic);
        }
    }

    /// Starts it, whether or not it gets ready.
    pub fn start_one(&mut self, n: usize) {
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let founders: Vec<String> =
            self.members.iter().enumerate().map(|(n, member)| format!("m{n}={}", url(member.peer_door))).collect();
        let member = &mut self.members[n];
        assert!(member.child.is_none(), "it runs");
        let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ETCD_")) {
            command.env_remove(name);
        }
        let (data, log) = (member.directory.path().join("data"), member.directory.path().join("log"));
        command
            .args([format!("--name=m{n}"), format!("--data-dir={}", data.display())])
            .arg(format!("--listen-client-urls={}", url(member.client_port)))
            .arg(format!("--advertise-client-urls={}", url(member.client_door)))
            .arg(format!("--listen-peer-urls={}", url(member.peer_port)))
            .arg(format!("--initial-advertise-peer-urls={}", url(member.peer_door)))
            .args([format!("--initial-cluster={}", founders.join(",")), format!("--log-outputs={}", log.display())])
            .arg("--watch-progress-notify-interval=1s")
            .args(["--auth-token-ttl=2", "--bcrypt-cost=4"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        member.child = Some(command.spawn().unwrap());
    }

    /// As `kill -9`.
    pub fn kill(&mut self, n: usize) {
        let mut child = self.members[n].child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Sends a signal by name: `STOP` makes it pause, `CONT` go on.
    pub fn signal(&self, n: usize, name: &str) {
        let id = self.members[n].child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap().success());
    }

    /// What the member says of itself.
    async fn status(&self, n: usize) -> Option<pb::StatusResponse> {
        self.direct(n).await.status(pb::StatusRequest {}).await.ok()
    }

    /// The same, once it answers and knows a leader.
    pub async fn status_in_time(&self, n: usize) -> pb::StatusResponse {
        let work = async {
            loop {
                match self.status(n).await {
                    Some(status) if status.leader != 0 => return status,
                    _ => sleep(Duration::from_millis(50)).await,
                }
            }
        };
        timeout(LIMIT, work).await.unwrap_or_else(|_| panic!("member {n} does not answer: {}", self.log(n)))
    }

    /// The number of who leads, asked where no trouble is.
    pub async fn leader(&self) -> usize {
        let status = self.status_in_time(0).await;
        self.ids.iter().position(|id| *id == status.leader).unwrap()
    }

    /// Moves the leadership to the next member, asking again while an election goes on; the new leader's number.
    pub async fn move_leader(&self) -> usize {
        let begun = Instant::now();
        loop {
            let leader = self.leader().await;
            let next = (leader + 1) % MEMBERS;
            let request = pb::MoveLeaderRequest { target_id: self.ids[next] };
            match self.direct(leader).await.move_leader(request).await {
                Ok(_) => return next,
                Err(error) => assert!(begun.elapsed() < LIMIT, "{error}"),
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    fn log(&self, n: usize) -> String {
        let path: PathBuf = self.members[n].directory.path().join("log");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().rev().take(20).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in &mut self.members {
            if let Some(mut child) = member.child.take() {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}
