//! Answers of gRPC as HTTP and JSON.
//!
//! Invariants: one answer is the message, many are a line each; what went wrong before the first line is the HTTP status, too.

use bytes::{Buf, Bytes, BytesMut};
use futures_util::stream::unfold;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderMap, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use prost_reflect::MessageDescriptor;
use tonic::body::Body;
use tonic::{Code, Status};

use crate::api::gateway::aside::aside;
use crate::api::gateway::json::from_protobuf;
use crate::api::gateway::statuses::{http_status, late};
use crate::api::status::deadline_exceeded;

/// What came with the answer's head of gRPC goes on under this name.
const GRPC_CONTENT_TYPE: HeaderName = HeaderName::from_static("grpc-metadata-content-type");

fn whole(body: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(body.into()).map_err(|never| match never {});
    let mut answer = Response::new(Body::new(body));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// A status as grpc-gateway writes it.
fn told(status: &Status) -> String {
    let code = status.code() as i32;
    if status.message().is_empty() {
        return format!("{{\"code\":{code}}}");
    }
    let message = serde_json::Value::from(status.message());
    format!("{{\"code\":{code},\"message\":{message}}}")
}

/// The answer to a request that failed.
pub fn error(status: &Status) -> Response<Body> {
    let mut answer = whole(told(status));
    *answer.status_mut() = http_status(status.code());
    if status.code() == Code::Unauthenticated
        && let Ok(message) = HeaderValue::try_from(status.message())
    {
        answer.headers_mut().insert(WWW_AUTHENTICATE, message);
    }
    answer
}

/// Messages of a gRPC answer.
struct Messages {
    body: Body,
    received: BytesMut,
}

impl Messages {
    /// The next message; `None` at an end in order.
    async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            if let Some(length) = self.received.get(1..5) {
                let length = u32::from_be_bytes(length.try_into().expect("four bytes are four")) as usize;
                if self.received.len() >= 5 + length {
                    self.received.advance(5);
                    return Ok(Some(self.received.split_to(length).freeze()));
                }
            }
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            match frame?.into_data() {
                Ok(bytes) => self.received.extend_from_slice(&bytes),
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    return ended(&trailers).map(|()| None);
                }
            }
        }
    }
}

/// How a call ended, by its trailers; or by its head, where that is all there is.
fn ended(trailers: &HeaderMap) -> Result<(), Status> {
    match Status::from_header_map(trailers) {
        Some(status) if status.message() == deadline_exceeded().message() => Err(late()),
        Some(status) if status.code() != Code::Ok => Err(status),
        _ => Ok(()),
    }
}

fn messages(answer: Response<Body>) -> Result<Messages, Status> {
    ended(answer.headers())?;
    Ok(Messages { body: answer.into_body(), received: BytesMut::new() })
}

async fn encoded(kind: MessageDescriptor, message: Bytes) -> Result<Vec<u8>, Status> {
    aside(message.len(), move || from_protobuf(&kind, &message)).await?.map_err(Status::internal)
}

/// The answer of a method that gives one.
pub async fn unary(answer: Response<Body>, kind: &MessageDescriptor) -> Response<Body> {
    let message = async {
        let mut messages = messages(answer)?;
        let message = messages.next().await?.ok_or_else(|| Status::internal("no answer"))?;
        messages.next().await?;
        encoded(kind.clone(), message).await
    };
    match message.await {
        Ok(json) => {
            let mut answer = whole(json);
            answer.headers_mut().insert(GRPC_CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            answer
        }
        Err(status) => error(&status),
    }
}

/// A line of a stream, in which Go's library escapes what would be markup.
fn line(name: &str, json: &str) -> Bytes {
    let mut line = String::with_capacity(json.len() + name.len() + 6);
    line.push_str(&format!("{{\"{name}\":"));
    for c in json.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => line.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => line.push(c),
        }
    }
    line.push_str("}\n");
    line.into()
}

async fn result(kind: MessageDescriptor, message: Bytes) -> Result<Bytes, Status> {
    let message_bytes = message.len();
    let written = move || from_protobuf(&kind, &message).map(|json| line("result", &String::from_utf8_lossy(&json)));
    aside(message_bytes, written).await?.map_err(Status::internal)
}

/// The next line of a stream; nothing at an end in order.
async fn next_line(messages: &mut Messages, kind: &MessageDescriptor) -> Result<Option<Bytes>, Status> {
    match messages.next().await? {
        Some(message) => result(kind.clone(), message).await.map(Some),
        None => Ok(None),
    }
}

/// The answers of a method that gives many. The head leaves with the first, as from grpc-gateway.
pub async fn stream(answer: Response<Body>, kind: MessageDescriptor) -> Response<Body> {
    let begun = async {
        let mut messages = messages(answer)?;
        let first = next_line(&mut messages, &kind).await?;
        Ok::<_, Status>((messages, first))
    };
    let (messages, first) = match begun.await {
        Ok(begun) => begun,
        Err(status) => {
            let mut answer = whole(line("error", &told(&status)));
            *answer.status_mut() = http_status(status.code());
            return answer;
        }
    };
    // An end before anything was said says nothing, not even of what kind.
    let Some(first) = first else { return Response::new(Body::empty()) };
    // Whatever went wrong is the last line.
    let lines = unfold(Some((Some(first), messages, kind)), |state| async move {
        let (ready, mut messages, kind) = state?;
        if let Some(ready) = ready {
            return Some((Ok::<_, Status>(Frame::data(ready)), Some((None, messages, kind))));
        }
        match next_line(&mut messages, &kind).await {
            Ok(next) => next.map(|line| (Ok(Frame::data(line)), Some((None, messages, kind)))),
            Err(status) => Some((Ok(Frame::data(line("error", &told(&status)))), None)),
        }
    });
    let mut answer = Response::new(Body::new(StreamBody::new(lines)));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer.headers_mut().insert(GRPC_CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_as_grpc_gateway_tells_them() {
        assert_eq!(told(&Status::not_found("no \"x\"")), r#"{"code":5,"message":"no \"x\""}"#);
        assert_eq!(told(&Status::new(Code::Unknown, "")), r#"{"code":2}"#);
        let answer = error(&Status::unauthenticated("etcdserver: invalid auth token"));
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()[WWW_AUTHENTICATE]),
            (401, &HeaderValue::from_static("etcdserver: invalid auth token"))
        );
        assert_eq!(error(&Status::cancelled("x")).status().as_u16(), 499);
    }

    #[test]
    fn lines_hold_no_markup() {
        assert_eq!(
            line("error", r#"{"message":"<a & b>"}"#),
            "{\"error\":{\"message\":\"\\u003ca \\u0026 b\\u003e\"}}\n"
        );
    }
}
