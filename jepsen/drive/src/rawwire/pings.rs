//! Clients that ping more or less often: whom a server bears, and how it sends the others away.
//!
//! Bytes on a socket, since a library pings as it likes. Invariant: nothing hangs on time but that pings on loopback are
//! closer together than the servers' least time of 5 s: what must come is waited for, and that a connection goes on is seen by a
//! request on it.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::process::Trouble;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
/// Of settings and pings an acknowledgement, of headers and data the end of the stream.
const LAST: u8 = 1;
const END_HEADERS: u8 = 4;

/// What a client does once it has an answer, by name.
pub(super) const CASES: &[(&str, &[Step])] = &[
    ("pings: three after a request", &[Step::Get, Step::Ping(3), Step::Get]),
    ("pings: four after a request", &[Step::Get, Step::Ping(4), Step::End]),
    ("pings: many beside a watch", &[Step::Watch, Step::Ping(4), Step::End]),
    ("pings: three, a request, three", &[Step::Get, Step::Ping(3), Step::Get, Step::Ping(3), Step::Get]),
    ("pings: three, a request, four", &[Step::Get, Step::Ping(3), Step::Get, Step::Ping(4), Step::End]),
];

/// One step of a client.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// Asks for a key, and waits for the end of the answer.
    Get,
    /// Begins a watch, and waits until it is made.
    Watch,
    /// So many pings, each when the one before was answered.
    Ping(u64),
    /// Waits to be sent away.
    End,
}

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

/// A connection.
struct Client {
    tcp: TcpStream,
    next_stream: u32,
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// HEADERS that need no table: POST, http, the path, a name, gRPC's content type.
fn headers(stream: u32, path: &[u8]) -> Vec<u8> {
    let kind = b"application/grpc";
    let names = [&[0x83, 0x86, 0x04, path.len() as u8][..], path, &[0x01, 1, b'x', 0x0f, 0x10, kind.len() as u8], kind];
    frame(HEADERS, END_HEADERS, stream, &[&names.concat()[..], b"\0\x02te\x08trailers"].concat())
}

/// A gRPC message.
fn message(payload: &[u8]) -> Vec<u8> {
    [&[0][..], &(payload.len() as u32).to_be_bytes(), payload].concat()
}

impl Client {
    async fn read(&mut self) -> Result<Frame, Trouble> {
        let mut head = [0; 9];
        self.tcp.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.tcp.read_exact(&mut payload).await?;
        if kind == SETTINGS && flags & LAST == 0 {
            self.tcp.write_all(&frame(SETTINGS, LAST, 0, &[])).await?;
        }
        Ok(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
    }

    async fn until(&mut self, is_it: impl Fn(&Frame) -> bool) -> Result<Frame, Trouble> {
        loop {
            let frame = self.read().await?;
            if is_it(&frame) {
                return Ok(frame);
            }
            if frame.kind == GOAWAY {
                return Err("sent away too early".into());
            }
        }
    }

    async fn step(&mut self, step: Step) -> Result<Option<Frame>, Trouble> {
        match step {
            Step::Get | Step::Watch => {
                let stream = self.next_stream;
                self.next_stream += 2;
                let (path, body, flags): (&[u8], &[u8], u8) = match step {
                    Step::Get => (b"/etcdserverpb.KV/Range", b"\x0a\x01k", LAST),
                    _ => (b"/etcdserverpb.Watch/Watch", b"\x0a\x03\x0a\x01k", 0),
                };
                let request = [headers(stream, path), frame(DATA, flags, stream, &message(body))].concat();
                self.tcp.write_all(&request).await?;
                let is_get = flags == LAST;
                let answered = |frame: &Frame| {
                    let ends = frame.kind == HEADERS && frame.flags & LAST != 0;
                    frame.stream == stream && (ends || (!is_get && frame.kind == DATA))
                };
                self.until(answered).await?;
            }
            Step::Ping(count) => {
                for number in 1..=count {
                    let payload = number.to_be_bytes();
                    self.tcp.write_all(&frame(PING, 0, 0, &payload)).await?;
                    self.until(|frame| frame.kind == PING && frame.flags & LAST != 0 && frame.payload == payload)
                        .await?;
                }
            }
            Step::End => return self.until(|frame| frame.kind == GOAWAY).await.map(Some),
        }
        Ok(None)
    }
}

/// What the last step came to: how the client was sent away, or that it was not.
pub(super) async fn run(address: &str, steps: &[Step]) -> Result<String, Trouble> {
    let mut client = Client { tcp: TcpStream::connect(address).await?, next_stream: 1 };
    client.tcp.write_all(&[&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(SETTINGS, 0, 0, &[])].concat()).await?;
    let mut away = None;
    for step in steps {
        away = client.step(*step).await?;
    }
    Ok(match away {
        None => "goes on".to_string(),
        Some(frame) => format!("sent away: {}", frame.payload.escape_ascii()),
    })
}
