//! `cargo sim`: the deterministic simulator of quorate.
//!
//! Runs the product's own driver, unchanged, on a simulated world whose every move follows from a seed, and
//! holds everything it says against the specification. Built only with the switch that the alias sets.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that finds nothing must stop"))]

#[cfg(madsim)]
mod ambush;
#[cfg(madsim)]
mod backups;
#[cfg(madsim)]
mod bank;
#[cfg(madsim)]
mod calm;
#[cfg(madsim)]
mod chronicle;
#[cfg(madsim)]
mod config;
#[cfg(madsim)]
mod convert;
#[cfg(madsim)]
mod credentials;
#[cfg(madsim)]
mod damage;
#[cfg(madsim)]
mod director;
#[cfg(madsim)]
mod diverging;
#[cfg(madsim)]
mod draft;
#[cfg(madsim)]
mod draw;
#[cfg(madsim)]
mod env;
#[cfg(madsim)]
mod falsifying;
#[cfg(madsim)]
mod lifecycle;
#[cfg(madsim)]
mod member;
#[cfg(madsim)]
mod mutants;
#[cfg(madsim)]
mod operator;
#[cfg(madsim)]
mod oracles;
#[cfg(madsim)]
mod overheard;
#[cfg(madsim)]
mod page;
#[cfg(madsim)]
mod plan;
#[cfg(madsim)]
mod quiet;
#[cfg(madsim)]
mod quiet_client;
#[cfg(madsim)]
mod quota;
#[cfg(madsim)]
mod registrar;
#[cfg(madsim)]
mod renewing;
#[cfg(madsim)]
mod report;
#[cfg(madsim)]
mod rewinding;
#[cfg(madsim)]
mod room;
#[cfg(madsim)]
mod run;
#[cfg(madsim)]
mod setting;
#[cfg(madsim)]
mod slices;
#[cfg(madsim)]
mod told;
#[cfg(madsim)]
mod traffic;
#[cfg(madsim)]
mod troubles;
#[cfg(madsim)]
mod upkeep;
#[cfg(madsim)]
mod watchers;
#[cfg(madsim)]
mod wiping;
#[cfg(madsim)]
mod wires;
#[cfg(madsim)]
mod witness;
#[cfg(madsim)]
mod world;

#[cfg(madsim)]
fn main() -> std::process::ExitCode {
    report::main()
}

#[cfg(not(madsim))]
fn main() -> std::process::ExitCode {
    eprintln!("the simulator is built with a switch of its own: run it as `cargo sim`");
    std::process::ExitCode::from(2)
}
