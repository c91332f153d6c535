//! Accounts: who holds how much of what everyone shares.
//!
//! There is a [`Fund`] of each kind, and who asks is charged until he is answered. An account may hold as much of a fund as
//! is still free in it (a dynamic threshold): one that floods alone gets half, two get a third each, and whoever comes next
//! finds room, without anybody counting who is there. While those who wait do so for too long, the room of a fund is made
//! smaller ([`Shares::make_room`]), so that what would come too late is refused at once.
//!
//! Invariants: what is charged is given back once, when the [`Charge`] goes; a fund is charged beyond its bounds at most by
//! those who ask at the very same moment. No lock, and nothing that grows with the number of accounts.
//! Does not know who has an account, nor what is done for him.

use super::limits;
use crate::base::sync::Arc;
use crate::base::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// What is shared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fund {
    /// Writes that wait to be agreed on and applied.
    Writes,
    /// What keeps a member alive and small: leases, compactions, alarms. Never refused because of the writes, and first in
    /// line before them.
    Urgent,
    /// Questions that wait for the node.
    Questions,
}

const FUNDS: usize = 3;

/// Requests an account may have waiting whatever others hold, as long as such requests of all accounts have room: who asks for
/// little is not refused because others do not stop.
const LEAST_OF_ONE: usize = 4;

/// What is held of one fund.
#[derive(Debug, Default)]
struct Held {
    requests: AtomicUsize,
    bytes: AtomicUsize,
}

#[derive(Debug)]
struct Whole {
    held: Held,
    /// Of the requests those of accounts that had few.
    few: AtomicUsize,
    /// Requests that may wait as it stands; at most `most_requests`.
    room: AtomicUsize,
    most_requests: usize,
    most_bytes: usize,
}

impl Whole {
    fn new(most_requests: usize, most_bytes: usize) -> Self {
        Self {
            held: Held::default(),
            few: AtomicUsize::new(0),
            room: AtomicUsize::new(most_requests),
            most_requests,
            most_bytes,
        }
    }
}

/// What all accounts of a member share.
#[derive(Debug)]
pub struct Shares {
    funds: [Whole; FUNDS],
    /// Bytes of events that wait in the buffers of watch streams, all of them.
    backlog: AtomicUsize,
    next: AtomicU64,
}

impl Default for Shares {
    fn default() -> Self {
        Self {
            funds: [
                Whole::new(limits::MAX_PENDING_REQUESTS, limits::MAX_PENDING_BYTES),
                Whole::new(limits::MAX_URGENT_REQUESTS, limits::MAX_URGENT_BYTES),
                Whole::new(limits::MAX_PENDING_READS, usize::MAX),
            ],
            backlog: AtomicUsize::new(0),
            // 0 is nobody's.
            next: AtomicU64::new(1),
        }
    }
}

impl Shares {
    /// A new account.
    pub fn open(self: &Arc<Self>) -> Arc<Account> {
        Arc::new(Account {
            id: self.next.fetch_add(1, Relaxed),
            shares: self.clone(),
            held: Default::default(),
            backlog: AtomicUsize::new(0),
        })
    }

    /// Lets so many requests of a fund wait from now on, at most its bound.
    pub fn make_room(&self, fund: Fund, requests: usize) {
        let whole = &self.funds[fund as usize];
        whole.room.store(requests.min(whole.most_requests), Relaxed);
    }

    /// Requests of a fund that may wait as it stands.
    pub fn room(&self, fund: Fund) -> usize {
        self.funds[fund as usize].room.load(Relaxed)
    }

    /// Requests of a fund that wait, and their bytes.
    pub fn held(&self, fund: Fund) -> (usize, usize) {
        let held = &self.funds[fund as usize].held;
        (held.requests.load(Relaxed), held.bytes.load(Relaxed))
    }

    /// Bytes of events that wait for those who watch.
    pub fn backlog(&self) -> usize {
        self.backlog.load(Relaxed)
    }
}

/// What one user or connection holds.
#[derive(Debug)]
pub struct Account {
    id: u64,
    shares: Arc<Shares>,
    held: [Held; FUNDS],
    backlog: AtomicUsize,
}

impl Account {
    /// By which a queue knows it again; never 0.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Whether one more request would be charged.
    pub fn may(&self, fund: Fund, bytes: usize) -> bool {
        self.look(fund, bytes).is_some()
    }

    /// Whether one more would be charged, as one of few or not.
    fn look(&self, fund: Fund, bytes: usize) -> Option<bool> {
        let (own, whole) = (&self.held[fund as usize], &self.shares.funds[fund as usize]);
        let (requests, held) = (own.requests.load(Relaxed), whole.held.requests.load(Relaxed));
        let room = whole.room.load(Relaxed);
        let few = requests < LEAST_OF_ONE;
        let finds_place = few && held < whole.most_requests && whole.few.load(Relaxed) < room;
        let free_bytes = whole.most_bytes.saturating_sub(whole.held.bytes.load(Relaxed));
        let light =
            bytes <= free_bytes && (requests == 0 || own.bytes.load(Relaxed).saturating_add(bytes) <= free_bytes);
        (light && (finds_place || requests < room.saturating_sub(held))).then_some(few)
    }

    /// Charges a request, or does not where the account holds its share already or the fund is used up.
    pub fn charge(self: &Arc<Self>, fund: Fund, bytes: usize) -> Option<Charge> {
        let few = self.look(fund, bytes)?;
        let whole = &self.shares.funds[fund as usize];
        whole.few.fetch_add(few.into(), Relaxed);
        for held in [&self.held[fund as usize], &whole.held] {
            held.requests.fetch_add(1, Relaxed);
            held.bytes.fetch_add(bytes, Relaxed);
        }
        Some(Charge { account: self.clone(), fund, bytes, few })
    }

    /// Requests that wait, and their bytes.
    pub fn held(&self, fund: Fund) -> (usize, usize) {
        let held = &self.held[fund as usize];
        (held.requests.load(Relaxed), held.bytes.load(Relaxed))
    }

    /// Bytes of events more that may wait for this account's watchers.
    pub fn backlog_room(&self) -> usize {
        let free = limits::ALL_WATCH_BACKLOG_BYTES.saturating_sub(self.shares.backlog());
        limits::WATCH_BACKLOG_BYTES.min(free).saturating_sub(self.backlog.load(Relaxed))
    }

    /// Bytes of events wait for this account's watchers.
    pub fn backlog_added(&self, bytes: usize) {
        self.backlog.fetch_add(bytes, Relaxed);
        self.shares.backlog.fetch_add(bytes, Relaxed);
    }

    /// Bytes of events were taken by this account's watchers, or are waited for no more.
    pub fn backlog_taken(&self, bytes: usize) {
        self.backlog.fetch_sub(bytes, Relaxed);
        self.shares.backlog.fetch_sub(bytes, Relaxed);
    }
}

/// A request that waits. Dropped when it was answered, or when nobody will.
#[derive(Debug)]
pub struct Charge {
    account: Arc<Account>,
    fund: Fund,
    bytes: usize,
    few: bool,
}

impl Charge {
    /// Whose request it is.
    pub fn account(&self) -> u64 {
        self.account.id
    }

    /// Of what.
    pub fn fund(&self) -> Fund {
        self.fund
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let (account, fund) = (&self.account, self.fund as usize);
        let whole = &account.shares.funds[fund];
        whole.few.fetch_sub(self.few.into(), Relaxed);
        for held in [&account.held[fund], &whole.held] {
            held.requests.fetch_sub(1, Relaxed);
            held.bytes.fetch_sub(self.bytes, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All an account may hold, as it is now.
    fn flood(account: &Arc<Account>, bytes: usize) -> Vec<Charge> {
        std::iter::from_fn(|| account.charge(Fund::Writes, bytes)).collect()
    }

    #[test]
    fn one_gets_half_two_a_third_and_the_next_finds_room() {
        let shares = Arc::new(Shares::default());
        let most = limits::MAX_PENDING_REQUESTS;
        let [first, second, third] = [(); 3].map(|()| shares.open());
        let one = flood(&first, 10);
        assert_eq!(one.len(), most / 2);
        let two = flood(&second, 10);
        assert_eq!(two.len(), most / 4, "half of what was free");
        assert!(third.may(Fund::Writes, 10));
        drop(one);
        let again = flood(&first, 10);
        assert_eq!(again.len(), (most - two.len()) / 2);
        drop((again, two));
        assert_eq!(shares.held(Fund::Writes), (0, 0), "all of it is given back");
        assert_eq!(first.held(Fund::Writes), (0, 0));
    }

    #[test]
    fn bytes_are_shared_as_requests_are() {
        let shares = Arc::new(Shares::default());
        let [first, second] = [(); 2].map(|()| shares.open());
        let (large, most) = (1 << 20, limits::MAX_PENDING_BYTES);
        let held = flood(&first, large);
        assert_eq!(held.len(), most / large / 2);
        assert!(first.may(Fund::Urgent, 100), "another fund");
        assert_eq!(flood(&second, large).len(), most / large / 4);
        assert!(shares.open().charge(Fund::Writes, most / 2 + 1).is_none(), "there is not so much");
        drop(held);
        assert!(shares.open().charge(Fund::Writes, most).is_some(), "alone anything is taken that the fund holds");
    }

    #[test]
    fn where_it_takes_too_long_those_who_flood_are_refused_first() {
        let shares = Arc::new(Shares::default());
        let [first, second] = [(); 2].map(|()| shares.open());
        shares.make_room(Fund::Writes, 100);
        let held = flood(&first, 10);
        assert_eq!(held.len(), 50);
        shares.make_room(Fund::Writes, 40);
        assert!(!first.may(Fund::Writes, 10) && second.may(Fund::Writes, 10), "who has nothing waiting is let in");
        let few: Vec<_> = (0..100).map_while(|_| shares.open().charge(Fund::Writes, 10)).collect();
        assert_eq!(few.len(), 40 - LEAST_OF_ONE, "but not any number of such");
        shares.make_room(Fund::Writes, usize::MAX);
        assert_eq!(shares.room(Fund::Writes), limits::MAX_PENDING_REQUESTS);
        drop(few);
        assert_eq!(flood(&first, 10).len() + held.len(), limits::MAX_PENDING_REQUESTS / 2);
    }

    #[test]
    fn events_that_wait_are_bounded_for_one_and_for_all() {
        let shares = Arc::new(Shares::default());
        let [first, second] = [(); 2].map(|()| shares.open());
        assert_eq!(first.backlog_room(), limits::WATCH_BACKLOG_BYTES);
        first.backlog_added(limits::WATCH_BACKLOG_BYTES);
        assert_eq!((first.backlog_room(), second.backlog_room()), (0, limits::WATCH_BACKLOG_BYTES));
        let many: Vec<_> = (1..4).map(|_| shares.open()).collect();
        many.iter().for_each(|account| account.backlog_added(limits::WATCH_BACKLOG_BYTES));
        assert_eq!(second.backlog_room(), 0, "of all there is none left");
        first.backlog_taken(1_000);
        assert_eq!((second.backlog_room(), shares.backlog()), (1_000, limits::ALL_WATCH_BACKLOG_BYTES - 1_000));
    }
}
