//! Digests of compactions, against what a stock etcd answered.

use bytes::Bytes;

use super::delete;
use crate::base::{KeyRange, RangeEnd, Refusal};
use crate::env::{MemoryDisk, run_ready};
use crate::mvcc::{HashKv, HistoryWriter, NO_PREV, NewValue, ReadFailure, Store, StoreOptions, StorePosition, View};

const OPTIONS: StoreOptions = StoreOptions { cache_bytes: 0, segment_bytes: 300 };

fn told(view: &View<MemoryDisk>, revision: i64) -> String {
    match view.hash_kv(revision) {
        Ok(HashKv { hash, compact_revision, hash_revision }) => format!("{hash} {compact_revision} {hash_revision}"),
        Err(ReadFailure::Refused(Refusal::Compacted)) => "none".to_string(),
        Err(failure) => panic!("{failure}"),
    }
}

/// Whoever comes first makes a digest, the job or who asks; and however far pruning, writing and reclaim are.
#[test]
fn digests_of_compactions_are_those_a_stock_etcd_gave() {
    for variant in 0..8 {
        let (asks_first, prunes, reclaims) = (variant & 1 == 0, variant & 2 == 0, variant & 4 == 0);
        let disk = MemoryDisk::new();
        let mut store = Store::open(disk.clone(), OPTIONS, &StorePosition::default(), &[]).unwrap();
        let mut writer = HistoryWriter::new(disk.clone());
        for line in include_str!("etcd_compaction_digests.txt").lines().filter(|line| !line.starts_with('#')) {
            let (step, expected) = line.split_once(" = ").unwrap_or((line, ""));
            let words: Vec<&str> = step.split(' ').collect();
            let bytes = |word: &str| Bytes::copy_from_slice(word.as_bytes());
            match words[..] {
                ["put", key, value] => {
                    let mut txn = store.begin(NO_PREV);
                    let (key, value) = (bytes(key), bytes(value));
                    txn.put(NewValue { key, value, lease: 0, backing_bytes: 0 }).unwrap();
                    txn.commit();
                }
                ["del", from, to] => {
                    let mut txn = store.begin(NO_PREV);
                    delete(&mut txn, &KeyRange { start: bytes(from), end: RangeEnd::Before(bytes(to)) });
                    txn.commit();
                }
                ["compact", revision] => {
                    let revision = revision.parse().unwrap();
                    store.compact(revision).unwrap();
                    assert!(!store.has_compacted(revision));
                    let view = store.view();
                    while prunes && store.compaction_step(9).unwrap() {}
                    if asks_first {
                        assert_eq!(told(&view, revision), expected, "{line}");
                    } else {
                        while let Some(job) = store.digest_job() {
                            job.run().unwrap();
                        }
                    }
                    assert!(store.digest_job().is_none());
                    assert_eq!(store.has_compacted(revision), prunes);
                    assert_eq!(told(&store.view(), revision), expected, "{line}");
                    assert_eq!(told(&store.view(), revision), told(&view, revision), "views share them");
                    let made = store.view().compaction_digests();
                    assert_eq!(made.last().map(|made| made.hash_revision), Some(revision));
                }
                ["kept", revision] => assert_eq!(told(&store.view(), revision.parse().unwrap()), expected, "{line}"),
                _ => panic!("{line}"),
            }
            store.compaction_step(2).unwrap();
            if let Some(mark) = writer.write(&store.take_writes()).unwrap() {
                store.written(mark);
            }
            if reclaims && let Some(job) = store.reclaim_candidate(false) {
                store.reclaimed(run_ready(job.run(&disk)).unwrap());
            }
        }
        assert_eq!(store.view().compaction_digests().len(), 10);
        // A start begins without any.
        let newest = store.compact_revision();
        let again = Store::open(disk, OPTIONS, &store.position(), &[]).unwrap();
        assert_eq!(again.view().hash_kv(newest).unwrap().compact_revision, newest);
        assert!(again.view().compaction_digests().is_empty());
    }
}

/// What a start goes over again was another life's.
#[test]
fn digests_are_kept_only_where_they_are_wanted() {
    let mut store = Store::open(MemoryDisk::new(), OPTIONS, &StorePosition::default(), &[]).unwrap();
    store.keep_digests(false);
    store.compact(1).unwrap();
    assert!(store.digest_job().is_none());
    while store.compaction_step(9).unwrap() {}
    assert!(store.has_compacted(1));
    assert_eq!(store.view().hash_kv(1).unwrap().compact_revision, 1);
}
