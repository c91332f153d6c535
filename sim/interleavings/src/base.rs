//! Words and limits that the included files import, and accounts.

/// The locks and atomics of the schedules. What is made once is std's: it is made under a lock of these, and whoever looks
/// for it does not wait.
pub mod sync {
    pub use shuttle::sync::{Arc, Mutex, MutexGuard, PoisonError, atomic};
    pub use std::sync::OnceLock;
}

/// Tiny ones.
pub mod limits {
    pub const MAX_PENDING_REQUESTS: usize = 3;
    pub const MAX_PENDING_BYTES: usize = 100;
    pub const MAX_URGENT_REQUESTS: usize = 3;
    pub const MAX_URGENT_BYTES: usize = 100;
    pub const MAX_PENDING_READS: usize = 3;
    pub const WATCH_BACKLOG_BYTES: usize = 4;
    pub const ALL_WATCH_BACKLOG_BYTES: usize = 8;
    pub const WATCH_BATCH_BYTES: usize = 1;
    pub const WATCH_BATCH_RESPONSES: usize = 1;
    pub const WATCH_BUFFER_BYTES: usize = 4;
    pub const WATCH_BUFFER_RESPONSES: usize = 4;
}

#[path = "../../../src/base/account.rs"]
pub mod account;
#[path = "../../../src/base/revision.rs"]
mod revision;
#[path = "../../../src/base/wrong.rs"]
mod wrong;

pub use account::{Account, Charge, Fund, Shares};
pub use revision::Revision;
pub use wrong::{Corruption, Fault, Refusal, Wrong};

use shuttle::thread;
use sync::Arc;

/// A term.
pub type Term = u64;

/// A place in the log.
pub type LogIndex = u64;

/// A member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemberId(pub u64);

/// What is charged is given back once; a fund is charged beyond its bounds at most by those who ask at the same moment.
/// Caught: a charge given back by a load and a store; a fund that looks at the account's own requests alone; accounts numbered
/// by a load and a store.
pub fn charges_are_given_back_once() {
    const THREADS: usize = 3;
    let shares = Arc::new(Shares::default());
    let askers: Vec<_> = (0..THREADS)
        .map(|_| {
            let shares = shares.clone();
            thread::spawn(move || {
                let account = shares.open();
                let mut held = Vec::new();
                for _ in 0..3 {
                    held.extend(account.charge(Fund::Writes, 10));
                    let (requests, bytes) = shares.held(Fund::Writes);
                    let most = limits::MAX_PENDING_REQUESTS + THREADS - 1;
                    assert!(requests <= most && bytes <= 10 * most, "{requests} requests of {bytes} bytes are charged");
                }
                drop(held);
                assert_eq!(account.held(Fund::Writes), (0, 0), "an account holds nothing of what was given back");
                account.id()
            })
        })
        .collect();
    let mut ids: Vec<u64> = askers.into_iter().map(|asker| asker.join().expect("it asserts")).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), THREADS, "no two accounts are one to a queue");
    assert_eq!(shares.held(Fund::Writes), (0, 0), "all of it is given back");
    let next = shares.open();
    let held: Vec<Charge> = std::iter::from_fn(|| next.charge(Fund::Writes, 10)).collect();
    assert_eq!(held.len(), limits::MAX_PENDING_REQUESTS, "whoever comes next finds what the first found");
}

/// One account's requests end on other threads than they began on, while it asks for more.
/// Caught: an account charged by a load and a store; bytes given back twice.
pub fn one_account_is_used_by_many() {
    let shares = Arc::new(Shares::default());
    let account = shares.open();
    let users: Vec<_> = (0..2)
        .map(|_| {
            let (account, shares) = (account.clone(), shares.clone());
            let early = account.charge(Fund::Urgent, 7);
            thread::spawn(move || {
                drop(early);
                let _late = account.charge(Fund::Urgent, 5);
                // Two at most hold one each, and one more is on its way out.
                assert!(account.held(Fund::Urgent).0 <= 3 && shares.held(Fund::Urgent).0 <= 3, "nothing wraps round");
            })
        })
        .collect();
    users.into_iter().for_each(|user| user.join().expect("it asserts"));
    assert_eq!((account.held(Fund::Urgent), shares.held(Fund::Urgent)), ((0, 0), (0, 0)), "all of it is given back");
}
