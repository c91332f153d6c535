//! The node: where consensus, machine, leases and watches meet. A synchronous state machine.
//!
//! [`Node::step`] takes one input, [`Node::turn`] decides what a batch of inputs makes due, [`Node::work`] applies and
//! answers; all leave [`Output`]s. Nothing here waits, reads a clock or touches a disk to write. `node.rs` holds the struct and
//! the dispatch only; each concern is a small struct in its own file.
//!
//! Invariants:
//! - A write is answered when its entry is applied; an entry is applied when it is committed; it is
//!   committed only when it is durable. So no acknowledgement leaves before the sync it promises.
//! - `released <= checkpointed <= applied <= committed` ([`counters`]).
//! - A request is answered exactly once, at the latest after the request timeout.

mod admission;
mod applied_ops;
mod applying;
mod auth_board;
mod auth_desk;
mod auto_compaction;
mod backlog;
mod catch_up;
mod checkpoints;
mod compactions;
mod config;
mod contacts;
mod counters;
mod divergence;
mod facts;
mod fair_queue;
mod history_steps;
mod hold_up;
mod hold_up_steps;
mod input;
mod lateness;
mod leadership;
mod lease_clock;
mod lease_desk;
mod lease_duties;
mod membership;
#[allow(clippy::module_inception, reason = "the room's main struct has the room's name")]
mod node;
mod observer;
mod output;
mod own_proposals;
mod pace;
mod passed_on;
mod proposals;
mod reads;
mod rebuild;
mod rebuild_steps;
mod recollection;
mod remembering;
mod renewals;
mod roles;
mod snapshot_steps;
mod snapshots;
mod space;
mod space_steps;
mod stages;
mod tallies;
mod telling;
mod versions;
mod view_cell;
mod watch_steps;
mod watches;

pub use admission::fund_of;
pub use applied_ops::{AppliedOps, TurnOps};
pub use auth_board::AuthBoard;
pub use auto_compaction::AutoCompaction;
pub use backlog::HeldBack;
pub use catch_up::{CatchUpBounds, CatchUpRead, CaughtUp};
pub use compactions::Compactions;
pub use config::{HeldBounds, NodeConfig};
pub use divergence::{Verdict, judge_all};
pub use facts::{Facts, NodeStatus};
pub use input::{
    ArrivedSnapshot, Came, DiskPart, Input, LeaseAccess, LeaseKeys, LeaseQuestion, LeaseStanding, Proposed, Reply,
    WatchInput,
};
pub use lease_clock::{LeaseClock, Renewal};
pub use membership::change_of;
pub use node::Node;
pub use observer::{Held, Observer, TurnWork};
pub use output::Output;
pub use recollection::Recalled;
pub use stages::Stages;
pub use tallies::{SLOW_APPLY, Tallies};
pub use view_cell::ViewCell;

#[cfg(test)]
mod tests;
