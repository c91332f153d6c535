//! A disk in memory that keeps what was removed for as long as a handle is open, as a real one does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use crate::base::Fault;
use crate::env::{Disk, DiskFile, OpenMode};

type Content = Arc<Mutex<Vec<u8>>>;

#[derive(Clone, Default, Debug)]
pub struct TestDisk {
    files: Arc<Mutex<BTreeMap<String, Content>>>,
    dirs: Arc<Mutex<BTreeSet<String>>>,
}

#[derive(Debug)]
pub struct TestFile(Content);

fn fault(doing: &'static str, name: &str) -> Fault {
    Fault::new(doing, name, std::io::ErrorKind::NotFound.into())
}

impl TestDisk {
    /// A disk with the same content that shares nothing with this one.
    pub fn copied(&self) -> Self {
        let files = self.files.lock().unwrap();
        let files = files.iter().map(|(n, c)| (n.clone(), Arc::new(Mutex::new(c.lock().unwrap().clone())))).collect();
        let dirs = self.dirs.lock().unwrap().clone();
        Self { files: Arc::new(Mutex::new(files)), dirs: Arc::new(Mutex::new(dirs)) }
    }

    /// Changes a file's bytes.
    pub fn edit(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        change(&mut self.files.lock().unwrap()[name].lock().unwrap());
    }

    pub fn names(&self) -> Vec<String> {
        self.files.lock().unwrap().keys().cloned().collect()
    }
}

impl Disk for TestDisk {
    type File = TestFile;

    fn open(&self, name: &str, mode: OpenMode) -> Result<TestFile, Fault> {
        let mut files = self.files.lock().unwrap();
        match (files.get(name), mode) {
            (Some(_), OpenMode::Create) => Err(fault("create", name)),
            (Some(content), _) => Ok(TestFile(content.clone())),
            (None, OpenMode::Create) => {
                let content = Content::default();
                files.insert(name.to_string(), content.clone());
                Ok(TestFile(content))
            }
            (None, _) => Err(fault("open", name)),
        }
    }

    fn list(&self, dir: &str) -> Result<Vec<String>, Fault> {
        let files = self.files.lock().unwrap();
        Ok(files.keys().filter_map(|name| name.strip_prefix(&format!("{dir}/"))).map(String::from).collect())
    }

    fn create_dir(&self, dir: &str) -> Result<(), Fault> {
        self.dirs.lock().unwrap().insert(dir.to_string());
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), Fault> {
        let mut files = self.files.lock().unwrap();
        let content = files.remove(from).ok_or_else(|| fault("rename", from))?;
        files.insert(to.to_string(), content);
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<(), Fault> {
        self.files.lock().unwrap().remove(name).map(|_| ()).ok_or_else(|| fault("remove", name))
    }

    fn exists(&self, name: &str) -> Result<bool, Fault> {
        Ok(self.files.lock().unwrap().contains_key(name))
    }

    async fn sync_dir(&self, _dir: &str) -> Result<(), Fault> {
        Ok(())
    }
}

impl DiskFile for TestFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, Fault> {
        let content = self.0.lock().unwrap();
        let from = content.len().min(offset as usize);
        let n = buf.len().min(content.len() - from);
        buf[..n].copy_from_slice(&content[from..from + n]);
        Ok(n)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), Fault> {
        let mut content = self.0.lock().unwrap();
        let end = offset as usize + data.len();
        if content.len() < end {
            content.resize(end, 0);
        }
        content[offset as usize..end].copy_from_slice(data);
        Ok(())
    }

    fn len(&self) -> Result<u64, Fault> {
        Ok(self.0.lock().unwrap().len() as u64)
    }

    fn set_len(&self, len: u64) -> Result<(), Fault> {
        self.0.lock().unwrap().resize(len as usize, 0);
        Ok(())
    }

    async fn sync(&self) -> Result<(), Fault> {
        Ok(())
    }
}
