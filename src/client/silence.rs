//! Who has not answered, and why.
//!
//! Invariants: of an endpoint the last that was learned counts, until it answers; a stream that waits counts only while it waits, so that
//! nothing is left of one that nobody listens to any more; "no answer" never takes the place of a reason. Does not know what was asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What is said of an endpoint where nothing has come, neither an answer nor a refusal.
pub const NO_ANSWER: &str = "no answer";

/// How long a stream may wait before that is said: whoever is there has answered by then.
const A_WHILE: Duration = Duration::from_secs(1);

/// Endpoints by their place in the caller's list. Clones share it.
#[derive(Clone, Debug)]
pub struct Silence(Arc<Mutex<Vec<Place>>>);

#[derive(Clone, Debug, Default)]
struct Place {
    why: Option<String>,
    /// Since when answers have been waited for, by their number; and whether one is for whoever is waiting for a token.
    waiting: BTreeMap<u64, (Instant, bool)>,
    /// The number of the next one.
    next: u64,
}

impl Silence {
    /// Nothing is known yet.
    pub fn new(endpoints: usize) -> Silence {
        Silence(Arc::new(Mutex::new(vec![Place::default(); endpoints])))
    }

    fn at<T>(&self, place: usize, deed: impl FnOnce(&mut Place) -> T) -> T {
        deed(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner)[place])
    }

    /// A stream at a place waits for an answer, for as long as the result is held.
    pub fn begins(&self, place: usize) -> Waiting {
        self.waits(place, false)
    }

    /// As [`Self::begins`], for a token.
    pub fn begins_for_token(&self, place: usize) -> Waiting {
        self.waits(place, true)
    }

    /// Whoever waited for a token had no more time for it, which others may have: whoever is asked for one has not answered.
    pub fn token_is_given_up(&self) {
        for at in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
            if at.why.is_none() && at.waiting.values().any(|(_, token)| *token) {
                at.why = Some(NO_ANSWER.to_owned());
            }
        }
    }

    fn waits(&self, place: usize, token: bool) -> Waiting {
        let number = self.at(place, |at| {
            at.next += 1;
            at.waiting.insert(at.next, (Instant::now(), token));
            at.next
        });
        Waiting { silence: self.clone(), place, number }
    }

    /// Keeps why nobody answered at a place; an answer, which is no reason, ends that. Whether there was one to forget.
    pub fn keep(&self, place: usize, why: Option<String>) -> bool {
        self.at(place, |at| {
            let was_silent = at.why.is_some();
            match why {
                None => (at.why, at.waiting) = (None, BTreeMap::new()),
                // What ran out of time while it waited to ask again knows less than the last answer did.
                Some(why) if why == NO_ANSWER && was_silent => return false,
                why => at.why = why,
            }
            was_silent && at.why.is_none()
        })
    }

    /// Why each has not answered, by its place.
    pub fn all(&self) -> Vec<Option<String>> {
        let why = |at: &Place| {
            let is_waited_for = at.waiting.values().any(|(since, _)| since.elapsed() >= A_WHILE);
            at.why.clone().or_else(|| is_waited_for.then(|| NO_ANSWER.to_owned()))
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().map(why).collect()
    }
}

/// A stream that waits for an answer, or who does for a token.
#[derive(Debug)]
#[must_use = "it counts while it is held"]
pub struct Waiting {
    silence: Silence,
    place: usize,
    number: u64,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.silence.at(self.place, |at| at.waiting.remove(&self.number));
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn said(silence: &Silence) -> Vec<Option<String>> {
        silence.all()
    }

    fn no_answer() -> Option<String> {
        Some(NO_ANSWER.to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_counts_while_it_waits_and_not_at_once() {
        let silence = Silence::new(2);
        let (one, other) = (silence.begins(0), silence.begins(0));
        assert_eq!(said(&silence), [None, None], "it had no time");
        advance(A_WHILE).await;
        assert_eq!(said(&silence), [no_answer(), None]);
        drop(one);
        assert_eq!(said(&silence), [no_answer(), None], "the other waits");
        drop(other);
        assert_eq!(said(&silence), [None, None], "nobody waits");
    }

    #[tokio::test(start_paused = true)]
    async fn who_gave_up_waiting_for_a_token_knows_who_is_asked_for_it() {
        let silence = Silence::new(3);
        let (stream, token) = (silence.begins(0), silence.begins_for_token(1));
        assert_eq!(said(&silence), [None, None, None]);
        silence.token_is_given_up();
        assert_eq!(said(&silence), [None, no_answer(), None], "the stream had no time");
        silence.keep(1, Some("refused".to_owned()));
        silence.token_is_given_up();
        assert_eq!(said(&silence)[1], Some("refused".to_owned()), "it knows no better");
        drop((stream, token));
        silence.keep(1, None);
        silence.token_is_given_up();
        assert_eq!(said(&silence), [None, None, None], "nobody is asked");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_ends_it_for_all_and_a_reason_is_kept() {
        let silence = Silence::new(1);
        let waiting = silence.begins(0);
        advance(A_WHILE).await;
        assert!(!silence.keep(0, None), "there was no reason to forget");
        assert_eq!(said(&silence), [None]);
        let later = silence.begins(0);
        advance(A_WHILE).await;
        assert!(!silence.keep(0, Some("refused".to_owned())));
        drop((waiting, later));
        assert!(!silence.keep(0, no_answer()));
        assert_eq!(said(&silence), [Some("refused".to_owned())], "it knows no better");
        assert!(silence.keep(0, None));
        assert!(!silence.keep(0, no_answer()));
        assert_eq!(said(&silence), [no_answer()]);
    }
}
