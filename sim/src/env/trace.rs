//! The trace hash: two runs that did the same have the same one, two that did not have not.
//!
//! Fed by hand at the places that matter (disk, log, clients), never by a logger: ids that a process counts
//! up, addresses and the real clock must not get in.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::clock::true_now;

const LANES: [(u64, u32); 2] = [(0x9e37_79b9_7f4a_7c15, 29), (0xc2b2_ae3d_27d4_eb4f, 37)];

/// A rolling hash of 128 bits over (virtual time, kind, payload).
#[derive(Clone, Default)]
pub struct Trace {
    rolled: Arc<Mutex<([u64; 2], u64)>>,
}

impl Trace {
    /// Takes one happening in.
    pub fn note(&self, kind: &str, payload: &[u8]) {
        let mut rolled = self.rolled.lock().unwrap_or_else(PoisonError::into_inner);
        let now = u64::try_from(true_now().as_nanos()).unwrap_or(u64::MAX);
        for (lane, (factor, turn)) in rolled.0.iter_mut().zip(LANES) {
            let mut mix = |word: u64| *lane = (*lane ^ word).wrapping_mul(factor).rotate_left(turn);
            mix(now);
            for part in [kind.as_bytes(), payload] {
                mix(part.len() as u64);
                part.chunks(8).for_each(|chunk| mix(word_of(chunk)));
            }
        }
        rolled.1 += 1;
    }

    /// The hash so far, in hexadecimal, and how many happenings it covers.
    pub fn digest(&self) -> (String, u64) {
        let rolled = self.rolled.lock().unwrap_or_else(PoisonError::into_inner);
        (format!("{:016x}{:016x}", rolled.0[0], rolled.0[1]), rolled.1)
    }
}

fn word_of(chunk: &[u8]) -> u64 {
    chunk.iter().rev().fold(0, |word, byte| (word << 8) | u64::from(*byte))
}

/// Counters of things that should happen sometimes: a state never reached is a state never tested.
#[derive(Clone, Default)]
pub struct Marks {
    counts: Arc<Mutex<BTreeMap<&'static str, u64>>>,
}

impl Marks {
    /// It happened.
    pub fn hit(&self, name: &'static str) {
        self.add(name, 1);
    }

    /// It happened `n` times.
    pub fn add(&self, name: &'static str, n: u64) {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default() += n;
    }

    /// How often each happened, by name.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
