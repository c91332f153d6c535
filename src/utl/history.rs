//! The history of a data directory, built of a database's records.
//!
//! Invariant: no key hangs on a lease that the database does not have, for no member starts on that. etcd does, and has such a key
//! without a lease; so it is here.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use super::beside::{Stop, now};
use super::failure::Failure;
use crate::backend::Records;
use crate::base::{LeaseId, Revision};
use crate::bbolt::{Database, Source};
use crate::env::{Disk, TokioDisk};
use crate::machine::LeaseImage;
use crate::mvcc::{BuildFailure, HISTORY_DIR, Import, KeyMeta, Record, StorePosition};
use crate::progress::{Progress, Unit};

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
    /// Keys that hung on leases that are not there.
    pub loose: usize,
}

/// What is told of keys whose leases are not there, if there are any.
pub fn told_of_loose(loose: usize) -> Option<String> {
    let text =
        "hang on leases that the database does not have, and go without: they last until they are deleted, as in etcd";
    (loose > 0).then(|| format!("{loose} keys {text}"))
}

/// The keys that hang on leases that are not there, as far as was read: by what they were put with.
struct Loose {
    leases: HashSet<LeaseId>,
    keys: HashMap<Bytes, Revision>,
}

impl Loose {
    fn note(&mut self, record: &Record) {
        if record.meta.lease != 0 && !self.leases.contains(&record.meta.lease) {
            // A copy: the record's lies in a page, which would stay in memory with it.
            self.keys.insert(Bytes::copy_from_slice(&record.key), record.meta.revision);
        } else if !self.keys.is_empty() {
            // Put anew or deleted: what a key hung on before is nothing to anybody.
            self.keys.remove(&record.key);
        }
    }
}

impl<S: Source> Build<'_, S> {
    /// Builds it, where these leases are.
    pub fn build(&self, leases: &[LeaseImage]) -> Result<Built, Failure> {
        let mut loose = Loose { leases: leases.iter().map(|lease| lease.id).collect(), keys: HashMap::new() };
        let built = self.pass(&mut |record| loose.note(record))?;
        if loose.keys.is_empty() {
            return Ok(built);
        }
        // Which record of a key is the newest is known at the end. It is rare, and done anew.
        for file in self.disk.list(HISTORY_DIR)? {
            self.disk.remove(&format!("{HISTORY_DIR}/{file}"))?;
        }
        let put: HashSet<Revision> = loose.keys.values().copied().collect();
        let built = self.pass(&mut |record| {
            if put.contains(&record.meta.revision) {
                record.meta.lease = 0;
            }
        })?;
        Ok(Built { loose: put.len(), ..built })
    }

    fn pass(&self, look: &mut dyn FnMut(&mut Record)) -> Result<Built, Failure> {
        let mut seen = self.database.unseen();
        let mut records = Records::of(self.database, &mut seen);
        let mut import = Import::new(self.disk.clone(), self.compacted);
        let mut progress = Progress::new(Unit::Bytes, self.database.bytes());
        let mut count = 0_u64;
        let (position, fingerprint) = now(async {
            while let Some((mut record, key, value)) = records.next_record()? {
                if count.is_multiple_of(1024) {
                    self.stop.check()?;
                }
                progress.add((key.len() + value.len()) as u64);
                count += 1;
                look(&mut record);
                import.put(record).await.map_err(|failure| damaged(&records, failure))?;
            }
            if let Some(main) = self.marked {
                let meta = KeyMeta { create_revision: main, revision: Revision::new(main, 0), version: 1, lease: 0 };
                let mark = Record { meta, last: true, key: Default::default(), value: Default::default() };
                import.put(mark).await.map_err(|failure| damaged(&records, failure))?;
            }
            import.finish().await.map_err(|failure| damaged(&records, failure))
        })?;
        Ok(Built { position, fingerprint, records: count, loose: 0 })
    }
}

/// What is wrong with the history that was built as far as the record that came last.
fn damaged<S: Source>(records: &Records<'_, S>, failure: BuildFailure) -> Failure {
    match failure {
        BuildFailure::Refused(what) => records.damaged(what).into(),
        BuildFailure::Wrong(wrong) => wrong.into(),
    }
}
