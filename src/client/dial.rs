//! The way to one endpoint: connections to it, made when a channel needs one or ahead of that.
//!
//! Invariants: a connection counts as made once its server has greeted, encrypted where that is asked for; what fails before that was
//! never sent, so it may be sent elsewhere. There is one dial at a time, whose outcome all who wait for it share, and at most one connection
//! that waits for the channel; it is looked at before it counts. Does not know what is asked.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::Shared;
use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tonic::ConnectError;
use tower_service::Service;

use super::greeting::{Greeted, greet};
use super::silence::NO_ANSWER;
use super::tls::{LastWord, Line, sealed};
use crate::tls::Connector;

/// What is waited for a connection, or for the answer to a ping, where nothing is named; for a greeting at least.
pub const USUAL_PATIENCE: Duration = Duration::from_secs(20);

/// Where an endpoint is.
#[derive(Clone, Debug)]
pub enum Target {
    /// `host:port`.
    Net(String),
    /// A socket's path.
    File(String),
}

type Made = Greeted<Box<dyn Line>>;

/// What comes of a dial, for all who wait for it.
type Outcome = Shared<oneshot::Receiver<Result<(), Arc<io::Error>>>>;

/// See the module's head.
pub struct Way {
    target: Target,
    /// How it is encrypted, and the name that the server must have; `None` where it is not.
    seal: Option<(Arc<Connector>, String)>,
    /// Longest wait for a connection, without the greeting.
    patience: Duration,
    last_word: LastWord,
    /// Where connections are made, and live: not where somebody happens to ask.
    runtime: Handle,
    /// The one that waits for the channel.
    ahead: Mutex<Option<Made>>,
    /// The dial under way.
    dialing: Mutex<Option<Outcome>>,
    /// Each connection that was made holds it, too: so they are counted.
    alive: Arc<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn no_answer() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, NO_ANSWER)
}

impl Way {
    /// To `target`. To be called inside the runtime that its connections live in.
    pub fn new(target: Target, seal: Option<(Arc<Connector>, String)>, patience: Duration) -> Self {
        let (last_word, ahead, dialing, alive) = Default::default();
        Self { target, seal, patience, last_word, runtime: Handle::current(), ahead, dialing, alive }
    }

    /// What the server said that would not have a connection.
    pub fn last_word(&self) -> &LastWord {
        &self.last_word
    }

    /// Whether there is a connection, as far as is known.
    pub fn is_open(&self) -> bool {
        let mut ahead = lock(&self.ahead);
        if ahead.as_mut().is_some_and(|made| !made.is_there()) {
            *ahead = None;
        }
        drop(ahead);
        Arc::strong_count(&self.alive) > 1
    }

    /// Makes a connection for the channel to take, where there is none. The dial goes on when nobody waits for it any more.
    ///
    /// # Errors
    /// Nobody is there, or has greeted in time.
    pub async fn make_ahead(self: &Arc<Self>) -> io::Result<()> {
        if self.is_open() { Ok(()) } else { self.dialed().await }
    }

    async fn dialed(self: &Arc<Self>) -> io::Result<()> {
        match self.dial().await {
            Ok(made) => made.map_err(|error| io::Error::new(error.kind(), error.to_string())),
            Err(_) => Err(no_answer()),
        }
    }

    /// The dial under way, or a new one.
    fn dial(self: &Arc<Self>) -> Outcome {
        let mut dialing = lock(&self.dialing);
        if let Some(outcome) = dialing.as_ref().filter(|outcome| outcome.peek().is_none()) {
            return outcome.clone();
        }
        let (tell, told) = oneshot::channel();
        let way = Arc::clone(self);
        self.runtime.spawn(async move {
            let made = way.make().await;
            let outcome = made.map(|made| *lock(&way.ahead) = Some(made)).map_err(Arc::new);
            *lock(&way.dialing) = None;
            // Nobody may wait any more.
            let _ = tell.send(outcome);
        });
        dialing.insert(told.shared()).clone()
    }

    /// The connection that waits for the channel, if its server holds it still.
    fn take(&self) -> Option<Made> {
        let mut made = lock(&self.ahead).take()?;
        made.is_there().then_some(made)
    }

    async fn make(&self) -> io::Result<Made> {
        let line = in_time(self.patience, self.line()).await?;
        // Whoever stood still when it was greeted may go on.
        in_time(self.patience.max(USUAL_PATIENCE), greet(line, &self.alive)).await
    }

    async fn line(&self) -> io::Result<Box<dyn Line>> {
        let mut line: Box<dyn Line> = match &self.target {
            Target::Net(address) => {
                let stream = self.connected(address).await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Target::File(path) => Box::new(UnixStream::connect(path).await?),
        };
        if let Some((connector, host)) = &self.seal {
            line = Box::new(sealed(connector, host, line, self.last_word.clone()).await?);
        }
        Ok(line)
    }

    /// To one of the addresses that a name has: each has its share of the time, for behind one there may be nothing at all.
    async fn connected(&self, name: &str) -> io::Result<TcpStream> {
        let addresses: Vec<_> = lookup_host(name).await?.collect();
        let share = self.patience / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
        let mut last = no_answer();
        for address in addresses {
            match in_time(share, TcpStream::connect(address)).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

async fn in_time<T>(patience: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let done = timeout(patience, work).await;
    done.unwrap_or_else(|_| Err(no_answer()))
}

impl std::fmt::Debug for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Way").field("target", &self.target).finish_non_exhaustive()
    }
}

/// What a channel connects by.
#[derive(Clone, Debug)]
pub struct Dial(pub Arc<Way>);

impl Service<Uri> for Dial {
    type Response = TokioIo<Greeted<Box<dyn Line>>>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let way = self.0.clone();
        Box::pin(async move {
            if let Some(made) = way.take() {
                return Ok(TokioIo::new(made));
            }
            let dialed = way.dialed().await;
            let made = dialed.and_then(|()| way.take().ok_or_else(no_answer));
            made.map(TokioIo::new).map_err(|error| ConnectError(Box::new(error)))
        })
    }
}
