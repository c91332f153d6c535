//! A directed link between two hosts: how long what is sent over it takes, and whether it comes through at all.

use std::time::Duration;

use quorate::base::{Dice, SeededDice};

/// How a link behaves, from now on.
#[derive(Clone, Debug)]
pub struct LinkMood {
    /// A packet takes between these, in microseconds.
    pub latency_micros: (u64, u64),
}

impl LinkMood {
    /// A rack's network: a tenth to half a millisecond.
    pub fn calm() -> Self {
        Self { latency_micros: (100, 500) }
    }
}

/// A link and its dice.
pub struct Link {
    mood: LinkMood,
    delays: SeededDice,
}

impl Link {
    /// A link in a mood.
    pub fn new(mood: LinkMood, delays: SeededDice) -> Self {
        Self { mood, delays }
    }

    /// When a packet sent at `now` arrives.
    pub fn arrival(&mut self, now: Duration) -> Duration {
        let (low, high) = self.mood.latency_micros;
        now + Duration::from_micros(low + self.delays.below(high - low + 1))
    }
}
