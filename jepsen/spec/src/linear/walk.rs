//! The model under a search: one step forth, one step back, and a fingerprint of where it stands.
//!
//! Invariant: two walks with the same fingerprint answer every later request alike. Reads of the past look at
//! all that happened, so the fingerprint is a chain over the events of every revision, and not a hash of the
//! present key space (which follows from the events); leases, alarms and the compaction are added to it.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::request::Request;
use crate::{Model, Step, Undo};

/// 128 bits of hash: two of 64 with different beginnings, keys fixed, so that every run sees the same.
pub fn hash128(of: &impl Hash) -> u128 {
    let half = |salt: u64| {
        let mut hasher = DefaultHasher::new();
        salt.hash(&mut hasher);
        of.hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(0x9e37_79b9_7f4a_7c15) << 64 | half(0xd1b5_4a32_d192_ed03)
}

/// How to go one step back.
pub struct Back {
    undo: Undo,
    leases: u128,
}

/// See the module's head.
pub struct Walk {
    model: Model,
    /// By revision since the start: the chain over all events so far.
    chain: Vec<u128>,
    /// The leases that exist, each hashed, summed by exclusive or.
    leases: u128,
}

impl Walk {
    /// Begins where `model` stands.
    pub fn new(model: Model) -> Self {
        let leases = model.leases().iter().fold(0, |sum, lease| sum ^ hash128(&lease));
        Self { model, chain: vec![0], leases }
    }

    /// The store as it stands.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// One step; tells what it did and whether it changed anything at all.
    pub fn step(&mut self, request: &Request) -> (Step, bool, Back) {
        let back = Back { undo: self.model.undo_of(request), leases: self.leases };
        let (compacted, alarms) = (self.model.compacted(), self.model.alarms().len());
        let lease = match request {
            Request::LeaseGrant { id, .. } | Request::LeaseRevoke { id } => Some(*id),
            _ => None,
        };
        self.toggle(lease);
        let step = self.model.apply(request);
        self.toggle(lease);
        if !step.events.is_empty() {
            let last = self.chain.last().copied().unwrap_or(0);
            self.chain.push(hash128(&(last, &step.events)));
        }
        let changed = !step.events.is_empty()
            || self.leases != back.leases
            || self.model.compacted() != compacted
            || self.model.alarms().len() != alarms;
        (step, changed, back)
    }

    /// Takes a lease out of the sum, or in.
    fn toggle(&mut self, lease: Option<i64>) {
        if let Some(lease) = lease.and_then(|id| self.model.leases().get_key_value(&id)) {
            self.leases ^= hash128(&lease);
        }
    }

    /// Takes the last step back.
    pub fn back(&mut self, back: &Back) {
        let before = self.model.revision();
        self.model.take_back(&back.undo);
        self.chain.truncate(self.chain.len() - (before - self.model.revision()) as usize);
        self.leases = back.leases;
    }

    /// Where it stands.
    pub fn fingerprint(&self) -> u128 {
        hash128(&(self.chain.last(), self.leases, self.model.compacted(), self.model.alarms()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{AlarmKind, DeleteRange, Put, Span};

    #[test]
    fn every_step_can_be_taken_back() {
        let put = |lease| Request::Put(Put { key: b"a".to_vec(), value: b"1".to_vec(), lease, ..Put::default() });
        let requests = [
            Request::LeaseGrant { id: 7, ttl: 9 },
            put(7),
            Request::Compact { revision: 2 },
            Request::Alarm { on: true, member: 1, kind: AlarmKind::NoSpace },
            put(0),
            Request::Alarm { on: false, member: 1, kind: AlarmKind::NoSpace },
            put(0),
            put(7),
            Request::LeaseRevoke { id: 7 },
            Request::LeaseRevoke { id: 7 },
            Request::DeleteRange(DeleteRange { span: Span::all(), prev_kv: false }),
            Request::LeaseGrant { id: 7, ttl: 5 },
        ];
        let mut walk = Walk::new(Model::new(2));
        let mut backs = Vec::new();
        for request in &requests {
            let (before, shown) = (walk.fingerprint(), format!("{:?}", walk.model()));
            let (_, changed, back) = walk.step(request);
            assert_eq!(changed, walk.fingerprint() != before, "{request:?}");
            backs.push((back, before, shown));
        }
        for (back, before, shown) in backs.iter().rev() {
            walk.back(back);
            assert_eq!((walk.fingerprint(), format!("{:?}", walk.model())), (*before, shown.clone()));
        }
    }

    #[test]
    fn the_past_counts_though_the_present_is_equal() {
        let stands = |values: [&str; 2]| {
            let mut walk = Walk::new(Model::new(2));
            for value in values {
                walk.step(&Request::Put(Put { key: b"a".to_vec(), value: value.into(), ..Put::default() }));
            }
            walk.step(&Request::DeleteRange(DeleteRange { span: Span::all(), prev_kv: false }));
            walk.fingerprint()
        };
        assert_ne!(stands(["1", "2"]), stands(["2", "1"]));
        assert_eq!(stands(["1", "2"]), stands(["1", "2"]));
    }
}
