//! WebSockets in front of the gateway, as stock etcd's: a message is a request, a line of the answer a message.
//!
//! The texts are those that stock etcd 3.7.1 gave to the same client, but for ids and revisions.

#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use quorate::server::flags::Flags;
use quorate::server::{Config, Serving};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

/// Far beyond what a busy machine needs.
const LIMIT: Duration = Duration::from_secs(120);

async fn serve(directory: &tempfile::TempDir) -> Serving {
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
    let flags = Flags::read(own.iter().map(ToString::to_string), []).unwrap();
    Serving::start(&Config::from_flags(&flags).unwrap()).await.unwrap()
}

/// A connection and the head of its answer.
async fn greet(server: SocketAddr, first: &str, fields: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    let asked = format!(
        "{first} HTTP/1.1\r\nHost: {server}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{key}\r\n{fields}\r\n"
    );
    stream.write_all(asked.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = tokio::time::timeout(LIMIT, stream.read_u8()).await.unwrap().unwrap();
        head.push(byte);
    }
    (stream, String::from_utf8(head).unwrap())
}

type Socket = WebSocketStream<TcpStream>;

async fn open(server: SocketAddr, path: &str, fields: &str) -> Socket {
    let fields = format!("Sec-WebSocket-Version: 13\r\n{fields}");
    let (stream, head) = greet(server, &format!("GET {path}"), &fields).await;
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    assert!(head.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
    assert_eq!(head.contains("sec-websocket-protocol: Bearer\r\n"), fields.contains("Bearer"), "{head}");
    WebSocketStream::from_raw_socket(stream, Role::Client, None).await
}

/// The next message but for replies to pings; nothing at the end.
async fn next(socket: &mut Socket) -> Option<Message> {
    loop {
        match tokio::time::timeout(LIMIT, socket.next()).await.expect("an answer")? {
            Ok(Message::Ping(_)) => {}
            Ok(message) => return Some(message),
            Err(_) => return None,
        }
    }
}

/// The next line, without its header.
async fn line(socket: &mut Socket) -> String {
    let Some(Message::Text(text)) = next(socket).await else { panic!("no line") };
    let text = text.to_string();
    let Some((before, rest)) = text.split_once("\"header\":{") else { return text };
    format!("{before}{}", rest.split_once('}').unwrap().1.trim_start_matches(','))
}

async fn say(socket: &mut Socket, text: &str) {
    socket.send(Message::text(text)).await.unwrap();
}

const WATCH: &str = r#"{"create_request":{"key":"dw=="}}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_speaks_by_messages() {
    let directory = tempfile::tempdir().unwrap();
    let serving = serve(&directory).await;
    let server = serving.client_addresses[0];
    let mut socket = open(server, "/v3/watch", "").await;
    say(&mut socket, WATCH).await;
    assert_eq!(line(&mut socket).await, r#"{"result":{"created":true}}"#);
    assert!(post(server, "/v3/kv/put", r#"{"key":"dw==","value":"MQ=="}"#).await.starts_with("HTTP/1.1 200 OK\r\n"));
    let event = line(&mut socket).await;
    assert!(event.starts_with(r#"{"result":{"events":[{"kv":{"key":"dw==","#), "{event}");
    // Two requests in a message, one in two, one in binary; and a ping between.
    say(&mut socket, &format!("{WATCH}{WATCH}")).await;
    socket.send(Message::Ping("hi".into())).await.unwrap();
    let (first, rest) = WATCH.split_at(WATCH.find(':').unwrap() + 1);
    say(&mut socket, first).await;
    say(&mut socket, rest).await;
    socket.send(Message::binary(WATCH.as_bytes().to_vec())).await.unwrap();
    let (mut created, mut answered) = (Vec::new(), false);
    while created.len() < 4 || !answered {
        match next(&mut socket).await.expect("it stays open") {
            Message::Pong(text) => answered = text == "hi".as_bytes(),
            Message::Text(text) => created.push(text.contains(r#""created":true"#)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(created, [true; 4]);
    socket.send(Message::Close(None)).await.unwrap();
    assert!(matches!(next(&mut socket).await, Some(Message::Close(_)) | None));
    assert!(next(&mut socket).await.is_none(), "and the connection is closed");
    serving.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn other_methods_answer_once_and_close() {
    let directory = tempfile::tempdir().unwrap();
    let serving = serve(&directory).await;
    let server = serving.client_addresses[0];
    for (path, messages, told) in [
        ("/v3/kv/put", vec![r#"{"key":"Zm9v","value":"YmFy"}"#], "{}"),
        ("/v3beta/kv/range", vec![r#"{"key":"#, r#""YmFy"}"#], "{}"),
        ("/v3/kv/range", vec!["", r#"{"key":"YmFy"}"#], "{}"),
        ("/v3/nope", vec![], r#"{"code":5,"message":"Not Found"}"#),
        ("/v3/lease/revoke", vec!["{}"], r#"{"code":5,"message":"etcdserver: requested lease not found"}"#),
    ] {
        let mut socket = open(server, path, "").await;
        for message in messages {
            say(&mut socket, message).await;
        }
        assert_eq!(line(&mut socket).await, told, "{path}");
        assert_eq!(closed(next(&mut socket).await), 1000, "{path}");
        assert!(next(&mut socket).await.is_none(), "{path}");
    }
    serving.stop().await.unwrap();
}

/// The code of a closing frame.
fn closed(message: Option<Message>) -> u16 {
    match message {
        Some(Message::Close(Some(frame))) => u16::from(frame.code),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_whole_whatever_else_its_client_says() {
    let directory = tempfile::tempdir().unwrap();
    let serving = serve(&directory).await;
    let server = serving.client_addresses[0];
    let value = "YWFh".repeat(100_000);
    let put = format!(r#"{{"key":"YQ==","value":"{value}"}}"#);
    assert!(post(server, "/v3/kv/put", &put).await.starts_with("HTTP/1.1 200 OK\r\n"));
    let mut socket = open(server, "/v3/kv/range", "").await;
    say(&mut socket, r#"{"key":"YQ=="}"#).await;
    // Nobody reads them: they lie there when the answer was sent. That they find the connection closed does not matter.
    for _ in 0..3 {
        let _ = socket.send(Message::text(r#"{"key":"YQ=="}"#)).await;
        let _ = socket.send(Message::Ping("hi".into())).await;
    }
    let told = loop {
        match next(&mut socket).await.expect("an answer") {
            Message::Text(text) => break text.to_string(),
            Message::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert!(told.contains(&value), "{} bytes", told.len());
    serving.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_sends_away_who_has_asked_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let serving = serve(&directory).await;
    let server = serving.client_addresses[0];
    let mut silent = open(server, "/v3/kv/range", "").await;
    let mut halfway = open(server, "/v3/kv/range", "").await;
    say(&mut halfway, r#"{"key":"#).await;
    let told = async {
        let told = [next(&mut silent).await, next(&mut halfway).await].map(closed);
        assert_eq!(told, [1001, 1001]);
    };
    let (stopped, ()) = tokio::join!(serving.stop(), told);
    stopped.unwrap();
    assert!(next(&mut silent).await.is_none() && next(&mut halfway).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_has_a_bound_and_must_be_masked() {
    let directory = tempfile::tempdir().unwrap();
    let serving = serve(&directory).await;
    let server = serving.client_addresses[0];
    for path in ["/v3/watch", "/v3/kv/put"] {
        let mut socket = open(server, path, "").await;
        say(&mut socket, &" ".repeat(1024)).await;
        // The head of a message of 65 KiB, of which nothing more comes.
        socket.get_mut().write_all(&[0x81, 0x80 | 127, 0, 0, 0, 0, 0, 1, 4, 0, 9, 9, 9, 9]).await.unwrap();
        assert_eq!(closed(next(&mut socket).await), 1009, "{path}");
        let mut socket = open(server, path, "").await;
        socket.get_mut().write_all(b"\x81\x02{}").await.unwrap();
        assert_eq!(closed(next(&mut socket).await), 1002, "{path}");
    }
    serving.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_handshake_is_refused_as_by_etcds_library() {
    let directory = tempfile::tempdir().unwrap();
    let serving = serve(&directory).await;
    let server = serving.client_addresses[0];
    let version = "Sec-WebSocket-Version: 13\r\n";
    let from = |origin: &str, cookie: &str| format!("{version}Origin: {origin}\r\nCookie: {cookie}\r\n");
    for (first, fields, status) in [
        ("GET /v3/watch", "", "400 Bad Request"),
        ("GET /v3/watch", "Sec-WebSocket-Version: 8\r\n", "400 Bad Request"),
        ("POST /v3/watch", version, "405 Method Not Allowed"),
        ("GET /v3/watch", &from("https://evil.example", "token=a.1"), "403 Forbidden"),
        ("GET /v3/watch", &from("null", "token=\"a.1\""), "403 Forbidden"),
        ("GET /v3/watch", &from("https://evil.example", "a=b"), "101 Switching Protocols"),
        ("GET /v3/watch", &from(&format!("http://{server}"), "token=a.1"), "101 Switching Protocols"),
        ("GET /health", version, "200 OK"),
        ("GET /v3", version, "307 Temporary Redirect"),
    ] {
        let (_, head) = greet(server, first, fields).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{first} {fields} {head}");
        let refused = status.starts_with('4');
        assert_eq!(head.contains("sec-websocket-version: 13\r\n"), refused, "{head}");
    }
    serving.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_comes_as_sub_protocol_or_cookie() {
    let directory = tempfile::tempdir().unwrap();
    let serving = serve(&directory).await;
    let server = serving.client_addresses[0];
    let token = enable_users(server).await;
    let read = r#"{"key":"YQ=="}"#;
    let nameless = r#"{"code":3,"message":"etcdserver: user name is empty"}"#;
    let unknown = r#"{"code":16,"message":"etcdserver: invalid auth token"}"#;
    for (fields, told) in [
        (String::new(), nameless),
        (format!("Authorization: {token}\r\n"), nameless),
        (format!("Sec-WebSocket-Protocol: Bearer, {token}\r\n"), "{}"),
        (format!("Sec-WebSocket-Protocol: Bearer,{token}\r\n"), "{}"),
        (format!("Cookie: a=b; token={token}\r\n"), "{}"),
        ("Sec-WebSocket-Protocol: chat\r\n".to_string(), unknown),
        ("Cookie: token=nobodys\r\n".to_string(), unknown),
    ] {
        let mut socket = open(server, "/v3/kv/range", &fields).await;
        say(&mut socket, read).await;
        assert_eq!(line(&mut socket).await, told, "{fields}");
    }
    let mut watch = open(server, "/v3/watch", "").await;
    say(&mut watch, WATCH).await;
    let told = line(&mut watch).await;
    assert!(told.contains(r#""canceled":true,"cancel_reason":"rpc error: code = InvalidArgument desc"#), "{told}");
    serving.stop().await.unwrap();
}

/// Root alone, and her token.
async fn enable_users(server: SocketAddr) -> String {
    for (path, body) in [
        ("/v3/auth/user/add", r#"{"name":"root","password":"r"}"#),
        ("/v3/auth/role/add", r#"{"name":"root"}"#),
        ("/v3/auth/user/grant", r#"{"user":"root","role":"root"}"#),
        ("/v3/auth/enable", "{}"),
    ] {
        assert!(post(server, path, body).await.starts_with("HTTP/1.1 200 OK\r\n"), "{path}");
    }
    let told = post(server, "/v3/auth/authenticate", r#"{"name":"root","password":"r"}"#).await;
    told.split_once("\"token\":\"").unwrap().1.split_once('"').unwrap().0.to_string()
}

async fn post(server: SocketAddr, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let length = body.len();
    let asked = format!(
        "POST {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(asked.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(LIMIT, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}
