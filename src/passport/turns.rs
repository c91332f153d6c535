//! Whose password is looked at next.
//!
//! A name that is claimed proves nothing, and an address is many people's: so every second turn is the next name's, and the
//! others are the next address's. Whoever tries passwords of one user, from wherever, or from one address, of whomever, leaves
//! half of the turns to other users and half to other addresses.
//!
//! Invariants: as many have the turn at once as there is room for, no more; nobody waits while there is room; a name or an
//! address that waits has its turn after those that waited before it had one. No more than a bound wait: where they are too
//! many, those give way who have the most beside them under their name and from their address, the latest first.
//! Does not know what is done in a turn.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::oneshot;

use crate::base::Refusal;

/// Who wants a password hashed or compared.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claimant {
    name: Name,
    /// Those who come by no network are one.
    from: Option<IpAddr>,
}

/// What is known of who it is. Who only says that he is somebody stands in nobody's way who is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Name {
    Claimed(Box<str>),
    Proven(Box<str>),
}

impl Claimant {
    /// One who says that this is his name.
    pub fn who_says(name: &str, from: Option<IpAddr>) -> Self {
        Self { name: Name::Claimed(name.into()), from: from.map(network) }
    }

    /// One of whom it is known; without a name where nobody is asked for his.
    pub fn who_is(name: &str, from: Option<IpAddr>) -> Self {
        Self { name: Name::Proven(name.into()), from: from.map(network) }
    }
}

/// An address of IPv6 is one of the 2^64 that its host may choose from.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(address) if address.to_ipv4_mapped().is_none() => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
        }
        address => address.to_canonical(),
    }
}

/// See the module's head. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Turns(Arc<Mutex<Line>>);

#[derive(Debug)]
struct Line {
    /// Turns that nobody has.
    free: usize,
    most_waiting: usize,
    /// In the order in which they came.
    waiting: VecDeque<Waiting>,
    names: Round<Name>,
    places: Round<Option<IpAddr>>,
    /// Whether the next turn is a name's.
    by_name: bool,
    next_ticket: u64,
}

#[derive(Debug)]
struct Waiting {
    ticket: u64,
    who: Claimant,
    call: oneshot::Sender<Turn>,
}

/// The names or addresses that wait: how many each has waiting, and in which order they have their turns.
#[derive(Debug)]
struct Round<K> {
    counts: HashMap<K, usize>,
    order: VecDeque<K>,
}

impl<K: Clone + Eq + Hash> Round<K> {
    fn new() -> Self {
        Self { counts: HashMap::new(), order: VecDeque::new() }
    }

    fn count(&self, key: &K) -> usize {
        self.counts.get(key).copied().unwrap_or(0)
    }

    fn add(&mut self, key: &K) {
        let count = self.counts.entry(key.clone()).or_default();
        if *count == 0 {
            self.order.push_back(key.clone());
        }
        *count += 1;
    }

    fn remove(&mut self, key: &K) {
        let count = self.counts.get_mut(key).expect("who waits is counted");
        *count -= 1;
        if *count == 0 {
            self.counts.remove(key);
            self.order.retain(|have| have != key);
        }
    }

    /// Has had a turn, whichever kind it was.
    fn served(&mut self, key: &K) {
        if let Some(at) = self.order.iter().position(|have| have == key) {
            let key = self.order.remove(at).expect("it is there");
            self.order.push_back(key);
        }
    }
}

impl Line {
    fn remove(&mut self, at: usize) -> Waiting {
        let gone = self.waiting.remove(at).expect("it is one of those that wait");
        self.names.remove(&gone.who.name);
        self.places.remove(&gone.who.from);
        gone
    }

    /// Who has the next turn, if anybody waits and there is one.
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        if self.free == 0 || self.waiting.is_empty() {
            return None;
        }
        let (name, place) = (self.names.order.front(), self.places.order.front());
        let by_name = self.by_name;
        let is_next = |who: &Claimant| if by_name { Some(&who.name) == name } else { Some(&who.from) == place };
        let at = self.waiting.iter().position(|waiting| is_next(&waiting.who)).expect("who is in a round waits");
        let next = self.remove(at);
        self.names.served(&next.who.name);
        self.places.served(&next.who.from);
        self.by_name = !by_name;
        self.free -= 1;
        Some(next.call)
    }

    /// How many wait beside one under his name and from his address.
    fn crowd(&self, who: &Claimant) -> usize {
        self.names.count(&who.name) + self.places.count(&who.from)
    }

    /// Makes room for one more, if there are others who have more beside them than he would.
    fn make_room(&mut self, who: &Claimant) -> Result<(), Refusal> {
        if self.waiting.len() < self.most_waiting {
            return Ok(());
        }
        let crowds = self.waiting.iter().map(|waiting| self.crowd(&waiting.who)).enumerate();
        match crowds.max_by_key(|(_, crowd)| *crowd) {
            // He hears it by his call, which is gone.
            Some((at, crowd)) if crowd > self.crowd(who) + 2 => drop(self.remove(at)),
            _ => return Err(Refusal::TooManyRequests),
        }
        Ok(())
    }
}

impl Turns {
    /// Room for so many at once, while so many wait.
    pub(super) fn new(at_once: usize, most_waiting: usize) -> Self {
        let (names, places) = (Round::new(), Round::new());
        let waiting = VecDeque::new();
        let line = Line { free: at_once, most_waiting, waiting, names, places, by_name: true, next_ticket: 0 };
        Self(Arc::new(Mutex::new(line)))
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.0.lock().expect("no holder of this lock panics")
    }

    /// Waits for one's turn. Who goes away meanwhile waits no more.
    pub(super) async fn turn(&self, who: Claimant) -> Result<Turn, Refusal> {
        let (call, called) = oneshot::channel();
        let ticket = {
            let mut line = self.line();
            // While there is room nobody waits.
            if line.free == 0 {
                line.make_room(&who)?;
            }
            let ticket = line.next_ticket;
            line.next_ticket += 1;
            line.names.add(&who.name);
            line.places.add(&who.from);
            line.waiting.push_back(Waiting { ticket, who, call });
            ticket
        };
        let _place = Place { turns: self, ticket };
        self.call_next();
        called.await.map_err(|_| Refusal::TooManyRequests)
    }

    fn call_next(&self) {
        loop {
            let Some(call) = self.line().next() else { return };
            if let Err(mut unheard) = call.send(Turn(Some(self.clone()))) {
                // He has gone: the turn goes on to another here, not in its drop, which would call itself.
                unheard.0 = None;
                self.line().free += 1;
            }
        }
    }

    #[cfg(test)]
    fn waiting(&self) -> usize {
        self.line().waiting.len()
    }
}

/// Among those who wait.
struct Place<'a> {
    turns: &'a Turns,
    ticket: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut line = self.turns.line();
        // They stand by their tickets.
        if let Ok(at) = line.waiting.binary_search_by_key(&self.ticket, |waiting| waiting.ticket) {
            line.remove(at);
        }
    }
}

/// Somebody's turn, which is the next one's when it is dropped.
#[derive(Debug)]
pub(super) struct Turn(Option<Turns>);

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(turns) = self.0.take() {
            turns.line().free += 1;
            turns.call_next();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claimant(name: &str, from: u32) -> Claimant {
        Claimant::who_says(name, Some(IpAddr::V4(from.into())))
    }

    /// Turns, all of them taken until this is dropped, and what was whose when.
    struct Street {
        turns: Turns,
        held: Option<Turn>,
        had: Arc<Mutex<Vec<Claimant>>>,
        tasks: Vec<tokio::task::JoinHandle<Result<(), Refusal>>>,
    }

    impl Street {
        async fn new(most_waiting: usize) -> Self {
            let turns = Turns::new(1, most_waiting);
            let held = turns.turn(claimant("first", 1)).await.ok();
            Self { turns, held, had: Arc::default(), tasks: Vec::new() }
        }

        /// One more comes, and waits or is refused.
        async fn comes(&mut self, who: Claimant) {
            let (turns, had) = (self.turns.clone(), self.had.clone());
            self.tasks.push(tokio::spawn(async move {
                let turn = turns.turn(who.clone()).await?;
                had.lock().unwrap().push(who);
                drop(turn);
                Ok(())
            }));
            tokio::task::yield_now().await;
        }

        /// Who had a turn, in that order, and how many were refused.
        async fn end(mut self) -> (Vec<Claimant>, usize) {
            drop(self.held.take());
            let mut refused = 0;
            for task in self.tasks {
                refused += usize::from(task.await.unwrap() == Err(Refusal::TooManyRequests));
            }
            assert_eq!(self.turns.line().free, 1);
            assert!(self.turns.waiting() == 0 && self.turns.line().names.order.is_empty());
            assert!(self.turns.line().places.order.is_empty() && self.turns.line().places.counts.is_empty());
            let had = self.had.lock().unwrap().clone();
            (had, refused)
        }
    }

    /// Of these two hundred, none holds up `other` for more than a turn of theirs.
    async fn is_held_up_by_one(flood: impl Fn(u32) -> Claimant, other: Claimant) {
        let mut street = Street::new(500).await;
        for n in 0..200 {
            street.comes(flood(n)).await;
        }
        street.comes(other.clone()).await;
        let (had, refused) = street.end().await;
        let at = had.iter().position(|who| *who == other).unwrap();
        assert!(at <= 2 && had.len() == 201 && refused == 0, "{other:?} was {at} of {}", had.len());
    }

    #[tokio::test]
    async fn a_flood_holds_up_other_names_and_other_addresses_by_a_turn_or_two() {
        let of_one = |_| claimant("anna", 7);
        is_held_up_by_one(of_one, claimant("anna", 8)).await;
        is_held_up_by_one(of_one, claimant("bert", 7)).await;
        is_held_up_by_one(of_one, claimant("bert", 8)).await;
        is_held_up_by_one(of_one, Claimant::who_is("anna", Some(IpAddr::V4(7.into())))).await;
        is_held_up_by_one(|n| claimant("anna", 1_000 + n), claimant("bert", 8)).await;
        is_held_up_by_one(|n| claimant(&format!("user{n}"), 7), claimant("anna", 8)).await;
        is_held_up_by_one(|n| claimant(&format!("user{n}"), 7), Claimant::who_says("anna", None)).await;
    }

    #[tokio::test]
    async fn everybody_has_a_turn_however_many_others_come_anew() {
        let mut street = Street::new(500).await;
        for n in 0..20 {
            street.comes(claimant(&format!("user{n}"), 1_000 + n)).await;
        }
        let other = claimant("anna", 8);
        street.comes(other.clone()).await;
        for n in 20..200 {
            street.comes(claimant(&format!("user{n}"), 1_000 + n)).await;
        }
        let (had, _) = street.end().await;
        assert_eq!(had.iter().position(|who| *who == other), Some(20));
    }

    #[tokio::test]
    async fn where_too_many_wait_those_of_the_largest_crowd_give_way() {
        let mut street = Street::new(50).await;
        for _ in 0..60 {
            street.comes(claimant("anna", 7)).await;
        }
        for other in [claimant("bert", 7), claimant("anna", 8), claimant("bert", 9)] {
            street.comes(other).await;
        }
        assert_eq!(street.turns.waiting(), 50);
        let (had, refused) = street.end().await;
        assert_eq!((had.len(), refused), (50, 13), "and no more than must");
        for other in [claimant("bert", 7), claimant("anna", 8), claimant("bert", 9)] {
            assert!(had.contains(&other), "{other:?}");
        }
        // Among equals who comes last is refused.
        let mut street = Street::new(2).await;
        for n in 0..3 {
            street.comes(claimant(&format!("user{n}"), n)).await;
        }
        assert_eq!(street.end().await, (vec![claimant("user0", 0), claimant("user1", 1)], 1));
    }

    #[tokio::test]
    async fn who_goes_away_leaves_his_turn_to_others() {
        let mut street = Street::new(500).await;
        for n in 0..9 {
            street.comes(claimant(&format!("user{n}"), n)).await;
        }
        for gone in [0, 3, 4] {
            street.tasks[gone].abort();
        }
        tokio::task::yield_now().await;
        assert_eq!(street.turns.waiting(), 6);
        // One whose turn came, and who goes before he hears of it.
        drop(street.held.take());
        street.tasks[1].abort();
        for task in street.tasks.drain(..) {
            let _ = task.await;
        }
        assert_eq!(street.had.lock().unwrap().len(), 5);
        assert_eq!(street.turns.line().free, 1);
    }

    #[test]
    fn a_host_of_ipv6_is_one_whichever_of_its_addresses_it_takes() {
        let from = |text: &str| network(text.parse().unwrap());
        assert_eq!(from("2001:db8:1:2::1"), from("2001:db8:1:2:ffff::9"));
        assert_ne!(from("2001:db8:1:2::1"), from("2001:db8:1:3::1"));
        assert_eq!(from("::ffff:10.0.0.1"), from("10.0.0.1"));
        assert_ne!(from("10.0.0.1"), from("10.0.0.2"));
    }
}
