//! Keeping a lease alive.
//!
//! Invariants: a request is due a third of the granted time after the last that was answered left; while none is
//! answered, further endpoints are asked one after the other beside it, each at most once at a time, so that a member that is
//! silent costs no lease that another one would renew; a broken stream is opened anew until the lease must have ended, and a token that
//! was refused is fetched anew meanwhile, beside those who are asked; a password that is refused is tried again as long as the lease
//! may live; any other refusal that does not pass ends it, and not before nobody is asked any more; an answer of no time left ends the stream; whoever is asked, and has
//! not answered when the time is over, is known as silent. The end is counted from when a request left, so that it is never later than the server's.

use std::time::Duration;

use futures_channel::mpsc::{Sender, channel};
use futures_util::StreamExt as _;
use futures_util::future::Either;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tonic::{Code, Status, Streaming};

use crate::wire::etcdserverpb as pb;

use super::connection::Client;
use super::error::{Error, lost};
use super::refreshes::{Refreshes, TOO_MANY};
use super::token::Token;

/// Time a lease is taken to have before the first answer, beyond that of a connection; and where none is named. As in etcd's client.
const FIRST_BEYOND_CONNECT: Duration = Duration::from_secs(1);
const USUAL_FIRST: Duration = Duration::from_secs(5);

/// Wait before a broken stream is opened anew, as in etcd's client.
const REOPEN_AFTER: Duration = Duration::from_millis(500);

/// Longest time a request may go unanswered before another endpoint is asked too. Shorter for a short lease: a sixth of
/// what was granted, so that four can be asked in turn between the time it is due and the lease's end.
const LONGEST_PATIENCE: Duration = Duration::from_secs(5);

/// No lease is longer: as etcd has it.
const LONGEST_LEASE: Duration = Duration::from_secs(9_000_000_000);

/// A stream that renews one lease for as long as [`KeepAlive::next`] is called.
///
/// Example, run as a test: `a_lease_lives_as_long_as_it_is_kept_alive` in `tests/client_library.rs`.
#[derive(Debug)]
pub struct KeepAlive {
    client: Client,
    id: i64,
    granted: Duration,
    /// When the next request is due.
    due: Instant,
    /// When the lease has ended unless an answer comes.
    ends: Instant,
    line: Option<Line>,
    /// What the last stream was opened with.
    token: Token,
    /// Whether it ended by its time.
    ran_out: bool,
}

/// A stream to one member.
#[derive(Debug)]
struct Line {
    /// The member's place among the endpoints.
    place: usize,
    requests: Sender<pb::LeaseKeepAliveRequest>,
    answers: Streaming<pb::LeaseKeepAliveResponse>,
}

/// An answer, with the stream it came by and when it was asked for.
struct Renewed {
    line: Line,
    asked: Instant,
    answer: pb::LeaseKeepAliveResponse,
}

/// What is waited for at the same time.
enum Heard {
    /// Somebody who was asked, by the place, has answered.
    Answer(usize, Result<Box<Renewed>, Status>),
    /// A token was fetched; whether for this.
    Token(Result<bool, Error>),
}

impl Client {
    /// Renews a lease once.
    ///
    /// # Errors
    /// The server's refusal, that the lease is not there, or that no answer came in time.
    pub async fn keep_alive_once(&self, id: i64) -> Result<pb::LeaseKeepAliveResponse, Error> {
        // Renewing twice is renewing: safe to repeat.
        let mut answers = self
            .call_for_parts(super::Safety::Read, |wire| async move {
                let request = futures_util::stream::iter([pb::LeaseKeepAliveRequest { id }]);
                self.lease(wire).lease_keep_alive(request).await
            })
            .await?;
        let answer = self
            .rest(async {
                match answers.next().await {
                    Some(answer) => answer,
                    None => Err(Error::StreamEnded),
                }
            })
            .await?;
        if answer.ttl <= 0 {
            return Err(Error::Answered(tonic::Code::NotFound, "etcdserver: requested lease not found".to_owned()));
        }
        Ok(answer)
    }

    /// Renews a lease until it ends or the result is dropped.
    pub fn keep_alive(&self, id: i64) -> KeepAlive {
        let connect = self.options().connect_timeout;
        let first = if connect.is_zero() { USUAL_FIRST } else { connect.saturating_add(FIRST_BEYOND_CONNECT) };
        self.keep_alive_granted(id, first, Instant::now())
    }

    /// Renews a lease that was asked for at `asked`, and granted for so long.
    pub(super) fn keep_alive_granted(&self, id: i64, granted: Duration, asked: Instant) -> KeepAlive {
        let granted = granted.min(LONGEST_LEASE);
        let (due, ends) = (Instant::now(), asked + granted);
        KeepAlive { client: self.clone(), id, granted, due, ends, line: None, token: Token::default(), ran_out: false }
    }
}

impl KeepAlive {
    /// Renews once more, when due, and gives the answer; `None` once the lease has ended or was revoked. Giving up waiting
    /// (dropping this future) costs a stream at most.
    ///
    /// # Errors
    /// A refusal that another stream would meet again.
    pub async fn next(&mut self) -> Option<Result<pb::LeaseKeepAliveResponse, Error>> {
        sleep_until(self.due).await;
        // Where it is asked, in the order in which it was.
        let mut places = Vec::new();
        let renewed = timeout_at(self.ends, self.renew(&mut places)).await;
        self.ran_out = renewed.is_err();
        let Renewed { line, asked, answer } = match renewed {
            Ok(Ok(renewed)) => renewed,
            Ok(Err(error)) => return Some(Err(error)),
            Err(_) => {
                places.into_iter().for_each(|place| self.client.endpoints().stream_was_given_up(place));
                return None;
            }
        };
        let granted = u64::try_from(answer.ttl).ok().filter(|seconds| *seconds > 0)?;
        self.granted = Duration::from_secs(granted).min(LONGEST_LEASE);
        self.due = asked + self.granted / 3;
        self.ends = asked + self.granted;
        self.line = Some(line);
        Some(Ok(answer))
    }

    /// Whether it ended because no answer came in time: the lease may be there still. Otherwise somebody said that it is not.
    pub fn ran_out(&self) -> bool {
        self.ran_out
    }

    /// Asks by the stream there is, and by one more at another endpoint whenever nobody has answered for a while. The
    /// slow ones are not given up before one answers: where all are slow, that would be never.
    async fn renew(&mut self, places: &mut Vec<usize>) -> Result<Renewed, Error> {
        let patience = (self.granted / 6).min(LONGEST_PATIENCE);
        let (mut refreshes, mut fetching, mut no_token) = (Refreshes::default(), false, None);
        let mut heard = FuturesUnordered::new();
        heard.push(Either::Left(self.ask(places)));
        loop {
            let Ok(next) = timeout(patience, heard.next()).await else {
                // Whoever is asked, and silent, is no reason not to try a refused password again.
                if !fetching && no_token.take().is_some() {
                    refreshes = Refreshes::default();
                }
                if places.len() < self.client.raw().len() {
                    places.last().into_iter().for_each(|place| self.client.endpoints().is_silent(*place));
                    heard.push(Either::Left(self.ask(places)));
                }
                continue;
            };
            let mut last = None;
            match next.expect("whoever failed was replaced") {
                Heard::Answer(_, Ok(renewed)) => {
                    self.client.endpoints().is_heard(renewed.line.place);
                    return Ok(*renewed);
                }
                Heard::Answer(place, Err(status)) => {
                    places.retain(|asked| *asked != place);
                    let why = status.message();
                    let may_have_one = !fetching && no_token.is_none() && self.client.may_refresh(why);
                    if may_have_one && refreshes.one_more(why, self.token.age()) {
                        fetching = true;
                        heard.push(Either::Right(self.fetches_token(refreshes.pause())));
                    }
                    last = Some(status);
                }
                Heard::Token(Ok(made)) => {
                    (fetching, no_token) = (false, None);
                    // What another call fetched is not this one's.
                    if !made {
                        refreshes.was_made_by_another();
                    }
                    if places.len() < self.client.raw().len() {
                        heard.push(Either::Left(self.ask(places)));
                    }
                }
                Heard::Token(Err(error)) => (fetching, no_token) = (false, Some(error)),
            }
            // Another may still renew it, whatever this one says: a learner refuses, and knows nothing.
            if !heard.is_empty() {
                continue;
            }
            // A password that is refused may be the right one again while the lease lives: users are changed, and changed back.
            let for_password = no_token.take();
            if let Some(error) = &for_password {
                tracing::debug!(%error, lease = self.id, "a lease is not renewed for want of a token");
                refreshes = Refreshes::default();
            } else if let Some(status) = last.filter(|status| !may_ask_again(status)) {
                return Err(status.into());
            }
            sleep(if for_password.is_some() { patience.max(REOPEN_AFTER) } else { REOPEN_AFTER }).await;
            heard.push(Either::Left(self.ask(places)));
        }
    }

    /// Has another token fetched after a while, in place of the one that the last stream was opened with.
    fn fetches_token(&self, after: Duration) -> impl Future<Output = Heard> + use<> {
        let (client, refused) = (self.client.clone(), self.token.clone());
        async move {
            sleep(after).await;
            Heard::Token(client.refresh(&refused, usize::MAX).await)
        }
    }

    /// Asks once, by the stream there is or a new one at the endpoint whose turn it is among those that are not `asked`: it is one of them now.
    fn ask(&mut self, asked: &mut Vec<usize>) -> impl Future<Output = Heard> + use<> {
        let (request, client) = (pb::LeaseKeepAliveRequest { id: self.id }, self.client.clone());
        let way = match self.line.take() {
            Some(line) => Either::Left(line),
            None => {
                self.token = client.token();
                Either::Right(client.other_stream_wire(asked))
            }
        };
        let (Either::Left(Line { place, .. }) | Either::Right((place, _))) = &way;
        let (place, waiting) = (*place, client.endpoints().stream_asks(*place));
        asked.push(place);
        let work = async move {
            let asked = Instant::now();
            let mut line = match way {
                Either::Left(mut line) => {
                    let taken = line.requests.try_send(request);
                    taken.map_err(|_| Status::unavailable("the keep-alive stream takes no requests"))?;
                    line
                }
                Either::Right((place, wire)) => {
                    let (mut requests, outgoing) = channel(1);
                    requests.try_send(request).expect("a fresh channel has room for one request");
                    let answers = client.lease(wire).lease_keep_alive(outgoing).await?.into_inner();
                    Line { place, requests, answers }
                }
            };
            match line.answers.next().await {
                Some(answer) => Ok(Box::new(Renewed { line, asked, answer: answer? })),
                None => Err(Status::unavailable("the keep-alive stream ended")),
            }
        };
        let client = self.client.clone();
        async move {
            let answer = work.await;
            client.endpoints().stream_was_told(place, &answer);
            drop(waiting);
            Heard::Answer(place, answer)
        }
    }
}

/// Whether who failed so may renew it later.
fn may_ask_again(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::Internal) || lost(status) || status.message().contains(TOO_MANY)
}
