//! Encrypted channels: how the client library dials where an endpoint asks for encryption.
//!
//! Invariant: a server is greeted by the name its endpoint has. A failed handshake counts as a connection that was never
//! made, so whatever was to be sent may be sent elsewhere.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tonic::ConnectError;
use tower_service::Service;

use crate::tls::{Connector, go_text};

/// Bytes of any connection.
pub trait Line: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Line for S {}

/// Where an encrypted endpoint is.
#[derive(Clone, Debug)]
pub enum Target {
    /// `host:port`.
    Net(String),
    /// A socket's path.
    File(String),
}

/// Dials one endpoint.
#[derive(Clone, Debug)]
pub struct Dial {
    connector: Arc<Connector>,
    target: Target,
    /// The name that the server must have.
    host: String,
}

impl Dial {
    /// To `target`, whose server is `host`.
    pub fn new(connector: Arc<Connector>, target: Target, host: String) -> Self {
        Self { connector, target, host }
    }

    async fn dial(self) -> io::Result<TokioIo<Box<dyn Line>>> {
        let line: Box<dyn Line> = match &self.target {
            Target::Net(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Target::File(path) => Box::new(UnixStream::connect(path).await?),
        };
        let sealed = self.connector.connect(line, &self.host).await;
        let sealed = sealed.map_err(|error| {
            io::Error::other(format!("transport: authentication handshake failed: {}", go_text(&error)))
        })?;
        Ok(TokioIo::new(Box::new(sealed)))
    }
}

impl Service<Uri> for Dial {
    type Response = TokioIo<Box<dyn Line>>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let dial = self.clone();
        Box::pin(async move { dial.dial().await.map_err(|error| ConnectError(Box::new(error))) })
    }
}
