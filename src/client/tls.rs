//! Encrypted channels: how the client library dials where an endpoint asks for encryption.
//!
//! Invariants: a server is greeted by the name its endpoint has. A failed handshake counts as a connection that was never
//! made, so whatever was to be sent may be sent elsewhere. A server may refuse a certificate after the handshake: what it says then
//! is kept, for those who write may see no more than that the connection is gone.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tonic::ConnectError;
use tower_service::Service;

use crate::tls::{ClientStream, Connector, go_text};

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

/// What a server said when it would not have a connection, until it answers on another.
#[derive(Clone, Debug, Default)]
pub struct LastWord(Arc<Mutex<Option<String>>>);

impl LastWord {
    fn keep(&self, text: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
    }

    /// It, if there is one.
    pub fn told(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The server has answered.
    pub fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// An encrypted connection whose end is listened to.
struct Heard {
    stream: ClientStream<Box<dyn Line>>,
    last_word: LastWord,
}

impl AsyncRead for Heard {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let read = ready!(Pin::new(&mut this.stream).poll_read(cx, buf));
        Poll::Ready(read.map_err(|error| {
            let text = go_text(&error);
            if !text.starts_with("remote error: ") {
                return error;
            }
            let text = format!("error reading server preface: {text}");
            this.last_word.keep(text.clone());
            io::Error::other(text)
        }))
    }
}

impl AsyncWrite for Heard {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Dials one endpoint.
#[derive(Clone, Debug)]
pub struct Dial {
    connector: Arc<Connector>,
    last_word: LastWord,
    target: Target,
    /// The name that the server must have.
    host: String,
}

impl Dial {
    /// To `target`, whose server is `host`.
    pub fn new(connector: Arc<Connector>, target: Target, host: String, last_word: LastWord) -> Self {
        Self { connector, last_word, target, host }
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
        Ok(TokioIo::new(Box::new(Heard { stream: sealed, last_word: self.last_word })))
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
