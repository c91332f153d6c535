//! The keeper: the one task that writes the log.

use std::sync::Arc;

use super::ending::Ending;
use super::mailbox::Mailbox;
use crate::base::{LogIndex, Wrong};
use crate::env::Disk;
use crate::node::Input;
use crate::wal::{Batch, Journal};

/// One thing the keeper is asked.
pub(super) enum KeeperJob {
    /// Make durable, then say so.
    Persist {
        number: u64,
        batch: Batch,
    },
    /// Segments with nothing above this may be used again.
    Release(LogIndex),
    Stop,
}

/// Appends everything that waits, syncs once, says so; between that, readies the next segment. Ends on the
/// first fault: a failed sync is never tried again.
pub(super) async fn keep<D: Disk>(
    mut journal: Journal<D>,
    jobs: Arc<Mailbox<KeeperJob>>,
    node: Arc<Mailbox<Input<D>>>,
    ending: Ending,
) {
    let mut batch = Vec::new();
    loop {
        if !jobs.take(&mut batch).await {
            break;
        }
        match one_round(&mut journal, &mut batch, &node).await {
            Ok(true) => {}
            Ok(false) => break,
            Err(wrong) => {
                tracing::error!(error = %wrong, "the log cannot be written: stopping");
                ending.tell(Err(wrong));
                break;
            }
        }
    }
    jobs.close();
    node.close();
}

async fn one_round<D: Disk>(
    journal: &mut Journal<D>,
    jobs: &mut Vec<KeeperJob>,
    node: &Mailbox<Input<D>>,
) -> Result<bool, Wrong> {
    let mut persisted = None;
    let mut release = None;
    let mut going_on = true;
    for job in jobs.drain(..) {
        match job {
            KeeperJob::Persist { number, batch } => {
                journal.append(&batch)?;
                persisted = Some(number);
            }
            KeeperJob::Release(up_to) => release = Some(up_to),
            KeeperJob::Stop => going_on = false,
        }
    }
    if let Some(number) = persisted {
        journal.sync().await?;
        assert_eq!(journal.durable(), journal.appended(), "a sync covers everything appended before it");
        node.put_completion(Input::Persisted { number });
    }
    if let Some(up_to) = release {
        journal.release(up_to)?;
    }
    journal.prepare().await?;
    Ok(going_on)
}
