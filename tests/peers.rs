//! The peer transport over real sockets: between members of ours, and with a stock etcd at the other end.
//!
//! The second needs `target/peers/etcd` (`jepsen/build_peers.sh`, or `PEERS_DIR`) and says so where it is missing.

#![cfg(feature = "tokio-env")]
#![allow(clippy::unwrap_used, reason = "a test")]

mod ports;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate::base::{ClusterId, MemberId, Wrong, derive_cluster_id, derive_member_id};
use quorate::consensus::{MessageKind, PeerMessage};
use quorate::env::{Env, Tasks, TokioEnv};
use quorate::peer::{
    BoxFuture, ChunkSink, ChunkSource, PeerAddress, PeerConfig, PeerDoor, PeerSender, Reply, Roster, Transport, fetch,
};

/// Longest any step may take: far beyond what a busy machine needs.
const LIMIT: Duration = Duration::from_secs(120);

const APPEND: u64 = 3;
const APPEND_RESPONSE: u64 = 4;
const VOTE_RESPONSE: u64 = 6;
const SNAPSHOT: u64 = 7;
const HEARTBEAT: u64 = 8;
const HEARTBEAT_RESPONSE: u64 = 9;
const PRE_VOTE_RESPONSE: u64 = 18;

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn field(out: &mut Vec<u8>, number: u64, value: u64) {
    varint(out, number << 3);
    varint(out, value);
}

fn nested(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    varint(out, number << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A message by its fields: type 1, to 2, from 3, term 4, log term 5, index 6, commit 8.
fn message(fields: &[(u64, u64)], rest: &[u8]) -> PeerMessage {
    let mut bytes = Vec::new();
    fields.iter().for_each(|(number, value)| field(&mut bytes, *number, *value));
    bytes.extend_from_slice(rest);
    PeerMessage::decode(&bytes).unwrap().unwrap()
}

/// The bytes of a field of a message, which raft keeps to itself.
fn bytes_field(message: &PeerMessage, wanted: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    let mut at = 0;
    let read = |at: &mut usize| {
        let (mut value, mut shift) = (0_u64, 0);
        loop {
            let byte = bytes[*at];
            *at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return value;
            }
        }
    };
    while at < bytes.len() {
        let tag = read(&mut at);
        let value = read(&mut at);
        if tag & 7 == 2 {
            let end = at + value as usize;
            if tag >> 3 == wanted {
                return Some(bytes[at..end].to_vec());
            }
            at = end;
        }
    }
    None
}

/// Waits, for at most [`LIMIT`].
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < LIMIT, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

type Sender = Arc<dyn PeerSender>;

/// A member that grants every vote and acknowledges every append, while it follows.
#[derive(Clone, Default)]
struct Door {
    cluster: u64,
    sender: Arc<Mutex<Option<Sender>>>,
    arrived: Arc<Mutex<Vec<PeerMessage>>>,
    snapshots: Arc<Mutex<Vec<(MemberId, bool)>>>,
    chunks: Arc<Mutex<Vec<Bytes>>>,
}

impl Door {
    fn last(&self, kind: MessageKind) -> Option<PeerMessage> {
        self.arrived.lock().unwrap().iter().rev().find(|message| message.kind() == kind).cloned()
    }

    fn answer_to(asked: &PeerMessage) -> Option<PeerMessage> {
        let head = |kind| vec![(1, kind), (2, asked.from().0), (3, asked.to().0), (4, asked.term())];
        let mut rest = Vec::new();
        let mut fields = match asked.kind() {
            MessageKind::PreVote => head(PRE_VOTE_RESPONSE),
            MessageKind::Vote => head(VOTE_RESPONSE),
            MessageKind::Append => head(APPEND_RESPONSE),
            MessageKind::Heartbeat => head(HEARTBEAT_RESPONSE),
            _ => return None,
        };
        if asked.kind() == MessageKind::Append {
            fields.push((6, asked.last_index()));
        }
        if let Some(context) = bytes_field(asked, 12) {
            nested(&mut rest, 12, &context);
        }
        Some(message(&fields, &rest))
    }
}

impl PeerDoor for Door {
    fn arrived(&self, message: PeerMessage) {
        let sender = self.sender.lock().unwrap().clone();
        if let (Some(sender), Some(answer)) = (sender, Self::answer_to(&message)) {
            sender.send(answer);
        }
        self.arrived.lock().unwrap().push(message);
    }

    fn unreachable(&self, _member: MemberId) {}

    fn snapshot_sent(&self, member: MemberId, arrived: bool) {
        self.snapshots.lock().unwrap().push((member, arrived));
    }

    fn removed(&self) {
        panic!("nobody was removed");
    }

    fn roster(&self) -> Roster {
        let version = r#"{"etcdserver":"3.7.1","etcdcluster":"3.7.0","storage":"3.7.0"}"#;
        Roster {
            cluster: ClusterId(self.cluster),
            members_json: Bytes::from_static(b"[]"),
            version_json: Bytes::from_static(version.as_bytes()),
            removed: Vec::new(),
        }
    }

    fn snapshot_offered(
        &self,
        _message: &PeerMessage,
        _manifest: Bytes,
    ) -> BoxFuture<'static, Result<Option<Box<dyn ChunkSink>>, String>> {
        let sink: Box<dyn ChunkSink> = Box::new(self.clone());
        Box::pin(std::future::ready(Ok(Some(sink))))
    }

    fn asked(&self, _from: MemberId, question: Bytes, reply: Reply) {
        reply.answer(question);
    }
}

impl ChunkSink for Door {
    fn next(&self) -> u64 {
        self.chunks.lock().unwrap().len() as u64
    }

    fn put(&mut self, chunk: Bytes) -> BoxFuture<'_, Result<(), String>> {
        self.chunks.lock().unwrap().push(chunk);
        Box::pin(std::future::ready(Ok(())))
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<(), String>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Forty chunks of 100,000 bytes.
struct Source;

impl ChunkSource for Source {
    fn manifest(&self) -> Bytes {
        Bytes::from_static(b"forty")
    }

    fn chunk(&mut self, number: u64) -> BoxFuture<'_, Result<Option<Bytes>, Wrong>> {
        let chunk = (number < 40).then(|| vec![number as u8; 100_000].into());
        Box::pin(std::future::ready(Ok(chunk)))
    }
}

/// What a future gives, run among the light tasks of the world.
fn run<T: Send + 'static>(env: &TokioEnv, future: impl Future<Output = T> + Send + 'static) -> T {
    let (told, given) = mpsc::channel();
    env.tasks().spawn_light("test", async move { drop(told.send(future.await)) });
    given.recv_timeout(LIMIT).unwrap()
}

fn transport(env: &TokioEnv, member: MemberId, listen: &str, door: &Door) -> (Sender, String) {
    let config = PeerConfig::new(member, Vec::new(), vec![listen.to_string()], Duration::from_secs(1));
    let (own, door_of_it) = (env.clone(), Arc::new(door.clone()));
    let transport = run(env, async move { Transport::start(own, config, door_of_it).await }).unwrap();
    let address = transport.addresses()[0].clone();
    (Arc::new(transport), format!("http://{address}"))
}

fn snapshot(from: MemberId, to: MemberId) -> PeerMessage {
    let (mut state, mut metadata, mut whole, mut rest) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    field(&mut state, 1, 1);
    nested(&mut metadata, 1, &state);
    field(&mut metadata, 2, 50);
    field(&mut metadata, 3, 7);
    nested(&mut whole, 2, &metadata);
    nested(&mut rest, 9, &whole);
    message(&[(1, SNAPSHOT), (2, to.0), (3, from.0), (4, 7)], &rest)
}

fn append(from: MemberId, to: MemberId, term: u64, prev: (u64, u64), entries: u64) -> PeerMessage {
    let mut rest = Vec::new();
    for index in prev.0 + 1..=prev.0 + entries {
        let mut entry = Vec::new();
        field(&mut entry, 2, term);
        field(&mut entry, 3, index);
        nested(&mut rest, 7, &entry);
    }
    message(&[(1, APPEND), (2, to.0), (3, from.0), (4, term), (5, prev.1), (6, prev.0)], &rest)
}

#[test]
fn members_reach_each_other_over_sockets() {
    let dir = tempfile::tempdir().unwrap();
    let env = TokioEnv::new(dir.path().to_path_buf(), 7).unwrap();
    let (a, b) = (MemberId(1), MemberId(2));
    let doors = [Door { cluster: 5, ..Door::default() }, Door { cluster: 5, ..Door::default() }];
    let (to_b, url_a) = transport(&env, a, "127.0.0.1:0", &doors[0]);
    let (to_a, url_b) = transport(&env, b, "127.0.0.1:0", &doors[1]);
    *doors[1].sender.lock().unwrap() = Some(to_a.clone());
    let peers =
        vec![PeerAddress { member: a, urls: vec![url_a] }, PeerAddress { member: b, urls: vec![url_b.clone()] }];
    to_b.set_peers(peers.clone());
    to_a.set_peers(peers);
    until("streams", || to_b.connected_for(b).is_some() && to_a.connected_for(a).is_some());

    for number in 0..100 {
        to_b.send(append(a, b, 7, (number * 10, 7), 10));
    }
    until("the acknowledgement of the last append", || {
        doors[0].last(MessageKind::AppendResponse).is_some_and(|message| message.index() == 1_000)
    });
    assert_eq!(run(&env, to_b.ask(b, Bytes::from_static(b"hello"))), Ok(Bytes::from_static(b"hello")));
    to_b.send_snapshot(snapshot(a, b), Box::new(Source));
    until("the snapshot", || doors[1].last(MessageKind::Snapshot).is_some());
    until("word of it", || *doors[0].snapshots.lock().unwrap() == [(b, true)]);
    assert_eq!(doors[1].chunks.lock().unwrap().len(), 40);
    let (own, time) = (env.clone(), LIMIT);
    let fetched = run(&env, async move { fetch(&own, &url_b, "/members", time).await }).unwrap();
    assert_eq!((fetched.cluster, &fetched.body[..]), (Some(ClusterId(5)), &b"[]\n"[..]));

    to_a.stop();
    until("the end of the streams", || to_b.connected_for(b).is_none());
    to_b.stop();
    env.join(LIMIT).unwrap();
}

/// Ends its process when it goes.
struct Etcd {
    process: Child,
    log: PathBuf,
    client: u16,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Etcd {
    fn start(binary: &Path, dir: &Path, cluster: &str, peer: u16) -> Self {
        let client = ports::free();
        let log = dir.join("log");
        let url = |port| format!("http://127.0.0.1:{port}");
        let process = Command::new(binary)
            .args(["--name", "stock", "--initial-cluster", cluster, "--initial-cluster-token", "t"])
            .args(["--data-dir", dir.join("data").to_str().unwrap(), "--log-level", "debug"])
            .args(["--listen-peer-urls", &url(peer), "--initial-advertise-peer-urls", &url(peer)])
            .args(["--listen-client-urls", &url(client), "--advertise-client-urls", &url(client)])
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { process, log, client }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Whether a linearizable read is answered, which a quorum of heartbeats confirms.
    fn healthy(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.client)) else { return false };
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer.contains("\"health\":\"true\"")
    }
}

#[test]
fn a_stock_etcd_is_a_peer() {
    let peers = std::env::var_os("PEERS_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers"), PathBuf::from);
    let binary = peers.join("etcd");
    if !binary.exists() {
        eprintln!("SKIPPED: there is no stock etcd at {}: jepsen/build_peers.sh builds it", binary.display());
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let env = TokioEnv::new(dir.path().join("own"), 7).unwrap();
    let (own_port, stock_port) = (ports::free(), ports::free());
    let url = |port| format!("http://127.0.0.1:{port}");
    let own = derive_member_id(&[url(own_port)], "t", None);
    let stock = derive_member_id(&[url(stock_port)], "t", None);
    let door = Door { cluster: derive_cluster_id(&[own, stock]).0, ..Door::default() };
    let cluster = format!("stock={},own={}", url(stock_port), url(own_port));
    let etcd = Etcd::start(&binary, dir.path(), &cluster, stock_port);
    let (sender, _) = transport(&env, own, &format!("127.0.0.1:{own_port}"), &door);
    *door.sender.lock().unwrap() = Some(sender.clone());
    sender.set_peers(vec![PeerAddress { member: stock, urls: vec![url(stock_port)] }]);

    // It stands for election, wins by this member's vote, and serves reads that this member's heartbeats confirm.
    until("its candidacy", || door.last(MessageKind::Vote).is_some_and(|message| message.from() == stock));
    // An append of nothing, which tells how far is committed, may be the last one.
    until("its appends", || {
        let arrived = door.arrived.lock().unwrap();
        arrived.iter().any(|message| message.kind() == MessageKind::Append && message.entry_count() > 0)
    });
    until("its health", || etcd.healthy());
    until("streams from it", || sender.connected_for(stock).is_some());
    // As its own log says of the streams both ways.
    for kind in ["stream MsgApp v2", "stream Message"] {
        for end in ["stream-reader-type", "stream-writer-type"] {
            until(&format!("its {end} {kind}"), || {
                let wanted = format!("\"{end}\":\"{kind}\"");
                let established = "established TCP streaming connection with remote peer";
                etcd.log().lines().any(|line| line.contains(&wanted) && line.contains(established))
            });
        }
    }

    // Another make's questions and snapshots fail clean.
    let refused = run(&env, sender.ask(stock, Bytes::from_static(b"?")));
    assert_eq!(refused, Err(quorate::peer::AskFailure::Unsupported));
    sender.send_snapshot(snapshot(own, stock), Box::new(Source));
    until("word of the snapshot", || *door.snapshots.lock().unwrap() == [(stock, false)]);
    let (world, time, from) = (env.clone(), LIMIT, url(stock_port));
    let fetched = run(&env, async move { fetch(&world, &from, "/members", time).await }).unwrap();
    assert_eq!(fetched.cluster, Some(ClusterId(door.cluster)));
    assert!(String::from_utf8_lossy(&fetched.body).contains(&format!("\"id\":{}", own.0)));

    // It follows this member in turn. The second and third append go as their entries alone.
    let last = door.last(MessageKind::Append).unwrap();
    let (index, term, new) = (last.last_index(), last.term(), last.term() + 5);
    for (prev, entries) in [((index, term), 1), ((index + 1, new), 3), ((index + 4, new), 2)] {
        sender.send(append(own, stock, new, prev, entries));
    }
    until("its acknowledgement", || {
        door.last(MessageKind::AppendResponse)
            .is_some_and(|m| (m.index(), m.term(), m.rejects()) == (index + 6, new, false))
    });
    sender.send(message(&[(1, HEARTBEAT), (2, stock.0), (3, own.0), (4, new), (8, index + 6)], &[]));
    until("its heartbeat", || door.last(MessageKind::HeartbeatResponse).is_some_and(|m| m.term() == new));
    sender.stop();
    assert!(!etcd.log().contains("panic"), "{}", etcd.log());
    env.join(LIMIT).unwrap();
}
