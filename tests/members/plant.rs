//! Plants a difference in the directory of a member that is stopped; every checksum in it is right.

use std::path::Path;

use bytes::Bytes;
use quorate::consensus::ConfChange;
use quorate::driver::make_durable;
use quorate::env::{Disk, Env, MemoryDisk, TokioEnv};
use quorate::machine::{Command, Image, Machine, Member, State, codec};
use quorate::mvcc::{SnapshotBuilder, StoreOptions};
use quorate::node::change_of;
use quorate::wal::{Batch, EntryKind, HardState, LogEntry, UnrecoveredWal, WalIdentity};

struct Log {
    identity: WalIdentity,
    hard_state: HardState,
    entries: Vec<LogEntry>,
}

async fn read<D: Disk>(disk: &D) -> Log {
    let unrecovered = UnrecoveredWal::open(disk.clone(), "wal").unwrap();
    let identity = unrecovered.identity().unwrap();
    let wal = unrecovered.recover(identity, 0).await.unwrap();
    assert_eq!(wal.entries[0].index, 1, "no checkpoint was made");
    Log { identity, hard_state: wal.hard_state, entries: wal.entries }
}

/// The entries, but that what was put at `key` is another value.
fn falsified(entries: &[LogEntry], key: &Bytes) -> Vec<LogEntry> {
    let mut changed = 0;
    let mut entries = entries.to_vec();
    for entry in entries.iter_mut().filter(|entry| entry.kind == EntryKind::Normal) {
        let Ok(Some(proposal)) = codec::decode(&entry.data) else { continue };
        if let Ok(Command::Put(mut put)) = proposal.command
            && put.key == *key
        {
            put.value = Bytes::from_static(b"wrong");
            entry.data = codec::encode(proposal.id, &Command::Put(put));
            changed += 1;
        }
    }
    assert_eq!(changed, 1);
    entries
}

/// As if the member had applied another value at `key` than the others: its log says so, and nothing is left of what it made
/// of the true one.
pub async fn in_its_log(dir: &Path, key: &Bytes) {
    let log = read(TokioEnv::new(dir.to_path_buf(), 1).unwrap().disk()).await;
    for part in ["wal", "history", "checkpoint"] {
        std::fs::remove_dir_all(dir.join(part)).unwrap();
    }
    let env = TokioEnv::new(dir.to_path_buf(), 1).unwrap();
    env.disk().create_dir("wal").unwrap();
    let fresh = UnrecoveredWal::open(env.disk().clone(), "wal").unwrap();
    let mut wal = fresh.recover(log.identity, 0).await.unwrap();
    let entries = falsified(&log.entries, key);
    wal.journal.append(&Batch { hard_state: Some(log.hard_state), entries }).unwrap();
    wal.journal.sync().await.unwrap();
}

/// As if the value at `key` had changed on its disk after it was applied: what the member did is as the others did.
pub async fn in_its_data(dir: &Path, key: &Bytes) {
    let env = TokioEnv::new(dir.to_path_buf(), 1).unwrap();
    let disk = env.disk();
    let Log { identity, hard_state, entries } = read(disk).await;
    let committed = |entries: &[LogEntry]| entries.iter().filter(|e| e.index <= hard_state.commit).cloned().collect();
    let sound = applied(identity, committed(&entries));
    let wrong = applied(identity, committed(&falsified(&entries, key)));

    let empty = Image { identity, ..Image::default() };
    let generation = Machine::open(disk.clone(), StoreOptions::default(), &empty, &[]).unwrap();
    let generation = { generation }.store_mut().fresh_generation();
    let mut source = wrong.snapshot(256 * 1024);
    let mut builder = SnapshotBuilder::new(disk.clone(), source.id(), generation, 64 << 20);
    while let Some(chunk) = source.next_chunk().unwrap() {
        builder.take(&chunk).await.unwrap();
    }
    let built = builder.finish().await.unwrap();
    let state = State { digest: sound.image().state.digest, ..State::decode(built.state).unwrap() };
    let image = Image::new(identity, state, built.position).unwrap();
    let _ = make_durable(disk, &image).await.unwrap();
}

/// What a member makes of a log.
fn applied(identity: WalIdentity, entries: Vec<LogEntry>) -> Machine<MemoryDisk> {
    let empty = Image { identity, ..Image::default() };
    let mut machine = Machine::open(MemoryDisk::new(), StoreOptions::default(), &empty, &[]).unwrap();
    for entry in entries {
        if entry.kind == EntryKind::Normal {
            machine.apply(entry.index, entry.term, &entry.data, &|_| false).unwrap();
            continue;
        }
        let change = ConfChange::decode(&entry.data).unwrap();
        match change_of(&change).unwrap() {
            Some(change) => drop(machine.change_member(entry.index, entry.term, change)),
            None => machine.found_member(entry.index, entry.term, Member::from_context(&change.context).unwrap()),
        }
    }
    machine
}
