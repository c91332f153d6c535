//! What the tasks of one transport share: the world, the member's door, and the links to its peers.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::body::{Incoming, Outgoing};
use super::complaints::Complaints;
use super::door::PeerDoor;
use super::link::Link;
use super::url::PeerUrl;
use super::wait::Latch;
use crate::base::{MemberId, limits};
use crate::env::{Clock, Env, Instant, Net, NetStream};

/// The version of etcd whose protocol is spoken.
pub const VERSION: &str = "3.7.1";

/// The version of etcd whose storage would hold the same.
pub const STORAGE_VERSION: &str = "3.7.0";

/// Everything of a transport that is decided by flags.
#[derive(Clone, Debug)]
pub struct PeerConfig {
    /// This member.
    pub member: MemberId,
    /// Its own peer URLs, as it tells them to others.
    pub urls: Vec<String>,
    /// Where it listens, as `host:port` each.
    pub listen: Vec<String>,
    /// The version it speaks for: [`VERSION`].
    pub version: &'static str,
    /// Time connecting to a peer may take.
    pub dial_timeout: Duration,
    /// Silence after which a connection is given up; kept alive at a third of it.
    pub read_timeout: Duration,
    /// Bytes of snapshots sent to one member in a second.
    pub snapshot_bytes_per_second: u64,
    /// Connections that others may have open to this member.
    pub connections: usize,
    /// Connections to one peer that carry questions at once.
    pub question_lines: usize,
}

impl PeerConfig {
    /// The usual times, for a member with these ids and places.
    pub fn new(member: MemberId, urls: Vec<String>, listen: Vec<String>, election_timeout: Duration) -> Self {
        Self {
            member,
            urls,
            listen,
            version: VERSION,
            dial_timeout: Duration::from_millis(limits::PEER_DIAL_MS) + election_timeout,
            read_timeout: Duration::from_millis(limits::PEER_READ_TIMEOUT_MS),
            snapshot_bytes_per_second: limits::SNAPSHOT_BYTES_PER_SECOND,
            connections: limits::PEER_CONNECTIONS,
            question_lines: limits::PEER_QUESTION_LINES,
        }
    }
}

/// The reading end of a connection in a world.
pub(super) type Reader<E> = <<<E as Env>::Net as Net>::Stream as NetStream>::Reader;
/// The writing end of a connection in a world.
pub(super) type Writer<E> = <<<E as Env>::Net as Net>::Stream as NetStream>::Writer;
/// Both, with their times.
pub(super) type Ends<E> = (Incoming<Reader<E>, <E as Env>::Clock>, Outgoing<Writer<E>, <E as Env>::Clock>);

/// A connection that waits for its next request.
pub(super) struct IdleLine<E: Env> {
    pub(super) ends: Ends<E>,
    pub(super) url: PeerUrl,
}

/// What the tasks of one transport share.
pub(super) struct Exchange<E: Env> {
    pub(super) env: E,
    pub(super) config: PeerConfig,
    pub(super) door: Arc<dyn PeerDoor>,
    /// Which start of this member this is.
    pub(super) life: u64,
    /// Falls when all ends.
    pub(super) latch: Latch,
    links: Mutex<BTreeMap<MemberId, Arc<Link>>>,
    /// Connections kept for the next question, by peer.
    idle: Mutex<BTreeMap<MemberId, Vec<IdleLine<E>>>>,
    /// Connections that others have opened.
    pub(super) accepted: AtomicUsize,
    /// Snapshots being received.
    pub(super) snapshots: AtomicUsize,
    pub(super) complaints: Complaints,
}

impl<E: Env> Exchange<E> {
    pub(super) fn new(env: E, config: PeerConfig, door: Arc<dyn PeerDoor>) -> Self {
        // Never 0, so that it can be told from none.
        let life = env.dice().next_u64() | 1;
        Self {
            env,
            config,
            door,
            life,
            latch: Latch::default(),
            links: Mutex::default(),
            idle: Mutex::new(BTreeMap::new()),
            accepted: AtomicUsize::new(0),
            snapshots: AtomicUsize::new(0),
            complaints: Complaints::default(),
        }
    }

    pub(super) fn now(&self) -> Instant {
        self.env.clock().now()
    }

    /// See [`Complaints::says`]. Not to be asked by whoever holds the links.
    pub(super) fn says(&self, text: &'static str, of: MemberId) -> Option<Option<u64>> {
        self.complaints.says(text, of, self.peer(of).is_some(), self.now())
    }

    /// The two ends of a new connection.
    pub(super) fn ends(&self, stream: <E::Net as Net>::Stream) -> Ends<E> {
        let (reader, writer) = stream.split();
        let clock = self.env.clock();
        let timeout = self.config.read_timeout;
        (Incoming::new(reader, clock.clone(), timeout), Outgoing::new(writer, clock.clone(), timeout))
    }

    /// The link to a member, peer or not.
    pub(super) fn link(&self, member: MemberId) -> Option<Arc<Link>> {
        self.links().get(&member).cloned()
    }

    /// The link to a peer.
    pub(super) fn peer(&self, member: MemberId) -> Option<Arc<Link>> {
        self.link(member).filter(|link| link.is_peer())
    }

    /// A connection to a peer that waits for a question, if there is one.
    pub(super) fn take_idle(&self, member: MemberId) -> Option<IdleLine<E>> {
        self.idle().get_mut(&member).and_then(Vec::pop)
    }

    /// Keeps a connection for the next question, where there are few.
    pub(super) fn keep_idle(&self, member: MemberId, line: IdleLine<E>) {
        // One that was let go meanwhile is asked no more.
        if self.latch.has_fallen() || self.link(member).is_none() {
            return;
        }
        let mut idle = self.idle();
        let lines = idle.entry(member).or_default();
        if lines.len() < self.config.question_lines {
            lines.push(line);
        }
    }

    /// Closes the connections that wait for questions to those who are not kept.
    pub(super) fn drop_idle(&self, keep: impl Fn(MemberId) -> bool) {
        self.idle().retain(|member, _| keep(*member));
    }

    fn idle(&self) -> MutexGuard<'_, BTreeMap<MemberId, Vec<IdleLine<E>>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn links(&self) -> MutexGuard<'_, BTreeMap<MemberId, Arc<Link>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
