//! What anyone may know of users and tokens without asking the node.
//!
//! Invariants: the table is told in the moment in which it changes, before the change is answered and before a view of
//! anything later is handed out, so who reads the table after a view was given to him reads one that is no older than
//! the view. Costs one load of an atomic where nobody is asked who he is.

use std::time::Duration;

use crate::auth::{Auth, Tokens};
use crate::base::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::base::sync::{Arc, Mutex, MutexGuard};
use crate::env::Instant;

/// The noticeboard's part about users.
#[derive(Debug, Default)]
pub struct AuthBoard {
    is_enabled: AtomicBool,
    /// Counts the tellings; moves only while the table is locked.
    changes: AtomicU64,
    revision: AtomicU64,
    table: Mutex<Arc<Auth>>,
    tokens: Mutex<Tokens>,
}

impl AuthBoard {
    /// Whether callers must say who they are.
    pub fn is_enabled(&self) -> bool {
        self.is_enabled.load(Ordering::Acquire)
    }

    /// The table's revision. It lags behind the table rather than to be ahead of it.
    pub fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }

    /// How often the table was told, for [`Self::unchanged_since`].
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// The table, where it is still what it was when it had been told so often.
    pub fn unchanged_since(&self, changes: u64) -> Option<Arc<Auth>> {
        let table = self.table.lock().expect("no holder of this lock panics");
        (self.changes() == changes).then(|| table.clone())
    }

    /// The table as it is now.
    pub fn table(&self) -> Arc<Auth> {
        self.table.lock().expect("no holder of this lock panics").clone()
    }

    /// Whom a token names; it lives on.
    pub fn named_by(&self, token: &str, now: Instant) -> Option<Arc<str>> {
        self.tokens().find(token, now.0)
    }

    /// Tokens that are not used live for so long.
    pub fn tokens_live_for(&self, ttl: Duration) {
        self.tokens().live_for(ttl);
    }

    pub(super) fn tokens(&self) -> MutexGuard<'_, Tokens> {
        self.tokens.lock().expect("no holder of this lock panics")
    }

    /// Tells the table. Tokens of those who are gone, or have another password, name nobody any more.
    pub(super) fn tell(&self, table: &Arc<Auth>) {
        let was = {
            let mut told = self.table.lock().expect("no holder of this lock panics");
            self.changes.fetch_add(1, Ordering::AcqRel);
            self.revision.store(table.revision(), Ordering::Release);
            self.is_enabled.store(table.is_enabled(), Ordering::Release);
            std::mem::replace(&mut *told, table.clone())
        };
        let mut tokens = self.tokens();
        if !tokens.is_empty() && !Arc::ptr_eq(&was, table) {
            let password = |table: &Auth, user: &str| table.user(user).map(|user| user.password.clone());
            tokens.keep(|user| {
                let now = password(table, user);
                table.is_enabled() && now.is_some() && now == password(&was, user)
            });
        }
    }
}
