//! Where a snapshot is sent from, and the tasks that read and write snapshots.
//!
//! Reading and writing history waits for the disk, and the transport must not: each end has a task of its own, which
//! does one thing at a time when it is asked to, and gives way to whatever else the machine has to do.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use futures_channel::oneshot;

use super::mailbox::{Mailbox, NotTaken};
use crate::base::{Fault, Wrong};
use crate::env::{Disk, Env, Tasks};
use crate::mvcc::SnapshotSource;
use crate::peer::{BoxFuture, ChunkSource};

/// One thing a task is asked to do, and where the answer goes.
pub(super) type Job<Q, A> = (Q, oneshot::Sender<A>);

/// A task that is asked one thing after the other. It ends when nobody is left to ask.
pub(super) struct Desk<Q, A>(Arc<Mailbox<Job<Q, A>>>);

impl<Q: Send + 'static, A: Send + 'static> Desk<Q, A> {
    /// Begins a task that answers with `work`, which is given back what it asked for with each answer.
    pub(super) fn begin<E: Env, F>(env: &E, name: &'static str, work: impl FnOnce(Arc<Mailbox<Job<Q, A>>>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        // One question at a time, because the asker waits for the answer; and one whose asker has gone.
        let jobs = Arc::new(Mailbox::new(2, usize::MAX));
        env.tasks().spawn_quiet(name, work(jobs.clone()));
        Self(jobs)
    }

    /// Closed where the task has ended, and full where it is at what others asked who have gone since.
    pub(super) async fn ask(&self, question: Q) -> Result<A, NotTaken> {
        self.post(question)?.await.map_err(|oneshot::Canceled| NotTaken::Closed)
    }

    /// As [`Self::ask`], without waiting for the answer.
    pub(super) fn post(&self, question: Q) -> Result<oneshot::Receiver<A>, NotTaken> {
        let (answer, answered) = oneshot::channel();
        self.0.put((question, answer), 0).map_err(|(why, _)| why)?;
        Ok(answered)
    }
}

impl<Q, A> Drop for Desk<Q, A> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The end a snapshot is sent from.
pub(super) struct Source {
    manifest: Bytes,
    desk: Desk<u64, Result<Option<Bytes>, Wrong>>,
}

impl Source {
    pub(super) fn new<E: Env>(env: &E, mut source: SnapshotSource<E::Disk>) -> Self {
        let manifest = source.manifest();
        let desk = Desk::begin(env, "snapshot source", |jobs| async move {
            let mut batch = Vec::new();
            while jobs.take(&mut batch).await {
                for (number, answer) in batch.drain(..) {
                    let _ = answer.send(chunk(&mut source, number));
                }
            }
        });
        Self { manifest, desk }
    }
}

/// The chunk of this number: what the receiver has is passed over.
fn chunk<D: Disk>(source: &mut SnapshotSource<D>, number: u64) -> Result<Option<Bytes>, Wrong> {
    source.seek(number)?;
    source.next_chunk()
}

impl ChunkSource for Source {
    fn manifest(&self) -> Bytes {
        self.manifest.clone()
    }

    fn chunk(&mut self, number: u64) -> BoxFuture<'_, Result<Option<Bytes>, Wrong>> {
        Box::pin(async move {
            let ended = || Fault::new("read", "history", std::io::Error::other("the member stops"));
            self.desk.ask(number).await.unwrap_or_else(|_| Err(ended().into()))
        })
    }
}
