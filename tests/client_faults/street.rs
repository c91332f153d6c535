//! The way from who asks to one member, with troubles on order. It hands bytes on as they come, late, not now, never, or
//! is closed; who comes in by the members' port is told apart by what its first request says of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What becomes of bytes, in both directions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Traffic {
    Flows,
    Late(Duration),
    /// Kept back, and handed on in the end.
    Stalled,
    /// Gone without a word to either side. Connections that lost some are closed when the trouble ends.
    Swallowed,
    /// Connections are closed, new ones too.
    Cut,
}

/// Who comes in, and what becomes of it. Clients are one; members are told apart by their ids.
type Lanes = Arc<Mutex<BTreeMap<u64, watch::Sender<Traffic>>>>;

/// The one lane of clients.
const CLIENTS: u64 = 0;

/// Longest head of a member's request that is waited for, in bytes.
const LONGEST_HEAD: usize = 16 * 1024;

/// A port that leads to another one; closed when dropped.
pub struct Street {
    lanes: Lanes,
    task: JoinHandle<()>,
}

impl Street {
    /// For clients.
    pub async fn open(from: u16, to: u16) -> Self {
        Self::lead(from, to, false).await
    }

    /// For members.
    pub async fn open_to_members(from: u16, to: u16) -> Self {
        Self::lead(from, to, true).await
    }

    async fn lead(from: u16, to: u16, members: bool) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", from)).await.unwrap();
        let lanes = Lanes::default();
        let inside = Arc::clone(&lanes);
        let task = tokio::spawn(async move {
            loop {
                let (guest, _) = listener.accept().await.unwrap();
                tokio::spawn(carry(guest, to, Arc::clone(&inside), members));
            }
        });
        Self { lanes, task }
    }

    /// For all clients.
    pub fn order(&self, traffic: Traffic) {
        self.order_for(CLIENTS, traffic);
    }

    /// For one member.
    pub fn order_for(&self, guest: u64, traffic: Traffic) {
        lane(&self.lanes, guest, |lane| lane.send_replace(traffic));
    }
}

impl Drop for Street {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lane<T>(lanes: &Lanes, guest: u64, work: impl FnOnce(&watch::Sender<Traffic>) -> T) -> T {
    work(lanes.lock().unwrap().entry(guest).or_insert_with(|| watch::channel(Traffic::Flows).0))
}

async fn carry(mut guest: TcpStream, to: u16, lanes: Lanes, members: bool) {
    let mut head = Vec::new();
    let name = if members { member(&mut guest, &mut head).await } else { CLIENTS };
    let traffic = lane(&lanes, name, watch::Sender::subscribe);
    if *traffic.borrow() == Traffic::Cut {
        return;
    }
    let Ok(house) = TcpStream::connect(("127.0.0.1", to)).await else { return };
    for stream in [&guest, &house] {
        stream.set_nodelay(true).unwrap();
    }
    let ((from_guest, to_guest), (from_house, to_house)) = (guest.into_split(), house.into_split());
    // Whichever ends closes both.
    tokio::select! {
        biased;
        () = hand_on(from_guest, to_house, traffic.clone(), head) => {}
        () = hand_on(from_house, to_guest, traffic, Vec::new()) => {}
    }
}

/// The member that says its id in the first request; one that says none counts as a client. What was read is left in `head`.
async fn member(guest: &mut TcpStream, head: &mut Vec<u8>) -> u64 {
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < LONGEST_HEAD {
        if !matches!(guest.read_buf(head).await, Ok(read) if read > 0) {
            break;
        }
    }
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    let id = text.lines().find_map(|line| line.strip_prefix("x-server-from:"));
    id.and_then(|id| u64::from_str_radix(id.trim(), 16).ok()).unwrap_or(CLIENTS)
}

async fn hand_on(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut traffic: watch::Receiver<Traffic>,
    mut bytes: Vec<u8>,
) {
    let mut lost = false;
    loop {
        let order = *traffic.borrow_and_update();
        match order {
            Traffic::Cut => return,
            Traffic::Swallowed => {
                lost |= !bytes.is_empty();
                bytes.clear();
            }
            _ if lost => return,
            Traffic::Stalled if !bytes.is_empty() => {
                if traffic.changed().await.is_err() {
                    return;
                }
                continue;
            }
            Traffic::Stalled => {}
            Traffic::Flows | Traffic::Late(_) => {
                if let Traffic::Late(by) = order {
                    tokio::time::sleep(by).await;
                }
                if to.write_all(&bytes).await.is_err() {
                    return;
                }
                bytes.clear();
            }
        }
        tokio::select! {
            biased;
            changed = traffic.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            read = from.read_buf(&mut bytes) => {
                if !matches!(read, Ok(read) if read > 0) {
                    // Nor does the end of a connection get through.
                    let through = |order: &Traffic| !matches!(order, Traffic::Stalled | Traffic::Swallowed);
                    let _ = traffic.wait_for(through).await;
                    return;
                }
            }
        }
    }
}
