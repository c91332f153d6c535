//! Words every room uses: ids, accounts, revisions, keys, ranges, records, limits, URLs, the three kinds of wrong.
//!
//! Invariants: no type here knows of disks, networks, raft or protobuf; everything is plain data.

mod account;
mod calendar;
mod dice;
mod durations;
mod go_durations;
mod go_numbers;
mod go_quoted;
mod ids;
mod key_range;
pub mod limits;
mod near;
mod record;
mod revision;
mod signals;
mod sizes;
pub mod sync;
mod system_words;
mod url;
mod wrong;

pub use account::{Account, Charge, Fund, Shares};
pub use calendar::{calendar_day, timestamp};
pub use dice::{Dice, SeededDice};
pub use durations::{Durations, Measured};
pub use go_durations::{go_duration, show_duration};
pub use go_numbers::{go_bool, go_flag_int, go_flag_uint, go_int, go_uint};
pub use go_quoted::go_quoted;
pub use ids::{ClusterId, LeaseId, LogIndex, MemberId, Term, WatchId, derive_cluster_id, derive_member_id};
pub use key_range::{KeyRange, RangeEnd};
pub use near::{commands_meant, nearest};
pub use record::{Event, EventKind, KeyValue};
pub use revision::Revision;
pub use signals::{FILE_TOO_LARGE, HEARD_AND_LEFT, STOPPING, code_of_signal, is_passed_over};
pub use sizes::human_bytes;
pub use system_words::system_words;
pub use url::Url;
pub use wrong::{Corruption, Fault, Refusal, Wrong};
