//! The archive: the task that writes history and checkpoints. Nobody's answer waits for it.

use std::sync::Arc;

use bytes::Bytes;
use futures_channel::oneshot;

use super::checkpoint_files;
use super::ending::Ending;
use super::install::{DurableImage, InstalledImage, forget_older, make_durable, replace_images};
use super::mailbox::Mailbox;
use super::memory_file;
use crate::base::{LogIndex, Wrong};
use crate::env::{Disk, Env, Tasks};
use crate::machine::{Image, Machine};
use crate::mvcc::{DigestJob, HistoryWrite, HistoryWriter, ReclaimJob, StoreOptions, WriteMark};
use crate::node::Input;

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
    Digest(DigestJob<D>),
    Remove(Vec<String>),
    /// What is remembered of members: of use to a later start, and to nobody else.
    Remember(Bytes),
}

/// Does what it is asked, in order. Ends on the first fault.
pub(super) async fn keep_archive<E: Env>(
    env: E,
    store: StoreOptions,
    jobs: Arc<Mailbox<ArchiveJob<E::Disk>>>,
    node: Arc<Mailbox<Input<E::Disk>>>,
    ending: Ending,
) {
    let mut writer = HistoryWriter::new(env.disk().clone());
    let mut batch = Vec::new();
    while jobs.take(&mut batch).await {
        for job in batch.drain(..) {
            if let Err(wrong) = one_job(&env, &store, &mut writer, job, &node, &ending).await {
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
    writer: &mut HistoryWriter<E::Disk>,
    job: ArchiveJob<E::Disk>,
    node: &Arc<Mailbox<Input<E::Disk>>>,
    ending: &Ending,
) -> Result<(), Wrong> {
    match job {
        ArchiveJob::Write { writes, mark } => {
            writer.write(&writes)?;
            node.put_completion(Input::HistoryWritten(mark));
        }
        ArchiveJob::Checkpoint { applied, image } => {
            // The image names history; so history is durable first.
            writer.sync().await?;
            checkpoint_files::write(env.disk(), applied, &image).await?;
            node.put_completion(Input::Checkpointed { applied });
        }
        ArchiveJob::Install { image, durable, installed } => {
            // What was written before belongs to the state that goes; it may still be named by an image that is kept.
            writer.sync().await?;
            let _ = durable.send(make_durable(env.disk(), &image).await?);
            // Not cut: the keeper has told the end.
            let Ok(installed) = installed.await else { return Ok(()) };
            forget_older(env.disk(), &installed)?;
            // The files of the state before are the node's to let go of, once nothing reads them.
            let machine = Machine::load(env.disk().clone(), *store, &image, &[])?;
            node.put_completion(Input::Installed(Box::new(machine)));
        }
        ArchiveJob::Rebuild(image) => {
            writer.sync().await?;
            replace_images(env.disk(), &image).await?;
            let machine = Machine::load(env.disk().clone(), *store, &image, &[])?;
            node.put_completion(Input::Rebuilt(Box::new(machine)));
        }
        ArchiveJob::Remember(promises) => {
            if let Err(fault) = memory_file::write(env.disk(), &promises).await {
                tracing::warn!(error = %fault, "what members promised is not kept");
            }
        }
        ArchiveJob::Reclaim(job) => reclaim(env, job, node.clone(), ending.clone()),
        ArchiveJob::Digest(job) => digest(env, job, node.clone()),
        ArchiveJob::Remove(files) => {
            for file in files {
                env.disk().remove(&file)?;
            }
            node.put_completion(Input::Removed);
        }
    }
    Ok(())
}

/// Rewriting a segment takes long and nothing waits for it: it has a task of its own.
fn reclaim<E: Env>(env: &E, job: ReclaimJob<E::Disk>, node: Arc<Mailbox<Input<E::Disk>>>, ending: Ending) {
    let disk = env.disk().clone();
    env.tasks().spawn("reclaim", async move {
        match job.run(&disk).await {
            Ok(done) => node.put_completion(Input::Reclaimed(done)),
            Err(wrong) => {
                tracing::error!(error = %wrong, "a history segment cannot be rewritten: stopping");
                ending.tell(Err(wrong));
                node.close();
            }
        }
    });
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
