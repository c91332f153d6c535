//! Sockets in the file system.
//!
//! Invariants: the name of a server that lives, and a file that is no socket, stay where they are; one's own name goes with its
//! socket, unless another took it meanwhile. Does not know what is said over a connection.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

/// A socket that listens in the file system; its name goes when it does.
#[derive(Debug)]
pub struct FileSocket {
    socket: UnixListener,
    path: PathBuf,
    /// Device and number of what was made: another may have taken the name since.
    made: (u64, u64),
}

impl FileSocket {
    /// Takes a name, that of a server that is gone, too.
    ///
    /// # Errors
    /// Somebody else has it, or it cannot be had.
    pub fn bind(path: &Path) -> io::Result<Self> {
        clear(path)?;
        let socket = UnixListener::bind(path)?;
        let made = identity(path)?;
        Ok(Self { socket, path: path.to_path_buf(), made })
    }

    /// Its name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The next connection.
    pub async fn accept(&self) -> io::Result<UnixStream> {
        self.socket.accept().await.map(|(stream, _)| stream)
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|found| (found.dev(), found.ino()))
}

impl Drop for FileSocket {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.made) {
            // Whoever removed it meanwhile did the same.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes the socket of a server that is gone. Anything else stays where it is.
fn clear(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is no socket has that name"));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        _ => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_in_the_file_system_is_taken_over_only_from_the_dead() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("s");
        let first = FileSocket::bind(&path).expect("bound");
        let taken = FileSocket::bind(&path).expect_err("it lives");
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        drop(first);
        assert!(!path.exists(), "its name went with it");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
        assert!(path.exists(), "as after a crash");
        let second = FileSocket::bind(&path).expect("taken over");
        fs::remove_file(&path).expect("removed");
        fs::write(&path, b"not ours").expect("written");
        drop(second);
        assert!(FileSocket::bind(&path).is_err() && path.exists(), "a file of another kind stays");
    }
}
