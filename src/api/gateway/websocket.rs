//! WebSockets, as grpc-websocket-proxy has them in front of etcd's gateway: a message is a request in JSON, a line of the answer a
//! message.
//!
//! Invariants: whom a conversation is with, and on what terms, is decided before it begins; a token comes as sub-protocol or as
//! cookie, as browsers can send it, and no other field of the first request goes on. Does not know how messages travel.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use futures_util::stream::unfold;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode, Version};
use http_body::{Body as HttpBody, Frame};
use http_body_util::{BodyExt, Full, StreamBody};
use sha1::{Digest, Sha1};
use tokio::sync::mpsc;
use tonic::Status;
use tonic::body::Body;

use crate::api::gateway::answers::error;
use crate::api::gateway::ask;
use crate::api::gateway::json::{Splitter, kinds};
use crate::api::gateway::requests::{frames, metadata, one};
use crate::api::guest::Guest;
use crate::api::methods::{Flow, Rpc};
use crate::api::porch::Porch;
use crate::api::transport::call::StdError;
use crate::base::limits;
use crate::env::Env;

/// What the key of a client is hashed with, by RFC 6455.
const MAGIC: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The cookie in which a token may come.
const TOKEN_COOKIE: &str = "token";

type Begin = Box<dyn FnOnce(mpsc::Receiver<Bytes>) -> BoxFuture<'static, Response<Body>> + Send>;

/// What follows on a connection whose answer promises a WebSocket; it is among the answer's extensions.
#[derive(Clone)]
pub struct Conversation(Arc<Mutex<Option<Begin>>>);

impl fmt::Debug for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Conversation")
    }
}

impl Conversation {
    /// The answer to what the client says, whose messages come here until it ends; nothing where it was begun before.
    pub fn begin(&self, messages: mpsc::Receiver<Bytes>) -> Option<BoxFuture<'static, Response<Body>>> {
        let begin = self.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(begin(messages))
    }
}

/// Whether a request is for a WebSocket.
pub fn is_wanted<B>(request: &http::Request<B>) -> bool {
    request.version() < Version::HTTP_2
        && has_token(request.headers(), header::CONNECTION, "upgrade")
        && has_token(request.headers(), header::UPGRADE, "websocket")
}

fn has_token(headers: &HeaderMap, name: HeaderName, wanted: &str) -> bool {
    let mut values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.any(|value| value.split(',').any(|token| token.trim().eq_ignore_ascii_case(wanted)))
}

/// The promise of one, with its [`Conversation`]; or why there is none.
pub fn promise<E, B>(porch: &Arc<Porch<E>>, request: &http::Request<B>, guest: Guest) -> Response<Body>
where
    E: Env,
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<StdError> + Send,
{
    let key = match key_of(request) {
        Ok(key) => key,
        Err(code) => return refused(code),
    };
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept(key));
    let spoken = request.headers().get(header::SEC_WEBSOCKET_PROTOCOL);
    if spoken.is_some_and(|spoken| spoken.as_bytes().starts_with(b"Bearer")) {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("Bearer"));
    }
    let (porch, fields) = (porch.clone(), fields(request.headers()));
    let rpc = Rpc::from_json_path(request.uri().path());
    let begin: Begin =
        Box::new(move |messages| Box::pin(async move { converse::<E, B>(porch, rpc, fields, guest, messages).await }));
    answer.extensions_mut().insert(Conversation(Arc::new(Mutex::new(Some(begin)))));
    answer
}

/// The client's key.
///
/// # Errors
/// It is no handshake of a WebSocket.
fn key_of<B>(request: &http::Request<B>) -> Result<&HeaderValue, StatusCode> {
    if request.method() != Method::GET {
        return Err(StatusCode::METHOD_NOT_ALLOWED);
    }
    if !has_token(request.headers(), header::SEC_WEBSOCKET_VERSION, "13") {
        return Err(StatusCode::BAD_REQUEST);
    }
    let key = request.headers().get(header::SEC_WEBSOCKET_KEY).filter(|key| !key.is_empty());
    key.ok_or(StatusCode::BAD_REQUEST)
}

fn refused(code: StatusCode) -> Response<Body> {
    let text = format!("{}\n", code.canonical_reason().unwrap_or_default());
    let mut answer = Response::new(Body::new(Full::from(text).map_err(|never| match never {})));
    *answer.status_mut() = code;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    answer
}

fn accept(key: &HeaderValue) -> HeaderValue {
    let digest = Sha1::new().chain_update(key.as_bytes()).chain_update(MAGIC).finalize();
    HeaderValue::try_from(STANDARD.encode(digest)).expect("base64 is a header's value")
}

/// The fields of the request that the gateway sees.
fn fields(headers: &HeaderMap) -> HeaderMap {
    let mut fields = HeaderMap::new();
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let spoken = headers.get(header::SEC_WEBSOCKET_PROTOCOL).map(text).filter(|spoken| !spoken.is_empty());
    let by_protocol = spoken.map(|spoken| match spoken.split_once("Bearer,") {
        Some((_, token)) => format!("Bearer {}", token.trim_matches(' ')),
        None => String::new(),
    });
    let cookies = headers.get_all(header::COOKIE).iter().map(text);
    let by_cookie =
        cookies.flat_map(|cookies| cookies.split(';').map(str::to_owned).collect::<Vec<_>>()).find_map(|cookie| {
            cookie.trim().strip_prefix(TOKEN_COOKIE)?.strip_prefix('=').map(|token| format!("Bearer {token}"))
        });
    let token = by_cookie.or(by_protocol).and_then(|token| HeaderValue::try_from(token).ok());
    if let Some(token) = token {
        fields.insert(header::AUTHORIZATION, token);
    }
    fields
}

async fn converse<E, B>(
    porch: Arc<Porch<E>>,
    rpc: Option<Rpc>,
    fields: HeaderMap,
    guest: Guest,
    messages: mpsc::Receiver<Bytes>,
) -> Response<Body>
where
    E: Env,
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<StdError> + Send,
{
    let Some(rpc) = rpc else { return error(&Status::not_found("Not Found")) };
    let body = if rpc.flow() == Flow::BidiStream {
        Body::new(frames(said(messages), kinds(rpc).input.clone()))
    } else {
        let whole = Full::from(first_value(messages).await).map_err(|never| match never {});
        match one(whole, limits::WEBSOCKET_MESSAGE_BYTES, &kinds(rpc).input).await {
            Ok(message) => Body::new(Full::new(message).map_err(|never| match never {})),
            Err(status) => return error(&status),
        }
    };
    ask::<E, B>(porch, rpc, body, metadata(&fields, None), guest).await
}

/// The messages as a body, a line each.
fn said(messages: mpsc::Receiver<Bytes>) -> impl HttpBody<Data = Bytes, Error = Status> + Send + Unpin + 'static {
    StreamBody::new(Box::pin(unfold(messages, |mut messages| async move {
        let message = messages.recv().await?;
        Some((Ok(Frame::data(message)), messages))
    })))
}

/// What a client says until it is one value, or too long for one.
async fn first_value(mut messages: mpsc::Receiver<Bytes>) -> Bytes {
    let (mut json, mut splitter) = (BytesMut::new(), Splitter::default());
    while splitter.end(&json).is_none() && json.len() <= limits::WEBSOCKET_MESSAGE_BYTES {
        let Some(message) = messages.recv().await else { break };
        json.extend_from_slice(&message);
    }
    json.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: Method, fields: &[(&str, &str)]) -> http::Request<()> {
        let request = http::Request::builder().uri("/v3/watch").method(method);
        let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.body(()).expect("a request")
    }

    const ASKS: [(&str, &str); 2] = [("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")];
    const KEY: (&str, &str) = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    const VERSION: (&str, &str) = ("sec-websocket-version", "13");

    #[test]
    fn who_asks_for_one_is_told_apart() {
        assert!(is_wanted(&request(Method::GET, &ASKS)));
        assert!(!is_wanted(&request(Method::GET, &ASKS[..1])));
        assert!(!is_wanted(&request(Method::GET, &ASKS[1..])));
        assert!(!is_wanted(&request(Method::GET, &[ASKS[0], ("upgrade", "h2c")])));
        let mut later = request(Method::GET, &ASKS);
        *later.version_mut() = Version::HTTP_2;
        assert!(!is_wanted(&later));
    }

    #[test]
    fn a_handshake_has_a_key_and_a_version() {
        let key = |method, fields: &[_]| key_of(&request(method, fields)).map(accept);
        let accepted = key(Method::GET, &[KEY, VERSION]);
        assert_eq!(accepted, Ok(HeaderValue::from_static("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")), "as in RFC 6455");
        assert_eq!(key(Method::POST, &[KEY, VERSION]), Err(StatusCode::METHOD_NOT_ALLOWED));
        assert_eq!(key(Method::GET, &[KEY]), Err(StatusCode::BAD_REQUEST));
        assert_eq!(key(Method::GET, &[VERSION]), Err(StatusCode::BAD_REQUEST));
        assert_eq!(key(Method::GET, &[KEY, ("sec-websocket-version", "8")]), Err(StatusCode::BAD_REQUEST));
    }

    #[test]
    fn a_token_comes_as_browsers_can_send_it() {
        let token = |given: &[(&str, &str)]| {
            let fields = fields(request(Method::GET, given).headers());
            fields.get(header::AUTHORIZATION).map(|value| value.to_str().expect("text").to_owned())
        };
        assert_eq!(token(&[]), None);
        assert_eq!(token(&[("authorization", "secret")]), None, "it is the conversation's first request alone");
        assert_eq!(token(&[("sec-websocket-protocol", "Bearer, a.1")]).as_deref(), Some("Bearer a.1"));
        assert_eq!(token(&[("sec-websocket-protocol", "Bearer,a.1")]).as_deref(), Some("Bearer a.1"));
        assert_eq!(token(&[("sec-websocket-protocol", "chat")]).as_deref(), Some(""));
        let both = [("sec-websocket-protocol", "Bearer, a.1"), ("cookie", "x=y; token=b.2")];
        assert_eq!(token(&both).as_deref(), Some("Bearer b.2"));
        assert_eq!(token(&[("cookie", "tokens=b.2")]), None);
    }

    #[tokio::test]
    async fn one_request_may_come_in_several_messages_and_has_a_bound() {
        let (tell, told) = mpsc::channel(4);
        for part in ["{\"key\":", "\"YQ==\"}", "{}"] {
            tell.send(Bytes::from(part)).await.expect("room");
        }
        assert_eq!(first_value(told).await, "{\"key\":\"YQ==\"}");
        let (tell, told) = mpsc::channel(100);
        for _ in 0..100 {
            tell.send(vec![b'['; limits::WEBSOCKET_MESSAGE_BYTES / 10].into()).await.expect("room");
        }
        assert!(first_value(told).await.len() < limits::WEBSOCKET_MESSAGE_BYTES * 2);
    }
}
