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
        held.told.news(away.collect())
    }

    /// Tells, for as long as it is waited for, by lines of `tell`.
    pub async fn meanwhile(&self, mut tell: impl FnMut(String)) -> Infallible {
        let mut since: Option<Instant> = None;
        loop {
            sleep(LOOK_EVERY).await;
            let held = &mut *self.0.borrow_mut();
            let of_each = held.clients.iter().map(|client| (client.unreached(), client.raw().len()));
            let away: BTreeMap<_, _> =
                of_each.filter(|(away, all)| away.len() == *all).flat_map(|(away, _)| away).collect();
            held.told.forget_all_but(&away);
            if away.is_empty() {
                since = None;
            } else if since.get_or_insert_with(Instant::now).elapsed() >= PATIENCE {
                held.told.news(away).into_iter().for_each(&mut tell);
            }
        }
    }
}

/// What was told of each endpoint.
#[derive(Default)]
struct Told(BTreeMap<String, String>);

impl Told {
    /// The lines that tell something new. A reason that only changed, such as one with the time of day in it, does not.
    fn news(&mut self, away: BTreeMap<String, String>) -> Vec<String> {
        let mut lines = Vec::new();
        for (endpoint, why) in away {
            let is_new = self.0.get(&endpoint).is_none_or(|before| before == UNKNOWN && why != UNKNOWN);
            if is_new {
                lines.push(format!("endpoint {endpoint}: {why}"));
                self.0.insert(endpoint, why);
            }
        }
        lines
    }

    /// Who has answered meanwhile is told of anew when he is away again.
    fn forget_all_but(&mut self, away: &BTreeMap<String, String>) {
        self.0.retain(|endpoint, _| away.contains_key(endpoint));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn away(all: &[(&str, &str)]) -> BTreeMap<String, String> {
        all.iter().map(|(endpoint, why)| (endpoint.to_string(), why.to_string())).collect()
    }

    #[test]
    fn each_is_told_once_until_it_answers() {
        let mut told = Told::default();
        assert_eq!(
            told.news(away(&[("a", "no answer"), ("b", "at 1")])),
            ["endpoint a: no answer", "endpoint b: at 1"]
        );
        assert_eq!(told.news(away(&[("a", "refused"), ("b", "at 2")])), ["endpoint a: refused"]);
        assert_eq!(told.news(away(&[("a", "no answer"), ("b", "no answer")])), Vec::<String>::new());
        told.forget_all_but(&away(&[("a", "refused")]));
        assert_eq!(told.news(away(&[("a", "refused"), ("b", "at 3")])), ["endpoint b: at 3"]);
    }
}
