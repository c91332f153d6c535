//! The system's sockets.
//!
//! Invariant: a socket belongs to the runtime of the task that opened it, so listening and dialling are done in light
//! tasks alone. Does not know what is said over a connection.

use std::io::Error;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use super::seam::{Net, NetListener, NetReader, NetStream, NetWriter};
use crate::base::Fault;

/// TCP, without delay for the sake of larger packets.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokioNet;

/// An open address.
#[derive(Debug)]
pub struct TokioListener {
    listener: TcpListener,
    address: String,
}

/// A connection.
#[derive(Debug)]
pub struct TokioStream(TcpStream);

/// The half that is read from.
#[derive(Debug)]
pub struct TokioReader(OwnedReadHalf);

/// The half that is written to.
#[derive(Debug)]
pub struct TokioWriter(OwnedWriteHalf);

fn fault(doing: &'static str, address: &str) -> impl FnOnce(Error) -> Fault {
    move |source| Fault::new(doing, address, source)
}

impl Net for TokioNet {
    type Stream = TokioStream;
    type Listener = TokioListener;

    async fn listen(&self, address: &str) -> Result<TokioListener, Fault> {
        let listener = TcpListener::bind(address).await.map_err(fault("listen at", address))?;
        let address = listener.local_addr().map_err(fault("listen at", address))?.to_string();
        Ok(TokioListener { listener, address })
    }

    async fn dial(&self, address: &str) -> Result<TokioStream, Fault> {
        let stream = TcpStream::connect(address).await.map_err(fault("connect to", address))?;
        stream.set_nodelay(true).map_err(fault("connect to", address))?;
        Ok(TokioStream(stream))
    }
}

impl NetListener for TokioListener {
    type Stream = TokioStream;

    async fn accept(&mut self) -> Result<(TokioStream, String), Fault> {
        let (stream, from) = self.listener.accept().await.map_err(fault("accept at", &self.address))?;
        stream.set_nodelay(true).map_err(fault("accept at", &self.address))?;
        Ok((TokioStream(stream), from.to_string()))
    }

    fn address(&self) -> String {
        self.address.clone()
    }
}

impl NetStream for TokioStream {
    type Reader = TokioReader;
    type Writer = TokioWriter;

    fn split(self) -> (TokioReader, TokioWriter) {
        let (reader, writer) = self.0.into_split();
        (TokioReader(reader), TokioWriter(writer))
    }
}

impl NetReader for TokioReader {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Fault> {
        self.0.read(buf).await.map_err(fault("read from", "a peer"))
    }
}

impl NetWriter for TokioWriter {
    async fn write(&mut self, data: &[u8]) -> Result<(), Fault> {
        self.0.write_all(data).await.map_err(fault("write to", "a peer"))
    }

    async fn finish(&mut self) -> Result<(), Fault> {
        self.0.shutdown().await.map_err(fault("close", "a peer"))
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_systems_network_conforms() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let checked = runtime
            .expect("the system gives a timer")
            .block_on(super::super::check_net(&super::TokioNet, "127.0.0.1:0"));
        checked.expect("it conforms");
    }
}
