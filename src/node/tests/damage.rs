//! Damage in the history.

use super::*;
use crate::env::{Disk, DiskFile, OpenMode};
use crate::machine::AlarmKind;
use crate::mvcc::{HISTORY_DIR, HistoryWriter};

/// How often what was written is to be synced, and damage is told, since this was asked last.
fn asked_and_told(bench: &mut Bench) -> (usize, usize) {
    let outputs = std::mem::take(&mut bench.outputs);
    let count = |is: fn(&Output) -> bool| outputs.iter().filter(|output| is(output)).count();
    (count(|output| matches!(output, Output::SyncHistory(_))), count(|output| matches!(output, Output::Damaged(_))))
}

/// What the system could not write it may show no more, before a sync says so: nothing is cured, and no alarm raised, before one
/// has said that all is well.
#[test]
fn what_was_written_is_synced_before_it_counts_as_damaged() {
    let disk = MemoryDisk::new();
    disk.create_dir(HISTORY_DIR).expect("made");
    let options = StoreOptions { cache_bytes: 0, ..StoreOptions::default() };
    let held = HeldBounds { gathered: 1, ..HeldBounds::default() };
    let mut bench = Bench::on(disk.clone(), options, NodeConfig { held, ..config() }).leading();
    drop(bench.propose(&put("a")));
    bench.settle();
    let mut writer = HistoryWriter::new(disk.clone());
    for output in std::mem::take(&mut bench.outputs) {
        if let Output::WriteHistory { writes, mark } = output {
            writer.write(&writes).expect("written");
            bench.step(Input::HistoryWritten(mark));
        }
    }
    let segment = format!("{HISTORY_DIR}/{}", disk.list(HISTORY_DIR).expect("listed")[0]);
    let file = disk.open(&segment, OpenMode::Write).expect("opened");
    file.write_at(0, &vec![0; file.len().expect("measured") as usize]).expect("written");
    let mut view = bench.read();
    bench.settle();
    answered(&mut view).expect("served").expect("not refused").get(b"a").expect_err("it is not there");
    let tick = Duration::from_millis(100);
    bench.pass(tick);
    assert_eq!(asked_and_told(&mut bench), (1, 0));
    for _ in 0..3 {
        bench.pass(tick);
        assert_eq!(asked_and_told(&mut bench), (0, 0), "it waits for the answer");
    }
    assert!(!bench.facts.has_alarm(AlarmKind::Corrupt));
    bench.step(Input::HistorySynced);
    bench.pass(tick);
    assert_eq!(asked_and_told(&mut bench), (0, 1));
    assert!(bench.facts.has_alarm(AlarmKind::Corrupt), "nobody else has it");
    bench.step(Input::HistorySynced);
    bench.pass(tick);
    assert_eq!(asked_and_told(&mut bench), (0, 0), "once");
    // Another state is in place, and its history is damaged before anybody has looked at it.
    let now = bench.now;
    bench.node.settle_in(false, now, &mut bench.outputs);
    bench.pass(tick);
    assert_eq!(asked_and_told(&mut bench), (1, 0), "it is another damage");
}
