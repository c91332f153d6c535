//! A disk that does all a disk may do and a few things it may not: short reads always; on demand, changed
//! bytes in what is read, writes and syncs that fail, pages that cannot be read, and no room for more.
//!
//! Invariants: the same seed and the same calls give the same answers; with the demands off it is a correct
//! disk and passes the conformance suite. Clones share dice and demands. Knows nothing of crashes.

use std::io::{Error, ErrorKind};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::seam::{Disk, DiskFile, OpenMode};
use crate::base::{Dice, Fault, SeededDice};

/// A disk wrapped in dice.
#[derive(Clone, Debug)]
pub struct ScramblingDisk<D> {
    disk: D,
    plan: Arc<Mutex<Plan>>,
}

#[derive(Debug)]
struct Plan {
    dice: SeededDice,
    reads_to_change: u64,
    writes_until_fault: Option<u64>,
    syncs_until_fault: Option<u64>,
    /// Files, and ranges of theirs that cannot be read.
    unreadable: Vec<(String, Range<u64>)>,
    is_full: bool,
    /// The file that cannot be written over.
    is_copied: Option<String>,
}

/// An open file of a [`ScramblingDisk`].
#[derive(Debug)]
pub struct ScramblingFile<F> {
    file: F,
    name: String,
    plan: Arc<Mutex<Plan>>,
}

impl<D> ScramblingDisk<D> {
    /// `disk` with dice of this seed; only reads are made short.
    pub fn new(disk: D, seed: u64) -> Self {
        let plan = Plan {
            dice: SeededDice::new(seed),
            reads_to_change: 0,
            writes_until_fault: None,
            syncs_until_fault: None,
            unreadable: Vec::new(),
            is_full: false,
            is_copied: None,
        };
        Self { disk, plan: Arc::new(Mutex::new(plan)) }
    }

    /// Each of the next `n` reads has one bit of its bytes flipped.
    pub fn change_next_reads(&self, n: u64) {
        lock(&self.plan).reads_to_change = n;
    }

    /// The `n`-th write from now (1 is the next) writes a part of its bytes and fails, and those after it succeed.
    pub fn fail_write(&self, n: u64) {
        lock(&self.plan).writes_until_fault = Some(n);
    }

    /// The `n`-th sync of a file or directory from now (1 is the next) fails, and those after it succeed.
    pub fn fail_sync(&self, n: u64) {
        lock(&self.plan).syncs_until_fault = Some(n);
    }

    /// Everything can be read again.
    pub fn make_readable(&self) {
        lock(&self.plan).unreadable.clear();
    }

    /// A range of the file cannot be read, nor written in part (a system has to read a page first), until it is written whole.
    pub fn make_unreadable(&self, name: &str, range: Range<u64>) {
        lock(&self.plan).unreadable.push((name.to_string(), range));
    }

    /// From now on no file grows.
    pub fn fill_up(&self) {
        lock(&self.plan).is_full = true;
    }

    /// As on a full disk of a file system that copies what is written over: of this file nothing can be. `None`: it has room again.
    pub fn has_no_copies_of(&self, name: Option<&str>) {
        lock(&self.plan).is_copied = name.map(str::to_string);
    }
}

fn of_device(doing: &'static str, name: &str) -> Fault {
    Fault::new(doing, name, Error::from_raw_os_error(5))
}

impl Plan {
    fn meets_unreadable(&self, name: &str, offset: u64, len: usize) -> bool {
        let meets = |range: &Range<u64>| range.start < offset + len as u64 && offset < range.end;
        self.unreadable.iter().any(|(file, range)| file == name && meets(range))
    }

    fn sync(&mut self, name: &str) -> Result<(), Fault> {
        if falls_due(&mut self.syncs_until_fault) {
            return Err(Fault::new("sync", name, Error::other("scrambled")));
        }
        Ok(())
    }
}

fn falls_due(countdown: &mut Option<u64>) -> bool {
    let Some(left) = countdown else { return false };
    *left = left.saturating_sub(1);
    let due = *left == 0;
    if due {
        *countdown = None;
    }
    due
}

fn lock(plan: &Mutex<Plan>) -> MutexGuard<'_, Plan> {
    plan.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<D: Disk> Disk for ScramblingDisk<D> {
    type File = ScramblingFile<D::File>;

    fn open(&self, name: &str, mode: OpenMode) -> Result<Self::File, Fault> {
        let file = self.disk.open(name, mode)?;
        Ok(ScramblingFile { file, name: name.to_string(), plan: self.plan.clone() })
    }

    fn list(&self, dir: &str) -> Result<Vec<String>, Fault> {
        self.disk.list(dir)
    }

    fn create_dir(&self, dir: &str) -> Result<(), Fault> {
        self.disk.create_dir(dir)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), Fault> {
        self.disk.rename(from, to)?;
        // What cannot be read belongs to the file, not to its name.
        let mut plan = lock(&self.plan);
        plan.unreadable.retain(|(name, _)| name != to);
        plan.unreadable.iter_mut().filter(|(name, _)| name == from).for_each(|(name, _)| *name = to.to_string());
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<(), Fault> {
        self.disk.remove(name)
    }

    fn exists(&self, name: &str) -> Result<bool, Fault> {
        self.disk.exists(name)
    }

    async fn sync_dir(&self, dir: &str) -> Result<(), Fault> {
        lock(&self.plan).sync(dir)?;
        self.disk.sync_dir(dir).await
    }
}

impl<F: DiskFile> DiskFile for ScramblingFile<F> {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, Fault> {
        let mut plan = lock(&self.plan);
        let want = if buf.len() > 1 && plan.dice.one_in(2) {
            1 + plan.dice.below(buf.len() as u64) as usize
        } else {
            buf.len()
        };
        if plan.meets_unreadable(&self.name, offset, want) {
            return Err(of_device("read", &self.name));
        }
        let n = self.file.read_at(offset, &mut buf[..want])?;
        if n > 0 && plan.reads_to_change > 0 {
            plan.reads_to_change -= 1;
            let at = plan.dice.below(n as u64) as usize;
            buf[at] ^= 1_u8 << plan.dice.below(8);
        }
        Ok(n)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), Fault> {
        let mut plan = lock(&self.plan);
        if falls_due(&mut plan.writes_until_fault) {
            let part = plan.dice.below(data.len() as u64 + 1) as usize;
            self.file.write_at(offset, &data[..part])?;
            return Err(Fault::new("write", &self.name, Error::other("scrambled")));
        }
        let end = offset + data.len() as u64;
        plan.unreadable.retain(|(name, range)| *name != self.name || offset > range.start || end < range.end);
        if plan.meets_unreadable(&self.name, offset, data.len()) {
            return Err(of_device("write", &self.name));
        }
        if plan.is_full && end > self.file.len()? || plan.is_copied.as_ref() == Some(&self.name) {
            return Err(Fault::new("write", &self.name, Error::from(ErrorKind::StorageFull)));
        }
        self.file.write_at(offset, data)
    }

    fn len(&self) -> Result<u64, Fault> {
        self.file.len()
    }

    fn set_len(&self, len: u64) -> Result<(), Fault> {
        if lock(&self.plan).is_full && len > self.file.len()? {
            return Err(Fault::new("set length of", &self.name, Error::from(ErrorKind::StorageFull)));
        }
        self.file.set_len(len)
    }

    async fn sync(&self) -> Result<(), Fault> {
        lock(&self.plan).sync(&self.name)?;
        self.file.sync().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::{MemoryDisk, conformance, run_ready};

    #[test]
    fn conforms() {
        for seed in 0..20 {
            run_ready(conformance::check(&ScramblingDisk::new(MemoryDisk::new(), seed))).expect("conforms");
        }
    }

    #[test]
    fn does_what_is_demanded() {
        let disk = ScramblingDisk::new(MemoryDisk::new(), 1);
        let file = disk.open("x", OpenMode::Create).expect("made");
        disk.fail_write(2);
        file.write_at(0, &[0; 64]).expect("the first is written");
        file.write_at(0, &[0; 64]).expect_err("the second fails");
        file.write_at(0, &[0; 64]).expect("the third is written");
        disk.fail_sync(1);
        run_ready(file.sync()).expect_err("the next fails");
        run_ready(file.sync()).expect("the one after does not");
        disk.change_next_reads(1);
        let mut buf = [0; 64];
        file.read_full_at(0, &mut buf).expect("read");
        assert_ne!(buf, [0; 64]);
        disk.change_next_reads(0);
        disk.make_unreadable("x", 0..64);
        assert!(file.read_full_at(0, &mut buf).expect_err("it cannot be read").is_of_device());
        assert!(file.write_at(8, &buf).expect_err("nor written in part").is_of_device());
        file.write_at(0, &[0; 80]).expect("whole it can");
        assert_eq!(file.read_full_at(0, &mut buf).expect("read"), 64);
        disk.fill_up();
        assert!(file.write_at(80, &[1]).expect_err("full").is_no_space());
        assert!(file.set_len(81).expect_err("full").is_no_space());
        file.write_at(79, &[1]).expect("what is there is written over");
    }
}
