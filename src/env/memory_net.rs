//! A network in memory, for tests: bounded pipes between named hosts, and the faults that a test asks for.
//!
//! Invariants: bytes arrive in order and without a gap, or the stream ends; a pipe holds a bounded number of bytes, and a
//! writer waits. Every handle belongs to a host; an address is `host:port`. Knows no time: nothing is late, and what is
//! swallowed stays so.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::poll_fn;
use std::io::{Error, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::seam::{Net, NetListener, NetReader, NetStream, NetWriter};
use crate::base::Fault;

/// Bytes a pipe holds before a writer waits, as a socket's buffers do.
const PIPE_BYTES: usize = 64 * 1024;

/// Connections that wait to be taken in.
const BACKLOG: usize = 128;

/// The network as one host has it. Clones are the same host.
#[derive(Clone)]
pub struct MemoryNet {
    host: String,
    world: Arc<Mutex<World>>,
}

#[derive(Default)]
struct World {
    listeners: BTreeMap<String, Arc<Mutex<Backlog>>>,
    next_port: u16,
    /// From whom to whom nothing comes through, and nobody is told.
    swallowed: BTreeSet<(String, String)>,
    /// Every pipe that has ever been, while one of its ends lives: who writes, who reads.
    pipes: Vec<(String, String, std::sync::Weak<Mutex<Pipe>>)>,
    /// Those who wait for the world to change.
    waiting: Vec<Waker>,
}

#[derive(Default)]
struct Backlog {
    streams: VecDeque<(MemoryStream, String)>,
    taker: Option<Waker>,
    closed: bool,
}

#[derive(Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    /// The writer has finished.
    finished: bool,
    /// The reader is gone.
    unread: bool,
    reset: bool,
    /// What is written is lost, and the reader hears nothing more.
    swallowed: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// An open address.
pub struct MemoryListener {
    address: String,
    world: Arc<Mutex<World>>,
    backlog: Arc<Mutex<Backlog>>,
}

/// A connection.
pub struct MemoryStream {
    reader: MemoryReader,
    writer: MemoryWriter,
}

/// The half that is read from.
pub struct MemoryReader(Arc<Mutex<Pipe>>);

/// The half that is written to.
pub struct MemoryWriter(Arc<Mutex<Pipe>>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn host_of(address: &str) -> String {
    address.rsplit_once(':').map_or(address, |(host, _)| host).to_string()
}

impl Pipe {
    fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }
}

impl MemoryNet {
    /// A new network, as this host has it.
    pub fn new(host: &str) -> Self {
        Self { host: host.to_string(), world: Arc::default() }
    }

    /// The same network, as another host has it.
    pub fn at(&self, host: &str) -> Self {
        Self { host: host.to_string(), world: self.world.clone() }
    }

    /// Ends every connection between two hosts with an error at both ends, whatever is on its way.
    pub fn reset(&self, one: &str, other: &str) {
        self.each_pipe(one, other, |pipe| pipe.reset = true);
        self.each_pipe(other, one, |pipe| pipe.reset = true);
    }

    /// From now on nothing comes from one host to another, and neither is told; connecting waits for ever.
    pub fn swallow(&self, from: &str, to: &str) {
        lock(&self.world).swallowed.insert((from.to_string(), to.to_string()));
        self.each_pipe(from, to, |pipe| pipe.swallowed = true);
    }

    /// Both ways.
    pub fn cut(&self, one: &str, other: &str) {
        self.swallow(one, other);
        self.swallow(other, one);
    }

    /// New connections work again. Those that lost something stay dead, as TCP's might not: it would send again.
    pub fn heal(&self) {
        let waiting = {
            let mut world = lock(&self.world);
            world.swallowed.clear();
            std::mem::take(&mut world.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    fn each_pipe(&self, from: &str, to: &str, change: impl Fn(&mut Pipe)) {
        let pipes: Vec<_> = {
            let mut world = lock(&self.world);
            world.pipes.retain(|(_, _, pipe)| pipe.strong_count() > 0);
            let between = world.pipes.iter().filter(|(writer, reader, _)| writer == from && reader == to);
            between.filter_map(|(_, _, pipe)| pipe.upgrade()).collect()
        };
        for pipe in pipes {
            let mut pipe = lock(&pipe);
            change(&mut pipe);
            pipe.wake();
        }
    }

    fn fault(doing: &'static str, address: &str, kind: ErrorKind) -> Fault {
        Fault::new(doing, address, Error::from(kind))
    }

    /// The two ends of a new connection, or why there is none; pending while what is asked for is swallowed.
    fn poll_dial(&self, cx: &Context<'_>, address: &str) -> Poll<Result<MemoryStream, Fault>> {
        let refused = || Poll::Ready(Err(Self::fault("connect to", address, ErrorKind::ConnectionRefused)));
        let to = host_of(address);
        let mut world = lock(&self.world);
        let ways = [(self.host.clone(), to.clone()), (to.clone(), self.host.clone())];
        if ways.iter().any(|way| world.swallowed.contains(way)) {
            world.waiting.push(cx.waker().clone());
            return Poll::Pending;
        }
        let Some(backlog) = world.listeners.get(address).cloned() else { return refused() };
        let [there, back] = ways.map(|(writer, reader)| {
            let pipe = Arc::new(Mutex::new(Pipe::default()));
            world.pipes.push((writer, reader, Arc::downgrade(&pipe)));
            pipe
        });
        let own = MemoryStream { reader: MemoryReader(back.clone()), writer: MemoryWriter(there.clone()) };
        let theirs = MemoryStream { reader: MemoryReader(there), writer: MemoryWriter(back) };
        let mut backlog = lock(&backlog);
        if backlog.closed || backlog.streams.len() >= BACKLOG {
            return refused();
        }
        backlog.streams.push_back((theirs, format!("{}:0", self.host)));
        if let Some(taker) = backlog.taker.take() {
            taker.wake();
        }
        Poll::Ready(Ok(own))
    }
}

impl Net for MemoryNet {
    type Stream = MemoryStream;
    type Listener = MemoryListener;

    async fn listen(&self, address: &str) -> Result<MemoryListener, Fault> {
        let mut world = lock(&self.world);
        let address = match address.strip_suffix(":0") {
            Some(host) => {
                world.next_port += 1;
                format!("{host}:{}", 20_000 + world.next_port)
            }
            None => address.to_string(),
        };
        if world.listeners.contains_key(&address) {
            return Err(Self::fault("listen at", &address, ErrorKind::AddrInUse));
        }
        let backlog = Arc::new(Mutex::new(Backlog::default()));
        world.listeners.insert(address.clone(), backlog.clone());
        Ok(MemoryListener { address, world: self.world.clone(), backlog })
    }

    async fn dial(&self, address: &str) -> Result<MemoryStream, Fault> {
        poll_fn(|cx| self.poll_dial(cx, address)).await
    }
}

impl NetListener for MemoryListener {
    type Stream = MemoryStream;

    async fn accept(&mut self) -> Result<(MemoryStream, String), Fault> {
        poll_fn(|cx| {
            let mut backlog = lock(&self.backlog);
            match backlog.streams.pop_front() {
                Some(stream) => Poll::Ready(Ok(stream)),
                None => {
                    backlog.taker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    fn address(&self) -> String {
        self.address.clone()
    }
}

impl Drop for MemoryListener {
    fn drop(&mut self) {
        lock(&self.world).listeners.remove(&self.address);
        let waiting = {
            let mut backlog = lock(&self.backlog);
            backlog.closed = true;
            std::mem::take(&mut backlog.streams)
        };
        // Those who were not taken in see their connections end.
        drop(waiting);
    }
}

impl NetStream for MemoryStream {
    type Reader = MemoryReader;
    type Writer = MemoryWriter;

    fn split(self) -> (MemoryReader, MemoryWriter) {
        (self.reader, self.writer)
    }
}

impl NetReader for MemoryReader {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Fault> {
        poll_fn(|cx| {
            let mut pipe = lock(&self.0);
            if pipe.reset {
                return Poll::Ready(Err(MemoryNet::fault("read from", "a peer", ErrorKind::ConnectionReset)));
            }
            if pipe.swallowed || (pipe.bytes.is_empty() && !pipe.finished) {
                pipe.reader = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let n = pipe.bytes.len().min(buf.len());
            for (to, from) in buf.iter_mut().zip(pipe.bytes.drain(..n)) {
                *to = from;
            }
            if let Some(writer) = pipe.writer.take() {
                writer.wake();
            }
            Poll::Ready(Ok(n))
        })
        .await
    }
}

impl NetWriter for MemoryWriter {
    async fn write(&mut self, data: &[u8]) -> Result<(), Fault> {
        let mut written = 0;
        poll_fn(|cx| {
            let mut pipe = lock(&self.0);
            if pipe.reset || pipe.finished {
                return Poll::Ready(Err(MemoryNet::fault("write to", "a peer", ErrorKind::ConnectionReset)));
            }
            if pipe.unread && !pipe.swallowed {
                return Poll::Ready(Err(MemoryNet::fault("write to", "a peer", ErrorKind::BrokenPipe)));
            }
            let n = (data.len() - written).min(PIPE_BYTES - pipe.bytes.len());
            pipe.bytes.extend(&data[written..written + n]);
            written += n;
            if n > 0
                && let Some(reader) = pipe.reader.take()
            {
                reader.wake();
            }
            if written == data.len() {
                return Poll::Ready(Ok(()));
            }
            pipe.writer = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    async fn finish(&mut self) -> Result<(), Fault> {
        let mut pipe = lock(&self.0);
        pipe.finished = true;
        pipe.wake();
        Ok(())
    }
}

impl Drop for MemoryReader {
    fn drop(&mut self) {
        let mut pipe = lock(&self.0);
        pipe.unread = true;
        pipe.bytes.clear();
        pipe.wake();
    }
}

impl Drop for MemoryWriter {
    fn drop(&mut self) {
        let mut pipe = lock(&self.0);
        pipe.finished = true;
        pipe.wake();
    }
}
