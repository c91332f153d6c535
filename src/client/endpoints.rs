//! The endpoints of a handle: who can be spoken to, whose turn it is, and who has not answered.
//!
//! Invariants: nothing is sent to who cannot be spoken to while somebody else can; who was asked and did not answer, and had the time
//! to, is passed over for a while, and known with the reason. Does not know what is asked, nor when to ask again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, timeout};
use tonic::transport::Channel;
use tonic::{Code, ConnectError, Status};

use super::dial::Way;
use super::error::{Error, lost, reason};
use super::greeting::{speaks_otherwise, was_closed};
use super::hedge::HEDGE_AFTER;
use super::options::{Channels, Options, is_plain};
use super::rotation::Rotation;
use super::silence::{NO_ANSWER, Silence, Waiting};

/// Time for which one endpoint is waited for alone before the next one is dialed too.
const ANOTHER_AFTER: Duration = Duration::from_millis(30);

/// What is said of an endpoint that was reached, and never answered in what it was spoken to.
const OTHERWISE: &str =
    ": what is there speaks no unencrypted HTTP/2: perhaps it wants TLS (https://), or is not for clients";

/// What is said where the connection was closed, and nothing was heard before: servers of TLS do so.
const CLOSED: &str = ": it was closed without a word: perhaps TLS is wanted there (https://)";

/// In the order in which they were given.
#[derive(Debug)]
pub struct Endpoints {
    channels: Vec<(String, Channel)>,
    /// How each is reached, by its place.
    ways: Vec<Arc<Way>>,
    /// Where nothing is encrypted and nobody has answered yet, by its place: who is there may speak another language.
    strange: Vec<AtomicBool>,
    /// Whose turn it is among `channels`.
    rotation: Rotation,
    silence: Silence,
}

impl Endpoints {
    /// To be called inside a runtime of tokio.
    ///
    /// # Errors
    /// An empty list, an address or a file that cannot be used.
    pub fn new(endpoints: &[String], options: &Options) -> Result<Self, Error> {
        if endpoints.is_empty() {
            return Err(Error::NoEndpoints);
        }
        let (mut channels, mut ways) = (Vec::with_capacity(endpoints.len()), Vec::new());
        let strange = endpoints.iter().map(|endpoint| AtomicBool::new(is_plain(endpoint, options))).collect();
        let mut made = Channels::new(options)?;
        for endpoint in endpoints {
            let (channel, way) = made.channel(endpoint)?;
            channels.push((endpoint.clone(), channel));
            ways.push(way);
        }
        let (rotation, silence) = (Rotation::new(channels.len()), Silence::new(channels.len()));
        Ok(Self { channels, ways, strange, rotation, silence })
    }

    /// How many there are: one at least.
    pub fn count(&self) -> usize {
        self.channels.len()
    }

    /// Their bare channels with their names.
    pub fn channels(&self) -> &[(String, Channel)] {
        &self.channels
    }

    /// Those that did not answer when they were last asked, each with the reason.
    pub fn unreached(&self) -> Vec<(String, String)> {
        let names = self.channels.iter().map(|(endpoint, _)| endpoint.clone());
        names.zip(self.silence.all()).filter_map(|(endpoint, why)| Some((endpoint, why?))).collect()
    }

    /// The place whose turn it is among those that are not `asked` already, while there are others; of these one that can be spoken to, where
    /// there is one. Nobody is waited for.
    pub fn other(&self, asked: &[usize]) -> usize {
        let turn = self.rotation.take_other(asked, Instant::now());
        let others = (turn..self.ways.len()).chain(0..turn).filter(|place| !asked.contains(place));
        others.into_iter().find(|place| self.ways[*place].is_open()).unwrap_or(turn)
    }

    /// Has a connection wait at a place.
    #[cfg(test)]
    pub async fn dial_ahead(&self, place: usize) {
        self.ways[place].make_ahead().await.expect("somebody is there");
    }

    /// Passes the turn on: who had it.
    #[cfg(test)]
    pub fn passes_the_turn(&self) -> usize {
        self.rotation.take(Instant::now())
    }

    /// Nobody answers at this place: what comes next goes elsewhere for a while.
    pub fn is_silent(&self, place: usize) {
        self.rotation.is_away(place, Instant::now());
    }

    /// Somebody answered at a place after all.
    pub fn is_heard(&self, place: usize) {
        self.rotation.is_here(place);
    }

    /// A stream asks at a place: nobody has answered there for as long as the result is held, or until an answer comes.
    pub fn stream_asks(&self, place: usize) -> Waiting {
        self.silence.begins(place)
    }

    /// As [`Self::stream_asks`], for a token.
    pub fn token_is_asked(&self, place: usize) -> Waiting {
        self.silence.begins_for_token(place)
    }

    /// A request had no more time for its token, which others may have.
    pub fn token_is_given_up(&self) {
        self.silence.token_is_given_up();
    }

    /// A stream was given up at a place, where no answer came in all the time there was.
    pub fn stream_was_given_up(&self, place: usize) {
        self.keep_why(place, Some(NO_ANSWER.to_owned()));
    }

    /// The first answer of a stream at a place, or how it broke.
    pub fn stream_was_told<T>(&self, place: usize, answer: &Result<T, Status>) {
        let why = self.why_unanswered(place, answer);
        self.keep_why(place, why);
    }

    /// A request is sent to a place. Given up before an answer it counts as away where it had the time to give one: the caller's
    /// timeout passed, or as long as another endpoint is asked after. Whoever was asked for less, and was not waited for because another
    /// was quicker or nobody wanted to know any more, is as good as before.
    pub fn visit(&self, place: usize, deadline: Option<Instant>) -> Visit<'_> {
        Visit { endpoints: self, place, time: Time { since: Instant::now(), deadline }, outcome: None }
    }

    /// The place whose turn it is; where it is not there at once the first, of it and of those behind it, that can be spoken to. So nothing
    /// is sent to who would never answer while somebody would. A request that is given up meanwhile leaves word of whom it waited for.
    ///
    /// # Errors
    /// Nobody can be spoken to: the last reason. Nothing was sent.
    pub async fn reach(&self, what: Wanted) -> Result<usize, Status> {
        let place = self.rotation.take(Instant::now());
        if self.ways[place].is_open() {
            return Ok(place);
        }
        let mut waited = WaitedFor {
            endpoints: self,
            places: Vec::new(),
            since: Vec::new(),
            waiting: Vec::new(),
            what,
            found: false,
        };
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
            self.visit(place, None).ended(&made);
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
        } else if self.strange[place].load(Ordering::Relaxed) && was_closed(&why) {
            why.push_str(CLOSED);
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

/// What an endpoint is waited for with.
#[derive(Clone, Copy, Debug)]
pub enum Wanted {
    /// Until then, where there is an end.
    Request(Option<Instant>),
    Stream,
    /// A token, for whoever waits for one.
    Token,
}

/// Who is dialed for a request or a stream that waits for the first of them.
struct WaitedFor<'a> {
    endpoints: &'a Endpoints,
    places: Vec<usize>,
    /// Since when each is waited for.
    since: Vec<Instant>,
    /// A stream counts them as silent only while it waits.
    waiting: Vec<Waiting>,
    what: Wanted,
    /// There is no more to be said of them.
    found: bool,
}

impl WaitedFor<'_> {
    fn begins(&mut self, place: usize) {
        self.places.push(place);
        self.since.push(Instant::now());
        match self.what {
            Wanted::Request(_) => {}
            Wanted::Stream => self.waiting.push(self.endpoints.stream_asks(place)),
            Wanted::Token => self.waiting.push(self.endpoints.token_is_asked(place)),
        }
    }

    /// One can be spoken to: the turn passes over the others for a while.
    fn found(&mut self, place: usize) -> usize {
        self.found = true;
        let others = self.places.iter().filter(|other| **other != place && !self.endpoints.ways[**other].is_open());
        others.for_each(|other| self.endpoints.rotation.is_away(*other, Instant::now()));
        place
    }
}

impl Drop for WaitedFor<'_> {
    fn drop(&mut self) {
        let deadline = match self.what {
            Wanted::Stream => return,
            Wanted::Request(deadline) => deadline,
            Wanted::Token => None,
        };
        let silent = |(place, since): &(&usize, &Instant)| {
            let had_time = Time { since: **since, deadline }.was_enough();
            had_time && !self.found && !self.endpoints.ways[**place].is_open()
        };
        for (place, _) in self.places.iter().zip(&self.since).filter(silent) {
            self.endpoints.rotation.is_away(*place, Instant::now());
            self.endpoints.keep_why(*place, Some(NO_ANSWER.to_owned()));
        }
    }
}

/// What time somebody had to answer.
#[derive(Clone, Copy, Debug)]
struct Time {
    since: Instant,
    /// When the caller has no more of it.
    deadline: Option<Instant>,
}

impl Time {
    /// Whether who has not answered by now is to blame.
    fn was_enough(self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= Instant::now()) || self.since.elapsed() >= HEDGE_AFTER
    }
}

/// One request at one endpoint.
pub struct Visit<'a> {
    endpoints: &'a Endpoints,
    place: usize,
    time: Time,
    /// Why there was no answer, where it ended so.
    outcome: Option<Option<String>>,
}

impl Visit<'_> {
    /// It is over.
    pub fn ended<T>(mut self, answer: &Result<T, Status>) {
        self.outcome = Some(self.endpoints.why_unanswered(self.place, answer));
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        let why = match self.outcome.take() {
            Some(why) => why,
            None if self.time.was_enough() => Some(NO_ANSWER.to_owned()),
            None => return,
        };
        match why.is_none() {
            true => self.endpoints.rotation.is_here(self.place),
            false => self.endpoints.rotation.is_away(self.place, Instant::now()),
        }
        self.endpoints.keep_why(self.place, why);
    }
}
