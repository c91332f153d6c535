//! The keeper: the one task that writes the log.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use futures_channel::oneshot;

use super::ending::Ending;
use super::install::{DurableImage, InstalledImage, cut_log};
use super::mailbox::Mailbox;
use crate::base::{LogIndex, Wrong};
use crate::env::{Clock, Disk, Env};
use crate::node::{DiskPart, Facts, Input};
use crate::wal::{Batch, Journal};

/// One thing the keeper is asked.
pub(super) enum KeeperJob {
    /// Make durable, then say so.
    Persist {
        number: u64,
        batch: Batch,
    },
    /// As `Persist`, behind a snapshot: once its image is durable the log is cut. Who made the image is told.
    Install {
        number: u64,
        durable: oneshot::Receiver<DurableImage>,
        batch: Batch,
        installed: oneshot::Sender<InstalledImage>,
    },
    /// Segments with nothing above this may be used again.
    Release(LogIndex),
    /// The disk may have room again for the next segment; tell whether.
    LookForRoom,
    /// Others need room: files kept for use again go.
    GiveRoom,
    Stop,
}

/// Appends everything that waits, syncs once, says so; where nothing waits, readies the next segment a slice
/// at a time. Ends on the first fault: a failed sync is never tried again. A clean end waits until the others who write
/// in the data directory are `at_rest`.
pub(super) async fn keep<E: Env>(
    env: E,
    mut journal: Journal<E::Disk>,
    jobs: Arc<Mailbox<KeeperJob>>,
    node: Arc<Mailbox<Input<E::Disk>>>,
    (ending, facts): (Ending, Arc<Facts>),
    at_rest: oneshot::Receiver<()>,
) {
    let how = rounds(&mut journal, &jobs, &node, &(env, facts)).await;
    if let Err(wrong) = &how {
        tracing::error!(error = %wrong, "the log cannot be written: stopping");
    }
    jobs.close();
    node.close();
    if how.is_ok() {
        // Nothing is ever sent: it ends with the last who could.
        let _ = at_rest.await;
    }
    ending.tell(how);
}

async fn rounds<E: Env>(
    journal: &mut Journal<E::Disk>,
    jobs: &Mailbox<KeeperJob>,
    node: &Mailbox<Input<E::Disk>>,
    world: &(E, Arc<Facts>),
) -> Result<(), Wrong> {
    let (mut batch, mut told_short) = (Vec::new(), false);
    while jobs.take(&mut batch).await {
        let looks = batch.iter().any(|job| matches!(job, KeeperJob::LookForRoom));
        if !one_round(journal, &mut batch, node, world).await? {
            return journal.close().await;
        }
        if !jobs.has_items() {
            prepare(journal, jobs, looks, &mut told_short, node).await?;
        }
    }
    Ok(())
}

/// Readies the next segment by a slice; where somebody looks for room, until it is ready, or nothing more fits, or somebody
/// else waits. Tells when it begins or ceases to lack room.
async fn prepare<D: Disk>(
    journal: &mut Journal<D>,
    jobs: &Mailbox<KeeperJob>,
    looks: bool,
    told_short: &mut bool,
    node: &Mailbox<Input<D>>,
) -> Result<(), Wrong> {
    while journal.prepare().await? && looks && !jobs.has_items() {}
    let short = journal.lacks_room();
    if short != *told_short || looks {
        *told_short = short;
        node.put_completion(Input::Room { part: DiskPart::Log, short });
    }
    Ok(())
}

/// False when no more is to come.
async fn one_round<E: Env>(
    journal: &mut Journal<E::Disk>,
    jobs: &mut Vec<KeeperJob>,
    node: &Mailbox<Input<E::Disk>>,
    (env, facts): &(E, Arc<Facts>),
) -> Result<bool, Wrong> {
    let (clock, tallies) = (env.clock(), &facts.tallies);
    let mut persisted = None;
    let mut going_on = true;
    for job in jobs.drain(..) {
        match job {
            KeeperJob::Persist { number, batch } => {
                let (begun, before) = (clock.now(), journal.bytes_written());
                journal.append(&batch)?;
                tallies.log_bytes.fetch_add(journal.bytes_written().saturating_sub(before), Relaxed);
                tallies.log_writes.took(clock.now().since(begun));
                persisted = Some(number);
            }
            KeeperJob::Install { number, durable, batch, installed } => {
                // Not made: whoever makes it has told the end, and nothing is written any more.
                let Ok(durable) = durable.await else { return Ok(false) };
                let cut = cut_log(journal, durable).await?;
                if !batch.is_empty() {
                    journal.append(&batch)?;
                    journal.sync().await?;
                }
                node.put_completion(Input::Persisted { number });
                persisted = None;
                let _ = installed.send(cut);
            }
            KeeperJob::Release(up_to) => journal.release(up_to)?,
            KeeperJob::LookForRoom => journal.look_for_room(),
            KeeperJob::GiveRoom => journal.shed_spares()?,
            KeeperJob::Stop => going_on = false,
        }
    }
    if let Some(number) = persisted {
        let begun = clock.now();
        journal.sync().await?;
        tallies.log_syncs.took(clock.now().since(begun));
        assert_eq!(journal.durable(), journal.appended(), "a sync covers everything appended before it");
        node.put_completion(Input::Persisted { number });
    }
    Ok(going_on)
}

#[cfg(all(test, feature = "tokio-env"))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::{ClusterId, MemberId};
    use crate::driver::ending::AtWork;
    use crate::env::{MemoryDisk, Tasks, VirtualEnv};
    use crate::wal::{UnrecoveredWal, WalIdentity};

    /// Whoever stops a member and starts another on its directory must not meet a checkpoint the first is still writing.
    #[test]
    fn the_end_is_told_when_nobody_writes_any_more() {
        VirtualEnv::run(async |env| {
            env.disk().create_dir("wal").expect("made");
            let identity = WalIdentity { cluster: ClusterId(1), member: MemberId(1) };
            let wal = UnrecoveredWal::open(env.disk().clone(), "wal").expect("opened");
            let journal = wal.recover(identity, 0).await.expect("recovered").journal;
            let jobs = Arc::new(Mailbox::new(1, 1));
            let node: Arc<Mailbox<Input<MemoryDisk>>> = Arc::new(Mailbox::new(1, 1));
            let (ending, (archive, at_rest)) = (Ending::default(), AtWork::begin());
            let reclaim = archive.clone();
            let watched = (ending.clone(), Arc::default());
            env.tasks().spawn("keeper", keep(env.clone(), journal, jobs.clone(), node, watched, at_rest));
            jobs.put_completion(KeeperJob::Stop);
            drop(archive);
            env.pass(Duration::from_secs(1)).await;
            assert!(ending.now().is_none(), "a segment is still being rewritten");
            drop(reclaim);
            env.pass(Duration::from_millis(1)).await;
            assert!(matches!(ending.now(), Some(Ok(()))));
        });
    }
}
