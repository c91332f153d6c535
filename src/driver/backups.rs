//! A database file in etcd's form on its way to who asked for it.
//!
//! Invariants: the file is read on a task of its own, which gives way to all others and holds nothing up; a few blobs are ready
//! before they are asked for, and no more. While clients write at this member it keeps to a pace, and gives blob by blob: what it
//! takes of processors, network and the saver's disk comes evenly, in place of a burst that writes stand behind. It ends when
//! whoever asked goes away. Few are made at once.

use std::sync::Arc;

use futures_channel::oneshot;

use super::doors::answered_writes;
use super::handle::Handle;
use super::mailbox::Mailbox;
use super::places::Place;
use super::snapshot_desk::{Desk, Job};
use crate::backend::{Backup, Blob};
use crate::base::{Refusal, Wrong, limits};
use crate::env::Env;
use crate::machine::Shown;
use crate::node::{Facts, Input};
use crate::peer::{Pace, Paces};

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
        let coming = self.coming.take().or_else(|| self.desk.post(()).ok()).ok_or(Refusal::Stopped)?;
        let blobs = coming.await.map_err(|oneshot::Canceled| Refusal::Stopped)?;
        let blobs = blobs.map_err(|wrong| Refusal::Damaged(wrong.to_string()))?;
        if !blobs.is_empty() {
            self.coming = self.desk.post(()).ok();
        }
        Ok(blobs)
    }
}

impl<E: Env> Handle<E> {
    /// Everything this member holds at one moment, as a database file of etcd. Measured first: the first blob takes a while.
    pub async fn back_up(&self) -> Result<BackupStream, Refusal> {
        let place = self.backups().take().ok_or(Refusal::TooManyRequests)?;
        let shown = self.ask(|reply| Input::Show { reply }).await??;
        // From before it is measured, so that whether anybody writes is known when the first blob is made.
        let pace = Pace::new(self.env().clock().clone(), PACES, answered_writes(self.facts()));
        let course = Course { pace, facts: self.facts().clone() };
        let desk = Desk::begin(self.env(), "backup", |jobs| make::<E>(jobs, shown, course));
        Ok(BackupStream { desk, coming: None, _place: place })
    }
}

/// The pace of all backups.
const PACES: Paces = Paces {
    most: limits::BACKUP_BYTES_PER_SECOND,
    beside_writes: limits::BACKUP_BYTES_PER_SECOND_BESIDE_WRITES,
    least: limits::BACKUP_BYTES_PER_SECOND_AT_LEAST,
};

/// How fast a file is made.
struct Course<E: Env> {
    pace: Pace<E::Clock>,
    facts: Arc<Facts>,
}

impl<E: Env> Course<E> {
    /// Waits until a blob may go.
    async fn spend(&mut self, blob: &Blob) {
        let facts = &self.facts;
        self.pace.spend(blob.bytes.len() as u64, || answered_writes(facts)).await;
    }

    /// How many blobs are made in one go.
    fn blobs(&self) -> usize {
        if self.pace.is_free() { limits::BACKUP_BLOBS } else { 1 }
    }
}

async fn make<E: Env>(jobs: Arc<Mailbox<Job<(), Answer>>>, shown: Shown<E::Disk>, mut course: Course<E>) {
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
            let made = some(backup, &mut course).await;
            let _ = answer.send(made);
        }
    }
}

/// The next blobs.
async fn some<E: Env>(backup: &mut Backup<E::Disk>, course: &mut Course<E>) -> Answer {
    let mut blobs = Vec::with_capacity(limits::BACKUP_BLOBS);
    while let Some(blob) = backup.next(limits::BACKUP_BLOB_BYTES)? {
        course.spend(&blob).await;
        blobs.push(blob);
        if blobs.len() >= course.blobs() {
            break;
        }
    }
    Ok(blobs)
}

#[cfg(test)]
mod tests;
