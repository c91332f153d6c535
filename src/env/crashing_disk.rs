//! A disk for tests that can lose power: what was not synced survives only in part.
//!
//! Invariants: after [`CrashingDisk::crash`] synced bytes and synced names are there; of the unsynced ones any subset is,
//! by sectors and in any order, and an unsynced sector may hold garbage. Renames are atomic. A sync made to fail drops what
//! it was asked for from what can become durable, while reads go on showing it; of a directory it changes nothing.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::seam::{Disk, DiskFile, OpenMode};
use crate::base::{Dice, Fault};
use crate::env::{conformance, run_ready};

const SECTOR: usize = 512;

/// A disk in memory that remembers what was synced.
#[derive(Clone, Debug, Default)]
pub(crate) struct CrashingDisk {
    tree: Arc<Mutex<Tree>>,
}

#[derive(Debug, Default)]
struct Tree {
    /// Names as they are; the bytes are in `inodes`.
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    unsynced_names: Vec<NameChange>,
    dirs: Vec<String>,
    inodes: Vec<Inode>,
    syncs_until_fault: Option<u64>,
}

#[derive(Debug, Clone)]
enum NameChange {
    Create(String, usize),
    Rename(String, String),
    Remove(String),
}

#[derive(Debug, Default)]
struct Inode {
    now: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Debug)]
enum Change {
    Write(u64, Vec<u8>),
    SetLen(u64),
}

/// An open file of a [`CrashingDisk`].
#[derive(Debug)]
pub(crate) struct CrashingFile {
    tree: Arc<Mutex<Tree>>,
    inode: usize,
    name: String,
    writable: bool,
}

impl CrashingDisk {
    /// What is there after the power failed now. A third of the crashes keep all that was written, a third keep
    /// nothing that was not synced, a third keep a part; with `garbage`, lost sectors may hold anything.
    pub(crate) fn crash(&self, dice: &mut dyn Dice, garbage: bool) -> Self {
        let tree = self.lock();
        let kept_in_hundred = [0, 50, 100][dice.below(3) as usize];
        let mut names = tree.durable_names.clone();
        for change in tree.unsynced_names.iter().filter(|_| dice.below(100) < kept_in_hundred) {
            apply(&mut names, change);
        }
        let mut after = Tree { dirs: tree.dirs.clone(), durable_names: names.clone(), names, ..Tree::default() };
        for inode in &tree.inodes {
            let bytes = inode.survive(dice, kept_in_hundred, garbage);
            after.inodes.push(Inode { now: bytes.clone(), durable: bytes, unsynced: Vec::new() });
        }
        Self { tree: Arc::new(Mutex::new(after)) }
    }

    /// The `n`-th sync of a file or directory from now (1 is the next) fails, and those after it succeed.
    pub(crate) fn fail_sync(&self, n: u64) {
        self.lock().syncs_until_fault = Some(n);
    }

    fn lock(&self) -> MutexGuard<'_, Tree> {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: NameChange) -> Result<(), Fault> {
        let mut tree = self.lock();
        apply(&mut tree.names, &change);
        tree.unsynced_names.push(change);
        Ok(())
    }

    fn missing(&self, doing: &'static str, name: &str) -> Result<(), Fault> {
        if self.lock().names.contains_key(name) {
            return Ok(());
        }
        Err(Fault::new(doing, name, Error::from(ErrorKind::NotFound)))
    }

    fn has_dir(&self, dir: &str) -> bool {
        dir.is_empty() || self.lock().dirs.iter().any(|made| made == dir)
    }
}

impl Tree {
    fn sync(&mut self, name: &str) -> Result<(), Fault> {
        let left = self.syncs_until_fault.map(|left| left - 1);
        self.syncs_until_fault = left.filter(|left| *left > 0);
        if left == Some(0) { Err(Fault::new("sync", name, Error::other("planned"))) } else { Ok(()) }
    }
}

fn apply(names: &mut BTreeMap<String, usize>, change: &NameChange) {
    match change {
        NameChange::Create(name, inode) => {
            names.insert(name.clone(), *inode);
        }
        NameChange::Rename(from, to) => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
        NameChange::Remove(name) => {
            names.remove(name);
        }
    }
}

impl NameChange {
    fn name(&self) -> &str {
        match self {
            Self::Create(name, _) | Self::Rename(name, _) | Self::Remove(name) => name,
        }
    }
}

impl Inode {
    fn carry_out(&mut self, change: Change) {
        match change {
            Change::Write(offset, data) => write(&mut self.durable, offset as usize, &data),
            Change::SetLen(len) => self.durable.resize(len as usize, 0),
        }
    }

    fn survive(&self, dice: &mut dyn Dice, kept_in_hundred: u64, garbage: bool) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        for change in &self.unsynced {
            match change {
                Change::SetLen(len) if dice.below(100) < kept_in_hundred => bytes.resize(*len as usize, 0),
                Change::SetLen(_) => {}
                Change::Write(offset, data) => {
                    let mut at = 0;
                    while at < data.len() {
                        let from = *offset as usize + at;
                        let len = (SECTOR - from % SECTOR).min(data.len() - at);
                        let torn = garbage && kept_in_hundred == 50 && dice.one_in(8);
                        if torn {
                            // The whole sector is lost, with whatever it held before.
                            let start = from - from % SECTOR;
                            let noise: Vec<u8> = (0..SECTOR).map(|_| dice.next_u64() as u8).collect();
                            write(&mut bytes, start, &noise);
                        } else if dice.below(100) < kept_in_hundred {
                            write(&mut bytes, from, &data[at..at + len]);
                        }
                        at += len;
                    }
                }
            }
        }
        bytes
    }
}

fn write(bytes: &mut Vec<u8>, at: usize, data: &[u8]) {
    if bytes.len() < at + data.len() {
        bytes.resize(at + data.len(), 0);
    }
    bytes[at..at + data.len()].copy_from_slice(data);
}

fn parent(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(dir, _)| dir)
}

impl Disk for CrashingDisk {
    type File = CrashingFile;

    fn open(&self, name: &str, mode: OpenMode) -> Result<CrashingFile, Fault> {
        let there = self.lock().names.get(name).copied();
        let inode = match (mode, there) {
            (OpenMode::Create, None) if self.has_dir(parent(name)) && !self.has_dir(name) => {
                let inode = {
                    let mut tree = self.lock();
                    tree.inodes.push(Inode::default());
                    tree.inodes.len() - 1
                };
                self.change(NameChange::Create(name.to_string(), inode))?;
                inode
            }
            (OpenMode::Create, Some(_)) => {
                return Err(Fault::new("create", name, Error::from(ErrorKind::AlreadyExists)));
            }
            (_, None) => return Err(Fault::new("open", name, Error::from(ErrorKind::NotFound))),
            (_, Some(inode)) => inode,
        };
        let writable = mode != OpenMode::Read;
        Ok(CrashingFile { tree: self.tree.clone(), inode, name: name.to_string(), writable })
    }

    fn list(&self, dir: &str) -> Result<Vec<String>, Fault> {
        if !self.has_dir(dir) {
            return Err(Fault::new("list", dir, Error::from(ErrorKind::NotFound)));
        }
        let tree = self.lock();
        let names = tree.names.keys().filter(|name| parent(name) == dir);
        Ok(names.map(|name| name.rsplit('/').next().unwrap_or(name).to_string()).collect())
    }

    fn create_dir(&self, dir: &str) -> Result<(), Fault> {
        let mut at = dir;
        while !at.is_empty() {
            if self.lock().names.contains_key(at) {
                return Err(Fault::new("create directory", dir, Error::from(ErrorKind::AlreadyExists)));
            }
            if !self.has_dir(at) {
                self.lock().dirs.push(at.to_string());
            }
            at = parent(at);
        }
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), Fault> {
        self.missing("rename", from)?;
        if !self.has_dir(parent(to)) {
            return Err(Fault::new("rename", from, Error::from(ErrorKind::NotFound)));
        }
        self.change(NameChange::Rename(from.to_string(), to.to_string()))
    }

    fn remove(&self, name: &str) -> Result<(), Fault> {
        self.missing("remove", name)?;
        self.change(NameChange::Remove(name.to_string()))
    }

    fn exists(&self, name: &str) -> Result<bool, Fault> {
        Ok(self.lock().names.contains_key(name))
    }

    async fn sync_dir(&self, dir: &str) -> Result<(), Fault> {
        if !self.has_dir(dir) {
            return Err(Fault::new("sync", dir, Error::from(ErrorKind::NotFound)));
        }
        let tree = &mut *self.lock();
        tree.sync(dir)?;
        // Files are renamed within a directory only, so one directory's changes stand apart from the others'.
        let changes = std::mem::take(&mut tree.unsynced_names);
        let (synced, left) = changes.into_iter().partition(|change| parent(change.name()) == dir);
        let synced: Vec<NameChange> = synced;
        synced.iter().for_each(|change| apply(&mut tree.durable_names, change));
        tree.unsynced_names = left;
        Ok(())
    }
}

impl CrashingFile {
    fn with<T>(&self, act: impl FnOnce(&mut Inode) -> T) -> T {
        let mut tree = self.tree.lock().unwrap_or_else(PoisonError::into_inner);
        act(&mut tree.inodes[self.inode])
    }

    fn check_writable(&self, doing: &'static str) -> Result<(), Fault> {
        if self.writable {
            return Ok(());
        }
        Err(Fault::new(doing, &self.name, Error::from(ErrorKind::PermissionDenied)))
    }
}

impl DiskFile for CrashingFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, Fault> {
        self.with(|inode| {
            let from = usize::try_from(offset).unwrap_or(usize::MAX).min(inode.now.len());
            let n = buf.len().min(inode.now.len() - from);
            buf[..n].copy_from_slice(&inode.now[from..from + n]);
            Ok(n)
        })
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), Fault> {
        self.check_writable("write")?;
        if !data.is_empty() {
            self.with(|inode| {
                write(&mut inode.now, offset as usize, data);
                inode.unsynced.push(Change::Write(offset, data.to_vec()));
            });
        }
        Ok(())
    }

    fn len(&self) -> Result<u64, Fault> {
        Ok(self.with(|inode| inode.now.len() as u64))
    }

    fn set_len(&self, len: u64) -> Result<(), Fault> {
        self.check_writable("resize")?;
        self.with(|inode| {
            inode.now.resize(len as usize, 0);
            inode.unsynced.push(Change::SetLen(len));
        });
        Ok(())
    }

    async fn sync(&self) -> Result<(), Fault> {
        let mut tree = self.tree.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = tree.sync(&self.name);
        let inode = &mut tree.inodes[self.inode];
        if answer.is_ok() {
            for change in std::mem::take(&mut inode.unsynced) {
                inode.carry_out(change);
            }
        }
        inode.unsynced.clear();
        answer
    }
}

#[test]
fn conforms() {
    run_ready(conformance::check(&CrashingDisk::default())).expect("conforms");
}

#[test]
fn keeps_what_was_synced_and_may_lose_the_rest() {
    let disk = CrashingDisk::default();
    let file = disk.open("x", OpenMode::Create).expect("made");
    file.write_at(0, b"one").expect("written");
    run_ready(file.sync()).expect("synced");
    run_ready(disk.sync_dir("")).expect("synced");
    file.write_at(600, b"two").expect("written");
    disk.open("y", OpenMode::Create).expect("made");
    let mut dice = crate::base::SeededDice::new(1);
    let (mut lost, mut kept) = (0, 0);
    for _ in 0..100 {
        let after = disk.crash(&mut dice, false);
        let file = after.open("x", OpenMode::Read).expect("its name was synced");
        let mut buf = [0; 3];
        assert_eq!(file.read_full_at(0, &mut buf).expect("read"), 3);
        assert_eq!(buf, *b"one");
        lost += u32::from(file.len().expect("known") == 3 && !after.exists("y").expect("known"));
        kept += u32::from(file.len().expect("known") == 603 && after.exists("y").expect("known"));
    }
    assert!(lost > 10 && kept > 10, "lost {lost}, kept {kept} of 100");
}
