//! Where clients reach the server: an address of the network, or a socket in the file system.
//!
//! Invariant: a burst of clients finds room in the queue of those that wait to be accepted. Does not know what is served.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::RecvFlags;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use crate::base::limits;
use crate::env::{FileSocket, listen_at, plain_address};
use crate::tls::{FIRST_BYTE, ServerStream};

/// How long a connection rests before it is asked for a sign of life, and how long the next question waits, as etcd's.
const DEAD_AFTER: Duration = Duration::from_secs(30);

/// Where to listen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// An address of the network.
    Net(SocketAddr),
    /// A socket in the file system.
    File(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Net(address) => address.fmt(f),
            Self::File(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A place to listen at, as a URL names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listen {
    /// The URL.
    pub url: String,
    /// Its host.
    pub host: String,
    /// Where.
    pub place: Place,
    /// Whether connections are encrypted.
    pub sealed: bool,
}

/// Where others come in.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "the fields are the flags")]
pub struct Listening {
    pub clients: Vec<Listen>,
    /// Where there are any, HTTP is served here alone, and gRPC above alone.
    pub http: Vec<Listen>,
    pub metrics: Vec<Listen>,
    pub peers: Vec<Listen>,
}

/// A socket that listens.
#[derive(Debug)]
pub enum Socket {
    /// On the network.
    Net(TcpListener),
    /// In the file system.
    File(FileSocket),
}

impl Socket {
    /// Takes a place. Where ports are shared, others that share them may have it, too.
    ///
    /// # Errors
    /// Somebody else has it, or it cannot be had.
    pub fn bind(place: &Place, shares_port: bool) -> io::Result<Self> {
        match place {
            Place::Net(address) => listen_at(*address, shares_port).map(Self::Net),
            Place::File(path) => FileSocket::bind(path).map(Self::File),
        }
    }

    /// Where it listens: the port, too, where any was asked for.
    pub fn place(&self) -> io::Result<Place> {
        match self {
            Self::Net(socket) => socket.local_addr().map(Place::Net),
            Self::File(socket) => Ok(Place::File(socket.path().to_path_buf())),
        }
    }

    /// The next connection.
    pub async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Net(socket) => {
                let (stream, _) = socket.accept().await?;
                // A failure of these shows again, and is told, at the first read or write.
                let _ = stream.set_nodelay(true);
                // A client whose machine is gone keeps no place: over HTTP/1.1 nothing else would tell.
                let kept = socket2::TcpKeepalive::new().with_time(DEAD_AFTER).with_interval(DEAD_AFTER);
                let _ = socket2::SockRef::from(&stream).set_tcp_keepalive(&kept);
                #[cfg(target_os = "linux")]
                let _ = socket2::SockRef::from(&stream).set_tcp_notsent_lowat(limits::UNSENT_BYTES);
                Ok(Stream::Net(stream))
            }
            Self::File(socket) => socket.accept().await.map(Stream::File),
        }
    }
}

/// A connection.
#[derive(Debug)]
pub enum Stream {
    /// Over the network.
    Net(TcpStream),
    /// Within the machine.
    File(UnixStream),
    /// Either, encrypted.
    Sealed(Box<ServerStream<Stream>>),
}

impl Stream {
    /// Where the other end is, on the network.
    pub fn from(&self) -> Option<SocketAddr> {
        match self {
            Self::Net(stream) => stream.peer_addr().ok().map(plain_address),
            Self::File(_) => None,
            Self::Sealed(stream) => stream.get_ref().0.from(),
        }
    }

    /// Where this end is, on the network.
    pub fn at(&self) -> Option<SocketAddr> {
        match self {
            Self::Net(stream) => stream.local_addr().ok().map(plain_address),
            Self::File(_) => None,
            Self::Sealed(stream) => stream.get_ref().0.at(),
        }
    }

    /// Whether the other end begins as one of TLS does; waits for its first byte, and leaves it. One that goes away before
    /// does.
    pub async fn begins_sealed(&self) -> io::Result<bool> {
        let mut first = [0_u8];
        let length = match self {
            Self::Net(stream) => stream.async_io(Interest::READABLE, || peek(stream, &mut first)).await?,
            Self::File(stream) => stream.async_io(Interest::READABLE, || peek(stream, &mut first)).await?,
            Self::Sealed(_) => return Ok(false),
        };
        Ok(length == 0 || first[0] == FIRST_BYTE)
    }
}

fn peek(socket: impl AsFd, buf: &mut [u8]) -> io::Result<usize> {
    Ok(rustix::net::recv(socket, buf, RecvFlags::PEEK)?.0)
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Net(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::File(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Sealed(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Net(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::File(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Sealed(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Net(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::File(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Sealed(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Net(stream) => Pin::new(stream).poll_flush(cx),
            Self::File(stream) => Pin::new(stream).poll_flush(cx),
            Self::Sealed(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Net(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::File(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Sealed(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn many_may_wait_to_be_accepted() {
        let place = Place::Net("127.0.0.1:0".parse().expect("an address"));
        let socket = Socket::bind(&place, false).expect("bound");
        let Place::Net(address) = socket.place().expect("a place") else { unreachable!("it is one") };
        let mut waiting = Vec::new();
        for _ in 0..300 {
            let connect = tokio::time::timeout(std::time::Duration::from_millis(500), TcpStream::connect(address));
            waiting.push(connect.await.expect("there is room in the queue").expect("connected"));
        }
    }

    #[tokio::test]
    async fn a_port_is_shared_where_both_wish_it() {
        let any = Place::Net("127.0.0.1:0".parse().expect("an address"));
        let first = Socket::bind(&any, true).expect("bound");
        let place = first.place().expect("a place");
        assert!(Socket::bind(&place, false).is_err());
        Socket::bind(&place, true).expect("shared");
    }
}
