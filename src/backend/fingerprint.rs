//! What tells whether two members were made of the same entries.
//!
//! Invariant: it follows from the entries and their order alone, on every machine. It is no proof against malice: whoever can
//! write a snapshot can write any data.

use std::hash::Hasher;

use fxhash::FxHasher64;

/// A fold of entries; see the module's head.
#[derive(Default)]
pub struct Fingerprint {
    /// The one half: every bit counts, of whatever length.
    checksum: u32,
    /// The other: another kind of sum, so that what escapes the one does not escape both.
    product: FxHasher64,
}

impl Fingerprint {
    /// Takes the next entry in.
    pub fn add(&mut self, key: &[u8], value: &[u8]) {
        self.checksum = crc32c::crc32c_append(crc32c::crc32c_append(self.checksum, key), value);
        for part in [key, value] {
            self.product.write_u64(part.len() as u64);
            for word in part.chunks(8) {
                let mut bytes = [0; 8];
                bytes[..word.len()].copy_from_slice(word);
                self.product.write_u64(u64::from_le_bytes(bytes));
            }
        }
    }

    /// The number.
    pub fn finish(&self) -> u64 {
        // The upper half of a product depends on all factors.
        self.product.finish() & 0xffff_ffff_0000_0000 | u64::from(self.checksum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(entries: &[(&str, &str)]) -> u64 {
        let mut fingerprint = Fingerprint::default();
        entries.iter().for_each(|(key, value)| fingerprint.add(key.as_bytes(), value.as_bytes()));
        fingerprint.finish()
    }

    #[test]
    fn it_tells_entries_apart_in_both_halves_and_is_the_same_everywhere() {
        let same = of(&[("key one", "some value"), ("key two", "")]);
        assert_eq!(same, of(&[("key one", "some value"), ("key two", "")]));
        let others = [
            of(&[]),
            of(&[("key one", "some value")]),
            of(&[("key two", ""), ("key one", "some value")]),
            of(&[("key one", "some valuf"), ("key two", "")]),
            of(&[("kez one", "some value"), ("key two", "")]),
        ];
        for other in others {
            assert!(other as u32 != same as u32 && other >> 32 != same >> 32, "{other:x} and {same:x}");
        }
        // Where an entry ends counts, too.
        assert_ne!(of(&[("ab", "c")]), of(&[("a", "bc")]));
    }
}
