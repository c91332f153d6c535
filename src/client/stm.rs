//! Transactions that read first and then decide: run again until nobody was faster.
//!
//! Purpose: read, compute and write as one, without writing the comparisons by hand. Invariants: what is committed was
//! computed from values that were all current when it was written (and, by default, from one revision); the caller's
//! work may run several times, and only what its last run wrote is done; an error it returns ends it with nothing done.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::wire::etcdserverpb as pb;
use crate::wire::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::wire::etcdserverpb::request_op::Request;

use super::connection::Client;
use super::error::Error;

/// Runs of a transaction before it is given up: others were always faster.
const MAX_RUNS: usize = 1_000;

/// How much a transaction is held apart from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Isolation {
    /// All reads are of one revision, and none of what was read or is written has changed since.
    #[default]
    SerializableSnapshot,
    /// All reads are of one revision, and none of what was read has changed since.
    Serializable,
    /// None of what was read has changed since it was read.
    RepeatableReads,
}

/// One run of a transaction: what it read and what it will write. What is read or written once the work has returned does not count.
///
/// Example, run as a test: `a_transaction_runs_again_until_nobody_was_faster` in `tests/client_library.rs`.
#[derive(Debug)]
pub struct Stm {
    client: Client,
    isolation: Isolation,
    run: Arc<Mutex<Run>>,
}

/// What a run knows.
#[derive(Debug, Default)]
struct Run {
    /// The revision of the first read; 0 before it.
    revision: i64,
    read: BTreeMap<Bytes, Option<(Bytes, i64)>>,
    /// `None` deletes.
    written: BTreeMap<Bytes, Option<(Bytes, i64)>>,
}

fn lock(run: &Mutex<Run>) -> MutexGuard<'_, Run> {
    run.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Client {
    /// Runs `work` as one transaction, again and again until what it read is still so when it writes. The run is `work`'s own, not
    /// lent to it: so whatever it holds, all of this may be spawned as a task.
    ///
    /// # Errors
    /// What `work` returns, the server's refusal, that no answer came in time (what was written may be done then), or
    /// [`Error::Lost`] where others were always faster.
    pub async fn transact<T, F>(&self, isolation: Isolation, mut work: impl FnMut(Stm) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        for _ in 0..MAX_RUNS {
            let run = Arc::new(Mutex::new(Run::default()));
            let result = work(Stm { client: self.clone(), isolation, run: Arc::clone(&run) }).await?;
            let done = std::mem::take(&mut *lock(&run));
            if done.commit(self, isolation).await? {
                return Ok(result);
            }
        }
        Err(Error::Lost("transaction: others were always faster"))
    }
}

impl Stm {
    /// The value of a key, as this run wrote it or as it was read; `None` where there is none.
    ///
    /// # Errors
    /// The server's refusal, or that no answer came in time. To be passed on: the run cannot go on without.
    pub async fn get(&mut self, key: impl Into<Bytes>) -> Result<Option<Bytes>, Error> {
        let key = key.into();
        if let Some(written) = lock(&self.run).written.get(&key) {
            return Ok(written.as_ref().map(|(value, _)| value.clone()));
        }
        Ok(self.fetch(key).await?.map(|(value, _)| value))
    }

    /// The revision that a key was last written at; 0 where it is not there.
    ///
    /// # Errors
    /// As [`Stm::get`].
    pub async fn mod_revision(&mut self, key: impl Into<Bytes>) -> Result<i64, Error> {
        Ok(self.fetch(key.into()).await?.map_or(0, |(_, revision)| revision))
    }

    /// Writes a key when the transaction is committed.
    pub fn put(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.put_with_lease(key, value, 0);
    }

    /// Writes a key with a lease when the transaction is committed.
    pub fn put_with_lease(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>, lease: i64) {
        lock(&self.run).written.insert(key.into(), Some((value.into(), lease)));
    }

    /// Deletes a key when the transaction is committed.
    pub fn delete(&mut self, key: impl Into<Bytes>) {
        lock(&self.run).written.insert(key.into(), None);
    }

    async fn fetch(&mut self, key: Bytes) -> Result<Option<(Bytes, i64)>, Error> {
        let (known, at) = {
            let run = lock(&self.run);
            (run.read.get(&key).cloned(), run.revision)
        };
        if let Some(read) = known {
            return Ok(read);
        }
        let of_one_revision = self.isolation != Isolation::RepeatableReads;
        let request = pb::RangeRequest {
            key: key.clone(),
            revision: if of_one_revision { at } else { 0 },
            // A revision that was read once is the same at every member that has it; one that has it not says so.
            serializable: of_one_revision && at != 0,
            ..Default::default()
        };
        let answer = match self.client.range(request.clone()).await {
            Err(error) if request.serializable && error.text().contains("future revision") => {
                self.client.range(pb::RangeRequest { serializable: false, ..request }).await?
            }
            answer => answer?,
        };
        let read = answer.kvs.into_iter().next().map(|kv| (kv.value, kv.mod_revision));
        let mut run = lock(&self.run);
        if run.revision == 0 {
            run.revision = answer.header.map_or(0, |header| header.revision);
        }
        run.read.insert(key, read.clone());
        Ok(read)
    }
}

impl Run {
    /// Writes what was written, if nothing changed meanwhile.
    async fn commit(self, client: &Client, isolation: Isolation) -> Result<bool, Error> {
        let read = self.read.iter().map(|(key, read)| {
            let revision = read.as_ref().map_or(0, |(_, revision)| *revision);
            modified(key, CompareResult::Equal, revision)
        });
        let judged_too = (isolation == Isolation::SerializableSnapshot && self.revision != 0).then_some(&self.written);
        let unread = judged_too.into_iter().flatten().filter(|(key, _)| !self.read.contains_key(*key));
        let unread = unread.map(|(key, _)| modified(key, CompareResult::Less, self.revision + 1));
        let compare: Vec<pb::Compare> = read.chain(unread).collect();
        if compare.is_empty() && self.written.is_empty() {
            return Ok(true);
        }
        let success = self.written.iter().map(|(key, written)| {
            let request = match written {
                Some((value, lease)) => Request::RequestPut(pb::PutRequest {
                    key: key.clone(),
                    value: value.clone(),
                    lease: *lease,
                    ..Default::default()
                }),
                None => Request::RequestDeleteRange(pb::DeleteRangeRequest { key: key.clone(), ..Default::default() }),
            };
            pb::RequestOp { request: Some(request) }
        });
        let request = pb::TxnRequest { compare, success: success.collect(), failure: Vec::new() };
        Ok(client.txn(request).await?.succeeded)
    }
}

fn modified(key: &Bytes, result: CompareResult, revision: i64) -> pb::Compare {
    pb::Compare {
        result: result as i32,
        target: CompareTarget::Mod as i32,
        key: key.clone(),
        target_union: Some(TargetUnion::ModRevision(revision)),
        range_end: Bytes::new(),
    }
}
