//! Two and three members over a network in memory, in virtual time: what reaches whom, what is refused, and what becomes
//! of it when the network fails.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::sample::{append_of, heartbeat, message, snapshot};
use super::{
    AskFailure, BoxFuture, ChunkSink, ChunkSource, PeerAddress, PeerConfig, PeerDoor, PeerSender, Reply, Roster,
    Transport, fetch,
};
use crate::base::{ClusterId, MemberId, Wrong, limits};
use crate::consensus::{MessageKind, PeerMessage};
use crate::env::{Clock, Env, Net, NetListener, NetReader, NetStream, NetWriter, VirtualEnv};

const ELECTION: Duration = Duration::from_secs(1);
mod snapshots;

const A: MemberId = MemberId(1);
const B: MemberId = MemberId(2);
const C: MemberId = MemberId(3);
const VOTE: u64 = 5;
const APPEND_RESPONSE: u64 = 4;

/// What a member was told.
#[derive(Default)]
struct Told {
    arrived: Vec<PeerMessage>,
    unreachable: Vec<MemberId>,
    snapshots: Vec<(MemberId, bool)>,
    removed: bool,
    roster: Roster,
    asked: Vec<(MemberId, Bytes)>,
    /// Questions are not answered, and their replies kept.
    holds_replies: bool,
    replies: Vec<Reply>,
    /// Chunks of a snapshot that are held, also of one that was not finished.
    chunks: Vec<Bytes>,
    finished: usize,
    /// Offers for which it still reads what it has.
    reads_for: u64,
    /// Chunks that are taken in before one is refused.
    refuse_after: Option<usize>,
    /// What is waited for before a snapshot is finished.
    finishes_after: Option<BoxFuture<'static, ()>>,
}

#[derive(Clone, Default)]
struct Door(Arc<Mutex<Told>>);

impl Door {
    fn told<T>(&self, with: impl FnOnce(&mut Told) -> T) -> T {
        with(&mut self.0.lock().expect("nobody panics with it"))
    }

    fn kinds(&self) -> Vec<MessageKind> {
        self.told(|told| told.arrived.iter().map(PeerMessage::kind).collect())
    }
}

impl PeerDoor for Door {
    fn arrived(&self, message: PeerMessage) {
        self.told(|told| told.arrived.push(message));
    }

    fn unreachable(&self, member: MemberId) {
        self.told(|told| told.unreachable.push(member));
    }

    fn snapshot_sent(&self, member: MemberId, arrived: bool) {
        self.told(|told| told.snapshots.push((member, arrived)));
    }

    fn removed(&self) {
        self.told(|told| told.removed = true);
    }

    fn roster(&self) -> Roster {
        self.told(|told| told.roster.clone())
    }

    fn snapshot_offered(
        &self,
        _message: &PeerMessage,
        manifest: Bytes,
    ) -> BoxFuture<'static, Result<Option<Box<dyn ChunkSink>>, String>> {
        let door = self.clone();
        Box::pin(async move {
            let reads = door.told(|told| {
                let reads = told.reads_for > 0;
                told.reads_for -= u64::from(reads);
                reads
            });
            if reads {
                Ok(None)
            } else if manifest == "wanted" {
                Ok(Some(Box::new(Sink(door)) as Box<dyn ChunkSink>))
            } else {
                Err("another cluster's".to_string())
            }
        })
    }

    fn asked(&self, from: MemberId, question: Bytes, reply: Reply) {
        self.told(|told| {
            told.asked.push((from, question.clone()));
            if told.holds_replies {
                told.replies.push(reply);
            } else {
                reply.answer([b"answer to ".as_slice(), &question].concat().into());
            }
        });
    }
}

struct Sink(Door);

impl ChunkSink for Sink {
    fn next(&self) -> u64 {
        self.0.told(|told| told.chunks.len() as u64)
    }

    fn put(&mut self, chunk: Bytes) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            self.0.told(|told| {
                if told.refuse_after == Some(told.chunks.len()) {
                    return Err("no room".to_string());
                }
                told.chunks.push(chunk);
                Ok(())
            })
        })
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<(), String>> {
        let wait = self.0.told(|told| {
            told.finished += 1;
            told.finishes_after.take()
        });
        Box::pin(async move {
            if let Some(wait) = wait {
                wait.await;
            }
            Ok(())
        })
    }
}

struct Source {
    manifest: &'static str,
    chunks: Vec<Bytes>,
    asked: Arc<Mutex<Vec<u64>>>,
}

impl ChunkSource for Source {
    fn manifest(&self) -> Bytes {
        Bytes::from_static(self.manifest.as_bytes())
    }

    fn chunk(&mut self, number: u64) -> BoxFuture<'_, Result<Option<Bytes>, Wrong>> {
        self.asked.lock().expect("nobody panics with it").push(number);
        let chunk = self.chunks.get(number as usize).cloned();
        Box::pin(std::future::ready(Ok(chunk)))
    }
}

fn source(manifest: &'static str, chunks: usize, bytes: usize) -> (Box<dyn ChunkSource>, Arc<Mutex<Vec<u64>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let chunks = (0..chunks).map(|number| vec![number as u8; bytes].into()).collect();
    (Box::new(Source { manifest, chunks, asked: asked.clone() }), asked)
}

/// A member: its host is named as its id is.
struct Member {
    id: MemberId,
    door: Door,
    transport: Transport<VirtualEnv>,
}

fn url(member: MemberId) -> String {
    format!("http://{}:2380", host(member))
}

fn host(member: MemberId) -> String {
    format!("host{member}")
}

fn addresses(members: &[MemberId]) -> Vec<PeerAddress> {
    members.iter().map(|member| PeerAddress { member: *member, urls: vec![url(*member)] }).collect()
}

async fn member(world: &VirtualEnv, id: MemberId, cluster: u64) -> Member {
    let env = world.at(&host(id));
    let door = Door::default();
    door.told(|told| {
        told.roster = Roster {
            cluster: ClusterId(cluster),
            members_json: Bytes::from_static(b"[]"),
            version_json: Bytes::from_static(b"{}"),
            removed: Vec::new(),
        };
    });
    let listen = vec![format!("{}:2380", host(id))];
    let config = PeerConfig::new(id, vec![url(id)], listen, ELECTION);
    let transport = Transport::start(env, config, Arc::new(door.clone())).await.expect("it listens");
    Member { id, door, transport }
}

/// Members that know each other, with their streams open.
async fn members(world: &VirtualEnv, ids: &[MemberId]) -> Vec<Member> {
    let mut members = Vec::new();
    for id in ids {
        members.push(member(world, *id, 0x2a).await);
    }
    for member in &members {
        member.transport.set_peers(addresses(ids));
    }
    world.pass(Duration::from_millis(500)).await;
    for member in &members {
        member.door.told(|told| told.unreachable.clear());
    }
    members
}

fn streams(member: &Member, peer: MemberId) -> bool {
    member.transport.connected_for(peer).is_some()
}

#[test]
fn messages_reach_their_members_by_streams() {
    VirtualEnv::run(async |world| {
        let members = members(&world, &[A, B, C]).await;
        let [a, b, c] = &members[..] else { unreachable!("three were made") };
        for (one, other) in [(a, B), (a, C), (b, A), (b, C), (c, A), (c, B)] {
            assert!(streams(one, other), "{} to {other}", one.id);
        }
        let appends =
            [append_of(A, B, 7, 3, &[10, 200]), append_of(A, B, 7, 5, &[0]), append_of(A, B, 8, 6, &[70_000])];
        for append in &appends {
            a.transport.send(append.clone());
        }
        a.transport.send(message(VOTE, A, C, 9));
        b.transport.send(message(APPEND_RESPONSE, B, A, 7));
        world.pass(Duration::from_millis(1)).await;
        b.door.told(|told| assert_eq!(told.arrived, appends));
        assert_eq!(a.door.kinds(), [MessageKind::AppendResponse]);
        assert_eq!(c.door.kinds(), [MessageKind::Vote]);
        // Nothing is said for long, and no connection is given up.
        world.pass(Duration::from_secs(600)).await;
        assert!(a.transport.connected_for(B).is_some_and(|time| time > Duration::from_secs(600)));
        a.door.told(|told| assert!(told.unreachable.is_empty()));
    });
}

#[test]
fn messages_are_posted_while_there_is_no_stream() {
    VirtualEnv::run(async |world| {
        let a = member(&world, A, 0x2a).await;
        let b = member(&world, B, 0x2a).await;
        // B knows nothing of A yet, so it asks for no stream and gives none.
        a.transport.set_peers(addresses(&[A, B]));
        a.transport.send(message(VOTE, A, B, 7));
        a.transport.send(append_of(A, B, 7, 3, &[10]));
        a.transport.send(message(VOTE, A, B, 8));
        world.pass(Duration::from_millis(50)).await;
        b.door.told(|told| {
            told.arrived.sort_by_key(|message| (message.kind(), message.term()));
            let expected = [append_of(A, B, 7, 3, &[10]), message(VOTE, A, B, 7), message(VOTE, A, B, 8)];
            assert_eq!(told.arrived, expected);
        });
        // A told where it is: it can be answered.
        b.transport.send(message(APPEND_RESPONSE, B, A, 7));
        world.pass(Duration::from_millis(50)).await;
        assert_eq!(a.door.kinds(), [MessageKind::AppendResponse]);
        assert!(!streams(&b, A));
        b.transport.set_peers(addresses(&[A, B]));
        world.pass(Duration::from_secs(2)).await;
        assert!(streams(&b, A) && streams(&a, B));
    });
}

#[test]
fn a_silent_peer_is_noticed_and_found_again() {
    VirtualEnv::run(async |world| {
        let members = members(&world, &[A, B]).await;
        let [a, b] = &members[..] else { unreachable!("two were made") };
        world.net().cut(&host(A), &host(B));
        world.pass(Duration::from_millis(limits::PEER_READ_TIMEOUT_MS + 100)).await;
        assert!(!streams(a, B) && !streams(b, A), "a sign of life is due each third of the time");
        a.door.told(|told| assert!(told.unreachable.contains(&B)));
        // What is sent meanwhile does not pile up.
        world.pass(Duration::from_secs(10)).await;
        for _ in 0..10 {
            a.transport.send(append_of(A, B, 7, 3, &[10]));
            world.pass(Duration::from_millis(700)).await;
        }
        world.net().heal();
        world.pass(Duration::from_millis(limits::PEER_REDIAL_MAX_MS + 100)).await;
        assert!(streams(a, B) && streams(b, A));
        a.transport.send(message(VOTE, A, B, 9));
        world.pass(Duration::from_millis(1)).await;
        assert!(b.door.kinds().ends_with(&[MessageKind::Vote]));
        assert!(b.door.kinds().len() <= 3, "hardly anything old arrives: {:?}", b.door.kinds());
    });
}

#[test]
fn a_reset_connection_is_opened_anew() {
    VirtualEnv::run(async |world| {
        let members = members(&world, &[A, B]).await;
        let [a, b] = &members[..] else { unreachable!("two were made") };
        for round in 0..20_u64 {
            a.transport.send(append_of(A, B, 7, round, &[10_000]));
            world.net().reset(&host(A), &host(B));
            world.pass(Duration::from_millis(2_000)).await;
            assert!(streams(a, B) && streams(b, A), "round {round}");
        }
        a.door.told(|told| assert!(told.unreachable.contains(&B)));
        a.transport.send(append_of(A, B, 7, 100, &[10]));
        world.pass(Duration::from_millis(1)).await;
        b.door.told(|told| assert_eq!(told.arrived.last(), Some(&append_of(A, B, 7, 100, &[10]))));
    });
}

#[test]
fn votes_do_not_wait_behind_appends_that_nobody_reads() {
    VirtualEnv::run(async |world| {
        let members = members(&world, &[A, B]).await;
        let [a, b] = &members[..] else { unreachable!("two were made") };
        let mut dropped = 0;
        for index in 0..1_000 {
            a.transport.send(append_of(A, B, 7, index, &[200_000]));
            dropped = a.door.told(|told| told.unreachable.len());
        }
        assert!(dropped > 0, "what has no room is dropped, and the group is told");
        a.transport.send(message(VOTE, A, B, 9));
        a.transport.send(heartbeat());
        world.pass(Duration::from_micros(1)).await;
        let kinds = b.door.kinds();
        let before = kinds.iter().take_while(|kind| **kind == MessageKind::Append).count();
        let appended = kinds.iter().filter(|kind| **kind == MessageKind::Append).count();
        assert!(before < 20 && appended >= 64_000_000 / 200_000, "{before} of {appended} appends came before");
    });
}

#[test]
fn a_stop_ends_everything() {
    VirtualEnv::run(async |world| {
        let mut members = members(&world, &[A, B]).await;
        let b = members.pop().expect("two were made");
        let a = members.pop().expect("two were made");
        let waiting = a.transport.ask(B, Bytes::from_static(b"?"));
        a.transport.stop();
        assert!(waiting.await.is_err());
        world.pass(Duration::from_millis(10)).await;
        assert!(!streams(&a, B) && !streams(&b, A));
        assert!(world.net().dial(&format!("{}:2380", host(A))).await.is_err());
        assert_eq!(Arc::strong_count(&a.door.0), 2, "the test's, and the transport's own: no task is left");
        drop(a.transport);
        assert_eq!(Arc::strong_count(&a.door.0), 1);
        // The same member comes back.
        let a = member(&world, A, 0x2a).await;
        a.transport.set_peers(addresses(&[A, B]));
        world.pass(Duration::from_secs(2)).await;
        assert!(streams(&a, B) && streams(&b, A));
    });
}

#[test]
fn a_peer_that_is_let_go_is_talked_to_no_more() {
    VirtualEnv::run(async |world| {
        let members = members(&world, &[A, B]).await;
        let [a, b] = &members[..] else { unreachable!("two were made") };
        a.transport.set_peers(addresses(&[A]));
        a.transport.send(message(VOTE, A, B, 9));
        world.pass(Duration::from_millis(500)).await;
        assert!(b.door.kinds().is_empty() && !streams(a, B));
        let text = raw(&world, A, &stream_request("message", B, A, "3.7.1", "2a")).await;
        assert!(text.starts_with("HTTP/1.1 404 ") && text.ends_with("\r\nerror sender not found\n"), "{text}");
    });
}

/// The answer to bytes on a connection of their own, up to its end or for as long as anything comes.
async fn raw(world: &VirtualEnv, to: MemberId, request: &[u8]) -> String {
    let stream = world.at("nobody").net().dial(&format!("{}:2380", host(to))).await.expect("it listens");
    let (mut reader, mut writer) = stream.split();
    let _ = writer.write(request).await;
    let mut answer = Vec::new();
    let mut buf = [0; 4096];
    // Virtual time: the member gives up before this does.
    while let Ok(Ok(n)) = crate::env::virtual_timeout(Duration::from_secs(60), reader.read(&mut buf)).await {
        if n == 0 {
            break;
        }
        answer.extend_from_slice(&buf[..n]);
    }
    String::from_utf8_lossy(&answer).to_string()
}

fn stream_request(kind: &str, from: MemberId, to: MemberId, version: &str, cluster: &str) -> Vec<u8> {
    format!(
        "GET /raft/stream/{kind}/{from} HTTP/1.1\r\nHost: x\r\nX-Server-From: {from}\r\nX-Server-Version: {version}\r\n\
         X-Min-Cluster-Version: 3.0.0\r\nX-Etcd-Cluster-ID: {cluster}\r\nX-Raft-To: {to}\r\n\r\n"
    )
    .into_bytes()
}

fn post(path: &str, from: MemberId, cluster: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nX-Server-From: {from}\r\nX-Server-Version: 3.7.1\r\nConnection: close\r\n\
         X-Min-Cluster-Version: 3.0.0\r\nX-Etcd-Cluster-ID: {cluster}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// F1: another cluster, another version, a member unknown or removed, another receiver.
#[test]
fn who_does_not_belong_is_refused_as_etcd_does() {
    VirtualEnv::run(async |world| {
        let members = members(&world, &[A, B]).await;
        let a = &members[0];
        a.door.told(|told| told.roster.removed = vec![C]);
        let refused = [
            (stream_request("message", B, A, "3.7.1", "2b"), "412", "cluster ID mismatch"),
            (stream_request("message", B, A, "2.3.0", "2a"), "412", "incompatible version"),
            (stream_request("message", B, C, "3.7.1", "2a"), "412", "to field mismatch"),
            (stream_request("msgapp", C, A, "3.7.1", "2a"), "410", "removed member"),
            (stream_request("msgapp", MemberId(9), A, "3.7.1", "2a"), "404", "error sender not found"),
            (post("/raft", B, "2b", b""), "412", "cluster ID mismatch"),
            (post("/raft", B, "2a", b"junk"), "400", "error unmarshalling raft message"),
            (post("/raft/stream/message/2", B, "2a", b""), "405", "Method Not Allowed"),
            (post("/raft/else", B, "2a", b""), "404", "404 page not found"),
            (stream_request("else", B, A, "3.7.1", "2a"), "404", "invalid path"),
            (stream_request("else", B, A, "3.7.1", "2b"), "412", "cluster ID mismatch"),
            (b"GET /raft HTTP/1.1\r\nConnection: close\r\n\r\n".to_vec(), "405", "Method Not Allowed"),
        ];
        for (request, status, text) in refused {
            let answer = raw(&world, A, &request).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
            assert!(answer.ends_with(&format!("\r\n\r\n{text}\n")), "{answer}");
        }
        for (path, status) in [
            ("/nope", "404"),
            ("/raft", "405"),
            ("/raft/probing", "200"),
            ("/raft/stream/message/2", "405"),
            ("/raft/snapshot", "405"),
            ("/leases", "405"),
            ("/members/hashkv", "405"),
        ] {
            let answer = raw(&world, A, format!("HEAD {path} HTTP/1.1\r\nConnection: close\r\n\r\n").as_bytes()).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
            assert!(answer.ends_with("\r\n\r\n") && answer.contains("Content-Length: "), "{path}: {answer}");
        }
        let twice = raw(&world, A, &post("/raft/snapshot", B, "2b", b"")).await;
        assert_eq!(twice.matches("X-Etcd-Cluster-ID").count(), 1, "{twice}");
        let mut vote = Vec::new();
        message(VOTE, C, A, 7).encode(&mut vote);
        let answer = raw(&world, A, &post("/raft", C, "2a", &vote)).await;
        assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("cannot process message from removed member"));
        vote.clear();
        message(VOTE, B, C, 7).encode(&mut vote);
        let answer = raw(&world, A, &post("/raft", B, "2a", &vote)).await;
        assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("cannot process message to mismatch member"));
        assert!(a.door.kinds().is_empty());
        assert!(streams(a, B), "the true peer is not disturbed");
    });
}

#[test]
fn a_member_that_was_removed_is_told() {
    VirtualEnv::run(async |world| {
        let a = member(&world, A, 0x2a).await;
        let b = member(&world, B, 0x2a).await;
        a.door.told(|told| told.roster.removed = vec![B]);
        b.transport.set_peers(addresses(&[A, B]));
        world.pass(Duration::from_millis(100)).await;
        assert!(b.door.told(|told| std::mem::take(&mut told.removed)), "by the answer to its stream");
        b.transport.set_peers(Vec::new());
        b.door.told(|told| told.removed = false);
        b.transport.set_peers(addresses(&[A, B]));
        b.transport.send(message(VOTE, B, A, 7));
        world.pass(Duration::from_millis(100)).await;
        assert!(b.door.told(|told| told.removed), "and by the answer to its posts");
    });
}

/// Someone who is dialled for a stream and answers with these bytes; says how the stream ended for the member.
async fn poisoned(world: &VirtualEnv, a: &Member, bytes: Vec<u8>) {
    let env = world.at(&host(B));
    let mut listener = env.net().listen(&format!("{}:2380", host(B))).await.expect("free");
    a.transport.set_peers(addresses(&[A, B]));
    let mut open = Vec::new();
    for _ in 0..2 {
        let (stream, _) = listener.accept().await.expect("it is dialled");
        let (mut reader, mut writer) = stream.split();
        let mut buf = [0; 4096];
        let n = reader.read(&mut buf).await.expect("a request");
        if buf[..n].starts_with(b"GET /raft/stream/message/") || bytes.first().is_some_and(|kind| *kind < 3) {
            writer.write(b"HTTP/1.1 200 OK\r\nX-Server-Version: 3.7.1\r\n\r\n").await.expect("it reads");
            let _ = writer.write(&bytes).await;
        }
        open.push((reader, writer));
    }
    world.pass(Duration::from_secs(20)).await;
    a.transport.set_peers(Vec::new());
}

/// F2 and F3: frames that are not what they should be end their connection, and nothing else.
#[test]
fn bad_frames_end_their_stream() {
    VirtualEnv::run(async |world| {
        let a = member(&world, A, 0x2a).await;
        let long = |length: u64, rest: &[u8]| [&length.to_be_bytes()[..], rest].concat();
        let mut foreign = Vec::new();
        message(VOTE, C, A, 7).encode(&mut foreign);
        let frames = [
            long(u64::MAX, b""),
            long(512 * 1024 * 1024, b"x"),
            long(limits::PEER_MESSAGE_BYTES as u64, b"no more comes"),
            long(3, b"\xff\xff\xff"),
            long(0, b""),
            long(foreign.len() as u64, &foreign),
            vec![0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            [&[1][..], &long(1, &u64::MAX.to_be_bytes())].concat(),
            [&[2][..], &long(u64::MAX, b"")].concat(),
            [&[2][..], &long(2, b"\xff\xff")].concat(),
            vec![7],
            vec![],
        ];
        for frame in frames {
            poisoned(&world, &a, frame).await;
        }
        assert!(a.door.kinds().is_empty());
        assert!(!a.door.told(|told| told.removed));
    });
}

/// F3: who asks for a stream and never reads it holds nothing up, and is given up.
#[test]
fn a_stream_that_is_never_read_is_given_up() {
    VirtualEnv::run(async |world| {
        let a = member(&world, A, 0x2a).await;
        a.transport.set_peers(addresses(&[A, B]));
        let stream = world.at(&host(B)).net().dial(&format!("{}:2380", host(A))).await.expect("it listens");
        let (reader, mut writer) = stream.split();
        writer.write(&stream_request("msgapp", B, A, "3.7.1", "2a")).await.expect("it reads");
        world.pass(Duration::from_millis(10)).await;
        for index in 0..100 {
            a.transport.send(append_of(A, B, 7, index, &[10_000]));
        }
        world.pass(Duration::from_millis(limits::PEER_READ_TIMEOUT_MS + 1_000)).await;
        a.door.told(|told| assert!(told.unreachable.contains(&B)));
        let (mut read, mut buf) = (0, [0; 4096]);
        let mut reader = reader;
        while let Ok(n @ 1..) = reader.read(&mut buf).await {
            read += n;
        }
        assert!((64 * 1024..200_000).contains(&read), "no more than the pipe held: {read}");
    });
}

/// F5: what was recorded of one session and is played again arrives as messages, which the group judges by their terms;
/// a peer's newer stream replaces the older.
#[test]
fn a_newer_stream_takes_over() {
    VirtualEnv::run(async |world| {
        let members = members(&world, &[A, B]).await;
        let a = &members[0];
        // As B's own: the same request again, from its host.
        let stream = world.at(&host(B)).net().dial(&format!("{}:2380", host(A))).await.expect("it listens");
        let (mut reader, mut writer) = stream.split();
        writer.write(&stream_request("message", B, A, "3.7.1", "2a")).await.expect("it reads");
        let mut buf = [0; 1024];
        let n = reader.read(&mut buf).await.expect("a head");
        assert!(buf[..n].starts_with(b"HTTP/1.1 200 OK"));
        a.transport.send(message(VOTE, A, B, 9));
        let n = reader.read(&mut buf).await.expect("a frame");
        let mut frame = Vec::new();
        super::message_codec::put_message(&message(VOTE, A, B, 9), &mut frame);
        assert_eq!(buf[..n], frame);
    });
}

/// F6: a second process under the same id is refused while the first is heard.
#[test]
fn two_lives_of_one_member_do_not_take_turns() {
    VirtualEnv::run(async |world| {
        let members = members(&world, &[A, B]).await;
        let a = &members[0];
        let clone = String::from_utf8(stream_request("message", B, A, "3.7.1", "2a")).expect("text");
        let clone = clone.replace("\r\n\r\n", "\r\nX-Quorate-Life: 77\r\n\r\n");
        let answer = raw(&world, A, clone.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 412 ") && answer.contains("another process"), "{answer}");
        assert!(streams(a, B));
        // When the first has gone, the next is welcome.
        members[1].transport.stop();
        world.pass(Duration::from_millis(100)).await;
        let (stream, request) = (world.at(&host(B)).net().dial(&format!("{}:2380", host(A))).await, clone);
        let (mut reader, mut writer) = stream.expect("it listens").split();
        writer.write(request.as_bytes()).await.expect("it reads");
        let mut buf = [0; 1024];
        let n = reader.read(&mut buf).await.expect("a head");
        assert!(buf[..n].starts_with(b"HTTP/1.1 200 OK"));
    });
}

/// F7: bodies and heads have bounds and times, on every path.
#[test]
fn long_and_slow_requests_are_cut_off() {
    VirtualEnv::run(async |world| {
        let _a = members(&world, &[A, B]).await;
        for path in ["/raft", "/quorate/ask", "/members", "/version", "/raft/probing", "/leases", "/members/hashkv"] {
            let head = format!("POST {path} HTTP/1.1\r\nContent-Length: 1073741824\r\n\r\n");
            let answer = raw(&world, A, head.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 413 ") || answer.starts_with("HTTP/1.1 412 "), "{path}: {answer}");
            let began = world.now();
            let slow = format!("POST {path} HTTP/1.1\r\nContent-Length: 10\r\n\r\n123");
            raw(&world, A, slow.as_bytes()).await;
            assert!(world.now().since(began) < Duration::from_secs(20), "{path}");
            let chunked = format!("POST {path} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
            let endless =
                [chunked.as_bytes(), b"8000\r\n", &vec![0; 0x8000], b"\r\n8000\r\n", &vec![0; 0x8000]].concat();
            raw(&world, A, &endless).await;
        }
        let began = world.now();
        assert_eq!(raw(&world, A, b"GET /members HT").await, "");
        assert_eq!(raw(&world, A, b"").await, "");
        assert!(world.now().since(began) < Duration::from_secs(30));
        let answer = raw(&world, A, b"\x16\x03\x01 tls perhaps\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        let head = [b"GET / HTTP/1.1\r\nX: ".to_vec(), vec![b'x'; limits::PEER_HEAD_BYTES]].concat();
        assert!(raw(&world, A, &head).await.starts_with("HTTP/1.1 431 "));
    });
}

#[test]
fn connections_have_a_number() {
    VirtualEnv::run(async |world| {
        let _a = member(&world, A, 0x2a).await;
        let mut open = VecDeque::new();
        for _ in 0..limits::PEER_CONNECTIONS {
            open.push_back(world.net().dial(&format!("{}:2380", host(A))).await.expect("it listens").split());
            world.pass(Duration::from_micros(1)).await;
        }
        assert_eq!(raw(&world, A, b"GET /version HTTP/1.1\r\n\r\n").await, "");
        open.pop_front();
        world.pass(Duration::from_millis(1)).await;
        assert!(raw(&world, A, b"GET /version HTTP/1.1\r\nConnection: close\r\n\r\n").await.ends_with("{}"));
    });
}

#[test]
fn questions_are_answered_or_fail_in_time() {
    VirtualEnv::run(async |world| {
        let members = members(&world, &[A, B]).await;
        let [a, b] = &members[..] else { unreachable!("two were made") };
        for question in ["one", "two", "three"] {
            let answer = a.transport.ask(B, Bytes::from(question)).await;
            assert_eq!(answer, Ok(Bytes::from(format!("answer to {question}"))));
        }
        b.door.told(|told| assert_eq!(told.asked[0], (A, Bytes::from_static(b"one"))));
        assert_eq!(a.transport.ask(C, Bytes::new()).await, Err(AskFailure::Unknown));
        let long = Bytes::from(vec![0; limits::PEER_QUESTION_BYTES + 1]);
        assert_eq!(a.transport.ask(B, long).await, Err(AskFailure::NoRoom));

        b.door.told(|told| told.holds_replies = true);
        let began = world.now();
        let many: Vec<_> = (0..=limits::PEER_QUESTIONS).map(|_| a.transport.ask(B, Bytes::new())).collect();
        for (number, answer) in many.into_iter().enumerate() {
            let answer = answer.await;
            let no_room = number == limits::PEER_QUESTIONS;
            assert_eq!(matches!(answer, Err(AskFailure::NoRoom)), no_room, "{number}: {answer:?}");
            assert!(answer.is_err());
        }
        assert!(world.now().since(began) <= Duration::from_millis(limits::PEER_QUESTION_MS + 100));
        b.door.told(|told| told.holds_replies = false);

        world.net().cut(&host(A), &host(B));
        assert!(matches!(a.transport.ask(B, Bytes::new()).await, Err(AskFailure::Unreachable(_))));
        world.net().heal();
        b.door.told(|told| told.roster.removed = vec![A]);
        assert!(matches!(a.transport.ask(B, Bytes::new()).await, Err(AskFailure::Refused(_))));
        assert!(a.door.told(|told| told.removed));
    });
}

#[test]
fn of_many_questions_at_one_moment_few_are_under_way_and_all_are_answered() {
    VirtualEnv::run(async |world| {
        let members = members(&world, &[A, B]).await;
        let [a, b] = &members[..] else { unreachable!("two were made") };
        b.door.told(|told| told.holds_replies = true);
        let held: Vec<_> = (0..5_000).map(|_| a.transport.ask(B, Bytes::from_static(b"held"))).collect();
        world.pass(Duration::from_millis(limits::PEER_QUESTION_MS / 2)).await;
        b.door.told(|told| assert_eq!(told.asked.len(), limits::PEER_QUESTION_LINES));
        // They are given up in their time, whether they were put or waited.
        let began = world.now();
        for answer in held {
            assert!(matches!(answer.await, Err(AskFailure::Unreachable(_))));
        }
        assert!(world.now().since(began) <= Duration::from_millis(limits::PEER_QUESTION_MS / 2 + 100));
        b.door.told(|told| told.holds_replies = false);
        let many: Vec<_> = (0..5_000).map(|_| a.transport.ask(B, Bytes::from_static(b"many"))).collect();
        for answer in many {
            assert_eq!(answer.await, Ok(Bytes::from_static(b"answer to many")));
        }
    });
}

#[test]
fn a_url_is_asked_before_anything_is_known() {
    VirtualEnv::run(async |world| {
        let _a = member(&world, A, 0x2a).await;
        let time = Duration::from_secs(2);
        let members = fetch(&world, &url(A), "/members", time).await.expect("an answer");
        assert_eq!((members.cluster, &members.body[..]), (Some(ClusterId(0x2a)), &b"[]\n"[..]));
        assert_eq!(&fetch(&world, &url(A), "/version", time).await.expect("an answer").body[..], b"{}");
        assert!(
            fetch(&world, &url(A), "/raft/probing", time).await.expect("an answer").body.starts_with(b"{\"OK\":true")
        );
        assert!(fetch(&world, &url(A), "/else", time).await.is_err());
        assert!(fetch(&world, &url(B), "/members", time).await.is_err());
        assert!(fetch(&world, "https://x:1", "/members", time).await.is_err());
        world.net().cut("a", &host(A));
        let began = world.now();
        assert!(fetch(&world, &url(A), "/members", time).await.is_err());
        assert!(world.now().since(began) <= time + Duration::from_millis(10));
    });
}

#[test]
fn a_snapshot_arrives_whole() {
    VirtualEnv::run(async |world| {
        let members = members(&world, &[A, B]).await;
        let [a, b] = &members[..] else { unreachable!("two were made") };
        let (chunks, asked) = source("wanted", 5, 1_000);
        a.transport.send_snapshot(snapshot(A, B, 9, 50), chunks);
        world.pass(Duration::from_millis(100)).await;
        a.door.told(|told| assert_eq!(told.snapshots, [(B, true)]));
        b.door.told(|told| {
            assert_eq!(told.arrived, [snapshot(A, B, 9, 50)]);
            assert_eq!((told.chunks.len(), told.finished), (5, 1));
            assert!(told.chunks.iter().enumerate().all(|(number, chunk)| *chunk == vec![number as u8; 1_000]));
        });
        assert_eq!(*asked.lock().expect("nobody panics with it"), [0, 1, 2, 3, 4, 5]);
    });
}

#[test]
fn a_snapshot_goes_on_where_it_stopped() {
    VirtualEnv::run(async |world| {
        let members = members(&world, &[A, B]).await;
        let [a, b] = &members[..] else { unreachable!("two were made") };
        b.door.told(|told| told.refuse_after = Some(3));
        let (chunks, _) = source("wanted", 300, 100_000);
        a.transport.send_snapshot(snapshot(A, B, 9, 50), chunks);
        world.pass(Duration::from_secs(60)).await;
        a.door.told(|told| assert_eq!(std::mem::take(&mut told.snapshots), [(B, false)]));
        assert!(b.door.kinds().is_empty(), "a part is no snapshot");
        b.door.told(|told| told.refuse_after = None);
        let (chunks, asked) = source("wanted", 300, 100_000);
        a.transport.send_snapshot(snapshot(A, B, 9, 50), chunks);
        // Cut off in the middle: the budget makes it last about a tenth of a second.
        world.pass(Duration::from_millis(50)).await;
        world.net().reset(&host(A), &host(B));
        world.pass(Duration::from_secs(1)).await;
        a.door.told(|told| assert_eq!(std::mem::take(&mut told.snapshots), [(B, false)]));
        let held = b.door.told(|told| told.chunks.len());
        assert!((3..300).contains(&held), "{held}");
        assert_eq!(asked.lock().expect("nobody panics with it").first(), Some(&3));
        let (chunks, asked) = source("wanted", 300, 100_000);
        a.transport.send_snapshot(snapshot(A, B, 9, 50), chunks);
        world.pass(Duration::from_secs(2)).await;
        a.door.told(|told| assert_eq!(told.snapshots, [(B, true)]));
        assert_eq!(asked.lock().expect("nobody panics with it").first(), Some(&(held as u64)));
        b.door.told(|told| assert!(told.chunks.iter().enumerate().all(|(n, chunk)| *chunk == vec![n as u8; 100_000])));
    });
}

/// F4, and what becomes of the sender in each case.
#[test]
fn a_snapshot_that_is_not_wanted_is_refused_clean() {
    VirtualEnv::run(async |world| {
        let members = members(&world, &[A, B]).await;
        let [a, b] = &members[..] else { unreachable!("two were made") };
        let (chunks, asked) = source("another's", 3, 10);
        a.transport.send_snapshot(snapshot(A, B, 9, 50), chunks);
        a.transport.send_snapshot(snapshot(A, B, 9, 50), source("wanted", 3, 10).0);
        a.transport.send_snapshot(snapshot(A, C, 9, 50), source("wanted", 3, 10).0);
        world.pass(Duration::from_secs(1)).await;
        a.door.told(|told| {
            told.snapshots.sort_unstable();
            assert_eq!(std::mem::take(&mut told.snapshots), [(B, false), (B, false), (C, false)]);
        });
        assert!(asked.lock().expect("nobody panics with it").is_empty(), "no chunk is sent unasked");
        a.transport.send_snapshot(snapshot(A, B, 9, 50), source("wanted", 1, limits::SNAPSHOT_FRAME_BYTES + 1).0);
        world.pass(Duration::from_secs(60)).await;
        a.door.told(|told| assert_eq!(std::mem::take(&mut told.snapshots), [(B, false)]));
        b.door.told(|told| assert!(told.chunks.is_empty() && told.finished == 0 && told.arrived.is_empty()));

        // What stock etcd would send, and frames that are damaged or cut.
        let mut introduction = Vec::new();
        super::message_codec::put_message(&snapshot(B, A, 9, 50), &mut introduction);
        super::snapshot_frames::put_manifest(b"wanted", &mut introduction);
        let answer = raw(&world, A, &post("/raft/snapshot", B, "2a", &introduction)).await;
        assert!(answer.starts_with("HTTP/1.1 500 ") && answer.contains("failed to save KV snapshot"), "{answer}");
        let mut bad = introduction.clone();
        super::snapshot_frames::put_chunk(b"chunk", &mut bad);
        let last = bad.len() - 1;
        bad[last] ^= 1;
        let mut short = introduction.clone();
        super::snapshot_frames::put_end(1, &mut short);
        let mut vote = Vec::new();
        super::message_codec::put_message(&message(VOTE, B, A, 9), &mut vote);
        for (what, body) in [("damaged", bad), ("short", short), ("no snapshot", vote)] {
            let request = String::from_utf8_lossy(&post("/raft/snapshot", B, "2a", b"")).replace(
                "Content-Length: 0\r\n",
                &format!("Content-Length: {}\r\nX-Quorate-Snapshot: 0\r\n", body.len()),
            );
            let answer = raw(&world, A, &[request.as_bytes(), &body].concat()).await;
            assert!(answer.starts_with("HTTP/1.1 400 "), "{what}: {answer}");
        }
        a.door.told(|told| assert!(told.arrived.is_empty() && told.finished == 0));
    });
}

/// A member of another make knows no offers: it is sent nothing.
#[test]
fn a_snapshot_is_not_sent_to_who_takes_no_chunks() {
    VirtualEnv::run(async |world| {
        let a = member(&world, A, 0x2a).await;
        let env = world.at(&host(B));
        let mut listener = env.net().listen(&format!("{}:2380", host(B))).await.expect("free");
        let seen = Arc::new(Mutex::new(String::new()));
        let noted = seen.clone();
        crate::env::Tasks::spawn_light(env.tasks(), "stock", async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (mut reader, mut writer) = stream.split();
                let mut buf = [0; 4096];
                let n = reader.read(&mut buf).await.unwrap_or(0);
                noted.lock().expect("nobody panics with it").push_str(&String::from_utf8_lossy(&buf[..n]));
                let _ = writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 19\r\n\r\n404 page not found\n").await;
            }
        });
        a.transport.set_peers(addresses(&[A, B]));
        let (chunks, asked) = source("wanted", 3, 10);
        a.transport.send_snapshot(snapshot(A, B, 9, 50), chunks);
        assert_eq!(a.transport.ask(B, Bytes::new()).await, Err(AskFailure::Unsupported));
        world.pass(Duration::from_secs(1)).await;
        a.door.told(|told| assert_eq!(told.snapshots, [(B, false)]));
        assert!(asked.lock().expect("nobody panics with it").is_empty());
        assert!(!seen.lock().expect("nobody panics with it").contains("/raft/snapshot"));
    });
}
