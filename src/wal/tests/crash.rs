//! Random histories with crashes, against a twin that remembers the state after every batch.

use std::collections::BTreeMap;

use super::*;
use crate::base::{Dice, SeededDice};
use crate::env::CrashingDisk;

/// What the log holds after a batch.
#[derive(Clone, Default, Debug)]
struct State {
    hard_state: HardState,
    entries: BTreeMap<LogIndex, LogEntry>,
    last: LogIndex,
}

impl State {
    fn take(&mut self, batch: &Batch) {
        self.hard_state = batch.hard_state.unwrap_or(self.hard_state);
        if let Some(first) = batch.entries.first() {
            self.entries.split_off(&first.index);
        }
        for entry in &batch.entries {
            self.last = entry.index;
            self.entries.insert(entry.index, entry.clone());
        }
    }

    fn cut(&mut self, after: LogIndex) {
        self.entries.clear();
        self.last = after;
    }

    fn above(&self, after: LogIndex) -> Vec<LogEntry> {
        self.entries.range(after + 1..).map(|(_, entry)| entry.clone()).collect()
    }
}

/// A run: the log, its twin, and dice.
struct Run {
    dice: SeededDice,
    garbage: bool,
    /// Every prefix of the history: the state after batch n.
    states: Vec<State>,
    /// What a checkpoint covers, durably.
    checkpoint: LogIndex,
    term: u64,
}

impl Run {
    fn new(seed: u64) -> Self {
        let garbage = seed.is_multiple_of(2);
        Self { dice: SeededDice::new(seed), garbage, states: vec![State::default()], checkpoint: 0, term: 1 }
    }

    fn last(&self) -> &State {
        self.states.last().expect("never empty")
    }

    fn random_batch(&mut self) -> Batch {
        let last = self.last().last;
        let back = if self.dice.one_in(4) { self.dice.below(last - self.checkpoint + 1) } else { 0 };
        self.term += u64::from(back > 0);
        let count = self.dice.below(4);
        let hard_state = HardState { term: self.term, vote: self.dice.below(3), commit: self.checkpoint };
        let first = last - back + 1;
        let len = [0, 7, 300, 900, 5000][self.dice.below(5) as usize];
        Batch {
            hard_state: self.dice.one_in(2).then_some(hard_state),
            entries: (first..first + count).map(|index| entry(index, self.term, len)).collect(),
        }
    }

    /// A few steps on the journal; ends early where the disk fails.
    fn steps<D: Disk>(&mut self, journal: &mut Journal<D>) -> Result<(), Wrong> {
        for _ in 0..self.dice.below(40) {
            match self.dice.below(12) {
                0..=5 => {
                    let batch = self.random_batch();
                    let mut state = self.last().clone();
                    state.take(&batch);
                    self.states.push(state);
                    journal.append(&batch)?;
                }
                6..=8 => run_ready(journal.sync())?,
                9 => {
                    let durable = &self.states[journal.durable() as usize];
                    // Entries that a later, unsynced batch replaces are not committed, so not in a checkpoint.
                    let safe = self.states[journal.durable() as usize..].iter();
                    let stays = |index: &LogIndex| {
                        safe.clone().all(|state| state.entries.get(index) == durable.entries.get(index))
                    };
                    let to = (self.checkpoint + 1..=durable.last).take_while(stays).last();
                    self.checkpoint = to.unwrap_or(self.checkpoint);
                    journal.release(self.checkpoint)?;
                }
                10 => {
                    run_ready(journal.prepare())?;
                }
                _ if self.dice.one_in(4) => {
                    // A snapshot was installed: its file is durable before the log is told.
                    self.checkpoint = self.last().last + self.dice.below(5);
                    let mut state = self.last().clone();
                    state.cut(self.checkpoint);
                    self.states.push(state);
                    journal.cut(self.checkpoint)?;
                }
                _ => run_ready(journal.close())?,
            }
        }
        Ok(())
    }

    /// Checks a recovered log: a prefix of the history that holds everything synced; and goes on from there.
    fn check<D: Disk>(&mut self, recovered: &RecoveredWal<D>, durable: u64) {
        let number = recovered.journal.appended() as usize;
        let whole = self.states.get(number).filter(|state| state.last >= self.checkpoint && number as u64 >= durable);
        // Or recovery itself has cut the log behind the checkpoint, with a batch of its own: an installed
        // snapshot voids what the log held, also when the word of it was lost.
        let before = number.checked_sub(1).filter(|before| *before as u64 >= durable);
        let before = before.and_then(|before| self.states.get(before)).filter(|state| state.last < self.checkpoint);
        let cut = before.map(|state| {
            let mut state = state.clone();
            state.cut(self.checkpoint);
            state
        });
        let found = whole.cloned().into_iter().chain(cut).find(|state| {
            state.hard_state == recovered.hard_state && state.above(self.checkpoint) == recovered.entries
        });
        let of = self.states.len() - 1;
        let Some(mut state) = found else {
            panic!("batch {durable} of {of} was synced; recovery told {number}, which is none of the states since");
        };
        state.entries.retain(|index, _| *index > self.checkpoint);
        self.states.truncate(number);
        self.states.push(state);
    }

    fn crash(&mut self, disk: &CrashingDisk) -> CrashingDisk {
        if self.dice.one_in(4) {
            return disk.clone();
        }
        disk.crash(&mut self.dice, self.garbage)
    }

    fn go(&mut self, crashes: u32) {
        let mut disk = CrashingDisk::default();
        let mut durable = 0;
        for _ in 0..crashes {
            // Recovery on a disk that may fail half-way, and then without failures.
            let failing = ScramblingDisk::new(disk.clone(), self.dice.next_u64());
            match self.dice.below(3) {
                0 => failing.fail_write(1 + self.dice.below(6)),
                1 => failing.fail_sync(1 + self.dice.below(6)),
                _ => {}
            }
            match recover(&failing, self.checkpoint) {
                Ok(mut recovered) => {
                    self.check(&recovered, durable);
                    // It fails, if at all, because it was told to.
                    let _ = self.steps(&mut recovered.journal);
                    durable = recovered.journal.durable();
                }
                Err(Wrong::Fault(_)) => {}
                Err(Wrong::Corruption(corruption)) => panic!("nothing durable was harmed, but {corruption}"),
            }
            disk = self.crash(&disk);
        }
        let recovered = recover(&disk, self.checkpoint).expect("nothing durable was harmed");
        self.check(&recovered, durable);
    }
}

#[test]
fn no_crash_loses_what_was_synced() {
    for seed in 0..150 {
        Run::new(seed).go(8);
    }
}

/// Whichever sync of a recovery fails: the next one must not take for durable what that failure left in memory alone,
/// and what is acknowledged afterwards outlives a loss of power.
#[test]
fn a_sync_that_fails_during_recovery_is_not_forgotten() {
    let mut failed = 0;
    for seed in 0..60 {
        for nth in 1..12 {
            let disk = CrashingDisk::default();
            let mut dice = SeededDice::new(seed * 100 + nth);
            let mut last = 0;
            {
                let mut journal = recover(&disk, 0).expect("fresh").journal;
                for index in 1..=4 + dice.below(12) {
                    append_synced(&mut journal, &batch(1, index, 1, 900));
                    last = index;
                }
                // The process ends before the sync of these.
                for _ in 0..dice.below(4) {
                    last += 1;
                    journal.append(&batch(1, last, 1, 900)).expect("appended");
                }
            }
            disk.fail_sync(nth);
            failed += u64::from(recover(&disk, 0).is_err());
            disk.fail_sync(u64::MAX);
            let mut recovered = recover(&disk, 0).expect("nothing was lost yet");
            last = recovered.entries.last().map_or(0, |entry| entry.index);
            append_synced(&mut recovered.journal, &batch(1, last + 1, 1, 900));
            let after = disk.crash(&mut dice, seed % 2 == 0);
            let entries = recover(&after, 0).expect("what is durable is there").entries;
            assert_eq!(entries.len() as u64, last + 1, "seed {seed}, sync {nth}");
        }
    }
    assert!(failed > 200, "{failed} recoveries failed");
}

/// The mark's newest slot may be one that a failed sync left in memory alone. Whatever comes next, one of the slots on
/// the disk says what the log was promised to hold, and names no segment that is gone.
#[test]
fn a_failed_sync_of_the_mark_costs_neither_slot() {
    for seed in 0..300 {
        let disk = CrashingDisk::default();
        let mut dice = SeededDice::new(seed);
        let mut journal = recover(&disk, 0).expect("fresh").journal;
        for index in 1..=30 {
            append_synced(&mut journal, &batch(1, index, 1, 900));
        }
        journal.release(28).expect("alive");
        disk.fail_sync(1);
        run_ready(journal.prepare()).expect_err("the mark cannot be synced");
        drop(journal);
        // A start that is cut short by the loss of power, after any number of its syncs.
        disk.fail_sync(1 + dice.below(12));
        let _ = recover(&disk, 28);
        let after = disk.crash(&mut dice, true);
        let entries = recover(&after, 28).unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}")).entries;
        assert_eq!(entries.len(), 2, "seed {seed}");
    }
}

/// The system failed to write a part of the tail, goes on showing it, and has told nobody who is left. What the next process
/// syncs vouches for it only if it was written anew.
#[test]
fn what_was_read_back_is_written_anew() {
    for seed in 0..60 {
        let disk = CrashingDisk::default();
        let mut dice = SeededDice::new(seed);
        let synced = dice.below(8);
        let mut journal = recover(&disk, 0).expect("fresh").journal;
        (1..=synced).for_each(|index| append_synced(&mut journal, &batch(1, index, 1, 900)));
        let appended = synced + 1 + dice.below(8);
        for index in synced + 1..=appended {
            journal.append(&batch(1, index, 1, 900)).expect("appended");
        }
        disk.fail_sync(1);
        run_ready(journal.sync()).expect_err("the process ends before it can say so");
        drop(journal);
        let mut recovered = recover(&disk, 0).expect("all is shown");
        assert_eq!(recovered.entries.len() as u64, appended);
        append_synced(&mut recovered.journal, &batch(1, appended + 1, 1, 900));
        let after = disk.crash(&mut dice, seed % 2 == 0);
        let entries = recover(&after, 0).unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}")).entries;
        assert_eq!(entries.len() as u64, appended + 1, "seed {seed}");
    }
}

/// Likewise where there is no room for a copy of the segment.
#[test]
fn on_a_full_disk_what_was_read_back_is_written_over_itself() {
    for seed in 0..20 {
        let disk = CrashingDisk::default();
        let mut dice = SeededDice::new(seed);
        let mut journal = recover(&disk, 0).expect("fresh").journal;
        (1..=10).for_each(|index| append_synced(&mut journal, &batch(1, index, 1, 900)));
        (11..=13).for_each(|index| assert_eq!(journal.append(&batch(1, index, 1, 900)).expect("appended"), index));
        disk.fail_sync(1);
        run_ready(journal.sync()).expect_err("failed");
        drop(journal);
        let full = ScramblingDisk::new(disk.clone(), seed);
        full.fill_up();
        assert_eq!(recover(&full, 0).expect("a start needs no room").entries.len(), 13);
        let after = disk.crash(&mut dice, false);
        assert_eq!(recover(&after, 0).expect("durable").entries.len(), 13, "seed {seed}");
    }
}
