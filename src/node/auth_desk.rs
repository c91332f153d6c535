//! What users and roles ask of the node beside the machine: the board, the watchers, questions of leases.

use super::input::LeaseAccess;
use super::node::Node;
use crate::auth::{Access, Asker, AuthCommand};
use crate::base::{LogIndex, Refusal};
use crate::env::{Disk, Instant};

impl<D: Disk> Node<D> {
    /// A command of users and roles was applied.
    pub(super) fn auth_applied(&mut self, command: &AuthCommand, index: LogIndex, now: Instant) {
        match command {
            AuthCommand::Authenticate { user, token } => {
                if !token.is_empty() {
                    // As in etcd: who is asked with a token knows from it how much he must have applied to know it.
                    self.facts.auth.tokens().assign(&format!("{token}.{index}"), user, now.0);
                }
            }
            // Also where the password stays the same: it was to be changed.
            AuthCommand::UserChangePassword { name, .. } | AuthCommand::UserDelete { name } => {
                self.facts.auth.tokens().forget(name);
                self.tell_auth();
            }
            _ => self.tell_auth(),
        }
    }

    /// Tells the table of users, and ends the watchers of those who may not read any more what they watch.
    pub(super) fn tell_auth(&mut self) {
        let table = self.machine.auth().clone();
        self.facts.auth.tell(&table);
        if table.is_enabled() {
            let now = self.hub_now();
            self.watches.cut(now, |user, range| table.check_watcher(user, range));
        }
    }

    /// Whether the asker may do that with leases, by the keys that hang on them here.
    pub(super) fn check_leases(&self, asker: Option<&Asker>, access: LeaseAccess) -> Result<(), Refusal> {
        match access {
            LeaseAccess::Renew(id) => self.machine.check_lease(asker, id, Access::Write),
            LeaseAccess::List => self.machine.check_leases(asker),
        }
    }
}
