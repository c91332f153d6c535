//! A directed link between two hosts: how long what is sent over it takes, and whether it comes through at all.
//!
//! What is modelled: a latency (constant, uniform, or usual with a long tail); loss, which a stream knows only as the
//! wait for the retransmission, doubled each time; a bandwidth that all streams of the link share; writes cut in their
//! middle by a reset; calls refused or swallowed; and the link clogged, when nothing passes until it is released. What
//! is not: bits that flip on the way (the checksums of link, IP and TCP stand between), and routes through others.

use std::time::Duration;

use quorate::base::{Dice, SeededDice};

use super::forked;

/// How long a packet takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Latency {
    /// Always so many microseconds.
    Constant(u64),
    /// Between these, in microseconds.
    Uniform(u64, u64),
    /// Mostly between the first, one in so many between the second, in microseconds.
    LongTail {
        /// As a rule.
        usual: (u64, u64),
        /// Now and then.
        rare: (u64, u64),
        /// How seldom that is.
        rare_one_in: u64,
    },
}

/// What becomes of a call to the other side's addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Calls {
    /// Whoever listens answers.
    Answered,
    /// They are refused, as by a firewall that says so.
    Refused,
    /// Nobody ever answers, as behind one that does not.
    Swallowed,
}

/// How a link behaves, from now on. Every "one in" is off at 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkMood {
    /// How long a packet takes.
    pub latency: Latency,
    /// One packet in so many is lost, and sent again after [`RETRANSMIT`], which may be lost as well.
    pub loss_one_in: u64,
    /// Bytes a second, of all streams together; 0 for no limit.
    pub bytes_per_second: u64,
    /// One write in so many arrives in part, and then the connection is reset.
    pub cut_one_in: u64,
    /// What becomes of calls.
    pub calls: Calls,
    /// Nothing passes: what is sent waits for the release, and so does what was on its way.
    pub clogged: bool,
}

/// The first wait for a packet to be sent again; each further one is twice as long.
pub const RETRANSMIT: Duration = Duration::from_millis(200);

/// A packet is lost so many times in a row at most.
const LOSSES: u32 = 6;

/// Longest wait of a packet for its turn on a link whose bandwidth is used up: a router's memory is small, and drops what
/// comes beyond it.
pub const LONGEST_QUEUE: Duration = Duration::from_secs(2);

/// After a release the sender, which has been waiting longer and longer, tries again within this.
const LONGEST_RETRY: Duration = Duration::from_secs(2);

impl LinkMood {
    /// A rack's network: a tenth to half a millisecond, and nothing else.
    pub fn calm() -> Self {
        Self {
            latency: Latency::Uniform(100, 500),
            loss_one_in: 0,
            bytes_per_second: 0,
            cut_one_in: 0,
            calls: Calls::Answered,
            clogged: false,
        }
    }

    /// Nothing passes.
    #[cfg(test)]
    pub fn clogged() -> Self {
        Self { clogged: true, ..Self::calm() }
    }
}

/// How a write over a link is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cut {
    /// How much of it arrives, in 1/65536.
    pub arriving: u64,
    /// Whether the writer hears of it.
    pub writer_hears: bool,
    /// Whether the reader does; one of them always.
    pub reader_hears: bool,
}

/// A link, its dice by purpose, and its state.
pub struct Link {
    mood: LinkMood,
    /// Clogged by a partition, whatever the mood says.
    severed: bool,
    delays: SeededDice,
    losses: SeededDice,
    cuts: SeededDice,
    retries: SeededDice,
    /// When the last byte of what was sent so far has left.
    free_at: Duration,
    /// Since when it has let everything pass, or has let nothing.
    since: Duration,
}

impl Link {
    /// A link called `way`, its dice forked from the run's seed.
    pub fn new(mood: LinkMood, seed: u64, way: &str) -> Self {
        let dice = |number| forked(seed, way, number);
        let (free_at, since) = (Duration::ZERO, Duration::ZERO);
        Self { mood, severed: false, delays: dice(0), losses: dice(1), cuts: dice(2), retries: dice(3), free_at, since }
    }

    /// Its mood.
    pub fn mood(&self) -> LinkMood {
        self.mood
    }

    /// Whether packets pass.
    pub fn passes(&self) -> bool {
        !self.severed && !self.mood.clogged
    }

    /// Since when it has been passing, or has not.
    pub fn since(&self) -> Duration {
        self.since
    }

    /// Changes mood and severance; whether it passes after and did not before, or the other way round.
    pub fn change(&mut self, mood: LinkMood, severed: bool, now: Duration) -> bool {
        let before = self.passes();
        if mood.bytes_per_second != self.mood.bytes_per_second {
            // What waits is under way; it does not hold up what comes behind it as if the link were as slow as it was.
            self.free_at = self.free_at.min(now);
        }
        (self.mood, self.severed) = (mood, severed);
        let changed = before != self.passes();
        if changed {
            self.since = now;
            self.free_at = now;
        }
        changed
    }

    /// Whether a partition has cut it.
    pub fn is_severed(&self) -> bool {
        self.severed
    }

    /// Whether a packet sent at `now` would have to wait longer for its turn than any is kept.
    pub fn is_full(&self, now: Duration) -> bool {
        self.free_at > now + LONGEST_QUEUE
    }

    /// When a packet of so many bytes sent at `now` arrives, and how often it was lost before.
    pub fn arrival(&mut self, now: Duration, bytes: usize) -> (Duration, u32) {
        let mut sent = now;
        // 0 is no limit.
        let nanos = (bytes as u64).saturating_mul(1_000_000_000).checked_div(self.mood.bytes_per_second);
        if let Some(nanos) = nanos {
            sent = sent.max(self.free_at) + Duration::from_nanos(nanos);
            self.free_at = sent;
        }
        let mut lost = 0;
        while lost < LOSSES && self.losses.one_in(self.mood.loss_one_in) {
            sent += RETRANSMIT * (1 << lost);
            lost += 1;
        }
        (sent + self.latency(), lost)
    }

    /// When the sender tries again what it held back, the link having been released just now after `clogged`.
    pub fn retry(&mut self, now: Duration, clogged: Duration) -> Duration {
        let within = clogged.min(LONGEST_RETRY).as_micros() as u64;
        now + Duration::from_micros(self.retries.below(within + 1))
    }

    /// Whether, and how, a write is cut.
    pub fn cut(&mut self) -> Option<Cut> {
        self.cuts.one_in(self.mood.cut_one_in).then(|| self.draw_cut())
    }

    /// How something is cut.
    pub fn draw_cut(&mut self) -> Cut {
        let arriving = self.cuts.below(1 << 16);
        let hears = self.cuts.below(3);
        Cut { arriving, writer_hears: hears != 0, reader_hears: hears != 1 }
    }

    fn latency(&mut self) -> Duration {
        let (low, high) = match self.mood.latency {
            Latency::Constant(micros) => return Duration::from_micros(micros),
            Latency::Uniform(low, high) => (low, high),
            Latency::LongTail { rare, rare_one_in, .. } if self.delays.one_in(rare_one_in) => rare,
            Latency::LongTail { usual, .. } => usual,
        };
        Duration::from_nanos(low * 1000 + self.delays.below((high - low) * 1000 + 1))
    }
}

impl Cut {
    /// How many of so many bytes arrive: never all.
    pub fn arriving_of(self, bytes: usize) -> usize {
        ((bytes as u64 * self.arriving) >> 16) as usize
    }
}
