//! A file that is read.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::failure::{Exit, Failure};
use crate::base::Fault;
use crate::bbolt::Source;

/// A file by its path.
#[derive(Debug)]
pub struct FileSource {
    file: File,
    path: String,
}

/// What etcdutl says of a path that is not there.
pub fn check_there(path: &Path) -> Result<(), Failure> {
    let told = |error: std::io::Error| {
        let why = match error.kind() {
            std::io::ErrorKind::NotFound => "no such file or directory".to_string(),
            std::io::ErrorKind::PermissionDenied => "permission denied".to_string(),
            _ => error.to_string(),
        };
        Failure::new(Exit::Error, format!("stat {}: {why}", path.display()))
    };
    std::fs::metadata(path).map(drop).map_err(told)
}

impl FileSource {
    /// Opens it to read.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        check_there(path)?;
        let name = path.display().to_string();
        let fault = |source| Fault::new("open", name.clone(), source);
        let file = File::open(path).map_err(fault)?;
        if file.metadata().map_err(fault)?.is_dir() {
            return Err(Failure::new(Exit::Error, format!("{name} is a directory, and a file is wanted")));
        }
        Ok(Self { file, path: name })
    }

    /// The same file, whatever stands under its name by now.
    pub fn again(&self) -> Result<Self, Failure> {
        let file = self.file.try_clone().map_err(|source| Fault::new("open", self.path.clone(), source))?;
        Ok(Self { file, path: self.path.clone() })
    }

    /// Takes it for this process, as etcd does while it runs: in use, it changes while it is read.
    pub fn lock(&self) -> Result<(), Failure> {
        self.file.try_lock_shared().map_err(|error| {
            let why = match error {
                std::fs::TryLockError::WouldBlock => "it is in use: stop etcd first".to_string(),
                std::fs::TryLockError::Error(error) => error.to_string(),
            };
            Failure::new(Exit::Error, format!("{}: {why}", self.path))
        })
    }

    /// What errors call it.
    pub fn name(&self) -> &str {
        &self.path
    }
}

impl Source for FileSource {
    fn bytes(&self) -> Result<u64, Fault> {
        let metadata = self.file.metadata().map_err(|source| Fault::new("look at", self.path.clone(), source))?;
        Ok(metadata.len())
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<usize, Fault> {
        let mut got = 0;
        while got < bytes.len() {
            match self.file.read_at(&mut bytes[got..], offset.saturating_add(got as u64)) {
                Ok(0) => break,
                Ok(more) => got += more,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Fault::new("read", self.path.clone(), error)),
            }
        }
        Ok(got)
    }
}
