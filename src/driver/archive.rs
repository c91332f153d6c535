//! The archive: the task that writes history and checkpoints. Nobody's answer waits for it.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_channel::oneshot;

use super::checkpoint_files;
use super::ending::{AtWork, Ending};
use super::install::{DurableImage, InstalledImage, forget_older, make_durable, replace_images};
use super::mailbox::Mailbox;
use super::memory_file;
use super::shortage::Shortage;
use crate::base::{Fault, LogIndex, Wrong, limits};
use crate::env::{Clock, Disk, Env, Instant, Tasks};
use crate::machine::{Image, Machine};
use crate::mvcc::{DigestJob, HistoryWrite, HistoryWriter, OutlineJob, ReclaimJob, Reclaimed, StoreOptions, WriteMark};
use crate::node::{DiskPart, Facts, Input, Tallies};

/// One thing the archive is asked.
pub(super) enum ArchiveJob<D: Disk> {
    Write {
        writes: Vec<HistoryWrite>,
        mark: WriteMark,
    },
    Checkpoint {
        applied: LogIndex,
        image: Bytes,
    },
    Install {
        image: Box<Image>,
        durable: oneshot::Sender<DurableImage>,
        installed: oneshot::Receiver<InstalledImage>,
    },
    Rebuild(Box<Image>),
    Reclaim(ReclaimJob<D>),
    Outline(OutlineJob<D>),
    Digest(DigestJob<D>),
    Remove(Vec<String>),
    LookForRoom,
    /// Make durable what was written.
    Sync,
    LetGo(Box<dyn Send>),
    /// What is remembered of members: of use to a later start, and to nobody else.
    Remember(Bytes),
}

/// Jobs that wait for the one under way.
type Later<D> = VecDeque<ArchiveJob<D>>;

/// Where its jobs come from, and whom it tells of what is done.
type Doors<'a, D> = (&'a Mailbox<ArchiveJob<D>>, &'a Arc<Mailbox<Input<D>>>);

/// What the archive holds between two jobs.
struct Files<D: Disk> {
    writer: HistoryWriter<D>,
    /// What there was no room for yet, in order.
    waiting: VecDeque<(Vec<HistoryWrite>, WriteMark)>,
    shortage: Shortage,
    /// Bytes of the image for which there was no room, where it is not made yet.
    lacked: usize,
    /// Jobs that came while another was under way, in order.
    later: Later<D>,
}

impl<D: Disk> Files<D> {
    /// Writes what waits, as far as there is room; whether all of it is written. A write that was refused for want of room is
    /// done again from its beginning: nothing of it was promised.
    fn write_waiting(&mut self, node: &Mailbox<Input<D>>) -> Result<bool, Wrong> {
        while let Some((writes, mark)) = self.waiting.front() {
            match self.writer.write(writes) {
                Ok(_) => {
                    node.put_completion(Input::HistoryWritten(*mark));
                    self.waiting.pop_front();
                }
                Err(fault) if fault.is_no_space() => return Ok(false),
                Err(fault) => return Err(fault.into()),
            }
        }
        Ok(true)
    }

    /// Makes a checkpoint durable; whether there was room for it.
    async fn checkpoint(&mut self, disk: &D, applied: LogIndex, image: &Bytes) -> Result<bool, Wrong> {
        // The image names history; so history is durable first.
        self.writer.sync().await?;
        match checkpoint_files::write(disk, applied, image).await {
            Ok(()) => {
                self.lacked = 0;
                Ok(true)
            }
            Err(fault) if fault.is_no_space() => {
                checkpoint_files::discard_draft(disk)?;
                self.lacked = image.len();
                Ok(false)
            }
            Err(fault) => Err(fault.into()),
        }
    }

    /// Whether what there was no room for has some now; where that is an image, it is tried with as many bytes.
    async fn finds_room(&mut self, disk: &D, node: &Mailbox<Input<D>>) -> Result<bool, Wrong> {
        if !self.write_waiting(node)? {
            return Ok(false);
        }
        match checkpoint_files::try_room(disk, self.lacked).await {
            Err(fault) if fault.is_no_space() => Ok(false),
            tried => tried.map(|()| true).map_err(Wrong::from),
        }
    }
}

/// Does what it is asked, in order. Ends on the first fault. It is `at_work` until nothing it began is under way.
pub(super) async fn keep_archive<E: Env>(
    env: E,
    store: StoreOptions,
    jobs: Arc<Mailbox<ArchiveJob<E::Disk>>>,
    node: Arc<Mailbox<Input<E::Disk>>>,
    (ending, facts): (Ending, Arc<Facts>),
    at_work: AtWork,
) {
    let (writer, shortage) = (HistoryWriter::new(env.disk().clone()), Shortage::new("history"));
    let mut files = Files { writer, waiting: VecDeque::new(), shortage, lacked: 0, later: VecDeque::new() };
    let mut batch = Vec::new();
    while jobs.take(&mut batch).await {
        files.later.extend(batch.drain(..));
        while let Some(job) = files.later.pop_front() {
            let beside = (&ending, &facts.tallies, &at_work);
            if let Err(wrong) = one_job(&env, &store, &mut files, job, (&jobs, &node), beside).await {
                tracing::error!(error = %wrong, "history cannot be written: stopping");
                ending.tell(Err(wrong));
                jobs.close();
                node.close();
                return;
            }
        }
    }
}

async fn one_job<E: Env>(
    env: &E,
    store: &StoreOptions,
    files: &mut Files<E::Disk>,
    job: ArchiveJob<E::Disk>,
    (jobs, node): Doors<'_, E::Disk>,
    (ending, tallies, at_work): (&Ending, &Tallies, &AtWork),
) -> Result<(), Wrong> {
    let begun = env.clock().now();
    match job {
        ArchiveJob::Write { writes, mark } => {
            let had_room = files.waiting.is_empty();
            files.waiting.push_back((writes, mark));
            let is_written = files.write_waiting(node)?;
            tallies.history_writes.took(env.clock().now().since(begun));
            if !is_written && had_room {
                node.put_completion(Input::Room { part: DiskPart::History, short: true, tried: begun });
            }
            files.shortage.stands(!is_written, env.clock().now());
        }
        ArchiveJob::Checkpoint { applied, image } => {
            let is_made = files.write_waiting(node)? && files.checkpoint(env.disk(), applied, &image).await?;
            tallies.checkpoints.took(env.clock().now().since(begun));
            files.shortage.stands(!is_made, env.clock().now());
            let told = if is_made { Input::Checkpointed { applied } } else { Input::CheckpointPutOff { tried: begun } };
            node.put_completion(told);
        }
        ArchiveJob::Install { image, durable, installed } => {
            // What was written before belongs to the state that goes; it may still be named by an image that is kept.
            files.waiting.clear();
            files.writer.sync().await?;
            files.lacked = 0;
            install(env, store, image, (durable, installed), (files, (jobs, node))).await?;
        }
        ArchiveJob::Rebuild(image) => {
            files.waiting.clear();
            files.writer.sync().await?;
            files.lacked = 0;
            rebuild(env, store, image, (files, (jobs, node))).await?;
        }
        ArchiveJob::Remember(promises) => {
            if let Err(fault) = memory_file::write(env.disk(), &promises).await {
                tracing::warn!(error = %fault, "what members promised is not kept");
            }
        }
        ArchiveJob::Reclaim(job) => reclaim(env, job, node.clone(), (ending.clone(), at_work.clone())),
        ArchiveJob::Outline(job) => outline(env, job, node.clone(), at_work.clone()),
        ArchiveJob::Digest(job) => digest(env, job, node.clone()),
        ArchiveJob::Remove(files) => remove(env.disk(), &files, node)?,
        ArchiveJob::LetGo(it) => drop(it),
        ArchiveJob::Sync => {
            files.writer.sync().await?;
            node.put_completion(Input::HistorySynced);
        }
        ArchiveJob::LookForRoom => {
            let short = !files.finds_room(env.disk(), node).await?;
            files.shortage.stands(short, env.clock().now());
            node.put_completion(Input::Room { part: DiskPart::History, short, tried: begun });
        }
    }
    Ok(())
}

fn remove<D: Disk>(disk: &D, files: &[String], node: &Mailbox<Input<D>>) -> Result<(), Fault> {
    for file in files {
        // An outline may be removed twice: with its segment, and by whoever was making it then.
        if disk.exists(file)? {
            disk.remove(file)?;
        }
    }
    node.put_completion(Input::Removed);
    Ok(())
}

/// Installs the image of a history that is durable.
async fn install<E: Env>(
    env: &E,
    store: &StoreOptions,
    image: Box<Image>,
    (durable, installed): (oneshot::Sender<DurableImage>, oneshot::Receiver<InstalledImage>),
    (files, (jobs, node)): (&mut Files<E::Disk>, Doors<'_, E::Disk>),
) -> Result<(), Wrong> {
    let mut is_told = false;
    let made = loop {
        let tried = env.clock().now();
        match make_durable(env.disk(), &image).await {
            Err(Wrong::Fault(fault)) if fault.is_no_space() => {
                if !wait_for_room(env, (files, (jobs, node)), (&mut is_told, tried)).await? {
                    // The installation has not begun.
                    return Ok(());
                }
            }
            made => break made?,
        }
    };
    files.shortage.stands(false, env.clock().now());
    let _ = durable.send(made);
    // Not cut: the keeper has told the end.
    let (Some(Ok(installed)), _) = removing_meanwhile(env.disk(), (&mut files.later, (jobs, node)), installed).await?
    else {
        return Ok(());
    };
    forget_older(env.disk(), &installed)?;
    // The files of the state before are the node's to let go of, once nothing reads them.
    node.put_completion(Input::Installed(load(env, store, image).await?));
    Ok(())
}

/// Puts the image of a history that is durable in place of all others.
async fn rebuild<E: Env>(
    env: &E,
    store: &StoreOptions,
    image: Box<Image>,
    (files, (jobs, node)): (&mut Files<E::Disk>, Doors<'_, E::Disk>),
) -> Result<(), Wrong> {
    let mut is_told = false;
    loop {
        let tried = env.clock().now();
        match replace_images(env.disk(), &image).await {
            Err(Wrong::Fault(fault)) if fault.is_no_space() => {
                if !wait_for_room(env, (files, (jobs, node)), (&mut is_told, tried)).await? {
                    return Ok(());
                }
            }
            replaced => break replaced?,
        }
    }
    files.shortage.stands(false, env.clock().now());
    node.put_completion(Input::Rebuilt(load(env, store, image).await?));
    Ok(())
}

/// There was no room for an image, tried at that time, for which everything else waits: until it is to be tried again. The node
/// is told once, and once more where somebody looks. False where the member ends meanwhile.
async fn wait_for_room<E: Env>(
    env: &E,
    (files, (jobs, node)): (&mut Files<E::Disk>, Doors<'_, E::Disk>),
    (is_told, tried): (&mut bool, Instant),
) -> Result<bool, Wrong> {
    checkpoint_files::discard_draft(env.disk())?;
    files.shortage.stands(true, env.clock().now());
    if !std::mem::replace(is_told, true) {
        node.put_completion(Input::Room { part: DiskPart::History, short: true, tried });
    }
    let clock = env.clock();
    let pause = clock.sleep_until(clock.now().plus(Duration::from_millis(limits::WAL_ROOM_RETRY_MS)));
    let (again, somebody_looks) = removing_meanwhile(env.disk(), (&mut files.later, (jobs, node)), pause).await?;
    *is_told &= !somebody_looks;
    Ok(again.is_some())
}

/// Waits for something for which everything else waits, and has go meanwhile what is to go: that may be the room that is lacked.
/// Other jobs come later. Nothing where the member ends meanwhile; and whether somebody looked for room.
async fn removing_meanwhile<D: Disk, T>(
    disk: &D,
    (later, (jobs, node)): (&mut Later<D>, Doors<'_, D>),
    awaited: impl Future<Output = T>,
) -> Result<(Option<T>, bool), Wrong> {
    let (mut awaited, mut somebody_looks) = (pin!(awaited), false);
    let mut came: Vec<_> = later.drain(..).collect();
    loop {
        for job in came.drain(..) {
            match job {
                ArchiveJob::Remove(files) => remove(disk, &files, node)?,
                ArchiveJob::LookForRoom => somebody_looks = true,
                job => later.push_back(job),
            }
        }
        let done = poll_fn(|cx| match awaited.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => jobs.poll_take(cx, &mut came).map(|()| None),
        });
        if let Some(done) = done.await {
            return Ok((Some(done), somebody_looks));
        }
        if came.is_empty() {
            return Ok((None, somebody_looks));
        }
    }
}

/// Reads the whole state of an image, in a task that gives way to others: nothing is written meanwhile, because nothing is
/// applied.
async fn load<E: Env>(env: &E, store: &StoreOptions, image: Box<Image>) -> Result<Box<Machine<E::Disk>>, Wrong> {
    let (done, loaded) = oneshot::channel();
    let (disk, store) = (env.disk().clone(), *store);
    env.tasks().spawn_quiet("load", async move {
        let _ = done.send(Wrong::unless_twice(|| Machine::load(disk.clone(), store, &image, &[])));
    });
    let ended = || Fault::new("read", "history", std::io::Error::other("the member stops")).into();
    loaded.await.unwrap_or_else(|_| Err(ended())).map(Box::new)
}

/// Rewriting a segment takes long and nothing waits for it: it has a task of its own.
fn reclaim<E: Env>(
    env: &E,
    job: ReclaimJob<E::Disk>,
    node: Arc<Mailbox<Input<E::Disk>>>,
    (ending, at_work): (Ending, AtWork),
) {
    let (disk, tried) = (env.disk().clone(), env.clock().now());
    let file = job.file();
    env.tasks().spawn_quiet("reclaim", async move {
        let _held = at_work;
        match put_off(job.run(&disk).await, &disk, &file) {
            Ok(Some(done)) => node.put_completion(Input::Reclaimed(done)),
            Ok(None) => node.put_completion(Input::ReclaimPutOff { short: true, tried }),
            // The node has seen it, and decides what becomes of it.
            Err(wrong @ Wrong::Corruption(_)) => {
                tracing::error!(error = %wrong, "a history segment cannot be rewritten");
                let left = disk.exists(&file).and_then(|is| if is { disk.remove(&file) } else { Ok(()) });
                if let Err(fault) = left {
                    tracing::warn!(error = %fault, "what was rewritten of it is left");
                }
                node.put_completion(Input::ReclaimPutOff { short: false, tried });
            }
            Err(wrong) => {
                tracing::error!(error = %wrong, "a history segment cannot be rewritten: stopping");
                ending.tell(Err(wrong));
                node.close();
            }
        }
    });
}

/// Reads a segment and writes its outline: nothing waits for it, and a start does without where it cannot be made.
fn outline<E: Env>(env: &E, job: OutlineJob<E::Disk>, node: Arc<Mailbox<Input<E::Disk>>>, at_work: AtWork) {
    let (disk, tried) = (env.disk().clone(), env.clock().now());
    env.tasks().spawn_quiet("outline", async move {
        let _held = at_work;
        let done = match job.run(&disk).await {
            Ok(done) => Input::Outlined(done),
            Err(wrong) => {
                let file = job.file();
                let left = disk.exists(&file).and_then(|is| if is { disk.remove(&file) } else { Ok(()) });
                let no_space = matches!(&wrong, Wrong::Fault(fault) if fault.is_no_space());
                if left.is_err() || !no_space {
                    tracing::warn!(file, error = %wrong, "a history segment has no outline: the next start reads all of it");
                }
                if no_space { Input::OutlinePutOff { tried } } else { Input::Outlined(job.without()) }
            }
        };
        node.put_completion(done);
    });
}

/// Nothing where there was no room: then the `file` that was begun goes.
fn put_off<D: Disk>(outcome: Result<Reclaimed<D>, Wrong>, disk: &D, file: &str) -> Result<Option<Reclaimed<D>>, Wrong> {
    match outcome {
        Err(Wrong::Fault(fault)) if fault.is_no_space() => {
            if disk.exists(file)? {
                disk.remove(file)?;
            }
            Ok(None)
        }
        outcome => outcome.map(Some),
    }
}

/// Reads all of the history: also a task of its own. What cannot be read it only tells: whoever needs it will find it.
fn digest<E: Env>(env: &E, job: DigestJob<E::Disk>, node: Arc<Mailbox<Input<E::Disk>>>) {
    env.tasks().spawn("digest", async move {
        if let Err(wrong) = job.run() {
            tracing::error!(error = %wrong, "the digest of a compaction cannot be made");
        }
        node.put_completion(Input::Digested);
    });
}

#[cfg(all(test, feature = "tokio-env"))]
mod tests {
    use super::*;
    use crate::env::{MemoryDisk, OpenMode, VirtualEnv};
    use crate::machine::State;

    /// Whoever looks for room looks for what was lacked: with nothing tried it would be full and not full in turns.
    #[test]
    fn room_that_an_image_lacked_is_not_found_before_it_is_there() {
        VirtualEnv::run(async |env| {
            env.disk().create_dir(checkpoint_files::DIR).expect("made");
            let jobs = Arc::new(Mailbox::new(1, 1));
            let node: Arc<Mailbox<Input<MemoryDisk>>> = Arc::new(Mailbox::new(1, 1));
            let (ending, (at_work, _at_rest)) = (Ending::default(), AtWork::begin());
            let archive = keep_archive(
                env.clone(),
                StoreOptions::default(),
                jobs.clone(),
                node.clone(),
                (ending, Arc::default()),
                at_work,
            );
            env.tasks().spawn("archive", archive);
            let told = async |job| {
                let mut told = Vec::new();
                jobs.put_completion(job);
                assert!(node.take(&mut told).await);
                told.pop().expect("something is told")
            };
            let image = || ArchiveJob::Checkpoint { applied: 9, image: vec![7; 5_000].into() };
            env.disk().leave_room(Some(10));
            assert!(matches!(told(image()).await, Input::CheckpointPutOff { .. }));
            assert!(matches!(told(ArchiveJob::LookForRoom).await, Input::Room { short: true, .. }));
            env.disk().leave_room(None);
            assert!(matches!(told(ArchiveJob::LookForRoom).await, Input::Room { short: false, .. }));
            assert!(matches!(told(image()).await, Input::Checkpointed { applied: 9 }));
            assert_eq!(env.disk().list(checkpoint_files::DIR).expect("listed"), ["0000000000000009.image"]);
            jobs.close();
        });
    }

    /// An image for which there is no room waits for it, as everything does that is written; a member that ends is not held up.
    #[test]
    fn an_image_without_room_waits_for_it() {
        for ends in [false, true] {
            VirtualEnv::run(async |env| {
                for dir in [checkpoint_files::DIR, "history"] {
                    env.disk().create_dir(dir).expect("made");
                }
                let jobs = Arc::new(Mailbox::new(1, 1));
                let node: Arc<Mailbox<Input<MemoryDisk>>> = Arc::new(Mailbox::new(1, 1));
                let (ending, (at_work, at_rest)) = (Ending::default(), AtWork::begin());
                let watched = (ending.clone(), Arc::default());
                let archive =
                    keep_archive(env.clone(), StoreOptions::default(), jobs.clone(), node.clone(), watched, at_work);
                env.tasks().spawn("archive", archive);
                env.disk().leave_room(Some(10));
                let image = Image { state: State { applied: (9, 5), ..State::default() }, ..Image::default() };
                let (durable, mut is_durable) = oneshot::channel();
                let (_never, installed) = oneshot::channel();
                jobs.put_completion(ArchiveJob::Install { image: Box::new(image), durable, installed });
                env.pass(Duration::from_secs(3)).await;
                assert!(matches!(is_durable.try_recv(), Ok(None)), "it waits");
                let mut told = Vec::new();
                assert!(node.take(&mut told).await);
                assert!(matches!(told[..], [Input::Room { part: DiskPart::History, short: true, .. }]));
                // What is to go goes meanwhile: it may be the room that is lacked.
                told.clear();
                env.disk().open("history/old", OpenMode::Create).expect("made");
                jobs.put_completion(ArchiveJob::LookForRoom);
                jobs.put_completion(ArchiveJob::Remove(vec!["history/old".to_string()]));
                env.pass(Duration::from_millis(1)).await;
                assert!(!env.disk().exists("history/old").expect("asked"));
                assert!(node.take(&mut told).await);
                assert!(matches!(told[..], [Input::Removed]));
                // Who looks hears that there is none still, once.
                told.clear();
                env.pass(Duration::from_secs(3)).await;
                assert!(node.take(&mut told).await);
                assert!(matches!(told[..], [Input::Room { part: DiskPart::History, short: true, .. }]));
                if ends {
                    jobs.close();
                    let _ = at_rest.await;
                    assert!(is_durable.try_recv().is_err(), "it was given up");
                } else {
                    env.disk().leave_room(None);
                    env.pass(Duration::from_secs(1)).await;
                    assert!(matches!(is_durable.try_recv(), Ok(Some(_))), "it is made");
                    assert_eq!(env.disk().list(checkpoint_files::DIR).expect("listed"), ["0000000000000009.image"]);
                }
                assert!(ending.now().is_none());
            });
        }
    }
}
