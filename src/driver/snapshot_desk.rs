//! Snapshots on their way between members, and the tasks that read and write them.
//!
//! Reading and writing history waits for the disk, and the transport must not: each end has a task of its own, which
//! does one thing at a time when it is asked to.

use std::future::Future;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use futures_channel::oneshot;

use super::mailbox::Mailbox;
use crate::base::{Fault, Wrong};
use crate::consensus::PeerMessage;
use crate::env::{Disk, Env, Tasks};
use crate::machine::{Image, State};
use crate::mvcc::{BuildFailure, SnapshotBuilder, SnapshotSource};
use crate::node::{ArrivedSnapshot, Input};
use crate::peer::{BoxFuture, ChunkSink, ChunkSource};
use crate::wal::WalIdentity;

/// One thing a task is asked to do, and where the answer goes.
type Job<Q, A> = (Q, oneshot::Sender<A>);

/// A task that is asked one thing after the other. It ends when nobody is left to ask.
struct Desk<Q, A>(Arc<Mailbox<Job<Q, A>>>);

impl<Q: Send + 'static, A: Send + 'static> Desk<Q, A> {
    /// Begins a task that answers with `work`, which is given back what it asked for with each answer.
    fn begin<E: Env, F>(env: &E, name: &'static str, work: impl FnOnce(Arc<Mailbox<Job<Q, A>>>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        // One question at a time: the asker waits for the answer.
        let jobs = Arc::new(Mailbox::new(1, usize::MAX));
        env.tasks().spawn(name, work(jobs.clone()));
        Self(jobs)
    }

    /// Nothing where the task has ended.
    async fn ask(&self, question: Q) -> Option<A> {
        let (answer, answered) = oneshot::channel();
        self.0.put((question, answer), 0).ok()?;
        answered.await.ok()
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
        let manifest = Bytes::copy_from_slice(&source.id().to_be_bytes());
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

/// The chunk of this number: those before it are passed over where the receiver has them.
fn chunk<D: Disk>(source: &mut SnapshotSource<D>, number: u64) -> Result<Option<Bytes>, Wrong> {
    while source.progress().chunk < number {
        if source.next_chunk()?.is_none() {
            return Ok(None);
        }
    }
    source.next_chunk()
}

impl ChunkSource for Source {
    fn manifest(&self) -> Bytes {
        self.manifest.clone()
    }

    fn chunk(&mut self, number: u64) -> BoxFuture<'_, Result<Option<Bytes>, Wrong>> {
        Box::pin(async move {
            let ended = || Fault::new("read", "history", std::io::Error::other("the member stops"));
            self.desk.ask(number).await.unwrap_or_else(|| Err(ended().into()))
        })
    }
}

enum Work {
    Take(Bytes),
    Finish,
}

/// The end a snapshot arrives at: builds a history generation of its own, and hands it to the node when it is whole.
/// Dropped before, it removes what it built: the next sending begins at the first chunk.
pub(super) struct Sink<E: Env> {
    /// What the building begins from, with the first chunk: being asked where to begin makes no files.
    beginning: Option<Beginning<E>>,
    next: u64,
    desk: Option<Desk<Work, Result<(), String>>>,
}

struct Beginning<E: Env> {
    env: E,
    identity: WalIdentity,
    builder: SnapshotBuilder<E::Disk>,
    message: PeerMessage,
    node: Arc<Mailbox<Input<E::Disk>>>,
}

impl<E: Env> Sink<E> {
    pub(super) fn new(
        env: E,
        identity: WalIdentity,
        generation: u64,
        segment_bytes: u64,
        message: PeerMessage,
        mut manifest: &[u8],
        node: Arc<Mailbox<Input<E::Disk>>>,
    ) -> Result<Self, String> {
        let id = manifest.try_get_u64().map_err(|_| "a manifest of another form".to_string())?;
        let builder = SnapshotBuilder::new(env.disk().clone(), id, generation, segment_bytes);
        let beginning = Beginning { env, identity, builder, message, node };
        Ok(Self { beginning: Some(beginning), next: 0, desk: None })
    }

    async fn ask(&mut self, work: Work) -> Result<(), String> {
        if let Some(beginning) = self.beginning.take() {
            let env = beginning.env.clone();
            self.desk = Some(Desk::begin(&env, "snapshot sink", |jobs| build(beginning, jobs)));
        }
        let desk = self.desk.as_ref().expect("it was begun");
        desk.ask(work).await.unwrap_or_else(|| Err("the member stops".to_string()))
    }
}

impl<E: Env> ChunkSink for Sink<E> {
    fn next(&self) -> u64 {
        self.next
    }

    fn put(&mut self, chunk: Bytes) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            self.ask(Work::Take(chunk)).await?;
            self.next += 1;
            Ok(())
        })
    }

    fn finish(mut self: Box<Self>) -> BoxFuture<'static, Result<(), String>> {
        Box::pin(async move { self.ask(Work::Finish).await })
    }
}

async fn build<E: Env>(beginning: Beginning<E>, jobs: Arc<Mailbox<Job<Work, Result<(), String>>>>) {
    let Beginning { identity, builder, message, node, .. } = beginning;
    let mut builder = Some(builder);
    let mut batch = Vec::new();
    while jobs.take(&mut batch).await {
        for (work, answer) in batch.drain(..) {
            let outcome = match (work, &mut builder) {
                (Work::Take(chunk), Some(building)) => building.take(&chunk).await.map_err(why),
                (Work::Finish, _) => match builder.take() {
                    Some(whole) => finish(whole, identity, &message, &node).await,
                    None => Err("it is over".to_string()),
                },
                (Work::Take(_), None) => Err("it is over".to_string()),
            };
            let _ = answer.send(outcome);
        }
    }
    if let Some(unfinished) = builder
        && let Err(fault) = unfinished.abandon()
    {
        // What is left of it the next start removes.
        tracing::warn!(error = %fault, "a snapshot that did not arrive whole could not be removed");
    }
}

async fn finish<D: Disk>(
    builder: SnapshotBuilder<D>,
    identity: WalIdentity,
    message: &PeerMessage,
    node: &Arc<Mailbox<Input<D>>>,
) -> Result<(), String> {
    let built = builder.finish().await.map_err(why)?;
    let image = Image::new(identity, State::decode(built.state)?, built.position)?;
    if Some(image.state.applied) != message.snapshot_at() {
        return Err(format!("its state is of entry {}, and not what its head says", image.state.applied.0));
    }
    node.put_completion(Input::SnapshotArrived(Box::new(ArrivedSnapshot { message: message.clone(), image })));
    Ok(())
}

fn why(failure: BuildFailure) -> String {
    match failure {
        BuildFailure::Refused(why) => why,
        BuildFailure::Wrong(wrong) => wrong.to_string(),
    }
}
