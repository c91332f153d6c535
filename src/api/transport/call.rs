//! One request on its way: who asks, what it says, when it must be answered, and how it ended.
//!
//! Invariants: every request is counted when it starts and when it ends, also when its client goes away; a client's
//! deadline covers all of its request, from the first byte of its body to the end of a stream; what the library says
//! about bad messages leaves with etcd's codes. Does not know the methods.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt};
use http::header::{CONTENT_TYPE, HeaderValue};
use http_body::Body as HttpBody;
use prost::Message;
use tonic::body::Body;
use tonic::codec::{CompressionEncoding, Decoder, Streaming};
use tonic::{Code, Status};
use tonic_prost::ProstDecoder;

use crate::api::gate::{Caller, Credentials};
use crate::api::guest::Guest;
use crate::api::intake::Lasting;
use crate::api::methods::{Flow, Rpc};
use crate::api::porch::Porch;
use crate::api::session::Session;
use crate::api::slow::{Answered, Outline};
use crate::api::status::{code_name, deadline_exceeded, status_of};
use crate::api::traces::RequestTrace;
use crate::api::transport::answered::answered;
use crate::api::transport::framed::FramedDecoder;
use crate::api::transport::inbound::as_etcd;
use crate::api::transport::pieces::Pieces;
use crate::api::transport::replies::{Replies, Reply};
use crate::api::transport::streams::{Answers, Guard, stream_of};
use crate::api::transport::unwanted::read_off;
use crate::base::Refusal;
use crate::env::Env;

/// What the HTTP library sends.
pub type HttpResponse = http::Response<Body>;

/// Whatever a body may fail with.
pub type StdError = Box<dyn std::error::Error + Send + Sync>;

/// Counts a request's end once: with its code, or as canceled when it is dropped before; and tells of it where that took long.
struct Ended<E: Env> {
    porch: Arc<Porch<E>>,
    rpc: Rpc,
    guest: Guest,
    begun: Instant,
    /// What it asks, once that is here.
    outline: Option<Outline>,
    /// Whether it was counted as a message received.
    is_read: bool,
    told: bool,
    /// Kept as long as it lasts, where it may last.
    _lasting: Option<Lasting>,
    trace: Option<Arc<RequestTrace>>,
}

impl<E: Env> Ended<E> {
    fn new(porch: Arc<Porch<E>>, rpc: Rpc, guest: Guest, trace: Option<Arc<RequestTrace>>) -> Self {
        porch.metrics.rpc(rpc).started.inc();
        let lasts = rpc.flow() != Flow::Unary || rpc.waits_for_others();
        let lasting = lasts.then(|| guest.intake().lasts());
        Self {
            porch,
            rpc,
            guest,
            begun: Instant::now(),
            outline: None,
            is_read: false,
            told: false,
            _lasting: lasting,
            trace,
        }
    }

    fn tell(&mut self, code: Code, text: &str, short: impl FnOnce() -> Option<Answered>) {
        if self.told {
            return;
        }
        self.told = true;
        let took = self.begun.elapsed();
        self.porch.metrics.handled(self.rpc, code_name(code), took);
        // As etcd's library counts: whatever is said to a message that was read is a message sent, a refusal, too.
        if self.rpc.flow() == Flow::Unary && self.is_read {
            self.porch.metrics.rpc(self.rpc).sent.inc();
        }
        if self.porch.slow.is_slow(took)
            && self.rpc.flow() == Flow::Unary
            && let Some(outline) = &self.outline
        {
            self.porch.slow.tell(self.rpc, took, self.guest.from(), outline, short().as_ref());
        }
        if let Some(trace) = self.trace.take() {
            trace.end(code, text);
        }
    }
}

impl<E: Env> Drop for Ended<E> {
    fn drop(&mut self) {
        self.tell(Code::Cancelled, "", || None);
    }
}

/// When the client stops waiting.
type Deadline = Option<tokio::time::Instant>;

/// Does `work` as long as the client waits.
async fn within<T>(deadline: Deadline, work: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    match deadline {
        None => work.await,
        // What is begun could be done before anybody looks at the clock.
        Some(deadline) if deadline <= tokio::time::Instant::now() => Err(deadline_exceeded()),
        Some(deadline) => tokio::time::timeout_at(deadline, work).await.unwrap_or_else(|_| Err(deadline_exceeded())),
    }
}

/// One request on its way.
pub struct Call<E: Env> {
    rpc: Rpc,
    ended: Ended<E>,
}

/// Who asks, and until when.
struct Terms {
    require_leader: bool,
    deadline: Deadline,
}

impl<E: Env> Call<E> {
    /// A guest's request of this method.
    pub fn new(porch: Arc<Porch<E>>, rpc: Rpc, guest: Guest, headers: &http::HeaderMap) -> Self {
        let begin = |tracer| RequestTrace::begin(tracer, rpc.full_name(), headers, guest.place());
        let trace = porch.tracer.as_ref().and_then(begin);
        Self { ended: Ended::new(porch, rpc, guest, trace), rpc }
    }

    fn porch(&self) -> &Arc<Porch<E>> {
        &self.ended.porch
    }

    fn guest(&self) -> &Guest {
        &self.ended.guest
    }

    /// Ends it with a refusal, before anything of it was looked at. One who sends a stream of messages is not waited for.
    pub async fn refuse<B: HttpBody>(mut self, request: http::Request<B>, refusal: &Refusal) -> HttpResponse {
        if self.rpc.flow() != Flow::BidiStream {
            // Seldom, so it takes no room in what is not.
            Box::pin(read_off(request.into_body())).await;
        }
        if self.rpc.flow() == Flow::Unary {
            self.receive();
        }
        self.fail(status_of(refusal))
    }

    fn receive(&mut self) {
        self.porch().metrics.rpc(self.rpc).received.inc();
        self.ended.is_read = true;
    }

    fn fail(mut self, status: Status) -> HttpResponse {
        self.ended.tell(status.code(), status.message(), || None);
        status.into_http()
    }

    /// Who is asking, if they may.
    fn admit<B>(&self, request: &http::Request<B>) -> Result<Terms, Refusal> {
        if self.porch().handle.facts().is_learner() && !self.rpc.is_for_learners() {
            return Err(Refusal::NotSupportedForLearner);
        }
        let caller = Caller::from_headers(request.headers())?;
        let kind = if self.rpc.flow() == Flow::Unary { "unary" } else { "stream" };
        self.porch().metrics.client_request(kind, &caller.client_api_version);
        caller.admit(self.porch().has_leader())?;
        // A time beyond what a clock can show is no deadline.
        let deadline = caller.patience.and_then(|patience| tokio::time::Instant::now().checked_add(patience));
        Ok(Terms { require_leader: caller.require_leader, deadline })
    }

    /// The services, as who asks has them.
    fn session<B>(&self, request: &http::Request<B>) -> Session<E> {
        let credentials = Credentials::of(request.headers(), request.extensions());
        Session::new(self.porch().clone(), credentials, self.guest().clone(), self.ended.trace.clone())
    }

    /// The messages of a request.
    fn messages<B, D>(&self, request: http::Request<B>, decoder: D) -> Result<Streaming<D::Item>, Status>
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<StdError>,
        D: Decoder<Error = Status> + Send + 'static,
    {
        let encoding = compression(request.headers())?;
        let limit = self.porch().terms.max_message_bytes();
        Ok(Streaming::new_request(decoder, request.into_body(), encoding, Some(limit)))
    }

    /// The one message of a request, counted.
    async fn message<B, Q>(&mut self, request: http::Request<B>) -> Result<Q, Status>
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<StdError>,
        Q: Message + Default + Send + 'static,
    {
        let mut messages = self.messages(request, FramedDecoder::default())?;
        let message = messages.message().await.map_err(as_etcd)?;
        let has_many_answers = self.rpc.flow() == Flow::ServerStream;
        let none = || if has_many_answers { not_one("no request message from") } else { Status::unknown("EOF") };
        let (message, frame) = message.ok_or_else(none)?;
        if has_many_answers && messages.message().await.map_err(as_etcd)?.is_some() {
            return Err(not_one("multiple request messages for"));
        }
        // Reads to the end: what follows the one message is refused.
        messages.trailers().await.map_err(as_etcd)?;
        self.receive();
        if self.rpc.flow() == Flow::Unary {
            self.ended.outline = Some(Outline::of(self.rpc, &frame));
        }
        Ok(message)
    }

    /// A method of one request and one answer.
    pub async fn unary<B, Q, P, F, Fut>(mut self, request: http::Request<B>, serve: F) -> HttpResponse
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<StdError>,
        Q: Message + Default + Send + 'static,
        P: Pieces + Unpin,
        F: FnOnce(Session<E>, Q) -> Fut + Send,
        Fut: Future<Output = Result<P, Refusal>> + Send,
    {
        if self.guest().intake().is_overfull() {
            // By its head alone: what is not read costs least.
            return self.fail(status_of(&Refusal::TooManyRequests));
        }
        let deadline = match self.admit(&request) {
            Ok(terms) => terms.deadline,
            Err(refusal) => return self.refuse(request, &refusal).await,
        };
        let session = self.session(&request);
        let answer = async {
            let message = self.message(request).await?;
            let _waits = (!self.rpc.waits_for_others()).then(|| self.guest().intake().enter());
            session.admit(self.rpc).await.map_err(|refusal| status_of(&refusal))?;
            serve(session, message).await.map_err(|refusal| status_of(&refusal))
        };
        let answer = within(deadline, answer).await;
        self.reply(answer)
    }

    /// A unary method that asks nothing of the node.
    pub async fn plain<B, Q, P, F>(mut self, request: http::Request<B>, serve: F) -> HttpResponse
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<StdError>,
        Q: Message + Default + Send + 'static,
        P: Pieces + Unpin,
        F: FnOnce(Q) -> Result<P, Status> + Send,
    {
        let deadline = match self.admit(&request) {
            Ok(terms) => terms.deadline,
            Err(refusal) => return self.refuse(request, &refusal).await,
        };
        let answer = within(deadline, async { serve(self.message(request).await?) }).await;
        self.reply(answer)
    }

    fn reply<P: Pieces + Unpin>(mut self, answer: Result<P, Status>) -> HttpResponse {
        match answer {
            Err(status) => self.fail(status),
            Ok(answer) => {
                self.ended.tell(Code::Ok, "", || Some(answered(&answer)));
                response(Reply::one(answer))
            }
        }
    }

    /// A method of one request and many answers.
    pub async fn server_stream<B, Q, A, F, Fut>(mut self, request: http::Request<B>, open: F) -> HttpResponse
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<StdError>,
        Q: Message + Default + Send + 'static,
        A: Answers,
        F: FnOnce(Session<E>, Q) -> Fut + Send,
        Fut: Future<Output = Result<A, Refusal>> + Send,
    {
        let terms = match self.admit(&request) {
            Ok(terms) => terms,
            Err(refusal) => return self.refuse(request, &refusal).await,
        };
        let session = self.session(&request);
        let opened = async {
            let message = self.message(request).await?;
            session.admit(self.rpc).await.map_err(|refusal| status_of(&refusal))?;
            open(session, message).await.map_err(|refusal| status_of(&refusal))
        };
        let opened = within(terms.deadline, opened).await;
        self.begin(terms, opened)
    }

    /// A method of many requests and many answers.
    pub async fn bidi_stream<B, Q, A, F, Fut>(self, request: http::Request<B>, open: F) -> HttpResponse
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<StdError>,
        Q: Message + Default + Send + 'static,
        A: Answers,
        F: FnOnce(Session<E>, Streaming<Q>) -> Fut + Send,
        Fut: Future<Output = Result<A, Refusal>> + Send,
    {
        let terms = match self.admit(&request) {
            Ok(terms) => terms,
            Err(refusal) => return self.refuse(request, &refusal).await,
        };
        let session = self.session(&request);
        let opened = async {
            let messages = self.messages(request, ProstDecoder::default())?;
            session.admit(self.rpc).await.map_err(|refusal| status_of(&refusal))?;
            open(session, messages).await.map_err(|refusal| status_of(&refusal))
        };
        let opened = within(terms.deadline, opened).await;
        self.begin(terms, opened)
    }

    /// The answers of a stream that was opened; from here on the stream counts its own end.
    fn begin<A: Answers>(self, terms: Terms, opened: Result<A, Status>) -> HttpResponse {
        let answers = match opened {
            Ok(answers) => answers,
            Err(status) => return self.fail(status),
        };
        let guard = Guard::new(self.porch().clone(), terms.require_leader, terms.deadline);
        let answers: BoxStream<'static, Result<A::Message, Status>> =
            stream_of(Counted { answers, ended: self.ended }, guard).boxed();
        response(Replies::all(answers))
    }
}

/// What etcd's library says of a call that takes one message, and has many answers.
fn not_one(what: &str) -> Status {
    Status::internal(format!("cardinality violation: received {what} non-client-streaming RPC"))
}

/// How the messages of a request may be compressed: by gzip, as etcd's server takes it, or not at all. What they hold is bound by the
/// same limit; answers are never compressed, which every client takes.
fn compression(headers: &http::HeaderMap) -> Result<Option<CompressionEncoding>, Status> {
    match headers.get("grpc-encoding").map(HeaderValue::as_bytes) {
        None | Some(b"identity") => Ok(None),
        Some(b"gzip") => Ok(Some(CompressionEncoding::Gzip)),
        Some(other) => {
            let other = String::from_utf8_lossy(other);
            Err(Status::unimplemented(format!("grpc: Decompressor is not installed for grpc-encoding {other:?}")))
        }
    }
}

fn response<B>(body: B) -> HttpResponse
where
    B: HttpBody<Data = Bytes, Error = Status> + Send + 'static,
{
    let mut response = http::Response::new(Body::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// Answers that count themselves.
struct Counted<A, E: Env> {
    answers: A,
    ended: Ended<E>,
}

impl<A: Answers, E: Env> Answers for Counted<A, E> {
    type Message = A::Message;

    async fn next(&mut self) -> Option<Result<Self::Message, Status>> {
        let answer = self.answers.next().await;
        match &answer {
            Some(Ok(_)) => self.ended.porch.metrics.rpc(self.ended.rpc).sent.inc(),
            Some(Err(status)) => self.ended.tell(status.code(), status.message(), || None),
            None => self.ended.tell(Code::Ok, "", || None),
        }
        answer
    }
}
