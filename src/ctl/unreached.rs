//! Who does not answer, and why: told while a command waits for nobody else, and at its end. A timeout alone says neither.
//!
//! Invariants: of an endpoint it is told once, until it has answered; nothing is told while another of the same list answers.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::client::Client;

/// How long nobody may answer before it is told: elections end within it.
const PATIENCE: Duration = Duration::from_secs(3);

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What an endpoint is said to be where nothing is known but that nothing came: whatever is found out later tells more.
const UNKNOWN: &str = "no answer";

/// The handles of one call. Clones share them.
#[derive(Clone, Default)]
pub struct Unreached(Rc<RefCell<Held>>);

#[derive(Default)]
struct Held {
    clients: Vec<Client>,
    told: Told,
}

impl Unreached {
    /// One more handle.
    pub fn add(&self, client: &Client) {
        self.0.borrow_mut().clients.push(client.clone());
    }

    /// What there is to tell at the end: of each endpoint that did not answer when it was last asked, if it was not told yet. Where
    /// the user stopped it an answer may have been on its way: that none came says nothing.
    pub fn at_end(&self, by_user: bool) -> Vec<String> {
        let held = &mut *self.0.borrow_mut();
        let away = held.clients.iter().flat_map(Client::unreached).filter(|(_, why)| !by_user || why != UNKNOWN);
        away.filter_map(|(endpoint, why)| held.told.news(endpoint, why)).collect()
    }

    /// Tells, for as long as it is waited for, by lines of `tell`.
    pub async fn meanwhile(&self, mut tell: impl FnMut(String)) -> Infallible {
        loop {
            sleep(LOOK_EVERY).await;
            let held = &mut *self.0.borrow_mut();
            let of_each = held.clients.iter().map(|client| (client.unreached(), client.raw().len()));
            let away = of_each.filter(|(away, all)| away.len() == *all).flat_map(|(away, _)| away).collect();
            held.told.looked(away, Instant::now()).into_iter().for_each(&mut tell);
        }
    }
}

/// What was told of each endpoint.
#[derive(Default)]
struct Told {
    told: BTreeMap<String, String>,
    /// Since when each was seen to be away.
    since: BTreeMap<String, Instant>,
}

impl Told {
    /// These were away at a look: the lines for those that have been for long enough. Who has answered meanwhile is told of anew
    /// when he is away again.
    fn looked(&mut self, away: BTreeMap<String, String>, now: Instant) -> Vec<String> {
        self.told.retain(|endpoint, _| away.contains_key(endpoint));
        self.since.retain(|endpoint, _| away.contains_key(endpoint));
        let mut lines = Vec::new();
        for (endpoint, why) in away {
            let since = *self.since.entry(endpoint.clone()).or_insert(now);
            if now - since >= PATIENCE {
                lines.extend(self.news(endpoint, why));
            }
        }
        lines
    }

    /// The line that tells something new. A reason that only changed, such as one with the time of day in it, does not.
    fn news(&mut self, endpoint: String, why: String) -> Option<String> {
        let is_new = self.told.get(&endpoint).is_none_or(|before| before == UNKNOWN && why != UNKNOWN);
        is_new.then(|| {
            let line = format!("endpoint {endpoint}: {why}");
            self.told.insert(endpoint, why);
            line
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn away(all: &[(&str, &str)]) -> BTreeMap<String, String> {
        all.iter().map(|(endpoint, why)| (endpoint.to_string(), why.to_string())).collect()
    }

    fn none() -> Vec<String> {
        Vec::new()
    }

    #[test]
    fn each_is_told_once_until_it_answers() {
        let (mut told, now) = (Told::default(), Instant::now());
        let later = |times| now + PATIENCE * times;
        assert_eq!(told.looked(away(&[("a", "no answer"), ("b", "at 1")]), now), none());
        assert_eq!(
            told.looked(away(&[("a", "no answer"), ("b", "at 1")]), later(1)),
            ["endpoint a: no answer", "endpoint b: at 1"]
        );
        assert_eq!(told.looked(away(&[("a", "refused"), ("b", "at 2")]), later(1)), ["endpoint a: refused"]);
        assert_eq!(told.looked(away(&[("a", "no answer"), ("b", "no answer")]), later(1)), none());
        assert_eq!(told.looked(away(&[("a", "refused")]), later(1)), none());
        assert_eq!(told.looked(away(&[("a", "refused"), ("b", "at 3")]), later(1)), none());
        assert_eq!(told.looked(away(&[("a", "refused"), ("b", "at 3")]), later(2)), ["endpoint b: at 3"]);
    }

    #[test]
    fn each_has_its_own_time() {
        let (mut told, now) = (Told::default(), Instant::now());
        assert_eq!(told.looked(away(&[("a", "refused")]), now), none());
        let second = now + PATIENCE;
        assert_eq!(told.looked(away(&[("a", "refused"), ("b", "refused")]), second), ["endpoint a: refused"]);
        let soon = second + PATIENCE - LOOK_EVERY;
        assert_eq!(told.looked(away(&[("a", "refused"), ("b", "refused")]), soon), none(), "b is away for less");
        assert_eq!(told.looked(away(&[("b", "refused")]), second + PATIENCE), ["endpoint b: refused"]);
    }
}
