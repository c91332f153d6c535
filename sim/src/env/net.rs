//! The simulated network as a host sees it: byte streams between addresses `host:port`.
//!
//! What is promised to a stream is what TCP promises: bytes in order and without a gap, or an end. A writer waits while
//! what it wrote and nobody read fills the buffers.

use std::future::{Future, poll_fn};
use std::io::{Error, ErrorKind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use quorate::base::Fault;
use quorate::env::{Net, NetListener, NetReader, NetStream, NetWriter};

use super::clock::{Waiting, true_now};
use super::network::{Dialled, Half, HostId, Network};
use super::pipe::Found;
use super::trace::{Marks, Trace};

/// A call that is not answered is repeated after a second, then after twice as long, so many times.
const CALLS: u32 = 6;

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
        let host = network.host(host);
        let life = network.boot(host);
        drop(network);
        Self { network: Arc::clone(&self.network), host, life }
    }

    /// A host's process ends, if it has not yet.
    pub fn kill(&self, host: &str) {
        let mut network = self.lock();
        let host = network.host(host);
        network.kill(host, true_now());
    }

    /// The network, if this life goes on.
    fn alive(&self, doing: &'static str, address: &str) -> Result<MutexGuard<'_, Network>, Fault> {
        let network = self.lock();
        if network.lives(self.host, self.life) {
            return Ok(network);
        }
        Err(fault(doing, address, ErrorKind::BrokenPipe, "the machine is down"))
    }

    fn stream(&self, number: u64, side: usize) -> SimStream {
        let half = |half| HalfOpen { net: self.clone(), number, side, half };
        SimStream {
            reader: SimReader { half: half(Half::Reader), wait: None },
            writer: SimWriter { half: half(Half::Writer), wait: None },
        }
    }

    /// A call begins: when it arrives, and where.
    fn begin_call(&self, address: &str) -> Result<(Duration, HostId), Fault> {
        let mut network = self.alive("connect to", address)?;
        let to = network.host(host_of(address));
        Ok((network.arrival(self.host, to, true_now()), to))
    }

    /// A call has arrived: what comes of it, and when the answer is back; nothing if there is none.
    fn answer_call(&self, address: &str, to: HostId) -> Result<Option<(Duration, Option<SimStream>)>, Fault> {
        let mut network = self.alive("connect to", address)?;
        let opened = match network.connect((self.host, self.life), address) {
            Dialled::Open(number) => Some(self.stream(number, 0)),
            Dialled::Refused => None,
            Dialled::Silence => return Ok(None),
        };
        let back = network.arrival(to, self.host, true_now());
        Ok(Some((back, opened)))
    }

    /// One call: there, and back.
    async fn call(&self, address: &str) -> Result<Option<SimStream>, Fault> {
        let (there, to) = self.begin_call(address)?;
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
    address: String,
}

/// A connection.
pub struct SimStream {
    reader: SimReader,
    writer: SimWriter,
}

/// The half that is read from.
pub struct SimReader {
    half: HalfOpen,
    wait: Option<Waiting>,
}

/// The half that is written to.
pub struct SimWriter {
    half: HalfOpen,
    wait: Option<Waiting>,
}

/// A half of one end of a connection; dropping it lets go of it.
struct HalfOpen {
    net: SimNet,
    number: u64,
    side: usize,
    half: Half,
}

impl Drop for HalfOpen {
    fn drop(&mut self) {
        let mut network = self.net.lock();
        if network.lives(self.net.host, self.net.life) {
            network.drop_half(self.number, self.side, self.half, true_now());
        }
    }
}

fn reset(doing: &'static str) -> Fault {
    fault(doing, "a peer", ErrorKind::ConnectionReset, "connection reset by peer")
}

/// Polls a wait for a moment, and keeps it: each poll of a new one would leave a timer behind.
fn poll_until(wait: &mut Option<Waiting>, until: Duration, context: &mut Context<'_>) -> Poll<()> {
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
        if network.host(host_of(address)) != self.host {
            return Err(fault("listen at", address, ErrorKind::AddrNotAvailable, "not an address of this host"));
        }
        let address = match address.rsplit_once(':') {
            Some((host, "0")) => format!("{host}:{}", network.fresh_port(self.host)),
            _ => address.to_string(),
        };
        if !network.listen(&address, self.host, self.life) {
            return Err(fault("listen at", &address, ErrorKind::AddrInUse, "address already in use"));
        }
        drop(network);
        Ok(SimListener { net: self.clone(), address })
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
            let Some(listening) = network.listening(&self.address, self.net.host, self.net.life) else {
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
        self.net.lock().close(&self.address, self.net.host, self.net.life, true_now());
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
        let Self { half: HalfOpen { net, number, side, .. }, wait } = self;
        loop {
            let mut network = match net.alive("read from", "a peer") {
                Ok(network) => network,
                Err(dead) => return Poll::Ready(Err(dead)),
            };
            let now = true_now();
            let Some(connection) = network.connection(*number) else { return Poll::Ready(Err(reset("read from"))) };
            let reset_at = connection.ends[*side].reset_at;
            if reset_at.is_some_and(|at| at <= now) {
                return Poll::Ready(Err(reset("read from")));
            }
            let pipe = &mut connection.pipes[1 - *side];
            let until = match pipe.read(now, buf) {
                Found::Bytes(done) => {
                    network.trace.note("read", &buf[..done.min(64)]);
                    return Poll::Ready(Ok(done));
                }
                Found::NothingUntil(at) => Some(reset_at.map_or(at, |reset_at| reset_at.min(at))),
                Found::Nothing => reset_at,
            };
            pipe.reader = Some(context.waker().clone());
            drop(network);
            match until.map(|until| poll_until(wait, until, context)) {
                Some(Poll::Ready(())) => {}
                Some(Poll::Pending) | None => return Poll::Pending,
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
        let Self { half: HalfOpen { net, number, side, .. }, wait } = self;
        loop {
            let mut network = match net.alive("write to", "a peer") {
                Ok(network) => network,
                Err(dead) => return Poll::Ready(Err(dead)),
            };
            let now = true_now();
            let Some(connection) = network.connection(*number) else { return Poll::Ready(Err(reset("write to"))) };
            let reset_at = connection.ends[*side].reset_at;
            let pipe = &mut connection.pipes[*side];
            if reset_at.is_some_and(|at| at <= now) || pipe.is_finished() {
                return Poll::Ready(Err(reset("write to")));
            }
            let room = pipe.room().min(data.len());
            if room > 0 {
                network.send(*number, *side, &data[..room], now);
                return Poll::Ready(Ok(room));
            }
            pipe.writer = Some(context.waker().clone());
            drop(network);
            match reset_at.map(|until| poll_until(wait, until, context)) {
                Some(Poll::Ready(())) => {}
                Some(Poll::Pending) | None => return Poll::Pending,
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
