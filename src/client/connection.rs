//! One handle on a cluster: channels, and the rule of when to try again.
//!
//! Invariants: a read may be tried on another endpoint whenever one says it is unavailable or breaks off; a write only when
//! it never left, because then no server can have seen it. Attempts are bounded by the caller's timeout, and
//! without one by [`MAX_ATTEMPTS`]. A read that nobody answers for [`HEDGE_AFTER`] is sent to one endpoint more, so
//! that a member that is silent (and not away) costs a read a second, not its timeout.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::{Either, select};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tonic::ConnectError;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

use crate::wire::etcdserverpb::AuthenticateRequest;
use crate::wire::services::auth_client::AuthClient;

use super::dial::Way;
use super::error::{Error, lost, never_sent, reason};
use super::greeting::speaks_otherwise;
use super::options::{Channels, Credentials, Options, is_plain};
use super::refreshes::{OLD_REVISION, Refreshes, STALE_TOKEN};
use super::rotation::Rotation;
use super::silence::{NO_ANSWER, Silence, Waiting};
use super::token::{Held, Token};

/// Attempts of one request that has no timeout, as in etcd's client.
const MAX_ATTEMPTS: usize = 100;

/// Pause after every endpoint was tried once, grown with each round up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Time a read may go unanswered before another endpoint is asked too.
const HEDGE_AFTER: Duration = Duration::from_secs(1);

/// Time for which one endpoint is waited for alone before the next one is dialed too.
const ANOTHER_AFTER: Duration = Duration::from_millis(30);

/// The API version this client was written for; servers count requests by it.
const API_VERSION: &str = "3.7";

/// What a stub speaks through: a channel whose requests carry the caller's token.
pub type Wire = InterceptedService<Channel, Attach>;

/// Puts the metadata every request carries on it.
#[derive(Clone, Debug)]
pub struct Attach {
    token: Token,
    needs_leader: bool,
    timeout: Option<Duration>,
}

impl Interceptor for Attach {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(timeout) = self.timeout {
            request.set_timeout(timeout);
        }
        let metadata = request.metadata_mut();
        metadata.insert("client-api-version", MetadataValue::from_static(API_VERSION));
        if let Some(token) = &self.token.text {
            metadata.insert("token", token.clone());
        }
        if self.needs_leader {
            metadata.insert("hasleader", MetadataValue::from_static("true"));
        }
        Ok(request)
    }
}

/// Whether a request that may have reached a server may be sent once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Safety {
    /// It changes nothing: try again elsewhere.
    Read,
    /// It may have been done: only a request that never left may be tried again.
    Write,
}

/// A handle on a cluster. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
    timeout: Option<Duration>,
}

#[derive(Debug)]
struct Shared {
    channels: Vec<(String, Channel)>,
    /// How each is reached, by its place.
    ways: Vec<Arc<Way>>,
    /// Where nothing is encrypted and nobody has answered yet, by its place: who is there may speak another language.
    strange: Vec<AtomicBool>,
    /// Whose turn it is among `channels`.
    rotation: Rotation,
    options: Options,
    token: Held,
    silence: Silence,
}

impl Client {
    /// A handle on the cluster behind `endpoints`. Connections are made when first needed; with a password,
    /// the token is fetched now. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// An empty list, an address that cannot be used, or a refused password.
    pub async fn connect(endpoints: &[String], options: Options) -> Result<Client, Error> {
        let client = Client::open(endpoints, options)?;
        client.log_in().await?;
        Ok(client)
    }

    /// As [`Self::connect`], and nobody is asked yet: [`Self::log_in`] is to follow where there is a password. Apart, so that
    /// [`Self::unreached`] can say who did not answer even that.
    ///
    /// To be called inside a runtime of tokio.
    ///
    /// # Errors
    /// An empty list, an address or a file that cannot be used.
    pub fn open(endpoints: &[String], options: Options) -> Result<Client, Error> {
        if endpoints.is_empty() {
            return Err(Error::NoEndpoints);
        }
        let (mut channels, mut ways) = (Vec::with_capacity(endpoints.len()), Vec::new());
        let strange = endpoints.iter().map(|endpoint| AtomicBool::new(is_plain(endpoint, &options))).collect();
        let mut made = Channels::new(&options)?;
        for endpoint in endpoints {
            let (channel, way) = made.channel(endpoint)?;
            channels.push((endpoint.clone(), channel));
            ways.push(way);
        }
        let timeout = options.timeout;
        Ok(Client {
            shared: Arc::new(Shared {
                rotation: Rotation::new(channels.len()),
                silence: Silence::new(channels.len()),
                channels,
                ways,
                strange,
                options,
                token: Held::default(),
            }),
            timeout,
        })
    }

    /// Fetches the token for a user and a password, where the options have them and there is none yet.
    ///
    /// # Errors
    /// A refused password, or that no answer came in time.
    pub async fn log_in(&self) -> Result<(), Error> {
        self.refresh(&Token::default()).await.map(drop)
    }

    /// The same handle with another timeout for each request; `None` lifts it.
    #[must_use]
    pub fn within(&self, timeout: Option<Duration>) -> Client {
        Client { shared: Arc::clone(&self.shared), timeout }
    }

    /// The bare channels with their endpoints, in the order given, for callers who bring their own stubs.
    pub fn raw(&self) -> &[(String, Channel)] {
        &self.shared.channels
    }

    /// The endpoints that did not answer when they were last asked, each with the reason. What a request that ended
    /// by its timeout has to tell.
    pub fn unreached(&self) -> Vec<(String, String)> {
        let names = self.shared.channels.iter().map(|(endpoint, _)| endpoint.clone());
        names.zip(self.shared.silence.all()).filter_map(|(endpoint, why)| Some((endpoint, why?))).collect()
    }

    /// The timeout of each request.
    pub(super) fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// How this client behaves.
    pub fn options(&self) -> &Options {
        &self.shared.options
    }

    /// Sends one request by `send`, rotating endpoints, until it is answered or `safety` or the timeout ends it.
    ///
    /// # Errors
    /// The answer of the last endpoint tried, or [`Error::Deadline`].
    pub async fn call<T, F, Sent>(&self, safety: Safety, send: F) -> Result<T, Error>
    where
        F: Fn(Wire) -> Sent,
        Sent: Future<Output = Result<Response<T>, Status>>,
    {
        let deadline = self.timeout.map(|timeout| Instant::now() + timeout);
        let mut refreshes = Refreshes::default();
        for attempt in 1.. {
            let sent = self.token();
            let Some(result) = bounded(deadline, self.attempt(safety, deadline, &send)).await else {
                return Err(Error::Deadline);
            };
            let status = match result {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) => status,
            };
            if self.may_refresh(status.message()) && refreshes.one_more(status.message()) {
                // The server refused the request for who asked, so it was not done. While users are changed again and again
                // the next one may be refused for the same.
                if refreshes.are_several() && bounded(deadline, sleep(PAUSE)).await.is_none() {
                    return Err(Error::Deadline);
                }
                if !self.refresh(&sent).await? {
                    refreshes.was_made_by_another();
                }
                continue;
            }
            let again = never_sent(&status)
                || (safety == Safety::Read && (status.code() == Code::Unavailable || lost(&status)));
            if !again || (deadline.is_none() && attempt >= MAX_ATTEMPTS) {
                return Err(status.into());
            }
            if bounded(deadline, self.pause(attempt)).await.is_none() {
                return Err(Error::Deadline);
            }
        }
        unreachable!("the attempts of a request end by its timeout or their bound")
    }

    /// One attempt: at one endpoint, or where a read stays unanswered at two.
    async fn attempt<T, F, Sent>(
        &self,
        safety: Safety,
        deadline: Option<Instant>,
        send: &F,
    ) -> Result<Response<T>, Status>
    where
        F: Fn(Wire) -> Sent,
        Sent: Future<Output = Result<Response<T>, Status>>,
    {
        let first = std::pin::pin!(self.at_one(deadline, send));
        if safety == Safety::Write || self.shared.channels.len() == 1 {
            return first.await;
        }
        let first = match select(first, std::pin::pin!(sleep(HEDGE_AFTER))).await {
            Either::Left((answer, _)) => return answer,
            Either::Right(((), first)) => first,
        };
        let second = std::pin::pin!(self.at_one(deadline, send));
        match select(first, second).await {
            Either::Left((Ok(answer), _)) | Either::Right((Ok(answer), _)) => Ok(answer),
            Either::Left((Err(_), second)) => second.await,
            Either::Right((Err(_), first)) => first.await,
        }
    }

    /// Sends to the endpoint whose turn it is, and remembers whether it was there. Given up before an answer counts
    /// as away: the caller's timeout passed, or another endpoint was quicker by a second.
    async fn at_one<T, F, Sent>(&self, deadline: Option<Instant>, send: &F) -> Result<Response<T>, Status>
    where
        F: Fn(Wire) -> Sent,
        Sent: Future<Output = Result<Response<T>, Status>>,
    {
        let place = self.shared.reach(true).await?;
        let wire = self.wire_to(place, deadline, false);
        let visit = Visit { shared: &self.shared, place, why: Some(NO_ANSWER.to_owned()) };
        let answer = send(wire).await;
        visit.ended(&answer);
        answer
    }

    /// Awaits the rest of an answer that comes in parts, within the timeout of a request.
    pub(super) async fn rest<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let deadline = self.timeout.map(|timeout| Instant::now() + timeout);
        bounded(deadline, work).await.unwrap_or(Err(Error::Deadline))
    }

    /// Waits between rounds of attempts, not between the endpoints of one round.
    pub(super) async fn pause(&self, attempt: usize) {
        let endpoints = self.shared.channels.len();
        if attempt.is_multiple_of(endpoints) {
            let round = u32::try_from(attempt / endpoints).unwrap_or(u32::MAX);
            sleep(PAUSE.saturating_mul(round).min(LONGEST_PAUSE)).await;
        }
    }

    /// An endpoint that can be spoken to, by its place in the list, and its channel for a stream: no timeout, because a stream lives as
    /// long as it is wanted. A member that has no leader ends it.
    ///
    /// # Errors
    /// There is none.
    pub(super) async fn stream_wire(&self) -> Result<(usize, Wire), Status> {
        let place = self.shared.reach(false).await?;
        Ok((place, self.wire_to(place, None, true)))
    }

    /// As [`Self::stream_wire`], and nobody is waited for: the endpoint whose turn it is where none can be spoken to yet. Another than those
    /// that are asked already, while there are others.
    pub(super) fn other_stream_wire(&self, asked: &[usize]) -> (usize, Wire) {
        let ways = &self.shared.ways;
        let turn = self.shared.rotation.take_other(asked, Instant::now());
        let others = (turn..ways.len()).chain(0..turn).filter(|place| !asked.contains(place));
        let place = others.into_iter().find(|place| ways[*place].is_open()).unwrap_or(turn);
        (place, self.wire_to(place, None, true))
    }

    /// Has a connection wait at a place.
    #[cfg(test)]
    pub(super) async fn dial_ahead(&self, place: usize) {
        self.shared.ways[place].make_ahead().await.expect("somebody is there");
    }

    /// Passes the turn on: who had it.
    #[cfg(test)]
    pub(super) fn passes_the_turn(&self) -> usize {
        self.shared.rotation.take(Instant::now())
    }

    /// Nobody answers at this place: what comes next goes elsewhere for a while.
    pub(super) fn is_silent(&self, place: usize) {
        self.shared.rotation.is_away(place, Instant::now());
    }

    /// Somebody answered at a place after all.
    pub(super) fn is_heard(&self, place: usize) {
        self.shared.rotation.is_here(place);
    }

    /// A stream asks at a place: nobody has answered there for as long as the result is held, or until an answer comes.
    pub(super) fn stream_asks(&self, place: usize) -> Waiting {
        self.shared.silence.begins(place)
    }

    /// A stream was given up at a place, where no answer came in all the time there was.
    pub(super) fn stream_was_given_up(&self, place: usize) {
        self.shared.keep_why(place, Some(NO_ANSWER.to_owned()));
    }

    /// The first answer of a stream at a place, or how it broke.
    pub(super) fn stream_was_told<T>(&self, place: usize, answer: &Result<T, Status>) {
        let why = self.shared.why_unanswered(place, answer);
        self.shared.keep_why(place, why);
    }

    fn wire_to(&self, place: usize, deadline: Option<Instant>, needs_leader: bool) -> Wire {
        let token = self.token();
        let timeout = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let attach = Attach { token, needs_leader, timeout };
        InterceptedService::new(self.shared.channels[place].1.clone(), attach)
    }

    /// Whether a refusal with this text is for a token that another one may replace, or, of one who is known by a certificate, for
    /// users that were changed meanwhile.
    pub(super) fn may_refresh(&self, text: &str) -> bool {
        match self.shared.options.credentials {
            Some(Credentials::Password { .. }) => STALE_TOKEN.iter().any(|stale| text.contains(stale)),
            Some(Credentials::Token(_)) => false,
            None => text.contains(OLD_REVISION),
        }
    }

    /// The token that is sent from now on.
    pub(super) fn token(&self) -> Token {
        self.shared.token.get()
    }

    /// Fetches a token for the options' user and password, in place of the `refused` one. False where another call did it meanwhile.
    pub(super) async fn refresh(&self, refused: &Token) -> Result<bool, Error> {
        let deadline = Instant::now() + self.timeout.unwrap_or(self.shared.options.longest_connect());
        self.shared.token.renew(refused, deadline, self.next_token(deadline)).await
    }

    /// None where none is needed, or taken.
    async fn next_token(&self, deadline: Instant) -> Result<Option<MetadataValue<Ascii>>, Error> {
        let token = match &self.shared.options.credentials {
            None => return Ok(None),
            Some(Credentials::Token(token)) => token.clone(),
            Some(Credentials::Password { name, password }) => {
                match self.fetch_token(deadline, name.clone(), password.clone()).await {
                    Ok(token) => token,
                    // A cluster without authentication takes any caller, as etcd's client has it.
                    Err(error) if error.text() == "etcdserver: authentication is not enabled" => return Ok(None),
                    Err(error) => return Err(error),
                }
            }
        };
        let token = MetadataValue::try_from(token);
        token.map(Some).map_err(|_| Error::Answered(Code::Unauthenticated, "etcdserver: invalid auth token".to_owned()))
    }

    async fn fetch_token(&self, deadline: Instant, name: String, password: String) -> Result<String, Error> {
        let request = AuthenticateRequest { name, password };
        for attempt in 1.. {
            // Asking for a token changes nothing that a second asking would not.
            let ask = |wire| {
                let request = request.clone();
                async move { AuthClient::new(wire).authenticate(request).await }
            };
            match timeout_at(deadline, self.attempt(Safety::Read, Some(deadline), &ask)).await {
                Err(_) => break,
                Ok(Ok(response)) => return Ok(response.into_inner().token),
                Ok(Err(status)) if status.code() != Code::Unavailable => return Err(status.into()),
                Ok(Err(_)) if timeout_at(deadline, self.pause(attempt)).await.is_err() => break,
                Ok(Err(_)) => {}
            }
        }
        Err(Error::Deadline)
    }
}

impl Shared {
    /// The place whose turn it is; where it is not there at once the first, of it and of those behind it, that can be spoken to. So nothing
    /// is sent to who would never answer while somebody would. A `request` that is given up meanwhile leaves word of whom it waited for.
    ///
    /// # Errors
    /// Nobody can be spoken to: the last reason. Nothing was sent.
    async fn reach(&self, request: bool) -> Result<usize, Status> {
        let place = self.rotation.take(Instant::now());
        if self.ways[place].is_open() {
            return Ok(place);
        }
        let mut waited = WaitedFor { shared: self, places: Vec::new(), waiting: Vec::new(), request, found: false };
        let (mut next, mut dialing, mut last) = (place, FuturesUnordered::new(), Status::unavailable(NO_ANSWER));
        loop {
            if waited.places.len() < self.ways.len() {
                if self.ways[next].is_open() {
                    return Ok(waited.found(next));
                }
                waited.begins(next);
                dialing.push(self.dial(next));
            }
            let more = waited.places.len() < self.ways.len();
            match timeout(if more { ANOTHER_AFTER } else { Duration::MAX }, dialing.next()).await {
                Ok(Some((place, Ok(())))) => return Ok(waited.found(place)),
                Ok(Some((_, Err(status)))) => last = status,
                Ok(None) => {
                    // Each has left its own reason.
                    waited.found = true;
                    return Err(last);
                }
                Err(_) => {}
            }
            if more {
                next = self.rotation.take_other(&waited.places, Instant::now());
            }
        }
    }

    /// Waits for a connection to a place.
    async fn dial(&self, place: usize) -> (usize, Result<(), Status>) {
        let made = self.ways[place].make_ahead().await.map_err(unmade);
        if made.is_err() {
            Visit { shared: self, place, why: None }.ended(&made);
        }
        (place, made)
    }

    /// Why nobody answered at a place; none where somebody did. Only a member that cannot serve says that it is unavailable;
    /// any other refusal is an answer.
    fn why_unanswered<T>(&self, place: usize, answer: &Result<T, Status>) -> Option<String> {
        let status = answer.as_ref().err().filter(|status| status.code() == Code::Unavailable || lost(status));
        let Some(status) = status else {
            self.strange[place].store(false, Ordering::Relaxed);
            return None;
        };
        let mut why = Some(reason(status)).filter(|why| !why.trim().is_empty()).unwrap_or_else(|| NO_ANSWER.to_owned());
        if self.strange[place].load(Ordering::Relaxed) && speaks_otherwise(&why) {
            why.push_str(OTHERWISE);
        }
        Some(self.ways[place].last_word().told().unwrap_or(why))
    }

    /// Keeps why nobody answered at a place, or forgets it.
    fn keep_why(&self, place: usize, why: Option<String>) {
        if self.silence.keep(place, why) {
            self.ways[place].last_word().forget();
        }
    }
}

/// No connection was made, so nothing was sent.
fn unmade(error: std::io::Error) -> Status {
    Status::from_error(Box::new(ConnectError(Box::new(error))))
}

/// Who is dialed for a request or a stream that waits for the first of them.
struct WaitedFor<'a> {
    shared: &'a Shared,
    places: Vec<usize>,
    /// A stream counts them as silent only while it waits.
    waiting: Vec<Waiting>,
    request: bool,
    /// There is no more to be said of them.
    found: bool,
}

impl WaitedFor<'_> {
    fn begins(&mut self, place: usize) {
        self.places.push(place);
        if !self.request {
            self.waiting.push(self.shared.silence.begins(place));
        }
    }

    /// One can be spoken to: the turn passes over the others for a while.
    fn found(&mut self, place: usize) -> usize {
        self.found = true;
        let others = self.places.iter().filter(|other| **other != place && !self.shared.ways[**other].is_open());
        others.for_each(|other| self.shared.rotation.is_away(*other, Instant::now()));
        place
    }
}

impl Drop for WaitedFor<'_> {
    fn drop(&mut self) {
        let silent = |place: &&usize| self.request && !self.found && !self.shared.ways[**place].is_open();
        for place in self.places.iter().filter(silent) {
            self.shared.rotation.is_away(*place, Instant::now());
            self.shared.keep_why(*place, Some(NO_ANSWER.to_owned()));
        }
    }
}

/// One request at one endpoint.
struct Visit<'a> {
    shared: &'a Shared,
    place: usize,
    /// Why there was no answer, as far as it is known.
    why: Option<String>,
}

impl Visit<'_> {
    fn ended<T>(mut self, answer: &Result<T, Status>) {
        self.why = self.shared.why_unanswered(self.place, answer);
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        match self.why.is_none() {
            true => self.shared.rotation.is_here(self.place),
            false => self.shared.rotation.is_away(self.place, Instant::now()),
        }
        self.shared.keep_why(self.place, self.why.take());
    }
}

/// What is said of an endpoint that was reached, and never answered in what it was spoken to.
const OTHERWISE: &str =
    ": what is there speaks no unencrypted HTTP/2: perhaps it wants TLS (https://), or is not for clients";

async fn bounded<F: Future>(deadline: Option<Instant>, work: F) -> Option<F::Output> {
    match deadline {
        Some(deadline) => timeout_at(deadline, work).await.ok(),
        None => Some(work.await),
    }
}
