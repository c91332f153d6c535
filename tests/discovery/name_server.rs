//! A name server of a few records, on loopback, in a thread: what discovery asks in tests.
//!
//! Written from the format of the messages (RFC 1035, RFC 2782), without the library that is tested by it.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What it knows.
#[derive(Clone, Debug)]
pub enum Record {
    /// Name, port, target.
    Srv(String, u16, String),
    /// Name and address.
    A(String, [u8; 4]),
}

/// A server that answers until it is dropped.
pub struct NameServer {
    pub address: SocketAddr,
    stopped: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

const A: u16 = 1;
const SRV: u16 = 33;
const NO_ERROR: u8 = 0;
const SERVER_FAILURE: u8 = 2;
const NO_SUCH_NAME: u8 = 3;

impl NameServer {
    /// Knows these. Whatever ends in `broken.test` it fails to answer.
    pub fn start(records: Vec<Record>) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(std::time::Duration::from_millis(20))).unwrap();
        let address = socket.local_addr().unwrap();
        let stopped = Arc::new(AtomicBool::new(false));
        let flag = stopped.clone();
        let thread = std::thread::spawn(move || {
            let mut question = [0; 1500];
            while !flag.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut question) else { continue };
                if let Some(answer) = answer(&question[..length], &records) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Self { address, stopped, thread: Some(thread) }
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

/// The answer to a message with one question.
fn answer(message: &[u8], records: &[Record]) -> Option<Vec<u8>> {
    let (mut labels, mut at) = (Vec::new(), 12);
    while *message.get(at)? != 0 {
        let length = usize::from(message[at]);
        labels.push(String::from_utf8(message.get(at + 1..at + 1 + length)?.to_vec()).ok()?.to_lowercase());
        at += 1 + length;
    }
    let name = labels.join(".");
    let question = message.get(12..at + 5)?;
    let kind = u16::from_be_bytes([message[at + 1], message[at + 2]]);
    let known = records.iter().any(|record| match record {
        Record::Srv(own, ..) | Record::A(own, _) => *own == name,
    });
    let answers: Vec<(u16, Vec<u8>)> = records.iter().filter_map(|record| encoded(record, &name, kind)).collect();
    let code = match () {
        () if name.ends_with("broken.test") => SERVER_FAILURE,
        () if known => NO_ERROR,
        () => NO_SUCH_NAME,
    };
    let mut bytes = message[..2].to_vec();
    // An answer, to one who wanted the server to ask others and could have.
    bytes.extend([0x81, 0x80 | code]);
    for count in [1, answers.len() as u16, 0, 0] {
        bytes.extend(count.to_be_bytes());
    }
    bytes.extend(question);
    for (kind, content) in answers {
        // Its name is the question's.
        bytes.extend([0xc0, 12]);
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0, 1, 0, 0, 0, 60]);
        bytes.extend((content.len() as u16).to_be_bytes());
        bytes.extend(content);
    }
    Some(bytes)
}

fn encoded(record: &Record, asked: &str, kind: u16) -> Option<(u16, Vec<u8>)> {
    match record {
        Record::Srv(name, port, target) if name == asked && kind == SRV => {
            let mut bytes = vec![0, 0, 0, 0];
            bytes.extend(port.to_be_bytes());
            for label in target.split('.').filter(|label| !label.is_empty()) {
                bytes.push(label.len() as u8);
                bytes.extend(label.bytes());
            }
            bytes.push(0);
            Some((SRV, bytes))
        }
        Record::A(name, address) if name == asked && kind == A => Some((A, address.to_vec())),
        _ => None,
    }
}
