//! The thin adapter to the gRPC library: finds the method a request names and carries messages both ways.
//!
//! Invariants: every request is counted when it starts and when it ends, also when its client goes away;
//! what the library says about bad messages leaves with etcd's codes; no other file knows the library's
//! service traits. Does not know what the methods do.

use std::future::{Future, ready};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{BoxStream, Stream, StreamExt};
use prost::Message;
use tonic::body::Body;
use tonic::codegen::{Body as HttpBody, StdError};
use tonic::server::{Grpc, ServerStreamingService, StreamingService, UnaryService};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::api::gate::{Caller, malformed};
use crate::api::health;
use crate::api::inbound::as_etcd;
use crate::api::metrics::Metrics;
use crate::api::porch::Porch;
use crate::api::range_chunks::RangeChunks;
use crate::api::rpc::{Flow, Rpc, unknown_method_text};
use crate::api::status::{code_name, deadline_exceeded, status_of};
use crate::api::streams::{Answers, Guard, HealthWatch, KeepAlives, stream_of};
use crate::api::watch::WatchAnswers;
use crate::base::Refusal;
use crate::env::Env;

type HttpResponse = http::Response<Body>;

/// Answers one gRPC request.
pub async fn serve<E, B>(porch: Arc<Porch<E>>, request: http::Request<B>) -> HttpResponse
where
    E: Env,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<StdError> + Send,
{
    if let Some((code, text)) = malformed(request.method(), request.headers()) {
        let mut response = Status::internal(text).into_http();
        *response.status_mut() = code;
        return response;
    }
    let path = request.uri().path();
    let Some(rpc) = Rpc::from_path(path) else {
        return Status::unimplemented(unknown_method_text(path)).into_http();
    };
    let call = Call { rpc, ended: Ended::new(porch.metrics.clone(), rpc), porch };
    match rpc {
        Rpc::Range => call.unary(request, |porch, q| async move { porch.range(q).await }).await,
        Rpc::Put => call.unary(request, |porch, q| async move { porch.put(q).await }).await,
        Rpc::DeleteRange => call.unary(request, |porch, q| async move { porch.delete_range(q).await }).await,
        Rpc::Txn => call.unary(request, |porch, q| async move { porch.txn(q).await }).await,
        Rpc::Compact => call.unary(request, |porch, q| async move { porch.compact(q).await }).await,
        Rpc::LeaseGrant => call.unary(request, |porch, q| async move { porch.lease_grant(q).await }).await,
        Rpc::LeaseRevoke => call.unary(request, |porch, q| async move { porch.lease_revoke(q).await }).await,
        Rpc::LeaseTimeToLive => call.unary(request, |porch, q| async move { porch.lease_time_to_live(q).await }).await,
        Rpc::LeaseLeases => call.unary(request, |porch, q| async move { porch.lease_leases(q).await }).await,
        Rpc::MemberAdd => call.unary(request, |porch, q| async move { porch.member_add(q).await }).await,
        Rpc::MemberUpdate => call.unary(request, |porch, q| async move { porch.member_update(q).await }).await,
        Rpc::MemberRemove => call.unary(request, |porch, q| async move { porch.member_remove(q).await }).await,
        Rpc::MemberPromote => call.unary(request, |porch, q| async move { porch.member_promote(q).await }).await,
        Rpc::MoveLeader => call.unary(request, |porch, q| async move { porch.move_leader(q).await }).await,
        Rpc::MemberList => call.unary(request, |porch, q| async move { porch.member_list(q).await }).await,
        Rpc::Status => call.unary(request, |porch, q| async move { porch.status(q).await }).await,
        Rpc::Alarm => call.unary(request, |porch, q| async move { porch.alarm(q).await }).await,
        Rpc::Defragment => call.unary(request, |porch, q| async move { porch.defragment(q).await }).await,
        Rpc::Hash => call.unary(request, |porch, q| async move { porch.hash(q).await }).await,
        Rpc::HashKv => call.unary(request, |porch, q| async move { porch.hash_kv(q).await }).await,
        Rpc::HealthCheck => call.plain(request, |q| health::check(&q)).await,
        Rpc::HealthList => call.plain(request, |_: health::HealthListRequest| Ok(health::list())).await,
        Rpc::RangeStream => call.server_stream(request, |porch, q| ready(RangeChunks::open(porch, q))).await,
        Rpc::HealthWatch => {
            call.server_stream(request, |_, q| ready(Ok(HealthWatch { answer: Some(health::watch(&q)) }))).await
        }
        Rpc::Watch => call.bidi_stream(request, WatchAnswers::open).await,
        Rpc::LeaseKeepAlive => {
            call.bidi_stream(request, |porch, inbound| ready(Ok(KeepAlives { porch, inbound }))).await
        }
        unbuilt => call.refuse(&unbuilt.unbuilt()),
    }
}

/// Counts a request's end once: with its code, or as canceled when it is dropped before.
struct Ended {
    metrics: Arc<Metrics>,
    rpc: Rpc,
    told: bool,
}

impl Ended {
    fn new(metrics: Arc<Metrics>, rpc: Rpc) -> Self {
        metrics.rpc(rpc).started.inc();
        Self { metrics, rpc, told: false }
    }

    fn tell(&mut self, code: Code) {
        if !self.told {
            self.told = true;
            self.metrics.handled(self.rpc, code_name(code));
        }
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.tell(Code::Cancelled);
    }
}

/// One request on its way.
struct Call<E: Env> {
    porch: Arc<Porch<E>>,
    rpc: Rpc,
    ended: Ended,
}

impl<E: Env> Call<E> {
    fn refuse(mut self, refusal: &Refusal) -> HttpResponse {
        let status = status_of(refusal);
        self.ended.tell(status.code());
        status.into_http()
    }

    /// Who is asking, if they may.
    fn admit<B>(&self, request: &http::Request<B>) -> Result<Caller, Refusal> {
        if self.porch.handle.facts().is_learner() && !self.rpc.is_for_learners() {
            return Err(Refusal::NotSupportedForLearner);
        }
        let caller = Caller::from_headers(request.headers())?;
        let kind = if self.rpc.flow() == Flow::Unary { "unary" } else { "stream" };
        self.porch.metrics.client_request(kind, &caller.client_api_version);
        caller.admit(self.porch.has_leader())?;
        Ok(caller)
    }

    fn library<Q, A>(&self) -> Grpc<ProstCodec<A, Q>>
    where
        Q: Message + Default + Send + 'static,
        A: Message + Send + 'static,
    {
        Grpc::new(ProstCodec::default())
            .max_decoding_message_size(self.porch.terms.max_message_bytes())
            .max_encoding_message_size(i32::MAX as usize)
    }

    async fn unary<B, Q, A, F, Fut>(mut self, request: http::Request<B>, serve: F) -> HttpResponse
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<StdError> + Send,
        Q: Message + Default + Send + 'static,
        A: Message + Send + 'static,
        F: Fn(Arc<Porch<E>>, Q) -> Fut + Send + Sync,
        Fut: Future<Output = Result<A, Refusal>> + Send,
    {
        let caller = match self.admit(&request) {
            Ok(caller) => caller,
            Err(refusal) => return self.refuse(&refusal),
        };
        let counters = self.porch.metrics.rpc(self.rpc);
        let porch = &self.porch;
        let answer = |request: Request<Q>| {
            counters.received.inc();
            let answer = serve(porch.clone(), request.into_inner());
            async move {
                let answer = match caller.patience {
                    None => answer.await,
                    Some(patience) => tokio::time::timeout(patience, answer).await.map_err(|_| deadline_exceeded())?,
                };
                answer.map(Response::new).map_err(|refusal| status_of(&refusal))
            }
        };
        let response = corrected(self.library().unary(Unary(answer), request).await);
        let code = code_of_head(&response);
        if code == Code::Ok {
            counters.sent.inc();
        }
        self.ended.tell(code);
        response
    }

    /// A unary method that asks nothing of the node.
    async fn plain<B, Q, A, F>(mut self, request: http::Request<B>, serve: F) -> HttpResponse
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<StdError> + Send,
        Q: Message + Default + Send + 'static,
        A: Message + Send + 'static,
        F: Fn(Q) -> Result<A, Status> + Send + Sync,
    {
        let answer = |request: Request<Q>| ready(serve(request.into_inner()).map(Response::new));
        let response = corrected(self.library().unary(Unary(answer), request).await);
        self.ended.tell(code_of_head(&response));
        response
    }

    async fn server_stream<B, Q, A, F, Fut>(self, request: http::Request<B>, open: F) -> HttpResponse
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<StdError> + Send,
        Q: Message + Default + Send + 'static,
        A: Answers<Message: Message>,
        F: FnOnce(Arc<Porch<E>>, Q) -> Fut + Send,
        Fut: Future<Output = Result<A, Refusal>> + Send,
    {
        let caller = match self.admit(&request) {
            Ok(caller) => caller,
            Err(refusal) => return self.refuse(&refusal),
        };
        let mut library = self.library();
        let mut this = Some((self, open));
        let answer = |request: Request<Q>| {
            let (call, open) = this.take().expect("the library calls a method once");
            call.begin(caller.require_leader, |porch| open(porch, request.into_inner()))
        };
        corrected(library.server_streaming(OneToMany(answer), request).await)
    }

    async fn bidi_stream<B, Q, A, F, Fut>(self, request: http::Request<B>, open: F) -> HttpResponse
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<StdError> + Send,
        Q: Message + Default + Send + 'static,
        A: Answers<Message: Message>,
        F: FnOnce(Arc<Porch<E>>, Streaming<Q>) -> Fut + Send,
        Fut: Future<Output = Result<A, Refusal>> + Send,
    {
        let caller = match self.admit(&request) {
            Ok(caller) => caller,
            Err(refusal) => return self.refuse(&refusal),
        };
        let mut library = self.library();
        let mut this = Some((self, open));
        let answer = |request: Request<Streaming<Q>>| {
            let (call, open) = this.take().expect("the library calls a method once");
            call.begin(caller.require_leader, |porch| open(porch, request.into_inner()))
        };
        library.streaming(ManyToMany(answer), request).await
    }

    /// Opens a stream of answers; from here on the stream counts its own end.
    async fn begin<A: Answers, Fut: Future<Output = Result<A, Refusal>> + Send>(
        mut self,
        require_leader: bool,
        open: impl FnOnce(Arc<Porch<E>>) -> Fut + Send,
    ) -> Result<Response<AnswerStream<A::Message>>, Status> {
        match open(self.porch.clone()).await {
            Ok(answers) => {
                let guard = Guard::new(self.porch, require_leader);
                Ok(Response::new(stream_of(Counted { answers, ended: self.ended }, guard).boxed()))
            }
            Err(refusal) => {
                let status = status_of(&refusal);
                self.ended.tell(status.code());
                Err(status)
            }
        }
    }
}

type AnswerStream<M> = BoxStream<'static, Result<M, Status>>;

/// Answers that count themselves.
struct Counted<A> {
    answers: A,
    ended: Ended,
}

impl<A: Answers> Answers for Counted<A> {
    type Message = A::Message;

    async fn next(&mut self) -> Option<Result<Self::Message, Status>> {
        let answer = self.answers.next().await;
        match &answer {
            Some(Ok(_)) => self.ended.metrics.rpc(self.ended.rpc).sent.inc(),
            Some(Err(status)) => self.ended.tell(status.code()),
            None => self.ended.tell(Code::Ok),
        }
        answer
    }
}

/// The code of an answer that may consist of nothing else.
fn code_of_head(response: &HttpResponse) -> Code {
    Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code())
}

/// The answer, or etcd's words where the library refused the message by itself.
fn corrected(response: HttpResponse) -> HttpResponse {
    match Status::from_header_map(response.headers()) {
        Some(status) if status.code() != Code::Ok => as_etcd(status).into_http(),
        _ => response,
    }
}

/// A method as the library wants it: one request, one answer.
struct Unary<F>(F);

impl<F, Q, A, Fut> UnaryService<Q> for Unary<F>
where
    F: FnMut(Request<Q>) -> Fut,
    Fut: Future<Output = Result<Response<A>, Status>>,
{
    type Response = A;
    type Future = Fut;

    fn call(&mut self, request: Request<Q>) -> Fut {
        (self.0)(request)
    }
}

/// One request, many answers.
struct OneToMany<F>(F);

impl<F, Q, A, S, Fut> ServerStreamingService<Q> for OneToMany<F>
where
    F: FnMut(Request<Q>) -> Fut,
    Fut: Future<Output = Result<Response<S>, Status>>,
    S: Stream<Item = Result<A, Status>>,
{
    type Response = A;
    type ResponseStream = S;
    type Future = Fut;

    fn call(&mut self, request: Request<Q>) -> Fut {
        (self.0)(request)
    }
}

/// Many requests, many answers.
struct ManyToMany<F>(F);

impl<F, Q, A, S, Fut> StreamingService<Q> for ManyToMany<F>
where
    F: FnMut(Request<Streaming<Q>>) -> Fut,
    Fut: Future<Output = Result<Response<S>, Status>>,
    S: Stream<Item = Result<A, Status>>,
{
    type Response = A;
    type ResponseStream = S;
    type Future = Fut;

    fn call(&mut self, request: Request<Streaming<Q>>) -> Fut {
        (self.0)(request)
    }
}
