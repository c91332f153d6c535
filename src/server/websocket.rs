//! WebSockets: how messages travel once a connection has ceased to speak HTTP.
//!
//! Invariants: it ends when its client goes, when there are no more answers, or when the server stops and nothing was asked; it says
//! why it ends, and does not wait for long until that is heard; a message has a bound; the next is taken when the one before is, and
//! the next line of the answer when the one before has left. Does not know what is said.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::{BoxFuture, Either, select};
use futures_util::{SinkExt, StreamExt};
use http_body_util::BodyExt;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tonic::body::Body;

use crate::api::Conversation;
use crate::base::limits;

/// Time from a stop to the end of who has asked nothing yet, as of other connections.
const STOP_GRACE: Duration = Duration::from_millis(limits::STOP_GRACE_MS);

/// Time for the end.
const END_WITHIN: Duration = Duration::from_millis(limits::WEBSOCKET_END_MS);

/// What follows on a connection when it has ceased to speak HTTP.
#[derive(Clone)]
pub struct Next(Arc<Place>);

struct Place {
    next: Mutex<Option<BoxFuture<'static, ()>>>,
    stop: watch::Receiver<bool>,
}

impl Next {
    /// Nothing so far, until `stop` turns true.
    pub fn new(stop: watch::Receiver<bool>) -> Self {
        Self(Arc::new(Place { next: Mutex::default(), stop }))
    }

    /// This conversation does.
    pub fn put(&self, upgrade: OnUpgrade, conversation: Conversation) {
        let next = talk(upgrade, conversation, self.0.stop.clone());
        *self.0.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::pin(next));
    }

    /// What was put there, to its end; nothing where it was nothing.
    pub async fn take(&self) {
        let next = self.0.next.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(next) = next {
            next.await;
        }
    }
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(limits::WEBSOCKET_READ_BYTES)
        .write_buffer_size(0)
        .max_message_size(Some(limits::WEBSOCKET_MESSAGE_BYTES))
        .max_frame_size(Some(limits::WEBSOCKET_MESSAGE_BYTES))
}

/// Carries a conversation over what was a connection of HTTP, to its end.
async fn talk(upgrade: OnUpgrade, conversation: Conversation, stop: watch::Receiver<bool>) {
    let Ok(upgraded) = upgrade.await else { return };
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config())).await;
    let (mut out, mut said) = socket.split();
    let (tell, told) = mpsc::channel(1);
    let going = {
        let mut stop = stop.clone();
        async move {
            let _ = stop.wait_for(|stop| *stop).await;
            sleep(STOP_GRACE).await;
        }
    };
    let Some(answer) = conversation.begin(told, Box::pin(going)) else { return };
    let (code, reason) = {
        let listening = pin!(async {
            loop {
                match said.next().await {
                    Some(Ok(message)) => {
                        let Some(line) = line(message) else { continue };
                        // Where nobody wants more of it, it is listened to all the same: until it goes.
                        let _ = tell.send(line).await;
                    }
                    Some(Err(error)) => return Some(error),
                    None => return None,
                }
            }
        });
        let answering = pin!(async {
            let Some(answer) = answer.await else { return Ok(false) };
            let mut lines = Lines { body: answer.into_body(), ready: BytesMut::new() };
            while let Some(line) = lines.next().await {
                out.send(Message::Text(line)).await?;
            }
            Ok::<_, Error>(true)
        });
        match select(listening, answering).await {
            Either::Left((Some(Error::Capacity(_)), _)) => (CloseCode::Size, "a message is too long".into()),
            Either::Left((Some(Error::Protocol(wrong)), _)) => (CloseCode::Protocol, wrong.to_string().into()),
            Either::Right((Ok(false), _)) if *stop.borrow() => (CloseCode::Away, "the server is stopping".into()),
            Either::Right((Ok(false), _)) => (CloseCode::Policy, "no request came in time".into()),
            _ => (CloseCode::Normal, Utf8Bytes::default()),
        }
    };
    let end = async {
        // In vain where the client said it first.
        let _ = out.send(Message::Close(Some(CloseFrame { code, reason }))).await;
        let Ok(mut socket) = out.reunite(said) else { return };
        let stream = socket.get_mut();
        let _ = stream.shutdown().await;
        // What lies there unread when a connection is closed takes with it what was sent and not yet read.
        let mut rest = [0; 512];
        while let Ok(1..) = stream.read(&mut rest).await {}
    };
    let _ = timeout(END_WITHIN, end).await;
}

/// A message as a line of a body; nothing where it says nothing to who is asked.
fn line(message: Message) -> Option<Bytes> {
    let bytes = match message {
        Message::Text(text) => text.into(),
        Message::Binary(bytes) => bytes,
        _ => return None,
    };
    let mut line = BytesMut::with_capacity(bytes.len() + 1);
    line.extend_from_slice(&bytes);
    line.extend_from_slice(b"\n");
    Some(line.freeze())
}

/// An answer line by line.
struct Lines {
    body: Body,
    ready: BytesMut,
}

impl Lines {
    /// The next that says anything; what has no line end is one, too.
    async fn next(&mut self) -> Option<Utf8Bytes> {
        let mut looked = 0;
        loop {
            if let Some(end) = self.ready[looked..].iter().position(|byte| *byte == b'\n') {
                let line = self.ready.split_to(looked + end + 1).freeze();
                looked = 0;
                if line.len() > 1 {
                    return Some(text(line.slice(..line.len() - 1)));
                }
                continue;
            }
            looked = self.ready.len();
            let Some(Ok(frame)) = self.body.frame().await else {
                let rest = self.ready.split().freeze();
                return (!rest.is_empty()).then(|| text(rest));
            };
            if let Ok(bytes) = frame.into_data() {
                self.ready.extend_from_slice(&bytes);
            }
        }
    }
}

fn text(line: Bytes) -> Utf8Bytes {
    Utf8Bytes::try_from(line.clone()).unwrap_or_else(|_| String::from_utf8_lossy(&line).into_owned().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body::Frame;
    use http_body_util::StreamBody;
    use std::convert::Infallible;

    #[tokio::test]
    async fn an_answer_is_told_line_by_line_however_it_comes() {
        for cut in 1..12 {
            let whole = b"one\n\ntwo\nthree";
            let pieces: Vec<_> = whole
                .chunks(cut)
                .map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::copy_from_slice(piece))))
                .collect();
            let body = Body::new(StreamBody::new(futures_util::stream::iter(pieces)).map_err(|never| match never {}));
            let mut lines = Lines { body, ready: BytesMut::new() };
            let mut told = Vec::new();
            while let Some(line) = lines.next().await {
                told.push(line.to_string());
            }
            assert_eq!(told, ["one", "two", "three"], "in pieces of {cut}");
        }
    }
}
