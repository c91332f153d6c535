//! A disk in memory, for tests: plain, exact, never failing where a real one would not.
//!
//! Invariants: clones are the same tree; a file removed or replaced while open lives on in its handles. Knows
//! nothing of crashes: what is written is there. It has no end, unless it was told how much all files may hold.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io::{Error, ErrorKind};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::seam::{Disk, DiskFile, OpenMode};
use crate::base::Fault;

/// A directory tree in memory.
#[derive(Clone, Default, Debug)]
pub struct MemoryDisk {
    tree: Arc<Mutex<Tree>>,
}

#[derive(Default, Debug)]
struct Tree {
    files: BTreeMap<String, Arc<Mutex<Vec<u8>>>>,
    dirs: BTreeSet<String>,
    /// What all files together may hold.
    capacity: Option<usize>,
}

/// An open file of a [`MemoryDisk`].
#[derive(Debug)]
pub struct MemoryFile {
    name: String,
    writable: bool,
    bytes: Arc<Mutex<Vec<u8>>>,
    tree: Arc<Mutex<Tree>>,
}

/// The answer of a future that never waits, as those of a [`MemoryDisk`] and of code that waits for nothing else.
///
/// # Panics
/// If the future does wait.
pub fn run_ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the future waits for something"),
    }
}

impl MemoryDisk {
    /// An empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// A tree of its own with the same directories and files.
    pub fn copy(&self) -> Self {
        let tree = lock(&self.tree);
        let files =
            tree.files.iter().map(|(name, bytes)| (name.clone(), Arc::new(Mutex::new(lock(bytes).clone())))).collect();
        Self { tree: Arc::new(Mutex::new(Tree { files, dirs: tree.dirs.clone(), capacity: tree.capacity })) }
    }

    /// From now on all files together may grow by so many bytes; `None` is no bound.
    pub fn leave_room(&self, room: Option<usize>) {
        let mut tree = lock(&self.tree);
        tree.capacity = room.map(|room| tree.used() + room);
    }

    /// The names of all files in all directories, sorted.
    pub fn all_files(&self) -> Vec<String> {
        lock(&self.tree).files.keys().cloned().collect()
    }
}

impl Tree {
    fn used(&self) -> usize {
        self.files.values().map(|bytes| lock(bytes).len()).sum()
    }

    fn has_dir(&self, dir: &str) -> bool {
        dir.is_empty() || self.dirs.contains(dir)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere is reported there; the bytes are as they are.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn parent(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(dir, _)| dir)
}

fn missing(doing: &'static str, name: &str) -> Fault {
    Fault::new(doing, name, Error::from(ErrorKind::NotFound))
}

impl Disk for MemoryDisk {
    type File = MemoryFile;

    fn open(&self, name: &str, mode: OpenMode) -> Result<MemoryFile, Fault> {
        let mut tree = lock(&self.tree);
        let there = tree.files.get(name).cloned();
        let bytes = match (mode, there) {
            (OpenMode::Read | OpenMode::Write, Some(bytes)) => bytes,
            (OpenMode::Read | OpenMode::Write, None) => return Err(missing("open", name)),
            (OpenMode::Create, there) => {
                if there.is_some() || tree.has_dir(name) {
                    return Err(Fault::new("create", name, Error::from(ErrorKind::AlreadyExists)));
                }
                if !tree.has_dir(parent(name)) {
                    return Err(missing("create", name));
                }
                let bytes = Arc::new(Mutex::new(Vec::new()));
                tree.files.insert(name.to_string(), bytes.clone());
                bytes
            }
        };
        Ok(MemoryFile { name: name.to_string(), writable: mode != OpenMode::Read, bytes, tree: self.tree.clone() })
    }

    fn list(&self, dir: &str) -> Result<Vec<String>, Fault> {
        let tree = lock(&self.tree);
        if !tree.has_dir(dir) {
            return Err(missing("list", dir));
        }
        let names = tree.files.keys().filter(|name| parent(name) == dir);
        Ok(names.map(|name| name.rsplit('/').next().unwrap_or(name).to_string()).collect())
    }

    fn create_dir(&self, dir: &str) -> Result<(), Fault> {
        let mut tree = lock(&self.tree);
        let mut at = dir;
        while !at.is_empty() {
            if tree.files.contains_key(at) {
                return Err(Fault::new("create directory", dir, Error::from(ErrorKind::AlreadyExists)));
            }
            tree.dirs.insert(at.to_string());
            at = parent(at);
        }
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), Fault> {
        let mut tree = lock(&self.tree);
        if !tree.files.contains_key(from) || !tree.has_dir(parent(to)) {
            return Err(missing("rename", from));
        }
        if tree.has_dir(to) {
            return Err(Fault::new("rename", from, Error::from(ErrorKind::IsADirectory)));
        }
        let bytes = tree.files.remove(from).expect("looked up above");
        tree.files.insert(to.to_string(), bytes);
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<(), Fault> {
        lock(&self.tree).files.remove(name).map(|_| ()).ok_or_else(|| missing("remove", name))
    }

    fn exists(&self, name: &str) -> Result<bool, Fault> {
        Ok(lock(&self.tree).files.contains_key(name))
    }

    async fn sync_dir(&self, dir: &str) -> Result<(), Fault> {
        if lock(&self.tree).has_dir(dir) { Ok(()) } else { Err(missing("sync", dir)) }
    }
}

impl MemoryFile {
    /// Refuses to grow to `len` where there is no room.
    fn check_room(&self, doing: &'static str, len: usize) -> Result<(), Fault> {
        let tree = lock(&self.tree);
        let Some(capacity) = tree.capacity else { return Ok(()) };
        let more = len.saturating_sub(lock(&self.bytes).len());
        if more > 0 && tree.used() + more > capacity {
            return Err(Fault::new(doing, &self.name, Error::from(ErrorKind::StorageFull)));
        }
        Ok(())
    }

    fn check_writable(&self, doing: &'static str) -> Result<(), Fault> {
        if self.writable {
            return Ok(());
        }
        Err(Fault::new(doing, &self.name, Error::new(ErrorKind::PermissionDenied, "opened for reading only")))
    }
}

fn size(len: u64) -> usize {
    usize::try_from(len).expect("a file in memory fits the address space")
}

impl DiskFile for MemoryFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, Fault> {
        let bytes = lock(&self.bytes);
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let n = buf.len().min(bytes.len() - from);
        buf[..n].copy_from_slice(&bytes[from..from + n]);
        Ok(n)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), Fault> {
        self.check_writable("write")?;
        if data.is_empty() {
            return Ok(());
        }
        let from = size(offset);
        self.check_room("write", from + data.len())?;
        let mut bytes = lock(&self.bytes);
        if bytes.len() < from + data.len() {
            bytes.resize(from + data.len(), 0);
        }
        bytes[from..from + data.len()].copy_from_slice(data);
        Ok(())
    }

    fn len(&self) -> Result<u64, Fault> {
        Ok(lock(&self.bytes).len() as u64)
    }

    fn set_len(&self, len: u64) -> Result<(), Fault> {
        self.check_writable("resize")?;
        self.check_room("resize", size(len))?;
        lock(&self.bytes).resize(size(len), 0);
        Ok(())
    }

    async fn sync(&self) -> Result<(), Fault> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::conformance;

    #[test]
    fn conforms() {
        run_ready(conformance::check(&MemoryDisk::new())).expect("conforms");
    }

    #[test]
    fn a_copy_is_a_tree_of_its_own() {
        let disk = MemoryDisk::new();
        disk.create_dir("a").expect("made");
        disk.open("a/x", OpenMode::Create).expect("made").write_at(0, b"1").expect("written");
        let copy = disk.copy();
        disk.remove("a/x").expect("removed");
        assert_eq!(copy.all_files(), ["a/x"]);
        assert_eq!(copy.open("a/x", OpenMode::Read).expect("there").len().expect("known"), 1);
    }
}
