//! The JSON gateway: requests in JSON over plain HTTP, answered by the methods of gRPC.
//!
//! A request becomes the gRPC request that it stands for and enters by the same door (`dispatch`), so that deadlines,
//! limits, callers and counts are those of gRPC. The mapping is grpc-gateway's, from the descriptors of the messages.
//!
//! Invariant: nothing is decided here that the method decides. Does not know what the methods do.

mod answers;
mod aside;
mod json;
mod requests;
mod statuses;
mod strict;
mod strings;
mod transcoder;
pub mod websocket;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, Response, Version};
use http_body::Body as HttpBody;
use http_body_util::{BodyExt, Full};
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};

use crate::api::dispatch;
use crate::api::gateway::answers::{at_once, error, stream, unary};
use crate::api::gateway::json::kinds;
use crate::api::gateway::requests::{check_binary, check_metadata, frames, metadata, one};
use crate::api::gateway::statuses::late;
use crate::api::guest::Guest;
use crate::api::methods::{Flow, Rpc};
use crate::api::porch::Porch;
use crate::api::transport::body::Asked;
use crate::api::transport::call::StdError;
use crate::api::transport::receive_room::{ReceiveRoom, TakenIn};
use crate::api::transport::unwanted::read_off;
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
    let begun = Instant::now();
    let (rpc, patience) = match asked(&request) {
        Ok(asked) => asked,
        Err(status) => {
            read_off(request.into_body()).await;
            return error(&status);
        }
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
    match check_metadata(&head.headers) {
        Ok(()) => {
            let answer = async {
                let answer = ask::<E, B>(porch, rpc, body, metadata(&head.headers, left), guest).await;
                let knows_its_end = head.version > Version::HTTP_10 || rpc.flow() != Flow::Unary;
                if knows_its_end { answer } else { at_once(answer).await }
            };
            match left.filter(|_| rpc.flow() == Flow::Unary) {
                // What is written as JSON waits for its turn, too.
                Some(left) => tokio::time::timeout(left, answer).await.unwrap_or_else(|_| error(&late())),
                None => answer.await,
            }
        }
        Err(status) => error(&status),
    }
}

/// Asks a method by messages in their frames.
async fn ask<E, B>(porch: Arc<Porch<E>>, rpc: Rpc, messages: Body, metadata: HeaderMap, guest: Guest) -> Response<Body>
where
    E: Env,
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<StdError> + Send,
{
    let mut asked = http::Request::new(Asked::<B>::Made(messages));
    *asked.method_mut() = Method::POST;
    *asked.uri_mut() = http::Uri::from_static(rpc.path());
    *asked.headers_mut() = metadata;
    let answer = dispatch::serve(porch, asked, guest).await;
    if rpc.flow() == Flow::Unary {
        unary(answer, &kinds(rpc).output).await
    } else {
        stream(answer, kinds(rpc).output.clone()).await
    }
}

/// Which method is asked for, and how long the client waits.
fn asked<B>(request: &http::Request<B>) -> Result<(Rpc, Option<Duration>), Status> {
    let rpc = Rpc::from_json_path(request.uri().path()).ok_or_else(|| Status::not_found("Not Found"))?;
    if method(request) != "POST" {
        return Err(Status::unimplemented("Method Not Allowed"));
    }
    let patience = patience(request.headers())?;
    check_binary(request.headers())?;
    Ok((rpc, patience))
}

/// The method; a form that is posted may say another, as to grpc-gateway.
fn method<B>(request: &http::Request<B>) -> String {
    let is_form = request.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "application/x-www-form-urlencoded");
    let other = request.headers().get("x-http-method-override").filter(|other| !other.is_empty());
    match other.filter(|_| is_form && request.method() == Method::POST) {
        Some(other) => String::from_utf8_lossy(other.as_bytes()).to_uppercase(),
        None => request.method().to_string(),
    }
}

/// How long the client waits. Not gRPC's own notation but grpc-gateway's: any number of 64 bits, which counts round when it
/// is too many nanoseconds; none is no bound, and what is over has no time left.
fn patience(headers: &HeaderMap) -> Result<Option<Duration>, Status> {
    let Some(told) = headers.get("grpc-timeout").filter(|told| !told.is_empty()) else { return Ok(None) };
    let told = String::from_utf8_lossy(told.as_bytes());
    let refused = || Status::new(Code::InvalidArgument, format!("invalid grpc-timeout: {told}"));
    let nanos = nanoseconds(&told).ok_or_else(refused)?;
    Ok((nanos != 0).then(|| Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))))
}

fn nanoseconds(told: &str) -> Option<i64> {
    let (number, unit) = told.split_at_checked(told.len().checked_sub(1)?)?;
    let unit: i64 = match unit {
        "H" => 3_600_000_000_000,
        "M" => 60_000_000_000,
        "S" => 1_000_000_000,
        "m" => 1_000_000,
        "u" => 1_000,
        "n" => 1,
        _ => return None,
    };
    Some(number.parse::<i64>().ok()?.wrapping_mul(unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked_with(path: &str, method: Method, fields: &[(&str, &str)]) -> Result<Rpc, (Code, String)> {
        let request = http::Request::builder().uri(path).method(method);
        let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let asked = asked(&request.body(()).expect("a request"));
        asked.map(|(rpc, _)| rpc).map_err(|status| (status.code(), status.message().to_owned()))
    }

    #[test]
    fn what_is_no_request_is_told_before_its_body_is_read() {
        fn put(method: Method, fields: &[(&str, &str)]) -> Result<Rpc, (Code, String)> {
            asked_with("/v3/kv/put", method, fields)
        }
        let not_allowed = || Err((Code::Unimplemented, "Method Not Allowed".to_owned()));
        let form = ("content-type", "application/x-www-form-urlencoded");
        assert_eq!(put(Method::POST, &[]), Ok(Rpc::Put));
        assert_eq!(put(Method::GET, &[]), not_allowed());
        assert_eq!(put(Method::POST, &[form]), Ok(Rpc::Put));
        assert_eq!(put(Method::POST, &[form, ("x-http-method-override", "get")]), not_allowed());
        assert_eq!(put(Method::POST, &[form, ("x-http-method-override", "post")]), Ok(Rpc::Put));
        assert_eq!(put(Method::POST, &[("x-http-method-override", "GET")]), Ok(Rpc::Put));
        assert_eq!(asked_with("/v3/nope", Method::POST, &[]), Err((Code::NotFound, "Not Found".to_owned())));
        let waits = |told: &'static str| {
            let headers = HeaderMap::from_iter([(
                http::HeaderName::from_static("grpc-timeout"),
                http::HeaderValue::from_static(told),
            )]);
            patience(&headers).map_err(|status| status.message().to_owned())
        };
        // Each was asked of stock etcd.
        for (told, patience) in [
            ("100m", Some(Duration::from_millis(100))),
            ("+5S", Some(Duration::from_secs(5))),
            ("123456789S", Some(Duration::from_secs(123_456_789))),
            ("00000000005S", Some(Duration::from_secs(5))),
            ("-1S", Some(Duration::ZERO)),
            ("2562048H", Some(Duration::ZERO)),
            ("0S", None),
            ("", None),
        ] {
            assert_eq!(waits(told), Ok(patience), "{told}");
        }
        for told in ["5", "S", "1x", "1_0S", "5s", "1.5S", "99999999999999999999S"] {
            assert_eq!(waits(told), Err(format!("invalid grpc-timeout: {told}")));
        }
        let told = "invalid grpc-timeout: x".to_owned();
        assert_eq!(put(Method::POST, &[("grpc-timeout", "x")]), Err((Code::InvalidArgument, told)));
        let binary = |at| format!("invalid binary header Grpc-Metadata-X-Bin: illegal base64 data at input byte {at}");
        for (value, at) in [("!!", 0), ("AA!A", 2), ("A", 0), ("AAA=A", 3)] {
            let refused = Err((Code::InvalidArgument, binary(at)));
            assert_eq!(put(Method::POST, &[("grpc-metadata-x-bin", value)]), refused, "{value}");
        }
        assert_eq!(put(Method::POST, &[("grpc-metadata-x-bin", "AAA="), ("x-bin", "!!")]), Ok(Rpc::Put));
    }
}
