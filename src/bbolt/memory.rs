//! A file in memory: one that was streamed, for whoever checks what is in it.
//!
//! Does not know what its bytes mean.

use super::pages::Source;
use crate::base::Fault;

/// A file in memory, by its bytes; what lies beyond them is not there.
#[derive(Debug)]
pub struct Memory(pub Vec<u8>);

impl Source for Memory {
    fn bytes(&self) -> Result<u64, Fault> {
        Ok(self.0.len() as u64)
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<usize, Fault> {
        let rest = usize::try_from(offset).ok().and_then(|from| self.0.get(from..)).unwrap_or_default();
        let len = rest.len().min(bytes.len());
        bytes[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }
}
