//! The simulated network as a host sees it: byte streams between addresses `host:port`; and how a plan disturbs it.
//!
//! What is promised to a stream is what TCP promises: bytes in order and without a gap, or an end, or silence. A writer
//! waits while what it wrote and nobody read fills the buffers. A call that nobody answers is repeated after a second,
//! then after twice as long, as Linux does, and given up in the end. What stands between is said in the heads of
//! `link` and `network`.
//!
//! Invariant: no timer runs but those that a reader, a writer or a caller waits for; a piece that arrives while nobody
//! waits costs none.

use std::future::{Future, poll_fn};
use std::io::{Error, ErrorKind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use quorate::base::Fault;
use quorate::env::{Net, NetListener, NetReader, NetStream, NetWriter};

use super::clock::{Waiting, true_now};
use super::hosts::HostId;
use super::link::LinkMood;
use super::network::{Called, Half, Network};
use super::partition::Cuts;
use super::pipe::{Found, HELD};
use super::trace::{Marks, Trace};

/// A call that is not answered is repeated after a second, then after twice as long, so many times.
const CALLS: u32 = 6;

/// Bytes of a read that go into the trace.
const NOTED: usize = 64;

/// The network, as one life of a host holds it.
#[derive(Clone)]
pub struct SimNet {
    network: Arc<Mutex<Network>>,
    host: HostId,
    life: u64,
}

impl SimNet {
    /// A network without hosts. The handle returned is dead until [`SimNet::boot`] gives one that lives.
    pub fn new(seed: u64, trace: Trace, marks: Marks) -> Self {
        Self { network: Arc::new(Mutex::new(Network::new(seed, trace, marks))), host: 0, life: u64::MAX }
    }

    fn lock(&self) -> MutexGuard<'_, Network> {
        self.network.lock().expect("no holder of the network panics")
    }

    /// The network for the next life of a host; the one before must have ended.
    pub fn boot(&self, host: &str) -> Self {
        let mut network = self.lock();
        let host = network.hosts.host(host);
        let life = network.boot(host, true_now());
        drop(network);
        Self { network: Arc::clone(&self.network), host, life }
    }

    /// A host's process ends, if it has not yet; its system lives on, and answers for it.
    pub fn kill(&self, host: &str) {
        let mut network = self.lock();
        let host = network.hosts.host(host);
        network.kill(host, false, true_now());
    }

    /// A host's machine goes off, and with it the process: nobody is told, and nobody answers.
    pub fn lose_power(&self, host: &str) {
        let mut network = self.lock();
        let host = network.hosts.host(host);
        network.kill(host, true, true_now());
    }

    /// The mood of a link.
    pub fn mood(&self, from: &str, to: &str) -> LinkMood {
        let mut network = self.lock();
        let (from, to) = (network.hosts.host(from), network.hosts.host(to));
        network.hosts.link(from, to).mood()
    }

    /// Changes the mood of a link, a partition aside.
    pub fn set_link(&self, from: &str, to: &str, mood: LinkMood) {
        let mut network = self.lock();
        let (from, to) = (network.hosts.host(from), network.hosts.host(to));
        let severed = network.hosts.link(from, to).is_severed();
        network.change_link(from, to, mood, severed, true_now());
    }

    /// Changes the mood of all links between different hosts, those to come included.
    pub fn set_all_links(&self, mood: LinkMood) {
        self.lock().hosts.set_base(mood);
        self.for_each_link(|_, _, before| (mood, before));
    }

    /// Cuts these links and no others: a partition that stood before ends.
    pub fn partition(&self, cuts: &Cuts) {
        let mut network = self.lock();
        let cuts: Vec<_> = cuts.iter().map(|(from, to)| (network.hosts.host(from), network.hosts.host(to))).collect();
        drop(network);
        self.for_each_link(|link, mood, _| (mood, cuts.contains(&link)));
    }

    /// Ends the partition; moods stay.
    #[cfg(test)]
    pub fn end_partition(&self) {
        self.partition(&Cuts::new());
    }

    /// Ends the partition and calms every link.
    pub fn heal(&self) {
        self.lock().hosts.set_base(LinkMood::calm());
        self.for_each_link(|_, _, _| (LinkMood::calm(), false));
    }

    /// Cuts every connection between two hosts in the middle of whatever is on its way.
    pub fn cut_connections(&self, one: &str, other: &str) {
        let mut network = self.lock();
        let (one, other) = (network.hosts.host(one), network.hosts.host(other));
        network.cut_all(one, other, true_now());
    }

    /// Cuts every connection that a host took from others in the middle of whatever is on its way.
    pub fn cut_taken(&self, by: &str) {
        let mut network = self.lock();
        let by = network.hosts.host(by);
        network.cut_taken(by, true_now());
    }

    /// An address closes by itself: its listener hears of it, calls are refused. Whether it was open.
    pub fn close_listener(&self, address: &str) -> bool {
        self.lock().close(address, true_now())
    }

    /// Whether a packet passes from one host to another, and since when that is so.
    pub fn passes(&self, from: &str, to: &str) -> (bool, Duration) {
        let mut network = self.lock();
        let (from, to) = (network.hosts.host(from), network.hosts.host(to));
        let link = network.hosts.link(from, to);
        (link.passes(), link.since())
    }

    /// When a packet of so many bytes that is sent now arrives; never, if the link does not pass.
    pub fn arrival(&self, from: &str, to: &str, bytes: usize) -> Option<Duration> {
        let mut network = self.lock();
        let (from, to) = (network.hosts.host(from), network.hosts.host(to));
        network.hosts.arrival(from, to, true_now(), bytes)
    }

    /// Whether the link takes no more packets for now, because too many wait for their turn.
    pub fn is_full(&self, from: &str, to: &str) -> bool {
        let mut network = self.lock();
        let (from, to) = (network.hosts.host(from), network.hosts.host(to));
        network.hosts.link(from, to).is_full(true_now())
    }

    /// Whether the life this handle was given for goes on.
    pub fn is_alive(&self) -> bool {
        self.life != u64::MAX && self.lock().hosts.lives(self.host, self.life)
    }

    /// Whether both were given to the same life.
    pub fn is_same_life(&self, other: &Self) -> bool {
        (self.host, self.life) == (other.host, other.life)
    }

    /// The name of the host this handle was given to.
    pub fn host_name(&self) -> String {
        self.lock().hosts.name(self.host).to_string()
    }

    fn for_each_link(&self, change: impl Fn((HostId, HostId), LinkMood, bool) -> (LinkMood, bool)) {
        let mut network = self.lock();
        let count = network.hosts.count();
        for from in 0..count {
            for to in (0..count).filter(|to| *to != from) {
                let link = network.hosts.link(from, to);
                let (mood, severed) = change((from, to), link.mood(), link.is_severed());
                network.change_link(from, to, mood, severed, true_now());
            }
        }
    }

    /// The network, if this life goes on.
    fn alive(&self, doing: &'static str, address: &str) -> Result<MutexGuard<'_, Network>, Fault> {
        let network = self.lock();
        if network.hosts.lives(self.host, self.life) {
            return Ok(network);
        }
        Err(fault(doing, address, ErrorKind::BrokenPipe, "the machine is down"))
    }

    fn stream(&self, number: u64, side: usize) -> SimStream {
        let half = |half| Held { net: self.clone(), number, side, half };
        SimStream {
            reader: SimReader { half: half(Half::Reader), wait: None },
            writer: SimWriter { half: half(Half::Writer), wait: None },
        }
    }

    /// A call begins: when it arrives, if it can, and where.
    fn begin_call(&self, address: &str) -> Result<(Option<Duration>, HostId), Fault> {
        let mut network = self.alive("connect to", address)?;
        let to = network.hosts.host(host_of(address));
        Ok((network.hosts.arrival(self.host, to, true_now(), 0), to))
    }

    /// A call has arrived: what comes of it, and when the answer is back; nothing if there is none.
    fn answer_call(&self, address: &str, to: HostId) -> Result<Option<(Duration, Option<SimStream>)>, Fault> {
        let mut network = self.alive("connect to", address)?;
        let opened = match network.called((self.host, self.life), to, address) {
            Called::Open(number) => Some(self.stream(number, 0)),
            Called::Refused => None,
            Called::Silence => return Ok(None),
        };
        let back = network.hosts.arrival(to, self.host, true_now(), 0);
        Ok(Some((back.expect("an answered call has a way back"), opened)))
    }

    /// One call: there, and back.
    async fn call(&self, address: &str) -> Result<Option<SimStream>, Fault> {
        let (there, to) = self.begin_call(address)?;
        let Some(there) = there else { return Ok(None) };
        Waiting::until(there).await;
        let Some((back, opened)) = self.answer_call(address, to)? else { return Ok(None) };
        Waiting::until(back).await;
        self.alive("connect to", address)?.trace.note("dialled", address.as_bytes());
        opened.map(Some).ok_or_else(|| fault("connect to", address, ErrorKind::ConnectionRefused, "refused"))
    }
}

fn fault(doing: &'static str, address: &str, kind: ErrorKind, what: &'static str) -> Fault {
    Fault::new(doing, address, Error::new(kind, what))
}

fn host_of(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host)
}

/// Where connections come in.
pub struct SimListener {
    net: SimNet,
    number: u64,
    address: String,
}

/// A connection.
pub struct SimStream {
    reader: SimReader,
    writer: SimWriter,
}

/// The half that is read from.
pub struct SimReader {
    half: Held,
    wait: Option<Waiting>,
}

/// The half that is written to.
pub struct SimWriter {
    half: Held,
    wait: Option<Waiting>,
}

/// A half of one end of a connection; dropping it lets go of it.
struct Held {
    net: SimNet,
    number: u64,
    side: usize,
    half: Half,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut network = self.net.lock();
        if network.hosts.lives(self.net.host, self.net.life) {
            network.drop_half(self.number, self.side, self.half, true_now());
        }
    }
}

fn reset(doing: &'static str) -> Fault {
    fault(doing, "a peer", ErrorKind::ConnectionReset, "connection reset by peer")
}

/// Polls a wait for a moment, and keeps it: each poll of a new one would leave a timer behind.
fn poll_until(wait: &mut Option<Waiting>, until: Duration, context: &mut Context<'_>) -> Poll<()> {
    if until == HELD {
        return Poll::Pending;
    }
    if wait.as_ref().is_none_or(|wait| wait.moment() != until) {
        *wait = Some(Waiting::until(until));
    }
    let polled = wait.as_mut().map_or(Poll::Ready(()), |wait| Pin::new(wait).poll(context));
    if polled.is_ready() {
        *wait = None;
    }
    polled
}

impl Net for SimNet {
    type Stream = SimStream;
    type Listener = SimListener;

    async fn listen(&self, address: &str) -> Result<SimListener, Fault> {
        let mut network = self.alive("listen at", address)?;
        if network.hosts.host(host_of(address)) != self.host {
            return Err(fault("listen at", address, ErrorKind::AddrNotAvailable, "not an address of this host"));
        }
        let address = match address.rsplit_once(':') {
            Some((host, "0")) => format!("{host}:{}", network.hosts.fresh_port(self.host)),
            _ => address.to_string(),
        };
        let Some(number) = network.listen(&address, self.host, self.life) else {
            return Err(fault("listen at", &address, ErrorKind::AddrInUse, "address already in use"));
        };
        drop(network);
        Ok(SimListener { net: self.clone(), number, address })
    }

    async fn dial(&self, address: &str) -> Result<SimStream, Fault> {
        for call in 0..CALLS {
            if let Some(stream) = self.call(address).await? {
                return Ok(stream);
            }
            Waiting::until(true_now() + Duration::from_secs(1 << call)).await;
        }
        Err(fault("connect to", address, ErrorKind::TimedOut, "no answer"))
    }
}

impl NetListener for SimListener {
    type Stream = SimStream;

    async fn accept(&mut self) -> Result<(SimStream, String), Fault> {
        let number = poll_fn(|context| {
            let mut network = match self.net.alive("accept at", &self.address) {
                Ok(network) => network,
                Err(dead) => return Poll::Ready(Err(dead)),
            };
            let Some(listening) = network.listening(&self.address, self.number) else {
                return Poll::Ready(Err(fault("accept at", &self.address, ErrorKind::NotConnected, "it is closed")));
            };
            let Some(number) = listening.waiting.pop_front() else {
                listening.acceptor = Some(context.waker().clone());
                return Poll::Pending;
            };
            let caller = network.connection(number).map(|connection| connection.ends[0].address.clone());
            Poll::Ready(Ok((number, caller.unwrap_or_default())))
        });
        let (number, caller) = number.await?;
        Ok((self.net.stream(number, 1), caller))
    }

    fn address(&self) -> String {
        self.address.clone()
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        let mut network = self.net.lock();
        if network.listening(&self.address, self.number).is_some() {
            network.close(&self.address, true_now());
        }
    }
}

impl NetStream for SimStream {
    type Reader = SimReader;
    type Writer = SimWriter;

    fn split(self) -> (SimReader, SimWriter) {
        (self.reader, self.writer)
    }
}

impl SimReader {
    fn poll_read(&mut self, buf: &mut [u8], context: &mut Context<'_>) -> Poll<Result<usize, Fault>> {
        let Self { half: Held { net, number, side, .. }, wait } = self;
        loop {
            let mut network = match net.alive("read from", "a peer") {
                Ok(network) => network,
                Err(dead) => return Poll::Ready(Err(dead)),
            };
            let now = true_now();
            let Some(connection) = network.connection(*number) else { return Poll::Ready(Err(reset("read from"))) };
            // What arrived before the reset can still be read.
            let reset_at = connection.ends[*side].reset_at.unwrap_or(HELD);
            let until = match network.read(*number, *side, now.min(reset_at), buf) {
                Some(Found::Bytes(done)) => {
                    network.trace.note("read", &buf[..done.min(NOTED)]);
                    return Poll::Ready(Ok(done));
                }
                Some(Found::NothingUntil(at)) if reset_at > now => at.min(reset_at),
                Some(Found::NothingUntil(_)) | None => return Poll::Ready(Err(reset("read from"))),
            };
            let Some(connection) = network.connection(*number) else { return Poll::Ready(Err(reset("read from"))) };
            let pipe = &mut connection.pipes[1 - *side];
            pipe.reader = Some(context.waker().clone());
            drop(network);
            if poll_until(wait, until, context).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl NetReader for SimReader {
    fn read(&mut self, buf: &mut [u8]) -> impl Future<Output = Result<usize, Fault>> + Send {
        poll_fn(move |context| self.poll_read(buf, context))
    }
}

impl SimWriter {
    /// Writes what there is room for, more than nothing.
    fn poll_write(&mut self, data: &[u8], context: &mut Context<'_>) -> Poll<Result<usize, Fault>> {
        let Self { half: Held { net, number, side, .. }, wait } = self;
        loop {
            let mut network = match net.alive("write to", "a peer") {
                Ok(network) => network,
                Err(dead) => return Poll::Ready(Err(dead)),
            };
            let now = true_now();
            let Some(connection) = network.connection(*number) else { return Poll::Ready(Err(reset("write to"))) };
            let reset_at = connection.ends[*side].reset_at.unwrap_or(HELD);
            let pipe = &mut connection.pipes[*side];
            if reset_at <= now || pipe.is_finished() {
                return Poll::Ready(Err(reset("write to")));
            }
            let room = pipe.room().min(data.len());
            if room > 0 {
                network.send(*number, *side, &data[..room], now);
                return Poll::Ready(Ok(room));
            }
            pipe.writer = Some(context.waker().clone());
            drop(network);
            if poll_until(wait, reset_at, context).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl NetWriter for SimWriter {
    async fn write(&mut self, data: &[u8]) -> Result<(), Fault> {
        let mut done = 0;
        while done < data.len() {
            done += poll_fn(|context| self.poll_write(&data[done..], context)).await?;
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), Fault> {
        let half = &self.half;
        half.net.alive("close", "a peer")?.finish(half.number, half.side, true_now());
        Ok(())
    }
}
