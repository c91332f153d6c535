//! The JSON gateway and the plain HTTP endpoints, held against what a stock etcd answered to the same sessions.
//!
//! `jepsen/gateway_sessions.txt` says what is asked, `jepsen/recorded/gateway-3.7.1.txt` what stock etcd answered
//! (`jepsen/record_gateway.sh`). Heads and bodies must be equal, byte for byte, but for what is another server's: ids, terms,
//! sizes, addresses, and how a body is framed.

#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use quorate::server::flags::Flags;
use quorate::server::{Config, Serving};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// Longest any step may take: far beyond what a busy machine needs.
const LIMIT: Duration = Duration::from_secs(120);

const SESSIONS: &str = include_str!("../jepsen/gateway_sessions.txt");
const RECORDED: &str = include_str!("../jepsen/recorded/gateway-3.7.1.txt");

/// Fields whose values are the server's own.
const OWN: [&str; 11] = [
    "cluster_id",
    "member_id",
    "leader",
    "raft_term",
    "raftTerm",
    "raftIndex",
    "raftAppliedIndex",
    "dbSize",
    "dbSizeInUse",
    // What is left of a lease depends on how fast the questions come.
    "TTL",
    "token",
];

/// Fields of a head that say something about the answer.
const TOLD: [&str; 9] = [
    "content-type",
    "grpc-metadata-content-type",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "x-content-type-options",
    "allow",
    "location",
    "www-authenticate",
];

/// One line of the sessions.
#[derive(Clone, Debug)]
struct Question {
    name: String,
    method: String,
    path: String,
    fields: Vec<String>,
    body: String,
    lines: Option<usize>,
}

impl Question {
    fn read(line: &str) -> Self {
        let mut parts = line.split('|').map(|part| part.trim().to_string());
        let mut next = || parts.next().unwrap_or_default();
        let name = next().trim_start_matches(['&', '=']).to_string();
        let (method, path, fields, body, lines) = (next(), next(), next(), next(), next());
        let fields = fields.split(';').filter(|field| !field.is_empty()).map(str::to_string).collect();
        Self { name, method, path, fields, body, lines: lines.parse().ok() }
    }

    /// What comes back: all of it, or the head and so many lines.
    async fn ask(self, server: SocketAddr) -> String {
        let mut text = format!("{} {} HTTP/1.1\r\nHost: {server}\r\n", self.method, self.path);
        let fields = self.fields.iter().filter(|field| !field.starts_with("Connection"));
        fields.for_each(|field| text.push_str(&format!("{field}\r\n")));
        text.push_str(&format!("Connection: close\r\nContent-Length: {}\r\n\r\n{}", self.body.len(), self.body));
        let mut stream = TcpStream::connect(server).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let read = async {
            let mut buf = [0; 4_096];
            loop {
                let more = stream.read(&mut buf).await.unwrap();
                answer.extend_from_slice(&buf[..more]);
                let body = parts(&String::from_utf8_lossy(&answer)).2;
                if more == 0 || self.lines.is_some_and(|lines| body.lines().count() >= lines && body.ends_with('\n')) {
                    return;
                }
            }
        };
        tokio::time::timeout(LIMIT, read).await.unwrap_or_else(|_| panic!("no end: {self:?}"));
        String::from_utf8(answer).unwrap()
    }
}

/// Status line, head and body of an answer; a body in chunks is put together.
fn parts(answer: &str) -> (String, BTreeMap<String, String>, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or("").to_string();
    let fields: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_string()))
        .collect();
    let in_chunks = fields.get("transfer-encoding").is_some_and(|coding| coding == "chunked");
    // The record holds bodies as curl put them together.
    let framed = body.split_once("\r\n").is_some_and(|(size, _)| usize::from_str_radix(size, 16).is_ok());
    let body = if in_chunks && framed { unchunked(body) } else { body.to_string() };
    (status, fields, body)
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap_or(0);
        let Some(chunk) = rest.get(..size).filter(|_| size > 0) else { break };
        whole.push_str(chunk);
        body = rest[size..].strip_prefix("\r\n").unwrap_or("");
    }
    whole
}

/// An answer without what is the server's own. Of one whose name ends in a tilde the text is not etcd's: the words of Go's
/// protojson about JSON that is no message.
fn normal(name: &str, answer: &str) -> String {
    let (status, fields, body) = parts(answer);
    let told: Vec<String> =
        TOLD.iter().filter_map(|name| fields.get(*name).map(|value| format!("{name}: {value}"))).collect();
    let mut body = body.trim_end_matches(['\r', '\n']).to_string();
    for name in OWN {
        body = blanked(&body, &format!("\"{name}\":\""), '"');
    }
    if body.contains("\"members\":[") {
        body = blanked(&body, "\"ID\":\"", '"');
    }
    body = blanked(&body, "http://127.0.0.1:", '"');
    if body.starts_with('[') {
        // Checks, which Go's map gives in no order.
        let mut checks: Vec<&str> = body.lines().collect();
        checks.sort_unstable();
        body = checks.join("\n");
    }
    if name.ends_with('~') {
        body = blanked(&body, "\"message\":\"", '}');
    }
    format!("{status}\n{}\n{body}\n", told.join("\n"))
}

/// The text with a mark for whatever stands between `before` and `after`.
fn blanked(text: &str, before: &str, after: char) -> String {
    let mut pieces = text.split(before);
    let mut blank = pieces.next().unwrap_or("").to_string();
    for piece in pieces {
        let rest = piece.find(after).map_or("", |at| &piece[at..]);
        blank.push_str(&format!("{before}_{rest}"));
    }
    blank
}

fn recorded() -> BTreeMap<String, String> {
    let cases = RECORDED.strip_prefix("=== ").unwrap().split("\n=== ");
    cases.filter_map(|case| case.split_once('\n')).map(|(name, text)| (name.to_string(), text.to_string())).collect()
}

async fn serve(directory: &tempfile::TempDir, flags: &[&str]) -> Serving {
    let data = format!("--data-dir={}", directory.path().join("data").display());
    let own = [
        &data,
        "--listen-client-urls=http://127.0.0.1:0",
        "--advertise-client-urls=http://127.0.0.1:0",
        "--listen-peer-urls=http://127.0.0.1:0",
        "--initial-advertise-peer-urls=http://127.0.0.1:2380",
        "--initial-cluster=default=http://127.0.0.1:2380",
        "--bcrypt-cost=4",
    ];
    let flags = Flags::read(own.iter().chain(flags).map(ToString::to_string), []).unwrap();
    Serving::start(&Config::from_flags(&flags).unwrap()).await.unwrap()
}

/// Puts the token that the answer of a name gave in the place of the name in braces.
fn with_tokens(field: &mut String, answers: &[(String, String)]) {
    while let Some((before, (name, after))) =
        field.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)))
    {
        let answer = &answers.iter().find(|(have, _)| have == name).expect("asked before").1;
        let token = answer.split_once("\"token\":\"").and_then(|(_, rest)| rest.split_once('"')).expect("a token").0;
        *field = format!("{before}{token}{after}");
    }
}

/// Waits until so many wait for something, each by one watcher.
async fn until_waiting(server: SocketAddr, count: usize) {
    let wanted = format!("etcd_debugging_mvcc_watcher_total {count}");
    let began = Instant::now();
    loop {
        let (_, _, metrics) = parts(&Question::read("x | GET | /metrics").ask(server).await);
        if metrics.lines().any(|line| line == wanted) {
            return;
        }
        assert!(began.elapsed() < LIMIT, "there are never {count}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Everything the sessions ask, of a new server.
async fn answers(server: SocketAddr) -> Vec<(String, String)> {
    let mut later: BTreeMap<String, JoinHandle<String>> = BTreeMap::new();
    let mut all = Vec::new();
    for line in SESSIONS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut question = Question::read(line);
        question.fields.iter_mut().for_each(|field| with_tokens(field, &all));
        let name = question.name.clone();
        let answer = if line.starts_with('&') {
            // What it waits for must not come before it, nor what others waited for be taken for it.
            until_waiting(server, later.len()).await;
            later.insert(name, tokio::spawn(question.ask(server)));
            until_waiting(server, later.len()).await;
            continue;
        } else if line.starts_with('=') {
            later.remove(&name).unwrap().await.unwrap()
        } else {
            question.ask(server).await
        };
        all.push((name, answer));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_answered_as_by_stock_etcd() {
    let directory = tempfile::tempdir().unwrap();
    let serving = serve(&directory, &[]).await;
    let recorded = recorded();
    let answers = answers(serving.client_addresses[0]).await;
    assert_eq!(answers.len(), recorded.len(), "the record is of other sessions: jepsen/record_gateway.sh");
    let mut wrong = Vec::new();
    for (name, answer) in answers {
        let (have, stock) = (normal(&name, &answer), normal(&name, &recorded[&name]));
        if have != stock {
            wrong.push(format!("--- {name}\nstock: {stock}own:   {have}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    serving.stop().await.unwrap();
}

fn question(line: &str) -> Question {
    Question::read(line)
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_origins_and_the_gateway_itself_can_be_shut_out() {
    let directory = tempfile::tempdir().unwrap();
    let flags = ["--host-whitelist=127.0.0.1,a.example", "--cors=https://a.example:443", "--enable-grpc-gateway=false"];
    let serving = serve(&directory, &flags).await;
    let server = serving.client_addresses[0];
    let ask = |line: &str| question(line).ask(server);

    let (status, fields, _) = parts(&ask("x | POST | /v3/kv/range | | {\"key\":\"YQ==\"}").await);
    assert_eq!(status, "HTTP/1.1 404 Not Found");
    assert!(!fields.contains_key("access-control-allow-origin"), "no origin was named");
    let (_, fields, _) = parts(&ask("x | GET | /version | Origin: https://a.example:443").await);
    assert_eq!(fields["access-control-allow-origin"], "https://a.example:443");
    let (_, fields, _) = parts(&ask("x | GET | /version | Origin: https://b.example").await);
    assert!(!fields.contains_key("access-control-allow-methods"));

    // A second field of that name is refused by the library; so the request is written here.
    let mut stream = TcpStream::connect(server).await.unwrap();
    let text = "GET /version HTTP/1.1\r\nHost: evil.example:2379\r\nConnection: close\r\n\r\n";
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 421 Misdirected Request\r\n"), "{answer}");
    assert!(answer.contains("--host-whitelist \"evil.example\""), "{answer}");
    serving.stop().await.unwrap();
}

/// What comes back to these bytes until the connection ends.
async fn answer_to(server: SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(server).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = tokio::time::timeout(LIMIT, stream.read_to_string(&mut answer)).await;
    read.expect("it ends").unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_not_lost_where_the_connection_ends_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let serving = serve(&directory, &[]).await;
    let server = serving.client_addresses[0];
    let body = r#"{"key":"dXA=","value":"dXA="}"#;
    for round in 1..=5 {
        for fields in ["Connection: close\r\nUpgrade: h2c", "Upgrade: x\r\nConnection: close", "Connection: close"] {
            let head = format!("Host: a\r\n{fields}\r\nContent-Length: {}", body.len());
            let answer = answer_to(server, &format!("POST /v3/kv/put HTTP/1.1\r\n{head}\r\n\r\n{body}")).await;
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("raft_term"), "{fields}: {answer}");
            let answer = answer_to(server, &format!("GET /health HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n")).await;
            assert!(answer.ends_with("{\"health\":\"true\",\"reason\":\"\"}"), "{fields}: {answer}");
        }
        let (_, _, body) = parts(&question("x | POST | /v3/kv/range | | {\"key\":\"dXA=\"}").ask(server).await);
        assert!(body.contains(&format!("\"version\":\"{}\"", 3 * round)), "{body}");
    }
    serving.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_says_once_which_host_it_is_for() {
    let directory = tempfile::tempdir().unwrap();
    let serving = serve(&directory, &["--host-whitelist=ok"]).await;
    let server = serving.client_addresses[0];
    for (line, hosts, status) in [
        ("/health", "Host: ok\r\n", "200 OK"),
        ("/health", "Host: evil\r\n", "421 Misdirected Request"),
        ("http://ok/health", "Host: evil\r\n", "200 OK"),
        ("http://evil/health", "Host: ok\r\n", "421 Misdirected Request"),
        ("/health", "", "400 Bad Request"),
        ("/health", "Host: ok\r\nHost: evil\r\n", "400 Bad Request"),
        ("/health", "Host: o k\r\n", "400 Bad Request"),
    ] {
        let answer = answer_to(server, &format!("GET {line} HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{line} {hosts:?}: {answer}");
    }
    serving.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_bounded_and_a_client_that_goes_away_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let serving = serve(&directory, &[]).await;
    let server = serving.client_addresses[0];
    let ask = |line: String| question(&line).ask(server);

    // As large as a request may be, and too large for one: refused by gRPC's limit, and by the gateway's own.
    let value = |bytes: usize| "A".repeat(bytes.div_ceil(3) * 4);
    let put = |bytes: usize| format!("x | POST | /v3/kv/put | | {{\"key\":\"YQ==\",\"value\":\"{}\"}}", value(bytes));
    assert!(ask(put(1_000_000)).await.starts_with("HTTP/1.1 200 "));
    let (status, _, body) = parts(&ask(put(1_700_000)).await);
    assert_eq!(
        (status.as_str(), body.as_str()),
        ("HTTP/1.1 400 Bad Request", "{\"code\":3,\"message\":\"etcdserver: request is too large\"}")
    );
    for bytes in [2_200_000, 4_000_000] {
        let (status, _, body) = parts(&ask(put(bytes)).await);
        assert_eq!(status, "HTTP/1.1 429 Too Many Requests", "{bytes}");
        assert!(body.contains("grpc: received message larger than max"), "{body}");
    }

    // One who waits for a lock and goes away is out of the line.
    for id in [1, 2] {
        ask(format!("x | POST | /v3/lease/grant | | {{\"TTL\":600,\"ID\":{id}}}")).await;
    }
    assert!(ask("x | POST | /v3/lock/lock | | {\"name\":\"bA==\",\"lease\":1}".into()).await.contains("\"bC8x\""));
    let waits = tokio::spawn(ask("x | POST | /v3/lock/lock | | {\"name\":\"bA==\",\"lease\":2}".into()));
    let waiting = || ask("x | POST | /v3/kv/range | | {\"key\":\"bC8y\",\"count_only\":true}".into());
    let until = async |there: bool| {
        let began = Instant::now();
        while waiting().await.contains("\"count\":\"1\"") != there {
            assert!(began.elapsed() < LIMIT, "the key of the one who waits should be there: {there}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    until(true).await;
    waits.abort();
    until(false).await;
    serving.stop().await.unwrap();
}

/// Who waits is given the lock by the key that is there then: its place may have been given back and taken anew meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_was_given_back_and_asked_for_again_is_not_given_to_two() {
    let directory = tempfile::tempdir().unwrap();
    let serving = serve(&directory, &[]).await;
    let server = serving.client_addresses[0];
    let ask = |line: String| question(&line).ask(server);
    for id in [1, 2, 3] {
        ask(format!("x | POST | /v3/lease/grant | | {{\"TTL\":600,\"ID\":{id}}}")).await;
    }
    let lock =
        |lease: u8| tokio::spawn(ask(format!("x | POST | /v3/lock/lock | | {{\"name\":\"bA==\",\"lease\":{lease}}}")));
    // `l/1` and so on.
    let key = |lease: u8| ["bC8x", "bC8y", "bC8z"][usize::from(lease) - 1];
    let unlock = |lease: u8| ask(format!("x | POST | /v3/lock/unlock | | {{\"key\":\"{}\"}}", key(lease)));
    let stands = async |lease: u8| {
        let began = Instant::now();
        let there = format!("x | POST | /v3/kv/range | | {{\"key\":\"{}\",\"count_only\":true}}", key(lease));
        while !ask(there.clone()).await.contains("\"count\":\"1\"") {
            assert!(began.elapsed() < LIMIT, "{lease} should stand in line");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(lock(1).await.unwrap().contains(key(1)));
    let first = lock(2);
    stands(2).await;
    unlock(2).await;
    let between = lock(3);
    stands(3).await;
    let again = lock(2);
    stands(2).await;
    unlock(1).await;
    assert!(between.await.unwrap().contains(key(3)));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!first.is_finished() && !again.is_finished(), "3 has it");
    unlock(3).await;
    for told in [first, again] {
        assert!(told.await.unwrap().contains(key(2)), "one key, and one lease");
    }
    serving.stop().await.unwrap();
}
