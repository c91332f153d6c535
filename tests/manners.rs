//! How the server behaves as a process: what it refuses and how it says so, how it stops, what is left of commands that are ended early, and what it does with a data
//! directory in which something is wrong. Every test starts real processes on ports of its own and ends them by
//! their own ids.

#![cfg(all(feature = "server", feature = "client"))]
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "manners/daemon.rs"]
mod daemon;
#[path = "manners/damage.rs"]
mod damage;
#[path = "manners/ended_early.rs"]
mod ended_early;
#[path = "manners/full_disk.rs"]
mod full_disk;
#[path = "manners/log_place.rs"]
mod log_place;
mod ports;
#[path = "manners/process.rs"]
mod process;
#[path = "manners/prompt.rs"]
mod prompt;
#[path = "manners/slow.rs"]
mod slow;
#[path = "manners/start.rs"]
mod start;
#[path = "manners/stop.rs"]
mod stop;
#[path = "manners/terminal.rs"]
mod terminal;
#[path = "manners/unreached.rs"]
mod unreached;
#[path = "manners/words.rs"]
mod words;
