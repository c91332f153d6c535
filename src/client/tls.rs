//! Encrypted connections: how one is made of another where an endpoint asks for encryption.
//!
//! Invariants: a server is greeted by the name its endpoint has. A server may refuse a certificate after the handshake: what it says then
//! is kept, for those who write may see no more than that the connection is gone.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::tls::{ClientStream, Connector, go_text};

/// Bytes of any connection.
pub trait Line: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Line for S {}

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
pub struct Heard {
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

/// Encrypts a connection to `host`, which the server must be.
///
/// # Errors
/// The handshake's, in the words of etcd's client.
pub async fn sealed(connector: &Connector, host: &str, line: Box<dyn Line>, last_word: LastWord) -> io::Result<Heard> {
    let stream = connector.connect(line, host).await;
    let stream = stream.map_err(|error| {
        io::Error::other(format!("transport: authentication handshake failed: {}", go_text(&error)))
    })?;
    Ok(Heard { stream, last_word })
}
