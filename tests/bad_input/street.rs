//! A server on a free port and ways to talk to it.

use std::net::SocketAddr;

use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use prost::Message;
use quorate::server::flags::Flags;
use quorate::server::{Config, Serving};
use quorate::wire::etcdserverpb as pb;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

/// A server alone, its data in a directory that goes with it. It leads at once, whatever its timers say; what they bound is how
/// long a request may take, and that is far more than a busy machine needs.
pub struct Server {
    pub address: SocketAddr,
    pub channel: Channel,
    serving: Serving,
    _directory: tempfile::TempDir,
}

impl Server {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub async fn start_with(flags: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let data = format!("--data-dir={}", directory.path().join("data").display());
        let arguments = [
            &data,
            "--listen-client-urls=http://127.0.0.1:0",
            "--advertise-client-urls=http://127.0.0.1:0",
            "--listen-peer-urls=http://127.0.0.1:0",
            "--heartbeat-interval=100",
            "--election-timeout=50000",
        ];
        let arguments = arguments.iter().chain(flags).map(|argument| argument.to_string());
        let flags = Flags::read(arguments, []).unwrap();
        let serving = Serving::start(&Config::from_flags(&flags).unwrap()).await.unwrap();
        let address = serving.client_addresses[0];
        let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
        Self { address, channel, serving, _directory: directory }
    }

    /// One call of a unary method.
    pub async fn call<Q: Message, A: Message + Default>(&self, path: &'static str, request: &Q) -> Result<A, Status> {
        let answer = self.raw(path, request.encode_to_vec().into()).await?;
        Ok(A::decode(answer).unwrap())
    }

    /// One call of a unary method with whatever bytes.
    pub async fn raw(&self, path: &'static str, request: Bytes) -> Result<Bytes, Status> {
        self.raw_as(None, path, request).await
    }

    /// The same, with a token.
    pub async fn raw_as(&self, token: Option<&str>, path: &'static str, request: Bytes) -> Result<Bytes, Status> {
        let mut grpc = self.grpc().await;
        let answer = grpc.unary(with_token(token, request), PathAndQuery::from_static(path), Raw).await?;
        Ok(answer.into_inner())
    }

    /// One call of a method that answers in a stream; `requests` are all the client says.
    pub async fn stream(
        &self,
        path: &'static str,
        requests: impl tokio_stream::Stream<Item = Bytes> + Send + 'static,
    ) -> Result<Streaming<Bytes>, Status> {
        self.stream_as(None, path, requests).await
    }

    /// The same, with a token.
    pub async fn stream_as(
        &self,
        token: Option<&str>,
        path: &'static str,
        requests: impl tokio_stream::Stream<Item = Bytes> + Send + 'static,
    ) -> Result<Streaming<Bytes>, Status> {
        let mut grpc = self.grpc().await;
        let answer = grpc.streaming(with_token(token, requests), PathAndQuery::from_static(path), Raw).await?;
        Ok(answer.into_inner())
    }

    async fn grpc(&self) -> tonic::client::Grpc<Channel> {
        let mut grpc = tonic::client::Grpc::new(self.channel.clone()).max_decoding_message_size(64 << 20);
        grpc.ready().await.unwrap();
        grpc
    }

    /// The member's id.
    pub async fn member(&self) -> u64 {
        let status: pb::StatusResponse =
            self.call("/etcdserverpb.Maintenance/Status", &pb::StatusRequest {}).await.unwrap();
        status.header.unwrap().member_id
    }

    pub async fn put(&self, key: &'static str, value: &'static str) -> pb::PutResponse {
        let request = pb::PutRequest { key: bytes(key), value: bytes(value), ..Default::default() };
        self.call("/etcdserverpb.KV/Put", &request).await.unwrap()
    }

    /// Asserts that the call is refused with this code and text.
    pub async fn refuses<Q: Message + std::fmt::Debug>(&self, path: &'static str, request: &Q, code: i32, text: &str) {
        let status = self.raw(path, request.encode_to_vec().into()).await.expect_err(text);
        assert_eq!((status.code() as i32, status.message()), (code, text), "{path} {request:?}");
    }

    /// Asserts that the server works, at the same revision as before, and stops it.
    pub async fn must_be_well_at(self, revision: i64) {
        let request = pb::RangeRequest { key: bytes("\0"), range_end: bytes("\0"), ..Default::default() };
        let answer: pb::RangeResponse = self.call("/etcdserverpb.KV/Range", &request).await.unwrap();
        assert_eq!(answer.header.unwrap().revision, revision);
        drop(self.channel);
        self.serving.stop().await.unwrap();
    }
}

fn with_token<T>(token: Option<&str>, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(token) = token {
        request.metadata_mut().insert("token", token.parse().unwrap());
    }
    request
}

pub fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// Bytes as they are, under gRPC's framing.
pub struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buf.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buf.copy_to_bytes(buf.remaining())))
    }
}
