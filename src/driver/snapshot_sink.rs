//! Where a snapshot arrives, and what is kept of one that was cut on its way.
//!
//! Invariants: one half at most is kept, by the task that built it, and only one of which nothing was refused; it is given back
//! to whoever offers the same snapshot, and gives its space back after a while, or when another snapshot begins to arrive.
//! A half outlives the process: a start reads what it finds of one, beside everything else, and goes on behind the last note of it that
//! is true ([`SnapshotBuilder::resume`]); it has its hour anew. However long that takes, who offers the snapshot meanwhile does the
//! half no harm: nothing is asked of a task that still reads, and who finds one busy leaves it as it is. One for whose image there
//! is no room does not arrive.
//!
//! Does not know who sends, nor whether the node will want what arrives.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::checkpoint_files;
use super::kept_half::{KeptHalf, SnapshotName};
use super::mailbox::{Mailbox, NotTaken};
use super::snapshot_desk::{Desk, Job};
use crate::base::limits;
use crate::consensus::PeerMessage;
use crate::env::{Clock, Disk, Env, Instant, Tasks};
use crate::machine::{Image, State};
use crate::mvcc::{BuildFailure, Half, SnapshotBuilder};
use crate::node::{ArrivedSnapshot, Came, Facts, Input};
use crate::peer::{BoxFuture, ChunkSink};
use crate::wal::WalIdentity;

enum Work {
    Take(Bytes),
    /// How far is it?
    Where,
    /// It is whole. This is its head, and whether it came in several attempts.
    Finish(Box<PeerMessage>, bool),
}

/// A task that builds.
struct Building {
    /// The answer is the number of the chunk that is wanted next.
    desk: Desk<Work, Result<u64, String>>,
    /// It is still at what an earlier life left, and answers nothing.
    reads: Arc<AtomicBool>,
    /// It came to its end, and is the node's.
    arrived: Arc<AtomicBool>,
}

impl Building {
    fn begin<E: Env>(halves: &Halves<E>, begun: Begun<E::Disk>, whom: Whom<E::Disk>) -> Self {
        let (reads, arrived) = (Arc::new(AtomicBool::new(matches!(begun, Begun::Before { .. }))), Arc::default());
        let (at, told) = ((halves.env.disk().clone(), halves.closed.clone()), (reads.clone(), Arc::clone(&arrived)));
        let desk = Desk::begin(&halves.env, "snapshot sink", |jobs| build(at, begun, whom, (jobs, told)));
        Self { desk, reads, arrived }
    }
}

/// A half that waits for the rest.
struct Waiting {
    name: SnapshotName,
    building: Building,
    kept_until: Instant,
}

#[derive(Default)]
struct Kept {
    half: Option<Waiting>,
    /// Somebody looks whether its time is over.
    is_looked_after: bool,
}

/// What is kept of snapshots that were cut. Clones are the same.
#[derive(Clone)]
pub(super) struct Halves<E: Env> {
    env: E,
    facts: Arc<Facts>,
    kept: Arc<Mutex<Kept>>,
    /// The member stops: nothing is kept any more, and what lies on the disk is its next life's.
    closed: Arc<AtomicBool>,
}

impl<E: Env> Halves<E> {
    pub(super) fn new(env: E, facts: Arc<Facts>) -> Self {
        Self { env, facts, kept: Arc::default(), closed: Arc::default() }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // A panic is a bug that ends the process.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The half of this snapshot, if there is one; it is no longer kept here.
    fn take(&self, name: &SnapshotName) -> Option<Building> {
        self.kept().half.take_if(|half| half.name == *name).map(|half| half.building)
    }

    /// Another snapshot begins to arrive: what is kept is of no use any more.
    fn forget(&self) {
        let _outside_the_lock = self.kept().half.take();
    }

    /// The member stops.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.forget();
    }

    /// What a start found, of a snapshot that may be sent on: it is read at once.
    pub(super) fn found(&self, KeptHalf { name, half }: KeptHalf, segment_bytes: u64, whom: Whom<E::Disk>) {
        tracing::info!(bytes = half.bytes(), "a part of a snapshot that was on its way is there");
        let building = Building::begin(self, Begun::Before { half, segment_bytes }, whom);
        self.keep(name, building);
    }

    fn keep(&self, name: SnapshotName, building: Building) {
        let time = Duration::from_millis(limits::SNAPSHOT_HALF_KEPT_MS);
        let kept_until = self.env.clock().now().plus(time);
        let mut kept = self.kept();
        if self.closed.load(Ordering::Acquire) {
            return drop((kept, building));
        }
        let _outside_the_lock = kept.half.replace(Waiting { name, building, kept_until });
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
    /// When it was offered.
    offered: Instant,
    name: SnapshotName,
    head: PeerMessage,
    /// What the building begins from, with the first chunk: being asked where to begin makes no files.
    beginning: Option<Beginning<E>>,
    next: u64,
    /// It goes on with what an earlier attempt left.
    went_on: bool,
    /// Nothing where nothing was built, or what was is over.
    building: Option<Building>,
}

/// What building takes.
pub(super) struct Beginning<E: Env> {
    pub(super) identity: WalIdentity,
    pub(super) generation: u64,
    pub(super) segment_bytes: u64,
    pub(super) node: Arc<Mailbox<Input<E::Disk>>>,
}

impl<E: Env> Sink<E> {
    /// For the snapshot of this head: goes on with what is kept of it. Nothing while that is still being read, for which its time
    /// begins anew.
    pub(super) async fn open(
        halves: Halves<E>,
        head: PeerMessage,
        manifest: Bytes,
        beginning: Beginning<E>,
    ) -> Result<Option<Self>, String> {
        let name = SnapshotName::of(head.snapshot_at().ok_or("no snapshot")?, manifest)?;
        let (offered, building) = (halves.env.clock().now(), halves.take(&name));
        let mut sink =
            Self { halves, offered, name, head, beginning: Some(beginning), next: 0, went_on: false, building };
        let Some(building) = &sink.building else { return Ok(Some(sink)) };
        if building.reads.load(Ordering::Acquire) {
            return Ok(None);
        }
        let arrived = building.arrived.clone();
        match sink.ask(Work::Where).await {
            Ok(()) => {
                sink.went_on = sink.next > 0;
                sink.beginning = None;
            }
            // It is there, and at what others wanted of it.
            Err(why) if sink.building.is_some() => return Err(why),
            // Its sender went away while it was taken over: the node has it now.
            Err(_) if arrived.load(Ordering::Acquire) => return Err("it is here already".to_string()),
            Err(_) => {}
        }
        Ok(Some(sink))
    }

    async fn ask(&mut self, work: Work) -> Result<(), String> {
        let building = self.building.as_ref().ok_or("it is over")?;
        let why = match building.desk.ask(work).await {
            Ok(Ok(next)) => {
                self.next = next;
                return Ok(());
            }
            // It will answer when its disk does: what it has is as good as it was.
            Err(NotTaken::Full) => return Err("what is here of it waits for the disk".to_string()),
            Ok(Err(why)) => why,
            Err(NotTaken::Closed) => "the member stops".to_string(),
        };
        // What was refused once is refused again: the next attempt begins anew.
        self.building = None;
        Err(why)
    }

    fn begin(&mut self) {
        let Some(beginning) = self.beginning.take() else { return };
        self.halves.forget();
        let Beginning { identity, generation, segment_bytes, node } = beginning;
        let disk = self.halves.env.disk().clone();
        let builder = SnapshotBuilder::new(disk, self.name.id(), generation, segment_bytes);
        let begun = Begun::Now(Box::new(builder.kept_for(self.name.encode(identity))));
        self.building = Some(Building::begin(&self.halves, begun, (identity, node)));
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
            let whole = self.halves.env.clock().now();
            self.ask(Work::Finish(head, went_on)).await?;
            self.building = None;
            let (done, tallies) = (self.halves.env.clock().now(), &self.halves.facts.tallies);
            tallies.snapshot_syncs.took(done.since(whole));
            tallies.snapshots.took(done.since(self.offered));
            Ok(())
        })
    }
}

impl<E: Env> Drop for Sink<E> {
    fn drop(&mut self) {
        if let Some(building) = self.building.take() {
            self.halves.keep(self.name.clone(), building);
        }
    }
}

/// Whose snapshot it is, and who is told of it.
pub(super) type Whom<D> = (WalIdentity, Arc<Mailbox<Input<D>>>);

/// What is built on.
enum Begun<D: Disk> {
    Now(Box<SnapshotBuilder<D>>),
    /// In an earlier life.
    Before {
        half: Half,
        segment_bytes: u64,
    },
}

type Jobs = Arc<Mailbox<Job<Work, Result<u64, String>>>>;

/// Builds until nobody is left who could go on with it. What is not whole then goes, unless the member stops.
async fn build<D: Disk>(
    (disk, closed): (D, Arc<AtomicBool>),
    begun: Begun<D>,
    (identity, node): Whom<D>,
    (jobs, (reads, has_arrived)): (Jobs, (Arc<AtomicBool>, Arc<AtomicBool>)),
) {
    let is_of_before = matches!(begun, Begun::Before { .. });
    let mut building = match begun {
        Begun::Now(builder) => Some(*builder),
        Begun::Before { half, segment_bytes } => resumed(&disk, &half, segment_bytes, (&closed, &jobs)),
    };
    reads.store(false, Ordering::Release);
    let mut batch = Vec::new();
    while jobs.take(&mut batch).await {
        for (work, answer) in batch.drain(..) {
            let outcome = match &mut building {
                Some(builder) => one_work(&disk, builder, work, (identity, is_of_before)).await,
                None => Err("it is over".to_string()),
            };
            match outcome {
                Ok(Step::Next(next)) => drop(answer.send(Ok(next))),
                Ok(Step::Done(arrived)) => {
                    // From here on its files are the node's to keep or to remove.
                    building = None;
                    has_arrived.store(true, Ordering::Release);
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
    if !closed.load(Ordering::Acquire) {
        abandon(building);
    }
}

/// Reads what an earlier life left, for as long as somebody may want it. What is of no use goes.
fn resumed<D: Disk>(
    disk: &D,
    half: &Half,
    segment_bytes: u64,
    (closed, jobs): (&AtomicBool, &Jobs),
) -> Option<SnapshotBuilder<D>> {
    match SnapshotBuilder::resume(disk.clone(), half, segment_bytes, &|| !jobs.is_closed()) {
        Ok(Some(builder)) => {
            tracing::info!(chunks = builder.progress().chunk, "what is there of a snapshot is good");
            return Some(builder);
        }
        Ok(None) => tracing::info!("what is there of a snapshot is of no use"),
        Err(fault) => tracing::warn!(error = %fault, "what is there of a snapshot cannot be gone on with"),
    }
    if !closed.load(Ordering::Acquire)
        && let Err(fault) = half.remove(disk)
    {
        tracing::warn!(error = %fault, "what is there of a snapshot could not be removed");
    }
    None
}

enum Step {
    Next(u64),
    Done(Box<ArrivedSnapshot>),
}

async fn one_work<D: Disk>(
    disk: &D,
    builder: &mut SnapshotBuilder<D>,
    work: Work,
    (identity, is_of_before): (WalIdentity, bool),
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
            checkpoint_files::reserve(disk, &image).await.map_err(|fault| fault.to_string())?;
            let came = match (went_on, is_of_before) {
                (false, _) => Came::AtOnce,
                (true, false) => Came::AfterCut,
                (true, true) => Came::AfterRestart,
            };
            Ok(Step::Done(Box::new(ArrivedSnapshot { message: *message, image, came })))
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
