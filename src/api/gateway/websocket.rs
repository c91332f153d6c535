//! WebSockets, as grpc-websocket-proxy has them in front of etcd's gateway: a message is a request in JSON, a line of the answer a
//! message.
//!
//! Invariants: whom a conversation is with, and on what terms, is decided before it begins; a token comes as sub-protocol or as
//! cookie, as browsers can send it, and no other field of the first request goes on; what takes one request has a time for it, and
//! the room of its connection while it is not whole. Does not know how messages travel, nor whose pages may speak.

use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use futures_util::future::{BoxFuture, Either, select};
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
use crate::api::gateway::requests::{failed, frames, metadata, one};
use crate::api::guest::Guest;
use crate::api::methods::{Flow, Rpc};
use crate::api::porch::Porch;
use crate::api::transport::call::StdError;
use crate::api::transport::receive_room::{ReceiveRoom, TakenIn};
use crate::base::limits;
use crate::env::Env;

/// What the key of a client is hashed with, by RFC 6455.
const MAGIC: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The cookie in which a token may come.
const TOKEN_COOKIE: &str = "token";

/// Time for what takes one request to get it.
const ASKS_WITHIN: Duration = Duration::from_millis(limits::WEBSOCKET_ASKS_MS);

/// An answer that is to come; none where nothing was asked.
type Answering = BoxFuture<'static, Option<Response<Body>>>;

type Begin = Box<dyn FnOnce(mpsc::Receiver<Bytes>, BoxFuture<'static, ()>) -> Answering + Send>;

/// What follows on a connection whose answer promises a WebSocket; it is among the answer's extensions.
#[derive(Clone)]
pub struct Conversation {
    begin: Arc<Mutex<Option<Begin>>>,
    /// Of the connection.
    room: ReceiveRoom,
}

impl fmt::Debug for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Conversation")
    }
}

impl Conversation {
    /// One that is begun by this, on a connection with that room.
    pub fn new(
        room: ReceiveRoom,
        begin: impl FnOnce(mpsc::Receiver<Bytes>, BoxFuture<'static, ()>) -> Answering + Send + 'static,
    ) -> Self {
        Self { begin: Arc::new(Mutex::new(Some(Box::new(begin)))), room }
    }

    /// Room for messages that are not whole.
    pub fn room(&self) -> ReceiveRoom {
        self.room.clone()
    }

    /// The answer to what the client says, whose messages come here until it ends; nothing where it was begun before. There
    /// comes no answer where one request was to be made, and was not in time, nor before `going` was over.
    pub fn begin(&self, messages: mpsc::Receiver<Bytes>, going: BoxFuture<'static, ()>) -> Option<Answering> {
        let begin = self.begin.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(begin(messages, going))
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

/// The promise of one, with its [`Conversation`]; or why there is none. Asked for by a connection with this room.
pub fn promise<E, B>(porch: &Arc<Porch<E>>, request: &http::Request<B>, from: (ReceiveRoom, Guest)) -> Response<Body>
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
    let conversation = Conversation::new(from.0.clone(), move |messages, going| {
        Box::pin(async move { converse::<E, B>(porch, rpc, fields, from, (messages, going)).await })
    });
    answer.extensions_mut().insert(conversation);
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

/// No WebSocket, for this reason.
pub fn refused(code: StatusCode) -> Response<Body> {
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
    let by_cookie = token_cookie(headers).map(|token| format!("Bearer {token}"));
    let token = [by_cookie, by_protocol].into_iter().flatten().find_map(|token| HeaderValue::try_from(token).ok());
    if let Some(token) = token {
        fields.insert(header::AUTHORIZATION, token);
    }
    fields
}

/// The token in a cookie: of the first of its name that is one, as Go's library reads them.
pub fn token_cookie(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes);
    lines.flat_map(|line| line.split(|byte| *byte == b';')).find_map(|cookie| {
        let mut halves = cookie.trim_ascii().splitn(2, |byte| *byte == b'=');
        let (name, value) = (halves.next().unwrap_or_default(), halves.next().unwrap_or_default());
        let unquoted = match value {
            [b'"', between @ .., b'"'] => between,
            _ => value,
        };
        let is_one = unquoted.iter().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\'));
        let text = std::str::from_utf8(unquoted).ok()?;
        (is_one && name.trim_ascii() == TOKEN_COOKIE.as_bytes()).then_some(text)
    })
}

async fn converse<E, B>(
    porch: Arc<Porch<E>>,
    rpc: Option<Rpc>,
    fields: HeaderMap,
    (room, guest): (ReceiveRoom, Guest),
    (messages, going): (mpsc::Receiver<Bytes>, BoxFuture<'static, ()>),
) -> Option<Response<Body>>
where
    E: Env,
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<StdError> + Send,
{
    let Some(rpc) = rpc else { return Some(error(&Status::not_found("Not Found"))) };
    let body = if rpc.flow() == Flow::BidiStream {
        Body::new(frames(said(messages), kinds(rpc).input.clone()))
    } else {
        let message = match asked(messages, room, going).await? {
            Ok(json) => {
                let whole = Full::from(json).map_err(|never| match never {});
                one(whole, limits::WEBSOCKET_MESSAGE_BYTES, &kinds(rpc).input).await
            }
            Err(status) => Err(status),
        };
        match message {
            Ok(message) => Body::new(Full::new(message).map_err(|never| match never {})),
            Err(status) => return Some(error(&status)),
        }
    };
    Some(ask::<E, B>(porch, rpc, body, metadata(&fields, None), guest).await)
}

/// What a client asks, or why it cannot be taken in; nothing where it does not in time, nor before `going` is over.
async fn asked(
    messages: mpsc::Receiver<Bytes>,
    room: ReceiveRoom,
    going: BoxFuture<'static, ()>,
) -> Option<Result<Bytes, Status>> {
    let asking = pin!(tokio::time::timeout(ASKS_WITHIN, first_value(messages, room)));
    match select(asking, going).await {
        Either::Left((asked, _)) => asked.ok(),
        Either::Right(_) => None,
    }
}

/// The messages as a body, a line each.
fn said(messages: mpsc::Receiver<Bytes>) -> impl HttpBody<Data = Bytes, Error = Status> + Send + Unpin + 'static {
    StreamBody::new(Box::pin(unfold(messages, |mut messages| async move {
        let message = messages.recv().await?;
        Some((Ok(Frame::data(message)), messages))
    })))
}

/// What a client says until it is one value, or too long for one.
///
/// # Errors
/// There is no room for its parts, or they stopped coming.
async fn first_value(messages: mpsc::Receiver<Bytes>, room: ReceiveRoom) -> Result<Bytes, Status> {
    let most = limits::WEBSOCKET_MESSAGE_BYTES;
    let mut said = TakenIn::whole(said(messages), room, most);
    let (mut json, mut splitter) = (BytesMut::new(), Splitter::default());
    while splitter.end(&json).is_none() && json.len() <= most {
        let Some(frame) = said.frame().await else { break };
        if let Ok(message) = frame.map_err(failed)?.into_data() {
            json.extend_from_slice(&message);
        }
    }
    Ok(json.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::transport::receive_room::ReceiveRooms;
    use futures_util::FutureExt;
    use std::future::pending;

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
        assert_eq!(token(&[("cookie", "x=y;token=\"b.2\"")]).as_deref(), Some("Bearer b.2"), "quotes are not its own");
        assert_eq!(
            token(&[("cookie", "token=b\\; token =c.3")]).as_deref(),
            Some("Bearer c.3"),
            "the first that is one"
        );
        assert_eq!(token(&[("cookie", "x=\u{e4}; token=b.2")]).as_deref(), Some("Bearer b.2"), "whatever others are");
        for bad in ["token=\"b.2", "token=b\"2", "token=b\\2"] {
            assert_eq!(token(&[("cookie", bad)]), None, "{bad}");
            assert_eq!(token(&[both[0], ("cookie", bad)]).as_deref(), Some("Bearer a.1"), "{bad}");
        }
    }

    #[tokio::test]
    async fn one_request_may_come_in_several_messages_and_has_a_bound() {
        let (tell, told) = mpsc::channel(4);
        for part in ["{\"key\":", "\"YQ==\"}", "{}"] {
            tell.send(Bytes::from(part)).await.expect("room");
        }
        let rooms = ReceiveRooms::default();
        assert_eq!(first_value(told, rooms.connection()).await.expect("room"), "{\"key\":\"YQ==\"}");
        let (tell, told) = mpsc::channel(100);
        for _ in 0..100 {
            tell.send(vec![b'['; limits::WEBSOCKET_MESSAGE_BYTES / 10].into()).await.expect("room");
        }
        let taken = first_value(told, rooms.connection()).await.expect("room");
        assert!(taken.len() > limits::WEBSOCKET_MESSAGE_BYTES && taken.len() < limits::WEBSOCKET_MESSAGE_BYTES * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_ask_is_not_waited_for() {
        let room = || ReceiveRooms::default().connection();
        for said in ["", "{\"key\":"] {
            let (tell, told) = mpsc::channel(1);
            tell.send(Bytes::from(said)).await.expect("room");
            let began = tokio::time::Instant::now();
            assert!(!matches!(asked(told, room(), pending().boxed()).await, Some(Ok(_))), "{said}");
            assert_eq!(began.elapsed(), ASKS_WITHIN, "{said}");
            let (tell, told) = mpsc::channel(1);
            tell.send(Bytes::from(said)).await.expect("room");
            let soon = tokio::time::sleep(Duration::from_secs(1));
            assert!(asked(told, room(), soon.boxed()).await.is_none(), "{said}");
            assert_eq!(began.elapsed(), ASKS_WITHIN + Duration::from_secs(1), "{said}");
        }
        let (tell, told) = mpsc::channel(1);
        tell.send(Bytes::from("{}")).await.expect("room");
        let taken = asked(told, room(), std::future::ready(()).boxed()).await;
        assert_eq!(taken.expect("asked").expect("room"), "{}", "what is here is answered");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_in_parts_has_the_room_of_its_connection() {
        let room = ReceiveRooms::default().connection();
        let fit = limits::HALF_RECEIVED_BYTES / limits::WEBSOCKET_MESSAGE_BYTES;
        let mut open = Vec::new();
        for _ in 0..fit {
            let (tell, told) = mpsc::channel(2);
            tell.try_send(Bytes::from("{")).expect("room");
            let mut asking = Box::pin(first_value(told, room.clone()));
            assert!(asking.as_mut().now_or_never().is_none(), "the rest is to come");
            open.push((tell, asking));
        }
        let (tell, told) = mpsc::channel(2);
        for part in ["{", "}"] {
            tell.try_send(Bytes::from(part)).expect("room");
        }
        let mut waits = Box::pin(first_value(told, room.clone()));
        assert!(waits.as_mut().now_or_never().is_none(), "there is room for its first part alone");
        drop(open.pop());
        assert_eq!(waits.await.expect("room"), "{}");
    }
}
