//! The state of the whole network: hosts, links between them, listeners, connections.
//!
//! Invariant (the fence): a connection's end belongs to one life of its host. After the end of that life its handles
//! fail and change nothing.

use std::collections::{BTreeMap, VecDeque};
use std::task::Waker;
use std::time::Duration;

use super::forked;
use super::link::{Link, LinkMood};
use super::pipe::{Pipe, wake};
use super::trace::{Marks, Trace};

/// Connections that wait to be accepted; more are not answered.
const BACKLOG: usize = 128;

/// A host, by the order in which it was first named.
pub type HostId = usize;

struct Host {
    name: String,
    /// The life that may use the network; odd while one lives.
    life: u64,
    next_port: u16,
}

/// One end of a connection.
pub struct End {
    /// Whose it is.
    pub host: HostId,
    /// In which life.
    pub life: u64,
    /// Its address, for people.
    pub address: String,
    /// Whether the half that reads is still held.
    pub reads: bool,
    /// Whether the half that writes is still held.
    pub writes: bool,
    /// When it hears that the other end is gone for good.
    pub reset_at: Option<Duration>,
}

impl End {
    fn is_gone(&self) -> bool {
        !self.reads && !self.writes
    }
}

/// A connection: the pipe of an end carries what that end writes.
pub struct Connection {
    /// Who dialled, and who accepted.
    pub ends: [End; 2],
    /// What each writes.
    pub pipes: [Pipe; 2],
}

/// An open address.
#[derive(Default)]
pub struct Listening {
    /// Connections not accepted yet.
    pub waiting: VecDeque<u64>,
    /// Who waits for one.
    pub acceptor: Option<Waker>,
}

/// See the module's head.
pub struct Network {
    seed: u64,
    hosts: Vec<Host>,
    links: BTreeMap<(HostId, HostId), Link>,
    /// Open addresses with their hosts and lives.
    listeners: BTreeMap<String, (HostId, u64, Listening)>,
    connections: BTreeMap<u64, Connection>,
    next_connection: u64,
    /// The trace of the run.
    pub trace: Trace,
    /// What happened sometimes.
    pub marks: Marks,
}

/// What came of an attempt to connect.
pub enum Dialled {
    /// It is open, this being its number.
    Open(u64),
    /// Nobody listens there.
    Refused,
    /// No answer.
    Silence,
}

impl Network {
    /// No host yet.
    pub fn new(seed: u64, trace: Trace, marks: Marks) -> Self {
        let (links, listeners, connections) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { seed, hosts: Vec::new(), links, listeners, connections, next_connection: 0, trace, marks }
    }

    /// A host by its name, made where it is unknown.
    pub fn host(&mut self, name: &str) -> HostId {
        if let Some(known) = self.hosts.iter().position(|host| host.name == name) {
            return known;
        }
        self.hosts.push(Host { name: name.to_string(), life: 0, next_port: 49_152 });
        self.hosts.len() - 1
    }

    /// Begins a life of a host; the one before must have ended.
    pub fn boot(&mut self, host: HostId) -> u64 {
        let host = &mut self.hosts[host];
        assert!(host.life.is_multiple_of(2), "the life before has not ended");
        host.life += 1;
        host.life
    }

    /// Whether that life of the host goes on.
    pub fn lives(&self, host: HostId, life: u64) -> bool {
        self.hosts[host].life == life
    }

    /// A port of the host that was not given before.
    pub fn fresh_port(&mut self, host: HostId) -> u16 {
        let port = &mut self.hosts[host].next_port;
        *port = port.checked_add(1).unwrap_or(49_152);
        *port
    }

    /// When a packet from one host to another arrives that is sent at `now`.
    pub fn arrival(&mut self, from: HostId, to: HostId, now: Duration) -> Duration {
        let (seed, hosts) = (self.seed, &self.hosts);
        let link = self.links.entry((from, to)).or_insert_with(|| {
            let way = format!("link {} {}", hosts[from].name, hosts[to].name);
            Link::new(LinkMood::calm(), forked(seed, &way, 0))
        });
        link.arrival(now)
    }

    /// A life ends: its addresses close, and the other ends of its connections hear of it.
    pub fn kill(&mut self, host: HostId, now: Duration) {
        let life = self.hosts[host].life;
        self.hosts[host].life = life.next_multiple_of(2);
        self.listeners.retain(|_, (owner, _, _)| *owner != host);
        let own = |connection: &Connection, side: usize| {
            let end = &connection.ends[side];
            end.host == host && end.life == life && !end.is_gone()
        };
        let numbers: Vec<(u64, usize)> = (self.connections.iter())
            .flat_map(|(number, connection)| [0, 1].map(|side| (*number, side, own(connection, side))))
            .filter_map(|(number, side, own)| own.then_some((number, side)))
            .collect();
        for (number, side) in numbers {
            self.reset_other(number, side, now);
            if let Some(connection) = self.connections.get_mut(&number) {
                let end = &mut connection.ends[side];
                (end.reads, end.writes) = (false, false);
            }
            self.forget_if_over(number);
        }
    }

    /// Tells the end opposite to `side` that this one is gone.
    fn reset_other(&mut self, number: u64, side: usize, now: Duration) {
        let Some(connection) = self.connections.get(&number) else { return };
        let (from, to) = (connection.ends[side].host, connection.ends[1 - side].host);
        self.marks.hit("net: connection reset");
        let at = self.arrival(from, to, now);
        let connection = self.connections.get_mut(&number).expect("it was just found");
        let other = &mut connection.ends[1 - side];
        other.reset_at = Some(other.reset_at.map_or(at, |before| before.min(at)));
        wake(&mut connection.pipes[side].reader);
        wake(&mut connection.pipes[1 - side].writer);
    }

    /// Opens an address. `false` if it is open.
    pub fn listen(&mut self, address: &str, host: HostId, life: u64) -> bool {
        if self.listeners.contains_key(address) {
            return false;
        }
        self.listeners.insert(address.to_string(), (host, life, Listening::default()));
        true
    }

    /// The listener of a life at an address.
    pub fn listening(&mut self, address: &str, host: HostId, life: u64) -> Option<&mut Listening> {
        let (owner, of_life, listening) = self.listeners.get_mut(address)?;
        (*owner == host && *of_life == life).then_some(listening)
    }

    /// Closes an address; who waits to be accepted is reset.
    pub fn close(&mut self, address: &str, host: HostId, life: u64, now: Duration) {
        if self.listening(address, host, life).is_none() {
            return;
        }
        let Some((_, _, listening)) = self.listeners.remove(address) else { return };
        for number in listening.waiting {
            self.drop_half(number, 1, Half::Reader, now);
            self.drop_half(number, 1, Half::Writer, now);
        }
    }

    /// A call has arrived at an address.
    pub fn connect(&mut self, from: (HostId, u64), address: &str) -> Dialled {
        let port = self.fresh_port(from.0);
        let Some((host, life, listening)) = self.listeners.get_mut(address) else { return Dialled::Refused };
        if listening.waiting.len() >= BACKLOG {
            return Dialled::Silence;
        }
        let end = |(host, life), address| End { host, life, address, reads: true, writes: true, reset_at: None };
        let caller = format!("{}:{port}", self.hosts[from.0].name);
        let ends = [end(from, caller), end((*host, *life), address.to_string())];
        let number = self.next_connection;
        self.next_connection += 1;
        self.connections.insert(number, Connection { ends, pipes: Default::default() });
        listening.waiting.push_back(number);
        wake(&mut listening.acceptor);
        Dialled::Open(number)
    }

    /// A connection, as long as one of its ends is held.
    pub fn connection(&mut self, number: u64) -> Option<&mut Connection> {
        self.connections.get_mut(&number)
    }

    /// An end says that it will write no more.
    pub fn finish(&mut self, number: u64, side: usize, now: Duration) {
        let Some(connection) = self.connections.get(&number) else { return };
        if connection.pipes[side].is_finished() {
            return;
        }
        let (from, to) = (connection.ends[side].host, connection.ends[1 - side].host);
        let at = self.arrival(from, to, now);
        if let Some(connection) = self.connections.get_mut(&number) {
            connection.pipes[side].finish(at);
        }
    }

    /// A half of an end is let go. With the writing half the stream ends; with both, whatever still comes is answered
    /// with a reset.
    pub fn drop_half(&mut self, number: u64, side: usize, half: Half, now: Duration) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let end = &mut connection.ends[side];
        match half {
            Half::Reader => end.reads = false,
            Half::Writer => end.writes = false,
        }
        let gone = end.is_gone();
        if half == Half::Writer {
            self.finish(number, side, now);
        }
        if gone && !self.connections[&number].pipes[1 - side].is_quiet() {
            self.reset_other(number, side, now);
        }
        self.forget_if_over(number);
    }

    fn forget_if_over(&mut self, number: u64) {
        if self.connections.get(&number).is_some_and(|connection| connection.ends.iter().all(End::is_gone)) {
            self.connections.remove(&number);
        }
    }

    /// Bytes from an end that may write so many; `false` if the other end is gone, which it will hear.
    pub fn send(&mut self, number: u64, side: usize, bytes: &[u8], now: Duration) {
        let Some(connection) = self.connections.get(&number) else { return };
        let (from, to) = (connection.ends[side].host, connection.ends[1 - side].host);
        let gone = connection.ends[1 - side].is_gone();
        let arrives = self.arrival(from, to, now);
        if gone {
            self.reset_other(number, 1 - side, arrives);
        } else if let Some(connection) = self.connections.get_mut(&number) {
            connection.pipes[side].push(bytes, arrives);
        }
    }
}

/// Half of an end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Half {
    /// It reads.
    Reader,
    /// It writes.
    Writer,
}
