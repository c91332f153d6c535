//! The simulated disk, as one incarnation of a node uses it.
//!
//! What is modelled, one model for log, history and images alike:
//!
//! - *Durability.* Writes, lengths and names are shown at once and durable only by a sync, of the file or of the
//!   directory. A process can end in two ways. Killed: the system lives on and shows everything that was written, but
//!   nothing more of it is durable than before. Power lost: what is not on the platter meets its fate, sector by
//!   sector, length by length, name by name: kept, dropped, torn (half of the tears within the bytes that change), or
//!   garbage in just these bytes; now and then everything in order up to some sector, and nothing behind.
//! - *Errors.* A sync fails after one page or another has been written; its pages count as clean, the next sync lies.
//!   The error is told to every handle open at the time, once, and if no process has heard of it, to the next opener
//!   of the file or the next to sync the directory (Linux's errseq); a loss of power forgets it. A write-back that the
//!   system makes by itself may fail likewise; then the system may also forget the error when the process ends, and with it
//!   what it showed: the next process sees the platter, or what never reaches it, and hears of nothing. A page that failed may
//!   be dropped from memory at any time, as pages that count as clean are: from then on reads show what is on the platter, the
//!   old bytes or the new. A failed sync of a directory leaves its changes to a later one, as a journal does. Reads may fail
//!   once, or be short.
//! - *Room.* A full disk takes the part that fits of a write, or nothing; it never refuses what is rewritten in place.
//! - *Time.* Syncs and writes take time, a write from the turn of its task; stalls of any length hold all syncs up.
//! - *The surface.* At rest a sector rots (flipped bits, zeroes, garbage) or becomes unreadable, until it is written
//!   again; a page that a sync writes may be lost or land on a neighbouring page, which shows only when the system has
//!   forgotten what it meant to write: after a loss of power. A budget bounds all of this. Of what there is twice one is
//!   spared: of the images, and of the mark's first two slots, where one that a loss of power tore counts as lost; a
//!   write of the mark goes astray only where it is whole, and may take another slot along. Once a state was installed its
//!   image has no older one to fall back to. The end of the log, up to what three later syncs of it vouch for, is spared:
//!   nobody can tell a promise that was lost there from one never made. So writes of the log go astray late: at the loss of
//!   power, of what was written since the last one and stands as it was written. A spare of the log becomes unreadable only
//!   where the log may be lost: the sector may be where its end will be.
//! - *Traps.* A life ends in the n-th change (looks do not count), of a kind and class that can be aimed at; in the
//!   middle of a write a part of it has happened, in a sync it is the beginning, the effect or the answer.
//!
//! Not modelled: a directory or a length that rots, a read that is misdirected, a disk that turns read-only.
//!
//! Invariant (the fence): a handle belongs to one incarnation. After the end of it every call fails and
//! changes nothing, because destructors run after the crash they did not survive.

use std::future::Future;
use std::io::{Error, ErrorKind};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorate::base::{Corruption, Fault, SeededDice};
use quorate::env::{Disk, DiskFile, OpenMode};

use super::clock::{true_now, true_sleep};
use super::cpu::charge_turn;
use super::faults::{Aim, Change, Damage, DamageBudget, DiskFaults, FileClass, Loss, Toll};
use super::platter::Platter;
use super::trace::{Marks, Trace};
use super::tree::{Shared, Tree, parent};

/// Bytes of a write that go into the trace.
const NOTED: usize = 4096;

/// A disk, as one incarnation of a node holds it.
#[derive(Clone)]
pub struct SimDisk {
    platter: Arc<Mutex<Platter>>,
    life: u64,
}

/// An open file of a [`SimDisk`].
pub struct SimFile {
    disk: SimDisk,
    name: String,
    file: Shared,
    writable: bool,
    /// Write errors of the file that this handle has heard of, or was opened after.
    errors: AtomicU64,
}

impl SimDisk {
    /// An empty disk. The handle returned is dead until [`SimDisk::power_on`] gives one that lives.
    pub fn new(faults: DiskFaults, dice: SeededDice, trace: Trace, marks: Marks) -> Self {
        Self { platter: Arc::new(Mutex::new(Platter::new(faults, dice, trace, marks))), life: u64::MAX }
    }

    fn lock(&self) -> MutexGuard<'_, Platter> {
        self.platter.lock().expect("no holder of the platter panics")
    }

    /// The disk for the next incarnation; the one before must have ended.
    pub fn power_on(&self) -> Self {
        let mut platter = self.lock();
        assert!(platter.life.is_multiple_of(2), "the incarnation before still lives");
        platter.life += 1;
        Self { platter: Arc::clone(&self.platter), life: platter.life }
    }

    /// The run is over: all files go, whoever still holds the disk.
    pub fn empty(&self) {
        // After a panic that ended the run it may be poisoned.
        let mut platter = self.platter.lock().unwrap_or_else(PoisonError::into_inner);
        platter.end_life();
        platter.tree = Tree::default();
    }

    /// The process ends, if it has not yet; the system lives on.
    pub fn kill(&self) {
        self.lock().end_life();
    }

    /// The power goes, and with it the process. Tells what became of the dirty sectors.
    pub fn lose_power(&self, loss: Loss) -> Toll {
        let mut platter = self.lock();
        platter.end_life();
        platter.lose_power(loss)
    }

    #[cfg(test)]
    /// Ends the life in its n-th change from now, whatever it is; `trap` is called in that moment.
    pub fn arm(&self, nth: u64, trap: impl FnOnce() + Send + 'static) {
        self.arm_at(Aim::default(), nth, trap);
    }

    /// Ends the life in the n-th change from now that the aim counts; a file is of the class of the name it was opened
    /// by.
    pub fn arm_at(&self, aim: Aim, nth: u64, trap: impl FnOnce() + Send + 'static) {
        self.lock().arm(Some((aim, nth, Box::new(trap))));
    }

    /// Takes the trap away.
    pub fn disarm(&self) {
        self.lock().arm(None);
    }

    /// Whether this incarnation may still use the disk.
    pub fn is_alive(&self) -> bool {
        self.lock().life == self.life
    }

    /// Every sync from now on waits until then.
    pub fn stall_for(&self, duration: Duration) {
        let mut platter = self.lock();
        platter.stalled_until = platter.stalled_until.max(true_now() + duration);
    }

    /// Whether syncs are held up now.
    pub fn is_stalled(&self) -> bool {
        self.lock().stalled_until > true_now()
    }

    /// Changes the disk's moods. Where no write goes astray any more, those that might have gone late did not.
    pub fn set_faults(&self, faults: DiskFaults) {
        let mut platter = self.lock();
        platter.faults = faults;
        if platter.faults.lost_write_one_in == 0 && platter.faults.misdirected_write_one_in == 0 {
            platter.forgive_strays();
        }
    }

    /// The product replaced its state by another's: the older image, if there is one, is of no use from now on.
    pub fn installs(&self) {
        self.lock().installs();
    }

    /// So many bytes may be written beyond what there is now; no limit without.
    pub fn leave_room(&self, room: Option<u64>) {
        self.lock().leave_room(room);
    }

    /// Whether there is a limit now to what may be written.
    pub fn is_bounded(&self) -> bool {
        self.lock().faults.capacity.is_some()
    }

    /// Whether what the system has dropped, because it could not write it and before anybody heard of that, accounts for damage that
    /// somebody met who reads since then.
    pub fn has_lost(&self, damage: &Corruption, since: Duration) -> bool {
        self.lock().has_lost(damage, since)
    }

    /// Whether somebody was ever refused for lack of room.
    pub fn was_full(&self) -> bool {
        self.lock().was_full
    }

    /// Damage is held against this budget, as the member's. Without, nothing that a member needs is damaged.
    pub fn set_budget(&self, budget: DamageBudget, member: &str) {
        self.lock().set_budget(budget, member);
    }

    /// Damages a sector at rest of a file of that class, if there is one and the budget allows it: which.
    pub fn damage(&self, class: FileClass, damage: Damage) -> Option<(String, u64)> {
        self.lock().damage(class, damage)
    }

    /// Sectors that are damaged and have not been written since, by file.
    #[cfg(test)]
    pub fn damaged(&self) -> Vec<(String, u64)> {
        self.lock().damaged()
    }

    /// A disk of its own that holds what this one's platter holds now: what a loss of power that drops
    /// everything would leave.
    pub fn fork_platter(&self) -> Self {
        let mine = self.lock();
        let fork = Self::new(DiskFaults::calm(), SeededDice::new(0), Trace::default(), Marks::default());
        fork.lock().tree = mine.tree.platter_only();
        drop(mine);
        fork
    }

    /// Everything on it becomes what that copy holds. The life must have ended.
    pub fn put_back(&self, copy: &Self) {
        let tree = copy.lock().tree.platter_only();
        let mut platter = self.lock();
        assert!(platter.life.is_multiple_of(2), "nobody uses a disk that is put back");
        platter.tree = tree;
    }

    /// Everything on it is gone. The life must have ended.
    pub fn wipe(&self) {
        let mut platter = self.lock();
        assert!(platter.life.is_multiple_of(2), "nobody uses a disk that is wiped");
        platter.tree = Tree::default();
    }

    /// Whether everything written is durable, names included.
    #[cfg(test)]
    pub fn is_clean(&self) -> bool {
        let platter = self.lock();
        let dirty = |file: &Shared| file.lock().expect("no holder of a file panics").is_dirty();
        platter.tree.pending() == 0 && !platter.tree.shown().files.values().any(dirty)
    }

    /// The platter, if this incarnation may use it: for a look, or for the rest of a change that was counted.
    fn alive(&self, doing: &'static str, path: &str) -> Result<MutexGuard<'_, Platter>, Fault> {
        let platter = self.lock();
        if platter.life == self.life { Ok(platter) } else { Err(down(doing, path)) }
    }

    /// The platter for a change, if this incarnation may use it and does not end in it.
    fn change(&self, change: Change, doing: &'static str, path: &str) -> Result<MutexGuard<'_, Platter>, Fault> {
        let mut platter = self.alive(doing, path)?;
        let Some(trap) = platter.spring(change, path) else { return Ok(platter) };
        trap();
        Err(down(doing, path))
    }
}

fn down(doing: &'static str, path: &str) -> Fault {
    Fault::new(doing, path, Error::new(ErrorKind::BrokenPipe, "the machine is down"))
}

fn input_output(doing: &'static str, path: &str) -> Fault {
    Fault::new(doing, path, Error::from_raw_os_error(5))
}

fn missing(doing: &'static str, path: &str) -> Fault {
    Fault::new(doing, path, Error::new(ErrorKind::NotFound, "no such file or directory"))
}

fn known_dir(platter: &Platter, doing: &'static str, dir: &str) -> Result<(), Fault> {
    if platter.tree.shown().has_dir(dir) { Ok(()) } else { Err(missing(doing, dir)) }
}

fn known_file(platter: &Platter, doing: &'static str, name: &str) -> Result<Shared, Fault> {
    platter.tree.shown().files.get(name).cloned().ok_or_else(|| missing(doing, name))
}

impl Disk for SimDisk {
    type File = SimFile;

    fn open(&self, name: &str, mode: OpenMode) -> Result<SimFile, Fault> {
        let mut platter = match mode {
            OpenMode::Create => self.change(Change::Create, "open", name)?,
            OpenMode::Read | OpenMode::Write => self.alive("open", name)?,
        };
        known_dir(&platter, "open", parent(name))?;
        let file = match mode {
            OpenMode::Read | OpenMode::Write => known_file(&platter, "open", name)?,
            OpenMode::Create if platter.tree.shown().holds(name) => {
                return Err(Fault::new("open", name, Error::new(ErrorKind::AlreadyExists, "file exists")));
            }
            OpenMode::Create => {
                platter.trace.note("create", name.as_bytes());
                platter.tree.create(name)
            }
        };
        drop(platter);
        let errors = AtomicU64::new(file.lock().expect("no holder of a file panics").errors_at_open());
        Ok(SimFile { disk: self.clone(), name: name.to_string(), file, writable: mode != OpenMode::Read, errors })
    }

    fn list(&self, dir: &str) -> Result<Vec<String>, Fault> {
        let platter = self.alive("list", dir)?;
        known_dir(&platter, "list", dir)?;
        let own = |name: &&String| parent(name) == dir;
        let short = |name: &String| name.rsplit_once('/').map_or(name.as_str(), |(_, short)| short).to_string();
        Ok(platter.tree.shown().files.keys().filter(own).map(short).collect())
    }

    fn create_dir(&self, dir: &str) -> Result<(), Fault> {
        let mut platter = self.change(Change::CreateDir, "create directory", dir)?;
        let shown = platter.tree.shown();
        let mut above = dir;
        while !above.is_empty() {
            if shown.files.contains_key(above) {
                return Err(Fault::new("create directory", dir, Error::new(ErrorKind::NotADirectory, "a file")));
            }
            above = parent(above);
        }
        platter.tree.make_dir(dir);
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), Fault> {
        let mut platter = self.change(Change::Rename, "rename", to)?;
        known_file(&platter, "rename", from)?;
        known_dir(&platter, "rename", parent(to))?;
        if platter.tree.shown().dirs.contains(to) {
            return Err(Fault::new("rename", to, Error::new(ErrorKind::IsADirectory, "a directory")));
        }
        platter.trace.note("rename", to.as_bytes());
        platter.tree.rename(from, to);
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<(), Fault> {
        let mut platter = self.change(Change::Remove, "remove", name)?;
        known_file(&platter, "remove", name)?;
        platter.trace.note("remove", name.as_bytes());
        platter.tree.remove(name);
        Ok(())
    }

    fn exists(&self, name: &str) -> Result<bool, Fault> {
        Ok(self.alive("look for", name)?.tree.shown().files.contains_key(name))
    }

    fn sync_dir(&self, dir: &str) -> impl Future<Output = Result<(), Fault>> + Send {
        let disk = self.clone();
        let dir = dir.to_string();
        async move {
            let (delay, fails) = {
                let mut platter = disk.change(Change::SyncDir, "sync", &dir)?;
                known_dir(&platter, "sync", &dir)?;
                let (delay, fails) = platter.draw_sync();
                if fails {
                    platter.marks.hit("disk: sync of a directory failed");
                    platter.tree.fail_sync_dir(&dir);
                }
                (delay, fails)
            };
            true_sleep(delay).await;
            let mut platter = disk.alive("sync", &dir)?;
            platter.trace.note("sync", dir.as_bytes());
            let unheard = platter.tree.hear_error(&dir);
            if fails || unheard {
                return Err(input_output("sync", &dir));
            }
            drop(platter);
            disk.change(Change::SyncDir, "sync", &dir)?.tree.sync_dir(&dir);
            drop(disk.change(Change::SyncDir, "sync", &dir)?);
            Ok(())
        }
    }
}

impl SimFile {
    fn alive(&self, doing: &'static str) -> Result<MutexGuard<'_, Platter>, Fault> {
        self.disk.alive(doing, &self.name)
    }

    fn is_writable(&self, doing: &'static str) -> Result<(), Fault> {
        if self.writable {
            return Ok(());
        }
        Err(Fault::new(doing, &self.name, Error::new(ErrorKind::PermissionDenied, "opened for reading")))
    }

    fn bytes(&self) -> MutexGuard<'_, super::file::FileBytes> {
        self.file.lock().expect("no holder of a file panics")
    }

    fn full(&self, doing: &'static str, platter: &mut Platter) -> Fault {
        platter.was_full = true;
        platter.marks.hit("disk: full");
        Fault::new(doing, &self.name, Error::new(ErrorKind::StorageFull, "no space left on device"))
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, Fault> {
        let mut platter = self.alive("read")?;
        let mut bytes = self.bytes();
        platter.evict(&self.name, &mut bytes);
        let wanted = platter.draw_read(buf.len());
        match wanted {
            Some(wanted) if !bytes.is_unreadable(offset, wanted) => Ok(bytes.read(offset, &mut buf[..wanted])),
            _ => Err(input_output("read", &self.name)),
        }
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), Fault> {
        let mut platter = self.alive("write")?;
        self.is_writable("write")?;
        platter.evict(&self.name, &mut self.bytes());
        let end = offset + data.len() as u64;
        let growth = end.saturating_sub(self.bytes().len());
        let lacking = if growth == 0 { 0 } else { growth.saturating_sub(platter.room()) as usize };
        let fits = match lacking {
            0 => data.len(),
            _ if platter.faults.refuses_whole => 0,
            lacking => data.len().saturating_sub(lacking),
        };
        if let Some(trap) = platter.spring(Change::Write, &self.name) {
            let part = platter.draw_interrupted(fits);
            self.bytes().write(offset, &data[..part]);
            drop(platter);
            trap();
            return Err(down("write", &self.name));
        }
        if fits > 0 {
            self.bytes().write(offset, &data[..fits]);
            platter.lost.write(&self.name, offset, &data[..fits], &self.bytes());
        }
        platter.write_back(&mut self.bytes());
        charge_turn(platter.draw_write());
        platter.trace.note("write", &data[..fits.min(NOTED)]);
        platter.trace.note("written", &end.to_le_bytes());
        if lacking > 0 { Err(self.full("write", &mut platter)) } else { Ok(()) }
    }

    fn len(&self) -> Result<u64, Fault> {
        let _platter = self.alive("measure")?;
        Ok(self.bytes().len())
    }

    fn set_len(&self, len: u64) -> Result<(), Fault> {
        self.is_writable("set length of")?;
        let mut platter = self.disk.change(Change::SetLen, "set length of", &self.name)?;
        let growth = len.saturating_sub(self.bytes().len());
        if growth > 0 && growth > platter.room() {
            return Err(self.full("set length of", &mut platter));
        }
        platter.trace.note("set length", &len.to_le_bytes());
        self.bytes().set_len(len);
        platter.lost.cut(&self.name, len);
        Ok(())
    }

    async fn sync(&self) -> Result<(), Fault> {
        let (delay, captured) = {
            let mut platter = self.disk.change(Change::Sync, "sync", &self.name)?;
            let captured = self.bytes().capture();
            let (delay, fails) = platter.draw_sync();
            if fails {
                // What fails does so whether or not the process lives to hear of it.
                platter.fail_sync(&mut self.bytes(), captured);
                (delay, None)
            } else {
                (delay, Some(captured))
            }
        };
        true_sleep(delay).await;
        let platter = self.alive("sync")?;
        platter.trace.note("sync", self.name.as_bytes());
        if self.bytes().hear_error(&self.errors) || captured.is_none() {
            return Err(input_output("sync", &self.name));
        }
        drop(platter);
        let mut platter = self.disk.change(Change::Sync, "sync", &self.name)?;
        if let Some(captured) = captured.filter(|_| !platter.faults.lies) {
            platter.make_durable(&self.file, captured);
        }
        drop(platter);
        // A life may also end when the sync is done and nobody has heard of it.
        drop(self.disk.change(Change::Sync, "sync", &self.name)?);
        Ok(())
    }
}
