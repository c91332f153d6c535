//! The replicated state machine: a command goes in, what it did comes out.
//!
//! Everything that members must agree on is decided here and only here, from the log alone: no time, no
//! randomness, no knowledge of who asks or of who leads.
//!
//! Invariants: entries are applied in order without a gap; a refused command changes nothing and uses no
//! revision; the applied index and its effects are one fact in every checkpoint image.

mod alarms;
mod auth_codec;
mod carrying;
mod choosing;
pub mod codec;
mod command;
mod cost;
mod deleted;
mod digest;
pub mod downgrade;
pub mod etcd_peer;
mod image;
mod later;
#[allow(clippy::module_inception, reason = "the room's main struct has the room's name")]
mod machine;
mod members;
mod op_names;
mod permission;
mod shape;
mod slice;
mod txn;

pub use auth_codec::{
    AuthRecord, auth_of_records, auth_records, grant_from_wire, password_hash, permission_to_wire, revoke_from_wire,
};
pub use carrying::Told;
pub use command::{
    AlarmAction, AlarmKind, Answer, Applied, Command, Compare, CompareResult, CompareTarget, DeleteRange, Expiry, Op,
    OpAnswer, Put, Remainder, Txn, TxnAnswer,
};
pub use cost::put_cost;
pub use etcd_peer::{LeaseTimes, MemberHash};
pub use image::{Image, LeaseImage, State};
pub use machine::{Machine, Outcome, Progress, Shown};
pub use members::{Member, MemberChange, Members, members_from_json, members_json};
pub use op_names::OP_NAMES;
pub use permission::check_read_txn;
pub use slice::Slice;
pub use txn::{read_txn, weigh_read_txn};

#[cfg(test)]
mod tests;
