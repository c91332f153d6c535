//! A database file in etcd's form on its way to who asked for it.
//!
//! Invariants: the file is read on a task of its own, which gives way to all others and holds nothing up; a few blobs are ready
//! before they are asked for, and no more. It ends when whoever asked goes away. Few are made at once.

use std::sync::Arc;

use futures_channel::oneshot;

use super::handle::Handle;
use super::mailbox::Mailbox;
use super::places::Place;
use super::snapshot_desk::{Desk, Job};
use crate::backend::{Backup, Blob};
use crate::base::{Refusal, Wrong, limits};
use crate::env::Env;
use crate::machine::Shown;
use crate::node::Input;

/// Some blobs; none at the end.
type Answer = Result<Vec<Blob>, Wrong>;

/// A file on its way; see the module's head.
pub struct BackupStream {
    desk: Desk<(), Answer>,
    /// Those that are being made already.
    coming: Option<oneshot::Receiver<Answer>>,
    _place: Place,
}

impl BackupStream {
    /// The next blobs, of [`limits::BACKUP_BLOB_BYTES`] but for the file's last one and the digest behind it; none at the end.
    pub async fn next(&mut self) -> Result<Vec<Blob>, Refusal> {
        let coming = self.coming.take().or_else(|| self.desk.post(())).ok_or(Refusal::Stopped)?;
        let blobs = coming.await.map_err(|oneshot::Canceled| Refusal::Stopped)?;
        let blobs = blobs.map_err(|wrong| Refusal::Damaged(wrong.to_string()))?;
        if !blobs.is_empty() {
            self.coming = self.desk.post(());
        }
        Ok(blobs)
    }
}

impl<E: Env> Handle<E> {
    /// Everything this member holds at one moment, as a database file of etcd. Measured first: the first blob takes a while.
    pub async fn back_up(&self) -> Result<BackupStream, Refusal> {
        let place = self.backups().take().ok_or(Refusal::TooManyRequests)?;
        let shown = self.ask(|reply| Input::Show { reply }).await??;
        let desk = Desk::begin(self.env(), "backup", |jobs| make::<E>(jobs, shown));
        Ok(BackupStream { desk, coming: None, _place: place })
    }
}

async fn make<E: Env>(jobs: Arc<Mailbox<Job<(), Answer>>>, shown: Shown<E::Disk>) {
    let (mut shown, mut backup, mut batch) = (Some(shown), None, Vec::new());
    while jobs.take(&mut batch).await {
        for ((), answer) in batch.drain(..) {
            if let Some(shown) = shown.take() {
                backup = match Backup::measure(&shown, &|| answer.is_canceled()) {
                    Ok(backup) => backup,
                    Err(wrong) => {
                        let _ = answer.send(Err(wrong));
                        return;
                    }
                };
            }
            let Some(backup) = &mut backup else { return };
            let mut blobs = Vec::with_capacity(limits::BACKUP_BLOBS);
            let made = loop {
                match backup.next(limits::BACKUP_BLOB_BYTES) {
                    Ok(Some(blob)) => blobs.push(blob),
                    Ok(None) => break Ok(blobs),
                    Err(wrong) => break Err(wrong),
                }
                if blobs.len() == limits::BACKUP_BLOBS {
                    break Ok(blobs);
                }
            };
            let _ = answer.send(made);
        }
    }
}

#[cfg(test)]
mod tests;
