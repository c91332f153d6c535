//! Who may do what a command does, decided where it is applied: between asking and applying rights may go.
//!
//! Invariants: while nobody is asked who he is nothing is looked at; a transaction is looked at whole, whichever branch it
//! takes, so that the answer tells nothing of keys that may not be read. What members propose for themselves (alarms,
//! compactions, what falls due) names nobody and is not looked at here: the porch asks clients for the role `root`.

use crate::auth::{Access, Asker, Auth};
use crate::base::{KeyRange, LeaseId, Refusal};
use crate::lease::LeaseTable;

use super::command::{Command, DeleteRange, Op, Put, Txn};

/// Refuses what the asker may not do.
pub(super) fn check(auth: &Auth, leases: &LeaseTable, asker: Option<&Asker>, command: &Command) -> Result<(), Refusal> {
    if !auth.is_enabled() {
        return Ok(());
    }
    let guard = Guard { auth, leases: Some(leases), asker };
    match command {
        Command::Put(put) => guard.put(put),
        Command::DeleteRange(delete) => guard.delete(delete),
        Command::Txn(txn) => guard.txn(txn),
        // One that fell due is the leader's, who owns no keys.
        Command::LeaseRevoke { id, expiry: None } => guard.lease_keys(*id, Access::Write),
        Command::Auth(command) if command.needs_root() => auth.check_root(asker),
        _ => Ok(()),
    }
}

/// Refuses a transaction of reads of which the asker may not read a part.
pub fn check_read_txn(auth: &Auth, asker: Option<&Asker>, txn: &Txn) -> Result<(), Refusal> {
    if !auth.is_enabled() {
        return Ok(());
    }
    Guard { auth, leases: None, asker }.txn(txn)
}

/// Refuses an asker who may not access all the keys of a lease so. Who has the role `root` may, at whatever revision he was
/// named, as in etcd.
pub(super) fn check_lease(
    auth: &Auth,
    leases: &LeaseTable,
    asker: Option<&Asker>,
    id: LeaseId,
    access: Access,
) -> Result<(), Refusal> {
    Guard { auth, leases: Some(leases), asker }.lease_keys(id, access)
}

struct Guard<'a> {
    auth: &'a Auth,
    leases: Option<&'a LeaseTable>,
    asker: Option<&'a Asker>,
}

impl Guard<'_> {
    fn access(&self, range: &KeyRange, access: Access) -> Result<(), Refusal> {
        self.auth.check(self.asker, range, access)
    }

    /// Who attaches a key to a lease may end the key with it: and all the others on it, so these must be his to write, too.
    fn put(&self, put: &Put) -> Result<(), Refusal> {
        let key = KeyRange::single(put.key.clone());
        self.access(&key, Access::Write)?;
        self.lease_keys(put.lease, Access::Write)?;
        if put.prev_kv { self.access(&key, Access::Read) } else { Ok(()) }
    }

    fn delete(&self, delete: &DeleteRange) -> Result<(), Refusal> {
        self.access(&delete.range, Access::Write)?;
        if delete.prev_kv { self.access(&delete.range, Access::Read) } else { Ok(()) }
    }

    fn txn(&self, txn: &Txn) -> Result<(), Refusal> {
        txn.compares.iter().try_for_each(|compare| self.access(&compare.range, Access::Read))?;
        txn.success.iter().chain(&txn.failure).try_for_each(|op| match op {
            Op::Range(query) => self.access(&query.range, Access::Read),
            Op::Put(put) => self.put(put),
            Op::DeleteRange(delete) => self.delete(delete),
            Op::Txn(nested) => self.txn(nested),
        })
    }

    fn lease_keys(&self, id: LeaseId, access: Access) -> Result<(), Refusal> {
        let Some(leases) = self.leases.filter(|_| id != 0) else { return Ok(()) };
        self.auth.check_attached(self.asker, leases.keys(id), access)
    }
}
