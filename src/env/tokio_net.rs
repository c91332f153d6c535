//! The system's sockets, plain or encrypted.
//!
//! Encryption is brought by who makes the world ([`Sealing`]): nothing of it is known here, nor below. A handshake runs in
//! a task of its own, so that one who is slow keeps nobody waiting.
//!
//! Invariant: a socket belongs to the runtime of the task that opened it, so listening and dialling are done in light
//! tasks alone. Does not know what is said over a connection.

use std::fmt;
use std::future::Future;
use std::io::{self, Error};
use std::net::{Ipv6Addr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixStream, unix};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::seam::{IN_FILE, Net, NetListener, NetReader, NetStream, NetWriter, SEALED};
use super::tokio_file_socket::FileSocket;
use crate::base::{Fault, limits};

/// An encrypted connection, as it is read and written in clear.
pub trait Sealed: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Sealed for S {}

/// A handshake under way.
pub type Handshake = Pin<Box<dyn Future<Output = io::Result<Box<dyn Sealed>>> + Send>>;

/// How connections are encrypted. Both ends are bounded in time and number by who implements it.
pub trait Sealing: fmt::Debug + Send + Sync + 'static {
    /// Greets who connected from an address.
    fn accept(&self, stream: TcpStream, from: SocketAddr) -> Handshake;

    /// Greets the host that was connected to; `host` without its port.
    fn dial(&self, stream: TcpStream, host: String) -> Handshake;
}

/// TCP, without delay for the sake of larger packets, and sockets in the file system.
#[derive(Clone, Debug, Default)]
pub struct TokioNet {
    sealing: Option<Arc<dyn Sealing>>,
    /// Whether others may listen at the same ports, too.
    shares_ports: bool,
}

/// An open address.
#[derive(Debug)]
pub struct TokioListener {
    way_in: WayIn,
    address: String,
}

#[derive(Debug)]
enum WayIn {
    Plain(TcpListener),
    File(FileSocket),
    Sealed(SealedDoor),
}

type Arrival = Result<(TokioStream, String), Error>;

/// Connections whose handshake is done, from the tasks that do them.
#[derive(Debug)]
struct SealedDoor {
    done: mpsc::Receiver<Arrival>,
    task: JoinHandle<()>,
}

impl Drop for SealedDoor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A connection.
pub enum TokioStream {
    /// As it is.
    Plain(TcpStream),
    /// Within the machine.
    File(UnixStream),
    /// Encrypted.
    Sealed(Box<dyn Sealed>),
}

impl fmt::Debug for TokioStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(stream) => stream.fmt(f),
            Self::File(stream) => stream.fmt(f),
            Self::Sealed(_) => f.write_str("Sealed"),
        }
    }
}

/// The half that is read from.
#[derive(Debug)]
pub enum TokioReader {
    /// As it is.
    Plain(OwnedReadHalf),
    /// Within the machine.
    File(unix::OwnedReadHalf),
    /// Encrypted.
    Sealed(ReadHalf<Box<dyn Sealed>>),
}

/// The half that is written to.
#[derive(Debug)]
pub enum TokioWriter {
    /// As it is.
    Plain(OwnedWriteHalf),
    /// Within the machine.
    File(unix::OwnedWriteHalf),
    /// Encrypted.
    Sealed(WriteHalf<Box<dyn Sealed>>),
}

impl fmt::Debug for dyn Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed")
    }
}

fn fault(doing: &'static str, address: &str) -> impl FnOnce(Error) -> Fault {
    move |source| Fault::new(doing, address, source)
}

impl TokioNet {
    /// A network that encrypts nothing.
    pub const fn plain() -> Self {
        Self { sealing: None, shares_ports: false }
    }

    /// A network that encrypts where an address asks for it.
    pub fn sealed_by(sealing: Arc<dyn Sealing>) -> Self {
        Self { sealing: Some(sealing), shares_ports: false }
    }

    /// Lets others that share ports listen at the same ones, or not.
    pub fn share_ports(&mut self, shares: bool) {
        self.shares_ports = shares;
    }

    async fn bind(&self, address: &str) -> io::Result<TcpListener> {
        match address.parse::<SocketAddr>() {
            Ok(at) => listen_at(at, self.shares_ports),
            Err(_) => TcpListener::bind(address).await,
        }
    }

    fn sealing(&self) -> io::Result<&Arc<dyn Sealing>> {
        self.sealing.as_ref().ok_or_else(|| Error::new(io::ErrorKind::Unsupported, "there are no certificates for it"))
    }
}

impl Net for TokioNet {
    type Stream = TokioStream;
    type Listener = TokioListener;

    async fn listen(&self, address: &str) -> Result<TokioListener, Fault> {
        let doing = "listen at";
        if let Some(name) = address.strip_prefix(IN_FILE) {
            let socket = FileSocket::bind(Path::new(name)).map_err(fault(doing, address))?;
            return Ok(TokioListener { way_in: WayIn::File(socket), address: address.to_string() });
        }
        let plain = address.strip_prefix(SEALED).unwrap_or(address);
        let listener = self.bind(plain).await.map_err(fault(doing, address))?;
        let bound = listener.local_addr().map_err(fault(doing, address))?.to_string();
        let way_in = if plain == address {
            WayIn::Plain(listener)
        } else {
            WayIn::Sealed(seal(listener, self.sealing().map_err(fault(doing, address))?.clone()))
        };
        Ok(TokioListener { way_in, address: bound })
    }

    async fn dial(&self, address: &str) -> Result<TokioStream, Fault> {
        let doing = "connect to";
        if let Some(name) = address.strip_prefix(IN_FILE) {
            return UnixStream::connect(name).await.map(TokioStream::File).map_err(fault(doing, address));
        }
        let plain = address.strip_prefix(SEALED).unwrap_or(address);
        let stream = TcpStream::connect(plain).await.map_err(fault(doing, address))?;
        if reaches_itself(&stream) {
            return Err(fault(doing, address)(io::ErrorKind::ConnectionRefused.into()));
        }
        stream.set_nodelay(true).map_err(fault(doing, address))?;
        if plain == address {
            return Ok(TokioStream::Plain(stream));
        }
        let host = plain.rsplit_once(':').map_or(plain, |(host, _)| host).to_string();
        let sealing = self.sealing().map_err(fault(doing, address))?;
        sealing.dial(stream, host).await.map(TokioStream::Sealed).map_err(fault(doing, address))
    }
}

/// Listens at an address; at all of both families where it is `0.0.0.0` or `[::]`, as Go does. Where ports are shared, others
/// that share them may listen there, too.
///
/// # Errors
/// Somebody else has it, or it cannot be had.
pub fn listen_at(at: SocketAddr, shares_port: bool) -> io::Result<TcpListener> {
    listen_by(at, shares_port, TcpSocket::new_v6)
}

fn listen_by(at: SocketAddr, shares_port: bool, v6: fn() -> io::Result<TcpSocket>) -> io::Result<TcpListener> {
    if at.ip().is_unspecified() {
        let both = v6().and_then(|socket| {
            rustix::net::sockopt::set_ipv6_v6only(&socket, false)?;
            listen_with(socket, (Ipv6Addr::UNSPECIFIED, at.port()).into(), shares_port)
        });
        match both {
            // There is no IPv6 here.
            Err(error) if at.is_ipv4() && !is_taken(&error) => {}
            both => return both,
        }
    }
    let socket = if at.is_ipv4() { TcpSocket::new_v4() } else { v6() }?;
    listen_with(socket, at, shares_port)
}

fn listen_with(socket: TcpSocket, at: SocketAddr, shares_port: bool) -> io::Result<TcpListener> {
    socket.set_reuseaddr(true)?;
    if shares_port {
        socket.set_reuseport(true)?;
    }
    socket.bind(at)?;
    socket.listen(limits::ACCEPT_BACKLOG)
}

/// Whether an address is there, and is not for us.
fn is_taken(error: &Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied)
}

/// An address of the other end as it is: one of IPv4 that came to a socket of both families is not one of IPv6.
pub fn plain_address(from: SocketAddr) -> SocketAddr {
    SocketAddr::new(from.ip().to_canonical(), from.port())
}

/// Whether the system gave a connection the port that it dials, with nobody there: TCP then connects it to itself.
fn reaches_itself(stream: &TcpStream) -> bool {
    matches!((stream.local_addr(), stream.peer_addr()), (Ok(own), Ok(other)) if own == other)
}

/// Takes connections in, and hands on those that were greeted.
fn seal(listener: TcpListener, sealing: Arc<dyn Sealing>) -> SealedDoor {
    let (ready, done) = mpsc::channel(limits::PEERS_GREETED);
    let task = tokio::spawn(async move {
        loop {
            let (stream, from) = match listener.accept().await {
                Ok((stream, from)) => (stream, plain_address(from)),
                Err(error) => {
                    if ready.send(Err(error)).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(limits::PEER_REDIAL_MS)).await;
                    continue;
                }
            };
            let (ready, sealing) = (ready.clone(), sealing.clone());
            tokio::spawn(async move {
                // Shows again, and is told, at the first read or write.
                let _ = stream.set_nodelay(true);
                // Who is not let in was told to the log.
                if let Ok(stream) = sealing.accept(stream, from).await {
                    let _ = ready.send(Ok((TokioStream::Sealed(stream), from.to_string()))).await;
                }
            });
        }
    });
    SealedDoor { done, task }
}

impl NetListener for TokioListener {
    type Stream = TokioStream;

    async fn accept(&mut self) -> Result<(TokioStream, String), Fault> {
        let doing = "accept at";
        let listener = match &mut self.way_in {
            WayIn::Plain(listener) => listener,
            WayIn::File(socket) => {
                let stream = socket.accept().await.map_err(fault(doing, &self.address))?;
                return Ok((TokioStream::File(stream), self.address.clone()));
            }
            WayIn::Sealed(door) => {
                let arrived = door.done.recv().await.expect("the task that sends lives as long as the door");
                return arrived.map_err(fault(doing, &self.address));
            }
        };
        let (stream, from) = listener.accept().await.map_err(fault(doing, &self.address))?;
        stream.set_nodelay(true).map_err(fault(doing, &self.address))?;
        Ok((TokioStream::Plain(stream), plain_address(from).to_string()))
    }

    fn address(&self) -> String {
        self.address.clone()
    }
}

impl NetStream for TokioStream {
    type Reader = TokioReader;
    type Writer = TokioWriter;

    fn split(self) -> (TokioReader, TokioWriter) {
        match self {
            Self::Plain(stream) => {
                let (reader, writer) = stream.into_split();
                (TokioReader::Plain(reader), TokioWriter::Plain(writer))
            }
            Self::File(stream) => {
                let (reader, writer) = stream.into_split();
                (TokioReader::File(reader), TokioWriter::File(writer))
            }
            Self::Sealed(stream) => {
                let (reader, writer) = tokio::io::split(stream);
                (TokioReader::Sealed(reader), TokioWriter::Sealed(writer))
            }
        }
    }
}

impl NetReader for TokioReader {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Fault> {
        let read = match self {
            Self::Plain(stream) => stream.read(buf).await,
            Self::File(stream) => stream.read(buf).await,
            // One that went away without a word has finished, too: what it owed is known by its length.
            Self::Sealed(stream) => match stream.read(buf).await {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
                read => read,
            },
        };
        read.map_err(fault("read from", "a peer"))
    }
}

impl NetWriter for TokioWriter {
    async fn write(&mut self, data: &[u8]) -> Result<(), Fault> {
        let written = match self {
            Self::Plain(stream) => stream.write_all(data).await,
            Self::File(stream) => stream.write_all(data).await,
            Self::Sealed(stream) => match stream.write_all(data).await {
                // What is encrypted may wait in a buffer.
                Ok(()) => stream.flush().await,
                failed => failed,
            },
        };
        written.map_err(fault("write to", "a peer"))
    }

    async fn finish(&mut self) -> Result<(), Fault> {
        let closed = match self {
            Self::Plain(stream) => stream.shutdown().await,
            Self::File(stream) => stream.shutdown().await,
            Self::Sealed(stream) => stream.shutdown().await,
        };
        closed.map_err(fault("close", "a peer"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A seal of nothing: what is under it is what is seen.
    #[derive(Debug)]
    struct Glass;

    impl Sealing for Glass {
        fn accept(&self, stream: TcpStream, _: SocketAddr) -> Handshake {
            Box::pin(async { Ok(Box::new(stream) as Box<dyn Sealed>) })
        }

        fn dial(&self, stream: TcpStream, host: String) -> Handshake {
            assert_eq!(host, "127.0.0.1");
            Box::pin(async { Ok(Box::new(stream) as Box<dyn Sealed>) })
        }
    }

    fn runtime() -> tokio::runtime::Runtime {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("the system gives a timer")
    }

    #[test]
    fn the_systems_network_conforms() {
        let checked = runtime().block_on(super::super::check_net(&TokioNet::plain(), "127.0.0.1:0"));
        checked.expect("it conforms");
    }

    #[test]
    fn sockets_in_the_file_system_conform() {
        let place = tempfile::tempdir().expect("a directory");
        let address = format!("{IN_FILE}{}", place.path().join("peer").display());
        let checked = runtime().block_on(super::super::check_net(&TokioNet::plain(), &address));
        checked.expect("it conforms");
    }

    /// A connection to a listener from an address of each family, and what the listener sees it come from.
    async fn seen_from(listener: &TcpListener, to: &str) -> Result<String, Error> {
        let to = SocketAddr::new(to.parse().expect("an address"), listener.local_addr()?.port());
        let (connected, accepted) = tokio::join!(TcpStream::connect(to), async {
            let accepting = tokio::time::timeout(Duration::from_secs(30), listener.accept()).await;
            accepting.map_err(Error::other).flatten()
        });
        connected?;
        accepted.map(|(_, from)| plain_address(from).ip().to_string())
    }

    #[test]
    fn what_is_no_address_in_particular_is_listened_at_by_both_families() {
        runtime().block_on(async {
            let any: [SocketAddr; 2] = ["0.0.0.0:0", "[::]:0"].map(|any| any.parse().expect("an address"));
            let has_v6 = TcpListener::bind("[::1]:0").await.is_ok();
            for at in any {
                if !has_v6 && at.is_ipv6() {
                    continue;
                }
                let listener = listen_at(at, false).expect("listens");
                assert_eq!(seen_from(&listener, "127.0.0.1").await.expect("connected"), "127.0.0.1", "{at}");
                if has_v6 {
                    assert_eq!(seen_from(&listener, "::1").await.expect("connected"), "::1", "{at}");
                    let taken = SocketAddr::new(at.ip(), listener.local_addr().expect("its address").port());
                    let again = listen_at(taken, false).expect_err("it is taken");
                    assert_eq!(again.kind(), io::ErrorKind::AddrInUse);
                }
            }
            // A system that knows no IPv6.
            let none = || Err(Error::from_raw_os_error(97));
            let listener = listen_by(any[0], false, none).expect("listens by IPv4");
            assert!(listener.local_addr().expect("its address").is_ipv4());
            assert_eq!(seen_from(&listener, "127.0.0.1").await.expect("connected"), "127.0.0.1");
            assert!(listen_by(any[1], false, none).is_err());
        });
    }

    #[test]
    fn a_connection_to_itself_is_known() {
        runtime().block_on(async {
            let taken = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = taken.local_addr().expect("its address");
            let to_another = TcpStream::connect(address).await.expect("connected");
            assert!(!reaches_itself(&to_another));
            let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
            socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
            let own = socket.local_addr().expect("its address");
            let to_itself = socket.connect(own).await.expect("TCP allows it");
            assert!(reaches_itself(&to_itself));
        });
    }

    #[test]
    fn what_is_to_be_encrypted_is_never_plain() {
        runtime().block_on(async {
            let net = TokioNet::plain();
            let refused = net.listen("tls://127.0.0.1:0").await.expect_err("no certificates");
            assert!(refused.to_string().contains("no certificates"), "{refused}");
            let net = TokioNet::sealed_by(Arc::new(Glass));
            let mut listener = net.listen("tls://127.0.0.1:0").await.expect("listens");
            let address = format!("{SEALED}{}", listener.address());
            assert!(TokioNet::plain().dial(&address).await.is_err());
            let (_, mut writer) = net.dial(&address).await.expect("dialled").split();
            writer.write(b"hello").await.expect("written");
            // The first one that came was the plain net's, which closed at once.
            let mut heard = [0; 5];
            for length in [0, 5] {
                let (mut reader, _) = listener.accept().await.expect("accepted").0.split();
                assert_eq!(reader.read(&mut heard).await.expect("read"), length);
            }
            assert_eq!(&heard, b"hello");
            drop(listener);
            tokio::task::yield_now().await;
            let plain = address.trim_start_matches(SEALED);
            assert!(TokioNet::plain().dial(plain).await.is_err(), "the address is closed");
        });
    }
}
