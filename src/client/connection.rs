//! One handle on a cluster: its requests, and the rule of when to try again.
//!
//! Invariants: a read may be tried on another endpoint whenever one says it is unavailable or breaks off; a write only when
//! it never left, because then no server can have seen it. Attempts are bounded by the caller's timeout, and
//! without one by [`MAX_ATTEMPTS`]. A read that nobody answers for a second is sent to one endpoint more. Only a refusal that does not
//! pass says that no token is to be had: whatever else becomes of asking for one is tried again.

use std::future::{Future, ready};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::wire::etcdserverpb::{AuthenticateRequest, AuthenticateResponse};
use crate::wire::services::auth_client::AuthClient;

use super::endpoints::{Endpoints, Wanted};
use super::error::{Error, lost, never_sent};
use super::hedge::{HEDGE_AFTER, hedged};
use super::options::{Credentials, Options};
use super::parts::Parts;
use super::pause::grown;
use super::refreshes::{OLD_REVISION, Refreshes, STALE_TOKEN, passes};
use super::silence::NO_ANSWER;
use super::token::{Held, Token};

/// Attempts of one request that has no timeout, as in etcd's client.
const MAX_ATTEMPTS: usize = 100;

/// Time for which one attempt to have a token may go unanswered: a server whose line of passwords is full, which takes half a minute,
/// has answered by then even where the line is not empty soon.
const LONGEST_LOG_IN: Duration = Duration::from_secs(120);

/// Time for which nobody may have answered who was asked for a token before one more is. Each makes a hash of the password, and is slow
/// just when there are many to make.
const ANOTHER_LOG_IN_AFTER: Duration = Duration::from_secs(10);

/// What is longer is no timeout: no clock counts so far, and no server is told of it.
const NO_END: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

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

impl Safety {
    /// Whether a request that failed so may be sent once more, and to another: the one place where this is said.
    fn allows_again(self, status: &Status) -> bool {
        never_sent(status) || (self == Safety::Read && (status.code() == Code::Unavailable || lost(status)))
    }
}

/// When one request must have ended.
#[derive(Clone, Copy, Debug)]
struct Ends {
    /// When it is waited for no longer here.
    deadline: Option<Instant>,
    /// What servers are told of that.
    told: Option<Instant>,
}

/// A handle on a cluster. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
    timeout: Option<Duration>,
}

#[derive(Debug)]
struct Shared {
    endpoints: Endpoints,
    options: Options,
    token: Arc<Held>,
    /// Where tokens are fetched and lines are left: not where somebody happens to ask.
    runtime: Handle,
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
        let (endpoints, timeout) = (Endpoints::new(endpoints, &options)?, options.timeout);
        let (token, runtime) = (Arc::default(), Handle::current());
        Ok(Client { shared: Arc::new(Shared { endpoints, options, token, runtime }), timeout })
    }

    /// Fetches the token for a user and a password, where the options have them and there is none yet.
    ///
    /// # Errors
    /// A refused password, or that no answer came within the timeout of a request; without one, that of a connection.
    pub async fn log_in(&self) -> Result<(), Error> {
        let longest = self.timeout.unwrap_or(self.shared.options.longest_connect());
        self.refresh_by(deadline(Some(longest)), &Token::default()).await.map(drop)
    }

    /// The same handle with another timeout for each request; `None` lifts it.
    #[must_use]
    pub fn within(&self, timeout: Option<Duration>) -> Client {
        Client { shared: Arc::clone(&self.shared), timeout }
    }

    /// The bare channels with their endpoints, in the order given, for callers who bring their own stubs.
    pub fn raw(&self) -> &[(String, Channel)] {
        self.shared.endpoints.channels()
    }

    /// The endpoints that did not answer when they were last asked, each with the reason. What a request that ended
    /// by its timeout has to tell.
    pub fn unreached(&self) -> Vec<(String, String)> {
        self.shared.endpoints.unreached()
    }

    /// Where goes on what nobody may wait for.
    pub(super) fn runtime(&self) -> &Handle {
        &self.shared.runtime
    }

    /// The timeout of each request.
    pub(super) fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// How this client behaves.
    pub fn options(&self) -> &Options {
        &self.shared.options
    }

    /// Sends one request by `send`, rotating endpoints, until it is answered or `safety` or the timeout ends it. Servers are told of the
    /// timeout; [`Self::call_for_parts`] is for answers that come in parts.
    ///
    /// # Errors
    /// The answer of the last endpoint tried, or [`Error::Deadline`].
    pub async fn call<T, F, Sent>(&self, safety: Safety, send: F) -> Result<T, Error>
    where
        F: Fn(Wire) -> Sent,
        Sent: Future<Output = Result<Response<T>, Status>>,
    {
        let deadline = deadline(self.timeout);
        self.repeat(safety, Ends { deadline, told: deadline }, send, |answer| ready(Ok(answer.into_inner()))).await
    }

    /// As [`Self::call`] where the answer is a stream: the timeout ends the wait for its first part, and servers are not told of it, for they
    /// would cut the stream by it. Where the first is a refusal or does not come it is asked for again as any other answer is.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn call_for_parts<T, F, Sent>(&self, safety: Safety, send: F) -> Result<Parts<T>, Error>
    where
        F: Fn(Wire) -> Sent,
        Sent: Future<Output = Result<Response<Streaming<T>>, Status>>,
    {
        self.repeat(safety, Ends { deadline: deadline(self.timeout), told: None }, send, Parts::begun).await
    }

    /// `begin` has the answer of one endpoint begin. While it does nobody else is asked, for some answers are long in the making.
    async fn repeat<T, F, Sent, U, Begun>(
        &self,
        safety: Safety,
        ends: Ends,
        send: F,
        begin: impl Fn(Response<T>) -> Begun,
    ) -> Result<U, Error>
    where
        F: Fn(Wire) -> Sent,
        Sent: Future<Output = Result<Response<T>, Status>>,
        Begun: Future<Output = Result<U, Status>>,
    {
        let (mut refreshes, deadline) = (Refreshes::default(), ends.deadline);
        for attempt in 1.. {
            let sent = self.token();
            let made = async { begin(self.attempt(safety, ends, &send).await?).await };
            let Some(result) = bounded(deadline, made).await else {
                return Err(Error::Deadline);
            };
            let status = match result {
                Ok(answer) => return Ok(answer),
                Err(status) => status,
            };
            if self.may_refresh(status.message()) && refreshes.one_more(status.message(), sent.age()) {
                // The server refused the request for who asked, so it was not done. While users are changed again and again
                // the next one may be refused for the same.
                if bounded(deadline, sleep(refreshes.pause())).await.is_none() {
                    return Err(Error::Deadline);
                }
                if !self.refresh_by(deadline, &sent).await? {
                    refreshes.was_made_by_another();
                }
                continue;
            }
            if !safety.allows_again(&status) || attempt >= most_attempts(deadline) {
                return Err(status.into());
            }
            if bounded(deadline, self.pause(attempt)).await.is_none() {
                return Err(Error::Deadline);
            }
        }
        unreachable!("the attempts of a request end by its timeout or their bound")
    }

    /// One attempt: at one endpoint, or where a read stays unanswered at more.
    async fn attempt<T, F, Sent>(&self, safety: Safety, ends: Ends, send: &F) -> Result<Response<T>, Status>
    where
        F: Fn(Wire) -> Sent,
        Sent: Future<Output = Result<Response<T>, Status>>,
    {
        let endpoints = &self.shared.endpoints;
        let first = endpoints.reach(Wanted::Request(ends.deadline)).await?;
        let at_one = |place| self.at_one(place, ends, send);
        if safety == Safety::Write {
            return at_one(first).await;
        }
        let again = |status: &Status| safety.allows_again(status);
        hedged(HEDGE_AFTER, first, endpoints.count(), |asked| endpoints.other(asked), at_one, again).await
    }

    /// Sends to one endpoint, and remembers whether it was there.
    async fn at_one<T, F, Sent>(&self, place: usize, ends: Ends, send: &F) -> Result<Response<T>, Status>
    where
        F: Fn(Wire) -> Sent,
        Sent: Future<Output = Result<Response<T>, Status>>,
    {
        let visit = self.shared.endpoints.visit(place, ends.deadline);
        let answer = send(self.wire_to(place, ends.told, false)).await;
        visit.ended(&answer);
        answer
    }

    /// Awaits the rest of an answer that comes in parts, within the timeout of a request.
    pub(super) async fn rest<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        bounded(deadline(self.timeout), work).await.unwrap_or(Err(Error::Deadline))
    }

    /// Waits between rounds of attempts, not between the endpoints of one round.
    pub(super) async fn pause(&self, attempt: usize) {
        let endpoints = self.shared.endpoints.count();
        if attempt.is_multiple_of(endpoints) {
            sleep(grown(attempt / endpoints)).await;
        }
    }

    /// An endpoint that can be spoken to, by its place in the list, and its channel for a stream: no timeout, because a stream lives as
    /// long as it is wanted. A member that has no leader ends it.
    ///
    /// # Errors
    /// There is none.
    pub(super) async fn stream_wire(&self) -> Result<(usize, Wire), Status> {
        let place = self.shared.endpoints.reach(Wanted::Stream).await?;
        Ok((place, self.wire_to(place, None, true)))
    }

    /// As [`Self::stream_wire`], and nobody is waited for: the endpoint whose turn it is where none can be spoken to yet. Another than those
    /// that are asked already, while there are others.
    pub(super) fn other_stream_wire(&self, asked: &[usize]) -> (usize, Wire) {
        let place = self.shared.endpoints.other(asked);
        (place, self.wire_to(place, None, true))
    }

    /// Who can be spoken to, whose turn it is, and who has not answered.
    pub(super) fn endpoints(&self) -> &Endpoints {
        &self.shared.endpoints
    }

    fn wire_to(&self, place: usize, deadline: Option<Instant>, needs_leader: bool) -> Wire {
        let token = self.token();
        let timeout = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let attach = Attach { token, needs_leader, timeout };
        InterceptedService::new(self.shared.endpoints.channels()[place].1.clone(), attach)
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

    /// Fetches a token for the options' user and password, in place of the `refused` one; so many attempts are made at most, and what is
    /// fetched is kept also where nobody waits any more. False where another call did it meanwhile.
    ///
    /// # Errors
    /// A refusal that does not pass, or what became of the last attempt.
    pub(super) async fn refresh(&self, refused: &Token, attempts: usize) -> Result<bool, Error> {
        let shared = &self.shared;
        for attempt in 1.. {
            let status = match shared.token.renew(refused, &shared.runtime, || self.clone().next_token()).await {
                Ok(made) => return Ok(made),
                Err(status) => status,
            };
            // Asking for a token changes nothing that a second asking would not.
            let passes = passes(status.message());
            if !passes && !Safety::Read.allows_again(&status) || attempt >= attempts {
                return Err(status.into());
            }
            // Each asking is work for who has too much of it, and elsewhere it may be the same.
            match passes {
                true => sleep(grown(attempt)).await,
                false => self.pause(attempt).await,
            }
        }
        unreachable!("the attempts have a bound")
    }

    /// As [`Self::refresh`], within a request's time.
    async fn refresh_by(&self, deadline: Option<Instant>, refused: &Token) -> Result<bool, Error> {
        match bounded(deadline, self.refresh(refused, most_attempts(deadline))).await {
            Some(made) => made,
            None => {
                self.shared.endpoints.token_is_given_up();
                Err(Error::Deadline)
            }
        }
    }

    /// Asks for a token, as a read is asked for, and with more patience. Who has no leader could not give one before there is, and says
    /// so at once where that is asked for.
    async fn asks_for_token(&self, request: &AuthenticateRequest) -> Result<Response<AuthenticateResponse>, Status> {
        let endpoints = &self.shared.endpoints;
        let first = endpoints.reach(Wanted::Token).await?;
        let at_one = |place| async move {
            let (waiting, visit) = (endpoints.token_is_asked(place), endpoints.visit(place, None));
            let mut stub = AuthClient::new(self.wire_to(place, None, true));
            let answer = stub.authenticate(request.clone()).await;
            visit.ended(&answer);
            drop(waiting);
            answer
        };
        let again = |status: &Status| Safety::Read.allows_again(status);
        let other = |asked: &[usize]| endpoints.other(asked);
        hedged(ANOTHER_LOG_IN_AFTER, first, endpoints.count(), other, at_one, again).await
    }

    /// None where none is needed, or taken.
    async fn next_token(self) -> Result<Option<MetadataValue<Ascii>>, Status> {
        let token = match &self.shared.options.credentials {
            None => return Ok(None),
            Some(Credentials::Token(token)) => token.clone(),
            Some(Credentials::Password { name, password }) => {
                let request = AuthenticateRequest { name: name.clone(), password: password.clone() };
                match timeout(LONGEST_LOG_IN, self.asks_for_token(&request)).await {
                    Ok(Ok(response)) => response.into_inner().token,
                    // A cluster without authentication takes any caller, as etcd's client has it.
                    Ok(Err(status)) if status.message() == "etcdserver: authentication is not enabled" => {
                        return Ok(None);
                    }
                    Ok(Err(status)) => return Err(status),
                    Err(_) => return Err(Status::unavailable(NO_ANSWER)),
                }
            }
        };
        let token = MetadataValue::try_from(token);
        token.map(Some).map_err(|_| Status::unauthenticated("etcdserver: invalid auth token"))
    }
}

/// When a request that begins now must have ended.
fn deadline(timeout: Option<Duration>) -> Option<Instant> {
    timeout.filter(|timeout| *timeout < NO_END).and_then(|timeout| Instant::now().checked_add(timeout))
}

/// How often one request may be tried.
fn most_attempts(deadline: Option<Instant>) -> usize {
    deadline.map_or(MAX_ATTEMPTS, |_| usize::MAX)
}

async fn bounded<F: Future>(deadline: Option<Instant>, work: F) -> Option<F::Output> {
    match deadline {
        Some(deadline) => timeout_at(deadline, work).await.ok(),
        None => Some(work.await),
    }
}
