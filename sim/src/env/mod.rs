//! The world in which the simulator lets the product run: [`SimEnv`] and its parts.
//!
//! madsim gives the seeded executor, virtual time and nodes that can be killed; the disk, the skewed clocks
//! and the trace are written here, because madsim has none of them.
//!
//! Invariant: whatever happens here is a function of the seed alone.

mod clock;
mod cpu;
mod disk;
mod faults;
mod file;
mod hosts;
mod lane;
mod lane_sender;
mod lane_snapshot;
mod link;
mod lost;
mod net;
mod network;
pub mod partition;
mod pipe;
mod platter;
mod sim_env;
mod trace;
mod tree;

pub use clock::{LateTimers, SimClock, true_now, true_sleep};
pub use cpu::{CpuMood, SimCpu, charge_turn};
pub use disk::SimDisk;
pub use faults::{Aim, Change, Damage, DamageBudget, DiskFaults, FileClass, Loss};
pub use lane::{Lane, LaneMood};
pub use lane_sender::LaneSender;
pub use link::{Calls, Latency, LinkMood};
pub use net::SimNet;
pub use sim_env::SimEnv;
pub use trace::{Marks, Trace};

/// Dice for one purpose, from the seed of the run: drawing more for one purpose leaves the others as they were.
pub fn forked(seed: u64, purpose: &str, number: u64) -> quorate::base::SeededDice {
    use quorate::base::{Dice, SeededDice};
    let mut mixed = SeededDice::new(seed).next_u64() ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for byte in purpose.bytes() {
        mixed = SeededDice::new(mixed ^ u64::from(byte)).next_u64();
    }
    SeededDice::new(mixed)
}

#[cfg(test)]
mod tests;
