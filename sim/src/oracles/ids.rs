//! Request ids: every attempt of a client has one, and the log holds it once, not at all, or must not hold it.
//!
//! Outcomes are of three kinds: decided (the entry is there and says so), surely not (no entry of this id, ever), and
//! open. An id that no client was given is the product's own.

use std::fmt;

use fxhash::FxHashMap;
use quorate::auth::Asker;
use quorate_spec::request::Request;

use super::{Verdict, require};
use crate::config::MIN_TTL;
use crate::draft::LEASES;

/// How an attempt ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// Nobody told, or what was told leaves it open.
    Open,
    /// Its entry decided.
    Decided,
    /// It was turned down before it could reach any log.
    SurelyNot,
}

/// One attempt to have a change done.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Whose.
    pub client: u32,
    /// In whose name.
    pub asker: Option<Asker>,
    /// What was asked.
    pub request: Request,
    /// How it ended.
    pub ending: Ending,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "what client {} asked ({:?}): {:?}", self.client, self.ending, self.request)
    }
}

/// All attempts of a run.
#[derive(Default)]
pub struct Attempts {
    known: FxHashMap<u64, Attempt>,
    /// The entry of each id of the log.
    places: FxHashMap<u64, u64>,
}

impl Attempts {
    /// An attempt begins under an id.
    pub fn begin(&mut self, id: u64, attempt: Attempt) -> Verdict {
        let fresh = !self.places.contains_key(&id);
        let before = self.known.insert(id, attempt);
        require(fresh && before.is_none(), "a request id is given once", || {
            format!("id {id:#x} was given to {before:?}, and is given again")
        })
    }

    /// The attempt of an id, if a client's.
    pub fn of(&self, id: u64) -> Option<&Attempt> {
        self.known.get(&id)
    }

    /// The entry of an id.
    pub fn index_of(&self, id: u64) -> Option<u64> {
        self.places.get(&id).copied()
    }

    /// An attempt ended.
    pub fn ended(&mut self, id: u64, ending: Ending) -> Verdict {
        let Some(attempt) = self.known.get_mut(&id) else { return Ok(()) };
        attempt.ending = ending;
        let index = self.index_of(id);
        require(ending != Ending::SurelyNot || index.is_none(), NOT_DONE, || {
            format!("{:?}\nis entry {index:?}", self.known.get(&id))
        })
    }

    /// An entry with an id is applied for the first time by anyone.
    /// `expires` says that it ends a lease as fallen due.
    pub fn applied(&mut self, id: u64, index: u64, request: Option<&Request>, expires: bool) -> Verdict {
        let before = self.places.insert(id, index);
        require(before.is_none(), "a request takes effect once", || {
            format!("id {id:#x} is entry {before:?} and entry {index}: {request:?}")
        })?;
        let Some(attempt) = self.known.get(&id) else {
            let own = expires || matches!(request, None | Some(Request::Other | Request::Alarm { .. }));
            return require(own, "the log holds what was asked", || {
                format!("entry {index} (id {id:#x}) was asked for by nobody: {request:?}")
            });
        };
        require(!expires && same_request(&attempt.request, request), "an entry holds what was asked", || {
            format!("{attempt}\nbecame entry {index}: {request:?}")
        })?;
        require(attempt.ending != Ending::SurelyNot, NOT_DONE, || format!("{attempt}\nbecame entry {index}"))
    }
}

const NOT_DONE: &str = "what was refused before it was tried is never done";

fn same_request(asked: &Request, logged: Option<&Request>) -> bool {
    match (asked, logged) {
        // A lease without an id is given one before the log, and a short one the least time there is.
        (Request::LeaseGrant { id: asked, ttl }, Some(Request::LeaseGrant { id, ttl: logged })) => {
            let named = if *asked == 0 { *id != 0 && !LEASES.contains(id) } else { asked == id };
            named && *logged == (*ttl).max(MIN_TTL)
        }
        (asked, logged) => logged == Some(asked),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(revision: i64) -> Attempt {
        Attempt { client: 1, asker: None, request: Request::Compact { revision }, ending: Ending::Open }
    }

    #[test]
    fn an_id_is_given_once_and_done_once() {
        let mut attempts = Attempts::default();
        assert!(attempts.begin(7, attempt(1)).is_ok());
        assert!(attempts.begin(7, attempt(1)).is_err());
        assert!(attempts.applied(7, 20, Some(&Request::Compact { revision: 1 }), false).is_ok());
        assert!(attempts.applied(7, 21, Some(&Request::Compact { revision: 1 }), false).is_err());
    }

    #[test]
    fn what_was_surely_not_done_must_not_be_done_before_or_after() {
        let mut attempts = Attempts::default();
        attempts.begin(7, attempt(1)).unwrap();
        attempts.ended(7, Ending::SurelyNot).unwrap();
        assert!(attempts.applied(7, 20, Some(&Request::Compact { revision: 1 }), false).is_err());
        attempts.begin(8, attempt(1)).unwrap();
        attempts.applied(8, 21, Some(&Request::Compact { revision: 1 }), false).unwrap();
        assert!(attempts.ended(8, Ending::SurelyNot).is_err());
    }

    #[test]
    fn an_entry_is_what_was_asked_or_the_products_own() {
        let mut attempts = Attempts::default();
        attempts.begin(7, attempt(1)).unwrap();
        assert!(attempts.applied(7, 20, Some(&Request::Compact { revision: 2 }), false).is_err());
        assert!(attempts.applied(8, 21, Some(&Request::LeaseRevoke { id: 1 }), true).is_ok());
        assert!(attempts.applied(9, 22, Some(&Request::Compact { revision: 2 }), false).is_err());
    }
}
