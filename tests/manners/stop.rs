//! Stopping: by a signal under load, by two, and by `kill -9` with checkpoints in between.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::process::{Home, LIMIT, Server, all, holds, key, put, put_many, running, until, value};

/// Writers at once.
const WRITERS: u32 = 16;

/// Acknowledged writes after which the signal is sent.
const ENOUGH: u32 = 10 * WRITERS;

/// Writers that put keys of their own until the server goes away. Each says what was acknowledged, and all together how many.
fn writers(server: &crate::process::Server, done: &Arc<AtomicU32>) -> Vec<tokio::task::JoinHandle<Vec<u32>>> {
    (0..WRITERS)
        .map(|writer| {
            let (mut kv, done) = (server.kv(), done.clone());
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                for number in (0..).map(|n| n * WRITERS + writer) {
                    match put(&mut kv, key(number), value(number)).await {
                        Ok(_) => acknowledged.push(number),
                        Err(_) => break,
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
                acknowledged
            })
        })
        .collect()
}

async fn acknowledged(writers: Vec<tokio::task::JoinHandle<Vec<u32>>>) -> Vec<u32> {
    let mut numbers = Vec::new();
    for writer in writers {
        numbers.extend(writer.await.unwrap());
    }
    numbers
}

/// Every acknowledged write is there.
async fn assert_kept(home: &Home, numbers: &[u32]) {
    let server = home.start();
    let held: std::collections::BTreeMap<String, String> = all(&server).await.into_iter().collect();
    for number in numbers {
        assert_eq!(held.get(&key(*number)), Some(&value(*number)), "key {number} of {}", numbers.len());
    }
    server.stop();
}

/// A server under load that is sent a signal once enough was acknowledged, and `when` holds: its exit code, and what was.
async fn load(home: &Home, flags: &[&str], name: &str, when: impl Fn() -> bool) -> (Option<i32>, Vec<u32>) {
    let mut server = home.start_with(flags);
    let done = Arc::default();
    let writers = writers(&server, &done);
    until("enough is written", || done.load(Ordering::Relaxed) >= ENOUGH && when()).await;
    server.signal(name);
    let code = server.wait().code();
    (code, acknowledged(writers).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_under_load_ends_in_order_and_keeps_what_was_acknowledged() {
    let home = Home::new();
    for name in ["TERM", "INT"] {
        let (code, numbers) = load(&home, &[], name, || true).await;
        assert_eq!(code, Some(0));
        assert_kept(&home, &numbers).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_between_checkpoints_keep_what_was_acknowledged() {
    let home = Home::new();
    let has_checkpoint = || std::fs::read_dir(home.data().join("checkpoint")).is_ok_and(|files| files.count() > 0);
    for _ in 0..3 {
        let (code, numbers) = load(&home, &["--snapshot-count=40"], "KILL", has_checkpoint).await;
        assert_eq!(code, None, "ended by the signal");
        assert_kept(&home, &numbers).await;
    }
}

/// A script's shell has what it runs in the background pass Ctrl-C over: what nothing but a signal ends hears it all the same, as
/// etcdctl's does.
#[tokio::test(flavor = "multi_thread")]
async fn who_only_a_signal_ends_hears_one_that_was_passed_over() {
    let home = Home::new();
    let server = home.start();
    for words in ["elect printer me", "lock printer", "elect -l printer"] {
        let mut command = Command::new("sh");
        let program = env!("CARGO_BIN_EXE_quoratectl");
        let line = format!("trap '' INT; exec {program} --endpoints=127.0.0.1:{} {words}", home.client_port);
        command.args(["-c", &line]).stdin(Stdio::null()).stdout(Stdio::null());
        let mut holder = running(command);
        if words.ends_with("-l printer") {
            // Nothing tells that it looks on: whoever listens says so to the system.
            until("it listens", || catches_interrupt(holder.id())).await;
        } else {
            let began = Instant::now();
            while all(&server).await.is_empty() {
                assert!(began.elapsed() < LIMIT, "nothing is held");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        holder.signal("INT");
        let (code, told) = (holder.wait().code(), holder.stderr());
        // The key is there a little before its holder has heard of it: who is stopped just then says so.
        assert!(code == Some(0) || told.contains("context canceled"), "{words}: {code:?} {told}");
        assert!(all(&server).await.is_empty(), "it was given back");
    }
    server.stop();
}

/// Whether a process catches the signal of Ctrl-C, as the system has it, and is no shell any more.
fn catches_interrupt(process: u32) -> bool {
    let standing = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    if !standing.starts_with("Name:\tquoratectl\n") {
        return false;
    }
    let caught = standing.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 0b10 != 0)
}

/// Who holds a lock of a server that hangs, and is told to stop.
async fn lock_of_a_hung_server(words: &[&str], signals: u32) -> (Option<i32>, String, Server, Home) {
    let home = Home::new();
    let server = home.start();
    let mut command = Command::new(env!("CARGO_BIN_EXE_quoratectl"));
    let endpoint = format!("--endpoints=127.0.0.1:{}", home.client_port);
    command.arg(&endpoint).args(words).stdin(Stdio::null()).stdout(Stdio::null());
    let mut holder = running(command);
    let began = Instant::now();
    while all(&server).await.is_empty() {
        assert!(began.elapsed() < LIMIT, "nothing is held");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.signal("STOP");
    for _ in 0..signals {
        holder.signal("INT");
        // Far longer than it takes to say that it takes long.
        tokio::time::sleep(Duration::from_secs(4)).await;
    }
    let code = holder.wait().code();
    (code, holder.stderr(), server, home)
}

/// What the command-line client gives back when it is stopped is not waited for for ever.
#[tokio::test(flavor = "multi_thread")]
async fn who_holds_something_of_a_hung_server_can_be_stopped() {
    for command in [&["lock", "printer"][..], &["elect", "printer", "me"]] {
        for (timeout, signals, expected, end) in [
            ("--command-timeout=2s", 1, 1, "nobody answered within 2s: "),
            ("--command-timeout=2m", 2, 130, "stopped at once: "),
        ] {
            let (code, told, server, _home) = lock_of_a_hung_server(&[&[timeout][..], command].concat(), signals).await;
            assert_eq!(code, Some(expected), "{told}");
            assert!(told.contains("at most; another Ctrl-C leaves it\n"), "{told}");
            assert!(told.contains(end) && told.contains("printer is left until its lease "), "{told}");
            server.signal("CONT");
            server.stop();
        }
    }
}

/// Who cannot say what it holds gives it back: nobody will come for it.
#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_can_be_told_of_is_given_back() {
    let home = Home::new();
    let server = home.start();
    let endpoint = format!("--endpoints=127.0.0.1:{}", home.client_port);
    for words in [&["lock", "printer"][..], &["elect", "printer", "me"]] {
        let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
        let (reader, closed) = std::io::pipe().unwrap();
        drop(reader);
        for (out, code) in [(Stdio::from(full()), 6), (Stdio::from(closed), 141)] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_quoratectl"));
            let status =
                command.arg(&endpoint).args(words).stdin(Stdio::null()).stdout(out).stderr(Stdio::null()).status();
            assert_eq!(status.unwrap().code(), Some(code), "{words:?}");
            assert!(all(&server).await.is_empty(), "{words:?}");
        }
    }
    server.stop();
}

/// Both signals wait for the server when it goes on, and a request whose end never comes holds it for seconds: it cannot be done with
/// the first before it hears of the second.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_at_once() {
    for [first, second] in [["TERM", "INT"], ["INT", "TERM"]] {
        let home = Home::new();
        let mut server = home.start();
        put_many(&server, 0..5).await;
        let mut half = TcpStream::connect(("127.0.0.1", home.client_port)).unwrap();
        half.write_all(b"POST /v3/kv/range HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n")
            .unwrap();
        // The server asks for the rest: the request is under way.
        half.set_read_timeout(Some(LIMIT)).unwrap();
        let mut told = [0; 12];
        half.read_exact(&mut told).unwrap();
        assert_eq!(told[..], *b"HTTP/1.1 100");
        for name in ["STOP", first, second, "CONT"] {
            server.signal(name);
        }
        assert_eq!(server.wait().code(), Some(130), "{first}, {second}");
        assert!(home.log_has(&["\"msg\":\"stopping\""]));
        let server = home.start();
        holds(&server, 0..5).await;
        server.stop();
    }
}

/// Asks the gateway; what is answered comes when it does.
fn asked(home: &Home, path: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", home.client_port)).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let length = body.len();
    write!(stream, "POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
        .unwrap();
    stream
}

fn answer(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// As who watches is.
#[test]
fn who_waits_for_a_lock_or_an_office_is_told_of_the_end() {
    let home = Home::new();
    let server = home.start();
    for lease in [5, 6] {
        answer(asked(&home, "/v3/lease/grant", &format!(r#"{{"ID":{lease},"TTL":600}}"#)));
    }
    let held = answer(asked(&home, "/v3/lock/lock", r#"{"name":"bA==","lease":5}"#));
    assert!(held.starts_with("HTTP/1.1 200 OK"), "{held}");
    let won = answer(asked(&home, "/v3/election/campaign", r#"{"name":"ZQ==","lease":5,"value":"YQ=="}"#));
    assert!(won.starts_with("HTTP/1.1 200 OK"), "{won}");
    let waiting = [
        asked(&home, "/v3/lock/lock", r#"{"name":"bA==","lease":6}"#),
        asked(&home, "/v3/election/campaign", r#"{"name":"ZQ==","lease":6,"value":"Yg=="}"#),
    ];
    let began = Instant::now();
    // Both of two: of the lock, and of the election.
    while !["bC8=", "ZS8="].iter().zip(["bDA=", "ZTA="]).all(|(from, to)| {
        let keys = format!(r#"{{"key":"{from}","range_end":"{to}","count_only":true}}"#);
        answer(asked(&home, "/v3/kv/range", &keys)).contains(r#""count":"2""#)
    }) {
        assert!(began.elapsed() < LIMIT);
    }
    server.stop();
    for waiting in waiting {
        let told = answer(waiting);
        assert!(told.contains("etcdserver: server stopped"), "{told}");
    }
}

/// Runs a command as the user who may do everything; what it shows.
fn as_root(home: &Home, words: &[&str]) -> String {
    shown(home, &[&["--user=root:pw"], words].concat())
}

/// Runs a command; what it shows.
fn shown(home: &Home, words: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quoratectl"));
    let endpoint = format!("--endpoints=127.0.0.1:{}", home.client_port);
    let ran = command.arg(&endpoint).args(words).stdin(Stdio::null()).output().unwrap();
    assert!(ran.status.success(), "{words:?}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

/// Who waits, and may not any more, is not in the way of others until its lease ends by itself.
#[test]
fn a_wait_that_is_refused_leaves_nothing_in_line() {
    let home = Home::new();
    let server = home.start_with(&["--bcrypt-cost=4"]);
    for words in ["user add root:pw", "user add u:pw", "role add r", "user grant-role u r", "user grant-role root root"]
    {
        as_root(&home, &words.split(' ').collect::<Vec<_>>());
    }
    as_root(&home, &["auth", "enable"]);
    for words in [&["lock", "line"][..], &["elect", "line", "me"]] {
        as_root(&home, &["role", "grant-permission", "r", "readwrite", "line/", "line0"]);
        as_root(&home, &["put", "line/0", "who has it"]);
        let mut command = Command::new(env!("CARGO_BIN_EXE_quoratectl"));
        let endpoint = format!("--endpoints=127.0.0.1:{}", home.client_port);
        command.args([&endpoint, "--user=u:pw"]).args(words).stdin(Stdio::null()).stdout(Stdio::null());
        let mut waits = running(command);
        let line = || as_root(&home, &["get", "line/", "--prefix", "--keys-only"]);
        let began = Instant::now();
        while line().matches("line/").count() < 2 {
            assert!(began.elapsed() < LIMIT, "it does not stand in line");
        }
        as_root(&home, &["role", "grant-permission", "r", "write", "line/", "line0"]);
        as_root(&home, &["del", "line/0"]);
        let code = waits.wait().code();
        let told = waits.stderr();
        assert!(code == Some(1) && told.contains("permission denied"), "{code:?} {told}");
        assert_eq!(line(), "", "{words:?}");
    }
    server.stop();
}

/// Whose lease is gone has no place in line: it is told so, though somebody stands before it for ever.
#[test]
fn who_waits_is_told_when_its_session_has_ended() {
    let home = Home::new();
    let server = home.start();
    shown(&home, &["put", "line/0", "who has it"]);
    for (words, text) in [
        (&["lock", "line", "--ttl=3"][..], "mutex: session is expired"),
        (&["elect", "line", "me"], "election: not leader"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quoratectl"));
        let endpoint = format!("--endpoints=127.0.0.1:{}", home.client_port);
        command.arg(&endpoint).args(words).stdin(Stdio::null()).stdout(Stdio::null());
        let mut waits = running(command);
        let began = Instant::now();
        let place = || {
            let line = shown(&home, &["get", "line/", "--prefix", "--keys-only"]);
            line.lines().filter_map(|key| key.strip_prefix("line/")).find(|key| *key != "0").map(str::to_owned)
        };
        let lease = loop {
            assert!(began.elapsed() < LIMIT, "it does not stand in line");
            if let Some(lease) = place() {
                break lease;
            }
        };
        shown(&home, &["lease", "revoke", &lease]);
        let code = waits.wait().code();
        let told = waits.stderr();
        assert!(code == Some(1) && told.contains(text), "{code:?} {told}");
    }
    server.stop();
}
