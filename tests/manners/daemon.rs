//! A member as a daemon: descriptors, logs that nobody reads, the service manager, sockets of the file system, directories
//! that are somebody else's.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::Command;
use std::time::{Duration, Instant};

use quorate::base::limits;
use quorate::wire::etcdserverpb as pb;

use crate::process::{Home, LIMIT, holds, put, put_many, running};

/// The server's command under a limit, soft and hard, by its letter in the shell: of open files, or of what a file may hold in
/// units of 512 bytes (1,024 where `sh` is bash).
fn limited(home: &Home, letter: char, most: u32) -> Command {
    let command = home.command();
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit -{letter} {most}; exec \"$0\" \"$@\"")]).arg(command.get_program());
    shell.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

/// Programs that rotate logs and count time send them; none ends a program of Go's.
#[tokio::test(flavor = "multi_thread")]
async fn signals_that_ask_for_nothing_end_nobody() {
    let home = Home::new();
    let server = home.start();
    for name in ["USR1", "USR2", "ALRM", "VTALRM", "PROF", "IO", "PWR", "XCPU", "XFSZ", "URG", "WINCH"] {
        server.signal(name);
        put(&mut server.kv(), name.into(), "x".into()).await.unwrap_or_else(|status| panic!("{name}: {status}"));
    }
}

/// The libraries below read them, and panic over what they do not like.
#[tokio::test(flavor = "multi_thread")]
async fn variables_of_libraries_change_nothing() {
    for (name, value) in [("TOKIO_WORKER_THREADS", "0"), ("TOKIO_WORKER_THREADS", "100000"), ("RUST_MIN_STACK", "1")] {
        let home = Home::new();
        let mut command = home.command();
        command.env(name, value);
        let server = running(command).on(home.client_port);
        home.wait_for_log(&["ready to serve"]);
        put(&mut server.kv(), name.into(), "x".into()).await.unwrap_or_else(|status| panic!("{name}: {status}"));
    }
}

/// It would end the process by a signal, without a word.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_may_not_grow_is_a_full_disk() {
    let home = Home::new();
    let server = running(limited(&home, 'f', 16 * 1024)).on(home.client_port);
    home.wait_for_log(&["ready to serve"]);
    let mut kv = server.kv();
    let mut put_next = async |number: usize| put(&mut kv, format!("k{number}"), "x".repeat(1_000_000)).await;
    let mut taken = 0;
    let refused = loop {
        match put_next(taken).await {
            Ok(_) => taken += 1,
            Err(status) => break status,
        }
        assert!(taken < 100, "nothing limits it");
    };
    assert_eq!(refused.message(), "etcdserver: mvcc: database space exceeded");
    let mut kv = server.kv();
    let kept = kv
        .range(pb::RangeRequest { key: "k0".into(), range_end: "l".into(), count_only: true, ..Default::default() })
        .await;
    assert_eq!(kept.unwrap().into_inner().count, i64::try_from(taken).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_leave_the_server_its_files() {
    let home = Home::new();
    let began = Instant::now();
    let server = running(limited(&home, 'n', 256)).on(home.client_port);
    home.wait_for_log(&["ready to serve"]);
    let mut kv = server.kv();
    put(&mut kv, "first".into(), "x".into()).await.unwrap();
    let connect = || TcpStream::connect(("127.0.0.1", home.client_port));
    let held: Vec<_> = (0..400).filter_map(|_| connect().ok()).collect();
    home.wait_for_log(&["too many connections"]);
    // Over an old connection history grows by several files.
    for number in 0..150 {
        put(&mut kv, format!("k{number}"), "v".repeat(1_000_000)).await.unwrap();
    }
    let warnings = home.log_text().lines().filter(|line| line.contains("too many connections")).count();
    // One, and one more for each pause that has passed, whatever the machine had no time for.
    let pauses = began.elapsed().as_millis() / u128::from(limits::SELDOM_MS);
    assert!(warnings as u128 <= 1 + pauses, "{warnings} warnings of 400 connections in {pauses} pauses");
    drop(held);
    let began = Instant::now();
    loop {
        // The slots come back.
        if let Ok(mut stream) = connect() {
            stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
            let mut text = String::new();
            if stream.read_to_string(&mut text).is_ok() && text.starts_with("HTTP/1.1 200") {
                break;
            }
        }
        assert!(began.elapsed() < LIMIT);
        std::thread::sleep(Duration::from_millis(10));
    }
    server.stop();
}

#[test]
fn too_few_descriptors_are_refused_before_the_directory_is_made() {
    let home = Home::new();
    let (code, text) = crate::process::said(&mut limited(&home, 'n', 40));
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("limit of open files is 40"), "{text}");
    assert!(!home.data().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_stops_nothing() {
    let home = Home::new();
    let mut command = home.command();
    command.args(["--log-outputs=stderr", "--log-level=debug"]);
    // Its pipe is never read.
    let mut server = running(command).on(home.client_port);
    let began = Instant::now();
    while TcpStream::connect(("127.0.0.1", home.client_port)).is_err() {
        assert!(began.elapsed() < LIMIT);
        std::thread::sleep(Duration::from_millis(5));
    }
    for _ in 0..3_000 {
        // Each is a line of the log: no HTTP, and closed.
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", home.client_port)) {
            let _ = stream.write_all(&[b'x'; 64]);
        }
    }
    let mut kv = server.kv();
    tokio::time::timeout(LIMIT, put(&mut kv, "k".into(), "v".into())).await.expect("puts go on").unwrap();
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0), "and it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_manager_is_told() {
    let home = Home::new();
    let path = home.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(LIMIT)).unwrap();
    let mut command = home.command();
    command.env("NOTIFY_SOCKET", &path);
    let server = running(command).on(home.client_port);
    let hear = || {
        let mut buf = [0; 64];
        let length = manager.recv(&mut buf).unwrap();
        String::from_utf8(buf[..length].to_vec()).unwrap()
    };
    assert_eq!(hear(), "READY=1");
    assert!(server.get("/health").0.contains("200"), "it serves when it says so");
    server.stop();
    assert_eq!(hear(), "STOPPING=1");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_come_by_a_socket_in_the_file_system_too() {
    let home = Home::new();
    let socket = home.path().join("client.sock");
    let urls = format!("http://127.0.0.1:{},unix://{}", home.client_port, socket.display());
    let server =
        home.start_with(&[&format!("--listen-client-urls={urls}"), &format!("--advertise-client-urls={urls}")]);
    let mut stream = UnixStream::connect(&socket).unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK"), "{text}");
    server.stop();
    assert!(!socket.exists(), "its name goes with the server");
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_of_the_first_start_are_not_looked_at_later() {
    let home = Home::new();
    let server = home.start();
    put_many(&server, 0..3).await;
    server.stop();
    for flag in [
        "--initial-cluster-state=existing",
        "--initial-cluster=b=http://127.0.0.1:9",
        "--initial-cluster=b=ftp:9",
        "--initial-cluster-token=other",
        "--discovery-srv=example.com",
        "--name=other",
    ] {
        let server = home.start_with(&[flag]);
        holds(&server, 0..3).await;
        server.stop();
    }
    let fresh = Home::new();
    let (code, text) = fresh.refused(&["--discovery-srv=example.com"]);
    assert!(code == 1 && text.contains("multiple discovery or bootstrap flags are set"), "{text}");
    assert!(!fresh.data().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_etcd_or_without_its_log_is_refused_by_name() {
    let home = Home::new();
    std::fs::create_dir_all(home.data().join("member/snap")).unwrap();
    std::fs::create_dir(home.data().join("member/wal")).unwrap();
    let (code, text) = home.refused(&[]);
    assert!(code == 1 && text.contains("a data directory of etcd"), "{text}");
    assert_eq!(std::fs::read_dir(home.data()).unwrap().count(), 1, "it is not touched");

    let home = Home::new();
    let server = home.start();
    put_many(&server, 0..1).await;
    server.stop();
    std::fs::remove_dir_all(home.data().join("wal")).unwrap();
    let (code, text) = home.refused(&[]);
    assert!(code == 1 && text.contains("its log (wal/) is gone"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_open_to_others_is_warned_of() {
    let home = Home::new();
    std::fs::create_dir(home.data()).unwrap();
    std::fs::set_permissions(home.data(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let server = home.start();
    assert!(home.log_has(&["warn", "drwxrwxrwx"]));
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copied_directory_is_told_once_and_serves() {
    let home = Home::new();
    let server = home.start();
    put_many(&server, 0..3).await;
    server.stop();
    home.start().stop();
    assert!(!home.log_has(&["data directory is a copy"]), "it is the same");
    let copied = std::process::Command::new("cp").arg("-a").arg(home.data()).arg(home.path().join("copy")).status();
    assert!(copied.unwrap().success());
    std::fs::remove_dir_all(home.data()).unwrap();
    std::fs::rename(home.path().join("copy"), home.data()).unwrap();
    let server = home.start();
    assert!(home.log_has(&["warn", "data directory is a copy"]));
    holds(&server, 0..3).await;
    server.stop();
}

#[test]
fn secrets_are_not_shown() {
    let home = Home::new();
    let mut command = home.command();
    command.args(["--discovery-user=u", "--discovery-password=geheim"]);
    command.env("ETCD_SOMEBODYS_PASSWORD", "geheim");
    let server = running(command).on(home.client_port);
    home.wait_for_log(&["ETCD_SOMEBODYS_PASSWORD"]);
    home.wait_for_log(&["ready to serve"]);
    assert!(!home.log_text().contains("geheim"));
    server.stop();
}

/// What the gateway answers.
fn asked(home: &Home, path: &str, body: &str, token: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", home.client_port)).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let head = format!("{path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: {token}");
    write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// Every file below a directory, with what is in it.
fn files(below: &std::path::Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(below).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![(path.clone(), std::fs::read(&path).unwrap())] })
        .collect()
}

/// However much is logged, passwords and tokens stay with those who have them; of a password its hash is kept alone
/// (CVE-2021-28235, TOB-012).
#[test]
fn no_password_is_kept_and_no_token_is_told() {
    let home = Home::new();
    let server = home.start_with(&[
        "--log-level=debug",
        "--bcrypt-cost=4",
        "--snapshot-count=10",
        "--warning-unary-request-duration=1ns",
    ]);
    let (first, second, wrong) = ("kanarie-eins", "kanarie-zwei", "kanarie-drei");
    let post = |path: &str, body: String, token: &str| asked(&home, &format!("POST /v3/{path}"), &body, token);
    post("auth/user/add", format!(r#"{{"name":"root","password":"{first}"}}"#), "");
    post("auth/user/grant", r#"{"user":"root","role":"root"}"#.to_string(), "");
    post("auth/enable", "{}".to_string(), "");
    let token_of = |password: &str| {
        let answer = post("auth/authenticate", format!(r#"{{"name":"root","password":"{password}"}}"#), "");
        answer.split_once(r#""token":""#).map(|(_, rest)| rest.split_once('"').unwrap().0.to_string())
    };
    let old = token_of(first).expect("let in");
    assert_eq!(token_of(wrong), None);
    let change = format!(r#"{{"name":"root","password":"{second}"}}"#);
    assert!(post("auth/user/changepw", change, &old).starts_with("HTTP/1.1 200"));
    let token = token_of(second).expect("let in");
    for _ in 0..40 {
        assert!(post("kv/put", r#"{"key":"aw==","value":"dg=="}"#.to_string(), &token).starts_with("HTTP/1.1 200"));
    }
    let shown = ["/metrics", "/debug/vars", "/v3/nothing"].map(|path| asked(&home, &format!("GET {path}"), "", &token));
    server.stop();
    let is_in = |bytes: &[u8], secret: &str| bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
    let kept = files(home.path());
    assert!(kept.len() > 4 && home.log_text().contains("request stats"), "{}", home.log_text());
    for (path, bytes) in &kept {
        for password in [first, second, wrong] {
            assert!(!is_in(bytes, password), "{password} in {}", path.display());
        }
    }
    // What of a token is drawn all members have to agree on: it stands in their log (`wal/`) as in etcd's, and dies with the process.
    let log = (home.path().join("log"), home.log_text().into_bytes());
    for (path, bytes) in shown.into_iter().map(|text| ("what is shown".into(), text.into_bytes())).chain([log]) {
        for secret in [first, second, wrong, &old[..16], &token[..16]] {
            assert!(!is_in(&bytes, secret), "{secret} in {}", path.display());
        }
    }
}

/// Where the endpoints have a port of their own the other one speaks gRPC alone: who asks there by HTTP/1 must not take what comes back
/// for success.
#[tokio::test(flavor = "multi_thread")]
async fn the_port_of_calls_alone_answers_nobody_by_http_1() {
    let home = Home::new();
    let web = crate::ports::free();
    let server = home.start_with(&[&format!("--listen-client-http-urls=http://127.0.0.1:{web}")]);
    let body = r#"{"key":"YQ==","value":"Yg=="}"#;
    let posted = |port: u16, asks_to_close: bool| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let (length, close) = (body.len(), if asks_to_close { "Connection: close\r\n" } else { "" });
        write!(stream, "POST /v3/kv/put HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n{close}\r\n{body}").unwrap();
        let mut answer = Vec::new();
        let ended =
            stream.read_to_end(&mut answer).map_or_else(|error| error.kind() == ErrorKind::ConnectionReset, |_| true);
        assert!(ended, "the connection stays: {}", String::from_utf8_lossy(&answer));
        String::from_utf8_lossy(&answer).into_owned()
    };
    // Though he would go on.
    let refused = posted(home.client_port, false);
    assert!(refused.starts_with("HTTP/1.1 505 "), "{refused}");
    assert!(refused.contains("\r\nconnection: close\r\n"), "{refused}");
    assert_eq!(put(&mut server.kv(), "first".into(), "x".into()).await.unwrap(), 2, "and nothing was written");
    assert!(posted(web, true).starts_with("HTTP/1.1 200 OK"));
    assert_eq!(put(&mut server.kv(), "second".into(), "x".into()).await.unwrap(), 4);
    server.stop();
}
