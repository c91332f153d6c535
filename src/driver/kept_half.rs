//! What a start finds of a snapshot that had not arrived whole when the member ended.
//!
//! Invariant: it is taken for nothing but a part of the very snapshot it says it is of: of this member of this cluster, by its
//! last entry and by what its sender said of it. Does not know whether what it says of its files is true.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::base::{Fault, LogIndex, Term};
use crate::env::Disk;
use crate::machine::Image;
use crate::mvcc::Half;
use crate::wal::WalIdentity;

/// Bytes before the manifest: cluster, member, index, term.
const HEAD: usize = 32;

/// Which snapshot it is: two that agree in this have the same chunks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct SnapshotName {
    /// The last entry in it.
    at: (LogIndex, Term),
    /// What its sender says of it.
    manifest: Bytes,
}

impl SnapshotName {
    /// Of one that is offered.
    pub(super) fn of(at: (LogIndex, Term), manifest: Bytes) -> Result<Self, String> {
        if manifest.len() < size_of::<u64>() {
            return Err("a manifest of another form".to_string());
        }
        Ok(Self { at, manifest })
    }

    /// What its chunks are bound to.
    pub(super) fn id(&self) -> u64 {
        self.manifest.slice(..size_of::<u64>()).get_u64()
    }

    /// For a later start of this member.
    pub(super) fn encode(&self, own: WalIdentity) -> Bytes {
        let mut out = BytesMut::with_capacity(HEAD + self.manifest.len());
        out.put_u64(own.cluster.0);
        out.put_u64(own.member.0);
        out.put_u64(self.at.0);
        out.put_u64(self.at.1);
        out.put_slice(&self.manifest);
        out.freeze()
    }

    /// Nothing of what another member wrote, or in another form.
    fn decode(own: WalIdentity, mut bytes: Bytes) -> Option<Self> {
        if bytes.len() < HEAD + size_of::<u64>() {
            return None;
        }
        let is_own = (bytes.get_u64(), bytes.get_u64()) == (own.cluster.0, own.member.0);
        let at = (bytes.get_u64(), bytes.get_u64());
        is_own.then_some(Self { at, manifest: bytes })
    }
}

/// A half by the word of its logbook.
#[derive(Debug)]
pub(super) struct KeptHalf {
    pub(super) name: SnapshotName,
    pub(super) half: Half,
}

/// The half that a start at this image finds, where it may be of use: of no earlier state, for one that rebuilds takes the very state
/// it has, and beside all histories that are named.
pub(super) fn find<D: Disk>(
    disk: &D,
    own: WalIdentity,
    image: &Image,
    beside: &[&Image],
) -> Result<Option<KeptHalf>, Fault> {
    let Some(half) = Half::find(disk)? else { return Ok(None) };
    let Some(name) = SnapshotName::decode(own, half.about().clone()) else { return Ok(None) };
    let images = || beside.iter().copied().chain([image]);
    let fits = name.id() == half.id()
        && name.at.0 >= image.state.applied.0
        && half.is_beside(images().map(|image| &image.position));
    Ok(fits.then_some(KeptHalf { name, half }))
}
