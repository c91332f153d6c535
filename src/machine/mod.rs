//! The replicated state machine: a command goes in, what it did comes out.
//!
//! Everything that members must agree on is decided here and only here, from the log alone: no time, no
//! randomness, no knowledge of who asks or of who leads.

mod command;

pub use command::{
    AlarmAction, AlarmKind, Answer, Applied, Command, Compare, CompareResult, CompareTarget, DeleteRange, Op,
    OpAnswer, Put, Txn, TxnAnswer,
};
