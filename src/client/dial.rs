//! The way to one endpoint: connections to it, made when a channel needs one or ahead of that.
//!
//! Invariants: a connection counts as made once its server has greeted, encrypted where that is asked for; what fails before that was
//! never sent, so it may be sent elsewhere. At most one is made ahead, and it waits for the channel. Does not know what is asked.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};
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

/// See the module's head.
pub struct Way {
    target: Target,
    /// How it is encrypted, and the name that the server must have; `None` where it is not.
    seal: Option<(Arc<Connector>, String)>,
    /// Longest wait for a connection, without the greeting.
    patience: Duration,
    last_word: LastWord,
    /// The one that was made ahead.
    ahead: Mutex<Option<Made>>,
    /// One is made ahead at a time.
    making: tokio::sync::Mutex<()>,
    /// Each connection that was made holds it, too.
    alive: Arc<()>,
}

impl Way {
    /// To `target`.
    pub fn new(target: Target, seal: Option<(Arc<Connector>, String)>, patience: Duration) -> Self {
        let (last_word, ahead, making, alive) = Default::default();
        Self { target, seal, patience, last_word, ahead, making, alive }
    }

    /// What the server said that would not have a connection.
    pub fn last_word(&self) -> &LastWord {
        &self.last_word
    }

    /// Whether there is a connection, as far as is known.
    pub fn is_open(&self) -> bool {
        Arc::strong_count(&self.alive) > 1
    }

    /// Makes a connection for the channel to take, where there is none.
    ///
    /// # Errors
    /// Nobody is there, or has greeted in time.
    pub async fn make_ahead(&self) -> io::Result<()> {
        let _one_at_a_time = self.making.lock().await;
        if !self.is_open() {
            let made = self.make().await?;
            *self.ahead() = Some(made);
        }
        Ok(())
    }

    fn ahead(&self) -> std::sync::MutexGuard<'_, Option<Made>> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn make(&self) -> io::Result<Made> {
        let line = in_time(self.patience, self.line()).await?;
        // Whoever stood still when it was greeted may go on.
        in_time(self.patience.max(USUAL_PATIENCE), greet(line, &self.alive)).await
    }

    async fn line(&self) -> io::Result<Box<dyn Line>> {
        let mut line: Box<dyn Line> = match &self.target {
            Target::Net(address) => {
                let stream = TcpStream::connect(address).await?;
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
}

async fn in_time<T>(patience: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let done = timeout(patience, work).await;
    done.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, NO_ANSWER)))
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
            let ahead = way.ahead().take();
            let made = match ahead {
                Some(made) => Ok(made),
                None => way.make().await,
            };
            made.map(TokioIo::new).map_err(|error| ConnectError(Box::new(error)))
        })
    }
}
