//! The data: key index, history, views, the write transaction, compaction, reclaim, digests.
//!
//! Does not know of raft, leases (beyond the number in a record), clients or time.

mod query;

pub use query::{RangeAnswer, RangeQuery, SortOrder, SortTarget};
