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
use crate::api::gateway::transcoder::Transcoder;
use crate::api::status::deadline_exceeded;
use crate::base::limits;

/// Bytes before each message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// What came with the answer's head of gRPC goes on under this name.
const GRPC_CONTENT_TYPE: HeaderName = HeaderName::from_static("grpc-metadata-content-type");

fn whole(body: impl Into<Bytes>) -> Response<Body> {
    json(Body::new(Full::new(body.into()).map_err(|never| match never {})))
}

fn json(body: Body) -> Response<Body> {
    let mut answer = Response::new(body);
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
    /// The length of the next message, of which the beginning is here; `None` at an end in order.
    async fn length(&mut self) -> Result<Option<usize>, Status> {
        loop {
            if let Some(length) = self.received.get(1..PREFIX_BYTES) {
                let length = u32::from_be_bytes(length.try_into().expect("four bytes are four"));
                return Ok(Some(length as usize));
            }
            let Some(bytes) = self.more().await? else { return Ok(None) };
            if self.received.is_empty() {
                // It may be all there is, and long.
                self.received = bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
            } else {
                self.received.extend_from_slice(&bytes);
            }
        }
    }

    /// The next message; `None` at an end in order.
    async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        let Some(length) = self.length().await? else { return Ok(None) };
        while self.received.len() < PREFIX_BYTES + length {
            let Some(bytes) = self.more().await? else { return Ok(None) };
            self.received.extend_from_slice(&bytes);
        }
        self.received.advance(PREFIX_BYTES);
        Ok(Some(self.received.split_to(length).freeze()))
    }

    /// What comes next; `None` at an end in order.
    async fn more(&mut self) -> Result<Option<Bytes>, Status> {
        let Some(frame) = self.body.frame().await else { return Ok(None) };
        match frame?.into_data() {
            Ok(bytes) => Ok(Some(bytes)),
            Err(frame) => ended(&frame.into_trailers().unwrap_or_default()).map(|()| None),
        }
    }
}

/// A long message on its way: so much of it is made JSON as its client takes.
struct Long {
    messages: Messages,
    /// Of the whole.
    length: usize,
    /// Bytes that the transcoder has not got.
    left: usize,
    /// Those of them that are here.
    here: Bytes,
    transcoder: Transcoder,
    /// What is written and not taken.
    ready: Bytes,
}

impl Long {
    /// The message that is next, of such a length.
    fn of(mut messages: Messages, kind: MessageDescriptor, length: usize) -> Self {
        let transcoder = Transcoder::new(kind, length, limits::JSON_AT_ONCE_BYTES);
        messages.received.advance(PREFIX_BYTES);
        let here = std::mem::take(&mut messages.received).freeze();
        Self { messages, length, left: length, here, transcoder, ready: Bytes::new() }
    }

    /// The next piece; `None` where all was said, and the call ended well.
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, Status> {
        while self.ready.is_empty() {
            if self.transcoder.is_done() {
                return Ok(None);
            }
            self.gather().await?;
            let Self { mut transcoder, length, .. } = self;
            // By the length of the whole: it has its turns among the long ones.
            let (transcoder, written) = aside(length, move || {
                let written = transcoder.step();
                (transcoder, written)
            })
            .await?;
            self.ready = written.map_err(Status::internal)?.into();
            self.transcoder = transcoder;
            if self.left == 0 && !self.transcoder.is_done() {
                return Err(Status::internal("a message ended within a field"));
            }
        }
        let piece = self.ready.split_to(self.ready.len().min(limits::JSON_PIECE_BYTES));
        Ok(Some((piece, self)))
    }

    /// A portion of what is to come, however much of it is here; with the last how the call ended.
    async fn gather(&mut self) -> Result<(), Status> {
        let mut wanted = limits::JSON_AT_ONCE_BYTES;
        while self.left > 0 && wanted > 0 {
            if self.here.is_empty() {
                let more = self.messages.more().await?;
                self.here = more.ok_or_else(|| Status::internal("a message was cut short"))?;
            }
            let portion = self.here.split_to(self.here.len().min(wanted).min(self.left));
            (wanted, self.left) = (wanted - portion.len(), self.left - portion.len());
            self.transcoder.received.extend_from_slice(&portion);
        }
        if self.left == 0 {
            self.messages.more().await?;
        }
        Ok(())
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

/// The answer that a long message is. What goes wrong behind its first piece cuts it off.
async fn in_pieces(long: Long) -> Result<Response<Body>, Status> {
    let begun = long.next().await?.map(|(piece, long)| (Some(piece), long));
    let pieces = unfold(begun, |state| async move {
        let (ready, long) = state?;
        if let Some(piece) = ready {
            return Some((Ok(Frame::data(piece)), Some((None, long))));
        }
        match long.next().await {
            Ok(next) => next.map(|(piece, long)| (Ok(Frame::data(piece)), Some((None, long)))),
            Err(status) => Some((Err(status), None)),
        }
    });
    Ok(json(Body::new(StreamBody::new(pieces))))
}

/// An answer of known length, or an error: for who could not tell one that is cut off from one that ends, as it is by HTTP/1.0.
pub async fn at_once(answer: Response<Body>) -> Response<Body> {
    let (head, body) = answer.into_parts();
    match body.collect().await {
        Ok(body) => Response::from_parts(head, whole(body.to_bytes()).into_body()),
        Err(status) => error(&status),
    }
}

/// The answer of a method that gives one. One that is long is written as it is taken: whoever takes nothing holds little.
pub async fn unary(answer: Response<Body>, kind: &MessageDescriptor) -> Response<Body> {
    let told = async {
        let mut messages = messages(answer)?;
        let length = messages.length().await?.ok_or_else(|| Status::internal("no answer"))?;
        if length > limits::JSON_AT_ONCE_BYTES {
            return in_pieces(Long::of(messages, kind.clone(), length)).await;
        }
        let message = messages.next().await?.ok_or_else(|| Status::internal("no answer"))?;
        messages.next().await?;
        from_protobuf(kind, &message).map(whole).map_err(Status::internal)
    };
    match told.await {
        Ok(mut answer) => {
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
    let mut answer = json(Body::new(StreamBody::new(lines)));
    answer.headers_mut().insert(GRPC_CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::gateway::json::kinds;
    use crate::api::methods::Rpc;
    use crate::wire::{etcdserverpb as pb, mvccpb};
    use futures_util::stream::{StreamExt, iter, once};
    use http_body::Body as _;
    use prost::Message;
    use std::future::ready;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

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

    /// A call's answer of so many keys of 10 kB, and how many bytes were asked of it.
    fn answer(keys: usize, status: Status) -> (Vec<u8>, Response<Body>, Arc<AtomicUsize>) {
        let kv = mvccpb::KeyValue { key: "k".into(), value: vec![7; 10_000].into(), ..Default::default() };
        let message = pb::RangeResponse { kvs: vec![kv; keys], count: 3, ..Default::default() }.encode_to_vec();
        let framed = [&[0][..], &(message.len() as u32).to_be_bytes(), &message].concat();
        let (asked, mut trailers) = (Arc::new(AtomicUsize::new(0)), HeaderMap::new());
        status.add_header(&mut trailers).expect("a head");
        let pieces: Vec<_> = framed.chunks(limits::PIECE_BYTES).map(Bytes::copy_from_slice).collect();
        let counted = asked.clone();
        let frames = iter(pieces).map(move |piece| {
            counted.fetch_add(piece.len(), Relaxed);
            Ok::<_, Status>(Frame::data(piece))
        });
        let frames = frames.chain(once(ready(Ok(Frame::trailers(trailers)))));
        (message, Response::new(Body::new(StreamBody::new(frames))), asked)
    }

    /// Gathered whole it takes a fresh page for each of its own, twice over, while a thread that serves everybody stands still;
    /// and whoever does not take it has it held.
    #[tokio::test]
    async fn of_a_long_answer_no_more_is_asked_than_its_client_takes() {
        let kind = &kinds(Rpc::Range).output;
        let (message, answer, asked) = answer(1_000, Status::ok(""));
        let mut told = unary(answer, kind).await.into_body();
        let most = 3 * limits::JSON_AT_ONCE_BYTES;
        assert!(asked.load(Relaxed) <= most, "{asked:?} for the head");
        let mut json = Vec::new();
        while let Some(frame) = told.frame().await {
            let piece = frame.expect("no end before").into_data().expect("no trailers");
            assert!(piece.len() <= limits::JSON_PIECE_BYTES);
            json.extend_from_slice(&piece);
            let ahead = asked.load(Relaxed).saturating_sub(json.len() / 4 * 3);
            assert!(ahead <= most, "{ahead} bytes are ahead of the client");
        }
        assert!(json == from_protobuf(kind, &message).expect("a message"));
    }

    /// As a transaction's does.
    #[tokio::test]
    async fn a_long_answer_that_comes_whole_is_written_in_portions() {
        let kind = &kinds(Rpc::Range).output;
        let message = answer(1_000, Status::ok("")).0;
        let framed = [&[0][..], &(message.len() as u32).to_be_bytes(), &message].concat();
        let body = Body::new(Full::from(framed).map_err(|never| match never {}));
        let mut messages = messages(Response::new(body)).expect("a head");
        let length = messages.length().await.expect("in order").expect("one message");
        let (mut long, mut json) = (Long::of(messages, kind.clone(), length), Vec::new());
        while let Some((piece, next)) = long.next().await.expect("in order") {
            assert!(next.transcoder.received.len() + next.ready.len() <= 3 * limits::JSON_AT_ONCE_BYTES);
            json.extend_from_slice(&piece);
            long = next;
        }
        assert!(json == from_protobuf(kind, &message).expect("a message"));
    }

    #[tokio::test]
    async fn by_http_1_0_an_answer_is_whole_or_an_error() {
        let kind = &kinds(Rpc::Range).output;
        let (message, long, _) = answer(100, Status::ok(""));
        let told = at_once(unary(long, kind).await).await;
        let json = from_protobuf(kind, &message).expect("a message");
        assert_eq!((told.status().as_u16(), told.body().size_hint().exact()), (200, Some(json.len() as u64)));
        assert!(told.into_body().collect().await.expect("whole").to_bytes() == json);
        let (_, ends_badly, _) = answer(100, Status::resource_exhausted("x"));
        assert_eq!(at_once(unary(ends_badly, kind).await).await.status(), 429);
    }

    #[tokio::test]
    async fn a_long_answer_that_ends_badly_is_cut_off_and_a_short_one_is_an_error() {
        let (given_up, kind) = (Status::resource_exhausted("x"), &kinds(Rpc::Range).output);
        let (_, long, _) = answer(100, given_up.clone());
        let long = unary(long, kind).await;
        assert_eq!(long.status(), 200);
        assert!(long.into_body().collect().await.is_err_and(|status| status.code() == Code::ResourceExhausted));
        let (_, short, _) = answer(1, given_up);
        assert_eq!(unary(short, kind).await.status(), 429);
        let (_, mut cut, _) = answer(100, Status::ok(""));
        let body = std::mem::take(cut.body_mut());
        let part = StreamBody::new(body.into_data_stream().take(9).map(|bytes| bytes.map(Frame::data)));
        let cut = unary(Response::new(Body::new(part)), kind).await;
        assert!(cut.into_body().collect().await.is_err());
    }
}
