//! Every answer of etcd's own paths, held against what stock etcd 3.7.1 answered in the same state, line by line in any
//! order of lines; and the leader's answers as a follower hears them.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

use bytes::Bytes;

use crate::base::MemberId;
use crate::driver::{DriverConfig, Handle, start};
use crate::env::{Env, Net, NetReader, NetStream, NetWriter, VirtualEnv, virtual_timeout};
use crate::machine::{Command, Member, MemberChange, Put};

async fn member(env: &VirtualEnv) -> Handle<VirtualEnv> {
    let config =
        DriverConfig { listen_peers: vec!["a:2380".to_string()], ..DriverConfig::alone("one", "http://a:2380") };
    let (handle, _) = start(env.clone(), config).await.unwrap();
    while !handle.status().ready {
        env.pass(Duration::from_millis(1)).await;
    }
    handle
}

/// The status line, the lines of the head sorted, and the body.
async fn answer(env: &VirtualEnv, request: &str, head: &str, body: &[u8]) -> (String, Vec<String>, Vec<u8>) {
    let (mut reader, mut writer) = env.at("x").net().dial("a:2380").await.unwrap().split();
    let (method, path) = request.split_once(' ').unwrap();
    let length = body.len();
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{head}Connection: close\r\nContent-Length: {length}\r\n\r\n");
    let _ = writer.write(&[head.as_bytes(), body].concat()).await;
    let (mut answer, mut buf) = (Vec::new(), [0; 4096]);
    while let Ok(Ok(n)) = virtual_timeout(Duration::from_secs(60), reader.read(&mut buf)).await {
        if n == 0 {
            break;
        }
        answer.extend_from_slice(&buf[..n]);
    }
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    let text = String::from_utf8(answer[..end].to_vec()).unwrap();
    let mut lines: Vec<String> = text.split("\r\n").map(str::to_string).collect();
    let status = lines.remove(0);
    lines.retain(|line| line != "Connection: close");
    lines.sort();
    (status, lines, answer[end + 4..].to_vec())
}

const TEXT: &[&str] = &["Content-Type: text/plain; charset=utf-8", "X-Content-Type-Options: nosniff"];
const CLUSTER: &str = "X-Etcd-Cluster-ID: CLUSTER";

/// Request, body, status, lines besides the length, and the answer's body.
type Row = (&'static str, &'static [u8], u16, Vec<&'static str>, &'static [u8]);

fn text(request: &'static str, body: &'static [u8], status: u16, more: &[&'static str], said: &'static [u8]) -> Row {
    (request, body, status, [TEXT, more].concat(), said)
}

async fn assert_rows(env: &VirtualEnv, cluster: &str, rows: Vec<Row>) {
    for (request, body, status, lines, said) in rows {
        let (first, have, bytes) = answer(env, request, "", body).await;
        let mut lines: Vec<String> = lines.iter().map(|line| line.replace("CLUSTER", cluster)).collect();
        lines.push(format!("Content-Length: {}", said.len()));
        lines.sort();
        assert!(first.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {first}");
        assert_eq!(
            (have, bytes.escape_ascii().to_string()),
            (lines, said.escape_ascii().to_string()),
            "{request} {body:?}"
        );
    }
}

/// Stock etcd 3.7.1 answers so, too: 1084519789 and -1. What members are held against each other by is another digest.
#[test]
fn a_compaction_at_revision_0_hides_a_members_data_from_nobody_who_compares() {
    VirtualEnv::run(async |env| {
        let handle = member(&env).await;
        for value in ["1", "2"] {
            let put = Put { key: Bytes::from_static(b"a"), value: value.into(), ..Put::default() };
            handle.propose(Command::Put(put)).await.unwrap();
        }
        let before = handle.own_hash().await.unwrap();
        assert_eq!(handle.hash_kv(0).await.unwrap(), before);
        handle.propose(Command::Compact { revision: 0, physical: true }).await.unwrap();
        let asked = handle.hash_kv(0).await.unwrap();
        assert_eq!((asked.hash, asked.compact_revision, asked.hash_revision), (1_084_519_789, -1, 0));
        let own = handle.own_hash().await.unwrap();
        assert_eq!((own.hash, own.compact_revision, own.hash_revision), (before.hash, 0, 3));
    });
}

#[test]
fn the_answers_are_stock_etcds() {
    VirtualEnv::run(async |env| {
        let handle = member(&env).await;
        for (key, value) in [("a", "1"), ("a", "2"), ("b", "2")] {
            let put = Put { key: Bytes::from_static(key.as_bytes()), value: value.into(), ..Put::default() };
            handle.propose(Command::Put(put)).await.unwrap();
        }
        handle.propose(Command::Compact { revision: 2, physical: true }).await.unwrap();
        handle.propose(Command::LeaseGrant { id: 9, ttl: 100 }).await.unwrap();
        let learner =
            Member { id: MemberId(77), peer_urls: vec!["http://b:2380".into()], is_learner: true, ..Member::default() };
        handle.change_members(MemberChange::add(learner)).await.unwrap();
        let json = "Content-Type: application/json";
        let protobuf = vec!["Content-Type: application/protobuf"];
        let cluster = handle.identity().cluster.to_string();
        let none: &[&str] = &[];
        assert_rows(
            &env,
            &cluster,
            vec![
                (
                    "GET /members/hashkv",
                    b"{}",
                    200,
                    vec![json, CLUSTER],
                    br#"{"header":{"revision":4},"hash":1226034253,"compact_revision":2,"hash_revision":4}"#,
                ),
                (
                    "GET /members/hashkv",
                    b"{\"revision\":3}",
                    200,
                    vec![json, CLUSTER],
                    br#"{"header":{"revision":4},"hash":1483641527,"compact_revision":2,"hash_revision":3}"#,
                ),
                text("GET /members/hashkv", b"", 400, none, b"error unmarshalling request\n"),
                text(
                    "GET /members/hashkv",
                    b"{\"revision\":1}",
                    400,
                    none,
                    b"mvcc: required revision has been compacted\n",
                ),
                text(
                    "GET /members/hashkv",
                    b"{\"revision\":100}",
                    400,
                    none,
                    b"mvcc: required revision is a future revision\n",
                ),
                text("POST /members/hashkv", b"{}", 405, &["Allow: GET"], b"Method Not Allowed\n"),
                text("GET /members/hashkv/", b"{}", 404, none, b"404 page not found\n"),
                text("GET /members/promote/1", b"", 405, &["Allow: POST"], b"Method Not Allowed\n"),
                text("POST /members/promote/x", b"", 404, &[CLUSTER], b"member x not found in cluster\n"),
                text("POST /members/promote/", b"", 404, &[CLUSTER], b"member  not found in cluster\n"),
                text("POST /members/promote/+5", b"", 404, &[CLUSTER], b"member +5 not found in cluster\n"),
                ("POST /members/promote", b"", 307, vec!["Location: /members/promote/"], b""),
                text("POST /members/promote/12345", b"", 404, &[CLUSTER], b"membership: ID not found\n"),
                ("POST /leases", b"\x08\x09", 200, protobuf.clone(), b"\x10\x09\x18\x64"),
                (
                    "POST /leases/internal",
                    b"\x0a\x02\x08\x09",
                    200,
                    protobuf,
                    b"\x0a\x08\x0a\x00\x10\x09\x18\x64\x20\x64",
                ),
                text("POST /leases", b"\x08\x05", 404, none, b"lease not found\n"),
                text("POST /leases/internal", b"\x0a\x02\x08\x05", 404, none, b"lease not found\n"),
                text("POST /leases", b"xyz", 400, none, b"error unmarshalling request\n"),
                text("POST /leases/internal", b"xyz", 400, none, b"error unmarshalling request\n"),
                text("POST /leases", &[b'x'; 70_000], 413, none, b"request body too large\n"),
                text("GET /leases", b"", 405, none, b"Method Not Allowed\n"),
                text("POST /leases/other", b"", 404, none, b"404 page not found\n"),
                ("GET /downgrade/enabled", b"", 200, vec!["Content-Type: text/plain", CLUSTER], b"false"),
                text("POST /downgrade/enabled", b"", 405, &["Allow: GET"], b"Method Not Allowed\n"),
                text("POST /version", b"", 405, &["Allow: GET"], b"Method Not Allowed\n"),
            ],
        )
        .await;
        let own = format!("POST /members/promote/{}", handle.identity().member.0);
        let (first, _, said) = answer(&env, &own, "", b"").await;
        assert_eq!(
            (&first[..12], &said[..]),
            ("HTTP/1.1 412", &b"membership: can only promote a learner member\n"[..])
        );
        let (first, _, said) = answer(&env, "POST /members/promote/77", "", b"").await;
        let text = "etcdserver: can only promote a learner member which is in sync with leader\n";
        assert_eq!((&first[..12], &said[..]), ("HTTP/1.1 412", text.as_bytes()));
        let of_another = "X-Etcd-Cluster-ID: 1234\r\n";
        let (first, _, said) = answer(&env, "GET /members/hashkv", of_another, b"{}").await;
        assert_eq!((&first[..12], &said[..]), ("HTTP/1.1 412", &b"cluster ID mismatch\n"[..]));
        let (_, _, said) = answer(&env, "GET /members", "", b"").await;
        let said = String::from_utf8(said).unwrap();
        assert!(said.contains("\"isLearner\":true}") && said.ends_with("}]\n"), "{said}");
    });
}
