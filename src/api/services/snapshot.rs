//! Maintenance's Snapshot: everything a member holds, as a database file of etcd.
//!
//! Invariant: what a blob says of the rest, and the digest behind all, are as etcd sends them; a blob is sent as it was made, without
//! a copy. Does not know the file's form.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use tonic::Status;

use crate::api::metrics::registry::Metrics;
use crate::api::session::Session;
use crate::api::status::status_of;
use crate::api::transport::pieces::{Pieces, Step};
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
    type Message = SnapshotPieces;

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
        Some(Ok(SnapshotPieces::from(response)))
    }
}

/// Field number of `SnapshotResponse.blob`.
const BLOB: u32 = 3;

/// A blob as it is encoded.
pub struct SnapshotPieces {
    len: usize,
    /// What stands before the bytes, with them.
    head: Option<pb::SnapshotResponse>,
    /// What stands behind them.
    tail: Option<pb::SnapshotResponse>,
}

impl From<pb::SnapshotResponse> for SnapshotPieces {
    fn from(response: pb::SnapshotResponse) -> Self {
        let len = response.encoded_len();
        let pb::SnapshotResponse { header, remaining_bytes, blob, version } = response;
        let head = pb::SnapshotResponse { header, remaining_bytes, blob, version: String::new() };
        Self { len, head: Some(head), tail: Some(pb::SnapshotResponse { version, ..Default::default() }) }
    }
}

impl Pieces for SnapshotPieces {
    fn len(&self) -> usize {
        self.len
    }

    fn step(&mut self, buf: &mut BytesMut, _: usize) -> Step {
        // Both are a few bytes, and there is always room for those.
        if let Some(mut head) = self.head.take() {
            let blob = std::mem::replace(&mut head.blob, Bytes::new());
            head.encode_raw(buf);
            if blob.is_empty() {
                return Step::Wrote;
            }
            encode_key(BLOB, WireType::LengthDelimited, buf);
            encode_varint(blob.len() as u64, buf);
            return Step::Lump(blob);
        }
        match self.tail.take() {
            Some(tail) => {
                tail.encode_raw(buf);
                Step::Wrote
            }
            None => Step::End,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::transport::pieces::tests::encoded;

    #[test]
    fn pieces_of_a_blob_are_the_message() {
        for (size, remaining_bytes) in [(0, 0), (1, 7), (32, 0), (100_000, u64::MAX)] {
            for version in ["", "3.7.0"] {
                let header = (size == 1).then(|| pb::ResponseHeader { revision: 5, ..Default::default() });
                let (blob, version) = (vec![9; size].into(), version.to_string());
                let response = pb::SnapshotResponse { header, remaining_bytes, blob, version };
                let (bytes, len, most) = encoded(SnapshotPieces::from(response.clone()), 1000);
                assert_eq!((len, &bytes), (bytes.len(), &response.encode_to_vec()));
                assert!(most < 100, "the blob is not copied: {most}");
            }
        }
    }
}
