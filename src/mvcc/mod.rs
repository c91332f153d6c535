//! The data: key index, history, views, the write transaction, compaction, reclaim, digests.
//!
//! Does not know of raft, leases (beyond the number in a record), clients or time.

mod boot;
mod compaction;
mod compaction_digests;
mod counted_tree;
mod digest;
mod entry_digest;
mod file_digest;
mod half;
mod half_reading;
mod history;
mod history_write;
mod history_writer;
mod import;
mod index_build;
mod index_run;
mod key_index;
mod key_sort;
mod later;
mod outline;
mod outline_file;
mod outlining;
mod past;
mod position;
mod pruning;
mod query;
mod range_read;
mod reclaim;
mod record;
mod record_order;
mod retained;
mod scrub;
mod segment;
mod snapshot;
mod snapshot_builder;
mod snapshot_source;
mod store;
mod value_cache;
mod view;
mod write;

pub use boot::{Loading, SegmentsRead, SegmentsToRead};
pub use compaction_digests::DigestJob;
pub use entry_digest::{HashKv, put_entry};
pub use file_digest::{FileDigest, FileDigestAt};
pub use half::Half;
pub use history_write::{HISTORY_DIR, HistoryWrite, WriteMark};
pub use history_writer::HistoryWriter;
pub use import::Import;
pub use index_build::{FoldedPart, IndexPart};
pub use key_index::KeyMeta;
pub use later::LaterRange;
pub use outlining::{OutlineJob, Outlined};
pub use past::{Changes, Past};
pub use position::StorePosition;
pub use pruning::Pruned;
pub use query::{Holds, Looks, RangeAnswer, RangeQuery, SortOrder, SortTarget, Weight};
pub use range_read::ReadFailure;
pub use reclaim::{ReclaimJob, Reclaimed};
pub use record::{Record, RecordSlice};
pub use retained::Retained;
pub use snapshot::{SnapshotHeader, SnapshotProgress};
pub use snapshot_builder::{BuildFailure, Built, SnapshotBuilder};
pub use snapshot_source::SnapshotSource;
pub use store::{Outdated, Store, StoreOptions};
pub use view::View;
pub use write::{NO_PREV, NewValue, Paused, WantsPrev, WriteTxn};

#[cfg(test)]
mod tests;
