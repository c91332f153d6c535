//! The history of a data directory, built of a database's records.
//!
//! Invariant: every record is as it was, so that the digest of the data at a revision (HashKV) is etcd's, on each member alike: a key whose
//! lease is not there keeps its number. etcd serves such a key, and so do we: it hangs on nothing.

use std::collections::HashSet;

use bytes::Bytes;

use super::beside::{Stop, now};
use super::failure::{Exit, Failure};
use crate::backend::Records;
use crate::base::{LeaseId, Revision};
use crate::bbolt::{Database, Source};
use crate::env::TokioDisk;
use crate::machine::LeaseImage;
use crate::mvcc::{BuildFailure, Import, KeyMeta, Record, StorePosition};
use crate::progress::{Progress, Unit};

/// The newest revision of data that is taken: behind it are left as many as a million a second make in thirty years. Behind the
/// greatest number there is none, and a member that is to make one ends.
pub const NEWEST: i64 = i64::MAX - (1 << 50);

/// What is built of what.
pub struct Build<'a, S> {
    /// Where; its directories are there, and empty.
    pub disk: &'a TokioDisk,
    /// What has the records.
    pub database: &'a Database<S>,
    /// The compact revision; −1 is never.
    pub compacted: i64,
    /// A revision to be marked as the newest.
    pub marked: Option<i64>,
    /// Whether the user asked to stop.
    pub stop: &'a Stop,
}

/// A history that was built.
pub struct Built {
    /// Up to where it goes.
    pub position: StorePosition,
    /// Of the records.
    pub fingerprint: u64,
    /// How many there are.
    pub records: u64,
    /// Keys that were put with leases that are not there.
    pub loose: usize,
}

/// What is told of keys whose leases are not there, if there are any.
pub fn told_of_loose(loose: usize) -> Option<String> {
    let text = "were put with leases that the database does not have: they last until they are deleted or put anew, as in etcd";
    (loose > 0).then(|| format!("{loose} keys {text}"))
}

/// The keys whose leases are not there, as far as was read.
struct Loose {
    leases: HashSet<LeaseId>,
    keys: HashSet<Bytes>,
}

impl Loose {
    fn note(&mut self, record: &Record) {
        if record.meta.lease != 0 && !self.leases.contains(&record.meta.lease) {
            // A copy: the record's lies in a page, which would stay in memory with it.
            self.keys.insert(Bytes::copy_from_slice(&record.key));
        } else if !self.keys.is_empty() {
            // Put anew or deleted.
            self.keys.remove(&record.key);
        }
    }
}

impl<S: Source> Build<'_, S> {
    /// Builds it, where these leases are.
    pub fn build(&self, leases: &[LeaseImage]) -> Result<Built, Failure> {
        let mut loose = Loose { leases: leases.iter().map(|lease| lease.id).collect(), keys: HashSet::new() };
        let mut seen = self.database.unseen();
        let mut records = Records::of(self.database, &mut seen);
        let mut import = Import::new(self.disk.clone(), self.compacted);
        let mut progress = Progress::new(Unit::Bytes, self.database.bytes());
        let mut count = 0_u64;
        let (position, fingerprint) = now(async {
            while let Some((record, key, value)) = records.next_record()? {
                if count.is_multiple_of(1024) {
                    self.stop.check()?;
                }
                progress.add((key.len() + value.len()) as u64);
                count += 1;
                loose.note(&record);
                import.put(record).await.map_err(|failure| damaged(&records, failure))?;
            }
            if let Some(main) = self.marked {
                let meta = KeyMeta { create_revision: main, revision: Revision::new(main, 0), version: 1, lease: 0 };
                let mark = Record { meta, last: true, key: Default::default(), value: Default::default() };
                import.put(mark).await.map_err(|failure| damaged(&records, failure))?;
            }
            import.finish().await.map_err(|failure| damaged(&records, failure))
        })?;
        if position.revision() > NEWEST {
            let text = format!("its revision {} leaves none for changes to come", position.revision());
            return Err(Failure::new(Exit::Error, text));
        }
        Ok(Built { position, fingerprint, records: count, loose: loose.keys.len() })
    }
}

/// What is wrong with the history that was built as far as the record that came last.
fn damaged<S: Source>(records: &Records<'_, S>, failure: BuildFailure) -> Failure {
    match failure {
        BuildFailure::Refused(what) => records.damaged(what).into(),
        BuildFailure::Wrong(wrong) => wrong.into(),
    }
}
