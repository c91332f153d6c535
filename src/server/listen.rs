//! Listeners: sockets in, requests out to the porch; HTTP/1.1 and HTTP/2 on one port.
//!
//! Invariants: connections are bounded in number, over all listeners of a kind, and one that says nothing sensible in its
//! first seconds is closed; whatever a client sends, only its own connection ends; on stop no new connection is taken
//! and the requests under way get a bounded time to end.
//! Does not know what requests ask.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::{FutureExt, TryFutureExt};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::sync::{Semaphore, watch};
use tonic::body::Body;

use crate::api::{self, Asked, Conversation, Guest, Porch, ReceiveRoom, ReceiveRooms, Seldom, TakenIn, Web};
use crate::base::limits;
use crate::env::Env;
use crate::server::backpressure::Backpressure;
use crate::server::config::Config;
use crate::server::counted::{Counted, Received};
use crate::server::descriptors::Share;
use crate::server::gathered::{Gathered, Turns};
use crate::server::head_clock::HeadClock;
use crate::server::inspected::Inspected;
use crate::server::security::{Doors, tell_rejected};
use crate::server::socket::{Place, Socket, Stream};
use crate::server::stream_bound::StreamBound;
use crate::server::websocket::Next;
use crate::tls::{Acceptor, CameSealed, Rejected, VerifiedClient, go_text};

/// What a listener serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Traffic {
    /// gRPC and the HTTP endpoints.
    Clients,
    /// gRPC alone.
    Calls,
    /// The HTTP endpoints alone.
    Web,
    /// Only health and metrics.
    Metrics,
}

impl Traffic {
    /// As etcd's log has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Clients => "grpc+http",
            Self::Calls => "grpc",
            Self::Web => "http",
            Self::Metrics => "metrics",
        }
    }
}

/// A bound socket.
pub struct Listener {
    socket: Socket,
    traffic: Traffic,
    entry: Entry,
    /// Where it listens.
    pub place: Place,
}

/// Which connections a listener takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry {
    /// As they are.
    Plain,
    /// Encrypted alone.
    Sealed,
    /// Both: the first byte tells.
    Either,
}

/// How connections are served; the same for all.
#[derive(Clone, Debug)]
pub struct Manners {
    max_concurrent_streams: u32,
    keepalive_interval: Option<Duration>,
    keepalive_timeout: Duration,
    ping_time: Duration,
    web: Arc<Web>,
    clients: Arc<Slots>,
    metrics: Arc<Slots>,
    rooms: ReceiveRooms,
    doors: Doors,
}

/// Connections that may be open at once, and the warnings when there are more.
#[derive(Debug)]
struct Slots {
    free: Arc<Semaphore>,
    limit: usize,
    full: Seldom,
    failed: Seldom,
}

impl Slots {
    fn new(limit: usize) -> Arc<Self> {
        let free = Arc::new(Semaphore::new(limit));
        Arc::new(Self { free, limit, full: Seldom::default(), failed: Seldom::default() })
    }
}

impl Manners {
    /// The manners the flags set, with so many connections as the descriptors allow.
    pub fn new(config: &Config, share: &Share, doors: Doors) -> Self {
        Self {
            max_concurrent_streams: match config.max_concurrent_streams {
                // No bound is asked for.
                u32::MAX => limits::CONCURRENT_STREAMS,
                streams => streams,
            },
            keepalive_interval: config.keepalive_interval,
            keepalive_timeout: config.keepalive_timeout,
            ping_time: config.ping_time,
            web: Arc::new(config.web.clone()),
            clients: Slots::new(share.clients),
            metrics: Slots::new(share.metrics),
            rooms: ReceiveRooms::default(),
            doors,
        }
    }

    fn door(&self, traffic: Traffic) -> Option<Arc<Acceptor>> {
        match traffic {
            Traffic::Clients | Traffic::Calls | Traffic::Web => self.doors.clients.clone(),
            Traffic::Metrics => self.doors.metrics.clone(),
        }
    }

    fn slots(&self, traffic: Traffic) -> &Arc<Slots> {
        match traffic {
            Traffic::Clients | Traffic::Calls | Traffic::Web => &self.clients,
            Traffic::Metrics => &self.metrics,
        }
    }
}

impl Listener {
    /// Takes a place.
    pub fn bind(place: &Place, traffic: Traffic, entry: Entry, shares_port: bool) -> io::Result<Self> {
        let socket = Socket::bind(place, shares_port)?;
        let place = socket.place()?;
        Ok(Self { socket, traffic, entry, place })
    }

    /// Which connections it takes.
    pub fn entry(&self) -> Entry {
        self.entry
    }

    /// What it serves.
    pub fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// Serves until `stop` turns true, then lets requests end for a bounded time.
    pub async fn serve<E: Env>(self, porch: Arc<Porch<E>>, manners: Manners, mut stop: watch::Receiver<bool>) {
        let builder = Arc::new(builder(&manners));
        let slots = manners.slots(self.traffic).clone();
        let graceful = GracefulShutdown::new();
        loop {
            let accepted = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                accepted = self.socket.accept() => accepted,
            };
            let stream = match accepted {
                Ok(stream) => stream,
                Err(error) => {
                    // Out of descriptors, most likely: others keep theirs, this one waits its turn.
                    if let Some(times) = slots.failed.one_more(Instant::now()) {
                        tracing::warn!(%error, times, "connections cannot be accepted");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(slot) = slots.free.clone().try_acquire_owned() else {
                if let Some(times) = slots.full.one_more(Instant::now()) {
                    let limit = slots.limit as u64;
                    tracing::warn!(limit, times, traffic = ?self.traffic, "too many connections: new ones are closed");
                }
                continue;
            };
            let door = manners.door(self.traffic).filter(|_| self.entry != Entry::Plain);
            let (porch, manners, builder, watcher) =
                (porch.clone(), manners.clone(), builder.clone(), graceful.watcher());
            let (mut stop, traffic, entry) = (stop.clone(), self.traffic, self.entry);
            tokio::spawn(async move {
                let opened = match door {
                    None => Some((stream, None)),
                    Some(door) => tokio::select! {
                        biased;
                        _ = stop.wait_for(|stop| *stop) => None,
                        opened = open(stream, &door, entry) => opened,
                    },
                };
                if let Some((stream, client)) = opened {
                    connection(stream, client, &porch, &manners, traffic, &builder, watcher, stop).await;
                }
                drop(slot);
            });
        }
        drop(self.socket);
        if tokio::time::timeout(DRAIN_TIME, graceful.shutdown()).await.is_err() {
            tracing::info!(address = %self.place, "some connections did not end in time");
        }
    }
}

/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Time requests under way get when the server stops. Streams end sooner: the node tells them.
const DRAIN_TIME: Duration = Duration::from_millis(limits::DRAIN_MS);

/// Time a connection has to send what an HTTP connection begins with.
const GREETING_TIME: Duration = Duration::from_millis(limits::GREETING_MS);

/// Bytes of HTTP/2's preface; fewer are no greeting.
const PREFACE_BYTES: u64 = 24;

fn builder(manners: &Manners) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .header_read_timeout(Duration::from_millis(limits::HEADER_READ_MS))
        // The library ends the process where the clock shows a time before 1970; the endpoints date themselves.
        .auto_date_header(false)
        .max_headers(limits::MAX_HEADERS)
        .max_buf_size(limits::MAX_HEADER_BYTES as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .max_concurrent_streams(manners.max_concurrent_streams)
        .max_pending_accept_reset_streams(limits::RESET_STREAMS)
        .max_local_error_reset_streams(limits::RESET_STREAMS)
        .initial_stream_window_size(limits::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(limits::CONNECTION_WINDOW_BYTES)
        .max_header_list_size(limits::MAX_HEADER_BYTES)
        .max_send_buf_size(limits::SEND_BUFFER_BYTES)
        .keep_alive_interval(manners.keepalive_interval)
        .keep_alive_timeout(manners.keepalive_timeout);
    builder
}

/// Lets a connection in, decrypted where it is encrypted, with who its client is; `None` where it is not let in.
async fn open(stream: Stream, door: &Acceptor, entry: Entry) -> Option<(Stream, Option<VerifiedClient>)> {
    let from = stream.from();
    let greeted = match tokio::time::timeout(GREETING_TIME, stream.begins_sealed()).await {
        Ok(Ok(false)) if entry == Entry::Either => return Some((stream, None)),
        Ok(Ok(false)) => Err(Rejected::other_protocol().left(stream)),
        Ok(Ok(true)) => door.accept(stream, from.map(|from| from.ip())).await,
        Ok(Err(error)) => Err(Rejected::saying(&go_text(&error))),
        Err(_) => Err(Rejected::saying("i/o timeout")),
    };
    match greeted {
        Ok((stream, client)) => Some((Stream::Sealed(Box::new(stream)), client)),
        Err(mut rejected) => {
            let from = from.map_or_else(|| "@".to_string(), |from| from.to_string());
            tell_rejected("rejected connection on client endpoint", &from, &rejected);
            door.part(&mut rejected).await;
            None
        }
    }
}

/// One connection from its first byte to its last.
#[allow(clippy::too_many_arguments, reason = "what a connection needs, in one place")]
fn connection<E: Env>(
    stream: Stream,
    client: Option<VerifiedClient>,
    porch: &Arc<Porch<E>>,
    manners: &Manners,
    traffic: Traffic,
    builder: &Arc<auto::Builder<TokioExecutor>>,
    graceful: Watcher,
    stop: watch::Receiver<bool>,
) -> impl Future<Output = ()> + Send + 'static {
    let sealed = matches!(stream, Stream::Sealed(_));
    let (turns, guest) = (Turns::default(), porch.welcome(|| stream.at(), stream.from()));
    let intake = guest.intake().clone();
    let pressure = Backpressure::new(intake.clone(), turns.clone());
    let bound = StreamBound::new(intake.clone(), manners.max_concurrent_streams);
    let stream = Counted::new(Inspected::new(stream, manners.ping_time, pressure, bound), porch.metrics.clone());
    let received = stream.received();
    let mut builder = auto::Builder::clone(builder);
    builder.http1().timer(HeadClock::new(received.clone()));
    let stream = Gathered::new(stream, turns.clone());
    let spoke = Arc::new(AtomicBool::new(false));
    let next = Next::new(stop.clone(), manners.ping_time);
    let service = {
        let (porch, web, spoke) = (porch.clone(), (manners.web.clone(), next.clone()), spoke.clone());
        let from = (manners.rooms.connection(), guest);
        service_fn(move |mut request: http::Request<Incoming>| {
            if sealed {
                request.extensions_mut().insert(CameSealed);
            }
            if let Some(client) = &client {
                request.extensions_mut().insert(client.clone());
            }
            spoke.store(true, Ordering::Relaxed);
            let unbegun = intake.arrived();
            let answer = answer(porch.clone(), web.clone(), traffic, from.clone(), request);
            async move {
                drop(unbegun);
                answer.await
            }
        })
    };
    let serving = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
    let serving = graceful.watch(serving);
    async move {
        let mut serving = pin!(serving);
        let serving = poll_fn(|cx| {
            turns.begin();
            serving.as_mut().poll(cx)
        });
        // What takes the place of HTTP keeps the connection's place.
        let serving = serving.and_then(|()| next.take().map(Ok));
        tokio::select! {
            biased;
            outcome = serving => {
                if let Err(error) = outcome {
                    // A client's doing, and there may be many: not a warning.
                    tracing::debug!(%error, "a connection ended badly");
                }
            }
            () = silence(received, spoke.clone()) => tracing::debug!("a connection said nothing and was closed"),
            () = stopped(stop, &spoke) => {}
        }
    }
}

/// Completes when the server stops, for whoever has asked nothing yet: he is not waited for long.
async fn stopped(mut stop: watch::Receiver<bool>, spoke: &AtomicBool) {
    let _ = stop.wait_for(|stop| *stop).await;
    tokio::time::sleep(Duration::from_millis(limits::STOP_GRACE_MS)).await;
    if spoke.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}

/// Completes if the connection did not begin as an HTTP connection does, in time.
async fn silence(received: Received, spoke: Arc<AtomicBool>) {
    tokio::time::sleep(GREETING_TIME).await;
    if spoke.load(Ordering::Relaxed) || received.load(Ordering::Relaxed) >= PREFACE_BYTES {
        std::future::pending::<()>().await;
    }
}

async fn answer<E: Env>(
    porch: Arc<Porch<E>>,
    (web, next): (Arc<Web>, Next),
    traffic: Traffic,
    from: (ReceiveRoom, Guest),
    request: http::Request<Incoming>,
) -> Result<http::Response<Body>, Infallible> {
    Ok(match traffic {
        // Kept elsewhere: a call is to take no more room than it needs.
        Traffic::Calls if request.version() != http::Version::HTTP_2 => no_calls_by_http_1(),
        Traffic::Clients if !is_grpc(&request) => Box::pin(by_http(&porch, &web, &next, request, from)).await,
        Traffic::Web => Box::pin(by_http(&porch, &web, &next, request, from)).await,
        Traffic::Clients | Traffic::Calls => {
            let (room, guest) = from;
            api::serve(porch, request.map(|body| Asked::Sent(TakenIn::new(body, room))), guest).await
        }
        Traffic::Metrics => Box::pin(api::respond_metrics(&porch, request)).await,
    })
}

async fn by_http<E: Env>(
    porch: &Arc<Porch<E>>,
    web: &Web,
    next: &Next,
    mut request: http::Request<Incoming>,
    from: (ReceiveRoom, Guest),
) -> http::Response<Body> {
    let upgrade = request.headers().contains_key(http::header::UPGRADE).then(|| hyper::upgrade::on(&mut request));
    let mut answer = api::respond(porch, web, request, from).await;
    if let Some((conversation, upgrade)) = answer.extensions_mut().remove::<Conversation>().zip(upgrade) {
        next.put(upgrade, conversation);
    }
    answer
}

/// Answered as a call it would seem done to whoever looks at the status alone: what became of a call stands elsewhere.
/// The connection ends with it: nothing else that comes by it would be served.
fn no_calls_by_http_1() -> http::Response<Body> {
    let text = "gRPC alone is spoken here, by HTTP/2; what is asked by HTTP/1 belongs to --listen-client-http-urls\n";
    let mut answer = http::Response::new(Body::new(text.to_string()));
    *answer.status_mut() = http::StatusCode::HTTP_VERSION_NOT_SUPPORTED;
    answer.headers_mut().insert(http::header::CONNECTION, http::HeaderValue::from_static("close"));
    answer
}

/// gRPC is HTTP/2 with its content type; everything else is plain HTTP.
fn is_grpc<B>(request: &http::Request<B>) -> bool {
    request.version() == http::Version::HTTP_2
        && request
            .headers()
            .get(http::header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::TokioEnv;

    /// Of what a function returns.
    fn size<A, B, C, D, E, F>(_: impl Fn(A, B, C, D, E) -> F) -> usize {
        size_of::<F>()
    }

    fn size3<A, B, C, F>(_: impl Fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_call_that_waits_takes_little_room() {
        let whole = size(answer::<TokioEnv>);
        let call = size3(api::serve::<TokioEnv, Asked<TakenIn<Incoming>>>);
        println!("{whole} {call}");
        assert!(whole <= 8 << 10, "{whole} bytes");
    }
}
