//! The state of the whole network: who listens, and the connections, on top of the hosts and their links.
//!
//! What is modelled: connections as the systems at both ends see them. Data on its way meets a link that is clogged:
//! it waits, as does what is written later, until the link is released. What was read counts against the writer until
//! the reader's system could say so. An end that is gone (its process killed, its halves dropped, its connection
//! reset) is noticed by the other only if a packet crosses: the last words of the dying, if the link passes then, or
//! the answer to something the other sends later, while the machine has power. Otherwise the connection is half open,
//! and the survivor may wait for ever. A call waits for an answer; a machine without power gives none.
//!
//! Invariant (the fence): an end belongs to one life of its host. After the end of that life its handles fail and
//! change nothing.

use std::collections::{BTreeMap, VecDeque};
use std::task::Waker;
use std::time::Duration;

use super::hosts::{HostId, Hosts};
use super::link::{Calls, Cut, LinkMood};
use super::pipe::{HELD, Pipe, wake};
use super::trace::{Marks, Trace};

/// Connections that wait to be accepted; more are not answered.
const BACKLOG: usize = 128;

/// One end of a connection.
pub struct End {
    /// Whose it is.
    pub host: HostId,
    life: u64,
    /// Its address, for people.
    pub address: String,
    reads: bool,
    writes: bool,
    /// When it hears that the connection is over.
    pub reset_at: Option<Duration>,
    /// Something was sent to the other end, which is gone, and no answer came: it is sent again.
    knocks: bool,
}

impl End {
    /// Both halves were let go, or the life ended.
    fn is_released(&self) -> bool {
        !self.reads && !self.writes
    }

    /// Whatever arrives at `at` is answered with a reset.
    fn is_gone(&self, at: Duration) -> bool {
        self.is_released() || self.reset_at.is_some_and(|reset| reset <= at)
    }
}

/// A connection: the pipe of an end carries what that end writes.
pub struct Connection {
    /// Who dialled, and who accepted.
    pub ends: [End; 2],
    /// What each writes.
    pub pipes: [Pipe; 2],
}

impl Connection {
    fn way_from(&self, side: usize) -> (HostId, HostId) {
        (self.ends[side].host, self.ends[1 - side].host)
    }

    /// An end hears at `at` that the connection is over.
    fn reset(&mut self, side: usize, at: Duration) {
        let end = &mut self.ends[side];
        end.reset_at = Some(end.reset_at.map_or(at, |before| before.min(at)));
        end.knocks = false;
        wake(&mut self.pipes[1 - side].reader);
        wake(&mut self.pipes[side].writer);
    }
}

/// An open address.
pub struct Listening {
    host: HostId,
    life: u64,
    /// Tells it from others that had the same address.
    number: u64,
    /// Connections not accepted yet.
    pub waiting: VecDeque<u64>,
    /// Who waits for one.
    pub acceptor: Option<Waker>,
}

/// Half of an end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Half {
    /// It reads.
    Reader,
    /// It writes.
    Writer,
}

/// What came of a call that arrived.
pub enum Called {
    /// It is open, this being its number.
    Open(u64),
    /// Nobody listens there.
    Refused,
    /// No answer.
    Silence,
}

/// See the module's head.
pub struct Network {
    /// Hosts and links.
    pub hosts: Hosts,
    /// Open addresses.
    listeners: BTreeMap<String, Listening>,
    connections: BTreeMap<u64, Connection>,
    /// Of listeners and connections.
    next_number: u64,
    /// The trace of the run.
    pub trace: Trace,
    marks: Marks,
}

impl Network {
    /// No host yet.
    pub fn new(seed: u64, trace: Trace, marks: Marks) -> Self {
        let hosts = Hosts::new(seed, LinkMood::calm(), marks.clone());
        let (listeners, connections) = (BTreeMap::new(), BTreeMap::new());
        Self { hosts, listeners, connections, next_number: 0, trace, marks }
    }

    /// Begins a life of a host.
    pub fn boot(&mut self, host: HostId, now: Duration) -> u64 {
        let life = self.hosts.boot(host);
        self.knock_again(now);
        life
    }

    /// A life ends, and with `power` the machine too: its addresses close, and the other ends of its connections hear
    /// of it if they can.
    pub fn kill(&mut self, host: HostId, power: bool, now: Duration) {
        let Some(life) = self.hosts.end_life(host, power) else { return };
        self.listeners.retain(|_, listening| listening.host != host);
        for number in self.connections.keys().copied().collect::<Vec<_>>() {
            for side in [0, 1] {
                let own = |connection: &&mut Connection| {
                    let end = &connection.ends[side];
                    end.host == host && end.life == life && !end.is_released()
                };
                let Some(connection) = self.connections.get_mut(&number).filter(own) else { continue };
                (connection.ends[side].reads, connection.ends[side].writes) = (false, false);
                self.part(number, side, !power, now);
                self.forget_if_over(number);
            }
        }
    }

    /// The last words of an end that dies, if its machine can still say any.
    fn part(&mut self, number: u64, side: usize, speaks: bool, now: Duration) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let (from, to) = connection.way_from(side);
        let unread = !connection.pipes[1 - side].is_quiet();
        let arrives = if speaks { self.hosts.arrival(from, to, now, 0) } else { None };
        match arrives {
            // Nothing was left unread: the system ends the stream as a polite process would.
            Some(at) if !unread => connection.pipes[side].finish(at),
            Some(at) => {
                self.marks.hit("net: connection reset");
                connection.pipes[side].abandon();
                connection.reset(1 - side, at);
            }
            None => {
                self.marks.hit("net: half-open");
                connection.pipes[side].abandon();
                connection.ends[1 - side].knocks |= unread;
            }
        }
    }

    fn fresh_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// Opens an address; its number, or nothing if it is open.
    pub fn listen(&mut self, address: &str, host: HostId, life: u64) -> Option<u64> {
        if self.listeners.contains_key(address) {
            return None;
        }
        let number = self.fresh_number();
        let listening = Listening { host, life, number, waiting: VecDeque::new(), acceptor: None };
        self.listeners.insert(address.to_string(), listening);
        Some(number)
    }

    /// The listener of that number at an address.
    pub fn listening(&mut self, address: &str, number: u64) -> Option<&mut Listening> {
        self.listeners.get_mut(address).filter(|listening| listening.number == number)
    }

    /// Closes an address, whoever holds it: who waits to be accepted is reset. Whether it was open.
    pub fn close(&mut self, address: &str, now: Duration) -> bool {
        let Some(mut listening) = self.listeners.remove(address) else { return false };
        for number in listening.waiting {
            self.drop_half(number, 1, Half::Reader, now);
            self.drop_half(number, 1, Half::Writer, now);
        }
        wake(&mut listening.acceptor);
        true
    }

    /// A call from a host has arrived at an address.
    pub fn called(&mut self, from: (HostId, u64), to: HostId, address: &str) -> Called {
        let calls = self.hosts.link(from.0, to).mood().calls;
        let reached = self.hosts.is_up(to) && self.hosts.passes(from.0, to) && self.hosts.passes(to, from.0);
        if !reached || calls == Calls::Swallowed {
            self.marks.hit("net: call swallowed");
            return Called::Silence;
        }
        let (port, number) = (self.hosts.fresh_port(from.0), self.fresh_number());
        let (Calls::Answered, Some(listening)) = (calls, self.listeners.get_mut(address)) else {
            self.marks.hit("net: call refused");
            return Called::Refused;
        };
        if listening.waiting.len() >= BACKLOG {
            self.marks.hit("net: backlog full");
            return Called::Silence;
        }
        let caller = format!("{}:{port}", self.hosts.name(from.0));
        let end = |(host, life), address| {
            let (reads, writes, knocks, reset_at) = (true, true, false, None);
            End { host, life, address, reads, writes, reset_at, knocks }
        };
        let ends = [end(from, caller), end((listening.host, listening.life), address.to_string())];
        self.connections.insert(number, Connection { ends, pipes: Default::default() });
        listening.waiting.push_back(number);
        wake(&mut listening.acceptor);
        Called::Open(number)
    }

    /// A connection, as long as one of its ends is held.
    pub fn connection(&mut self, number: u64) -> Option<&mut Connection> {
        self.connections.get_mut(&number)
    }

    /// Reads what has arrived at an end by `now`.
    pub fn read(&mut self, number: u64, side: usize, now: Duration, buf: &mut [u8]) -> Option<super::pipe::Found> {
        let connection = self.connections.get_mut(&number)?;
        let (reader, writer) = connection.way_from(side);
        let heard = self.hosts.passes(reader, writer);
        Some(connection.pipes[1 - side].read(now, buf, heard))
    }

    /// Bytes from an end that has room for them.
    pub fn send(&mut self, number: u64, side: usize, bytes: &[u8], now: Duration) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let (from, to) = connection.way_from(side);
        let arrives = self.hosts.arrival(from, to, now, bytes.len()).unwrap_or(HELD);
        if connection.ends[1 - side].is_gone(arrives) {
            connection.pipes[side].push(bytes, HELD);
            self.knock(number, side, now);
        } else if arrives != HELD
            && let Some(cut) = self.hosts.link(from, to).cut()
        {
            connection.pipes[side].push(&bytes[..cut.arriving_of(bytes.len())], arrives);
            self.cut(number, side, cut, now);
        } else {
            connection.pipes[side].push(bytes, arrives);
        }
    }

    /// An end says that it will write no more.
    pub fn finish(&mut self, number: u64, side: usize, now: Duration) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        if !connection.pipes[side].is_finished() {
            let (from, to) = connection.way_from(side);
            connection.pipes[side].finish(self.hosts.arrival(from, to, now, 0).unwrap_or(HELD));
        }
    }

    /// A half of an end is let go. With the writing half the stream ends; with both, whatever still comes is answered
    /// with a reset, as is what was left unread.
    pub fn drop_half(&mut self, number: u64, side: usize, half: Half, now: Duration) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let end = &mut connection.ends[side];
        match half {
            Half::Reader => end.reads = false,
            Half::Writer => end.writes = false,
        }
        if end.is_released() && !connection.pipes[1 - side].is_quiet() {
            self.part(number, side, true, now);
        } else if half == Half::Writer {
            self.finish(number, side, now);
        }
        self.forget_if_over(number);
    }

    fn forget_if_over(&mut self, number: u64) {
        if self.connections.get(&number).is_some_and(|connection| connection.ends.iter().all(End::is_released)) {
            self.connections.remove(&number);
        }
    }

    /// Something was sent from an end to the other, which is gone: the answer, if one can come, is a reset.
    fn knock(&mut self, number: u64, side: usize, now: Duration) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let (from, to) = connection.way_from(side);
        let up = self.hosts.is_up(to);
        let there = if up { self.hosts.arrival(from, to, now, 0) } else { None };
        match there.and_then(|there| self.hosts.arrival(to, from, there, 0)) {
            Some(back) => {
                self.marks.hit("net: half-open end told by an answer");
                connection.reset(side, back);
            }
            None => connection.ends[side].knocks = true,
        }
    }

    /// Whoever got no answer tries again.
    fn knock_again(&mut self, now: Duration) {
        for number in self.connections.keys().copied().collect::<Vec<_>>() {
            for side in [0, 1] {
                let knocks = |connection: &Connection| connection.ends[side].knocks;
                if self.connections.get(&number).is_some_and(knocks) {
                    self.knock(number, side, now);
                }
            }
        }
    }

    /// A connection is cut while `side` writes: a part of what is on its way arrives, then those who hear of it do.
    fn cut(&mut self, number: u64, side: usize, cut: Cut, now: Duration) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        self.marks.hit("net: connection cut in the middle");
        let (there, back) = (connection.way_from(side), connection.way_from(1 - side));
        let arrived = connection.pipes[side].cut(now, |bytes| bytes);
        connection.pipes[1 - side].cut(now, |bytes| cut.arriving_of(bytes));
        if cut.reader_hears {
            let at = self.hosts.arrival(there.0, there.1, now, 0).unwrap_or(now);
            connection.reset(1 - side, at.max(arrived));
        }
        if cut.writer_hears {
            let at = self.hosts.arrival(back.0, back.1, now, 0).unwrap_or(now);
            connection.reset(side, at);
        }
    }

    /// Cuts every connection between two hosts, each at a place of its own.
    pub fn cut_all(&mut self, one: HostId, other: HostId, now: Duration) {
        for number in self.connections.keys().copied().collect::<Vec<_>>() {
            for side in [0, 1] {
                let between = |connection: &&mut Connection| connection.way_from(side) == (one, other);
                let Some(connection) = self.connections.get_mut(&number).filter(between) else { continue };
                let cut = self.hosts.link(one, other).draw_cut();
                connection.pipes[side].cut(now, |bytes| cut.arriving_of(bytes));
                self.cut(number, side, cut, now);
            }
        }
    }

    /// Cuts every connection that a host took from another, each at a place of its own; those that it made live on.
    pub fn cut_taken(&mut self, by: HostId, now: Duration) {
        for number in self.connections.keys().copied().collect::<Vec<_>>() {
            let taken = |connection: &&mut Connection| connection.ends[1].host == by && connection.ends[0].host != by;
            let Some(connection) = self.connections.get_mut(&number).filter(taken) else { continue };
            let (from, to) = connection.way_from(0);
            let cut = self.hosts.link(from, to).draw_cut();
            connection.pipes[0].cut(now, |bytes| cut.arriving_of(bytes));
            self.cut(number, 0, cut, now);
        }
    }

    /// Changes a link, and lets what is on its way meet the change.
    pub fn change_link(&mut self, from: HostId, to: HostId, mood: LinkMood, severed: bool, now: Duration) {
        let link = self.hosts.link(from, to);
        let stood = now.saturating_sub(link.since());
        if !link.change(mood, severed, now) {
            return;
        }
        let passes = link.passes();
        self.trace.note(if passes { "link released" } else { "link clogged" }, self.hosts.name(to).as_bytes());
        for number in self.connections.keys().copied().collect::<Vec<_>>() {
            for side in [0, 1] {
                let on_it = |connection: &&mut Connection| connection.way_from(side) == (from, to);
                let Some(connection) = self.connections.get_mut(&number).filter(on_it) else { continue };
                if passes {
                    Self::release(&mut self.hosts, connection, side, stood, now);
                } else {
                    if connection.pipes[side].hold(now) {
                        self.marks.hit("net: data met a partition on its way");
                    }
                    Self::lose_last_words(connection, side, now);
                }
            }
        }
        if passes {
            self.knock_again(now);
        }
    }

    /// The link from `side` passes again, after it stood clogged.
    fn release(hosts: &mut Hosts, connection: &mut Connection, side: usize, stood: Duration, now: Duration) {
        let (from, to) = connection.way_from(side);
        if connection.ends[1 - side].is_gone(now) {
            connection.ends[side].knocks |= !connection.pipes[side].is_quiet();
        } else {
            let again = hosts.link(from, to).retry(now, stood);
            connection.pipes[side].release(|bytes| hosts.link(from, to).arrival(again, bytes).0);
        }
        connection.pipes[1 - side].hear();
    }

    /// The reset that an end now gone sent to the other is lost if it is still on its way.
    fn lose_last_words(connection: &mut Connection, side: usize, now: Duration) {
        if connection.ends[side].is_released() {
            let other = &mut connection.ends[1 - side];
            other.reset_at = other.reset_at.filter(|at| *at <= now);
        }
    }
}
