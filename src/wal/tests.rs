//! The raft log against a naive twin, damage and crashes.

use bytes::Bytes;

use super::*;
use crate::base::{ClusterId, LogIndex, MemberId, Wrong};
use crate::env::{Disk, MemoryDisk, run_ready};

const ME: WalIdentity = WalIdentity { cluster: ClusterId(0xc), member: MemberId(0xa) };
const SEGMENT: u64 = 4096;

fn entry(index: LogIndex, term: u64, len: usize) -> LogEntry {
    let data = Bytes::from(vec![(index * 31 + term) as u8; len]);
    LogEntry { index, term, kind: EntryKind::Normal, data }
}

fn batch(term: u64, first: LogIndex, count: u64, len: usize) -> Batch {
    let hard_state = Some(HardState { term, vote: 1, commit: first.saturating_sub(1) });
    Batch { hard_state, entries: (first..first + count).map(|index| entry(index, term, len)).collect() }
}

fn recover<D: Disk>(disk: &D, after: LogIndex) -> Result<RecoveredWal<D>, Wrong> {
    let wal = UnrecoveredWal::open(disk.clone(), "wal")?.with_segment_bytes(SEGMENT);
    run_ready(wal.recover(ME, after))
}

fn append_synced<D: Disk>(journal: &mut Journal<D>, batch: &Batch) {
    journal.append(batch).expect("appended");
    run_ready(journal.sync()).expect("synced");
}

#[test]
fn what_was_appended_comes_back() {
    let disk = MemoryDisk::new();
    assert_eq!(UnrecoveredWal::open(disk.clone(), "wal").expect("opened").identity(), None);
    let mut fresh = recover(&disk, 0).expect("fresh");
    assert_eq!((fresh.entries.len(), fresh.hard_state), (0, HardState::default()));
    for nth in 0..20 {
        append_synced(&mut fresh.journal, &batch(1 + nth / 7, 1 + nth * 3, 3, 100 * nth as usize));
    }
    assert_eq!((fresh.journal.appended(), fresh.journal.durable()), (20, 20));
    assert_eq!(UnrecoveredWal::open(disk.clone(), "wal").expect("opened").identity(), Some(ME));
    let again = recover(&disk, 0).expect("recovered");
    let expected: Vec<LogEntry> =
        (0..20).flat_map(|nth| batch(1 + nth / 7, 1 + nth * 3, 3, 100 * nth as usize).entries).collect();
    assert_eq!(again.entries, expected);
    assert_eq!(again.hard_state, HardState { term: 3, vote: 1, commit: 57 });
    assert_eq!((again.tail.torn_bytes, again.tail.torn_segments), (0, 0));
    assert_eq!(recover(&disk, 50).expect("recovered").entries, expected[50..]);
}
