//! WebSockets: how messages travel once a connection has ceased to speak HTTP.
//!
//! Invariants: it ends when its client goes, also while nobody takes what it says, when there are no more answers, or when the server
//! stops and nothing was asked; it says why it ends, and does not wait for long until that is heard; a message has a bound; the next
//! is taken when the one before is, and the next line of the answer when the one before has left; what is sent is held once. Does not
//! know what is said, nor what a message holds while it comes (`websocket_intake.rs`).

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::{BoxFuture, Either, select};
use futures_util::stream::SplitSink;
use futures_util::{SinkExt, StreamExt};
use http_body_util::BodyExt;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tonic::body::Body;
use tonic::{Code, Status};

use crate::api::Conversation;
use crate::base::limits;
use crate::server::websocket_intake::{Inbound, TooManyPings};

/// Time from a stop to the end of who has asked nothing yet, as of other connections.
const STOP_GRACE: Duration = Duration::from_millis(limits::STOP_GRACE_MS);

/// While nobody takes what a client says, it is looked for so often.
const LOOK: Duration = Duration::from_millis(limits::WEBSOCKET_LOOK_MS);

/// Time for the end.
const END_WITHIN: Duration = Duration::from_millis(limits::WEBSOCKET_END_MS);

/// What follows on a connection when it has ceased to speak HTTP.
#[derive(Clone)]
pub struct Next(Arc<Place>);

struct Place {
    next: Mutex<Option<BoxFuture<'static, ()>>>,
    stop: watch::Receiver<bool>,
    ping_time: Duration,
}

impl Next {
    /// Nothing so far, until `stop` turns true; its client may ping so often.
    pub fn new(stop: watch::Receiver<bool>, ping_time: Duration) -> Self {
        Self(Arc::new(Place { next: Mutex::default(), stop, ping_time }))
    }

    /// This conversation does.
    pub fn put(&self, upgrade: OnUpgrade, conversation: Conversation) {
        let next = talk(upgrade, conversation, self.0.stop.clone(), self.0.ping_time);
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
async fn talk(upgrade: OnUpgrade, conversation: Conversation, stop: watch::Receiver<bool>, ping_time: Duration) {
    if let Ok(upgraded) = upgrade.await {
        over(TokioIo::new(upgraded), conversation, stop, ping_time).await;
    }
}

/// Carries a conversation over a connection that is there for it alone.
async fn over<S>(stream: S, conversation: Conversation, stop: watch::Receiver<bool>, ping_time: Duration)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let answered = Arc::new(AtomicBool::new(false));
    let stream = Inbound::new(stream, conversation.room(), ping_time, answered.clone());
    let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config())).await;
    let (out, mut said) = socket.split();
    let (tell, told) = mpsc::channel(1);
    let going = {
        let mut stop = stop.clone();
        async move {
            let _ = stop.wait_for(|stop| *stop).await;
            sleep(STOP_GRACE).await;
        }
    };
    let Some(answer) = conversation.begin(told, Box::pin(going)) else { return };
    let mut out = Out { sink: out, answered, is_behind: Arc::default() };
    let is_behind = out.is_behind.clone();
    let (code, reason) = {
        let listening = pin!(async {
            loop {
                match said.next().await {
                    Some(Ok(message)) => {
                        let Some(line) = line(message) else { continue };
                        is_behind.store(true, Ordering::Relaxed);
                        // Where nobody wants more of it, it is listened to all the same: until it goes.
                        let _ = tell.send(line).await;
                        is_behind.store(false, Ordering::Relaxed);
                    }
                    Some(Err(error)) => return Some(error),
                    None => return None,
                }
            }
        });
        let answering = pin!(async {
            let Some(answer) = out.until(answer).await? else { return Ok(false) };
            let mut lines = Lines::of(answer.into_body());
            while let Some(line) = out.until(lines.next()).await? {
                out.say(line).await?;
            }
            Ok::<_, Error>(true)
        });
        match select(listening, answering).await {
            Either::Left((Some(error), _)) => closing(&error),
            Either::Right((Ok(false), _)) if *stop.borrow() => (CloseCode::Away, "the server is stopping".into()),
            Either::Right((Ok(false), _)) => (CloseCode::Policy, "no request came in time".into()),
            _ => (CloseCode::Normal, Utf8Bytes::default()),
        }
    };
    let end = async {
        // In vain where the client said it first.
        let _ = out.sink.send(Message::Close(Some(CloseFrame { code, reason }))).await;
        let Ok(mut socket) = out.sink.reunite(said) else { return };
        let stream = socket.get_mut().bare();
        let _ = stream.shutdown().await;
        // What lies there unread when a connection is closed takes with it what was sent and not yet read.
        let mut rest = [0; 512];
        while let Ok(1..) = stream.read(&mut rest).await {}
    };
    let _ = timeout(END_WITHIN, end).await;
}

/// What a client is told whose messages cannot be listened to any longer.
fn closing(error: &Error) -> (CloseCode, Utf8Bytes) {
    match error {
        Error::Capacity(_) => (CloseCode::Size, "a message is too long".into()),
        Error::Protocol(wrong) => (CloseCode::Protocol, wrong.to_string().into()),
        Error::Io(error) => match error.get_ref() {
            Some(why) if why.is::<TooManyPings>() => (CloseCode::Policy, why.to_string().into()),
            Some(why) => match why.downcast_ref::<Status>() {
                Some(status) if status.code() == Code::DeadlineExceeded => (CloseCode::Policy, status.message().into()),
                Some(status) => (CloseCode::Again, status.message().into()),
                None => (CloseCode::Normal, Utf8Bytes::default()),
            },
            None => (CloseCode::Normal, Utf8Bytes::default()),
        },
        _ => (CloseCode::Normal, Utf8Bytes::default()),
    }
}

/// The way to a client.
struct Out<S> {
    sink: SplitSink<WebSocketStream<Inbound<S>>, Message>,
    /// Turns true when a part of the answer is sent.
    answered: Arc<AtomicBool>,
    /// Something that the client said is not taken, so what follows is not read.
    is_behind: Arc<AtomicBool>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Out<S> {
    /// What comes of some work. Where the client is not listened to meanwhile, it is seen by pings whether it is there: who has
    /// gone takes none.
    async fn until<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Error> {
        let mut work = pin!(work);
        loop {
            match timeout(LOOK, &mut work).await {
                Ok(done) => return Ok(done),
                Err(_) if self.is_behind.load(Ordering::Relaxed) => self.sink.send(Message::Ping(Bytes::new())).await?,
                Err(_) => {}
            }
        }
    }

    /// A line as a message, in frames of a bounded length.
    async fn say(&mut self, mut line: Bytes) -> Result<(), Error> {
        let mut kind = Data::Text;
        loop {
            let piece = line.split_to(line.len().min(limits::WEBSOCKET_FRAME_BYTES));
            let is_last = line.is_empty();
            self.sink.send(Message::Frame(Frame::message(piece, OpCode::Data(kind), is_last))).await?;
            self.answered.store(true, Ordering::Relaxed);
            if is_last {
                return Ok(());
            }
            kind = Data::Continue;
        }
    }
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

/// An answer line by line. A line is a part of what came, as long as it came in one piece.
struct Lines {
    body: Body,
    /// What came last and was not told yet.
    ready: Bytes,
    /// Pieces that came before it and have no line end.
    before: BytesMut,
}

impl Lines {
    fn of(body: Body) -> Self {
        Self { body, ready: Bytes::new(), before: BytesMut::new() }
    }

    /// The next that says anything; what has no line end is one, too. May be given up and asked for again.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            while let Some(end) = self.ready.iter().position(|byte| *byte == b'\n') {
                let rest = self.ready.split_off(end + 1);
                self.ready.truncate(end);
                let line = self.all();
                self.ready = rest;
                if !line.is_empty() {
                    return Some(line);
                }
            }
            let Some(Ok(frame)) = self.body.frame().await else {
                let line = self.all();
                return (!line.is_empty()).then_some(line);
            };
            if let Ok(more) = frame.into_data() {
                if !self.ready.is_empty() {
                    self.before.extend_from_slice(&self.ready);
                }
                self.ready = more;
            }
        }
    }

    /// All that is here.
    fn all(&mut self) -> Bytes {
        let last = std::mem::take(&mut self.ready);
        if self.before.is_empty() {
            return last;
        }
        self.before.extend_from_slice(&last);
        self.before.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ReceiveRooms;
    use futures_util::FutureExt;
    use http_body_util::{Full, StreamBody};
    use std::convert::Infallible;
    use tokio::io::duplex;
    use tokio::net::{TcpListener, TcpStream};

    fn body(pieces: Vec<Bytes>) -> Body {
        let pieces = pieces.into_iter().map(|piece| Ok::<_, Infallible>(http_body::Frame::data(piece)));
        Body::new(StreamBody::new(futures_util::stream::iter(pieces)).map_err(|never| match never {}))
    }

    #[tokio::test]
    async fn an_answer_is_told_line_by_line_however_it_comes() {
        for cut in 1..13 {
            let whole = b"one\n\ntwo\nthree";
            let mut lines = Lines::of(body(whole.chunks(cut).map(Bytes::copy_from_slice).collect()));
            let mut told = Vec::new();
            while let Some(line) = lines.next().await {
                told.push(String::from_utf8(line.to_vec()).expect("text"));
            }
            assert_eq!(told, ["one", "two", "three"], "in pieces of {cut}");
        }
    }

    #[tokio::test]
    async fn a_line_that_came_whole_is_not_copied() {
        let piece = Bytes::from_static(b"first\nsecond\n");
        let end = Bytes::from_static(b"the answer of a method that answers once");
        let mut lines = Lines::of(body(vec![piece.clone(), end.clone()]));
        let mut at = Vec::new();
        while let Some(line) = lines.next().await {
            at.push(line.as_ptr());
        }
        assert_eq!(at, [piece.as_ptr(), piece[6..].as_ptr(), end.as_ptr()]);
    }

    fn quiet() -> watch::Receiver<bool> {
        let (stop, stopped) = watch::channel(false);
        // It is never stopped.
        std::mem::forget(stop);
        stopped
    }

    const SELDOM: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn a_long_line_comes_in_frames_of_one_message() {
        let text = "0123456789".repeat(20_000);
        let answer = http::Response::new(Body::new(Full::from(text.clone()).map_err(|never| match never {})));
        let room = ReceiveRooms::default().connection();
        let conversation = Conversation::new(room, move |_, _| async move { Some(answer) }.boxed());
        let (near, far) = duplex(1 << 20);
        let serving = tokio::spawn(over(far, conversation, quiet(), SELDOM));
        let mut near = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
        assert_eq!(near.next().await.expect("an answer").expect("whole"), Message::text(text));
        assert!(matches!(near.next().await, Some(Ok(Message::Close(_)))));
        drop(near);
        serving.await.expect("ended");
    }

    /// A service that takes nothing and answers nothing.
    fn deaf() -> Conversation {
        Conversation::new(ReceiveRooms::default().connection(), |messages, _| {
            async move {
                let _messages = messages;
                std::future::pending().await
            }
            .boxed()
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_goes_is_missed_although_nobody_takes_what_it_says() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let near = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("connected");
        let (far, _) = listener.accept().await.expect("accepted");
        let serving = tokio::spawn(over(far, deaf(), quiet(), SELDOM));
        let mut near = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
        for _ in 0..3 {
            near.send(Message::text("{}")).await.expect("sent");
        }
        assert!(matches!(near.next().await, Some(Ok(Message::Ping(_)))), "it is looked for");
        drop(near);
        // The system tells of it in its own time, and the clock here moves meanwhile.
        serving.await.expect("ended");
    }

    #[tokio::test]
    async fn who_pings_too_often_or_leaves_a_message_open_is_told_why_it_is_closed() {
        let (near, far) = duplex(1 << 20);
        let serving = tokio::spawn(over(far, deaf(), quiet(), SELDOM));
        let mut near = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
        for _ in 0..4 {
            near.send(Message::Ping(Bytes::new())).await.expect("sent");
        }
        let end = loop {
            match near.next().await.expect("an end").expect("a frame") {
                Message::Pong(_) => {}
                other => break other,
            }
        };
        let Message::Close(Some(frame)) = end else { panic!("{end:?}") };
        assert_eq!((frame.code, frame.reason.as_str()), (CloseCode::Policy, "too_many_pings"));
        drop(near);
        serving.await.expect("ended");
    }

    #[test]
    fn the_reason_of_the_end_is_told() {
        let io = |status: Status| Error::Io(std::io::Error::other(status));
        assert_eq!(closing(&io(Status::deadline_exceeded("late"))), (CloseCode::Policy, "late".into()));
        assert_eq!(closing(&io(Status::resource_exhausted("full"))), (CloseCode::Again, "full".into()));
        assert_eq!(closing(&Error::Io(std::io::ErrorKind::ConnectionReset.into())).0, CloseCode::Normal);
    }
}
