//! Whom a request is charged to: the user who asks, where users are asked for; else the connection it came on.
//!
//! Invariant: two requests of one user, over any connections, are charged to one account as long as either is there. Costs a
//! request no lock while nobody is asked who he is. Does not know what is charged for.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::available_parallelism;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::api::intake::{Intake, OfAll};
use crate::auth::Asker;
use crate::base::{Account, Shares, limits};

/// A user, or a connection.
#[derive(Debug)]
pub struct Patron {
    /// What he holds of what all share.
    pub account: Arc<Account>,
    /// Places of long answers on their way to him.
    long_answers: Arc<Semaphore>,
}

impl Patron {
    fn new(shares: &Arc<Shares>) -> Arc<Self> {
        let long_answers = Arc::new(Semaphore::new(limits::LONG_ANSWERS_OF_ONE));
        Arc::new(Self { account: shares.open(), long_answers })
    }
}

/// What all guests of a member share.
#[derive(Debug)]
struct House {
    shares: Arc<Shares>,
    users: Mutex<HashMap<String, Weak<Patron>>>,
    /// Long reads that are being made.
    reading: Arc<Semaphore>,
    /// Requests of all that wait to be answered.
    taken_in: Arc<OfAll>,
}

/// Those who come to a member.
#[derive(Clone, Debug)]
pub struct Guests(Arc<House>);

impl Guests {
    /// Nobody yet.
    pub fn new(shares: Arc<Shares>) -> Self {
        let processors = available_parallelism().map_or(1, NonZero::get);
        let reading = Arc::new(Semaphore::new(processors + limits::LONG_READS_BESIDE));
        Self(Arc::new(House { shares, users: Mutex::default(), reading, taken_in: Arc::default() }))
    }

    /// One who came by a new connection, to this place where that is known, and from where where that is.
    pub fn welcome(&self, place: Option<SocketAddr>, from: Option<SocketAddr>) -> Guest {
        let own = Patron::new(&self.0.shares);
        let intake = Intake::new(self.0.taken_in.clone());
        Guest(Arc::new(Seat { own, named: Mutex::default(), house: self.0.clone(), intake, place, from }))
    }
}

#[derive(Debug)]
struct Seat {
    own: Arc<Patron>,
    /// The user who was named last: mostly there is one a connection.
    named: Mutex<Option<(String, Arc<Patron>)>>,
    house: Arc<House>,
    intake: Arc<Intake>,
    place: Option<SocketAddr>,
    from: Option<SocketAddr>,
}

/// What comes over one connection. Clones are the same.
#[derive(Clone, Debug)]
pub struct Guest(Arc<Seat>);

impl Guest {
    /// Who pays for what this one asks; a connection for what nobody asks.
    pub fn patron(&self, asker: Option<&Asker>) -> Arc<Patron> {
        let Some(Asker { user, .. }) = asker else { return self.0.own.clone() };
        let mut named = self.0.named.lock().unwrap_or_else(PoisonError::into_inner);
        match &*named {
            Some((name, patron)) if name == &**user => patron.clone(),
            _ => {
                let patron = self.0.house.user(user);
                *named = Some((user.to_string(), patron.clone()));
                patron
            }
        }
    }

    /// What came over the connection and waits.
    pub fn intake(&self) -> &Arc<Intake> {
        &self.0.intake
    }

    /// Where the connection came to, as far as that is told.
    pub fn place(&self) -> Option<SocketAddr> {
        self.0.place
    }

    /// Where the connection came from, on the network.
    pub fn from(&self) -> Option<SocketAddr> {
        self.0.from
    }

    /// Who paid last where users are named: for what is asked before it is known who asks.
    pub fn latest(&self, asks_who: bool) -> Arc<Patron> {
        if asks_who && let Some((_, patron)) = &*self.0.named.lock().unwrap_or_else(PoisonError::into_inner) {
            return patron.clone();
        }
        self.0.own.clone()
    }

    /// As many places among the long answers of a patron as so many rows take, and the turn to read, where there are.
    pub fn try_long_read(&self, patron: &Patron, rows: u64) -> Option<LongRead> {
        let places = patron.long_answers.clone().try_acquire_many_owned(places(rows)).ok()?;
        Some(LongRead { turn: self.0.house.reading.clone().try_acquire_owned().ok()?, places })
    }

    /// As [`Guest::try_long_read`], for who waits until there are; those who wait come one after the other. A request that has
    /// `entered` waits for places on its client's account.
    pub async fn long_read(&self, patron: &Patron, rows: u64, entered: bool) -> LongRead {
        const OPEN: &str = "it is never closed";
        let aside = entered.then(|| self.intake().set_aside());
        let places = patron.long_answers.clone().acquire_many_owned(places(rows)).await.expect(OPEN);
        drop(aside);
        LongRead { turn: self.0.house.reading.clone().acquire_owned().await.expect(OPEN), places }
    }
}

impl House {
    fn user(&self, name: &str) -> Arc<Patron> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(patron) = users.get(name).and_then(Weak::upgrade) {
            return patron;
        }
        if users.len() == users.capacity() {
            // Before it grows those are forgotten who have gone.
            users.retain(|_, patron| patron.strong_count() > 0);
        }
        let patron = Patron::new(&self.shares);
        users.insert(name.to_string(), Arc::downgrade(&patron));
        patron
    }
}

/// How many places so many rows take: one, and one more for each [`limits::LONG_ANSWER_PLACE_ROWS`]. Never more than half of them:
/// who waits for many would hold up all who come behind him for each answer that is not taken.
fn places(rows: u64) -> u32 {
    let places = rows / limits::LONG_ANSWER_PLACE_ROWS;
    let most = limits::LONG_ANSWERS_OF_ONE as u32 / 2;
    u32::try_from(places).map_or(most, |places| places.saturating_add(1).min(most))
}

/// A long read: the turn, which is for reading alone, and the places, which are kept until the answer has left.
#[derive(Debug)]
pub struct LongRead {
    turn: OwnedSemaphorePermit,
    places: OwnedSemaphorePermit,
}

impl LongRead {
    /// It was read, and has so many rows: what places they do not take are given back.
    pub fn done(self, rows: usize) -> LongAnswer {
        let Self { turn, mut places } = self;
        drop(turn);
        let surplus = places.num_permits().saturating_sub(self::places(rows as u64) as usize);
        drop(places.split(surplus));
        LongAnswer { _places: places }
    }
}

/// A long answer on its way. Goes with it.
#[derive(Debug)]
pub struct LongAnswer {
    _places: OwnedSemaphorePermit,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Fund;
    use std::time::Duration;

    fn asker(user: &str) -> Asker {
        Asker { user: user.into(), revision: 1 }
    }

    #[test]
    fn a_user_has_one_account_and_a_connection_its_own() {
        let guests = Guests::new(Arc::default());
        let [first, second] = [(); 2].map(|()| guests.welcome(None, None));
        let id = |guest: &Guest, user: Option<&str>| guest.patron(user.map(asker).as_ref()).account.id();
        assert_ne!(id(&first, None), id(&second, None));
        assert_eq!(id(&first, None), id(&first.clone(), None));
        let anna = id(&first, Some("anna"));
        assert_eq!(anna, id(&second, Some("anna")), "over another connection");
        assert_ne!(anna, id(&first, Some("bert")));
        assert_eq!(first.latest(true).account.id(), id(&first, Some("bert")));
        assert_eq!(first.latest(false).account.id(), id(&first, None), "nobody is asked who he is");
    }

    #[test]
    fn users_who_have_gone_are_forgotten() {
        let guests = Guests::new(Arc::default());
        let stays = guests.welcome(None, None);
        let charge = stays.patron(Some(&asker("stays"))).account.charge(Fund::Writes, 7).expect("room");
        for n in 0..10_000 {
            guests.welcome(None, None).patron(Some(&asker(&format!("user {n}"))));
        }
        let kept = guests.0.users.lock().expect("nobody panics").len();
        assert!(kept < 100, "{kept}");
        assert_eq!(guests.welcome(None, None).patron(Some(&asker("stays"))).account.held(Fund::Writes), (1, 7));
        drop(charge);
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_take_his_long_answers_waits_alone() {
        let guests = Guests::new(Arc::default());
        let [greedy, other] = [(); 2].map(|()| guests.welcome(None, None));
        let mut answers = Vec::new();
        for _ in 0..limits::LONG_ANSWERS_OF_ONE {
            answers.push(greedy.long_read(&greedy.patron(None), 1, false).await.done(1));
        }
        let (patron, second) = (greedy.patron(None), Duration::from_secs(1));
        assert!(
            tokio::time::timeout(second, greedy.long_read(&patron, 1, false)).await.is_err(),
            "no more than so many"
        );
        drop(
            tokio::time::timeout(second, other.long_read(&other.patron(None), 1, false))
                .await
                .expect("another has his own"),
        );
        answers.pop();
        drop(tokio::time::timeout(second, greedy.long_read(&patron, 1, false)).await.expect("one was taken"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_of_many_rows_takes_the_places_of_many_answers() {
        let one = limits::LONG_ANSWER_PLACE_ROWS;
        assert_eq!([0, one, 6 * one, 7 * one, u64::MAX].map(places), [1, 2, 7, 8, 8]);
        let guests = Guests::new(Arc::default());
        let [greedy, other] = [(); 2].map(|()| guests.welcome(None, None));
        let (patron, second) = (greedy.patron(None), Duration::from_secs(1));
        let many = (limits::LONG_ANSWERS_OF_ONE as u64 / 2) * one;
        let first = greedy.long_read(&patron, many, false).await.done(many as usize);
        let held = greedy.long_read(&patron, many, false).await.done(many as usize);
        assert!(greedy.try_long_read(&patron, 1).is_none());
        assert!(tokio::time::timeout(second, greedy.long_read(&patron, 1, false)).await.is_err(), "it is alone");
        assert!(other.try_long_read(&other.patron(None), many).is_some(), "another has his own");
        drop((first, held));
        // What was filtered out of it takes no place.
        let few = greedy.long_read(&patron, many, false).await.done(1);
        assert_eq!(patron.long_answers.available_permits(), limits::LONG_ANSWERS_OF_ONE - 1);
        drop(few);
        assert_eq!(patron.long_answers.available_permits(), limits::LONG_ANSWERS_OF_ONE);
    }

    #[tokio::test(start_paused = true)]
    async fn lists_whose_client_reads_nothing_hold_up_none_of_its_other_requests() {
        let guest = Guests::new(Arc::default()).welcome(None, None);
        let patron = guest.patron(None);
        let mut answers = Vec::new();
        for _ in 0..limits::LONG_ANSWERS_OF_ONE {
            let _entered = guest.intake().enter();
            answers.push(guest.long_read(&patron, 1, true).await.done(1));
        }
        let lists = (0..limits::REQUESTS_TAKEN_IN).map(|_| {
            let (guest, patron) = (guest.clone(), patron.clone());
            tokio::spawn(async move {
                let _entered = guest.intake().enter();
                guest.long_read(&patron, 1, true).await.done(1)
            })
        });
        let lists: Vec<_> = lists.collect();
        while guest.intake().held() < lists.len() {
            tokio::task::yield_now().await;
        }
        assert_eq!(guest.intake().waiting(), 0);
        assert!(!guest.intake().is_full(), "more is read");
        drop(answers);
        for list in lists {
            drop(list.await.expect("each has its turn"));
        }
        assert_eq!(guest.intake().held(), 0);
    }
}
