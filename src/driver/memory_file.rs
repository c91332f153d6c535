//! What is remembered of members, kept for a later start.
//!
//! Invariants: the file belongs to one member of one cluster; what does not verify, or cannot be read, is nothing. It is
//! written as a draft and renamed; a start trusts it in nothing but that something is missing.

use bytes::{BufMut, Bytes, BytesMut};

use super::questions::{promises, put_promises};
use super::small_file;
use crate::base::{Fault, limits};
use crate::consensus::Promises;
use crate::env::{Disk, DiskFile, OpenMode};
use crate::wal::WalIdentity;

const NAME: &str = "promises";
const DRAFT: &str = "promises.new";
const MAGIC: &[u8; 8] = b"QRTPROM1";
/// Magic, cluster, member, checksum of what follows the checksum and of both ids.
const HEAD: usize = 28;

pub(super) fn encode(identity: WalIdentity, told: &Promises) -> Bytes {
    let mut body = BytesMut::new();
    body.put_u64(identity.cluster.0);
    body.put_u64(identity.member.0);
    put_promises(&mut body, told);
    let mut out = BytesMut::with_capacity(body.len() + MAGIC.len() + 4);
    out.put_slice(MAGIC);
    out.put_u32(crc32c::crc32c(&body));
    out.put_slice(&body);
    out.freeze()
}

fn decode(identity: WalIdentity, bytes: &[u8]) -> Option<Promises> {
    if bytes.len() < HEAD || &bytes[..8] != MAGIC {
        return None;
    }
    let (checksum, body) = (&bytes[8..12], &bytes[12..]);
    let ids = [identity.cluster.0.to_be_bytes(), identity.member.0.to_be_bytes()].concat();
    let sound = crc32c::crc32c(body).to_be_bytes() == checksum && body[..16] == ids;
    sound.then(|| promises(&mut Bytes::copy_from_slice(&body[16..]))).flatten()
}

/// Puts it in place of the one before.
pub(super) async fn write<D: Disk>(disk: &D, bytes: &Bytes) -> Result<(), Fault> {
    small_file::put(disk, "", DRAFT, NAME, bytes).await
}

/// What an earlier start of this member kept; nothing where there is none that can be read.
pub fn read<D: Disk>(disk: &D, identity: WalIdentity) -> Promises {
    let read = || {
        let file = disk.open(NAME, OpenMode::Read)?;
        let mut bytes = vec![0; file.len()?.min(limits::MEMORY_BYTES) as usize];
        let got = file.read_full_at(0, &mut bytes)?;
        bytes.truncate(got);
        Ok::<_, Fault>(bytes)
    };
    if !disk.exists(NAME).unwrap_or(false) {
        return Promises::default();
    }
    match read().map(|bytes| decode(identity, &bytes)) {
        Ok(Some(promises)) => promises,
        outcome => {
            let error = outcome.err().map_or("it does not verify".to_string(), |fault| fault.to_string());
            tracing::warn!(error, "what members promised is not known any more: {NAME}");
            Promises::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{ClusterId, MemberId};
    use crate::consensus::{Acknowledged, Promise};
    use crate::env::{MemoryDisk, run_ready};

    #[test]
    fn what_is_kept_is_read_by_the_same_member_alone_and_damage_is_nothing() {
        let identity = WalIdentity { cluster: ClusterId(1), member: MemberId(2) };
        let entry = Acknowledged { in_term: 4, index: 5, term: 3 };
        let told = Promises::told(vec![(MemberId(3), Promise { term: 7, vote: (6, MemberId(9)), entry })]);
        let disk = MemoryDisk::new();
        assert_eq!(read(&disk, identity), Promises::default());
        for told in [Promises::default(), told] {
            run_ready(write(&disk, &encode(identity, &told))).expect("written");
            assert_eq!(read(&disk, identity), told);
            assert_eq!(read(&disk, WalIdentity { member: MemberId(4), ..identity }), Promises::default());
        }
        let file = disk.open(NAME, OpenMode::Write).expect("there");
        for at in 0..file.len().expect("there") {
            let mut byte = [0];
            file.read_full_at(at, &mut byte).expect("read");
            file.write_at(at, &[byte[0] ^ 1]).expect("written");
            assert_eq!(read(&disk, identity), Promises::default(), "byte {at}");
            file.write_at(at, &byte).expect("written");
        }
    }
}
