//! A file that is written from its beginning to its end and made durable in pieces, because whoever else waits for a disk waits for
//! the whole of what is synced at once.
//!
//! Invariants: no more than a piece is ever written and not synced; when [`PiecewiseFile::finish`] returns all of it is durable.
//! Does not know the file's name: that is its owner's to make durable.

use super::seam::DiskFile;
use crate::base::{Fault, limits};

/// See the module's head.
#[derive(Debug)]
pub struct PiecewiseFile<F> {
    file: F,
    len: u64,
    /// Bytes at its end that are not synced.
    unsynced: usize,
}

impl<F: DiskFile> PiecewiseFile<F> {
    /// Writes over what is there, from its beginning.
    pub fn new(file: F) -> Self {
        Self { file, len: 0, unsynced: 0 }
    }

    /// Bytes written.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Writes these behind those before.
    pub async fn append(&mut self, mut bytes: &[u8]) -> Result<(), Fault> {
        while !bytes.is_empty() {
            let (piece, rest) = bytes.split_at(bytes.len().min(limits::SYNC_PIECE_BYTES - self.unsynced));
            self.file.write_at(self.len, piece)?;
            self.len += piece.len() as u64;
            self.unsynced += piece.len();
            if self.unsynced == limits::SYNC_PIECE_BYTES {
                self.file.sync().await?;
                self.unsynced = 0;
            }
            bytes = rest;
        }
        Ok(())
    }

    /// Makes the rest durable.
    pub async fn finish(self) -> Result<(), Fault> {
        // An empty file is one, too.
        if self.unsynced > 0 || self.is_empty() { self.file.sync().await } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::{Disk, MemoryDisk, OpenMode, ScramblingDisk, run_ready};

    const PIECE: usize = limits::SYNC_PIECE_BYTES;

    #[test]
    fn each_piece_is_synced_and_all_of_it_is_there() {
        for (parts, syncs) in [
            (&[0][..], 1),
            (&[1], 1),
            (&[PIECE], 1),
            (&[PIECE + 1], 2),
            (&[3 * PIECE], 3),
            (&[PIECE - 1, 2, PIECE], 3),
            (&[1, 0, 2 * PIECE, 7], 3),
        ] {
            for fails in 1..=syncs + 1 {
                let disk = ScramblingDisk::new(MemoryDisk::new(), 1);
                disk.fail_sync(fails);
                let mut file = PiecewiseFile::new(disk.open("file", OpenMode::Create).expect("made"));
                let mut expected = Vec::new();
                let written = run_ready(async {
                    for (number, part) in (1..).zip(parts) {
                        let part = vec![number; *part];
                        expected.extend_from_slice(&part);
                        file.append(&part).await?;
                    }
                    file.finish().await
                });
                assert_eq!(written.is_ok(), fails > syncs, "{parts:?}: sync {fails} of {syncs} fails");
                if written.is_ok() {
                    let file = disk.open("file", OpenMode::Read).expect("it is there");
                    let mut there = vec![0; expected.len() + 1];
                    let got = file.read_full_at(0, &mut there).expect("read");
                    assert!(there[..got] == expected[..], "{parts:?}");
                }
            }
        }
    }
}
