//! Clusters of real processes at the hands of an operator: one member goes on alone where the majority is lost, a member is
//! removed, one whose data differ is named, a learner says that it serves nobody,
//! one without a leader that it has none. Every test has ports and directories of its own, and ends what it started.

#![cfg(all(feature = "server", feature = "client", feature = "tokio-env"))]
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "members/cluster.rs"]
mod cluster;
#[path = "members/differing.rs"]
mod differing;
#[path = "members/downgrade.rs"]
mod downgrade;
#[path = "members/forced.rs"]
mod forced;
#[path = "members/forgotten.rs"]
mod forgotten;
mod granted;
#[path = "members/leaderless.rs"]
mod leaderless;
#[path = "members/learner.rs"]
mod learner;
#[path = "members/plant.rs"]
mod plant;
mod ports;
#[path = "members/removed.rs"]
mod removed;
