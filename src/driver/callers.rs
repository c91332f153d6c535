//! Who asks, and what of it a member can tell without the log.
//!
//! Invariant: what is read is shown only when the asker may read it by a table of users that is no older than what is read,
//! and was not changed while it was read. Does not know passwords, nor tokens of other kinds than simple ones.

use std::sync::Arc;

use super::handle::Handle;
use crate::auth::{Asker, Auth};
use crate::base::{LogIndex, Refusal, limits};
use crate::env::{Clock, Env};
use crate::mvcc::View;
use crate::node::{Input, LeaseAccess};

impl<E: Env> Handle<E> {
    /// Whether callers must say who they are.
    pub fn asks_who(&self) -> bool {
        self.facts().auth.is_enabled()
    }

    /// Users and roles as they are here: no older than any view that was given out before.
    pub fn auth(&self) -> Arc<Auth> {
        self.facts().auth.table()
    }

    /// A view as `take` takes it, of which the asker, as `who` names him, may read what `check` looks at.
    ///
    /// The table of users is looked at before and after the view is taken: where it changed, the view may be of before a
    /// key was hidden and the table of after a right was given, so both are taken anew.
    pub async fn view_for<V, W>(
        &self,
        take: impl Fn() -> V,
        who: impl Fn() -> W,
        check: impl Fn(&Auth, Option<&Asker>) -> Result<(), Refusal>,
    ) -> Result<View<E::Disk>, Refusal>
    where
        V: Future<Output = Result<View<E::Disk>, Refusal>>,
        W: Future<Output = Result<Option<Asker>, Refusal>>,
    {
        let board = &self.facts().auth;
        for _ in 0..limits::READS_WHILE_USERS_CHANGE {
            let before = self.asks_who().then(|| board.changes());
            let view = take().await?;
            match before {
                None if !self.asks_who() => return Ok(view),
                None => {}
                Some(changes) => {
                    let asker = who().await?;
                    if let Some(table) = board.unchanged_since(changes) {
                        check(&table, asker.as_ref())?;
                        // Where nothing is looked at, too: as in etcd no read is answered to who was named at another revision.
                        let is_of_now = |asker: &Asker| asker.revision == 0 || asker.revision == table.revision();
                        return if asker.as_ref().is_none_or(is_of_now) {
                            Ok(view)
                        } else {
                            Err(Refusal::AuthOldRevision)
                        };
                    }
                }
            }
        }
        Err(Refusal::AuthOldRevision)
    }

    /// Whom a simple token names. One that this member does not know may be of an entry that it has not applied: it is
    /// waited for, as in etcd, but no longer than for a read.
    ///
    /// Refused as invalid where it names nobody.
    pub async fn named_by(&self, token: &str) -> Result<Asker, Refusal> {
        let made_at = made_at(token).ok_or(Refusal::InvalidAuthToken)?;
        if let Some(asker) = self.known_by(token) {
            return Ok(asker);
        }
        if made_at > self.facts().applied() {
            self.inspect(true).await?;
        }
        self.known_by(token).ok_or(Refusal::InvalidAuthToken)
    }

    fn known_by(&self, token: &str) -> Option<Asker> {
        let board = &self.facts().auth;
        // The revision before the name: a token that is taken away between the two is not found, and a right that is
        // taken away is one of a later revision.
        let revision = board.revision();
        let user = board.named_by(token, self.env().clock().now())?;
        Some(Asker { user, revision })
    }

    /// Refuses an asker who may not do that with leases, by the keys that hang on them here.
    pub async fn check_leases(&self, asker: Option<Asker>, access: LeaseAccess) -> Result<(), Refusal> {
        self.ask(|reply| Input::CheckLeases { asker, access, reply }).await?
    }
}

/// The entry that made a simple token, as the token names it.
fn made_at(token: &str) -> Option<LogIndex> {
    let (drawn, index) = token.split_once('.')?;
    let is_plain = !drawn.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| index.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_entry() {
        assert_eq!(made_at("abcDEF.17"), Some(17));
        for bad in ["", "abc", "abc.", ".5", "abc.x", "abc.-1", "abc.+1", "a.b.1", "abc.99999999999999999999"] {
            assert_eq!(made_at(bad), None, "{bad}");
        }
    }
}
