//! Who a client is: it proves it where that is asked, and what is refused it for want of a right is judged.

use std::time::Duration;

use quorate::auth::PasswordHash;
use quorate::base::Refusal;
use quorate_spec::history::Outcome;
use quorate_spec::request::Request;

use super::{Client, Settled};
use crate::credentials::{Credentials, log_in};
use crate::oracles::ids::Ending;
use crate::oracles::rights::{self, DENIED, is_of_rights};
use crate::oracles::users::Table;
use crate::oracles::{Verdict, require, witness};
use crate::world::Lost;

/// How long a client waits for a token.
const PROVING: Duration = Duration::from_secs(5);

impl Client {
    /// Who it is, and what it has to show for it.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// It heard such a refusal, for want of a right perhaps.
    pub fn hears(&mut self, refusal: &str) {
        self.credentials.heard(refusal);
    }

    /// Proves who it is, if that is asked and what it has does not do.
    pub async fn prove(&mut self) {
        let Some(user) = self.credentials.to_prove() else { return };
        let known = self.world.ledger().users().now().password(&user).map(|hash| PasswordHash(hash.to_vec().into()));
        let Some(password) = known else { return };
        let (began, drawn) = (self.began(), self.credentials.draw(self.number));
        let (name, known) = (user.clone(), password.clone());
        let way = (self.number, self.member);
        let asked = self
            .world
            .ask(way, PROVING, &mut self.dice, move |door| async move { log_in(&door, &name, &known, drawn).await });
        if let Ok(Ok(token)) = asked.await {
            self.world.marks.hit("a user proved who he is");
            let ledger = self.world.ledger();
            let tables = ledger.users().within(ledger.window(began.entries, None));
            let proved = |table: &Table| table.is_enabled() && table.password(&user) == Some(&password.0[..]);
            let verdict =
                require(tables.iter().any(|(_, table)| proved(table)), "who has a token proved who he is", || {
                    format!("{user}: {tables:?}")
                });
            drop(ledger);
            self.world.judge(verdict);
            self.credentials.hold(token);
        }
    }

    /// Opens a stream of watchers anew: now and then with a new token.
    pub async fn prove_anew(&mut self) {
        if self.credentials.matter() && self.world.ledger().users().now().is_enabled() {
            self.credentials.expire();
            self.prove().await;
        }
    }

    /// Where its member stands.
    pub(super) fn stood(&self) -> usize {
        self.world.ledger().stands(self.member)
    }

    /// A change was refused for want of a right.
    pub(super) fn denied(
        &mut self,
        id: Option<u64>,
        stood: usize,
        refusal: &Refusal,
        asked: &Request,
    ) -> (Outcome, Settled) {
        let text = refusal.text();
        let applied = id.filter(|id| self.world.ledger().attempts().index_of(*id).is_some());
        let verdict = match (applied, id) {
            (Some(id), _) => {
                self.world.marks.hit("a right was wanting where it was applied");
                witness::denied(&mut self.world.ledger(), id, text)
            }
            // Looked at before, it must be the role of who may do everything that he had not.
            (None, Some(id)) => {
                let turned_away = self.world.ledger().attempts_mut().ended(id, Ending::SurelyNot);
                turned_away.and_then(|()| self.lacked(stood, text, asked, Table::may_all))
            }
            (None, None) => self.lacked(stood, text, asked, Table::may_all),
        };
        self.world.judge(verdict);
        self.credentials.heard(text);
        // Who may do everything was not known, or not any more: he asks again.
        let again = self.credentials.is_root() || text != DENIED;
        (Outcome::SurelyNot(text.to_string()), if again { Settled::Not } else { Settled::Yes })
    }

    /// A refusal for want of a right by its member, which stood there: the right was wanting.
    pub(super) fn lacked(
        &self,
        stood: usize,
        text: &str,
        asked: &impl std::fmt::Debug,
        may: impl Fn(&Table, Option<&str>) -> bool,
    ) -> Verdict {
        let (ledger, shown) = (self.world.ledger(), self.credentials.shown(&self.world));
        let story = || format!("client {} as {:?} of member {}: {asked:?}", self.number, shown.user(), self.member);
        let places = stood.min(ledger.vantages().len() - 1)..=ledger.vantages().len() - 1;
        rights::denied(&ledger, places, text, story, |table| !may(table, shown.user()))
    }

    /// A question was refused, perhaps for want of a right.
    pub(super) fn looks_denied<T>(
        &mut self,
        stood: usize,
        answer: &Result<Result<T, Refusal>, Lost>,
        asked: &impl std::fmt::Debug,
        may: impl Fn(&Table, Option<&str>) -> bool,
    ) -> bool {
        let Ok(Err(refusal)) = answer else { return false };
        if !is_of_rights(refusal.text()) {
            return false;
        }
        self.world.marks.hit("a look was refused for want of a right");
        let verdict = self.lacked(stood, refusal.text(), asked, may);
        self.world.judge(verdict);
        self.credentials.heard(refusal.text());
        refusal.text() == DENIED && !self.credentials.is_root()
    }
}
