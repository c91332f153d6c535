//! `cargo sim`: the deterministic simulator of quorate.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that finds nothing must stop"))]
#![allow(dead_code)]

#[cfg(madsim)]
mod env;

fn main() {
    println!("built without the simulator's switch; run it as `cargo sim`");
}
