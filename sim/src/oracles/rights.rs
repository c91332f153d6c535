//! Who may do what, by a naive model: a range may be accessed where each of its keys may, and for that it is enough to look
//! at the keys at which something that was granted ends.
//!
//! Knows nothing of how the product keeps or merges ranges. The order in which wrongs are told is etcd's.

use std::ops::RangeInclusive;

use quorate::auth::{Asker, AuthCommand, PermissionKind};
use quorate_spec::request::{Bytes, DeleteRange, Op, Put, Request, Span, Txn};

use super::ledger::Ledger;
use super::users::{Table, User};
use super::{Verdict, require};

/// He has not the right.
pub const DENIED: &str = "etcdserver: permission denied";
/// What was decided of him was decided at an older table.
pub const OLD: &str = "etcdserver: revision of auth store is old";
/// He has not said who he is.
pub const NOBODY: &str = "etcdserver: user name is empty";
/// What he shows names nobody.
pub const TOKEN: &str = "etcdserver: invalid auth token";
/// There is no such user.
const NO_USER: &str = "etcdserver: user name not found";

/// Whether a refusal is for want of a right.
pub fn is_of_rights(text: &str) -> bool {
    [DENIED, OLD, NOBODY, TOKEN].contains(&text)
}

/// What is done with keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// They are looked at.
    Read,
    /// They are changed.
    Write,
}

/// Whether these are keys that lie beside each other, from the first one up to and without the second.
type Granted = (Bytes, Option<Bytes>);

fn end_of(span: &Span) -> Option<Bytes> {
    match &span.end[..] {
        [] => Some([&span.key[..], b"\0"].concat()),
        [0] => None,
        end => Some(end.to_vec()),
    }
}

/// Whether all of `span` is covered by what was granted.
fn covered(granted: &[Granted], span: &Span) -> bool {
    let covers =
        |key: &[u8]| granted.iter().any(|(from, to)| &from[..] <= key && to.as_ref().is_none_or(|to| key < &to[..]));
    let ends = granted.iter().filter_map(|(_, to)| to.as_deref());
    let end = end_of(span);
    let within = |key: &&[u8]| &span.key[..] < *key && end.as_ref().is_none_or(|end| *key < &end[..]);
    // No key at all: as in etcd it is where its first one is.
    let is_empty = span.end.is_empty() || end.as_ref().is_some_and(|end| *end <= span.key);
    covers(&span.key) && (is_empty || ends.filter(within).all(covers))
}

impl Table {
    fn granted(&self, user: &User, access: Access) -> Vec<Granted> {
        let allows = |kind: PermissionKind| match kind {
            PermissionKind::ReadWrite => true,
            PermissionKind::Read => access == Access::Read,
            PermissionKind::Write => access == Access::Write,
            PermissionKind::Unknown(_) => false,
        };
        let held = user.roles.iter().filter_map(|role| self.roles.get(role)).flatten();
        let held = held.filter(|permission| allows(permission.kind));
        let spans = held.map(|held| Span { key: held.range.start.to_vec(), end: held.range.wire_end().to_vec() });
        spans.map(|span| (span.key.clone(), end_of(&span))).collect()
    }

    fn is_root_user(user: &User) -> bool {
        user.roles.contains("root")
    }

    /// Whether a user of this name, or nobody, may do that by what this table says; where nobody is asked everybody may.
    pub fn may(&self, user: Option<&str>, span: &Span, access: Access) -> bool {
        let known = user.and_then(|name| self.users.get(name));
        let allowed = |user: &User| Self::is_root_user(user) || covered(&self.granted(user, access), span);
        !self.enabled || known.is_some_and(allowed)
    }

    /// Whether he may do everything.
    pub fn may_all(&self, user: Option<&str>) -> bool {
        !self.enabled || user.and_then(|name| self.users.get(name)).is_some_and(Self::is_root_user)
    }

    /// Whether he may read all that a transaction looks at and do all that it would do, whichever branch it takes.
    pub fn may_txn(&self, user: Option<&str>, txn: &Txn) -> bool {
        let asker = user.map(|user| Asker { user: user.into(), revision: self.revision });
        self.refuses(asker.as_ref(), &Request::Txn(txn.clone()), |_| Vec::new()).is_none()
    }

    /// Why a change is not done for who asks so, if it is not; `attached` are the keys on a lease.
    pub fn refuses(
        &self,
        asker: Option<&Asker>,
        request: &Request,
        attached: impl Fn(i64) -> Vec<Bytes>,
    ) -> Option<&'static str> {
        let guard = Guard { table: self, asker, attached: &attached };
        let may = match request {
            _ if !self.enabled => Ok(()),
            Request::Put(put) => guard.put(put),
            Request::DeleteRange(delete) => guard.delete(delete),
            Request::Txn(txn) => guard.txn(txn),
            Request::LeaseRevoke { id } => guard.on_lease(*id),
            _ => Ok(()),
        };
        may.err()
    }

    /// Why users and roles are not changed for who asks so, if they are not.
    pub fn refuses_change(&self, asker: Option<&Asker>, command: &AuthCommand) -> Option<&'static str> {
        if !self.enabled || matches!(command, AuthCommand::Authenticate { .. }) {
            return None;
        }
        let Some(asker) = asker.filter(|asker| !asker.user.is_empty()) else { return Some(NOBODY) };
        match self.users.get(&*asker.user) {
            None => Some(NO_USER),
            Some(user) if Self::is_root_user(user) => None,
            Some(_) => Some(DENIED),
        }
    }
}

/// One look at what is asked in someone's name.
struct Guard<'a> {
    table: &'a Table,
    asker: Option<&'a Asker>,
    attached: &'a dyn Fn(i64) -> Vec<Bytes>,
}

impl Guard<'_> {
    fn access(&self, span: &Span, access: Access) -> Result<(), &'static str> {
        let asker = self.asker.filter(|asker| asker.revision > 0).ok_or(NOBODY)?;
        if asker.revision < self.table.revision {
            return Err(OLD);
        }
        if self.table.may(Some(&asker.user), span, access) { Ok(()) } else { Err(DENIED) }
    }

    fn put(&self, put: &Put) -> Result<(), &'static str> {
        let key = Span::one(put.key.clone());
        self.access(&key, Access::Write)?;
        self.on_lease(put.lease)?;
        if put.prev_kv { self.access(&key, Access::Read) } else { Ok(()) }
    }

    fn delete(&self, delete: &DeleteRange) -> Result<(), &'static str> {
        self.access(&delete.span, Access::Write)?;
        if delete.prev_kv { self.access(&delete.span, Access::Read) } else { Ok(()) }
    }

    fn txn(&self, txn: &Txn) -> Result<(), &'static str> {
        txn.compares.iter().try_for_each(|compare| self.access(&compare.span, Access::Read))?;
        txn.success.iter().chain(&txn.failure).try_for_each(|op| match op {
            Op::Range(range) => self.access(&range.span, Access::Read),
            Op::Put(put) => self.put(put),
            Op::DeleteRange(delete) => self.delete(delete),
            Op::Txn(nested) => self.txn(nested),
        })
    }

    /// Who ends a lease, or hangs a key on it, may write what hangs there; who may do everything needs no look.
    fn on_lease(&self, id: i64) -> Result<(), &'static str> {
        let user = self.asker.map(|asker| &*asker.user);
        if id == 0 || self.table.may_all(user) {
            return Ok(());
        }
        (self.attached)(id).into_iter().try_for_each(|key| self.access(&Span::one(key), Access::Write))
    }
}

/// A refusal for want of a right: in some moment of these places it was wanting.
pub fn denied(
    ledger: &Ledger,
    places: RangeInclusive<usize>,
    text: &str,
    story: impl Fn() -> String,
    lacks: impl Fn(&Table) -> bool,
) -> Verdict {
    let tables = ledger.users().within(places.clone());
    let wanting = tables.iter().any(|(_, table)| table.enabled && (text != DENIED || lacks(table)));
    require(wanting, "who is refused for want of a right has none", || {
        format!("{}\n{text:?}, within places {places:?}: {tables:?}", story())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(of: &[(&str, Option<&str>)]) -> Vec<Granted> {
        let bytes = |text: &str| text.as_bytes().to_vec();
        of.iter().map(|(from, to)| (bytes(from), to.map(bytes))).collect()
    }

    #[test]
    fn a_range_is_covered_where_each_of_its_keys_is() {
        let some = granted(&[("b", Some("d")), ("d", Some("f")), ("h", Some("k")), ("x", None)]);
        let between = |from: &str, to: &str| Span::between(from, to);
        for span in [between("b", "f"), between("c", "e"), between("h", "i"), Span::one("e"), between("z", "\0")] {
            assert!(covered(&some, &span), "{span:?}");
        }
        for span in [between("a", "c"), between("e", "i"), between("h", "k\0"), between("h", "\0"), Span::one("f")] {
            assert!(!covered(&some, &span), "{span:?}");
        }
        for (key, end, is_there) in
            [("e", "c", true), ("c", "b", true), ("i", "i", true), ("f", "b", false), ("a", "a", false)]
        {
            assert_eq!(covered(&some, &between(key, end)), is_there, "no key at all: {key} to {end}");
        }
    }
}
