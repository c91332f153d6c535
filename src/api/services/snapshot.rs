//! Maintenance's Snapshot: everything a member holds, as a database file of etcd.
//!
//! Invariant: blobs, what they say of the rest, and the digest behind them are as etcd sends them. Does not know the file's form.

use std::sync::Arc;
use std::time::Instant;

use tonic::Status;

use crate::api::metrics::registry::Metrics;
use crate::api::session::Session;
use crate::api::status::status_of;
use crate::api::transport::pieces::Whole;
use crate::api::transport::streams::Answers;
use crate::backend::{Blob, STORAGE_VERSION};
use crate::base::Refusal;
use crate::driver::BackupStream;
use crate::env::Env;
use crate::wire::etcdserverpb as pb;

/// A snapshot being sent.
pub struct SnapshotBlobs {
    backup: BackupStream,
    /// Made, and to be sent.
    ready: std::vec::IntoIter<Blob>,
    begun: Instant,
    metrics: Arc<Metrics>,
}

impl SnapshotBlobs {
    /// Begins: of this member's state as it is now, whoever leads.
    pub async fn open<E: Env>(session: Session<E>) -> Result<Self, Refusal> {
        let backup = session.handle.back_up().await?;
        let (ready, begun) = (Vec::new().into_iter(), Instant::now());
        Ok(Self { backup, ready, begun, metrics: session.metrics.clone() })
    }

    async fn next_blob(&mut self) -> Result<Option<Blob>, Refusal> {
        if self.ready.len() == 0 {
            self.ready = self.backup.next().await?.into_iter();
        }
        Ok(self.ready.next())
    }
}

impl Answers for SnapshotBlobs {
    type Message = Whole<pb::SnapshotResponse>;

    async fn next(&mut self) -> Option<Result<Self::Message, Status>> {
        let blob = match self.next_blob().await {
            Ok(Some(blob)) => blob,
            Ok(None) => {
                self.metrics.asked.snapshot_seconds.observe(self.begun.elapsed().as_secs_f64());
                return None;
            }
            Err(refusal) => return Some(Err(status_of(&refusal))),
        };
        let version = STORAGE_VERSION.to_string();
        let response =
            pb::SnapshotResponse { header: None, remaining_bytes: blob.remaining, blob: blob.bytes, version };
        Some(Ok(Whole::from(response)))
    }
}
