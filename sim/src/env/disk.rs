//! The simulated disk: what was not synced may be lost, torn or reordered when the power goes.
//!
//! A process can end in two ways. *Killed*: the system lives on and shows everything that was written, but
//! nothing more of it is durable than before. *Power lost*: what is not on the platter meets its fate, sector
//! by sector, length by length, name by name.
//!
//! Invariant (the fence): a handle belongs to one incarnation. After the end of it every call fails and
//! changes nothing, because destructors run after the crash they did not survive.

use std::future::Future;
use std::io::{Error, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use quorate::base::{Dice, Fault, SeededDice};
use quorate::env::{Disk, DiskFile, OpenMode};

use super::clock::{true_now, true_sleep};
use super::file::{SectorFates, Toll};
use super::trace::{Marks, Trace};
use super::tree::{Shared, Tree, parent};

/// How the disk misbehaves while the process lives. Every "one in" is off at 0.
#[derive(Clone, Debug)]
pub struct DiskFaults {
    /// A sync takes between these, in microseconds.
    pub sync_micros: (u64, u64),
    /// One sync in so many stalls.
    pub stall_one_in: u64,
    /// A stall takes between these, in milliseconds.
    pub stall_millis: (u64, u64),
    /// After one write in so many the system writes something back by itself.
    pub write_back_one_in: u64,
    /// One read in so many returns fewer bytes than asked.
    pub short_read_one_in: u64,
    /// One sync in so many fails.
    pub sync_error_one_in: u64,
    /// Bytes the disk holds.
    pub capacity: Option<u64>,
    /// A sync says it is done and does nothing: only to see whether the judges notice.
    pub lies: bool,
}

impl DiskFaults {
    /// A disk without moods: syncs of a tenth of a millisecond.
    pub fn calm() -> Self {
        Self {
            sync_micros: (100, 100),
            stall_one_in: 0,
            stall_millis: (0, 0),
            write_back_one_in: 0,
            short_read_one_in: 0,
            sync_error_one_in: 0,
            capacity: None,
            lies: false,
        }
    }
}

/// Bytes of a write that go into the trace.
const NOTED: usize = 4096;

/// How a loss of power goes.
#[derive(Clone, Copy, Debug)]
pub enum Loss {
    /// Nothing that was not synced survives.
    DropAll,
    /// Everything does.
    KeepAll,
    /// Each sector and name is drawn; the weights are for sectors.
    Draw(SectorFates),
}

impl Loss {
    /// Sectors are kept, dropped or torn.
    pub fn torn() -> Self {
        Self::Draw(SectorFates { keep: 4, drop: 4, tear: 2, garbage: 0 })
    }

    /// Sectors may turn to garbage as well.
    pub fn garbage() -> Self {
        Self::Draw(SectorFates { keep: 3, drop: 3, tear: 2, garbage: 2 })
    }

    fn fates(self) -> (SectorFates, u64) {
        match self {
            Self::DropAll => (SectorFates { keep: 0, drop: 1, tear: 0, garbage: 0 }, 0),
            Self::KeepAll => (SectorFates { keep: 1, drop: 0, tear: 0, garbage: 0 }, 8),
            Self::Draw(fates) => (fates, 4),
        }
    }
}

/// What ends a life in the middle of an operation.
type Trap = Box<dyn FnOnce() + Send>;

struct Platter {
    /// The incarnation that may use the disk; odd while one lives.
    life: u64,
    /// The life ends in the n-th operation from now.
    trap: Option<(u64, Trap)>,
    tree: Tree,
    faults: DiskFaults,
    dice: SeededDice,
    /// Until when every sync waits, in true time.
    stalled_until: Duration,
    trace: Trace,
    marks: Marks,
}

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
}

impl SimDisk {
    /// An empty disk. The handle returned is dead until [`SimDisk::power_on`] gives one that lives.
    pub fn new(faults: DiskFaults, dice: SeededDice, trace: Trace, marks: Marks) -> Self {
        let tree = Tree::default();
        let platter = Platter { life: 0, trap: None, tree, faults, dice, stalled_until: Duration::ZERO, trace, marks };
        Self { platter: Arc::new(Mutex::new(platter)), life: u64::MAX }
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

    /// Ends the life in its n-th operation from now, before the operation does anything; `trap` is called in
    /// that moment.
    pub fn arm(&self, nth: u64, trap: impl FnOnce() + Send + 'static) {
        self.lock().trap = Some((nth, Box::new(trap)));
    }

    /// Takes the trap away.
    pub fn disarm(&self) {
        self.lock().trap = None;
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

    /// Changes the disk's moods.
    pub fn set_faults(&self, faults: DiskFaults) {
        self.lock().faults = faults;
    }

    /// A disk of its own that holds what this one's platter holds now: what a loss of power that drops
    /// everything would leave.
    pub fn fork_platter(&self) -> Self {
        let mine = self.lock();
        let fork = Self::new(DiskFaults::calm(), mine.dice.clone(), Trace::default(), Marks::default());
        fork.lock().tree = mine.tree.platter_only();
        drop(mine);
        fork
    }

    /// Whether everything written is durable, names included.
    pub fn is_clean(&self) -> bool {
        let platter = self.lock();
        let dirty = |file: &Shared| file.lock().expect("no holder of a file panics").is_dirty();
        platter.tree.pending() == 0 && !platter.tree.shown().files.values().any(dirty)
    }

    /// The names of all files, with their lengths.
    pub fn files(&self) -> Vec<(String, u64)> {
        let platter = self.lock();
        let len = |file: &Shared| file.lock().expect("no holder of a file panics").len();
        platter.tree.shown().files.iter().map(|(name, file)| (name.clone(), len(file))).collect()
    }

    /// The platter, if this incarnation may use it.
    fn alive(&self, doing: &'static str, path: &str) -> Result<MutexGuard<'_, Platter>, Fault> {
        let mut platter = self.lock();
        if platter.life == self.life {
            let Some(trap) = platter.spring() else { return Ok(platter) };
            trap();
        }
        let dead = Error::new(ErrorKind::BrokenPipe, "the machine is down");
        Err(Fault::new(doing, path, dead))
    }

    /// Waits as long as a sync takes; `true` if it shall fail.
    async fn sync_delay(&self, path: &str) -> Result<bool, Fault> {
        let (delay, fails) = self.alive("sync", path)?.draw_sync();
        true_sleep(delay).await;
        self.alive("sync", path)?.trace.note("sync", path.as_bytes());
        Ok(fails)
    }
}

impl Platter {
    fn end_life(&mut self) {
        self.life = self.life.next_multiple_of(2);
        self.trap = None;
    }

    /// Counts an operation; the trap, if it is the one that ends the life.
    fn spring(&mut self) -> Option<Trap> {
        let (left, _) = self.trap.as_mut()?;
        *left = left.saturating_sub(1);
        if *left > 0 {
            return None;
        }
        let (_, trap) = self.trap.take()?;
        self.end_life();
        self.marks.hit("life ended in the middle of a disk operation");
        Some(trap)
    }

    fn draw_sync(&mut self) -> (Duration, bool) {
        let between = |dice: &mut SeededDice, (low, high): (u64, u64)| low + dice.below(high - low + 1);
        let mut delay = Duration::from_micros(between(&mut self.dice, self.faults.sync_micros));
        if self.dice.one_in(self.faults.stall_one_in) {
            self.marks.hit("disk: sync stalled");
            delay += Duration::from_millis(between(&mut self.dice, self.faults.stall_millis));
        }
        delay = delay.max(self.stalled_until.saturating_sub(true_now()));
        (delay, self.dice.one_in(self.faults.sync_error_one_in))
    }

    fn lose_power(&mut self, loss: Loss) -> Toll {
        let (fates, keep_of_8) = loss.fates();
        let vanished = self.tree.lose_power(keep_of_8, &mut self.dice);
        let mut total = Toll::default();
        for file in self.tree.shown().files.values() {
            let toll = file.lock().expect("no holder of a file panics").lose_power(fates, &mut self.dice);
            total.dirty += toll.dirty;
            total.kept += toll.kept;
            total.dropped += toll.dropped;
            total.torn += toll.torn;
            total.garbage += toll.garbage;
            total.lengths += toll.lengths;
        }
        for (name, count) in [
            ("disk: power lost between write and sync", u64::from(total.dirty > 0)),
            ("disk: sector dropped", total.dropped),
            ("disk: sector torn", total.torn),
            ("disk: sector turned to garbage", total.garbage),
            ("disk: length lost or ahead of data", total.lengths),
            ("disk: name vanished or came back", vanished),
        ] {
            self.marks.add(name, count);
        }
        self.stalled_until = Duration::ZERO;
        total
    }

    fn used(&self) -> u64 {
        let len = |file: &Shared| file.lock().expect("no holder of a file panics").len();
        self.tree.shown().files.values().map(len).sum()
    }

    fn known_dir(&self, doing: &'static str, dir: &str) -> Result<(), Fault> {
        if self.tree.shown().has_dir(dir) { Ok(()) } else { Err(missing(doing, dir)) }
    }

    fn known_file(&self, doing: &'static str, name: &str) -> Result<Shared, Fault> {
        self.tree.shown().files.get(name).cloned().ok_or_else(|| missing(doing, name))
    }
}

fn missing(doing: &'static str, path: &str) -> Fault {
    Fault::new(doing, path, Error::new(ErrorKind::NotFound, "no such file or directory"))
}

impl Disk for SimDisk {
    type File = SimFile;

    fn open(&self, name: &str, mode: OpenMode) -> Result<SimFile, Fault> {
        let mut platter = self.alive("open", name)?;
        platter.known_dir("open", parent(name))?;
        let file = match mode {
            OpenMode::Read | OpenMode::Write => platter.known_file("open", name)?,
            OpenMode::Create if platter.tree.shown().holds(name) => {
                return Err(Fault::new("open", name, Error::new(ErrorKind::AlreadyExists, "file exists")));
            }
            OpenMode::Create => {
                platter.trace.note("create", name.as_bytes());
                platter.tree.create(name)
            }
        };
        drop(platter);
        Ok(SimFile { disk: self.clone(), name: name.to_string(), file, writable: mode != OpenMode::Read })
    }

    fn list(&self, dir: &str) -> Result<Vec<String>, Fault> {
        let platter = self.alive("list", dir)?;
        platter.known_dir("list", dir)?;
        let own = |name: &&String| parent(name) == dir;
        let short = |name: &String| name.rsplit_once('/').map_or(name.as_str(), |(_, short)| short).to_string();
        Ok(platter.tree.shown().files.keys().filter(own).map(short).collect())
    }

    fn create_dir(&self, dir: &str) -> Result<(), Fault> {
        let mut platter = self.alive("create directory", dir)?;
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
        let mut platter = self.alive("rename", from)?;
        platter.known_file("rename", from)?;
        platter.known_dir("rename", parent(to))?;
        if platter.tree.shown().dirs.contains(to) {
            return Err(Fault::new("rename", to, Error::new(ErrorKind::IsADirectory, "a directory")));
        }
        platter.trace.note("rename", to.as_bytes());
        platter.tree.rename(from, to);
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<(), Fault> {
        let mut platter = self.alive("remove", name)?;
        platter.known_file("remove", name)?;
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
            disk.alive("sync", &dir)?.known_dir("sync", &dir)?;
            if disk.sync_delay(&dir).await? {
                disk.lock().marks.hit("disk: sync of a directory failed");
                return Err(Fault::new("sync", dir, Error::from_raw_os_error(5)));
            }
            disk.alive("sync", &dir)?.tree.sync_dir(&dir);
            drop(disk.alive("sync", &dir)?);
            Ok(())
        }
    }
}

impl SimFile {
    fn alive(&self, doing: &'static str) -> Result<MutexGuard<'_, Platter>, Fault> {
        self.disk.alive(doing, &self.name)
    }

    fn alive_for_change(&self, doing: &'static str) -> Result<MutexGuard<'_, Platter>, Fault> {
        let platter = self.alive(doing)?;
        if self.writable {
            return Ok(platter);
        }
        Err(Fault::new(doing, &self.name, Error::new(ErrorKind::PermissionDenied, "opened for reading")))
    }

    fn bytes(&self) -> MutexGuard<'_, super::file::FileBytes> {
        self.file.lock().expect("no holder of a file panics")
    }

    fn full(&self, doing: &'static str, platter: &Platter) -> Fault {
        platter.marks.hit("disk: full");
        Fault::new(doing, &self.name, Error::new(ErrorKind::StorageFull, "no space left on device"))
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, Fault> {
        let mut platter = self.alive("read")?;
        let one_in = platter.faults.short_read_one_in;
        let short = buf.len() > 1 && platter.dice.one_in(one_in);
        let wanted = if short { 1 + platter.dice.below(buf.len() as u64 - 1) as usize } else { buf.len() };
        Ok(self.bytes().read(offset, &mut buf[..wanted]))
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), Fault> {
        let mut platter = self.alive_for_change("write")?;
        let end = offset + data.len() as u64;
        let growth = end.saturating_sub(self.bytes().len());
        let room = platter.faults.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(platter.used()));
        // A full disk takes the part that fits.
        let fits = data.len().saturating_sub(growth.saturating_sub(room) as usize);
        let mut bytes = self.bytes();
        if fits > 0 {
            bytes.write(offset, &data[..fits]);
        }
        let one_in = platter.faults.write_back_one_in;
        if platter.dice.one_in(one_in) {
            bytes.write_back_some(&mut platter.dice);
        }
        drop(bytes);
        platter.trace.note("write", &data[..fits.min(NOTED)]);
        platter.trace.note("written", &end.to_le_bytes());
        if fits < data.len() { Err(self.full("write", &platter)) } else { Ok(()) }
    }

    fn len(&self) -> Result<u64, Fault> {
        let _platter = self.alive("measure")?;
        Ok(self.bytes().len())
    }

    fn set_len(&self, len: u64) -> Result<(), Fault> {
        let platter = self.alive_for_change("set length of")?;
        let growth = len.saturating_sub(self.bytes().len());
        if platter.faults.capacity.is_some_and(|capacity| platter.used() + growth > capacity) {
            return Err(self.full("set length of", &platter));
        }
        platter.trace.note("set length", &len.to_le_bytes());
        self.bytes().set_len(len);
        Ok(())
    }

    fn sync(&self) -> impl Future<Output = Result<(), Fault>> + Send {
        async move {
            let captured = {
                let _platter = self.alive("sync")?;
                self.bytes().capture()
            };
            let fails = self.disk.sync_delay(&self.name).await?;
            let mut platter = self.alive("sync")?;
            if fails {
                platter.marks.hit("disk: sync of a file failed");
                self.bytes().fail_sync(captured, &mut platter.dice);
                return Err(Fault::new("sync", &self.name, Error::from_raw_os_error(5)));
            }
            if !platter.faults.lies {
                self.bytes().make_durable(captured);
            }
            drop(platter);
            // A life may also end when the sync is done and nobody has heard of it.
            drop(self.alive("sync")?);
            Ok(())
        }
    }
}
