//! Where a snapshot arrives, and what is kept of one that was cut on its way.
//!
//! Invariants: one half at most is kept, by the task that built it, and only one of which nothing was refused; it is given back
//! to whoever offers the same snapshot, and gives its space back after a while, or when another snapshot begins to arrive.
//! A half does not outlive the process: a start removes it, as anything that no image names. One for whose image there is no room
//! does not arrive.
//!
//! Does not know who sends, nor whether the node will want what arrives.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes};

use super::checkpoint_files;
use super::mailbox::Mailbox;
use super::snapshot_desk::{Desk, Job};
use crate::base::{LogIndex, Term, limits};
use crate::consensus::PeerMessage;
use crate::env::{Clock, Disk, Env, Instant, Tasks};
use crate::machine::{Image, State};
use crate::mvcc::{BuildFailure, SnapshotBuilder};
use crate::node::{ArrivedSnapshot, Input};
use crate::peer::{BoxFuture, ChunkSink};
use crate::wal::WalIdentity;

/// Which snapshot it is: two that agree in this have the same chunks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct SnapshotName {
    /// The last entry in it.
    at: (LogIndex, Term),
    /// What its sender says of it.
    manifest: Bytes,
}

enum Work {
    Take(Bytes),
    /// How far is it?
    Where,
    /// It is whole. This is its head, and whether it came in several attempts.
    Finish(Box<PeerMessage>, bool),
}

/// The answer is the number of the chunk that is wanted next.
type SinkDesk = Desk<Work, Result<u64, String>>;

/// A half that waits for the rest.
struct Half {
    name: SnapshotName,
    desk: SinkDesk,
    kept_until: Instant,
}

#[derive(Default)]
struct Kept {
    half: Option<Half>,
    /// Somebody looks whether its time is over.
    is_looked_after: bool,
    /// The member stops: nothing is kept any more.
    closed: bool,
}

/// What is kept of snapshots that were cut. Clones are the same.
#[derive(Clone)]
pub(super) struct Halves<E: Env> {
    env: E,
    kept: Arc<Mutex<Kept>>,
}

impl<E: Env> Halves<E> {
    pub(super) fn new(env: E) -> Self {
        Self { env, kept: Arc::default() }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // A panic is a bug that ends the process.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The half of this snapshot, if there is one; it is no longer kept here.
    fn take(&self, name: &SnapshotName) -> Option<SinkDesk> {
        self.kept().half.take_if(|half| half.name == *name).map(|half| half.desk)
    }

    /// Another snapshot begins to arrive: what is kept is of no use any more.
    fn forget(&self) {
        let _outside_the_lock = self.kept().half.take();
    }

    /// The member stops.
    pub(super) fn close(&self) {
        self.kept().closed = true;
        self.forget();
    }

    fn keep(&self, name: SnapshotName, desk: SinkDesk) {
        let time = Duration::from_millis(limits::SNAPSHOT_HALF_KEPT_MS);
        let kept_until = self.env.clock().now().plus(time);
        let mut kept = self.kept();
        if kept.closed {
            return drop((kept, desk));
        }
        let _outside_the_lock = kept.half.replace(Half { name, desk, kept_until });
        let is_new = !std::mem::replace(&mut kept.is_looked_after, true);
        drop(kept);
        if is_new {
            let halves = self.clone();
            self.env.tasks().spawn_light("half a snapshot", async move { halves.look_after(kept_until).await });
        }
    }

    /// Lets go of it when its time is over; ends when there is none.
    async fn look_after(self, mut until: Instant) {
        loop {
            self.env.clock().sleep_until(until).await;
            let mut kept = self.kept();
            match &kept.half {
                Some(half) if half.kept_until > self.env.clock().now() => until = half.kept_until,
                _ => {
                    kept.is_looked_after = false;
                    let old = kept.half.take();
                    drop(kept);
                    drop(old);
                    return;
                }
            }
        }
    }
}

/// The end a snapshot arrives at: builds a history generation of its own, and hands it to the node when it is whole.
/// Dropped before, what it built is kept for another attempt.
pub(super) struct Sink<E: Env> {
    halves: Halves<E>,
    name: SnapshotName,
    head: PeerMessage,
    /// What the building begins from, with the first chunk: being asked where to begin makes no files.
    beginning: Option<Beginning<E>>,
    next: u64,
    /// It goes on with what an earlier attempt left.
    went_on: bool,
    /// Nothing where nothing was built, or what was is over.
    desk: Option<SinkDesk>,
}

/// What building takes.
pub(super) struct Beginning<E: Env> {
    pub(super) identity: WalIdentity,
    pub(super) generation: u64,
    pub(super) segment_bytes: u64,
    pub(super) node: Arc<Mailbox<Input<E::Disk>>>,
}

impl<E: Env> Sink<E> {
    /// For the snapshot of this head: goes on with what is kept of it.
    pub(super) async fn open(
        halves: Halves<E>,
        head: PeerMessage,
        manifest: Bytes,
        beginning: Beginning<E>,
    ) -> Result<Self, String> {
        if manifest.len() < size_of::<u64>() {
            return Err("a manifest of another form".to_string());
        }
        let name = SnapshotName { at: head.snapshot_at().ok_or("no snapshot")?, manifest };
        let desk = halves.take(&name);
        let mut sink = Self { halves, name, head, beginning: Some(beginning), next: 0, went_on: false, desk };
        if sink.desk.is_some() && sink.ask(Work::Where).await.is_ok() {
            sink.went_on = sink.next > 0;
            sink.beginning = None;
        }
        Ok(sink)
    }

    async fn ask(&mut self, work: Work) -> Result<(), String> {
        let desk = self.desk.as_ref().ok_or("it is over")?;
        let answer = desk.ask(work).await.unwrap_or_else(|| Err("the member stops".to_string()));
        match answer {
            Ok(next) => self.next = next,
            Err(why) => {
                // What was refused once is refused again: the next attempt begins anew.
                self.desk = None;
                return Err(why);
            }
        }
        Ok(())
    }

    fn begin(&mut self) {
        let Some(beginning) = self.beginning.take() else { return };
        self.halves.forget();
        let id = self.name.manifest.slice(..size_of::<u64>()).get_u64();
        let env = &self.halves.env;
        let Beginning { identity, generation, segment_bytes, node } = beginning;
        let disk = env.disk().clone();
        let builder = SnapshotBuilder::new(disk.clone(), id, generation, segment_bytes);
        self.desk = Some(Desk::begin(env, "snapshot sink", |jobs| build(disk, builder, (identity, node), jobs)));
    }
}

impl<E: Env> ChunkSink for Sink<E> {
    fn next(&self) -> u64 {
        self.next
    }

    fn put(&mut self, chunk: Bytes) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            self.begin();
            self.ask(Work::Take(chunk)).await
        })
    }

    fn finish(mut self: Box<Self>) -> BoxFuture<'static, Result<(), String>> {
        Box::pin(async move {
            self.begin();
            let (head, went_on) = (Box::new(self.head.clone()), self.went_on);
            self.ask(Work::Finish(head, went_on)).await?;
            self.desk = None;
            Ok(())
        })
    }
}

impl<E: Env> Drop for Sink<E> {
    fn drop(&mut self) {
        if let Some(desk) = self.desk.take() {
            self.halves.keep(self.name.clone(), desk);
        }
    }
}

/// Builds until nobody is left who could go on with it.
async fn build<D: Disk>(
    disk: D,
    builder: SnapshotBuilder<D>,
    (identity, node): (WalIdentity, Arc<Mailbox<Input<D>>>),
    jobs: Arc<Mailbox<Job<Work, Result<u64, String>>>>,
) {
    let mut building = Some(builder);
    let mut batch = Vec::new();
    while jobs.take(&mut batch).await {
        for (work, answer) in batch.drain(..) {
            let outcome = match &mut building {
                Some(builder) => one_work(&disk, builder, work, identity).await,
                None => Err("it is over".to_string()),
            };
            match outcome {
                Ok(Step::Next(next)) => drop(answer.send(Ok(next))),
                Ok(Step::Done(arrived)) => {
                    // From here on its files are the node's to keep or to remove.
                    building = None;
                    node.put_completion(Input::SnapshotArrived(arrived));
                    let _ = answer.send(Ok(0));
                }
                Err(why) => {
                    // Before anybody hears of it: the space is free again when another attempt is made.
                    abandon(building.take());
                    let _ = answer.send(Err(why));
                }
            }
        }
    }
    abandon(building);
}

enum Step {
    Next(u64),
    Done(Box<ArrivedSnapshot>),
}

async fn one_work<D: Disk>(
    disk: &D,
    builder: &mut SnapshotBuilder<D>,
    work: Work,
    identity: WalIdentity,
) -> Result<Step, String> {
    match work {
        Work::Where => Ok(Step::Next(builder.progress().chunk)),
        Work::Take(chunk) => {
            builder.take(&chunk).await.map_err(why)?;
            Ok(Step::Next(builder.progress().chunk))
        }
        Work::Finish(message, went_on) => {
            let built = builder.finish().await.map_err(why)?;
            let image = Image::new(identity, State::decode(built.state)?, built.position)?;
            if Some(image.state.applied) != message.snapshot_at() {
                return Err(format!("its state is of entry {}, and not what its head says", image.state.applied.0));
            }
            // Once the node has taken it nothing becomes durable before its image is: not even a vote.
            checkpoint_files::reserve(disk, image.encode().len()).await.map_err(|fault| fault.to_string())?;
            Ok(Step::Done(Box::new(ArrivedSnapshot { message: *message, image, went_on })))
        }
    }
}

fn abandon<D: Disk>(unfinished: Option<SnapshotBuilder<D>>) {
    if let Some(unfinished) = unfinished
        && let Err(fault) = unfinished.abandon()
    {
        // What is left of it the next start removes.
        tracing::warn!(error = %fault, "a snapshot that did not arrive whole could not be removed");
    }
}

fn why(failure: BuildFailure) -> String {
    match failure {
        BuildFailure::Refused(why) => why,
        BuildFailure::Wrong(wrong) => wrong.to_string(),
    }
}

// In virtual time, for halves have their hour.
#[cfg(all(test, feature = "tokio-env"))]
mod tests;
