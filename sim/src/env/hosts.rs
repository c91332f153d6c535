//! Hosts and the links between them.
//!
//! Invariant: a host is in at most one life at a time, lives are odd, and nothing sent reaches a host over a link that
//! does not pass. A link's dice hang on the names of its ends alone, so that another host more changes no link.

use std::collections::BTreeMap;
use std::time::Duration;

use super::link::{Link, LinkMood};
use super::trace::Marks;

/// First of the ports given to those who call.
const FIRST_PORT: u16 = 49_152;

/// A host, by the order in which it was first named.
pub type HostId = usize;

struct Host {
    name: String,
    /// The life that may use the network; odd while one lives.
    life: u64,
    /// Whether the machine has power.
    up: bool,
    next_port: u16,
}

/// See the module's head.
pub struct Hosts {
    seed: u64,
    base: LinkMood,
    hosts: Vec<Host>,
    links: BTreeMap<(HostId, HostId), Link>,
    marks: Marks,
}

impl Hosts {
    /// None yet; links will be in the mood `base`.
    pub fn new(seed: u64, base: LinkMood, marks: Marks) -> Self {
        Self { seed, base, hosts: Vec::new(), links: BTreeMap::new(), marks }
    }

    /// A host by its name, made where it is unknown.
    pub fn host(&mut self, name: &str) -> HostId {
        if let Some(known) = self.hosts.iter().position(|host| host.name == name) {
            return known;
        }
        self.hosts.push(Host { name: name.to_string(), life: 0, up: false, next_port: FIRST_PORT });
        self.hosts.len() - 1
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.hosts.len()
    }

    /// A host's name.
    pub fn name(&self, host: HostId) -> &str {
        &self.hosts[host].name
    }

    /// Begins a life of a host; the one before must have ended.
    pub fn boot(&mut self, host: HostId) -> u64 {
        let host = &mut self.hosts[host];
        assert!(host.life.is_multiple_of(2), "the life before has not ended");
        host.life += 1;
        host.up = true;
        host.life
    }

    /// Ends the life of a host, and the machine's power with it if `power`; the life that ended, if one did.
    pub fn end_life(&mut self, host: HostId, power: bool) -> Option<u64> {
        let host = &mut self.hosts[host];
        host.up &= !power;
        let life = host.life;
        host.life = life.next_multiple_of(2);
        (host.life != life).then_some(life)
    }

    /// Whether that life of the host goes on.
    pub fn lives(&self, host: HostId, life: u64) -> bool {
        self.hosts[host].life == life
    }

    /// Whether the machine has power: its system answers even when the process is gone.
    pub fn is_up(&self, host: HostId) -> bool {
        self.hosts[host].up
    }

    /// The next port of the host for a call or for an address that asked for any.
    pub fn fresh_port(&mut self, host: HostId) -> u16 {
        let port = &mut self.hosts[host].next_port;
        *port = port.checked_add(1).unwrap_or(FIRST_PORT);
        *port
    }

    /// Links made from now on will be in this mood.
    pub fn set_base(&mut self, base: LinkMood) {
        self.base = base;
    }

    /// The link from one host to another.
    pub fn link(&mut self, from: HostId, to: HostId) -> &mut Link {
        let (seed, base, hosts) = (self.seed, self.base, &self.hosts);
        self.links.entry((from, to)).or_insert_with(|| {
            // A host reaches itself at once, whatever the weather.
            let mood = if from == to { LinkMood::calm() } else { base };
            Link::new(mood, seed, &format!("link {} {}", hosts[from].name, hosts[to].name))
        })
    }

    /// Whether a packet passes from one to the other.
    pub fn passes(&mut self, from: HostId, to: HostId) -> bool {
        self.link(from, to).passes()
    }

    /// When a packet of so many bytes sent at `now` arrives; never, if the link does not pass.
    pub fn arrival(&mut self, from: HostId, to: HostId, now: Duration, bytes: usize) -> Option<Duration> {
        let link = self.link(from, to);
        if !link.passes() {
            return None;
        }
        let (arrives, lost) = link.arrival(now, bytes);
        if lost > 0 {
            self.marks.add("net: packet lost", u64::from(lost));
        }
        Some(arrives)
    }
}
