//! Requests in JSON as the frames of gRPC.
//!
//! Invariants: no more of a body is kept than its limit; what follows the one message of a method is not looked at, as by
//! grpc-gateway; on a stream of requests the first that is no message ends them, and the answers go on.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream::unfold;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, StreamBody};
use prost_reflect::MessageDescriptor;
use tonic::Status;

use crate::api::gate::is_base64;
use crate::api::gateway::aside::aside;
use crate::api::gateway::json::{Splitter, to_protobuf};
use crate::api::transport::call::StdError;
use crate::base::limits;

/// Fields whose name begins so go on to the method, without it.
const METADATA: &str = "grpc-metadata-";

/// Metadata that is the transport's own.
const RESERVED: [&str; 8] = [
    "content-type",
    "user-agent",
    "te",
    "grpc-encoding",
    "grpc-message",
    "grpc-message-type",
    "grpc-status",
    "grpc-timeout",
];

/// The metadata of the gRPC request.
pub fn metadata(headers: &HeaderMap, patience: Option<Duration>) -> HeaderMap {
    let mut metadata = HeaderMap::new();
    metadata.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    for (name, value) in headers {
        let name = match name.as_str().strip_prefix(METADATA) {
            // What would not pass as metadata is left out, as by grpc-gateway.
            Some(rest) if !RESERVED.contains(&rest) && is_text(value) => HeaderName::try_from(rest).ok(),
            Some(_) => None,
            None => (name == AUTHORIZATION).then_some(AUTHORIZATION),
        };
        if let Some(name) = name {
            metadata.append(name, value.clone());
        }
    }
    if let Some(patience) = patience {
        let told = told(patience);
        metadata.insert("grpc-timeout", HeaderValue::try_from(told).expect("digits and a letter are a header's value"));
    }
    metadata
}

/// Whether metadata may have this value.
fn is_text(value: &HeaderValue) -> bool {
    value.as_bytes().iter().all(|byte| matches!(byte, b' '..=b'~'))
}

/// Whether the client of etcd's gateway could send what is to go on.
///
/// # Errors
/// It could not, in its library's words.
pub fn check_metadata(headers: &HeaderMap) -> Result<(), Status> {
    if headers.get_all(METADATA).iter().any(is_text) {
        return Err(Status::internal("there is an empty key in the header"));
    }
    if headers.get_all(AUTHORIZATION).iter().all(is_text) {
        return Ok(());
    }
    Err(Status::internal("header key \"authorization\" contains value with non-printable ASCII characters"))
}

/// Whether what is to go on as binary metadata is base64.
///
/// # Errors
/// It is not, in grpc-gateway's words.
pub fn check_binary(headers: &HeaderMap) -> Result<(), Status> {
    let wrong = headers.iter().find(|(name, value)| {
        name.as_str().starts_with(METADATA) && name.as_str().ends_with("-bin") && !is_base64(value.as_bytes())
    });
    let Some((name, value)) = wrong else { return Ok(()) };
    // As Go writes names of fields.
    let name = name.as_str().split('-').map(|word| word.split_at(1.min(word.len())));
    let name: Vec<String> = name.map(|(first, rest)| first.to_uppercase() + rest).collect();
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let bytes = value.as_bytes();
    let at = bytes.iter().position(|byte| !is_digit(byte)).unwrap_or(bytes.len().saturating_sub(1));
    Err(Status::invalid_argument(format!(
        "invalid binary header {}: illegal base64 data at input byte {at}",
        name.join("-")
    )))
}

/// A time in gRPC's notation: up to eight digits, and the finest unit that takes no more. Never more than was given.
fn told(time: Duration) -> String {
    const MOST: u128 = 99_999_999;
    let units = [(time.as_nanos(), 'n'), (time.as_micros(), 'u'), (time.as_millis(), 'm')];
    let fine = units.into_iter().find(|(number, _)| *number <= MOST);
    let (number, unit) = fine.unwrap_or((u128::from(time.as_secs()).min(MOST), 'S'));
    format!("{number}{unit}")
}

fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).expect("a message made of a bounded body is bounded"));
    frame.put_slice(message);
    frame.freeze()
}

pub fn failed(error: StdError) -> Status {
    match error.downcast::<Status>() {
        Ok(status) => *status,
        Err(_) => Status::invalid_argument("unexpected EOF"),
    }
}

/// The one message of a body, in its frame. An empty body is an empty message.
pub async fn one<B>(mut body: B, most: usize, kind: &MessageDescriptor) -> Result<Bytes, Status>
where
    B: Body<Data = Bytes, Error = StdError> + Unpin,
{
    let mut json = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(bytes) = frame.map_err(failed)?.into_data() else { continue };
        if json.len() + bytes.len() > most {
            let text = format!("grpc: received message larger than max ({} vs. {most})", json.len() + bytes.len());
            return Err(Status::resource_exhausted(text));
        }
        json.extend_from_slice(&bytes);
    }
    let kind = kind.clone();
    aside(json.len(), move || {
        let mut splitter = Splitter::default();
        let end = splitter.end(&json).unwrap_or(json.len());
        if !splitter.has_begun() {
            return Ok(framed(&[]));
        }
        splitter.check_depth().map_err(Status::invalid_argument)?;
        to_protobuf(&kind, json[..end].trim_ascii_start())
            .map(|message| framed(&message))
            .map_err(Status::invalid_argument)
    })
    .await?
}

/// The messages of a body one after the other, in their frames.
pub fn frames<B>(body: B, kind: MessageDescriptor) -> impl Body<Data = Bytes, Error = Status> + Send + 'static
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Send,
{
    let begin = (body, BytesMut::new(), Splitter::default(), kind);
    StreamBody::new(unfold(begin, |(mut body, mut json, mut splitter, kind)| async move {
        loop {
            if let Some(end) = splitter.end(&json) {
                let value = json.split_to(end);
                // No message, no more: who asks is told nothing of it, as by grpc-gateway.
                splitter.check_depth().ok()?;
                let message = to_protobuf(&kind, value.trim_ascii_start()).ok()?;
                return Some((Ok(Frame::data(framed(&message))), (body, json, Splitter::default(), kind)));
            }
            if json.len() > limits::JSON_STREAM_MESSAGE_BYTES {
                return None;
            }
            if let Ok(bytes) = body.frame().await?.ok()?.into_data() {
                json.extend_from_slice(&bytes);
            }
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::gateway::json::kinds;
    use crate::api::methods::Rpc;
    use crate::wire::etcdserverpb as pb;
    use http_body_util::Full;
    use prost::Message;

    #[tokio::test]
    async fn a_long_body_is_read_aside() {
        let json = format!("{{\"value\":\"{}\"}}", "AAAA".repeat(limits::JSON_AT_ONCE_BYTES));
        let body = Full::<Bytes>::from(json).map_err(|never| -> StdError { match never {} });
        let kind = &crate::api::gateway::json::kinds(crate::api::methods::Rpc::Put).input;
        let mut long = std::pin::pin!(one(body, 1 << 20, kind));
        let waits = std::future::poll_fn(|cx| std::task::Poll::Ready(long.as_mut().poll(cx).is_pending())).await;
        assert!(waits, "it is made beside this thread");
        long.await.expect("a message");
    }

    #[test]
    fn what_is_the_methods_goes_on_and_the_rest_does_not() {
        let fields = [
            ("authorization", "token"),
            ("grpc-metadata-hasleader", "true"),
            ("grpc-metadata-content-type", "text/html"),
            ("grpc-timeout", "9S"),
            ("host", "h"),
            ("cookie", "c"),
        ];
        let headers = fields.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let mut headers = HeaderMap::from_iter(headers);
        let no_text = HeaderValue::from_bytes(b"\xe9").expect("a field may have it");
        headers.insert("grpc-metadata-name", no_text.clone());
        assert!(check_metadata(&headers).is_ok(), "it is left out");
        let metadata = metadata(&headers, Some(Duration::from_millis(200)));
        headers.insert(AUTHORIZATION, no_text);
        let why = |headers: &HeaderMap| check_metadata(headers).expect_err("refused").message().to_owned();
        assert_eq!(why(&headers), "header key \"authorization\" contains value with non-printable ASCII characters");
        headers.insert("grpc-metadata-", HeaderValue::from_static("x"));
        assert_eq!(why(&headers), "there is an empty key in the header");
        let mut have: Vec<(&str, &[u8])> =
            metadata.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        have.sort_unstable();
        let expected: [(&str, &[u8]); 4] = [
            ("authorization", b"token"),
            ("content-type", b"application/grpc"),
            ("grpc-timeout", b"200000u"),
            ("hasleader", b"true"),
        ];
        assert_eq!(have, expected);
        assert_eq!(told(Duration::ZERO), "0n");
        assert_eq!(told(Duration::from_secs(u64::MAX)), "99999999S");
        assert_eq!(told(Duration::from_secs(99_999)), "99999000m");
    }

    #[tokio::test]
    async fn a_body_is_one_message_within_its_limit() {
        let kind = &kinds(Rpc::Put).input;
        let of = |json: &'static str, most| one(Full::from(json).map_err(|never| match never {}), most, kind);
        let frame = of(r#" {"key":"YQ=="} and more"#, 100).await.expect("a message");
        let message = pb::PutRequest::decode(&frame[5..]).expect("a put");
        assert_eq!((message.key.as_ref(), frame[4] as usize), (&b"a"[..], frame.len() - 5));
        assert_eq!(of(" ", 100).await.expect("an empty one").as_ref(), [0; 5]);
        let refused = of(r#"{"key":"YQ=="}"#, 5).await.expect_err("too long");
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        let refused = of(r#"{"key":"#, 100).await.expect_err("cut off");
        assert_eq!((refused.code(), refused.message()), (tonic::Code::InvalidArgument, "unexpected EOF"));
    }

    #[tokio::test]
    async fn a_stream_of_requests_ends_at_the_first_that_is_none() {
        let kind = kinds(Rpc::Watch).input.clone();
        let all = |json: String| frames(Full::from(json), kind.clone()).collect();
        let three = r#"{"progress_request":{}} {"cancel_request":{"watch_id":"7"}}{} null {}"#;
        assert_eq!(all(three.into()).await.expect("frames").to_bytes().len(), 5 + 2 + 5 + 4 + 5);
        let long = format!("{{\"x\":\"{}\"}}", "y".repeat(limits::JSON_STREAM_MESSAGE_BYTES));
        assert_eq!(all(long[..long.len() - 1].into()).await.expect("none").to_bytes().len(), 0);
    }
}
