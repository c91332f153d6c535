//! Electing one of many, and hearing who it is.
//!
//! Invariants: who campaigned first and still lives leads, and who is told that it leads did so at the revision of that answer;
//! its word is the value of its key; who is not elected stands no longer; an observer hears every word of every leader it
//! hears of, in order and none twice; of leaders that came and went between two looks it hears the last, and so of words
//! that were compacted before it heard them.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::wire::etcdserverpb as pb;
use crate::wire::mvccpb::KeyValue;
use crate::wire::mvccpb::event::EventType;

use super::connection::Client;
use super::error::Error;
use super::ranges::prefix_end;
use super::session::Session;
use super::turn::{Place, Taken, Unsettled, first_in, line_prefix};
use super::watch::{WatchRange, Watcher};

const NOT_LEADER: &str = "election: not leader";
const NO_LEADER: &str = "election: no leader";

/// Standing for election: waiting to lead, or leading.
///
/// One that is dropped, rather than resigned, stands until its session ends, and comes to lead. A session stands once for
/// an election: who asks again with the same session shares its place, and who resigns does so for all of them.
///
/// Example, run as a test: `one_of_many_leads_and_who_observes_hears_each_word` in `tests/client_library.rs`.
#[derive(Debug)]
pub struct Candidate {
    place: Place,
}

impl Session {
    /// Stands for election `name` with a word to proclaim, without waiting.
    ///
    /// Dropping this future leaves in line what dropping [`Session::campaign`] leaves there.
    ///
    /// # Errors
    /// The server's refusal, or that no answer came in time: the key may then stay, and come to lead, until the session ends.
    /// Where the session stood already, and its new word was refused, it stands no longer.
    pub async fn stand(&self, name: impl AsRef<[u8]>, word: impl Into<Bytes>) -> Result<Candidate, Error> {
        Ok(Candidate { place: self.stands(name.as_ref(), word.into()).await?.keep() })
    }

    /// Stands for election `name` and waits until it leads.
    ///
    /// Giving up waiting (dropping this future) resigns, in a task of the client's runtime; what this session asks for next waits for
    /// that. Where the place itself was still being asked for, its key may stay, and come to lead, until the session ends; so
    /// it may where no answer came to that, or to resigning. [`Session::stand`] gives a candidate that can be waited with
    /// again and again.
    ///
    /// # Errors
    /// The session ended meanwhile ([`Error::Lost`]), the server's refusal, or that it cannot be reached. It has resigned
    /// before the error is told. That a session ended is told when those before it are gone: [`Session::ended`] tells it at once.
    pub async fn campaign(&self, name: impl AsRef<[u8]>, word: impl Into<Bytes>) -> Result<Candidate, Error> {
        let mut place = self.stands(name.as_ref(), word.into()).await?;
        match place.place().first(NOT_LEADER).await {
            Ok(_) => Ok(Candidate { place: place.keep() }),
            Err(error) => {
                // Whoever does not know that it leads must not. The session's end does the same later.
                let _ = place.leave().await;
                Err(error)
            }
        }
    }

    async fn stands(&self, name: &[u8], word: Bytes) -> Result<Unsettled, Error> {
        let Taken { mut place, before, .. } = Place::take(self, name, word.clone()).await?;
        if before.is_some_and(|before| before != word)
            && let Err(error) = place.place().say(word, NOT_LEADER).await
        {
            let _ = place.leave().await;
            return Err(error);
        }
        Ok(place)
    }
}

impl Candidate {
    /// Waits until this candidate leads. May be given up (by dropping this future) and begun again: the candidate stands
    /// until it resigns, or its session ends. Who leads already is told whether it still does.
    ///
    /// # Errors
    /// The session ended meanwhile, or it resigned elsewhere ([`Error::Lost`], told when those before it are gone), the
    /// server's refusal, or that it cannot be reached.
    pub async fn elected(&self) -> Result<(), Error> {
        self.place.first(NOT_LEADER).await.map(drop)
    }

    /// Proclaims another word.
    ///
    /// # Errors
    /// The candidate's session ended ([`Error::Lost`]), the server's refusal, or that no answer came in time.
    pub async fn proclaim(&mut self, word: impl Into<Bytes>) -> Result<(), Error> {
        self.place.say(word.into(), NOT_LEADER).await
    }

    /// Gives the leadership up, or stands no longer. Where this future is dropped, a task of the client's runtime does it.
    ///
    /// # Errors
    /// The server's refusal, or that no answer came in time; it then ends with its session.
    pub async fn resign(self) -> Result<(), Error> {
        self.place.leave().await
    }

    /// The candidate's key.
    pub fn key(&self) -> &Bytes {
        self.place.key()
    }

    /// A number that grows from leader to leader.
    pub fn revision(&self) -> i64 {
        self.place.revision()
    }

    /// The comparison that holds as long as this candidate was not replaced.
    pub fn held(&self) -> pb::Compare {
        self.place.held()
    }

    /// Reads the candidate's key.
    ///
    /// # Errors
    /// The server's refusal, or that no answer came in time.
    pub async fn read(&self) -> Result<pb::RangeResponse, Error> {
        self.place.read().await
    }
}

impl Client {
    /// The pair of who leads election `name`.
    ///
    /// # Errors
    /// Nobody leads ([`Error::Lost`]), the server's refusal, or that no answer came in time.
    pub async fn leader_of(&self, name: impl AsRef<[u8]>) -> Result<KeyValue, Error> {
        first_in(self, name.as_ref()).await?.1.ok_or(Error::Lost(NO_LEADER))
    }

    /// Observes election `name`. Nothing is asked before the first [`Observer::next`].
    pub fn observe(&self, name: impl AsRef<[u8]>) -> Observer {
        let name = Bytes::copy_from_slice(name.as_ref());
        Observer { client: self.clone(), name, state: Observing::Looking, heard: VecDeque::new(), last: None }
    }
}

/// Hears who leads.
///
/// Example, run as a test: `one_of_many_leads_and_who_observes_hears_each_word` in `tests/client_library.rs`.
#[derive(Debug)]
pub struct Observer {
    client: Client,
    name: Bytes,
    state: Observing,
    /// Words that came and were not handed on yet.
    heard: VecDeque<pb::RangeResponse>,
    /// The last of them that came.
    last: Option<Said>,
}

/// Which word of which leader: the key, the revision that made it, and that of the word.
#[derive(Debug)]
struct Said {
    key: Bytes,
    since: i64,
    at: i64,
}

#[derive(Debug)]
enum Observing {
    /// Who leads is to be asked.
    Looking,
    /// Nobody leads: the first put is awaited.
    Awaiting(Watcher),
    /// Somebody leads: what becomes of its key is awaited.
    Following(Watcher),
}

impl Observer {
    /// The next word of a leader. Giving up waiting (dropping this future) loses nothing.
    ///
    /// Words that were compacted before they came here (the connection was away meanwhile, or nobody asked for the next)
    /// are lost: what the leader says then is heard, unless it was already.
    ///
    /// # Errors
    /// A watch is refused or lost, or who leads cannot be asked.
    pub async fn next(&mut self) -> Result<pb::RangeResponse, Error> {
        loop {
            if let Some(word) = self.heard.pop_front() {
                return Ok(word);
            }
            match &mut self.state {
                Observing::Looking => {
                    let (header, leader) = first_in(&self.client, &self.name).await?;
                    if let Some(leader) = leader {
                        self.follow(header, leader);
                        continue;
                    }
                    let prefix = line_prefix(&self.name);
                    let range = WatchRange {
                        range_end: prefix_end(&prefix),
                        key: prefix,
                        start_revision: header.revision,
                        ..WatchRange::default()
                    };
                    self.state = Observing::Awaiting(self.client.watch(range));
                }
                Observing::Awaiting(watcher) => {
                    let response = next_of(watcher).await?;
                    if response.compact_revision != 0 {
                        self.state = Observing::Looking;
                        continue;
                    }
                    let first = response.events.into_iter().find(|event| event.r#type == EventType::Put as i32);
                    if let Some(leader) = first.and_then(|event| event.kv) {
                        // Several revisions may have come at once; the leader's is the one to go on from.
                        let header = response.header.unwrap_or_default();
                        let header = pb::ResponseHeader { revision: leader.mod_revision, ..header };
                        self.follow(header, leader);
                    }
                }
                Observing::Following(watcher) => {
                    let response = next_of(watcher).await?;
                    let header = response.header.unwrap_or_default();
                    for event in response.events {
                        if event.r#type == EventType::Delete as i32 {
                            self.state = Observing::Looking;
                            break;
                        }
                        self.hears(header, event.kv.unwrap_or_default());
                    }
                    if response.compact_revision != 0 {
                        self.state = Observing::Looking;
                    }
                }
            }
        }
    }

    /// Hears a leader and what it says after.
    fn follow(&mut self, header: pb::ResponseHeader, leader: KeyValue) {
        let range =
            WatchRange { key: leader.key.clone(), start_revision: header.revision + 1, ..WatchRange::default() };
        self.state = Observing::Following(self.client.watch(range));
        self.hears(header, leader);
    }

    /// Hears a word, unless it was heard: who looks again after a compaction finds what was said before.
    fn hears(&mut self, header: pb::ResponseHeader, leader: KeyValue) {
        let is_old = |last: &Said| {
            (&last.key, last.since) == (&leader.key, leader.create_revision) && leader.mod_revision <= last.at
        };
        if self.last.as_ref().is_some_and(is_old) {
            return;
        }
        self.last = Some(Said { key: leader.key.clone(), since: leader.create_revision, at: leader.mod_revision });
        self.heard.push_back(pb::RangeResponse { header: Some(header), kvs: vec![leader], more: false, count: 0 });
    }
}

async fn next_of(watcher: &mut Watcher) -> Result<pb::WatchResponse, Error> {
    let response = watcher.next().await.ok_or(Error::StreamEnded)??;
    if response.canceled && response.compact_revision == 0 {
        return Err(Error::Answered(tonic::Code::Unknown, response.cancel_reason));
    }
    Ok(response)
}
