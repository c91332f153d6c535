//! What can reach what: the ways between hosts that are cut.
//!
//! A way is cut as often as someone cut it, so that troubles that overlap heal each by itself. Members among themselves
//! talk over the simulated network, which is told of every change ([`Wires::cuts`]); clients and members ask here.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use crate::config::host;
use crate::env::partition::Cuts;
use crate::plan::Cut;

/// A place on the network.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Host {
    /// A member by its number.
    Member(usize),
    /// A client by its number.
    Client(u32),
}

/// From, to.
pub type Way = (Host, Host);

/// See the module's head.
#[derive(Debug, Default)]
pub struct Wires(Mutex<Cutting>);

#[derive(Debug, Default)]
struct Cutting {
    cuts: BTreeMap<Way, u32>,
    changes: u64,
}

impl Wires {
    /// Whether what leaves now can arrive.
    pub fn open(&self, way: Way) -> bool {
        !self.cutting().cuts.contains_key(&way)
    }

    /// How often something was cut or healed.
    pub fn changes(&self) -> u64 {
        self.cutting().changes
    }

    fn cutting(&self) -> MutexGuard<'_, Cutting> {
        self.0.lock().expect("no holder of this lock panics")
    }

    /// Cuts ways.
    pub fn cut(&self, ways: &[Way]) {
        let mut cutting = self.cutting();
        cutting.changes += 1;
        ways.iter().for_each(|way| *cutting.cuts.entry(*way).or_default() += 1);
    }

    /// Heals ways that were cut, once each.
    pub fn heal(&self, ways: &[Way]) {
        let mut cutting = self.cutting();
        cutting.changes += 1;
        for way in ways {
            let Some(count) = cutting.cuts.get_mut(way) else { continue };
            *count -= 1;
            if *count == 0 {
                cutting.cuts.remove(way);
            }
        }
    }

    /// Heals everything.
    pub fn heal_all(&self) {
        let mut cutting = self.cutting();
        cutting.changes += 1;
        cutting.cuts.clear();
    }

    /// The cuts between members, as the network knows hosts.
    pub fn cuts(&self) -> Cuts {
        let cutting = self.cutting();
        let named = |way: &Way| match way {
            (Host::Member(from), Host::Member(to)) => Some((host(*from), host(*to))),
            _ => None,
        };
        cutting.cuts.keys().filter_map(named).collect()
    }
}

/// The ways that a cut closes. `named` are the members it speaks of; a client stands with the member whose number its own
/// one is, counted around.
pub fn ways(cut: &Cut, named: &[usize], members: usize, clients: &[u32]) -> Vec<Way> {
    let all = hosts(members, clients);
    let stands_with = |host: Host| match host {
        Host::Member(number) => number,
        Host::Client(number) => number as usize % members,
    };
    let is_named = |host: Host| match host {
        Host::Member(number) => named.contains(&number),
        // Where all members are named, clients are what they are cut off from.
        Host::Client(_) => named.len() < members && named.contains(&stands_with(host)),
    };
    let closed = |from: Host, to: Host| match cut {
        Cut::Apart(_) => is_named(from) != is_named(to),
        Cut::Mute(_) => matches!(from, Host::Member(_)) && is_named(from),
        Cut::Deaf(_) => matches!(to, Host::Member(_)) && is_named(to),
        Cut::Bridge(over) => {
            let over = over % members;
            let half = |host| ((stands_with(host) + members - over) % members) > members / 2;
            let bridged = stands_with(from) == over || stands_with(to) == over;
            !bridged && half(from) != half(to)
        }
        Cut::Ring => {
            let apart = (stands_with(from) + members - stands_with(to)) % members;
            apart > 1 && apart + 1 < members
        }
        Cut::Links(links) => {
            links.iter().any(|(a, b)| (Host::Member(a % members), Host::Member(b % members)) == (from, to))
        }
    };
    let pairs = all.iter().flat_map(|from| all.iter().map(move |to| (*from, *to)));
    let spoken = |(from, to): &Way| from != to && !matches!((from, to), (Host::Client(_), Host::Client(_)));
    pairs.filter(spoken).filter(|(from, to)| closed(*from, *to)).collect()
}

fn hosts(members: usize, clients: &[u32]) -> Vec<Host> {
    let members = (0..members).map(Host::Member);
    members.chain(clients.iter().map(|number| Host::Client(*number))).collect()
}

#[cfg(test)]
mod tests {
    use super::Host::{Client, Member};
    use super::*;
    use crate::plan::Who;

    #[test]
    fn cuts_that_overlap_heal_each_by_itself() {
        let wires = Wires::default();
        let way = (Member(0), Member(1));
        wires.cut(&[way]);
        wires.cut(&[way, (Member(0), Client(3))]);
        assert_eq!(wires.cuts(), [("m1".to_string(), "m2".to_string())]);
        wires.heal(&[way]);
        assert!(!wires.open(way) && wires.open((Member(1), Member(0))));
        wires.heal(&[way]);
        assert!(wires.open(way) && !wires.open((Member(0), Client(3))));
        wires.heal_all();
        wires.heal(&[way, (Member(0), Client(3))]);
        assert!(wires.open((Member(0), Client(3))), "healed before its time");
    }

    #[test]
    fn each_shape_closes_what_it_says() {
        let apart = ways(&Cut::Apart(Who::Member(0)), &[0], 3, &[3]);
        for way in [(Member(0), Member(1)), (Member(2), Member(0)), (Client(3), Member(1)), (Member(2), Client(3))] {
            assert!(apart.contains(&way), "{way:?}");
        }
        assert!(!apart.contains(&(Member(1), Member(2))) && !apart.contains(&(Client(3), Member(0))));
        let mute = ways(&Cut::Mute(Who::Member(1)), &[1], 3, &[0]);
        assert_eq!(mute, [(Member(1), Member(0)), (Member(1), Member(2)), (Member(1), Client(0))]);
        let deaf = ways(&Cut::Deaf(Who::Member(1)), &[1], 3, &[]);
        assert_eq!(deaf, [(Member(0), Member(1)), (Member(2), Member(1))]);
        let bridge = ways(&Cut::Bridge(2), &[], 5, &[]);
        assert!(bridge.iter().all(|(from, to)| *from != Member(2) && *to != Member(2)));
        assert_eq!(bridge.len(), 8, "two times two, both ways: {bridge:?}");
        let ring = ways(&Cut::Ring, &[], 5, &[]);
        assert_eq!(ring.len(), 10, "each member misses two: {ring:?}");
        assert_eq!(ways(&Cut::Links(vec![(0, 4)]), &[], 3, &[]), [(Member(0), Member(1))]);
        assert_eq!(ways(&Cut::Apart(Who::All), &[0], 1, &[0]).len(), 2, "a lone member and its client");
    }
}
