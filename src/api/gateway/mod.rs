//! The JSON gateway: requests in JSON over plain HTTP, answered by the methods of gRPC.
//!
//! A request becomes the gRPC request that it stands for and enters by the same door (`dispatch`), so that deadlines,
//! limits, callers and counts are those of gRPC. The mapping is grpc-gateway's, from the descriptors of the messages.
//!
//! Invariant: nothing is decided here that the method decides. Does not know what the methods do.

mod answers;
mod json;
mod requests;
mod statuses;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Response};
use http_body::Body as HttpBody;
use http_body_util::{BodyExt, Full};
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};

use crate::api::dispatch;
use crate::api::gate::timeout;
use crate::api::gateway::answers::{error, stream, unary};
use crate::api::gateway::json::kinds;
use crate::api::gateway::requests::{frames, metadata, one};
use crate::api::gateway::statuses::late;
use crate::api::guest::Guest;
use crate::api::methods::{Flow, Rpc};
use crate::api::porch::Porch;
use crate::api::transport::body::Asked;
use crate::api::transport::call::StdError;
use crate::api::transport::receive_room::{ReceiveRoom, TakenIn};
use crate::base::limits;
use crate::env::Env;

/// Answers a request for a path of the gateway.
pub async fn serve<E, B>(
    porch: Arc<Porch<E>>,
    request: http::Request<B>,
    (room, guest): (ReceiveRoom, Guest),
) -> Response<Body>
where
    E: Env,
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<StdError> + Send,
{
    let Some(rpc) = Rpc::from_json_path(request.uri().path()) else {
        return error(&Status::not_found("Not Found"));
    };
    if request.method() != Method::POST {
        return error(&Status::unimplemented("Method Not Allowed"));
    }
    let begun = Instant::now();
    let patience = match patience(request.headers()) {
        Ok(patience) => patience,
        Err(status) => return error(&status),
    };
    let (head, body) = request.into_parts();
    let body = if rpc.flow() == Flow::BidiStream {
        Body::new(frames(body, kinds(rpc).input.clone()))
    } else {
        let most = porch.terms.max_message_bytes().saturating_mul(limits::JSON_TIMES);
        let length = body.size_hint().exact().map_or(most, |length| usize::try_from(length).unwrap_or(usize::MAX));
        let gathered = one(TakenIn::whole(body, room, length), most, &kinds(rpc).input);
        let message = match patience {
            Some(patience) => tokio::time::timeout(patience, gathered).await.unwrap_or_else(|_| Err(late())),
            None => gathered.await,
        };
        match message {
            Ok(message) => Body::new(Full::new(message).map_err(|never| match never {})),
            Err(status) => return error(&status),
        }
    };
    let left = patience.map(|patience| patience.saturating_sub(begun.elapsed()));
    if left.is_some_and(|left| left.is_zero()) {
        return error(&late());
    }
    let mut asked = http::Request::new(Asked::<B>::Made(body));
    *asked.method_mut() = Method::POST;
    *asked.uri_mut() = http::Uri::from_static(rpc.path());
    *asked.headers_mut() = metadata(&head.headers, left);
    let answer = dispatch::serve(porch, asked, guest).await;
    if rpc.flow() == Flow::Unary {
        unary(answer, &kinds(rpc).output).await
    } else {
        stream(answer, kinds(rpc).output.clone()).await
    }
}

/// How long the client waits.
fn patience(headers: &HeaderMap) -> Result<Option<Duration>, Status> {
    let Some(told) = headers.get("grpc-timeout") else { return Ok(None) };
    let told = String::from_utf8_lossy(told.as_bytes());
    let refused = || Status::new(Code::InvalidArgument, format!("invalid grpc-timeout: {told}"));
    timeout(&told).map(Some).ok_or_else(refused)
}
